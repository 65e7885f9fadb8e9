package index

const (
	tableSlots = 512 // slots of one table: 4 KiB
	tableMax   = 448 // used slots at which a table splits (7/8)
	// tableMaxDepth bounds the directory to 2^24 tables, room for 2^32 keys; tables that cannot
	// split any more fill up to their last but one slot.
	tableMaxDepth = 24
)

// tableSlot is one place of a table; id 0 is empty.
type tableSlot struct {
	hash uint32
	id   uint32
}

// table finds the id of a key by its hash: extendible hashing. The first depth bits of a hash
// choose a place of the directory, which names a small table with open addressing, probed from
// the hash's last bits on. A full table is split in two; only when that table was as deep as the
// directory is the directory doubled, and it is small (4 bytes for some 300 keys). So no insert
// ever waits for more than that, and there is no moment at which everything is hashed again.
type table struct {
	dir    []uint32 // by the first depth bits of the hash: number of the table
	tables []*[tableSlots]tableSlot
	meta   []tableMeta // beside tables, so that a table is 4 KiB and no more
	depth  uint8
}

// tableMeta describes one table: all its hashes share the first depth bits.
type tableMeta struct {
	used  uint16
	depth uint8
}

func newTable() table {
	return table{
		dir:    make([]uint32, 1),
		tables: []*[tableSlots]tableSlot{new([tableSlots]tableSlot)},
		meta:   make([]tableMeta, 1),
	}
}

// number is the table in which a hash lives.
func (t *table) number(hash uint32) uint32 { return t.dir[hash>>(32-t.depth)] }

// insert adds an id that is not in the table. It is false if there is no room, which 2^32 keys
// with a random hash do not bring about.
func (t *table) insert(hash, id uint32) bool {
	for {
		n := t.number(hash)
		m := &t.meta[n]
		if m.used < tableMax || m.depth == tableMaxDepth && m.used < tableSlots-1 {
			place(t.tables[n], tableSlot{hash, id})
			m.used++
			return true
		}
		if m.depth == tableMaxDepth {
			return false
		}
		t.split(n)
	}
}

// place puts a slot into a table that has room.
func place(slots *[tableSlots]tableSlot, s tableSlot) {
	i := s.hash % tableSlots
	for slots[i].id != 0 {
		i = (i + 1) % tableSlots
	}
	slots[i] = s
}

// split divides table n by the next bit of the hash; the half with that bit set gets a new table.
func (t *table) split(n uint32) {
	if t.meta[n].depth == t.depth {
		wide := make([]uint32, 2*len(t.dir))
		for i, v := range t.dir {
			wide[2*i], wide[2*i+1] = v, v
		}
		t.dir = wide
		t.depth++
	}
	old := *t.tables[n]
	*t.tables[n] = [tableSlots]tableSlot{}
	twin := uint32(len(t.tables))
	t.tables = append(t.tables, new([tableSlots]tableSlot))
	t.meta[n].depth++
	t.meta[n].used = 0
	t.meta = append(t.meta, tableMeta{depth: t.meta[n].depth})
	bit := uint32(1) << (32 - t.meta[n].depth)
	var prefix uint32 // the bits that all hashes of the old table share
	for _, s := range old {
		if s.id == 0 {
			continue
		}
		to := n
		if s.hash&bit != 0 {
			to = twin
		}
		place(t.tables[to], s)
		t.meta[to].used++
		prefix = s.hash &^ (bit<<1 - 1)
	}
	first := (prefix | bit) >> (32 - t.depth)
	count := uint32(1) << (t.depth - t.meta[n].depth)
	for i := range count {
		t.dir[first+i] = twin
	}
}

// remove takes an id out; what probing passed over it is moved up, so that no marks pile up.
func (t *table) remove(hash, id uint32) {
	n := t.number(hash)
	slots := t.tables[n]
	i := hash % tableSlots
	for slots[i].id != id {
		if slots[i].id == 0 {
			return
		}
		i = (i + 1) % tableSlots
	}
	t.meta[n].used--
	for j := (i + 1) % tableSlots; slots[j].id != 0; j = (j + 1) % tableSlots {
		home := slots[j].hash % tableSlots
		if (j-home)%tableSlots >= (j-i)%tableSlots { // its way from home passes i
			slots[i] = slots[j]
			i = j
		}
	}
	slots[i] = tableSlot{}
}

// bytes is the memory of the table.
func (t *table) bytes() int {
	return 4*cap(t.dir) + len(t.tables)*tableSlots*8 + 8*cap(t.tables) + 4*cap(t.meta)
}
