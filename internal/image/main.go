// Command image writes bin/meshd-image.tar: the three static binaries on
// nothing at all, as an archive for "docker load", "podman load" and "ctr
// images import". It says the same as deploy/Containerfile and needs no
// container engine. The same binaries give the same archive, byte for byte.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
)

func main() {
	out := flag.String("o", "bin/meshd-image.tar", "file to write")
	flag.Parse()
	if err := run(*out, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "image:", err)
		os.Exit(1)
	}
}

// run writes the archive by way of a temporary file, and says what is in it.
func run(out string, binaries []string) error {
	if len(binaries) == 0 {
		return fmt.Errorf("no binaries given, want for example bin/sidecar bin/meshd bin/meshctl")
	}
	files := make([]program, len(binaries))
	for i, path := range binaries {
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		files[i] = program{filepath.Base(path), content}
	}
	archive, tag, err := build(files, runtime.GOARCH)
	if err != nil {
		return err
	}
	if err := os.WriteFile(out+".tmp", archive, 0o644); err != nil {
		return err
	}
	if err := os.Rename(out+".tmp", out); err != nil {
		return err
	}
	fmt.Printf("%s: %s, %d bytes\n", out, tag, len(archive))
	return nil
}
