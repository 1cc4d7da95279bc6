package ctl

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/meshd/meshd/ctl/api"
	"github.com/meshd/meshd/ctl/show"
)

// Routes are counted by the sidecars that call a service, since their start: a
// figure of now is the difference between two looks.
type routeLooks struct {
	service string
	also    []string // admin addresses beside those that meshd knows
	last    map[string]api.SidecarStats
}

// A routeSum is what the calls of a route between two looks add up to.
type routeSum struct {
	count, failed uint64
	perSecond     float64
	ms            float64
	buckets       map[int]uint64 // at bucketScale
}

// bucketScale is that of all sidecars' histograms.
const bucketScale = 5

// look asks all sidecars, since any may call the service. The first look finds
// nothing to compare with.
func (l *routeLooks) look(ctx context.Context, c *api.Client) ([]show.Route, error) {
	status, err := c.Status(ctx)
	if err != nil {
		return nil, err
	}
	if !slices.ContainsFunc(status.Services, func(s api.Service) bool { return isService(s, l.service) }) {
		return nil, fmt.Errorf("no service %s: see meshctl status", l.service)
	}
	of := sidecarsOf(status, "")
	for _, addr := range l.also {
		of = append(of, sidecarAt{addr: addr})
	}
	now := make([]api.SidecarStats, len(of))
	errs := eachSidecar(ctx, of, func(ctx context.Context, i int, s sidecarAt) (err error) {
		now[i], err = api.Stats(ctx, s.addr)
		return err
	})
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	sums := map[string]*routeSum{}
	next := map[string]api.SidecarStats{}
	for i, s := range of {
		if errs[i] != nil {
			continue
		}
		next[s.addr] = now[i]
		if before, ok := l.last[s.addr]; ok {
			if err := l.between(sums, before, now[i]); err != nil {
				return nil, fmt.Errorf("sidecar %s: %w", s.addr, err)
			}
		}
	}
	l.last = next
	if len(next) == 0 {
		return nil, errNoSidecar
	}
	return routeRows(sums), nil
}

var errScale = errors.New("its histograms are not those of this meshctl: use the one that came with it")

// between adds what a sidecar has counted between two looks.
func (l *routeLooks) between(sums map[string]*routeSum, before, now api.SidecarStats) error {
	seconds := now.Time.Sub(before.Time).Seconds()
	if seconds <= 0 {
		return nil
	}
	type key struct{ service, route, grpc, err, status string }
	at := func(service string, s *api.RouteSeries) key {
		return key{service, s.Route, s.GRPC, s.Error, fmt.Sprint(s.Status)}
	}
	was := map[key]*api.RouteSeries{}
	for _, svc := range before.Client {
		for i := range svc.Series {
			was[at(svc.Name, &svc.Series[i])] = &svc.Series[i]
		}
	}
	for _, svc := range now.Client {
		if !namesService(svc.Name, l.service) {
			continue
		}
		for i := range svc.Series {
			s := &svc.Series[i]
			old := was[at(svc.Name, s)]
			if old == nil || old.Count > s.Count { // new, or of a sidecar that has started again
				old = &api.RouteSeries{}
			}
			sum := sums[s.Route]
			if sum == nil {
				sum = &routeSum{buckets: map[int]uint64{}}
				sums[s.Route] = sum
			}
			n := s.Count - old.Count
			sum.count += n
			sum.perSecond += float64(n) / seconds
			sum.ms += s.MeanMs*float64(s.Count) - old.MeanMs*float64(old.Count)
			if callFailed(s) {
				sum.failed += n
			}
			if err := addBuckets(sum.buckets, s.Buckets, 1); err != nil {
				return err
			}
			if err := addBuckets(sum.buckets, old.Buckets, math.MaxUint64); err != nil { // takes away
				return err
			}
		}
	}
	return nil
}

// addBuckets adds each count so many times, modulo 2^64.
func addBuckets(to map[int]uint64, b *api.Buckets, times uint64) error {
	if b == nil {
		return nil
	}
	if b.Scale != bucketScale {
		return errScale
	}
	for i, n := range b.Counts {
		to[b.Offset+i] += n * times
	}
	return nil
}

// namesService reports whether a canonical name, NAMESPACE/NAME:PORT, is what
// somebody asks for, who may leave out namespace and port.
func namesService(name, asked string) bool {
	namespace, bare, port := splitService(name)
	wantNamespace, wantBare, wantPort := splitService(asked)
	return bare == wantBare && (wantNamespace == "" || namespace == wantNamespace) && (wantPort == "" || port == wantPort)
}

// grpcFailures are the statuses that are the server's (docs/reference/wire.md).
var grpcFailures = []string{"UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"}

func callFailed(s *api.RouteSeries) bool {
	return s.Error != "" || s.Status >= 500 || slices.Contains(grpcFailures, s.GRPC)
}

func routeRows(sums map[string]*routeSum) []show.Route {
	out := make([]show.Route, 0, len(sums))
	for _, name := range slices.Sorted(maps.Keys(sums)) {
		s := sums[name]
		r := show.Route{Name: name, RPS: s.perSecond, Success: 1}
		if s.count > 0 {
			r.Success = 1 - float64(s.failed)/float64(s.count)
			r.MeanMs = max(s.ms/float64(s.count), 0)
			r.P50Ms, r.P90Ms, r.P99Ms = s.quantile(0.5), s.quantile(0.9), s.quantile(0.99)
		}
		out = append(out, r)
	}
	slices.SortStableFunc(out, func(a, b show.Route) int { return cmp.Compare(b.RPS, a.RPS) })
	return out
}

// quantile is in ms, within 1.1 %.
func (s *routeSum) quantile(q float64) float64 {
	var total, seen uint64
	for _, n := range s.buckets {
		total += n
	}
	rank := max(uint64(math.Ceil(q*float64(total))), 1)
	for _, i := range slices.Sorted(maps.Keys(s.buckets)) {
		if seen += s.buckets[i]; seen >= rank {
			return math.Exp2((float64(i)+0.5)/(1<<bucketScale)) * 1000
		}
	}
	return 0
}

// routeTable is the table of a service's routes.
func routeTable(service string, rows []show.Route) []string {
	if len(rows) == 0 {
		return []string{"no sidecar that can be asked has called " + strings.TrimPrefix(service, "default/")}
	}
	return show.Routes(rows)
}
