package v3

import (
	"bufio"
	"bytes"
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// The verdicts in testdata are those of a real etcd. To take them again:
//
//	etcd --data-dir "$(mktemp -d)" & go test ./v3 -run TestVerdicts -record 127.0.0.1:2379
//
// The etcd must have its default peer URL: how long its proposals are depends on its member id.
var recordFrom = flag.String("record", "", "address of a real etcd to take testdata from")

// verdictCase is a request that etcd accepts or refuses by looking at it alone.
type verdictCase struct {
	name   string
	method string
	req    any // proto.Message or rawRequest
	meta   []string
}

// rawRequest is sent as it is.
type rawRequest []byte

// rawCodec sends rawRequests, and protobuf as ever.
type rawCodec struct{}

func (rawCodec) Name() string { return "proto" }

func (rawCodec) Marshal(v any) ([]byte, error) {
	if b, ok := v.(rawRequest); ok {
		return b, nil
	}
	return proto.Marshal(v.(proto.Message))
}

func (rawCodec) Unmarshal(b []byte, v any) error {
	if r, ok := v.(*rawRequest); ok {
		*r = b
		return nil
	}
	return proto.Unmarshal(b, v.(proto.Message))
}

var _ encoding.Codec = rawCodec{}

func opPut(key string) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestPut{
		RequestPut: &pb.PutRequest{Key: []byte(key)}}}
}

func opDelete(key, end string) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestDeleteRange{
		RequestDeleteRange: &pb.DeleteRangeRequest{Key: []byte(key), RangeEnd: []byte(end)}}}
}

func opRange(r *pb.RangeRequest) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestRange{RequestRange: r}}
}

func opTxn(t *pb.TxnRequest) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestTxn{RequestTxn: t}}
}

func then(ops ...*pb.RequestOp) *pb.TxnRequest { return &pb.TxnRequest{Success: ops} }
func els(ops ...*pb.RequestOp) *pb.TxnRequest  { return &pb.TxnRequest{Failure: ops} }

// branches is a transaction with both.
func branches(success, failure []*pb.RequestOp) *pb.TxnRequest {
	return &pb.TxnRequest{Success: success, Failure: failure}
}

// puts is n puts of different keys.
func puts(n int) (out []*pb.RequestOp) {
	for i := range n {
		out = append(out, opPut(fmt.Sprintf("key%06d", i)))
	}
	return out
}

// putOfSize is a PutRequest whose encoding has n bytes.
func putOfSize(n int) *pb.PutRequest {
	r := &pb.PutRequest{Key: []byte("k"), Value: make([]byte, n)}
	for {
		over := proto.Size(r) - n
		if over == 0 {
			return r
		}
		r.Value = r.Value[:len(r.Value)-over]
	}
}

// limitedPut is the size of the largest PutRequest that is accepted by default.
const limitedPut = 1536*1024 - 17

func kvCases() []verdictCase {
	k, v := []byte("k"), []byte("v")
	return []verdictCase{
		{name: "range", method: "KV/Range", req: &pb.RangeRequest{Key: k}},
		{name: "range without a key", method: "KV/Range", req: &pb.RangeRequest{}},
		{name: "range without a key, bad sort", method: "KV/Range",
			req: &pb.RangeRequest{SortOrder: 9}},
		{name: "range with end only", method: "KV/Range", req: &pb.RangeRequest{RangeEnd: k}},
		{name: "sort order 2", method: "KV/Range", req: &pb.RangeRequest{Key: k, SortOrder: 2}},
		{name: "sort order 3", method: "KV/Range", req: &pb.RangeRequest{Key: k, SortOrder: 3}},
		{name: "sort order -1", method: "KV/Range", req: &pb.RangeRequest{Key: k, SortOrder: -1}},
		{name: "sort target 4", method: "KV/Range", req: &pb.RangeRequest{Key: k, SortTarget: 4}},
		{name: "sort target 5", method: "KV/Range", req: &pb.RangeRequest{Key: k, SortTarget: 5}},
		{name: "sort target -1", method: "KV/Range", req: &pb.RangeRequest{Key: k, SortTarget: -1}},
		{name: "negative limit and revision", method: "KV/Range",
			req: &pb.RangeRequest{Key: k, Limit: -5, Revision: -5}},
		{name: "put", method: "KV/Put", req: &pb.PutRequest{Key: k, Value: v}},
		{name: "put without a key", method: "KV/Put", req: &pb.PutRequest{Value: v}},
		{name: "put, value provided", method: "KV/Put",
			req: &pb.PutRequest{Key: k, Value: v, IgnoreValue: true}},
		{name: "put, lease provided", method: "KV/Put",
			req: &pb.PutRequest{Key: k, Lease: 1, IgnoreLease: true}},
		{name: "put, all faults", method: "KV/Put",
			req: &pb.PutRequest{Value: v, Lease: 1, IgnoreValue: true, IgnoreLease: true}},
		{name: "put, value and lease provided", method: "KV/Put",
			req: &pb.PutRequest{Key: k, Value: v, Lease: 1, IgnoreValue: true, IgnoreLease: true}},
		{name: "put, ignore both", method: "KV/Put",
			req: &pb.PutRequest{Key: k, IgnoreValue: true, IgnoreLease: true}},
		{name: "largest put", method: "KV/Put", req: putOfSize(limitedPut)},
		{name: "put one byte larger", method: "KV/Put", req: putOfSize(limitedPut + 1)},
		{name: "largest message", method: "KV/Put", req: putOfSize(2 << 20)},
		{name: "message one byte larger", method: "KV/Put", req: putOfSize(2<<20 + 1)},
		{name: "delete", method: "KV/DeleteRange",
			req: &pb.DeleteRangeRequest{Key: []byte("none")}},
		{name: "delete without a key", method: "KV/DeleteRange", req: &pb.DeleteRangeRequest{}},
		{name: "delete with end only", method: "KV/DeleteRange",
			req: &pb.DeleteRangeRequest{RangeEnd: k}},
	}
}

