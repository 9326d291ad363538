// SPDX-License-Identifier: Apache-2.0

// Package auditfile is the file that lines of an audit log are written to.
package auditfile

import (
	"io"

	"gopkg.in/natefinch/lumberjack.v2"
)

const (
	// maxMegabytes is the size at which a file is rotated, maxBackups how many old
	// ones are kept: 220 MB at most, months of writes.
	maxMegabytes = 20
	maxBackups   = 10
)

// New is the file at path. It is made with the first line, mode 0600, and
// rotated: old files lie beside it and have the time in their names. Writes may
// be concurrent. The caller closes it.
func New(path string) io.WriteCloser {
	return &lumberjack.Logger{Filename: path, MaxSize: maxMegabytes, MaxBackups: maxBackups}
}
