package v3

import (
	"sync"

	"github.com/cairnkv/cairn"
)

// maxLeaderless is for how many ticks in a row there may be no leader before streams that want one
// are ended: opening a stream again costs far more than asking again (etcd v3rpc/interceptor.go).
const maxLeaderless = 3

// leaderMonitor ends streams when there is no leader for long.
type leaderMonitor struct {
	mu         sync.Mutex // guards all below
	ends       map[any]func(cause error)
	leaderless int
}

// add watches over a stream: end ends it, without blocking.
func (m *leaderMonitor) add(s any, end func(cause error)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.ends[s] = end
}

func (m *leaderMonitor) remove(s any) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.ends, s)
}

func (m *leaderMonitor) tick(leader bool) {
	m.mu.Lock()
	if leader {
		m.leaderless = 0
		m.mu.Unlock()
		return
	}
	m.leaderless++
	ends := m.ends
	if m.leaderless >= maxLeaderless {
		m.ends = make(map[any]func(error))
	} else {
		ends = nil
	}
	m.mu.Unlock()
	for _, end := range ends {
		end(cairn.ErrNoLeader)
	}
}
