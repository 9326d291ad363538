// SPDX-License-Identifier: Apache-2.0

// Package audit writes down who wanted to change what through HTTP, and what
// became of it: one line for every write, done or refused, and for failed
// authentications. Each line goes to the logger and, as JSON, to a file.
//
// What anybody can have written without a token must not push older lines out of
// the files, which are rotated: fields are cut to 256 bytes, and of the failed
// authentications of a client the first few have a line each, the others one line
// a minute that says how many there were.
package audit

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/go-logr/logr"
	"github.com/go-logr/zapr"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/fairlead-dev/fairlead/internal/auditfile"
	"github.com/fairlead-dev/fairlead/internal/httpapi/guard"
	"github.com/fairlead-dev/fairlead/internal/tally"
)

// maxField is how many bytes of a field are kept.
const maxField = 256

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
	failed *tally.Tally[[]zap.Field]
}

// Open makes a Log that writes to logger, under the name "audit", and to the file
// at path (mode 0600), which is rotated. An empty path means no file.
func Open(logger *zap.Logger, path string) *Log {
	l := &Log{logger: logger.Named("audit")}
	l.failed = tally.New(func(fields []zap.Field, more int) {
		if more > 0 {
			fields = append(fields, zap.Int("more", more))
		}
		l.logger.Info("refused over HTTP", fields...)
	})
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
func (l *Log) Write(e Event) { l.logger.Info("write over HTTP", e.fields()...) }

// Refuse writes that a caller showed no valid credentials. The field more of a
// line says how many others of the same client it stands for.
func (l *Log) Refuse(e Event) { l.failed.Add(client(e.From), e.fields()) }

// client is whom an address counts for.
func client(address string) string { return guard.Network(address).String() }

func (e Event) fields() []zap.Field {
	fields := []zap.Field{
		zap.String("auditID", Cut(e.ID)), zap.String("who", Cut(e.Who)), zap.String("from", Cut(e.From)), zap.String("verb", Cut(e.Verb)),
	}
	for _, f := range []struct{ key, value string }{
		{"resource", e.Resource}, {"namespace", e.Namespace}, {"name", e.Name},
		{"method", e.Method}, {"path", e.Path}, {"reason", e.Reason},
	} {
		if f.value != "" {
			fields = append(fields, zap.String(f.key, Cut(f.value)))
		}
	}
	return append(fields, zap.Int("status", e.Status))
}

// Cut keeps the first 256 bytes of a field that a client chose.
func Cut(s string) string {
	if len(s) <= maxField {
		return s
	}
	return fmt.Sprintf("%s… (%d bytes)", strings.ToValidUTF8(s[:maxField], ""), len(s))
}

// Logger takes records that are no Events, such as deliveries of webhooks, to the
// same places.
func (l *Log) Logger() logr.Logger { return zapr.NewLogger(l.logger) }

// Close writes what was counted and not written yet, and closes the file.
func (l *Log) Close() error {
	l.failed.Close()
	if l.closer == nil {
		return nil
	}
	return l.closer.Close()
}
