package main

import (
	"archive/tar"
	"bytes"
	"debug/elf"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// anELF is the smallest static, or dynamic, binary that debug/elf reads.
func anELF(t *testing.T, interp bool) []byte {
	t.Helper()
	h := elf.Header64{
		Ident: [16]byte{0x7f, 'E', 'L', 'F', byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), byte(elf.EV_CURRENT)},
		Type:  uint16(elf.ET_EXEC), Machine: uint16(elf.EM_X86_64), Version: uint32(elf.EV_CURRENT),
		Phoff: 64, Ehsize: 64, Phentsize: 56, Phnum: 1, Shentsize: 64,
	}
	p := elf.Prog64{Type: uint32(elf.PT_LOAD)}
	if interp {
		p.Type = uint32(elf.PT_INTERP)
	}
	var b bytes.Buffer
	for _, v := range []any{h, p} {
		if err := binary.Write(&b, binary.LittleEndian, v); err != nil {
			t.Fatal(err)
		}
	}
	return b.Bytes()
}

// unpack reads an archive back.
func unpack(t *testing.T, b []byte) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	r := tar.NewReader(bytes.NewReader(b))
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		if files[h.Name], err = io.ReadAll(r); err != nil {
			t.Fatal(err)
		}
	}
}

func TestArchiveReadBack(t *testing.T) {
	dir := t.TempDir()
	var paths []string
	for _, name := range []string{"sidecar", "meshd", "meshctl"} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, append(anELF(t, false), name...), 0o755); err != nil {
			t.Fatal(err)
		}
		paths = append(paths, path)
	}
	out := filepath.Join(dir, "image.tar")
	var archives [2][]byte
	for i := range archives {
		if err := run(out, paths); err != nil {
			t.Fatal(err)
		}
		var err error
		if archives[i], err = os.ReadFile(out); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(archives[0], archives[1]) {
		t.Error("two runs gave two archives")
	}

	files := unpack(t, archives[0])
	var m []manifest
	if err := json.Unmarshal(files["manifest.json"], &m); err != nil || len(m) != 1 || len(m[0].Layers) != 1 {
		t.Fatalf("manifest %s: %v", files["manifest.json"], err)
	}
	var c imageConfig
	if err := json.Unmarshal(files[m[0].Config], &c); err != nil {
		t.Fatalf("config %q: %v", m[0].Config, err)
	}
	layer := files[m[0].Layers[0]]
	if got := "sha256:" + digest(layer); len(c.RootFS.DiffIDs) != 1 || c.RootFS.DiffIDs[0] != got {
		t.Errorf("diff_ids %v, want %s", c.RootFS.DiffIDs, got)
	}
	if m[0].Config != digest(files[m[0].Config])+".json" {
		t.Errorf("config is named %s", m[0].Config)
	}
	if len(c.Config.Entrypoint) != 1 || c.Config.Entrypoint[0] != "/sidecar" || c.Config.User != user || c.OS != "linux" {
		t.Errorf("config %+v", c)
	}
	if tags := m[0].RepoTags; len(tags) != 2 || tags[1] != "meshd:latest" || tags[0] != "meshd:"+digest(layer)[:12] {
		t.Errorf("tags %v", tags)
	}
	r := tar.NewReader(bytes.NewReader(layer))
	for _, want := range []string{"sidecar", "meshd", "meshctl"} {
		h, err := r.Next()
		if err != nil || h.Name != want || h.Mode != 0o755 || h.ModTime.Unix() != 0 {
			t.Fatalf("%s: %+v, %v", want, h, err)
		}
		if b, err := io.ReadAll(r); err != nil || !strings.HasSuffix(string(b), want) {
			t.Errorf("%s: %d bytes, %v", want, len(b), err)
		}
	}
}

// TestSameAsContainerfile: both ways to an image say the same.
func TestSameAsContainerfile(t *testing.T) {
	b, err := os.ReadFile("../../deploy/Containerfile")
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"FROM scratch", "COPY bin/sidecar bin/meshd bin/meshctl /", "USER " + user, `ENTRYPOINT ["/sidecar"]`} {
		if !strings.Contains(string(b), line+"\n") {
			t.Errorf("deploy/Containerfile does not say %q", line)
		}
	}
}

func TestRefused(t *testing.T) {
	if _, _, err := build([]program{{"meshd", anELF(t, true)}}, "amd64"); err == nil || !strings.Contains(err.Error(), "meshd: dynamically linked") {
		t.Errorf("dynamic: %v", err)
	}
	if _, _, err := build([]program{{"meshd", []byte("#!/bin/sh")}}, "amd64"); err == nil || !strings.Contains(err.Error(), "not a Linux binary") {
		t.Errorf("script: %v", err)
	}
	if err := run("x", nil); err == nil {
		t.Error("nothing: accepted")
	}
}
