package registry

import (
	"fmt"
	"strings"
)

// The layout of the keys is part of the contract between meshds of different
// versions that share one etcd: /meshd/v1/ is this version of it.
const (
	root           = "/meshd/v1/"
	instancePrefix = root + "instances/" // NAMESPACE/SERVICE/ID
	objectPrefix   = root + "objects/"   // KIND/NAMESPACE/NAME
	scalePrefix    = root + "scale/"     // NAMESPACE/SERVICE
	noticePrefix   = root + "notices/"   // of a meshd, by a name made up when it starts
)

func instanceKey(namespace, service, id string) string {
	return instancePrefix + namespace + "/" + service + "/" + id
}

func objectKey(kind, namespace, name string) string {
	return objectPrefix + kind + "/" + namespace + "/" + name
}

func scaleKey(namespace, service string) string {
	return scalePrefix + namespace + "/" + service
}

// splitKey takes a key below prefix into exactly n parts, none of them empty.
func splitKey(key, prefix string, n int) ([]string, error) {
	rest, ok := strings.CutPrefix(key, prefix)
	if !ok {
		return nil, fmt.Errorf("key %q is not below %q", key, prefix)
	}
	parts := strings.Split(rest, "/")
	if len(parts) != n {
		return nil, fmt.Errorf("key %q has %d parts below %q, want %d", key, len(parts), prefix, n)
	}
	for _, p := range parts {
		if p == "" {
			return nil, fmt.Errorf("key %q has an empty part", key)
		}
	}
	return parts, nil
}

// checkPart says whether s can stand between two slashes of a key.
func checkPart(field, s string) error {
	switch {
	case s == "":
		return fmt.Errorf("%s is empty; give it a name", field)
	case len(s) > 253:
		return fmt.Errorf("%s has %d bytes; at most 253 are accepted", field, len(s))
	}
	for i := 0; i < len(s); i++ {
		if c := s[i]; c == '/' || c <= ' ' || c == 0x7f {
			return fmt.Errorf("%s %q holds the byte %#02x; '/', blanks and control characters are not accepted", field, s, c)
		}
	}
	return nil
}
