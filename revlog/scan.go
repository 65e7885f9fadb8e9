package revlog

import "github.com/cairnkv/cairn"

// Scan calls fn with the records from revision from on up to main revision to (inclusive), in
// order, until fn returns false or an error, which Scan returns. It sees what was flushed before
// the call, and perhaps more. It seeks, and reads no more than 64 KiB before the first record.
//
// Records that nobody can want any more may be missing, and records that the index has dropped
// may be there. pos is where the record was found; a record that is being moved has two places,
// so compare records by revision. pos and r are valid during the call and as long as the caller
// holds a pin of its own. Any goroutine. Errors: *CorruptError.
func (l *Log) Scan(from cairn.Revision, to int64,
	fn func(pos Pos, r Record) (more bool, err error)) error {
	pin := l.Pin()
	defer pin.Release()
	files := l.view.Load().files
	var prev cairn.Revision
	for i, f := range files {
		frozen := i < len(files)-1
		if frozen && (f.records.Load() == 0 || f.last.Less(from)) {
			continue
		}
		if frozen && f.first.Main > to {
			return nil
		}
		more, err := f.scan(from, to, prev, frozen, fn)
		if err != nil || !more {
			return err
		}
		if frozen {
			prev = f.last
		}
	}
	return nil
}

// scan is Scan of one file. more says whether the next file may have something.
func (f *file) scan(from cairn.Revision, to int64, prev cairn.Revision, frozen bool,
	fn func(pos Pos, r Record) (bool, error)) (more bool, err error) {
	end := f.end.Load()
	more = true
	last := prev
	_, err = f.walk(f.seek(from.Main), end, prev, func(off, size int64, r Record) (bool, error) {
		last = r.Rev
		if r.Rev.Less(from) {
			return true, nil
		}
		if r.Rev.Main > to {
			more = false
			return false, nil
		}
		more, err = fn(makePos(f, off, size, r.Tombstone), r)
		return more, err
	})
	if err != nil || !more {
		return false, err
	}
	if frozen && last != f.last {
		return false, f.corrupt(end, "the last record is not the one that the footer names")
	}
	return true, nil
}

// read is record under the guard against pages that cannot be read.
func (f *file) read(off, end int64) (r Record, size int64, err error) {
	err = f.guarded(&off, func() error {
		r, size, err = f.record(off, end)
		return err
	})
	return r, size, err
}
