// SPDX-License-Identifier: Apache-2.0

package compose

import (
	"io"

	"github.com/go-logr/logr"
	"github.com/sirupsen/logrus"
)

// CaptureLogs sends what the Compose libraries log to a global logger to log
// instead, and nothing to the standard error stream any more. It is for the
// program's start and affects the whole process. The returned function puts
// back what was before.
func CaptureLogs(log logr.Logger) (restore func()) {
	logger := logrus.StandardLogger()
	output := logger.Out
	hooks := logger.ReplaceHooks(logrus.LevelHooks{})
	logger.AddHook(logHook{log: log})
	logger.SetOutput(io.Discard)
	return func() {
		logger.SetOutput(output)
		logger.ReplaceHooks(hooks)
	}
}

type logHook struct{ log logr.Logger }

func (logHook) Levels() []logrus.Level { return logrus.AllLevels }

// Fire implements logrus.Hook.
func (h logHook) Fire(e *logrus.Entry) error {
	switch {
	case e.Level <= logrus.ErrorLevel:
		h.log.Error(nil, e.Message)
	case e.Level <= logrus.InfoLevel:
		h.log.Info(e.Message)
	default:
		h.log.V(1).Info(e.Message)
	}
	return nil
}
