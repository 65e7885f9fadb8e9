package main

import (
	"os"
	"syscall"
)

// dataSync is fdatasync.
func dataSync(f *os.File) error { return syscall.Fdatasync(int(f.Fd())) }
