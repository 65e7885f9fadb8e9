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
	p.set, p.idle = map[string]bool{}, map[string]string{}
	p.warned, p.warnings = map[string]bool{}, nil
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
	node = resolve(node)
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
		p.unknownKey(keys, key)
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

// Bounds on what is said about unknown keys.
const (
	maxUnknownKeys = 50
	maxKeyBytes    = 100
)

// unknownKey warns of a key; of the first maxUnknownKeys one by one.
func (p *parser) unknownKey(keys map[string]*option, key string) {
	p.unknown++
	switch {
	case p.unknown == maxUnknownKeys:
		p.warn(slog.LevelWarn, "further unknown keys in the configuration file have no effect")
	case p.unknown < maxUnknownKeys:
		key = key[:min(len(key), maxKeyBytes)]
		p.warn(slog.LevelWarn, "unknown key in the configuration file has no effect",
			slog.String("key", key), slog.String("nearest", nearest(key, names(keys))))
	}
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.Tag == "!!null" }

// resolve follows an alias; yaml has no alias of an alias.
func resolve(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode {
		return n.Alias
	}
	return n
}

// scalar turns a value, or a list of values, into what one would write on the command line.
// Aliases may contain themselves or stand for much more than the file shows: lists do not nest, and
// are bounded.
func scalar(n *yaml.Node) (string, error) {
	n = resolve(n)
	switch n.Kind {
	case yaml.ScalarNode:
		return n.Value, nil
	case yaml.SequenceNode:
		var list strings.Builder
		for i, c := range n.Content {
			c = resolve(c)
			if c.Kind != yaml.ScalarNode {
				return "", errors.New("want a list of values, not of lists or keys")
			}
			if i > 0 {
				list.WriteByte(',')
			}
			if list.WriteString(c.Value); list.Len() > maxFileBytes {
				return "", fmt.Errorf("the list has more than %d bytes", maxFileBytes)
			}
		}
		return list.String(), nil
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
