package bench

import (
	"github.com/spf13/cobra"

	load "github.com/cairnkv/cairn/bench"
)

func (a *app) leaseKeepAliveCommand() *cobra.Command {
	var l load.LeaseKeepAlive
	cmd := &cobra.Command{
		Use:     "lease-keepalive",
		Aliases: []string{"lease"},
		Short:   "Benchmark renewals of leases",
		Example: "  $0 lease-keepalive --conns=10 --clients=100 --total=100000",
		Args:    cobra.NoArgs,
	}
	a.totalFlags(cmd.Flags(), "renewals")
	cmd.Flags().Int64Var(&l.TTL, "ttl", 100, "time to live of the leases, in seconds")
	return a.verb(cmd, func([]string) (load.Load, error) { return l, nil })
}
