// Package h2 is the client's side of gRPC over HTTP/2 as a pure machine: bytes in, bytes out, no
// connection, goroutine or clock. It is made for a load generator: a request that was sent before
// costs a copy of its header block and of its message, a reply is handed on where it was read.
//
// # The caller's loop
//
//	s := h2.New(handler, config)         // s.Out holds the preface and the settings
//	put := s.Method("/etcdserverpb.KV/Put")
//	for {
//		for work && s.CanOpen() {
//			s.Open(put, owner, message, true)     // appends to s.Out
//		}
//		write s.Out; s.Out = s.Out[:0]
//		read into buf
//		n, err := s.Receive(buf)         // calls handler; buf[n:] comes first next time
//	}
//
// The handler may open, send and cancel while it is called. An error of Receive is the end of the
// connection: the peer broke the protocol, or it said goodbye.
//
// # Frames
//
// Of RFC 9113 and of gRPC's mapping on it (PROTOCOL-HTTP2.md of the grpc project), this is used:
//
//	out: HEADERS (one frame, indexed after the first use), DATA, SETTINGS, PING, WINDOW_UPDATE,
//	     RST_STREAM
//	in:  all of them; PUSH_PROMISE is refused, PRIORITY and unknown frames are skipped
//
// A message in a DATA stream is
//
//	+----------------+---------------------------+---------+
//	| compressed 1 B | length 4 B (big-endian)   | message |
//	+----------------+---------------------------+---------+
//
// and may be spread over frames as the sender likes. Compressed ones are refused: they are not
// asked for.
//
// # Flow control
//
// What comes in is consumed at once, so windows are large (StreamWindow, ConnWindow) and given back
// by halves. What goes out waits for the peer's windows: a stream whose message did not fit is
// continued, in the order of opening, when there is room.
package h2

import (
	"errors"
	"fmt"

	"golang.org/x/net/http2"
)

// Limits.
const (
	// StreamWindow and ConnWindow are how many bytes the peer may send ahead, on a stream and in
	// all.
	StreamWindow = 64 << 20
	ConnWindow   = 1 << 30

	// MaxFrame is the largest frame that is taken, its header not counted: the protocol's default.
	MaxFrame = 16384

	// maxHeaderBlock bounds the headers of one response, compressed; maxHeaderString one of them.
	maxHeaderBlock  = 64 << 10
	maxHeaderString = 16 << 10

	// maxWindow is the protocol's bound of a window.
	maxWindow = 1<<31 - 1

	// tableSize is the size of both HPACK tables, the protocol's default.
	tableSize = 4096

	// maxStreamID is the last that a connection can use.
	maxStreamID = 1<<31 - 1

	headerLen = 9 // of a frame
	prefixLen = 5 // of a message
)

// Errors that end a connection.
var (
	// ErrProtocol is wrapped by every error that says how the peer broke the protocol.
	ErrProtocol = errors.New("HTTP/2 protocol error")
	// ErrExhausted is returned by Open when the connection has no stream ids left.
	ErrExhausted = errors.New("the connection has used up its 2^30 streams")
)

// GoAway says that the peer takes no more requests on the connection.
type GoAway struct {
	Last  uint32 // the last stream that the peer looked at
	Code  http2.ErrCode
	Debug string
}

func (g *GoAway) Error() string {
	text := fmt.Sprintf("the server closes the connection: %v", g.Code)
	if g.Debug != "" {
		text += fmt.Sprintf(" (%q)", g.Debug)
	}
	return text
}

func protocol(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrProtocol}, args...)...)
}

// Status is how a call ended.
type Status struct {
	// Code is the gRPC code; 0 is OK. What failed below gRPC (a reset, an HTTP status) is mapped to
	// a code as gRPC's documents say.
	Code uint32
	// Message is what the server said, or what failed below gRPC.
	Message string
}

// gRPC codes that are made here.
const (
	CodeOK                uint32 = 0
	CodeCanceled          uint32 = 1
	CodeUnknown           uint32 = 2
	CodePermissionDenied  uint32 = 7
	CodeResourceExhausted uint32 = 8
	CodeUnimplemented     uint32 = 12
	CodeInternal          uint32 = 13
	CodeUnavailable       uint32 = 14
	CodeUnauthenticated   uint32 = 16
)

var codeNames = [...]string{"OK", "Canceled", "Unknown", "InvalidArgument", "DeadlineExceeded",
	"NotFound", "AlreadyExists", "PermissionDenied", "ResourceExhausted", "FailedPrecondition",
	"Aborted", "OutOfRange", "Unimplemented", "Internal", "Unavailable", "DataLoss",
	"Unauthenticated"}

// CodeName names a gRPC code: "Unavailable".
func CodeName(code uint32) string {
	if int(code) < len(codeNames) {
		return codeNames[code]
	}
	return fmt.Sprintf("Code(%d)", code)
}

// Handler gets what comes in. It is called by Receive alone.
type Handler interface {
	// Message is called with each message of a call. msg is valid during the call of Message only.
	// size is the message's length; msg is shorter (and may be empty) only if the stream discards
	// messages and this one did not come in one frame.
	Message(owner int32, msg []byte, size int) error
	// End is called once for each call that was opened and not canceled.
	End(owner int32, status Status) error
}
