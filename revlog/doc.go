// Package revlog keeps every version of every key on disk: records in the order of their revisions,
// appended to segments, read through memory mappings. What it stores is the wire encoding of a
// KeyValue, so that answers are copied from the page cache.
//
// # Contract
//
// The log is not the truth: the owner's write-ahead log is. Nothing is synced per write. From
// time to time the owner takes a [Mark], calls [Log.Sync], and writes a checkpoint with the
// mark. After a crash [Open] cuts the log at the checkpoint's mark, and the owner appends again
// what came later. So the log promises one thing: what lies before the mark of a checkpoint is
// there, whole, or an error says which file is damaged where.
//
//	applier:     Append* Flush ... Mark        (one goroutine; one write a batch)
//	checkpoint:  Sync, then the checkpoint is written                (beside the above)
//	background:  Prepare, ReclaimStep                                (beside the above)
//	readers:     Pin, look up a position in the index, Read, Release (without locks)
//	             Scan
//
// # On disk
//
// A directory holds files named <first>-<last>.<generation>.seg, hexadecimal: the sequence
// numbers of the segments that the file covers, and how often they were rewritten. A new segment
// covers itself, in generation 0. Integers are little-endian, checksums CRC-32C.
//
//	        +--------------------------------------------------------------------+
//	 0      | "CAIRNRVL" | version u16 | 64 u16 | generation u32 | log id u64     |
//	24      | first u64  | last u64    | zeros                  | crc of 0-60    |
//	        +--------------------------------------------------------------------+
//	64      | crc u32 | length u32 | main u64 | sub u32 | flags u32 | KeyValue |0| record,
//	        | ...                                                                | 8-aligned
//	        +--------------------------------------------------------------------+
//	end     | main u64 | offset u64 |  ... an entry per 64 KiB                   | footer of a
//	        +--------------------------------------------------------------------+ sealed file
//	size-80 | end u32 | entries u32 | records u64 | put bytes u64 | tomb bytes u64|
//	        | first main u64 | last main u64 | first sub u32 | last sub u32      |
//	        | clean u64 | zeros u64 | crc of the footer u32 | "REND"             |
//	        +--------------------------------------------------------------------+
//
// A record's crc covers all of it behind the crc, padding too, and starts from the crc of the
// file's header xor the record's offset: bytes of another file, of an earlier generation or from
// another place never pass. The length is checked against the end before it is used.
//
// The last file is active: allocated ahead, mapped once, written at its end. When it is full,
// the next one, which [Log.Prepare] has made, takes over; the next Sync writes the full one's
// footer. In memory each file keeps the footer's table, which serves seeks. Small logs use small
// segments.
//
// # Reclaim
//
// The index tells by [Log.Dead] which records no one will ask for after a compaction.
// [Log.ReclaimStep] rewrites the files that hold many: the records that stay are copied to a
// temporary file, in bounded pieces; it is synced and read back; it waits at a gate (below); it
// is renamed and the directory is synced; the index is told the new positions, in bounded
// pieces; the old files' names are removed; they are unmapped when the last pin from before is
// released. Neighbours that together are smaller than a segment are merged into one file that
// covers the union.
//
// A crash leaves, and Open finds,
//
//   - before the rename is durable: the old files, perhaps a temporary one, which goes;
//   - after: the new file, which is complete, and perhaps old ones. A file whose interval lies
//     in another file's of a higher generation goes. So no list of files is needed;
//   - files of segments behind the mark: they go. Their numbers are used again only when
//     that is durable.
//
// The gate. Let C be the newest compaction from which an answer of Index.Alive may come. The
// rename is done only when the checkpoint that a restart would choose has a compact revision of
// at least C: that restart finds the same records superfluous, and asks for none of them. And
// only files before the segment of its mark are rewritten: Open can cut at it.
//
// Tombstones. At a restart the index is built from a scan, in which a tombstone hides the older
// versions of its key. So a dead tombstone may go only when no older version can be on disk.
// Each file has a revision up to which it is clean: superseded puts up to it are not in it. That
// is the compaction that the index had finished when the file was last rewritten, or, for a file
// without any dead put, the one that it has finished now. A rewrite drops the dead tombstones up
// to the least clean revision of all older files, and never more than what was finished when it
// began, since what dies while it copies may have been copied. Other dead tombstones are kept,
// and do not count as something to gain. When they exceed a share of the log, a sweep rewrites
// the unclean files from the oldest on; deaths during the sweep do not hold it up.
//
// Choice. First the file with the largest share to gain, if that is a quarter at least; then a
// sweep if one is due; then the cheapest merge. A full disk is no error: the temporary file
// goes, and smaller rewrites are tried after a number of steps that doubles.
//
// Why so: a list of files in one more file would be one more thing to keep right at every crash
// point; names say it all. A file of offsets by revision beside each segment would be 8 bytes a
// record on disk and in the page cache for what a table entry per 64 KiB does. A sweep is due at
// 1/16 and not later, since with the quarter of reclaimShare a log must stay below 1.5 times its
// live data.
//
// # Damage
//
// [Salvage] makes a log of what lies before the damage, a state of an earlier revision that a
// snapshot can continue, and keeps the rest as [Donors] of payloads. The file in which the cut lies
// is copied up to it under the name of a fresh segment; the old file and all later ones are moved
// away first, so that at each moment the names make a log that is whole up to a gap. The clean
// revisions of the files that stay may be above the cut. They stay true, since what was put
// before the cut and is not superseded up to that revision by the whole history, is not by what
// a snapshot brings; where it ends a key on its own, it does so behind them (mvcc.Store.Graft).
//
// # Readers
//
// A [Pin] is a counter of the present epoch. A file that was replaced stays mapped for two epochs,
// and an epoch ends only when the pins of the one before are released. Reading takes no lock: the
// list of files is an immutable value behind an atomic pointer.
//
// A page that the disk cannot deliver raises a fault in the mapping; while the log itself reads it
// becomes a *CorruptError.
package revlog
