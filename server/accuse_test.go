package server

import (
	"slices"
	"testing"
	"testing/synctest"

	"github.com/cairnkv/cairn/alarm"
	"github.com/cairnkv/cairn/state"
)

// All members that have gone apart are accused, though the alarm of the first is not applied yet
// when the second is found; of one member there is one proposal at a time.
func TestAccusesEachMember(t *testing.T) {
	withTime(t, func(t *testing.T, m *timed) {
		// On the applier, so that nothing is applied meanwhile.
		must(t, m.node.Visit(t.Context(), func(*state.Machine) {
			for _, id := range []uint64{2, 4, 0} {
				m.accuse(id, 1)
			}
			if m.back.raiseFor(2, alarm.Corrupt) {
				t.Error("proposed again what is on its way")
			}
			if !m.back.raiseFor(2, alarm.NoSpace) {
				t.Error("an alarm of another type was not proposed")
			}
		}))
		synctest.Wait()
		want := []alarm.Alarm{
			{Member: 2, Type: alarm.NoSpace}, {Member: 0, Type: alarm.Corrupt},
			{Member: 2, Type: alarm.Corrupt}, {Member: 4, Type: alarm.Corrupt},
		}
		if got := m.stores.machine.Alarms().List(alarm.None); !slices.Equal(got, want) {
			t.Errorf("raised %v, want %v", got, want)
		}
		if !m.back.raiseFor(2, alarm.Corrupt) {
			t.Error("what was applied cannot be proposed again")
		}
		synctest.Wait()
	})
}
