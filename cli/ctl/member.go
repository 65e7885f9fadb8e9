package ctl

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/protobuf/proto"

	"github.com/cairnkv/cairn/cli/internal/terminal"
)

// memberCommand makes the verb "member".
func (a *app) memberCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "member <subcommand>",
		Short: a.example("Membership related commands. Use `$0 member --help` to see subcommands"),
		Long:  "Membership related commands",
	}
	cmd.AddCommand(a.memberAddCommand(), a.memberRemoveCommand(), a.memberUpdateCommand(),
		a.memberListCommand(), a.memberPromoteCommand())
	return cmd
}

func (a *app) memberAddCommand() *cobra.Command {
	var peerURLs string
	var learner bool
	cmd := &cobra.Command{
		Use:     "add <memberName> [options]",
		Short:   "Adds a member into the cluster",
		Example: a.example("  $0 member add node4 --peer-urls=https://10.0.0.4:2380 --learner"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.memberAdd(cmd, peerURLs, learner, args)
		},
	}
	cmd.Flags().StringVar(&peerURLs, "peer-urls", "",
		"comma separated peer URLs for the new member.")
	cmd.Flags().BoolVar(&learner, "learner", false,
		"indicates if the new member is raft learner")
	return cmd
}

func (a *app) memberAdd(cmd *cobra.Command, peerURLs string, learner bool, args []string) error {
	if len(args) < 1 {
		return terminal.Failf(terminal.ExitBadArgs, "member name not provided")
	}
	if len(args) > 1 {
		text := "too many arguments"
		for _, arg := range args {
			if strings.HasPrefix(strings.ToLower(arg), "http") {
				text += ", did you mean --peer-urls=" + arg
			}
		}
		return terminal.Failf(terminal.ExitBadArgs, "%s", text)
	}
	if peerURLs == "" {
		return terminal.Failf(terminal.ExitBadArgs, "member peer urls not provided")
	}
	c, err := a.connect(cmd)
	if err != nil {
		return err
	}
	defer c.Close()
	ctx, cancel := a.withTimeout(cmd.Context())
	defer cancel()
	add := c.MemberAdd
	if learner {
		add = c.MemberAddAsLearner
	}
	resp, err := add(ctx, strings.Split(peerURLs, ","))
	if err != nil {
		return terminal.Fail(terminal.ExitError, err)
	}
	r := (*pb.MemberAddResponse)(resp)
	return a.show(output{
		simple: func(p *printer) { memberAddSimple(p, r, args[0], peerURLs) },
		json:   a.memberJSON(r, r.GetHeader(), r.GetMember(), r.GetMembers()),
		proto:  r,
	})
}

// memberAddSimple says what was added, and the environment that starts the new member.
func memberAddSimple(p *printer, r *pb.MemberAddResponse, name, peerURLs string) {
	as := " "
	if r.GetMember().GetIsLearner() {
		as = " as learner "
	}
	p.printf("Member %16x added%sto cluster %16x\n",
		r.GetMember().GetID(), as, r.GetHeader().GetClusterId())
	var cluster []string
	for _, m := range r.GetMembers() {
		n := m.GetName()
		if m.GetID() == r.GetMember().GetID() {
			n = name
		}
		for _, u := range m.GetPeerURLs() {
			cluster = append(cluster, n+"="+u)
		}
	}
	p.printf("\nETCD_NAME=%q\n", name)
	p.printf("ETCD_INITIAL_CLUSTER=%q\n", strings.Join(cluster, ","))
	p.printf("ETCD_INITIAL_ADVERTISE_PEER_URLS=%q\n", peerURLs)
	p.printf("ETCD_INITIAL_CLUSTER_STATE=\"existing\"\n")
}

func (a *app) memberRemoveCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "remove <memberID>",
		Short:   "Removes a member from the cluster",
		Example: a.example("  $0 member remove 8e9e05c52164694d"),
		RunE:    a.memberRemove,
	}
}

func (a *app) memberRemove(cmd *cobra.Command, args []string) error {
	id, err := parseMemberID(args)
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
	resp, err := c.MemberRemove(ctx, id)
	if err != nil {
		return terminal.Fail(terminal.ExitError, err)
	}
	r := (*pb.MemberRemoveResponse)(resp)
	return a.showMemberChange("removed from", id, r, r)
}

