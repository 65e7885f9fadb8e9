package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	cairn "github.com/cairnkv/cairn"
	"github.com/cairnkv/cairn/clock"
	"github.com/cairnkv/cairn/member"
	"github.com/cairnkv/cairn/task"
)

const (
	// healthInterval is for how long this member must have been connected to those that count as
	// healthy before the membership is changed (etcd: HealthInterval).
	healthInterval = 5 * time.Second
	// A learner may be promoted when it has readyTenths tenths of the leader's log.
	readyTenths = 9
)

func (b *backend) Members(ctx context.Context, linearizable bool) ([]member.Member, error) {
	if linearizable {
		if err := b.barrier(ctx); err != nil {
			return nil, err
		}
	}
	return b.machine.Members().List(), nil
}

func (b *backend) AddMember(
	ctx context.Context, peerURLs []string, learner bool,
) (member.Member, []member.Member, error) {
	m := member.Member{
		ID: member.NewID(peerURLs, b.clk.Now()), PeerURLs: peerURLs, IsLearner: learner,
	}
	if err := b.mayAdd(learner); err != nil {
		return m, nil, b.refused("add", m.ID, err)
	}
	all, err := b.change(ctx, &member.Change{
		Action: member.Add, Member: m, MaxLearners: b.cluster.maxLearners,
	})
	return m, all, err
}

// refused logs why a change is not proposed and returns the reason.
func (b *backend) refused(what string, id cairn.MemberID, err error) error {
	b.log.Warn("rejecting member "+what+" request", slog.String("member-id", fmt.Sprintf("%x", id)),
		slog.Any("error", err))
	return err
}

// mayAdd is etcd's --strict-reconfig-check of an addition: the new member counts as one that is
// down.
func (b *backend) mayAdd(learner bool) error {
	if !b.cluster.strict {
		return nil
	}
	voters, started := b.voters(0)
	if one := len(voters) == 1 && started == 1; !learner && !one && started < (len(voters)+1)/2+1 {
		return cairn.ErrFewStarted
	}
	if len(voters) > 1 && b.connected(voters) < (len(voters)+1)/2+1 {
		return cairn.ErrUnhealthy
	}
	return nil
}

// voters lists the voting members but one, and counts those that have ever started.
func (b *backend) voters(without cairn.MemberID) (list []member.Member, started int) {
	for _, m := range b.machine.Members().List() {
		if m.IsLearner || m.ID == without {
			continue
		}
		list = append(list, m)
		if m.Name != "" {
			started++
		}
	}
	return list, started
}

// connected counts the members that have been connected for healthInterval, this one included.
func (b *backend) connected(list []member.Member) (n int) {
	since := b.clk.Now().Add(-healthInterval)
	for _, m := range list {
		t := b.cluster.activeSince(m.ID)
		if m.ID == b.machine.Local() || !t.IsZero() && t.Before(since) {
			n++
		}
	}
	return n
}

func (b *backend) RemoveMember(
	ctx context.Context, id cairn.MemberID,
) ([]member.Member, error) {
	if err := b.mayRemove(id); err != nil {
		return nil, b.refused("remove", id, err)
	}
	// A leader that is removed could not tell the others that its removal is committed.
	if s := b.node.Status(); id == s.Leader && s.Voters > 1 {
		if err := b.handOver(ctx, s.Leader); err != nil {
			b.log.Warn("removing the leader before it could hand over", slog.Any("error", err))
		}
	}
	return b.change(ctx, &member.Change{Action: member.Remove, Member: member.Member{ID: id}})
}

// mayRemove is etcd's --strict-reconfig-check of a removal.
func (b *backend) mayRemove(id cairn.MemberID) error {
	m, ok := b.machine.Members().Get(id)
	if !b.cluster.strict || ok && m.IsLearner {
		return nil
	}
	left, started := b.voters(id)
	if started < len(left)/2+1 {
		return cairn.ErrFewStarted
	}
	local := id == b.machine.Local()
	if !local && b.cluster.activeSince(id).IsZero() {
		return nil // it is down, and no part of the quorum that is at work
	}
	all, _ := b.voters(0)
	if b.connected(all)-1 < (len(all)-1)/2+1 {
		return cairn.ErrUnhealthy
	}
	return nil
}

