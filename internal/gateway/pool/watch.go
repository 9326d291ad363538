// SPDX-License-Identifier: Apache-2.0

package pool

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"github.com/fairlead-dev/fairlead/internal/gateway/gatewayapi"
)

// resolveTimeout bounds one question to the DNS server, which is on this host.
const resolveTimeout = 2 * time.Second

// watch looks at the target's name and health until it is forgotten.
func (t *Target) watch() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		<-t.stop
		cancel()
	}()
	every := t.pool.env.ResolveEvery
	if every == 0 {
		every = time.Second
	}
	var passed, failed int
	nextName, nextProbe := time.Now(), time.Now()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		asked := false
		select {
		case <-ctx.Done():
			return
		case <-t.look:
			asked = true
		case <-timer.C:
		}
		now := time.Now()
		if asked || !now.Before(nextName) {
			// A name that was missing once is looked at again soon: networks being connected
			// can make one vanish for a moment.
			nextName = now.Add(every)
			if t.resolve(ctx) {
				nextName = now.Add(every / 10)
			}
		}
		probe := t.pool.snapshot().service.Probe
		if now = time.Now(); !now.Before(nextProbe) {
			switch {
			case t.State() == stateDraining:
				nextProbe = now.Add(every)
			case probe != nil:
				t.judge(probe, t.probe(ctx, probe), &passed, &failed)
				nextProbe = time.Now().Add(probe.Interval.Or(defaultProbe))
			default:
				// What was found out by refused connections is found out to be over by trying.
				if port := int(t.lastPort.Load()); t.health.Load() == healthBad && port != 0 {
					t.judge(&gatewayapi.Probe{Passing: 1}, t.connects(ctx, port, time.Second), &passed, &failed)
				}
				nextProbe = now.Add(every)
			}
		}
		next := nextName
		if nextProbe.Before(next) {
			next = nextProbe
		}
		// A look that was asked for must not make a loop of failures.
		timer.Reset(max(time.Until(next), 10*time.Millisecond))
	}
}

// judge brings one look into the target's health.
func (t *Target) judge(p *gatewayapi.Probe, err error, passed, failed *int) {
	before := t.health.Load()
	if err != nil {
		*passed = 0
		*failed++
		t.note(err)
		if before != healthBad && *failed >= int(orDefault(int64(p.Failing), defaultFailing)) {
			t.turn(healthBad, p.Port != 0, err)
			t.pool.env.Log.Info("target is unhealthy", "service", t.pool.Name, "target", t.ID, "error", err)
		}
		return
	}
	*failed = 0
	*passed++
	t.refused.Store(0)
	// The first look at a target decides alone.
	if before == healthUnknown || before == healthBad && *passed >= int(orDefault(int64(p.Passing), defaultPassing)) {
		t.turn(healthGood, true, nil)
		if before == healthBad {
			t.pool.env.Log.Info("target is healthy again", "service", t.pool.Name, "target", t.ID)
		}
	}
}

func (t *Target) connects(ctx context.Context, port int, timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	c, err := dialAny(ctx, *t.addrs.Load(), port)
	if err != nil {
		return err
	}
	return c.Close()
}

func (t *Target) probe(ctx context.Context, p *gatewayapi.Probe) error {
	timeout := p.Timeout.Or(defaultProbe)
	if p.Type != gatewayapi.ProbeHTTP {
		return t.connects(ctx, p.Port, timeout)
	}
	addrs := *t.addrs.Load()
	if len(addrs) == 0 {
		return errUnresolved
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	path := p.Path
	if path == "" {
		path = "/"
	}
	url := "http://" + net.JoinHostPort(addrs[0].String(), strconv.Itoa(p.Port)) + path
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return err
	}
	req.Host = p.HostHeader
	if req.Host == "" {
		req.Host = t.pool.Name
	}
	req.Header.Set("User-Agent", "fairlead-gateway")
	client := http.Client{
		Transport:     &http.Transport{DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	resp.Body.Close()
	if resp.StatusCode < 200 || resp.StatusCode > 399 {
		return fmt.Errorf("the probe was answered with %s", resp.Status)
	}
	return nil
}

// resolve asks for the target's name. It returns true if it should be asked again soon.
func (t *Target) resolve(ctx context.Context) (soon bool) {
	t.mu.Lock()
	host := t.host
	t.mu.Unlock()
	if host == "" {
		return false
	}
	t.resolving.Lock()
	defer t.resolving.Unlock()
	t.resolvedAt = time.Now()
	ctx, cancel := context.WithTimeout(ctx, resolveTimeout)
	defer cancel()
	addrs, notFound, err := t.pool.env.Resolve(ctx, host)
	var lost []*Lease
	defer func() { cutAll(lost, anyUse) }() // when t is not locked any more
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.host != host {
		return true
	}
	switch old := *t.addrs.Load(); {
	case err == nil && len(addrs) > 0:
		t.missing = 0
		slices.SortFunc(addrs, netip.Addr.Compare)
		addrs = prefer(addrs, t.listed)
		if !slices.Equal(old, addrs) {
			lost = t.move(addrs)
		}
		return false
	case notFound || err == nil:
		t.missing++
		if t.missing >= 2 {
			if len(old) > 0 {
				lost = t.move(nil)
				t.lastError = errUnresolved.Error()
			}
			return t.State() != stateDraining
		}
		return true
	default:
		t.lastError = err.Error()
		return true
	}
}

// prefer puts those first that the state lists, in its order: of a container's networks that is the
// one which the gateway shall use.
func prefer(addrs, listed []netip.Addr) []netip.Addr {
	var sorted []netip.Addr
	for _, a := range listed {
		if slices.Contains(addrs, a) {
			sorted = append(sorted, a)
		}
	}
	for _, a := range addrs {
		if !slices.Contains(sorted, a) {
			sorted = append(sorted, a)
		}
	}
	return sorted
}

// resolveAgain asks for the name after a connection to old failed. It gives the addresses if they are others.
func (t *Target) resolveAgain(ctx context.Context, old []netip.Addr) []netip.Addr {
	asked := time.Now()
	t.resolving.Lock() // many may have failed at once; one of them asks
	recent := asked.Sub(t.resolvedAt) < 20*time.Millisecond
	t.resolving.Unlock()
	if !recent {
		t.resolve(ctx)
	}
	if now := *t.addrs.Load(); !slices.Equal(now, old) {
		return now
	}
	return nil
}

// Resolve is Environment.Resolve with the system's resolver.
func Resolve(ctx context.Context, host string) ([]netip.Addr, bool, error) {
	// With the dot it is the name itself, whatever search domains there are.
	addrs, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host+".")
	if err != nil {
		var dns *net.DNSError
		return nil, errors.As(err, &dns) && dns.IsNotFound, err
	}
	for i := range addrs {
		addrs[i] = addrs[i].Unmap()
	}
	return addrs, false, nil
}
