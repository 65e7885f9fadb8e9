package watch

// index finds the groups that watch a key. The owner's lock guards it.
type index struct {
	points map[string]*bucket
	ranges tree
}

// bucket holds the groups of one range: at most one for each flavor.
type bucket struct {
	start, end []byte // end is nil for a point, and for a range without end
	ranged     bool
	groups     []*group
}

// flavor is what makes the events of watchers of one range differ.
type flavor struct {
	noPut, noDelete, prevKV bool
}

// group is the watchers of one range and flavor that get the same bodies.
type group struct {
	flavor
	bucket  *bucket
	members []member

	// What the fanout under way has for the members; empty between two.
	bodies []*body
	owned  bool  // the last of bodies is this group's alone and may be appended to
	err    error // why there are no bodies

	// Step marks the groups that take part in its chunk: epoch equals the fanout's. Events
	// before from are not wanted by any member. Both stay 0 where Publish works.
	epoch uint64
	from  int64
}

// member is what the fan-out needs of a watcher without touching it.
type member struct {
	w *watcher
	s *Stream
	// next is the first revision that the watcher wants, while it is synced. It lies above the
	// hub's revision when the watcher joins and is not kept up to date after.
	next int64
}

func (x *index) empty() bool { return len(x.points) == 0 && x.ranges.root == nil }

func newIndex() index { return index{points: make(map[string]*bucket)} }

// add makes w a member of its group. w must be in no group.
func (x *index) add(w *watcher) {
	b := x.bucketOf(w)
	g := b.groupOf(w.flavor)
	w.group, w.place = g, len(g.members)
	g.members = append(g.members, member{w: w, s: w.stream, next: w.next})
}

func (x *index) bucketOf(w *watcher) *bucket {
	if w.ranged {
		return x.ranges.get(w.start, w.end)
	}
	b := x.points[string(w.start)]
	if b == nil {
		b = &bucket{start: w.start}
		x.points[string(w.start)] = b
	}
	return b
}

func (b *bucket) groupOf(f flavor) *group {
	for _, g := range b.groups {
		if g.flavor == f {
			return g
		}
	}
	g := &group{flavor: f, bucket: b}
	b.groups = append(b.groups, g)
	return g
}

// remove takes w out of its group; the last member of g.members takes its place.
func (x *index) remove(w *watcher) {
	g := w.group
	last := len(g.members) - 1
	g.members[w.place] = g.members[last]
	g.members[w.place].w.place = w.place
	g.members[last] = member{}
	g.members = g.members[:last]
	w.group = nil
	if last > 0 {
		return
	}
	b := g.bucket
	for i, o := range b.groups {
		if o == g {
			end := len(b.groups) - 1
			b.groups[i] = b.groups[end]
			b.groups[end] = nil
			b.groups = b.groups[:end]
			break
		}
	}
	if len(b.groups) > 0 {
		return
	}
	if b.ranged {
		x.ranges.remove(b.start, b.end)
	} else {
		delete(x.points, string(b.start))
	}
}

// find appends to hits the buckets whose range holds key.
func (x *index) find(key []byte, hits []*bucket) []*bucket {
	if b := x.points[string(key)]; b != nil {
		hits = append(hits, b)
	}
	if x.ranges.root != nil {
		hits = x.ranges.hold(key, hits)
	}
	return hits
}
