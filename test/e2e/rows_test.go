// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"slices"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/test/harness"
)

// rows are the visits in a shop's database when they were counted last, before and
// after whatever happens to it. Visits are only ever added.
type rows struct {
	counted bool
	visits  int
}

// WantEnd is that of the daemon. Besides, no update of a shop, however it ends, may
// cost a row of its database.
func (s *site) WantEnd(name string, phase v1alpha1.Phase) *v1alpha1.UpdateRequest {
	s.t.Helper()
	r := s.Daemon.WantEnd(name, phase)
	s.countRows(r)
	return r
}

func (s *site) countRows(r *v1alpha1.UpdateRequest) {
	s.t.Helper()
	if s.rows == nil || !s.rows.counted && r.Status.Phase != v1alpha1.PhaseSucceeded {
		return // there is no database, or not yet
	}
	if !slices.ContainsFunc(s.containers()["db"], func(c harness.Container) bool { return c.Running }) && r.Status.Phase == v1alpha1.PhaseFailed {
		return // the test has stopped it: they are counted after the next request
	}
	now := harness.Rows(s.t, s.repo.Project, "visits")
	if s.rows.counted && r.Spec.RestoreFrom == nil && now < s.rows.visits {
		s.t.Errorf("%s, which ended as %s, cost rows: %d visits became %d", r.Name, r.Status.Phase, s.rows.visits, now)
	}
	if s.rows.counted && r.Spec.RestoreFrom == nil && now == 0 {
		s.t.Errorf("%s had no row that it could have cost: visit the shop before", r.Name)
	}
	*s.rows = rows{counted: true, visits: now}
}
