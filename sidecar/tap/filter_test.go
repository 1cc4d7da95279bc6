package tap

import (
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/meshd/meshd/sidecar/call"
	"github.com/meshd/meshd/sidecar/stats"
)

func TestFilter(t *testing.T) {
	out := call.Entry{
		Service: "default/checkout:80", Method: "GET", Path: "/items/7", Status: 503, Failed: true, Took: 20 * time.Millisecond, Instance: "checkout-1",
	}
	in := call.Entry{Service: "default/shell:80", Inbound: true, Method: "POST", Path: "/shop.Cart/Add", Status: stats.GRPC(14), Failed: true, Instance: "app"}
	for query, want := range map[string][2]bool{ // out, in
		"":                               {true, true},
		"side=in":                        {false, true},
		"side=out":                       {true, false},
		"service=checkout":               {true, false},
		"service=default/checkout:80":    {true, false},
		"service=shop/checkout":          {false, false},
		"method=get":                     {true, false},
		"path=/items":                    {true, false},
		"path=/shop.Cart/":               {false, true},
		"status=503":                     {true, false},
		"status=5xx":                     {true, false},
		"status=400-499,2XX":             {false, true}, // gRPC's HTTP status
		"status=unavailable":             {false, true},
		"status=404,UNAVAILABLE":         {false, true},
		"error=true":                     {true, true},
		"error=false":                    {true, true},
		"min-latency=20ms":               {true, false},
		"min-latency=21ms":               {false, false},
		"instance=checkout-1":            {true, false},
		"instance=shell-0":               {false, true},
		"instance=app":                   {false, false},
		"method=GET&path=/x&status=503":  {false, false},
		"max-rps=0.5&headers=X-A,b,%20b": {true, true},
	} {
		v, err := url.ParseQuery(query)
		if err != nil {
			t.Fatal(err)
		}
		f, err := ParseFilter(v)
		if err != nil {
			t.Errorf("%s: %v", query, err)
			continue
		}
		if got := [2]bool{f.match(&out, "shell-0"), f.match(&in, "shell-0")}; got != want {
			t.Errorf("%s: %v, want %v", query, got, want)
		}
		if strings.Contains(query, "headers") && strings.Join(f.Headers, " ") != "x-a b" {
			t.Errorf("headers %q", f.Headers)
		}
	}
	ok := out
	ok.Failed = false
	if f := (Filter{Error: true}); f.match(&ok, "") {
		t.Error("error matches what has not failed")
	}
}

func TestFilterErrors(t *testing.T) {
	for query, want := range map[string]string{
		"side=up":                            `side "up": want in or out`,
		"status=6xx":                         `status "6xx": want such as 503`,
		"status=500-400":                     `status "500-400"`,
		"status=503,":                        `status ""`,
		"error=maybe":                        `error "maybe": want true or false`,
		"min-latency=-1s":                    `min-latency "-1s": want a duration`,
		"min-latency=100":                    `min-latency "100"`,
		"headers=a%20b":                      "no header's name",
		"headers=a,,b":                       "no header's name",
		"max-rps=1001":                       "at most 1000",
		"max-rps=NaN":                        "at most 1000",
		"max-rps=x":                          "at most 1000",
		"path=/" + strings.Repeat("x", 600):  "path: 601 bytes",
		"headers=" + strings.Repeat("x", 65): "no header's name",
		"headers=a,b,c,d,e,f,g,h,i,j,k,l,m,n,o,p,q":     "17 names: at most 16",
		"status=" + strings.Repeat("503,", 200) + "503": "status: 803 bytes",
	} {
		v, err := url.ParseQuery(query)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ParseFilter(v); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40s: %v, want %s", query, err, want)
		}
	}
}

// A value leaves the sidecar only where its name is no secret's.
func TestRedaction(t *testing.T) {
	for name, want := range map[string]string{
		"x-user": "v", "user-agent": "v", "host": "v", "traceparent": "v", "x-request-id": "v",
		"authorization": redacted, "proxy-authorization": redacted, "cookie": redacted, "set-cookie2": redacted, "x-auth-request-email": redacted,
		"x-api-key": redacted, "x-amz-security-token": redacted, "x-csrf-token": redacted, "x-session-id": redacted, "x-client-secret": redacted,
		"x-password": redacted, "x-goog-iap-jwt-assertion": redacted, "signature": redacted,
	} {
		if got := shown(name, "v"); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
}

func FuzzParseFilter(f *testing.F) {
	f.Add("side=in&status=5xx,400-499,UNAVAILABLE&error=1&min-latency=1ms&headers=a,b&max-rps=5")
	f.Add("status=-1&headers=,&max-rps=1e400")
	f.Fuzz(func(t *testing.T, query string) {
		v, err := url.ParseQuery(query)
		if err != nil {
			return
		}
		got, err := ParseFilter(v)
		if err != nil {
			return
		}
		if !(got.PerSecond > 0 && got.PerSecond <= maxPerSecond) || len(got.Headers) > maxHeaders || got.MinLatency < 0 {
			t.Errorf("%q: %+v", query, got)
		}
		for _, r := range got.Status {
			if r.grpc == "" && (r.low < 100 || r.high > 599 || r.low > r.high) {
				t.Errorf("%q: %+v", query, r)
			}
		}
		got.match(&call.Entry{}, "")
	})
}
