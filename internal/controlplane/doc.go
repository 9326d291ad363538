// SPDX-License-Identifier: Apache-2.0

// Package controlplane runs a Kubernetes API server and its etcd inside this
// process: the API of namespaces, secrets, config maps, events, leases, RBAC,
// tokens and custom resources, without nodes, pods or any other machinery of a
// cluster. Any Kubernetes client works against it.
package controlplane
