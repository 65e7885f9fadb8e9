package h2

import (
	"encoding/binary"
	"fmt"
	"math"

	"golang.org/x/net/http2"
)

// Receive takes what was read from the connection and returns how many bytes of it are done with:
// all but an incomplete frame at the end. An error ends the connection; one of the handler is
// returned as it is.
func (s *Session) Receive(p []byte) (n int, err error) {
	for len(p)-n >= headerLen {
		h := p[n : n+headerLen]
		length := int(h[0])<<16 | int(h[1])<<8 | int(h[2])
		if length > MaxFrame {
			return n, protocol("a frame of %d bytes, %d were allowed", length, MaxFrame)
		}
		if len(p)-n < headerLen+length {
			return n, nil
		}
		id := binary.BigEndian.Uint32(h[5:]) & maxStreamID
		payload := p[n+headerLen : n+headerLen+length]
		if err := s.take(http2.FrameType(h[3]), http2.Flags(h[4]), id, payload); err != nil {
			return n, err
		}
		n += headerLen + length
	}
	return n, nil
}

// take takes one frame.
func (s *Session) take(t http2.FrameType, flags http2.Flags, id uint32, p []byte) error {
	if s.blockOf != 0 && (t != http2.FrameContinuation || id != s.blockOf) {
		return protocol("%v in the middle of headers", t)
	}
	if !s.ready && t != http2.FrameSettings {
		return protocol("%v before the settings", t)
	}
	switch t {
	case http2.FrameData:
		return s.data(flags, id, p)
	case http2.FrameHeaders:
		return s.headers(flags, id, p)
	case http2.FrameContinuation:
		if s.blockOf == 0 {
			return protocol("CONTINUATION of nothing")
		}
		return s.headerBlock(flags.Has(http2.FlagContinuationEndHeaders), p)
	case http2.FrameRSTStream:
		return s.resetByPeer(id, p)
	case http2.FrameSettings:
		return s.settings(flags, id, p)
	case http2.FramePing:
		return s.ping(flags, id, p)
	case http2.FrameGoAway:
		if id != 0 || len(p) < 8 {
			return protocol("GOAWAY on stream %d with %d bytes", id, len(p))
		}
		return &GoAway{binary.BigEndian.Uint32(p) & maxStreamID,
			http2.ErrCode(binary.BigEndian.Uint32(p[4:])), string(p[8:])}
	case http2.FrameWindowUpdate:
		return s.windowUpdated(id, p)
	case http2.FramePushPromise:
		return protocol("PUSH_PROMISE, which was disabled")
	}
	return nil // PRIORITY and what is not known
}

// known tells whether a frame may be for a stream that is gone, as opposed to one that never was.
func (s *Session) known(t http2.FrameType, id uint32) error {
	if id == 0 || id%2 == 0 || id >= s.next {
		return protocol("%v on stream %d, which was never opened", t, id)
	}
	return nil
}

// unpad strips the padding of DATA and HEADERS.
func unpad(p []byte) ([]byte, error) {
	if len(p) == 0 || int(p[0]) > len(p)-1 {
		return nil, protocol("more padding than frame")
	}
	return p[1 : len(p)-int(p[0])], nil
}

func (s *Session) data(flags http2.Flags, id uint32, p []byte) (err error) {
	if err := s.known(http2.FrameData, id); err != nil {
		return err
	}
	whole := len(p)
	if s.consumed += whole; s.consumed >= ConnWindow/2 {
		s.windowUpdate(0, s.consumed)
		s.consumed = 0
	}
	if flags.Has(http2.FlagDataPadded) {
		if p, err = unpad(p); err != nil {
			return err
		}
	}
	st := s.lookup(id)
	if st == nil {
		return nil // canceled
	}
	if !st.remoteSaid {
		return protocol("DATA before the headers on stream %d", id)
	}
	if st.consumed += whole; st.consumed >= StreamWindow/2 {
		s.windowUpdate(id, st.consumed)
		st.consumed = 0
	}
	if err := s.messages(st, id, p); err != nil {
		return err
	}
	if flags.Has(http2.FlagDataEndStream) && st.id == id {
		return s.finish(st, Status{CodeInternal, "the call ended without a gRPC status"})
	}
	return nil
}

