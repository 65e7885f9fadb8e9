package main

import (
	"errors"
	"os"
	"path/filepath"
	"time"

	"github.com/cairnkv/cairn/difftest/compare/report"
)

const (
	syncFile  = 16 << 20 // bytes of the file, filled with zeros before
	syncBlock = 4 << 10
	syncCount = 1000
)

// syncs measures what writing 4 KiB and syncing them takes on the disk that the servers use: the
// least that a put can take.
func (c *comparison) syncs(server int, dir string) (err error) {
	file, err := os.Create(filepath.Join(dir, "syncs"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close(), os.Remove(file.Name())) }()
	if _, err := file.Write(make([]byte, syncFile)); err != nil {
		return err
	}
	if err := file.Sync(); err != nil {
		return err
	}
	block := make([]byte, syncBlock)
	var took []float64
	for i := range int64(syncCount) {
		begin := time.Now()
		if _, err := file.WriteAt(block, i*syncBlock%syncFile); err != nil {
			return err
		}
		if err := dataSync(file); err != nil {
			return err
		}
		took = append(took, float64(time.Since(begin))/float64(time.Microsecond))
	}
	c.report.AddValue(report.Value{Key: "fdatasync", Unit: "us",
		Title: "write of 4 KiB and fdatasync on this disk, median"}, server, report.Median(took))
	return nil
}
