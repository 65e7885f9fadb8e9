package wire

import (
	"bytes"
	"flag"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/cairnkv/cairn"
)

var seedFlag = flag.Uint64("seed", 0, "seed of the random tests; 0 takes one from the clock")

// newRand gives the test a source of chance and says how to replay it.
func newRand(t *testing.T) *rand.Rand {
	seed := *seedFlag
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("replay: go test ./wire -run '^%s$' -seed %d", t.Name(), seed)
	return rand.New(rand.NewPCG(seed, 1))
}

// The generated types' content as the vocabulary has it: the dumb counterpart of the decoders.

func fromRange(r *pb.RangeRequest) *cairn.RangeRequest {
	return &cairn.RangeRequest{
		Key: r.Key, End: r.RangeEnd, Limit: r.Limit, Revision: r.Revision,
		SortOrder: cairn.SortOrder(r.SortOrder), SortTarget: cairn.SortTarget(r.SortTarget),
		Serializable: r.Serializable, KeysOnly: r.KeysOnly, CountOnly: r.CountOnly,
		MinModRevision: r.MinModRevision, MaxModRevision: r.MaxModRevision,
		MinCreateRevision: r.MinCreateRevision, MaxCreateRevision: r.MaxCreateRevision,
	}
}

func fromPut(r *pb.PutRequest) *cairn.PutRequest {
	return &cairn.PutRequest{
		Key: r.Key, Value: r.Value, Lease: r.Lease, PrevKV: r.PrevKv,
		IgnoreValue: r.IgnoreValue, IgnoreLease: r.IgnoreLease,
	}
}

func fromDeleteRange(r *pb.DeleteRangeRequest) *cairn.DeleteRangeRequest {
	return &cairn.DeleteRangeRequest{Key: r.Key, End: r.RangeEnd, PrevKV: r.PrevKv}
}

func fromTxn(r *pb.TxnRequest) *cairn.TxnRequest {
	t := &cairn.TxnRequest{Success: fromOps(r.Success), Failure: fromOps(r.Failure)}
	for _, c := range r.Compare {
		cc := cairn.Compare{
			Result: cairn.CompareResult(c.Result), Target: cairn.CompareTarget(c.Target),
			Key: c.Key, End: c.RangeEnd,
		}
		// As etcd's applyCompare reads the oneof.
		switch u := c.TargetUnion.(type) {
		case *pb.Compare_Version:
			cc.Number = numberIf(c.Target == pb.Compare_VERSION, u.Version)
		case *pb.Compare_CreateRevision:
			cc.Number = numberIf(c.Target == pb.Compare_CREATE, u.CreateRevision)
		case *pb.Compare_ModRevision:
			cc.Number = numberIf(c.Target == pb.Compare_MOD, u.ModRevision)
		case *pb.Compare_Lease:
			cc.Number = numberIf(c.Target == pb.Compare_LEASE, u.Lease)
		case *pb.Compare_Value:
			if c.Target == pb.Compare_VALUE {
				cc.Value = u.Value
			}
		}
		t.Compare = append(t.Compare, cc)
	}
	return t
}

func numberIf(ok bool, n int64) int64 {
	if !ok {
		return 0
	}
	return n
}

func fromOps(ops []*pb.RequestOp) (out []cairn.Op) {
	for _, op := range ops {
		switch u := op.Request.(type) {
		case *pb.RequestOp_RequestRange:
			out = append(out, cairn.Op{Kind: cairn.OpRange, Range: fromRange(u.RequestRange)})
		case *pb.RequestOp_RequestPut:
			out = append(out, cairn.Op{Kind: cairn.OpPut, Put: fromPut(u.RequestPut)})
		case *pb.RequestOp_RequestDeleteRange:
			d := fromDeleteRange(u.RequestDeleteRange)
			out = append(out, cairn.Op{Kind: cairn.OpDeleteRange, DeleteRange: d})
		case *pb.RequestOp_RequestTxn:
			out = append(out, cairn.Op{Kind: cairn.OpTxn, Txn: fromTxn(u.RequestTxn)})
		default:
			out = append(out, cairn.Op{})
		}
	}
	return out
}

