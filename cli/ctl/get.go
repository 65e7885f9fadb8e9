package ctl

import (
	"context"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/cairnkv/cairn/cli/internal/terminal"
)

// getOptions are the flags of get.
type getOptions struct {
	consistency    string
	order          string
	sortBy         string
	limit          int64
	prefix         bool
	fromKey        bool
	rev            int64
	keysOnly       bool
	countOnly      bool
	printValueOnly bool
	minCreateRev   int64
	maxCreateRev   int64
	minModRev      int64
	maxModRev      int64
	stream         bool
}

func (o *getOptions) register(fs *pflag.FlagSet) {
	fs.StringVar(&o.consistency, "consistency", "l", "Linearizable(l) or Serializable(s)")
	fs.StringVar(&o.order, "order", "",
		"Order of results; ASCEND or DESCEND (ASCEND by default)")
	fs.StringVar(&o.sortBy, "sort-by", "", "Sort target; CREATE, KEY, MODIFY, VALUE, or VERSION")
	fs.Int64Var(&o.limit, "limit", 0, "Maximum number of results")
	fs.BoolVar(&o.prefix, "prefix", false, "Get keys with matching prefix")
	fs.BoolVar(&o.fromKey, "from-key", false,
		"Get keys that are greater than or equal to the given key using byte compare")
	fs.Int64Var(&o.rev, "rev", 0, "Specify the kv revision")
	fs.BoolVar(&o.keysOnly, "keys-only", false, "Get only the keys")
	fs.BoolVar(&o.countOnly, "count-only", false, "Get only the count")
	fs.BoolVar(&o.printValueOnly, "print-value-only", false,
		`Only write values when using the "simple" output format`)
	fs.Int64Var(&o.minCreateRev, "min-create-rev", 0, "Minimum create revision")
	fs.Int64Var(&o.maxCreateRev, "max-create-rev", 0, "Maximum create revision")
	fs.Int64Var(&o.minModRev, "min-mod-rev", 0, "Minimum modification revision")
	fs.Int64Var(&o.maxModRev, "max-mod-rev", 0, "Maximum modification revision")
	fs.BoolVar(&o.stream, "stream", false, "Use the RangeStream RPC")
}

// getCommand makes the verb "get".
func (a *app) getCommand() *cobra.Command {
	var o getOptions
	cmd := &cobra.Command{
		Use:   "get [options] <key> [range_end]",
		Short: "Gets the key or a range of keys",
		Example: a.example(`  $0 get foo
  $0 get --prefix /registry/ --keys-only
  $0 get a z --rev=42 --limit=10 -w json`),
		RunE: func(cmd *cobra.Command, args []string) error { return a.get(cmd, o, args) },
	}
	o.register(cmd.Flags())
	completeValues(cmd, "consistency", "l", "s")
	completeValues(cmd, "order", "ASCEND", "DESCEND")
	completeValues(cmd, "sort-by", "CREATE", "KEY", "MODIFY", "VALUE", "VERSION")
	return cmd
}

func (a *app) get(cmd *cobra.Command, o getOptions, args []string) error {
	key, opts, err := o.op(args)
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
	resp, err := getResponse(ctx, c, o.stream, key, opts)
	if err != nil {
		return terminal.Fail(terminal.ExitError, err)
	}
	if o.countOnly && a.flags.writeOut != "fields" {
		return terminal.Failf(terminal.ExitBadArgs,
			"--count-only is only for `--write-out=fields`")
	}
	if o.printValueOnly && a.flags.writeOut != "simple" {
		return terminal.Failf(terminal.ExitBadArgs,
			"print-value-only is only for `--write-out=simple`")
	}
	p := a.newPrinter()
	p.valueOnly = o.printValueOnly
	return a.showWith(p, getOutput((*pb.RangeResponse)(resp)))
}

// getResponse asks for keys at once, or chunk by chunk.
func getResponse(ctx context.Context, c *clientv3.Client, stream bool, key string,
	opts []clientv3.OpOption) (*clientv3.GetResponse, error) {
	if !stream {
		return c.Get(ctx, key, opts...)
	}
	chunks, err := c.GetStream(ctx, key, opts...)
	if err != nil {
		return nil, err
	}
	return clientv3.GetStreamToGetResponse(chunks)
}

// getOutput shows a range.
func getOutput(r *pb.RangeResponse) output {
	return output{
		simple: func(p *printer) {
			for _, kv := range r.GetKvs() {
				p.kv(kv)
			}
		},
		fields: func(p *printer) {
			p.header(r.GetHeader())
			for _, kv := range r.GetKvs() {
				p.kvFields("", kv)
			}
			p.println(`"More" :`, r.GetMore())
			p.println(`"Count" :`, r.GetCount())
		},
		json:  r,
		proto: r,
	}
}

