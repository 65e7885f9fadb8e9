// Package bench puts load on a cluster that speaks etcd's v3 API, and measures it. It works against
// etcd and Cairn alike; `cairn bench` is its face.
//
// # Contract
//
//	result, err := bench.Run(ctx, bench.Options{
//		Load:      bench.Put{Keys: bench.Keys{Size: 32, Space: 100_000}, ValueSize: 256},
//		Endpoints: []string{"127.0.0.1:2379"},
//		Conns: 10, Clients: 1000, Duration: 10 * time.Second,
//	})
//
// Clients make operations, each one after the other: a closed loop, as with etcd's own benchmark.
// An operation may be several requests (a software transaction, a lock). One that the server
// refuses is counted under what it said; a connection that is lost, or that brings what HTTP/2 does
// not allow, ends the run with an error.
//
// What counts: with Options.Total, so many operations after the warm-up, from their beginning to
// the last one's end; with Options.Duration, those that end within it, so that rate and processor
// time are those of a load that is under way.
//
// # Shape
//
// The generator must not be what is measured: it is to cost a few microseconds of processor time
// for an operation with many outstanding (the result tells how many). So there is one goroutine for
// each connection, and for a request there is neither goroutine nor channel, timer or context:
//
//	worker      one connection: fill -> flush -> read, in a loop. What one read brings is answered
//	            by one write
//	h2.Session  the frames, in place (package bench/h2)
//	plan        what the next message of a client is; made of a Load
//	run         when what begins, what counts, and when it is over
//
// Time is read when a read returns and when a write begins, not for each request: an operation's
// latency includes what passes between the arrival of its answer and the next read.
package bench
