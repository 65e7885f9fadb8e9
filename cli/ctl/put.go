package ctl

import (
	"errors"
	"io"
	"strconv"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/cairnkv/cairn/cli/internal/terminal"
)

// putOptions are the flags of put.
type putOptions struct {
	lease       string
	prevKV      bool
	ignoreValue bool
	ignoreLease bool
}

func (o *putOptions) register(fs *pflag.FlagSet) {
	fs.StringVar(&o.lease, "lease", "0", "lease ID (in hexadecimal) to attach to the key")
	fs.BoolVar(&o.prevKV, "prev-kv", false,
		"return the previous key-value pair before modification")
	fs.BoolVar(&o.ignoreValue, "ignore-value", false, "updates the key using its current value")
	fs.BoolVar(&o.ignoreLease, "ignore-lease", false, "updates the key using its current lease")
}

// putCommand makes the verb "put".
func (a *app) putCommand() *cobra.Command {
	var o putOptions
	cmd := &cobra.Command{
		Use:   "put [options] <key> <value> (<value> can also be given from stdin)",
		Short: "Puts the given key into the store",
		Long: `
Puts the given key into the store.

When <value> begins with '-', <value> is interpreted as a flag.
Insert '--' for workaround:

$ put <key> -- <value>
$ put -- <key> <value>

If <value> isn't given as a command line argument and '--ignore-value' is not specified,
this command tries to read the value from standard input.

If <lease> isn't given as a command line argument and '--ignore-lease' is not specified,
this command tries to read the value from standard input.

For example,
$ cat file | put <key>
will store the content of the file to <key>.
`,
		Example: a.example(`  $0 put foo bar
  $0 put --lease=1234abcd foo bar
  $0 put foo < file`),
		RunE: func(cmd *cobra.Command, args []string) error { return a.put(cmd, o, args) },
	}
	o.register(cmd.Flags())
	return cmd
}

func (a *app) put(cmd *cobra.Command, o putOptions, args []string) error {
	key, value, opts, err := o.op(args, a.cfg.Stdin)
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
	resp, err := c.Put(ctx, key, value, opts...)
	if err != nil {
		return terminal.Fail(terminal.ExitError, err)
	}
	return a.show(putOutput((*pb.PutResponse)(resp)))
}

// putOutput shows the answer to a put.
func putOutput(r *pb.PutResponse) output {
	return output{
		simple: func(p *printer) {
			p.println("OK")
			if r.GetPrevKv() != nil {
				p.kv(r.GetPrevKv())
			}
		},
		fields: func(p *printer) {
			p.header(r.GetHeader())
			if r.GetPrevKv() != nil {
				p.kvFields("Prev", r.GetPrevKv())
			}
		},
		json:  r,
		proto: r,
	}
}

// op turns flags and arguments into a put. A value that is not among the arguments is all of stdin.
func (o putOptions) op(args []string, stdin io.Reader) (
	key, value string, opts []clientv3.OpOption, err error) {
	errArgs := terminal.Failf(terminal.ExitBadArgs,
		"put command needs 1 argument and input from stdin or 2 arguments")
	if len(args) == 0 {
		return "", "", nil, errArgs
	}
	if o.ignoreValue && len(args) > 1 {
		return "", "", nil, terminal.Failf(terminal.ExitBadArgs,
			"put command needs only 1 argument when 'ignore-value' is set")
	}
	if !o.ignoreValue {
		if value, err = argOrStdin(args, stdin, 1); err != nil {
			return "", "", nil, errArgs
		}
	}
	id, err := strconv.ParseInt(o.lease, 16, 64)
	if err != nil {
		return "", "", nil, terminal.Failf(terminal.ExitBadArgs,
			"bad lease ID (%w), expecting ID in Hex", err)
	}
	if id != 0 {
		opts = append(opts, clientv3.WithLease(clientv3.LeaseID(id)))
	}
	if o.prevKV {
		opts = append(opts, clientv3.WithPrevKV())
	}
	if o.ignoreValue {
		opts = append(opts, clientv3.WithIgnoreValue())
	}
	if o.ignoreLease {
		opts = append(opts, clientv3.WithIgnoreLease())
	}
	return args[0], value, opts, nil
}

// argOrStdin returns argument i, or all of stdin, which must not be empty then.
func argOrStdin(args []string, stdin io.Reader, i int) (string, error) {
	if i < len(args) {
		return args[i], nil
	}
	b, err := io.ReadAll(stdin)
	if err != nil || len(b) == 0 {
		return "", errors.New("no available argument and stdin")
	}
	return string(b), nil
}
