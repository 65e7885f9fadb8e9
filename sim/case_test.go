package sim

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cairnkv/cairn/command"
	"github.com/cairnkv/cairn/revlog"
	v3 "github.com/cairnkv/cairn/v3"
	"github.com/cairnkv/cairn/vfs"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// quietCluster begins a cluster of three without clients and faults, and waits until it serves.
func quietCluster(t *testing.T) *Sim {
	t.Helper()
	o := Draw(1)
	o.Members, o.Faults, o.HashInterval = 3, Faults{}, 0
	t.Cleanup(seedEntropy(o.Seed))
	s := newSim(o, nil)
	s.Stats.Faults = map[string]int64{}
	s.begin()
	t.Cleanup(s.close)
	if !s.until(10*time.Second, func() bool { return s.leader() != nil && s.allReady() }) {
		t.Fatalf("no cluster after 10 s: %v", s.failure)
	}
	return s
}

func (s *Sim) leader() *member {
	for _, m := range s.members {
		if !m.hangingDisk && s.nemesis.leads(m) {
			return m
		}
	}
	return nil
}

func (s *Sim) allReady() bool {
	for _, m := range s.members {
		if m.life == nil || m.life.server == nil {
			return false
		}
	}
	return true
}

// TestHangingDisk: a leader whose disk hangs for ever gives its office away, and writes go on.
func TestHangingDisk(t *testing.T) {
	s := quietCluster(t)
	old := s.leader()
	old.hangingDisk = true
	written := false
	s.clients.Go("writer", func() {
		for !written {
			for _, m := range s.members {
				var r pb.PutResponse
				err := s.submit(m, command.Put, &pb.PutRequest{Key: []byte("k")}, &r)
				written = written || m != old && err == nil
			}
		}
	})
	s.clientsRun()
	const patience = 15 * time.Second
	if !s.until(s.now+patience, func() bool { return written }) || s.failure != nil {
		t.Errorf("no write within %v while the disk of %s hangs: %v", patience, old.name, s.failure)
	}
}

// TestUnknownEntry: an entry that a newer version wrote ends every member, each time, before
// anything behind it is applied: they must not go apart.
func TestUnknownEntry(t *testing.T) {
	s := quietCluster(t)
	for _, m := range s.members {
		m.excused = true
	}
	revision := s.truth.history.Revision
	leader := s.leader()
	node := leader.life.server.Node()
	node.Propose(command.Kind(250), []byte("from the future"), func([]byte, error) {})
	node.Propose(command.Put, nil, func([]byte, error) {})
	leader.touch()
	ended := func(m *member) bool { return errors.Is(m.lastExit, command.ErrVersion) }
	all := func() bool {
		for _, m := range s.members {
			if !ended(m) || m.starts < 2 {
				return false
			}
		}
		return true
	}
	if !s.until(s.now+20*time.Second, all) {
		for _, m := range s.members {
			t.Errorf("%s: %d starts, ended by %v", m.name, m.starts, m.lastExit)
		}
		t.Fatalf("not all members refuse an entry of an unknown version: %v", s.failure)
	}
	if s.truth.history.Revision != revision {
		t.Errorf("revision %d was made behind the unknown entry", s.truth.history.Revision)
	}
}

// TestDamageMetByWatch: a watch that has to catch up over a damaged record ends the member, which
// then has the record from the others.
func TestDamageMetByWatch(t *testing.T) {
	s := quietCluster(t)
	const count = 30
	written := 0
	s.clients.Go("writer", func() {
		for written < count {
			r := &pb.PutRequest{Key: []byte("k"), Value: fmt.Appendf(nil, "value-%d-", written)}
			if s.submit(s.members[0], command.Put, r, &pb.PutResponse{}) == nil {
				written++
			}
		}
	})
	s.clientsRun()
	s.until(s.now+10*time.Second, func() bool { return written == count && s.apart() == nil })
	m := s.members[0]
	if m == s.leader() {
		m = s.members[1]
	}
	flipIn(t, m, "value-17-")
	m.damage()
	l := m.life
	l.Go("watch", func() {
		c := v3.WatchCreate{Key: []byte{0}, End: []byte{0}, StartRevision: 2}
		l.stream(c, false, nil, func(*pb.WatchResponse) bool { return true })
	})
	m.touch()
	corrupt := (*revlog.CorruptError)(nil)
	if !s.until(s.now+10*time.Second, func() bool { return errors.As(m.lastExit, &corrupt) }) {
		t.Fatalf("%s goes on with a damaged record (%v)", m.name, s.failure)
	}
	if !s.until(s.now+20*time.Second, func() bool { return s.apart() == nil }) {
		t.Fatalf("%s is not repaired: %v, %v", m.name, s.apart(), s.failure)
	}
	if err := s.sameState(); err != nil {
		t.Error(err)
	}
}

// flipIn flips a bit of a text in a member's record log.
func flipIn(t *testing.T, m *member, text string) {
	t.Helper()
	fs := m.life.disk.mem
	names, err := fs.List("data/revlog")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		f, err := fs.Open("data/revlog/" + name)
		if err != nil || strings.Contains(name, "LOCK") {
			t.Fatal(name, err)
		}
		size, _ := f.Size()
		b := make([]byte, size)
		_, err = f.ReadAt(b, 0)
		if err := errors.Join(err, f.Close()); err != nil {
			t.Fatal(err)
		}
		if i := bytes.Index(b, []byte(text)); i >= 0 {
			if err := vfs.Flip(fs, f.Name(), int64(i), 1); err != nil {
				t.Fatal(err)
			}
			return
		}
	}
	t.Fatalf("%q is nowhere", text)
}
