package revlog

import (
	"testing"

	"github.com/cairnkv/cairn"
	"github.com/cairnkv/cairn/vfs"
)

func TestNewest(t *testing.T) {
	opts := Options{SegmentBytes: MinSegmentBytes}
	newest := func(fs vfs.FS, from Mark) int64 {
		t.Helper()
		rev, err := Newest(fs, "log", opts, from)
		if err != nil {
			t.Fatal(err)
		}
		return rev
	}
	fs := vfs.NewMem()
	if got := newest(fs, Mark{}); got != 0 {
		t.Fatalf("no directory: %d", got)
	}
	l, err := Open(fs, "log", opts, Mark{})
	if err != nil {
		t.Fatal(err)
	}
	add := func(from, to int64) {
		t.Helper()
		for main := from; main <= to; main++ {
			rev := cairn.Revision{Main: main}
			if _, err := l.Append(rev, false, make([]byte, 500)); err != nil {
				t.Fatal(err)
			}
		}
		if err := l.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	add(2, 40)
	mark := l.Mark()
	if err := l.Sync(); err != nil {
		t.Fatal(err)
	}
	if got := newest(fs, mark); got != 0 {
		t.Fatalf("nothing behind the mark: %d", got)
	}
	add(41, 300) // several segments
	at := l.Mark()
	add(301, 302)
	if got := newest(fs, mark); got != 302 {
		t.Fatalf("newest: %d", got)
	}
	if got := newest(fs, Mark{}); got != 302 {
		t.Fatalf("newest from the start: %d", got)
	}
	name := l.path(ident{lo: at.Segment, hi: at.Segment}.name())
	if err := vfs.Flip(fs, name, at.Offset+30, 1); err != nil {
		t.Fatal(err)
	}
	if got := newest(fs, mark); got != 300 {
		t.Fatalf("newest before a damaged record: %d", got)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if l, err = Open(fs, "log", opts, mark); err != nil {
		t.Fatal(err)
	}
	if got := newest(fs, mark); got != 0 {
		t.Fatalf("after the log was cut: %d", got)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}
