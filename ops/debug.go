package ops

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/pprof"
	"runtime"

	"github.com/cairnkv/cairn/internal/process"
	"github.com/cairnkv/cairn/internal/version"
)

// versions is the body of /version. The first three are etcd's.
type versions struct {
	Server  string `json:"etcdserver"`
	Cluster string `json:"etcdcluster"`
	Storage string `json:"storage"`
	Cairn   string `json:"cairn"`
}

// VersionHandler serves /version alone, for the peer port.
func VersionHandler(o Options) http.Handler { return http.HandlerFunc(o.version) }

func (o Options) version(w http.ResponseWriter, r *http.Request) {
	if !allowGet(w, r) {
		return
	}
	v := versions{version.Etcd, o.Backend.ClusterVersion(), o.Backend.StorageVersion(),
		version.Cairn}
	if v.Cluster == "" {
		v.Cluster = "not_decided"
	}
	if v.Storage == "" {
		v.Storage = "unknown"
	}
	body, err := json.Marshal(v)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(body)
}

// vars answers /debug/vars: the object that Go's expvar serves in etcd, with the same keys.
func (o Options) vars(w http.ResponseWriter, r *http.Request) {
	if !allowGet(w, r) {
		return
	}
	var memory runtime.MemStats
	runtime.ReadMemStats(&memory)
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	fmt.Fprint(w, "{\n")
	for i, v := range []struct {
		name  string
		value any
	}{
		{"cmdline", o.CommandLine},
		{"file_descriptor_limit", process.FileLimit()},
		{"memstats", &memory},
		{"raft.status", o.Backend.RaftStatus()},
	} {
		body, err := json.Marshal(v.value)
		if err != nil {
			body, _ = json.Marshal("cannot be shown: " + err.Error()) // a string always can
		}
		if i > 0 {
			fmt.Fprint(w, ",\n")
		}
		fmt.Fprintf(w, "%q: %s", v.name, body)
	}
	fmt.Fprint(w, "\n}\n")
}

// addPprof adds the profiles of package runtime/pprof.
func addPprof(mux *http.ServeMux) {
	const prefix = "/debug/pprof"
	mux.HandleFunc(prefix+"/", pprof.Index)
	mux.HandleFunc(prefix+"/cmdline", pprof.Cmdline)
	mux.HandleFunc(prefix+"/profile", pprof.Profile)
	mux.HandleFunc(prefix+"/symbol", pprof.Symbol)
	mux.HandleFunc(prefix+"/trace", pprof.Trace)
	for _, name := range []string{"heap", "goroutine", "threadcreate", "block", "mutex"} {
		mux.Handle(prefix+"/"+name, pprof.Handler(name))
	}
}
