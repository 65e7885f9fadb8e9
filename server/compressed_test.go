package server

import (
	"path/filepath"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Clients may compress. What is too large after decompression is refused before it is all there.
func TestCompressedRequests(t *testing.T) {
	args, url := serverArgs(t, filepath.Join(t.TempDir(), "data"))
	client := runServer(t, args, url).dial()
	kv := pb.NewKVClient(client.ActiveConnection())
	compressed := grpc.UseCompressor("gzip")
	put := func(size int) error {
		req := &pb.PutRequest{Key: []byte("k"), Value: make([]byte, size)}
		_, err := kv.Put(t.Context(), req, compressed)
		return err
	}
	if err := put(100_000); err != nil {
		t.Fatal(err)
	}
	r, err := kv.Range(t.Context(), &pb.RangeRequest{Key: []byte("k")}, compressed)
	if err != nil || r.Count != 1 || len(r.Kvs[0].Value) != 100_000 {
		t.Fatalf("read back: %d keys, %v", r.GetCount(), err)
	}
	if err := put(50_000_000); status.Code(err) != codes.ResourceExhausted {
		t.Fatalf("50 MB of zeros: %v", err)
	}
}
