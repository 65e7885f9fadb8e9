package revlog

// Stats are the log's numbers, for metrics. Sizes in bytes.
type Stats struct {
	Files     int    // files that hold the log, the active one included
	Segment   uint64 // sequence number of the active segment
	DiskBytes int64  // what the files take: with headers, footers, space allocated ahead
	// PinnedBytes is what removed files still take, because readers pin them.
	PinnedBytes int64

	Records        int64 // on disk, dead ones included
	RecordBytes    int64
	DeadBytes      int64 // of RecordBytes, tombstones included; estimated for records above 4 KiB
	DeadTombstones int64 // of DeadBytes

	Reclaim ReclaimStats
}

// LiveBytes is the bytes of the records that the index needs.
func (s Stats) LiveBytes() int64 { return max(s.RecordBytes-s.DeadBytes, 0) }

// ReclaimStats count since Open.
type ReclaimStats struct {
	Rewrites int64 // rewrites that were switched in
	FilesIn  int64 // files that they replaced
	BytesIn  int64 // bytes read
	BytesOut int64 // bytes written
	Sweeps   int64 // passes over all files to get rid of tombstones
	NoSpace  int64 // rewrites given up because the disk was full
	Waiting  bool  // a rewrite waits for a checkpoint
}

// LiveBytes is Stats().LiveBytes() without waiting for anything: to be asked before each write. Any
// goroutine.
func (l *Log) LiveBytes() int64 {
	var s Stats
	for _, f := range l.view.Load().files {
		s.RecordBytes += f.recordBytes()
		s.DeadBytes += f.deadPuts.Load() + f.deadTombs.Load()
	}
	return s.LiveBytes()
}

// Stats returns the numbers of this moment. Any goroutine; it may wait for a Prepare.
func (l *Log) Stats() Stats {
	var s Stats
	l.reclaim.count(func(r *ReclaimStats) { s.Reclaim = *r })
	l.prepareMu.Lock()
	if l.next != nil {
		s.DiskBytes += l.next.f.size
	}
	l.prepareMu.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	files := l.view.Load().files
	s.Files = len(files)
	s.Segment = files[len(files)-1].id.hi
	for _, f := range files {
		s.DiskBytes += f.size
		s.Records += f.records.Load()
		s.RecordBytes += f.recordBytes()
		s.DeadTombstones += f.deadTombs.Load()
		s.DeadBytes += f.deadPuts.Load() + f.deadTombs.Load()
	}
	for _, r := range l.retired {
		s.PinnedBytes += r.f.size
	}
	return s
}
