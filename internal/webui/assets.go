// SPDX-License-Identifier: Apache-2.0

package webui

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io/fs"
	"net/http"
	"path"
	"strings"
)

//go:embed static templates
var embedded embed.FS

// contentTypes by the end of a name; nothing else is served.
var contentTypes = map[string]string{
	".css": "text/css; charset=utf-8",
	".js":  "text/javascript; charset=utf-8",
	".svg": "image/svg+xml",
}

// assets are the files of the UI. Their path has a digest of all of them, so that
// browsers may keep them for good and modules find each other by relative paths.
type assets struct {
	prefix string
	files  map[string][]byte
}

func loadAssets() (*assets, error) {
	a := &assets{files: map[string][]byte{}}
	sum := sha256.New()
	err := fs.WalkDir(embedded, "static", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := embedded.ReadFile(name)
		if err != nil {
			return err
		}
		rel := strings.TrimPrefix(name, "static/")
		a.files[rel] = data
		fmt.Fprintf(sum, "%s %d\n", rel, len(data))
		_, _ = sum.Write(data) // a hash never fails
		return nil
	})
	a.prefix = Prefix + "static/" + hex.EncodeToString(sum.Sum(nil))[:12] + "/"
	return a, err
}

// url of a file.
func (a *assets) url(name string) (string, error) {
	if a.files[name] == nil {
		return "", fmt.Errorf("there is no file %s in static", name)
	}
	return a.prefix + name, nil
}

// ServeHTTP implements http.Handler.
func (a *assets) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	name := strings.TrimPrefix(r.URL.Path, a.prefix)
	data, kind := a.files[name], contentTypes[path.Ext(name)]
	if data == nil || kind == "" {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", kind)
	w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
	_, _ = w.Write(data) // the browser is gone if this fails
}
