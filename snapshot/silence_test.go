package snapshot

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/cairnkv/cairn/mvcc"
	"github.com/cairnkv/cairn/revlog"
	"github.com/cairnkv/cairn/vfs"
)

// counter counts writes.
type counter int

func (c *counter) Write(p []byte) (int, error) {
	*c++
	return len(p), nil
}

// TestNoSilence: a receiver that has all of many large versions hears something all the time while
// they are read, though they are only named.
func TestNoSilence(t *testing.T) {
	log, err := revlog.Open(vfs.NewMem(), "/revlog", revlog.Options{}, revlog.Mark{})
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	s, err := mvcc.Open(log, mvcc.FirstRev, mvcc.NeverCompacted)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 100 {
		tx := s.Begin()
		if _, _, err := tx.Put(fmt.Appendf(nil, "k%d", i), bytes.Repeat([]byte{1}, 1<<10),
			0); err != nil {
			t.Fatal(err)
		}
		tx.End()
		if _, _, err := s.Publish(); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Compact(s.Rev()); err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.Publish(); err != nil {
		t.Fatal(err)
	}
	var out counter
	_, err = Send(t.Context(), &out, Source{View: s.View()},
		Have{Base: s.Rev() - 1, CompactRev: mvcc.NeverCompacted}, Limits{scanBytes: 10 << 10})
	if err != nil || out < 9 {
		t.Errorf("%d writes while 100 KiB were read, 10 KiB at once at most; %v", out, err)
	}
}
