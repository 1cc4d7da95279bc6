package demo

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"time"
)

// slowedBy is what a slowed instance takes longer for each call.
const slowedBy = 25 * time.Millisecond

func (d *demo) actions() actions {
	return actions{"kill": d.kill, "slow": d.slowOne, "reset": d.reset}
}

func (d *demo) service(name string) (*running, error) {
	if s, ok := d.services[name]; ok {
		return s, nil
	}
	return nil, fmt.Errorf("service %q: want %s", name, strings.Join(Roles, ", "))
}

// kill ends the application and the sidecar of one instance with SIGKILL.
func (d *demo) kill(_ context.Context, service string) (string, error) {
	s, err := d.service(service)
	if err != nil {
		return "", err
	}
	names := s.Pool().Instances()
	if len(names) == 0 {
		return "", fmt.Errorf("%s has no instance", service)
	}
	name := names[rand.IntN(len(names))]
	d.forget(name)
	s.Pool().Crash(name, "")
	return name + " killed", nil
}

// slowOne slows down one instance that is not slow yet.
func (d *demo) slowOne(ctx context.Context, service string) (string, error) {
	s, err := d.service(service)
	if err != nil {
		return "", err
	}
	for _, name := range s.Pool().Instances() {
		d.mu.Lock()
		already := d.slowed[name]
		d.mu.Unlock()
		if already {
			continue
		}
		if err := slowDown(ctx, s.Pool().Ports(name), slowedBy); err != nil {
			return "", fmt.Errorf("%s: %w", name, err)
		}
		d.mu.Lock()
		d.slowed[name] = true
		d.mu.Unlock()
		return fmt.Sprintf("%s takes %v longer for each call", name, slowedBy), nil
	}
	return "", fmt.Errorf("every instance of %s is slowed down already: reset with r, or meshctl demo reset", service)
}

// reset takes every slowing back and scales every service as at the start.
func (d *demo) reset(ctx context.Context, _ string) (string, error) {
	for role, s := range d.services {
		for _, name := range s.Pool().Instances() {
			if err := slowDown(ctx, s.Pool().Ports(name), 0); err != nil {
				continue // it is restarting, which resets it too
			}
			d.forget(name)
		}
		if err := d.rig.client.SetScale(ctx, "default", role, d.cfg.Replicas); err != nil {
			return "", err
		}
	}
	return fmt.Sprintf("reset: %d instances each, none slowed down", d.cfg.Replicas), nil
}

func (d *demo) forget(instance string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.slowed, instance)
}

// scaleBy adds to what a service should have, not to what it has: keys may
// be faster than processes.
func (d *demo) scaleBy(ctx context.Context, service string, by int) (string, error) {
	sc, err := d.rig.client.Scale(ctx, "default", service)
	if err != nil {
		return "", err
	}
	n := min(max(sc.Replicas+by, 1), MaxInstances)
	if err := d.rig.client.SetScale(ctx, "default", service, n); err != nil {
		return "", err
	}
	return fmt.Sprintf("%s scaled to %d", service, n), nil
}

// slowDown tells an instance of ours, past the mesh.
func slowDown(ctx context.Context, ports []int, by time.Duration) error {
	if len(ports) == 0 {
		return fmt.Errorf("it has just ended")
	}
	return appCall(ctx, http.MethodPost, ports[0], "/-/slow?by="+by.String(), io.Discard)
}

// appCall asks the application on port, past the mesh, and copies the answer.
func appCall(ctx context.Context, method string, port int, path string, answer io.Writer) error {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, "http://"+loopback(port)+path, nil)
	if err != nil {
		return err
	}
	resp, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		why, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<10)) // the status is told anyhow
		return fmt.Errorf("%s: %s", resp.Status, strings.TrimSpace(string(why)))
	}
	_, err = io.Copy(answer, resp.Body)
	return err
}

// press does what a key means.
func (d *demo) press(ctx context.Context, key byte) {
	const ctrlC, ctrlD = 3, 4
	selected := d.view.selected()
	var said string
	var err error
	switch key {
	case '1', '2', '3':
		d.view.choose(int(key - '1'))
		return
	case '+', '=':
		said, err = d.scaleBy(ctx, selected, 1)
	case '-', '_':
		said, err = d.scaleBy(ctx, selected, -1)
	case 'k':
		said, err = d.kill(ctx, selected)
	case 's':
		said, err = d.slowOne(ctx, selected)
	case 'r':
		said, err = d.reset(ctx, "")
	case 'q', ctrlC, ctrlD:
		d.quit()
		return
	default:
		return
	}
	if err != nil {
		said = err.Error()
	}
	d.view.say(said)
}
