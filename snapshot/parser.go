package snapshot

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"github.com/cairnkv/cairn"
	"github.com/cairnkv/cairn/mvcc"
	"github.com/cairnkv/cairn/revlog"
)

// parser follows the frames of one stream and holds them against the format and each other.
type parser struct {
	h    Header
	seen kind // the last kind; 0 before the header
	tally
	last  cairn.Revision // of the kept ones, then of the records
	image int64          // bytes of it
	sum   uint32         // of the image

	// resolve fills in the payload that was left out; nil if none may be.
	resolve func(r *record) error
	// record is called with each record, if it is not nil; KV is valid during the call.
	record func(r *record) error
}

// frame takes the next frame.
func (p *parser) frame(k kind, payload []byte) (err error) {
	if !p.follows(k) {
		return fmt.Errorf("%w: a frame of kind %d after one of kind %d", ErrFormat, k, p.seen)
	}
	switch k {
	case kindHeader:
		p.h, err = decodeHeader(payload)
	case kindKept:
		err = p.keepAll(payload)
	case kindRecords:
		if p.seen != kindRecords {
			p.last = cairn.Revision{Main: p.h.Base + 1, Sub: -1}
			p.seen = kindRecords // of what is written while the frame is read, too
		}
		err = p.records(payload)
	case kindTally:
		if string(payload) != string(p.tally.append(nil)) {
			err = fmt.Errorf("%w: it counts other records than came", ErrFormat)
		}
	case kindImage:
		p.image += int64(len(payload))
		p.sum = crc32.Update(p.sum, castagnoli, payload)
	case kindEnd:
		if len(payload) != endBytes || p.image != p.h.ImageBytes ||
			binary.LittleEndian.Uint32(payload) != p.sum {
			err = fmt.Errorf("%w: the image is not what was sent", ErrFormat)
		}
	}
	if err == nil {
		p.seen = k
	}
	return err
}

// follows says whether a kind may come now.
func (p *parser) follows(k kind) bool {
	switch p.seen {
	case 0:
		return k == kindHeader
	case kindHeader, kindKept:
		return k == kindKept && p.h.CompactRev > p.h.Base || k == kindRecords || k == kindTally
	case kindRecords:
		return k == kindRecords || k == kindTally
	case kindTally, kindImage:
		return k == kindImage || k == kindEnd
	}
	return false
}

func (p *parser) keepAll(b []byte) error {
	return eachKept(b, p.last, func(rev cairn.Revision) error {
		if rev.Main > p.h.Base {
			return fmt.Errorf("%w: a kept revision %d above the base %d",
				ErrFormat, rev.Main, p.h.Base)
		}
		p.last = rev
		p.keep(rev)
		return nil
	})
}

// eachKept calls fn with the revisions in a frame.
func eachKept(b []byte, prev cairn.Revision, fn func(rev cairn.Revision) error) error {
	for len(b) > 0 {
		rev, n, err := mvcc.ReadRevision(b, prev)
		if err != nil {
			return fmt.Errorf("%w: kept: %w", ErrFormat, err)
		}
		if err := fn(rev); err != nil {
			return err
		}
		prev, b = rev, b[n:]
	}
	return nil
}

func (p *parser) records(b []byte) error {
	return eachRecord(b, func(r *record) error {
		if !p.last.Less(r.Rev) || r.Rev.Main > p.h.Rev {
			return fmt.Errorf("%w: record %d.%d after %d.%d, of a snapshot of %d",
				ErrFormat, r.Rev.Main, r.Rev.Sub, p.last.Main, p.last.Sub, p.h.Rev)
		}
		if r.omitted {
			if p.resolve == nil {
				return fmt.Errorf("%w: record %d.%d has no payload",
					ErrFormat, r.Rev.Main, r.Rev.Sub)
			}
			if err := p.resolve(r); err != nil {
				return err
			}
		}
		p.last = r.Rev
		p.tally.record(&r.Record)
		if p.record == nil {
			return nil
		}
		return p.record(r)
	})
}

// eachRecord calls fn with the records in a frame.
func eachRecord(b []byte, fn func(r *record) error) error {
	var r record
	for len(b) > 0 {
		var err error
		if r, b, err = takeRecord(b, r.Rev); err != nil {
			return err
		}
		if err := fn(&r); err != nil {
			return err
		}
	}
	return nil
}

// whole is the revision up to which all records have come.
func (p *parser) whole() int64 {
	switch {
	case p.seen >= kindTally:
		return p.h.Rev
	case p.seen == kindRecords:
		return p.last.Main - 1
	}
	return p.h.Base
}

// batch collects the records of a frame.
type batch struct {
	limit   int // size of payload at which it is full
	payload []byte
	prev    cairn.Revision
}

// add adds a record. flush gets the payload of each frame that is full.
func (b *batch) add(r *record, flush func(payload []byte) error) error {
	if len(b.payload) > 0 && len(b.payload)+len(r.KV)+maxRecordHeaderBytes > maxFrameBytes {
		if err := b.flush(flush); err != nil {
			return err
		}
	}
	b.payload = appendRecord(b.payload, b.prev, r)
	b.prev = r.Rev
	if len(b.payload) >= b.limit {
		return b.flush(flush)
	}
	return nil
}

// flush gives away what is collected.
func (b *batch) flush(flush func(payload []byte) error) error {
	if len(b.payload) == 0 {
		return nil
	}
	err := flush(b.payload)
	b.payload, b.prev = b.payload[:0], cairn.Revision{}
	if cap(b.payload) > keptBufferBytes {
		b.payload = nil
	}
	return err
}

// Have is what a receiver tells the sender.
type Have struct {
	Base       int64 // revision up to which it needs nothing
	CompactRev int64 // the sender's must not be below
	// Donors are revisions of which it may have payloads, in order.
	Donors []revlog.Interval
}

// maxDonors bounds the intervals of a Have.
const maxDonors = 4096

// AppendTo appends the encoding.
func (h Have) AppendTo(dst []byte) []byte {
	dst = binary.LittleEndian.AppendUint64(dst, uint64(h.Base))
	dst = binary.LittleEndian.AppendUint64(dst, uint64(h.CompactRev))
	for _, d := range h.Donors[:min(len(h.Donors), maxDonors)] {
		dst = binary.LittleEndian.AppendUint64(dst, uint64(d.First))
		dst = binary.LittleEndian.AppendUint64(dst, uint64(d.Last))
	}
	return dst
}

// DecodeHave reads what AppendTo appended.
func DecodeHave(b []byte) (h Have, err error) {
	const pair = 16
	if len(b) < pair || len(b)%pair != 0 || len(b) > pair*(1+maxDonors) {
		return h, fmt.Errorf("%w: a request of %d bytes", ErrFormat, len(b))
	}
	two := func() (x, y int64) {
		x = int64(binary.LittleEndian.Uint64(b))
		y = int64(binary.LittleEndian.Uint64(b[8:]))
		b = b[pair:]
		return x, y
	}
	h.Base, h.CompactRev = two()
	last := int64(0)
	for len(b) > 0 {
		var d revlog.Interval
		d.First, d.Last = two()
		if d.First <= last || d.Last < d.First {
			return h, fmt.Errorf("%w: donors out of order", ErrFormat)
		}
		last = d.Last
		h.Donors = append(h.Donors, d)
	}
	if h.Base < mvcc.FirstRev {
		return h, fmt.Errorf("%w: a base of %d", ErrFormat, h.Base)
	}
	return h, nil
}
