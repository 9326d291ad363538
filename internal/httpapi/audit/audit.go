// SPDX-License-Identifier: Apache-2.0

// Package audit writes down who wanted to change what through HTTP, and what
// became of it: one line for every write, done or refused, and for every failed
// authentication. Each line goes to the logger and, as JSON, to a file.
package audit

import (
	"io"
	"time"

	"github.com/go-logr/logr"
	"github.com/go-logr/zapr"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/fairlead-dev/fairlead/internal/auditfile"
)

// Event is one write, or one failed authentication.
type Event struct {
	// ID is the same in the API server's own audit log.
	ID string
	// Who as the API server authenticated them; empty if it did not.
	Who string
	// From is the client's address.
	From string
	// Verb, Resource, Namespace and Name say what was wanted, in the words of
	// RBAC. Name is that of the new object where the server chose it.
	Verb, Resource, Namespace, Name string
	// Method and Path of the HTTP request, without its query.
	Method, Path string
	// Status of the answer.
	Status int
	// Reason why it was refused; empty if it was done.
	Reason string
}

// Log writes events. It is safe for concurrent use.
type Log struct {
	logger *zap.Logger
	closer io.Closer
}

// Open makes a Log that writes to logger, under the name "audit", and to the file
// at path (mode 0600), which is rotated. An empty path means no file.
func Open(logger *zap.Logger, path string) *Log {
	l := &Log{logger: logger.Named("audit")}
	if path == "" {
		return l
	}
	file := auditfile.New(path)
	l.closer = file
	config := zap.NewProductionEncoderConfig()
	config.TimeKey, config.LevelKey, config.NameKey, config.MessageKey = "time", zapcore.OmitKey, zapcore.OmitKey, zapcore.OmitKey
	config.EncodeTime = zapcore.TimeEncoderOfLayout(time.RFC3339Nano)
	core := zapcore.NewCore(zapcore.NewJSONEncoder(config), zapcore.AddSync(file), zapcore.InfoLevel)
	l.logger = l.logger.WithOptions(zap.WrapCore(func(shown zapcore.Core) zapcore.Core { return zapcore.NewTee(shown, core) }))
	return l
}

// Write writes one event.
func (l *Log) Write(e Event) {
	fields := []zap.Field{
		zap.String("auditID", e.ID), zap.String("who", e.Who), zap.String("from", e.From), zap.String("verb", e.Verb),
	}
	for _, f := range []struct{ key, value string }{
		{"resource", e.Resource}, {"namespace", e.Namespace}, {"name", e.Name},
		{"method", e.Method}, {"path", e.Path}, {"reason", e.Reason},
	} {
		if f.value != "" {
			fields = append(fields, zap.String(f.key, f.value))
		}
	}
	l.logger.Info("write over HTTP", append(fields, zap.Int("status", e.Status))...)
}

// Logger takes records that are no Events, such as deliveries of webhooks, to the
// same places.
func (l *Log) Logger() logr.Logger { return zapr.NewLogger(l.logger) }

// Close closes the file.
func (l *Log) Close() error {
	if l.closer == nil {
		return nil
	}
	return l.closer.Close()
}
