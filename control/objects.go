package control

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"

	"github.com/meshd/meshd/mesh"
	"github.com/meshd/meshd/registry"
)

const (
	// storedName and requestName stand for a file's name where there is none.
	storedName  = "(registry)"
	requestName = "request"
	// maxObject is what etcd takes in one value, with some room.
	maxObject = 1 << 20
)

// source is where an object is from, as the interface says it.
func source(o mesh.Object) string {
	m := o.Head()
	if m.File == storedName {
		return "api"
	}
	return fmt.Sprintf("file:%s:%d", m.File, m.Line)
}

type objectItem struct {
	Kind      string          `json:"kind"`
	Namespace string          `json:"namespace"`
	Name      string          `json:"name"`
	Source    string          `json:"source"`
	Object    json.RawMessage `json:"object"`
}

func (a *api) listObjects(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	matches := func(field, value string) bool { return q.Get(field) == "" || q.Get(field) == value }
	items := []objectItem{}
	for _, o := range a.current.Load().state.Objects() {
		m := o.Head()
		if matches("kind", m.Kind) && matches("namespace", m.Namespace) && matches("name", m.Name) {
			items = append(items, objectItem{m.Kind, m.Namespace, m.Name, source(o), m.JSON})
		}
	}
	slices.SortFunc(items, func(x, y objectItem) int {
		return cmp.Or(cmp.Compare(x.Kind, y.Kind), cmp.Compare(x.Namespace, y.Namespace), cmp.Compare(x.Name, y.Name))
	})
	answer(w, http.StatusOK, map[string]any{"items": items})
}

type appliedItem struct {
	Kind      string          `json:"kind"`
	Namespace string          `json:"namespace"`
	Name      string          `json:"name"`
	Result    registry.Result `json:"result"`
}

func (a *api) applyObjects(w http.ResponseWriter, r *http.Request) {
	body, ok := readBody(w, r, maxObjectsBody, "application/yaml", "application/x-yaml", "text/yaml", "application/json")
	if !ok {
		return
	}
	objects, errs := mesh.Parse(requestName, body)
	applied, refused := []appliedItem{}, []string{}
	for _, err := range errs {
		refused = append(refused, err.Error())
	}
	for _, o := range objects {
		m := o.Head()
		var result registry.Result
		var err error
		switch file := a.fromFile(m.Key); {
		case file != "":
			err = fmt.Errorf("it comes from %s; change it there", file)
		case len(m.JSON) > maxObject:
			err = fmt.Errorf("%d bytes; at most %d are accepted", len(m.JSON), maxObject)
		default:
			result, err = a.registry.PutObject(r.Context(), registry.Object{Kind: m.Kind, Namespace: m.Namespace, Name: m.Name, Body: m.JSON})
		}
		if err != nil {
			refused = append(refused, fmt.Sprintf("%s:%d: %s: %v", m.File, m.Line, m.Key, err))
			continue
		}
		applied = append(applied, appliedItem{m.Kind, m.Namespace, m.Name, result})
	}
	if len(applied)+len(refused) == 0 {
		refused = append(refused, "the body holds no object")
	}
	a.sync(r.Context())
	code := http.StatusOK
	if len(refused) > 0 {
		code = http.StatusUnprocessableEntity
	}
	answer(w, code, map[string]any{"applied": applied, "refused": refused})
}

// fromFile returns the source of an object if that is a file.
func (a *api) fromFile(key mesh.Key) string {
	for _, o := range a.current.Load().state.Objects() {
		if o.Head().Key == key && o.Head().File != storedName {
			return source(o)
		}
	}
	return ""
}

func (a *api) deleteObject(w http.ResponseWriter, r *http.Request) {
	key := mesh.Key{Kind: r.PathValue("kind"), Namespace: r.PathValue("namespace"), Name: r.PathValue("name")}
	if file := a.fromFile(key); file != "" {
		refuse(w, http.StatusConflict, "%s comes from %s; delete it there", key, file)
		return
	}
	was, err := a.registry.DeleteObject(r.Context(), key.Kind, key.Namespace, key.Name)
	switch {
	case err != nil:
		refuse(w, http.StatusServiceUnavailable, "%v", err)
		return
	case !was:
		refuse(w, http.StatusNotFound, "%s is not there", key)
		return
	}
	a.sync(r.Context())
	answer(w, http.StatusOK, struct{}{})
}
