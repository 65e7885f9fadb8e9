package ctl

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"go.etcd.io/etcd/client/pkg/v3/logutil"
	"go.etcd.io/etcd/client/pkg/v3/srv"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"golang.org/x/term"
	"google.golang.org/grpc/grpclog"

	"github.com/cairnkv/cairn/cli/internal/terminal"
)

// debugVerbosity is grpc's log verbosity under --debug, etcdctl's.
const debugVerbosity = 4

// logger writes zap lines as etcd's programs do, to stderr.
func (a *app) logger() *zap.Logger {
	enc := zapcore.NewJSONEncoder(logutil.DefaultZapLoggerConfig.EncoderConfig)
	core := zapcore.NewCore(enc, zapcore.AddSync(a.cfg.Stderr), zapcore.InfoLevel)
	return zap.New(core, zap.AddCaller())
}

// clientSpec completes the global flags from the environment, checks them, and says how to reach
// the cluster. Every verb that talks to a server calls it once, and before it uses any global flag.
func (a *app) clientSpec(cmd *cobra.Command) (*clientv3.ConfigSpec, error) {
	fs := cmd.InheritedFlags()
	var known []string
	if cmd.Name() == "watch" {
		known = []string{watchKeyEnv, watchRangeEndEnv}
	}
	if err := setFromEnv(fs, a.cfg.Environ, a.logger(), known...); err != nil {
		return nil, err
	}
	if a.flags.debug {
		printFlags(fs, a.cfg.Stderr)
	}
	if a.dialOptions == nil {
		setGRPCLog(a.flags.debug, a.cfg.Stderr)
	}
	endpoints, err := a.endpoints()
	if err != nil {
		return nil, terminal.Fail(terminal.ExitError, err)
	}
	secure, err := a.secureConfig(cmd)
	if err != nil {
		return nil, err
	}
	auth, err := a.authConfig()
	if err != nil {
		return nil, err
	}
	if !slices.Contains(formats, a.flags.writeOut) {
		return nil, terminal.Fail(terminal.ExitBadFeature, errors.New("unsupported output format"))
	}
	return &clientv3.ConfigSpec{
		Endpoints:          endpoints,
		DialTimeout:        a.flags.dialTimeout,
		KeepAliveTime:      a.flags.keepAliveTime,
		KeepAliveTimeout:   a.flags.keepAliveTimeout,
		MaxCallSendMsgSize: a.flags.maxRequestBytes,
		MaxCallRecvMsgSize: a.flags.maxRecvBytes,
		Secure:             secure,
		Auth:               auth,
	}, nil
}

// setGRPCLog sends grpc's own log, which is one per process, to w: everything under --debug, else
// errors only.
func setGRPCLog(debug bool, w io.Writer) {
	if debug {
		grpclog.SetLoggerV2(grpclog.NewLoggerV2WithVerbosity(w, w, w, debugVerbosity))
	} else {
		grpclog.SetLoggerV2(grpclog.NewLoggerV2(io.Discard, io.Discard, w))
	}
}

// clientConfig turns a spec into a client's configuration.
func (a *app) clientConfig(spec *clientv3.ConfigSpec) (clientv3.Config, error) {
	cfg, err := clientv3.NewClientConfig(spec, a.logger())
	if err != nil {
		return clientv3.Config{}, terminal.Fail(terminal.ExitBadArgs, err)
	}
	cfg.DialOptions = a.dialOptions
	cfg.Logger = a.clientLog
	return *cfg, nil
}

// dial makes a client for a spec. The caller closes it.
func (a *app) dial(spec *clientv3.ConfigSpec) (*clientv3.Client, error) {
	cfg, err := a.clientConfig(spec)
	if err != nil {
		return nil, err
	}
	c, err := clientv3.New(cfg)
	if err != nil {
		return nil, terminal.Fail(terminal.ExitBadConnection, err)
	}
	return c, nil
}

// connect makes a client as the flags and the environment say. The caller closes it.
func (a *app) connect(cmd *cobra.Command) (*clientv3.Client, error) {
	spec, err := a.clientSpec(cmd)
	if err != nil {
		return nil, err
	}
	return a.dial(spec)
}

