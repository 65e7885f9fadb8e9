// Package difftest sends the same random operations to two servers that speak etcd's v3 API, real
// etcd 3.7.3 and Cairn, and demands the same answers: every field of every response, every
// error's code and text, every event of every watch, every hash.
//
// Real etcd, etcdctl and etcdutl are built from the Go module proxy as tools of this module, and
// Cairn from the parent directory, so that the product itself never depends on etcd's server:
//
//	go test ./...                             the default: 20,000 operations over several seeds
//	go test -run Random -seed 7 -ops 100000   a longer hunt that starts at one seed
//	go test -run Replay -replay failure.txt   once more the script that a failure left behind
//	go test -sut etcd         ./...             etcd against itself: checks the checker
//	go test -run Replay/members -keep-going     all differences of one script, not the first
//	go run ./compare -quick                     rate, latency and costs of both; see compare
//
// The binaries of etcd stay in the user's cache directory (DIFFTEST_CACHE names another);
// DIFFTEST_CAIRN names a binary of Cairn to use instead of one that is built here.
//
// # How a run works
//
// A seed makes a script: a list of operations (op.go) that a file can hold, one a line. Revisions,
// lease ids picked by the server and member ids are symbols in a script ($rev-3, $lease2, $self),
// resolved when the operation is sent, so that a script keeps its meaning when lines are removed.
//
//	script ─> runner ─┬─> side A: process, connection, watch streams ─┐
//	                  └─> side B: process, connection, watch streams ─┴─> compare
//
// Each operation goes to both sides at once, and the next is sent when both have answered. What
// may rightly differ (ids, terms, raft indexes, sizes in bytes, ports) is put into a common form
// first (normalize.go); everything else must be equal.
//
// # Clusters
//
// A script that begins with "config members=3" runs on two clusters (cluster.go). Each operation
// goes to one member, at=2; before one that a member answers by what it has applied itself, all
// members catch up with the leader, which is the same one on both sides: the runner sees to that
// after each start and stop. Members have numbers: $m4 is the id of the one that "memberadd var=4"
// added, $peer4 its address, and "join at=4" starts it. A run in which a leader has changed without
// being asked to (the machine may be busy) is made once more before it counts.
//
// Watch events arrive when they like, so they are compared at barriers (barrier.go), which come
// before every operation whose outcome depends on how far a stream has got: compaction, cancelling
// a watch, asking for progress, a restart.
//
// A script that fails is cut down by delta debugging (shrink.go) on fresh servers until no line
// can be removed, then printed and written to a file.
//
// # What is not compared
//
// Cairn does not follow etcd 3.7.3 where that is plainly wrong, so scripts leave these out: a txn
// that deletes a range without an end and puts a key in it (gen_txn.go), and RangeStream with a
// sort target but no order (gen.go). Two things are compared on demand only: hashes of revisions
// that were compacted since the start (-compaction-hashes), and how the events of a watch are
// spread over responses (-strict-watch). Both hold for etcd against itself.
//
// Of clusters: memberupdate with peer URLs that are none (the other etcds end
// with a panic, Cairn refuses it), the order of alarms, which is random in etcd, and writes
// without a quorum unless they ask for a leader (etcd lets a change of members wait as long as the
// client does; a write ends with "context deadline exceeded", with "request timed out" in Cairn).
package difftest
