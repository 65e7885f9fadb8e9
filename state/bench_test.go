package state

import (
	"fmt"
	"testing"

	"github.com/cairnkv/cairn/command"
	"github.com/cairnkv/cairn/member"
	"github.com/cairnkv/cairn/mvcc"
	"github.com/cairnkv/cairn/revlog"
	"github.com/cairnkv/cairn/vfs"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"
)

// benchMachine is a machine on real files with n keys of 256 bytes.
func benchMachine(b *testing.B, n int) *Machine {
	b.Helper()
	log, err := revlog.Open(vfs.OS(), b.TempDir(), revlog.Options{}, revlog.Mark{})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := log.Close(); err != nil {
			b.Error(err)
		}
	})
	set := member.NewSet(9, []member.Member{{ID: 1, PeerURLs: []string{"http://a"}}})
	img := NewImage(1, set)
	store, err := mvcc.Open(log, img.Rev, img.CompactRev)
	if err != nil {
		b.Fatal(err)
	}
	m := New(1, img, store)
	for i := 0; i < n; i += 1000 {
		var batch command.Builder
		for j := range 1000 {
			batch.Add(command.Put, benchPut(b, i+j))
		}
		benchApply(b, m, batch.Build(1, 1), &Results{})
	}
	return m
}

func benchPut(b *testing.B, key int) []byte {
	req, err := proto.Marshal(&pb.PutRequest{
		Key: fmt.Appendf(nil, "/bench/%08d", key), Value: make([]byte, 256),
	})
	if err != nil {
		b.Fatal(err)
	}
	return req
}

func benchApply(b *testing.B, m *Machine, entry []byte, r *Results) {
	r.Reset()
	if err := m.Apply(m.Index()+1, 1, entry, r); err != nil {
		b.Fatal(err)
	}
	if _, _, err := m.Publish(); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkApply executes puts of 256 bytes on existing keys, and the transaction that Kubernetes
// updates objects by, in entries of 1 and 100 commands; an operation is one command.
func BenchmarkApply(b *testing.B) {
	const keys = 100_000
	m := benchMachine(b, keys)
	txn := func(key int) []byte {
		put := &pb.PutRequest{}
		if err := proto.Unmarshal(benchPut(b, key), put); err != nil {
			b.Fatal(err)
		}
		req, err := proto.Marshal(&pb.TxnRequest{
			Compare: []*pb.Compare{{Key: put.Key, Target: pb.Compare_MOD,
				TargetUnion: &pb.Compare_ModRevision{ModRevision: 7}}},
			Success: []*pb.RequestOp{{Request: &pb.RequestOp_RequestPut{RequestPut: put}}},
			Failure: []*pb.RequestOp{{Request: &pb.RequestOp_RequestRange{
				RequestRange: &pb.RangeRequest{Key: put.Key}}}},
		})
		if err != nil {
			b.Fatal(err)
		}
		return req
	}
	for _, size := range []int{1, 100} {
		for name, make := range map[string]func(int) []byte{
			"put": func(k int) []byte { return benchPut(b, k) }, "txn": txn,
		} {
			kind := map[string]command.Kind{"put": command.Put, "txn": command.Txn}[name]
			b.Run(fmt.Sprintf("%s/commands=%d", name, size), func(b *testing.B) {
				var entries [][]byte
				for e := range 200 {
					var batch command.Builder
					for c := range size {
						batch.Add(kind, make((e*7919+c*104729)%keys))
					}
					entries = append(entries, batch.Build(1, 1))
				}
				var r Results
				b.ReportAllocs()
				for i := 0; i < b.N; i += size {
					benchApply(b, m, entries[i/size%len(entries)], &r)
				}
			})
		}
	}
}
