package difftest

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

const (
	// healthyAge is for how long members must have been connected before the membership may be
	// changed, with a margin.
	healthyAge = 5500 * time.Millisecond

	// maxBody bounds an answer on the peer port.
	maxBody = 1 << 20
)

// local lists the operations that a member answers by what it has applied itself.
var local = map[string]bool{
	"range": true, "txn": true, "leases": true, "timetolive": true, kindKeepAlive: true,
	"status": true, "hash": true, "hashkv": true, "members": true, "memberpromote": true,
	kindRangeStream: true, kindSnapshot: true, kindWatchCreate: true, kindWatchProgress: true,
	kindHTTP: true, kindRestart: true, kindStop: true, "moveleader": true, "compact": true,
}

// mayAsk tells whether the member of an operation is there to be asked.
func (r *runner) mayAsk(op Op) error {
	if op.Member < 0 || op.Member > len(r.sides[0].Sides) {
		return fmt.Errorf("a cluster of a script has no member %d", op.Member)
	}
	starts := op.Kind == kindStart || op.Kind == kindJoin
	if running := r.sides[0].Side(op.Member).running(); running == starts {
		return fmt.Errorf("%s: member %d runs: %t", op.Kind, max(op.Member, 1), running)
	}
	return nil
}

// catchUp makes the members of clusters of several equal before an operation that would tell them
// apart.
func (r *runner) catchUp(ctx context.Context, op Op) error {
	if r.script.Config.Members < 2 || r.lead == 0 {
		return nil
	}
	stale := r.stale
	switch op.Kind {
	case "txn", "compact", "memberpromote", "moveleader": // more than a look
		r.stale = true
	default:
		r.stale = !local[op.Kind]
	}
	if !stale || !local[op.Kind] {
		r.stale = r.stale || stale
		return nil
	}
	return both(func(i int) error { return r.sides[i].CatchUp(ctx, r.lead) })
}

// settle makes one member the leader on both sides: the same as before if it runs. Without a quorum
// there is none.
func (r *runner) settle(ctx context.Context) error {
	if r.script.Config.Members < 2 {
		return nil
	}
	voters, running, first := 0, 0, 0
	for n := len(r.sides[0].Sides); n > 0; n-- {
		if !r.members[n] {
			continue
		}
		voters++
		if r.sides[0].Side(n).running() {
			running++
			first = n
		}
	}
	if running < voters/2+1 {
		r.lead = 0
		return nil
	}
	if r.lead == 0 || !r.members[r.lead] || !r.sides[0].Side(r.lead).running() {
		r.lead = first
	}
	r.stale = false
	return both(func(i int) error { return r.sides[i].Settle(ctx, r.lead) })
}

// explain marks a difference that may come from a change of leaders that nobody asked for.
func (r *runner) explain(ctx context.Context, err error) error {
	var d *Difference
	if errors.As(err, &d) && r.lead != 0 && r.script.Config.Members > 1 {
		d.Restless = r.sides[0].Restless(ctx) || r.sides[1].Restless(ctx)
	}
	return err
}

// noteMembers keeps who is a member and votes, from an answer in normal form.
func (r *runner) noteMembers(a answer) {
	for _, m := range a.msgs {
		list, ok := m.(interface{ GetMembers() []*pb.Member })
		if !ok || a.err != nil {
			continue
		}
		clear(r.members)
		for _, m := range list.GetMembers() {
			r.members[int(int64(m.ID)-selfSymbol)] = !m.IsLearner
		}
	}
}

// cluster does an operation that only clusters of several members have.
func (r *runner) cluster(ctx context.Context, op Op) (string, error) {
	switch op.Kind {
	case kindStop:
		return r.stop(ctx, op)
	case kindStart:
		return r.startAgain(ctx, op)
	case kindJoin:
		return r.join(ctx, op)
	case kindGone:
		return r.gone(ctx, op)
	case kindLead:
		r.lead = op.Member
		return complaint(r.settle(ctx)), nil
	case kindLeaderless:
		return complaint(both(func(i int) error {
			s := r.sides[i].Side(op.Member)
			return poll(ctx, "no leader at "+s.Name, func() (bool, error) {
				status, err := s.status(ctx)
				return err == nil && status.Leader == 0, err
			})
		})), nil
	case kindAge:
		timer := time.NewTimer(healthyAge)
		defer timer.Stop()
		select {
		case <-timer.C:
			return "", nil
		case <-ctx.Done():
			return "", ctx.Err()
		}
	}
	return r.http(ctx, op)
}

