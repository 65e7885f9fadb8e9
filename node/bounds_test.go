package node

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/cairnkv/cairn/command"
	"github.com/cairnkv/cairn/vfs"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"
)

// keptReplies is the memory of replies that the applier holds.
func (r *rig) keptReplies() int {
	r.node.applying.Lock(r.node.cfg.Tasks)
	defer r.node.applying.Unlock()
	return cap(r.node.applier.results.Replies)
}

// TestManyLargeReplies: small requests of one entry, each with a large reply and some of them with
// large changes too, are told as they are done. Each client gets its own reply, and neither the
// batch nor its replay takes memory for all of them.
func TestManyLargeReplies(t *testing.T) {
	const clients, value = 120, 256 << 10
	fs := vfs.NewMem()
	r := mustOpen(t, fs, 1<<20)
	if o := r.put("big", strings.Repeat("v", value)); o.err != nil {
		t.Fatal(o.err)
	}
	first := r.machine.Store().Rev()
	// All at once, as when the disk is busy for a moment.
	release, held := make(chan struct{}), make(chan struct{})
	r.node.call(func(*Core) { close(held); <-release })
	<-held
	type answer struct {
		resp *pb.TxnResponse
		err  error
	}
	answers := make([]chan answer, clients)
	var most atomic.Int64
	for i := range clients {
		txn, err := proto.Marshal(&pb.TxnRequest{Success: []*pb.RequestOp{
			{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{
				Key: []byte("big"), IgnoreValue: true}}},
			{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{
				Key: []byte("n"), Value: fmt.Append(nil, i)}}},
			{Request: &pb.RequestOp_RequestRange{RequestRange: &pb.RangeRequest{
				Key: []byte{0}, RangeEnd: []byte{0}}}},
		}})
		must(t, err)
		answers[i] = make(chan answer, 1)
		r.node.Propose(command.Txn, txn, func(reply []byte, err error) {
			resp := &pb.TxnResponse{}
			if err == nil {
				err = proto.Unmarshal(reply, resp)
			}
			most.Store(max(most.Load(), int64(cap(r.node.applier.results.Replies))))
			answers[i] <- answer{resp, err}
		})
	}
	close(release)
	for i := range clients {
		a := <-answers[i]
		if a.err != nil {
			t.Fatal(a.err)
		}
		kvs := a.resp.Responses[2].GetResponseRange().Kvs
		if a.resp.Header.Revision != first+1+int64(i) || len(kvs) != 2 ||
			len(kvs[0].Value) != value || string(kvs[1].Value) != fmt.Sprint(i) {
			t.Fatalf("client %d: revision %d after %d, keys %d, n is %s", i,
				a.resp.Header.Revision, first, len(kvs), kvs[1].Value)
		}
	}
	const limit = 20 << 20 // a buffer that grows beyond its 8 MiB doubles
	if n := most.Load(); n > limit {
		t.Errorf("%d MiB of replies at once", n>>20)
	}
	r.close(t)
	r = mustOpen(t, fs, 1<<21)
	must(t, r.barrier())
	if got := r.machine.Store().Rev(); got != first+clients {
		t.Errorf("after the replay: revision %d, want %d", got, first+clients)
	}
	if n := r.keptReplies(); n > limit {
		t.Errorf("after the replay, of which nobody waits for an answer: %d MiB", n>>20)
	}
	r.close(t)
}
