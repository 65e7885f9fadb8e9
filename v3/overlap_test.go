package v3

import (
	"flag"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/cairnkv/cairn"
	"github.com/cairnkv/cairn/wire"
)

var seedFlag = flag.Uint64("seed", 0, "seed of the random tests; 0 takes one from the clock")

// newRand gives the test a source of chance and says how to replay it.
func newRand(t *testing.T) *rand.Rand {
	seed := *seedFlag
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("replay: go test ./v3 -run '^%s$' -seed %d", t.Name(), seed)
	return rand.New(rand.NewPCG(seed, 1))
}

// dumbOverlap is the rule without any thought for time: every pair is compared.
func dumbOverlap(ops []cairn.Op) (puts []string, dels []*cairn.DeleteRangeRequest, bad bool) {
	deleted := func(key string) bool {
		return slices.ContainsFunc(dels, func(d *cairn.DeleteRangeRequest) bool {
			if len(d.End) == 0 {
				return string(d.Key) == key
			}
			return string(d.Key) <= key && key < string(d.End)
		})
	}
	for _, op := range ops {
		if op.Kind == cairn.OpDeleteRange {
			dels = append(dels, op.DeleteRange)
		}
	}
	for _, op := range ops {
		if op.Kind != cairn.OpTxn {
			continue
		}
		thenPuts, thenDels, thenBad := dumbOverlap(op.Txn.Success)
		elsePuts, elseDels, elseBad := dumbOverlap(op.Txn.Failure)
		if thenBad || elseBad {
			return nil, nil, true
		}
		for _, key := range append(slices.Clone(thenPuts), elsePuts...) {
			if slices.Contains(puts, key) || deleted(key) {
				return nil, nil, true
			}
		}
		puts = append(append(puts, thenPuts...), elsePuts...)
		dels = append(append(dels, thenDels...), elseDels...)
	}
	for _, op := range ops {
		if op.Kind != cairn.OpPut {
			continue
		}
		key := string(op.Put.Key)
		if slices.Contains(puts, key) || deleted(key) {
			return nil, nil, true
		}
		puts = append(puts, key)
	}
	return puts, dels, false
}

func TestOverlapsAgreesWithComparingAllPairs(t *testing.T) {
	rnd := newRand(t)
	bad, shallow := 0, 0
	for range 20000 {
		b, err := proto.Marshal(randomTxn(rnd, rnd.IntN(4)))
		if err != nil {
			t.Fatal(err)
		}
		var txn cairn.TxnRequest
		if err := wire.DecodeTxn(b, &txn); err != nil {
			t.Fatal(err)
		}
		for _, ops := range [][]cairn.Op{txn.Success, txn.Failure} {
			_, _, want := dumbOverlap(ops)
			_, err := overlaps(ops)
			_, errMany := overlapMany(ops)
			if (err != nil) != want || (errMany != nil) != want {
				t.Fatalf("%x: %v and %v, want an error: %v", b, err, errMany, want)
			}
			if want {
				bad++
			}
			if !slices.ContainsFunc(ops, isTxn) {
				shallow++
			}
		}
	}
	if bad < 1000 || shallow < 1000 {
		t.Errorf("the test is too easy: %d overlaps, %d flat branches", bad, shallow)
	}
}

// The largest transactions that a message can hold are checked in the time of a glance.
func BenchmarkOverlaps(b *testing.B) {
	nest := func(n int, inner []cairn.Op) (out []cairn.Op) {
		for range n {
			out = append(out, cairn.Op{Kind: cairn.OpTxn, Txn: &cairn.TxnRequest{Success: inner}})
		}
		return out
	}
	var dels []cairn.Op
	for i := range 43 {
		key := []byte{byte(i), 0}
		dels = append(dels, cairn.Op{Kind: cairn.OpDeleteRange,
			DeleteRange: &cairn.DeleteRangeRequest{Key: key}})
	}
	put := []cairn.Op{{Kind: cairn.OpPut, Put: &cairn.PutRequest{Key: []byte("k")}}}
	for name, ops := range map[string][]cairn.Op{
		"put": put, "deep": nest(43, nest(43, dels)),
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := overlaps(ops); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
