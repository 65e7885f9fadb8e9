// Package wire reads and writes the hot messages of the v3 API as protobuf bytes, without the
// generated code: requests are decoded in place, responses are appended to a caller's buffer.
//
// # Contract
//
// A decoder fills the vocabulary's struct (package cairn) from the bytes of the etcdserverpb
// message of the same name. It accepts exactly the inputs that proto.Unmarshal accepts, with the
// same meaning:
//
//   - of a scalar that occurs several times the last one counts; a repeated field collects all;
//   - in a oneof the last member counts, and if it is the member that was already set and a
//     message, the two are merged, as protobuf merges them;
//   - unknown fields, and known ones that come with another wire type, are skipped (but must be
//     well-formed: a field cut short, a length beyond the end, an unpaired group are ErrMalformed);
//   - nesting is bounded by MaxDepth, beyond it the answer is ErrTooDeep.
//
// Every slice in a decoded struct aliases the input: it is valid as long as the input is, and the
// input must not change meanwhile. A decoder sets every field of the struct, so one struct can be
// used again and again; DecodeTxn then also reuses its slices and the operations that they point
// to, and in the steady state allocates nothing. On an error the struct's content is undefined.
//
// An encoder appends the canonical encoding: fields in the order of their numbers, zero values left
// out. That is byte for byte what proto.Marshal of the generated types produces, so stored
// records and answers can be compared with etcd's.
//
// All functions are pure and safe for concurrent use on different structs.
//
// # Bytes
//
// A message is a sequence of fields; a field is a tag and a value:
//
//	+--------------------------+---------------------------------------------+
//	| varint number<<3 | type  | type 0: varint                              |
//	|                          | type 1: 8 bytes    type 5: 4 bytes          |
//	|                          | type 2: varint length, then so many bytes   |
//	|                          | type 3: fields up to the type 4 of its own  |
//	+--------------------------+---------------------------------------------+
//
// See https://protobuf.dev/programming-guides/encoding.
package wire
