package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	cairn "github.com/cairnkv/cairn"
	"github.com/cairnkv/cairn/clock"
	"github.com/cairnkv/cairn/command"
	"github.com/cairnkv/cairn/member"
	"github.com/cairnkv/cairn/mvcc"
	"github.com/cairnkv/cairn/revlog"
	"github.com/cairnkv/cairn/state"
	"github.com/cairnkv/cairn/vfs"
	"github.com/cairnkv/cairn/wal"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/raft/v3"
	"google.golang.org/protobuf/proto"
)

const self = 1

// divided is the lowest bit of the first sequence number of a rig that has Config.Divided.
const divided = 1

// rig is a node on files in memory. It keeps no checkpoint but the first: all is replayed.
type rig struct {
	node    *Node
	machine *state.Machine
	wal     *wal.WAL
	log     *revlog.Log
	fatal   chan error
}

// openFiles opens the first of some members on its files, without a node.
func openFiles(fs vfs.FS, members ...member.Member) (*rig, error) {
	w, err := wal.Open(fs, "wal", wal.Options{SegmentBytes: 64 << 10})
	if err != nil {
		return nil, err
	}
	img := state.NewImage(self, member.NewSet(9, members))
	if w.LastIndex() == 0 {
		if err := w.Reset(img.Index, img.Term); err != nil {
			return nil, err
		}
	}
	small := revlog.Options{SegmentBytes: revlog.MinSegmentBytes}
	l, err := revlog.Open(fs, "revlog", small, img.Mark)
	if err != nil {
		return nil, err
	}
	store, err := mvcc.Open(l, img.Rev, img.CompactRev)
	if err != nil {
		return nil, err
	}
	machine := state.New(self, img, store)
	return &rig{machine: machine, wal: w, log: l, fatal: make(chan error, 1)}, nil
}

func openRig(fs vfs.FS, sequence uint64) (*rig, error) {
	r, err := openFiles(fs, member.Member{ID: self, PeerURLs: []string{"http://a"}})
	if err != nil {
		return nil, err
	}
	r.node, err = Start(Config{
		ID: self, TickInterval: 10 * time.Millisecond, ElectionTicks: 10,
		RequestTimeout: 10 * time.Second, FirstSequence: sequence,
		Log: r.wal, Machine: r.machine, Clock: clock.Real(),
		Logger: &raft.DefaultLogger{Logger: log.New(io.Discard, "", 0)},
		Fatal:  func(err error) { r.fatal <- err }, Divided: sequence&divided != 0,
	})
	return r, err
}

func mustOpen(t *testing.T, fs vfs.FS, sequence uint64) *rig {
	t.Helper()
	r, err := openRig(fs, sequence)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func (r *rig) close(t *testing.T) {
	t.Helper()
	r.node.Stop()
	if err := errors.Join(r.wal.Close(), r.log.Close()); err != nil {
		t.Error(err)
	}
}

func putRequest(key, value string) []byte {
	b, err := proto.Marshal(&pb.PutRequest{Key: []byte(key), Value: []byte(value)})
	if err != nil {
		panic(err)
	}
	return b
}

type outcome struct {
	rev int64
	err error
}

// put proposes and waits.
func (r *rig) put(key, value string) outcome {
	result := make(chan outcome, 1)
	r.node.Propose(command.Put, putRequest(key, value), func(reply []byte, err error) {
		var resp pb.PutResponse
		if err == nil {
			err = proto.Unmarshal(reply, &resp)
		}
		result <- outcome{resp.GetHeader().GetRevision(), err}
	})
	return <-result
}

func (r *rig) barrier() error {
	result := make(chan error, 1)
	r.node.Barrier(func(err error) { result <- err })
	return <-result
}

// value reads a key locally.
func (r *rig) value(t *testing.T, key string) (string, int64) {
	t.Helper()
	view := r.machine.Store().View()
	defer view.Close()
	v, ok := view.Get([]byte(key))
	if !ok {
		return "", 0
	}
	b, err := view.KV(v)
	if err != nil {
		t.Fatal(err)
	}
	var resp pb.PutResponse // its prev_kv is a KeyValue
	if err := proto.Unmarshal(append([]byte{0x12, byte(len(b))}, b...), &resp); err != nil {
		t.Fatal(err)
	}
	return string(resp.PrevKv.Value), v.Rev.Main
}

// Every put gets a revision of its own, a read after the acknowledgement sees it, and all of it is
// there after a restart.
func TestPutsFromMany(t *testing.T) {
	t.Run("quiet", func(t *testing.T) { testPutsFromMany(t, 1000) })
	t.Run("divided", func(t *testing.T) { testPutsFromMany(t, 1000|divided) })
}

func testPutsFromMany(t *testing.T, sequence uint64) {
	fs := vfs.NewMem()
	r := mustOpen(t, fs, sequence)
	const writers, each = 8, 200
	var mu sync.Mutex
	seen := map[int64]string{}
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				key := fmt.Sprintf("%d/%d", w, i)
				o := r.put(key, key)
				if o.err != nil {
					t.Errorf("put %s: %v", key, o.err)
					return
				}
				mu.Lock()
				if other, ok := seen[o.rev]; ok {
					t.Errorf("revision %d was given to %s and %s", o.rev, other, key)
				}
				seen[o.rev] = key
				mu.Unlock()
				if err := r.barrier(); err != nil {
					t.Errorf("barrier: %v", err)
				}
				if v, rev := r.value(t, key); v != key || rev != o.rev {
					t.Errorf("read %s: %q at %d, want revision %d", key, v, rev, o.rev)
				}
			}
		})
	}
	wg.Wait()
	if rev := r.machine.Store().Rev(); rev != 1+writers*each {
		t.Errorf("revision %d after %d puts", rev, writers*each)
	}
	r.close(t)
	r = mustOpen(t, fs, 1<<40)
	defer r.close(t)
	if o := r.put("last", "x"); o.err != nil || o.rev != 2+writers*each {
		t.Fatalf("put after the restart: %+v", o)
	}
	for rev, key := range seen {
		if v, got := r.value(t, key); v != key || got != rev {
			t.Errorf("after the restart %s is %q at %d, want revision %d", key, v, got, rev)
		}
	}
}

