package bench

import (
	"github.com/spf13/cobra"

	load "github.com/cairnkv/cairn/bench"
)

func (a *app) txnMixedCommand() *cobra.Command {
	var l load.TxnMixed
	cmd := &cobra.Command{
		Use:     "txn-mixed",
		Short:   "Benchmark a mix of transactions: one put, or one range",
		Example: "  $0 txn-mixed --rw-ratio=4 --limit=100 --key-space-size=10000 --clients=100",
		Args:    cobra.NoArgs,
	}
	fs := cmd.Flags()
	a.totalFlags(fs, "transactions")
	keyFlags(fs, &l.Keys)
	valueFlag(fs, &l.ValueSize)
	serializable := consistencyFlag(fs)
	fs.Float64Var(&l.Ratio, "rw-ratio", 1, "reads for each write")
	fs.StringVar(&l.End, "end-key", "", "where reads end (default: nowhere)")
	fs.Int64Var(&l.Limit, "limit", 1000, "maximum number of keys that are read")
	return a.verb(cmd, func([]string) (_ load.Load, err error) {
		l.Serializable, err = serializable()
		return l, err
	})
}
