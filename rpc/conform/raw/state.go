package raw

import (
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"strings"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// State is what has come on a connection.
type State struct {
	Settings     map[http2.SettingID]uint32
	SettingsAcks int
	Pings        int // of the server
	Pongs        int
	LastPong     [8]byte
	GoAways      []GoAway
	Streams      map[uint32]*Stream
	Resets       int            // of all streams, also when they are only counted
	Ends         int            // streams that ended without a reset
	DataBytes    int            // of all streams
	Grants       int            // WINDOW_UPDATE frames
	Granted      map[uint32]int // bytes of them; of stream 0 alone if streams are counted
	Closed       error
}

// GoAway is a GOAWAY frame.
type GoAway struct {
	Last  uint32
	Code  http2.ErrCode
	Debug string
}

// Stream is what has come on a stream.
type Stream struct {
	Blocks    [][]hpack.HeaderField // headers first, trailers last
	Data      []byte
	Reset     *http2.ErrCode
	Ended     bool  // END_STREAM has come
	Malformed error // what the server sent is wrong
}

// Done says whether a stream has ended or was reset.
func (s *State) Done(id uint32) bool {
	st := s.Streams[id]
	return st != nil && (st.Ended || st.Reset != nil || st.Malformed != nil)
}

// Window is how many bytes of data the server has allowed until now for a stream that has its
// connection for itself.
func (s *State) Window(id uint32) int {
	const usual = 1<<16 - 1
	initial := usual
	if n, ok := s.Settings[http2.SettingInitialWindowSize]; ok {
		initial = int(n)
	}
	return min(initial+s.Granted[id], usual+s.Granted[0])
}

// Gone says whether the server has taken leave.
func (s *State) Gone() bool { return len(s.GoAways) > 0 || s.Closed != nil }

// String is for errors.
func (s *State) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d pongs, %d settings acknowledged, %d resets, %d ends, %d bytes, goaways %v",
		s.Pongs, s.SettingsAcks, s.Resets, s.Ends, s.DataBytes, s.GoAways)
	ids := slices.Sorted(maps.Keys(s.Streams))
	for _, id := range ids[:min(len(ids), 5)] {
		fmt.Fprintf(&b, "; %d: %v", id, s.Streams[id])
	}
	return b.String()
}

// Field returns a field of the last block that has it, "" if none has.
func (s *Stream) Field(name string) string {
	for _, block := range slices.Backward(s.Blocks) {
		for _, f := range block {
			if f.Name == name {
				return f.Value
			}
		}
	}
	return ""
}

// String is for errors.
func (s *Stream) String() string {
	end := "open"
	switch {
	case s.Malformed != nil:
		end = "malformed: " + s.Malformed.Error()
	case s.Reset != nil:
		end = s.Reset.String()
	case s.Ended:
		end = "ended"
	}
	return fmt.Sprintf("%s, :status %q, grpc-status %q %q, %d bytes", end, s.Field(":status"),
		s.Field("grpc-status"), s.Field("grpc-message"), len(s.Data))
}

func (s *State) stream(id uint32) *Stream {
	st := s.Streams[id]
	if st == nil {
		st = &Stream{}
		s.Streams[id] = st
	}
	return st
}

// take enters a frame.
func (s *State) take(frame http2.Frame, count bool) {
	id, ended := frame.Header().StreamID, false
	switch f := frame.(type) {
	case *http2.SettingsFrame:
		if f.IsAck() {
			s.SettingsAcks++
		}
		for i := range f.NumSettings() {
			s.Settings[f.Setting(i).ID] = f.Setting(i).Val
		}
	case *http2.PingFrame:
		if f.IsAck() {
			s.Pongs, s.LastPong = s.Pongs+1, f.Data
		} else {
			s.Pings++
		}
	case *http2.GoAwayFrame:
		s.GoAways = append(s.GoAways, GoAway{f.LastStreamID, f.ErrCode, string(f.DebugData())})
	case *http2.WindowUpdateFrame:
		s.Grants++
		if !count || id == 0 {
			s.Granted[id] += int(f.Increment)
		}
	case *http2.MetaHeadersFrame:
		ended = f.StreamEnded()
		if !count {
			s.stream(id).Blocks = append(s.stream(id).Blocks, slices.Clone(f.Fields))
		}
	case *http2.DataFrame:
		ended = f.StreamEnded()
		s.DataBytes += len(f.Data())
		if !count {
			s.stream(id).Data = append(s.stream(id).Data, f.Data()...)
		}
	case *http2.RSTStreamFrame:
		s.Resets++
		if !count {
			code := f.ErrCode
			s.stream(id).Reset = &code
		}
	}
	if ended {
		s.Ends++
		if !count {
			s.stream(id).Ended = true
		}
	}
}

// Field makes a header field.
func Field(name, value string) hpack.HeaderField {
	return hpack.HeaderField{Name: name, Value: value}
}

// Request is the fields of a gRPC request, with more behind them.
func Request(path string, more ...hpack.HeaderField) []hpack.HeaderField {
	return append([]hpack.HeaderField{
		Field(":method", "POST"), Field(":scheme", "http"), Field(":path", path),
		Field(":authority", "localhost"), Field("content-type", "application/grpc"),
		Field("te", "trailers"),
	}, more...)
}

// Message is a gRPC message that is not compressed: its prefix and its bytes.
func Message(b []byte) []byte { return append(Prefix(false, uint32(len(b))), b...) }

// Prefix is the five bytes before a message.
func Prefix(compressed bool, length uint32) []byte {
	p := make([]byte, 5)
	if compressed {
		p[0] = 1
	}
	binary.BigEndian.PutUint32(p[1:], length)
	return p
}
