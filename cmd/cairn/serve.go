package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/cairnkv/cairn/clock"
	"github.com/cairnkv/cairn/server"
	"github.com/cairnkv/cairn/server/config"
	"github.com/cairnkv/cairn/server/logging"
	"github.com/cairnkv/cairn/vfs"
	"google.golang.org/grpc/grpclog"
)

// serve runs a member until a signal or a failure ends it, and returns the exit status.
func serve(name string, args []string) int {
	early := logging.Early(os.Stderr, clock.Real())
	cfg, warnings, err := config.Parse(name, args, os.Environ())
	if exit := (*config.Exit)(nil); errors.As(err, &exit) {
		logWarnings(early, warnings)
		fmt.Fprint(os.Stdout, exit.Stdout)
		fmt.Fprint(os.Stderr, exit.Stderr)
		return exit.Code
	}
	if err != nil {
		logWarnings(early, warnings)
		return fail(early, "failed to verify flags", err)
	}
	log, err := logging.New(cfg.Log, logging.System{
		FS: vfs.OS(), Clock: clock.Real(), Stdout: os.Stdout, Stderr: os.Stderr,
	})
	if err != nil {
		return fail(early, "failed to set up logging", err)
	}
	defer log.Close()
	logWarnings(log.Logger, warnings)
	return run(cfg, log)
}

func run(cfg *config.Config, log *logging.Log) int {
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGTERM, os.Interrupt)
	grpclog.SetLoggerV2(logging.GRPC(log.Logger))
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	paceCollector(ctx)
	type started struct {
		server *server.Server
		err    error
	}
	result := make(chan started, 1)
	go func() {
		fsys, clk, err := world()
		if err != nil {
			result <- started{nil, err}
			return
		}
		s, err := server.Start(ctx, cfg, log.Logger, fsys, clk)
		result <- started{s, err}
	}()
	var s *server.Server
	select {
	case sig := <-signals:
		cancel()
		if r := <-result; r.server != nil {
			stop(r.server, log.Logger)
		}
		return raise(sig, log.Logger)
	case r := <-result:
		if errors.Is(r.err, server.ErrRemoved) {
			log.Logger.Warn("stopped", slog.Any("error", r.err))
			return 0 // as etcd: to start it again would be of no use
		}
		if r.err != nil {
			return fail(log.Logger, "failed to start", r.err)
		}
		s = r.server
	}
	select {
	case sig := <-signals:
		stop(s, log.Logger)
		return raise(sig, log.Logger)
	case <-s.Removed():
		stop(s, log.Logger)
		log.Logger.Info("stopped: this member is no part of the cluster any more")
		return 0
	case err := <-s.Failed():
		// No clean-up: nothing may be answered or written any more.
		return fail(log.Logger, "the member cannot go on", err)
	}
}

func stop(s *server.Server, log *slog.Logger) {
	if err := s.Stop(); err != nil {
		log.Error("failed to stop cleanly", slog.Any("error", err))
	}
}

// raise ends the process by the signal that asked for it, so that the parent sees why.
func raise(sig os.Signal, log *slog.Logger) int {
	log.Info("stopped", slog.String("signal", sig.String()))
	return endBySignal(sig)
}

func fail(log *slog.Logger, msg string, err error) int {
	log.Log(context.Background(), logging.LevelFatal, msg, slog.Any("error", err))
	return 1
}

func logWarnings(log *slog.Logger, warnings []config.Warning) {
	for _, w := range warnings {
		log.LogAttrs(context.Background(), w.Level, w.Msg, w.Attrs...)
	}
}
