// Package v3 is the door for etcd's v3 API: the gRPC services KV, Watch, Lease, Maintenance,
// Cluster and health, as etcd 3.7 answers them, code and text of every error included.
//
// # Contract
//
// The door checks requests and turns them into calls of a Backend, which it declares; it knows
// nothing of raft or files. It has one file for each RPC.
//
// Requests that change something travel as the client's own protobuf bytes: they are decoded in
// place to be checked (package wire), then handed to Backend.Propose as they came, and the
// reply's bytes go out as they come back. The generated types are used by the cold RPCs only.
//
// # Use
//
//	door := v3.New(backend, v3.Options{...})
//	s := grpc.NewServer(door.ServerOptions()...)
//	door.Register(s)
//	go s.Serve(listener)
//	... door.Tick() once per election timeout
//
// # Life of a request
//
// A hot request owns one call: its bytes, what was decoded from them, a timer. The handler's
// goroutine waits for the first of three: the backend's answer, the end of the client's context,
// Options.RequestTimeout. If it is not the answer, the request is given up for the client, but
// it may still take effect; then the call lives on until the backend says that it is done
// with the bytes, and only then they are freed.
package v3
