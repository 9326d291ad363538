// SPDX-License-Identifier: Apache-2.0

package logging

import (
	"slices"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// Lines that say nothing to the people who run the daemon, at every start or
// stop. They are hidden below debug level by their exact text; a text that
// changes with a library is merely shown again.

func klogNoise() []string {
	return []string{
		"The manifest file is empty, ignoring.",
		// A client that watches has gone away.
		"Failed to encode watch event",
	}
}

func etcdNoise() []string {
	return []string{
		"Running http and grpc server on single port. This is not recommended for production.",
		"it isn't recommended to use default name, please set a value for --name. " +
			"Note that etcd might run into issue when multiple members have the same default name",
		"simple token is not cryptographically signed",
		// A new store is asked for its version before it has one; asked again later.
		"Failed to detect schema version",
		"failed to update storage version",
		"setting up serving from embedded etcd failed.",
		"stopping insecure grpc server due to error",
		"stopped insecure grpc server due to error",
	}
}

func controllerNoise() []string {
	return []string{
		"Starting EventSource",
		"Starting Controller",
		"Starting workers",
		"Shutdown signal received, waiting for all workers to finish",
		"All workers finished",
		"Stopping and waiting for non leader election runnables",
		"Stopping and waiting for leader election runnables",
		"Stopping and waiting for warmup runnables",
		"Stopping and waiting for caches",
		"Stopping and waiting for webhooks",
		"Stopping and waiting for HTTP servers",
		"Wait completed, proceeding to shutdown the manager",
		"Starting metrics server",
		"Serving metrics server",
		"Shutting down metrics server with timeout of 1 minute",
	}
}

// hide drops entries whose message is one of messages, unless debug lines are
// shown.
func hide(messages []string) zap.Option {
	return zap.WrapCore(func(core zapcore.Core) zapcore.Core {
		if len(messages) == 0 || core.Enabled(zapcore.DebugLevel) {
			return core
		}
		return hiding{Core: core, messages: messages}
	})
}

type hiding struct {
	zapcore.Core
	messages []string
}

func (h hiding) With(fields []zapcore.Field) zapcore.Core {
	return hiding{Core: h.Core.With(fields), messages: h.messages}
}

func (h hiding) Check(entry zapcore.Entry, checked *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if slices.Contains(h.messages, entry.Message) {
		return checked
	}
	return h.Core.Check(entry, checked)
}
