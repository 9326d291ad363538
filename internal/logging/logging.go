// SPDX-License-Identifier: Apache-2.0

// Package logging builds the one logger of the process and routes the loggers
// of the libraries into it.
package logging

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/go-logr/logr"
	"github.com/go-logr/zapr"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zapgrpc"
	"google.golang.org/grpc/grpclog"
	"k8s.io/klog/v2"
	ctrllog "sigs.k8s.io/controller-runtime/pkg/log"
)

// Formats of log lines.
const (
	// FormatAuto is FormatConsole on a terminal and FormatJSON otherwise.
	FormatAuto = "auto"
	// FormatConsole is one line for people: time, level, name, message, fields.
	FormatConsole = "console"
	// FormatJSON is one JSON object per line with RFC 3339 times.
	FormatJSON = "json"
)

// Logger is the process's logger in the shapes that its users want.
type Logger struct {
	// Logr is for our own code.
	Logr logr.Logger
	// Zap is for libraries that speak zap (etcd).
	Zap *zap.Logger
}

// New builds a logger that writes to out. format is auto, console or json;
// level is debug, info, warn, error or a number (2 shows V(2) lines). Unknown
// values are errors that list the valid ones. terminal says whether out is one.
func New(out io.Writer, format, level string, terminal bool) (*Logger, error) {
	least, err := parseLevel(level)
	if err != nil {
		return nil, err
	}
	encoder, err := newEncoder(format, terminal)
	if err != nil {
		return nil, err
	}
	core := zapcore.NewCore(encoder, zapcore.Lock(zapcore.AddSync(out)), least)
	z := zap.New(core, zap.AddStacktrace(zapcore.DPanicLevel))
	return &Logger{Logr: zapr.NewLogger(z), Zap: z}, nil
}

// Install routes klog, controller-runtime and gRPC into l. It changes global
// state of those libraries, so only main calls it, once, before anything else
// runs.
func (l *Logger) Install() {
	klog.SetLoggerWithOptions(zapr.NewLogger(l.library("kubernetes", klogNoise())), klog.ContextualLogger(true))
	ctrllog.SetLogger(l.Controllers())
	grpclog.SetLoggerV2(zapgrpc.NewLogger(l.library("grpc", nil, zapcore.ErrorLevel)))
}

// Controllers is the logger of the controller manager and, through it, of every
// reconciler: without the lines that every controller writes at its start and
// end.
func (l *Logger) Controllers() logr.Logger {
	return zapr.NewLogger(l.Zap.WithOptions(hide(controllerNoise())))
}

// Etcd is the logger of the embedded etcd: what it says below warning, and about
// being a single member and being stopped, appears at debug level only.
func (l *Logger) Etcd() *zap.Logger { return l.library("etcd", etcdNoise()) }

// library returns a zap logger for a library that is chatty: below debug level
// its lines are shown from shown (default: warning) upwards, and those in noise
// not at all.
func (l *Logger) library(name string, noise []string, shown ...zapcore.Level) *zap.Logger {
	named := l.Zap.Named(name)
	if named.Core().Enabled(zapcore.DebugLevel) {
		return named
	}
	from := zapcore.WarnLevel
	if len(shown) > 0 {
		from = shown[0]
	}
	return named.WithOptions(hide(noise), zap.WrapCore(func(core zapcore.Core) zapcore.Core {
		quiet, err := zapcore.NewIncreaseLevelCore(core, from)
		if err != nil {
			return core // it shows even less already
		}
		return quiet
	}))
}

func parseLevel(level string) (zapcore.Level, error) {
	switch strings.ToLower(level) {
	case "", "info":
		return zapcore.InfoLevel, nil
	case "debug":
		return zapcore.DebugLevel, nil
	case "warn", "warning":
		return zapcore.WarnLevel, nil
	case "error":
		return zapcore.ErrorLevel, nil
	}
	var v int8
	if n, err := fmt.Sscanf(level, "%d", &v); err == nil && n == 1 && v >= 0 && v <= 10 {
		// zapr maps V(n) to the zap level -n.
		return zapcore.Level(-v), nil
	}
	return 0, fmt.Errorf("unknown log level %q: use debug, info, warn, error or a number from 0 to 10", level)
}

func newEncoder(format string, terminal bool) (zapcore.Encoder, error) {
	switch format {
	case "", FormatAuto:
		if terminal {
			return consoleEncoder(), nil
		}
		return jsonEncoder(), nil
	case FormatConsole:
		return consoleEncoder(), nil
	case FormatJSON:
		return jsonEncoder(), nil
	}
	return nil, fmt.Errorf("unknown log format %q: use auto, console or json", format)
}

func jsonEncoder() zapcore.Encoder {
	c := zap.NewProductionEncoderConfig()
	c.TimeKey = "time"
	c.EncodeTime = zapcore.RFC3339NanoTimeEncoder
	c.EncodeDuration = zapcore.StringDurationEncoder
	c.EncodeLevel = encodeLevel(zapcore.LowercaseLevelEncoder)
	return zapcore.NewJSONEncoder(c)
}

func consoleEncoder() zapcore.Encoder {
	c := zap.NewDevelopmentEncoderConfig()
	c.EncodeTime = func(t time.Time, enc zapcore.PrimitiveArrayEncoder) { enc.AppendString(t.Format("15:04:05.000")) }
	c.EncodeDuration = zapcore.StringDurationEncoder
	c.EncodeLevel = encodeLevel(zapcore.CapitalLevelEncoder)
	c.ConsoleSeparator = "  "
	return zapcore.NewConsoleEncoder(c)
}

// encodeLevel prints the levels below debug, which zap itself does not know, as
// debug.
func encodeLevel(encode zapcore.LevelEncoder) zapcore.LevelEncoder {
	return func(l zapcore.Level, enc zapcore.PrimitiveArrayEncoder) {
		encode(max(l, zapcore.DebugLevel), enc)
	}
}