// messages takes the messages, or pieces of them, in the data of a stream.
func (s *Session) messages(st *Stream, id uint32, p []byte) error {
	for len(p) > 0 && st.id == id { // the handler may have canceled it
		if st.prefixN < prefixLen {
			n := copy(st.prefix[st.prefixN:], p)
			st.prefixN += n
			p = p[n:]
			if st.prefixN < prefixLen {
				return nil
			}
			size := uint64(binary.BigEndian.Uint32(st.prefix[1:]))
			if st.prefix[0] != 0 {
				return protocol("a compressed message, which was not asked for")
			}
			if s.cfg.MaxMessage > 0 && size > uint64(s.cfg.MaxMessage) || size > math.MaxInt32 {
				return s.abort(st, Status{CodeResourceExhausted, fmt.Sprintf(
					"a message of %d bytes, %d are allowed", size, s.cfg.MaxMessage)})
			}
			st.size, st.got, st.buf = int(size), 0, st.buf[:0]
		}
		msg := p[:min(len(p), st.size-st.got)]
		p = p[len(msg):]
		whole := len(msg) == st.size
		st.got += len(msg)
		if !whole && !st.discard {
			st.buf = append(st.buf, msg...)
		}
		if st.got < st.size {
			return nil
		}
		st.prefixN = 0
		if !whole {
			msg = st.buf
		}
		if err := s.handler.Message(st.owner, msg, st.size); err != nil {
			return err
		}
	}
	return nil
}

func (s *Session) headers(flags http2.Flags, id uint32, p []byte) (err error) {
	if err := s.known(http2.FrameHeaders, id); err != nil {
		return err
	}
	if flags.Has(http2.FlagHeadersPadded) {
		if p, err = unpad(p); err != nil {
			return err
		}
	}
	if flags.Has(http2.FlagHeadersPriority) {
		if len(p) < 5 {
			return protocol("HEADERS without its priority")
		}
		p = p[5:]
	}
	s.blockEnd = flags.Has(http2.FlagHeadersEndStream)
	if flags.Has(http2.FlagHeadersEndHeaders) {
		return s.decoded(id, p)
	}
	s.blockOf, s.block = id, s.block[:0]
	return s.headerBlock(false, p)
}

// headerBlock takes a piece of headers that come in several frames.
func (s *Session) headerBlock(end bool, p []byte) error {
	if s.block = append(s.block, p...); len(s.block) > maxHeaderBlock {
		return protocol("headers of more than %d bytes", maxHeaderBlock)
	}
	if !end {
		return nil
	}
	id := s.blockOf
	s.blockOf = 0
	return s.decoded(id, s.block)
}

// decoded takes a whole header block. That of a stream which is gone counts for the table all the
// same.
func (s *Session) decoded(id uint32, block []byte) error {
	f, err := s.dec.decode(block)
	if err != nil {
		return err
	}
	st := s.lookup(id)
	if st == nil {
		return nil
	}
	switch {
	case s.blockEnd:
		return s.finish(st, f.status())
	case st.remoteSaid:
		return protocol("a second header block on stream %d that does not end it", id)
	case f.http >= 100 && f.http < 200:
		return nil // interim
	case f.http != 200:
		return s.abort(st, f.status())
	}
	st.remoteSaid = true
	return nil
}

// finish ends a stream that the peer has ended. If we have not, the peer is told that nothing more
// comes.
func (s *Session) finish(st *Stream, status Status) error {
	if !st.localDone || len(st.pending) > 0 {
		s.reset(st.id, http2.ErrCodeCancel)
	}
	if status.Code == CodeOK && st.prefixN > 0 {
		status = Status{CodeInternal, "the call ended in the middle of a message"}
	}
	owner := st.owner
	s.free(st)
	return s.handler.End(owner, status)
}

