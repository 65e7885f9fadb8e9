package config

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"math"
	"path"
	"slices"
	"strings"

	"github.com/cairnkv/cairn/internal/version"
	"github.com/cairnkv/cairn/vfs"
)

// Exit is returned by Parse when the program has to end without a start: help, the version, or a
// command line that cannot be read. The caller prints both texts and exits with Code.
type Exit struct {
	Code           int // 0 for help and version, 2 for a wrong flag, as etcd
	Stdout, Stderr string
}

func (e *Exit) Error() string {
	return strings.TrimSpace(fmt.Sprintf("exit %d: %s", e.Code, e.Stderr))
}

// ShadowedError says that a variable and a flag set the same option.
type ShadowedError struct{ Variable string }

func (e *ShadowedError) Error() string {
	return "conflicting environment variable is shadowed by corresponding command-line flag " +
		"(either unset environment variable or disable flag)): " + e.Variable
}

// parser is the state of one Parse.
type parser struct {
	program  string
	fs       vfs.FS
	table    *table
	cfg      *Config
	set      map[string]bool   // options given by flag, variable or file
	idle     map[string]string // values of options without a field
	unknown  int               // keys of the file that are none
	warned   map[string]bool
	warnings []Warning
	wantVer  bool
}

// Parse reads the command line (without the program's name) and the environment (as os.Environ
// gives it). program is the name the program was called by: "etcd" makes the default data directory
// ${name}.etcd. Warnings come with an error, too: log both. The error is an *Exit if the program
// shall end at once; any other means a wrong configuration: log it and exit with 1.
func Parse(program string, args, env []string) (*Config, []Warning, error) {
	return parseOn(vfs.OS(), program, args, env)
}

