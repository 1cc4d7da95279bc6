package tracing

import (
	"errors"
	"maps"
	"os"
	"strings"
	"testing"
)

const someID = "3f1c9d2e4b5a69788796a5b4c3d2e1f00112233445566778899aabbccddeeff0"

func TestSurroundings(t *testing.T) {
	pod := map[string]string{
		"KUBERNETES_SERVICE_HOST": "10.96.0.1", "POD_NAME": "checkout-7d4b9c6f5-x2x9k", "POD_NAMESPACE": "shop", "POD_UID": "0f1e",
		"NODE_NAME": "node-1", "CONTAINER_NAME": "sidecar",
	}
	with := func(more map[string]string) map[string]string {
		out := maps.Clone(pod)
		maps.Copy(out, more)
		return out
	}
	inPod := map[string]string{
		"k8s.pod.name": "checkout-7d4b9c6f5-x2x9k", "k8s.namespace.name": "shop", "k8s.pod.uid": "0f1e",
		"k8s.node.name": "node-1", "k8s.container.name": "sidecar",
	}
	owned := maps.Clone(inPod)
	owned["k8s.deployment.name"], owned["k8s.replicaset.name"] = "checkout", "checkout-7d4b9c6f5"
	named := maps.Clone(owned)
	named["k8s.deployment.name"] = "front"
	contained := maps.Clone(inPod)
	contained["container.id"] = someID
	for name, c := range map[string]struct {
		env, files map[string]string
		want       map[string]string
	}{
		"a machine":              {nil, nil, map[string]string{"host.name": "box"}},
		"NODE_NAME elsewhere":    {map[string]string{"NODE_NAME": "jenkins-3", "POD_NAME": "p"}, nil, map[string]string{"host.name": "box"}},
		"a pod":                  {pod, nil, inPod},
		"of a Deployment":        {with(map[string]string{"POD_TEMPLATE_HASH": "7d4b9c6f5"}), nil, owned},
		"of a named Deployment":  {with(map[string]string{"POD_TEMPLATE_HASH": "7d4b9c6f5", "DEPLOYMENT_NAME": "front"}), nil, named},
		"of something else":      {with(map[string]string{"POD_TEMPLATE_HASH": "other"}), nil, inPod},
		"the namespace's file":   {map[string]string{"KUBERNETES_SERVICE_HOST": "x"}, map[string]string{namespaceFile: "shop\n"}, map[string]string{"k8s.namespace.name": "shop"}},
		"the variable before it": {pod, map[string]string{namespaceFile: "other"}, inPod},
		"a container":            {pod, map[string]string{"/proc/self/cgroup": "0::/kubepods/pod0f1e/" + someID + "\n"}, contained},
	} {
		s := surroundings{
			getenv: getenv(c.env), hostname: func() (string, error) { return "box", nil },
			readFile: func(name string) string { return c.files[name] },
		}
		got := map[string]string{}
		for _, kv := range s.attributes() {
			got[string(kv.Key)] = kv.Value.AsString()
		}
		if !maps.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
	nowhere := surroundings{getenv: getenv(nil), hostname: func() (string, error) { return "", errors.New("none") }, readFile: func(string) string { return "" }}
	if got := nowhere.attributes(); len(got) != 0 {
		t.Errorf("nowhere: %v", got)
	}
}

func TestContainerID(t *testing.T) {
	other := strings.Repeat("ab", 32)
	for name, c := range map[string]struct{ cgroup, mounts, want string }{
		"none":                {"0::/user.slice/user-0.slice/session-1.scope\n", "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n", ""},
		"Docker, v1":          {"12:cpu:/\n11:memory:/docker/" + someID + "\n", "", someID},
		"systemd":             {"0::/system.slice/docker-" + someID + ".scope\n", "", someID},
		"containerd, systemd": {"1:name=systemd:/kubepods.slice/kubepods-pod0f1e.slice/cri-containerd-" + someID + ".scope", "", someID},
		"Docker, v2":          {"0::/\n", "605 594 8:1 /var/lib/docker/containers/" + someID + "/hostname /etc/hostname rw - ext4 /dev/sda1 rw\n", someID},
		"Podman":              {"0::/\n", "605 594 8:1 /containers/storage/overlay-containers/" + someID + "/userdata/hostname /etc/hostname rw - tmpfs tmpfs rw\n", someID},
		"only the sandbox's":  {"0::/\n", "605 594 8:1 /var/lib/containerd/io.containerd.grpc.v1.cri/sandboxes/" + other + "/hostname /etc/hostname rw - ext4 x rw\n", ""},
		"too long":            {"0::/" + someID + "0\n", "", ""},
	} {
		if got := containerID(c.cgroup, c.mounts); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

func FuzzContainerID(f *testing.F) {
	f.Add("0::/docker-"+someID+".scope\n", "")
	f.Add("", "/overlay-containers/"+someID+"/x")
	f.Fuzz(func(t *testing.T, cgroup, mountinfo string) {
		if id := containerID(cgroup, mountinfo); id != "" && (len(id) != 64 || !strings.Contains(cgroup+mountinfo, id)) {
			t.Fatalf("%q", id)
		}
	})
}

func TestReadSmall(t *testing.T) {
	name := t.TempDir() + "/file"
	if err := os.WriteFile(name, make([]byte, maxProcFile+1), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := len(readSmall(name)); got != maxProcFile || readSmall(name+"x") != "" {
		t.Errorf("%d bytes", got)
	}
}
