package playground

import (
	"strings"
	"testing"
)

// TestThreeMembers plays with three members: a killed leader, a paused and an isolated one, a
// split, a learner that is promoted, a leader that is moved, and a member that is removed.
func TestThreeMembers(t *testing.T) {
	r := start(t, "--load")
	first := r.leader()
	r.say("kill %s", first)
	r.expect(first + ` was killed \(it led\)`)
	r.expect(`leads in term \d+, .* after ` + first + " was killed")
	r.say("start %s", first)
	r.expect(first + " has caught up|" + first + " is back")

	second := r.leader()
	r.say("isolate %s", second)
	r.expect(second + ` is cut off from all others \(it led\)`)
	r.expect(`leads in term \d+, .* after ` + second + " was cut off")
	r.expect("== .*" + second + " cut off")
	r.say("heal")
	r.expect(second + " has caught up|" + second + " is back")

	follower := r.follower()
	r.say("pause %s", follower)
	r.expect(follower + " is paused")
	r.expect("== .*" + follower + " paused")
	r.say("resume %s", follower)
	r.expect(follower + " is back|" + follower + " has caught up")

	r.say("split 1 2")
	r.expect(`split: m1 m2 \| m3`)
	r.expect("== .*m3 cut off")
	r.say("heal")
	r.expect("all links are healed")
	r.expect("== .*m3 (follower|leader)")

	r.say("learner")
	r.expect("m4 was added as a learner")
	r.expect("m4 has caught up")
	r.say("promote m4")
	r.expect("m4 votes from now on")
	r.say("lead m4")
	r.expect(`m4 leads in term \d+`)
	r.say("remove 1")
	r.expect("m1 was removed, and its data")
	if out := r.ctl("put", "greeting", "hello"); !strings.Contains(out, "OK") {
		t.Errorf("at the end: %q", out)
	}
	r.say("add")
	r.expect("m1 was added")
	r.expect("m1 has caught up")
	r.say("quit")
	r.stops(0)
}

// TestKeepThree comes back to a cluster of three, one of which was added.
func TestKeepThree(t *testing.T) {
	dir := t.TempDir()
	r := start(t, "2", "--keep", dir)
	r.say("add")
	r.expect("m3 was added")
	r.expect("== .*m3 follower")
	r.ctl("put", "greeting", "hello")
	r.say("quit")
	r.stops(0)
	again := start(t, "--keep", dir)
	if len(again.endpoints) != 3 {
		t.Errorf("endpoints %v", again.endpoints)
	}
	again.expect("== .*m3 (follower|leader)")
	if out := again.ctl("get", "greeting", "--print-value-only"); out != "hello\n" {
		t.Errorf("after coming back: %q", out)
	}
	again.say("quit")
	again.stops(0)
}

// leader returns who leads by the newest line that tells all roles, once exactly one does.
func (r *run) leader() string {
	r.t.Helper()
	for i := len(r.seen) - 1; i >= 0; i-- {
		if _, after, ok := strings.Cut(r.seen[i], "  =="); ok {
			if strings.Count(after, " leader") == 1 && !strings.Contains(after, "starting") {
				at := strings.Index(after, " leader")
				return after[at-2 : at]
			}
			break
		}
	}
	r.expect(`== .* leader`)
	return r.leader()
}

// follower returns one of those that follow.
func (r *run) follower() string {
	leader := r.leader()
	for _, name := range []string{"m1", "m2", "m3"} {
		if name != leader {
			return name
		}
	}
	return ""
}
