package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"strings"
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
	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"
)

// testTick is the heartbeat of the clusters here; elections take ten times as long.
const testTick = 30 * time.Millisecond

// network carries messages between nodes at once, as bytes, and loses what is cut.
type network struct {
	mu    sync.Mutex
	nodes map[uint64]*Node
	cut   map[[2]uint64]bool // from, to
}

// wire is the network as one node sees it.
type wire struct {
	n    *network
	from uint64
}

func (w wire) Send(messages []*raftpb.Message) {
	for _, m := range messages {
		b, err := proto.Marshal(m)
		if err != nil {
			panic(err)
		}
		w.n.mu.Lock()
		to, cut := w.n.nodes[m.GetTo()], w.n.cut[[2]uint64{w.from, m.GetTo()}]
		w.n.mu.Unlock()
		if to == nil || cut {
			continue
		}
		var copied raftpb.Message
		if err := proto.Unmarshal(b, &copied); err != nil {
			panic(err)
		}
		to.Deliver([]*raftpb.Message{&copied})
	}
}

// isolate cuts a node off in both directions, or lets it back.
func (n *network) isolate(id uint64, cut bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for other := range n.nodes {
		n.cut[[2]uint64{id, other}] = cut
		n.cut[[2]uint64{other, id}] = cut
	}
}

// ensemble is a cluster of rigs.
type ensemble struct {
	t    *testing.T
	net  *network
	rigs map[uint64]*rig
	logs map[uint64]*slowLog
	set  *member.Set
}

// slowLog is a raft log whose writes can be made to hang.
type slowLog struct {
	*wal.WAL
	gate sync.RWMutex // held to make Flush hang
}

func (l *slowLog) Flush(sync bool) error {
	l.gate.RLock()
	defer l.gate.RUnlock()
	return l.WAL.Flush(sync)
}

func newEnsemble(t *testing.T, size int) *ensemble {
	t.Helper()
	e := &ensemble{
		t:    t,
		net:  &network{nodes: map[uint64]*Node{}, cut: map[[2]uint64]bool{}},
		rigs: map[uint64]*rig{}, logs: map[uint64]*slowLog{},
	}
	var members []member.Member
	for id := range uint64(size) {
		members = append(members, member.Member{
			ID: id + 1, Name: "n", PeerURLs: []string{fmt.Sprintf("http://n%d", id+1)},
		})
	}
	e.set = member.NewSet(9, members)
	for _, m := range members {
		e.start(m.ID, vfs.NewMem(), state.NewImage(m.ID, cloneSet(t, e.set)))
	}
	t.Cleanup(e.stop)
	return e
}

func cloneSet(t *testing.T, s *member.Set) *member.Set {
	t.Helper()
	b, err := s.Encode(nil)
	if err != nil {
		t.Fatal(err)
	}
	again, err := member.Decode(b)
	if err != nil {
		t.Fatal(err)
	}
	return again
}

// start makes a node with the files that are there, or from the image.
func (e *ensemble) start(id uint64, fs vfs.FS, img *state.Image) {
	e.t.Helper()
	w, err := wal.Open(fs, "wal", wal.Options{SegmentBytes: 64 << 10})
	if err == nil && w.LastIndex() == 0 && img.Index > 0 {
		err = w.Reset(img.Index, img.Term)
	}
	if err != nil {
		e.t.Fatal(err)
	}
	small := revlog.Options{SegmentBytes: revlog.MinSegmentBytes}
	l, err := revlog.Open(fs, "revlog", small, img.Mark)
	if err != nil {
		e.t.Fatal(err)
	}
	store, err := mvcc.Open(l, img.Rev, img.CompactRev)
	if err != nil {
		e.t.Fatal(err)
	}
	r := &rig{machine: state.New(id, img, store), wal: w, log: l, fatal: make(chan error, 1)}
	e.rigs[id], e.logs[id] = r, &slowLog{WAL: w}
	r.node, err = Start(Config{
		ID: id, TickInterval: testTick, ElectionTicks: 10, RequestTimeout: 5 * time.Second,
		FirstSequence: id << 32, Log: e.logs[id], Machine: r.machine, Clock: clock.Real(),
		Transport: &roundCounter{Transport: wire{e.net, id}},
		Logger:    &raft.DefaultLogger{Logger: log.New(io.Discard, "", 0)},
		Fatal:     func(err error) { r.fatal <- err }, Divided: id&divided != 0,
	})
	if err != nil {
		e.t.Fatal(err)
	}
	e.net.mu.Lock()
	e.net.nodes[id] = r.node
	e.net.mu.Unlock()
}

