// SPDX-License-Identifier: Apache-2.0

package boxes

import (
	"archive/tar"
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/image"

	"github.com/fairlead-dev/fairlead/internal/docker"
)

const (
	// imageName is the repository of the gateway's image; its tag says which
	// program is in it.
	imageName = "fairlead-gateway"
	// program is where it is in the image.
	program = "/fairlead"
	// imageLabel is on all images of gateways that a daemon made.
	imageLabel = "fairlead.dev/gateway-image"
	// unusedFor is how old an image is at least that is removed as nothing uses it: another
	// daemon may be about to.
	unusedFor = time.Hour
	// tagLength is how many digits of the program's digest are the image's tag.
	tagLength = 12
)

// ensureImage makes the image out of the daemon's own program, unless it is
// there, and returns its name. No registry is needed.
func (k *Keeper) ensureImage(ctx context.Context) (string, error) {
	digest, err := k.programDigest()
	if err != nil {
		return "", err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.image = imageName + ":" + digest[:tagLength]
	_, err = k.Engine.ImageContent(ctx, k.image)
	if err == nil || !docker.IsNotFound(err) {
		return k.image, err
	}
	file, err := os.Open(k.Program)
	if err != nil {
		return "", err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return "", err
	}
	reader, writer := io.Pipe()
	go func() { _ = writer.CloseWithError(pack(writer, file, info.Size())) }()
	answer, err := k.Engine.ImageImport(ctx, image.ImportSource{Source: reader, SourceName: "-"}, k.image, image.ImportOptions{
		Message: "Fairlead's gateway", Changes: []string{`ENTRYPOINT ["` + program + `", "gateway"]`, "LABEL " + imageLabel + "=true"},
	})
	if err != nil {
		_ = reader.Close()
		return "", fmt.Errorf("make the image %s: %w", k.image, err)
	}
	_, err = io.Copy(io.Discard, answer)
	if err := errors.Join(err, answer.Close()); err != nil {
		return "", fmt.Errorf("make the image %s: %w", k.image, err)
	}
	if _, err = k.Engine.ImageContent(ctx, k.image); err != nil {
		return "", fmt.Errorf("the engine did not make the image %s: %w", k.image, err)
	}
	return k.image, nil
}

// removeUnused removes images of gateways that no container uses, this program's too: each is as
// large as the program, and one that is needed again is made again.
func (k *Keeper) removeUnused(ctx context.Context) {
	list, err := k.Engine.ImageList(ctx, image.ListOptions{Filters: filters.NewArgs(filters.Arg("label", imageLabel))})
	if err != nil {
		return // they cost room, no more
	}
	for _, tag := range old(list, time.Now()) {
		_ = k.Engine.RemoveImageTag(ctx, tag) // the engine keeps those that are used
	}
}

// old are the names of images that may be removed at now if nothing uses them.
func old(list []image.Summary, now time.Time) []string {
	var tags []string
	for _, img := range list {
		if now.Sub(time.Unix(img.Created, 0)) < unusedFor {
			continue
		}
		for _, tag := range img.RepoTags {
			if strings.HasPrefix(tag, imageName+":") {
				tags = append(tags, tag)
			}
		}
	}
	return tags
}

// Fit says why no gateway can be made of the daemon's own program, which no attempt
// changes.
func (k *Keeper) Fit() error {
	if k.Dir == "" {
		return nil // only the daemon makes gateways
	}
	return static(k.Program)
}

// static says why a program cannot run where there is nothing else.
func static(path string) error {
	f, err := elf.Open(path)
	if err != nil {
		return fmt.Errorf("the daemon's own program cannot be put into a gateway: %w", err)
	}
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			return errors.New("the daemon's own program is linked dynamically and cannot run in a gateway: build it with CGO_ENABLED=0, or set gateway.mode: Off")
		}
	}
	return nil
}

// pack writes the root file system: the program, and where the shared directory
// is mounted.
func pack(to io.Writer, file io.Reader, size int64) error {
	w := tar.NewWriter(to)
	for _, h := range []*tar.Header{
		{Name: "run/", Typeflag: tar.TypeDir, Mode: 0o755},
		{Name: mountPoint[1:] + "/", Typeflag: tar.TypeDir, Mode: 0o700},
		{Name: program[1:], Typeflag: tar.TypeReg, Mode: 0o755, Size: size},
	} {
		if err := w.WriteHeader(h); err != nil {
			return err
		}
	}
	if _, err := io.Copy(w, file); err != nil {
		return err
	}
	return w.Close()
}
