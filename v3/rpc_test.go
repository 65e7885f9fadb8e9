package v3

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/google/go-cmp/cmp"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/cairnkv/cairn"
	"github.com/cairnkv/cairn/command"
	"github.com/cairnkv/cairn/wire"
)

// want compares an answer with what it should be.
func want(t *testing.T, got proto.Message, err error, want proto.Message) {
	t.Helper()
	if err != nil {
		t.Error(err)
		return
	}
	if d := cmp.Diff(want, got, protocmp.Transform()); d != "" {
		t.Errorf("answer differs (-want +got):\n%s", d)
	}
}

// wantStatus compares an error with code and text.
func wantStatus(t *testing.T, err error, code codes.Code, text string) {
	t.Helper()
	if s := status.Convert(err); s.Code() != code || s.Message() != text {
		t.Errorf("got %v %q, want %v %q", s.Code(), s.Message(), code, text)
	}
}

var (
	fakeHeader    = &pb.ResponseHeader{ClusterId: 1, MemberId: 2, Revision: 7, RaftTerm: 3}
	clusterHeader = &pb.ResponseHeader{ClusterId: 1, MemberId: 2, RaftTerm: 3}
)

// Requests reach the backend as the client's bytes and its bytes reach the client.
func TestProposals(t *testing.T) {
	b := newFake()
	got := make(chan proposal, 1)
	b.propose = func(p proposal) {
		got <- proposal{kind: p.kind, req: bytes.Clone(p.req)}
		p.done(wire.AppendHeader(nil, &cairn.Header{Revision: 11}), nil)
	}
	_, conn := serve(t, b, Options{NewLeaseID: func() cairn.LeaseID { return 77 }})
	ctx := testContext(t)
	key := []byte("k")
	txn := &pb.TxnRequest{Success: []*pb.RequestOp{{Request: &pb.RequestOp_RequestPut{
		RequestPut: &pb.PutRequest{Key: key}}}}}
	for _, c := range []struct {
		method     string
		kind       command.Kind
		req, as    proto.Message // as: what is proposed, if it is not req
		resp, want proto.Message
	}{
		{"KV/Put", command.Put, &pb.PutRequest{Key: key, Value: key}, nil,
			&pb.PutResponse{}, nil},
		{"KV/DeleteRange", command.DeleteRange, &pb.DeleteRangeRequest{Key: key}, nil,
			&pb.DeleteRangeResponse{}, nil},
		{"KV/Txn", command.Txn, txn, nil, &pb.TxnResponse{}, nil},
		{"KV/Compact", command.Compact, &pb.CompactionRequest{Revision: 3}, nil,
			&pb.CompactionResponse{}, nil},
		{"Lease/LeaseGrant", command.LeaseGrant, &pb.LeaseGrantRequest{ID: 5, TTL: 9}, nil,
			&pb.LeaseGrantResponse{}, nil},
		{"Lease/LeaseGrant", command.LeaseGrant, &pb.LeaseGrantRequest{TTL: -1},
			&pb.LeaseGrantRequest{ID: 77, TTL: 2}, &pb.LeaseGrantResponse{}, nil},
		{"Lease/LeaseRevoke", command.LeaseRevoke, &pb.LeaseRevokeRequest{ID: 5}, nil,
			&pb.LeaseRevokeResponse{}, nil},
		{"Maintenance/Alarm", command.Alarm, &pb.AlarmRequest{Action: pb.AlarmRequest_ACTIVATE},
			nil, &pb.AlarmResponse{}, nil},
	} {
		if err := conn.Invoke(ctx, "/etcdserverpb."+c.method, c.req, c.resp); err != nil {
			t.Errorf("%s: %v", c.method, err)
			continue
		}
		p := <-got
		as := c.as
		if as == nil {
			as = c.req
		}
		bytesAs, err := proto.Marshal(as)
		if err != nil {
			t.Fatal(err)
		}
		if p.kind != c.kind || !bytes.Equal(p.req, bytesAs) {
			t.Errorf("%s: proposed %v %x, want %v %x", c.method, p.kind, p.req, c.kind, bytesAs)
		}
		h := c.resp.(interface{ GetHeader() *pb.ResponseHeader }).GetHeader()
		if h.GetRevision() != 11 {
			t.Errorf("%s: answer %v", c.method, c.resp)
		}
	}
	if n := b.barriers.Load(); n != 0 {
		t.Errorf("%d barriers for writes", n)
	}
}

