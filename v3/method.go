package v3

import (
	"context"

	"google.golang.org/grpc"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// service is a gRPC service in the making.
type service struct {
	door *Door
	desc grpc.ServiceDesc
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

// unary adds a unary method. decode reads the call's bytes and fails if they are no such request;
// serve answers with something that the codec knows.
func (s *service) unary(name string, decode func(c *call) error,
	serve func(ctx context.Context, c *call) (any, error),
) {
	d, m := s.door, s.method(name, Unary)
	handle := func(ctx context.Context, req any) (any, error) {
		hooks, start := &d.opts.Hooks, d.opts.Clock.Now()
		hooks.Started(m)
		hooks.Received(m)
		var reply any
		_, err := d.admit(ctx, "unary")
		if err == nil {
			err = d.admitLearner(m, req.(*call))
		}
		if err == nil {
			reply, err = serve(ctx, req.(*call))
		}
		if err = statusOf(err); err == nil {
			hooks.Sent(m)
		}
		hooks.Handled(m, status.Code(err), d.opts.Clock.Since(start))
		return reply, err
	}
	s.desc.Methods = append(s.desc.Methods, grpc.MethodDesc{MethodName: name, Handler: func(
		_ any, ctx context.Context, dec func(any) error, ic grpc.UnaryServerInterceptor,
	) (any, error) {
		c := d.newCall()
		defer c.release()
		if err := dec(c); err != nil {
			return nil, err
		}
		if err := decode(c); err != nil {
			return nil, malformed(err)
		}
		if ic == nil {
			return handle(ctx, c)
		}
		return ic(ctx, c, &grpc.UnaryServerInfo{Server: d, FullMethod: m.FullName()}, handle)
	}})
}

// hot adds a unary method that answers with bytes.
func (s *service) hot(name string, decode func(c *call) error,
	serve func(ctx context.Context, c *call) (*[]byte, error),
) {
	s.unary(name, decode, func(ctx context.Context, c *call) (any, error) {
		reply, err := serve(ctx, c)
		if err != nil {
			return nil, err
		}
		if reply == nil { // a response without fields
			reply = lend(0)
		}
		return reply, nil
	})
}

// cold adds a unary method that works on generated types.
func cold[R any, P interface {
	*R
	proto.Message
}, A proto.Message](s *service, name string, serve func(context.Context, P) (A, error)) {
	s.unary(name, decodeAs[R, P], func(ctx context.Context, c *call) (any, error) {
		a, err := serve(ctx, c.msg.(P))
		if err != nil {
			return nil, err
		}
		return a, nil
	})
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
	s.unary(name, func(*call) error { return nil },
		func(context.Context, *call) (any, error) { return nil, err })
}

// stream is the server's side of a stream. Its context also ends when the stream wants a
// leader and there is none for long; contextError tells why.
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
	}
	return err
}

func (s *stream) RecvMsg(m any) error {
	err := s.ServerStream.RecvMsg(m)
	if err == nil {
		s.door.opts.Hooks.Received(s.method)
	}
	return err
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
	wantsLeader, err := d.admit(st.ctx, "stream")
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

// streamBroke counts and logs a stream that ended by another cause than the client's will.
func (d *Door) streamBroke(st *stream, direction, api string, err error) {
	if clientEnded(st, err) {
		return
	}
	d.opts.Hooks.StreamFailed(direction, api)
	d.opts.Log.Warn("stream to a client broke", "api", api, "direction", direction, "error", err)
}