// handOver makes the leader, wherever it is, hand over to whom it likes.
func (b *backend) handOver(ctx context.Context, leader cairn.MemberID) error {
	if leader == b.machine.Local() {
		return b.HandOver(ctx, 0)
	}
	return b.cluster.client.HandOver(ctx, leader, 0)
}

// HandOver hands the leadership to a member, 0: to whom it likes, if this one has it
// (peer.Backend).
func (b *backend) HandOver(ctx context.Context, to cairn.MemberID) error {
	if !b.node.Status().IsLeader {
		return cairn.ErrNotLeader
	}
	ctx, cancel := clock.WithTimeout(ctx, b.clk, b.cluster.election)
	defer cancel()
	began := b.clk.Now()
	b.log.Info("leadership transfer starting", slog.String("transferee-member-id",
		fmt.Sprintf("%x", to)))
	err := b.node.Transfer(ctx, to)
	if errors.Is(err, context.DeadlineExceeded) {
		return cairn.ErrTimeoutTransfer
	}
	if err == nil {
		b.log.Info("leadership transfer finished", slog.Duration("took", b.clk.Since(began)))
	}
	return err
}

func (b *backend) MoveLeader(ctx context.Context, to cairn.MemberID) error {
	if s := b.node.Status(); !s.IsLeader {
		return cairn.ErrNotLeader
	}
	if m, ok := b.machine.Members().Get(to); !ok || m.IsLearner {
		return cairn.ErrBadTransferee
	}
	if to == b.machine.Local() {
		return nil
	}
	return b.HandOver(ctx, to)
}

func (b *backend) UpdateMember(
	ctx context.Context, id cairn.MemberID, peerURLs []string,
) ([]member.Member, error) {
	return b.change(ctx, &member.Change{
		Action: member.Update, Member: member.Member{ID: id, PeerURLs: peerURLs},
	})
}

// PromoteMember asks the leader, which alone knows how far the learner is.
func (b *backend) PromoteMember(
	ctx context.Context, id cairn.MemberID,
) (all []member.Member, err error) {
	err = b.atLeader(ctx, func(ctx context.Context, leader cairn.MemberID) (err error) {
		if leader == b.machine.Local() {
			all, err = b.Promote(ctx, id)
		} else {
			all, err = b.cluster.client.Promote(ctx, leader, id)
		}
		return err
	})
	return all, err
}

// Promote promotes a learner, if this member leads (peer.Backend).
func (b *backend) Promote(
	ctx context.Context, id cairn.MemberID,
) (all []member.Member, err error) {
	if all, err = b.promote(ctx, id); err == nil {
		b.metrics.LearnerPromotions.Inc()
	} else if !errors.Is(err, cairn.ErrNotLeader) {
		b.metrics.PromotionFailures.WithLabelValues(err.Error()).Inc()
	}
	return all, err
}

func (b *backend) promote(ctx context.Context, id cairn.MemberID) ([]member.Member, error) {
	peers, err := b.node.Peers(ctx)
	if err != nil {
		return nil, err
	}
	if peers == nil {
		return nil, cairn.ErrNotLeader
	}
	learner, ok := peers[id]
	switch {
	case !ok:
		return nil, cairn.ErrMemberNotFound
	case learner.Match*10 < peers[b.machine.Local()].Match*readyTenths:
		return nil, b.refused("promote", id, cairn.ErrLearnerNotReady)
	}
	if voters, started := b.voters(0); b.cluster.strict && started+1 < (len(voters)+1)/2+1 {
		return nil, b.refused("promote", id, cairn.ErrFewStarted)
	}
	return b.change(ctx, &member.Change{Action: member.Promote, Member: member.Member{ID: id}})
}

// change proposes a change and returns the members after it.
func (b *backend) change(ctx context.Context, c *member.Change) ([]member.Member, error) {
	type outcome struct {
		all []member.Member
		err error
	}
	result := make(chan outcome, 1)
	b.node.ProposeChange(c, func(_ []byte, err error) {
		result <- outcome{b.machine.Members().List(), err}
	})
	r, which := task.Receive(b.cluster.tasks, result, ctx.Done())
	if which == 0 {
		return nil, ctx.Err()
	}
	if r.err != nil {
		return nil, r.err
	}
	return r.all, nil
}