// What reads goes by a barrier if it is to be linearizable, and never through the log.
func TestReads(t *testing.T) {
	b := newFake()
	_, conn := serve(t, b, Options{})
	ctx := testContext(t)
	kv := pb.NewKVClient(conn)
	rng := func(serializable bool) *pb.RangeRequest {
		return &pb.RangeRequest{Key: []byte("k"), Serializable: serializable}
	}
	op := func(serializable bool) *pb.RequestOp {
		return &pb.RequestOp{Request: &pb.RequestOp_RequestRange{RequestRange: rng(serializable)}}
	}
	nested := &pb.RequestOp{Request: &pb.RequestOp_RequestTxn{RequestTxn: &pb.TxnRequest{}}}
	for _, c := range []struct {
		what                string
		call                func() error
		barriers, proposals int64
	}{
		{"range", func() error { _, err := kv.Range(ctx, rng(false)); return err }, 1, 0},
		{"serial range", func() error { _, err := kv.Range(ctx, rng(true)); return err }, 0, 0},
		{"stream", func() error { return drain(kv.RangeStream(ctx, rng(false))) }, 1, 0},
		{"serial stream", func() error { return drain(kv.RangeStream(ctx, rng(true))) }, 0, 0},
		{"txn", txnCall(t, kv, []*pb.RequestOp{op(true)}, []*pb.RequestOp{op(false)}), 1, 0},
		{"serializable txn", txnCall(t, kv, []*pb.RequestOp{op(true)}, nil), 0, 0},
		{"empty txn", txnCall(t, kv, nil, nil), 0, 0},
		{"nested txn", txnCall(t, kv, nil, []*pb.RequestOp{nested}), 0, 1},
	} {
		b.barriers.Store(0)
		b.proposals.Store(0)
		if err := c.call(); err != nil {
			t.Errorf("%s: %v", c.what, err)
		}
		if n, m := b.barriers.Load(), b.proposals.Load(); n != c.barriers || m != c.proposals {
			t.Errorf("%s: %d barriers, %d proposals; want %d, %d",
				c.what, n, m, c.barriers, c.proposals)
		}
	}
}

func txnCall(t *testing.T, kv pb.KVClient, then, els []*pb.RequestOp) func() error {
	return func() error {
		_, err := kv.Txn(testContext(t), &pb.TxnRequest{Success: then, Failure: els})
		return err
	}
}

func drain(s grpc.ServerStreamingClient[pb.RangeStreamResponse], err error) error {
	for err == nil {
		_, err = s.Recv()
	}
	if err == io.EOF {
		return nil
	}
	return err
}

