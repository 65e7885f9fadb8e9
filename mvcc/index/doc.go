// Package index is the key index of the store: which versions every key has, and where their
// records lie. It is pure memory; values stay in the log.
//
// # Contract
//
// An [Index] has no lock. Methods that only read may run at once with each other; a method that
// changes excludes all others (package mvcc has the RWMutex, and bounds how long it is held). A
// key is named by an id while it is in the index: ids of keys that went are used again. Slices of
// key bytes alias the arena and are valid until that key goes, which only compaction makes
// happen.
//
// Versions are put in place, newest first, at revisions that only grow. A read at revision R takes
// the newest version that is not above R, so a reader needs no snapshot: what is above R is
// skipped. A tombstone is a version. [Index.CompactStep] takes away what no revision from the
// compacted one on can see, in bounded steps.
//
// # Without pointers
//
// Millions of keys are a few thousand objects for the garbage collector, none of which holds a
// pointer:
//
//	hash table: directory -> tables of 512 slots {hash 32, id 32}, split one at a time
//	ordered tree of ids: searched only when a key appears or goes
//	                  |
//	                  v id
//	entry, 64 bytes   create 64 | version 64 | main 64 | lease 64 | pos 64 | key 32 |
//	                  flags 8, key length 24 | sub 32 | older 32 | leaf 32
//	                  |                                     |
//	                  v key                                 v older
//	arena             key bytes, one list of                node, 32 bytes: main 64 | pos 64 |
//	                  slots per size class                  lease 64 | kind 2, sub 30 | older 32
//
// The tree is a B+ tree. Its nodes know how many of the keys below are there, and the newest
// revision of any: [Index.Count] looks only at keys that have changed since the revision read.
//
// Create revision and version of an older version follow from the newer one's: within one life of a
// key the create revision stays and the version counts down. Where a life ended, at a tombstone, a
// node of the kind "life" carries the two numbers of the life before; so it does where a snapshot
// left versions out ([Index.Graft]). Every 32 versions a node of the kind "skip" leads far ahead,
// so that a key with a million versions is no slow one.
package index
