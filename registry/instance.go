package registry

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/meshd/meshd/mesh"
)

// An Instance is what the registry knows of one running instance. Its JSON is
// what is stored: mesh.Instance's fields and since.
type Instance struct {
	mesh.Instance
	// Since is when the process that PID names first registered.
	Since time.Time `json:"since,omitzero"`
}

func encodeInstance(in Instance) ([]byte, error) {
	b, err := json.Marshal(in)
	if err != nil {
		return nil, fmt.Errorf("registry: instance %s: %w", in.ID, err)
	}
	return b, nil
}

// decodeInstance reads one entry. Fields that another version of meshd has
// added are passed over.
func decodeInstance(key string, value []byte) (Instance, error) {
	var in Instance
	parts, err := splitKey(key, instancePrefix, 3)
	if err != nil {
		return in, err
	}
	if err := json.Unmarshal(value, &in); err != nil {
		return in, fmt.Errorf("key %s: %w", key, err)
	}
	if err := in.Validate(); err != nil {
		return in, fmt.Errorf("key %s: %w", key, err)
	}
	if in.Namespace != parts[0] || in.Service != parts[1] || in.ID != parts[2] {
		return in, fmt.Errorf("key %s: the value is of instance %s/%s/%s", key, in.Namespace, in.Service, in.ID)
	}
	return in, nil
}
