// Package costs tells what a server's processor time is spent on: it reads CPU profiles as
// /debug/pprof/profile gives them and adds samples up by groups, which are the same for every
// server where they can be: the kernel's work for sockets and for files, garbage collection, the
// scheduler, and else the package that was at work.
//
// The format is github.com/google/pprof's profile.proto, gzipped:
//
//	Profile   sample_type = 1   sample = 2   location = 4   function = 5   string_table = 6
//	Sample    location_id = 1 (leaf first)   value = 2 (one for each sample type)
//	Location  id = 1   line = 4 (innermost inlined function first)
//	Line      function_id = 1
//	Function  id = 1   name = 2 (in the string table)
package costs

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"

	"google.golang.org/protobuf/encoding/protowire"
)

// maxProfile bounds an unpacked profile, in bytes.
const maxProfile = 256 << 20

// Sample is one stack and the time that was spent in it.
type Sample struct {
	Stack []string // functions, the innermost first
	Time  int64    // nanoseconds
}

// Parse reads a CPU profile.
func Parse(data []byte) ([]Sample, error) {
	if bytes.HasPrefix(data, []byte{0x1f, 0x8b}) {
		r, err := gzip.NewReader(bytes.NewReader(data))
		if err != nil {
			return nil, fmt.Errorf("profile: %w", err)
		}
		if data, err = io.ReadAll(io.LimitReader(r, maxProfile)); err != nil {
			return nil, fmt.Errorf("profile: %w", err)
		}
	}
	p := profile{functions: map[uint64]uint64{}, locations: map[uint64][]uint64{}}
	if err := each(data, p.field); err != nil {
		return nil, fmt.Errorf("profile: %w", err)
	}
	return p.samples()
}

// profile is what was read; names are indexes into the string table.
type profile struct {
	strings   []string
	functions map[uint64]uint64   // id -> name
	locations map[uint64][]uint64 // id -> functions
	raw       [][2][]uint64       // locations, values
}

// each calls f with the fields of a message: of a varint the value, of bytes the bytes.
func each(msg []byte, f func(num protowire.Number, v uint64, b []byte) error) error {
	for len(msg) > 0 {
		num, kind, n := protowire.ConsumeTag(msg)
		if n < 0 {
			return protowire.ParseError(n)
		}
		msg = msg[n:]
		var v uint64
		var b []byte
		switch kind {
		case protowire.VarintType:
			v, n = protowire.ConsumeVarint(msg)
		case protowire.BytesType:
			b, n = protowire.ConsumeBytes(msg)
		default:
			n = protowire.ConsumeFieldValue(num, kind, msg)
		}
		if n < 0 {
			return protowire.ParseError(n)
		}
		msg = msg[n:]
		if err := f(num, v, b); err != nil {
			return err
		}
	}
	return nil
}

// numbers appends a repeated number, packed or not.
func numbers(list []uint64, v uint64, b []byte) ([]uint64, error) {
	if b == nil {
		return append(list, v), nil
	}
	for len(b) > 0 {
		v, n := protowire.ConsumeVarint(b)
		if n < 0 {
			return nil, protowire.ParseError(n)
		}
		list, b = append(list, v), b[n:]
	}
	return list, nil
}

func (p *profile) field(num protowire.Number, _ uint64, b []byte) error {
	switch num {
	case 2:
		var s [2][]uint64
		err := each(b, func(num protowire.Number, v uint64, b []byte) (err error) {
			if num == 1 || num == 2 {
				s[num-1], err = numbers(s[num-1], v, b)
			}
			return err
		})
		p.raw = append(p.raw, s)
		return err
	case 4:
		var id uint64
		var functions []uint64
		err := each(b, func(num protowire.Number, v uint64, b []byte) error {
			switch num {
			case 1:
				id = v
			case 4:
				return each(b, func(num protowire.Number, v uint64, _ []byte) error {
					if num == 1 {
						functions = append(functions, v)
					}
					return nil
				})
			}
			return nil
		})
		p.locations[id] = functions
		return err
	case 5:
		var id, name uint64
		err := each(b, func(num protowire.Number, v uint64, _ []byte) error {
			switch num {
			case 1:
				id = v
			case 2:
				name = v
			}
			return nil
		})
		p.functions[id] = name
		return err
	case 6:
		p.strings = append(p.strings, string(b))
	}
	return nil
}

// samples resolves all names.
func (p *profile) samples() ([]Sample, error) {
	var out []Sample
	for _, raw := range p.raw {
		if len(raw[1]) == 0 {
			return nil, errors.New("profile: a sample without a value")
		}
		s := Sample{Time: int64(raw[1][len(raw[1])-1])} // samples/count, cpu/nanoseconds
		for _, location := range raw[0] {
			for _, function := range p.locations[location] {
				name := p.functions[function]
				if name >= uint64(len(p.strings)) {
					return nil, fmt.Errorf("profile: function %d has no name", function)
				}
				s.Stack = append(s.Stack, p.strings[name])
			}
		}
		out = append(out, s)
	}
	return out, nil
}
