package bench

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	load "github.com/cairnkv/cairn/bench"
	"github.com/cairnkv/cairn/cli/internal/terminal"
)

// flags are the global flags that are no options of a run by themselves.
type flags struct {
	user, password    string
	cert, key, caCert string
	skipVerify        bool
	precise           bool
	writeOut          string
}

// register declares the global flags.
func (a *app) register(root *cobra.Command) {
	fs := root.PersistentFlags()
	o, f := &a.options, &a.flags
	fs.StringSliceVar(&o.Endpoints, "endpoints", []string{"127.0.0.1:2379"}, "gRPC endpoints; "+
		"connections are made to them in turn")
	fs.IntVar(&o.Conns, "conns", 1, "number of connections")
	fs.IntVar(&o.Clients, "clients", 1, "number of clients, each with one operation under way")
	fs.DurationVar(&o.DialTimeout, "dial-timeout", load.DefaultDialTimeout,
		"timeout for making a connection")
	fs.Uint64Var(&o.Seed, "seed", 0, "seed of all that is random (0: another one each time)")
	fs.IntSliceVar(&o.ServerPIDs, "server-pid", nil,
		"processes of this machine whose processor time is measured, too (Linux)")
	fs.StringVar(&f.user, "user", "", "username:password for authentication")
	fs.StringVar(&f.password, "password", "", "password, if --user has none")
	fs.StringVar(&f.cert, "cert", "", "identify secure client using this TLS certificate file")
	fs.StringVar(&f.key, "key", "", "identify secure client using this TLS key file")
	fs.StringVar(&f.caCert, "cacert", "",
		"verify certificates of TLS-enabled secure servers using this CA bundle")
	fs.BoolVar(&f.skipVerify, "insecure-skip-tls-verify", false,
		"skip server certificate verification (CAUTION: this option should be enabled only for "+
			"testing purposes)")
	fs.BoolVar(&f.precise, "precise", false, "show all digits")
	fs.StringVarP(&f.writeOut, "write-out", "w", "human", "output format (human, json, csv)")
	err := root.RegisterFlagCompletionFunc("write-out", cobra.FixedCompletions(
		[]string{"human", "json", "csv"}, cobra.ShellCompDirectiveNoFileComp))
	if err != nil {
		panic(err) // the flag was declared a line above
	}
}

// complete makes the options of a run.
func (a *app) complete(l load.Load) (load.Options, error) {
	o := a.options
	o.Load = l
	for i, e := range o.Endpoints {
		o.Endpoints[i] = strings.TrimSpace(e)
	}
	if a.flags.user != "" {
		name, password, ok := strings.Cut(a.flags.user, ":")
		if !ok {
			password = a.flags.password
		}
		if password == "" {
			return o, terminal.Failf(terminal.ExitBadArgs, "--user=%s has no password", name)
		}
		o.User, o.Password = name, password
	}
	var err error
	if o.TLS, err = a.flags.tls(); err != nil {
		return o, terminal.Fail(terminal.ExitBadArgs, err)
	}
	secure := a.flags.caCert != "" || a.flags.cert != "" || a.flags.skipVerify
	for i, e := range o.Endpoints {
		// As with etcd's tools: files for TLS make an endpoint without a scheme a secure one.
		if secure && !strings.Contains(e, "://") {
			o.Endpoints[i] = "https://" + e
		}
	}
	return o, nil
}

// tls makes what the flags say of TLS.
func (f *flags) tls() (*tls.Config, error) {
	cfg := &tls.Config{InsecureSkipVerify: f.skipVerify}
	if f.caCert != "" {
		pem, err := os.ReadFile(f.caCert)
		if err != nil {
			return nil, err
		}
		cfg.RootCAs = x509.NewCertPool()
		if !cfg.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s has no certificate", f.caCert)
		}
	}
	if (f.cert == "") != (f.key == "") {
		return nil, errors.New("--cert and --key belong together")
	}
	if f.cert != "" {
		pair, err := tls.LoadX509KeyPair(f.cert, f.key)
		if err != nil {
			return nil, err
		}
		cfg.Certificates = []tls.Certificate{pair}
	}
	return cfg, nil
}
