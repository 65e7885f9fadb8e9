package v3

import (
	"context"
	"sync"

	"github.com/cairnkv/cairn"
)

// maxLeaderless is for how many ticks in a row there may be no leader before streams that want one
// are ended: opening a stream again costs far more than asking again (etcd v3rpc/interceptor.go).
const maxLeaderless = 3

// leaderMonitor ends streams when there is no leader for long.
type leaderMonitor struct {
	mu         sync.Mutex // guards all below
	streams    map[*stream]context.CancelCauseFunc
	leaderless int
}

func (m *leaderMonitor) add(s *stream, cancel context.CancelCauseFunc) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.streams[s] = cancel
}

func (m *leaderMonitor) remove(s *stream) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.streams, s)
}

func (m *leaderMonitor) tick(leader bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if leader {
		m.leaderless = 0
		return
	}
	if m.leaderless++; m.leaderless < maxLeaderless {
		return
	}
	for _, cancel := range m.streams {
		cancel(cairn.ErrNoLeader)
	}
	clear(m.streams)
}
