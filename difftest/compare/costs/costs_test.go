package costs

import (
	"bytes"
	"compress/gzip"
	"math"
	"reflect"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
)

// build makes a profile in profile.proto's form: a location for each function.
func build(samples []Sample, packed bool) []byte {
	var out, strings []byte
	ids := map[string]uint64{}
	bytesField := func(b []byte, num protowire.Number, v []byte) []byte {
		return protowire.AppendBytes(protowire.AppendTag(b, num, protowire.BytesType), v)
	}
	text := func(s string) { strings = bytesField(strings, 6, []byte(s)) }
	field := func(b []byte, num protowire.Number, v uint64) []byte {
		return protowire.AppendVarint(protowire.AppendTag(b, num, protowire.VarintType), v)
	}
	message := func(num protowire.Number, b []byte) {
		out = bytesField(out, num, b)
	}
	text("")
	for _, s := range samples {
		var sample, numbers []byte
		for _, f := range s.Stack {
			id, ok := ids[f]
			if !ok {
				id = uint64(len(ids) + 1)
				ids[f] = id
				text(f)
				message(5, field(field(nil, 1, id+100), 2, id))
				line := field(nil, 1, id+100)
				message(4, bytesField(field(nil, 1, id+200), 4, line))
			}
			if packed {
				numbers = protowire.AppendVarint(numbers, id+200)
			} else {
				sample = field(sample, 1, id+200)
			}
		}
		if packed {
			sample = bytesField(sample, 1, numbers)
		}
		sample = field(field(sample, 2, 1), 2, uint64(s.Time))
		message(2, sample)
	}
	return append(out, strings...)
}

var stacks = []Sample{
	{[]string{"internal/runtime/syscall/linux.Syscall6", "syscall.write", "net.(*conn).Write",
		"google.golang.org/grpc/internal/transport.(*bufWriter).Flush"}, 30},
	{[]string{"internal/runtime/syscall/linux.Syscall6", "syscall.Fdatasync",
		"github.com/cairnkv/cairn/vfs.(*osFile).SyncData",
		"github.com/cairnkv/cairn/wal.Sync"}, 20},
	{[]string{"internal/runtime/syscall/linux.EpollWait", "runtime.netpoll"}, 5},
	{[]string{"syscall.Getpid", "github.com/cairnkv/cairn/server.Start"}, 1},
	{[]string{"runtime.scanobject", "runtime.gcDrain", "runtime.gcBgMarkWorker"}, 10},
	{[]string{"runtime.memmove", "bytes.(*Buffer).Write",
		"github.com/cairnkv/cairn/mvcc.(*Tx).Put", "github.com/cairnkv/cairn/state.Apply"}, 25},
	{[]string{"github.com/cairnkv/cairn/mvcc.Get[go.shape.a/b.T]"}, 2},
	{[]string{"runtime.findRunnable", "runtime.schedule"}, 4},
	{[]string{"runtime.nanotime"}, 1},
	{[]string{"go.etcd.io/etcd/server/v3/storage/mvcc.(*store).Put"}, 1},
	{[]string{"type:.eq.github.com/x/y.Z", "go.etcd.io/bbolt.(*Tx).Commit"}, 1},
}

func TestParse(t *testing.T) {
	for _, packed := range []bool{false, true} {
		plain := build(stacks, packed)
		var zipped bytes.Buffer
		w := gzip.NewWriter(&zipped)
		if _, err := w.Write(plain); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		for _, data := range [][]byte{plain, zipped.Bytes()} {
			got, err := Parse(data)
			if err != nil || !reflect.DeepEqual(got, stacks) {
				t.Errorf("%v, %v", got, err)
			}
		}
	}
}

func TestSum(t *testing.T) {
	want := []Group{
		{Network, 0.35, "transport.(*bufWriter).Flush"},
		{"mvcc", 0.27, "mvcc.(*Tx).Put"},
		{Files, 0.20, "vfs.(*osFile).SyncData"},
		{Collector, 0.10, "runtime.gcDrain"},
		{Scheduler, 0.04, "runtime.findRunnable"},
		{Runtime, 0.01, "runtime.nanotime"},
		{"bbolt", 0.01, "bbolt.(*Tx).Commit"},
		{Kernel, 0.01, "server.Start"},
		{"storage/mvcc", 0.01, "mvcc.(*store).Put"},
	}
	got := Sum(stacks)
	if len(got) != len(want) {
		t.Fatalf("%+v", got)
	}
	for i, g := range got {
		if g.Name != want[i].Name || g.Most != want[i].Most ||
			math.Abs(g.Share-want[i].Share) > 1e-9 {
			t.Errorf("%+v, want %+v", g, want[i])
		}
	}
	if len(Sum(nil)) != 0 {
		t.Error("nothing has groups")
	}
}

// FuzzParse must not fail on anything.
func FuzzParse(f *testing.F) {
	f.Add(build(stacks[:2], true))
	f.Add([]byte{0x1f, 0x8b, 0})
	f.Fuzz(func(t *testing.T, data []byte) {
		if samples, err := Parse(data); err == nil {
			Sum(samples)
		}
	})
}
