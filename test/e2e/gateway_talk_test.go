// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/test/apps"
)

// A talk is one open conversation with the application talk: say returns what is
// answered, which is the version and what was said.
type talk struct {
	say func(string) (string, error)
	end func()
	// from is the client's own address, and first is sent before all that is said, both where there are lines.
	from, first string
}

// talks open conversations of all kinds with s.
func (s *site) talks() map[string]func() (*talk, error) {
	return map[string]func() (*talk, error){
		"websocket":           func() (*talk, error) { return talkWebSocket(s.at("127.0.0.1", "TALK_PORT")) },
		"websocket over IPv6": func() (*talk, error) { return talkWebSocket(s.at("::1", "TALK_PORT")) },
		"gRPC stream":         func() (*talk, error) { return talkGRPC(s.t.Context(), s.at("127.0.0.1", "TALK_GRPC_PORT")) },
		"lines over TCP":      func() (*talk, error) { return talkLines("tcp", s.at("127.0.0.1", "TALK_LINE_PORT")) },
		"datagrams over UDP":  func() (*talk, error) { return talkLines("udp", s.at("127.0.0.1", "TALK_LINE_PORT")) },
		"events":              func() (*talk, error) { return talkEvents(s.t.Context(), s.at("127.0.0.1", "TALK_PORT")) },
	}
}

// at is the address of a published port of the application, by its variable.
func (s *site) at(host, port string) string {
	return net.JoinHostPort(host, strconv.Itoa(s.repo.Ports[port]))
}

const talkPatience = 30 * time.Second

func talkWebSocket(addr string) (*talk, error) {
	c, resp, err := websocket.DefaultDialer.Dial("ws://"+addr+"/ws", nil)
	if err != nil {
		return nil, err
	}
	_ = resp.Body.Close()
	return &talk{end: func() { _ = c.Close() }, say: func(text string) (string, error) {
		_ = c.SetReadDeadline(time.Now().Add(talkPatience))
		if err := c.WriteMessage(websocket.TextMessage, []byte(text)); err != nil {
			return "", err
		}
		_, data, err := c.ReadMessage()
		return string(data), err
	}}, nil
}

func talkGRPC(ctx context.Context, addr string) (*talk, error) {
	ctx, cancel := context.WithCancel(ctx)
	conn, err := grpc.NewClient(addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		cancel()
		return nil, err
	}
	stream, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, "/fairlead.test.Talk/Echo")
	if err != nil {
		cancel()
		_ = conn.Close()
		return nil, err
	}
	return &talk{end: func() { cancel(); _ = conn.Close() }, say: func(text string) (string, error) {
		defer time.AfterFunc(talkPatience, cancel).Stop()
		if err := stream.SendMsg(wrapperspb.String(text)); err != nil {
			return "", err
		}
		var answer wrapperspb.StringValue
		err := stream.RecvMsg(&answer)
		return answer.GetValue(), err
	}}, nil
}

func talkLines(network, addr string) (*talk, error) {
	c, err := net.Dial(network, addr)
	if err != nil {
		return nil, err
	}
	in := bufio.NewReader(c)
	t := &talk{end: func() { _ = c.Close() }, from: c.LocalAddr().String()}
	t.say = func(text string) (string, error) {
		_ = c.SetDeadline(time.Now().Add(talkPatience))
		if _, err := fmt.Fprintln(c, t.first+text); err != nil {
			return "", err
		}
		t.first = ""
		line, err := in.ReadString('\n')
		return strings.TrimSuffix(line, "\n"), err
	}
	return t, nil
}

