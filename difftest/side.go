package difftest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"
)

const (
	// callTimeout bounds one operation on one side; only a server that hangs meets it.
	callTimeout = 60 * time.Second

	// storageVersion is what Status says once a server has settled, versionPoll how often it is
	// asked.
	storageVersion = "3.7.0"
	versionPoll    = 10 * time.Millisecond

	// maxMessage is the largest answer taken: more than any range of a run holds.
	maxMessage = 1 << 30
)

// Side is one member of one of the two clusters of a run: its process, a connection to it and what
// its cluster has picked. The runner is its only user.
type Side struct {
	Name   string // "A" or "B", with the number of the member behind it if there are several
	Server *Server

	// Options are added to every connection; tests put faults there.
	Options []grpc.DialOption

	*ids

	conn     *grpc.ClientConn
	streams  map[int]*watchStream
	memberID uint64
	term     uint64 // highest term seen
}

// ids is what a cluster, or a lone server, has picked by itself. Its members share it.
type ids struct {
	clusterID uint64
	leader    uint64            // id of the member that leads, 0 if there is but one
	leases    map[int64]int64   // symbol -> id on this side
	symbols   map[int64]int64   // id on this side -> symbol
	ttls      map[int64]int64   // id in normal form -> TTL that was granted
	members   map[int64]uint64  // symbol -> id on this side
	numbers   map[uint64]int64  // id on this side -> symbol
	urls      map[string]string // URL on this side -> word, as $peer2 or $client2
}

// newIDs returns an empty table.
func newIDs() *ids {
	return &ids{
		leases: make(map[int64]int64), symbols: make(map[int64]int64),
		ttls: make(map[int64]int64), members: make(map[int64]uint64),
		numbers: make(map[uint64]int64), urls: make(map[string]string),
	}
}

// setMember keeps the id of member n.
func (t *ids) setMember(n int, id uint64) {
	t.members[MemberVar(n)], t.numbers[id] = id, MemberVar(n)
}

// Start starts the server and connects to it.
func (s *Side) Start(ctx context.Context) error {
	status, err := s.connect(ctx)
	if err != nil {
		return fmt.Errorf("side %s: %w", s.Name, err)
	}
	return s.meet(status.Header)
}

// connect starts the server, connects to it and returns its status. It touches nothing that the
// members of a cluster share, so that several can do it at once.
func (s *Side) connect(ctx context.Context) (*pb.StatusResponse, error) {
	if err := s.Server.Start(ctx); err != nil {
		return nil, err
	}
	s.streams = make(map[int]*watchStream)
	opts := append([]grpc.DialOption{
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage),
			grpc.MaxCallSendMsgSize(maxMessage)),
	}, s.Options...)
	conn, err := grpc.NewClient("passthrough:///"+s.Server.Endpoint(), opts...)
	if err != nil {
		return nil, err
	}
	s.conn = conn
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	return pb.NewMaintenanceClient(s.conn).Status(ctx, &pb.StatusRequest{},
		grpc.WaitForReady(true))
}

// meet notes the ids of a member that has been connected to.
func (s *Side) meet(header *pb.ResponseHeader) error {
	if s.ids == nil {
		s.ids = newIDs()
		s.urls[s.Server.PeerURL()], s.urls[s.Server.ClientURL()] = "$peer1", "$client1"
	}
	s.clusterID, s.memberID = header.ClusterId, header.MemberId
	if s.clusterID == 0 || s.memberID == 0 {
		return fmt.Errorf("side %s: no ids in the header %v", s.Name, header)
	}
	if _, known := s.numbers[s.memberID]; !known {
		s.setMember(max(s.Server.Number, 1), s.memberID)
	}
	return nil
}

// awaitVersions waits until the server has settled on its storage version, which etcd does within
// seconds of its first start.
func (s *Side) awaitVersions(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	poll := time.NewTicker(versionPoll)
	defer poll.Stop()
	for {
		status, err := pb.NewMaintenanceClient(s.conn).Status(ctx, &pb.StatusRequest{})
		if err != nil {
			return fmt.Errorf("side %s: %w", s.Name, err)
		}
		if status.StorageVersion == storageVersion {
			return nil
		}
		select {
		case <-poll.C:
		case <-ctx.Done():
			return fmt.Errorf("side %s: the storage version stays %q", s.Name,
				status.StorageVersion)
		}
	}
}

