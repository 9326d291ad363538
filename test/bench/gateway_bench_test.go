// SPDX-License-Identifier: Apache-2.0

//go:build bench

package bench

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-dev/fairlead/internal/gateway/gatewayapi"
)

// peerVariable makes this program one of the peers instead of running tests:
// each proxy that is measured has a process of its own.
const peerVariable = "FAIRLEAD_BENCH_PEER"

const largeBody = 1 << 30

// runPeer is the program of a peer: "NAME LISTEN TARGET".
func runPeer(command string) {
	var name, listen, target string
	if _, err := fmt.Sscan(command, &name, &listen, &target); err != nil {
		panic(err)
	}
	switch name { // which need no listener of Go's
	case "paced":
		exit(runPaced(listen, target))
	case "loop":
		exit(runLoop(listen))
	}
	ln, err := net.Listen("tcp", listen)
	if err != nil {
		panic(err)
	}
	switch name {
	case "reverseproxy":
		proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: target})
		proxy.Transport = &http.Transport{MaxIdleConnsPerHost: 1024}
		proxy.ErrorLog = log.New(io.Discard, "", 0) // of the clients that end with wrk
		panic(http.Serve(ln, proxy))
	case "tcpcopy":
		eachConn(ln, func(c net.Conn) {
			up, err := net.Dial("tcp", target)
			if err != nil {
				return
			}
			defer up.Close()
			go func() {
				_, _ = io.Copy(up, c)
				_ = up.(*net.TCPConn).CloseWrite()
			}()
			_, _ = io.Copy(c, up)
		})
	case "backend":
		eachConn(ln, serveBackend)
	}
}

// exit ends the program of a peer.
func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

func eachConn(ln net.Listener, serve func(net.Conn)) {
	for {
		c, err := ln.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			serve(c)
		}()
	}
}

var smallAnswer = []byte("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 13\r\n\r\nHello, world!")

// serveBackend answers as cheaply as can be, so that the proxies are what is measured.
func serveBackend(c net.Conn) {
	buf := make([]byte, 16<<10)
	zeros := make([]byte, 256<<10)
	n := 0
	for {
		m, err := c.Read(buf[n:])
		if err != nil {
			return
		}
		n += m
		end := bytes.Index(buf[:n], []byte("\r\n\r\n"))
		if end < 0 {
			continue
		}
		if bytes.HasPrefix(buf, []byte("GET /large ")) {
			fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", largeBody)
			for range largeBody / len(zeros) {
				if _, err := c.Write(zeros); err != nil {
					return
				}
			}
		} else if bytes.HasPrefix(buf, []byte("POST /large ")) {
			for left := largeBody - (n - end - 4); left > 0; left -= m {
				if m, err = c.Read(zeros); err != nil {
					return
				}
			}
			end, n = 0, 4 // nothing is left
			if _, err := c.Write(smallAnswer); err != nil {
				return
			}
		} else if _, err := c.Write(smallAnswer); err != nil {
			return
		}
		n = copy(buf, buf[end+4:n])
	}
}

// startPeer runs a peer in a process of its own and gives its address.
func startPeer(t *testing.T, name, target string, l lane) string {
	t.Helper()
	addr := freeAddress(t)
	startProcess(t, peer(name, addr, target), addr, l)
	return addr
}

// peer is the command of a peer.
func peer(name, listen, target string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s %s %s", peerVariable, name, listen, target))
	return cmd
}

func startProcess(t *testing.T, cmd *exec.Cmd, addr string, l lane) {
	t.Helper()
	cmd.Stderr = os.Stderr
	if err := l.start(cmd.Start); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	deadline := time.Now().Add(20 * time.Second)
	for {
		c, err := net.Dial("tcp", addr)
		if err == nil {
			c.Close()
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%v listens nowhere: %v", cmd.Args, err)
		}
		<-time.After(20 * time.Millisecond)
	}
}

