package ops

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
)

// health is the body of /health.
type health struct {
	Health string `json:"health"` // "true" or "false"
	Reason string `json:"reason"`
}

// addHealth adds /health, /livez and /readyz with their single checks.
func (o Options) addHealth(mux *http.ServeMux) {
	mux.HandleFunc("/health", o.health)
	o.addChecks(mux, "livez", []check{{"serializable_read", o.readCheck(true)}})
	o.addChecks(mux, "readyz", []check{
		{"data_corruption", o.corruptionCheck},
		{"serializable_read", o.readCheck(true)},
		{"linearizable_read", o.readCheck(false)},
		{"non_learner", o.learnerCheck},
	})
}

// health answers GET /health. Query: exclude=NOSPACE (an alarm that does not count; repeatable)
// and serializable=true (this member's health, not the cluster's).
func (o Options) health(w http.ResponseWriter, r *http.Request) {
	if !allowGet(w, r) {
		o.Log.Warn("/health error", slog.Int("status-code", http.StatusMethodNotAllowed))
		return
	}
	query := r.URL.Query()
	reason := o.unhealthy(r.Context(), query["exclude"], query.Get("serializable") == "true")
	h := health{Health: "true", Reason: reason}
	if reason != "" {
		h.Health = "false"
	}
	body, err := json.Marshal(h)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	if reason != "" {
		o.Metrics.healthFailures.Inc()
		o.Log.Warn("/health error", slog.String("output", string(body)),
			slog.Int("status-code", http.StatusServiceUnavailable))
		http.Error(w, string(body), http.StatusServiceUnavailable)
		return
	}
	o.Metrics.healthSuccesses.Inc()
	w.WriteHeader(http.StatusOK)
	// A client that went away cannot be told.
	_, _ = w.Write(body)
}

// unhealthy returns why the member is not healthy, or "".
func (o Options) unhealthy(ctx context.Context, excluded []string, serializable bool) string {
	for _, a := range o.Backend.Alarms() {
		if slices.Contains(excluded, a.Type) {
			continue
		}
		o.Log.Warn("serving /health false due to an alarm", slog.String("alarm", a.Type),
			slog.String("member-id", fmt.Sprintf("%x", a.Member)))
		if a.Type == alarmNoSpace || a.Type == alarmCorrupt {
			return "ALARM " + a.Type
		}
		return "ALARM UNKNOWN"
	}
	if !serializable && o.Backend.Leader() == 0 {
		o.Log.Warn("serving /health false; no leader")
		return "RAFT NO LEADER"
	}
	ctx, cancel := context.WithTimeout(ctx, o.RequestTimeout)
	defer cancel()
	if err := o.Backend.Read(ctx, serializable); err != nil {
		o.Log.Warn("serving /health false; Range fails", slog.Any("error", err))
		return "RANGE ERROR:" + err.Error()
	}
	return ""
}

// check is one named condition of /livez or /readyz.
type check struct {
	name string
	run  func(ctx context.Context) error
}

func (o Options) corruptionCheck(context.Context) error {
	for _, a := range o.Backend.Alarms() {
		if a.Type == alarmCorrupt {
			return errors.New("alarm activated: " + alarmCorrupt)
		}
	}
	return nil
}

func (o Options) readCheck(serializable bool) func(context.Context) error {
	return func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, o.RequestTimeout)
		defer cancel()
		return o.Backend.Read(ctx, serializable)
	}
}

func (o Options) learnerCheck(context.Context) error {
	if o.Backend.IsLearner() {
		return errors.New("not supported for learner")
	}
	return nil
}

// addChecks adds /kind, which runs all checks but those of the query's exclude, and /kind/name.
func (o Options) addChecks(mux *http.ServeMux, kind string, checks []check) {
	mux.HandleFunc("/"+kind, func(w http.ResponseWriter, r *http.Request) {
		o.runChecks(w, r, kind, o.filter(checks, r.URL.Query()["exclude"]))
	})
	for _, c := range checks {
		mux.HandleFunc("/"+kind+"/"+c.name, func(w http.ResponseWriter, r *http.Request) {
			o.runChecks(w, r, kind, []check{c})
		})
	}
}

// filter drops excluded checks. Names that are none are a warning: other versions have them.
func (o Options) filter(checks []check, excluded []string) []check {
	kept := slices.DeleteFunc(slices.Clone(checks), func(c check) bool {
		return slices.Contains(excluded, c.name)
	})
	for _, name := range excluded {
		known := slices.ContainsFunc(checks, func(c check) bool { return c.name == name })
		if name != "" && !known {
			o.Log.Warn("some health checks cannot be excluded",
				slog.String("missing-health-checks", fmt.Sprintf("%q", name)))
		}
	}
	return kept
}

// runChecks answers "ok", with ?verbose after a line for each check; or 503 and the lines.
func (o Options) runChecks(w http.ResponseWriter, r *http.Request, kind string, checks []check) {
	if !allowGet(w, r) {
		o.Log.Warn("Health request error", slog.String("path", r.URL.Path),
			slog.Int("status-code", http.StatusMethodNotAllowed))
		return
	}
	var lines strings.Builder
	failed := false
	for _, c := range checks {
		err := c.run(r.Context())
		o.Metrics.healthCheck(kind, c.name, err == nil)
		if err != nil {
			failed = true
			fmt.Fprintf(&lines, "[-]%s failed: %v\n", c.name, err)
		} else {
			fmt.Fprintf(&lines, "[+]%s ok\n", c.name)
		}
	}
	if failed {
		o.Log.Error("Health check error", slog.String("path", r.URL.Path),
			slog.String("reason", lines.String()),
			slog.Int("status-code", http.StatusServiceUnavailable))
		http.Error(w, lines.String(), http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	body := "ok\n"
	if r.URL.Query().Has("verbose") {
		body = lines.String() + body
	}
	_, _ = w.Write([]byte(body))
}
