package mesh

import (
	"fmt"
	"math"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// Balancing says how an instance is chosen, beside the balancer's name.
type Balancing struct {
	Hash      Hash
	SlowStart SlowStart
	Locality  Locality
	Reports   Reports
	// PanicThreshold: where a smaller share of the endpoints is fit, all are
	// used, fit or not; 0 turns that off.
	PanicThreshold float64
	Subset         uint32 // endpoints that one client uses; 0 is all
}

// Hash is what ring_hash and maglev go by.
type Hash struct {
	By []HashSource
	// LoadFactor times its share of the calls in flight is what an endpoint
	// takes at most; 0 is no bound.
	LoadFactor float64
	RingMin    uint32 // points of a ring
	RingMax    uint32
	TableSize  uint32 // of maglev, a prime
}

// A HashSource is what of a call is hashed: exactly one of its first five
// fields.
type HashSource struct {
	Header        string // in lower case
	Query         string
	Cookie        string
	SourceAddress bool
	Path          bool

	// Of a cookie: Generate says that a call without it is given one.
	Generate   bool
	TTL        time.Duration // 0: as long as the client's session
	CookiePath string
	// Terminal: nothing after it is hashed, if it is there.
	Terminal bool
}

// SlowStart lets the weight of an instance grow for Window from its start.
type SlowStart struct {
	Window     time.Duration // 0 turns it off
	Aggression float64       // the weight grows with time^(1/Aggression)
	MinWeight  float64       // what it begins with, 0 to 1
}

// Locality says what the zones of callers and instances count.
type Locality struct {
	ZoneAware    bool   // calls stay in the caller's zone, as far as it has enough
	MinEndpoints uint32 // with fewer, zones do not count
}

// Reports says how weighted_round_robin takes weights from what instances
// report of their load (gRFC A58).
type Reports struct {
	Blackout     time.Duration
	Expiration   time.Duration
	Update       time.Duration
	ErrorPenalty float64
}

var balancers = []string{"peak_ewma", "least_request", "round_robin", "weighted_round_robin", "random", "ring_hash", "maglev", "hcl"}

const (
	maxHashSources = 8
	maxRing        = 8 << 20 // Envoy's
	maxTable       = 5_000_011
	maxSubset      = 100_000
	maxPriority    = 127
)

func defaultBalancing() Balancing {
	return Balancing{
		Hash:           Hash{LoadFactor: 1.25, RingMin: 1024, RingMax: maxRing, TableSize: 65537},
		SlowStart:      SlowStart{Window: 10 * time.Second, Aggression: 1, MinWeight: 0.1},
		Locality:       Locality{ZoneAware: true, MinEndpoints: 6},
		Reports:        Reports{Blackout: 10 * time.Second, Expiration: 3 * time.Minute, Update: time.Second, ErrorPenalty: 1},
		PanicThreshold: 0.5,
	}
}

// Hashes reports whether a balancer goes by a hash of the call.
func Hashes(balancer string) bool { return balancer == "ring_hash" || balancer == "maglev" }

// fields are those of a TrafficPolicy's spec.
func (b *Balancing) fields(balancer *string) fields {
	return fields{
		"balancer":       oneOf(balancer, balancers...),
		"hash":           b.Hash.decode,
		"slowStart":      b.SlowStart.decode,
		"locality":       b.Locality.decode,
		"reports":        b.Reports.decode,
		"panicThreshold": number(&b.PanicThreshold, 0, 1),
		"subset":         integer(&b.Subset, 0, maxSubset),
	}
}

// check looks at what several fields of spec say together.
func (b *Balancing) check(spec value, balancer string) {
	if Hashes(balancer) && child(child(spec.n, "hash"), "by") == nil {
		spec.missing("hash.by", "at least one {header: NAME}, {cookie: {name: NAME}}, {query: NAME}, {sourceAddress: true} or {path: true}, since balancer is "+balancer)
	}
}

func (h *Hash) decode(v value) {
	v.fields(fields{
		"by": func(v value) {
			v.each(maxHashSources, func(_ int, v value) { h.decodeSource(v) })
			if v.n.Kind == yaml.SequenceNode && len(v.n.Content) == 0 {
				v.wrong("an empty list: accepted is at least one source")
			}
		},
		"loadFactor": func(v value) {
			number(&h.LoadFactor, 0, 100)(v)
			if h.LoadFactor > 0 && h.LoadFactor < 1 {
				v.refuse("0 (no bound), or a number from 1 to 100")
			}
		},
		"ringSize": func(v value) {
			v.fields(fields{"min": integer(&h.RingMin, 1, maxRing), "max": integer(&h.RingMax, 1, maxRing)})
			if h.RingMin > h.RingMax {
				v.wrong("min is above max: accepted is min up to max")
			}
		},
		"tableSize": func(v value) {
			integer(&h.TableSize, 2, maxTable)(v)
			if !isPrime(h.TableSize) {
				v.refuse("a prime number, such as 65537")
			}
		},
	})
}

func (h *Hash) decodeSource(v value) {
	var s HashSource
	sources := 0
	one := func(decode func(value)) func(value) {
		return func(v value) { sources++; decode(v) }
	}
	v.fields(fields{
		"header":        one(text(&s.Header, isHeaderName, "the name of a header")),
		"query":         one(text(&s.Query, func(s string) bool { return s != "" && isText(s) }, "the name of a query parameter")),
		"sourceAddress": one(yes(&s.SourceAddress)),
		"path":          one(yes(&s.Path)),
		"cookie": one(func(v value) {
			v.fields(fields{
				"name": text(&s.Cookie, isHeaderName, "the name of a cookie"),
				"ttl": func(v value) {
					s.Generate = true
					duration(&s.TTL, 0, 365*24*time.Hour)(v)
				},
				"path": text(&s.CookiePath, isCookiePath, cookiePath),
			})
			if child(v.n, "name") == nil {
				v.missing("name", "the name of a cookie")
			}
		}),
		"terminal": boolean(&s.Terminal),
	})
	if sources != 1 && v.n.Kind == yaml.MappingNode {
		v.wrong(fmt.Sprintf("has %d sources: accepted is exactly one of header, cookie, query, sourceAddress and path", sources))
	}
	s.Header = strings.ToLower(s.Header)
	h.By = append(h.By, s)
}

// yes decodes true: what is not wanted is left out.
func yes(dst *bool) func(value) {
	return func(v value) {
		if v.n.Value != "true" {
			v.refuse("true, or to leave it out")
			return
		}
		boolean(dst)(v)
	}
}

func (s *SlowStart) decode(v value) {
	v.fields(fields{
		"window":     duration(&s.Window, 0, time.Hour),
		"aggression": number(&s.Aggression, 0.01, 100),
		"minWeight":  number(&s.MinWeight, 0, 1),
	})
}

func (l *Locality) decode(v value) {
	v.fields(fields{"zoneAware": boolean(&l.ZoneAware), "minEndpoints": integer(&l.MinEndpoints, 1, math.MaxUint32)})
}

func (r *Reports) decode(v value) {
	v.fields(fields{
		"blackout":     duration(&r.Blackout, 0, time.Hour),
		"expiration":   duration(&r.Expiration, time.Second, maxTime),
		"update":       duration(&r.Update, 100*time.Millisecond, time.Minute),
		"errorPenalty": number(&r.ErrorPenalty, 0, 1000),
	})
}

// isHeaderName reports whether s is a token (RFC 9110 section 5.6.2).
func isHeaderName(s string) bool {
	for i := range len(s) {
		c := s[i]
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0) {
			return false
		}
	}
	return s != "" && len(s) <= 256
}

func isPrime(n uint32) bool {
	for d := uint32(2); uint64(d)*uint64(d) <= uint64(n); d++ {
		if n%d == 0 {
			return false
		}
	}
	return n > 1
}
