// SPDX-License-Identifier: Apache-2.0

package gatewayapi

import (
	"fmt"
	"time"
)

// Duration is a time.Duration that is written as "1m30s".
type Duration time.Duration

// Or is d, or another duration if d is zero.
func (d Duration) Or(other time.Duration) time.Duration {
	if d == 0 {
		return other
	}
	return time.Duration(d)
}

// String is d as it is written.
func (d Duration) String() string { return time.Duration(d).String() }

// MarshalText writes d.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText reads what MarshalText wrote.
func (d *Duration) UnmarshalText(text []byte) error {
	parsed, err := time.ParseDuration(string(text))
	if err != nil {
		return fmt.Errorf("%q is not a duration such as 30s or 1m30s", text)
	}
	*d = Duration(parsed)
	return nil
}
