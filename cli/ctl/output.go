package ctl

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/client/pkg/v3/types"
	"google.golang.org/protobuf/proto"

	"github.com/cairnkv/cairn/cli/internal/terminal"
)

// formats are the values of --write-out.
var formats = []string{"simple", "fields", "json", "protobuf", "table"}

// output is one answer in each form that it can be shown in. A form left nil is one that etcdctl
// refuses for this answer.
type output struct {
	simple func(p *printer)
	fields func(p *printer)
	table  func() (header []string, rows [][]string)
	json   any           // encoded by encoding/json
	proto  proto.Message // the wire bytes
}

// printer collects what one answer prints, so that it reaches stdout in one write and two watches
// of one process never mix their lines.
type printer struct {
	bytes.Buffer
	hex       bool
	valueOnly bool
}

func (p *printer) println(args ...any)               { fmt.Fprintln(&p.Buffer, args...) }
func (p *printer) printf(format string, args ...any) { fmt.Fprintf(&p.Buffer, format, args...) }

// newPrinter makes a printer for the flags given.
func (a *app) newPrinter() *printer { return &printer{hex: a.flags.hex} }

// show writes o to stdout in the form that --write-out asks for.
func (a *app) show(o output) error { return a.showWith(a.newPrinter(), o) }

func (a *app) showWith(p *printer, o output) error {
	if err := a.render(p, o); err != nil {
		return err
	}
	return a.write(p.Bytes())
}

// render lets p print o.
func (a *app) render(p *printer, o output) error {
	switch form := a.flags.writeOut; {
	case form == "simple" && o.simple != nil:
		o.simple(p)
	case form == "fields" && o.fields != nil:
		o.fields(p)
	case form == "table" && o.table != nil:
		header, rows := o.table()
		return terminal.Table(&p.Buffer, header, rows)
	case form == "json":
		b, err := json.Marshal(o.json)
		if err != nil {
			return terminal.Failf(terminal.ExitError, "json: %w", err)
		}
		p.Write(b)
		p.WriteByte('\n')
	case form == "protobuf" && o.proto != nil:
		b, err := proto.Marshal(o.proto)
		if err != nil {
			return terminal.Failf(terminal.ExitError, "protobuf: %w", err)
		}
		p.Write(b)
	default:
		return terminal.Fail(terminal.ExitBadFeature,
			errors.New(form+" not supported as output format"))
	}
	return nil
}

// write sends b to stdout.
func (a *app) write(b []byte) error {
	if _, err := a.cfg.Stdout.Write(b); err != nil {
		return terminal.Failf(terminal.ExitIO, "writing to stdout: %w", err)
	}
	return nil
}

// say writes one line to stdout, whatever the format asked for.
func (a *app) say(format string, args ...any) error {
	return a.write(fmt.Appendf(nil, format+"\n", args...))
}

// warn writes one line to stderr.
func (a *app) warn(format string, args ...any) {
	fmt.Fprintf(a.cfg.Stderr, format+"\n", args...)
}

// kv prints a key and its value, or the value only.
func (p *printer) kv(kv *mvccpb.KeyValue) {
	for i, b := range [][]byte{kv.GetKey(), kv.GetValue()} {
		if i == 0 && p.valueOnly {
			continue
		}
		if p.hex {
			for _, c := range b {
				p.printf(`\x%02x`, c)
			}
		} else {
			p.Write(b)
		}
		p.WriteByte('\n')
	}
}

// kvFields prints a key-value pair field by field, each name prefixed.
func (p *printer) kvFields(prefix string, kv *mvccpb.KeyValue) {
	p.printf("\"%sKey\" : %q\n", prefix, kv.GetKey())
	p.printf("\"%sCreateRevision\" : %d\n", prefix, kv.GetCreateRevision())
	p.printf("\"%sModRevision\" : %d\n", prefix, kv.GetModRevision())
	p.printf("\"%sVersion\" : %d\n", prefix, kv.GetVersion())
	p.printf("\"%sValue\" : %q\n", prefix, kv.GetValue())
	if p.hex {
		p.printf("\"%sLease\" : %016x\n", prefix, kv.GetLease())
	} else {
		p.printf("\"%sLease\" : %d\n", prefix, kv.GetLease())
	}
}

// header prints a response header field by field. A revision of 0 is one that the call does not
// have.
func (p *printer) header(h *etcdserverpb.ResponseHeader) {
	p.idField("ClusterID", h.GetClusterId())
	p.idField("MemberID", h.GetMemberId())
	if h.GetRevision() > 0 {
		p.println(`"Revision" :`, h.GetRevision())
	}
	p.println(`"RaftTerm" :`, h.GetRaftTerm())
}

// idField prints the id of a member or cluster: decimal, or hexadecimal under --hex.
func (p *printer) idField(name string, id uint64) {
	if p.hex {
		p.printf("%q : %s\n", name, types.ID(id))
	} else {
		p.printf("%q : %d\n", name, id)
	}
}
