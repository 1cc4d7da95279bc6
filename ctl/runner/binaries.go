package runner

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// FindBinary returns the program name that lies beside this one, or else on
// PATH; explicit, if not empty, is taken as it is.
func FindBinary(name, explicit string) (string, error) {
	if explicit != "" {
		path, err := exec.LookPath(explicit)
		if err != nil {
			return "", fmt.Errorf("%s %q: %w", name, explicit, err)
		}
		return path, nil
	}
	beside := ""
	if self, err := os.Executable(); err == nil {
		beside = filepath.Join(filepath.Dir(self), name)
		if path, err := exec.LookPath(beside); err == nil {
			return path, nil
		}
	}
	path, err := exec.LookPath(name)
	if err != nil {
		return "", fmt.Errorf("no program %s, neither at %s nor on PATH: build it with `make build`", name, beside)
	}
	return path, nil
}
