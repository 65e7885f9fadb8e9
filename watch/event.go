package watch

import "github.com/cairnkv/cairn"

// Event is mvcc.Event until that package is there.
type Event struct {
	Rev            cairn.Revision
	Key            []byte
	Delete, Create bool
	KV             []byte
}
