package rpc

import (
	"strings"
	"testing"

	"golang.org/x/net/http2"
)

// What breaks the protocol ends the stream or the connection, as RFC 9113 says.
func TestBrokenFrames(t *testing.T) {
	r := start(t, newEcho(Options{}))
	for name, send := range map[string]func(c *rawClient) (http2.ErrCode, string){
		"DATA of an idle stream": func(c *rawClient) (http2.ErrCode, string) {
			c.do(c.WriteData(1, true, nil))
			return http2.ErrCodeProtocol, "not opened"
		},
		"an even stream": func(c *rawClient) (http2.ErrCode, string) {
			c.headers(2, c.call("Now"), true)
			return http2.ErrCodeProtocol, ""
		},
		"a stream again": func(c *rawClient) (http2.ErrCode, string) {
			c.ask(3, "Now", "x")
			c.end(3)
			c.headers(3, c.call("Now"), true)
			return http2.ErrCodeStreamClosed, ""
		},
		"CONTINUATION of nothing": func(c *rawClient) (http2.ErrCode, string) {
			c.do(c.WriteContinuation(1, true, nil))
			return http2.ErrCodeProtocol, ""
		},
		"a frame between headers": func(c *rawClient) (http2.ErrCode, string) {
			c.do(c.WriteHeaders(http2.HeadersFrameParam{StreamID: 1,
				BlockFragment: c.call("Now")}))
			c.do(c.WritePing(false, [8]byte{}))
			return http2.ErrCodeProtocol, "not finished"
		},
		"headers without end": func(c *rawClient) (http2.ErrCode, string) {
			c.do(c.WriteHeaders(http2.HeadersFrameParam{StreamID: 1,
				BlockFragment: c.call("Now")}))
			for range maxContinuations {
				c.do(c.WriteContinuation(1, false, nil))
			}
			return http2.ErrCodeEnhanceYourCalm, "too large"
		},
		"headers that do not decode": func(c *rawClient) (http2.ErrCode, string) {
			c.headers(1, []byte{0xff, 0xff, 0xff, 0xff, 0xff}, true)
			return http2.ErrCodeCompression, ""
		},
		"a frame too large": func(c *rawClient) (http2.ErrCode, string) {
			c.do(c.WriteRawFrame(http2.FrameData, 0, 1, make([]byte, maxFrameBytes+1)))
			return http2.ErrCodeFrameSize, ""
		},
		"a window too large": func(c *rawClient) (http2.ErrCode, string) {
			c.do(c.WriteWindowUpdate(0, maxWindow))
			return http2.ErrCodeFlowControl, ""
		},
		"a window of nothing": func(c *rawClient) (http2.ErrCode, string) {
			c.do(c.WriteWindowUpdate(0, 0))
			return http2.ErrCodeProtocol, ""
		},
		"padding without end": func(c *rawClient) (http2.ErrCode, string) {
			c.headers(1, c.call("Now"), false)
			c.do(c.WriteRawFrame(http2.FrameData, http2.FlagDataPadded, 1, []byte{9, 1}))
			return http2.ErrCodeProtocol, "padding"
		},
		"a push": func(c *rawClient) (http2.ErrCode, string) {
			c.do(c.WriteRawFrame(http2.FramePushPromise, 0, 1, make([]byte, 4)))
			return http2.ErrCodeProtocol, ""
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := r.raw(t)
			code, text := send(c)
			c.expectGoAway(code, text)
		})
	}
}

