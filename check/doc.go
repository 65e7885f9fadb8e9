// Package check holds what clients saw of a store against what the store says of its own past. It
// has one checker for each promise, knows neither members nor networks, and is used by the tests of
// real processes (e2e) and by the simulator (sim) alike.
//
// All of it rests on one fact: the store names a revision in each answer, and no two puts of a
// workload have the same value. So the whole past, read back as events ([History]), tells what each
// request has done even if its client was never answered.
//
//	Ledger, History   nothing acknowledged is lost, nothing is done twice, halves, or unasked
//	Timeline          every answer was true at the revision that it names
//	Order             revisions fit the times: with Timeline, linearizability of the whole store
//	Registers         linearizability key by key, found by porcupine, without trust in revisions
//	History.CheckWatch  a watch is complete, in order, without doubles, its previous values right
//	Locks             one holder at a time
package check
