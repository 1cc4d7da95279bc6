package cliflag

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
)

// levels are what --log-level and PUT accept.
var levels = map[string]slog.Level{
	"debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError,
}

const acceptedLevels = "debug, info, warn or error"

// A Level is that of a running process's logger. As a handler it answers GET
// with {"level":"info"}, and sets it on PUT with ?level=debug. Any goroutine
// may use it.
type Level struct {
	v   slog.LevelVar
	log *slog.Logger
}

// Logger makes the process's logger as --log-level and --log-format say, and
// the level that it has from then on.
func Logger(w io.Writer, level, format string) (*slog.Logger, *Level, error) {
	l := &Level{}
	at, ok := levels[level]
	if !ok {
		return nil, nil, fmt.Errorf("--log-level %q: %s is accepted", level, acceptedLevels)
	}
	l.v.Set(at)
	opts := &slog.HandlerOptions{Level: &l.v}
	switch format {
	case "text":
		l.log = slog.New(slog.NewTextHandler(w, opts))
	case "json":
		l.log = slog.New(slog.NewJSONHandler(w, opts))
	default:
		return nil, nil, fmt.Errorf("--log-format %q: text or json is accepted", format)
	}
	return l.log, l, nil
}

// ServeHTTP implements http.Handler. A change is logged at either level, so that
// a log says why it falls silent.
func (l *Level) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch r.Method {
	case http.MethodGet, http.MethodHead:
	case http.MethodPut:
		asked := r.URL.Query().Get("level")
		to, ok := levels[asked]
		if !ok {
			answer(w, http.StatusBadRequest, "error", fmt.Sprintf("level %q: %s is accepted", asked, acceptedLevels))
			return
		}
		if was := l.v.Level(); was != to {
			l.v.Set(min(was, to))
			l.log.Log(r.Context(), max(slog.LevelInfo, to), "the log level has been changed", "from", name(was), "to", asked)
			l.v.Set(to)
		}
	default:
		w.Header().Set("Allow", "GET, HEAD, PUT")
		answer(w, http.StatusMethodNotAllowed, "error", r.Method+": GET and PUT are accepted")
		return
	}
	answer(w, http.StatusOK, "level", name(l.v.Level()))
}

func name(l slog.Level) string { return strings.ToLower(l.String()) }

func answer(w http.ResponseWriter, code int, key, value string) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(map[string]string{key: value})
}
