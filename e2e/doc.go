// Package e2e tests Cairn from outside: the binary as users get it, run as a process, used through
// etcd's own Go client.
//
// TestKill ends the process with SIGKILL again and again while writers write and watchers watch,
// and then holds everything that anybody was told against what the server has: no acknowledged
// write may be lost, no revision may come twice, and each watch must have seen the whole history
// once, in order. The number of kills is a flag:
//
//	go test ./e2e -kills 50 -v
//
// The program in bigdata loads a million keys, overwrites and compacts them, and measures how the
// data directory shrinks by itself and how long the longest put took meanwhile:
//
//	go run ./e2e/bigdata
//	go run ./e2e/bigdata -server /path/to/etcd -compare
//
// Both take any server with etcd's flags.
package e2e
