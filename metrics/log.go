// SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"fmt"
	"io"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

const clock = "15:04:05.000"

// MarkWidth is how many columns of the logger's lines of level info, of one digit's rank, come before the message.
const MarkWidth = len(clock + " INFO rank0 ")

// NewLogger returns a logger that writes lines such as
//
//	12:34:56.789 INFO rank0 training starts {"steps": 300}
//
// to w, from level info on. Any goroutine may use it.
func NewLogger(w io.Writer, rank int) *zap.Logger {
	encoder := zapcore.NewConsoleEncoder(zapcore.EncoderConfig{
		TimeKey: "time", LevelKey: "level", NameKey: "logger", MessageKey: "message",
		EncodeTime:       zapcore.TimeEncoderOfLayout(clock),
		EncodeLevel:      zapcore.CapitalLevelEncoder,
		EncodeDuration:   zapcore.StringDurationEncoder,
		ConsoleSeparator: " ",
	})
	core := zapcore.NewCore(encoder, zapcore.Lock(zapcore.AddSync(w)), zapcore.InfoLevel)
	return zap.New(core).Named(fmt.Sprintf("rank%d", rank))
}
