// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"bufio"
	"context"
	"fmt"
	"net"
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
}

// talks open conversations of all kinds with s.
func (s *site) talks() map[string]func() (*talk, error) {
	at := func(host, port string) string { return net.JoinHostPort(host, strconv.Itoa(s.repo.Ports[port])) }
	return map[string]func() (*talk, error){
		"websocket":           func() (*talk, error) { return talkWebSocket(at("127.0.0.1", "TALK_PORT")) },
		"websocket over IPv6": func() (*talk, error) { return talkWebSocket(at("::1", "TALK_PORT")) },
		"gRPC stream":         func() (*talk, error) { return talkGRPC(s.t.Context(), at("127.0.0.1", "TALK_GRPC_PORT")) },
		"lines over TCP":      func() (*talk, error) { return talkLines("tcp", at("127.0.0.1", "TALK_LINE_PORT")) },
		"datagrams over UDP":  func() (*talk, error) { return talkLines("udp", at("127.0.0.1", "TALK_LINE_PORT")) },
	}
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
	conn, err := grpc.NewClient(addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return nil, err
	}
	stream, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, "/fairlead.test.Talk/Echo")
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	return &talk{end: func() { _ = conn.Close() }, say: func(text string) (string, error) {
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
	return &talk{end: func() { _ = c.Close() }, say: func(text string) (string, error) {
		_ = c.SetDeadline(time.Now().Add(talkPatience))
		if _, err := fmt.Fprintln(c, text); err != nil {
			return "", err
		}
		line, err := in.ReadString('\n')
		return strings.TrimSuffix(line, "\n"), err
	}}, nil
}

// Conversations that are open when the traffic moves go on with the container that they are
// with, until their clients end them; new ones are with the new container. The update ends when they have.
func TestGatewayConversations(t *testing.T) {
	t.Parallel()
	s := behindGateway(t, shared, apps.Talk, "  rollout: {healthTimeout: 30s, minHealthy: 500ms, stopTimeout: 3s, soak: 1s, drainTimeout: 1m}\n")
	s.wantBehind("talk")
	var going sync.WaitGroup
	moved := make(chan struct{})
	for name, open := range s.talks() {
		c, err := open()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		going.Go(func() {
			defer c.end()
			for n := 0; ; n++ {
				said := strconv.Itoa(n)
				got, err := c.say(said)
				if err != nil || got != "1 "+said {
					t.Errorf("%s: the answer to %q was %q, %v", name, said, got, err)
					return
				}
				select {
				case <-moved:
					if n > 20 {
						return
					}
				case <-time.After(20 * time.Millisecond):
				}
			}
		})
	}
	l := s.load("/version")
	r := s.Update(s.name, s.publish("Two", map[string]string{"version.txt": "2\n"}))
	s.waitLog(r.Name, "the gateway sends what is new for talk")
	for name, open := range s.talks() {
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
	s.WantEnd(r.Name, v1alpha1.PhaseSucceeded)
	wantLossless(t, l, "1", "2")
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
