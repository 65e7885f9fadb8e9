package h2

import (
	"bytes"
	"fmt"
	"net/url"
	"strconv"
	"strings"

	"golang.org/x/net/http2/hpack"
)

// Field is a header beyond those that every gRPC call has.
type Field struct{ Name, Value string }

// Method is a gRPC method on one connection: its path, and the header block of a call once the
// peer's table holds all of it.
type Method struct {
	path  string
	block []byte
	table int // generation of the encoder's table for which block is right, 0: none
}

// encoder makes header blocks.
type encoder struct {
	hpack *hpack.Encoder
	buf   bytes.Buffer
	base  []Field
	table int // from 1; counts what makes blocks void: insertions, changes of the table's size
}

func newEncoder(cfg Config) *encoder {
	e := &encoder{table: 1}
	e.hpack = hpack.NewEncoder(&e.buf)
	scheme := "http"
	if cfg.TLS {
		scheme = "https"
	}
	e.base = append([]Field{
		{":method", "POST"}, {":scheme", scheme}, {":path", ""}, {":authority", cfg.Authority},
		{"content-type", "application/grpc"}, {"user-agent", cfg.UserAgent}, {"te", "trailers"},
	}, cfg.Fields...)
	return e
}

// block returns the header block of a call, valid until the next call of block. The first block of
// a method fills the table; one that leaves the table alone is kept until another does not.
func (e *encoder) block(m *Method) []byte {
	if m.table == e.table {
		return m.block
	}
	e.buf.Reset()
	for _, f := range e.base {
		if f.Name == ":path" {
			f.Value = m.path
		}
		// Writing into a bytes.Buffer does not fail.
		_ = e.hpack.WriteField(hpack.HeaderField{Name: f.Name, Value: f.Value})
	}
	if !neutral(e.buf.Bytes()) {
		e.table++
		return e.buf.Bytes()
	}
	m.block = append(m.block[:0], e.buf.Bytes()...)
	m.table = e.table
	return m.block
}

// limit takes the size that the peer allows for the table. The next block announces it.
func (e *encoder) limit(size uint32) {
	e.hpack.SetMaxDynamicTableSizeLimit(min(size, tableSize))
	e.table++
}

// fields are the headers of a response that matter.
type fields struct {
	http    int    // :status, 0 without one
	grpc    int    // grpc-status, -1 without one
	message string // grpc-message
}

// decoder reads header blocks. Most responses repeat the same few blocks byte for byte, so those
// that leave the table alone are kept with what they mean.
type decoder struct {
	hpack *hpack.Decoder
	out   fields
	known [knownBlocks]struct {
		block []byte
		means fields
	}
	next int // in known, to be replaced
	bad  error
}

const knownBlocks = 8

func newDecoder() *decoder {
	d := &decoder{}
	d.hpack = hpack.NewDecoder(tableSize, d.field)
	d.hpack.SetMaxStringLength(maxHeaderString)
	return d
}

func (d *decoder) field(f hpack.HeaderField) {
	switch f.Name {
	case ":status":
		n, err := strconv.Atoi(f.Value)
		if err != nil || n < 100 || n > 999 {
			d.bad = protocol(":status is %q", f.Value)
		}
		d.out.http = n
	case "grpc-status":
		n, err := strconv.ParseUint(f.Value, 10, 31)
		if err != nil {
			d.bad = protocol("grpc-status is %q", f.Value)
		}
		d.out.grpc = int(n)
	case "grpc-message":
		d.out.message = f.Value
	}
}

// decode returns what a whole block means.
func (d *decoder) decode(block []byte) (fields, error) {
	for i := range d.known {
		if k := &d.known[i]; len(k.block) > 0 && bytes.Equal(k.block, block) {
			return k.means, nil
		}
	}
	d.out, d.bad = fields{grpc: -1}, nil
	if _, err := d.hpack.Write(block); err != nil {
		return fields{}, protocol("headers: %v", err)
	}
	if err := d.hpack.Close(); err != nil {
		return fields{}, protocol("headers: %v", err)
	}
	if d.bad != nil {
		return fields{}, d.bad
	}
	if !neutral(block) {
		for i := range d.known {
			d.known[i].block = d.known[i].block[:0] // indexes mean something else now
		}
		return d.out, nil
	}
	k := &d.known[d.next%knownBlocks]
	d.next++
	k.block, k.means = append(k.block[:0], block...), d.out
	return d.out, nil
}

// neutral tells whether a block, which was decoded without an error, leaves the table as it is: it
// has neither literals that are added to it nor changes of its size (RFC 7541, section 6).
func neutral(block []byte) bool {
	for i := 0; i < len(block); {
		b := block[i]
		switch {
		case b&0x80 != 0: // indexed
			_, i = integer(block, i, 7)
		case b&0xc0 == 0x40, b&0xe0 == 0x20: // added, or a size
			return false
		default: // a literal that is not added
			var name uint64
			name, i = integer(block, i, 4)
			strings := 1
			if name == 0 {
				strings = 2
			}
			for range strings {
				var n uint64
				n, i = integer(block, i, 7)
				if n > uint64(len(block)-i) {
					return false
				}
				i += int(n)
			}
		}
	}
	return true
}

// integer reads an HPACK integer whose first byte has so many bits for it, and returns where it
// ends: not beyond the block.
func integer(block []byte, i, bits int) (value uint64, end int) {
	if i >= len(block) {
		return 0, len(block)
	}
	full := uint64(1)<<bits - 1
	value = uint64(block[i]) & full
	i++
	if value < full {
		return value, i
	}
	for shift := 0; i < len(block); shift += 7 {
		b := block[i]
		i++
		if shift < 56 {
			value += uint64(b&0x7f) << shift
		}
		if b&0x80 == 0 {
			break
		}
	}
	return value, i
}

// status is how a call ended, by its last headers.
func (f fields) status() Status {
	if f.grpc >= 0 {
		return Status{Code: uint32(f.grpc), Message: unescape(f.message)}
	}
	if f.http != 0 && f.http != 200 {
		return Status{httpCode(f.http), fmt.Sprintf("HTTP status %d", f.http)}
	}
	return Status{CodeInternal, "the call ended without a gRPC status"}
}

// httpCode maps an HTTP status as grpc's http-grpc-status-mapping.md does.
func httpCode(status int) uint32 {
	switch status {
	case 400:
		return CodeInternal
	case 401:
		return CodeUnauthenticated
	case 403:
		return CodePermissionDenied
	case 404:
		return CodeUnimplemented
	case 429, 502, 503, 504:
		return CodeUnavailable
	}
	return CodeUnknown
}

// unescape undoes the percent-encoding of grpc-message; what is not encoded well stays.
func unescape(s string) string {
	if !strings.Contains(s, "%") {
		return s
	}
	if plain, err := url.PathUnescape(s); err == nil {
		return plain
	}
	return s
}
