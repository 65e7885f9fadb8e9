package transport

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"runtime"
	"testing"
	"testing/iotest"
	"time"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"
)

func newRand(t testing.TB) *rand.Rand {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

func randomMessage(rnd *rand.Rand) *raftpb.Message {
	m := message(rnd.Uint64(), rnd.Uint64(), rnd.Uint64(), rnd.IntN(3)*rnd.IntN(400))
	if rnd.IntN(2) == 0 {
		m.Commit, m.Reject = proto.Uint64(rnd.Uint64N(100)), proto.Bool(true)
		m.Context = []byte("context")
	}
	return m
}

// TestFrames: what is written is read, whatever pieces it comes in.
func TestFrames(t *testing.T) {
	rnd := newRand(t)
	var stream []byte
	var want []content
	for range 300 {
		if rnd.IntN(4) == 0 {
			c := content{control: control(1 + rnd.IntN(2)), stamp: rnd.Uint64()}
			stream, want = appendControl(stream, c.control, c.stamp), append(want, c)
			continue
		}
		var c content
		for range 1 + rnd.IntN(5) {
			c.messages = append(c.messages, randomMessage(rnd))
		}
		stream, want = append(stream, frame(t, c.messages...)...), append(want, c)
	}
	large := message(1, 2, 3, 5<<20)
	stream, want = append(stream, frame(t, large)...), append(want,
		content{messages: []*raftpb.Message{large}})
	for name, r := range map[string]io.Reader{"whole": bytes.NewReader(stream),
		"halves": iotest.HalfReader(bytes.NewReader(stream))} {
		frames := frameReader{r: bufio.NewReader(r)}
		total := 0
		for i, w := range want {
			payload, bytes, err := frames.next()
			if err != nil {
				t.Fatalf("%s: frame %d: %v", name, i, err)
			}
			total += bytes
			c, err := parse(payload)
			if err != nil || c.control != w.control || c.stamp != w.stamp ||
				len(c.messages) != len(w.messages) {
				t.Fatalf("%s: frame %d: %v, %v; want %v", name, i, c, err, w)
			}
			for j, m := range c.messages {
				if !proto.Equal(m, w.messages[j]) {
					t.Fatalf("%s: frame %d: message %v, want %v", name, i, m, w.messages[j])
				}
			}
		}
		if _, _, err := frames.next(); err != io.EOF || total != len(stream) {
			t.Fatalf("%s: at the end: %v, %d bytes of %d", name, err, total, len(stream))
		}
	}
}

// TestDamage: a frame with any bit turned, or cut anywhere, is no frame.
func TestDamage(t *testing.T) {
	good := frame(t, message(1, 2, 3, 20), message(1, 2, 4, 0))
	for bit := range len(good) * 8 {
		b := bytes.Clone(good)
		b[bit/8] ^= 1 << (bit % 8)
		frames := frameReader{r: bufio.NewReader(bytes.NewReader(b))}
		if _, _, err := frames.next(); !errors.Is(err, errDamaged) {
			t.Fatalf("bit %d turned: %v", bit, err)
		}
	}
	for n := 1; n < len(good); n++ {
		frames := frameReader{r: bufio.NewReader(bytes.NewReader(good[:n]))}
		if _, _, err := frames.next(); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Fatalf("cut after %d bytes: %v", n, err)
		}
	}
}

// TestPayloads: nonsense with a checksum that is right.
func TestPayloads(t *testing.T) {
	for name, payload := range map[string][]byte{
		"count cut off":        {0x80},
		"too many messages":    binary.AppendUvarint(nil, maxFrameMessages+1),
		"short control":        {0, 1, 2, 3},
		"padded control":       {0x80, 0, 1, 2, 3, 4, 5, 6, 7, 8},
		"message missing":      {2, 2, 0x10, 1},
		"message cut off":      {1, 200, 0x10, 1},
		"no protobuf":          {1, 1, 0xff},
		"bytes after the last": {1, 2, 0x10, 1, 7},
	} {
		if c, err := parse(payload); !errors.Is(err, errDamaged) {
			t.Errorf("%s: %v, %v", name, c, err)
		}
	}
}

