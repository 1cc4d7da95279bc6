// Package page opens every view of meshd's page in a headless Chromium, while a
// mesh of real processes is under load and scales: what people see is live, true
// and can be read by all.
package page

import (
	"os"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// cache is a file below .cache, where .ci/setup puts what tests need.
func cache(t testing.TB, name string) string {
	t.Helper()
	path, err := filepath.Abs(filepath.Join("../../.cache", name))
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// shots is the folder of screenshots, for people to look at.
func shots(t testing.TB) string {
	t.Helper()
	dir := cache(t, "shots")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}
