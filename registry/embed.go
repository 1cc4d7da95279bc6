package registry

import (
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"syscall"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3client"
)

// The embedded member elects itself, so its election is as short as etcd
// allows beside a tick that does not keep a laptop awake. etcd rounds leases
// up to 1.5 elections, to whole seconds: 1 s here.
const (
	tick     = 50 * time.Millisecond
	election = 250 * time.Millisecond
	// startTimeout bounds the replay of the log and the election.
	startTimeout = 30 * time.Second
	// keepRevisions of history are kept by compaction, which etcd runs every
	// five minutes; watchers that are further behind start afresh.
	keepRevisions = "1000"
)

// embedded is a single-member etcd in this process. It listens on nothing:
// its client calls it directly, so no other user of the machine can reach it.
type embedded struct {
	etcd *embed.Etcd
	lock *os.File
}

// startEmbedded starts a member whose data is in dir, and waits until it leads.
func startEmbedded(dir string, noSync bool, log *slog.Logger) (*embedded, *clientv3.Client, error) {
	lock, err := lockDir(dir)
	if err != nil {
		return nil, nil, err
	}
	cfg := embed.NewConfig()
	cfg.Name = "meshd"
	cfg.Dir = dir
	cfg.ListenPeerUrls = nil
	cfg.ListenClientUrls = nil
	// Nobody connects to this address; etcd wants its one member to have one.
	self := url.URL{Scheme: "http", Host: "localhost:0"}
	cfg.AdvertisePeerUrls = []url.URL{self}
	cfg.AdvertiseClientUrls = []url.URL{self}
	cfg.InitialCluster = cfg.Name + "=" + self.String()
	cfg.TickMs = uint(tick.Milliseconds())
	cfg.ElectionMs = uint(election.Milliseconds())
	cfg.AutoCompactionMode = embed.CompactorModeRevision
	cfg.AutoCompactionRetention = keepRevisions
	cfg.UnsafeNoFsync = noSync
	cfg.ZapLoggerBuilder = embed.NewZapLoggerBuilder(zapTo(log))

	etcd, err := embed.StartEtcd(cfg)
	if err != nil {
		lock.Close()
		return nil, nil, fmt.Errorf("start embedded etcd in %s: %w", dir, err)
	}
	e := &embedded{etcd: etcd, lock: lock}
	timeout := time.NewTimer(startTimeout)
	defer timeout.Stop()
	select {
	case <-etcd.Server.ReadyNotify():
		return e, v3client.New(etcd.Server), nil
	case err = <-etcd.Err():
	case <-etcd.Server.StopNotify():
		err = errors.New("it stopped by itself")
	case <-timeout.C:
		err = fmt.Errorf("not ready after %v", startTimeout)
	}
	e.close()
	return nil, nil, fmt.Errorf("start embedded etcd in %s: %w", dir, err)
}

func (e *embedded) close() {
	e.etcd.Close()
	e.lock.Close()
}

// lockDir makes dir and takes it for this process: etcd itself would wait
// for the other process without a word.
func lockDir(dir string) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("data directory: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(dir, "meshd.lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("data directory: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("data directory %s is in use by another meshd; stop it or give this one another --data-dir", filepath.Dir(dir))
		}
		return nil, fmt.Errorf("data directory %s: lock: %w", dir, err)
	}
	return f, nil
}
