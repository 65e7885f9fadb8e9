package ctl

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/cairnkv/cairn/cli/internal/terminal"
)

// txnCommand makes the verb "txn".
func (a *app) txnCommand() *cobra.Command {
	var interactive bool
	cmd := &cobra.Command{
		Use:   "txn [options]",
		Short: "Txn processes all the requests in one transaction",
		Long: a.example(`Txn reads multiple etcd requests from standard input and applies them ` +
			`as a single atomic transaction.

A transaction consists of three components:
1) a list of conditions,
2) a list of requests to apply if all the conditions are true,
3) a list of requests to apply if any condition is false.

Example interactive stdin usage:

---
$0 txn -i
# compares:
mod("key1") > "0"

# success requests (get, put, delete):
put key1 "overwrote-key1"

# failure requests (get, put, delete):
put key1 "created-key1"
put key2 "some extra key"
---

Refer to https://github.com/etcd-io/etcd/blob/main/etcdctl/README.md#txn-options.`),
		Example: a.example(`  printf 'val("lock") = ""\n\nput lock me\n\nget lock\n\n' | $0 txn`),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.txn(cmd, interactive, args)
		},
	}
	cmd.Flags().BoolVarP(&interactive, "interactive", "i", false,
		"Input transaction in interactive mode")
	return cmd
}

func (a *app) txn(cmd *cobra.Command, interactive bool, args []string) error {
	if len(args) != 0 {
		return terminal.Failf(terminal.ExitBadArgs, "txn command does not accept argument")
	}
	c, err := a.connect(cmd)
	if err != nil {
		return err
	}
	defer c.Close()
	in := txnReader{app: a, in: bufio.NewReader(a.cfg.Stdin), prompt: interactive}
	ctx := cmd.Context()
	compares := in.compares("compares:")
	success := in.ops(ctx, "success requests (get, put, del):")
	failure := in.ops(ctx, "failure requests (get, put, del):")
	if in.err != nil {
		return in.err
	}
	resp, err := c.Txn(ctx).If(compares...).Then(success...).Else(failure...).Commit()
	if err != nil {
		return terminal.Fail(terminal.ExitError, err)
	}
	return a.show(txnOutput((*pb.TxnResponse)(resp)))
}

// txnReader reads the three parts of a transaction; an empty line ends each. The first error stays
// in err and makes the later calls return nothing.
type txnReader struct {
	app    *app
	in     *bufio.Reader
	prompt bool
	err    error
}

// lines calls f with each line up to an empty one.
func (r *txnReader) lines(title string, f func(line string) error) {
	if r.err == nil && r.prompt {
		r.err = r.app.say("%s", title)
	}
	for r.err == nil {
		line, err := r.in.ReadString('\n')
		if err != nil {
			r.err = terminal.Fail(terminal.ExitInvalidInput, err)
			return
		}
		if line = strings.TrimSpace(line); line == "" {
			return
		}
		r.err = f(line)
	}
}

// compares reads the conditions.
func (r *txnReader) compares(title string) (cmps []clientv3.Cmp) {
	r.lines(title, func(line string) error {
		cmp, err := parseCompare(line)
		if err != nil {
			return terminal.Fail(terminal.ExitInvalidInput, err)
		}
		cmps = append(cmps, cmp)
		return nil
	})
	return cmps
}

// ops reads the requests of one branch.
func (r *txnReader) ops(ctx context.Context, title string) (ops []clientv3.Op) {
	r.lines(title, func(line string) error {
		op, err := r.app.txnOp(ctx, line)
		if err != nil {
			return err
		}
		ops = append(ops, op)
		return nil
	})
	return ops
}

// txnOp reads one request: a get, put or del with the flags of that verb.
func (a *app) txnOp(ctx context.Context, line string) (clientv3.Op, error) {
	words, err := splitWords(line)
	if err != nil {
		return clientv3.Op{}, err
	}
	if len(words) < 2 {
		return clientv3.Op{}, terminal.Failf(terminal.ExitInvalidInput,
			"invalid txn compare request: %s", line)
	}
	var (
		get getOptions
		put putOptions
		del delOptions
	)
	verb, args, err := parseTxnVerb(words, map[string]func(*pflag.FlagSet){
		"get": get.register, "put": put.register, "del": del.register,
	})
	if err != nil {
		// Not wrapped: a request for help within a line is no request for help to cobra.
		return clientv3.Op{}, terminal.Failf(terminal.ExitInvalidInput,
			"invalid txn request: %s (%v)", line, err)
	}
	switch verb {
	case "get":
		key, opts, err := get.op(args)
		if err != nil {
			return clientv3.Op{}, err
		}
		return clientv3.OpGet(key, opts...), nil
	case "put":
		// Stdin holds the transaction: a value cannot come from there.
		key, value, opts, err := put.op(args, strings.NewReader(""))
		if err != nil {
			return clientv3.Op{}, err
		}
		return clientv3.OpPut(key, value, opts...), nil
	default:
		key, opts, err := a.delOp(ctx, del, args)
		if err != nil {
			return clientv3.Op{}, err
		}
		return clientv3.OpDelete(key, opts...), nil
	}
}

