package h2

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"

	"golang.org/x/net/http2"
)

// Config is what a Session is made for.
type Config struct {
	Authority string  // host and port, or a server name
	UserAgent string  // without one the header is empty
	TLS       bool    // only says "https" in the headers
	Fields    []Field // sent with every call: an authentication token

	Streams    int // how many calls may be open at once, from 1 on
	MaxMessage int // the largest message taken, in bytes; 0: no bound but memory
}

// Session is one connection. It belongs to one goroutine.
type Session struct {
	// Out is to be written to the connection. The owner empties it when it was.
	Out []byte

	handler Handler
	cfg     Config
	enc     *encoder
	dec     *decoder

	streams []Stream // by id: slot (id/2) % len, so ids whose slot is taken are left out
	next    uint32   // id
	active  int

	ready      bool // the peer's settings have come
	maxStreams uint32
	maxFrame   int
	window     int64 // of a new stream, as the peer allows
	room       int64 // in the connection's window
	stalled    []uint32

	consumed int // bytes of the connection's window that are to be given back

	block    []byte // headers that go on in a CONTINUATION
	blockOf  uint32 // their stream, 0: none
	blockEnd bool
}

// Stream is one call. It is the session's.
type Stream struct {
	id    uint32 // 0: free
	owner int32

	discard    bool
	remoteSaid bool  // the response's first headers have come
	localDone  bool  // all was sent, or will be with pending
	room       int64 // in the peer's window
	pending    []byte
	consumed   int

	prefix  [prefixLen]byte // of a message, as far as it has come
	prefixN int
	size    int    // of the message that is coming, when prefixN is prefixLen
	got     int    // of it
	buf     []byte // of it
}

// New returns a Session with the preface and the settings in Out.
func New(h Handler, cfg Config) *Session {
	slots := 8
	for slots < 4*cfg.Streams {
		slots *= 2
	}
	s := &Session{
		handler: h, cfg: cfg, enc: newEncoder(cfg), dec: newDecoder(),
		streams: make([]Stream, slots), next: 1,
		maxStreams: math.MaxUint32, maxFrame: MaxFrame, window: 65535, room: 65535,
	}
	s.Out = append(s.Out, http2.ClientPreface...)
	s.frame(http2.FrameSettings, 0, 0, 2*6)
	s.setting(http2.SettingEnablePush, 0)
	s.setting(http2.SettingInitialWindowSize, StreamWindow)
	s.windowUpdate(0, ConnWindow-65535)
	return s
}

// Method prepares calls of a method, such as "/etcdserverpb.KV/Put".
func (s *Session) Method(path string) *Method { return &Method{path: path} }

// Ready tells whether the peer's settings have come. Calls may be opened before, but may then be
// more than it allows.
func (s *Session) Ready() bool { return s.ready }

// CanOpen tells whether one more call may be open now.
func (s *Session) CanOpen() bool {
	return s.active < s.cfg.Streams && uint32(s.active) < s.maxStreams
}

// Open begins a call with a message; last says that no other message follows. The handler gets
// owner back. The result names the stream for Send and Cancel. CanOpen must be true.
func (s *Session) Open(m *Method, owner int32, msg []byte, last bool) (uint32, error) {
	st, err := s.newStream()
	if err != nil {
		return 0, err
	}
	st.owner, st.localDone = owner, last
	block := s.enc.block(m)
	if len(block) > s.maxFrame {
		return 0, fmt.Errorf("the headers of %s have %d bytes; %d are possible", m.path, len(block),
			s.maxFrame)
	}
	s.frame(http2.FrameHeaders, http2.FlagHeadersEndHeaders, st.id, len(block))
	s.Out = append(s.Out, block...)
	s.send(st, msg)
	return st.id, nil
}

// newStream takes the next id whose slot is free. An id that is left out is closed by that.
func (s *Session) newStream() (*Stream, error) {
	if s.active >= s.cfg.Streams {
		panic("h2: more calls than Config.Streams")
	}
	for {
		if s.next > maxStreamID {
			return nil, ErrExhausted
		}
		st := &s.streams[int(s.next/2)&(len(s.streams)-1)]
		if st.id == 0 {
			*st = Stream{id: s.next, room: s.window, buf: st.buf[:0], pending: st.pending[:0]}
			s.next += 2
			s.active++
			return st, nil
		}
		s.next += 2
	}
}

