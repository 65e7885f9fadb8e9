package ctl

import (
	"strconv"

	"github.com/spf13/cobra"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/cairnkv/cairn/cli/internal/terminal"
)

// leaseCommand makes the verb "lease".
func (a *app) leaseCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "lease <subcommand>",
		Short: a.example("Lease related commands. Use `$0 lease --help` to see subcommands"),
		Long:  "Lease related commands",
	}
	cmd.AddCommand(a.leaseGrantCommand(), a.leaseRevokeCommand(), a.leaseTimeToLiveCommand(),
		a.leaseListCommand(), a.leaseKeepAliveCommand())
	return cmd
}

func (a *app) leaseGrantCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "grant <ttl>",
		Short:   "Creates leases",
		Example: a.example("  $0 lease grant 60"),
		RunE:    a.leaseGrant,
	}
}

func (a *app) leaseGrant(cmd *cobra.Command, args []string) error {
	if len(args) != 1 {
		return terminal.Failf(terminal.ExitBadArgs, "lease grant command needs TTL argument")
	}
	ttl, err := strconv.ParseInt(args[0], 10, 64)
	if err != nil {
		return terminal.Failf(terminal.ExitBadArgs, "bad TTL (%w)", err)
	}
	c, err := a.connect(cmd)
	if err != nil {
		return err
	}
	defer c.Close()
	ctx, cancel := a.withTimeout(cmd.Context())
	defer cancel()
	r, err := c.Grant(ctx, ttl)
	if err != nil {
		return terminal.Failf(terminal.ExitError, "failed to grant lease (%w)", err)
	}
	return a.show(output{
		simple: func(p *printer) {
			p.printf("lease %016x granted with TTL(%ds)\n", r.ID, r.TTL)
		},
		fields: func(p *printer) { leaseFields(p, r.ResponseHeader, r.ID, r.TTL) },
		json:   r,
		proto:  r.ResponseHeader, // all that etcdctl writes of it
	})
}

// leaseFields prints what the answers to grant, keep-alive and timetolive have in common.
func leaseFields(p *printer, h *pb.ResponseHeader, id clientv3.LeaseID, ttl int64) {
	p.header(h)
	p.leaseID(id)
	p.println(`"TTL" :`, ttl)
}

// leaseID prints the id of a lease as a field: decimal, or hexadecimal under --hex.
func (p *printer) leaseID(id clientv3.LeaseID) {
	if p.hex {
		p.printf("\"ID\" : %016x\n", id)
	} else {
		p.println(`"ID" :`, int64(id))
	}
}

func (a *app) leaseRevokeCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "revoke <leaseID>",
		Short:   "Revokes leases",
		Example: a.example("  $0 lease revoke 32695410dcc0ca06"),
		RunE:    a.leaseRevoke,
	}
}

func (a *app) leaseRevoke(cmd *cobra.Command, args []string) error {
	if len(args) != 1 {
		return terminal.Failf(terminal.ExitBadArgs, "lease revoke command needs 1 argument")
	}
	id, err := parseLeaseID(args[0])
	if err != nil {
		return err
	}
	c, err := a.connect(cmd)
	if err != nil {
		return err
	}
	defer c.Close()
	ctx, cancel := a.withTimeout(cmd.Context())
	defer cancel()
	r, err := c.Revoke(ctx, id)
	if err != nil {
		return terminal.Failf(terminal.ExitError, "failed to revoke lease (%w)", err)
	}
	return a.show(output{
		simple: func(p *printer) { p.printf("lease %016x revoked\n", id) },
		fields: func(p *printer) { p.header((*pb.LeaseRevokeResponse)(r).GetHeader()) },
		json:   r,
	})
}

func (a *app) leaseTimeToLiveCommand() *cobra.Command {
	var keys bool
	cmd := &cobra.Command{
		Use:     "timetolive <leaseID> [options]",
		Short:   "Get lease information",
		Example: a.example("  $0 lease timetolive 32695410dcc0ca06 --keys"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.leaseTimeToLive(cmd, keys, args)
		},
	}
	cmd.Flags().BoolVar(&keys, "keys", false, "Get keys attached to this lease")
	return cmd
}

