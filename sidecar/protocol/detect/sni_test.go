package detect

import (
	"bytes"
	"crypto/tls"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// hello is what crypto/tls opens a connection with.
func hello(tb testing.TB, name string) []byte {
	tb.Helper()
	near, far := net.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = tls.Client(near, &tls.Config{ServerName: name, InsecureSkipVerify: true}).Handshake()
	}()
	_ = far.SetReadDeadline(time.Now().Add(5 * time.Second))
	head := make([]byte, 5)
	if _, err := io.ReadFull(far, head); err != nil {
		tb.Fatal(err)
	}
	body := make([]byte, int(head[3])<<8|int(head[4]))
	if _, err := io.ReadFull(far, body); err != nil {
		tb.Fatal(err)
	}
	_ = far.Close()
	<-done
	_ = near.Close()
	return append(head, body...)
}

// split carries the message of one record in records of n bytes.
func split(record []byte, n int) []byte {
	var out []byte
	for msg := record[5:]; len(msg) > 0; {
		part := msg[:min(n, len(msg))]
		msg = msg[len(part):]
		out = append(out, 0x16, 3, 1, byte(len(part)>>8), byte(len(part)))
		out = append(out, part...)
	}
	return out
}

func TestServerName(t *testing.T) {
	const name = "orders.shop.svc.cluster.local"
	whole := hello(t, "Orders.Shop.svc.cluster.local")
	for what, tc := range map[string]struct {
		in   []byte
		want string
		more bool
	}{
		"in one record":             {whole, name, false},
		"what follows is no matter": {append(bytes.Clone(whole), "\x14\x03\x03\x00\x01\x01GET / "...), name, false},
		"in records of 100 bytes":   {split(whole, 100), name, false},
		"in records of 1 byte":      {split(whole, 1), name, false},
		"nothing":                   {nil, "", true},
		"the record's header":       {whole[:5], "", true},
		"before the extension":      {whole[:60], "", true},
		"no name":                   {hello(t, ""), "", false},
		"an address":                {hello(t, "10.0.0.1"), "", false},
		"not TLS":                   {[]byte("GET / HTTP/1.1\r\n"), "", false},
		"not a ClientHello":         {[]byte("\x16\x03\x03\x00\x05\x02\x00\x00\x01\x00"), "", false},
		"an alert within":           {append(split(whole, 100)[:105], 0x15, 3, 3), "", false},
		"an empty record":           {append(split(whole, 100)[:105], 0x16, 3, 3, 0, 0), "", false},
		"too long":                  {append([]byte("\x16\x03\x01\x40\x00\x01\x00\xff\xff\x03\x03"), make([]byte, MaxHello)...), "", false},
	} {
		if got, more := ServerName(tc.in); got != tc.want || more != tc.more {
			t.Errorf("%s: %q, more %v", what, got, more)
		}
	}
	// As it comes, byte by byte.
	for n := range whole {
		got, more := ServerName(whole[:n])
		if got == name {
			break
		}
		if got != "" || !more {
			t.Fatalf("%d bytes: %q, more %v", n, got, more)
		}
	}
}

func TestIsHost(t *testing.T) {
	long := strings.Repeat("a", 63)
	for name, want := range map[string]bool{
		"checkout": true, "a.b-c.d_e": true, "3scale.example": true, "x1": true, long + ".x": true,
		"": false, ".": false, "a.": false, ".a": false, "a..b": false, "-a": false, "a-": false, "a-.b": false, "a.-b": false,
		"10.0.0.1": false, "a.1": false, "::1": false, "a b": false, "a/b": false, "a:80": false, "ä": false, "a\x00": false,
		long + "a.x": false, strings.Repeat(long+".", 4) + "x": false,
	} {
		if got := isHost([]byte(name)); got != want {
			t.Errorf("%q: %v", name, got)
		}
	}
}

func FuzzServerName(f *testing.F) {
	whole := hello(f, "checkout.shop")
	f.Add(whole)
	f.Add(split(whole, 7))
	f.Add(whole[:100])
	f.Add(hello(f, ""))
	f.Add([]byte("\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		before := bytes.Clone(b)
		name, more := ServerName(b)
		if !bytes.Equal(b, before) {
			t.Fatal("the bytes were changed")
		}
		if name != "" && (more || !isHost([]byte(name)) || name != strings.ToLower(name)) {
			t.Fatalf("%q, more %v", name, more)
		}
		if more && len(b) >= MaxHello {
			t.Fatalf("undecided after %d bytes", len(b))
		}
		// A verdict stands whatever follows.
		if again, _ := ServerName(append(b[:len(b):len(b)], 0x16, 3, 1, 0, 1, 0)); !more && again != name {
			t.Fatalf("%q, then %q", name, again)
		}
		// More bytes only ever tell more.
		for n := range min(len(b), 400) {
			if early, open := ServerName(b[:n]); !open && early != name {
				t.Fatalf("%d bytes: %q, all %d: %q", n, early, len(b), name)
			}
		}
	})
}
