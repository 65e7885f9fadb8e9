package alarm

import (
	"slices"
	"testing"
)

func TestSet(t *testing.T) {
	var s Set
	a, b, c := Alarm{7, NoSpace}, Alarm{3, NoSpace}, Alarm{1, Corrupt}
	for _, x := range []Alarm{c, a, b} {
		if !s.Raise(x) || s.Raise(x) {
			t.Fatalf("%v: raised is not new once", x)
		}
	}
	if got := s.List(None); !slices.Equal(got, []Alarm{b, a, c}) {
		t.Fatalf("all: %v", got)
	}
	if got := s.List(NoSpace); !slices.Equal(got, []Alarm{b, a}) {
		t.Fatalf("of one type: %v", got)
	}
	var again Set
	if err := again.Decode(s.Encode(nil)); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(again.List(None), s.List(None)) {
		t.Fatal("decoding does not give back what was encoded")
	}
	if !s.Clear(c) || s.Clear(c) || s.Active(Corrupt) || !s.Active(NoSpace) {
		t.Fatal("clearing one alarm")
	}
	if err := again.Decode([]byte{1}); err == nil {
		t.Fatal("a cut set was accepted")
	}
}
