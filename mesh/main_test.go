package mesh

import (
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// mustParse parses objects that are right.
func mustParse(t testing.TB, data string) []Object {
	t.Helper()
	objects, errs := Parse("test.yaml", []byte(data))
	for _, err := range errs {
		t.Fatal(err)
	}
	return objects
}
