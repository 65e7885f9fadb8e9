package config

import (
	"fmt"
	"log/slog"
	"strings"
)

// splitEnv turns "NAME=value" lines into a map; of a name that stands there twice the first wins,
// as in a process.
func splitEnv(env []string) map[string]string {
	out := make(map[string]string, len(env))
	for _, line := range env {
		name, value, _ := strings.Cut(line, "=")
		if _, twice := out[name]; !twice {
			out[name] = value
		}
	}
	return out
}

// environment applies ETCD_ variables. The order is the table's; an empty variable is none.
func (p *parser) environment(lines []string, env map[string]string) error {
	if v := env["ETCD_VERSION"]; v != "" {
		p.warn(slog.LevelWarn, "cannot set special environment variable",
			slog.String("key", "ETCD_VERSION"), slog.String("value", v))
	}
	byFlag := map[string]bool{}
	for name := range p.set {
		byFlag[p.table.byName[name].env()] = true
	}
	used := map[string]bool{"ETCD_VERSION": true}
	for _, o := range p.table.rows {
		value := env[o.env()]
		if byFlag[o.env()] || o.name == "version" || o.name == "help" {
			continue
		}
		used[o.env()] = true
		if value == "" {
			continue
		}
		if err := p.apply(o, value, fromEnv); err != nil {
			return fmt.Errorf("invalid value %q for %s: %w", value, o.env(), err)
		}
		if o.secret {
			value = "***"
		}
		p.warn(slog.LevelInfo, "recognized and used environment variable",
			slog.String("variable-name", o.env()), slog.String("variable-value", value))
	}
	for _, line := range lines {
		name, _, _ := strings.Cut(line, "=")
		switch {
		case used[name]:
		case byFlag[name]:
			return &ShadowedError{name}
		case strings.HasPrefix(name, envPrefix):
			p.warn(slog.LevelWarn, "unrecognized environment variable",
				slog.String("environment-variable", line))
		}
	}
	return nil
}