func (e *ensemble) stop() {
	for id, r := range e.rigs {
		e.net.isolate(id, true)
		r.close(e.t)
		select {
		case err := <-r.fatal:
			e.t.Errorf("node %d: %v", id, err)
		default:
		}
	}
}

// eventually polls, since the nodes run in real time.
func (e *ensemble) eventually(what string, ok func() bool) {
	e.t.Helper()
	deadline := time.NewTimer(10 * time.Second)
	defer deadline.Stop()
	poll := time.NewTicker(time.Millisecond)
	defer poll.Stop()
	for !ok() {
		select {
		case <-poll.C:
		case <-deadline.C:
			for id, r := range e.rigs {
				e.t.Logf("node %d: %+v", id, r.node.Status())
			}
			e.t.Fatalf("%s: not within 10 s", what)
		}
	}
}

// leader waits for one that the others know too, but for those left out.
func (e *ensemble) leader(without ...uint64) uint64 {
	e.t.Helper()
	var leader uint64
	e.eventually("a leader", func() bool {
		leader = 0
		for id, r := range e.rigs {
			if len(without) > 0 && id == without[0] {
				continue
			}
			s := r.node.Status()
			if s.Leader == 0 || leader != 0 && s.Leader != leader {
				return false
			}
			leader = s.Leader
		}
		return len(without) == 0 || leader != without[0]
	})
	return leader
}

// follower is a node that does not lead.
func (e *ensemble) follower() uint64 {
	leader := e.leader()
	for id := range e.rigs {
		if id != leader {
			return id
		}
	}
	e.t.Fatal("no follower")
	return 0
}

// conf is the configuration that a node has applied.
func (e *ensemble) conf(id uint64) (conf *raftpb.ConfState) {
	err := e.rigs[id].node.Visit(e.t.Context(), func(m *state.Machine) { conf = m.Conf() })
	if err != nil {
		e.t.Fatal(err)
	}
	return conf
}

// change proposes a membership change at a node and waits.
func (r *rig) change(c member.Change) error {
	result := make(chan error, 1)
	r.node.ProposeChange(&c, func(_ []byte, err error) { result <- err })
	return <-result
}

// Writes and linearizable reads at every node; all come to the same state.
func TestClusterServesEverywhere(t *testing.T) {
	e := newEnsemble(t, 3)
	e.leader()
	const each = 100
	var wg sync.WaitGroup
	for id, r := range e.rigs {
		wg.Go(func() {
			for i := range each {
				key := fmt.Sprintf("%d-%d", id, i)
				if o := r.put(key, "x"); o.err != nil {
					t.Errorf("put %s: %v", key, o.err)
					return
				}
				for _, at := range e.rigs {
					if err := at.barrier(); err != nil {
						t.Errorf("read: %v", err)
						return
					}
					if v, _ := at.value(t, key); v != "x" {
						t.Errorf("%s was acknowledged, and a later read does not see it", key)
						return
					}
				}
			}
		})
	}
	wg.Wait()
	e.equal()
}

// equal waits until all nodes have the same revision, and compares their hashes.
func (e *ensemble) equal() {
	e.t.Helper()
	var rev int64
	for _, r := range e.rigs {
		rev = max(rev, r.machine.Store().Rev())
	}
	hashes := map[uint32][]uint64{}
	for id, r := range e.rigs {
		e.eventually("the newest revision", func() bool { return r.machine.Store().Rev() >= rev })
		h, _, _, err := r.machine.Store().HashKV(context.Background(), rev)
		if err != nil {
			e.t.Fatal(err)
		}
		hashes[h] = append(hashes[h], id)
	}
	if len(hashes) != 1 {
		e.t.Fatalf("at revision %d the nodes differ: %v", rev, hashes)
	}
}

