package rpc

import (
	"encoding/binary"
	"fmt"

	"golang.org/x/net/http2"
)

// frameHeaderBytes is the length of what stands before a payload.
const frameHeaderBytes = 9

// frame is one HTTP/2 frame. Its payload belongs to the reader's buffer.
type frame struct {
	kind    http2.FrameType
	flags   http2.Flags
	stream  uint32
	payload []byte
}

// connError ends the connection with a GOAWAY, streamError a stream with a RST_STREAM.
type connError struct {
	code http2.ErrCode
	text string
}

func (e *connError) Error() string { return fmt.Sprintf("http2: %v: %s", e.code, e.text) }

type streamError struct {
	stream uint32
	code   http2.ErrCode
}

func (e *streamError) Error() string {
	return fmt.Sprintf("http2: stream %d: %v", e.stream, e.code)
}

func protocolError(text string) error { return &connError{http2.ErrCodeProtocol, text} }

// parseFrame takes the first frame off b. n is how many bytes it has, 0 if it is not complete.
func parseFrame(b []byte) (f frame, n int, err error) {
	if len(b) < frameHeaderBytes {
		return f, 0, nil
	}
	length := int(b[0])<<16 | int(b[1])<<8 | int(b[2])
	f.kind = http2.FrameType(b[3])
	f.flags = http2.Flags(b[4])
	f.stream = binary.BigEndian.Uint32(b[5:]) & (1<<31 - 1)
	if length > maxFrameBytes {
		return f, 0, &connError{http2.ErrCodeFrameSize, "frame too large"}
	}
	n = frameHeaderBytes + length
	if len(b) < n {
		return f, 0, nil
	}
	f.payload = b[frameHeaderBytes:n:n]
	return f, n, nil
}

// unpad takes the padding off the payload of a DATA or HEADERS frame.
func (f *frame) unpad() error {
	if !f.flags.Has(http2.FlagDataPadded) { // the same bit in both
		return nil
	}
	if len(f.payload) == 0 || int(f.payload[0]) >= len(f.payload) {
		return protocolError("padding longer than the frame")
	}
	f.payload = f.payload[1 : len(f.payload)-int(f.payload[0])]
	return nil
}

// unprioritize takes the priority off the payload of a HEADERS frame.
func (f *frame) unprioritize() error {
	if !f.flags.Has(http2.FlagHeadersPriority) {
		return nil
	}
	if len(f.payload) < 5 {
		return &connError{http2.ErrCodeFrameSize, "HEADERS frame without its priority"}
	}
	if err := checkDependency(f.stream, f.payload); err != nil {
		return err
	}
	f.payload = f.payload[5:]
	return nil
}

// checkDependency refuses a stream that depends on itself; all else about priorities is ignored.
func checkDependency(stream uint32, priority []byte) error {
	if binary.BigEndian.Uint32(priority)&(1<<31-1) == stream {
		return &streamError{stream, http2.ErrCodeProtocol}
	}
	return nil
}

// appendFrameHeader appends what stands before a payload of n bytes.
func appendFrameHeader(
	b []byte, n int, kind http2.FrameType, flags http2.Flags, stream uint32,
) []byte {
	return append(b, byte(n>>16), byte(n>>8), byte(n), byte(kind), byte(flags),
		byte(stream>>24), byte(stream>>16), byte(stream>>8), byte(stream))
}

func appendRST(b []byte, stream uint32, code http2.ErrCode) []byte {
	b = appendFrameHeader(b, 4, http2.FrameRSTStream, 0, stream)
	return binary.BigEndian.AppendUint32(b, uint32(code))
}

func appendWindowUpdate(b []byte, stream uint32, increment int64) []byte {
	b = appendFrameHeader(b, 4, http2.FrameWindowUpdate, 0, stream)
	return binary.BigEndian.AppendUint32(b, uint32(increment))
}

func appendPing(b []byte, flags http2.Flags, data []byte) []byte {
	b = appendFrameHeader(b, len(data), http2.FramePing, flags, 0)
	return append(b, data...)
}

func appendGoAway(b []byte, last uint32, code http2.ErrCode, text string) []byte {
	b = appendFrameHeader(b, 8+len(text), http2.FrameGoAway, 0, 0)
	b = binary.BigEndian.AppendUint32(b, last)
	b = binary.BigEndian.AppendUint32(b, uint32(code))
	return append(b, text...)
}

// appendHeaders appends a header block, in as many frames as it takes.
func appendHeaders(b []byte, stream uint32, block []byte, end bool) []byte {
	kind, flags := http2.FrameHeaders, http2.Flags(0)
	if end {
		flags |= http2.FlagHeadersEndStream
	}
	for {
		part := block[:min(len(block), maxFrameBytes)]
		if block = block[len(part):]; len(block) == 0 {
			flags |= http2.FlagHeadersEndHeaders
		}
		b = appendFrameHeader(b, len(part), kind, flags, stream)
		b = append(b, part...)
		if len(block) == 0 {
			return b
		}
		kind, flags = http2.FrameContinuation, 0
	}
}

// appendSettings appends the server's SETTINGS.
func appendSettings(b []byte, settings ...http2.Setting) []byte {
	b = appendFrameHeader(b, 6*len(settings), http2.FrameSettings, 0, 0)
	for _, s := range settings {
		b = binary.BigEndian.AppendUint16(b, uint16(s.ID))
		b = binary.BigEndian.AppendUint32(b, s.Val)
	}
	return b
}
