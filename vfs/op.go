package vfs

// OpKind is a kind of call on an [FS] or a [File].
type OpKind uint8

// The calls. Those from OpCreate to OpSyncData change, or make durable, something on disk; see
// [OpKind.Mutates].
const (
	OpCreate OpKind = iota + 1
	OpOpenReadWrite
	OpRemove
	OpRemoveAll
	OpRename
	OpMkdirAll
	OpSyncDir
	OpLock
	OpWrite
	OpTruncate
	OpAllocate
	OpSync
	OpSyncData

	OpOpen
	OpRead
	OpMap
	OpList
	OpStat
	OpSpace
	OpWriteback
)

// Mutates says whether such a call counts as a step of a durable path: one before and after which a
// crash leaves different disks.
func (k OpKind) Mutates() bool {
	return k >= OpCreate && k <= OpSyncData && k != OpOpenReadWrite
}

func (k OpKind) String() string {
	names := [...]string{
		"none", "create", "openrw", "remove", "removeall", "rename", "mkdirall", "syncdir",
		"lock", "write", "truncate", "allocate", "sync", "syncdata",
		"open", "read", "map", "list", "stat", "space", "writeback",
	}
	if int(k) >= len(names) {
		return "unknown"
	}
	return names[k]
}

// Op is one call, as hooks and fault predicates see it.
type Op struct {
	Kind OpKind
	// Path is the file or directory; the new name of a rename.
	Path string
	// OldPath is the name that a rename takes away; otherwise empty.
	OldPath string
	// Offset and Size are the range of a read, write or write-back; Size is also the length
	// given to truncate, allocate and map.
	Offset, Size int64
}
