// Package snapshot brings the data of one member to another that lacks the log entries between:
// incrementally, by revision. Files of two members are never the same bytes, for each reclaims
// space on its own; but the history is: a member that has applied revision B holds exactly the
// records of every other one up to B, save for what compactions took away. So the receiver says
// what it holds, the sender streams the rest, and it is grafted onto the running store.
//
// # The caller's loops
//
//	sender:    view := store.View() beside an image of the small tables, at one moment
//	           Send(ctx, connection, Source{..., View: view}, have, limits)
//
//	receiver:  in := Open(fs, dir, options)           // finds what an earlier try has left
//	           have := in.Have(store.Rev(), store.CompactRev())    // to the sender
//	           in.Receive(ctx, connection)            // broken? again from Have
//	           in.Graft(store); tables of in.Image(); log.Sync; checkpoint; in.Remove()
//	           watch hub: Jump(store.Rev())
//
// Until the checkpoint a restart cuts the log where it was, and grafts again. Graft is the
// applier's; all else may go on beside it.
//
// # The stream
//
// Frames, integers little-endian, at most maxFrameBytes or one record:
//
//	+------------+---------+---------+---------+
//	| length u32 | crc u32 | kind u8 | payload |   length: of kind and payload
//	+------------+---------+---------+---------+
//
// The crc is CRC-32C over length, kind and payload, and starts from the crc of the frame before, a
// header's from 0: frames that do not follow each other never pass.
//
//	header    version u16, index u64, term u64, revision R, compact revision C, base B,
//	          bytes of the image u64
//	kept      only if C > B: revisions of the puts up to B that C left (mvcc.AppendRevision)
//	records   those above B that C left: main, sub, flags, length, payload; the first four are
//	          varints, main as distance to the record before in the frame, sub too if that is 0.
//	          Where the receiver has a donor, the payload is only its crc u32
//	tally     how many were kept, records, their bytes, and a checksum over all of that
//	image     a piece of the image, opaque
//	end       crc u32 of the image
//
// The image comes last, since a stream that breaks must bring it anew: nothing else is sent twice.
//
// # Staging
//
// What arrives is checked and appended to one file: a section for each stream. The last one may be
// cut anywhere; its records are whole up to a revision X, and the next stream is asked for with
// the base X. A section is never followed by one of an older sender. If the store has come further
// by itself in the meantime, what it has is passed over; if it is not the store that was
// asked for, the staging is dropped.
//
// # Donors
//
// A member with damage in its log keeps what lies before it (revlog.Salvage), and the files behind
// as donors of payloads: Have names their revisions, the sender leaves these payloads out, and
// Receive puts them in from the donors before anything is staged.
package snapshot
