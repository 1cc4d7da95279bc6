package dashboard

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"net/http"
	"sync"
	"time"
)

var (
	//go:embed views/*.html
	viewFiles embed.FS
	//go:embed views/page.css
	pageCSS string
	//go:embed views/page.js
	pageJS string

	templates = parseViews("services", "service", "instances", "map", "traces", "trace", "config", "problem")

	// policy lets the page run its own script and style and nothing else.
	policy = "default-src 'none'; img-src 'self' data:; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'; " +
		"style-src " + hashOf(pageCSS) + "; script-src " + hashOf(pageJS)
)

// parseViews gives each view the frame that all have.
func parseViews(names ...string) map[string]*template.Template {
	out := map[string]*template.Template{}
	frame := template.Must(template.ParseFS(viewFiles, "views/frame.html", "views/parts.html"))
	for _, name := range names {
		out[name] = template.Must(template.Must(frame.Clone()).ParseFS(viewFiles, "views/"+name+".html"))
	}
	return out
}

func hashOf(text string) string {
	sum := sha256.Sum256([]byte(text))
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}

// A view is one kind of page: what its template shows is built for a request.
type view struct {
	name  string
	build func(r *http.Request, s state) (page, error)
}

// A page is what the frame needs to know of a view, and the view's own part.
type page struct {
	Title string
	// Section is the view's place in the navigation.
	Section string
	// Shape changes where the page cannot be mended part by part.
	Shape string
	// Timeless: the view knows no stretch of time.
	Timeless bool
	Body     any
}

// frame is what frame.html shows.
type frame struct {
	page
	CSS      template.CSS
	JS       template.JS
	Sections []link
	Windows  []link
	Hold     link // or go on, if the moment is held
	Fixed    bool
	Scale    bool
	Problem  string
	Overflow string
	Now      string
}

type link struct {
	Text, Href string
	Current    bool
}

// A missing is an error for what is not there, which is the visitor's to mend.
type missing string

func (m missing) Error() string { return string(m) }

// pageCache keeps the pages of one second, so that each is made once a second
// however many look at it. They are made one after the other: that must not
// take the cores from those who measure.
type pageCache struct {
	mu      sync.Mutex
	version int64 // of the store, that they were made of
	made    map[string][]byte
}

// maxPages bounds the pages of one second that are kept.
const maxPages = 64

func (d *Dashboard) serve(w http.ResponseWriter, r *http.Request, v view) {
	c := &d.pages
	key := r.URL.Path + "?" + r.URL.Query().Encode()
	c.mu.Lock()
	defer c.mu.Unlock()
	if version := d.cfg.Store.Version(); version != c.version || c.made == nil {
		c.version, c.made = version, map[string][]byte{}
	}
	text, ok := c.made[key]
	status := http.StatusOK
	if !ok {
		text, status = d.make(r, v, "")
		if status == http.StatusOK && len(c.made) < maxPages {
			c.made[key] = text
		}
	}
	send(w, status, text)
}

// refuse shows what went wrong above the view.
func (d *Dashboard) refuse(w http.ResponseWriter, r *http.Request, v view, status int, problem string) {
	d.pages.mu.Lock()
	defer d.pages.mu.Unlock()
	text, made := d.make(r, v, problem)
	send(w, max(status, made), text)
}

func send(w http.ResponseWriter, status int, text []byte) {
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Security-Policy", policy)
	w.WriteHeader(status)
	w.Write(text)
}

// make builds and renders a view.
func (d *Dashboard) make(r *http.Request, v view, problem string) ([]byte, int) {
	now := d.cfg.Store.Now()
	s := stateOf(r, now)
	status, name := http.StatusOK, v.name
	p, err := v.build(r, s)
	if _, ok := err.(missing); ok {
		status, problem, name = http.StatusNotFound, err.Error(), "problem"
		p.Title = "Not there"
	} else if err != nil {
		d.cfg.Logger.Error("dashboard: page", "view", v.name, "url", r.URL.String(), "error", err,
			"next", "report it with the error; other views work")
		status, problem, name = http.StatusInternalServerError, "The page could not be made: "+err.Error(), "problem"
	}
	f := frame{
		page: p, CSS: template.CSS(pageCSS), JS: template.JS(pageJS),
		Scale: d.cfg.Scale != nil, Problem: problem, Fixed: s.fixed,
		Now: now.UTC().Format(time.TimeOnly),
	}
	for _, l := range []link{{"Services", "/", false}, {"Map", "/map", false}, {"Traces", "/traces", false}, {"Config", "/config", false}} {
		f.Sections = append(f.Sections, link{l.Text, s.link(l.Href), l.Text == p.Section})
	}
	for i, win := range windows {
		other := s
		other.window = i
		f.Windows = append(f.Windows, link{win.Text, other.same(r), i == s.window})
	}
	other := s
	other.fixed = !s.fixed
	f.Hold = link{Text: "Hold this moment", Href: other.same(r)}
	if s.fixed {
		f.Hold.Text = "Go on"
	}
	if st := d.cfg.Store.Stats(); st.Overflow() > 0 {
		f.Overflow = fmt.Sprintf("meshd refused reports because it keeps too much already: %d for further services, %d for further series, %d for further endpoints.",
			st.OverflowServices, st.OverflowSeries, st.OverflowEndpoints)
	}
	var out bytes.Buffer
	if err := templates[name].ExecuteTemplate(&out, "frame.html", f); err != nil {
		d.cfg.Logger.Error("dashboard: page", "view", v.name, "error", err, "next", "report it with the error; other views work")
		return []byte("the page could not be made: " + template.HTMLEscapeString(err.Error())), http.StatusInternalServerError
	}
	// What a URL or a client said may be no text.
	return bytes.ToValidUTF8(out.Bytes(), []byte("\uFFFD")), status
}

// same is the request's page in another state. A page that answers a form is
// asked for at the view that it shows.
func (s state) same(r *http.Request) string {
	var pairs []string
	for _, name := range []string{"instance", "service", "kind", "min", "span"} {
		pairs = append(pairs, name, r.URL.Query().Get(name))
	}
	path := r.URL.EscapedPath()
	if r.Method != http.MethodGet {
		path = "/"
	}
	return s.link(path, pairs...)
}
