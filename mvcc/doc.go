// Package mvcc is the store's data: every key with every version that is not compacted, addressed
// by revision. It joins the key index in memory (package index) and the records on disk (package
// revlog), and gives them etcd's meaning: transactions, reads at any revision, compaction,
// events, hash.
//
// # The applier's loop
//
//	tx := store.Begin()            // one at a time
//	tx.Put / tx.Delete / reads     // reads see the transaction's own writes
//	tx.End()                       // takes the next main revision if something was written
//	...                            // more transactions
//	rev, events, err := store.Publish()  // one write to the log; now readers see all of them
//
// These and Compact belong to one goroutine. An error of Put, Delete or Publish means that memory
// and log may differ: the process must end, and nothing since the last Publish may be shown.
//
// # Readers
//
// A version is put into the index in place, while readers look: a reader at revision R takes of
// each key the newest version that is not above R, so what is not published cannot be seen. No
// reader ever holds the index's lock for more than chunkKeys keys, and copies records outside of
// it. What keeps a read whole in the meantime are two pins: the log's, under which no segment goes;
// and a mark in the store that holds back the index work of later compactions.
//
//	View            both pins until Close: any number of reads at one revision
//	AppendRange     a whole RangeResponse; a single key needs one look and no mark
//	StreamRange     a response in pieces; nothing is held between them, so that a slow client
//	                holds up nothing; a compaction may end it, as in etcd
//
// # Replies
//
// A record's payload is the wire encoding of mvccpb.KeyValue. A reply is a header and copies of
// payloads; only keys_only replies encode anything.
//
// # Compaction
//
// Compact(C) takes effect with the next Publish: reads below C are refused. The work in the index
// is done by CompactStep, in bounded steps: of each key stays the newest version that is not above
// C, unless that is a tombstone below C (one at C stays until the next compaction, so that a watch
// from C sees it: etcd since 3.5.16), and all above C. The log gives the space back by
// ReclaimStep.
//
// # Snapshots
//
// View.Retained is what another member needs of this store, View.RetainedSince what it needs beyond
// what it has. Graft adds that to its store while readers go on (package snapshot carries it).
package mvcc
