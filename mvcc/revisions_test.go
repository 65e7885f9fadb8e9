package mvcc

import (
	"errors"
	"math/rand/v2"
	"testing"

	"github.com/cairnkv/cairn"
)

func TestRevisions(t *testing.T) {
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 12))
		t.Logf("seed %d", seed)
		var s Revisions
		in := map[cairn.Revision]bool{}
		var rev cairn.Revision
		for range r.IntN(1000) {
			if r.IntN(3) == 0 {
				rev.Sub += 1 + r.Int64N(3)
			} else {
				rev.Main += 1 + r.Int64N(1<<r.IntN(30))
				rev.Sub = r.Int64N(2)
			}
			if err := s.Add(rev); err != nil {
				t.Fatal(err)
			}
			in[rev] = true
		}
		if err := s.Add(rev); s.Len() > 0 && err == nil {
			t.Errorf("%v was added twice", rev)
		}
		if s.Len() != len(in) {
			t.Errorf("%d revisions, want %d", s.Len(), len(in))
		}
		for rev := range in {
			for _, near := range []cairn.Revision{
				rev, {Main: rev.Main, Sub: rev.Sub + 1}, {Main: rev.Main + 1}, {Main: rev.Main - 1},
			} {
				if s.Has(near) != in[near] {
					t.Fatalf("Has(%v) = %v", near, s.Has(near))
				}
			}
		}
	}
}

func TestGraftRefuses(t *testing.T) {
	b := newSuite(t, 3)
	for range 5 {
		tx := b.s.Begin()
		if _, _, err := tx.Put([]byte("k"), []byte("v"), 0); err != nil {
			t.Fatal(err)
		}
		tx.End()
	}
	if _, _, err := b.s.Publish(); err != nil {
		t.Fatal(err)
	}
	rev := b.s.Rev()
	for _, tt := range []struct {
		name     string
		sections []Section
		want     error
	}{
		{"nothing", nil, nil},
		{"an older revision", []Section{{Base: 1, Rev: rev - 1, CompactRev: 1}}, ErrStale},
		{"an older compaction", []Section{{Base: 1, Rev: rev, CompactRev: -2}}, ErrStale},
		{"no state", []Section{{Base: 1, Rev: rev, CompactRev: rev + 1}}, nil},
		{"a hole", []Section{{Base: rev + 1, Rev: rev + 2, CompactRev: 1}}, ErrDiverged},
	} {
		_, err := b.s.Graft(tt.sections)
		if err == nil || tt.want != nil && !errors.Is(err, tt.want) {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
	if b.s.Rev() != rev {
		t.Errorf("revision %d", b.s.Rev())
	}
	if _, err := b.s.Graft([]Section{{Base: rev, Rev: rev, CompactRev: 3}}); err != nil ||
		b.s.CompactRev() != 3 {
		t.Errorf("a compaction alone: %v, compacted at %d", err, b.s.CompactRev())
	}
}
