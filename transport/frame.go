package transport

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"slices"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// The form of frames.
const (
	frameHead        = 12
	maxFrameBytes    = 64 << 20         // of the payload
	maxFrameMessages = maxQueueMessages // in one payload
	readStep         = 1 << 20          // memory is taken as the bytes come
	keptBuffer       = 4 << 20          // a larger buffer is not kept for the next frame
	controlBytes     = 10               // payload of a ping or pong
	unasked          = math.MaxInt64    // the stamp of a pong that no ping has asked for
)

// errDamaged begins the text of every error about a frame that is none.
var errDamaged = errors.New("damaged frame")

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// control says what a payload without messages is.
type control byte

const (
	none control = iota
	ping
	pong
)

// content is a parsed payload: messages, or a control with its stamp.
type content struct {
	messages []*raftpb.Message
	control  control
	stamp    uint64
}

// sealFrame fills in the head of a frame that begins at start and ends with b.
func sealFrame(b []byte, start int) {
	payload := b[start+frameHead:]
	binary.LittleEndian.PutUint32(b[start:], uint32(len(payload)))
	binary.LittleEndian.PutUint32(b[start+4:], crc32.Checksum(payload, castagnoli))
	binary.LittleEndian.PutUint32(b[start+8:], crc32.Checksum(b[start:start+8], castagnoli))
}

// appendMessages appends a frame with the messages of a batch; it is not empty.
func appendMessages(b []byte, batch []item) ([]byte, error) {
	total := frameHead + protowire.SizeVarint(uint64(len(batch)))
	for _, it := range batch {
		total += protowire.SizeBytes(it.size)
	}
	b = slices.Grow(b, total)
	start := len(b)
	b = protowire.AppendVarint(append(b, make([]byte, frameHead)...), uint64(len(batch)))
	for _, it := range batch {
		b = protowire.AppendVarint(b, uint64(it.size))
		end := len(b) + it.size
		var err error
		// The size was asked for when the message was queued: it need not be added up again.
		b, err = proto.MarshalOptions{UseCachedSize: true}.MarshalAppend(b, it.m)
		if err == nil && len(b) != end {
			err = errors.New("the message changed after it was sent")
		}
		if err != nil {
			return nil, fmt.Errorf("encode a %s: %w", it.m.GetType(), err)
		}
	}
	sealFrame(b, start)
	return b, nil
}

// appendControl appends a ping or a pong.
func appendControl(b []byte, c control, stamp uint64) []byte {
	start := len(b)
	b = append(append(b, make([]byte, frameHead)...), 0, byte(c))
	b = binary.LittleEndian.AppendUint64(b, stamp)
	sealFrame(b, start)
	return b
}

// frameReader reads frames. It is one goroutine's.
type frameReader struct {
	r   *bufio.Reader
	buf []byte
}

// next returns the next payload, valid until the call after, and its length with the head. io.EOF
// is an end between frames; an error with errDamaged in it says that this is no frame.
func (f *frameReader) next() (payload []byte, bytes int, err error) {
	var head [frameHead]byte
	if _, err := io.ReadFull(f.r, head[:]); err != nil {
		return nil, 0, err
	}
	if err := compare(head[8:], head[:8]); err != nil { // or a wrong length swallows what follows
		return nil, 0, err
	}
	length := int(binary.LittleEndian.Uint32(head[:]))
	if length == 0 || length > maxFrameBytes {
		return nil, 0, fmt.Errorf("%w: a length of %d bytes; 1 to %d are allowed", errDamaged,
			uint32(length), maxFrameBytes)
	}
	if cap(f.buf) > keptBuffer && length <= keptBuffer {
		f.buf = nil
	}
	f.buf = f.buf[:0]
	for len(f.buf) < length {
		from := len(f.buf)
		step := min(length-from, max(readStep, from, cap(f.buf)-from))
		f.buf = slices.Grow(f.buf, step)[:from+step]
		if _, err := io.ReadFull(f.r, f.buf[from:]); err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return nil, 0, err
		}
	}
	if err := compare(head[4:], f.buf); err != nil {
		return nil, 0, err
	}
	return f.buf, frameHead + length, nil
}

// compare holds bytes against the checksum that was announced for them.
func compare(announced, b []byte) error {
	want, got := binary.LittleEndian.Uint32(announced), crc32.Checksum(b, castagnoli)
	if want != got {
		return fmt.Errorf("%w: a checksum of %08x, %08x was announced", errDamaged, got, want)
	}
	return nil
}

// parse decodes a payload. The messages do not share its memory.
func parse(payload []byte) (content, error) {
	count, n := protowire.ConsumeVarint(payload)
	if n < 0 || count > maxFrameMessages {
		return content{}, fmt.Errorf("%w: %d messages; at most %d are allowed", errDamaged, count,
			maxFrameMessages)
	}
	if count == 0 {
		if len(payload) != controlBytes || n != 1 {
			return content{}, fmt.Errorf("%w: a control of %d bytes", errDamaged, len(payload))
		}
		return content{control: control(payload[1]),
			stamp: binary.LittleEndian.Uint64(payload[2:])}, nil
	}
	rest := payload[n:]
	out := make([]*raftpb.Message, 0, count)
	for range count {
		b, n := protowire.ConsumeBytes(rest)
		if n < 0 {
			return content{}, fmt.Errorf("%w: message %d of %d is cut off", errDamaged, len(out)+1,
				count)
		}
		rest = rest[n:]
		m := &raftpb.Message{}
		if err := (proto.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(b, m); err != nil {
			return content{}, fmt.Errorf("%w: message %d of %d: %w", errDamaged, len(out)+1,
				count, err)
		}
		out = append(out, m)
	}
	if len(rest) != 0 {
		return content{}, fmt.Errorf("%w: %d bytes after the last message", errDamaged, len(rest))
	}
	return content{messages: out}, nil
}
