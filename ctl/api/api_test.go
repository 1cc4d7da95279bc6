package api

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func client(t *testing.T, h http.HandlerFunc) *Client {
	t.Helper()
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	c, err := NewClient(server.URL + "/")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func TestCalls(t *testing.T) {
	ctx := context.Background()
	for _, test := range []struct {
		name, request, body, answer string
		code                        int
		call                        func(*Client) (any, error)
		want                        any
	}{
		{
			"status", "GET /api/v1/status", "", `{"version":"v1","services":[{"name":"a","port":80}]}`, 200,
			func(c *Client) (any, error) { return c.Status(ctx) },
			Status{Version: "v1", Services: []Service{{Name: "a", Port: 80}}},
		},
		{
			"scale", "GET /api/v1/scale/default/a", "", `{"replicas":3,"ready":2}`, 200,
			func(c *Client) (any, error) { return c.Scale(ctx, "default", "a") },
			Scale{Replicas: 3, Ready: 2},
		},
		{
			"set scale", "PUT /api/v1/scale/default/a", `{"replicas":3}`, "", 204,
			func(c *Client) (any, error) { return nil, c.SetScale(ctx, "default", "a", 3) }, nil,
		},
		{
			"objects", "GET /api/v1/objects?kind=Service&name=a%2Fb", "", `{"items":[{"kind":"Service"}]}`, 200,
			func(c *Client) (any, error) { return c.Objects(ctx, "Service", "", "a/b") },
			[]Object{{Kind: "Service"}},
		},
		{
			"apply, one refused", "POST /api/v1/objects", "kind: Service", `{"applied":[{"kind":"Service"}],"refused":["no"]}`, 422,
			func(c *Client) (any, error) { return c.Apply(ctx, []byte("kind: Service")) },
			Applied{Applied: []AppliedObject{{Kind: "Service"}}, Refused: []string{"no"}},
		},
		{
			"delete", "DELETE /api/v1/objects/Service/default/a", "", "", 200,
			func(c *Client) (any, error) { return nil, c.Delete(ctx, "Service", "default", "a") }, nil,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := client(t, func(w http.ResponseWriter, r *http.Request) {
				body, _ := io.ReadAll(r.Body)
				if got := r.Method + " " + r.URL.RequestURI(); got != test.request || string(body) != test.body {
					t.Errorf("request %s %q, want %s %q", got, body, test.request, test.body)
				}
				w.WriteHeader(test.code)
				io.WriteString(w, test.answer)
			})
			got, err := test.call(c)
			if err != nil || !reflect.DeepEqual(got, test.want) {
				t.Errorf("got %+v, %v, want %+v", got, err, test.want)
			}
		})
	}
}

func TestErrors(t *testing.T) {
	ctx := context.Background()
	c := client(t, func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(404)
		io.WriteString(w, `{"error":"no service default/a"}`)
	})
	if _, err := c.Scale(ctx, "default", "a"); !IsNotFound(err) || err.Error() != "meshd: no service default/a" {
		t.Errorf("error %v", err)
	}
	gone, err := NewClient("127.0.0.1:1")
	if err != nil {
		t.Fatal(err)
	}
	_, err = gone.Status(ctx)
	if u := (*Unreachable)(nil); !errors.As(err, &u) || !strings.Contains(err.Error(), "http://127.0.0.1:1 cannot be reached: dial tcp") {
		t.Errorf("error %v", err)
	}
	if _, err := NewClient("ftp://x"); err == nil || !strings.Contains(err.Error(), DefaultURL) {
		t.Errorf("error %v: want an example", err)
	}
}

func TestWatchScale(t *testing.T) {
	c := client(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Accept") != "text/event-stream" {
			t.Errorf("Accept %q", r.Header.Get("Accept"))
		}
		io.WriteString(w, ": hello\n\ndata: {\"replicas\":2}\n\nevent: scale\r\ndata:{\"replicas\":\r\ndata:5}\r\n\r\n")
	})
	var got []int
	err := c.WatchScale(context.Background(), "default", "a", func(s Scale) { got = append(got, s.Replicas) })
	if u := (*Unreachable)(nil); !errors.As(err, &u) || !slices.Equal(got, []int{2, 5}) {
		t.Errorf("%v, %v", got, err)
	}
}

func FuzzReadEvents(f *testing.F) {
	f.Add("data: a\n\n")
	f.Add("data\ndata:\n\n: c\n\nid: 3\ndata: x")
	f.Add("\r\n\r\ndata:  two\r\n\r\n")
	f.Fuzz(func(t *testing.T, in string) {
		total := 0
		err := readEvents(strings.NewReader(in), func(data []byte) error {
			total += len(data)
			return nil
		})
		if err == nil || total > len(in) {
			t.Errorf("%d bytes of events from %d, error %v", total, len(in), err)
		}
	})
}
