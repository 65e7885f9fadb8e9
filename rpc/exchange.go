package rpc

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/textproto"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// exchange is a request that is no gRPC, on its way through an http.Handler.
type exchange struct {
	stream
	pipe   pipe
	cancel context.CancelFunc
	req    *http.Request
	bad    bool // the request makes no sense to HTTP

	// The handler's goroutine's:
	header http.Header
	wrote  bool // the headers are out
	empty  bool // an answer to HEAD, or one whose status has no body
	buf    []byte
}

// bufferBytes is how much of an answer gathers before it is sent.
const bufferBytes = 4 << 10

func (s *Server) newExchange(c *conn, id uint32, h *head, end bool) *stream {
	x := &exchange{header: make(http.Header)}
	x.init(c, id, h, x)
	x.http = true
	x.pipe.init(&x.stream)
	ctx, cancel := context.WithCancel(c.ctx)
	x.cancel = cancel
	ctx = context.WithValue(ctx, http.LocalAddrContextKey, c.nc.LocalAddr())
	x.req = x.request(ctx, end)
	return &x.stream
}

// request makes an http.Request of the head.
func (x *exchange) request(ctx context.Context, end bool) *http.Request {
	h := x.head
	r := &http.Request{
		Method: h.verb, Proto: "HTTP/2.0", ProtoMajor: 2, Host: h.authority, RequestURI: h.path,
		Header: make(http.Header, len(h.fields)), ContentLength: h.length,
		RemoteAddr: x.conn.nc.RemoteAddr().String(), TLS: x.conn.tls, Body: http.NoBody,
	}
	var cookies []string
	for _, f := range h.fields {
		if f.Name == "cookie" {
			cookies = append(cookies, f.Value)
			continue
		}
		r.Header.Add(f.Name, f.Value)
	}
	if len(cookies) > 0 {
		r.Header.Set("Cookie", strings.Join(cookies, "; "))
	}
	if r.Host == "" {
		r.Host = r.Header.Get("Host")
	}
	r.Header.Del("Host")
	var err error
	if h.verb == http.MethodConnect {
		r.URL = &url.URL{Host: r.Host}
	} else if r.URL, err = url.ParseRequestURI(h.path); err != nil {
		x.bad, r.URL = true, &url.URL{}
	}
	if end {
		r.ContentLength = 0
	} else {
		r.Body = body{x}
	}
	return r.WithContext(ctx)
}

func (x *exchange) begin() { x.conn.spawn(x.run) }

func (x *exchange) data(b []byte, end bool) { x.pipe.put(b, end) }

func (x *exchange) drained() {}

func (x *exchange) expired() {}

func (x *exchange) ended() { x.cancel() }

// run calls the handler. One that panics ends its stream, as in net/http.
func (x *exchange) run() {
	defer x.cancel()
	failed := true
	defer func() {
		if failed {
			p := recover()
			if p != http.ErrAbortHandler {
				x.conn.srv.opts.Log.Error("an HTTP handler panicked", "path", x.head.path,
					"panic", fmt.Sprint(p))
			}
			x.conn.mu.Lock()
			x.conn.running--
			x.conn.reset(&x.stream, internalCode)
			x.conn.mu.Unlock()
		}
	}()
	if x.bad {
		http.Error(x, "400 Bad Request", http.StatusBadRequest)
	} else {
		x.conn.srv.opts.HTTP.ServeHTTP(x, x.req)
	}
	failed = false
	if !x.wrote {
		if !x.empty && x.header.Get("Content-Length") == "" {
			x.header.Set("Content-Length", strconv.Itoa(len(x.buf)))
		}
		x.WriteHeader(http.StatusOK)
	}
	x.Flush()
	x.conn.mu.Lock()
	x.conn.running--
	if !x.over && !x.closing {
		x.closing = true
		if len(x.queue) == 0 {
			x.conn.sendEnd(&x.stream)
		}
	}
	x.conn.mu.Unlock()
}

// Header is that of the answer.
func (x *exchange) Header() http.Header { return x.header }

// WriteHeader sends the headers.
func (x *exchange) WriteHeader(code int) {
	if x.wrote {
		return
	}
	if code >= 200 {
		x.wrote = true
		x.empty = x.req.Method == http.MethodHead || code == http.StatusNoContent ||
			code == http.StatusNotModified
	}
	if x.header.Get("Date") == "" {
		now := x.conn.srv.opts.Clock.Now()
		x.header.Set("Date", now.UTC().Format(http.TimeFormat))
	}
	c := x.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	if x.over {
		return
	}
	block := c.out.enc.httpHead(nil, strconv.Itoa(code))
	for name, values := range x.header {
		name = strings.ToLower(name)
		switch name {
		case "connection", "proxy-connection", "transfer-encoding", "upgrade", "keep-alive":
			continue
		}
		for _, v := range values {
			if v = textproto.TrimString(v); validName(name) && validValue(v) {
				block = appendField(block, name, v)
			}
		}
	}
	c.out.buf = appendHeaders(c.out.buf, x.id, block, false)
	c.excuses++
	c.appended()
}

// Write sends a part of the body. It blocks while the client does not take it.
func (x *exchange) Write(b []byte) (int, error) {
	if len(x.buf)+len(b) <= bufferBytes {
		x.buf = append(x.buf, b...)
		return len(b), nil
	}
	if err := x.flush(); err != nil {
		return 0, err
	}
	if x.empty {
		return len(b), nil
	}
	if err := x.write(b); err != nil {
		return 0, err
	}
	return len(b), nil
}

// Flush sends what was written so far (http.Flusher).
func (x *exchange) Flush() { _ = x.flush() } // the request's context tells the handler

func (x *exchange) flush() error {
	if !x.wrote {
		if x.header.Get("Content-Type") == "" && len(x.buf) > 0 {
			x.header.Set("Content-Type", http.DetectContentType(x.buf))
		}
		x.WriteHeader(http.StatusOK)
	}
	if len(x.buf) == 0 || x.empty {
		x.buf = x.buf[:0]
		return nil
	}
	err := x.write(x.buf)
	x.buf = x.buf[:0]
	return err
}

// SetReadDeadline, SetWriteDeadline and EnableFullDuplex make http.ResponseController content:
// requests and answers do not hold each other up here.
func (x *exchange) EnableFullDuplex() error { return nil }

// SetReadDeadline has no effect: a request ends with its client.
func (x *exchange) SetReadDeadline(time.Time) error { return nil }

// SetWriteDeadline has none either.
func (x *exchange) SetWriteDeadline(time.Time) error { return nil }

// body is the request's.
type body struct{ x *exchange }

func (b body) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	c := b.x.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	have, err := b.x.pipe.wait(1)
	if err != nil {
		return 0, err
	}
	if len(have) == 0 {
		return 0, io.EOF
	}
	n := copy(p, have)
	b.x.pipe.take(n)
	return n, nil
}

// Close lets go of the body; what comes of it is not kept.
func (b body) Close() error { return nil }