// Discard says that the messages of a stream are not looked at: those of several frames are not
// put together.
func (s *Session) Discard(id uint32) {
	if st := s.lookup(id); st != nil {
		st.discard = true
	}
}

// Send sends another message on a stream that is open and whose last one was not sent.
func (s *Session) Send(id uint32, msg []byte, last bool) {
	st := s.lookup(id)
	if st == nil || st.localDone {
		panic("h2: Send on a stream that takes nothing")
	}
	st.localDone = last
	s.send(st, msg)
}

// Cancel ends a call; the handler hears no more of it. A stream that is over already is left alone.
func (s *Session) Cancel(id uint32) {
	if st := s.lookup(id); st != nil {
		s.reset(id, http2.ErrCodeCancel)
		s.free(st)
	}
}

// lookup returns a stream that is open, nil if it is not.
func (s *Session) lookup(id uint32) *Stream {
	st := &s.streams[int(id/2)&(len(s.streams)-1)]
	if id == 0 || st.id != id {
		return nil
	}
	return st
}

// free ends a stream's life on our side.
func (s *Session) free(st *Stream) {
	s.unstall(st)
	st.id = 0
	s.active--
}

// unstall drops what a stream has not sent.
func (s *Session) unstall(st *Stream) {
	if len(st.pending) > 0 {
		st.pending = st.pending[:0]
		s.stalled = slices.DeleteFunc(s.stalled, func(id uint32) bool { return id == st.id })
	}
}

// frame appends a frame's header.
func (s *Session) frame(t http2.FrameType, flags http2.Flags, stream uint32, length int) {
	s.Out = append(s.Out, byte(length>>16), byte(length>>8), byte(length), byte(t), byte(flags),
		byte(stream>>24), byte(stream>>16), byte(stream>>8), byte(stream))
}

func (s *Session) setting(id http2.SettingID, value uint32) {
	s.Out = binary.BigEndian.AppendUint16(s.Out, uint16(id))
	s.Out = binary.BigEndian.AppendUint32(s.Out, value)
}

func (s *Session) windowUpdate(stream uint32, n int) {
	s.frame(http2.FrameWindowUpdate, 0, stream, 4)
	s.Out = binary.BigEndian.AppendUint32(s.Out, uint32(n))
}

func (s *Session) reset(stream uint32, code http2.ErrCode) {
	s.frame(http2.FrameRSTStream, 0, stream, 4)
	s.Out = binary.BigEndian.AppendUint32(s.Out, uint32(code))
}

// send appends a message with its prefix, or what of it has to wait to the stream's pending bytes.
func (s *Session) send(st *Stream, msg []byte) {
	n := prefixLen + len(msg)
	if len(st.pending) == 0 && n <= s.maxFrame && int64(n) <= s.room && int64(n) <= st.room {
		s.frame(http2.FrameData, endFlag(st.localDone), st.id, n)
		s.Out = append(s.Out, 0)
		s.Out = binary.BigEndian.AppendUint32(s.Out, uint32(len(msg)))
		s.Out = append(s.Out, msg...)
		s.room -= int64(n)
		st.room -= int64(n)
		return
	}
	if len(st.pending) == 0 {
		s.stalled = append(s.stalled, st.id)
	}
	st.pending = append(st.pending, 0)
	st.pending = binary.BigEndian.AppendUint32(st.pending, uint32(len(msg)))
	st.pending = append(st.pending, msg...)
	s.drain()
}

func endFlag(end bool) http2.Flags {
	if end {
		return http2.FlagDataEndStream
	}
	return 0
}

// drain sends pending bytes as far as the windows allow.
func (s *Session) drain() {
	s.stalled = slices.DeleteFunc(s.stalled, func(id uint32) bool {
		st := s.lookup(id)
		for st != nil && len(st.pending) > 0 {
			n := int(min(int64(len(st.pending)), int64(s.maxFrame), s.room, st.room))
			if n <= 0 {
				return false
			}
			s.frame(http2.FrameData, endFlag(st.localDone && n == len(st.pending)), st.id, n)
			s.Out = append(s.Out, st.pending[:n]...)
			st.pending = append(st.pending[:0], st.pending[n:]...)
			s.room -= int64(n)
			st.room -= int64(n)
		}
		return true
	})
}