// abort ends a stream that the peer has not ended.
func (s *Session) abort(st *Stream, status Status) error {
	s.unstall(st)
	st.localDone = false // finish tells the peer
	return s.finish(st, status)
}

func (s *Session) resetByPeer(id uint32, p []byte) error {
	if err := s.known(http2.FrameRSTStream, id); err != nil {
		return err
	}
	if len(p) != 4 {
		return protocol("RST_STREAM of %d bytes", len(p))
	}
	st := s.lookup(id)
	if st == nil {
		return nil
	}
	code := http2.ErrCode(binary.BigEndian.Uint32(p))
	s.unstall(st)
	st.localDone = true // there is nobody to be told
	return s.finish(st, Status{resetCode(code), "stream reset by the server: " + code.String()})
}

// resetCode maps the codes of RST_STREAM as gRPC's PROTOCOL-HTTP2.md does.
func resetCode(code http2.ErrCode) uint32 {
	switch code {
	case http2.ErrCodeRefusedStream:
		return CodeUnavailable
	case http2.ErrCodeCancel:
		return CodeCanceled
	case http2.ErrCodeEnhanceYourCalm:
		return CodeResourceExhausted
	case http2.ErrCodeInadequateSecurity:
		return CodePermissionDenied
	}
	return CodeInternal
}

func (s *Session) settings(flags http2.Flags, id uint32, p []byte) error {
	if id != 0 || len(p)%6 != 0 || flags.Has(http2.FlagSettingsAck) && len(p) > 0 {
		return protocol("SETTINGS on stream %d with %d bytes", id, len(p))
	}
	if flags.Has(http2.FlagSettingsAck) {
		if !s.ready {
			return protocol("SETTINGS acknowledged before the peer sent its own")
		}
		return nil
	}
	for ; len(p) > 0; p = p[6:] {
		name, value := http2.SettingID(binary.BigEndian.Uint16(p)), binary.BigEndian.Uint32(p[2:])
		switch name {
		case http2.SettingHeaderTableSize:
			s.enc.limit(value)
		case http2.SettingMaxConcurrentStreams:
			s.maxStreams = value
		case http2.SettingInitialWindowSize:
			if value > maxWindow {
				return protocol("an initial window of %d bytes", value)
			}
			delta := int64(value) - s.window
			s.window = int64(value)
			for i := range s.streams {
				if st := &s.streams[i]; st.id != 0 {
					if st.room += delta; st.room > maxWindow {
						return protocol("a window of %d bytes", st.room)
					}
				}
			}
		case http2.SettingMaxFrameSize:
			if value < MaxFrame || value > 1<<24-1 {
				return protocol("a frame size of %d bytes", value)
			}
			s.maxFrame = int(value)
		}
	}
	s.ready = true
	s.frame(http2.FrameSettings, http2.FlagSettingsAck, 0, 0)
	s.drain()
	return nil
}

func (s *Session) ping(flags http2.Flags, id uint32, p []byte) error {
	if id != 0 || len(p) != 8 {
		return protocol("PING on stream %d with %d bytes", id, len(p))
	}
	if !flags.Has(http2.FlagPingAck) {
		s.frame(http2.FramePing, http2.FlagPingAck, 0, len(p))
		s.Out = append(s.Out, p...)
	}
	return nil
}

func (s *Session) windowUpdated(id uint32, p []byte) error {
	if len(p) != 4 {
		return protocol("WINDOW_UPDATE of %d bytes", len(p))
	}
	n := int64(binary.BigEndian.Uint32(p) & maxWindow)
	room := &s.room
	if id != 0 {
		if err := s.known(http2.FrameWindowUpdate, id); err != nil {
			return err
		}
		st := s.lookup(id)
		if st == nil {
			return nil
		}
		room = &st.room
	}
	if n == 0 || *room+n > maxWindow {
		return protocol("WINDOW_UPDATE by %d to %d", n, *room+n)
	}
	*room += n
	if len(s.stalled) > 0 {
		s.drain()
	}
	return nil
}
