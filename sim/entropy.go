package sim

import (
	"crypto/rand"
	"io"
	mrand "math/rand/v2"
	"sync"
)

// entropyMu guards the system's source of random bytes: one simulation at a time has it.
var entropyMu sync.Mutex

// seedEntropy puts a seeded generator in the place of the system's source of random bytes, from
// which raft draws its election timeouts and a member the first number of its proposals, until
// restore is called. Processes that simulate at once must be several.
func seedEntropy(seed uint64) (restore func()) {
	entropyMu.Lock()
	var key [32]byte
	for i := range 8 {
		key[i] = byte(seed >> (8 * i))
	}
	old := rand.Reader
	rand.Reader = io.Reader(mrand.NewChaCha8(key))
	return func() {
		rand.Reader = old
		entropyMu.Unlock()
	}
}
