package h2

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
)

func TestCalls(t *testing.T) {
	r := newRig(t, options{}, backend(t, func(w http.ResponseWriter, req *http.Request) {
		b, _ := io.ReadAll(req.Body)
		w.Header().Set("X-Path", req.URL.RequestURI())
		w.Header().Set("Trailer", "X-Sum")
		fmt.Fprintf(w, "%s %d", req.Method, len(b))
		w.Header().Set("X-Sum", "42")
	}))
	c := r.client()
	for i := range 300 {
		body := strings.Repeat("x", i*i)
		res, err := c.Post("http://test/a?b="+fmt.Sprint(i), "text/plain", strings.NewReader(body))
		if err != nil {
			t.Fatal(i, err)
		}
		got, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(i, err)
		}
		_ = res.Body.Close()
		if want := fmt.Sprintf("POST %d", len(body)); string(got) != want || res.Trailer.Get("X-Sum") != "42" ||
			res.Header.Get("X-Path") != "/a?b="+fmt.Sprint(i) {
			t.Fatalf("%d: %q, %v %v", i, got, res.Header, res.Trailer)
		}
	}
}

func TestManyStreams(t *testing.T) {
	big := bytes.Repeat([]byte("0123456789abcdef"), 64<<10) // 1 MiB
	r := newRig(t, options{}, backend(t, func(w http.ResponseWriter, req *http.Request) {
		n, _ := io.Copy(io.Discard, req.Body)
		w.Header().Set("X-Read", fmt.Sprint(n))
		_, _ = w.Write(big)
	}))
	c := r.client()
	var work sync.WaitGroup
	for i := range 100 {
		work.Go(func() {
			res, err := c.Post("http://test/", "", bytes.NewReader(big[:i*10000]))
			if err != nil {
				t.Error(err)
				return
			}
			defer res.Body.Close()
			got, err := io.ReadAll(res.Body)
			if err != nil || !bytes.Equal(got, big) || res.Header.Get("X-Read") != fmt.Sprint(i*10000) {
				t.Errorf("%d: %d bytes, %v, %v", i, len(got), err, res.Header)
			}
		})
	}
	work.Wait()
}
