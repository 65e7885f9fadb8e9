// Package sim runs a whole cluster in one thread, from one seed: members made of the product's own
// code, on a simulated network, simulated disks and clocks, under simulated clients, while faults
// of all kinds come over them. Then it holds what the clients saw against what was promised
// (package check). Equal options give equal runs, event by event.
//
//	r := sim.Run(sim.Draw(seed), os.Stdout)
//	if r.Failure != nil { ... sim.Shrink(r.Options, ...) }
//
// # What is real
//
// A member is package server with everything below it: boot, node, state, mvcc, watch, upkeep, wal,
// revlog, checkpoints, snapshots, repair, membership, and package peer on both sides of the wire.
// It is told that its files, its clock, its goroutines and its connections are others
// (server.World), and nothing else. Not in the simulation: gRPC and HTTP themselves, TLS, package
// transport, whose promise the simulated network keeps (messages may be lost; proposals are never
// doubled), and package v3, whose backend the clients call.
//
// # How
//
// Time stands still while something happens. The loop takes what is due next: an event (a message
// arrives, a fault begins), or a member's timer. Its tasks ([host]) are coroutines: each runs until
// it waits, one after the other, from a random one on. Syncs of the raft log and of checkpoints
// take time, in which the rest of the member goes on. All choices come from generators that the
// seed starts, raft's too ([seedEntropy]).
//
//	sim.go, sched.go                  the loop; tasks
//	member.go, disk.go                a machine: process, files, clock
//	network.go, exchange.go           messages between members; requests between them
//	client.go                         what clients do: kv.go, watch.go, tenant.go, holder.go,
//	                                  lock.go, scribe.go (notebook.go knows the answers)
//	nemesis.go, kinds.go, operator.go faults; changes of the membership
//	truth.go, tables.go, verdict.go   what has happened; was it right
//	options.go, shrink.go             which run; a smaller one that fails alike
package sim
