// Package cliflag is what the three programs' command lines share: flags that
// are environment variables too, and the logger that two of them choose.
package cliflag

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/pflag"
)

const envPrefix = "MESHD_"

// FromEnvironment sets the flags that the command line has not: --xds-addr from
// MESHD_XDS_ADDR, and so on. An empty variable counts as not there.
func FromEnvironment(flags *pflag.FlagSet, getenv func(string) string) error {
	var errs []error
	flags.VisitAll(func(f *pflag.Flag) {
		name := envPrefix + strings.ToUpper(strings.ReplaceAll(f.Name, "-", "_"))
		value := getenv(name)
		if f.Changed || value == "" || f.Name == "help" || f.Name == "version" {
			return
		}
		if err := flags.Set(f.Name, value); err != nil {
			errs = append(errs, fmt.Errorf("environment variable %s: %w", name, err))
		}
	})
	return errors.Join(errs...)
}
