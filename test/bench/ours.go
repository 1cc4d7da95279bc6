package main

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"strconv"
)

// findOurs looks into bin, where meshd must be as well.
func findOurs(bin string) (string, error) {
	for _, name := range []string{"meshd", "sidecar"} {
		if _, err := exec.LookPath(filepath.Join(bin, name)); err != nil {
			return "", fmt.Errorf("%s: make build makes it: %w", name, err)
		}
	}
	return filepath.Join(bin, "sidecar"), nil
}

// startOurs starts meshd with the objects of conf/mesh.yaml and a sidecar that
// learns them over xDS, exports its metrics to meshd every second and its
// spans to the sink. Nothing else differs from what a user gets by default.
func startOurs(ctx context.Context, r *rig, protocol, dir string) (*running, error) {
	return startOursWith(ctx, r, protocol, dir, nil, nil)
}

// startOursWith is startOurs with more environment and flags of the sidecar.
func startOursWith(ctx context.Context, r *rig, protocol, dir string, moreEnv, moreArgs []string) (*running, error) {
	addrs, err := freeAddrs(6)
	if err != nil {
		return nil, err
	}
	xds, http, outbound, inbound, admin := addrs[0], addrs[1], addrs[2], addrs[3], addrs[4]
	conf, err := render(dir, "mesh.yaml", values{Protocol: protocol, Backends: r.backends.addrs[protocol]})
	if err != nil {
		return nil, err
	}
	meshd, err := startProcess("meshd", nil, filepath.Join(r.bin, "meshd"),
		"--config", conf, "--xds-addr", xds, "--http-addr", http, "--data-dir", filepath.Join(dir, "meshd"))
	if err != nil {
		return nil, err
	}
	if err := meshd.ready(ctx, "http://"+http+"/readyz", http); err != nil {
		meshd.stop()
		return nil, err
	}
	env := []string{"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL=grpc", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=http://" + r.sink.addr}
	if r.gomaxprocs > 0 {
		env = append(env, "GOMAXPROCS="+strconv.Itoa(r.gomaxprocs))
	}
	args := []string{
		"--service", "bench", "--namespace", "default", "--meshd", xds, "--outbound", outbound,
		"--inbound", inbound, "--app", r.backends.addrs[protocol][0], "--admin", admin,
	}
	listen := outbound
	if protocol == protoTCP {
		listen = addrs[5]
		args = append(args, "--tcp-listen", listen+"="+authority)
	}
	sidecar, err := startProcess("sidecar", append(env, moreEnv...), filepath.Join(r.bin, "sidecar"), append(args, moreArgs...)...)
	if err != nil {
		meshd.stop()
		return nil, err
	}
	if err := sidecar.ready(ctx, "http://"+admin+"/ready", admin); err != nil {
		sidecar.stop()
		meshd.stop()
		return nil, err
	}
	run := &running{listen: listen, admin: admin, process: sidecar, others: []*process{meshd}}
	return run.begin(ctx, protocol)
}
