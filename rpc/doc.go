// Package rpc is a gRPC server on HTTP/2 of its own: what a request of the API costs is most of all
// what its transport costs. It speaks to every client of gRPC, and implements
// [grpc.ServiceRegistrar], so that generated services register on it as on grpc-go's server.
//
// # Three kinds of methods
//
//   - Generated ones ([Server.RegisterService]): a goroutine and a context for each call, blocking
//     reads and writes. For what is asked seldom.
//   - Raw unary ones ([Server.Unary]): the handler gets a [Call] with the request's bytes, on the
//     goroutine that reads the connection, and answers now or later, from any goroutine. There is
//     no goroutine, channel, context or timer for a request, and no allocation once the connection
//     is warm.
//   - Raw streams ([Server.Stream]): a [Receiver] that is called when a message came and when there
//     is room to send.
//
// Requests that are no gRPC go to an ordinary [http.Handler], on the same connection.
//
// # The way of bytes
//
//	socket ──read──> reader: all frames that have arrived
//	                   HEADERS -> hpack -> head (kept, if the client repeats it)
//	                   DATA    -> Call: handler      -> answers at once ──┐
//	                           -> Receiver.Message                       │ what others answer
//	                           -> pipe -> handler's goroutine ──────────┐│ (applier, goroutines)
//	                                                                    vv  │
//	socket <─write── reader at the end of its batch, or writer <── out buffer, in order
//
// A connection has two goroutines. The reader parses what one read brought, and writes what was
// answered meanwhile with one attempt that does not wait. The writer writes what is left and what
// others answer; it also calls Receiver.Fill, runs the second half of calls that had to wait
// ([Call.Later]), and keeps the deadlines. While the server is corked ([Server.Cork]) the answers
// of many calls gather, one write for each connection.
//
// # Limits
//
// Everything that a client can make the server keep is bounded: see limits.go. Where a client asks
// for more, its stream is refused or its connection ended, and others notice nothing.
//
// HTTP/2 is RFC 9113, its header compression RFC 7541, gRPC on it is the protocol description of
// the gRPC project (doc/PROTOCOL-HTTP2.md); texts of errors are those of grpc-go.
package rpc
