package bench

import (
	"encoding/binary"
	"errors"

	"google.golang.org/protobuf/encoding/protowire"
)

// method is one of those that loads call.
type method int

const (
	putMethod method = iota
	rangeMethod
	deleteMethod
	txnMethod
	watchMethod
	grantMethod
	revokeMethod
	keepAliveMethod
	lockMethod
	unlockMethod
	authMethod
	methods // how many there are
)

// paths are what calls of the methods name.
var paths = [methods]string{
	putMethod:       "/etcdserverpb.KV/Put",
	rangeMethod:     "/etcdserverpb.KV/Range",
	deleteMethod:    "/etcdserverpb.KV/DeleteRange",
	txnMethod:       "/etcdserverpb.KV/Txn",
	watchMethod:     "/etcdserverpb.Watch/Watch",
	grantMethod:     "/etcdserverpb.Lease/LeaseGrant",
	revokeMethod:    "/etcdserverpb.Lease/LeaseRevoke",
	keepAliveMethod: "/etcdserverpb.Lease/LeaseKeepAlive",
	lockMethod:      "/v3lockpb.Lock/Lock",
	unlockMethod:    "/v3lockpb.Lock/Unlock",
	authMethod:      "/etcdserverpb.Auth/Authenticate",
}

// Messages are written by hand: a request costs its bytes and nothing else. Field numbers are those
// of etcd's rpc.proto and kv.proto.

func appendUint(b []byte, field protowire.Number, v uint64) []byte {
	if v == 0 {
		return b
	}
	return protowire.AppendVarint(protowire.AppendTag(b, field, protowire.VarintType), v)
}

func appendBool(b []byte, field protowire.Number, v bool) []byte {
	if !v {
		return b
	}
	return appendUint(b, field, 1)
}

func appendBytes(b []byte, field protowire.Number, v []byte) []byte {
	if len(v) == 0 {
		return b
	}
	return protowire.AppendBytes(protowire.AppendTag(b, field, protowire.BytesType), v)
}

// appendMessage appends a message field, which counts even when it is empty.
func appendMessage(b []byte, field protowire.Number, v []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(b, field, protowire.BytesType), v)
}

// appendPut appends a PutRequest.
func appendPut(b, key, value []byte, lease int64) []byte {
	b = appendBytes(b, 1, key)
	b = appendBytes(b, 2, value)
	return appendUint(b, 3, uint64(lease))
}

// rangeRequest is what loads use of a RangeRequest.
type rangeRequest struct {
	key, end         []byte
	limit, rev       int64
	descend          bool  // by create revision; needs sorted
	sorted           bool  // by create revision
	maxCreate        int64 // revision
	serializable     bool
	keysOnly, counts bool
}

func (r *rangeRequest) append(b []byte) []byte {
	const ascend, descend, byCreate = 1, 2, 2
	b = appendBytes(b, 1, r.key)
	b = appendBytes(b, 2, r.end)
	b = appendUint(b, 3, uint64(r.limit))
	b = appendUint(b, 4, uint64(r.rev))
	if r.sorted {
		order := uint64(ascend)
		if r.descend {
			order = descend
		}
		b = appendUint(b, 5, order)
		b = appendUint(b, 6, byCreate)
	}
	b = appendBool(b, 7, r.serializable)
	b = appendBool(b, 8, r.keysOnly)
	b = appendBool(b, 9, r.counts)
	return appendUint(b, 13, uint64(r.maxCreate))
}

// Fields of TxnRequest, and of RequestOp.
const (
	txnCompare, txnSuccess, txnFailure = 1, 2, 3
	opRange, opPut, opDelete           = 1, 2, 3
)

// Values of Compare: what is compared, and how.
const (
	cmpEqual, cmpLess     = 0, 2
	cmpCreate, cmpMod     = 1, 2
	createField, modField = 5, 6
)

// appendCompare appends a comparison of a key's create or mod revision to a TxnRequest; scratch is
// overwritten and returned.
func appendCompare(b, scratch, key []byte, target, result uint64, rev int64) (txn, _ []byte) {
	scratch = appendUint(scratch[:0], 1, result)
	scratch = appendUint(scratch, 2, target)
	scratch = appendBytes(scratch, 3, key)
	field := protowire.Number(createField)
	if target == cmpMod {
		field = modField
	}
	// The member of a oneof is written even when it is 0.
	scratch = protowire.AppendTag(scratch, field, protowire.VarintType)
	scratch = protowire.AppendVarint(scratch, uint64(rev))
	return appendMessage(b, txnCompare, scratch), scratch
}

// appendOp appends an operation, given as its request's bytes, to one of a TxnRequest's branches.
func appendOp(b []byte, branch, kind protowire.Number, request []byte) []byte {
	inner := protowire.SizeTag(kind) + protowire.SizeBytes(len(request))
	b = protowire.AppendTag(b, branch, protowire.BytesType)
	b = protowire.AppendVarint(b, uint64(inner))
	return appendMessage(b, kind, request)
}