// disconnect ends the streams and the connection.
func (s *Side) disconnect() {
	for _, ws := range s.streams {
		ws.stop()
	}
	s.streams = make(map[int]*watchStream)
	if s.conn != nil {
		_ = s.conn.Close() // nothing is in flight
		s.conn = nil
	}
}

// running reports whether the process runs, as far as the runner has not ended it.
func (s *Side) running() bool { return s.conn != nil }

// Close ends everything; the data directory stays.
func (s *Side) Close() {
	s.disconnect()
	s.Server.Kill()
}

// answer is what came of one operation on one side.
type answer struct {
	msgs []proto.Message // in normal form
	err  error
}

// resolve returns the request with symbols replaced by this side's numbers.
func (s *Side) resolve(m proto.Message, rev, compacted int64) proto.Message {
	m = mapInts(m, func(v int64) int64 {
		switch {
		case within(v, compactSymbol):
			return compacted + v - compactSymbol
		case within(v, revSymbol):
			return rev + v - revSymbol
		case within(v, leaseSymbol):
			if id, ok := s.leases[v]; ok {
				return id
			}
		case v == selfSymbol:
			return int64(s.memberID)
		case within(v, selfSymbol):
			return int64(s.members[v])
		}
		return v
	})
	switch m := m.(type) {
	case *pb.MemberAddRequest:
		s.resolveURLs(m.PeerURLs)
	case *pb.MemberUpdateRequest:
		s.resolveURLs(m.PeerURLs)
	}
	return m
}

// resolveURLs replaces words for this side's addresses.
func (s *Side) resolveURLs(urls []string) {
	for i, text := range urls {
		for u, word := range s.urls {
			if word == text {
				urls[i] = u
			}
		}
	}
}

// call makes the call of an operation that is neither a watch nor a restart. The request is
// resolved already. The answer is raw; normalize makes it comparable.
func (s *Side) call(ctx context.Context, op Op, req proto.Message) answer {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	switch op.Kind {
	case kindRangeStream:
		return s.rangeStream(ctx, req.(*pb.RangeRequest))
	case kindKeepAlive:
		return s.keepAlive(ctx, req.(*pb.LeaseKeepAliveRequest), op.Repeat)
	}
	k := kinds()[op.Kind]
	resp := k.response()
	if op.HasLeader {
		ctx = metadata.AppendToOutgoingContext(ctx, "hasleader", "true")
	}
	if err := s.conn.Invoke(ctx, k.method, req, resp); err != nil {
		return answer{err: err}
	}
	return answer{msgs: []proto.Message{resp}}
}

// rangeStream reads a streamed range and returns the chunks merged. How the keys are spread over
// the chunks is the server's affair; that header, count and more come with the last one is not.
func (s *Side) rangeStream(ctx context.Context, req *pb.RangeRequest) answer {
	cl, err := pb.NewKVClient(s.conn).RangeStream(ctx, req)
	if err != nil {
		return answer{err: err}
	}
	whole := &pb.RangeResponse{}
	for {
		chunk, err := cl.Recv()
		if errors.Is(err, io.EOF) {
			return answer{msgs: []proto.Message{whole}}
		}
		if err != nil {
			return answer{err: err}
		}
		if whole.Header != nil {
			return answer{err: fmt.Errorf("chunk after the one with the header: %v", chunk)}
		}
		part := chunk.RangeResponse
		if part.Header == nil && (part.Count != 0 || part.More) {
			return answer{err: fmt.Errorf("count or more before the last chunk: %v", chunk)}
		}
		proto.Merge(whole, part)
	}
}

// keepAlive sends the request repeat times (at least once) on one stream, each after the answer to
// the one before, then closes its direction and waits for the end of the stream.
func (s *Side) keepAlive(ctx context.Context, req *pb.LeaseKeepAliveRequest, repeat int) answer {
	cl, err := pb.NewLeaseClient(s.conn).LeaseKeepAlive(ctx)
	if err != nil {
		return answer{err: err}
	}
	var a answer
	for range max(repeat, 1) {
		if err := cl.Send(req); err != nil {
			return answer{msgs: a.msgs, err: err}
		}
		resp, err := cl.Recv()
		if err != nil {
			return answer{msgs: a.msgs, err: err}
		}
		a.msgs = append(a.msgs, resp)
	}
	if err := cl.CloseSend(); err != nil {
		return answer{msgs: a.msgs, err: err}
	}
	if extra, err := cl.Recv(); !errors.Is(err, io.EOF) {
		return answer{msgs: a.msgs, err: fmt.Errorf("after the end of a keepalive: %v, %w",
			extra, err)}
	}
	return a
}
