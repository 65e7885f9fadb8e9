package bench

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/protobuf/proto"
)

// TestHistogram holds percentiles against a sorted list.
func TestHistogram(t *testing.T) {
	seed := rand.Uint64()
	rng := rand.New(rand.NewPCG(seed, 0))
	for range 50 {
		var all []time.Duration
		parts := [3]Histogram{}
		scale := math.Pow(10, 1+rng.Float64()*10)
		for range 1 + rng.IntN(2000) {
			d := time.Duration(rng.ExpFloat64() * scale)
			all = append(all, d)
			parts[rng.IntN(3)].Record(d)
		}
		var h Histogram
		for i := range parts {
			h.Add(&parts[i])
		}
		slices.Sort(all)
		var sum float64
		for _, d := range all {
			sum += float64(d)
		}
		mean := sum / float64(len(all))
		if int(h.Count()) != len(all) || h.Min() != all[0] || h.Max() != all[len(all)-1] ||
			math.Abs(float64(h.Mean())-mean) > mean*1e-6+1 {
			t.Fatalf("seed %d: %d of %d, %v to %v, mean %v, want %v", seed, h.Count(), len(all),
				h.Min(), h.Max(), h.Mean(), time.Duration(mean))
		}
		for _, share := range []float64{0, 0.1, 0.5, 0.9, 0.99, 0.999, 1} {
			exact := all[max(0, int(math.Ceil(share*float64(len(all))))-1)]
			got := h.Percentile(share)
			if got < exact || float64(got) > float64(exact)*(1+1.0/subSize)+1 {
				t.Fatalf("seed %d: percentile %v of %d is %v, exactly %v", seed, share, len(all),
					got, exact)
			}
		}
		var counted uint64
		last := time.Duration(-1)
		for _, b := range h.Bars(10) {
			counted += b.Count
			if b.Upto < last {
				t.Fatalf("seed %d: %v", seed, h.Bars(10))
			}
			last = b.Upto
		}
		if counted != h.Count() || last != h.Max() {
			t.Fatalf("seed %d: %v", seed, h.Bars(10))
		}
	}
}

// TestBuckets goes along the borders of all buckets.
func TestBuckets(t *testing.T) {
	for i := range 50 * subSize {
		up := upper(i)
		if bucket(up) != i || bucket(up+1) != i+1 {
			t.Fatalf("bucket %d ends with %d, which is in %d; the next is in %d", i, up, bucket(up),
				bucket(up+1))
		}
	}
	var h Histogram
	h.Record(-1)
	h.Record(math.MaxInt64)
	if h.Min() != 0 || h.Max() != math.MaxInt64 || h.Percentile(1) != math.MaxInt64 {
		t.Errorf("%v to %v", h.Min(), h.Max())
	}
	var none Histogram
	if none.Percentile(0.5) != 0 || none.Mean() != 0 || none.Deviation() != 0 ||
		len(none.Bars(3)) != 0 {
		t.Error("of nothing something")
	}
}

// TestMessages reads with the generated code what was written by hand.
func TestMessages(t *testing.T) {
	check := func(got []byte, into, want proto.Message) {
		t.Helper()
		if err := proto.Unmarshal(got, into); err != nil || !proto.Equal(into, want) {
			t.Errorf("%v is %v, want %v", got, into, want)
		}
	}
	key, value := []byte("k"), []byte("value")
	check(appendPut(nil, key, value, 7), &etcdserverpb.PutRequest{},
		&etcdserverpb.PutRequest{Key: key, Value: value, Lease: 7})
	r := rangeRequest{key: key, end: value, limit: 3, rev: 4, sorted: true, descend: true,
		maxCreate: 9, serializable: true, keysOnly: true, counts: true}
	check(r.append(nil), &etcdserverpb.RangeRequest{}, &etcdserverpb.RangeRequest{Key: key,
		RangeEnd: value, Limit: 3, Revision: 4, SortOrder: etcdserverpb.RangeRequest_DESCEND,
		SortTarget: etcdserverpb.RangeRequest_CREATE, Serializable: true, KeysOnly: true,
		CountOnly: true, MaxCreateRevision: 9})
	r = rangeRequest{key: key, sorted: true}
	check(r.append(nil), &etcdserverpb.RangeRequest{}, &etcdserverpb.RangeRequest{Key: key,
		SortOrder: etcdserverpb.RangeRequest_ASCEND, SortTarget: etcdserverpb.RangeRequest_CREATE})
	txn, scratch := appendCompare(nil, nil, key, cmpCreate, cmpEqual, 0)
	txn, _ = appendCompare(txn, scratch, value, cmpMod, cmpLess, 12)
	txn = appendOp(txn, txnSuccess, opPut, appendPut(nil, key, value, 0))
	txn = appendOp(txn, txnFailure, opRange, r.append(nil))
	check(txn, &etcdserverpb.TxnRequest{}, &etcdserverpb.TxnRequest{
		Compare: []*etcdserverpb.Compare{
			{Target: etcdserverpb.Compare_CREATE, Key: key,
				TargetUnion: &etcdserverpb.Compare_CreateRevision{}},
			{Result: etcdserverpb.Compare_LESS, Target: etcdserverpb.Compare_MOD, Key: value,
				TargetUnion: &etcdserverpb.Compare_ModRevision{ModRevision: 12}},
		},
		Success: []*etcdserverpb.RequestOp{{Request: &etcdserverpb.RequestOp_RequestPut{
			RequestPut: &etcdserverpb.PutRequest{Key: key, Value: value}}}},
		Failure: []*etcdserverpb.RequestOp{{Request: &etcdserverpb.RequestOp_RequestRange{
			RequestRange: &etcdserverpb.RangeRequest{Key: key,
				SortOrder:  etcdserverpb.RangeRequest_ASCEND,
				SortTarget: etcdserverpb.RangeRequest_CREATE}}}},
	})
}

