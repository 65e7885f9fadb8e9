package command

import (
	"encoding/hex"
	"errors"
	"testing"
)

func TestGolden(t *testing.T) {
	var b Builder
	b.Add(Put, []byte("\x0a\x01k\x12\x01v"))
	b.Add(LeaseRevoke, nil)
	got := hex.EncodeToString(b.Build(0x1122334455667788, 7))
	want := "01" + "8877665544332211" + "0700000000000000" + "02" + "01060a016b120176" + "0600"
	if got != want {
		t.Fatalf("the layout of the log changed:\n got %s\nwant %s", got, want)
	}
}

func TestRoundTrip(t *testing.T) {
	var b Builder
	for k := Put; k <= maxKind; k++ {
		b.Add(k, []byte(k.String()))
	}
	batch, err := Decode(b.Build(3, 9))
	if err != nil || batch.Origin != 3 || batch.Sequence != 9 || batch.Count != int(maxKind) {
		t.Fatalf("head: %+v, %v", batch, err)
	}
	for k := Put; k <= maxKind; k++ {
		kind, req, err := batch.Next()
		if err != nil || kind != k || string(req) != k.String() {
			t.Fatalf("command %v: %v %q %v", k, kind, req, err)
		}
	}
	if _, _, err := batch.Next(); !errors.Is(err, ErrMalformed) {
		t.Fatalf("past the end: %v", err)
	}
}

func TestUnknown(t *testing.T) {
	var b Builder
	b.Add(maxKind+1, nil)
	batch, err := Decode(b.Build(1, 1))
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := batch.Next(); !errors.Is(err, ErrVersion) {
		t.Fatalf("unknown kind: %v", err)
	}
	data := b.Build(1, 1)
	data[0] = 2
	if _, err := Decode(data); !errors.Is(err, ErrVersion) {
		t.Fatalf("unknown version: %v", err)
	}
}

func FuzzDecode(f *testing.F) {
	var b Builder
	b.Add(Txn, []byte("abc"))
	f.Add(b.Build(1, 2))
	f.Fuzz(func(t *testing.T, data []byte) {
		batch, err := Decode(data)
		for err == nil && batch.Count > 0 {
			_, _, err = batch.Next()
		}
	})
}

func BenchmarkBuild(bench *testing.B) {
	var b Builder
	req := make([]byte, 300)
	bench.ReportAllocs()
	for bench.Loop() {
		b.Reset()
		for range 100 {
			b.Add(Put, req)
		}
		b.Build(1, 2)
	}
}
