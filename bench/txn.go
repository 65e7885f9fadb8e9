package bench

import (
	"errors"
	"fmt"
)

// TxnPut makes transactions of several puts, without conditions.
type TxnPut struct {
	Keys
	ValueSize int // bytes
	Ops       int // puts of a transaction; default: 1
}

// Verb is "txn-put".
func (TxnPut) Verb() string { return "txn-put" }

type txnPutPlan struct {
	single
	keys   *keys
	values *values
	ops    int
}

func (t TxnPut) build(_ *Options, seed uint64) (plan, error) {
	keys, err := t.Keys.build()
	if err != nil {
		return nil, err
	}
	t.Ops = max(t.Ops, 1)
	if t.Ops > keys.Space {
		return nil, fmt.Errorf("%d puts of a transaction need as many keys, there are %d", t.Ops,
			keys.Space)
	}
	values, err := newValues(t.ValueSize, seed)
	return &txnPutPlan{keys: keys, values: values, ops: t.Ops}, err
}

func (p *txnPutPlan) series() []string { return []string{"txn-put"} }

func (p *txnPutPlan) next(c *client, msg []byte) request {
	// A transaction must not put to a key twice, so its keys are neighbours.
	first := p.keys.pick(c.rng)
	if p.keys.Sequential {
		first *= uint64(p.ops)
	}
	for i := range uint64(p.ops) {
		key := (first + i) % uint64(p.keys.Space)
		c.scratch[0] = p.keys.append(c.scratch[0][:0], key)
		c.scratch[1] = appendPut(c.scratch[1][:0], c.scratch[0], p.values.pick(c.rng), 0)
		msg = appendOp(msg, txnSuccess, opPut, c.scratch[1])
	}
	return request{method: txnMethod, msg: msg}
}

// TxnMixed makes transactions of one put or one range, in a ratio.
type TxnMixed struct {
	Keys
	ValueSize    int     // bytes
	Ratio        float64 // reads for each write; default: 1
	End          string  // where reads end; "": they read everything, up to Limit
	Limit        int64   // of keys that are read; default: 1000
	Serializable bool
}

const defaultTxnLimit = 1000

// Verb is "txn-mixed".
func (TxnMixed) Verb() string { return "txn-mixed" }

type txnMixedPlan struct {
	single
	keys   *keys
	values *values
	share  float64 // of reads
	read   []byte  // the whole request
}

func (t TxnMixed) build(_ *Options, seed uint64) (plan, error) {
	if t.Ratio < 0 || t.Limit < 0 {
		return nil, errors.New("ratio and limit must not be negative")
	}
	if t.Limit == 0 {
		t.Limit = defaultTxnLimit
	}
	keys, err := t.Keys.build()
	if err != nil {
		return nil, err
	}
	read := rangeRequest{key: []byte{0}, end: []byte(t.End), limit: t.Limit,
		serializable: t.Serializable}
	if t.End == "" {
		read.end = []byte{0} // everything
	}
	p := &txnMixedPlan{keys: keys, share: t.Ratio / (1 + t.Ratio)}
	p.read = appendOp(nil, txnSuccess, opRange, read.append(nil))
	p.values, err = newValues(t.ValueSize, seed)
	return p, err
}

const (
	writeSeries = iota
	readSeries
)

func (p *txnMixedPlan) series() []string { return []string{"write", "read"} }

func (p *txnMixedPlan) next(c *client, msg []byte) request {
	if c.rng.Float64() < p.share {
		c.series = readSeries
		return request{method: txnMethod, msg: append(msg, p.read...)}
	}
	c.series = writeSeries
	c.scratch[0] = p.keys.append(c.scratch[0][:0], p.keys.pick(c.rng))
	c.scratch[1] = appendPut(c.scratch[1][:0], c.scratch[0], p.values.pick(c.rng), 0)
	return request{method: txnMethod, msg: appendOp(msg, txnSuccess, opPut, c.scratch[1])}
}

// Mixed makes puts, ranges of one key and deletes of one key, by their weights.
type Mixed struct {
	Keys
	ValueSize           int // bytes
	Puts, Gets, Deletes int // weights; all 0: 1, 1 and 0
	Serializable        bool
}

// Verb is "mixed".
func (Mixed) Verb() string { return "mixed" }

type mixedPlan struct {
	single
	Mixed
	keys   *keys
	values *values
}

func (m Mixed) build(_ *Options, seed uint64) (plan, error) {
	if m.Puts == 0 && m.Gets == 0 && m.Deletes == 0 {
		m.Puts, m.Gets = 1, 1
	}
	if m.Puts < 0 || m.Gets < 0 || m.Deletes < 0 {
		return nil, errors.New("weights must not be negative")
	}
	keys, err := m.Keys.build()
	if err != nil {
		return nil, err
	}
	values, err := newValues(m.ValueSize, seed)
	return &mixedPlan{Mixed: m, keys: keys, values: values}, err
}

func (p *mixedPlan) series() []string { return []string{"put", "range", "delete"} }

func (p *mixedPlan) next(c *client, msg []byte) request {
	c.scratch[0] = p.keys.append(c.scratch[0][:0], p.keys.pick(c.rng))
	n := c.rng.IntN(p.Puts + p.Gets + p.Deletes)
	switch {
	case n < p.Puts:
		c.series = 0
		msg = appendPut(msg, c.scratch[0], p.values.pick(c.rng), 0)
		return request{method: putMethod, msg: msg}
	case n < p.Puts+p.Gets:
		c.series = 1
		read := rangeRequest{key: c.scratch[0], serializable: p.Serializable}
		return request{method: rangeMethod, msg: read.append(msg)}
	}
	c.series = 2
	return request{method: deleteMethod, msg: appendBytes(msg, 1, c.scratch[0])}
}
