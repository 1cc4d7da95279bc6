package h2

import (
	"io"
	"net/http"
	"testing"
)

// Bytes of one upload and of one download through the relay.
func BenchmarkBulk(b *testing.B) {
	for _, method := range []string{"POST", "GET"} {
		b.Run(method, func(b *testing.B) {
			r := newRig(b, options{}, backend(b, func(w http.ResponseWriter, req *http.Request) {
				_, _ = io.Copy(io.Discard, req.Body)
				if req.Method == "GET" {
					_, _ = io.CopyN(w, endless{}, int64(b.N)<<20)
				}
			}))
			c := r.client()
			c.Timeout = 0
			b.SetBytes(1 << 20)
			b.ResetTimer()
			var body io.Reader
			if method == "POST" {
				body = io.LimitReader(endless{}, int64(b.N)<<20)
			}
			req, _ := http.NewRequest(method, "http://test/", body)
			res, err := c.Do(req)
			if err != nil {
				b.Fatal(err)
			}
			n, err := io.Copy(io.Discard, res.Body)
			if err != nil || method == "GET" && n != int64(b.N)<<20 {
				b.Fatal(n, err)
			}
		})
	}
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }
