// SPDX-License-Identifier: Apache-2.0

//go:build controlplane

package httpapi

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/updatelog"
)

func phaseOf(t *testing.T, data string) v1alpha1.Phase {
	t.Helper()
	var ur v1alpha1.UpdateRequest
	if err := json.Unmarshal([]byte(data), &ur); err != nil || ur.Kind != "UpdateRequest" {
		t.Fatalf("%s: %v", data, err)
	}
	return ur.Status.Phase
}

func TestStatusEventsResume(t *testing.T) {
	w := newWorld(t, nil)
	ur := w.create("r", ended(v1alpha1.PhasePending))
	stream := w.follow("viewer", "/requests/r/events", "")
	if p := phaseOf(t, stream.want(t, eventStatus).Data); p != v1alpha1.PhasePending {
		t.Errorf("first %s", p)
	}
	w.set(ur, func(s *v1alpha1.UpdateRequestStatus) { s.Phase = v1alpha1.PhaseBuilding })
	if e := stream.want(t, eventStatus); phaseOf(t, e.Data) != v1alpha1.PhaseBuilding || e.LastEventID != ur.ResourceVersion {
		t.Errorf("ID %s of version %s", e.LastEventID, ur.ResourceVersion)
	}
	stream.close()
	seen := stream.lastID

	// Nothing new: the next event is the next change.
	again := w.follow("viewer", "/requests/r/events", seen)
	w.set(ur, func(s *v1alpha1.UpdateRequestStatus) { s.Phase = v1alpha1.PhaseRollingOut })
	if p := phaseOf(t, again.want(t, eventStatus).Data); p != v1alpha1.PhaseRollingOut {
		t.Errorf("after the resumption %s", p)
	}
	again.close()
	// Missed: the present state comes at once, and then the end.
	w.set(ur, func(s *v1alpha1.UpdateRequestStatus) { s.Phase = v1alpha1.PhaseSucceeded })
	late := w.follow("viewer", "/requests/r/events", seen)
	if p := phaseOf(t, late.want(t, eventStatus).Data); p != v1alpha1.PhaseSucceeded {
		t.Errorf("missed %s", p)
	}
	late.want(t, eventEnd)
	late.end(t)
	if done := w.follow("viewer", "/requests/r/events", ur.ResourceVersion); done.code != http.StatusNoContent {
		t.Errorf("after the end: %d, want 204", done.code)
	}
}

func TestStatusEventsOfADeletedRequest(t *testing.T) {
	w := newWorld(t, nil)
	ur := w.create("r", ended(v1alpha1.PhasePending))
	stream := w.follow("viewer", "/requests/r/events", "")
	stream.want(t, eventStatus)
	w.must(w.admin.Delete(t.Context(), ur))
	stream.want(t, eventDeleted)
}

func TestNamespaceEventsResume(t *testing.T) {
	w := newWorld(t, nil)
	first := w.create("first", nil)
	stream := w.follow("viewer", "/events", "")
	for _, kind := range []string{eventApplication, eventRequest, eventSynced} {
		stream.want(t, kind)
	}
	w.create("second", nil)
	if e := stream.want(t, eventRequest); !strings.Contains(e.Data, `"type":"ADDED"`) || !strings.Contains(e.Data, "second") {
		t.Errorf("%s", e.Data)
	}
	stream.close()
	// What is missed comes exactly, deletions too.
	w.must(w.admin.Delete(t.Context(), first))
	w.create("third", nil)
	again := w.follow("viewer", "/events", stream.lastID)
	if e := again.want(t, eventRequest); !strings.Contains(e.Data, `"type":"DELETED"`) || !strings.Contains(e.Data, `"name":"first"`) {
		t.Errorf("%s", e.Data)
	}
	if e := again.want(t, eventRequest); !strings.Contains(e.Data, `"type":"ADDED"`) || !strings.Contains(e.Data, "third") {
		t.Errorf("%s", e.Data)
	}
	if a := w.follow("viewer", "/events", "nonsense"); a.code != http.StatusBadRequest {
		t.Errorf("a foreign ID: %d", a.code)
	}
}

