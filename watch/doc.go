// Package watch is the hub between the store and its watchers: it fans applied events out to
// streams, and brings streams that are behind up to date by reading the store's history. It is
// etcd's watch (server/storage/mvcc/watchable_store.go and server/etcdserver/api/v3rpc/watch.go
// of 3.7.3) as seen from the wire, with other means.
//
// # Contract
//
// For every watcher, the events of its range that pass its filters, from its first revision on,
// are delivered once each, in revision order, after the response that says that the watcher was
// created. The events of one revision are never split over responses, unless the watcher asked
// for fragments. A response without events and with header revision R says: of the watcher (or,
// with watch id -1, of all watchers of the stream) everything up to R was sent before.
//
// # The two ways of an event
//
//	             applier                          owner of catch-up
//	                |                                    |
//	store -> Hub.Publish(rev, events)          Hub.Step: store.Changes(from, to)
//	                |                                    |
//	      index of synced watchers            index of watchers behind
//	                |  one body a group                  |
//	                v  and revision                      v
//	  stream: [body|body|ctl|body|...]  bounded by Options.StreamBytes
//	                |
//	             Stream.Take -> encoded WatchResponse messages -> connection
//
// Watchers with the same range, filters and prev_kv are one group. A group's events of one
// revision are encoded once, as a body (the response's events field); a body that is one event
// is shared by all groups. A stream's queue holds references to bodies, in order; the bytes are
// copied once, by Take, on the connection's goroutine. So the applier pays one lock and one
// append for a watcher and a Publish, and the memory of many slow streams on the same keys is
// that of one.
//
// A watcher is synced while all events up to the hub's revision are queued for it. If its stream
// has no room, it is behind from the revision that did not fit, and parked: it costs nothing
// until Take has made room. Then Step reads on from there in chunks of bounded size; watchers
// that are close to each other share a chunk, and move on together. A watcher with nothing left
// to read is synced again under the lock that Publish takes, so nothing falls between. A
// compaction that overtakes a watcher that is behind cancels it.
//
// # The caller's loops
//
//	applier:      rev, events, err := store.Publish();  hub.Publish(rev, events)
//	catch-up:     for range hub.Work() { for hub.Step() { } }
//	clock:        every 100 ms or so: hub.Tick(now)
//	connection:   s := hub.Open(header, wake);  on a request: s.Create, s.Cancel, s.Progress;
//	              when woken and when there is room to send: s.Take until there is no
//	              more; at the end: s.Close. While s.Congested it reads no more
//	              requests of the stream.
//
// The package starts no goroutine and reads the clock only when a stream is opened.
package watch