// headOf is a head, whole but for the payload's checksum.
func headOf(length uint32) []byte {
	b := binary.LittleEndian.AppendUint64(nil, uint64(length))
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

// TestLengths: a length that is not allowed is refused, and one that is allowed takes no memory
// before its bytes are there.
func TestLengths(t *testing.T) {
	for _, length := range []uint32{0, maxFrameBytes + 1, 1 << 31, 1<<32 - 1} {
		frames := frameReader{r: bufio.NewReader(bytes.NewReader(append(headOf(length), 1)))}
		if _, _, err := frames.next(); !errors.Is(err, errDamaged) || frames.buf != nil {
			t.Errorf("length %d: %v, a buffer of %d bytes", length, err, cap(frames.buf))
		}
	}
	frames := frameReader{r: bufio.NewReader(bytes.NewReader(append(headOf(maxFrameBytes), 1)))}
	if _, _, err := frames.next(); !errors.Is(err, io.ErrUnexpectedEOF) ||
		cap(frames.buf) > 2*readStep {
		t.Errorf("length %d: %v, a buffer of %d bytes", maxFrameBytes, err, cap(frames.buf))
	}
}

// TestBufferShrinks: a large frame's memory is given back.
func TestBufferShrinks(t *testing.T) {
	b := append(frame(t, message(1, 2, 3, 2*keptBuffer)), frame(t, message(1, 2, 4, 0))...)
	frames := frameReader{r: bufio.NewReader(bytes.NewReader(b))}
	for range 2 {
		if _, _, err := frames.next(); err != nil {
			t.Fatal(err)
		}
	}
	if cap(frames.buf) > keptBuffer {
		t.Errorf("a buffer of %d bytes is kept", cap(frames.buf))
	}
}

// FuzzFrames: no input makes the reader fail in another way than by an error, or take memory that
// the input does not pay for.
func FuzzFrames(f *testing.F) {
	f.Add(frame(f, message(1, 2, 3, 20), message(1, 2, 4, 0)), false)
	f.Add(appendControl(nil, ping, 5), false)
	f.Add([]byte{1, 2, 0x10, 1}, true)
	f.Add([]byte{255, 255, 255, 255}, false)
	f.Fuzz(func(t *testing.T, b []byte, sealed bool) {
		if sealed { // b is a payload: the checksum keeps nothing away
			b = append(make([]byte, frameHead), b...)
			sealFrame(b, 0)
		}
		frames := frameReader{r: bufio.NewReader(bytes.NewReader(b))}
		for {
			payload, n, err := frames.next()
			if err != nil {
				return
			}
			c, err := parse(payload)
			if err == nil && n > len(b) || len(c.messages) > len(payload) {
				t.Fatalf("%d messages of %d bytes", len(c.messages), n)
			}
			runtime.KeepAlive(c)
		}
	})
}

// TestQueue compares with a list, and holds the bounds.
func TestQueue(t *testing.T) {
	rnd := newRand(t)
	q := newQueue()
	if q.put(item{size: 1}) {
		t.Fatal("put into a queue that nobody takes from")
	}
	q.begin()
	var model []int // sizes
	sum := 0
	for range 50000 {
		switch rnd.IntN(20) {
		case 0:
			var got []int
			for _, it := range q.take(nil) {
				got = append(got, it.size)
				sum -= it.size
			}
			want, bytes := 0, 0
			for want < len(model) && (want == 0 || bytes+model[want] <= maxBatchBytes) {
				bytes += model[want]
				want++
			}
			if len(got) != want {
				t.Fatalf("took %d, want %d", len(got), want)
			}
			for i := range got {
				if got[i] != model[i] {
					t.Fatalf("item %d is %d, want %d", i, got[i], model[i])
				}
			}
			model = model[want:]
			if len(model) > 0 && len(q.wake) == 0 {
				t.Fatal("something waits and nobody is woken")
			}
		default:
			size := 1 + rnd.IntN(1000)
			if rnd.IntN(200) == 0 {
				size = rnd.IntN(maxFrameBytes * 5 / 4)
			}
			want := size <= maxMessageBytes && len(model) < maxQueueMessages &&
				(len(model) == 0 || sum+size <= maxQueueBytes)
			if got := q.put(item{size: size}); got != want {
				t.Fatalf("put %d to %d messages of %d bytes: %v", size, len(model), sum, got)
			} else if got {
				model, sum = append(model, size), sum+size
			}
		}
		if n, bytes := q.waiting(); n != len(model) || bytes != sum {
			t.Fatalf("%d messages of %d bytes wait, want %d of %d", n, bytes, len(model), sum)
		}
	}
	if lost := q.end(); lost != len(model) || q.put(item{size: 1}) {
		t.Fatalf("%d lost at the end, want %d; or it takes more", lost, len(model))
	}
}
