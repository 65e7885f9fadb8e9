package sim

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
)

// Enabled implements slog.Handler.
func (h logHandler) Enabled(_ context.Context, l slog.Level) bool { return l >= slog.LevelInfo }

// Handle implements slog.Handler. What members say is shown and not hashed: without a reader nobody
// asks them.
func (h logHandler) Handle(_ context.Context, r slog.Record) error {
	var b strings.Builder
	b.WriteString(r.Message)
	b.WriteString(h.attrs)
	r.Attrs(func(a slog.Attr) bool {
		fmt.Fprintf(&b, " %s=%v", a.Key, a.Value)
		return true
	})
	fmt.Fprintf(h.m.sim.out, "%12.6f   %s: %s %s\n", h.m.sim.now.Seconds(), h.m.name, r.Level,
		b.String())
	return nil
}

// WithAttrs implements slog.Handler.
func (h logHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	for _, a := range attrs {
		h.attrs += fmt.Sprintf(" %s=%v", a.Key, a.Value)
	}
	return h
}

// WithGroup implements slog.Handler; nobody opens groups.
func (h logHandler) WithGroup(string) slog.Handler { return h }
