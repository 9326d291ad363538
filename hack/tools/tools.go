// SPDX-License-Identifier: Apache-2.0

//go:build tools

// Package tools pins modules that k8s.io/kubernetes requires at v0.0.0 and
// that no package of this module imports: without these imports `go mod tidy`
// drops their versions and `go list -m all` fails.
package tools

import (
	_ "k8s.io/cli-runtime/pkg/printers"
	_ "k8s.io/code-generator"
	_ "k8s.io/cri-api/pkg/apis/runtime/v1"
	_ "k8s.io/cri-streaming/pkg/streaming"
	_ "k8s.io/sample-apiserver/pkg/apis/wardle"
)
