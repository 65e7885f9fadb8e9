package ctl

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/cairnkv/cairn/cli/internal/terminal"
)

// alarmCommand makes the verb "alarm".
func (a *app) alarmCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "alarm <subcommand>",
		Short: a.example("Alarm related commands. Use `$0 alarm --help` to see subcommands"),
		Long:  "Alarm related commands",
	}
	cmd.AddCommand(
		&cobra.Command{
			Use:     "disarm",
			Short:   "Disarms all alarms",
			Example: a.example("  $0 alarm disarm"),
			RunE: func(cmd *cobra.Command, args []string) error {
				return a.alarm(cmd, args, "disarm", func(ctx context.Context, c *clientv3.Client) (
					*clientv3.AlarmResponse, error) {
					return c.AlarmDisarm(ctx, &clientv3.AlarmMember{})
				})
			},
		},
		&cobra.Command{
			Use:     "list",
			Short:   "Lists all alarms",
			Example: a.example("  $0 alarm list"),
			RunE: func(cmd *cobra.Command, args []string) error {
				return a.alarm(cmd, args, "list", func(ctx context.Context, c *clientv3.Client) (
					*clientv3.AlarmResponse, error) {
					return c.AlarmList(ctx)
				})
			},
		})
	return cmd
}

// alarm makes one of the two calls and shows the alarms that it answers with.
func (a *app) alarm(cmd *cobra.Command, args []string, name string, call func(context.Context,
	*clientv3.Client) (*clientv3.AlarmResponse, error)) error {
	if len(args) != 0 {
		return terminal.Failf(terminal.ExitBadArgs, "alarm %s command accepts no arguments", name)
	}
	c, err := a.connect(cmd)
	if err != nil {
		return err
	}
	defer c.Close()
	ctx, cancel := a.withTimeout(cmd.Context())
	defer cancel()
	resp, err := call(ctx, c)
	if err != nil {
		return terminal.Fail(terminal.ExitError, err)
	}
	return a.show(alarmOutput((*pb.AlarmResponse)(resp)))
}

func alarmOutput(r *pb.AlarmResponse) output {
	return output{
		simple: func(p *printer) {
			for _, m := range r.GetAlarms() {
				p.println(alarmText(m))
			}
		},
		fields: func(p *printer) {
			p.header(r.GetHeader())
			for _, m := range r.GetAlarms() {
				p.idField("MemberID", m.GetMemberID())
				p.println(`"AlarmType" :`, m.GetAlarm())
				p.println()
			}
		},
		json:  r,
		proto: r,
	}
}

// alarmText is the alarm in protobuf's text form. The library's own String puts one space or two
// between fields, changing from build to build; scripts deserve better.
func alarmText(m *pb.AlarmMember) string {
	var parts []string
	if m.GetMemberID() != 0 {
		parts = append(parts, fmt.Sprintf("memberID:%d", m.GetMemberID()))
	}
	if m.GetAlarm() != pb.AlarmType_NONE {
		parts = append(parts, "alarm:"+m.GetAlarm().String())
	}
	return strings.Join(parts, " ")
}
