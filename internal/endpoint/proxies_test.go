// SPDX-License-Identifier: Apache-2.0

package endpoint

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestBehindProxies(t *testing.T) {
	trusted, err := ParseProxies([]string{"10.0.0.0/8", " 192.0.2.7", "2001:db8::/32", ""})
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		from string
		said []string
		want string
	}{
		"by nobody":                 {"198.51.100.1:5", nil, "198.51.100.1:5"},
		"a client that lies":        {"198.51.100.1:5", []string{"203.0.113.9"}, "198.51.100.1:5"},
		"by a proxy":                {"10.1.2.3:5", []string{"203.0.113.9"}, "203.0.113.9:0"},
		"by a proxy, with a port":   {"192.0.2.7:5", []string{"203.0.113.9:4711"}, "203.0.113.9:0"},
		"by the next address":       {"192.0.2.8:5", []string{"203.0.113.9"}, "192.0.2.8:5"},
		"by a silent proxy":         {"10.1.2.3:5", nil, "10.1.2.3:5"},
		"by two proxies":            {"10.1.2.3:5", []string{"203.0.113.9, 10.9.9.9"}, "203.0.113.9:0"},
		"in two headers":            {"10.1.2.3:5", []string{"203.0.113.9", "10.9.9.9"}, "203.0.113.9:0"},
		"a client that adds to it":  {"10.1.2.3:5", []string{"127.0.0.1, 203.0.113.9"}, "203.0.113.9:0"},
		"nonsense":                  {"10.1.2.3:5", []string{"unknown"}, "10.1.2.3:5"},
		"nonsense before it":        {"10.1.2.3:5", []string{"x, 203.0.113.9"}, "203.0.113.9:0"},
		"nonsense before a proxy":   {"10.1.2.3:5", []string{"x, 10.9.9.9"}, "10.9.9.9:0"},
		"all of them trusted":       {"10.1.2.3:5", []string{"10.4.4.4, 10.9.9.9"}, "10.4.4.4:0"},
		"IPv6":                      {"[2001:db8::1]:5", []string{"2001:db9::7"}, "[2001:db9::7]:0"},
		"IPv6 with a port":          {"[2001:db8::1]:5", []string{"[2001:db9::7]:99"}, "[2001:db9::7]:0"},
		"IPv4 as IPv6":              {"[::ffff:10.1.2.3]:5", []string{"::ffff:203.0.113.9"}, "203.0.113.9:0"},
		"an empty element":          {"10.1.2.3:5", []string{"203.0.113.9,"}, "10.1.2.3:5"},
		"no address of its own":     {"@", []string{"203.0.113.9"}, "@"},
		"a zone is no other client": {"10.1.2.3:5", []string{"fe80::1%eth0"}, "[fe80::1]:0"},
	} {
		t.Run(name, func(t *testing.T) {
			got := ""
			h := BehindProxies(trusted, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got = r.RemoteAddr }))
			r := httptest.NewRequest(http.MethodGet, "/", nil)
			r.RemoteAddr = c.from
			for _, s := range c.said {
				r.Header.Add("X-Forwarded-For", s)
			}
			h.ServeHTTP(httptest.NewRecorder(), r)
			if got != c.want {
				t.Errorf("the address is %s, want %s", got, c.want)
			}
			if r.RemoteAddr != c.from {
				t.Error("the request of the server was changed")
			}
		})
	}
}

func TestBadProxies(t *testing.T) {
	for text, says := range map[string]string{
		"proxy.example.com": "neither an IP address nor a network",
		"10.0.0.0/33":       "neither an IP address nor a network",
		"0.0.0.0/0":         "everybody",
		"::/0":              "everybody",
		"fe80::1%eth0":      "neither an IP address nor a network",
		"::ffff:10.0.0.1":   "as IPv4",
	} {
		if _, err := ParseProxies([]string{"127.0.0.1", text}); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v, want an error that says %q", text, err, says)
		}
	}
}
