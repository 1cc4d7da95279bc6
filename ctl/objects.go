package ctl

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/meshd/meshd/ctl/api"
	"github.com/meshd/meshd/ctl/show"
)

// kinds are the objects that meshd holds, by what a user may call them;
// "instances" are no objects, but got the same way.
var kinds = map[string]string{
	"service": "Service", "services": "Service", "svc": "Service",
	"trafficpolicy": "TrafficPolicy", "trafficpolicies": "TrafficPolicy", "tp": "TrafficPolicy",
	"endpointslice": "EndpointSlice", "endpointslices": "EndpointSlice", "eps": "EndpointSlice",
	"httproute": "HTTPRoute", "httproutes": "HTTPRoute",
	"grpcroute": "GRPCRoute", "grpcroutes": "GRPCRoute",
	"instance": instanceKind, "instances": instanceKind,
}

const (
	instanceKind  = "Instance"
	acceptedKinds = "services, trafficpolicies, endpointslices, httproutes, grpcroutes"
)

func kindOf(arg string) (string, error) {
	if kind, ok := kinds[strings.ToLower(arg)]; ok {
		return kind, nil
	}
	return "", usagef("kind %q: want %s or instances", arg, acceptedKinds)
}

func completeKinds(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return []string{"services", "trafficpolicies", "endpointslices", "httproutes", "grpcroutes", "instances"}, cobra.ShellCompDirectiveNoFileComp
}

func (a *App) getCommand() *cobra.Command {
	var out format
	var namespace string
	cmd := &cobra.Command{
		Use:   "get KIND [NAME]",
		Short: "Show objects or instances",
		Long:  "Show objects (" + acceptedKinds + ") as meshd holds them, or instances.",
		Example: `  meshctl get services
  meshctl get trafficpolicy checkout -o yaml
  meshctl get instances -n shop`,
		Args:              between(1, 2),
		ValidArgsFunction: completeKinds,
		RunE: verb(func(cmd *cobra.Command, args []string) error {
			kind, err := kindOf(args[0])
			if err != nil {
				return err
			}
			name := ""
			if len(args) == 2 {
				name = args[1]
			}
			return a.withClient(func(c *api.Client) error {
				if kind == instanceKind {
					return a.getInstances(cmd, c, out, namespace, name)
				}
				items, err := c.Objects(cmd.Context(), kind, namespace, name)
				if err != nil {
					return err
				}
				if name != "" && len(items) == 0 {
					return fmt.Errorf("no %s %s: see meshctl get %s", kind, name, args[0])
				}
				return a.printObjects(out, items)
			})
		}),
	}
	out.flag(cmd)
	cmd.Flags().StringVarP(&namespace, "namespace", "n", "", "only this namespace")
	return cmd
}

// printObjects writes YAML as documents, so that they can be applied again.
func (a *App) printObjects(out format, items []api.Object) error {
	switch out {
	case "yaml":
		for i, item := range items {
			if i > 0 {
				fmt.Fprintln(a.Out, "---")
			}
			if err := out.print(a.Out, item.Object, nil); err != nil {
				return err
			}
		}
		return nil
	case "json":
		objects := make([]json.RawMessage, 0, len(items))
		for _, item := range items {
			objects = append(objects, item.Object)
		}
		return out.print(a.Out, objects, nil)
	}
	if len(items) == 0 {
		fmt.Fprintln(a.Err, "none found")
		return nil
	}
	rows := [][]string{{"NAMESPACE", "KIND", "NAME", "SOURCE"}}
	for _, item := range items {
		rows = append(rows, []string{item.Namespace, item.Kind, item.Name, item.Source})
	}
	return printLines(a.Out, show.Columns(rows))
}

func (a *App) getInstances(cmd *cobra.Command, c *api.Client, out format, namespace, name string) error {
	status, err := c.Status(cmd.Context())
	if err != nil {
		return err
	}
	services := slices.DeleteFunc(status.Services, func(s api.Service) bool {
		return namespace != "" && s.Namespace != namespace
	})
	instances := []api.Instance{}
	for i := range services {
		s := &services[i]
		s.Instances = slices.DeleteFunc(s.Instances, func(i api.Instance) bool { return name != "" && i.ID != name })
		instances = append(instances, s.Instances...)
	}
	if name != "" && len(instances) == 0 {
		return fmt.Errorf("no instance %s: see meshctl get instances", name)
	}
	return out.print(a.Out, instances, func() []string { return show.Columns(instanceRows(services)) })
}

func (a *App) deleteCommand() *cobra.Command {
	var namespace string
	cmd := &cobra.Command{
		Use:               "delete KIND NAME",
		Short:             "Delete an object that was applied",
		Long:              "Delete an object (" + acceptedKinds + ") that came by meshctl apply. One that\ncomes from a file is deleted in its file.",
		Example:           `  meshctl delete trafficpolicy checkout -n shop`,
		Args:              between(2, 2),
		ValidArgsFunction: completeKinds,
		RunE: verb(func(cmd *cobra.Command, args []string) error {
			kind, err := kindOf(args[0])
			if err != nil {
				return err
			}
			if kind == instanceKind {
				return usagef("instances are not deleted: scale their service with meshctl scale")
			}
			return a.withClient(func(c *api.Client) error {
				if err := c.Delete(cmd.Context(), kind, namespace, args[1]); err != nil {
					return err
				}
				fmt.Fprintf(a.Out, "%s/%s deleted\n", strings.ToLower(kind), args[1])
				return nil
			})
		}),
	}
	cmd.Flags().StringVarP(&namespace, "namespace", "n", "default", "its namespace")
	return cmd
}
