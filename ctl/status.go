package ctl

import (
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/meshd/meshd/ctl/api"
	"github.com/meshd/meshd/ctl/show"
)

func (a *App) statusCommand() *cobra.Command {
	var out format
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show services, their instances and the clients of meshd",
		Example: `  meshctl status
  meshctl status -o json | jq '.services[].name'`,
		Args: cobra.NoArgs,
		RunE: verb(func(cmd *cobra.Command, _ []string) error {
			return a.withClient(func(c *api.Client) error {
				status, err := c.Status(cmd.Context())
				if err != nil {
					return err
				}
				return out.print(a.Out, status, func() []string { return statusTable(c.URL(), status) })
			})
		}),
	}
	out.flag(cmd)
	return cmd
}

func statusTable(url string, s api.Status) []string {
	lines := []string{fmt.Sprintf("meshd %s at %s, up %s", s.Version, url, show.Age(s.UptimeSeconds)), ""}
	if len(s.Services) == 0 {
		lines = append(lines, "No services. Run one with: meshctl run --name NAME --port PORT -- COMMAND")
	} else {
		lines = append(lines, serviceTable(s.Services)...)
	}
	if instances := instanceRows(s.Services); len(instances) > 1 {
		lines = append(append(lines, ""), show.Columns(instances)...)
	}
	if len(s.Clients) > 0 {
		rows := [][]string{{"CLIENT", ">CONNECTED", ">ACKED", ">REFUSED", "LAST REFUSAL"}}
		for _, c := range s.Clients {
			rows = append(rows, []string{c.ID, show.Age(c.ConnectedSeconds), strconv.Itoa(c.Acked), strconv.Itoa(c.Nacked), c.LastNack})
		}
		lines = append(append(lines, ""), show.Columns(rows)...)
	}
	return lines
}

func serviceTable(services []api.Service) []string {
	rows := [][]string{{"NAMESPACE", "SERVICE", ">PORT", "PROTOCOL", ">READY", "SOURCE"}}
	for _, s := range services {
		ready := 0
		for _, i := range s.Instances {
			if i.Ready && !i.Draining {
				ready++
			}
		}
		rows = append(rows, []string{s.Namespace, s.Name, strconv.Itoa(s.Port), s.Protocol, fmt.Sprintf("%d/%d", ready, len(s.Instances)), s.Source})
	}
	return show.Columns(rows)
}

func instanceRows(services []api.Service) [][]string {
	rows := [][]string{{"SERVICE", "INSTANCE", "ADDRESS", "STATE", "ZONE", "ADMIN", ">PID", ">AGE"}}
	for _, s := range services {
		for _, i := range s.Instances {
			zone := i.Zone
			if i.Region != "" {
				zone = i.Region + "/" + zone
			}
			rows = append(rows, []string{
				fmt.Sprintf("%s:%d", show.Name(s.Namespace, s.Name), s.Port), i.ID, i.Address, state(i), zone, i.Admin,
				strconv.Itoa(i.PID), show.Age(i.AgeSeconds),
			})
		}
	}
	return rows
}

func state(i api.Instance) string {
	switch {
	case i.Draining:
		return "draining"
	case i.Ready:
		return "ready"
	}
	return "not ready"
}
