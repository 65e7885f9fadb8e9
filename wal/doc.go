// Package wal is the raft log on disk: entries and hard states, appended in batches, each batch
// with one write and one sync; read back at the start and for followers that are behind.
//
// # Use
//
// One goroutine, the owner, writes; another may run the background step; anybody may read:
//
//	w, err := wal.Open(fs, dir, wal.Options{Metadata: identity})
//	for {                               // the owner
//		w.Append(hs, entries)       // encodes, writes nothing
//		w.Flush(true)               // one WriteAt, one SyncData: now it may be acknowledged
//		w.Truncate(checkpointIndex) // now and then
//	}
//	w.Prepare()                         // the background step, every few ms, elsewhere
//
// An error of Flush is final: the log is poisoned, the owner ends the process. After a failed sync
// nobody knows what is on disk, so it is never retried. The exception is [vfs.ErrNoSpace] before
// a byte of the batch was written: the batch stays in memory, and a later Flush may succeed.
//
// # Files
//
// The log is a row of segments with consecutive numbers. Each is a file named by its number,
// written from the front, of 64 MiB unless one batch is larger. Space is zero-filled before it is
// used, so that a sync writes data and no metadata; a segment that is no longer needed becomes a
// spare, and later the next segment, by being renamed.
//
//	00000000000000a7.wal   sealed: complete, and its successor's header says where it ends
//	00000000000000a8.wal   the last one: written now
//	00000000000000a9.wal   prepared: zeros, or what was in it before; no header yet
//	00000000000000a5.spare waits to become 00000000000000aa.wal
//
// # Records
//
// All integers are little-endian. A record starts at a multiple of 8 and is padded with zeros to
// one.
//
//	0        4        8        12       16     17    18      20       24
//	+--------+--------+--------+--------+------+-----+-------+--------+-----------+-----+
//	| crc    | prev   | length | synced | type | sub | zero  | head   | payload   | pad |
//	+--------+--------+--------+--------+------+-----+-------+--------+-----------+-----+
//
//	head    CRC-32C of bytes 4 to 19, seeded by the segment's number and the record's offset
//	crc     CRC-32C of payload and pad, continued from head
//	prev    crc of the record before it in this segment; 0 in the first: the chain
//	length  bytes of payload
//	synced  offset in this segment below which everything was durable when this was written
//	sub     type of a raft entry
//
//	type      payload
//	segment   magic u64, version u32, flags u32, number u64, base index u64, base term u64,
//	          end of the segment before u64, its last crc u32, length of metadata u32,
//	          hard state (term u64, vote u64, commit u64), metadata
//	entry     index u64, term u64, data
//	state     term u64, vote u64, commit u64
//	reset     index u64, term u64: the log is empty and begins after index
//	mark      nothing: it carries synced
//
// A segment begins with a segment record, so that all segments before it can go: it repeats the
// metadata and the hard state, and the index and term of the last entry before it. An entry with an
// index that exists replaces it and all that follow, as raft does.
//
// Since the number of the segment seeds the check, records that a recycled file still holds never
// pass, at any place.
//
// # Torn tail or damage
//
// After a power failure the last segment may end in a batch of which any part reached the disk.
// Such a tail was never acknowledged and is cut. A record that was acknowledged and fails its
// check now is damage, and Open refuses it with a [*CorruptError]: to cut there would lose data
// silently.
//
//   - In a sealed segment every byte up to the end that its successor's header names was synced
//     before that header was written. Whatever fails there is damage.
//   - In the last segment, the first record that fails at offset X ends the log, and the rest is
//     searched for records that pass their own checks (which need no chain). If one of them says
//     synced > X, the record at X was durable once: damage. If none does, no later write began
//     after a sync that covered X: a torn tail.
//   - The tail is cut by zeroing what passes its check in it, durably, before anything is appended:
//     records of the past must not vouch for records of the future.
//
// So one flipped bit is found wherever it strikes, but for the last synced batch as long as
// nothing was written after it: there it looks like a torn write. [WAL.Mark], called
// after each sync, closes the gap for a process that ends; a power failure may lose the mark.
// Close closes it always. What the log itself cannot tell is the removal of its newest files: its
// owner compares it with what it led to.
//
// Opening writes the unproven end of the last segment once more and syncs it: it may be there in
// the page cache alone, left by a process that was killed, or whose sync failed.
package wal