func txnCases() []verdictCase {
	k := []byte("k")
	var out []verdictCase
	add := func(name string, t *pb.TxnRequest) {
		out = append(out, verdictCase{name: "txn: " + name, method: "KV/Txn", req: t})
	}
	cmps := func(n int) *pb.TxnRequest {
		t := &pb.TxnRequest{}
		for range n {
			t.Compare = append(t.Compare, &pb.Compare{Key: k})
		}
		return t
	}
	nested := func(depth int) *pb.TxnRequest {
		t := &pb.TxnRequest{}
		for range depth {
			t = then(opTxn(t))
		}
		return t
	}
	add("empty", &pb.TxnRequest{})
	add("128 puts", then(puts(128)...))
	add("129 puts", then(puts(129)...))
	add("129 puts else", els(puts(129)...))
	add("128 compares", cmps(128))
	add("129 compares", cmps(129))
	add("budget of nested", then(append(puts(64), opTxn(els(puts(63)...)))...))
	add("beyond the budget of nested", then(append(puts(64), opTxn(els(puts(64)...)))...))
	add("nested 128 deep", nested(128))
	add("nested 129 deep", nested(129))
	add("nested 4999 deep", nested(4999))
	add("nested 5000 deep", nested(5000))
	add("compare without a key", &pb.TxnRequest{Compare: []*pb.Compare{{}}})
	add("compare without a key, too many ops", branches(puts(129), []*pb.RequestOp{opPut("")}))
	add("range without a key", then(opRange(&pb.RangeRequest{})))
	add("range, bad sort", els(opRange(&pb.RangeRequest{Key: k, SortOrder: 3})))
	add("put without a key", els(opPut("")))
	add("delete without a key", then(opDelete("", "b")))
	add("empty op", then(&pb.RequestOp{}))
	add("empty op else", els(opPut("a"), &pb.RequestOp{}))
	add("empty op nested", then(opTxn(els(&pb.RequestOp{}))))
	add("same key", then(opPut("a"), opPut("a")))
	add("same key in both branches", branches([]*pb.RequestOp{opPut("a")},
		[]*pb.RequestOp{opPut("a")}))
	add("put and delete", then(opPut("a"), opDelete("a", "")))
	add("put and delete of another", then(opPut("a"), opDelete("b", "")))
	add("put in a deleted range", els(opDelete("a", "c"), opPut("b")))
	add("put at the end of a range", els(opDelete("a", "c"), opPut("c")))
	add("put and delete of all that follows", then(opDelete("a", "\x00"), opPut("b")))
	add("put and delete from it on", then(opDelete("a", "\x00"), opPut("a")))
	add("put and delete of everything", then(opDelete("\x00", "\x00"), opPut("a")))
	add("put and delete of an empty range", then(opDelete("c", "b"), opPut("b")))
	add("put at the key of an empty range", then(opDelete("c", "b"), opPut("c")))
	add("two deletes", then(opDelete("a", "z"), opDelete("b", "c")))
	add("nested branches may put the same", then(opTxn(branches(
		[]*pb.RequestOp{opPut("a")}, []*pb.RequestOp{opPut("a")}))))
	add("nested and outer put", then(opPut("a"), opTxn(els(opPut("a")))))
	add("two nested put", then(opTxn(then(opPut("a"))), opTxn(els(opPut("a")))))
	add("nested put, outer delete", then(opTxn(then(opPut("a"))), opDelete("a", "b")))
	add("nested delete, outer put", then(opTxn(then(opDelete("a", "b"))), opPut("a")))
	add("nested delete, later nested put", then(opTxn(then(opDelete("a", "c"))),
		opTxn(then(opPut("b")))))
	add("nested put, later nested delete", then(opTxn(then(opPut("b"))),
		opTxn(then(opDelete("a", "c")))))
	add("nested delete of all that follows, outer put",
		then(opTxn(then(opDelete("a", "\x00"))), opPut("a")))
	add("too large", then(append(puts(1), &pb.RequestOp{Request: &pb.RequestOp_RequestPut{
		RequestPut: putOfSize(limitedPut)}})...))
	return out
}

