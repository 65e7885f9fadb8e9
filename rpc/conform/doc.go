// Package conform judges servers of gRPC over HTTP/2: the client door, and grpc-go's server as the
// reference that shows that what is asked for can be had. Each test runs against both (kinds).
//
//	go test ./...                         everything
//	go test -run 'TestHostile/cairn'      one part, one server
//	go test -run Differential -seed 7     the same random frames once more
//
// What is asked:
//
//   - h2spec_test.go: the suites of h2spec, plain and over TLS; the reference is net/http's server.
//   - interop_test.go: the interoperability cases of gRPC.
//   - metadata, status, size, compress, stream, ping and stop_test.go: what grpc-go's client sees,
//     and what only single frames can show.
//   - hostile_test.go: enemies. While one is at work memory stays bounded and another client is
//     served; afterwards the server has closed the connection or goes on with it, and when it
//     is stopped no goroutine is left.
//   - differential_test.go: random frames that are allowed, sent to both servers; what becomes of
//     each stream must be the same.
//   - product_test.go: etcd's client against the product.
//
// It is a module of its own, so that h2spec and the interoperability tests, and what those need,
// are no dependencies of the product.
package conform
