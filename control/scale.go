package control

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/meshd/meshd/mesh"
	"github.com/meshd/meshd/registry"
)

const (
	// maxReplicas keeps a slip of the finger from starting a million processes.
	maxReplicas = 10_000
	// heartbeat is how often an event stream says something although nothing
	// changed, so that a dead client is noticed.
	heartbeat = 15 * time.Second
)

type scaleStatus struct {
	Replicas int `json:"replicas"`
	Ready    int `json:"ready"`
}

func (a *api) getScale(w http.ResponseWriter, r *http.Request) {
	s := service{r.PathValue("namespace"), r.PathValue("service")}
	if r.Header.Get("Accept") == "text/event-stream" {
		a.watchScale(w, r, s)
		return
	}
	p := a.current.Load()
	n, ok := p.scales[s]
	if !ok {
		refuse(w, http.StatusNotFound, "nobody has said how many instances of %s/%s there should be", s.namespace, s.name)
		return
	}
	answer(w, http.StatusOK, scaleStatus{n, p.ready(s)})
}

// watchScale sends an event with what is wanted now, if anything is, and one
// for each change.
func (a *api) watchScale(w http.ResponseWriter, r *http.Request, s service) {
	out := http.NewResponseController(w)
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusOK)
	beat := time.NewTicker(heartbeat)
	defer beat.Stop()
	last, told := 0, false
	for text := ": scale\n\n"; ; {
		p := a.current.Load()
		if n, ok := p.scales[s]; ok && (!told || n != last) {
			last, told = n, true
			b, err := json.Marshal(scaleStatus{n, p.ready(s)})
			if err != nil {
				return
			}
			text += fmt.Sprintf("data: %s\n\n", b)
		}
		if text != "" {
			if _, err := w.Write([]byte(text)); err != nil || out.Flush() != nil {
				return
			}
		}
		text = ""
		select {
		case <-p.next:
		case <-beat.C:
			text = ":\n\n"
		case <-r.Context().Done():
			return
		}
	}
}

func (a *api) putScale(w http.ResponseWriter, r *http.Request) {
	body, ok := readBody(w, r, maxSmallBody, "application/json")
	if !ok {
		return
	}
	var in struct {
		Replicas *int `json:"replicas"`
	}
	if err := json.Unmarshal(body, &in); err != nil || in.Replicas == nil {
		refuse(w, http.StatusBadRequest, `the body: {"replicas":N} is accepted`)
		return
	}
	s := service{r.PathValue("namespace"), r.PathValue("service")}
	if _, ok := mesh.ParseServiceKey(s.namespace + "/" + s.name + ":1"); !ok {
		refuse(w, http.StatusUnprocessableEntity, "service %q in namespace %q: DNS labels are accepted", s.name, s.namespace)
		return
	}
	if *in.Replicas < 0 || *in.Replicas > maxReplicas {
		refuse(w, http.StatusUnprocessableEntity, "replicas %d: 0 to %d is accepted", *in.Replicas, maxReplicas)
		return
	}
	if err := a.scale(r.Context(), s, *in.Replicas); err != nil {
		refuse(w, http.StatusServiceUnavailable, "%v", err)
		return
	}
	answer(w, http.StatusOK, scaleStatus{*in.Replicas, a.current.Load().ready(s)})
}

// scale stores what is wanted of a service; when it returns, the current
// picture has it.
func (a *assembler) scale(ctx context.Context, s service, replicas int) error {
	if err := a.registry.SetScale(ctx, registry.Scale{Namespace: s.namespace, Service: s.name, Replicas: replicas}); err != nil {
		return err
	}
	a.sync(ctx)
	return nil
}
