package node

import (
	"io"
	"log"
	"sync"
	"testing"
	"time"

	"github.com/cairnkv/cairn/clock"
	"github.com/cairnkv/cairn/command"
	"github.com/cairnkv/cairn/member"
	"github.com/cairnkv/cairn/state"
	"github.com/cairnkv/cairn/vfs"
	"github.com/cairnkv/cairn/wal"
	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"
)

// played is a member whose peers the test plays: what it sends them stays here, no clock ticks, and
// elections come when they are asked for.
type played struct {
	*rig
	t    *testing.T
	log  *heldLog
	sent mailbox[*raftpb.Message]
	img  *state.Image // what Install gives the machine
}

func (p *played) Send(messages []*raftpb.Message) { p.sent.put(messages...) }

func (p *played) Fetch(*raftpb.Message) {}

func (p *played) Install(index, term uint64) error {
	restore := func(m *state.Machine) { m.Restore(p.img) }
	if err := p.node.Visit(p.t.Context(), restore); err != nil {
		return err
	}
	return p.wal.Reset(index, term)
}

// heldLog is a raft log that can be made to hang before it takes entries. A vote it takes.
type heldLog struct {
	*wal.WAL
	release chan struct{} // nil: nothing hangs
}

func (l *heldLog) Append(hs *raftpb.HardState, entries []*raftpb.Entry) error {
	if len(entries) > 0 && l.release != nil {
		<-l.release
	}
	return l.WAL.Append(hs, entries)
}

// play starts member 1 of these on its files.
func play(t *testing.T, fs vfs.FS, hold chan struct{}, members ...member.Member) *played {
	t.Helper()
	r, err := openFiles(fs, members...)
	must(t, err)
	p := &played{rig: r, t: t, log: &heldLog{r.wal, hold}}
	r.node, err = Start(Config{
		ID: self, TickInterval: time.Hour, ElectionTicks: 10, RequestTimeout: time.Minute,
		FirstSequence: 1 << 32, Log: p.log, Machine: r.machine, Clock: clock.Real(),
		Transport: p, Installer: p,
		Logger: &raft.DefaultLogger{Logger: log.New(io.Discard, "", 0)},
		Fatal:  func(err error) { r.fatal <- err },
	})
	must(t, err)
	t.Cleanup(func() {
		p.close(t)
		select {
		case err := <-p.fatal:
			t.Error(err)
		default:
		}
	})
	return p
}

// voters are three members.
func voters() (members []member.Member) {
	for _, url := range []string{"http://a", "http://b", "http://c"} {
		id := uint64(len(members) + 1)
		members = append(members, member.Member{ID: id, PeerURLs: []string{url}})
	}
	return members
}

// passes returns when a pass is over that began after the call.
func (p *played) passes() {
	for range 2 { // within the second the first is over
		done := make(chan struct{})
		p.node.call(func(*Core) { close(done) })
		<-done
	}
}

// becomes waits until the member plays a part in raft.
func (p *played) becomes(role string) {
	p.t.Helper()
	p.eventually(role, func() bool { return p.node.Status().Role == role })
}

func (p *played) eventually(what string, ok func() bool) {
	p.t.Helper()
	(&ensemble{t: p.t, rigs: map[uint64]*rig{self: p.rig}}).eventually(what, ok)
}

// from gives the member a message of a peer, in the member's term unless the message has one.
func (p *played) from(peer uint64, m *raftpb.Message) {
	m.From, m.To = proto.Uint64(peer), proto.Uint64(self)
	if m.Term == nil && m.GetType() != raftpb.MsgReadIndex {
		m.Term = proto.Uint64(p.node.Status().Term)
	}
	p.node.Deliver([]*raftpb.Message{m})
	p.passes()
}

// candidate has the member ask for votes in a new term.
func (p *played) candidate() {
	p.t.Helper()
	p.node.call(func(c *Core) { must(p.t, c.Campaign()) })
	p.becomes("StatePreCandidate")
	p.from(2, &raftpb.Message{
		Type: raftpb.MsgPreVoteResp.Enum(), Term: proto.Uint64(p.node.Status().Term + 1),
	})
	p.becomes("StateCandidate")
}

// read begins a round of a linearizable read.
func (p *played) read() chan error {
	answer := make(chan error, 1)
	p.node.Barrier(func(err error) { answer <- err })
	p.passes()
	return answer
}

