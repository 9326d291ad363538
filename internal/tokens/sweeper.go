// SPDX-License-Identifier: Apache-2.0

package tokens

import (
	"context"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"
)

const (
	sweepInterval = time.Hour
	// keepExpired is how long `fairlead token list` shows an expired token.
	keepExpired = 7 * 24 * time.Hour
)

// Sweeper removes tokens that expired a week ago, every hour. It is a
// manager.Runnable.
type Sweeper struct {
	Client client.Client
}

// Start runs until ctx ends.
func (s *Sweeper) Start(ctx context.Context) error {
	ticker := time.NewTicker(sweepInterval)
	defer ticker.Stop()
	for {
		swept, err := Sweep(ctx, s.Client, "", time.Now().Add(-keepExpired))
		if err != nil && ctx.Err() == nil {
			log.FromContext(ctx).Error(err, "expired tokens could not be removed; trying again later", "every", sweepInterval)
		}
		if len(swept) > 0 {
			log.FromContext(ctx).Info("expired tokens removed", "tokens", swept)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}
