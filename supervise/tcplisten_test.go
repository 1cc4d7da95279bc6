package supervise

import (
	"slices"
	"strings"
	"testing"
)

func TestTCPListen(t *testing.T) {
	m := Meshed{Name: "web", Namespace: "default", Command: []string{"web"}, StateDir: t.TempDir(), AppProtocol: "h2c"}
	for _, s := range []string{"postgres:5432", "127.0.0.1:6379=redis.cache:6379"} {
		l, err := ParseTCPListen(s)
		if err != nil {
			t.Fatal(err)
		}
		m.TCPListen = append(m.TCPListen, l)
	}
	if n := m.Ports(); n != MeshedPorts+1 {
		t.Fatalf("%d ports", n)
	}
	specs, err := m.Build("web-0", []int{1, 2, 3, 4, 5})
	if err != nil {
		t.Fatal(err)
	}
	for _, kv := range []string{"MESHD_TCP_POSTGRES_5432=127.0.0.1:5", "MESHD_TCP_REDIS_CACHE_6379=127.0.0.1:6379"} {
		if !slices.Contains(specs[0].Env, kv) {
			t.Errorf("%s is not in %v", kv, specs[0].Env)
		}
	}
	args := strings.Join(specs[1].Args, " ")
	if !strings.Contains(args, "--tcp-listen 127.0.0.1:5=postgres:5432 --tcp-listen 127.0.0.1:6379=redis.cache:6379 --app-protocol h2c") {
		t.Errorf("%s", args)
	}
	for _, s := range []string{"", "postgres", ":5432", "=postgres:5432", "127.0.0.1:1=postgres", "postgres:"} {
		if l, err := ParseTCPListen(s); err == nil || !strings.Contains(err.Error(), "postgres:5432") {
			t.Errorf("%q: %+v, %v", s, l, err)
		}
	}
}
