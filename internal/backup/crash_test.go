// SPDX-License-Identifier: Apache-2.0

package backup

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/fairlead-dev/fairlead/internal/failure"
)

var errFault = errors.New("injected fault")

// faultyDisk is the real disk until its operation number failAt. That one fails;
// with crash set all later ones do too, as if the process had died.
type faultyDisk struct {
	disk
	failAt int
	crash  bool
	err    error
	ops    int
}

func (d *faultyDisk) fault() error {
	d.ops++
	if d.failAt > 0 && (d.ops == d.failAt || d.crash && d.ops > d.failAt) {
		return d.err
	}
	return nil
}

func (d *faultyDisk) Mkdir(path string, perm os.FileMode) error {
	return cmpErrFunc(d.fault, func() error { return d.disk.Mkdir(path, perm) })
}
func (d *faultyDisk) WriteFile(path string, data []byte) error {
	return cmpErrFunc(d.fault, func() error { return d.disk.WriteFile(path, data) })
}
func (d *faultyDisk) Rename(from, to string) error {
	return cmpErrFunc(d.fault, func() error { return d.disk.Rename(from, to) })
}
func (d *faultyDisk) Remove(path string) error {
	return cmpErrFunc(d.fault, func() error { return d.disk.Remove(path) })
}
func (d *faultyDisk) RemoveAll(path string) error {
	return cmpErrFunc(d.fault, func() error { return d.disk.RemoveAll(path) })
}
func (d *faultyDisk) SyncDir(path string) error {
	return cmpErrFunc(d.fault, func() error { return d.disk.SyncDir(path) })
}
func (d *faultyDisk) Create(path string) (syncFile, error) {
	if err := d.fault(); err != nil {
		return nil, err
	}
	f, err := d.disk.Create(path)
	return faultyFile{f, d}, err
}

type faultyFile struct {
	syncFile
	d *faultyDisk
}

// Write writes half of the data before it fails, as a full disk does.
func (f faultyFile) Write(p []byte) (int, error) {
	if err := f.d.fault(); err != nil {
		n, _ := f.syncFile.Write(p[:len(p)/2])
		return n, err
	}
	return f.syncFile.Write(p)
}
func (f faultyFile) Sync() error { return cmpErrFunc(f.d.fault, f.syncFile.Sync) }
func (f faultyFile) Close() error {
	return errors.Join(f.d.fault(), f.syncFile.Close()) // never leak
}

func cmpErrFunc(fs ...func() error) error {
	for _, f := range fs {
		if err := f(); err != nil {
			return err
		}
	}
	return nil
}

// operations counts what a whole backup does to the disk.
func operations(t *testing.T) int {
	s := newScene(t)
	d := &faultyDisk{}
	s.runner.filesystem = d
	if _, err := s.run(); err != nil {
		t.Fatal(err)
	}
	return d.ops
}

func TestCrashAtEveryOperation(t *testing.T) {
	total := operations(t)
	if total < 20 {
		t.Fatalf("only %d operations", total)
	}
	for n := 1; n <= total; n++ {
		s := newScene(t)
		s.runner.filesystem = &faultyDisk{failAt: n, crash: true, err: errFault}
		if _, err := s.run(); !errors.Is(err, errFault) {
			t.Fatalf("operation %d: got %v", n, err)
		}
		whole, broken, err := List(s.dir)
		if err != nil || len(broken) > 0 {
			t.Errorf("operation %d: after the crash: %v, broken %v", n, err, broken)
		}
		for _, m := range whole {
			if err := Verify(context.Background(), s.dir, m.ID); err != nil {
				t.Errorf("operation %d: a half-made backup is taken for a whole one: %v", n, err)
			}
		}
		s.runner.filesystem = nil
		m, err := s.run()
		if err != nil {
			t.Fatalf("operation %d: the next run: %v", n, err)
		}
		if err := Verify(context.Background(), s.dir, m.ID); err != nil {
			t.Errorf("operation %d: %v", n, err)
		}
		entries, err := os.ReadDir(s.dir)
		if err != nil || len(entries) != 1 || len(s.engine.containers) > 0 {
			t.Errorf("operation %d: left %v, containers %v, %v", n, entries, s.engine.containers, err)
		}
	}
}

func TestFaultAtEveryOperation(t *testing.T) {
	total := operations(t)
	for _, full := range []bool{false, true} {
		for n := 1; n <= total; n++ {
			s := newScene(t)
			fault := errFault
			if full {
				fault = &os.PathError{Op: "write", Path: "x", Err: syscall.ENOSPC}
			}
			d := &faultyDisk{failAt: n, err: fault}
			s.runner.filesystem = d
			_, err := s.run()
			if !errors.Is(err, fault) && !full {
				t.Errorf("operation %d: got %v", n, err)
			}
			var space *NoSpaceError
			if full && (!errors.As(err, &space) || failure.AsTerminal(err) == nil) {
				t.Errorf("operation %d: got %v, want a NoSpaceError", n, err)
			}
			s.nothingLeft()
			must(t, d.disk.RemoveAll(filepath.Dir(s.dir)))
		}
	}
}

// fillingDisk has room for so many bytes.
type fillingDisk struct {
	disk
	free func() int64
}

func (d fillingDisk) Free(string) (int64, error) { return d.free(), nil }

func TestSpace(t *testing.T) {
	s := newScene(t)
	s.runner.Reserve = 1 << 20
	asked := 0
	s.runner.filesystem = fillingDisk{free: func() int64 { asked++; return 1<<20 + 1000 }}
	_, err := s.run()
	var space *NoSpaceError
	if !errors.As(err, &space) || space.Free != 1<<20+1000 || space.Needed < 4000 || asked != 1 {
		t.Errorf("got %v, %+v, asked %d times", err, space, asked)
	}
	s.nothingLeft()

	// Enough at first; then the application itself fills the disk.
	asked = 0
	s.runner.filesystem = fillingDisk{free: func() int64 {
		if asked++; asked > 3 {
			return 1<<20 - 1
		}
		return 1 << 30
	}}
	if _, err = s.run(); !errors.As(err, &space) || failure.AsTerminal(err) == nil {
		t.Errorf("got %v", err)
	}
	s.nothingLeft()
}

func TestEstimateLearnsFromTheLastBackup(t *testing.T) {
	last := &Manifest{Artifacts: []Artifact{{Name: "a", Bytes: 100, UncompressedBytes: 1000}}}
	sources := []source{fixedSource(10000), fixedSource(10000), fixedSource(10000), fixedSource(-1)}
	planned := []Planned{{Name: "a", Kind: KindBind}, {Name: "b", Kind: KindBind}, {Name: "c", Kind: KindPostgreSQL}, {Name: "d", Kind: KindVolume}}
	got, err := (&Runner{}).estimate(context.Background(), planned, sources, last)
	if err != nil || got != 1200+10000+5000 {
		t.Errorf("got %d, %v", got, err)
	}
}

type fixedSource int64

func (s fixedSource) size(context.Context) (int64, bool, error) { return int64(s), s >= 0, nil }
func (s fixedSource) write(context.Context, io.Writer) (content, error) {
	return content{}, nil
}
