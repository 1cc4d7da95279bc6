package mesh

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Bounds of one call of Parse.
const (
	MaxBytes   = 16 << 20 // of input
	MaxObjects = 20_000   // that it may hold

	maxAliasNodes = 100_000 // that aliases may repeat, in one document
	maxDepth      = 64      // of nesting
	maxErrors     = 20      // told of one object
)

// kinds are the objects that Parse knows.
var kinds = map[string]struct {
	apiVersion string
	decode     func(meta Meta, root value) Object
}{
	KindService:       {"v1", decodeService},
	KindEndpointSlice: {"discovery.k8s.io/v1", decodeEndpointSlice},
	KindTrafficPolicy: {"meshd.io/v1alpha1", decodeTrafficPolicy},
	KindHTTPRoute:     {"gateway.networking.k8s.io/v1", decodeHTTPRoute},
	KindGRPCRoute:     {"gateway.networking.k8s.io/v1", decodeGRPCRoute},
}

const acceptedKinds = "Service (v1), EndpointSlice (discovery.k8s.io/v1), TrafficPolicy (meshd.io/v1alpha1), HTTPRoute or GRPCRoute (gateway.networking.k8s.io/v1), or List (v1)"

// Parse reads the objects in data: YAML or JSON, any number of documents, each
// an object or a List of them. A document or object that is wrong is left out
// and told of in the errors, each of which is an *Error; the others are
// returned, in the order of the input. name is the file's, for messages. What
// cannot be read at all (syntax) takes with it the rest of its document only:
// documents are divided at lines that start with "---".
func Parse(name string, data []byte) ([]Object, []error) {
	if len(data) > MaxBytes {
		return nil, []error{&Error{File: name, Problem: fmt.Sprintf("%d bytes; accepted are %d in one file: divide it", len(data), MaxBytes)}}
	}
	p := parser{file: name}
	line := 0
	for len(data) > 0 && !p.full {
		chunk := document(data)
		data = data[len(chunk):]
		p.chunk(chunk, line)
		line += bytes.Count(chunk, []byte{'\n'})
	}
	return p.objects, p.errs
}

// document returns the start of data up to the next document separator.
func document(data []byte) []byte {
	for from := 0; ; {
		i := bytes.Index(data[from:], []byte("\n---"))
		if i < 0 {
			return data
		}
		end := from + i + 1
		if rest := data[end+3:]; len(rest) == 0 || bytes.IndexByte([]byte(" \t\r\n"), rest[0]) >= 0 {
			return data[:end]
		}
		from = end
	}
}

// A parser gathers the objects of one input.
type parser struct {
	file    string
	objects []Object
	errs    []error
	full    bool // MaxObjects was reached
}

func (p *parser) fail(line int, format string, args ...any) {
	p.errs = append(p.errs, &Error{File: p.file, Line: line, Problem: fmt.Sprintf(format, args...)})
}

// chunk reads the documents of one chunk of the input, which follows the first
// offset lines.
func (p *parser) chunk(chunk []byte, offset int) {
	if blank(chunk) {
		return
	}
	dec := yaml.NewDecoder(bytes.NewReader(chunk))
	for !p.full {
		var doc yaml.Node
		err := dec.Decode(&doc)
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			line, problem := syntaxError(err)
			p.fail(offset+line, "not YAML: %s", problem)
			return
		}
		for _, n := range doc.Content {
			budget := maxAliasNodes
			if problem := expand(n, 0, false, &budget); problem != "" {
				p.fail(offset+n.Line, "%s", problem)
				continue
			}
			if !isNull(n) {
				p.object(n, offset, true)
			}
		}
	}
}

// blank reports whether a chunk holds nothing but comments, directives and
// separators.
func blank(chunk []byte) bool {
	for line := range bytes.Lines(chunk) {
		line = bytes.TrimSpace(line)
		if len(line) > 0 && line[0] != '#' && line[0] != '%' && string(line) != "---" {
			return false
		}
	}
	return true
}

