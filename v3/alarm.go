package v3

import (
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/cairnkv/cairn/command"
)

// serveAlarm answers Maintenance.Alarm; all its actions go through the log, so that a list is as
// good as a linearizable read. An action that does not exist (which ends etcd's process) is
// refused.
func (d *Door) serveAlarm(c *call) {
	action := c.msg.(*pb.AlarmRequest).Action
	if _, ok := pb.AlarmRequest_AlarmAction_name[int32(action)]; !ok {
		c.fail(status.Errorf(codes.InvalidArgument, "cairn: unknown alarm action %d", action))
		return
	}
	c.propose(command.Alarm)
}
