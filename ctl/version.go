package ctl

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/meshd/meshd/ctl/api"
)

// versionTimeout is how long meshctl version waits for meshd's.
const versionTimeout = time.Second

func (a *App) versionCommand() *cobra.Command {
	var out format
	cmd := &cobra.Command{
		Use:     "version",
		Short:   "Print meshctl's version, and meshd's if it can be reached",
		Example: `  meshctl version -o json`,
		Args:    cobra.NoArgs,
		RunE: verb(func(cmd *cobra.Command, _ []string) error {
			versions := struct {
				Meshctl string `json:"meshctl"`
				Meshd   string `json:"meshd,omitempty"`
			}{Meshctl: a.Version}
			err := a.withClient(func(c *api.Client) error {
				ctx, cancel := context.WithTimeout(cmd.Context(), versionTimeout)
				defer cancel()
				status, err := c.Status(ctx)
				versions.Meshd = status.Version
				return err
			})
			return out.print(a.Out, versions, func() []string {
				lines := []string{"meshctl " + versions.Meshctl}
				if err == nil {
					return append(lines, "meshd   "+versions.Meshd)
				}
				return append(lines, fmt.Sprintf("meshd   unknown: %v", err))
			})
		}),
	}
	out.flag(cmd)
	return cmd
}
