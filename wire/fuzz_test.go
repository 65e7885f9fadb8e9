package wire

import (
	"math/rand/v2"
	"testing"

	"google.golang.org/protobuf/proto"
)

// fuzzDecoder feeds one decoder with what the fuzzer finds: it must not panic, and must agree with
// proto.Unmarshal about validity and content.
func fuzzDecoder(f *testing.F, name string) {
	var c codecCase
	for _, cc := range codecCases() {
		if cc.name == name {
			c = cc
		}
	}
	rnd := rand.New(rand.NewPCG(1, 1))
	for range 20 {
		m := c.fresh()
		fill(rnd, m.ProtoReflect(), 4)
		b, err := proto.Marshal(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
		f.Add(mutate(rnd, b, b))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if err := c.check(b); err != nil {
			t.Fatal(err)
		}
	})
}

func FuzzDecodeRange(f *testing.F)       { fuzzDecoder(f, "range") }
func FuzzDecodePut(f *testing.F)         { fuzzDecoder(f, "put") }
func FuzzDecodeDeleteRange(f *testing.F) { fuzzDecoder(f, "delete") }
func FuzzDecodeTxn(f *testing.F)         { fuzzDecoder(f, "txn") }
func FuzzDecodeCompact(f *testing.F)     { fuzzDecoder(f, "compact") }
func FuzzDecodeKeyValue(f *testing.F)    { fuzzDecoder(f, "keyvalue") }
func FuzzDecodeHeader(f *testing.F)      { fuzzDecoder(f, "header") }
func FuzzDecodeKeepAlive(f *testing.F)   { fuzzDecoder(f, "keepalive") }
