package bench

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// cleanTimeout bounds the clean-up after a run.
const cleanTimeout = 10 * time.Second

// alone makes operations that are not measured, one after the other on a connection of their own,
// and returns the first error.
func (r *run) alone(ctx context.Context, p plan, operations int) error {
	one := &run{Options: r.Options, plan: p, began: r.began, allReady: make(chan struct{})}
	one.Conns, one.Clients, one.Rate, one.Progress = 1, 1, 0, nil
	one.Warmup, one.Duration, one.Total = 0, 0, int64(operations)
	one.token = r.token
	defer one.close()
	if err := one.connect(ctx); err != nil {
		return err
	}
	result, err := one.measure(ctx)
	if err != nil {
		return err
	}
	if failed := result.Series[0].ErrorsByCount(); len(failed) > 0 {
		return errors.New(failed[0])
	}
	return nil
}

// authenticate exchanges the user's password for a token.
func (r *run) authenticate(ctx context.Context) error {
	if r.User == "" {
		return nil
	}
	p := &authPlan{user: r.User, password: r.Password}
	if err := r.alone(ctx, p, 1); err != nil {
		return fmt.Errorf("user %s: %w", r.User, err)
	}
	r.token = p.token
	return nil
}

// authPlan asks for a token, once.
type authPlan struct {
	unprepared
	user, password, token string
}

func (p *authPlan) series() []string { return []string{"authenticate"} }

func (p *authPlan) next(_ *client, msg []byte) request {
	msg = appendBytes(msg, 1, []byte(p.user))
	return request{method: authMethod, msg: appendBytes(msg, 2, []byte(p.password))}
}

func (p *authPlan) reply(_ *client, msg []byte) (bool, error) {
	return false, fields(msg, func(f field) error {
		if f.num == 2 {
			p.token = string(f.bytes)
		}
		return nil
	})
}

// leaser is a plan whose clients have leases, which are to go with them.
type leaser interface {
	// leaseOf returns a client's lease, 0 without one.
	leaseOf(c *client) int64
}

// clean revokes the leases of all clients. The workers must have ended.
func (r *run) clean(ctx context.Context) error {
	p, ok := r.plan.(leaser)
	if !ok {
		return nil
	}
	var ids []int64
	for _, w := range r.workers {
		for _, c := range w.clients {
			if id := p.leaseOf(c); id != 0 {
				ids = append(ids, id)
			}
		}
	}
	if len(ids) == 0 {
		return nil
	}
	// Also when the run was interrupted.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanTimeout)
	defer cancel()
	if err := r.alone(ctx, &revokePlan{ids: ids}, len(ids)); err != nil {
		return fmt.Errorf("revoking leases: %w", err)
	}
	return nil
}

// revokePlan revokes leases, in order.
type revokePlan struct {
	single
	ids []int64
}

func (p *revokePlan) series() []string { return []string{"revoke"} }

func (p *revokePlan) next(_ *client, msg []byte) request {
	id := p.ids[0]
	p.ids = p.ids[1:]
	return request{method: revokeMethod, msg: appendUint(msg, 1, uint64(id))}
}
