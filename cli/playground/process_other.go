//go:build !unix

package playground

import (
	"errors"
	"os"
)

// endSignals end a playground.
var endSignals = []os.Signal{os.Interrupt}

// catchPipe has nothing to do here.
func catchPipe() (stop func()) { return func() {} }

// gone is never known here.
func gone(*os.File) bool { return false }

var errPause = errors.New("this system cannot pause a process: kill it instead")

func (p *systemProcess) terminate() error { return p.kill() }
func (p *systemProcess) pause() error     { return errPause }
func (p *systemProcess) resume() error    { return errPause }
