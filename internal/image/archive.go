package main

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"debug/elf"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"
)

const (
	repository = "meshd"
	user       = "1337:1337" // the one that sidecar redirect leaves alone
)

// A program is a file of the image's root.
type program struct {
	name    string
	content []byte
}

// What a docker-archive holds: https://github.com/moby/docker-image-spec.
type (
	manifest struct {
		Config   string
		RepoTags []string
		Layers   []string
	}
	imageConfig struct {
		Architecture string    `json:"architecture"`
		OS           string    `json:"os"`
		Created      time.Time `json:"created"`
		Config       struct {
			User       string
			Entrypoint []string
		} `json:"config"`
		RootFS struct {
			Type    string   `json:"type"`
			DiffIDs []string `json:"diff_ids"`
		} `json:"rootfs"`
	}
)

// build makes the archive of an image with one layer. The tag is of the
// content, so that a stale image is never taken for a fresh one; latest goes
// with it.
func build(files []program, arch string) (archive []byte, tag string, err error) {
	for _, f := range files {
		if err := static(f.content); err != nil {
			return nil, "", fmt.Errorf("%s: %w", f.name, err)
		}
	}
	layer, err := pack(files, 0o755)
	if err != nil {
		return nil, "", err
	}
	id := digest(layer)

	c := imageConfig{Architecture: arch, OS: "linux", Created: time.Unix(0, 0).UTC()}
	c.Config.User, c.Config.Entrypoint = user, []string{"/" + files[0].name}
	c.RootFS.Type, c.RootFS.DiffIDs = "layers", []string{"sha256:" + id}
	config, err := json.Marshal(c)
	if err != nil {
		return nil, "", err
	}
	configName, layerName := digest(config)+".json", id+".tar"
	tag = repository + ":" + id[:12]
	index, err := json.Marshal([]manifest{{Config: configName, RepoTags: []string{tag, repository + ":latest"}, Layers: []string{layerName}}})
	if err != nil {
		return nil, "", err
	}
	archive, err = pack([]program{{layerName, layer}, {configName, config}, {"manifest.json", index}}, 0o644)
	return archive, tag, err
}

// pack writes a tar in which nothing depends on when or where it was made.
func pack(files []program, mode int64) ([]byte, error) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, f := range files {
		h := &tar.Header{Typeflag: tar.TypeReg, Name: f.name, Mode: mode, Size: int64(len(f.content)), ModTime: time.Unix(0, 0), Format: tar.FormatUSTAR}
		if err := w.WriteHeader(h); err != nil {
			return nil, err
		}
		if _, err := w.Write(f.content); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// static refuses what would not start on an empty root.
func static(content []byte) error {
	f, err := elf.NewFile(bytes.NewReader(content))
	if err != nil {
		return fmt.Errorf("not a Linux binary: %w", err)
	}
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			return fmt.Errorf("dynamically linked, want a static binary: CGO_ENABLED=0")
		}
	}
	return nil
}

func digest(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}