// parseTxnVerb finds the verb, the first of words, which may be shortened, parses its flags, and
// returns its arguments.
func parseTxnVerb(words []string, verbs map[string]func(*pflag.FlagSet)) (
	verb string, args []string, err error) {
	for name := range verbs {
		if strings.HasPrefix(name, words[0]) {
			verb = name
		}
	}
	if verb == "" {
		return "", nil, fmt.Errorf("unknown request %q, expecting get, put or del", words[0])
	}
	fs := pflag.NewFlagSet(verb, pflag.ContinueOnError)
	fs.SetOutput(io.Discard)
	verbs[verb](fs)
	if err := fs.Parse(words[1:]); err != nil {
		return "", nil, err
	}
	return verb, fs.Args(), nil
}

// txnOutput shows the answer to a transaction.
func txnOutput(r *pb.TxnResponse) output {
	return output{
		simple: func(p *printer) { txnSimple(p, r) },
		fields: func(p *printer) { txnFields(p, r) },
		json:   newTxnJSON(r),
		proto:  r,
	}
}

func txnSimple(p *printer, r *pb.TxnResponse) {
	if r.GetSucceeded() {
		p.println("SUCCESS")
	} else {
		p.println("FAILURE")
	}
	for _, op := range r.GetResponses() {
		p.println("")
		if o, ok := opOutput(op); ok {
			o.simple(p)
		} else {
			p.printf("unexpected response %+v\n", op)
		}
	}
}

func txnFields(p *printer, r *pb.TxnResponse) {
	p.header(r.GetHeader())
	p.println(`"Succeeded" :`, r.GetSucceeded())
	for _, op := range r.GetResponses() {
		if o, ok := opOutput(op); ok {
			o.fields(p)
		} else {
			p.printf("\"Unknown\" : %q\n", fmt.Sprintf("%+v", op.GetResponse()))
		}
	}
}

// opOutput shows the answer to one request of a transaction; ok is false for a kind that no line of
// input can ask for.
func opOutput(op *pb.ResponseOp) (o output, ok bool) {
	switch r := op.GetResponse().(type) {
	case *pb.ResponseOp_ResponseRange:
		return getOutput(r.ResponseRange), true
	case *pb.ResponseOp_ResponsePut:
		return putOutput(r.ResponsePut), true
	case *pb.ResponseOp_ResponseDeleteRange:
		return delOutput(r.ResponseDeleteRange), true
	}
	return output{}, false
}

// txnJSON is a transaction's answer as etcdctl writes it in JSON.
type txnJSON struct {
	Header    *pb.ResponseHeader `json:"header,omitempty"`
	Succeeded bool               `json:"succeeded,omitempty"`
	Responses []txnOpJSON        `json:"responses,omitempty"`
}

// txnOpJSON wraps one answer in the name that the generated code once gave it.
type txnOpJSON struct {
	Response struct {
		Range       *pb.RangeResponse       `json:"response_range,omitempty"`
		Put         *pb.PutResponse         `json:"response_put,omitempty"`
		DeleteRange *pb.DeleteRangeResponse `json:"response_delete_range,omitempty"`
		Txn         *txnJSON                `json:"response_txn,omitempty"`
	} `json:"Response"`
}

func newTxnJSON(r *pb.TxnResponse) *txnJSON {
	t := &txnJSON{Header: r.GetHeader(), Succeeded: r.GetSucceeded()}
	for _, op := range r.GetResponses() {
		var j txnOpJSON
		switch r := op.GetResponse().(type) {
		case *pb.ResponseOp_ResponseRange:
			j.Response.Range = r.ResponseRange
		case *pb.ResponseOp_ResponsePut:
			j.Response.Put = r.ResponsePut
		case *pb.ResponseOp_ResponseDeleteRange:
			j.Response.DeleteRange = r.ResponseDeleteRange
		case *pb.ResponseOp_ResponseTxn:
			j.Response.Txn = newTxnJSON(r.ResponseTxn)
		}
		t.Responses = append(t.Responses, j)
	}
	return t
}