// take has the member take the state of img, after the entries that were committed.
func (p *played) take(img *state.Image) {
	p.t.Helper()
	p.img = img
	taken := make(chan bool, 1)
	m := &raftpb.Message{Type: raftpb.MsgSnap.Enum(), From: proto.Uint64(2),
		Term: proto.Uint64(img.Term)}
	p.node.Fetched(m, img.Index, img.Term, img.Conf, func(ok bool) { taken <- ok })
	if !<-taken {
		p.t.Fatal("the state is not taken")
	}
}

// later is a state at an index in which the members are those of the beginning.
func later(index, term uint64) *state.Image {
	img := state.NewImage(self, member.NewSet(9, voters()))
	img.Index, img.Term = index, term
	return img
}

// A round that a candidate began is answered when an entry of its term is committed. To be elected
// proves nothing: the votes may be older than the round, and another leader have acknowledged a
// write between.
func TestReadOfCandidate(t *testing.T) {
	for _, c := range []struct {
		name     string
		snapshot uint64 // which it has taken before
		last     uint64
	}{
		{"restarted", 0, 1},
		{"after a snapshot", 1000, 1000},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := play(t, vfs.NewMem(), nil, voters()...)
			if c.snapshot > 0 {
				p.take(later(c.snapshot, 2))
				p.eventually("the state", func() bool {
					return p.node.Status().Applied == c.snapshot
				})
				p.passes() // with the response to the snapshot
			}
			p.candidate()
			answer := p.read()
			p.from(2, &raftpb.Message{Type: raftpb.MsgVoteResp.Enum()})
			p.becomes("StateLeader")
			p.passes()
			select {
			case err := <-answer:
				t.Errorf("answered (%v) before an entry of the term was committed", err)
				return
			default:
			}
			p.eventually("the entry in the log", func() bool {
				p.from(2, &raftpb.Message{
					Type: raftpb.MsgAppResp.Enum(), Index: proto.Uint64(c.last + 1),
				})
				return p.node.Status().Commit > c.last
			})
			if err := <-answer; err != nil {
				t.Error(err)
			}
		})
	}
}

// restartedAlone is a lone voter, with a learner, after a crash: it leads, the first entry of its
// term is not in the log yet, and of the second of two acknowledged writes it does not know that it
// was committed.
func restartedAlone(t *testing.T) (p *played, last uint64, release func()) {
	t.Helper()
	alone, fs := voters()[0], vfs.NewMem()
	p = play(t, fs, nil, alone)
	must(t, p.change(member.Change{Action: member.Add, MaxLearners: 1, Member: member.Member{
		ID: 2, PeerURLs: []string{"http://b"}, IsLearner: true}}))
	for _, value := range []string{"1", "2"} {
		if o := p.put("a", value); o.err != nil {
			t.Fatal(o.err)
		}
	}
	clone := fs.CrashClone(nil)
	hold := make(chan struct{})
	p = play(t, clone, hold, alone)
	release = sync.OnceFunc(func() { close(hold) })
	t.Cleanup(release) // before the member is stopped
	last = p.wal.LastIndex()
	p.eventually("all that is known to be committed", func() bool {
		s := p.node.Status()
		return s.Applied >= s.Commit
	})
	p.passes()
	// With the change of the configuration to apply first, it did not ask for votes at its start.
	p.node.call(func(c *Core) { must(t, c.Campaign()) })
	p.becomes("StateLeader")
	if s := p.node.Status(); s.Commit >= last {
		t.Fatalf("entry %d is known to be committed: %+v", last, s)
	}
	return p, last, release
}

// A lone leader answers no read before it knows that all that was acknowledged in its earlier life
// is committed; then it does, with nothing else to do.
func TestReadOfLoneLeader(t *testing.T) {
	p, _, release := restartedAlone(t)
	seen := make(chan string, 1)
	p.node.Barrier(func(err error) {
		if err != nil {
			t.Error(err)
		}
		v, _ := p.value(t, "a")
		seen <- v
	})
	p.passes()
	release()
	if v := <-seen; v != "2" {
		t.Errorf("a linearizable read sees %q, not the acknowledged 2", v)
	}
}

