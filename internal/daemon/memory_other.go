// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package daemon

// releaseFilePages is for Linux only.
func releaseFilePages() error { return nil }
