package check

import (
	"strings"
	"testing"
)

// put and del make changes.
func put(key, value string) Change { return Change{Key: key, Value: value} }
func del(key string) Change        { return Change{Key: key, Delete: true} }

// TestLedger shows each lie to the checker and demands that it notices, and the truth, which it
// must accept.
func TestLedger(t *testing.T) {
	tests := map[string]struct {
		events []Event
		want   string // part of the error, "" for none
	}{
		"the truth": {[]Event{
			{put("a", "1"), 2, nil}, {put("b", "2"), 3, nil}, {put("c", "3"), 3, nil},
			{del("a"), 4, nil},
		}, ""},
		"and the write that was not answered": {[]Event{
			{put("a", "1"), 2, nil}, {put("b", "2"), 3, nil}, {put("c", "3"), 3, nil},
			{del("a"), 4, nil}, {put("a", "4"), 5, nil},
		}, ""},
		"a lost write": {[]Event{
			{put("a", "1"), 2, nil}, {put("a", "4"), 3, nil}, {del("a"), 4, nil},
		}, "acknowledged write lost: [{b 2"},
		"half a transaction": {[]Event{
			{put("a", "1"), 2, nil}, {put("b", "2"), 3, nil}, {del("a"), 4, nil},
		}, "revision 3 has changes"},
		"a write under another revision": {[]Event{
			{put("b", "2"), 2, nil}, {put("c", "3"), 2, nil}, {put("a", "1"), 3, nil},
			{del("a"), 4, nil},
		}, "revision 2 has changes"},
		"a write done twice": {[]Event{
			{put("a", "1"), 2, nil}, {put("b", "2"), 3, nil}, {put("c", "3"), 3, nil},
			{del("a"), 4, nil}, {put("a", "4"), 5, nil}, {put("a", "4"), 6, nil},
		}, "revision 6 has changes"},
		"a write that nobody made": {[]Event{
			{put("a", "1"), 2, nil}, {put("b", "2"), 3, nil}, {put("c", "3"), 3, nil},
			{del("a"), 4, nil}, {put("x", "9"), 5, nil},
		}, "revision 5 has changes"},
		"a delete of nothing": {[]Event{
			{put("a", "1"), 2, nil}, {put("b", "2"), 3, nil}, {put("c", "3"), 3, nil},
			{del("a"), 4, nil}, {del("b"), 5, nil},
		}, "revision 5 has changes"},
		"a gap": {[]Event{
			{put("a", "1"), 2, nil}, {del("a"), 4, nil},
		}, "revision 4 follows revision 2"},
		"going back": {[]Event{
			{put("a", "1"), 2, nil}, {put("b", "2"), 3, nil}, {put("c", "3"), 3, nil},
			{del("a"), 4, nil}, {put("a", "4"), 3, nil},
		}, "revision 3 follows revision 4"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			l := NewLedger()
			l.Acked(l.Try(put("a", "1")), 2, true)
			l.Acked(l.Try(put("b", "2"), put("c", "3")), 3, true)
			l.Acked(l.Try(del("a")), 4, true)
			l.Acked(l.Try(del("b")), 4, false)
			l.Unknown(l.Try(put("a", "4")))
			h := &History{}
			err := h.Extend(tt.events, tt.events[len(tt.events)-1].Revision)
			if err == nil {
				err = l.Check(h)
			}
			checkError(t, err, tt.want)
		})
	}
}

// TestCheckWatch is like TestLedger for watches.
func TestCheckWatch(t *testing.T) {
	h := &History{}
	one, two := put("a", "1"), put("a", "2")
	err := h.Extend([]Event{
		{one, 2, nil}, {put("b", "x"), 3, nil}, {two, 4, nil}, {del("a"), 5, nil},
	}, 5)
	if err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		got  []Event
		want string
	}{
		"the truth":        {[]Event{{one, 2, nil}, {two, 4, &one}, {del("a"), 5, &two}}, ""},
		"a lost one":       {[]Event{{one, 2, nil}, {del("a"), 5, &two}}, "event 2 of the watch"},
		"the last lost":    {[]Event{{one, 2, nil}, {two, 4, &one}}, "ends before"},
		"one twice":        {[]Event{{one, 2, nil}, {one, 2, nil}}, "event 2 of the watch"},
		"a wrong previous": {[]Event{{one, 2, nil}, {two, 4, &two}}, "has the previous value"},
		"one not asked for": {[]Event{{one, 2, nil}, {put("b", "x"), 3, nil}},
			"event 2 of the watch"},
		"one too many": {[]Event{{one, 2, nil}, {two, 4, &one}, {del("a"), 5, &two},
			{del("a"), 6, nil}}, "after the last event"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			wanted := func(c Change) bool { return c.Key == "a" }
			checkError(t, h.CheckWatch(tt.got, 1, wanted, true), tt.want)
		})
	}
}

// checkError demands an error with a text, or none.
func checkError(t *testing.T, err error, want string) {
	t.Helper()
	switch {
	case err == nil && want != "":
		t.Errorf("no error, but want one with %q", want)
	case err != nil && (want == "" || !strings.Contains(err.Error(), want)):
		t.Errorf("error %q, want one with %q", err, want)
	}
}
