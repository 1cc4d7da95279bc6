package tracing

import (
	"io"
	"os"
	"regexp"
	"strings"

	"go.opentelemetry.io/otel/attribute"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
)

// surroundings are where the process runs, as far as it can know.
type surroundings struct {
	getenv   func(string) string
	readFile func(string) string // empty where there is no such file
	hostname func() (string, error)
}

// podVariables are those that a pod's manifest fills from the downward API, by
// the names that are usual; CONTAINER_NAME and DEPLOYMENT_NAME it has to say.
var podVariables = []struct {
	name string
	key  attribute.Key
}{
	{"POD_NAME", semconv.K8SPodNameKey},
	{"POD_NAMESPACE", semconv.K8SNamespaceNameKey},
	{"POD_UID", semconv.K8SPodUIDKey},
	{"NODE_NAME", semconv.K8SNodeNameKey},
	{"CONTAINER_NAME", semconv.K8SContainerNameKey},
	{"DEPLOYMENT_NAME", semconv.K8SDeploymentNameKey},
}

const namespaceFile = "/var/run/secrets/kubernetes.io/serviceaccount/namespace"

// attributes are those of a resource, by the semantic conventions. The pod's
// variables count inside Kubernetes only (KUBERNETES_SERVICE_HOST is set):
// elsewhere such names mean other things. There the host's name is the pod's.
func (s surroundings) attributes() (out []attribute.KeyValue) {
	has := map[attribute.Key]bool{}
	add := func(key attribute.Key, value string) {
		if value = strings.TrimSpace(value); value != "" && !has[key] {
			has[key] = true
			out = append(out, key.String(value))
		}
	}
	if s.getenv("KUBERNETES_SERVICE_HOST") == "" {
		host, _ := s.hostname()
		add(semconv.HostNameKey, host)
	} else {
		for _, v := range podVariables {
			add(v.key, s.getenv(v.name))
		}
		add(semconv.K8SNamespaceNameKey, s.readFile(namespaceFile))
		if deployment, set, ok := ownersOf(s.getenv("POD_NAME"), s.getenv("POD_TEMPLATE_HASH")); ok {
			add(semconv.K8SReplicaSetNameKey, set)
			add(semconv.K8SDeploymentNameKey, deployment)
		}
	}
	add(semconv.ContainerIDKey, containerID(s.readFile("/proc/self/cgroup"), s.readFile("/proc/self/mountinfo")))
	return out
}

// ownersOf finds the Deployment and the ReplicaSet of a pod by its label
// pod-template-hash: they are named DEPLOYMENT-HASH, and the pod
// DEPLOYMENT-HASH-XXXXX.
func ownersOf(pod, hash string) (deployment, set string, ok bool) {
	if hash == "" {
		return "", "", false
	}
	at := strings.LastIndex(pod, "-")
	if at < 0 {
		return "", "", false
	}
	set = pod[:at]
	deployment, ok = strings.CutSuffix(set, "-"+hash)
	return deployment, set, ok && deployment != ""
}

var (
	// The last part of a cgroup's path: ID, docker-ID.scope, cri-containerd-ID.scope.
	cgroupID = regexp.MustCompile(`^(?:[a-z-]+-)?([0-9a-f]{64})(?:\.scope)?$`)
	// Where Docker, Podman and CRI-O keep a container's hostname and such.
	mountID = regexp.MustCompile(`/(?:overlay-)?containers/([0-9a-f]{64})/`)
)

// containerID finds the container that the process is in, by its cgroups, and
// where they are hidden (cgroup v2 with a namespace) by its mounts; empty: none.
func containerID(cgroup, mountinfo string) string {
	for line := range strings.Lines(cgroup) {
		line = strings.TrimSpace(line)
		if m := cgroupID.FindStringSubmatch(line[strings.LastIndexByte(line, '/')+1:]); m != nil {
			return m[1]
		}
	}
	if m := mountID.FindStringSubmatch(mountinfo); m != nil {
		return m[1]
	}
	return ""
}

// maxProcFile bounds what is read of such a file, in bytes.
const maxProcFile = 1 << 20

func readSmall(name string) string {
	f, err := os.Open(name)
	if err != nil {
		return ""
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxProcFile))
	if err != nil {
		return ""
	}
	return string(b)
}
