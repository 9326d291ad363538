// SPDX-License-Identifier: Apache-2.0

package steps

import (
	"reflect"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-dev/fairlead/api/v1alpha1"
	"github.com/fairlead-dev/fairlead/internal/compose"
	"github.com/fairlead-dev/fairlead/internal/gateway/gatewayapi"
	"github.com/fairlead-dev/fairlead/internal/gateway/layout"
)

func TestTraffic(t *testing.T) {
	yes, no := true, false
	size := resource.MustParse("1Mi")
	all := v1alpha1.GatewayTraffic{
		Protocol: v1alpha1.GatewayProtocolHTTP,
		Balance:  v1alpha1.BalanceRoundRobin, HoldTimeout: &metav1.Duration{Duration: time.Second}, HoldRequests: 1, HoldBytes: &size,
		TransferTimeout: &metav1.Duration{Duration: 2 * time.Second}, LongLivedTimeout: &metav1.Duration{Duration: 3 * time.Second},
		Probe: &v1alpha1.GatewayProbe{Port: 80, Failing: 4}, AcceptProxyProtocol: &yes, SendProxyProtocol: v1alpha1.ProxyProtocolV1,
	}
	file := compose.Traffic{
		Protocol: "TCP",
		Balance:  "Source", HoldTimeout: 10 * time.Second, HoldRequests: 10, HoldBytes: 10, TransferTimeout: 20 * time.Second, LongLivedTimeout: 30 * time.Second,
		Probe: &compose.TargetProbe{Path: "/health", Interval: time.Second}, AcceptProxyProtocol: &no, SendProxyProtocol: "V2",
	}
	defaults := layout.Traffic{Drain: 5 * time.Second, LongLived: 5 * time.Second, Hold: gatewayapi.Hold{MaxWait: gatewayapi.Duration(time.Minute)}}
	of := func(change func(*layout.Traffic)) layout.Traffic {
		out := defaults
		change(&out)
		return out
	}
	fromAll := of(func(o *layout.Traffic) {
		*o = layout.Traffic{
			Protocol: gatewayapi.ProtocolHTTP, Balance: gatewayapi.BalanceRoundRobin, Hold: gatewayapi.Hold{MaxWait: gatewayapi.Duration(time.Second), MaxRequests: 1, MaxBytes: 1 << 20},
			Drain: 5 * time.Second, Transfer: 2 * time.Second, LongLived: 3 * time.Second,
			Probe: &gatewayapi.Probe{Type: gatewayapi.ProbeTCP, Port: 80, Failing: 4}, AcceptProxy: true, SendProxy: "v1",
		}
	})
	fromFile := layout.Traffic{
		Protocol: gatewayapi.ProtocolTCP, Balance: gatewayapi.BalanceSource, Hold: gatewayapi.Hold{MaxWait: gatewayapi.Duration(10 * time.Second), MaxRequests: 10, MaxBytes: 10},
		Drain: 5 * time.Second, Transfer: 20 * time.Second, LongLived: 30 * time.Second,
		Probe: &gatewayapi.Probe{Type: gatewayapi.ProbeHTTP, Path: "/health", Interval: gatewayapi.Duration(time.Second)}, SendProxy: "v2",
	}
	for _, c := range []struct {
		name      string
		all, web  v1alpha1.GatewayTraffic
		extension compose.Traffic
		want      layout.Traffic
	}{
		{"nothing set", v1alpha1.GatewayTraffic{}, v1alpha1.GatewayTraffic{}, compose.Traffic{}, defaults},
		{"for all", all, v1alpha1.GatewayTraffic{}, compose.Traffic{}, fromAll},
		{"the Compose file goes before that", all, v1alpha1.GatewayTraffic{}, file, fromFile},
		{"the Application's for the service before all", v1alpha1.GatewayTraffic{}, all, file, fromAll},
		{"field by field", all, v1alpha1.GatewayTraffic{SendProxyProtocol: v1alpha1.ProxyProtocolOff}, compose.Traffic{}, func() layout.Traffic {
			out := fromAll
			out.SendProxy = ""
			return out
		}()},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := &run{Work: Work{Request: &v1alpha1.UpdateRequest{}, Application: &v1alpha1.Application{}}}
			s.Application.Spec.Gateway.GatewayTraffic = c.all
			s.Application.Spec.Gateway.Services = []v1alpha1.ServiceTraffic{{Name: "web", GatewayTraffic: c.web}}
			if got := s.traffic(compose.Service{Name: "web", Extension: compose.Extension{Traffic: c.extension}}, 5*time.Second); !reflect.DeepEqual(got, c.want) {
				t.Errorf("got %+v, want %+v", got, c.want)
			}
		})
	}
}