func (a *app) memberUpdateCommand() *cobra.Command {
	var peerURLs string
	cmd := &cobra.Command{
		Use:     "update <memberID> [options]",
		Short:   "Updates a member in the cluster",
		Example: a.example("  $0 member update 8e9e05c52164694d --peer-urls=https://10.0.0.9:2380"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.memberUpdate(cmd, peerURLs, args)
		},
	}
	cmd.Flags().StringVar(&peerURLs, "peer-urls", "",
		"comma separated peer URLs for the updated member.")
	return cmd
}

func (a *app) memberUpdate(cmd *cobra.Command, peerURLs string, args []string) error {
	id, err := parseMemberID(args)
	if err != nil {
		return err
	}
	if peerURLs == "" {
		return terminal.Failf(terminal.ExitBadArgs, "member peer urls not provided")
	}
	c, err := a.connect(cmd)
	if err != nil {
		return err
	}
	defer c.Close()
	ctx, cancel := a.withTimeout(cmd.Context())
	defer cancel()
	resp, err := c.MemberUpdate(ctx, id, strings.Split(peerURLs, ","))
	if err != nil {
		return terminal.Fail(terminal.ExitError, err)
	}
	r := (*pb.MemberUpdateResponse)(resp)
	return a.showMemberChange("updated in", id, r, r)
}

func (a *app) memberPromoteCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "promote <memberID>",
		Short: "Promotes a non-voting member in the cluster",
		Long: `Promotes a non-voting learner member to a voting one in the cluster.
`,
		Example: a.example("  $0 member promote 8e9e05c52164694d"),
		RunE:    a.memberPromote,
	}
}

func (a *app) memberPromote(cmd *cobra.Command, args []string) error {
	id, err := parseMemberID(args)
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
	resp, err := c.MemberPromote(ctx, id)
	if err != nil {
		return terminal.Fail(terminal.ExitError, err)
	}
	r := (*pb.MemberPromoteResponse)(resp)
	return a.showMemberChange("promoted in", id, r, r)
}

// members is what the answers to member remove, update, promote and list have in common.
type members interface {
	GetHeader() *pb.ResponseHeader
	GetMembers() []*pb.Member
}

// showMemberChange shows that the member id was changed; r and m are the same answer.
func (a *app) showMemberChange(what string, id uint64, r members, m proto.Message) error {
	return a.show(output{
		simple: func(p *printer) {
			p.printf("Member %16x %s cluster %16x\n", id, what, r.GetHeader().GetClusterId())
		},
		json:  a.memberJSON(m, r.GetHeader(), nil, r.GetMembers()),
		proto: m,
	})
}

func (a *app) memberListCommand() *cobra.Command {
	var consistency string
	cmd := &cobra.Command{
		Use:   "list",
		Short: "Lists all members in the cluster",
		Long: "When --write-out is set to simple, this command prints out comma-separated member " +
			"lists for each endpoint.\n" +
			"The items in the lists are ID, Status, Name, Peer Addrs, Client Addrs, Is Learner.\n",
		Example: a.example("  $0 member list -w table"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.memberList(cmd, consistency)
		},
	}
	cmd.Flags().StringVar(&consistency, "consistency", "l", "Linearizable(l) or Serializable(s)")
	return cmd
}

func (a *app) memberList(cmd *cobra.Command, consistency string) error {
	serializable, err := isSerializable(consistency)
	if err != nil {
		return err
	}
	var opts []clientv3.OpOption
	if serializable {
		opts = append(opts, clientv3.WithSerializable())
	}
	c, err := a.connect(cmd)
	if err != nil {
		return err
	}
	defer c.Close()
	ctx, cancel := a.withTimeout(cmd.Context())
	defer cancel()
	resp, err := c.MemberList(ctx, opts...)
	if err != nil {
		return terminal.Fail(terminal.ExitError, err)
	}
	r := (*pb.MemberListResponse)(resp)
	return a.show(output{
		simple: func(p *printer) { p.commaRows(memberTable(r)) },
		fields: func(p *printer) { memberListFields(p, r) },
		table:  func() ([]string, [][]string) { return memberTable(r) },
		json:   a.memberJSON(r, r.GetHeader(), nil, r.GetMembers()),
		proto:  r,
	})
}

