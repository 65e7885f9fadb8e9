package ctl

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/cairnkv/cairn/cli/internal/terminal"
)

// endpointCommand makes the verb "endpoint".
func (a *app) endpointCommand() *cobra.Command {
	var cluster bool
	cmd := &cobra.Command{
		Use:   "endpoint <subcommand>",
		Short: a.example("Endpoint related commands. Use `$0 endpoint --help` to see subcommands"),
		Long:  "Endpoint related commands",
	}
	cmd.PersistentFlags().BoolVar(&cluster, "cluster", false,
		"use all endpoints from the cluster member list")
	cmd.AddCommand(a.endpointHealthCommand(&cluster), a.endpointStatusCommand(&cluster),
		a.endpointHashKVCommand(&cluster))
	return cmd
}

// clusterEndpoints returns the endpoints to ask one by one: those of the flags, or with cluster
// those that the cluster's members advertise. Cluster points to a flag, which the environment may
// have set when spec was made.
func (a *app) clusterEndpoints(ctx context.Context, cluster *bool, spec *clientv3.ConfigSpec) (
	[]string, error) {
	if !*cluster {
		return spec.Endpoints, nil
	}
	c, err := a.dial(spec)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	ctx, cancel := a.withTimeout(ctx)
	defer cancel()
	r, err := c.MemberList(ctx)
	if err != nil {
		return nil, terminal.Failf(terminal.ExitError,
			"failed to fetch endpoints from etcd cluster member list: %w", err)
	}
	var eps []string
	for _, m := range (*pb.MemberListResponse)(r).GetMembers() {
		eps = append(eps, m.GetClientURLs()...)
	}
	return eps, nil
}

// eachEndpoint calls f with a client for each endpoint alone, one after the other, each bounded by
// --command-timeout.
func (a *app) eachEndpoint(cmd *cobra.Command, cluster *bool,
	f func(ctx context.Context, c *clientv3.Client, ep string)) error {
	spec, err := a.clientSpec(cmd)
	if err != nil {
		return err
	}
	eps, err := a.clusterEndpoints(cmd.Context(), cluster, spec)
	if err != nil {
		return err
	}
	for _, ep := range eps {
		one := spec.Clone()
		one.Endpoints = []string{ep}
		c, err := a.dial(one)
		if err != nil {
			return err
		}
		ctx, cancel := a.withTimeout(cmd.Context())
		f(ctx, c, ep)
		cancel()
		c.Close()
	}
	return nil
}

// endpointHealth says whether one endpoint answers.
type endpointHealth struct {
	Endpoint string `json:"endpoint"`
	Health   bool   `json:"health"`
	Took     string `json:"took"`
	Error    string `json:"error,omitempty"`
}

func (a *app) endpointHealthCommand(cluster *bool) *cobra.Command {
	return &cobra.Command{
		Use:     "health",
		Short:   "Checks the healthiness of endpoints specified in `--endpoints` flag",
		Example: a.example("  $0 endpoint health --cluster"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.endpointHealth(cmd, cluster)
		},
	}
}

// endpointHealth asks all endpoints at the same time.
func (a *app) endpointHealth(cmd *cobra.Command, cluster *bool) error {
	spec, err := a.clientSpec(cmd)
	if err != nil {
		return err
	}
	eps, err := a.clusterEndpoints(cmd.Context(), cluster, spec)
	if err != nil {
		return err
	}
	health := make([]endpointHealth, len(eps))
	var wg sync.WaitGroup
	for i, ep := range eps {
		one := spec.Clone()
		one.Endpoints = []string{ep}
		cfg, err := a.clientConfig(one)
		if err != nil {
			return err
		}
		if cfg.Logger == nil {
			cfg.Logger = a.logger().Named("client")
		}
		wg.Go(func() { health[i] = a.checkHealth(cmd.Context(), cfg, ep) })
	}
	wg.Wait()
	if err := a.show(healthOutput(health, a.warn)); err != nil {
		return err
	}
	for _, h := range health {
		if h.Error != "" {
			return terminal.Failf(terminal.ExitError, "unhealthy cluster")
		}
	}
	return nil
}

