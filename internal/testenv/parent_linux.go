// SPDX-License-Identifier: Apache-2.0

package testenv

import (
	"os/exec"
	"syscall"
)

// dieWithParent makes the kernel kill the server when the test process dies, so
// that an interrupted test run leaves nothing behind.
func dieWithParent(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