func fromKeyValue(kv *mvccpb.KeyValue) *cairn.KeyValue {
	return &cairn.KeyValue{
		Key: kv.Key, Value: kv.Value, CreateRevision: kv.CreateRevision,
		ModRevision: kv.ModRevision, Version: kv.Version, Lease: kv.Lease,
	}
}

func fromHeader(h *pb.ResponseHeader) *cairn.Header {
	return &cairn.Header{
		ClusterID: h.ClusterId, MemberID: h.MemberId, Revision: h.Revision, RaftTerm: h.RaftTerm,
	}
}

// codecs lists every message that can be decoded: the generated type, our decoder into a used
// struct, and the generated type's content as the vocabulary has it.
type codecCase struct {
	name   string
	fresh  func() proto.Message
	decode func(b []byte) (any, error)
	want   func(m proto.Message) any
}

func codecCases() []codecCase {
	// The structs are shared by all calls, as a user of the package shares them.
	var (
		rng     cairn.RangeRequest
		put     cairn.PutRequest
		del     cairn.DeleteRangeRequest
		txn     cairn.TxnRequest
		compact cairn.CompactRequest
		kv      cairn.KeyValue
		header  cairn.Header
		lease   cairn.LeaseID
	)
	return []codecCase{
		{"range", func() proto.Message { return new(pb.RangeRequest) },
			func(b []byte) (any, error) { return &rng, DecodeRange(b, &rng) },
			func(m proto.Message) any { return fromRange(m.(*pb.RangeRequest)) }},
		{"put", func() proto.Message { return new(pb.PutRequest) },
			func(b []byte) (any, error) { return &put, DecodePut(b, &put) },
			func(m proto.Message) any { return fromPut(m.(*pb.PutRequest)) }},
		{"delete", func() proto.Message { return new(pb.DeleteRangeRequest) },
			func(b []byte) (any, error) { return &del, DecodeDeleteRange(b, &del) },
			func(m proto.Message) any { return fromDeleteRange(m.(*pb.DeleteRangeRequest)) }},
		{"txn", func() proto.Message { return new(pb.TxnRequest) },
			func(b []byte) (any, error) { return &txn, DecodeTxn(b, &txn) },
			func(m proto.Message) any { return fromTxn(m.(*pb.TxnRequest)) }},
		{"compact", func() proto.Message { return new(pb.CompactionRequest) },
			func(b []byte) (any, error) { return &compact, DecodeCompact(b, &compact) },
			func(m proto.Message) any {
				r := m.(*pb.CompactionRequest)
				return &cairn.CompactRequest{Revision: r.Revision, Physical: r.Physical}
			}},
		{"keepalive", func() proto.Message { return new(pb.LeaseKeepAliveRequest) },
			func(b []byte) (any, error) {
				err := DecodeLeaseKeepAlive(b, &lease)
				return lease, err
			},
			func(m proto.Message) any { return m.(*pb.LeaseKeepAliveRequest).ID }},
		{"keyvalue", func() proto.Message { return new(mvccpb.KeyValue) },
			func(b []byte) (any, error) { return &kv, DecodeKeyValue(b, &kv) },
			func(m proto.Message) any { return fromKeyValue(m.(*mvccpb.KeyValue)) }},
		{"header", func() proto.Message { return new(pb.ResponseHeader) },
			func(b []byte) (any, error) { return &header, DecodeHeader(b, &header) },
			func(m proto.Message) any { return fromHeader(m.(*pb.ResponseHeader)) }},
	}
}

