// SPDX-License-Identifier: Apache-2.0

package build

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/moby/patternmatcher/ignorefile"
	"github.com/tonistiigi/fsutil"
	fstypes "github.com/tonistiigi/fsutil/types"
)

// addedDockerfile is the name of a Dockerfile in the archive that is not part
// of the context. It is constant so that the classic builder's cache holds.
const addedDockerfile = ".dockerfile.fairlead"

// contextArchive is a local context as a tar stream for the classic builder.
type contextArchive struct {
	// dockerfile is the Dockerfile's path in the archive.
	dockerfile string

	r      *io.PipeReader
	cancel context.CancelFunc
	done   chan struct{}

	mu  sync.Mutex
	err error
}

// newContextArchive starts to archive the context. Like BuildKit it gives all
// files to root and honours <Dockerfile>.dockerignore before .dockerignore.
func newContextArchive(ctx context.Context, src *sources) (*contextArchive, error) {
	fs, err := fsutil.NewFS(src.context)
	if err != nil {
		return nil, fmt.Errorf("the build context %s cannot be read: %w", src.context, err)
	}
	ignore, err := readIgnore(src)
	if err != nil {
		return nil, err
	}
	patterns, err := ignorefile.ReadAll(bytes.NewReader(ignore))
	if err != nil {
		return nil, fmt.Errorf("the ignore file of the build context is not valid: %w", err)
	}
	a := &contextArchive{done: make(chan struct{})}
	var added []memFS
	if rel, inside := src.dockerfileInContext(); inside {
		a.dockerfile = filepath.ToSlash(rel)
		// The engine reads both before it leaves them out itself.
		patterns = append(patterns, "!"+a.dockerfile, "!"+ignoreFile)
	} else {
		data := []byte(src.inline)
		if src.inline == "" {
			if data, err = os.ReadFile(filepath.Join(src.dockerfileDir, src.dockerfile)); err != nil {
				return nil, fmt.Errorf("the Dockerfile cannot be read: %w", err)
			}
		}
		a.dockerfile = addedDockerfile
		if ignore, err = os.ReadFile(filepath.Join(src.context, ignoreFile)); errors.Is(err, os.ErrNotExist) {
			ignore = []byte(ignoreFile)
		} else if err != nil {
			return nil, fmt.Errorf("%s of the build context cannot be read: %w", ignoreFile, err)
		}
		// The engine drops the added file from the context because it is ignored.
		added = []memFS{
			{name: addedDockerfile, data: data},
			{name: ignoreFile, data: append(bytes.TrimRight(ignore, "\n"), "\n"+addedDockerfile+"\n"...)},
		}
		patterns = append(patterns, addedDockerfile, ignoreFile)
	}
	filtered, err := fsutil.NewFilterFS(fs, &fsutil.FilterOpt{ExcludePatterns: patterns, Map: func(_ string, st *fstypes.Stat) fsutil.MapResult {
		st.Uid, st.Gid = 0, 0
		if os.FileMode(st.Mode)&os.ModeSocket != 0 {
			return fsutil.MapResultExclude
		}
		return fsutil.MapResultKeep
	}})
	if err != nil {
		return nil, fmt.Errorf("the ignore file of the build context is not valid: %w", err)
	}
	ctx, a.cancel = context.WithCancel(ctx)
	r, w := io.Pipe()
	a.r = r
	go func() {
		defer close(a.done)
		err := writeArchive(ctx, w, filtered, added)
		if err != nil && ctx.Err() == nil && !errors.Is(err, io.ErrClosedPipe) {
			a.mu.Lock()
			a.err = err
			a.mu.Unlock()
		}
		_ = w.CloseWithError(err)
	}()
	return a, nil
}

// Read reads the archive.
func (a *contextArchive) Read(p []byte) (int, error) { return a.r.Read(p) }

// Close stops archiving and waits until it has stopped.
func (a *contextArchive) Close() error {
	a.cancel()
	err := a.r.Close()
	<-a.done
	return err
}

// failure returns what went wrong with reading the context, if anything.
func (a *contextArchive) failure() error {
	if a == nil {
		return nil
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.err
}

// writeArchive writes the added files and then the context.
func writeArchive(ctx context.Context, w io.Writer, fs fsutil.FS, added []memFS) error {
	if len(added) > 0 {
		tw := tar.NewWriter(w)
		for _, f := range added {
			if err := tw.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: f.name, Mode: 0o644, Size: int64(len(f.data))}); err != nil {
				return err
			}
			if _, err := tw.Write(f.data); err != nil {
				return err
			}
		}
		if err := tw.Flush(); err != nil { // not Close: the archive goes on
			return err
		}
	}
	return fsutil.WriteTar(ctx, fs, w)
}

// readIgnore returns the ignore file that counts, empty when there is none.
func readIgnore(src *sources) ([]byte, error) {
	paths := []string{filepath.Join(src.context, ignoreFile)}
	if src.dockerfileDir != "" {
		paths = append([]string{filepath.Join(src.dockerfileDir, src.dockerfile+ignoreFile)}, paths...)
	}
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err == nil {
			return data, nil
		}
		if !errors.Is(err, os.ErrNotExist) {
			return nil, fmt.Errorf("the ignore file of the build context cannot be read: %w", err)
		}
	}
	return nil, nil
}

// dockerfileInContext returns the Dockerfile's path relative to the context,
// and whether it lies inside.
func (src *sources) dockerfileInContext() (string, bool) {
	if src.inline != "" {
		return "", false
	}
	rel, err := filepath.Rel(src.context, filepath.Join(src.dockerfileDir, src.dockerfile))
	if err != nil || !filepath.IsLocal(rel) || strings.HasPrefix(rel, "..") {
		return "", false
	}
	return rel, true
}
