package registry

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// opTimeout bounds one call to etcd.
const opTimeout = 5 * time.Second

// A Result says what PutObject did.
type Result string

// The results, in the words of kubectl.
const (
	Created    Result = "created"
	Configured Result = "configured"
	Unchanged  Result = "unchanged"
)

// scaleValue is the JSON below scalePrefix.
type scaleValue struct {
	Replicas int `json:"replicas"`
}

// PutObject stores o for every meshd to see. When it returns, it is in this
// registry's Snapshot.
func (r *Registry) PutObject(ctx context.Context, o Object) (Result, error) {
	for _, part := range [][2]string{{"kind", o.Kind}, {"namespace", o.Namespace}, {"name", o.Name}} {
		if err := checkPart(part[0], part[1]); err != nil {
			return "", fmt.Errorf("registry: object: %w", err)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, opTimeout)
	defer cancel()
	resp, err := r.client.Put(ctx, objectKey(o.Kind, o.Namespace, o.Name), string(o.Body), clientv3.WithPrevKV())
	if err != nil {
		return "", fmt.Errorf("registry: store %s %s/%s: %w", o.Kind, o.Namespace, o.Name, err)
	}
	r.picture.await(ctx, resp.Header.Revision)
	switch {
	case resp.PrevKv == nil:
		return Created, nil
	case bytes.Equal(resp.PrevKv.Value, o.Body):
		return Unchanged, nil
	}
	return Configured, nil
}

// DeleteObject removes an object, and says whether there was one.
func (r *Registry) DeleteObject(ctx context.Context, kind, namespace, name string) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, opTimeout)
	defer cancel()
	resp, err := r.client.Delete(ctx, objectKey(kind, namespace, name))
	if err != nil {
		return false, fmt.Errorf("registry: delete %s %s/%s: %w", kind, namespace, name, err)
	}
	if resp.Deleted == 0 {
		return false, nil
	}
	r.picture.await(ctx, resp.Header.Revision)
	return true, nil
}

// SetScale stores how many instances a service should have.
func (r *Registry) SetScale(ctx context.Context, s Scale) error {
	if err := checkPart("namespace", s.Namespace); err != nil {
		return fmt.Errorf("registry: scale: %w", err)
	}
	if err := checkPart("service", s.Service); err != nil {
		return fmt.Errorf("registry: scale: %w", err)
	}
	if s.Replicas < 0 {
		return fmt.Errorf("registry: scale of %s/%s: replicas %d: 0 or more are accepted", s.Namespace, s.Service, s.Replicas)
	}
	value, err := json.Marshal(scaleValue{Replicas: s.Replicas})
	if err != nil {
		return fmt.Errorf("registry: scale of %s/%s: %w", s.Namespace, s.Service, err)
	}
	ctx, cancel := context.WithTimeout(ctx, opTimeout)
	defer cancel()
	resp, err := r.client.Put(ctx, scaleKey(s.Namespace, s.Service), string(value))
	if err != nil {
		return fmt.Errorf("registry: scale of %s/%s: %w", s.Namespace, s.Service, err)
	}
	r.picture.await(ctx, resp.Header.Revision)
	return nil
}
