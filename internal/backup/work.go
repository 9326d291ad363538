// SPDX-License-Identifier: Apache-2.0

package backup

import (
	"context"
	"errors"
	"path/filepath"

	"github.com/go-logr/logr"
)

// work makes one artifact.
type work struct {
	runner   *Runner
	partial  string
	planned  Planned
	source   source
	estimate int64
	report   func(Progress)
}

// artifact writes the file and reads it back. A torn archive is tried again,
// in the end with the writers paused.
func (w *work) artifact(ctx context.Context) (*Artifact, error) {
	log := logr.FromContextOrDiscard(ctx).WithName("backup").WithValues("artifact", w.planned.Name)
	var (
		torn *TornError
		err  error
	)
	for range copies {
		var a *Artifact
		a, err = w.copy(ctx)
		if err == nil {
			return w.verified(ctx, a)
		}
		if ctx.Err() != nil || !errors.As(err, &torn) {
			return nil, err
		}
		log.Info("the copy is torn, as files changed meanwhile; copying again", "error", err.Error())
	}
	if len(w.planned.Writers) == 0 {
		return nil, err
	}
	log.Info("pausing the containers that write", "containers", w.planned.Writers)
	var a *Artifact
	err = w.runner.whilePaused(ctx, w.partial, w.planned.Writers, func() (err error) {
		a, err = w.copy(ctx)
		return err
	})
	if err != nil {
		return nil, err
	}
	a.Notes = append(a.Notes, "the containers that write were paused during the copy, as files changed too fast")
	return w.verified(ctx, a)
}

// verified reads the file back.
func (w *work) verified(ctx context.Context, a *Artifact) (*Artifact, error) {
	if err := verifyArtifact(ctx, w.partial, *a); err != nil {
		return nil, err
	}
	w.report(Progress{Bytes: a.UncompressedBytes, Written: a.Bytes, Done: true})
	return a, nil
}

func (w *work) copy(ctx context.Context) (*Artifact, error) {
	p := w.planned
	a := &Artifact{
		Name: p.Name, Kind: p.Kind, Format: FormatTar, File: p.Name + ".tar.gz", Service: p.Service, Volume: p.Volume, Path: p.Path,
		Excluded: p.Exclude, Reason: p.Reason,
	}
	if p.Kind == KindPostgreSQL {
		a.Format, a.File = FormatSQL, p.Name+".sql.gz"
	}
	report := func(raw, written int64) { w.report(Progress{Bytes: raw, Written: written}) }
	space := func() error { return w.runner.checkSpace(filepath.Dir(w.partial), 0, w.estimate) }
	out, err := newArtifactWriter(ctx, w.runner.fs(), w.partial, a.File, space, report)
	if err != nil {
		return nil, err
	}
	c, err := w.source.write(ctx, out)
	if err := out.finish(err); err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, err
	}
	a.Bytes, a.UncompressedBytes, a.SHA256 = out.written, out.raw, out.sha256()
	a.Entries, a.Tool, a.Databases, a.Files, a.Notes = c.entries, c.tool, c.databases, c.files, c.notes
	return a, nil
}
