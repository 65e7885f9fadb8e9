package datadir

// Prove makes durable that writes up to rev had been applied, which the raft log must reproduce:
// the records that show it go when the record log is cut. A greater revision of an earlier start
// that did not end stays. It returns the revision to reach.
func (d *Dir) Prove(rev int64) (int64, error) {
	earlier, _, err := d.get(proven)
	if err != nil || int64(earlier) >= rev {
		return int64(earlier), err
	}
	return rev, d.set(proven, uint64(rev))
}

// Proven ends the proof: the revision was reached.
func (d *Dir) Proven() error { return d.clear(proven) }