// complaint returns the text of an error, "" for none.
func complaint(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// stop ends a member on both sides with a signal and compares how the processes ended.
func (r *runner) stop(ctx context.Context, op Op) (string, error) {
	signals := map[string]syscall.Signal{"TERM": syscall.SIGTERM, "KILL": syscall.SIGKILL}
	sig, ok := signals[op.Signal]
	if !ok {
		return "", fmt.Errorf("%s needs signal=TERM or signal=KILL, not %q", op.Kind, op.Signal)
	}
	what := r.ends(op, func(s *Server) (string, error) { return s.Stop(sig) })
	if what == "" {
		what = complaint(r.settle(ctx))
	}
	return what, nil
}

// gone waits until a member has ended by itself on both sides and compares how.
func (r *runner) gone(ctx context.Context, op Op) (string, error) {
	return firstText(r.ends(op, (*Server).Await), complaint(r.settle(ctx))), nil
}

// firstText returns the first of two texts that is not empty.
func firstText(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// ends lets f wait for the end of a member on both sides and compares how the processes ended.
func (r *runner) ends(op Op, f func(*Server) (string, error)) string {
	var ends [2]string
	err := both(func(i int) (err error) {
		s := r.sides[i].Side(op.Member)
		s.disconnect() // etcd waits for streams that are open
		ends[i], err = f(s.Server)
		return err
	})
	if err != nil {
		return err.Error()
	}
	if ends[0] != ends[1] {
		return fmt.Sprintf("the processes ended differently\n  A: %s\n  B: %s", ends[0], ends[1])
	}
	return ""
}

// startAgain starts a member on both sides that was stopped.
func (r *runner) startAgain(ctx context.Context, op Op) (string, error) {
	err := both(func(i int) error { return r.sides[i].Side(op.Member).Start(ctx) })
	if err == nil {
		err = r.settle(ctx)
	}
	if err != nil {
		return err.Error(), nil
	}
	maps.DeleteFunc(r.hashed, func(k hashKey, _ bool) bool {
		return k.member == max(op.Member, 1)
	})
	if r.script.Config.Members > 1 && (r.lead == 0 || !r.members[op.Member]) {
		return "", nil // a learner refuses watches
	}
	return "", r.watchHistory(max(op.Member, 1))
}

// join starts a member that was added on both sides.
func (r *runner) join(ctx context.Context, op Op) (string, error) {
	for _, c := range r.sides {
		var all []*Server
		for n := range r.members {
			all = append(all, c.Side(n).Server)
		}
		s := c.Side(op.Member).Server
		s.Initial, s.Joins = initialCluster(all), true
	}
	return r.startAgain(ctx, op)
}

// http asks a member's peer port, or its client port for a path that begins with "client/".
func (r *runner) http(ctx context.Context, op Op) (string, error) {
	var answers [2]string
	err := both(func(i int) (err error) {
		answers[i], err = r.sides[i].Side(op.Member).get(ctx, op.Path)
		return err
	})
	if err != nil {
		return err.Error(), nil
	}
	if answers[0] != answers[1] {
		return fmt.Sprintf(unequal+"\n  A: %s\n  B: %s", answers[0], answers[1]), nil
	}
	return "", nil
}

// get makes a GET request and returns the answer in normal form.
func (s *Side) get(ctx context.Context, path string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	url := s.Server.PeerURL() + path
	if rest, ok := strings.CutPrefix(path, "client/"); ok {
		url = s.Server.ClientURL() + "/" + rest
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", fmt.Errorf("side %s: %w", s.Name, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxBody))
	if err != nil {
		return "", fmt.Errorf("side %s: %w", s.Name, err)
	}
	cluster := resp.Header.Get("X-Etcd-Cluster-ID")
	if resp.StatusCode == http.StatusNotFound {
		cluster = "" // Cairn says it there, too
	} else if cluster == fmt.Sprintf("%x", s.clusterID) {
		cluster = "own"
	}
	text := s.normalizeBody(strings.TrimSpace(string(body)))
	return fmt.Sprintf("%s, Content-Type %q, cluster %q: %s", resp.Status,
		resp.Header.Get("Content-Type"), cluster, text), nil
}

// normalizeBody puts symbols for ids and words for addresses into a text. JSON gets one order.
func (s *Side) normalizeBody(text string) string {
	for id, symbol := range s.numbers {
		text = strings.ReplaceAll(text, strconv.FormatUint(id, 10), strconv.FormatInt(symbol, 10))
	}
	for url, word := range s.urls {
		text = strings.ReplaceAll(text, url, word)
	}
	var value any
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	if d.Decode(&value) != nil {
		return text
	}
	if object, ok := value.(map[string]any); ok {
		delete(object, "cairn") // what /version says beside etcd's
	}
	if list, ok := value.([]any); ok {
		slices.SortFunc(list, func(a, b any) int {
			return cmp.Compare(fmt.Sprint(a), fmt.Sprint(b))
		})
	}
	sorted, err := json.Marshal(value)
	if err != nil {
		return text
	}
	return string(sorted)
}
