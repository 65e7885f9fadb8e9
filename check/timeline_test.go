package check

import (
	"strings"
	"testing"
	"time"
)

// putAt and delAt make events.
func putAt(revision int64, key, value string) Event {
	return Event{Change: Change{Key: key, Value: value}, Revision: revision}
}

func delAt(revision int64, key string) Event {
	return Event{Change: Change{Key: key, Delete: true}, Revision: revision}
}

// story is a history and operations that fit it. The puts 4 and 5 and the last delete were not
// answered; 4 was done.
func story() (*History, []*Op) {
	h := &History{Revision: 7, Events: []Event{
		putAt(2, "kv/a", "1"), putAt(3, "kv/a", "2"), putAt(3, "kv/b", "3"), delAt(4, "kv/a"),
		putAt(5, "other", "x"), putAt(6, "kv/a", "4"), delAt(7, "kv/b"),
	}}
	at := func(o Op, start, end int) *Op {
		o.Start, o.End = time.Duration(start), time.Duration(end)
		if end == 0 {
			o.End = Forever
		}
		return &o
	}
	one, two := Value{"1", 2, 2, 1}, Value{"2", 2, 3, 2}
	four := Value{"4", 6, 6, 1}
	return h, []*Op{
		at(Op{Kind: Put, Key: "kv/a", Value: "1", Revision: 2, HasFound: true}, 10, 20),
		at(Op{Kind: Put, Key: "kv/a", Value: "2", Revision: 3}, 30, 40),
		at(Op{Kind: Put, Key: "kv/b", Value: "3", Revision: 3}, 30, 40),
		at(Op{Kind: Get, Key: "kv/a", Revision: 3, Found: two, HasFound: true}, 50, 60),
		at(Op{Kind: Delete, Key: "kv/a", Revision: 4, Done: true, Found: two, HasFound: true},
			70, 80),
		at(Op{Kind: Get, Key: "kv/a", Revision: 5, HasFound: true}, 90, 100),
		at(Op{Kind: Swap, Key: "kv/a", Value: "4"}, 110, 0),
		at(Op{Kind: Put, Key: "kv/a", Value: "5"}, 112, 0),
		at(Op{Kind: Delete, Key: "kv/b"}, 114, 0),
		at(Op{Kind: Swap, Key: "kv/a", Value: "6", Expect: 9, Revision: 6, Found: four,
			HasFound: true}, 120, 130),
		at(Op{Kind: Get, Key: "kv/b", Revision: 7, HasFound: true}, 140, 150),
		at(Op{Kind: GetSerializable, Key: "kv/a", Revision: 2, Found: one, HasFound: true}, 160,
			170),
		at(Op{Kind: GetPast, Key: "kv/a", Expect: 3, Revision: 7, Found: two, HasFound: true}, 160,
			170),
	}
}

// TestCheckers shows each lie to the checkers and demands that they notice, and the truth, which
// they must accept.
func TestCheckers(t *testing.T) {
	const states, order, registers = "states: ", "order: ", "registers: "
	tests := map[string]struct {
		lie  func([]*Op)
		want []string // who notices, and parts of what they say
	}{
		"the truth": {func([]*Op) {}, nil},
		"a stale read": {func(ops []*Op) {
			ops[3].Revision, ops[3].Found = 2, Value{"1", 2, 2, 1}
		}, []string{order + "time goes back", registers + "the answers on"}},
		"a value too early": {func(ops []*Op) {
			ops[3].Found = Value{"4", 6, 6, 1}
		}, []string{states + "a wrong answer", registers + "the answers on"}},
		"a wrong version": {func(ops []*Op) { ops[3].Found.Version = 3 },
			[]string{states + "a wrong answer", registers + "the answers on"}},
		"a wrong creation": {func(ops []*Op) { ops[4].Found.Created = 3 },
			[]string{states + "a wrong answer", registers + "the answers on"}},
		"a value that was deleted": {func(ops []*Op) { ops[5].Found = Value{"2", 2, 3, 2} },
			[]string{states + "a wrong answer", registers + "the answers on"}},
		"a delete that found nothing": {func(ops []*Op) {
			ops[4].Done, ops[4].Found = false, Value{}
		}, []string{registers + "the answers on"}},
		"a swap that should not": {func(ops []*Op) {
			ops[9].Done, ops[9].HasFound, ops[9].Found, ops[9].Revision = true, false, Value{}, 7
		}, []string{states + "a wrong decision", registers + "the answers on"}},
		"a swap that should": {func(ops []*Op) { ops[9].Expect = 6 },
			[]string{states + "a wrong decision", registers + "the answers on"}},
		"a write in the past": {func(ops []*Op) { ops[4].Revision = 3 },
			[]string{order + "time goes back", states + "a wrong answer"}},
		"a serializable read of nothing": {func(ops []*Op) { ops[11].Found = Value{} },
			[]string{states + "a wrong answer"}},
		"a wrong past": {func(ops []*Op) { ops[12].Found.Value = "1" },
			[]string{states + "a wrong answer"}},
		"a revision that is not there": {func(ops []*Op) { ops[10].Revision = 8 },
			[]string{states + "the history ends"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			h, ops := story()
			tt.lie(ops)
			own := func(key string) bool { return strings.HasPrefix(key, "kv/") }
			timeline := NewTimeline(h, own)
			ops = timeline.Resolve(ops)
			var said strings.Builder
			for who, err := range map[string]error{
				states: timeline.CheckStates(ops), order: Order(ops),
				registers: Registers(ops, time.Minute, t.TempDir()),
			} {
				if err != nil {
					said.WriteString(who + err.Error() + "\n")
				}
			}
			for _, want := range tt.want {
				if !strings.Contains(said.String(), want) {
					t.Errorf("nobody says %q, but\n%s", want, &said)
				}
			}
			if len(tt.want) == 0 && said.Len() > 0 {
				t.Error(said.String())
			}
		})
	}
}

// TestLockCheck shows turns at a lock that are right, and others.
func TestLockCheck(t *testing.T) {
	h := &History{Revision: 9, Events: []Event{
		putAt(2, "lock/1", ""), putAt(3, "lock/2", ""), putAt(4, "fenced", "lock/1"),
		putAt(5, "fenced", "lock/1"), delAt(6, "lock/1"), putAt(7, "fenced", "lock/2"),
		putAt(8, "lock/1", ""), delAt(9, "lock/2"),
	}}
	tests := map[string]struct {
		writes []Guarded
		want   string
	}{
		"the truth":  {[]Guarded{{"lock/1", 4}, {"lock/1", 5}, {"lock/2", 7}}, ""},
		"too early":  {[]Guarded{{"lock/1", 4}, {"lock/2", 5}}, "but lock/1 has it"},
		"too late":   {[]Guarded{{"lock/1", 4}, {"lock/1", 7}}, "but lock/2 has it"},
		"not there":  {[]Guarded{{"lock/1", 4}, {"lock/1", 12}}, "not in the history"},
		"once again": {[]Guarded{{"lock/1", 5}, {"lock/2", 7}, {"lock/1", 9}}, "again, after"},
	}
	for name, tt := range tests {
		err := Locks(h, "lock/", tt.writes)
		said := ""
		if err != nil {
			said = err.Error()
		}
		if (said == "") != (tt.want == "") || !strings.Contains(said, tt.want) {
			t.Errorf("%s: error %q, want %q", name, said, tt.want)
		}
	}
}