// op turns flags and arguments into a range request.
func (o getOptions) op(args []string) (string, []clientv3.OpOption, error) {
	if err := o.check(args); err != nil {
		return "", nil, err
	}
	serializable, err := isSerializable(o.consistency)
	if err != nil {
		return "", nil, err
	}
	var opts []clientv3.OpOption
	if serializable {
		opts = append(opts, clientv3.WithSerializable())
	}
	key := args[0]
	if len(args) > 1 {
		opts = append(opts, clientv3.WithRange(args[1]))
	}
	opts = append(opts, clientv3.WithLimit(o.limit))
	if o.rev > 0 {
		opts = append(opts, clientv3.WithRev(o.rev))
	}
	target, order, err := o.sort()
	if err != nil {
		return "", nil, err
	}
	opts = append(opts, clientv3.WithSort(target, order))
	key, opts = rangeOf(key, o.prefix, o.fromKey, opts)
	if o.keysOnly {
		opts = append(opts, clientv3.WithKeysOnly())
	}
	if o.countOnly {
		opts = append(opts, clientv3.WithCountOnly())
	}
	opts, err = o.revisions(opts)
	return key, opts, err
}

// check refuses arguments and flags that do not go together.
func (o getOptions) check(args []string) error {
	switch {
	case len(args) == 0:
		return terminal.Failf(terminal.ExitBadArgs,
			"get command needs one argument as key and an optional argument as range_end")
	case o.prefix && o.fromKey:
		return errPrefixAndFromKey()
	case o.keysOnly && o.countOnly:
		return terminal.Failf(terminal.ExitBadArgs,
			"`--keys-only` and `--count-only` cannot be set at the same time, choose one")
	case len(args) > 1 && (o.prefix || o.fromKey):
		return errRangeEndAndPrefix()
	}
	return nil
}

func errPrefixAndFromKey() error {
	return terminal.Failf(terminal.ExitBadArgs,
		"`--prefix` and `--from-key` cannot be set at the same time, choose one")
}

func errRangeEndAndPrefix() error {
	return terminal.Failf(terminal.ExitBadArgs, "too many arguments, "+
		"only accept one argument when `--prefix` or `--from-key` is set")
}

// rangeOf widens a key to a prefix, or to all keys from it on. An empty key stands for the first.
func rangeOf(key string, prefix, fromKey bool, opts []clientv3.OpOption) (
	string, []clientv3.OpOption) {
	if prefix && key != "" {
		opts = append(opts, clientv3.WithPrefix())
	}
	if prefix && key == "" || fromKey {
		if key == "" {
			key = "\x00"
		}
		opts = append(opts, clientv3.WithFromKey())
	}
	return key, opts
}

// sort reads --sort-by and --order.
func (o getOptions) sort() (clientv3.SortTarget, clientv3.SortOrder, error) {
	var order clientv3.SortOrder
	switch strings.ToUpper(o.order) {
	case "":
		order = clientv3.SortNone
	case "ASCEND":
		order = clientv3.SortAscend
	case "DESCEND":
		order = clientv3.SortDescend
	default:
		return 0, 0, terminal.Failf(terminal.ExitBadFeature, "bad sort order %v", o.order)
	}
	switch strings.ToUpper(o.sortBy) {
	case "", "KEY":
		return clientv3.SortByKey, order, nil
	case "CREATE":
		return clientv3.SortByCreateRevision, order, nil
	case "MODIFY":
		return clientv3.SortByModRevision, order, nil
	case "VALUE":
		return clientv3.SortByValue, order, nil
	case "VERSION":
		return clientv3.SortByVersion, order, nil
	}
	return 0, 0, terminal.Failf(terminal.ExitBadFeature, "bad sort target %v", o.sortBy)
}

// revisions adds the bounds on create and mod revisions.
func (o getOptions) revisions(opts []clientv3.OpOption) ([]clientv3.OpOption, error) {
	if o.minCreateRev > 0 {
		opts = append(opts, clientv3.WithMinCreateRev(o.minCreateRev))
	}
	if o.maxCreateRev > 0 {
		if o.minCreateRev > o.maxCreateRev {
			return nil, terminal.Failf(terminal.ExitBadFeature,
				"getMinCreateRev(=%v) > getMaxCreateRev(=%v)", o.minCreateRev, o.maxCreateRev)
		}
		opts = append(opts, clientv3.WithMaxCreateRev(o.maxCreateRev))
	}
	if o.minModRev > 0 {
		opts = append(opts, clientv3.WithMinModRev(o.minModRev))
	}
	if o.maxModRev > 0 {
		if o.minModRev > o.maxModRev {
			return nil, terminal.Failf(terminal.ExitBadFeature,
				"getMinModRev(=%v) > getMaxModRev(=%v)", o.minModRev, o.maxModRev)
		}
		opts = append(opts, clientv3.WithMaxModRev(o.maxModRev))
	}
	return opts, nil
}

// isSerializable reads a --consistency flag.
func isSerializable(consistency string) (bool, error) {
	switch consistency {
	case "s":
		return true, nil
	case "l":
		return false, nil
	}
	return false, terminal.Failf(terminal.ExitBadFeature,
		"unknown consistency flag %q", consistency)
}