// check compares our decoder with proto.Unmarshal: validity and content.
func (c *codecCase) check(b []byte) error {
	m := c.fresh()
	wantErr := proto.Unmarshal(b, m)
	got, err := c.decode(b)
	if (err != nil) != (wantErr != nil) {
		return fmt.Errorf("%s: error %v, protobuf has %v, for %x", c.name, err, wantErr, b)
	}
	if err != nil {
		return nil
	}
	if d := cmp.Diff(c.want(m), got, cmpopts.EquateEmpty()); d != "" {
		return fmt.Errorf("%s: differs from protobuf for %x:\n%s", c.name, b, d)
	}
	return nil
}

// fill sets random fields of m to random values; messages nest at most depth deep.
func fill(rnd *rand.Rand, m protoreflect.Message, depth int) {
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		fd := fields.Get(i)
		if rnd.IntN(2) == 0 || fd.Message() != nil && depth == 0 {
			continue
		}
		switch {
		case fd.IsList():
			l := m.Mutable(fd).List()
			for range rnd.IntN(4) {
				e := l.NewElement()
				fill(rnd, e.Message(), depth-1)
				l.Append(e)
			}
		case fd.Message() != nil:
			fill(rnd, m.Mutable(fd).Message(), depth-1)
		default:
			m.Set(fd, scalar(rnd, fd.Kind()))
		}
	}
}

func scalar(rnd *rand.Rand, kind protoreflect.Kind) protoreflect.Value {
	n := int64(rnd.Uint64() >> rnd.IntN(64))
	switch kind {
	case protoreflect.BoolKind:
		return protoreflect.ValueOfBool(n&1 != 0)
	case protoreflect.Int64Kind:
		return protoreflect.ValueOfInt64(n)
	case protoreflect.Uint64Kind:
		return protoreflect.ValueOfUint64(uint64(n))
	case protoreflect.EnumKind:
		return protoreflect.ValueOfEnum(protoreflect.EnumNumber(rnd.IntN(7) - 1))
	case protoreflect.BytesKind:
		b := make([]byte, rnd.IntN(200))
		for i := range b {
			b[i] = byte(rnd.Uint32())
		}
		return protoreflect.ValueOfBytes(b)
	}
	panic(fmt.Sprintf("no field of kind %v was expected", kind))
}

// mutate makes an encoding unusual in ways that protobuf allows, or damages it.
func mutate(rnd *rand.Rand, b, other []byte) []byte {
	b = bytes.Clone(b)
	for range rnd.IntN(3) {
		switch rnd.IntN(6) {
		case 0: // two messages one after the other: merged
			b = append(b, other...)
		case 1: // an unknown field, or one with another type than its own
			num := protowire.Number(1 + rnd.IntN(70))
			b = append(protowire.AppendTag(b, num, protowire.Fixed32Type), 1, 2, 3, 4)
		case 2: // an unknown group with a field in it
			num := protowire.Number(1 + rnd.IntN(70))
			b = protowire.AppendTag(b, num, protowire.StartGroupType)
			b = AppendVarint(b, 3, 77)
			b = protowire.AppendTag(b, num, protowire.EndGroupType)
		case 3: // cut short
			b = b[:rnd.IntN(len(b)+1)]
		case 4: // a changed byte
			if len(b) > 0 {
				b[rnd.IntN(len(b))] = byte(rnd.Uint32())
			}
		case 5: // a varint in the place of anything
			num := protowire.Number(1 + rnd.IntN(14))
			b = protowire.AppendTag(b, num, protowire.VarintType)
			b = protowire.AppendVarint(b, rnd.Uint64())
		}
	}
	return b
}