// talkEvents is a conversation in which the server alone speaks: what is said is
// answered with its next event.
func talkEvents(ctx context.Context, addr string) (*talk, error) {
	ctx, end := context.WithCancel(ctx)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/events", nil)
	if err != nil {
		end()
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		end()
		return nil, err
	}
	in := bufio.NewReader(resp.Body)
	return &talk{end: func() { end(); _ = resp.Body.Close() }, say: func(text string) (string, error) {
		defer time.AfterFunc(talkPatience, end).Stop()
		for {
			line, err := in.ReadString('\n')
			if err != nil {
				return "", err
			}
			if version, ok := strings.CutPrefix(line, "data: "); ok {
				return strings.TrimSpace(version) + " " + text, nil
			}
		}
	}}, nil
}

// Conversations that are open when the traffic moves go on with the container that they are
// with, until their clients end them; new ones are with the new container. The update ends when they have.
func TestGatewayConversations(t *testing.T) {
	t.Parallel()
	s := behindGateway(t, shared, apps.Talk, "  rollout: {healthTimeout: 30s, minHealthy: 500ms, stopTimeout: 3s, soak: 1s, drainTimeout: 30s}\n")
	s.wantBehind("talk")
	s.moves(s.talks())
}

// moves updates talk from version 1 to version 2 while all talks are open, and checks that they
// go on with version 1, that new ones are with version 2, and that no request fails. It
// returns how long the update went on after the end of the last one.
func (s *site) moves(talks map[string]func() (*talk, error)) time.Duration {
	t := s.t
	t.Helper()
	var going sync.WaitGroup
	moved := make(chan struct{})
	for name, open := range talks {
		c, err := open()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		going.Go(func() {
			defer c.end()
			pace := time.NewTicker(20 * time.Millisecond)
			defer pace.Stop()
			for n, more := 0, 50; more > 0; n++ { // so many after the switch
				<-pace.C
				said := strconv.Itoa(n)
				got, err := c.say(said)
				if err != nil || got != "1 "+said {
					t.Errorf("%s: the answer to %q was %q, %v", name, said, got, err)
					return
				}
				select {
				case <-moved:
					more--
				default:
				}
			}
		})
	}
	l := s.load("/version")
	r := s.Update(s.name, s.publish("Two", map[string]string{"version.txt": "2\n"}))
	s.waitLog(r.Name, "the gateway sends what is new for talk")
	for name, open := range talks {
		c, err := open()
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got, err := c.say("hello"); err != nil || got != "2 hello" {
			t.Errorf("%s: the answer after the switch was %q, %v", name, got, err)
		}
		c.end()
	}
	close(moved)
	going.Wait()
	ended := time.Now()
	s.WantEnd(r.Name, v1alpha1.PhaseSucceeded)
	after := time.Since(ended)
	wantLossless(t, l, "1", "2")
	return after
}

// A client of UDP that goes on for ever moves on with the deadline of what drains, and
// no datagram is lost.
func TestGatewayDatagrams(t *testing.T) {
	t.Parallel()
	s := behindGateway(t, shared, apps.Talk, "  rollout: {healthTimeout: 30s, minHealthy: 500ms, stopTimeout: 3s, soak: 1s, drainTimeout: 2s}\n")
	c, err := s.talks()["datagrams over UDP"]()
	if err != nil {
		t.Fatal(err)
	}
	defer c.end()
	ended := make(chan struct{})
	answers := make(chan map[string]int, 1)
	go func() {
		versions := map[string]int{}
		defer func() { answers <- versions }()
		for n := 0; ; n++ {
			said := strconv.Itoa(n)
			got, err := c.say(said)
			v, rest, _ := strings.Cut(got, " ")
			if err != nil || rest != said {
				t.Errorf("the answer to %q was %q, %v", said, got, err)
				return
			}
			versions[v]++
			select {
			case <-ended:
				return
			case <-time.After(time.Millisecond):
			}
		}
	}()
	s.succeeds(s.publish("Two", map[string]string{"version.txt": "2\n"}))
	close(ended)
	if got := <-answers; got["1"] == 0 || got["2"] == 0 || len(got) != 2 {
		t.Errorf("the answers were %v", got)
	}
}