func otherCases() []verdictCase {
	k := []byte("k")
	grant := &pb.LeaseGrantRequest{TTL: 1}
	out := []verdictCase{
		{name: "lease grant", method: "Lease/LeaseGrant", req: grant},
		{name: "no urls", method: "Cluster/MemberAdd", req: &pb.MemberAddRequest{}},
		{name: "leader wanted", method: "KV/Range", req: &pb.RangeRequest{Key: k},
			meta: []string{"hasleader", "true"}},
		{name: "client version", method: "KV/Range", req: &pb.RangeRequest{Key: k},
			meta: []string{"client-api-version", "3.7"}},
		{name: "malformed range", method: "KV/Range", req: rawRequest{0x0a}},
		{name: "malformed put", method: "KV/Put", req: rawRequest{0x0a, 5, 'a'}},
		{name: "malformed txn", method: "KV/Txn", req: rawRequest{0x12, 1, 0x80}},
		{name: "malformed lease grant", method: "Lease/LeaseGrant", req: rawRequest{0x08}},
		{name: "malformed alarm", method: "Maintenance/Alarm", req: rawRequest{0x08}},
		{name: "malformed status", method: "Maintenance/Status", req: rawRequest{0x08}},
		{name: "wrong wire type of the key", method: "KV/Put", req: rawRequest{0x08, 1}},
		{name: "unknown field", method: "KV/Range",
			req: rawRequest{0x0a, 1, 'k', 0xf8, 0x07, 1}},
		{name: "key twice", method: "KV/Range", req: rawRequest{0x0a, 1, 'k', 0x0a, 0}},
		{name: "unknown method", method: "KV/Nothing", req: &pb.RangeRequest{Key: k}},
		{name: "unknown service", method: "Nothing/Range", req: &pb.RangeRequest{Key: k}},
	}
	for _, u := range []string{"http://127.0.0.1", "127.0.0.1:2380", "http://127.0.0.1:1/path",
		"ftp://a:1", "http://[::1", ""} {
		out = append(out, verdictCase{name: "url " + u, method: "Cluster/MemberAdd",
			req: &pb.MemberAddRequest{PeerURLs: []string{"http://10.0.0.1:2380", u}}})
	}
	return out
}

// streamCases are refused requests of KV.RangeStream.
func streamCases() []verdictCase {
	k := []byte("k")
	var out []verdictCase
	add := func(name string, r *pb.RangeRequest) {
		out = append(out, verdictCase{name: "stream: " + name, method: "KV/RangeStream", req: r})
	}
	add("plain", &pb.RangeRequest{Key: k})
	add("without a key", &pb.RangeRequest{})
	add("bad sort", &pb.RangeRequest{Key: k, SortTarget: 7})
	add("by key ascending", &pb.RangeRequest{Key: k, SortOrder: 1})
	add("by key descending", &pb.RangeRequest{Key: k, SortOrder: 2})
	add("by value", &pb.RangeRequest{Key: k, SortTarget: 4})
	add("by value ascending", &pb.RangeRequest{Key: k, SortTarget: 4, SortOrder: 1})
	add("min mod", &pb.RangeRequest{Key: k, MinModRevision: 1})
	add("max mod", &pb.RangeRequest{Key: k, MaxModRevision: 1})
	add("min create", &pb.RangeRequest{Key: k, MinCreateRevision: 1})
	add("max create", &pb.RangeRequest{Key: k, MaxCreateRevision: -1})
	out = append(out, verdictCase{name: "stream: malformed", method: "KV/RangeStream",
		req: rawRequest{0x0a}})
	return out
}

