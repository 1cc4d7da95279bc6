package call

import (
	"testing"
	"time"

	"github.com/meshd/meshd/sidecar/stats"
	"github.com/meshd/meshd/tracing"
	"github.com/meshd/meshd/xds/resource"
)

type nobody struct{}

func (nobody) Resume(*Waiter)   {}
func (nobody) Subject() Subject { return Subject{} }

// The cost of a call's bookkeeping: outbound with every default on, and inbound.
func BenchmarkCall(b *testing.B) {
	epoch := time.Now()
	now := func() int64 { return int64(time.Since(epoch)) }
	cfg := policy
	cfg.Balancer, cfg.Balancing, cfg.Hold = "peak_ewma", resource.DefaultBalancing(), resource.Hold{Calls: 1024, Wait: 10 * time.Second}
	cfg.Limits = resource.Limits{Requests: 1024}
	cluster := &Cluster{Name: cfg.Name, Now: now, Factory: func(resource.Cluster, resource.Endpoint) any { return nil }}
	if err := cluster.Update(&cfg, endpoints("10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80", "10.0.0.4:80")); err != nil {
		b.Fatal(err)
	}
	reg := stats.NewRegistry()
	tracer := &Tracer{Sampler: tracing.NewSampler(0), Emit: func(tracing.Span) {}, Joins: NewJoins(), Records: NewRecords()}
	for _, v := range []struct{ server, sampled bool }{{false, false}, {true, false}, {false, true}, {true, true}} {
		server := v.server
		r := &Route{
			Route: resource.Route{
				Prefix: "/", TraceRatio: -1, Timeout: 15 * time.Second, Hedge: resource.Hedge{Share: 0.02},
				Clusters: []resource.WeightedCluster{{Name: cfg.Name, Weight: 1}},
				Retry:    resource.Retry{Attempts: 2, On: resource.RetryReset},
			},
			Server: server, Mesh: !server, Clusters: []*Cluster{cluster},
		}
		name := "outbound"
		if server {
			name, r.Service = "inbound", reg.Server(cfg.Name)
			r.Gate = NewGateway(now)
		} else {
			r.Service = reg.Client(cfg.Name)
		}
		r.Stats = r.Service.Route("")
		r.Init(nil, now)
		if v.sampled {
			name += ", sampled"
		}
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			var c Call
			var buf [128]byte
			get, path, peer := []byte("GET"), []byte("/orders/1?x=y"), []byte("10.0.0.9")
			parent := tracing.SpanContext{TraceID: [16]byte{1}, SpanID: [8]byte{1}}
			if v.sampled {
				parent.Flags = tracing.FlagSampled
			}
			for i := range b.N {
				parent.TraceID[8], parent.TraceID[15] = byte(i>>8), byte(i)
				t := now()
				said := Said{Parent: parent, HasParent: true}
				if server {
					said.Timeout = 15 * time.Second
				}
				if c.Begin(tracer, r, &said, nobody{}, t) != Go || c.Pick(t) == nil {
					b.Fatal("it does not go")
				}
				c.Describe(get, path, peer, nil)
				c.DescribeProtocol("2", false)
				if server {
					c.AppendLoad(buf[:0])
				} else {
					c.HedgeAfter(t)
					c.Tell(t)
				}
				c.Answered()
				c.Done(t+1e6, 200, stats.ErrNone, 1e6)
				c.End(t+1e6, 200, stats.ErrNone)
			}
		})
	}
}
