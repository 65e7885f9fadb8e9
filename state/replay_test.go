package state

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/cairnkv/cairn/command"
	"github.com/cairnkv/cairn/member"
	"github.com/cairnkv/cairn/mvcc"
	"github.com/cairnkv/cairn/revlog"
	"github.com/cairnkv/cairn/vfs"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"
)

// script makes random commands that a door would let through.
type script struct {
	rng *rand.Rand
	rev int64 // a guess at the current revision
}

func (s *script) key() []byte { return fmt.Appendf(nil, "k%02d", s.rng.IntN(30)) }

func (s *script) span() (key, end []byte) {
	switch s.rng.IntN(3) {
	case 0:
		return s.key(), nil
	case 1:
		a, b := s.key(), s.key()
		if bytes.Compare(a, b) > 0 {
			a, b = b, a
		}
		return a, append(b, 'x')
	}
	return s.key(), []byte{0}
}

func (s *script) put() *pb.PutRequest {
	p := &pb.PutRequest{Key: s.key(), PrevKv: s.rng.IntN(2) == 0}
	if s.rng.IntN(4) == 0 {
		p.IgnoreValue = true
	} else {
		p.Value = bytes.Repeat([]byte{byte(s.rng.IntN(256))}, s.rng.IntN(200))
	}
	switch s.rng.IntN(4) {
	case 0:
		p.Lease = s.rng.Int64N(8) + 1
	case 1:
		p.IgnoreLease = true
	}
	return p
}

func (s *script) op(depth int) *pb.RequestOp {
	switch n := s.rng.IntN(4); {
	case n == 0:
		key, end := s.span()
		r := &pb.RangeRequest{Key: key, RangeEnd: end, Limit: s.rng.Int64N(5)}
		if s.rng.IntN(4) == 0 {
			r.Revision = s.rev - s.rng.Int64N(20)
		}
		return &pb.RequestOp{Request: &pb.RequestOp_RequestRange{RequestRange: r}}
	case n == 1:
		return &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: s.put()}}
	case n == 2 && depth < 3:
		return &pb.RequestOp{Request: &pb.RequestOp_RequestTxn{RequestTxn: s.txn(depth + 1)}}
	}
	key, end := s.span()
	d := &pb.DeleteRangeRequest{Key: key, RangeEnd: end, PrevKv: s.rng.IntN(2) == 0}
	return &pb.RequestOp{Request: &pb.RequestOp_RequestDeleteRange{RequestDeleteRange: d}}
}

func (s *script) txn(depth int) *pb.TxnRequest {
	t := &pb.TxnRequest{}
	for range s.rng.IntN(3) {
		key, end := s.span()
		c := &pb.Compare{Key: key, RangeEnd: end,
			Result: pb.Compare_CompareResult(s.rng.IntN(4))}
		switch s.rng.IntN(3) {
		case 0:
			c.Target = pb.Compare_MOD
			c.TargetUnion = &pb.Compare_ModRevision{ModRevision: s.rng.Int64N(s.rev + 1)}
		case 1:
			c.Target = pb.Compare_VALUE
			c.TargetUnion = &pb.Compare_Value{Value: []byte{byte(s.rng.IntN(256))}}
		case 2:
			c.Target = pb.Compare_VERSION
			c.TargetUnion = &pb.Compare_Version{Version: s.rng.Int64N(3)}
		}
		t.Compare = append(t.Compare, c)
	}
	used := map[string]bool{} // one write to a key in a transaction, as the door demands
	for range s.rng.IntN(4) {
		op := s.op(depth)
		if p := op.GetRequestPut(); p != nil {
			if used[string(p.Key)] {
				continue
			}
			used[string(p.Key)] = true
			t.Success = append(t.Success, op)
		} else if op.GetRequestRange() != nil {
			t.Success = append(t.Success, op)
		} else {
			t.Failure = append(t.Failure, op)
		}
	}
	return t
}

func (s *script) command() (command.Kind, proto.Message) {
	s.rev++
	switch n := s.rng.IntN(20); {
	case n < 9:
		return command.Put, s.put()
	case n < 11:
		key, end := s.span()
		return command.DeleteRange, &pb.DeleteRangeRequest{Key: key, RangeEnd: end}
	case n < 15:
		return command.Txn, s.txn(0)
	case n < 16:
		return command.Compact, &pb.CompactionRequest{Revision: s.rev - s.rng.Int64N(15)}
	case n < 18:
		return command.LeaseGrant, &pb.LeaseGrantRequest{ID: s.rng.Int64N(8) + 1, TTL: 100}
	case n < 19:
		return command.LeaseRevoke, &pb.LeaseRevokeRequest{ID: s.rng.Int64N(8) + 1}
	}
	return command.LeaseCheckpoint, &pb.LeaseCheckpointRequest{Checkpoints: []*pb.LeaseCheckpoint{
		{ID: s.rng.Int64N(8) + 1, Remaining_TTL: s.rng.Int64N(90)},
	}}
}