// Floods end the connection; what is in them is not kept.
func TestFloods(t *testing.T) {
	r := start(t, newEcho(Options{}))
	for name, send := range map[string]func(c *rawClient, i int){
		"resets": func(c *rawClient, i int) {
			id := uint32(2*i + 1)
			c.headers(id, c.call("Never"), false)
			c.do(c.WriteRSTStream(id, http2.ErrCodeCancel))
		},
		"settings": func(c *rawClient, _ int) { c.do(c.WriteSettings()) },
		"empty data": func(c *rawClient, i int) {
			if i == 0 {
				c.headers(1, c.call("Never"), false)
			}
			c.do(c.WriteData(1, false, nil))
		},
		"priorities": func(c *rawClient, _ int) {
			c.do(c.WritePriority(1, http2.PriorityParam{StreamDep: 3}))
		},
		"unknown frames": func(c *rawClient, _ int) { c.do(c.WriteRawFrame(99, 0, 0, nil)) },
		"refusals": func(c *rawClient, i int) {
			c.headers(uint32(2*i+1), c.block(":method", "GET"), true)
		},
		"drips": func(c *rawClient, _ int) { c.do(c.WriteWindowUpdate(0, 1)) },
	} {
		t.Run(name, func(t *testing.T) {
			c := r.raw(t)
			go func() { // the server may end it in the middle
				for i := 0; i < 2*nuisances && c.err == nil; i++ {
					send(c, i)
				}
			}()
			reader := &rawClient{Framer: http2.NewFramer(nil, c.conn), t: t, conn: c.conn,
				got: map[uint32]*answer{}, dec: c.dec}
			for reader.last == nil && reader.err == nil {
				f, err := reader.ReadFrame()
				if err != nil {
					reader.err = err
				} else if g, ok := f.(*http2.GoAwayFrame); ok {
					reader.last = g
				}
			}
			if reader.last == nil || reader.last.ErrCode != http2.ErrCodeEnhanceYourCalm {
				t.Errorf("%v, %v", reader.last, reader.err)
			}
		})
	}
	t.Run("pings", func(t *testing.T) {
		c := r.raw(t)
		for range maxPingStrikes + 2 {
			c.do(c.WritePing(false, [8]byte{}))
		}
		c.expectGoAway(http2.ErrCodeEnhanceYourCalm, "too_many_pings")
	})
}

// Requests that end before their time, too early or twice.
func TestHalfRequests(t *testing.T) {
	c := start(t, newEcho(Options{})).raw(t)
	c.headers(1, c.call("Now"), true)
	if a := c.end(1); a.fields["grpc-status"] != "13" ||
		!strings.HasPrefix(a.fields["grpc-message"], "cardinality violation") {
		t.Errorf("no message: %v", a.fields)
	}
	c.headers(3, c.call("Now"), false)
	c.do(c.WriteData(3, true, message("abc")[:6]))
	if a := c.end(3); a.fields["grpc-message"] != "unexpected EOF" {
		t.Errorf("half a message: %v", a.fields)
	}
	c.headers(5, c.call("Now"), false)
	c.do(c.WriteData(5, true, append(message("a"), message("b")...)))
	if a := c.end(5); !strings.Contains(a.fields["grpc-message"], "multiple request messages") {
		t.Errorf("two messages: %v", a.fields)
	}
	c.headers(7, c.call("Now"), false)
	c.do(c.WriteData(7, false, []byte{0, 0xff, 0xff, 0xff, 0xff}))
	if a := c.end(7); a.fields["grpc-status"] != "8" {
		t.Errorf("a message of 4 GiB: %v", a.fields)
	}
	c.headers(9, c.call("Now"), false)
	c.do(c.WriteData(9, true, append([]byte{1}, message("x")[1:]...)))
	if a := c.end(9); a.fields["grpc-status"] != "13" {
		t.Errorf("compressed without a coding: %v", a.fields)
	}
	for i, piece := range message("in pieces") {
		if i == 0 {
			c.headers(11, c.call("Now"), false)
		}
		c.do(c.WriteData(11, false, []byte{piece}))
	}
	c.headers(11, c.block("trailer", "x"), true)
	c.expect(11, "in pieces")
	c.ask(13, "Never", "x")
	c.do(c.WriteData(13, true, nil))
	if a := c.end(13); !a.reset || a.code != http2.ErrCodeStreamClosed {
		t.Errorf("data behind the end: %+v", a)
	}
}