// checkHealth reads a key through consensus, then asks for alarms. That reading is denied is good
// enough: the denial went through consensus too.
func (a *app) checkHealth(ctx context.Context, cfg clientv3.Config, ep string) endpointHealth {
	h := endpointHealth{Endpoint: ep}
	c, err := clientv3.New(cfg)
	if err != nil {
		h.Error = err.Error()
		return h
	}
	defer c.Close()
	ctx, cancel := a.withTimeout(ctx)
	defer cancel()
	start := time.Now()
	_, err = c.Get(ctx, "health")
	h.Took = time.Since(start).String()
	if err != nil && !errors.Is(err, rpctypes.ErrPermissionDenied) {
		h.Error = err.Error()
		return h
	}
	alarms, err := c.AlarmList(ctx)
	if err != nil {
		h.Error = "Unable to fetch the alarm list"
		return h
	}
	if len(alarms.Alarms) > 0 {
		h.Error = "Active Alarm(s): "
		for _, m := range alarms.Alarms {
			h.Error += alarmWord(m.GetAlarm()) + " "
		}
		return h
	}
	h.Health = true
	return h
}

func alarmWord(t pb.AlarmType) string {
	switch t {
	case pb.AlarmType_NOSPACE, pb.AlarmType_CORRUPT:
		return t.String()
	}
	return "UNKNOWN"
}

// healthOutput shows the health of endpoints; in the simple form those that fail go to warn.
func healthOutput(health []endpointHealth, warn func(format string, args ...any)) output {
	return output{
		simple: func(p *printer) {
			for _, h := range health {
				if h.Error == "" {
					p.printf("%s is healthy: successfully committed proposal: took = %v\n",
						h.Endpoint, h.Took)
				} else {
					warn("%s is unhealthy: failed to commit proposal: %v", h.Endpoint, h.Error)
				}
			}
		},
		fields: func(p *printer) {
			for _, h := range health {
				p.printf("\"Endpoint\" : %q\n", h.Endpoint)
				p.println(`"Health" :`, h.Health)
				p.println(`"Took" :`, h.Took)
				p.println(`"Error" :`, h.Error)
				p.println()
			}
		},
		table: func() (header []string, rows [][]string) {
			for _, h := range health {
				rows = append(rows, []string{
					h.Endpoint, strconv.FormatBool(h.Health), h.Took, h.Error,
				})
			}
			return []string{"endpoint", "health", "took", "error"}, rows
		},
		json: health,
	}
}

// endpointStatus is what one endpoint says about itself.
type endpointStatus struct {
	Endpoint string             `json:"Endpoint"`
	Status   *pb.StatusResponse `json:"Status"`
}

func (a *app) endpointStatusCommand(cluster *bool) *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "Prints out the status of endpoints specified in `--endpoints` flag",
		Long: "When --write-out is set to simple, this command prints out comma-separated status " +
			"lists for each endpoint.\n" +
			"The items in the lists are endpoint, ID, version, db size, is leader, is learner, " +
			"raft term, raft index, raft applied index, errors.\n",
		Example: a.example("  $0 endpoint status --cluster -w table"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.endpointStatus(cmd, cluster)
		},
	}
}

func (a *app) endpointStatus(cmd *cobra.Command, cluster *bool) error {
	var list []endpointStatus
	failed := false
	err := a.eachEndpoint(cmd, cluster, func(ctx context.Context, c *clientv3.Client, ep string) {
		r, err := c.Status(ctx, ep)
		if err != nil {
			failed = true
			a.warn("Failed to get the status of endpoint %s (%v)", ep, err)
			return
		}
		list = append(list, endpointStatus{Endpoint: ep, Status: (*pb.StatusResponse)(r)})
	})
	if err != nil {
		return err
	}
	if err := a.show(statusOutput(list)); err != nil {
		return err
	}
	if failed {
		return terminal.Fail(terminal.ExitError, nil)
	}
	return nil
}

func statusOutput(list []endpointStatus) output {
	return output{
		simple: func(p *printer) { p.commaRows(statusTable(list)) },
		fields: func(p *printer) {
			for _, s := range list {
				statusFields(p, s)
			}
		},
		table: func() ([]string, [][]string) { return statusTable(list) },
		json:  list,
	}
}

func statusFields(p *printer, s endpointStatus) {
	r := s.Status
	p.header(r.GetHeader())
	p.printf("\"Version\" : %q\n", r.GetVersion())
	p.printf("\"StorageVersion\" : %q\n", r.GetStorageVersion())
	p.println(`"DBSize" :`, r.GetDbSize())
	p.println(`"DBSizeInUse" :`, r.GetDbSizeInUse())
	p.println(`"DBSizeQuota" :`, r.GetDbSizeQuota())
	p.println(`"Leader" :`, r.GetLeader())
	p.println(`"IsLearner" :`, r.GetIsLearner())
	p.println(`"RaftIndex" :`, r.GetRaftIndex())
	p.println(`"RaftAppliedIndex" :`, r.GetRaftAppliedIndex())
	p.println(`"Errors" :`, r.GetErrors())
	p.printf("\"Endpoint\" : %q\n", s.Endpoint)
	p.printf("\"DowngradeTargetVersion\" : %q\n", r.GetDowngradeInfo().GetTargetVersion())
	p.println(`"DowngradeEnabled" :`, r.GetDowngradeInfo().GetEnabled())
	p.println()
}