// entries makes the data of log entries, several commands in each.
func (s *script) entries(t *testing.T, n int) [][]byte {
	t.Helper()
	var list [][]byte
	for i := range n {
		var b command.Builder
		for range s.rng.IntN(4) + 1 {
			kind, m := s.command()
			req, err := proto.Marshal(m)
			if err != nil {
				t.Fatal(err)
			}
			b.Add(kind, req)
		}
		list = append(list, b.Build(1, uint64(i)))
	}
	return list
}

// disk is a member's files: the record log, and the checkpoint and raft log as plain values.
type disk struct {
	fs         *vfs.Mem
	checkpoint []byte
}

func (d *disk) open(t *testing.T) (*Machine, *revlog.Log) {
	t.Helper()
	img, err := DecodeImage(d.checkpoint)
	if err != nil {
		t.Fatal(err)
	}
	log, err := revlog.Open(d.fs, "revlog", revlog.Options{SegmentBytes: revlog.MinSegmentBytes},
		img.Mark)
	if err != nil {
		t.Fatal(err)
	}
	store, err := mvcc.Open(log, img.Rev, img.CompactRev)
	if err != nil {
		t.Fatal(err)
	}
	return New(img.Local, img, store), log
}

func (d *disk) save(t *testing.T, m *Machine, log *revlog.Log) {
	t.Helper()
	b, err := m.Image().Encode()
	if err != nil {
		t.Fatal(err)
	}
	if err := log.Sync(); err != nil {
		t.Fatal(err)
	}
	d.checkpoint = b
}

func newDisk(t *testing.T) *disk {
	t.Helper()
	set := member.NewSet(9, []member.Member{{ID: 1, PeerURLs: []string{"http://a"}}})
	b, err := NewImage(1, set).Encode()
	if err != nil {
		t.Fatal(err)
	}
	return &disk{fs: vfs.NewMem(), checkpoint: b}
}

// run applies entries up to index end, and returns the replies of each entry.
func run(t *testing.T, m *Machine, entries [][]byte, end int) (replies []string) {
	t.Helper()
	for int(m.Index())-1 < end {
		var r Results
		i := int(m.Index()) - 1
		if err := m.Apply(m.Index()+1, 1, entries[i], &r); err != nil {
			t.Fatalf("entry %d: %v", i, err)
		}
		if _, _, err := m.Publish(); err != nil {
			t.Fatal(err)
		}
		var s string
		for _, res := range r.List {
			s += fmt.Sprintf("%v %x\n", res.Err, r.Replies[res.From:res.To])
		}
		replies = append(replies, s)
	}
	return replies
}

// A machine that crashed and replayed what was behind its checkpoint, some of it twice, is the
// machine that did not: same replies, same image, same hash.
func TestReplay(t *testing.T) {
	for seed := range uint64(60) {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 7))
			entries := (&script{rng: rng, rev: 1}).entries(t, 250)
			straight := newDisk(t)
			m, log := straight.open(t)
			want := run(t, m, entries, len(entries))
			d := newDisk(t)
			crashed, clog := d.open(t)
			for at := 0; at < len(entries); {
				at = min(len(entries), at+rng.IntN(60)+1)
				got := run(t, crashed, entries, at)
				for i, s := range got {
					if w := want[at-len(got)+i]; s != w {
						t.Fatalf("entry %d answered\n%swant\n%s", at-len(got)+i, s, w)
					}
				}
				if rng.IntN(2) == 0 {
					for !crashed.Store().CompactStep(10) {
					}
					d.save(t, crashed, clog)
				}
				if rng.IntN(2) == 0 {
					d.fs = d.fs.CrashClone(rng)
					crashed, clog = d.open(t)
				}
			}
			run(t, crashed, entries, len(entries))
			compare(t, m, crashed)
			d.save(t, crashed, clog)
			straight.save(t, m, log)
		})
	}
}

func compare(t *testing.T, a, b *Machine) {
	t.Helper()
	ia, ib := a.Image(), b.Image()
	ia.Mark, ib.Mark = revlog.Mark{}, revlog.Mark{} // segments may be divided otherwise
	ea, err := ia.Encode()
	if err != nil {
		t.Fatal(err)
	}
	eb, err := ib.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(ea, eb) {
		t.Errorf("the images differ:\n%x\n%x", ea, eb)
	}
	ha, ra, ca, err := a.Store().HashKV(context.Background(), 0)
	if err != nil {
		t.Fatal(err)
	}
	hb, rb, cb, err := b.Store().HashKV(context.Background(), 0)
	if err != nil {
		t.Fatal(err)
	}
	if ha != hb || ra != rb || ca != cb {
		t.Errorf("the hashes differ: %x at %d compacted %d, %x at %d compacted %d",
			ha, ra, ca, hb, rb, cb)
	}
	for id := range int64(10) {
		if fmt.Sprint(a.Leases().Keys(id)) != fmt.Sprint(b.Leases().Keys(id)) {
			t.Errorf("lease %d has keys %v and %v", id, a.Leases().Keys(id), b.Leases().Keys(id))
		}
	}
}
