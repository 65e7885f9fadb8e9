package mvcc

import (
	"bytes"

	"github.com/cairnkv/cairn"
)

// byTarget orders items by what a RangeRequest names (etcd txn.sortRangeResults).
type byTarget struct {
	items  []item
	target cairn.SortTarget
}

func (b *byTarget) Len() int      { return len(b.items) }
func (b *byTarget) Swap(i, j int) { b.items[i], b.items[j] = b.items[j], b.items[i] }

func (b *byTarget) Less(i, j int) bool {
	x, y := &b.items[i], &b.items[j]
	switch b.target {
	case cairn.SortByVersion:
		return x.v.Version < y.v.Version
	case cairn.SortByCreate:
		return x.v.Create < y.v.Create
	case cairn.SortByMod:
		return x.v.Rev.Main < y.v.Rev.Main
	case cairn.SortByValue:
		return bytes.Compare(x.value, y.value) < 0
	default:
		return bytes.Compare(x.key, y.key) < 0
	}
}