// randomTxn is a transaction over few keys, so that its parts often overlap.
func randomTxn(rnd *rand.Rand, depth int) *pb.TxnRequest {
	ops := func() (out []*pb.RequestOp) {
		for range rnd.IntN(4) {
			key := string(rune('a' + rnd.IntN(8)))
			switch n := rnd.IntN(10); {
			case n < 5:
				out = append(out, opPut(key))
			case n < 8:
				end := ""
				switch rnd.IntN(5) {
				case 0:
					end = "\x00"
				case 1:
					end = string(rune('a' + rnd.IntN(8)))
				case 2:
					end = key + "\x00"
				case 3:
					end = string(rune(key[0]) + 1 + rune(rnd.IntN(3)))
				}
				out = append(out, opDelete(key, end))
			case depth > 0:
				out = append(out, opTxn(randomTxn(rnd, depth-1)))
			}
		}
		return out
	}
	return branches(ops(), ops())
}

func randomCases() (out []verdictCase) {
	rnd := rand.New(rand.NewPCG(20, 26))
	for i := range 400 {
		out = append(out, verdictCase{
			name: fmt.Sprintf("random %03d", i), method: "KV/Txn", req: randomTxn(rnd, 3)})
	}
	return out
}

// verdict sends a request and tells code and text of the answer.
func verdict(ctx context.Context, conn *grpc.ClientConn, c verdictCase) string {
	ctx = metadata.AppendToOutgoingContext(ctx, c.meta...)
	method := "/etcdserverpb." + c.method
	var err error
	if c.method == "KV/RangeStream" {
		var s grpc.ClientStream
		desc := &grpc.StreamDesc{ServerStreams: true}
		if s, err = conn.NewStream(ctx, desc, method, grpc.ForceCodec(rawCodec{})); err == nil {
			if err = s.SendMsg(c.req); err == nil {
				if err = s.CloseSend(); err == nil {
					err = s.RecvMsg(&pb.RangeStreamResponse{})
				}
			}
		}
	} else {
		err = conn.Invoke(ctx, method, c.req, &pb.PutRequest{}, grpc.ForceCodec(rawCodec{}))
	}
	s := status.Convert(err)
	// The protobuf runtime writes one of two kinds of space, so that nobody relies on it.
	return fmt.Sprintf("%v\t%s", s.Code(), strings.ReplaceAll(s.Message(), "\u00a0", " "))
}

// TestVerdicts holds what the door accepts and refuses against what a real etcd 3.7.3 did.
func TestVerdicts(t *testing.T) {
	for file, cases := range map[string][]verdictCase{
		"kv": kvCases(), "txn": txnCases(), "other": otherCases(), "stream": streamCases(),
		"random": randomCases(),
	} {
		path := filepath.Join("testdata", file+".txt")
		if *recordFrom != "" {
			recordVerdicts(t, path, cases)
			continue
		}
		t.Run(file, func(t *testing.T) { checkVerdicts(t, path, cases) })
	}
}

func checkVerdicts(t *testing.T, path string, cases []verdictCase) {
	wants := readVerdicts(t, path)
	_, conn := serve(t, newFake(), Options{})
	ctx := testContext(t)
	if len(wants) != len(cases) {
		t.Errorf("%s has %d verdicts for %d cases: take it again", path, len(wants), len(cases))
	}
	for _, c := range cases {
		if got := verdict(ctx, conn, c); got != wants[c.name] {
			t.Errorf("%s: %q, etcd says %q", c.name, got, wants[c.name])
		}
	}
}

func readVerdicts(t *testing.T, path string) map[string]string {
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	out := make(map[string]string)
	for lines := bufio.NewScanner(f); lines.Scan(); {
		name, v, _ := strings.Cut(lines.Text(), "\t")
		out[name] = v
	}
	return out
}

func recordVerdicts(t *testing.T, path string, cases []verdictCase) {
	conn, err := grpc.NewClient(*recordFrom,
		grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	var out bytes.Buffer
	for _, c := range cases {
		fmt.Fprintf(&out, "%s\t%s\n", c.name, verdict(testContext(t), conn, c))
	}
	if err := os.WriteFile(path, out.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
}
