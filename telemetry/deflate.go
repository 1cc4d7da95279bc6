package telemetry

import (
	"bytes"
	"compress/flate"
	"io"
)

// A deflater compresses at a level of compress/flate, and expands, what this
// process wrote. What it needs is made when it is first needed; half a megabyte.
// Not safe for concurrent use.
type deflater struct {
	level  int
	writer *flate.Writer
	out    bytes.Buffer
	reader io.ReadCloser
}

// deflate is plain, compressed, in memory of its own.
func (d *deflater) deflate(plain []byte) []byte {
	d.out.Reset()
	if d.writer == nil {
		d.writer, _ = flate.NewWriter(&d.out, d.level) // fails only for a level that there is not
	}
	d.writer.Reset(&d.out)
	d.writer.Write(plain) // a bytes.Buffer takes everything
	d.writer.Close()
	return bytes.Clone(d.out.Bytes())
}

// inflate appends to dst what deflate made packed of.
func (d *deflater) inflate(dst, packed []byte) []byte {
	from, to := bytes.NewReader(packed), bytes.NewBuffer(dst)
	if d.reader == nil {
		d.reader = flate.NewReader(from)
	}
	err := d.reader.(flate.Resetter).Reset(from, nil)
	if err == nil {
		_, err = to.ReadFrom(d.reader)
	}
	if err != nil {
		panic("telemetry: what was compressed: " + err.Error()) // what this process wrote
	}
	return to.Bytes()
}
