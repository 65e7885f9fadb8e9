package ctl

import (
	"context"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/cairnkv/cairn/cli/internal/terminal"
)

// delGrace is how long del waits before it removes a range that --range did not ask for.
const delGrace = 2 * time.Second

// delOptions are the flags of del.
type delOptions struct {
	prefix  bool
	prevKV  bool
	fromKey bool
	isRange bool
}

func (o *delOptions) register(fs *pflag.FlagSet) {
	fs.BoolVar(&o.prefix, "prefix", false, "delete keys with matching prefix")
	fs.BoolVar(&o.prevKV, "prev-kv", false, "return deleted key-value pairs")
	fs.BoolVar(&o.fromKey, "from-key", false,
		"delete keys that are greater than or equal to the given key using byte compare")
	fs.BoolVar(&o.isRange, "range", false, "delete range of keys")
}

// delCommand makes the verb "del".
func (a *app) delCommand() *cobra.Command {
	var o delOptions
	cmd := &cobra.Command{
		Use:   "del [options] <key> [range_end]",
		Short: "Removes the specified key or range of keys [key, range_end)",
		Example: a.example(`  $0 del foo
  $0 del --prefix /tmp/ --prev-kv
  $0 del --range a z`),
		RunE: func(cmd *cobra.Command, args []string) error { return a.del(cmd, o, args) },
	}
	o.register(cmd.Flags())
	return cmd
}

func (a *app) del(cmd *cobra.Command, o delOptions, args []string) error {
	key, opts, err := a.delOp(cmd.Context(), o, args)
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
	resp, err := c.Delete(ctx, key, opts...)
	if err != nil {
		return terminal.Fail(terminal.ExitError, err)
	}
	return a.show(delOutput((*pb.DeleteRangeResponse)(resp)))
}

// delOutput shows the answer to a delete.
func delOutput(r *pb.DeleteRangeResponse) output {
	return output{
		simple: func(p *printer) {
			p.println(r.GetDeleted())
			for _, kv := range r.GetPrevKvs() {
				p.kv(kv)
			}
		},
		fields: func(p *printer) {
			p.header(r.GetHeader())
			p.println(`"Deleted" :`, r.GetDeleted())
			for _, kv := range r.GetPrevKvs() {
				p.kvFields("Prev", kv)
			}
		},
		json:  r,
		proto: r,
	}
}

// delOp turns flags and arguments into a delete. A range without --range is warned of, and time
// given to take it back.
func (a *app) delOp(ctx context.Context, o delOptions, args []string) (
	string, []clientv3.OpOption, error) {
	switch {
	case len(args) == 0 || len(args) > 2:
		return "", nil, terminal.Failf(terminal.ExitBadArgs,
			"del command needs one argument as key and an optional argument as range_end")
	case o.prefix && o.fromKey:
		return "", nil, errPrefixAndFromKey()
	case len(args) > 1 && (o.prefix || o.fromKey):
		return "", nil, errRangeEndAndPrefix()
	}
	var opts []clientv3.OpOption
	if len(args) > 1 {
		opts = append(opts, clientv3.WithRange(args[1]))
		if !o.isRange {
			a.warn("Warning: Keys between %q and %q will be deleted. Please interrupt the "+
				"command within next 2 seconds to cancel. You can provide `--range` flag to "+
				"avoid the delay.", args[0], args[1])
			select {
			case <-time.After(delGrace):
			case <-ctx.Done():
				return "", nil, terminal.Fail(terminal.ExitInterrupted, ctx.Err())
			}
		}
	}
	if o.prevKV {
		opts = append(opts, clientv3.WithPrevKV())
	}
	key, opts := rangeOf(args[0], o.prefix, o.fromKey, opts)
	return key, opts, nil
}
