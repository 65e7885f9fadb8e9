package vfs

// Fallback is the system's files with all that stands in where a system lacks something: zeros
// for reserved blocks, a copy for a mapping.
func Fallback() FS { return fallbackFS{osFS{}} }

type fallbackFS struct{ osFS }

type fallbackFile struct{ *osFile }

func (o fallbackFS) Create(name string) (File, error) { return fallback(o.osFS.Create(name)) }

func (o fallbackFS) Open(name string) (File, error) { return fallback(o.osFS.Open(name)) }

func (o fallbackFS) OpenReadWrite(name string) (File, error) {
	return fallback(o.osFS.OpenReadWrite(name))
}

func fallback(f File, err error) (File, error) {
	if err != nil {
		return nil, err
	}
	return fallbackFile{f.(*osFile)}, nil
}

func (f fallbackFile) Allocate(size int64) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return wrap("allocate", f.name, writeZeros(f.f, size))
}

func (f fallbackFile) Map(size int64) (Mapping, error) {
	if length, err := f.Size(); err != nil || size < 0 || size > length {
		return f.osFile.Map(size)
	}
	m, err := f.mapCopy(size)
	return m, wrap("map", f.name, err)
}
