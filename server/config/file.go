package config

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/cairnkv/cairn/vfs"
)

// maxFileBytes bounds a configuration file: a mistyped path must not fill the memory.
const maxFileBytes = 1 << 20

// sections are the keys of the file that hold further keys.
var sections = []string{"client-transport-security", "peer-transport-security", "socket-options"}

// file reads a configuration in YAML (JSON is a part of it). The file alone counts: what flags gave
// is forgotten, warnings about it too.
func (p *parser) file(name string) error {
	text, err := ReadFile(p.fs, name, maxFileBytes)
	if err != nil {
		return err
	}
	if p.cfg, err = defaults(p.table); err != nil {
		return err
	}
	p.set, p.warned, p.warnings = map[string]bool{}, map[string]bool{}, nil
	p.cfg.ConfigFile = name
	var doc yaml.Node
	if err := yaml.Unmarshal(text, &doc); err != nil {
		return fmt.Errorf("not YAML or JSON: %w", err)
	}
	if doc.Kind == 0 || len(doc.Content) == 0 {
		return nil // an empty file: the defaults
	}
	return p.mapping(p.fileKeys(), "", doc.Content[0])
}

// ReadFile reads a file of the operator's whole; one of more than maxBytes is refused.
func ReadFile(fs vfs.FS, name string, maxBytes int64) ([]byte, error) {
	f, err := fs.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return nil, err
	}
	if size > maxBytes {
		return nil, fmt.Errorf("%s has %d bytes, more than the %d that such a file may have",
			name, size, maxBytes)
	}
	text := make([]byte, size)
	if _, err := f.ReadAt(text, 0); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	return text, nil
}

// fileKeys maps the keys of the file to options.
func (p *parser) fileKeys() map[string]*option {
	keys := map[string]*option{}
	for _, o := range p.table.rows {
		if o.fileKey() != "-" {
			keys[o.fileKey()] = o
		}
	}
	delete(keys, "config-file")
	return keys
}

// mapping applies the keys of one level. A key that nobody knows is a warning: etcd reads past it.
func (p *parser) mapping(keys map[string]*option, prefix string, node *yaml.Node) error {
	if node.Kind == yaml.AliasNode {
		node = node.Alias
	}
	if isNull(node) {
		return nil
	}
	if node.Kind != yaml.MappingNode {
		return fmt.Errorf("line %d: want keys and values", node.Line)
	}
	for i := 0; i+1 < len(node.Content); i += 2 {
		key, value := prefix+node.Content[i].Value, node.Content[i+1]
		if err := p.entry(keys, key, value); err != nil {
			return fmt.Errorf("line %d: %s: %w", value.Line, key, err)
		}
	}
	return nil
}

func (p *parser) entry(keys map[string]*option, key string, value *yaml.Node) error {
	for _, s := range sections {
		if key == s {
			return p.mapping(keys, key+".", value)
		}
	}
	o, ok := keys[key]
	if !ok {
		p.warn(slog.LevelWarn, "unknown key in the configuration file has no effect",
			slog.String("key", key), slog.String("nearest", nearest(key, names(keys))))
		return nil
	}
	if isNull(value) {
		return nil
	}
	s, err := scalar(value)
	if err != nil {
		return err
	}
	if s, err = o.fromFile(s); err != nil {
		return err
	}
	if s == "" && o.kind != text {
		return nil
	}
	if o.name == "discovery-fallback" { // etcd does not check the word in a file
		s = o.def
	}
	if err := p.apply(o, s, fromFile); err != nil {
		return fmt.Errorf("invalid value %q: %w", s, err)
	}
	return nil
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.Tag == "!!null" }

// scalar turns a value into what one would write on the command line.
func scalar(n *yaml.Node) (string, error) {
	switch n.Kind {
	case yaml.ScalarNode:
		return n.Value, nil
	case yaml.AliasNode:
		return scalar(n.Alias)
	case yaml.SequenceNode:
		var parts []string
		for _, c := range n.Content {
			s, err := scalar(c)
			if err != nil {
				return "", err
			}
			parts = append(parts, s)
		}
		return strings.Join(parts, ","), nil
	}
	return "", errors.New("want a value or a list, not keys")
}

// fromFile translates a number of nanoseconds, which is how etcd's file has durations.
func (o *option) fromFile(s string) (string, error) {
	isDuration := o.kind == duration
	if o.field != nil {
		_, isDuration = o.field(&Config{}).(*time.Duration)
	}
	if !isDuration {
		return s, nil
	}
	if ns, err := strconv.ParseInt(s, 10, 64); err == nil {
		return time.Duration(ns).String(), nil
	}
	if _, err := time.ParseDuration(s); err != nil {
		return "", fmt.Errorf("%q is no duration: write nanoseconds (600000000000) or text (10m)",
			s)
	}
	return s, nil
}