func marshal(t *testing.T, m proto.Message) []byte {
	t.Helper()
	b, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestAnswers reads by hand what the generated code has written.
func TestAnswers(t *testing.T) {
	header := &etcdserverpb.ResponseHeader{ClusterId: 1 << 63, MemberId: 5, Revision: 42}
	kv := &mvccpb.KeyValue{Key: []byte("k"), CreateRevision: 3, ModRevision: 4, Version: 2,
		Value: []byte("v"), Lease: 9}
	ranged := &etcdserverpb.RangeResponse{Header: header, Kvs: []*mvccpb.KeyValue{kv, kv}, Count: 2}
	r, err := decodeRange(marshal(t, ranged))
	if err != nil || r.kvs != 2 || r.rev != 42 || string(r.first.key) != "k" ||
		string(r.first.value) != "v" || r.first.create != 3 || r.first.mod != 4 {
		t.Errorf("%+v, %v", r, err)
	}
	txn, err := decodeTxn(marshal(t, &etcdserverpb.TxnResponse{Header: header, Succeeded: true,
		Responses: []*etcdserverpb.ResponseOp{{Response: &etcdserverpb.ResponseOp_ResponseRange{
			ResponseRange: ranged}}}}))
	if err != nil || !txn.succeeded || txn.rev != 42 || len(txn.answers) != 1 ||
		!slices.Equal(txn.answers[0], marshal(t, ranged)) {
		t.Errorf("%+v, %v", txn, err)
	}
	id, ttl, err := decodeLease(marshal(t, &etcdserverpb.LeaseGrantResponse{Header: header, ID: 7,
		TTL: 8}))
	if err != nil || id != 7 || ttl != 8 {
		t.Errorf("%d, %d, %v", id, ttl, err)
	}
	var keys []string
	w, err := decodeWatch(marshal(t, &etcdserverpb.WatchResponse{Header: header, WatchId: 3,
		Canceled: true, CancelReason: "why", CompactRevision: 6, Events: []*mvccpb.Event{
			{Kv: kv, PrevKv: kv}, {Type: mvccpb.Event_DELETE, Kv: kv}}}),
		func(kv []byte, deleted bool) error {
			k, err := decodeKeyValue(kv)
			if keys = append(keys, string(k.key)); deleted {
				keys = append(keys, "deleted")
			}
			return err
		})
	if err != nil || w.id != 3 || !w.canceled || w.reason != "why" || w.compact != 6 ||
		w.events != 2 || !slices.Equal(keys, []string{"k", "k", "deleted"}) {
		t.Errorf("%+v, %q, %v", w, keys, err)
	}
	for _, bad := range []string{"\x08", "\x12\x05ab", "\xff", "\x09abc", "\x0a\x02\x18\xff"} {
		if _, err := decodeRange([]byte(bad)); err == nil {
			t.Errorf("%q is a message", bad)
		}
	}
}

// TestKeys pins what keys look like.
func TestKeys(t *testing.T) {
	k, err := Keys{Size: 5, Space: 12345}.build()
	if err != nil {
		t.Fatal(err)
	}
	for n, want := range map[uint64]string{0: "00000", 7: "00007", 12344: "12344"} {
		if got := string(k.append([]byte("x"), n)); got != "x"+want {
			t.Errorf("key %d is %q", n, got)
		}
	}
}

// TestTimes puts times into values and gets them back.
func TestTimes(t *testing.T) {
	for _, at := range []int64{0, 1, 1<<63 - 1, 0x0123456789abcdef} {
		b := appendTime(nil, at)
		if got, ok := parseTime(append(b, "rest"...)); !ok || got != at || len(b) != timeSize {
			t.Errorf("%x is %q, %x", at, b, got)
		}
	}
	for _, bad := range []string{"", "123", "000000000000000g"} {
		if _, ok := parseTime([]byte(bad)); ok {
			t.Errorf("%q is a time", bad)
		}
	}
}

// TestEndpoints pins what may be connected to.
func TestEndpoints(t *testing.T) {
	for s, want := range map[string]endpoint{
		"a:1":             {"tcp", "a:1", "a:1", false},
		"http://a:1":      {"tcp", "a:1", "a:1", false},
		"http://a:1/":     {"tcp", "a:1", "a:1", false},
		"https://[::1]:2": {"tcp", "[::1]:2", "[::1]:2", true},
		":3":              {"tcp", ":3", "localhost:3", false},
		"unix:///a/b":     {"unix", "/a/b", "localhost", false},
	} {
		if got, err := parseEndpoint(s); err != nil || got != want {
			t.Errorf("%s: %+v, %v", s, got, err)
		}
	}
}
