package ctl

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"go.uber.org/zap"

	"github.com/cairnkv/cairn/cli/internal/terminal"
)

// Defaults of the global flags, etcdctl's.
const (
	defaultEndpoint         = "127.0.0.1:2379"
	defaultDialTimeout      = 2 * time.Second
	defaultCommandTimeout   = 5 * time.Second
	defaultKeepAliveTime    = 2 * time.Second
	defaultKeepAliveTimeout = 6 * time.Second
)

// envPrefix begins the name of every environment variable that is read.
const envPrefix = "ETCDCTL_"

// globalFlags are the flags that every verb takes.
type globalFlags struct {
	endpoints []string
	debug     bool
	writeOut  string
	hex       bool

	dialTimeout      time.Duration
	commandTimeout   time.Duration
	keepAliveTime    time.Duration
	keepAliveTimeout time.Duration
	maxRequestBytes  int
	maxRecvBytes     int

	insecureTransport  bool
	insecureDiscovery  bool
	insecureSkipVerify bool
	cert, key, cacert  string

	token, user, password string

	discoverySRV     string
	discoverySRVName string
}

// register declares the flags on root, with etcdctl's names, defaults and help.
func (g *globalFlags) register(root *cobra.Command) {
	fs := root.PersistentFlags()
	fs.StringSliceVar(&g.endpoints, "endpoints", []string{defaultEndpoint}, "gRPC endpoints")
	fs.BoolVar(&g.debug, "debug", false, "enable client-side debug logging")
	fs.StringVarP(&g.writeOut, "write-out", "w", "simple",
		"set the output format (fields, json, protobuf, simple, table)")
	fs.BoolVar(&g.hex, "hex", false, "print byte strings as hex encoded strings")
	completeValues(root, "write-out", "fields", "json", "protobuf", "simple", "table")

	fs.DurationVar(&g.dialTimeout, "dial-timeout", defaultDialTimeout,
		"dial timeout for client connections")
	fs.DurationVar(&g.commandTimeout, "command-timeout", defaultCommandTimeout,
		"timeout for short running command (excluding dial timeout)")
	fs.DurationVar(&g.keepAliveTime, "keepalive-time", defaultKeepAliveTime,
		"keepalive time for client connections")
	fs.DurationVar(&g.keepAliveTimeout, "keepalive-timeout", defaultKeepAliveTimeout,
		"keepalive timeout for client connections")
	fs.IntVar(&g.maxRequestBytes, "max-request-bytes", 0, "client-side request send limit in "+
		"bytes (if 0, it defaults to 2.0 MiB (2 * 1024 * 1024).)")
	fs.IntVar(&g.maxRecvBytes, "max-recv-bytes", 0, "client-side response receive limit in "+
		"bytes (if 0, it defaults to \"math.MaxInt32\")")
	g.registerSecurity(fs)
	fs.StringVarP(&g.discoverySRV, "discovery-srv", "d", "",
		"domain name to query for SRV records describing cluster endpoints")
	fs.StringVar(&g.discoverySRVName, "discovery-srv-name", "",
		"service name to query when using DNS discovery")
}

// registerSecurity declares the flags for TLS and authentication.
func (g *globalFlags) registerSecurity(fs *pflag.FlagSet) {
	fs.BoolVar(&g.insecureTransport, "insecure-transport", true,
		"disable transport security for client connections")
	fs.BoolVar(&g.insecureDiscovery, "insecure-discovery", true,
		"accept insecure SRV records describing cluster endpoints")
	fs.BoolVar(&g.insecureSkipVerify, "insecure-skip-tls-verify", false, "skip server certificate "+
		"verification (CAUTION: this option should be enabled only for testing purposes)")
	fs.StringVar(&g.cert, "cert", "", "identify secure client using this TLS certificate file")
	fs.StringVar(&g.key, "key", "", "identify secure client using this TLS key file")
	fs.StringVar(&g.cacert, "cacert", "",
		"verify certificates of TLS-enabled secure servers using this CA bundle")
	fs.StringVar(&g.token, "auth-jwt-token", "", "JWT token used for authentication "+
		"(if this option is used, --user and --password should not be set)")
	fs.StringVar(&g.user, "user", "",
		"username[:password] for authentication (prompt if password is not supplied)")
	fs.StringVar(&g.password, "password", "", "password for authentication "+
		"(if this option is used, --user option shouldn't include password)")
}

// completeValues offers values for a flag in shell completion.
func completeValues(cmd *cobra.Command, flag string, values ...string) {
	err := cmd.RegisterFlagCompletionFunc(flag, func(*cobra.Command, []string, string) (
		[]string, cobra.ShellCompDirective) {
		return values, cobra.ShellCompDirectiveDefault
	})
	if err != nil {
		panic(err) // the flag was declared a line above
	}
}

// envName is the variable that stands for a flag.
func envName(flag string) string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// setFromEnv sets the flags that the command line did not give from the environment. A variable
// whose flag is on the command line too is an error; one that no flag knows is warned of on stderr,
// but for those in known.
func setFromEnv(fs *pflag.FlagSet, environ []string, log *zap.Logger, known ...string) error {
	flagOf := make(map[string]*pflag.Flag)
	given := make(map[string]bool)
	fs.VisitAll(func(f *pflag.Flag) {
		name := envName(f.Name)
		flagOf[name], given[name] = f, f.Changed
	})
	for _, name := range known {
		flagOf[name] = nil
	}
	for _, kv := range environ {
		name, value, ok := strings.Cut(kv, "=")
		if !ok || !strings.HasPrefix(name, envPrefix) {
			continue
		}
		f, found := flagOf[name]
		switch {
		case !found:
			log.Warn("unrecognized environment variable",
				zap.String("environment-variable", kv))
		case f == nil:
		case given[name]:
			return terminal.Failf(terminal.ExitError, "conflicting environment variable %q is "+
				"shadowed by command-line flag --%s (either unset environment variable or "+
				"disable flag)", name, f.Name)
		case value != "":
			if err := fs.Set(f.Name, value); err != nil {
				return terminal.Failf(terminal.ExitError, "invalid value %q for %s: %w",
					value, name, err)
			}
		}
	}
	return nil
}

// lookupEnv returns the value of a variable of the given environment, "" without one.
func lookupEnv(environ []string, name string) string {
	for _, kv := range environ {
		if k, v, _ := strings.Cut(kv, "="); k == name {
			return v
		}
	}
	return ""
}

// printFlags writes the flags as NAME=value, for --debug.
func printFlags(fs *pflag.FlagSet, w io.Writer) {
	fs.VisitAll(func(f *pflag.Flag) { fmt.Fprintf(w, "%s=%v\n", envName(f.Name), f.Value) })
}
