package cairn

// SortOrder is RangeRequest.SortOrder of the API.
type SortOrder int32

// SortTarget is RangeRequest.SortTarget of the API.
type SortTarget int32

// The values of the API's enums; others are refused with ErrInvalidSortOption.
const (
	SortNone    SortOrder = 0
	SortAscend  SortOrder = 1
	SortDescend SortOrder = 2

	SortByKey     SortTarget = 0
	SortByVersion SortTarget = 1
	SortByCreate  SortTarget = 2
	SortByMod     SortTarget = 3
	SortByValue   SortTarget = 4
)

// RangeRequest is etcdserverpb.RangeRequest. An empty End means the one key; an End of one zero
// byte means every key from Key on; else the keys in [Key, End).
type RangeRequest struct {
	Key, End          []byte
	Limit             int64
	Revision          int64 // <= 0: the newest
	SortOrder         SortOrder
	SortTarget        SortTarget
	Serializable      bool
	KeysOnly          bool
	CountOnly         bool
	MinModRevision    int64
	MaxModRevision    int64
	MinCreateRevision int64
	MaxCreateRevision int64
}

// PutRequest is etcdserverpb.PutRequest.
type PutRequest struct {
	Key, Value  []byte
	Lease       LeaseID
	PrevKV      bool
	IgnoreValue bool
	IgnoreLease bool
}

// DeleteRangeRequest is etcdserverpb.DeleteRangeRequest.
type DeleteRangeRequest struct {
	Key, End []byte
	PrevKV   bool
}

// CompareResult and CompareTarget are Compare's enums in the API.
type (
	CompareResult int32
	CompareTarget int32
)

// The values of the API's enums.
const (
	CompareEqual    CompareResult = 0
	CompareGreater  CompareResult = 1
	CompareLess     CompareResult = 2
	CompareNotEqual CompareResult = 3

	CompareVersion CompareTarget = 0
	CompareCreate  CompareTarget = 1
	CompareMod     CompareTarget = 2
	CompareValue   CompareTarget = 3
	CompareLease   CompareTarget = 4
)

// Compare is one condition of a transaction: it holds if it holds for every key of [Key, End).
type Compare struct {
	Result CompareResult
	Target CompareTarget
	Key    []byte
	End    []byte
	Number int64  // the value of VERSION, CREATE, MOD and LEASE
	Value  []byte // the value of VALUE
}

// OpKind tells which request an Op holds.
type OpKind uint8

// The kinds of an Op. OpNone is an op without a request: the API allows it on the wire.
const (
	OpNone OpKind = iota
	OpRange
	OpPut
	OpDeleteRange
	OpTxn
)

// Op is one operation of a transaction; the field that Kind names is set.
type Op struct {
	Kind        OpKind
	Range       *RangeRequest
	Put         *PutRequest
	DeleteRange *DeleteRangeRequest
	Txn         *TxnRequest
}

// TxnRequest is etcdserverpb.TxnRequest: if all of Compare hold, Success is executed, else Failure.
type TxnRequest struct {
	Compare []Compare
	Success []Op
	Failure []Op
}

// CompactRequest is etcdserverpb.CompactionRequest.
type CompactRequest struct {
	Revision int64
	Physical bool
}
