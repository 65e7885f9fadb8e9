package sim

import (
	"bytes"
	"context"
	"errors"
	"time"

	cairn "github.com/cairnkv/cairn"
	"github.com/cairnkv/cairn/command"
	"github.com/cairnkv/cairn/task"
	v3 "github.com/cairnkv/cairn/v3"
	"google.golang.org/protobuf/proto"
)

// errNoAnswer is a request of which nobody knows what came of it.
var errNoAnswer = errors.New("no answer")

// errDown is a request that did not reach a process that serves: nothing came of it.
var errDown = errors.New("the member does not serve")

// callTimeout is how long a client waits for an answer.
const callTimeout = 3 * time.Second

// served is what a request does at the member, as one of its tasks.
type served func(ctx context.Context, l *life, b v3.Backend) (any, error)

// answer is what a client waits for.
type answer struct {
	done bool
	v    any
	err  error
}

// rpc sends a request to a member and waits for what comes of it. By a task of the clients. Of
// errNoAnswer nobody knows what was done; other errors are the member's.
func (s *Sim) rpc(m *member, name string, timeout time.Duration, fn served) (any, error) {
	a := &answer{}
	finish := func(v any, err error) {
		if !a.done {
			a.done, a.v, a.err = true, v, err
			s.clientsRun()
		}
	}
	back := link{m.index, clientSide}
	s.Stats.Calls++
	s.net.carry(link{clientSide, m.index}, func() {
		l := m.life
		if l == nil || l.backend() == nil {
			s.net.carry(back, func() { finish(nil, errDown) }, nil)
			return
		}
		l.pending = append(l.pending, func() {
			s.after(detection, func() { finish(nil, errNoAnswer) })
		})
		l.Go("rpc "+name, func() {
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			v, err := fn(ctx, l, l.backend())
			s.net.carry(back, func() { finish(v, err) }, nil)
		})
		l.touch()
	}, nil)
	s.after(timeout, func() { finish(nil, errNoAnswer) })
	s.clients.await(func() bool { return a.done })
	return a.v, a.err
}

// rest lets time go by. By a task of the clients.
func (s *Sim) rest(d time.Duration) {
	end := s.now + d
	s.after(d, s.clientsRun)
	s.clients.await(func() bool { return s.now >= end })
}

// propose replicates a request and decodes the reply into reply. By a task of a member.
func propose(l *life, b v3.Backend, kind command.Kind, req, reply proto.Message) error {
	if b.Learner() {
		return cairn.ErrNotForLearner
	}
	if s := l.m.sim; chance(s.clientRNG, s.opts.Faults.Skew) {
		addUnknown(req.ProtoReflect(), s.clientRNG)
	}
	bytesOf, err := proto.Marshal(req)
	if err != nil {
		return err
	}
	type outcome struct {
		reply []byte
		err   error
	}
	result := make(chan outcome, 1)
	b.Propose(kind, bytesOf, func(reply []byte, err error) {
		result <- outcome{bytes.Clone(reply), err}
	})
	o, _ := task.Receive(l.on(), result)
	if o.err != nil {
		return o.err
	}
	return proto.Unmarshal(o.reply, reply)
}

// barrier waits for a linearizable read point. By a task of a member.
func barrier(l *life, b v3.Backend) error {
	if b.Learner() {
		return cairn.ErrNotForLearner
	}
	result := make(chan error, 1)
	b.Barrier(func(_ []byte, err error) { result <- err })
	err, _ := task.Receive(l.on(), result)
	return err
}

// submit is a rpc that proposes.
func (s *Sim) submit(m *member, kind command.Kind, req, reply proto.Message) error {
	_, err := s.rpc(m, kind.String(), callTimeout,
		func(_ context.Context, l *life, b v3.Backend) (any, error) {
			return nil, propose(l, b, kind, req, reply)
		})
	return err
}

// undone says whether an error means that nothing was done and nothing will be.
func undone(err error) bool {
	if errors.Is(err, errDown) {
		return true
	}
	for _, e := range []*cairn.Error{
		cairn.ErrNotForLearner, cairn.ErrTooManyRequests, cairn.ErrNoSpace, cairn.ErrCorrupt,
		cairn.ErrLeaseNotFound, cairn.ErrLeaseExists, cairn.ErrCompacted, cairn.ErrFutureRev,
	} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}
