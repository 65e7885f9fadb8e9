package bench

import "errors"

// Range reads: always the same keys, or one by chance of a key space.
type Range struct {
	// Key and End are as in a RangeRequest. Without a Key a key of Keys is read.
	Key, End string
	Keys
	Limit        int64 // of keys in an answer; 0: none
	Serializable bool
	KeysOnly     bool
	CountOnly    bool
}

// Verb is "range".
func (Range) Verb() string { return "range" }

type rangePlan struct {
	single
	Range
	keys *keys
	msg  []byte // if it is always the same
}

func (r Range) request() rangeRequest {
	return rangeRequest{key: []byte(r.Key), end: []byte(r.End), limit: r.Limit,
		serializable: r.Serializable, keysOnly: r.KeysOnly, counts: r.CountOnly}
}

func (r Range) build(*Options, uint64) (plan, error) {
	if r.Key == "" && r.End != "" {
		return nil, errors.New("an end of the range needs a key")
	}
	if r.Limit < 0 {
		return nil, errors.New("the limit must not be negative")
	}
	keys, err := r.Keys.build()
	p := &rangePlan{Range: r, keys: keys}
	if r.Key != "" {
		req := r.request()
		p.msg = req.append(nil)
	}
	return p, err
}

func (p *rangePlan) series() []string { return []string{"range"} }

func (p *rangePlan) next(c *client, msg []byte) request {
	if p.msg != nil {
		return request{method: rangeMethod, msg: append(msg, p.msg...)}
	}
	c.scratch[0] = p.keys.append(c.scratch[0][:0], p.keys.pick(c.rng))
	req := p.request()
	req.key = c.scratch[0]
	return request{method: rangeMethod, msg: req.append(msg)}
}

// List reads pages of Limit neighbouring keys of a key space that Put has filled, as those do who
// list everything. Each page begins at a multiple of Limit, in order or by chance.
type List struct {
	Keys
	Limit        int64 // keys of a page; default: 500
	Serializable bool
	KeysOnly     bool
}

const defaultPage = 500

// Verb is "list".
func (List) Verb() string { return "list" }

type listPlan struct {
	single
	List
	pages *keys // their numbers
	keys  *keys
	end   []byte
}

func (l List) build(*Options, uint64) (plan, error) {
	if l.Limit == 0 {
		l.Limit = defaultPage
	}
	if l.Limit < 0 {
		return nil, errors.New("the limit must be positive")
	}
	keys, err := l.Keys.build()
	if err != nil {
		return nil, err
	}
	pages := keys.Keys
	pages.Space = (keys.Space + int(l.Limit) - 1) / int(l.Limit)
	p := &listPlan{List: l, keys: keys}
	p.pages, err = pages.build()
	p.end = keys.append(nil, uint64(keys.Space-1))
	p.end[len(p.end)-1]++ // behind the last key
	return p, err
}

func (p *listPlan) series() []string { return []string{"list"} }

func (p *listPlan) next(c *client, msg []byte) request {
	page := p.pages.pick(c.rng)
	c.scratch[0] = p.keys.append(c.scratch[0][:0], page*uint64(p.Limit))
	req := rangeRequest{key: c.scratch[0], end: p.end, limit: p.Limit,
		serializable: p.Serializable, keysOnly: p.KeysOnly}
	return request{method: rangeMethod, msg: req.append(msg)}
}