// A leader that is cut off answers no reads and no writes; the others go on, and it comes back.
func TestClusterIsolatedLeader(t *testing.T) {
	e := newEnsemble(t, 3)
	old := e.leader()
	if o := e.rigs[old].put("a", "1"); o.err != nil {
		t.Fatal(o.err)
	}
	e.net.isolate(old, true)
	now := e.leader(old)
	if o := e.rigs[now].put("a", "2"); o.err != nil {
		t.Fatal(o.err)
	}
	stale := make(chan error, 1)
	e.rigs[old].node.Barrier(func(err error) { stale <- err })
	lost := make(chan error, 1)
	e.rigs[old].node.Propose(command.Put, putRequest("b", "lost"),
		func(_ []byte, err error) { lost <- err })
	if err := <-stale; err == nil {
		t.Error("a leader that was cut off answered a linearizable read")
	}
	if err := <-lost; err == nil {
		t.Error("a leader that was cut off acknowledged a write")
	}
	e.net.isolate(old, false)
	e.leader()
	e.eventually("the old leader reads the new value", func() bool {
		v, _ := e.rigs[old].value(t, "a")
		return e.rigs[old].barrier() == nil && v == "2"
	})
	e.equal()
}

// While the leadership is handed over and over no write fails, wherever it is proposed.
func TestClusterTransfer(t *testing.T) {
	e := newEnsemble(t, 3)
	e.leader()
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for id, r := range e.rigs {
		wg.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				if o := r.put(fmt.Sprintf("%d-%d", id, i), "x"); o.err != nil {
					t.Errorf("node %d, put %d: %v", id, i, o.err)
					return
				}
			}
		})
	}
	for range 20 {
		from := e.leader()
		to := from%3 + 1
		term := e.rigs[from].node.Status().Term
		if err := e.rigs[from].node.Transfer(t.Context(), to); err != nil {
			t.Fatalf("from %d to %d: %v", from, to, err)
		}
		if s := e.rigs[to].node.Status(); s.Term > term+1 {
			t.Errorf("the transfer took more than one term: %d to %d", term, s.Term)
		}
	}
	cancel()
	wg.Wait()
	e.equal()
}

// A leader whose disk hangs hands over; the others serve meanwhile.
func TestClusterHangingDisk(t *testing.T) {
	e := newEnsemble(t, 3)
	old := e.leader()
	e.logs[old].gate.Lock()
	// The write that hangs: without one nobody could tell.
	hung := make(chan error, 1)
	e.rigs[old].node.Propose(command.Put, putRequest("h", "1"),
		func(_ []byte, err error) { hung <- err })
	now := e.leader(old)
	if o := e.rigs[now].put("a", "1"); o.err != nil {
		t.Error(o.err)
	}
	e.logs[old].gate.Unlock()
	<-hung
	e.leader()
	e.equal()
}