func TestDecodeAgreesWithProtobuf(t *testing.T) {
	rnd := newRand(t)
	for _, c := range codecCases() {
		for range 1500 {
			m, o := c.fresh(), c.fresh()
			fill(rnd, m.ProtoReflect(), 5)
			fill(rnd, o.ProtoReflect(), 3)
			b, err := proto.Marshal(m)
			if err != nil {
				t.Fatal(err)
			}
			other, err := proto.Marshal(o)
			if err != nil {
				t.Fatal(err)
			}
			if err := c.check(mutate(rnd, b, other)); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// An operation that names two requests keeps the last; the same one twice is merged.
func TestOneofMerges(t *testing.T) {
	put := func(r *pb.PutRequest) []byte {
		b, err := proto.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		return AppendKV(nil, OpFieldPut, b)
	}
	var op []byte
	op = append(op, put(&pb.PutRequest{Key: []byte("lost")})...)
	op = AppendKV(op, OpFieldRange, []byte{0x0a, 1, 'r'})
	op = append(op, put(&pb.PutRequest{Key: []byte("k"), Lease: 7})...)
	op = append(op, put(&pb.PutRequest{Value: []byte("v")})...)
	b := AppendKV(nil, 2, op)

	var r cairn.TxnRequest
	if err := DecodeTxn(b, &r); err != nil {
		t.Fatal(err)
	}
	want := cairn.TxnRequest{Success: []cairn.Op{{
		Kind: cairn.OpPut, Put: &cairn.PutRequest{Key: []byte("k"), Value: []byte("v"), Lease: 7},
	}}}
	if d := cmp.Diff(want, r, cmpopts.EquateEmpty()); d != "" {
		t.Fatal(d)
	}
	for _, c := range codecCases() {
		if err := c.check(b); err != nil {
			t.Error(err)
		}
	}
}

// nest wraps an empty transaction into n others.
func nest(n int) []byte {
	// Inside out: sizes first, then the bytes in one pass.
	sizes := make([]int, n+1)
	for i := 1; i <= n; i++ {
		sizes[i] = SizeKV(2, SizeKV(OpFieldTxn, sizes[i-1]))
	}
	var b []byte
	for i := n; i >= 1; i-- {
		b = protowire.AppendTag(b, 2, protowire.BytesType)
		b = protowire.AppendVarint(b, uint64(SizeKV(OpFieldTxn, sizes[i-1])))
		b = protowire.AppendTag(b, OpFieldTxn, protowire.BytesType)
		b = protowire.AppendVarint(b, uint64(sizes[i-1]))
	}
	return b
}

func TestNestingIsBounded(t *testing.T) {
	deepest := (MaxDepth - 1) / 2
	var r cairn.TxnRequest
	if err := DecodeTxn(nest(deepest), &r); err != nil {
		t.Errorf("%d levels: %v", deepest, err)
	}
	if err := DecodeTxn(nest(deepest+1), &r); err != ErrTooDeep {
		t.Errorf("%d levels: %v, want %v", deepest+1, err, ErrTooDeep)
	}
	for _, n := range []int{deepest, deepest + 1} {
		// A request, a comparison or an operation may be the message too many.
		for _, extra := range [][]byte{nil, {0x0a, 0}, {0x12, 0}, {0x12, 2, 0x12, 0}} {
			b := append(nest(n), extra...)
			err, want := DecodeTxn(b, &r), proto.Unmarshal(b, new(pb.TxnRequest))
			if (err != nil) != (want != nil) {
				t.Errorf("%d levels and %x: %v, protobuf has %v", n, extra, err, want)
			}
		}
	}
}

func TestDecodeErrors(t *testing.T) {
	for _, c := range []struct {
		why string
		b   []byte
	}{
		{"tag alone", []byte{0x0a}},
		{"length beyond the end", []byte{0x0a, 5, 'a'}},
		{"varint without an end", []byte{0x18, 0x80}},
		{"varint of eleven bytes", append([]byte{0x18}, bytes.Repeat([]byte{0xff}, 11)...)},
		{"field number 0", []byte{0x02, 0}},
		{"end of a group that was not begun", []byte{0x0c}},
		{"reserved wire type", []byte{0x0e, 0}},
		{"field number beyond the maximum", []byte{0x80, 0x80, 0x80, 0x80, 0x10, 0}},
	} {
		for _, cc := range codecCases() {
			if _, err := cc.decode(c.b); err != ErrMalformed {
				t.Errorf("%s, %s: %v, want %v", cc.name, c.why, err, ErrMalformed)
			}
			if err := cc.check(c.b); err != nil {
				t.Error(err)
			}
		}
	}
}
