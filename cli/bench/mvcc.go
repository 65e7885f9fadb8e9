package bench

import (
	"github.com/spf13/cobra"

	"github.com/cairnkv/cairn/bench/storage"
	"github.com/cairnkv/cairn/cli/internal/terminal"
)

func (a *app) mvccCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "mvcc",
		Short: "Benchmark Cairn's store by itself, without a server",
	}
	cmd.AddCommand(a.mvccPutCommand())
	return cmd
}

func (a *app) mvccPutCommand() *cobra.Command {
	var p storage.Put
	cmd := &cobra.Command{
		Use:   "put",
		Short: "Benchmark puts of the store",
		Long: `Benchmark puts of Cairn's store by itself: in this process, on files in a temporary
directory, without raft log, network and sync.`,
		Example: "  " + a.cfg.Name + " mvcc put --total=1000000 --value-size=256 --key-size=32",
		Args:    cobra.NoArgs,
	}
	fs := cmd.Flags()
	fs.StringVar(&p.Dir, "dir", "", "where to make the directory (default: with temporary files)")
	fs.IntVar(&p.Total, "total", 100000, "total number of transactions")
	fs.IntVar(&p.Ops, "txn-ops", 1, "number of keys to put per transaction")
	fs.IntVar(&p.Batch, "batch", 256, "transactions that are published together")
	fs.IntVar(&p.KeySize, "key-size", 64, "size of keys in bytes")
	fs.IntVar(&p.ValueSize, "value-size", 64, "size of values in bytes")
	fs.IntVar(&p.KeySpace, "key-space-size", 0, "how many different keys (0: all are new)")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		show, err := a.output()
		if err != nil {
			return err
		}
		p.Seed = a.options.Seed
		result, err := storage.Run(cmd.Context(), p)
		if err != nil {
			return terminal.Fail(terminal.ExitError, err)
		}
		if err := show(a.cfg.Stdout, result); err != nil {
			return terminal.Fail(terminal.ExitIO, err)
		}
		return nil
	}
	return cmd
}
