package wire

import (
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/cairnkv/cairn"
)

// Field numbers of the responses, for callers that write them piece by piece. The header is field
// HeaderField of every response.
const (
	HeaderField = 1

	RangeKVs   = 2 // repeated KeyValue
	RangeMore  = 3 // bool
	RangeCount = 4 // int64

	PutPrevKV = 2 // KeyValue

	DeleteRangeDeleted = 2 // int64
	DeleteRangePrevKVs = 3 // repeated KeyValue

	TxnSucceeded = 2 // bool
	TxnResponses = 3 // repeated ResponseOp

	// The oneofs RequestOp and ResponseOp number their members alike.
	OpFieldRange       = 1
	OpFieldPut         = 2
	OpFieldDeleteRange = 3
	OpFieldTxn         = 4

	WatchID              = 2  // int64
	WatchCreated         = 3  // bool
	WatchCanceled        = 4  // bool
	WatchCompactRevision = 5  // int64
	WatchCancelReason    = 6  // string
	WatchFragment        = 7  // bool
	WatchEvents          = 11 // repeated mvccpb.Event

	EventType   = 1 // enum: EventTypePut, EventTypeDelete
	EventKV     = 2 // KeyValue
	EventPrevKV = 3 // KeyValue

	EventTypePut    = 0
	EventTypeDelete = 1
)

// AppendVarint appends an integer or enum field; nothing if v is zero. A negative int64 is given as
// its two's complement.
func AppendVarint(dst []byte, field protowire.Number, v uint64) []byte {
	if v == 0 {
		return dst
	}
	return protowire.AppendVarint(protowire.AppendTag(dst, field, protowire.VarintType), v)
}

// AppendBool appends a bool field; nothing if b is false.
func AppendBool(dst []byte, field protowire.Number, b bool) []byte {
	if !b {
		return dst
	}
	return append(protowire.AppendTag(dst, field, protowire.VarintType), 1)
}

// AppendBytes appends a bytes field; nothing if b is empty.
func AppendBytes(dst []byte, field protowire.Number, b []byte) []byte {
	if len(b) == 0 {
		return dst
	}
	return AppendKV(dst, field, b)
}

// AppendString appends a string field; nothing if s is empty.
func AppendString(dst []byte, field protowire.Number, s string) []byte {
	if s == "" {
		return dst
	}
	dst = protowire.AppendTag(dst, field, protowire.BytesType)
	return protowire.AppendString(dst, s)
}

// AppendKV appends a message field, most often a KeyValue, from its encoded bytes; an empty message
// too, since presence counts.
func AppendKV(dst []byte, field protowire.Number, kv []byte) []byte {
	dst = protowire.AppendTag(dst, field, protowire.BytesType)
	return protowire.AppendBytes(dst, kv)
}

// SizeKV is the number of bytes that AppendKV appends for an encoded message of size bytes.
func SizeKV(field protowire.Number, size int) int {
	return protowire.SizeTag(field) + protowire.SizeBytes(size)
}

// SizeVarint is the number of bytes that AppendVarint appends.
func SizeVarint(field protowire.Number, v uint64) int {
	if v == 0 {
		return 0
	}
	return protowire.SizeTag(field) + protowire.SizeVarint(v)
}

// AppendKeyValue appends the encoding of an mvccpb.KeyValue (the message, no tag before it).
func AppendKeyValue(dst []byte, kv *cairn.KeyValue) []byte {
	dst = AppendBytes(dst, 1, kv.Key)
	dst = AppendVarint(dst, 2, uint64(kv.CreateRevision))
	dst = AppendVarint(dst, 3, uint64(kv.ModRevision))
	dst = AppendVarint(dst, 4, uint64(kv.Version))
	dst = AppendBytes(dst, 5, kv.Value)
	return AppendVarint(dst, 6, uint64(kv.Lease))
}

