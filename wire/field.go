package wire

import (
	"errors"

	"google.golang.org/protobuf/encoding/protowire"
)

// MaxDepth is how many messages may be nested in each other, the outermost included: protobuf's
// own limit. A level of transaction costs two (the operation and the transaction in it).
const MaxDepth = protowire.DefaultRecursionLimit

// Errors of decoding, with the texts of the Go protobuf runtime.
var (
	ErrMalformed = errors.New("proto: cannot parse invalid wire-format data")
	ErrTooDeep   = errors.New("proto: exceeded maximum recursion depth")
)

// The tags of a field are compared as number<<3|type; of a field with another type than its
// own no case matches, so that it is skipped like an unknown one.
const (
	typeVarint = uint64(protowire.VarintType)
	typeBytes  = uint64(protowire.BytesType)
)

// field is one decoded field: its tag, and its value if that is a varint or bytes.
type field struct {
	tag  uint64
	num  uint64
	data []byte
}

// next decodes the field at the front of b into f and returns what follows it.
func (f *field) next(b []byte) (rest []byte, err error) {
	if len(b) >= 2 && b[0] < 0x80 {
		f.tag, b = uint64(b[0]), b[1:]
	} else {
		tag, n := protowire.ConsumeVarint(b)
		if n < 0 {
			return nil, ErrMalformed
		}
		f.tag, b = tag, b[n:]
	}
	number := f.tag >> 3
	if number < uint64(protowire.MinValidNumber) || number > uint64(protowire.MaxValidNumber) {
		return nil, ErrMalformed
	}
	switch f.tag & 7 {
	case typeBytes:
		size, n := varint(b)
		if n < 0 || size > uint64(len(b)-n) {
			return nil, ErrMalformed
		}
		end := n + int(size)
		f.data = b[n:end:end]
		return b[end:], nil
	case typeVarint:
		v, n := varint(b)
		if n < 0 {
			return nil, ErrMalformed
		}
		f.num = v
		return b[n:], nil
	default:
		// Fixed sizes, groups, a stray end of a group, reserved types.
		n := protowire.ConsumeFieldValue(protowire.Number(number), protowire.Type(f.tag&7), b)
		if n < 0 {
			return nil, ErrMalformed
		}
		return b[n:], nil
	}
}

// varint decodes the varint at the front of b; n < 0 if there is none.
func varint(b []byte) (v uint64, n int) {
	if len(b) > 0 && b[0] < 0x80 {
		return uint64(b[0]), 1
	}
	return protowire.ConsumeVarint(b)
}
