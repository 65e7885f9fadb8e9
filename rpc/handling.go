package rpc

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"net"
	"strings"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/encoding"
	protocodec "google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
)

// handling is one call of a generated service, which has a goroutine of its own. It is the
// handler's [grpc.ServerStream].
type handling struct {
	stream
	pipe   pipe
	ctx    context.Context
	cancel context.CancelFunc

	mu      sync.Mutex // guards the metadata that wait to be sent
	header  metadata.MD
	trailer metadata.MD
	sent    bool // the headers are out

	received bool // a message was; the handler's goroutine's
}

func (s *Server) newHandling(c *conn, id uint32, h *head) *stream {
	k := new(handling)
	k.init(c, id, h, k)
	k.pipe.init(&k.stream)
	ctx := metadata.NewIncomingContext(c.ctx, h.metadata())
	if h.timed {
		k.ctx, k.cancel = context.WithTimeout(ctx, h.timeout)
	} else {
		k.ctx, k.cancel = context.WithCancel(ctx)
	}
	k.ctx = grpc.NewContextWithServerTransportStream(k.ctx, transportStream{k})
	return &k.stream
}

// context is what the contexts of a connection's calls descend from.
func (s *Server) context(nc net.Conn) context.Context {
	p := &peer.Peer{Addr: nc.RemoteAddr(), LocalAddr: nc.LocalAddr()}
	if t, ok := nc.(*tls.Conn); ok {
		p.AuthInfo = credentials.TLSInfo{
			State: t.ConnectionState(),
			CommonAuthInfo: credentials.CommonAuthInfo{
				SecurityLevel: credentials.PrivacyAndIntegrity,
			},
		}
	} else {
		p.AuthInfo = plain{credentials.CommonAuthInfo{SecurityLevel: credentials.NoSecurity}}
	}
	return peer.NewContext(context.Background(), p)
}

// plain is what there is to say of a connection without TLS (as grpc-go's insecure credentials).
type plain struct{ credentials.CommonAuthInfo }

// AuthType is "insecure".
func (plain) AuthType() string { return "insecure" }

func (k *handling) begin() { k.conn.spawn(k.run) }

func (k *handling) data(b []byte, end bool) { k.pipe.put(b, end) }

func (k *handling) drained() {}

func (k *handling) ended() { k.cancel() }

// expired leaves the answer to the handler, whose context ends by itself, for a moment: then the
// stream is reset (as grpc-go does at once).
func (k *handling) expired() {
	if !k.headed {
		k.sendStatus(errDeadline, nil)
		return
	}
	k.conn.reset(&k.stream, cancelCode)
}

// run calls the handler and sends what comes of it.
func (k *handling) run() {
	defer k.cancel()
	m := k.head.method
	var err error
	if m.unary != nil {
		err = k.runUnary(m)
	} else {
		err = m.streaming.Handler(m.service, k)
	}
	st := statusOf(err)
	k.mu.Lock()
	trailer := k.trailer
	header := k.header
	k.mu.Unlock()
	k.conn.mu.Lock()
	defer k.conn.mu.Unlock()
	k.conn.running-- // before the client can know that it may ask for more
	if !k.headed && (st.Code() == codes.OK || len(header) > 0) {
		k.sendHead(k.headFields(header))
	}
	k.sendStatus(st, appendMetadata(nil, trailer))
	k.conn.appended()
}

func (k *handling) runUnary(m *method) error {
	decode := func(v any) error { return k.RecvMsg(v) }
	reply, err := m.unary.Handler(m.service, k.ctx, decode, nil)
	if err != nil {
		return err
	}
	return k.SendMsg(reply)
}

// codec finds the codec of the content subtype; the usual one is protobuf's.
func (k *handling) codec() encoding.CodecV2 {
	name := k.head.subtype
	if name == "" {
		name = protocodec.Name
	}
	if c := encoding.GetCodecV2(name); c != nil {
		return c
	}
	return encoding.GetCodecV2(protocodec.Name)
}

// RecvMsg reads the next message into v; io.EOF when the client has said all.
func (k *handling) RecvMsg(v any) error {
	b, err := k.next()
	if err != nil {
		return err
	}
	k.received = true
	m := k.head.method
	if m.unary != nil || !m.streaming.ClientStreams {
		if _, err := k.next(); err == nil {
			return status.Error(codes.Internal, "cardinality violation: received multiple "+
				"request messages for non-client-streaming RPC")
		} else if !errors.Is(err, io.EOF) {
			return err
		}
	}
	if raw, ok := v.(*Bytes); ok {
		*raw = b
		return nil
	}
	if err := k.codec().Unmarshal(mem.BufferSlice{mem.SliceBuffer(b)}, v); err != nil {
		if m.unary != nil {
			return status.Errorf(codes.Internal, "grpc: error unmarshalling request: %v", err)
		}
		return status.Errorf(codes.Internal,
			"grpc: failed to unmarshal the received message: %v", err)
	}
	return nil
}

