// SPDX-License-Identifier: Apache-2.0

package backup

import (
	"context"
	"fmt"
)

// DefaultReserve is what a backup leaves free on the disk, in bytes, so that
// the application can go on writing.
const DefaultReserve = 256 << 20

// estimate adds up what the artifacts are going to take. Data counts as it is,
// or as it was compressed in the last backup; a dump, for which the size of the
// database is known, as half of it, as indexes are not in it.
func (r *Runner) estimate(ctx context.Context, planned []Planned, sources []source, last *Manifest) (int64, error) {
	var total int64
	for i, s := range sources {
		n, known, err := s.size(ctx)
		if err != nil {
			return 0, &Error{Artifact: planned[i].Name, Err: err}
		}
		if !known {
			continue
		}
		switch ratio := lastRatio(last, planned[i].Name); {
		case planned[i].Kind == KindPostgreSQL:
			n /= 2
		case ratio > 0:
			n = int64(min(float64(n)*ratio*1.2, float64(n)))
		}
		total += n
	}
	return total, nil
}

// lastRatio is how far the artifact was compressed in the last backup; 0 where
// unknown.
func lastRatio(last *Manifest, artifact string) float64 {
	if last == nil {
		return 0
	}
	for _, a := range last.Artifacts {
		if a.Name == artifact && a.UncompressedBytes > 0 {
			return float64(a.Bytes) / float64(a.UncompressedBytes)
		}
	}
	return 0
}

func (r *Runner) reserve() int64 {
	if r.Reserve > 0 {
		return r.Reserve
	}
	return DefaultReserve
}

// checkSpace fails unless needed bytes can be written to dir and the reserve
// still stays.
func (r *Runner) checkSpace(dir string, needed, estimate int64) error {
	free, err := r.fs().Free(dir)
	if err != nil {
		return fmt.Errorf("free space of %s: %w", dir, err)
	}
	if free < needed+r.reserve() {
		return &NoSpaceError{Dir: dir, Needed: estimate, Reserve: r.reserve(), Free: free}
	}
	return nil
}