// errMalformed is what an answer that cannot be read is refused with.
var errMalformed = errors.New("an answer is no protobuf message")

// field is one field of a message: a number, or bytes that alias the message.
type field struct {
	num   protowire.Number
	value uint64
	bytes []byte
}

// fields calls f with each varint and bytes field of a message, in order. Others are skipped.
func fields(msg []byte, f func(field) error) error {
	for len(msg) > 0 {
		num, kind, n := protowire.ConsumeTag(msg)
		if n < 0 {
			return errMalformed
		}
		msg = msg[n:]
		fd := field{num: num}
		switch kind {
		case protowire.VarintType:
			if fd.value, n = binary.Uvarint(msg); n <= 0 {
				return errMalformed
			}
		case protowire.BytesType:
			if fd.bytes, n = protowire.ConsumeBytes(msg); n < 0 {
				return errMalformed
			}
		default:
			if n = protowire.ConsumeFieldValue(num, kind, msg); n < 0 {
				return errMalformed
			}
			msg = msg[n:]
			continue
		}
		msg = msg[n:]
		if err := f(fd); err != nil {
			return err
		}
	}
	return nil
}

// headerRevision returns the revision in an answer's header.
func headerRevision(msg []byte) (rev int64, err error) {
	err = fields(msg, func(f field) error {
		if f.num != 1 || f.bytes == nil {
			return nil
		}
		return fields(f.bytes, func(f field) error {
			if f.num == 3 {
				rev = int64(f.value)
			}
			return nil
		})
	})
	return rev, err
}

// keyValue is what loads look at of a KeyValue; the slices alias the answer.
type keyValue struct {
	key, value  []byte
	create, mod int64
}

func decodeKeyValue(msg []byte) (kv keyValue, err error) {
	err = fields(msg, func(f field) error {
		switch f.num {
		case 1:
			kv.key = f.bytes
		case 2:
			kv.create = int64(f.value)
		case 3:
			kv.mod = int64(f.value)
		case 5:
			kv.value = f.bytes
		}
		return nil
	})
	return kv, err
}

// rangeResponse is what loads look at of a RangeResponse: the first key.
type rangeResponse struct {
	first keyValue
	kvs   int
	rev   int64
}

func decodeRange(msg []byte) (r rangeResponse, err error) {
	if r.rev, err = headerRevision(msg); err != nil {
		return r, err
	}
	err = fields(msg, func(f field) error {
		if f.num != 2 {
			return nil
		}
		var err error
		if r.kvs++; r.kvs == 1 {
			r.first, err = decodeKeyValue(f.bytes)
		}
		return err
	})
	return r, err
}

// txnResponse is what loads look at of a TxnResponse; the answers are messages of their kinds.
type txnResponse struct {
	succeeded bool
	answers   [][]byte // RangeResponse, PutResponse, ...
	rev       int64
}

func decodeTxn(msg []byte) (r txnResponse, err error) {
	if r.rev, err = headerRevision(msg); err != nil {
		return r, err
	}
	err = fields(msg, func(f field) error {
		switch f.num {
		case 2:
			r.succeeded = f.value != 0
		case 3:
			return fields(f.bytes, func(f field) error {
				r.answers = append(r.answers, f.bytes)
				return nil
			})
		}
		return nil
	})
	return r, err
}

// decodeLease returns the id in a LeaseGrantResponse or LeaseKeepAliveResponse, and the TTL in
// seconds.
func decodeLease(msg []byte) (id, ttl int64, err error) {
	err = fields(msg, func(f field) error {
		switch f.num {
		case 2:
			id = int64(f.value)
		case 3:
			ttl = int64(f.value)
		}
		return nil
	})
	return id, ttl, err
}

// watchResponse is what loads look at of a WatchResponse.
type watchResponse struct {
	id       int64
	created  bool
	canceled bool
	reason   string
	compact  int64
	events   int
}

// decodeWatch reads a WatchResponse and calls event for each of its events.
func decodeWatch(msg []byte, event func(kv []byte, deleted bool) error) (
	r watchResponse, err error,
) {
	err = fields(msg, func(f field) error {
		switch f.num {
		case 2:
			r.id = int64(f.value)
		case 3:
			r.created = f.value != 0
		case 4:
			r.canceled = f.value != 0
		case 5:
			r.compact = int64(f.value)
		case 6:
			r.reason = string(f.bytes)
		case 11:
			r.events++
			if event == nil {
				return nil
			}
			var kv []byte
			deleted := false
			err := fields(f.bytes, func(f field) error {
				switch f.num {
				case 1:
					deleted = f.value != 0
				case 2:
					kv = f.bytes
				}
				return nil
			})
			if err != nil {
				return err
			}
			return event(kv, deleted)
		}
		return nil
	})
	return r, err
}
