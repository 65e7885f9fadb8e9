package check

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/anishathalye/porcupine"
)

// register is the model of one key: what it has now. What is put comes with the revision under
// which it was done, so that only the order is left to be found.
var register = porcupine.Model{
	Init: func() any { return Value{} },
	Step: func(s, input, _ any) (bool, any) {
		before := s.(Value)
		after, ok := apply(before, input.(*Op))
		return ok, after
	},
	DescribeOperation: func(input, _ any) string { return input.(*Op).String() },
	DescribeState:     func(s any) string { return fmt.Sprintf("%+v", s.(Value)) },
}

// apply does an operation on a value, and says whether what its client was told fits. Operations
// that were not answered fit everywhere.
func apply(v Value, o *Op) (Value, bool) {
	put := Value{o.Value, v.Created, o.Revision, v.Version + 1}
	if v.Modified == 0 {
		put.Created = o.Revision
	}
	answered := o.End != Forever
	found := !answered || !o.HasFound || o.Found == v
	switch o.Kind {
	case Put:
		return put, found && o.Revision > v.Modified
	case Swap:
		if o.Done {
			return put, v.Modified == o.Expect && o.Revision > v.Modified
		}
		return v, found && v.Modified != o.Expect
	case Delete:
		if !answered {
			return Value{}, true
		}
		return Value{}, found && o.Done == (v.Modified != 0)
	default:
		return v, found
	}
}

// ErrUndecided says that a search has taken too long.
var ErrUndecided = errors.New("it is not decided whether there is an order")

// Registers looks for an order of the operations on each key, by itself, that explains all
// answers and fits the times. Each key gets the limit. What it cannot explain it draws to a file
// in dir, if that is not empty, and the error names it.
func Registers(ops []*Op, limit time.Duration, dir string) error {
	byKey := make(map[string][]porcupine.Operation)
	for _, o := range ops {
		if o.Linearizable() {
			byKey[o.Key] = append(byKey[o.Key], porcupine.Operation{
				ClientId: o.Client, Input: o, Call: int64(o.Start), Return: int64(o.End),
			})
		}
	}
	for _, key := range slices.Sorted(maps.Keys(byKey)) {
		result, info := porcupine.CheckOperationsVerbose(register, byKey[key], limit)
		switch result {
		case porcupine.Ok:
		case porcupine.Unknown:
			return fmt.Errorf("%w: the %d operations on %s within %v", ErrUndecided,
				len(byKey[key]), key, limit)
		default:
			if dir == "" {
				return fmt.Errorf("the answers on %s contradict each other", key)
			}
			path := dir + "/history.html"
			if err := porcupine.VisualizePath(register, info, path); err != nil {
				path = err.Error()
			}
			return fmt.Errorf("the answers on %s contradict each other: see %s", key, path)
		}
	}
	return nil
}
