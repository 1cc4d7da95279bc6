package api

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
)

func TestTap(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("side") != "in" {
			http.Error(w, "side", http.StatusBadRequest)
			return
		}
		io.WriteString(w, "{\"service\":\"a\",\"tookMs\":2}\n\n{\"missed\":{\"over\":1,\"lost\":2}}\n")
	}))
	defer server.Close()
	addr := strings.TrimPrefix(server.URL, "http://")
	var got []TapEvent
	err := Tap(context.Background(), addr, url.Values{"side": {"in"}}, func(e TapEvent) { got = append(got, e) })
	if !errors.Is(err, io.ErrUnexpectedEOF) || len(got) != 3 {
		t.Fatalf("%d events, %v", len(got), err)
	}
	if got[0] != (TapEvent{}) || got[1].Call.Service != "a" || got[1].Call.Sidecar != addr || *got[2].Missed != (TapMissed{1, 2}) {
		t.Errorf("%+v", got)
	}
	refused := (*SidecarRefused)(nil)
	if err := Tap(context.Background(), addr, nil, nil); !errors.As(err, &refused) || refused.Code != 400 || refused.Message != "side" {
		t.Errorf("error %v", err)
	}
}

func FuzzReadTap(f *testing.F) {
	f.Add("{\"time\":\"2026-11-24T03:00:00Z\",\"headers\":{\"a\":\"b\"}}\n{\"missed\":{}}\nnull\n")
	f.Add("[]")
	f.Fuzz(func(t *testing.T, in string) {
		n := 0
		err := readTap(strings.NewReader(in), func(e TapEvent) {
			if (e.Call == nil) == (e.Missed == nil) {
				t.Errorf("%+v is not one of the two", e)
			}
			n++
		})
		if err == nil || n > strings.Count(in, "\n")+1 {
			t.Errorf("%d events of %q, error %v", n, in, err)
		}
	})
}
