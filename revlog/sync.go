package revlog

import "slices"

// Sync makes everything durable that was flushed before the call, and seals the segments that are
// full. It may run beside all other calls; it holds no lock that Append, Flush or readers need.
//
// After an error the log answers only with that error: the owner ends the process.
func (l *Log) Sync() error {
	l.syncMu.Lock()
	defer l.syncMu.Unlock()
	if err := l.err(); err != nil {
		return err
	}
	l.mu.Lock()
	open := slices.Clone(l.open)
	names := l.names
	l.mu.Unlock()
	for _, f := range open {
		if err := l.syncFile(f); err != nil {
			return l.fail(err)
		}
	}
	if names > l.syncedNames {
		if err := l.fs.SyncDir(l.dir); err != nil {
			return l.fail(err)
		}
		l.syncedNames = names
	}
	return nil
}

// syncFile makes a file's records durable, and a full file complete. The caller holds syncMu.
func (l *Log) syncFile(f *file) error {
	l.mu.Lock()
	full := f.full
	l.mu.Unlock()
	end := f.end.Load() // after full: of a full file it is the last
	if full {
		if err := f.seal(); err != nil {
			return err
		}
	} else if end == f.synced {
		return nil
	}
	if err := f.f.SyncData(); err != nil {
		return err
	}
	f.synced = end
	if !full {
		return nil
	}
	l.mu.Lock()
	fd := f.f
	f.f, f.sealed = nil, true
	f.size = end + int64(f.entries.Load())*tableEntryBytes + trailerBytes
	l.open = slices.DeleteFunc(l.open, func(o *file) bool { return o == f })
	l.mu.Unlock()
	return fd.Close()
}
