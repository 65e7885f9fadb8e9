package v3

import (
	"bytes"
	"context"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"
)

// unaryOf finds a method as grpc-go calls it.
func unaryOf(b *testing.B, d *Door, service, method string) grpc.MethodDesc {
	for _, s := range d.services {
		for _, m := range s.desc.Methods {
			if s.desc.ServiceName == service && m.MethodName == method {
				return m
			}
		}
	}
	b.Fatalf("no method %s/%s", service, method)
	return grpc.MethodDesc{}
}

// generatedServices are the API's services as etcd's generated code describes them.
func generatedServices() []*grpc.ServiceDesc {
	return []*grpc.ServiceDesc{
		&pb.KV_ServiceDesc, &pb.Watch_ServiceDesc, &pb.Lease_ServiceDesc, &pb.Cluster_ServiceDesc,
		&pb.Maintenance_ServiceDesc, &pb.Auth_ServiceDesc,
	}
}

// BenchmarkHandler is what the door itself costs: from the message's bytes to the reply's, with
// grpc-go left out.
func BenchmarkHandler(b *testing.B) {
	d, err := New(newFake(), Options{})
	if err != nil {
		b.Fatal(err)
	}
	key := bytes.Repeat([]byte("k"), 32)
	put := &pb.PutRequest{Key: key, Value: bytes.Repeat([]byte("v"), 256)}
	ctx, cancel := context.WithCancel(metadata.NewIncomingContext(b.Context(), metadata.Pairs(
		":authority", "localhost:2379", "content-type", "application/grpc",
		"user-agent", "grpc-go/1.85.0", "client-api-version", "3.7")))
	defer cancel()
	for _, c := range []struct {
		method string
		req    proto.Message
	}{
		{"Put", put},
		{"Range", &pb.RangeRequest{Key: key}},
		{"Txn", &pb.TxnRequest{
			Compare: []*pb.Compare{{Key: key}},
			Success: []*pb.RequestOp{{Request: &pb.RequestOp_RequestPut{RequestPut: put}}},
			Failure: []*pb.RequestOp{opRange(&pb.RangeRequest{Key: key})},
		}},
	} {
		msg, err := proto.Marshal(c.req)
		if err != nil {
			b.Fatal(err)
		}
		data := mem.BufferSlice{mem.SliceBuffer(msg)}
		dec := func(v any) error { return d.codec.Unmarshal(data, v) }
		m := unaryOf(b, d, "etcdserverpb.KV", c.method)
		b.Run(c.method, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				reply, err := m.Handler(d, ctx, dec, nil)
				if err != nil {
					b.Fatal(err)
				}
				out, err := d.codec.Marshal(reply)
				if err != nil {
					b.Fatal(err)
				}
				out.Free()
			}
		})
	}
}

// BenchmarkPut is a put through grpc-go, client included.
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
