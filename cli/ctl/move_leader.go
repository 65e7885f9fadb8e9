package ctl

import (
	"context"
	"strconv"

	"github.com/spf13/cobra"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/client/pkg/v3/types"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/cairnkv/cairn/cli/internal/terminal"
)

// moveLeaderCommand makes the verb "move-leader".
func (a *app) moveLeaderCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "move-leader <transferee-member-id>",
		Short:   "Transfers leadership to another etcd cluster member.",
		Example: a.example("  $0 move-leader 8e9e05c52164694d"),
		RunE:    a.moveLeader,
	}
}

func (a *app) moveLeader(cmd *cobra.Command, args []string) error {
	if len(args) != 1 {
		return terminal.Failf(terminal.ExitBadArgs, "move-leader command needs 1 argument")
	}
	target, err := strconv.ParseUint(args[0], 16, 64)
	if err != nil {
		return terminal.Fail(terminal.ExitBadArgs, err)
	}
	spec, err := a.clientSpec(cmd)
	if err != nil {
		return err
	}
	ctx, cancel := a.withTimeout(cmd.Context())
	defer cancel()
	c, leader, err := a.findLeader(ctx, spec)
	if err != nil {
		return err
	}
	defer c.Close()
	resp, err := c.MoveLeader(ctx, target)
	if err != nil {
		return terminal.Fail(terminal.ExitError, err)
	}
	r := (*pb.MoveLeaderResponse)(resp)
	return a.show(output{
		simple: func(p *printer) {
			p.printf("Leadership transferred from %s to %s\n", types.ID(leader), types.ID(target))
		},
		json:  r,
		proto: r,
	})
}

// findLeader returns a client for the endpoint that leads, which the caller closes, and its id.
func (a *app) findLeader(ctx context.Context, spec *clientv3.ConfigSpec) (
	*clientv3.Client, uint64, error) {
	for _, ep := range spec.Endpoints {
		one := spec.Clone()
		one.Endpoints = []string{ep}
		c, err := a.dial(one)
		if err != nil {
			return nil, 0, err
		}
		resp, err := c.Status(ctx, ep)
		if err != nil {
			c.Close()
			return nil, 0, terminal.Fail(terminal.ExitError, err)
		}
		r := (*pb.StatusResponse)(resp)
		if r.GetHeader().GetMemberId() == r.GetLeader() {
			return c, r.GetLeader(), nil
		}
		c.Close()
	}
	return nil, 0, terminal.Failf(terminal.ExitBadArgs,
		"no leader endpoint given at %v", spec.Endpoints)
}
