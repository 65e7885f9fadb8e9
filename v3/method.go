package v3

import (
	"context"

	"google.golang.org/grpc"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/cairnkv/cairn/rpc"
)

// service is a gRPC service in the making.
type service struct {
	door *Door
	desc grpc.ServiceDesc
	hot  []*hot
	raw  []*rawStream
}

// addService begins a service; file is the proto file that declares it, for gRPC reflection.
func (d *Door) addService(name string, file any) *service {
	s := &service{door: d, desc: grpc.ServiceDesc{
		ServiceName: name, HandlerType: (*any)(nil), Metadata: file,
	}}
	d.services = append(d.services, s)
	return s
}

func (s *service) method(name string, kind MethodKind) *Method {
	m := &Method{
		Index: len(s.door.methods), Service: s.desc.ServiceName, Name: name, Kind: kind,
	}
	s.door.methods = append(s.door.methods, m)
	return m
}

// unary adds a unary method without a goroutine for each request; see hot.
func (s *service) unary(name string, decode func(c *call) error, serve func(c *call)) *hot {
	m := &hot{Method: s.method(name, Unary), decode: decode, serve: serve}
	s.hot = append(s.hot, m)
	return m
}

// cold adds a unary method that works on generated types and may block.
func cold[R any, P interface {
	*R
	proto.Message
}, A proto.Message](s *service, name string, serve func(context.Context, P) (A, error)) {
	d, m := s.door, s.method(name, Unary)
	handle := func(ctx context.Context, req any) (any, error) {
		hooks, start := &d.opts.Hooks, d.opts.Clock.Now()
		hooks.Started(m)
		hooks.Received(m)
		hooks.ReceivedBytes(proto.Size(req.(P)))
		_, err := d.admit(metadataOf{ctx}, "unary")
		if err == nil {
			err = d.admitLearner(m, nil)
		}
		var reply A
		if err == nil {
			reply, err = serve(ctx, req.(P))
		}
		if err = statusOf(err); err == nil {
			hooks.Sent(m)
			hooks.SentBytes(proto.Size(reply))
		}
		hooks.Handled(m, status.Code(err), d.opts.Clock.Since(start))
		return reply, err
	}
	s.desc.Methods = append(s.desc.Methods, grpc.MethodDesc{MethodName: name, Handler: func(
		_ any, ctx context.Context, dec func(any) error, ic grpc.UnaryServerInterceptor,
	) (any, error) {
		req := P(new(R))
		if err := dec(req); err != nil {
			return nil, err
		}
		if ic == nil {
			return handle(ctx, req)
		}
		return ic(ctx, req, &grpc.UnaryServerInfo{Server: d, FullMethod: m.FullName()}, handle)
	}})
}

// decodeAs decodes a call's request into its generated type.
func decodeAs[R any, P interface {
	*R
	proto.Message
}](c *call) error {
	r := P(new(R))
	c.msg = r
	return proto.Unmarshal(c.req, r)
}

// missing adds a unary method that is refused, whatever the request.
func (s *service) missing(name string) {
	err := notYet(s.desc.ServiceName + "/" + name)
	s.unary(name, func(*call) error { return nil }, func(c *call) { c.fail(err) })
}

// stream is the server's side of a stream that has a goroutine. Its context also ends when the
// stream wants a leader and there is none for long; contextError tells why.
type stream struct {
	grpc.ServerStream
	ctx    context.Context
	door   *Door
	method *Method
}

func (s *stream) Context() context.Context { return s.ctx }

func (s *stream) SendMsg(m any) error {
	err := s.ServerStream.SendMsg(m)
	if err == nil {
		s.door.opts.Hooks.Sent(s.method)
		s.door.opts.Hooks.SentBytes(size(m))
	}
	return err
}

func (s *stream) RecvMsg(m any) error {
	err := s.ServerStream.RecvMsg(m)
	if err == nil {
		s.door.opts.Hooks.Received(s.method)
		s.door.opts.Hooks.ReceivedBytes(size(m))
	}
	return err
}

// size is the length of a message on the wire.
func size(m any) int {
	switch m := m.(type) {
	case rpc.Bytes:
		return len(m)
	case *rpc.Bytes:
		return len(*m)
	case proto.Message:
		return proto.Size(m)
	}
	return 0
}

// stream adds a streaming method.
func (s *service) stream(name string, kind MethodKind, serve func(*stream) error) {
	d, m := s.door, s.method(name, kind)
	s.desc.Streams = append(s.desc.Streams, grpc.StreamDesc{
		StreamName:    name,
		ServerStreams: true,
		ClientStreams: kind == BidiStream,
		Handler: func(_ any, ss grpc.ServerStream) error {
			start := d.opts.Clock.Now()
			d.opts.Hooks.Started(m)
			st := &stream{ServerStream: ss, ctx: ss.Context(), door: d, method: m}
			err := statusOf(d.serveStream(st, serve))
			d.opts.Hooks.Handled(m, status.Code(err), d.opts.Clock.Since(start))
			return err
		},
	})
}

func (d *Door) serveStream(st *stream, serve func(*stream) error) error {
	wantsLeader, err := d.admit(metadataOf{st.ctx}, "stream")
	if err == nil {
		err = d.admitLearner(st.method, nil)
	}
	if err != nil {
		return err
	}
	if wantsLeader {
		ctx, cancel := context.WithCancelCause(st.ctx)
		defer cancel(nil)
		st.ctx = ctx
		d.leader.add(st, cancel)
		defer d.leader.remove(st)
	}
	return serve(st)
}
