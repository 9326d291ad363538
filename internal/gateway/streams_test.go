// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/fairlead-dev/fairlead/internal/gateway/gatewayapi"
)

func TestServerSentEventsComeAtOnce(t *testing.T) {
	w := newWorld(t, targets("127.0.0.2"))
	next := make(chan string)
	left := make(chan struct{})
	w.serve("127.0.0.2", http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Content-Type", "text/event-stream")
		rw.(http.Flusher).Flush()
		for {
			select {
			case text := <-next:
				fmt.Fprintf(rw, "data: %s\n\n", text)
				rw.(http.Flusher).Flush()
			case <-r.Context().Done():
				close(left)
				return
			}
		}
	}))
	resp, err := client(t).Get("http://" + w.addr + "/")
	if err != nil {
		t.Fatal(err)
	}
	r := bufio.NewReader(resp.Body)
	for i := range 3 {
		next <- fmt.Sprint(i)
		line, err := r.ReadString('\n')
		if err != nil || line != fmt.Sprintf("data: %d\n", i) {
			t.Fatalf("got %q, %v", line, err)
		}
		_, _ = r.ReadString('\n')
	}
	// The stream goes on across a switch, and counts as one that has no end.
	w.serve("127.0.0.3", says("new"))
	w.put(func(s *gatewayapi.DesiredState) {
		targets("127.0.0.2", "127.0.0.3")(s)
		s.Services[0].Targets[0].State = gatewayapi.TargetDraining
		s.Services[0].DrainTimeout = gatewayapi.Duration(time.Millisecond)
	})
	next <- "still"
	if line, err := r.ReadString('\n'); line != "data: still\n" {
		t.Errorf("after the switch: %q, %v", line, err)
	}
	if s := w.target("127.0.0.2"); s.LongLived != 1 || s.Endless != 1 || s.Drained() {
		t.Errorf("got %+v", s)
	}
	resp.Body.Close() // the client goes, and the target learns of it
	select {
	case <-left:
	case <-time.After(10 * time.Second):
		t.Error("the target does not learn that the client has gone")
	}
	eventually(t, "the old target drains", func() bool { return w.target("127.0.0.2").Drained() })
}

func TestWebSocketAcrossASwitchAndItsDeadline(t *testing.T) {
	w := newWorld(t, targets("127.0.0.2"))
	echo := func(name string) http.Handler {
		return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			conn, err := (&websocket.Upgrader{}).Upgrade(rw, r, nil)
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			for {
				kind, data, err := conn.ReadMessage()
				if err != nil {
					return
				}
				if err := conn.WriteMessage(kind, append([]byte(name+" "), data...)); err != nil {
					return
				}
			}
		})
	}
	w.serve("127.0.0.2", echo("old"))
	w.serve("127.0.0.3", echo("new"))
	say := func(conn *websocket.Conn, text string) string {
		if err := conn.WriteMessage(websocket.TextMessage, []byte(text)); err != nil {
			return err.Error()
		}
		_, data, err := conn.ReadMessage()
		if err != nil {
			return err.Error()
		}
		return string(data)
	}
	dial := func() *websocket.Conn {
		conn, _, err := websocket.DefaultDialer.Dial("ws://"+w.addr+"/chat", nil)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		return conn
	}
	first := dial()
	if got := say(first, "a"); got != "old a" {
		t.Fatal(got)
	}
	w.put(func(s *gatewayapi.DesiredState) {
		targets("127.0.0.2", "127.0.0.3")(s)
		s.Services[0].Targets[0].State = gatewayapi.TargetDraining
		s.Services[0].DrainTimeout = gatewayapi.Duration(time.Millisecond)
		s.Services[0].LongLivedDeadline = gatewayapi.Duration(300 * time.Millisecond)
	})
	if got := say(first, "b"); got != "old b" {
		t.Errorf("across the switch: %s", got)
	}
	if got := say(dial(), "c"); got != "new c" {
		t.Errorf("after the switch: %s", got)
	}
	if _, _, err := first.ReadMessage(); err == nil {
		t.Error("the old connection outlives its deadline")
	}
	eventually(t, "the old target drains", func() bool { return w.target("127.0.0.2").Drained() })
}