// withTimeout bounds a command by --command-timeout.
func (a *app) withTimeout(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, a.flags.commandTimeout)
}

// endpoints are those that DNS names under --discovery-srv, or else those of --endpoints.
func (a *app) endpoints() ([]string, error) {
	if a.flags.discoverySRV != "" {
		found, err := srv.GetClient("etcd-client", a.flags.discoverySRV, a.flags.discoverySRVName)
		if err != nil {
			return nil, err
		}
		eps := found.Endpoints
		if !a.flags.insecureDiscovery {
			eps = slices.DeleteFunc(eps, func(ep string) bool {
				plain := strings.HasPrefix(ep, "http://")
				if plain {
					fmt.Fprintf(a.cfg.Stderr, "ignoring discovered insecure endpoint %q\n", ep)
				}
				return plain
			})
		}
		if len(eps) > 0 {
			return eps, nil
		}
	}
	eps := make([]string, len(a.flags.endpoints))
	for i, ep := range a.flags.endpoints {
		eps[i] = strings.TrimSpace(ep)
	}
	return eps, nil
}

// secureConfig is what the flags say about TLS.
func (a *app) secureConfig(cmd *cobra.Command) (*clientv3.SecureConfig, error) {
	g := &a.flags
	for _, f := range []struct{ name, value string }{
		{"cert", g.cert}, {"key", g.key}, {"cacert", g.cacert},
	} {
		if f.value == "" && cmd.Flags().Changed(f.name) {
			return nil, terminal.Failf(terminal.ExitBadArgs,
				"empty string is passed to --%s option", f.name)
		}
	}
	serverName := g.discoverySRV
	if g.insecureDiscovery {
		serverName = ""
	}
	return &clientv3.SecureConfig{
		Cert:               g.cert,
		Key:                g.key,
		Cacert:             g.cacert,
		ServerName:         serverName,
		InsecureTransport:  g.insecureTransport,
		InsecureSkipVerify: g.insecureSkipVerify,
	}, nil
}

// authConfig is what the flags say about the user, nil without one. A user without a password is
// asked for it.
func (a *app) authConfig() (*clientv3.AuthConfig, error) {
	g := &a.flags
	if g.token != "" {
		return &clientv3.AuthConfig{Token: g.token}, nil
	}
	if g.user == "" {
		return nil, nil
	}
	if g.password != "" {
		return &clientv3.AuthConfig{Username: g.user, Password: g.password}, nil
	}
	if name, password, ok := strings.Cut(g.user, ":"); ok {
		return &clientv3.AuthConfig{Username: name, Password: password}, nil
	}
	password, err := a.askPassword("Password: ")
	if err != nil {
		return nil, terminal.Fail(terminal.ExitError, err)
	}
	return &clientv3.AuthConfig{Username: g.user, Password: password}, nil
}

// askPassword reads a line from stdin, without showing it where stdin is a terminal.
func (a *app) askPassword(prompt string) (string, error) {
	fmt.Fprint(a.cfg.Stdout, prompt)
	defer fmt.Fprintln(a.cfg.Stdout)
	if f, ok := a.cfg.Stdin.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		b, err := term.ReadPassword(int(f.Fd()))
		if err != nil {
			return "", fmt.Errorf("failed during password entry: %w", err)
		}
		return strings.TrimSpace(string(b)), nil
	}
	line, err := readLine(a.cfg.Stdin)
	if err != nil && err != io.EOF {
		return "", fmt.Errorf("failed during password entry: %w", err)
	}
	return strings.TrimSpace(line), nil
}

// readLine reads up to a line's end byte by byte, so that what follows stays in r for the verb.
func readLine(r io.Reader) (string, error) {
	var line []byte
	var b [1]byte
	for {
		n, err := r.Read(b[:])
		if n == 1 {
			if b[0] == '\n' {
				return string(line), nil
			}
			line = append(line, b[0])
		}
		if err != nil {
			return string(line), err
		}
	}
}