func parseOn(fs vfs.FS, program string, args, env []string) (*Config, []Warning, error) {
	p := &parser{
		program: strings.TrimSuffix(path.Base(strings.ReplaceAll(program, `\`, "/")), ".exe"),
		fs:      fs, table: newTable(),
		set: map[string]bool{}, idle: map[string]string{}, warned: map[string]bool{},
	}
	var err error
	if p.cfg, err = defaults(p.table); err != nil {
		return nil, nil, err
	}
	if err := p.run(args, env); err != nil {
		return nil, p.warnings, err
	}
	return p.cfg, p.warnings, nil
}

// defaults fills a Config from the table.
func defaults(t *table) (*Config, error) {
	c := &Config{}
	for _, o := range t.rows {
		if o.field == nil || o.def == "" {
			continue
		}
		if err := assign(o.field(c), o.def); err != nil {
			return nil, fmt.Errorf("default of --%s: %w", o.name, err)
		}
	}
	return c, nil
}

func (p *parser) run(args, env []string) error {
	if err := p.flags(args); err != nil {
		return err
	}
	environment := splitEnv(env)
	if p.cfg.ConfigFile == "" {
		p.cfg.ConfigFile = environment["ETCD_CONFIG_FILE"]
	}
	if name := p.cfg.ConfigFile; name != "" {
		if err := p.file(name); err != nil {
			return fmt.Errorf("configuration file %s: %w", name, err)
		}
		p.warn(slog.LevelInfo, "loaded server configuration, other configuration command line "+
			"flags and environment variables will be ignored if provided",
			slog.String("path", name))
	} else if err := p.environment(env, environment); err != nil {
		return err
	}
	p.complete()
	if err := p.validateIdle(); err != nil {
		return err
	}
	return p.cfg.validate()
}

// flags reads the command line. Go's flag package gives etcd's syntax and its error texts.
func (p *parser) flags(args []string) error {
	var out bytes.Buffer
	fs := flag.NewFlagSet("etcd", flag.ContinueOnError)
	fs.SetOutput(&out)
	fs.Usage = func() { out.WriteString(p.usage()) }
	for _, o := range p.table.rows {
		if o.name != "help" {
			fs.Var(&flagValue{p, o}, o.name, o.help)
		}
	}
	err := fs.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return &Exit{Code: 0, Stdout: p.usage() + p.help()}
	case err != nil:
		return &Exit{Code: 2, Stderr: p.suggest(err.Error()) + "\n" + p.usage()}
	case fs.NArg() > 0:
		return fmt.Errorf("%q is not a valid flag", fs.Arg(0))
	case p.wantVer:
		return &Exit{Code: 0, Stdout: version.Text()}
	}
	return nil
}

// flagValue connects a row with Go's flag package.
type flagValue struct {
	p *parser
	o *option
}

func (v *flagValue) String() string   { return "" }
func (v *flagValue) IsBoolFlag() bool { return v.o.isBool() }

func (v *flagValue) Set(s string) error {
	if v.o.name == "version" {
		return assign(&v.p.wantVer, s)
	}
	return v.p.apply(v.o, s, fromFlag)
}

// Where a value came from, for messages.
const (
	fromFlag = "flag"
	fromEnv  = "environment variable"
	fromFile = "configuration key"
)

// apply stores one value and notes what has to be said about the option, once.
func (p *parser) apply(o *option, s, from string) error {
	if o.effect == renamed {
		p.once(o, slog.LevelWarn, from+" has a new name", slog.String("name", o.name),
			slog.String("use", o.alias))
		return p.apply(p.table.byName[o.alias], s, from)
	}
	if o.effect == ignored {
		p.once(o, slog.LevelWarn, "flag is no longer supported - ignoring",
			slog.String("flag-name", o.name))
		return nil
	}
	if err := o.check(s); err != nil {
		return err
	}
	p.set[o.name] = true
	switch {
	case o.deprec != "":
		p.once(o, slog.LevelWarn, o.deprec)
	case o.effect == later && (from != fromFile || s != o.def): // files spell out defaults
		p.once(o, slog.LevelWarn, from+" is accepted and has no effect yet",
			slog.String("name", o.name))
	}
	if o.field == nil {
		p.idle[o.name] = s
		return nil
	}
	return assign(o.field(p.cfg), s)
}

// check says whether s is a value of the option, without storing it.
func (o *option) check(s string) error {
	if len(o.valid) > 0 && !slices.Contains(o.valid, s) {
		if o.name == "v2-deprecation" { // a list in etcd, which names the word
			return fmt.Errorf("invalid value %q", s)
		}
		return errInvalid
	}
	if o.name == "cors" {
		return parseCORS(s)
	}
	if o.field == nil {
		return check(o.kind, s)
	}
	return nil
}

func (p *parser) warn(level slog.Level, msg string, attrs ...slog.Attr) {
	p.warnings = append(p.warnings, Warning{level, msg, attrs})
}

// once is warn, the first time for an option.
func (p *parser) once(o *option, level slog.Level, msg string, attrs ...slog.Attr) {
	if !p.warned[o.name] {
		p.warned[o.name] = true
		p.warn(level, msg, attrs...)
	}
}

// complete derives what was not given from what was.
func (p *parser) complete() {
	c := p.cfg
	c.Set = p.set
	if c.DataDir == "" {
		suffix := ".cairn"
		if p.program == "etcd" {
			suffix = ".etcd"
		}
		c.DataDir = c.Name + suffix
		p.warn(slog.LevelWarn, "'data-dir' was empty; using default",
			slog.String("data-dir", c.DataDir))
	}
	if !p.set["initial-cluster"] || c.InitialCluster == "" {
		c.InitialCluster = c.clusterOfOne()
	}
	if c.ConfigFile == "" && p.set["listen-client-urls"] && !p.set["advertise-client-urls"] {
		c.AdvertiseClientURLs = nil
	}
	c.zeroesToDefaults()
	if len(c.Log.Outputs) == 0 {
		c.Log.Outputs = []string{"default"}
	}
	p.completeTLS()
	for _, name := range c.Gates.idle() {
		p.warn(slog.LevelWarn, "feature gate is accepted and has no effect yet",
			slog.String("name", name))
	}
}

// clusterOfOne is --initial-cluster when it is not given: this member as it advertises itself.
// (etcd does so only if --name is given, and stops otherwise: "forgot to set --initial-cluster?".)
func (c *Config) clusterOfOne() string {
	var out []string
	for _, u := range c.AdvertisePeerURLs.Strings() {
		out = append(out, c.Name+"="+u)
	}
	return strings.Join(out, ",")
}

// zeroesToDefaults replaces the zeroes that etcd reads as "the default" or "no limit".
func (c *Config) zeroesToDefaults() {
	if c.SnapshotCount == 0 {
		c.SnapshotCount = defaultSnapshotCount
	}
	if c.SnapshotCatchUpEntries == 0 {
		c.SnapshotCatchUpEntries = defaultCatchUpEntries
	}
	if c.MaxConcurrentStreams == 0 {
		c.MaxConcurrentStreams = math.MaxUint32
	}
	if c.WarningUnaryRequest == 0 {
		c.WarningUnaryRequest = defaultWarningUnary
	}
}
