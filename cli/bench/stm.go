package bench

import (
	"github.com/spf13/cobra"

	load "github.com/cairnkv/cairn/bench"
)

func (a *app) stmCommand() *cobra.Command {
	var l load.STM
	cmd := &cobra.Command{
		Use:   "stm",
		Short: "Benchmark software transactions, with and without locks",
		Example: `  $0 stm --keys=1000 --keys-per-txn=4 --isolation=ss --clients=100
  $0 stm --stm-locker=lock-client --clients=10 --total=1000`,
		Args: cobra.NoArgs,
	}
	fs := cmd.Flags()
	a.totalFlags(fs, "completed transactions")
	fs.IntVar(&l.Keys, "keys", 1, "total unique keys accessible by the benchmark")
	fs.IntVar(&l.PerTxn, "keys-per-txn", 1, "number of keys to access per transaction")
	fs.IntVar(&l.WritePercent, "txn-wr-percent", 50, "percentage of keys to overwrite")
	fs.StringVar((*string)(&l.Isolation), "isolation", "r",
		"read committed (c), repeatable reads (r), serializable (s), or snapshot (ss)")
	fs.StringVar((*string)(&l.Locker), "stm-locker", "stm",
		"lock around each transaction: none (stm), by keys (lock-client), by RPC (lock-rpc)")
	valueFlag(fs, &l.ValueSize)
	return a.verb(cmd, func([]string) (load.Load, error) { return l, nil })
}
