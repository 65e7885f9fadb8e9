package bench

import (
	"github.com/spf13/cobra"

	load "github.com/cairnkv/cairn/bench"
)

func (a *app) txnPutCommand() *cobra.Command {
	var l load.TxnPut
	cmd := &cobra.Command{
		Use:     "txn-put",
		Short:   "Benchmark transactions of puts",
		Example: "  $0 txn-put --txn-ops=10 --key-space-size=100000 --clients=100 --total=100000",
		Args:    cobra.NoArgs,
	}
	fs := cmd.Flags()
	a.totalFlags(fs, "transactions")
	keyFlags(fs, &l.Keys)
	valueFlag(fs, &l.ValueSize)
	fs.IntVar(&l.Ops, "txn-ops", 1, "puts of a transaction")
	return a.verb(cmd, func([]string) (load.Load, error) { return l, nil })
}
