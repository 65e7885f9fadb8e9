package lease

import (
	"bytes"
	"errors"
	"slices"
	"testing"

	cairn "github.com/cairnkv/cairn"
)

func TestLife(t *testing.T) {
	tab := NewTable()
	for _, c := range []struct {
		id, ttl int64
		want    error
	}{
		{0, 5, cairn.ErrLeaseNotFound},
		{1, MaxTTL + 1, cairn.ErrLeaseTTL},
		{1, MaxTTL, nil},
		{1, 5, cairn.ErrLeaseExists},
		{-7, 5, nil},
	} {
		if err := tab.Grant(c.id, c.ttl); !errors.Is(err, c.want) {
			t.Errorf("grant %d for %d: %v, want %v", c.id, c.ttl, err, c.want)
		}
	}
	tab.Attach(1, []byte("b"))
	tab.Attach(1, []byte("a"))
	tab.Attach(1, []byte("c"))
	tab.Attach(99, []byte("c"))
	tab.Detach(1, []byte("c"))
	if got := tab.Keys(1); !slices.Equal(got, []string{"a", "b"}) {
		t.Errorf("keys: %q", got)
	}
	keys, err := tab.Revoke(1)
	if err != nil || !slices.Equal(keys, []string{"a", "b"}) {
		t.Errorf("revoke: %q, %v", keys, err)
	}
	if _, err := tab.Revoke(1); !errors.Is(err, cairn.ErrLeaseNotFound) {
		t.Errorf("second revoke: %v", err)
	}
}

func TestEncode(t *testing.T) {
	tab := NewTable()
	for id := int64(50); id > -50; id-- {
		if id != 0 {
			if err := tab.Grant(id, 100+id); err != nil {
				t.Fatal(err)
			}
			tab.Checkpoint(id, id)
		}
	}
	b := tab.Encode(nil)
	again := NewTable()
	if err := again.Decode(b); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(tab.All(), again.All()) || !bytes.Equal(b, again.Encode(nil)) {
		t.Fatal("decoding does not give back what was encoded")
	}
	if err := NewTable().Decode(b[:len(b)-1]); !errors.Is(err, ErrMalformed) {
		t.Fatalf("a cut table: %v", err)
	}
	if err := NewTable().Decode(append(b, b...)); !errors.Is(err, ErrMalformed) {
		t.Fatalf("a lease twice: %v", err)
	}
}
