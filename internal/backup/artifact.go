// SPDX-License-Identifier: Apache-2.0

package backup

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"hash"
	"io"
	"path/filepath"

	"github.com/klauspost/compress/gzip"
)

const (
	// spaceInterval is how many bytes are written between two looks at the free space.
	spaceInterval = 8 << 20
	// progressInterval is how many bytes of data lie between two reports.
	progressInterval = 4 << 20
)

// Progress is reported while a backup is made.
type Progress struct {
	// Artifact that is being made, the Index-th (from 1) of Total.
	Artifact     string
	Index, Total int
	// Bytes of data that were read so far, Written to the file.
	Bytes, Written int64
	// Done says that the artifact is complete and verified.
	Done bool
}

// artifactWriter turns a stream of data into one file of a backup:
// compression, checksum, sizes, free space, progress. Its Write ends with the context.
type artifactWriter struct {
	ctx      context.Context
	space    func() error
	progress func(raw, written int64)

	file    syncFile
	zip     *gzip.Writer
	sum     hash.Hash
	raw     int64
	written int64
	err     error // first error; a stream that goes on is still refused

	nextSpace, nextProgress int64
}

// newArtifactWriter makes the file. gzip at its fastest level is used because
// every administrator has a tool for it; the time goes into reading.
func newArtifactWriter(ctx context.Context, fsys filesystem, dir, file string, space func() error, progress func(raw, written int64)) (*artifactWriter, error) {
	f, err := fsys.Create(filepath.Join(dir, file))
	if err != nil {
		return nil, err
	}
	w := &artifactWriter{ctx: ctx, space: space, progress: progress, file: f, sum: sha256.New()}
	w.zip, err = gzip.NewWriterLevel((*compressed)(w), gzip.BestSpeed)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return w, nil
}

// Write takes uncompressed data.
func (w *artifactWriter) Write(p []byte) (int, error) {
	if w.err == nil {
		w.err = w.ctx.Err()
	}
	if w.err != nil {
		return 0, w.err
	}
	n, err := w.zip.Write(p)
	w.raw += int64(n)
	if err != nil {
		w.err = err
		return n, err
	}
	if w.raw >= w.nextProgress {
		w.nextProgress = w.raw + progressInterval
		w.progress(w.raw, w.written)
	}
	return n, nil
}

// compressed is the artifactWriter as the target of the compression.
type compressed artifactWriter

func (w *compressed) Write(p []byte) (int, error) {
	if w.written >= w.nextSpace {
		if err := w.space(); err != nil {
			return 0, err
		}
		w.nextSpace = w.written + spaceInterval
	}
	n, err := w.file.Write(p)
	w.sum.Write(p[:n])
	w.written += int64(n)
	return n, err
}

// finish completes the file and makes it durable, or just closes it when err
// says that the data is not whole. It returns the first error of all.
func (w *artifactWriter) finish(err error) error {
	if w.err != nil {
		err = w.err
	}
	if err == nil {
		err = w.zip.Close()
	}
	if err == nil {
		err = w.file.Sync()
	}
	closeErr := w.file.Close()
	if err == nil {
		err = closeErr
	}
	w.err = err
	return err
}

func (w *artifactWriter) sha256() string { return hex.EncodeToString(w.sum.Sum(nil)) }

// contextReader makes reading a file end with the context.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (r contextReader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.r.Read(p)
}
