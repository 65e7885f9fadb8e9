package wal

import (
	"strings"
	"testing"

	"github.com/cairnkv/cairn/vfs"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"
)

// A busy log keeps its spares, a quiet one gives their space back, and finds its entries all the
// same after a restart.
func TestSparesGo(t *testing.T) {
	fs := vfs.NewMem()
	w, err := Open(fs, "wal", Options{SegmentBytes: 4 << 10})
	if err != nil {
		t.Fatal(err)
	}
	spares := func() (n int) {
		names, err := fs.List("wal")
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			if strings.HasSuffix(name, ".spare") {
				n++
			}
		}
		return n
	}
	for index := uint64(1); index <= 200; index++ {
		e := &raftpb.Entry{Term: proto.Uint64(1), Index: &index, Data: make([]byte, 300)}
		if err := w.Append(nil, []*raftpb.Entry{e}); err != nil {
			t.Fatal(err)
		}
		if err := w.Flush(true); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Truncate(190); err != nil {
		t.Fatal(err)
	}
	if err := w.Prepare(); err != nil {
		t.Fatal(err)
	}
	if n := spares(); n < maxSpares-1 {
		t.Fatalf("%d spares after many segments went", n)
	}
	for range quietPrepares + maxSpares {
		if err := w.Prepare(); err != nil {
			t.Fatal(err)
		}
	}
	if n := spares(); n > quietSpares {
		t.Fatalf("%d spares after a quiet time", n)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if w, err = Open(fs, "wal", Options{}); err != nil {
		t.Fatal(err)
	}
	if w.LastIndex() != 200 {
		t.Fatalf("last entry %d after reopening", w.LastIndex())
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
}
