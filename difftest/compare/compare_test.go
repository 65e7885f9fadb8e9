package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/cairnkv/cairn/difftest/compare/report"
)

// TestResult reads what `cairn bench -w json` writes; its own tests pin these names, too.
func TestResult(t *testing.T) {
	const text = `{"generator_cpu_seconds":0.5,"server_cpu_seconds":[1,2],` +
		`"series":[{"name":"put","count":900000,"failed":100000,"rate":5,"errors":{"no":100000},` +
		`"latency_us":{"p50":1,"p99":2,"p99.9":3,"max":4}},{"name":"other","count":7}]}`
	var r result
	if err := json.Unmarshal([]byte(text), &r); err != nil {
		t.Fatal(err)
	}
	want := report.Measurement{Count: 900_000, Failed: 100_000, Rate: 5, P50: 1, P99: 2, P999: 3,
		Max: 4, CPU: 3, Generator: 0.5}
	if got := r.measurement(); got != want {
		t.Errorf("%+v", got)
	}
}

func TestFileSystem(t *testing.T) {
	const mounts = "/dev/a / ext4 rw 0 0\n/dev/b /data xfs rw 0 0\ntmpfs /data/tmp tmpfs rw 0 0\n\n"
	for dir, want := range map[string]string{"/": "ext4", "/x": "ext4", "/data": "xfs",
		"/data/y": "xfs", "/data/tmp/z": "tmpfs", "/database": "ext4"} {
		if got := fileSystem(mounts, dir); got != want {
			t.Errorf("%s is on %s, want %s", dir, got, want)
		}
	}
}

func TestChosen(t *testing.T) {
	if all, err := (options{}).chosen(); err != nil || len(all) != len(stages) {
		t.Errorf("%v, %v", all, err)
	}
	some, err := options{only: "big,watch"}.chosen()
	if err != nil || len(some) != 2 || some[0].name != "big" || some[1].name != "watch" {
		t.Errorf("%v, %v", some, err)
	}
	if _, err := (options{only: "one,two"}).chosen(); err == nil {
		t.Error("a stage that does not exist was taken")
	}
}

// TestRedraw draws a page of a run's JSON, and leaves the JSON as it was.
func TestRedraw(t *testing.T) {
	dir := t.TempDir()
	r := report.Run{Etcd: "3.7.3", Date: "2026-01-02"}
	r.Add(report.Cell{Key: "put-1000", Title: "put", Per: "put"}, 0, report.Measurement{CPU: 5})
	r.Add(report.Cell{Key: "put-1000", Title: "put", Per: "put"}, 1, report.Measurement{CPU: 1})
	if err := write(&r, dir); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, jsonName)
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	page := filepath.Join(dir, "performance.md")
	picture := filepath.Join(dir, report.Pictures, "cpu.svg")
	for _, f := range []string{page, picture} {
		if err := os.Remove(f); err != nil {
			t.Fatal(err)
		}
	}
	if err := (options{redraw: path}).drawAgain(); err != nil {
		t.Fatal(err)
	}
	after, err := os.ReadFile(path)
	if err != nil || string(after) != string(before) {
		t.Errorf("%v, %s", err, after)
	}
	for _, f := range []string{page, picture} {
		if _, err := os.Stat(f); err != nil {
			t.Error(err)
		}
	}
}
