package rpc

import (
	"encoding/base64"
	"errors"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// head is what the headers of a request say. It does not change once it is parsed, and may belong
// to many requests.
type head struct {
	verb, scheme, path, authority string
	fields                        []hpack.HeaderField // all others, in order

	method  *method       // of gRPC; nil: there is none of that path
	grpc    bool          // the content type says so
	subtype string        // "proto" of "application/grpc+proto"
	timed   bool          // there is a grpc-timeout
	timeout time.Duration // its
	coding  string        // grpc-encoding; "" if none
	length  int64         // content-length; -1: not said
	bad     *status.Status
	httpBad int // the HTTP status that goes with bad
	tooBig  bool
}

// get is the first value of a header (its name in lower case), "" if there is none. Values of
// binary headers are as they came, in base64.
func (h *head) get(name string) string {
	for i := range h.fields {
		if h.fields[i].Name == name {
			return h.fields[i].Value
		}
	}
	return ""
}

// headParser makes heads of header blocks.
type headParser struct {
	dec   *hpack.Decoder
	cache headCache

	// Of the block that is being decoded:
	h        *head
	bytes    int
	bad      bool // malformed: the stream is reset
	regular  bool // a field that is no pseudo-header was seen
	pseudo   uint8
	trailers bool
}

// The pseudo-headers of a request.
const (
	sawMethod = 1 << iota
	sawScheme
	sawPath
	sawAuthority
)

func (p *headParser) init() {
	p.dec = hpack.NewDecoder(defaultTableBytes, p.field)
	p.dec.SetMaxStringLength(maxListBytes)
}

var errMalformed = errors.New("malformed headers")

// parse decodes a block. methods finds the path's method. errMalformed asks for a reset of the
// stream; any other error ends the connection: the tables no longer agree.
func (p *headParser) parse(block []byte, methods map[string]*method) (*head, error) {
	pure := pureIndexed(block)
	if pure {
		if h := p.cache.find(block); h != nil {
			return h, nil
		}
	} else {
		p.cache.forget()
	}
	h := &head{length: -1}
	if err := p.decode(block, h, false); err != nil {
		return nil, err
	}
	if !h.tooBig && (p.bad || !p.complete()) {
		return nil, errMalformed
	}
	h.understand(methods)
	if pure && !h.tooBig {
		p.cache.add(block, h)
	}
	return h, nil
}

// parseTrailers decodes the block after a request's body. What it says is not used.
func (p *headParser) parseTrailers(block []byte) error {
	p.cache.forget()
	if err := p.decode(block, &head{}, true); err != nil {
		return err
	}
	if p.bad || p.pseudo != 0 {
		return errMalformed
	}
	return nil
}

func (p *headParser) decode(block []byte, h *head, trailers bool) error {
	p.h, p.bytes, p.bad, p.regular, p.pseudo, p.trailers = h, 0, false, false, 0, trailers
	_, err := p.dec.Write(block)
	if err == nil {
		err = p.dec.Close()
	}
	p.h = nil
	if err != nil {
		return &connError{http2.ErrCodeCompression, err.Error()}
	}
	return nil
}

// complete says whether the pseudo-headers are there that must be.
func (p *headParser) complete() bool {
	const must = sawMethod | sawScheme | sawPath
	return p.pseudo&must == must
}

// field takes one decoded field.
func (p *headParser) field(f hpack.HeaderField) {
	h := p.h
	if h.tooBig {
		return
	}
	if p.bytes += fieldBytes(f); p.bytes > maxListBytes {
		h.tooBig, h.fields = true, nil
		return
	}
	if strings.HasPrefix(f.Name, ":") {
		p.pseudoField(f)
		return
	}
	p.regular = true
	switch f.Name {
	case "connection", "proxy-connection", "transfer-encoding", "upgrade", "keep-alive":
		p.bad = true
	case "te":
		p.bad = p.bad || f.Value != "trailers"
	case "content-length":
		n, err := strconv.ParseInt(f.Value, 10, 64)
		if err != nil || n < 0 || h.length >= 0 && h.length != n {
			p.bad = true
		}
		h.length = n
	}
	if !validName(f.Name) || !validValue(f.Value) {
		p.bad = true
	}
	h.fields = append(h.fields, f)
}

func (p *headParser) pseudoField(f hpack.HeaderField) {
	var seen uint8
	var to *string
	switch f.Name {
	case ":method":
		seen, to = sawMethod, &p.h.verb
	case ":scheme":
		seen, to = sawScheme, &p.h.scheme
	case ":path":
		seen, to = sawPath, &p.h.path
	case ":authority":
		seen, to = sawAuthority, &p.h.authority
	default:
		p.bad = true
		return
	}
	if p.regular || p.pseudo&seen != 0 || f.Value == "" && seen != sawAuthority ||
		!validValue(f.Value) {
		p.bad = true
	}
	p.pseudo |= seen
	*to = f.Value
}

// validName says whether a field's name may stand in HTTP/2 (RFC 9113, 8.2.1).
func validName(name string) bool {
	for i := range len(name) {
		if c := name[i]; c <= ' ' || c >= 0x7f || c == ':' || 'A' <= c && c <= 'Z' {
			return false
		}
	}
	return name != ""
}

func validValue(v string) bool {
	for i := range len(v) {
		if c := v[i]; c == 0 || c == '\n' || c == '\r' {
			return false
		}
	}
	return true
}

// understand fills in what the fields mean to gRPC.
func (h *head) understand(methods map[string]*method) {
	kind := h.get(contentType)
	if h.subtype, h.grpc = grpcSubtype(kind); !h.grpc {
		return
	}
	h.method = methods[h.path]
	hosts := 0
	for _, f := range h.fields {
		switch {
		case f.Name == "grpc-timeout":
			var err error
			h.timed = true
			if h.timeout, err = decodeTimeout(f.Value); err != nil {
				h.refuse(400, codes.Internal, "malformed grpc-timeout: "+err.Error())
			}
		case f.Name == "grpc-encoding":
			h.coding = f.Value
		case f.Name == "host":
			hosts++
		case strings.HasSuffix(f.Name, binarySuffix):
			if _, err := decodeBinary(f.Value); err != nil {
				h.refuse(400, codes.Internal, "malformed binary metadata "+
					strconv.Quote(f.Value)+" in header "+strconv.Quote(f.Name)+": "+err.Error())
			}
		}
	}
	switch {
	case h.verb != "POST":
		h.refuse(405, codes.Internal, "Received a HEADERS frame with :method "+
			strconv.Quote(h.verb)+" which should be POST")
	case h.authority == "" && hosts == 0:
		h.refuse(400, codes.Internal, "no host or :authority header present")
	case hosts > 1:
		h.refuse(400, codes.Internal, "num values of :authority: 1, num values of host: "+
			strconv.Itoa(hosts)+", both must only have 1 value as per HTTP/2 spec")
	}
	if h.coding == "identity" {
		h.coding = ""
	}
}

func (h *head) refuse(http int, code codes.Code, text string) {
	h.httpBad, h.bad = http, status.New(code, text)
}

// grpcSubtype is what comes after "application/grpc+" or "application/grpc;".
func grpcSubtype(kind string) (subtype string, ok bool) {
	rest, ok := strings.CutPrefix(strings.ToLower(kind), grpcType)
	if !ok || rest == "" {
		return "", ok
	}
	if rest[0] != '+' && rest[0] != ';' {
		return "", false
	}
	return rest[1:], true
}

const (
	binarySuffix = "-bin"
	// maxTimeoutDigits is the protocol's.
	maxTimeoutDigits = 8
)

// decodeTimeout reads a grpc-timeout: up to eight digits and a unit.
func decodeTimeout(s string) (time.Duration, error) {
	if len(s) < 2 {
		return 0, errors.New("transport: timeout string is too short: " + strconv.Quote(s))
	}
	if len(s) > maxTimeoutDigits+1 {
		return 0, errors.New("transport: timeout string is too long: " + strconv.Quote(s))
	}
	var unit time.Duration
	switch s[len(s)-1] {
	case 'H':
		unit = time.Hour
	case 'M':
		unit = time.Minute
	case 'S':
		unit = time.Second
	case 'm':
		unit = time.Millisecond
	case 'u':
		unit = time.Microsecond
	case 'n':
		unit = time.Nanosecond
	default:
		return 0, errors.New("transport: timeout unit is not recognized: " + strconv.Quote(s))
	}
	n, err := strconv.ParseUint(s[:len(s)-1], 10, 63)
	if err != nil {
		return 0, err
	}
	const longest = time.Duration(1<<63 - 1)
	if n > uint64(longest/unit) {
		return longest, nil
	}
	return time.Duration(n) * unit, nil
}

// decodeBinary takes the base64 off a binary header, padded or not.
func decodeBinary(v string) (string, error) {
	enc := base64.RawStdEncoding
	if len(v)%4 == 0 {
		enc = base64.StdEncoding
	}
	b, err := enc.DecodeString(v)
	return string(b), err
}

// metadata is what handlers of generated services see of the headers (as grpc-go's).
func (h *head) metadata() metadata.MD {
	md := make(metadata.MD, len(h.fields)+1)
	for _, f := range h.fields {
		if reserved(f.Name) {
			continue
		}
		v := f.Value
		if strings.HasSuffix(f.Name, binarySuffix) {
			v, _ = decodeBinary(v) // understand has looked
		}
		md[f.Name] = append(md[f.Name], v)
	}
	if h.authority != "" {
		md[":authority"] = []string{h.authority}
		delete(md, "host")
	} else if host, ok := md["host"]; ok {
		md[":authority"] = host
		delete(md, "host")
	}
	return md
}

// reserved says whether a header is the transport's and no metadata.
func reserved(name string) bool {
	switch name {
	case "grpc-message-type", "grpc-encoding", "grpc-message", grpcStatus, "grpc-timeout", "te",
		"grpc-status-details-bin":
		return true
	}
	return false
}