// next takes the next message off the pipe.
func (k *handling) next() ([]byte, error) {
	c := k.conn
	c.mu.Lock()
	b, err := k.pipe.wait(prefixBytes)
	if err == nil && len(b) == 0 {
		c.mu.Unlock()
		return nil, k.noMore()
	}
	var st *status.Status
	n := prefixBytes
	if err == nil && len(b) >= prefixBytes {
		if st = c.srv.checkLength(b); st == nil {
			n += int(binary.BigEndian.Uint32(b[1:]))
			b, err = k.pipe.wait(n)
		}
	}
	var msg []byte
	coded := false
	switch {
	case err != nil || st != nil:
	case len(b) < n:
		st = status.New(codes.Internal, io.ErrUnexpectedEOF.Error())
	default:
		coded = b[0] != 0
		msg = append(make([]byte, 0, n), b[prefixBytes:n]...)
		k.pipe.take(n)
	}
	c.mu.Unlock()
	if err != nil {
		if k.ctx.Err() != nil {
			return nil, status.FromContextError(k.ctx.Err()).Err()
		}
		return nil, status.Error(codes.Canceled, context.Canceled.Error())
	}
	if st == nil && coded {
		msg, st = c.srv.expand(k.head.coding, msg)
	}
	return msg, st.Err()
}

// noMore is the error of reading behind the last message.
func (k *handling) noMore() error {
	if m := k.head.method; m.unary != nil && !k.received {
		return status.Error(codes.Internal, "cardinality violation: received no request message "+
			"from non-client-streaming RPC")
	}
	return io.EOF
}

// Bytes is a message as it is on the wire: handlers of streams may receive into one (its address)
// and send one, instead of a generated type.
type Bytes []byte

// SendMsg sends a message: a generated type, or Bytes.
func (k *handling) SendMsg(v any) error {
	flag, msg := byte(0), []byte(nil)
	if raw, ok := v.(Bytes); ok {
		msg = raw
	} else {
		out, err := k.codec().Marshal(v)
		if err != nil {
			return status.Errorf(codes.Internal, "grpc: error while marshaling: %v", err)
		}
		msg = out.Materialize()
		out.Free()
	}
	if len(msg) > min(k.conn.srv.opts.MaxSendBytes, math.MaxUint32) {
		return status.Errorf(codes.ResourceExhausted,
			"trying to send message larger than max (%d vs. %d)", len(msg),
			k.conn.srv.opts.MaxSendBytes)
	}
	if k.head.coding != "" {
		msg, flag = compressed(k.head.coding, msg)
	}
	if err := k.SendHeader(nil); err != nil && !k.sent {
		return err
	}
	b := make([]byte, prefixBytes, prefixBytes+len(msg))
	b[0] = flag
	binary.BigEndian.PutUint32(b[1:], uint32(len(msg)))
	if k.write(append(b, msg...)) != nil {
		return k.endError()
	}
	return nil
}

// endError says why nothing can be sent any more.
func (k *handling) endError() error {
	if err := k.ctx.Err(); err != nil {
		return status.FromContextError(err).Err()
	}
	return status.Error(codes.Unavailable, "transport is closing")
}

// Context ends with the call.
func (k *handling) Context() context.Context { return k.ctx }

var errHeadersSent = status.Error(codes.Internal, "transport: SendHeader called multiple times")

// SetHeader adds to the headers, which go out with the first message.
func (k *handling) SetHeader(md metadata.MD) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.sent {
		return errHeadersSent
	}
	k.header = metadata.Join(k.header, md)
	return nil
}

// SendHeader sends the headers.
func (k *handling) SendHeader(md metadata.MD) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.sent {
		return errHeadersSent
	}
	k.sent = true
	k.header = metadata.Join(k.header, md)
	k.conn.mu.Lock()
	defer k.conn.mu.Unlock()
	if k.over || k.closing {
		return status.Error(codes.Unavailable, "transport is closing")
	}
	k.sendHead(k.headFields(k.header))
	k.conn.appended()
	return nil
}

func (k *handling) headFields(md metadata.MD) []byte {
	b := appendMetadata(nil, md)
	if k.head.coding != "" {
		b = appendField(b, "grpc-encoding", k.head.coding)
	}
	return b
}

// SetTrailer adds to the trailers.
func (k *handling) SetTrailer(md metadata.MD) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.trailer = metadata.Join(k.trailer, md)
}

// appendMetadata encodes metadata; what belongs to the transport is left out, and what cannot stand
// in a header.
func appendMetadata(b []byte, md metadata.MD) []byte {
	for name, values := range md {
		name = strings.ToLower(name)
		if reserved(name) || name == contentType || !validName(name) {
			continue
		}
		for _, v := range values {
			if strings.HasSuffix(name, binarySuffix) {
				v = encodeBinary([]byte(v))
			} else if !validValue(v) {
				continue
			}
			b = appendField(b, name, v)
		}
	}
	return b
}

// transportStream lets grpc.SetHeader and its like find the call.
type transportStream struct{ k *handling }

func (t transportStream) Method() string                  { return t.k.head.path }
func (t transportStream) SetHeader(md metadata.MD) error  { return t.k.SetHeader(md) }
func (t transportStream) SendHeader(md metadata.MD) error { return t.k.SendHeader(md) }

func (t transportStream) SetTrailer(md metadata.MD) error {
	t.k.SetTrailer(md)
	return nil
}
