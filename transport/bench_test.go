package transport

import (
	"fmt"
	"runtime"
	"sync/atomic"
	"testing"

	"go.etcd.io/raft/v3/raftpb"
)

// BenchmarkSend measures from Send to Deliver over loopback, both ends in this process. window
// messages are under way at once, as raft's flow control allows.
func BenchmarkSend(b *testing.B) {
	for _, size := range []int{0, 300, 64 << 10, 1 << 20} {
		window := min(512, 16<<20/max(size, 1))
		b.Run(fmt.Sprintf("entry=%d", size), func(b *testing.B) { benchSend(b, size, window) })
	}
}

func benchSend(b *testing.B, size, window int) {
	var delivered atomic.Int64
	free := make(chan struct{}, window)
	a := newMember(b, 1, nil)
	peer := newMember(b, 2, func(o *Options) {
		o.Deliver = func(_ uint64, messages []*raftpb.Message) {
			delivered.Add(int64(len(messages)))
			for range messages {
				<-free
			}
		}
	})
	a.serve("http", "")
	peer.serve("http", "")
	connect(b, a, peer)
	m := []*raftpb.Message{message(1, 2, 1, size)}
	b.SetBytes(int64(size))
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		free <- struct{}{}
		a.Send(m)
	}
	for delivered.Load() < int64(b.N) {
		runtime.Gosched()
	}
	b.StopTimer()
	if s := a.Stats()[0]; s.Dropped > 0 {
		b.Fatalf("%+v", s)
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
}