func (a *app) leaseTimeToLive(cmd *cobra.Command, keys bool, args []string) error {
	if len(args) != 1 {
		return terminal.Failf(terminal.ExitBadArgs,
			"lease timetolive command needs lease ID as argument")
	}
	c, err := a.connect(cmd)
	if err != nil {
		return err
	}
	defer c.Close()
	id, err := parseLeaseID(args[0])
	if err != nil {
		return err
	}
	var opts []clientv3.LeaseOption
	if keys {
		opts = append(opts, clientv3.WithAttachedKeys())
	}
	r, err := c.TimeToLive(cmd.Context(), id, opts...)
	if err != nil {
		return terminal.Fail(terminal.ExitBadConnection, err)
	}
	return a.show(output{
		simple: func(p *printer) { timeToLiveSimple(p, r, keys) },
		fields: func(p *printer) {
			leaseFields(p, r.ResponseHeader, r.ID, r.TTL)
			p.println(`"GrantedTTL" :`, r.GrantedTTL)
			for _, k := range r.Keys {
				p.printf("\"Key\" : %q\n", k)
			}
		},
		json:  r,
		proto: r.ResponseHeader,
	})
}

func timeToLiveSimple(p *printer, r *clientv3.LeaseTimeToLiveResponse, keys bool) {
	if r.GrantedTTL == 0 && r.TTL == -1 {
		p.printf("lease %016x already expired\n", r.ID)
		return
	}
	p.printf("lease %016x granted with TTL(%ds), remaining(%ds)", r.ID, r.GrantedTTL, r.TTL)
	if keys {
		names := make([]string, len(r.Keys))
		for i, k := range r.Keys {
			names[i] = string(k)
		}
		p.printf(", attached keys(%v)", names)
	}
	p.println()
}

func (a *app) leaseListCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Short:   "List all active leases",
		Example: a.example("  $0 lease list"),
		RunE:    a.leaseList,
	}
}

func (a *app) leaseList(cmd *cobra.Command, _ []string) error {
	c, err := a.connect(cmd)
	if err != nil {
		return err
	}
	defer c.Close()
	r, err := c.Leases(cmd.Context())
	if err != nil {
		return terminal.Fail(terminal.ExitBadConnection, err)
	}
	return a.show(output{
		simple: func(p *printer) {
			p.printf("found %d leases\n", len(r.Leases))
			for _, l := range r.Leases {
				p.printf("%016x\n", l.ID)
			}
		},
		fields: func(p *printer) {
			p.header(r.ResponseHeader)
			for _, l := range r.Leases {
				p.leaseID(l.ID)
			}
		},
		json:  r,
		proto: r.ResponseHeader,
	})
}

func (a *app) leaseKeepAliveCommand() *cobra.Command {
	var once bool
	cmd := &cobra.Command{
		Use:     "keep-alive [options] <leaseID>",
		Short:   "Keeps leases alive (renew)",
		Example: a.example("  $0 lease keep-alive --once 32695410dcc0ca06"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.leaseKeepAlive(cmd, once, args)
		},
	}
	cmd.Flags().BoolVar(&once, "once", false, "Resets the keep-alive time to its original value "+
		"and cobrautl.Exits immediately")
	return cmd
}

func (a *app) leaseKeepAlive(cmd *cobra.Command, once bool, args []string) error {
	if len(args) != 1 {
		return terminal.Failf(terminal.ExitBadArgs,
			"lease keep-alive command needs lease ID as argument")
	}
	id, err := parseLeaseID(args[0])
	if err != nil {
		return err
	}
	c, err := a.connect(cmd)
	if err != nil {
		return err
	}
	defer c.Close()
	if once {
		r, err := c.KeepAliveOnce(cmd.Context(), id)
		if err != nil {
			return terminal.Fail(terminal.ExitBadConnection, err)
		}
		return a.show(keepAliveOutput(r))
	}
	answers, err := c.KeepAlive(cmd.Context(), id)
	if err != nil {
		return terminal.Fail(terminal.ExitBadConnection, err)
	}
	for r := range answers {
		if err := a.show(keepAliveOutput(r)); err != nil {
			return err
		}
	}
	if a.flags.writeOut == "simple" {
		return a.say("lease %016x expired or revoked.", id)
	}
	return nil
}

// keepAliveOutput shows one renewal.
func keepAliveOutput(r *clientv3.LeaseKeepAliveResponse) output {
	return output{
		simple: func(p *printer) {
			p.printf("lease %016x keepalived with TTL(%d)\n", r.ID, r.TTL)
		},
		fields: func(p *printer) { leaseFields(p, r.ResponseHeader, r.ID, r.TTL) },
		json:   r,
		proto:  r.ResponseHeader,
	}
}

// parseLeaseID reads the id of a lease, in hexadecimal.
func parseLeaseID(arg string) (clientv3.LeaseID, error) {
	id, err := strconv.ParseInt(arg, 16, 64)
	if err != nil {
		return 0, terminal.Failf(terminal.ExitBadArgs,
			"bad lease ID arg (%w), expecting ID in Hex", err)
	}
	return clientv3.LeaseID(id), nil
}