// After a crash at any moment everything that was acknowledged before is there, at its revision.
func TestCrash(t *testing.T) {
	type moment struct {
		fs    *vfs.Mem
		acked map[string]int64
	}
	for seed := range uint64(6) {
		rng := rand.New(rand.NewPCG(seed, 3))
		fs := vfs.NewMem()
		r := mustOpen(t, fs, 2|seed&divided)
		var mu sync.Mutex
		acked := map[string]int64{}
		var moments []moment
		fs.SetHook(func(vfs.Op, bool) {
			mu.Lock()
			defer mu.Unlock()
			if rng.IntN(40) != 0 || len(moments) >= 25 {
				return
			}
			m := moment{acked: map[string]int64{}}
			for k, v := range acked {
				m.acked[k] = v
			}
			m.fs = fs.CrashClone(rng)
			moments = append(moments, m)
		})
		var wg sync.WaitGroup
		for w := range 4 {
			wg.Go(func() {
				for i := range 100 {
					key := fmt.Sprintf("%d/%d", w, i%17)
					o := r.put(key, fmt.Sprint(i))
					if o.err != nil {
						t.Errorf("put: %v", o.err)
						return
					}
					mu.Lock()
					acked[key] = o.rev
					mu.Unlock()
				}
			})
		}
		wg.Wait()
		fs.SetHook(nil)
		r.close(t)
		for i, m := range moments {
			r := mustOpen(t, m.fs, 1<<40)
			if o := r.put("z", "z"); o.err != nil {
				t.Fatalf("seed %d moment %d: %v", seed, i, o.err)
			}
			for key, rev := range m.acked {
				if _, got := r.value(t, key); got < rev {
					t.Errorf("seed %d moment %d: %s is at %d, %d was acknowledged",
						seed, i, key, got, rev)
				}
			}
			r.close(t)
		}
	}
}

// A failed sync ends the node: whoever waits is told nothing of success.
func TestFailedSync(t *testing.T) {
	mem := vfs.NewMem()
	faulty := vfs.NewFaulty(mem)
	r := mustOpen(t, faulty, 1)
	if o := r.put("a", "1"); o.err != nil {
		t.Fatal(o.err)
	}
	faulty.Inject(vfs.Fault{
		Match:   func(op vfs.Op) bool { return op.Kind == vfs.OpSyncData || op.Kind == vfs.OpSync },
		Forever: true,
	})
	result := make(chan error, 1)
	r.node.Propose(command.Put, putRequest("b", "2"), func(_ []byte, err error) { result <- err })
	if err := <-r.fatal; !errors.Is(err, vfs.ErrInjected) {
		t.Fatalf("the node failed with %v", err)
	}
	r.node.Stop()
	if err := <-result; !errors.Is(err, cairn.ErrStopped) {
		t.Fatalf("the put was answered with %v", err)
	}
	if v, _ := r.value(t, "b"); v != "" {
		t.Fatal("a put that is not durable can be read")
	}
}

func TestVisitAndStop(t *testing.T) {
	r := mustOpen(t, vfs.NewMem(), 1)
	if o := r.put("a", "1"); o.err != nil {
		t.Fatal(o.err)
	}
	var index uint64
	err := r.node.Visit(context.Background(), func(m *state.Machine) { index = m.Index() })
	if err != nil || index < 3 {
		t.Fatalf("visit: index %d, %v", index, err)
	}
	if s := r.node.Status(); !s.IsLeader || !s.Lone || s.Leader != self || s.Applied < 3 {
		t.Fatalf("status: %+v", s)
	}
	r.close(t)
	if o := r.put("b", "2"); !errors.Is(o.err, cairn.ErrStopped) {
		t.Fatalf("put after the stop: %v", o.err)
	}
	err = r.node.Visit(context.Background(), func(*state.Machine) {})
	if !errors.Is(err, cairn.ErrStopped) {
		t.Fatalf("visit after the stop: %v", err)
	}
}

func BenchmarkPut(b *testing.B) {
	for _, clients := range []int{1, 100, 1000} {
		b.Run(fmt.Sprintf("clients=%d", clients), func(b *testing.B) {
			r, err := openRig(vfs.NewMem(), 1)
			if err != nil {
				b.Fatal(err)
			}
			defer r.node.Stop()
			req := putRequest("key", string(make([]byte, 256)))
			room := make(chan struct{}, clients)
			b.ReportAllocs()
			for b.Loop() {
				room <- struct{}{}
				r.node.Propose(command.Put, req, func([]byte, error) { <-room })
			}
			for range clients {
				room <- struct{}{}
			}
		})
	}
}