func TestSlowRequestsEndOnTheOldTarget(t *testing.T) {
	w := newWorld(t, targets("127.0.0.2"))
	begun, goOn := make(chan struct{}), make(chan struct{})
	w.serve("127.0.0.2", http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		close(begun)
		<-goOn
		_, _ = io.WriteString(rw, "slow")
	}))
	w.serve("127.0.0.3", says("new"))
	answered := make(chan string, 1)
	go func() {
		resp, err := client(t).Get("http://" + w.addr + "/")
		if err != nil {
			answered <- err.Error()
			return
		}
		_, body := read(t, resp)
		answered <- body
	}()
	<-begun
	w.put(targets("127.0.0.3")) // the old one is not even part of the state any more
	if s := w.target("127.0.0.2"); s.State != gatewayapi.TargetDraining || s.InFlight != 1 {
		t.Errorf("got %+v", s)
	}
	if _, body := get(t, client(t), "http://"+w.addr+"/"); body != "new GET / 0" {
		t.Errorf("got %q", body)
	}
	close(goOn)
	if got := <-answered; got != "slow" {
		t.Errorf("got %q", got)
	}
	eventually(t, "the old target is forgotten", func() bool { return w.target("127.0.0.2").ID == "" })
}

func TestRequestsThatTakeTooLongAreCutOff(t *testing.T) {
	w := newWorld(t, targets("127.0.0.2"))
	begun := make(chan struct{})
	w.serve("127.0.0.2", http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { close(begun); <-r.Context().Done() }))
	answered := make(chan int, 1)
	go func() {
		resp, err := client(t).Post("http://"+w.addr+"/", "text/plain", nil)
		if err != nil {
			answered <- 0
			return
		}
		resp.Body.Close()
		answered <- resp.StatusCode
	}()
	<-begun
	w.put(func(s *gatewayapi.DesiredState) {
		targets()(s)
		s.Services[0].DrainTimeout = gatewayapi.Duration(50 * time.Millisecond)
	})
	if got := <-answered; got != http.StatusBadGateway {
		t.Errorf("got %d", got)
	}
}

func TestEarlyAnswerToALargeBody(t *testing.T) {
	w := newWorld(t, targets("127.0.0.2"))
	w.serve("127.0.0.2", http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Connection", "close")
		rw.WriteHeader(http.StatusRequestEntityTooLarge)
	}))
	c, err := net.Dial("tcp", w.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fmt.Fprintf(c, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\nsome")
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil || resp.StatusCode != http.StatusRequestEntityTooLarge || !resp.Close {
		t.Errorf("got %+v, %v", resp, err)
	}
}

func TestClientThatLeavesInTheMiddleOfItsBody(t *testing.T) {
	w := newWorld(t, targets("127.0.0.2"))
	ended := make(chan error, 1)
	w.serve("127.0.0.2", http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, err := io.Copy(io.Discard, r.Body)
		ended <- err
	}))
	for _, head := range []string{"Content-Length: 1000000", "Transfer-Encoding: chunked"} {
		c, err := net.Dial("tcp", w.addr)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(c, "POST / HTTP/1.1\r\nHost: a\r\n%s\r\n\r\n", head)
		fmt.Fprintf(c, "5\r\nhello\r\n")
		c.Close()
		if err := <-ended; err == nil {
			t.Errorf("%s: the target takes a part for the whole", head)
		}
	}
	eventually(t, "nothing is left", func() bool { return w.target("127.0.0.2").Drained() })
}

func TestTargetThatDiesWithALargeBody(t *testing.T) {
	w := newWorld(t, targets("127.0.0.2"))
	all := make(chan bool, 1)
	dying := w.listen("127.0.0.2")
	go func() {
		for {
			c, err := dying.Accept()
			if err != nil {
				return
			}
			req, err := http.ReadRequest(bufio.NewReader(c))
			if err == nil && <-all {
				_, _ = io.Copy(io.Discard, req.Body)
			}
			c.Close()
		}
	}()
	for _, whole := range []bool{true, false} {
		all <- whole
		resp, err := client(t).Post("http://"+w.addr+"/", "text/plain", strings.NewReader(strings.Repeat("x", 1_000_000)))
		if err != nil {
			if whole {
				t.Error(err)
			}
			continue // the gateway has nobody to give the rest to, and may close before it is sent
		}
		if status, _ := read(t, resp); status != http.StatusBadGateway {
			t.Errorf("read whole: %v: got %d", whole, status)
		}
	}
	eventually(t, "nothing is left", func() bool { return w.target("127.0.0.2").Drained() })
}
