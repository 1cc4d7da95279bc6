package ctl

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/meshd/meshd/ctl/api"
)

func (a *App) applyCommand() *cobra.Command {
	var paths []string
	cmd := &cobra.Command{
		Use:   "apply -f FILE|DIR|-",
		Short: "Give objects to meshd",
		Long: `Give objects to meshd: services, endpoint slices and traffic policies, as YAML
or JSON. Of a directory, its *.yaml, *.yml and *.json are taken. What is wrong
is refused by file, line and field; the rest is applied all the same.`,
		Example: `  meshctl apply -f mesh.yaml
  meshctl apply -f mesh.d/
  meshctl get trafficpolicies -o yaml | meshctl apply -f -`,
		Args: cobra.NoArgs,
		RunE: verb(func(cmd *cobra.Command, _ []string) error {
			if len(paths) == 0 {
				return usagef("nothing to apply: want -f FILE, -f DIR or -f -")
			}
			files, err := manifestFiles(paths)
			if err != nil {
				return err
			}
			return a.withClient(func(c *api.Client) error { return a.apply(cmd, c, files) })
		}),
	}
	cmd.Flags().StringArrayVarP(&paths, "filename", "f", nil, "file or directory; - is standard input")
	return cmd
}

// manifestFiles puts the files of directories in their place.
func manifestFiles(paths []string) ([]string, error) {
	var files []string
	for _, path := range paths {
		info, err := os.Stat(path)
		if path == "-" || err == nil && !info.IsDir() {
			files = append(files, path)
			continue
		}
		if err != nil {
			return nil, err
		}
		entries, err := os.ReadDir(path)
		if err != nil {
			return nil, err
		}
		found := false
		for _, entry := range entries {
			switch filepath.Ext(entry.Name()) {
			case ".yaml", ".yml", ".json":
				files, found = append(files, filepath.Join(path, entry.Name())), true
			}
		}
		if !found {
			return nil, fmt.Errorf("%s: no *.yaml, *.yml or *.json in it", path)
		}
	}
	return files, nil
}

// apply sends one file a call, so that a refusal's line is a line of it.
func (a *App) apply(cmd *cobra.Command, c *api.Client, files []string) error {
	refused := 0
	for _, file := range files {
		documents, err := a.read(file)
		if err != nil {
			return err
		}
		answer, err := c.Apply(cmd.Context(), documents)
		if err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		for _, o := range answer.Applied {
			name := o.Name
			if o.Namespace != "" && o.Namespace != "default" {
				name = o.Namespace + "/" + name
			}
			fmt.Fprintf(a.Out, "%s/%s %s\n", strings.ToLower(o.Kind), name, o.Result)
		}
		for _, why := range answer.Refused {
			// meshd calls what it is sent "request"; the user knows the file.
			if line, ok := strings.CutPrefix(why, "request:"); ok {
				why = line
			}
			fmt.Fprintf(a.Err, "%s:%s\n", file, why)
		}
		refused += len(answer.Refused)
	}
	if refused > 0 {
		return fmt.Errorf("%d refused: correct what is named above and apply again", refused)
	}
	return nil
}

func (a *App) read(file string) ([]byte, error) {
	if file == "-" {
		return io.ReadAll(a.In)
	}
	return os.ReadFile(file)
}
