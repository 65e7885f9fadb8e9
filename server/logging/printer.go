package logging

import (
	"context"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
)

// Printer lets libraries that print write into a logger: it has the methods of raft's Logger and of
// grpclog's LoggerV2. Lines carry the caller in the library. Safe for concurrent use.
type Printer struct {
	log     *slog.Logger
	demote  bool // grpc: what it calls an error is a client that went away
	verbose bool
}

// Raft returns a printer for raft, named "raft" as etcd's.
func Raft(l *slog.Logger) *Printer {
	return &Printer{log: l.With(loggerKey, "raft"), verbose: true}
}

// GRPC returns a printer for grpc-go: its errors are warnings (a client broke off), the rest is
// debug.
func GRPC(l *slog.Logger) *Printer {
	return &Printer{log: l.With(loggerKey, "grpc"), demote: true}
}

// printerSkip is how many frames lie between runtime.Callers and the library: Callers, print, the
// method.
const printerSkip = 3

func (p *Printer) print(level slog.Level, text func() string) {
	if p.demote {
		if level < slog.LevelError {
			level = slog.LevelDebug
		} else if level == slog.LevelError {
			level = slog.LevelWarn
		}
	}
	ctx := context.Background()
	if !p.log.Enabled(ctx, level) {
		return
	}
	var pcs [1]uintptr
	runtime.Callers(printerSkip, pcs[:])
	// The handler takes the time from its clock.
	r := slog.Record{Level: level, Message: strings.TrimSuffix(text(), "\n"), PC: pcs[0]}
	// A line that cannot be written has nowhere else to go; the output reports it by itself.
	_ = p.log.Handler().Handle(ctx, r)
}

func sprint(v []any) func() string   { return func() string { return fmt.Sprint(v...) } }
func sprintln(v []any) func() string { return func() string { return fmt.Sprintln(v...) } }
func format(f string, v []any) func() string {
	return func() string { return fmt.Sprintf(f, v...) }
}

// Debug and the rest print at the level of their name.
func (p *Printer) Debug(v ...any)              { p.print(slog.LevelDebug, sprint(v)) }
func (p *Printer) Debugf(f string, v ...any)   { p.print(slog.LevelDebug, format(f, v)) }
func (p *Printer) Info(v ...any)               { p.print(slog.LevelInfo, sprint(v)) }
func (p *Printer) Infoln(v ...any)             { p.print(slog.LevelInfo, sprintln(v)) }
func (p *Printer) Infof(f string, v ...any)    { p.print(slog.LevelInfo, format(f, v)) }
func (p *Printer) Warning(v ...any)            { p.print(slog.LevelWarn, sprint(v)) }
func (p *Printer) Warningln(v ...any)          { p.print(slog.LevelWarn, sprintln(v)) }
func (p *Printer) Warningf(f string, v ...any) { p.print(slog.LevelWarn, format(f, v)) }
func (p *Printer) Error(v ...any)              { p.print(slog.LevelError, sprint(v)) }
func (p *Printer) Errorln(v ...any)            { p.print(slog.LevelError, sprintln(v)) }
func (p *Printer) Errorf(f string, v ...any)   { p.print(slog.LevelError, format(f, v)) }

// V says whether grpc-go shall print its verbose lines.
func (p *Printer) V(int) bool { return p.verbose }

// Fatal, Fatalf, Fatalln, Panic and Panicf are called when the library found itself broken: they
// log and panic, so that the process ends with a trace and nothing is done on false ground.
func (p *Printer) Fatal(v ...any) {
	p.print(LevelFatal, sprint(v))
	panic(fmt.Sprint(v...))
}

// Fatalln is Fatal.
func (p *Printer) Fatalln(v ...any) {
	p.print(LevelFatal, sprintln(v))
	panic(fmt.Sprintln(v...))
}

// Fatalf is Fatal.
func (p *Printer) Fatalf(f string, v ...any) {
	p.print(LevelFatal, format(f, v))
	panic(fmt.Sprintf(f, v...))
}

// Panic is Fatal at its level.
func (p *Printer) Panic(v ...any) {
	p.print(LevelPanic, sprint(v))
	panic(fmt.Sprint(v...))
}

// Panicf is Panic.
func (p *Printer) Panicf(f string, v ...any) {
	p.print(LevelPanic, format(f, v))
	panic(fmt.Sprintf(f, v...))
}
