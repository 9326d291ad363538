//go:build heapscratch

package controlplane

import (
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"runtime/pprof"
	"testing"
	"time"

	"github.com/fairlead-dev/fairlead/internal/bootstrap"
	"github.com/fairlead-dev/fairlead/config"
	"github.com/fairlead-dev/fairlead/internal/datadir"
)

func TestHeap(t *testing.T) {
	runtime.MemProfileRate = 4096
	debug.SetGCPercent(50)
	dir, _ := datadir.Open(filepath.Join(t.TempDir(), "data"), time.Now())
	s, err := Start(t.Context(), Options{DataDir: dir})
	if err != nil { t.Fatal(err) }
	crds, _ := config.CRDs()
	if err := bootstrap.Apply(t.Context(), s.RESTConfig(), bootstrap.Manifests{CRDs: crds}); err != nil { t.Fatal(err) }
	time.Sleep(5*time.Second)
	runtime.GC(); runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	t.Logf("alloc %d MB, sys %d, stack %d goroutines %d", m.HeapAlloc>>20, m.Sys>>20, m.StackSys>>20, runtime.NumGoroutine())
	f, _ := os.Create("/tmp/flcp/heap.pb.gz")
	pprof.Lookup("heap").WriteTo(f, 0)
	f.Close()
	s.Stop(t.Context())
}
