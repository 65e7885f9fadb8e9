package v3

import (
	"bytes"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
)

// generatedServices are the API's services as etcd's generated code describes them.
func generatedServices() []*grpc.ServiceDesc {
	return []*grpc.ServiceDesc{
		&pb.KV_ServiceDesc, &pb.Watch_ServiceDesc, &pb.Lease_ServiceDesc, &pb.Cluster_ServiceDesc,
		&pb.Maintenance_ServiceDesc, &pb.Auth_ServiceDesc,
	}
}

// BenchmarkPut is a put through package rpc, grpc-go's client included.
func BenchmarkPut(b *testing.B) {
	_, conn := serve(b, newFake(), Options{})
	kv := pb.NewKVClient(conn)
	put := &pb.PutRequest{
		Key: bytes.Repeat([]byte("k"), 32), Value: bytes.Repeat([]byte("v"), 256),
	}
	b.ReportAllocs()
	b.RunParallel(func(p *testing.PB) {
		for p.Next() {
			if _, err := kv.Put(b.Context(), put); err != nil {
				b.Error(err)
			}
		}
	})
}
