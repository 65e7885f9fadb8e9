package server

import (
	"fmt"
	"log/slog"

	"github.com/cairnkv/cairn/node"
)

// raftLogger passes raft's messages on; what raft holds to be impossible ends the process.
type raftLogger struct{ log *slog.Logger }

func (l raftLogger) Debug(v ...any)                 { l.log.Debug("raft: " + fmt.Sprint(v...)) }
func (l raftLogger) Debugf(f string, v ...any)      { l.log.Debug("raft: " + fmt.Sprintf(f, v...)) }
func (l raftLogger) Info(v ...any)                  { l.log.Info("raft: " + fmt.Sprint(v...)) }
func (l raftLogger) Infof(f string, v ...any)       { l.log.Info("raft: " + fmt.Sprintf(f, v...)) }
func (l raftLogger) Warning(v ...any)               { l.log.Warn("raft: " + fmt.Sprint(v...)) }
func (l raftLogger) Warningf(f string, v ...any)    { l.log.Warn("raft: " + fmt.Sprintf(f, v...)) }
func (l raftLogger) Error(v ...any)                 { l.log.Error("raft: " + fmt.Sprint(v...)) }
func (l raftLogger) Errorf(f string, v ...any)      { l.log.Error("raft: " + fmt.Sprintf(f, v...)) }
func (l raftLogger) Fatal(v ...any)                 { l.Panic(v...) }
func (l raftLogger) Fatalf(f string, v ...any)      { l.Panicf(f, v...) }
func (l raftLogger) Panic(v ...any)                 { panic("raft: " + fmt.Sprint(v...)) }
func (l raftLogger) Panicf(format string, v ...any) { panic("raft: " + fmt.Sprintf(format, v...)) }

// noSync is the raft log of --unsafe-no-fsync: what it says is durable is not.
type noSync struct{ node.Log }

func (l noSync) Flush(bool) error { return l.Log.Flush(false) }

// Mark says nothing: what it would claim is not so.
func (l noSync) Mark() error { return nil }

// raftLog is the log that the node writes.
func (s *Server) raftLog() node.Log {
	if s.cfg.UnsafeNoFsync {
		return noSync{s.stores.wal}
	}
	return s.stores.wal
}