// commaRows prints the rows of a table, their cells separated by commas.
func (p *printer) commaRows(_ []string, rows [][]string) {
	for _, row := range rows {
		p.println(strings.Join(row, ", "))
	}
}

func memberTable(r *pb.MemberListResponse) (header []string, rows [][]string) {
	header = []string{"ID", "Status", "Name", "Peer Addrs", "Client Addrs", "Is Learner"}
	for _, m := range r.GetMembers() {
		status := "started"
		if m.GetName() == "" {
			status = "unstarted"
		}
		rows = append(rows, []string{
			fmt.Sprintf("%x", m.GetID()),
			status,
			m.GetName(),
			strings.Join(m.GetPeerURLs(), ","),
			strings.Join(m.GetClientURLs(), ","),
			strconv.FormatBool(m.GetIsLearner()),
		})
	}
	return header, rows
}

func memberListFields(p *printer, r *pb.MemberListResponse) {
	p.header(r.GetHeader())
	for _, m := range r.GetMembers() {
		p.idField("ID", m.GetID())
		p.printf("\"Name\" : %q\n", m.GetName())
		for _, u := range m.GetPeerURLs() {
			p.printf("\"PeerURL\" : %q\n", u)
		}
		for _, u := range m.GetClientURLs() {
			p.printf("\"ClientURL\" : %q\n", u)
		}
		p.println(`"IsLearner" :`, m.GetIsLearner())
		p.println()
	}
}

// hexMember is a member whose id is written in hexadecimal.
type hexMember struct {
	ID         string   `json:"ID"`
	Name       string   `json:"name,omitempty"`
	PeerURLs   []string `json:"peerURLs,omitempty"`
	ClientURLs []string `json:"clientURLs,omitempty"`
	IsLearner  bool     `json:"isLearner,omitempty"`
}

func newHexMember(m *pb.Member) *hexMember {
	return &hexMember{
		ID:         fmt.Sprintf("%x", m.GetID()),
		Name:       m.GetName(),
		PeerURLs:   m.GetPeerURLs(),
		ClientURLs: m.GetClientURLs(),
		IsLearner:  m.GetIsLearner(),
	}
}

// hexHeader is a response header whose ids are written in hexadecimal.
type hexHeader struct {
	ClusterID string `json:"cluster_id"`
	MemberID  string `json:"member_id"`
	Revision  int64  `json:"revision,omitempty"`
	RaftTerm  uint64 `json:"raft_term,omitempty"`
}

// memberJSON is what an answer about members is encoded from: the answer itself, or under --hex its
// parts with ids in hexadecimal (etcdctl does so for no other answer).
func (a *app) memberJSON(r any, h *pb.ResponseHeader, added *pb.Member, all []*pb.Member) any {
	if !a.flags.hex {
		return r
	}
	var header *hexHeader
	if h != nil {
		header = &hexHeader{
			ClusterID: fmt.Sprintf("%x", h.GetClusterId()),
			MemberID:  fmt.Sprintf("%x", h.GetMemberId()),
			Revision:  h.GetRevision(),
			RaftTerm:  h.GetRaftTerm(),
		}
	}
	list := make([]*hexMember, len(all))
	for i, m := range all {
		list[i] = newHexMember(m)
	}
	if added == nil {
		return struct {
			Header  *hexHeader   `json:"header"`
			Members []*hexMember `json:"members"`
		}{header, list}
	}
	return struct {
		Header  *hexHeader   `json:"header"`
		Member  *hexMember   `json:"member"`
		Members []*hexMember `json:"members"`
	}{header, newHexMember(added), list}
}

// parseMemberID reads the one argument, the id of a member in hexadecimal.
func parseMemberID(args []string) (uint64, error) {
	if len(args) != 1 {
		return 0, terminal.Failf(terminal.ExitBadArgs, "member ID is not provided")
	}
	id, err := strconv.ParseUint(args[0], 16, 64)
	if err != nil {
		return 0, terminal.Failf(terminal.ExitBadArgs,
			"bad member ID arg (%w), expecting ID in Hex", err)
	}
	return id, nil
}
