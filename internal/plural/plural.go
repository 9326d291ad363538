// SPDX-License-Identifier: Apache-2.0

// Package plural counts things in English sentences.
package plural

import "strconv"

// Of is a number and what there are so many of, such as "1 commit" and "2 commits".
// one is the word for a single one, whose plural ends with an s.
func Of[N ~int | ~int32 | ~int64](n N, one string) string {
	text := strconv.FormatInt(int64(n), 10) + " " + one
	if n != 1 {
		text += "s"
	}
	return text
}
