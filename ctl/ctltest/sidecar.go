package ctltest

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
)

// sidecar is a sidecar without a mesh: it forwards calls that come to
// --outbound to any instance of the service that they name. The instances are
// files beside its state directory, for there is no xDS here.
func sidecar(args []string) {
	flags := flag.NewFlagSet("sidecar", flag.ExitOnError)
	service, instance := flags.String("service", "", ""), flags.String("instance", "", "")
	app, outbound, admin := flags.String("app", "", ""), flags.String("outbound", "", ""), flags.String("admin", "", "")
	state := flags.String("state-dir", "", "")
	for _, name := range []string{"namespace", "meshd", "inbound", "service-port", "drain"} {
		flags.String(name, "", "")
	}
	flags.Parse(args)
	registry := filepath.Join(filepath.Dir(*state), "registry")
	if *instance != "" {
		file := filepath.Join(registry, *service, *instance)
		os.MkdirAll(filepath.Dir(file), 0o700)
		os.WriteFile(file, []byte(*app), 0o600)
		defer os.Remove(file)
	}
	if *outbound != "" {
		go http.ListenAndServe(*outbound, &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
			files, _ := filepath.Glob(filepath.Join(registry, r.In.Host, "*"))
			target := "127.0.0.1:1"
			if len(files) > 0 {
				b, _ := os.ReadFile(files[rand.IntN(len(files))])
				target = string(b)
			}
			r.SetURL(&url.URL{Scheme: "http", Host: target})
		}})
	}
	serve(*admin, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") }))
}
