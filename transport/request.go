package transport

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"
)

// Bounds of the pooled connections.
const (
	maxIdleConns   = 64
	maxIdlePerHost = 4
	idleConnTime   = time.Minute
	maxHeadBytes   = 64 << 10 // of an answer
)

// socketSuffix ends the host of a URL whose host is a socket's address in hexadecimal: URLs of
// HTTP have no place for the name of a file.
const socketSuffix = ".unix"

// Request is a plain HTTP request to a peer.
type Request struct {
	Method string // "" is GET
	Path   string // "/members"; a query may follow
	Header http.Header
	Body   []byte
}

// dialError says that a request did not reach the peer.
type dialError struct{ error }

// Unwrap gives what happened.
func (e dialError) Unwrap() error { return e.error }

// newClient makes the client of Do and Get.
func (t *Transport) newClient() *http.Client {
	dial := func(ctx context.Context, addr string, secure bool) (net.Conn, error) {
		conn, err := t.dialPooled(ctx, addr, secure)
		if err != nil {
			return nil, dialError{err}
		}
		return conn, nil
	}
	return &http.Client{
		Transport: &http.Transport{
			DialContext: func(ctx context.Context, _, addr string) (net.Conn, error) {
				return dial(ctx, addr, false)
			},
			DialTLSContext: func(ctx context.Context, _, addr string) (net.Conn, error) {
				return dial(ctx, addr, true)
			},
			MaxIdleConns: maxIdleConns, MaxIdleConnsPerHost: maxIdlePerHost,
			IdleConnTimeout: idleConnTime, MaxResponseHeaderBytes: maxHeadBytes,
			DisableCompression: true,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error {
			return http.ErrUseLastResponse
		},
	}
}

// dialPooled makes a connection of the client.
func (t *Transport) dialPooled(ctx context.Context, addr string, secure bool) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, t.opts.DialTimeout)
	defer cancel()
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	a := address{network: "tcp", addr: addr, host: host, secure: secure}
	if name, ok := strings.CutSuffix(host, socketSuffix); ok {
		file, err := hex.DecodeString(name)
		if err != nil {
			return nil, err
		}
		a.network, a.addr, a.host = "unix", string(file), "localhost"
		if host, _, err := net.SplitHostPort(a.addr); err == nil {
			a.host = host
		}
	}
	return t.dial(ctx, a)
}

// Do sends a request to a peer and returns the answer, whatever its status; the caller closes its
// body and bounds what is read of it. The peer's URLs are tried in turn: until one answers for GET
// and HEAD, for other methods until one is connected. The transport's headers are set, as on
// streams.
func (t *Transport) Do(ctx context.Context, id uint64, r Request) (*http.Response, error) {
	p := t.peer(id)
	if p == nil {
		return nil, fmt.Errorf("member %s is no known peer", formatID(id))
	}
	return t.try(ctx, p.candidates(), id, r)
}

// Get asks for a path at URLs of the cluster in turn, until one answers; see Do.
func (t *Transport) Get(ctx context.Context, urls []string, path string) (*http.Response, error) {
	return t.try(ctx, urls, 0, Request{Path: path})
}

// try sends a request to one of the URLs.
func (t *Transport) try(
	ctx context.Context, urls []string, to uint64, r Request,
) (*http.Response, error) {
	if r.Method == "" {
		r.Method = http.MethodGet
	}
	failure := errors.New("there is no URL to send it to")
	for _, u := range urls {
		resp, err := t.send(ctx, u, to, r)
		if err == nil {
			return resp, nil
		}
		failure = err
		var early dialError
		safe := r.Method == http.MethodGet || r.Method == http.MethodHead || errors.As(err, &early)
		if !safe || ctx.Err() != nil {
			break
		}
	}
	return nil, fmt.Errorf("%s %s: %w", r.Method, r.Path, failure)
}

// send sends a request to one URL.
func (t *Transport) send(
	ctx context.Context, peerURL string, to uint64, r Request,
) (*http.Response, error) {
	a, err := resolve(peerURL)
	if err != nil {
		return nil, err
	}
	scheme, host := "http", a.addr
	if a.secure {
		scheme = "https"
	}
	if a.network == "unix" {
		host = hex.EncodeToString([]byte(a.addr)) + socketSuffix + ":0"
	}
	req, err := http.NewRequestWithContext(ctx, r.Method, scheme+"://"+host+r.Path,
		bytes.NewReader(r.Body))
	if err != nil {
		return nil, err
	}
	for name, values := range r.Header {
		req.Header[name] = values
	}
	if a.network == "unix" {
		req.Host = a.host
	}
	t.identify(req.Header, to)
	return t.client.Do(req)
}
