package bench

// Put overwrites keys.
type Put struct {
	Keys
	ValueSize int // bytes
}

// Verb is "put".
func (Put) Verb() string { return "put" }

type putPlan struct {
	single
	keys   *keys
	values *values
}

func (p Put) build(_ *Options, seed uint64) (plan, error) {
	keys, err := p.Keys.build()
	if err != nil {
		return nil, err
	}
	values, err := newValues(p.ValueSize, seed)
	return &putPlan{keys: keys, values: values}, err
}

func (p *putPlan) series() []string { return []string{"put"} }

func (p *putPlan) next(c *client, msg []byte) request {
	c.scratch[0] = p.keys.append(c.scratch[0][:0], p.keys.pick(c.rng))
	return request{method: putMethod, msg: appendPut(msg, c.scratch[0], p.values.pick(c.rng), 0)}
}
