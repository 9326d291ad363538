// SPDX-License-Identifier: Apache-2.0

package boxes

import (
	"slices"
	"testing"
	"time"

	"github.com/docker/docker/api/types/image"
)

func TestOldImages(t *testing.T) {
	now := time.Now()
	at := func(ago time.Duration, tags ...string) image.Summary {
		return image.Summary{Created: now.Add(-ago).Unix(), RepoTags: tags}
	}
	got := old([]image.Summary{
		at(2*time.Hour, imageName+":one", imageName+":two"),
		at(2*time.Hour, "mine:kept", imageName+":three"), // somebody gave it another name
		at(2 * time.Hour),
		at(30*time.Minute, imageName+":young"),
		at(2*time.Hour, imageName+"-other:four"),
	}, now)
	if want := []string{imageName + ":one", imageName + ":two", imageName + ":three"}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}