// The cold RPCs: every field finds its place.
func TestColdRPCs(t *testing.T) {
	_, conn := serve(t, newFake(), Options{})
	ctx := testContext(t)

	lease := pb.NewLeaseClient(conn)
	ttl, err := lease.LeaseTimeToLive(ctx, &pb.LeaseTimeToLiveRequest{ID: 4, Keys: true})
	want(t, ttl, err, &pb.LeaseTimeToLiveResponse{
		Header: fakeHeader, ID: 4, TTL: 30, GrantedTTL: 60, Keys: [][]byte{[]byte("k")}})
	ttl, err = lease.LeaseTimeToLive(ctx, &pb.LeaseTimeToLiveRequest{ID: 4})
	want(t, ttl, err, &pb.LeaseTimeToLiveResponse{
		Header: fakeHeader, ID: 4, TTL: 30, GrantedTTL: 60})
	leases, err := lease.LeaseLeases(ctx, &pb.LeaseLeasesRequest{})
	want(t, leases, err, &pb.LeaseLeasesResponse{
		Header: fakeHeader, Leases: []*pb.LeaseStatus{{ID: 4}, {ID: 5}}})

	m := pb.NewMaintenanceClient(conn)
	st, err := m.Status(ctx, &pb.StatusRequest{})
	want(t, st, err, &pb.StatusResponse{
		Header: fakeHeader, Version: "3.7.3", DbSize: 100, Leader: 2, RaftIndex: 9, RaftTerm: 3,
		RaftAppliedIndex: 8, DbSizeInUse: 50, StorageVersion: "3.7.0", DbSizeQuota: 1000,
		DowngradeInfo: &pb.DowngradeInfo{}, Errors: []string{
			(&pb.AlarmMember{MemberID: 2, Alarm: pb.AlarmType_NOSPACE}).String()}})
	hash, err := m.Hash(ctx, &pb.HashRequest{})
	hashHeader := proto.Clone(fakeHeader).(*pb.ResponseHeader)
	hashHeader.Revision = 6
	want(t, hash, err, &pb.HashResponse{Header: hashHeader, Hash: 0xabc})
	hashKV, err := m.HashKV(ctx, &pb.HashKVRequest{Revision: 5})
	want(t, hashKV, err, &pb.HashKVResponse{
		Header: fakeHeader, Hash: 0xdef, CompactRevision: 2, HashRevision: 5})
	defrag, err := m.Defragment(ctx, &pb.DefragmentRequest{})
	want(t, defrag, err, &pb.DefragmentResponse{})
	move, err := m.MoveLeader(ctx, &pb.MoveLeaderRequest{TargetID: 5})
	want(t, move, err, &pb.MoveLeaderResponse{})

	cluster := pb.NewClusterClient(conn)
	one := &pb.Member{ID: 2, Name: "default", PeerURLs: []string{"http://a:1"},
		ClientURLs: []string{"http://a:2"}, IsLearner: true}
	list, err := cluster.MemberList(ctx, &pb.MemberListRequest{})
	want(t, list, err, &pb.MemberListResponse{Header: clusterHeader, Members: []*pb.Member{one}})
	urls := []string{"http://c:1", "http://b:1"}
	add, err := cluster.MemberAdd(ctx, &pb.MemberAddRequest{PeerURLs: urls, IsLearner: true})
	five := &pb.Member{ID: 5, PeerURLs: []string{"http://b:1", "http://c:1"}, IsLearner: true}
	want(t, add, err, &pb.MemberAddResponse{
		Header: clusterHeader, Member: five, Members: []*pb.Member{one, five}})
	remove, err := cluster.MemberRemove(ctx, &pb.MemberRemoveRequest{ID: 2})
	want(t, remove, err, &pb.MemberRemoveResponse{
		Header: clusterHeader, Members: []*pb.Member{one}})
	_, err = cluster.MemberUpdate(ctx, &pb.MemberUpdateRequest{
		ID: 2, PeerURLs: []string{"localhost"},
	})
	if got := status.Convert(err).Message(); got != cairn.ErrBadMemberURLs.Text {
		t.Errorf("an update with a URL that is none: %v", err)
	}
	update, err := cluster.MemberUpdate(ctx, &pb.MemberUpdateRequest{
		ID: 2, PeerURLs: []string{"http://a:1"},
	})
	want(t, update, err, &pb.MemberUpdateResponse{
		Header: clusterHeader, Members: []*pb.Member{one}})
	promote, err := cluster.MemberPromote(ctx, &pb.MemberPromoteRequest{ID: 2})
	want(t, promote, err, &pb.MemberPromoteResponse{
		Header: clusterHeader, Members: []*pb.Member{one}})

	auth, err := pb.NewAuthClient(conn).AuthStatus(ctx, &pb.AuthStatusRequest{})
	want(t, auth, err, &pb.AuthStatusResponse{Header: fakeHeader, AuthRevision: 1})
}

// What an error of the backend becomes.
func TestErrors(t *testing.T) {
	b := newFake()
	_, conn := serve(t, b, Options{})
	ctx := testContext(t)
	m := pb.NewMaintenanceClient(conn)
	for _, c := range []struct {
		err  error
		code codes.Code
		text string
	}{
		{cairn.ErrNotLeader, codes.FailedPrecondition, "etcdserver: not leader"},
		{fmt.Errorf("wrapped: %w", cairn.ErrCompacted), codes.OutOfRange,
			"etcdserver: mvcc: required revision has been compacted"},
		{cairn.ErrTooManyRequests, codes.Unknown, "etcdserver: too many requests"},
		{errors.New("disk on fire"), codes.Unknown, "disk on fire"},
	} {
		b.err = c.err
		_, err := m.Defragment(ctx, &pb.DefragmentRequest{})
		wantStatus(t, err, c.code, c.text)
	}
	// Leases that are not there are answers, not errors.
	b.err = cairn.ErrLeaseNotFound
	lease := pb.NewLeaseClient(conn)
	ttl, err := lease.LeaseTimeToLive(ctx, &pb.LeaseTimeToLiveRequest{ID: 4, Keys: true})
	want(t, ttl, err, &pb.LeaseTimeToLiveResponse{Header: fakeHeader, ID: 4, TTL: -1})
	ka, err := lease.LeaseKeepAlive(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := ka.Send(&pb.LeaseKeepAliveRequest{ID: 4}); err != nil {
		t.Fatal(err)
	}
	resp, err := ka.Recv()
	want(t, resp, err, &pb.LeaseKeepAliveResponse{Header: fakeHeader, ID: 4})
	if err := ka.CloseSend(); err != nil {
		t.Fatal(err)
	}
	if _, err := ka.Recv(); err != io.EOF {
		t.Errorf("after the client's end: %v, want EOF", err)
	}
}

// What is not there yet says so by name, with and without a stream.
func TestMissing(t *testing.T) {
	d, conn := serve(t, newFake(), Options{})
	ctx := testContext(t)
	n := 0
	for _, m := range d.Methods() {
		switch m.Service {
		case "etcdserverpb.Auth", "v3lockpb.Lock", "v3electionpb.Election":
		default:
			continue
		}
		if m.Name == "AuthStatus" {
			continue
		}
		n++
		var err error
		if m.Kind == Unary {
			err = conn.Invoke(ctx, m.FullName(), &pb.PutRequest{}, &pb.PutResponse{})
		} else {
			var s grpc.ClientStream
			s, err = conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true}, m.FullName())
			if err == nil {
				err = s.RecvMsg(&pb.PutResponse{})
			}
		}
		wantStatus(t, err, codes.Unimplemented, "cairn: "+m.FullName()[1:]+
			" is not implemented in this version; nothing was changed")
	}
	if n != 16+2+5 {
		t.Errorf("%d methods are missing, expected 23", n)
	}
	_, err := pb.NewMaintenanceClient(conn).Downgrade(ctx, &pb.DowngradeRequest{})
	if status.Code(err) != codes.Unimplemented {
		t.Errorf("Downgrade: %v", err)
	}
}

