// SPDX-License-Identifier: Apache-2.0

// Package clientconfig finds the kubeconfig that a client command talks
// through: the same lookup for the built-in kubectl and for the commands that
// people type.
package clientconfig

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

const (
	// DefaultDataDir is where the daemon keeps its state unless told otherwise.
	DefaultDataDir = "/var/lib/fairlead"

	// DefaultNamespace is used when neither a flag nor the kubeconfig names one.
	DefaultNamespace = "default"

	// DataDirEnv names the environment variable that replaces DefaultDataDir.
	DataDirEnv = "FAIRLEAD_DATA_DIR"

	kubeconfigName = "kubeconfig"

	// workspaceEnv is set in the container of an updater.
	workspaceEnv = "WORKSPACE"
)

// ErrNotFound is returned, wrapped in a sentence that says where was looked and
// what to do, when no kubeconfig exists.
var ErrNotFound = errors.New("no kubeconfig found")

// DataDir is the data directory of the daemon on this host: $FAIRLEAD_DATA_DIR, that
// of a daemon in an updater's place, or DefaultDataDir.
func DataDir() string {
	if dir := os.Getenv(DataDirEnv); dir != "" {
		return dir
	}
	if workspace := os.Getenv(workspaceEnv); workspace != "" {
		dir := filepath.Join(workspace, ".update", "fairlead")
		if _, err := os.Stat(dir); err == nil {
			return dir
		}
	}
	return DefaultDataDir
}

// KubeconfigIn is the path of the administrator's kubeconfig that the daemon
// writes in dataDir.
func KubeconfigIn(dataDir string) string {
	return filepath.Join(dataDir, kubeconfigName)
}

// Locate returns the kubeconfig files to use, in this order: flag, the files in
// $KUBECONFIG that exist, the daemon's own kubeconfig in dataDir. A flag that
// names an unreadable file is an error and never falls through to another
// cluster.
func Locate(flag, dataDir string) ([]string, error) {
	if flag != "" {
		if err := readable(flag); err != nil {
			return nil, fmt.Errorf("--kubeconfig: %w", err)
		}
		return []string{flag}, nil
	}
	env := os.Getenv(clientcmd.RecommendedConfigPathEnvVar)
	var found []string
	for _, path := range filepath.SplitList(env) {
		switch err := readable(path); {
		case path == "" || errors.Is(err, os.ErrNotExist):
		case err != nil:
			return nil, fmt.Errorf("KUBECONFIG: %w", advised(err))
		default:
			found = append(found, path)
		}
	}
	if len(found) > 0 {
		return found, nil
	}
	own := KubeconfigIn(dataDir)
	switch err := readable(own); {
	case err == nil:
		return []string{own}, nil
	case !errors.Is(err, os.ErrNotExist):
		return nil, advised(err)
	}
	looked := []string{own}
	if env != "" {
		looked = append([]string{"KUBECONFIG=" + env}, looked...)
	}
	return nil, fmt.Errorf("%w (looked at %s): start the daemon with `fairlead serve`, or name a file with --kubeconfig, "+
		"KUBECONFIG or the daemon's data directory with %s", ErrNotFound, strings.Join(looked, ", "), DataDirEnv)
}

// advised adds what to do where a file belongs to somebody else.
func advised(err error) error {
	if !errors.Is(err, os.ErrPermission) {
		return err
	}
	return fmt.Errorf("%w; run the command as the user that runs the daemon (often: with sudo), "+
		"or pass --kubeconfig with a file of your own", err)
}

// Load finds the kubeconfig (see Locate) and returns the client configuration
// and the namespace to work in: namespaceFlag, else the one of the kubeconfig's
// current context, else DefaultNamespace. Both flags may be empty.
func Load(kubeconfigFlag, namespaceFlag string) (*rest.Config, string, error) {
	paths, err := Locate(kubeconfigFlag, DataDir())
	if err != nil {
		return nil, "", err
	}
	overrides := &clientcmd.ConfigOverrides{Context: clientcmdapi.Context{Namespace: namespaceFlag}}
	loader := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(
		&clientcmd.ClientConfigLoadingRules{Precedence: paths, WarnIfAllMissing: false}, overrides)
	config, err := loader.ClientConfig()
	if err != nil {
		return nil, "", fmt.Errorf("kubeconfig %s: %w", strings.Join(paths, string(filepath.ListSeparator)), err)
	}
	namespace, _, err := loader.Namespace()
	if err != nil {
		return nil, "", fmt.Errorf("kubeconfig %s: %w", strings.Join(paths, string(filepath.ListSeparator)), err)
	}
	return config, namespace, nil
}

func readable(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return f.Close()
}
