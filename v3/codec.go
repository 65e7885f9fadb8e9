package v3

import (
	"fmt"

	"google.golang.org/grpc/encoding"
	protocodec "google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/mem"
)

// codec is the bytes-to-messages step of gRPC. What it takes and gives:
//
//	in:   *call          keeps the bytes as they came
//	      proto.Message  of streams
//	out:  *[]byte        a whole message in a slice of pool, which goes back there once it is sent
//	      proto.Message
type codec struct {
	proto encoding.CodecV2
	hooks *Hooks
}

// pool lends the slices of replies.
var pool = mem.DefaultBufferPool()

func newCodec(hooks *Hooks) (*codec, error) {
	c := encoding.GetCodecV2(protocodec.Name)
	if c == nil {
		return nil, fmt.Errorf("v3: grpc has no codec named %q", protocodec.Name)
	}
	return &codec{proto: c, hooks: hooks}, nil
}

func (c *codec) Name() string { return protocodec.Name }

func (c *codec) Marshal(v any) (out mem.BufferSlice, err error) {
	if m, ok := v.(*[]byte); ok {
		out = mem.BufferSlice{mem.NewBuffer(m, pool)}
	} else if out, err = c.proto.Marshal(v); err != nil {
		return nil, err
	}
	c.hooks.SentBytes(out.Len())
	return out, nil
}

func (c *codec) Unmarshal(data mem.BufferSlice, v any) error {
	c.hooks.ReceivedBytes(data.Len())
	if m, ok := v.(*call); ok {
		m.take(data)
		return nil
	}
	return c.proto.Unmarshal(data, v)
}

// lend returns a slice with no bytes in it and room for n, from the pool if it pays.
func lend(n int) *[]byte {
	if mem.IsBelowBufferPoolingThreshold(n) {
		b := make([]byte, 0, n)
		return &b
	}
	b := pool.Get(n)
	*b = (*b)[:0]
	return b
}

// lendCopy is lend with a copy of b in it.
func lendCopy(b []byte) *[]byte {
	c := lend(len(b))
	*c = append(*c, b...)
	return c
}