func freeAddress(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

// startGateway runs the gateway in front of a target.
func startGateway(t *testing.T, target string, l lane) (addr string, pid int, client *gatewayapi.Client, state *gatewayapi.DesiredState) {
	t.Helper()
	dir := t.TempDir()
	addr = freeAddress(t)
	host, text, _ := net.SplitHostPort(target)
	targetPort, _ := strconv.Atoi(text)
	_, text, _ = net.SplitHostPort(addr)
	port, _ := strconv.Atoi(text)
	cmd := exec.Command(os.Getenv("FAIRLEAD_BIN"), "gateway", "--dir", dir, "--log-level", "warn")
	cmd.Stderr = os.Stderr
	if err := l.start(cmd.Start); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	client = gatewayapi.NewClient(dir)
	state = &gatewayapi.DesiredState{
		Version: gatewayapi.Version, Revision: 1, Application: "bench",
		Listeners: []gatewayapi.Listener{{Name: "web", Address: "127.0.0.1", Port: port, Service: "web", TargetPort: targetPort}},
		Services:  []gatewayapi.Service{{Name: "web", Targets: []gatewayapi.Target{{ID: "a", Addresses: []string{host}}}}},
	}
	deadline := time.Now().Add(20 * time.Second)
	for {
		if _, err := client.Put(t.Context(), state); err == nil {
			return addr, cmd.Process.Pid, client, state
		} else if time.Now().After(deadline) {
			t.Fatal(err)
		}
		<-time.After(20 * time.Millisecond)
	}
}

const haproxyConfig = `
global
  maxconn 4096
defaults
  mode http
  option http-keep-alive
  option forwardfor
  timeout connect 5s
  timeout client 60s
  timeout server 60s
frontend front
  bind %s
  default_backend back
backend back
  server a %s
`

func startHAProxy(t *testing.T, target string, l lane) string {
	t.Helper()
	path, err := exec.LookPath("haproxy")
	if err != nil {
		t.Fatal("haproxy is needed to compare with; on Debian: apt-get install haproxy wrk")
	}
	addr := freeAddress(t)
	file := filepath.Join(t.TempDir(), "haproxy.cfg")
	if err := os.WriteFile(file, fmt.Appendf(nil, haproxyConfig, addr, target), 0o600); err != nil {
		t.Fatal(err)
	}
	startProcess(t, exec.Command(path, "-db", "-q", "-f", file), addr, l)
	return addr
}

var perSecond = regexp.MustCompile(`Requests/sec:\s+([0-9.]+)`)

// wrk gives requests per second with one thread, which is one core of load.
func wrk(t *testing.T, addr string, connections int) float64 {
	t.Helper()
	out, err := exec.Command("wrk", "-t1", "-d3s", fmt.Sprintf("-c%d", connections), "http://"+addr+"/").CombinedOutput()
	if err != nil {
		t.Fatalf("wrk: %v\n%s", err, out)
	}
	if strings.Contains(string(out), "Socket errors") || strings.Contains(string(out), "Non-2xx") {
		t.Errorf("%s: %s", addr, out)
	}
	m := perSecond.FindSubmatch(out)
	if m == nil {
		t.Fatalf("wrk: %s", out)
	}
	n, _ := strconv.ParseFloat(string(m[1]), 64)
	return n
}

func middle(values []float64) float64 {
	slices.Sort(values)
	return values[len(values)/2]
}

// TestGatewayThroughput measures small responses, in turns with the peers.
func TestGatewayThroughput(t *testing.T) {
	backend := startPeer(t, "backend", "-", anywhere)
	gateway, _, _, _ := startGateway(t, backend, anywhere)
	addrs := map[string]string{
		"direct": backend, "gateway": gateway, "haproxy": startHAProxy(t, backend, anywhere),
		"reverseproxy": startPeer(t, "reverseproxy", backend, anywhere), "tcpcopy": startPeer(t, "tcpcopy", backend, anywhere),
	}
	for _, connections := range []int{32, 512} {
		results := map[string][]float64{}
		for range 3 {
			for name, addr := range addrs {
				results[name] = append(results[name], wrk(t, addr, connections))
			}
		}
		rate := map[string]float64{}
		for name, values := range results {
			rate[name] = middle(values)
		}
		row(fmt.Sprintf("gateway: small responses, %d connections, one core of load", connections), "at least 0.9 x HAProxy, 2 x httputil.ReverseProxy",
			"%.1fk/s: %.2f x HAProxy (%.1fk/s), %.2f x ReverseProxy (%.1fk/s); TCP copy %.1fk/s, direct %.1fk/s",
			rate["gateway"]/1000, rate["gateway"]/rate["haproxy"], rate["haproxy"]/1000,
			rate["gateway"]/rate["reverseproxy"], rate["reverseproxy"]/1000, rate["tcpcopy"]/1000, rate["direct"]/1000)
		t.Log(rows[len(rows)-1])
	}
}

// TestGatewayLatency measures what the gateway adds at half of what it can take. The proxy has a core to itself; client and target, which
// need little, share another one.
func TestGatewayLatency(t *testing.T) {
	addsAtHalf(t, "gateway: p99 that it adds at half load, on a core of its own", startPeer(t, "loop", "-", firstCore), firstCore, secondCore)
}

// TestGatewayLatencyShared is the same where the kernel decides who of the three has which of all cores: as it may be on a small
// host, and as much a figure of the kernel.
func TestGatewayLatencyShared(t *testing.T) {
	addsAtHalf(t, "gateway: p99 that it adds at half load, client, proxy and target on all cores", startPeer(t, "backend", "-", anywhere), anywhere, anywhere)
}

// halfLoad is half of what one core of load gets through a gateway, as TestGatewayThroughput measures it.
func halfLoad(t *testing.T, connections int) float64 {
	gateway, _, _, _ := startGateway(t, startPeer(t, "backend", "-", anywhere), anywhere)
	var rates []float64
	for range 3 {
		rates = append(rates, wrk(t, gateway, connections))
	}
	return middle(rates) / 2
}

func addsAtHalf(t *testing.T, what, backend string, clients, proxies lane) {
	const connections = 32
	gateway, pid, _, _ := startGateway(t, backend, proxies)
	haproxy := startHAProxy(t, backend, proxies)
	half := halfLoad(t, connections)
	p99s := func(addr string) []float64 {
		rate, p := paced(t, addr, half, connections, clients)
		if rate < 0.95*half && addr != haproxy {
			t.Errorf("%s: only %.0f requests a second of %.0f could be sent", addr, rate, half)
		}
		return p
	}
	var direct, through, peer, busy []float64
	for range 15 {
		direct = append(direct, p99s(backend)...)
		before, begun := ticks(t, pid), time.Now()
		through = append(through, p99s(gateway)...)
		busy = append(busy, float64(ticks(t, pid)-before)/time.Since(begun).Seconds())
		peer = append(peer, p99s(haproxy)...)
	}
	d, g, h := middle(direct), middle(through), middle(peer)
	row(what, "at most 0.5 ms", "%.2f ms at %.1fk/s (direct %.2f ms, through it %.2f ms and in nine of ten windows at most %.2f ms), with %.0f%% of a core; HAProxy adds %.2f ms",
		g-d, half/1000, d, g, ninth(through), middle(busy), h-d)
	t.Log(rows[len(rows)-1])
}

// ninth is what nine of ten are not above.
func ninth(of []float64) float64 {
	return slices.Sorted(slices.Values(of))[len(of)*9/10]
}

// TestGatewayMemory measures a thousand connections that are idle after a request each.
func TestGatewayMemory(t *testing.T) {
	backend := startPeer(t, "backend", "-", anywhere)
	gateway, pid, _, _ := startGateway(t, backend, anywhere)
	before, anonymousBefore := memoryOf(t, pid)
	buf := make([]byte, 4096)
	for range 1000 {
		c, err := net.Dial("tcp", gateway)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: bench\r\n\r\n")
		if _, err := c.Read(buf); err != nil {
			t.Fatal(err)
		}
	}
	// The gateway gives file pages back every half a minute.
	all, anonymous := memoryOf(t, pid)
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for range 35 {
		<-ticker.C
		if rss, anon := memoryOf(t, pid); rss < all {
			all, anonymous = rss, anon
		}
	}
	row("gateway: memory with 1,000 idle connections", "under 40 MB", "RSS %.0f MB, %.0f MB of it anonymous; without connections %.0f and %.0f MB",
		all, anonymous, before, anonymousBefore)
	t.Log(rows[len(rows)-1])
}

// memoryOf gives resident memory and the anonymous part of it, in MB.
func memoryOf(t *testing.T, pid int) (rss, anonymous float64) {
	t.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(bytes.NewReader(data))
	for lines.Scan() {
		var kb float64
		if _, err := fmt.Sscanf(lines.Text(), "Rss: %f kB", &kb); err == nil {
			rss = kb / 1024
		}
		if _, err := fmt.Sscanf(lines.Text(), "Anonymous: %f kB", &kb); err == nil {
			anonymous = kb / 1024
		}
	}
	return rss, anonymous
}

// TestGatewayLargeBodies measures downloads and uploads of 1 GiB.
func TestGatewayLargeBodies(t *testing.T) {
	backend := startPeer(t, "backend", "-", anywhere)
	gateway, _, _, _ := startGateway(t, backend, anywhere)
	tcpcopy := startPeer(t, "tcpcopy", backend, anywhere)
	for _, way := range []struct {
		name string
		move func(t *testing.T, c net.Conn, buf []byte)
	}{{"download", download}, {"upload", upload}} {
		rate := func(addr string) float64 {
			c, err := net.Dial("tcp", addr)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			begun := time.Now()
			way.move(t, c, make([]byte, 256<<10))
			return largeBody / time.Since(begun).Seconds() / (1 << 20)
		}
		var through, copied []float64
		for range 5 {
			through = append(through, rate(gateway))
			copied = append(copied, rate(tcpcopy))
		}
		g, c := middle(through), middle(copied)
		row("gateway: "+way.name+" of 1 GiB", "at least 0.9 x a TCP copy", "%.0f MiB/s, %.2f x a TCP copy (%.0f MiB/s)", g, g/c, c)
		t.Log(rows[len(rows)-1])
	}
}

func download(t *testing.T, c net.Conn, buf []byte) {
	t.Helper()
	_, _ = io.WriteString(c, "GET /large HTTP/1.1\r\nHost: bench\r\n\r\n")
	for got := 0; got < largeBody; {
		n, err := c.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		got += n
	}
}

// upload ends when the target has answered that it has all.
func upload(t *testing.T, c net.Conn, buf []byte) {
	t.Helper()
	fmt.Fprintf(c, "POST /large HTTP/1.1\r\nHost: bench\r\nContent-Length: %d\r\n\r\n", largeBody)
	for range largeBody / len(buf) {
		if _, err := c.Write(buf); err != nil {
			t.Fatal(err)
		}
	}
	if n, err := c.Read(buf); err != nil || !bytes.HasPrefix(buf[:n], []byte("HTTP/1.1 200 ")) {
		t.Fatalf("the answer to an upload is %q, %v", buf[:n], err)
	}
}

// TestGatewaySwap measures the exchange of a pool under load.
func TestGatewaySwap(t *testing.T) {
	backend := startPeer(t, "backend", "-", anywhere)
	gateway, _, client, state := startGateway(t, backend, anywhere)
	host, _, _ := net.SplitHostPort(backend)
	loaded := make(chan struct{})
	go func() {
		defer close(loaded)
		wrk(t, gateway, 32)
	}()
	var swaps, puts []float64
	for i := range 50 {
		state.Revision++
		state.Services[0].Targets = []gatewayapi.Target{{ID: "a", Addresses: []string{host}}, {ID: "b", Addresses: []string{host}}}
		state.Services[0].Targets[i%2].State = gatewayapi.TargetDraining
		begun := time.Now()
		o, err := client.Put(t.Context(), state)
		if err != nil {
			t.Fatal(err)
		}
		puts = append(puts, time.Since(begun).Seconds()*1000)
		swaps = append(swaps, float64(o.SwapMicroseconds)/1000)
	}
	<-loaded
	slices.Sort(swaps)
	row("gateway: swap of a pool under load, the longest of 50", "under 5 ms", "%.2f ms; put to answer, with the file made durable: median %.1f ms", swaps[len(swaps)-1], middle(puts))
	t.Log(rows[len(rows)-1])
}
