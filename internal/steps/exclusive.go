// SPDX-License-Identifier: Apache-2.0

package steps

import (
	"fmt"
	"net"
	"slices"
	"strings"

	"github.com/distribution/reference"

	"github.com/fairlead-dev/fairlead/internal/compose"
)

// databaseImages are names of images whose servers do not bear a second copy
// on the same data: the last part of the repository's name, as on Docker Hub.
var databaseImages = []string{
	"postgres", "postgresql", "postgis", "timescaledb", "pgvector", "mysql", "mariadb", "percona", "mongo", "mongodb",
	"redis", "valkey", "keydb", "dragonfly", "memcached", "cassandra", "couchdb", "couchbase", "clickhouse-server",
	"elasticsearch", "opensearch", "influxdb", "neo4j", "rabbitmq", "nats", "kafka", "zookeeper", "etcd", "minio",
	"cockroach", "rethinkdb", "arangodb", "mssql", "oracle", "victoria-metrics", "prometheus", "vault", "consul",
}

// exclusive says why two copies of a service must not run at once.
func exclusive(d wanted, all []wanted) []string {
	var why []string
	svc := d.Service
	for _, p := range svc.Ports {
		if p.Fixed() && !d.gateway {
			why = append(why, fmt.Sprintf("publishes the host port %s", hostPort(p)))
		}
	}
	for _, other := range all {
		if by := namedBy(svc, other.Service); by && !d.gateway {
			why = append(why, fmt.Sprintf("%s addresses it by its container_name %s", other.Name, svc.ContainerName))
		}
	}
	if isDatabase(svc.ImageName) || isDatabase(svc.Image) {
		why = append(why, "runs a database image")
	}
	for _, m := range svc.Mounts {
		if m.ReadOnly || m.Anonymous {
			continue
		}
		switch m.Type {
		case compose.MountVolume:
			why = append(why, fmt.Sprintf("writes to the volume %s", nameOf(m)))
		case compose.MountBind:
			if !harmless(m.Source) {
				why = append(why, fmt.Sprintf("writes to %s of the host", m.Source))
			}
		}
	}
	if svc.NetworkMode == "host" {
		why = append(why, "uses the host's network")
	}
	for _, n := range svc.Networks {
		if n.IPv4Address != "" || n.IPv6Address != "" || n.MacAddress != "" {
			why = append(why, fmt.Sprintf("has a static address in the network %s", n.Key))
		}
	}
	return why
}

func hostPort(p compose.Port) string {
	if p.HostIP != "" {
		return net.JoinHostPort(p.HostIP, p.Published)
	}
	return p.Published
}

func nameOf(m compose.Mount) string {
	if m.Key != "" {
		return m.Key
	}
	return m.Source
}

// namedBy reports whether other speaks of the container_name of svc as a host.
// Where the name is the service's own, Docker's name resolution answers for
// every copy.
func namedBy(svc, other compose.Service) bool {
	name := svc.ContainerName
	if name == "" || name == svc.Name || other.Name == svc.Name {
		return false
	}
	if other.NetworkMode == "container:"+name || slices.ContainsFunc(other.ExternalLinks, func(l string) bool { return strings.HasPrefix(l, name) }) {
		return true
	}
	for _, v := range other.Environment {
		for _, word := range strings.FieldsFunc(v, func(r rune) bool { return strings.ContainsRune(":/@,; =\"'", r) }) {
			if word == name {
				return true
			}
		}
	}
	return false
}

func isDatabase(image string) bool {
	named, err := reference.ParseNormalizedNamed(image)
	if err != nil {
		return false
	}
	path := reference.Path(named)
	return slices.Contains(databaseImages, path[strings.LastIndex(path, "/")+1:])
}

// harmless are places that many copies can mount at once.
func harmless(path string) bool {
	return path == "/var/run/docker.sock" || path == "/run/docker.sock" || strings.HasPrefix(path, "/dev/") ||
		path == "/etc/localtime" || path == "/etc/timezone" || strings.HasPrefix(path, "/sys/") || strings.HasPrefix(path, "/proc/")
}
