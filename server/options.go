package server

import (
	"errors"
	"log/slog"
	"time"

	"github.com/cairnkv/cairn/revlog"
	"github.com/cairnkv/cairn/watch"
)

// overheadBytes is what a message may have over --max-request-bytes (etcd: 512 KiB).
const overheadBytes = 512 << 10

// watchOptions of the hub.
func (s *Server) watchOptions() watch.Options {
	response := int(s.cfg.MaxRequestBytes) + overheadBytes
	if s.sys.watchBytes > 0 {
		response = s.sys.watchBytes / 2
	}
	return watch.Options{
		StreamBytes: s.sys.watchBytes, ResponseBytes: response,
		// Up to a tenth of jitter, so that the streams of a restart do not speak at once.
		ProgressInterval: func() time.Duration {
			d := s.cfg.ProgressInterval()
			random, err := randomSequence()
			if err != nil {
				return d
			}
			return d + time.Duration(random%uint64(d/10+1))
		},
		Failed: func(err error) {
			s.logger.Error("watchers ended: their past cannot be read", slog.Any("error", err))
			if corrupt := (*revlog.CorruptError)(nil); errors.As(err, &corrupt) {
				s.damage.note(corrupt)
			}
		},
	}
}

// minLeaseTTL is one and a half election timeouts in seconds, rounded up (etcd: minTTL).
func (s *Server) minLeaseTTL() int64 {
	election := time.Duration(s.cfg.ElectionTicks()) * s.cfg.Heartbeat()
	return int64((3*election/2 + time.Second - 1) / time.Second)
}