// SizeKeyValue is the number of bytes that AppendKeyValue appends.
func SizeKeyValue(kv *cairn.KeyValue) int {
	n := SizeVarint(2, uint64(kv.CreateRevision)) + SizeVarint(3, uint64(kv.ModRevision)) +
		SizeVarint(4, uint64(kv.Version)) + SizeVarint(6, uint64(kv.Lease))
	if len(kv.Key) > 0 {
		n += SizeKV(1, len(kv.Key))
	}
	if len(kv.Value) > 0 {
		n += SizeKV(5, len(kv.Value))
	}
	return n
}

// sizeHeader is the size of h's message, without tag and length; below 128, whatever h is.
func sizeHeader(h *cairn.Header) int {
	return SizeVarint(1, h.ClusterID) + SizeVarint(2, h.MemberID) +
		SizeVarint(3, uint64(h.Revision)) + SizeVarint(4, h.RaftTerm)
}

// SizeHeader is the number of bytes that AppendHeader appends; 0 for nil.
func SizeHeader(h *cairn.Header) int {
	if h == nil {
		return 0
	}
	return SizeKV(HeaderField, sizeHeader(h))
}

// AppendHeader appends h as field 1 of a response: tag, length, message. A header of zeros is there
// all the same; a nil one is not.
func AppendHeader(dst []byte, h *cairn.Header) []byte {
	if h == nil {
		return dst
	}
	dst = protowire.AppendTag(dst, HeaderField, protowire.BytesType)
	dst = protowire.AppendVarint(dst, uint64(sizeHeader(h)))
	dst = AppendVarint(dst, 1, h.ClusterID)
	dst = AppendVarint(dst, 2, h.MemberID)
	dst = AppendVarint(dst, 3, uint64(h.Revision))
	return AppendVarint(dst, 4, h.RaftTerm)
}

// AppendPutResponse appends a PutResponse; prev is the encoded KeyValue before the put, nil if
// there is none to report.
func AppendPutResponse(dst []byte, h *cairn.Header, prev []byte) []byte {
	dst = AppendHeader(dst, h)
	if prev != nil {
		dst = AppendKV(dst, PutPrevKV, prev)
	}
	return dst
}

// AppendLeaseKeepAliveResponse appends a LeaseKeepAliveResponse.
func AppendLeaseKeepAliveResponse(
	dst []byte, h *cairn.Header, id cairn.LeaseID, ttl int64,
) []byte {
	const ( // fields of LeaseKeepAliveResponse
		idField  = 2
		ttlField = 3
	)
	dst = AppendHeader(dst, h)
	dst = AppendVarint(dst, idField, uint64(id))
	return AppendVarint(dst, ttlField, uint64(ttl))
}

// AppendDeleteRangeResponse appends a DeleteRangeResponse; prevs are the encoded KeyValues that
// were deleted, empty if they were not asked for.
func AppendDeleteRangeResponse(
	dst []byte, h *cairn.Header, deleted int64, prevs [][]byte,
) []byte {
	dst = AppendHeader(dst, h)
	dst = AppendVarint(dst, DeleteRangeDeleted, uint64(deleted))
	for _, kv := range prevs {
		dst = AppendKV(dst, DeleteRangePrevKVs, kv)
	}
	return dst
}

// AppendResponseOp appends one operation's encoded response as a field TxnResponses of a
// TxnResponse. OpNone gives an operation without a response.
func AppendResponseOp(dst []byte, kind cairn.OpKind, resp []byte) []byte {
	dst = protowire.AppendTag(dst, TxnResponses, protowire.BytesType)
	if kind == cairn.OpNone {
		return append(dst, 0)
	}
	// OpKind counts its kinds from 1 in the order of the oneof's members.
	member := protowire.Number(kind)
	dst = protowire.AppendVarint(dst, uint64(SizeKV(member, len(resp))))
	return AppendKV(dst, member, resp)
}

// AppendTxnResponse appends a TxnResponse; responseOps is what AppendResponseOp has made for
// each operation, one after the other.
func AppendTxnResponse(
	dst []byte, h *cairn.Header, succeeded bool, responseOps []byte,
) []byte {
	dst = AppendHeader(dst, h)
	dst = AppendBool(dst, TxnSucceeded, succeeded)
	return append(dst, responseOps...)
}
