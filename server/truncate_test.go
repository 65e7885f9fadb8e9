package server

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cairnkv/cairn/transport"
	"go.etcd.io/raft/v3/raftpb"
)

// deafNetwork reaches nobody.
type deafNetwork struct{}

var errDeaf = errors.New("nobody is reached")

func (deafNetwork) Send([]*raftpb.Message) {}
func (deafNetwork) Do(context.Context, uint64, transport.Request) (*http.Response, error) {
	return nil, errDeaf
}
func (deafNetwork) Get(context.Context, []string, string) (*http.Response, error) {
	return nil, errDeaf
}
func (deafNetwork) SetPeers(map[uint64][]string)      {}
func (deafNetwork) ActiveSince(uint64) time.Time      { return time.Time{} }
func (deafNetwork) PeerVersion(uint64) (string, bool) { return "", false }
func (deafNetwork) Stats() []transport.PeerStats      { return nil }
func (deafNetwork) Close()                            {}

// A member that is alone keeps no entry behind a checkpoint; one with a learner keeps them, though
// it is the only voter: the learner would need a snapshot instead of one entry.
func TestLogKeptForLearner(t *testing.T) {
	withTime(t, func(t *testing.T, m *timed) {
		m.stop(t)
		m.rig = mustStart(t, system{
			fs: m.fs, clock: m.clk,
			network: func(transport.Options) Network { return deafNetwork{} },
		})
		checkpoint := func() (first, at uint64) {
			m.mustPut(t, "a", 0)
			must(t, m.makeCheckpoint(t.Context()))
			synctest.Wait() // the writer truncates
			return m.stores.wal.FirstIndex(), m.saved.Load().index
		}
		first, at := checkpoint()
		if first != at+1 {
			t.Errorf("alone: the log begins at %d with a checkpoint of %d", first, at)
		}
		learner, _, err := m.back.AddMember(t.Context(), []string{"http://127.0.0.1:1"}, true)
		must(t, err)
		if s := m.node.Status(); !s.Lone {
			t.Fatalf("a learner is no voter: %+v", s)
		}
		if got, at := checkpoint(); got != first {
			t.Errorf("with a learner: the log begins at %d, not at %d any more, "+
				"with a checkpoint of %d", got, first, at)
		}
		_, err = m.back.RemoveMember(t.Context(), learner.ID)
		must(t, err)
		if first, at := checkpoint(); first != at+1 {
			t.Errorf("alone again: the log begins at %d with a checkpoint of %d", first, at)
		}
	})
}
