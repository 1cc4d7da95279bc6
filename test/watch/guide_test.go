package watch

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestGuide: what the guide shows of files is in those that the other tests use.
func TestGuide(t *testing.T) {
	page, err := os.ReadFile("../../docs/guide/backends.md")
	if err != nil {
		t.Fatal(err)
	}
	names, err := filepath.Glob(folder + "/*.y*ml")
	if err != nil {
		t.Fatal(err)
	}
	var files strings.Builder
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		files.Write(text)
	}
	blocks := regexp.MustCompile("(?ms)^```yaml\n(.*?)^```$").FindAllSubmatch(page, -1)
	if len(blocks) == 0 {
		t.Error("the guide shows no file")
	}
	for _, b := range blocks {
		if !strings.Contains(files.String(), string(b[1])) {
			t.Errorf("no file has\n%s", b[1])
		}
	}
}
