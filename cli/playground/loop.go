package playground

import (
	"context"
	"sync"
	"time"

	"github.com/cairnkv/cairn/clock"
)

// tickEvery is how often the model is told of the time, and of what the load does.
const tickEvery = 250 * time.Millisecond

// playground is a model and the cluster that it is about. take has one caller at a time.
type playground struct {
	model   *model
	cluster *cluster
	begun   time.Time
	orders  sync.WaitGroup // those underway
	ctx     context.Context
	cancel  context.CancelFunc
	send    func(event) // hands an event to the loop; safe from any goroutine
}

// newPlayground makes the cluster of a home, and starts nothing. It is returned with an error too,
// to be closed.
func newPlayground(h *home, o options, t texts) (*playground, error) {
	p := &playground{model: newModel(t), begun: clock.Real().Now()}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	p.cluster = &cluster{
		program: o.program, args: o.extra, base: o.basePort, home: h,
		launch: newLauncher(o.environ), tell: func(e event) { p.send(e) },
	}
	if o.load {
		p.cluster.load.set(true)
		p.model.load.on = true
	}
	count := o.count
	if count == 0 {
		count = defaultMembers
	}
	return p, p.cluster.prepare(count)
}

// take gives the model an event, and has done what it wants.
func (p *playground) take(e event) {
	if _, ok := e.(passed); ok {
		if load, on := p.cluster.load.read(); on {
			p.update(load)
		}
	}
	p.update(e)
}

func (p *playground) update(e event) {
	for _, o := range p.model.update(clock.Real().Since(p.begun), e) {
		switch o.verb {
		case verbQuit:
		case verbLinks, verbLoad: // at once, and in the order in which they are given
			p.update(p.cluster.do(p.ctx, o))
		default:
			p.orders.Go(func() { p.send(p.cluster.do(p.ctx, o)) })
		}
	}
}

// close ends what is underway, and the cluster. Events must not be blocked by the loop any more.
func (p *playground) close() error {
	p.cancel()
	err := p.cluster.close()
	p.orders.Wait()
	return err
}
