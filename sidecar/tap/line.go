package tap

import (
	"slices"
	"strings"

	"github.com/meshd/meshd/sidecar/accesslog"
	"github.com/meshd/meshd/sidecar/call"
)

// A Missed is what a reader was not shown, in all so far.
type Missed struct {
	// Over were more than max-rps; Lost were more than the reader took.
	Over, Lost uint64
}

// line is a call as a reader gets it: that of the access log, with the headers
// that it has asked for. It keeps nothing of the Entry.
func line(e *call.Entry, f *Filter, instance string) []byte {
	var headers []call.Header
	for _, h := range e.Headers {
		if slices.Contains(f.Headers, h.Name) {
			headers = append(headers, call.Header{Name: h.Name, Value: shown(h.Name, h.Value)})
		}
	}
	return accesslog.AppendLine(make([]byte, 0, lineBytes), e, instance, headers)
}

// lineBytes is what most lines take.
const lineBytes = 512

// redacted stands for the value of a header that lets somebody in.
const redacted = "REDACTED"

// secrets are the parts of a header's name by which its value is one.
var secrets = [...]string{
	"auth", "cookie", "token", "secret", "passw", "passphrase", "credential", "session", "signature", "api-key", "apikey",
	"access-key", "private-key", "jwt", "assertion",
}

// shown is the value of a header as it may leave the sidecar.
func shown(name, value string) string {
	for _, s := range secrets {
		if strings.Contains(name, s) {
			return redacted
		}
	}
	return value
}
