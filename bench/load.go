package bench

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync/atomic"
)

// Load is a kind of load, with its parameters: one of the types of this package.
type Load interface {
	// Verb names the load as the command line does.
	Verb() string
	// build checks the parameters and makes what a run needs. o is complete; build may change how
	// much is measured.
	build(o *Options, seed uint64) (plan, error)
}

// plan is a load in a run. Its methods are called by all workers at once, each with clients of its
// own.
type plan interface {
	// series names the kinds of operations that are measured.
	series() []string
	// prepare appends a client's next request that comes before all that is measured. Without one
	// it returns false.
	prepare(c *client, msg []byte) (request, bool)
	// next appends the client's next request to msg: the first one of an operation, whose series it
	// puts into c, or another one of it.
	next(c *client, msg []byte) request
	// reply takes the answer of either. more says that the operation is not over; an error ends the
	// run.
	reply(c *client, msg []byte) (more bool, err error)
}

// request is a request that is ready to be sent.
type request struct {
	method method
	msg    []byte
	stream bool // more than one message may come: they go to the plan's streamed
}

// client makes one operation at a time. A worker owns it.
type client struct {
	id      int   // from 0 on, of all clients of the run
	owner   int32 // from 0 on, of those of its worker
	rng     *rand.Rand
	scratch [2][]byte // for plans, to build parts of messages in

	series   int    // of the operation under way
	began    int64  // when, or when it was due
	counted  bool   // it is one of Options.Total
	busy     bool   // an operation is under way
	ready    bool   // it has nothing to prepare any more
	answered bool   // the request's answer has come, and call is about to end
	more     bool   // what reply has said of it
	events   int64  // that the operation leads to
	stream   uint32 // of a request that is a stream, 0: it is none
	state    any    // the plan's
}

// streamer is a plan with requests that are streams.
type streamer interface {
	// streamed takes a message. over ends the stream; next is called then.
	streamed(c *client, msg []byte) (over bool, err error)
}

// failing is a plan that has to know of operations that failed.
type failing interface {
	failed(c *client) error
}

// unprepared is for plans whose clients have nothing to prepare.
type unprepared struct{}

func (unprepared) prepare(*client, []byte) (request, bool) { return request{}, false }

// single is for plans whose operations are one request, and whose answers need no look.
type single struct{ unprepared }

func (single) reply(*client, []byte) (bool, error) { return false, nil }

// Keys says which keys a load uses: decimal numbers below Space, padded with zeros to Size bytes.
type Keys struct {
	Size  int // bytes; default: 8
	Space int // how many there are; default: 1
	// Sequential takes them in order, beginning again after the last, instead of by chance.
	Sequential bool
}

// keys are the Keys of a run.
type keys struct {
	Keys
	count atomic.Uint64 // keys taken in order
}

const defaultKeySize = 8

func (k Keys) build() (*keys, error) {
	if k.Size == 0 {
		k.Size = defaultKeySize
	}
	if k.Space == 0 {
		k.Space = 1
	}
	if k.Space < 0 || k.Size < 0 {
		return nil, fmt.Errorf("key size %d, key space %d: must be positive", k.Size, k.Space)
	}
	if n := len(strconv.Itoa(k.Space - 1)); n > k.Size {
		return nil, fmt.Errorf("%d keys need a key size of at least %d bytes", k.Space, n)
	}
	return &keys{Keys: k}, nil
}

// pick returns the number of the next key.
func (k *keys) pick(rng *rand.Rand) uint64 {
	if k.Sequential {
		return (k.count.Add(1) - 1) % uint64(k.Space)
	}
	return rng.Uint64N(uint64(k.Space))
}

// append appends key n.
func (k *keys) append(b []byte, n uint64) []byte {
	at := len(b)
	for range k.Size {
		b = append(b, '0')
	}
	for i := len(b) - 1; n > 0 && i >= at; i-- {
		b[i] = byte('0' + n%10)
		n /= 10
	}
	return b
}

// values are pieces of random letters.
type values struct {
	size  int
	noise []byte
}

// valueOffsets is at how many places of the noise a value may begin.
const valueOffsets = 4096

// defaultValueSize is etcd's benchmark's.
const defaultValueSize = 8

// maxValueSize bounds a value: servers refuse much smaller ones.
const maxValueSize = 1 << 30

func newValues(size int, seed uint64) (*values, error) {
	if size < 0 || size > maxValueSize {
		return nil, fmt.Errorf("a value size of %d bytes is not possible", size)
	}
	v := &values{size, make([]byte, size+valueOffsets)}
	rng := rand.New(rand.NewPCG(seed, 1))
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"
	for i := range v.noise {
		v.noise[i] = letters[rng.IntN(len(letters))]
	}
	return v, nil
}

func (v *values) pick(rng *rand.Rand) []byte {
	at := rng.IntN(valueOffsets)
	return v.noise[at : at+v.size]
}
