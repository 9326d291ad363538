// SPDX-License-Identifier: Apache-2.0

package failure

import (
	"errors"
	"fmt"
	"runtime/debug"
	"strings"
)

// Panic is a fault of the program itself that was caught. It is a disturbance:
// the step is tried again. Its text is one line, for the status; the stack is for
// logs.
type Panic struct {
	// Value that was panicked with, as text.
	Value string
	// Stack of the goroutine, as the runtime prints it.
	Stack string
}

// maxPanic is the length in bytes to which the value is cut in the text.
const maxPanic = 200

// Panicked makes an error of a recovered value. It must be called by the deferred
// function itself, for the stack to be that of the panic.
func Panicked(value any) error {
	return &Panic{Value: fmt.Sprint(value), Stack: string(debug.Stack())}
}

func (p *Panic) Error() string {
	value, _, _ := strings.Cut(p.Value, "\n")
	if len(value) > maxPanic {
		value = strings.ToValidUTF8(value[:maxPanic], "") + "…"
	}
	return fmt.Sprintf("Fairlead met a fault of its own (panic: %s); the logs have the stack: please report it", value)
}

// AsPanic returns the Panic in err's chain, or nil.
func AsPanic(err error) *Panic {
	var p *Panic
	if errors.As(err, &p) {
		return p
	}
	return nil
}