func TestLogEventsResume(t *testing.T) {
	w := newWorld(t, nil)
	l := w.log()
	ur := w.create("r", w.logging)
	for i := range 5 {
		l.Printf("Build", "line %d", i)
	}
	file := ur.Status.LogFile
	stream := w.follow("viewer", "/requests/r/log/events", "")
	for i := range 3 {
		if got := updatelog.ParseLine(stream.want(t, eventLine).Data).Message; got != fmt.Sprint("line ", i) {
			t.Fatalf("%q, want line %d", got, i)
		}
	}
	stream.close()
	for i := 5; i < 8; i++ {
		l.Printf("Build", "line %d", i)
	}
	again := w.follow("viewer", "/requests/r/log/events", stream.lastID)
	for i := 3; i < 8; i++ {
		if got := updatelog.ParseLine(again.want(t, eventLine).Data).Message; got != fmt.Sprint("line ", i) {
			t.Fatalf("after the resumption %q, want line %d", got, i)
		}
	}
	w.must(l.Summary(updatelog.Summary{Result: "Succeeded"}))
	last := ""
	for {
		e, err, ok := again.next()
		if err != nil || !ok {
			t.Fatal(err)
		}
		if e.Type == eventEnd {
			again.lastID = e.LastEventID
			break
		}
		last = e.Data
	}
	if !updatelog.ParseLine(last).IsEnd() {
		t.Errorf("last line %q", last)
	}
	info, err := os.Stat(file)
	w.must(err)
	if again.lastID != strconv.FormatInt(info.Size(), 10) {
		t.Errorf("the last ID is %s of %d bytes", again.lastID, info.Size())
	}
	w.set(ur, func(s *v1alpha1.UpdateRequestStatus) { s.Phase = v1alpha1.PhaseSucceeded })
	w.until("204", func() bool {
		e := w.follow("viewer", "/requests/r/log/events", again.lastID)
		defer e.close()
		return e.code == http.StatusNoContent
	})
	for id, want := range map[string]int{"x": 400, "-1": 400, strconv.FormatInt(info.Size()+1, 10): 400} {
		if e := w.follow("viewer", "/requests/r/log/events", id); e.code != want {
			t.Errorf("ID %s: %d, want %d", id, e.code, want)
		}
	}
	if a := w.do("viewer", "GET", "/requests/r/log?tail=1", ""); !strings.HasSuffix(a.body, "[End] log complete\n") || strings.Count(a.body, "\n") != 1 {
		t.Errorf("%q", a.body)
	}
}

func TestLogFollowsFromPendingToTheEnd(t *testing.T) {
	w := newWorld(t, nil)
	ur := w.create("r", ended(v1alpha1.PhasePending))
	stream := w.follow("viewer", "/requests/r/log/events", "")
	w.set(ur, func(s *v1alpha1.UpdateRequestStatus) {
		s.Phase, s.LogFile = v1alpha1.PhasePreflight, updatelog.Path(w.deploy, logID)
	})
	l := w.log()
	l.Printf("Preflight", "begins")
	stream.want(t, eventLine)
	// It ends without the marker: the daemon died. The follower is not left alone.
	w.set(ur, func(s *v1alpha1.UpdateRequestStatus) { s.Phase = v1alpha1.PhaseFailed })
	stream.want(t, eventEnd)
	stream.end(t)
}

func TestManyFollowersAndTheirBound(t *testing.T) {
	const followers = 100
	w := newWorld(t, func(o *Options) {
		freeGuard(o)
		o.Streams = followers*4/3 + 1 // three quarters of it are the followers
	})
	l := w.log()
	w.create("r", w.logging)
	var streams []*events
	for range followers {
		streams = append(streams, w.follow("viewer", "/requests/r/log/events", ""))
	}
	refused := w.follow("viewer", "/requests/r/log/events", "")
	if refused.code != http.StatusServiceUnavailable {
		t.Errorf("one stream too many: %d", refused.code)
	}
	if other := w.follow("operator", "/requests/r/log/events", ""); other.code != http.StatusOK {
		t.Errorf("another caller has no room: %d", other.code)
	}
	go func() {
		for i := range 20 {
			l.Printf("Build", "line %d", i)
		}
		_ = l.Summary(updatelog.Summary{})
	}()
	var wg sync.WaitGroup
	for _, s := range streams {
		wg.Go(func() {
			n := 0
			for {
				e, err, ok := s.next()
				if err != nil || !ok {
					t.Errorf("a stream broke: %v", err)
					return
				}
				if e.Type == eventEnd {
					return
				}
				if updatelog.ParseLine(e.Data).Step == "Build" {
					if got := updatelog.ParseLine(e.Data).Message; got != fmt.Sprint("line ", n) {
						t.Errorf("got %q, want line %d", got, n)
						return
					}
					n++
				}
			}
		})
	}
	wg.Wait()
	w.until("room", func() bool {
		s := w.follow("viewer", "/requests/r/log/events", "")
		defer s.close()
		return s.code == http.StatusOK
	})
}

func TestStreamsEndWithTheDaemon(t *testing.T) {
	w := newWorld(t, nil)
	w.create("r", ended(v1alpha1.PhasePending))
	stream := w.follow("viewer", "/requests/r/events", "")
	stream.want(t, eventStatus)
	w.stop()
	if _, err, ok := stream.next(); ok && err == nil {
		t.Error("the stream goes on")
	}
}

func TestLogOfAnotherDirectoryStaysClosed(t *testing.T) {
	w := newWorld(t, nil)
	secret := t.TempDir() + "/update_" + logID + ".log"
	w.must(os.WriteFile(secret, []byte("secret\n"), 0o600))
	w.create("r", func(ur *v1alpha1.UpdateRequest) {
		ur.Status.Phase, ur.Status.LogFile = v1alpha1.PhaseFailed, secret
	})
	if a := w.do("admin", "GET", "/requests/r/log", ""); a.code != http.StatusForbidden || strings.Contains(a.body, "secret\n") {
		t.Errorf("%d %s", a.code, a.body)
	}
}
