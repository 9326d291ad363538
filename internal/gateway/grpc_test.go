// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"context"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/fairlead-dev/fairlead/internal/gateway/gatewayapi"
)

// grpcServer is a real server with a health service, whose watches are streams.
func (w *world) grpcServer(ip string) *health.Server {
	w.t.Helper()
	ln := w.listen(ip)
	server, checks := grpc.NewServer(), health.NewServer()
	healthpb.RegisterHealthServer(server, checks)
	go func() { _ = server.Serve(ln) }()
	w.t.Cleanup(server.Stop)
	return checks
}

func TestGRPCAcrossASwitch(t *testing.T) {
	w := newWorld(t, targets("127.0.0.2"))
	old := w.grpcServer("127.0.0.2")
	young := w.grpcServer("127.0.0.3")
	old.SetServingStatus("who", healthpb.HealthCheckResponse_SERVING)
	young.SetServingStatus("who", healthpb.HealthCheckResponse_NOT_SERVING)
	conn, err := grpc.NewClient(w.addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	c := healthpb.NewHealthClient(conn)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	who := &healthpb.HealthCheckRequest{Service: "who"}
	stream, err := c.Watch(ctx, who)
	if err != nil {
		t.Fatal(err)
	}
	if m, err := stream.Recv(); err != nil || m.Status != healthpb.HealthCheckResponse_SERVING {
		t.Fatalf("got %v, %v", m, err)
	}
	if _, err := c.Check(ctx, &healthpb.HealthCheckRequest{Service: "nobody"}); err == nil || !strings.Contains(err.Error(), "unknown service") {
		t.Errorf("an error in the trailers: %v", err)
	}
	w.put(func(s *gatewayapi.DesiredState) {
		targets("127.0.0.2", "127.0.0.3")(s)
		s.Services[0].Targets[0].State = gatewayapi.TargetDraining
	})
	if m, err := c.Check(ctx, who); err != nil || m.Status != healthpb.HealthCheckResponse_NOT_SERVING {
		t.Errorf("a new call after the switch: %v, %v", m, err)
	}
	old.SetServingStatus("who", healthpb.HealthCheckResponse_NOT_SERVING)
	if m, err := stream.Recv(); err != nil || m.Status != healthpb.HealthCheckResponse_NOT_SERVING {
		t.Errorf("the stream after the switch: %v, %v", m, err)
	}
	if s := w.target("127.0.0.2"); s.LongLived != 1 {
		t.Errorf("got %+v", s)
	}
	w.put(func(s *gatewayapi.DesiredState) {
		targets("127.0.0.3")(s)
		s.Services[0].LongLivedDeadline = gatewayapi.Duration(time.Second)
	})
	// The deadline began with the draining, under the old setting; going back and forth begins it anew.
	w.put(targets("127.0.0.2", "127.0.0.3"))
	w.put(targets("127.0.0.3"))
	if m, err := stream.Recv(); err == nil {
		t.Errorf("the stream outlives its deadline: %v", m)
	}
	eventually(t, "the old target drains", func() bool { return w.target("127.0.0.2").ID == "" || w.target("127.0.0.2").Drained() })
	if m, err := c.Check(ctx, who); err != nil {
		t.Errorf("the connection of the client ended with the stream: %v, %v", m, err)
	}
}
