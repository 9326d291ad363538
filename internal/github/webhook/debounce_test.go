// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"testing"
	"testing/synctest"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

type pokedAt []time.Time

func (p *pokedAt) Poke(types.NamespacedName, string, string) { *p = append(*p, time.Now()) }

// A timer may go off in the moment in which it is set anew, and is then heard twice: the second time
// neither leads to a look nor forgets when the next one may be.
func TestATimerThatIsHeardTwice(t *testing.T) {
	for name, between := range map[string]bool{"nothing came between": false, "a delivery came between": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var looks pokedAt
				d := newDebouncer(&looks)
				app := types.NamespacedName{Namespace: "ns", Name: "shop"}
				d.add(app, Hint{})
				time.Sleep(quiet) //nolint:forbidigo // the time of the test's bubble
				synctest.Wait()
				if between {
					d.add(app, Hint{})
				}
				d.fire(app)
				d.add(app, Hint{})
				time.Sleep(time.Minute) //nolint:forbidigo // the time of the test's bubble
				synctest.Wait()
				if len(looks) != 2 || looks[1].Sub(looks[0]) != apart {
					t.Errorf("looks at %v, want two that are %s apart", looks, apart)
				}
			})
		})
	}
}
