// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"fmt"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
)

// memoryReserve is what is left to the host, in bytes, while old and new containers
// run at once.
const memoryReserve = 128 << 20

// Strategy says whether all services are replaced together, or one after another, and
// why. need is what the old containers of those that are replaced use, and so about
// what new ones beside them take, in bytes; available is what the host has left. Where
// either is not known, it is 0.
func Strategy(set v1alpha1.RolloutStrategy, need, available int64) (v1alpha1.RolloutStrategy, string) {
	switch {
	case set == v1alpha1.StrategyOneByOne || set == v1alpha1.StrategyTogether:
		return set, "set by rollout.strategy of the Application"
	case need > 0 && available > 0 && need+memoryReserve > available:
		return v1alpha1.StrategyOneByOne, fmt.Sprintf("the containers that are replaced use %s, and the host has only %s left for others beside them", mebibytes(need), mebibytes(available))
	default:
		return v1alpha1.StrategyTogether, "the host has the memory for old and new containers at once"
	}
}

func mebibytes(n int64) string { return fmt.Sprintf("%d MiB", n>>20) }