func TestHealth(t *testing.T) {
	d, conn := serve(t, newFake(), Options{})
	ctx := testContext(t)
	h := healthpb.NewHealthClient(conn)
	resp, err := h.Check(ctx, &healthpb.HealthCheckRequest{})
	want(t, resp, err,
		&healthpb.HealthCheckResponse{Status: healthpb.HealthCheckResponse_SERVING})
	w, err := h.Watch(ctx, &healthpb.HealthCheckRequest{})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []healthpb.HealthCheckResponse_ServingStatus{
		healthpb.HealthCheckResponse_SERVING, healthpb.HealthCheckResponse_NOT_SERVING} {
		d.SetServing(s == healthpb.HealthCheckResponse_SERVING)
		got, err := w.Recv()
		want(t, got, err, &healthpb.HealthCheckResponse{Status: s})
	}
}

// A backup comes in chunks and is followed by its checksum; one that breaks is an error.
func TestSnapshot(t *testing.T) {
	for _, size := range []int{0, 1, snapshotChunkBytes, 3*snapshotChunkBytes + 100} {
		b := newFake()
		data := bytes.Repeat([]byte("backup!"), size/7+1)[:size]
		b.snapshot = func() (io.ReadCloser, int64, error) {
			return io.NopCloser(bytes.NewReader(data)), int64(size), nil
		}
		_, conn := serve(t, b, Options{})
		s, err := pb.NewMaintenanceClient(conn).Snapshot(testContext(t), &pb.SnapshotRequest{})
		if err != nil {
			t.Fatal(err)
		}
		var got []byte
		for {
			m, err := s.Recv()
			if err == io.EOF {
				break
			} else if err != nil {
				t.Fatal(err)
			}
			got = append(got, m.Blob...)
			left := max(size-len(got), 0)
			if m.Version != "3.7.0" || m.RemainingBytes != uint64(left) || m.Header != nil {
				t.Errorf("size %d: message %q, %d remaining, want %d",
					size, m.Version, m.RemainingBytes, left)
			}
			if len(m.Blob) > snapshotChunkBytes {
				t.Errorf("a chunk of %d bytes", len(m.Blob))
			}
		}
		sum := sha256.Sum256(data)
		if !bytes.Equal(got, append(data, sum[:]...)) {
			t.Errorf("size %d: wrong content", size)
		}
	}
	b := newFake()
	b.snapshot = func() (io.ReadCloser, int64, error) {
		return io.NopCloser(bytes.NewReader([]byte("short"))), 10, nil
	}
	_, conn := serve(t, b, Options{})
	s, err := pb.NewMaintenanceClient(conn).Snapshot(testContext(t), &pb.SnapshotRequest{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.Recv()
	wantStatus(t, err, codes.Unknown, "v3: the backup ends 5 bytes early: unexpected EOF")
}

// TestForget: a call that is used again keeps nothing of a large transaction, wherever in it the
// operations were, nor of one that does not decode.
func TestForget(t *testing.T) {
	inner := bytes.Repeat([]byte{2<<3 | 2, 0}, maxKeptRequest) // success: {}
	op := protowire.AppendBytes(protowire.AppendTag(nil, 4, protowire.BytesType), inner)
	req := protowire.AppendBytes(protowire.AppendTag(nil, 2, protowire.BytesType), op)
	small := []byte{2<<3 | 2, 0}
	for _, c := range []struct {
		req  []byte
		kept bool
	}{{small, true}, {req, false}, {append(req, 0xff), false}} {
		call := &call{req: c.req}
		_ = decodeTxn(call) // the last one fails
		call.forget()
		if kept := cap(call.txn.Success) > 0; kept != c.kept || call.req != nil {
			t.Errorf("of %d bytes: kept %v, want %v", len(c.req), kept, c.kept)
		}
	}
}
