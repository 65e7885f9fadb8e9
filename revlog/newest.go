package revlog

import (
	"cmp"
	"errors"
	"io/fs"
	"slices"

	"github.com/cairnkv/cairn/vfs"
)

// Newest is the main revision of the newest whole record of the log in dir from the mark on, 0 if
// there is none. It changes nothing; call it before Open, which drops those records.
//
// A record is written only after the owner's own log was durable, so a log that ends before this
// revision has lost something. That a record is not there proves nothing: it need not be durable.
func Newest(fsys vfs.FS, dir string, opts Options, from Mark) (int64, error) {
	ids, _, err := listDir(fsys, dir)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	ids = slices.DeleteFunc(ids, func(id ident) bool { return id.lo < from.Segment })
	slices.SortFunc(ids, func(a, b ident) int { return cmp.Compare(a.lo, b.lo) })
	var newest int64
	for _, id := range ids {
		off := int64(headerBytes)
		if id.lo == from.Segment {
			off = from.Offset
		}
		rev, err := newestIn(fsys, dir, id, opts.LogID, off)
		if err != nil {
			return 0, err
		}
		newest = max(newest, rev)
	}
	return newest, nil
}

// newestIn reads a file's records from off on as far as they are whole.
func newestIn(fsys vfs.FS, dir string, id ident, logID uint64, off int64) (int64, error) {
	f, err := mapAny(fsys, dir, id)
	if err != nil {
		return 0, err
	}
	var newest int64
	at := off
	err = f.guarded(&at, func() error {
		h, seed, reason, err := decodeHeader(f.data)
		if reason != "" || err != nil || h.logID != logID {
			return nil // Open tells what is wrong with it
		}
		for at < f.size {
			r, size, reason := decodeRecord(f.data[at:], seed, at)
			if reason != "" {
				return nil
			}
			newest = max(newest, r.Rev.Main)
			at += size
		}
		return nil
	})
	if _, damaged := errors.AsType[*CorruptError](err); damaged {
		err = nil // an unreadable page: what is behind it proves nothing
	}
	return newest, errors.Join(err, f.mapping.Unmap())
}
