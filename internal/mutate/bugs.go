// Package mutate plants bugs in a test build, to show that the simulator finds them. In the product
// On is a constant: the compiler leaves out what it guards.
//
//	go run -tags mutate ./cmd/cairn sim --plant ack-before-sync --runs 200
//
// A planted bug stands where the real one would be made: the line that is left out, or done twice.
package mutate

// Bug is a bug that can be planted.
type Bug int

// The bugs.
const (
	None Bug = iota
	AckBeforeSync
	VoteUnsynced
	RotateUnsynced
	EarlyCheckpoint
	TruncateEarly
	NoteStays
	NoInstallNote
	ApplyTwice
	SkipDelete
	HalfTxn
	ReadWithoutQuorum
	ReadBeforeApplied
	ReplayHeld
	LostTermCheck
	RenewForgotten
	LeaseShort
	LeaseForgotten
	DropCatchUpEvent
	WatchTwice
	ForgetPrevKV
	ProgressEarly
	CompactTooMuch
	GraftKeepsDeleted
	UnknownUnanswered
	PassOverUnknown
	AlarmForgotten
	LeaseStays
	LastCompare
	ImageLacksRemoved
	InstallKeepsConf
	CompactUnderViews
	HashComparesAll
	ReadAnyRound
	FragmentLoses
	ParkSkips
	ParkedForever
	CompactionTooNew
	RenewalMixed
	RemainingStays
	LeaseDenied
	ReadProofEdge
	count
)

// bugs tells what each is called and does.
var bugs = [count]struct{ name, text string }{
	None:              {"none", "nothing"},
	AckBeforeSync:     {"ack-before-sync", "the raft log is acknowledged before it is synced"},
	VoteUnsynced:      {"vote-unsynced", "a vote is given before it is durable"},
	RotateUnsynced:    {"rotate-unsynced", "one sync is skipped: that of a full log segment"},
	EarlyCheckpoint:   {"early-checkpoint", "a checkpoint is saved before its records are synced"},
	TruncateEarly:     {"truncate-early", "the raft log loses entries that no checkpoint holds"},
	NoteStays:         {"note-stays", "INSTALLING is taken away without a sync (a real one)"},
	NoInstallNote:     {"no-install-note", "a snapshot is installed without INSTALLING"},
	ApplyTwice:        {"apply-twice", "some entries are applied twice"},
	SkipDelete:        {"skip-delete", "one member ignores some deletes"},
	HalfTxn:           {"half-txn", "some transactions lose their last operation"},
	ReadWithoutQuorum: {"read-without-quorum", "who thinks it leads answers reads by itself"},
	ReadBeforeApplied: {"read-before-applied", "reads do not wait for their read point"},
	ReplayHeld:        {"replay-held", "a proposal that was held is stepped twice"},
	LostTermCheck:     {"lost-term-check", "a deposed leader's decisions on leases count"},
	RenewForgotten:    {"renew-forgotten", "some renewals of leases are answered and forgotten"},
	LeaseShort:        {"lease-short", "a new leader gives leases half their time"},
	LeaseForgotten:    {"lease-forgotten", "a start does not hang keys on their leases"},
	DropCatchUpEvent:  {"drop-catch-up-event", "a watch that catches up loses some events"},
	WatchTwice:        {"watch-twice", "some events are given to watches twice"},
	ForgetPrevKV:      {"forget-prev-kv", "some watch events lack the value before"},
	ProgressEarly:     {"progress-early", "progress is told to watches that are behind"},
	CompactTooMuch:    {"compact-too-much", "a compaction removes what is read at its revision"},
	GraftKeepsDeleted: {"graft-keeps-deleted", "a snapshot does not remove what was deleted"},
	UnknownUnanswered: {"unknown-unanswered", "who is not known yet is not answered (a real one)"},
	PassOverUnknown:   {"pass-over-unknown", "commands of later versions are passed over"},
	AlarmForgotten:    {"alarm-forgotten", "a start forgets the alarms of its checkpoint"},
	LeaseStays:        {"lease-stays", "an overwritten key still hangs on its old lease"},
	LastCompare:       {"last-compare", "of several compares only the last one counts"},
	ImageLacksRemoved: {"image-lacks-removed", "a checkpoint lacks the removed members"},
	InstallKeepsConf:  {"install-keeps-conf", "an installed state lacks its configuration"},
	CompactUnderViews: {"compact-under-views", "compactions do not wait for views"},
	HashComparesAll:   {"hash-compares-all", "hashes of other compactions are compared"},
	ReadAnyRound:      {"read-any-round", "a late answer to an earlier round answers a later one"},
	FragmentLoses:     {"fragment-loses", "the first event of a fragment is lost"},
	ParkSkips:         {"park-skips", "a watch without room goes on one revision too late"},
	ParkedForever:     {"parked-forever", "a watch that waits for room waits forever"},
	CompactionTooNew:  {"compaction-too-new", "automatic compaction keeps nothing"},
	RenewalMixed:      {"renewal-mixed", "renewals that go together get one answer"},
	RemainingStays:    {"remaining-stays", "a renewal leaves the time left in the log"},
	LeaseDenied:       {"lease-denied", "a lease is denied that is not applied yet (a real one)"},
	ReadProofEdge:     {"read-proof-edge", "an entry from before a read proves its leader"},
}

// String is the bug's name.
func (b Bug) String() string { return bugs[b].name }

// Text says what the bug does.
func (b Bug) Text() string { return bugs[b].text }

// All lists the bugs.
func All() []Bug {
	var all []Bug
	for b := None + 1; b < count; b++ {
		all = append(all, b)
	}
	return all
}

// Named finds a bug by its name.
func Named(name string) (Bug, bool) {
	for b := range count {
		if bugs[b].name == name {
			return b, true
		}
	}
	return None, false
}
