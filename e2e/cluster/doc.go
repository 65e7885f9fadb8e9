// Package cluster tests clusters of real processes, from outside, while members are killed, paused
// and cut off: what was acknowledged may not be lost, what was read must have been true, and the
// service has to come back.
//
// Each member is a process with its own ports and directory, and a proxy of internal/link in front
// of its peer port. On Linux the proxy learns who dials from /proc, elsewhere from what is said.
//
// TestFaults lets one fault after the other come over a cluster under load (Faults names all), and
// then checks
//
//   - every answer against the history at the revision that it names (Timeline.CheckStates), and
//     revisions against time (Order): together, linearizability of the whole store;
//   - the same once more for each key with porcupine, which knows nothing of revisions' order
//     between keys (Registers), and draws what it cannot explain;
//   - that each acknowledged write is in the history, once (check.Ledger);
//   - that a watch on each member saw all of the history once, in order, with what was before;
//   - that no lease ended before the time that its last answered renewal promised, that abandoned
//     ones end, and that a lock never had two holders at one revision;
//   - that members without a quorum answer no linearizable read, that a minority's fault is over
//     for clients within seconds, and that all members have the same hash at the end.
//
// TestCatchUp takes a member away until the others' logs no longer reach back to it, wipes its
// disk, and damages a file of it. TestGrow grows a cluster, replaces every member and shrinks it,
// and demands that no request of a client with all endpoints needs more than one retry.
//
// TestKnown has a subtest for each bug that etcd's robustness tests have reproduced, named after
// its issue: it does to real processes what made the bug come out (crashes in the midst of writes,
// rewrites and compactions; snapshots that are cut off; watches that nobody reads, that are behind
// or ahead; compactions at deletes; a leader that is paused), and checks what the bug broke. Some
// have teeth only where a process loses with its life what it has not synced, as a machine does:
// etcd-13766, 14370, 14685 and 17780 are run once more with a server that was built with -tags
// faults, and CAIRN_HOLD_UNSYNCED=1. Watches are read from gRPC's streams, without etcd's client,
// so that the test decides when they are read; their histories are held against the store's by
// check.Stream.
//
//	go test ./e2e/cluster -v                                  in little more than a minute
//	go test ./e2e/cluster -v -parallel 1 -timeout 30m -run Faults -duration 10m -members 5
//	go test ./e2e/cluster -v -parallel 1 -run 'CatchUp|Grow' -writes 200000 -grown 5
//	go test ./e2e/cluster -v -run Faults -fault 'isolate the leader'
//	go test ./e2e/cluster -v -run TestKnown/etcd-17780        one known bug; -rounds 50 for long
//	go test ./e2e/cluster -v -server-binary /path/to/etcd     another server with etcd's flags
//
// A seed decides on faults, their order and the load, but not on the moments that processes meet:
// the same seed repeats the same plan. A test that fails names the directory with the members' data
// and logs, which it keeps.
package cluster