// Likewise of a learner's read, for which the lone leader is asked.
func TestLearnersReadAtLoneLeader(t *testing.T) {
	p, last, release := restartedAlone(t)
	p.from(2, &raftpb.Message{
		Type: raftpb.MsgReadIndex.Enum(), Entries: []*raftpb.Entry{{Data: []byte("a round")}},
	})
	release()
	var points []*raftpb.Message
	p.eventually("a read point", func() bool {
		for _, m := range p.sent.take(nil) {
			if m.GetType() == raftpb.MsgReadIndexResp {
				points = append(points, m)
			}
		}
		return len(points) > 0
	})
	if len(points) != 1 || points[0].GetIndex() <= last {
		t.Errorf("read points %v, want one after %d", points, last)
	}
}

// A configuration change that is carried out while raft has the configuration of a later snapshot
// already is not made again in that one: the member that it added may be gone since.
func TestOldChangeAfterSnapshot(t *testing.T) {
	p := play(t, vfs.NewMem(), nil, voters()...)
	held, release := make(chan struct{}), make(chan struct{})
	visited := make(chan error, 1)
	go func() {
		visited <- p.node.Visit(t.Context(), func(*state.Machine) { close(held); <-release })
	}()
	<-held // the applier is busy
	p.from(2, &raftpb.Message{
		Type: raftpb.MsgApp.Enum(), Term: proto.Uint64(2),
		Index: proto.Uint64(1), LogTerm: proto.Uint64(1), Commit: proto.Uint64(2),
		Entries: []*raftpb.Entry{addLearner(t, 2, 2, 4)},
	})
	p.eventually("the change handed out", func() bool { return !p.node.applies.empty() })
	p.take(later(1000, 2)) // in which the learner was removed
	close(release)
	must(t, <-visited)
	p.eventually("the state", func() bool { return p.node.Status().Applied == 1000 })
	p.passes()
	if ids := p.learners(); len(ids) > 0 {
		t.Errorf("raft has the learners %v, the state has none", ids)
	}

	// One that comes after the snapshot is made.
	p.from(2, &raftpb.Message{
		Type: raftpb.MsgApp.Enum(), Term: proto.Uint64(2),
		Index: proto.Uint64(1000), LogTerm: proto.Uint64(2), Commit: proto.Uint64(1001),
		Entries: []*raftpb.Entry{addLearner(t, 1001, 2, 5)},
	})
	p.eventually("the change", func() bool { return p.node.Status().Applied == 1001 })
	p.passes()
	if ids := p.learners(); len(ids) != 1 || ids[0] != 5 {
		t.Errorf("raft has the learners %v, the state has 5", ids)
	}
}

// learners are those of raft's configuration.
func (p *played) learners() []uint64 {
	ids := make(chan []uint64, 1)
	p.node.call(func(c *Core) {
		var learners []uint64
		for id := range c.raw.Status().Config.Learners {
			learners = append(learners, id)
		}
		ids <- learners
	})
	return <-ids
}

// addLearner is an entry.
func addLearner(t *testing.T, index, term, id uint64) *raftpb.Entry {
	t.Helper()
	change := member.Change{Action: member.Add, MaxLearners: 1,
		Member: member.Member{ID: id, IsLearner: true, PeerURLs: []string{"http://x"}}}
	request, err := change.Encode()
	must(t, err)
	cc, _ := state.ConfChange(&change)
	var b command.Builder
	b.Add(command.MemberChange, request)
	cc.Context = b.Build(2, index)
	data, err := proto.Marshal(cc)
	must(t, err)
	return &raftpb.Entry{
		Type: raftpb.EntryConfChangeV2.Enum(), Index: proto.Uint64(index),
		Term: proto.Uint64(term), Data: data,
	}
}

// TestLostChange: a configuration change that was lost with the log's tail does not keep others
// away.
func TestLostChange(t *testing.T) {
	n := &Node{}
	appended := func(kind raftpb.EntryType, index uint64) *raftpb.Message {
		return &raftpb.Message{Entries: []*raftpb.Entry{
			{Type: kind.Enum(), Index: proto.Uint64(index), Data: []byte("x")}}}
	}
	n.noteConf(appended(raftpb.EntryConfChangeV2, 10))
	n.noteConf(appended(raftpb.EntryNormal, 11))
	if n.confIndex != 10 {
		t.Errorf("the change is of entry 10, noted is %d", n.confIndex)
	}
	n.noteConf(appended(raftpb.EntryNormal, 7))
	if n.confIndex >= 7 {
		t.Errorf("entry %d, which is gone, is waited for", n.confIndex)
	}
}
