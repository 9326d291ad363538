// SPDX-License-Identifier: Apache-2.0

// Package build makes the images of an application: it builds them with the
// engine's own BuildKit (or with the engine's classic builder where BuildKit
// is not available) and pulls those that come from a registry.
//
// No docker or buildx binary is needed on the host. Registry credentials are
// those of the usual Docker configuration. Logs are plain text lines for
// people; values of build secrets are masked in logs and errors.
package build
