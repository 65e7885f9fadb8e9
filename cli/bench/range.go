package bench

import (
	"github.com/spf13/cobra"

	load "github.com/cairnkv/cairn/bench"
)

func (a *app) rangeCommand() *cobra.Command {
	var l load.Range
	cmd := &cobra.Command{
		Use:   "range [key [end-range]]",
		Short: "Benchmark range",
		Long: `Benchmark range: always of the same keys, or, without a key, of one by chance
of the key space, as put has written them.`,
		Example: `  $0 range foo --consistency=s --conns=10 --clients=100
  $0 range --key-space-size=100000 --clients=100 --duration=10s`,
		Args: cobra.MaximumNArgs(2),
	}
	fs := cmd.Flags()
	a.totalFlags(fs, "range requests")
	keyFlags(fs, &l.Keys)
	serializable := consistencyFlag(fs)
	fs.Int64Var(&l.Limit, "limit", 0, "maximum number of keys in an answer (0 is no limit)")
	fs.BoolVar(&l.KeysOnly, "keys-only", false, "ask for the keys alone")
	fs.BoolVar(&l.CountOnly, "count-only", false, "ask for the count alone")
	return a.verb(cmd, func(args []string) (_ load.Load, err error) {
		if len(args) > 0 {
			l.Key = args[0]
		}
		if len(args) > 1 {
			l.End = args[1]
		}
		l.Serializable, err = serializable()
		return l, err
	})
}
