// SPDX-License-Identifier: Apache-2.0

package boxes

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/fairlead-dev/fairlead/internal/atomicfile"
	"github.com/fairlead-dev/fairlead/internal/gateway/gatewayapi"
)

const (
	// programPrefix begins the names of programs in directories; the first digits of the digest
	// follow.
	programPrefix = "fairlead-"
	// replaceTimeout is how long a gateway may take until another program serves in it: somewhat more than the
	// gateway itself gives that.
	replaceTimeout = 45 * time.Second
)

// programDigest is the SHA-256 of the daemon's own program, which is known to run where there is
// nothing else.
func (k *Keeper) programDigest() (string, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.digest != "" {
		return k.digest, nil
	}
	if err := static(k.Program); err != nil {
		return "", err
	}
	file, err := os.Open(k.Program)
	if err != nil {
		return "", err
	}
	defer file.Close()
	h := sha256.New()
	if _, err := io.Copy(h, file); err != nil {
		return "", fmt.Errorf("read the daemon's own program: %w", err)
	}
	k.digest = hex.EncodeToString(h.Sum(nil))
	return k.digest, nil
}

// own locks what is done with the program of one gateway.
func (k *Keeper) own(name string) (unlock func()) {
	k.mu.Lock()
	if k.locks == nil {
		k.locks = map[string]*sync.Mutex{}
	}
	if k.locks[name] == nil {
		k.locks[name] = &sync.Mutex{}
	}
	lock := k.locks[name]
	k.mu.Unlock()
	lock.Lock()
	return lock.Unlock
}

// Refresh has a gateway that runs go on with the daemon's own program, if it runs
// another one, without a connection being refused or a request being lost. It reports whether it
// had to. An error says that the gateway goes on as it was.
func (k *Keeper) Refresh(ctx context.Context, b Box) (replaced bool, err error) {
	if k.Dir == "" {
		return false, nil // only the daemon keeps gateways
	}
	digest, err := k.programDigest()
	if err != nil {
		return false, err
	}
	defer k.own(b.Name)()
	ctx, cancel := context.WithTimeout(ctx, replaceTimeout)
	defer cancel()
	c := k.Client(b.Name)
	seen, err := c.Observed(ctx)
	if err != nil {
		return false, err
	}
	if current(seen.Program, b.Image, digest) {
		return false, nil
	}
	file, err := k.putProgram(b.Name, digest)
	if err != nil {
		return false, fmt.Errorf("put the daemon's program where the gateway %s finds it: %w", b.Name, err)
	}
	if err := c.Replace(ctx, gatewayapi.Program{File: file, SHA256: digest}); err != nil {
		return false, err
	}
	// What runs is not harmed by its file being removed.
	return true, k.dropPrograms(b.Name, file)
}

// current reports whether a gateway runs a program: accepted is the digest of the one in its directory that
// it runs, or "" if it runs that of its image.
func current(accepted, image, digest string) bool {
	if accepted != "" {
		return accepted == digest
	}
	return image == imageName+":"+digest[:tagLength]
}

// putProgram puts the program into a gateway's directory and returns its name there. All gateways
// have the same file, under several names.
func (k *Keeper) putProgram(name, digest string) (string, error) {
	file := programPrefix + digest[:tagLength]
	path := filepath.Join(k.dir(name), file)
	if _, err := os.Stat(path); err == nil {
		return file, nil // of an attempt before; the gateway looks at its content
	}
	shared := filepath.Join(k.Dir, file)
	if _, err := os.Stat(shared); errors.Is(err, fs.ErrNotExist) {
		err = atomicfile.Write(shared, 0o700, func(w io.Writer) error {
			program, err := os.Open(k.Program)
			if err != nil {
				return err
			}
			defer program.Close()
			_, err = io.Copy(w, program)
			return err
		})
		if err != nil {
			return "", err
		}
		removePrograms(k.Dir, file)
	}
	if err := os.Link(shared, path); err != nil && !errors.Is(err, fs.ErrExist) {
		return "", err
	}
	return file, nil
}

// dropPrograms removes the programs in a gateway's directory but one, and if there is none
// the note that one is to be run.
func (k *Keeper) dropPrograms(name, but string) error {
	if but == "" {
		if err := os.Remove(filepath.Join(k.dir(name), gatewayapi.ProgramName)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	removePrograms(k.dir(name), but)
	return nil
}

// removePrograms removes programs but one; what is left costs room, no more.
func removePrograms(dir, but string) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), programPrefix) && e.Name() != but && e.Type().IsRegular() {
			_ = os.Remove(filepath.Join(dir, e.Name()))
		}
	}
}