func statusTable(list []endpointStatus) (header []string, rows [][]string) {
	header = []string{
		"endpoint", "ID", "version", "storage version", "db size", "in use",
		"percentage not in use", "quota", "is leader", "is learner", "raft term", "raft index",
		"raft applied index", "errors", "downgrade target version", "downgrade enabled",
	}
	for _, s := range list {
		r := s.Status
		unused := int64(0)
		if r.GetDbSize() > 0 {
			unused = 100 - r.GetDbSizeInUse()*100/r.GetDbSize()
		}
		rows = append(rows, []string{
			s.Endpoint,
			fmt.Sprintf("%x", r.GetHeader().GetMemberId()),
			r.GetVersion(),
			r.GetStorageVersion(),
			terminal.Bytes(uint64(r.GetDbSize())),
			terminal.Bytes(uint64(r.GetDbSizeInUse())),
			fmt.Sprintf("%d%%", unused),
			terminal.Bytes(uint64(r.GetDbSizeQuota())),
			strconv.FormatBool(r.GetLeader() == r.GetHeader().GetMemberId()),
			strconv.FormatBool(r.GetIsLearner()),
			strconv.FormatUint(r.GetRaftTerm(), 10),
			strconv.FormatUint(r.GetRaftIndex(), 10),
			strconv.FormatUint(r.GetRaftAppliedIndex(), 10),
			strings.Join(r.GetErrors(), ", "),
			r.GetDowngradeInfo().GetTargetVersion(),
			strconv.FormatBool(r.GetDowngradeInfo().GetEnabled()),
		})
	}
	return header, rows
}

// endpointHashKV is the hash of one endpoint's history.
type endpointHashKV struct {
	Endpoint string             `json:"Endpoint"`
	HashKV   *pb.HashKVResponse `json:"HashKV"`
}

func (a *app) endpointHashKVCommand(cluster *bool) *cobra.Command {
	var rev int64
	cmd := &cobra.Command{
		Use:     "hashkv",
		Short:   "Prints the KV history hash for each endpoint in --endpoints",
		Example: a.example("  $0 endpoint hashkv --cluster --rev=42"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.endpointHashKV(cmd, cluster, rev)
		},
	}
	cmd.PersistentFlags().Int64Var(&rev, "rev", 0,
		"maximum revision to hash (default: latest revision)")
	return cmd
}

func (a *app) endpointHashKV(cmd *cobra.Command, cluster *bool, rev int64) error {
	var list []endpointHashKV
	var failed error
	err := a.eachEndpoint(cmd, cluster, func(ctx context.Context, c *clientv3.Client, ep string) {
		r, err := c.HashKV(ctx, ep, rev)
		if err != nil {
			failed = err
			a.warn("Failed to get the hash of endpoint %s (%v)", ep, err)
			return
		}
		list = append(list, endpointHashKV{Endpoint: ep, HashKV: (*pb.HashKVResponse)(r)})
	})
	if err != nil {
		return err
	}
	if err := a.show(hashKVOutput(list)); err != nil {
		return err
	}
	if failed != nil {
		return terminal.Fail(terminal.ExitError, failed)
	}
	return nil
}

func hashKVOutput(list []endpointHashKV) output {
	table := func() (header []string, rows [][]string) {
		for _, h := range list {
			rows = append(rows, []string{
				h.Endpoint,
				strconv.FormatUint(uint64(h.HashKV.GetHash()), 10),
				strconv.FormatInt(h.HashKV.GetHashRevision(), 10),
			})
		}
		return []string{"endpoint", "hash", "hash_revision"}, rows
	}
	return output{
		simple: func(p *printer) { p.commaRows(table()) },
		fields: func(p *printer) {
			for _, h := range list {
				p.header(h.HashKV.GetHeader())
				p.printf("\"Endpoint\" : %q\n", h.Endpoint)
				p.println(`"Hash" :`, h.HashKV.GetHash())
				p.println(`"HashRevision" :`, h.HashKV.GetHashRevision())
				p.println()
			}
		},
		table: table,
		json:  list,
	}
}
