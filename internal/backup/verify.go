// SPDX-License-Identifier: Apache-2.0

package backup

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/klauspost/compress/gzip"
)

// Verify reads a whole backup from the disk: the checksum and size of every file,
// its compression, and its archive or dump up to the end. Damage is ErrCorrupt.
func Verify(ctx context.Context, dir, id string) error {
	m, err := Open(dir, id)
	if err != nil {
		return err
	}
	for _, a := range m.Artifacts {
		if err := verifyArtifact(ctx, filepath.Join(dir, id), a); err != nil {
			return fmt.Errorf("%s: %s: %w", id, a.Name, err)
		}
	}
	return nil
}

func verifyArtifact(ctx context.Context, dir string, a Artifact) error {
	f, err := os.Open(filepath.Join(dir, a.File))
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	err = verifyStream(contextReader{ctx, f}, a)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	var pathErr *os.PathError
	if err == nil || errors.As(err, &pathErr) { // reading itself failed
		return err
	}
	return fmt.Errorf("%w: %s: %w", ErrCorrupt, a.File, err)
}

func verifyStream(file io.Reader, a Artifact) error {
	sum := sha256.New()
	stored := &countingReader{r: io.TeeReader(file, sum)}
	zip, err := gzip.NewReader(bufio.NewReaderSize(stored, 128<<10))
	if err != nil {
		return fmt.Errorf("not compressed with gzip: %w", err)
	}
	data := &countingReader{r: zip}
	switch a.Format {
	case FormatTar:
		entries, err := scanTar(data)
		if err != nil {
			return err
		}
		if entries != a.Entries {
			return fmt.Errorf("the archive has %d entries instead of %d", entries, a.Entries)
		}
	case FormatSQL:
		scanner := newDumpScanner()
		if _, err := io.Copy(scanner, data); err != nil {
			return err
		}
		if err := scanner.check(a.Databases); err != nil {
			return err
		}
	default:
		return fmt.Errorf("unknown format %q", a.Format)
	}
	if data.n != a.UncompressedBytes {
		return fmt.Errorf("%d bytes of data instead of %d", data.n, a.UncompressedBytes)
	}
	if _, err := io.Copy(io.Discard, stored); err != nil {
		return err
	}
	if stored.n != a.Bytes {
		return fmt.Errorf("%d bytes instead of %d", stored.n, a.Bytes)
	}
	if got := hex.EncodeToString(sum.Sum(nil)); got != a.SHA256 {
		return fmt.Errorf("SHA-256 is %s instead of %s", got, a.SHA256)
	}
	return nil
}
