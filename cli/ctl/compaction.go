package ctl

import (
	"strconv"

	"github.com/spf13/cobra"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/cairnkv/cairn/cli/internal/terminal"
)

// compactionCommand makes the verb "compaction".
func (a *app) compactionCommand() *cobra.Command {
	var physical bool
	cmd := &cobra.Command{
		Use:   "compaction [options] <revision>",
		Short: "Compacts the event history in etcd",
		Example: a.example(`  $0 compaction 1234
  $0 compaction --physical 1234`),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.compaction(cmd, physical, args)
		},
	}
	cmd.Flags().BoolVar(&physical, "physical", false,
		"'true' to wait for compaction to physically remove all old revisions")
	return cmd
}

func (a *app) compaction(cmd *cobra.Command, physical bool, args []string) error {
	if len(args) != 1 {
		return terminal.Failf(terminal.ExitBadArgs, "compaction command needs 1 argument")
	}
	rev, err := strconv.ParseInt(args[0], 10, 64)
	if err != nil {
		return terminal.Fail(terminal.ExitError, err)
	}
	var opts []clientv3.CompactOption
	if physical {
		opts = append(opts, clientv3.WithCompactPhysical())
	}
	c, err := a.connect(cmd)
	if err != nil {
		return err
	}
	defer c.Close()
	ctx, cancel := a.withTimeout(cmd.Context())
	defer cancel()
	if _, err := c.Compact(ctx, rev, opts...); err != nil {
		return terminal.Fail(terminal.ExitError, err)
	}
	return a.say("compacted revision %d", rev)
}