// Members come and go: learner, voter, the leader itself; changes that do not fit are refused.
func TestClusterMembership(t *testing.T) {
	e := newEnsemble(t, 3)
	leader := e.leader()
	at := e.rigs[e.follower()]
	fourth := member.Member{ID: 4, PeerURLs: []string{"http://n4"}}
	add := member.Change{Action: member.Add, Member: fourth, MaxLearners: 1}
	if err := at.change(add); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		change member.Change
		want   error
	}{
		{add, cairn.ErrMemberExists},
		{member.Change{Action: member.Add, Member: member.Member{ID: 5,
			PeerURLs: []string{"http://n4"}}}, cairn.ErrPeerURLExists},
		{member.Change{Action: member.Promote, Member: fourth}, cairn.ErrMemberNotLearner},
		{member.Change{Action: member.Remove, Member: member.Member{ID: 77}},
			cairn.ErrMemberNotFound},
		{member.Change{Action: member.Add, Member: member.Member{ID: 6, IsLearner: true,
			PeerURLs: []string{"http://n6"}}}, cairn.ErrTooManyLearners},
		{member.Change{Action: member.Update, Member: member.Member{ID: 4,
			PeerURLs: []string{"http://n1"}}}, cairn.ErrPeerURLExists},
		{member.Change{Action: member.Update, Member: member.Member{ID: 4,
			PeerURLs: []string{"http://n44"}}}, nil},
		{member.Change{Action: member.Remove, Member: fourth}, nil},
		{add, cairn.ErrMemberNotFound}, // a removed id is never used again
	} {
		if err := at.change(c.change); !errors.Is(err, c.want) {
			t.Errorf("%+v: %v, want %v", c.change, err, c.want)
		}
	}
	if err := at.change(member.Change{Action: member.Remove,
		Member: member.Member{ID: leader}}); err != nil {
		t.Fatalf("remove the leader: %v", err)
	}
	now := e.leader(leader)
	if o := e.rigs[now].put("a", "1"); o.err != nil {
		t.Fatal(o.err)
	}
	if n := len(e.conf(now).GetVoters()); n != 2 {
		t.Errorf("%d voters are left, want 2", n)
	}
}

// Many changes at once: each is carried out, though raft takes one at a time.
func TestClusterManyChanges(t *testing.T) {
	e := newEnsemble(t, 3)
	e.leader()
	var wg sync.WaitGroup
	for i := range uint64(9) {
		r := e.rigs[i%3+1]
		wg.Go(func() {
			m := member.Member{ID: 100 + i, IsLearner: true,
				PeerURLs: []string{fmt.Sprintf("http://l%d", i)}}
			c := member.Change{Action: member.Add, Member: m, MaxLearners: 9}
			if err := r.change(c); err != nil {
				t.Errorf("add learner %d: %v", i, err)
			}
		})
	}
	wg.Wait()
	for id, r := range e.rigs {
		e.eventually("nine learners", func() bool {
			return len(r.machine.Members().List()) == 12
		})
		if got := len(e.conf(id).GetLearners()); got != 9 {
			t.Errorf("node %d: the configuration has %d learners", id, got)
		}
	}
}

// A message that proves that this member has lost its log ends it with an error, not with a panic.
func TestLostLogIsFatal(t *testing.T) {
	e := newEnsemble(t, 3)
	leader := e.leader()
	id := e.follower()
	e.net.isolate(id, true)
	commit, term := uint64(1<<40), e.rigs[leader].node.Status().Term+1
	e.rigs[id].node.Deliver([]*raftpb.Message{{
		Type: raftpb.MsgHeartbeat.Enum(), From: &leader, To: &id, Term: &term, Commit: &commit,
	}})
	if err := <-e.rigs[id].fatal; !strings.Contains(err.Error(), "remove the member") {
		t.Errorf("%v", err)
	}
}

// TestRemoveEachOther: two voters are removed at the same time. The one whose turn comes last
// stays, and takes writes.
func TestRemoveEachOther(t *testing.T) {
	e := newEnsemble(t, 2)
	leader := e.leader()
	results := make(chan error, 2)
	for _, id := range []uint64{3 - leader, leader} { // both before one is applied
		e.rigs[leader].node.ProposeChange(
			&member.Change{Action: member.Remove, Member: member.Member{ID: id}},
			func(_ []byte, err error) { results <- err })
	}
	first, second := <-results, <-results
	if errors.Is(first, cairn.ErrFewStarted) {
		first, second = second, first
	}
	if first != nil || !errors.Is(second, cairn.ErrFewStarted) {
		t.Errorf("%v, %v", first, second)
	}
	left := e.rigs[leader].machine.Members().List()
	if len(left) != 1 {
		t.Fatalf("members: %v", left)
	}
	if o := e.rigs[left[0].ID].put("a", "b"); o.err != nil {
		t.Error(o.err)
	}
}
