package registry

import (
	"context"
	"crypto/rand"
	"fmt"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// secretKey is not below root: it is no part of the picture, and never leaves
// meshd.
const secretKey = "/meshd/secret/v1"

const secretBytes = 32

// Secret returns random bytes that are the same in every meshd of a registry
// and after a restart. The first that asks makes them.
func (r *Registry) Secret(ctx context.Context) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, opTimeout)
	defer cancel()
	fresh := make([]byte, secretBytes)
	_, _ = rand.Read(fresh) // never fails
	resp, err := r.client.Txn(ctx).
		If(clientv3.Compare(clientv3.CreateRevision(secretKey), "=", 0)).
		Then(clientv3.OpPut(secretKey, string(fresh))).
		Else(clientv3.OpGet(secretKey)).
		Commit()
	if err != nil {
		return nil, fmt.Errorf("registry: secret: %w", err)
	}
	if resp.Succeeded {
		return fresh, nil
	}
	kvs := resp.Responses[0].GetResponseRange().GetKvs()
	if len(kvs) != 1 || len(kvs[0].Value) != secretBytes {
		return nil, fmt.Errorf("registry: secret: %s does not hold %d bytes; delete it to have it made again", secretKey, secretBytes)
	}
	return kvs[0].Value, nil
}
