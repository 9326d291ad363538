// SPDX-License-Identifier: Apache-2.0

package render

import (
	"github.com/fairlead-dev/fairlead/api/v1alpha1"
)

// Advice says what a person can do after a request that did not succeed.
func Advice(ur *v1alpha1.UpdateRequest) []string {
	st := &ur.Status
	app := clean(ur.Spec.ApplicationRef.Name)
	in := ""
	if ur.Namespace != "" && ur.Namespace != "default" {
		in = " -n " + clean(ur.Namespace)
	}
	again := "fairlead update " + app
	if ur.Spec.Commit != "" {
		again += " " + clean(ur.Spec.Commit)
	}
	if ur.Spec.RollbackTo != nil {
		again = "fairlead rollback " + app + " " + clean(ur.Spec.RollbackTo.Name)
	}
	again += in
	// What failed is this commit, not what the branch will say tomorrow.
	retry := again
	if ur.Spec.RestoreFrom != nil || ur.Spec.BackupOnly {
		return adviceAside(ur, in)
	}
	if ur.Spec.RollbackTo == nil {
		retry = "fairlead update " + app
		if commit := orElse(Commit(st.Commit), clean(ur.Spec.Commit)); commit != "" {
			retry += " " + commit
		}
		retry += in + " --retry"
	}
	untouched := "Nothing that runs was changed."
	log := "Read the whole log: fairlead logs ur/" + clean(ur.Name) + in

	switch reason(ur) {
	case v1alpha1.ReasonCommitFailedBefore:
		return []string{"This commit failed here before and is not tried again by itself. Push a commit that mends it,",
			"or, if the cause lay elsewhere, try it once more: " + retry}
	case v1alpha1.ReasonPreflightFailed, v1alpha1.ReasonInvalidSpec:
		return []string{untouched, "Mend what is listed above, then: " + again}
	case v1alpha1.ReasonApplicationNotFound:
		return []string{"See what there is: fairlead apps -A"}
	case v1alpha1.ReasonCommitNotFound, v1alpha1.ReasonFetchFailed:
		return []string{untouched, "Check the commit's name, that it was pushed, and the address and credentials in the Application's spec.source, then: " + again}
	case v1alpha1.ReasonCommitNotInSource:
		return []string{untouched, "Push the commit to a branch or tag of the source, then: " + again}
	case v1alpha1.ReasonReleaseNotFound, v1alpha1.ReasonReleaseUnusable:
		return []string{untouched, "See which releases can be gone back to: fairlead releases " + app + in}
	case v1alpha1.ReasonBackupFailed:
		return []string{untouched, "Without a backup no update begins. Mend the cause above, then: " + again}
	case v1alpha1.ReasonHookFailed:
		if st.Phase == v1alpha1.PhaseFailed {
			return []string{untouched, log, "Mend what the hook needs, or set its onFailure to Continue, then: " + again}
		}
	case v1alpha1.ReasonBuildFailed:
		return []string{untouched, log, "Push a commit that builds, or, if the cause lay outside of it (network, disk): " + retry}
	case v1alpha1.ReasonPullFailed:
		return []string{untouched, "Check the image's name and the engine's login to its registry, then: " + retry}
	case v1alpha1.ReasonRegistryUnauthorized:
		return []string{untouched, "Log the user that runs Fairlead in to the registry (docker login), then: " + again}
	case v1alpha1.ReasonHostConflict:
		return []string{log, "Free what something else on the host has (the port, or the name of the container), or choose another one, then: " + again}
	case v1alpha1.ReasonRollbackFailed:
		lines := []string{"The rollback did not succeed either: look at what runs now: fairlead status " + app + in, log,
			"When the cause is mended, go back again: fairlead rollback " + app + in}
		return appendBackup(lines, st)
	case v1alpha1.ReasonCancelled, v1alpha1.ReasonSuperseded:
		return []string{"To start it afresh: " + again}
	case v1alpha1.ReasonEngineUnavailable:
		return []string{"Check that the Docker engine runs (systemctl status docker), then: " + retry}
	}
	if st.Phase == v1alpha1.PhaseRolledBack {
		lines := []string{log, "Push a commit that mends the cause, or, if it lay elsewhere, try this one once more: " + retry}
		return appendBackup(lines, st)
	}
	if st.Phase == v1alpha1.PhaseCancelled {
		return []string{"To start it afresh: " + again}
	}
	return []string{"Look at what runs now: fairlead status " + app + in, log, "When the cause is mended: " + retry}
}

func appendBackup(lines []string, st *v1alpha1.UpdateRequestStatus) []string {
	if path := orElse(st.BackupPath, st.Backup); path != "" {
		lines = append(lines, "Data was not touched by the rollback. If the new version damaged data, the state from before is in "+clean(path))
	}
	return lines
}

// adviceAside is for requests that make a backup, or go back to one.
func adviceAside(ur *v1alpha1.UpdateRequest, in string) []string {
	app := clean(ur.Spec.ApplicationRef.Name)
	lines := []string{"Read the whole log: fairlead logs ur/" + clean(ur.Name) + in}
	if ur.Spec.BackupOnly {
		return append(lines, "Mend the cause above, then: fairlead backup "+app+in)
	}
	lines = append(lines, "Mend the cause above, then: fairlead restore "+app+" "+clean(ur.Spec.RestoreFrom.Name)+in)
	if st := &ur.Status; st.Backup != "" {
		lines = append(lines, "What was there before is in "+clean(st.Backup)+": fairlead backups "+app+in)
	}
	return lines
}
