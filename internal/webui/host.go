// SPDX-License-Identifier: Apache-2.0

package webui

import (
	"net/http"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
)

// hostPage is the Docker hosts.
type hostPage struct {
	Hosts []*hostCard
}

type hostCard struct {
	*v1alpha1.DockerHost
	Ready bool
	// Silent says that the daemon has not looked for some minutes.
	Silent       bool
	Disk, Memory share
	Unused       int64
	Rows         []usageRow
	ReadyMessage string
}

// share is how much of something is used.
type share struct {
	Known       bool
	Used, Total int64
	Percent     int
	Tone        string
}

type usageRow struct {
	Key          string
	Bytes, Frees int64
	// Kept says that pruning leaves it.
	Kept bool
}

// hosts is GET /ui/hosts.
func (s *Server) hosts(c *call) error {
	var list v1alpha1.DockerHostList
	if err := c.Get("dockerhosts", &list); err != nil {
		if isStatus(err, http.StatusForbidden) {
			return refused(http.StatusForbidden, "host.denied")
		}
		return err
	}
	page := &hostPage{}
	for i := range list.Items {
		page.Hosts = append(page.Hosts, c.host(&list.Items[i]))
	}
	return c.render("hosts", page)
}

func (c *call) host(h *v1alpha1.DockerHost) *hostCard {
	st := &h.Status
	card := &hostCard{DockerHost: h, Ready: meta.IsStatusConditionTrue(st.Conditions, v1alpha1.ConditionReady)}
	if cond := meta.FindStatusCondition(st.Conditions, v1alpha1.ConditionReady); cond != nil {
		card.ReadyMessage = cond.Message
	}
	card.Silent = st.LastSeen == nil || c.since(st.LastSeen) > 5*time.Minute
	card.Disk, card.Memory = shareOf(st.DiskFree, st.DiskTotal), shareOf(st.MemoryAvailable, st.Memory)
	if u := st.Usage; u != nil {
		value := func(q *resource.Quantity) int64 {
			if q == nil {
				return 0
			}
			return q.Value()
		}
		card.Unused = value(u.UnusedImages) + value(u.UnusedBuildCache)
		card.Rows = []usageRow{
			{Key: "images", Bytes: value(u.Images), Frees: value(u.UnusedImages)},
			{Key: "cache", Bytes: value(u.BuildCache), Frees: value(u.UnusedBuildCache)},
			{Key: "containers", Bytes: value(u.Containers), Kept: true},
			{Key: "volumes", Bytes: value(u.Volumes), Kept: true},
		}
	}
	return card
}

func shareOf(free, total *resource.Quantity) share {
	if free == nil || total == nil || total.Value() <= 0 {
		return share{}
	}
	s := share{Known: true, Total: total.Value(), Used: total.Value() - free.Value(), Tone: "good"}
	s.Percent = int(100 * s.Used / s.Total)
	switch {
	case s.Percent >= 90:
		s.Tone = "bad"
	case s.Percent >= 80:
		s.Tone = "warn"
	}
	return s
}