var yamlLine = regexp.MustCompile(`^(?:yaml: )?(?:line (\d+): )?`)

// syntaxError divides an error of the YAML library into line and message.
func syntaxError(err error) (line int, problem string) {
	msg := err.Error()
	m := yamlLine.FindStringSubmatch(msg)
	line, _ = strconv.Atoi(m[1])
	return max(line, 1), msg[len(m[0]):]
}

// expand replaces the aliases under n by what they stand for. Since an alias
// can stand for others, what they repeat is bounded by budget and maxDepth; it
// returns the problem when a bound is passed.
func expand(n *yaml.Node, depth int, repeated bool, budget *int) string {
	if depth > maxDepth {
		return fmt.Sprintf("nested too deep; accepted are %d levels", maxDepth)
	}
	if repeated {
		if *budget--; *budget < 0 {
			return fmt.Sprintf("its aliases repeat too much; accepted are %d values", maxAliasNodes)
		}
	}
	for i, c := range n.Content {
		alias := c.Kind == yaml.AliasNode
		if alias {
			c = c.Alias
			n.Content[i] = c
		}
		if problem := expand(c, depth+1, repeated || alias, budget); problem != "" {
			return problem
		}
	}
	return ""
}

// object reads one object, or the items of a List.
func (p *parser) object(n *yaml.Node, offset int, list bool) {
	if len(p.objects) >= MaxObjects {
		p.full = true
		p.fail(offset+n.Line, "more than %d objects in one file: divide it", MaxObjects)
		return
	}
	kind, apiVersion := scalar(n, "kind"), scalar(n, "apiVersion")
	s := &scope{file: p.file, offset: offset}
	root := value{s: s, n: n, line: n.Line}
	if kind == "List" && list {
		root.fields(fields{"apiVersion": ignore, "kind": ignore, "metadata": ignore, "items": func(v value) {
			v.each(MaxObjects, func(_ int, item value) { p.object(item.n, offset, false) })
		}})
		p.errs = append(p.errs, s.errs...)
		return
	}
	switch k, ok := kinds[kind]; {
	case n.Kind != yaml.MappingNode:
		root.refuse("an object with apiVersion, kind and metadata")
	case !ok:
		p.fail(offset+n.Line, "kind: value %q: accepted is %s", clip(kind), acceptedKinds)
		return
	case apiVersion != k.apiVersion:
		s.key = keyOf(n, kind)
		root.at("apiVersion").wrong(fmt.Sprintf("value %q: accepted is %s", clip(apiVersion), k.apiVersion))
	default:
		s.key = keyOf(n, kind)
		o := k.decode(Meta{Key: s.key, File: p.file, Line: offset + n.Line, JSON: toJSON(n)}, root)
		if len(s.errs) == 0 {
			p.objects = append(p.objects, o)
		}
	}
	p.errs = append(p.errs, s.errs...)
}

// keyOf reads an object's key before anything of it is checked, so that
// errors can name it. It is the zero Key when there is no name.
func keyOf(n *yaml.Node, kind string) Key {
	meta := child(n, "metadata")
	name, ns := scalar(meta, "name"), scalar(meta, "namespace")
	if name == "" {
		return Key{}
	}
	if ns == "" {
		ns = DefaultNamespace
	}
	return Key{Kind: kind, Namespace: clip(ns), Name: clip(name)}
}

// child returns the value of a field of a mapping; nil if it is absent or null.
func child(n *yaml.Node, field string) *yaml.Node {
	if n == nil || n.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == field && !isNull(n.Content[i+1]) {
			return n.Content[i+1]
		}
	}
	return nil
}

func scalar(n *yaml.Node, field string) string {
	if c := child(n, field); c != nil && c.Kind == yaml.ScalarNode {
		return c.Value
	}
	return ""
}

// clip bounds a value that goes into a message.
func clip(s string) string {
	if len(s) > 80 {
		return strings.ToValidUTF8(s[:80], "") + "…"
	}
	return s
}
