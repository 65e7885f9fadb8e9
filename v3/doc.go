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
//	s := rpc.New(rpc.Options{MaxRecvBytes: door.MaxRecvBytes(), ...})
//	door.Register(s)
//	go s.Serve(listener)
//	... door.Tick() once per election timeout
//
// # Life of a request
//
// A hot request has no goroutine, context or timer. It begins on the goroutine that reads its
// connection: decoded, checked, then answered at once (a read that needs no round), or handed to
// the backend, whose done answers it from wherever it is called. A read that waits for its point
// goes on where the connection is written. If the client gives up, the request may still take
// effect; its bytes stay as they are until the backend is done with them.
//
// Watches and renewals of leases are raw streams of package rpc; all other streams, and what is
// asked seldom, have a goroutine each.
package v3
