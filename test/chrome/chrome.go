// SPDX-License-Identifier: Apache-2.0

// Package chrome starts the browser that tests and benchmarks drive.
package chrome

import (
	"context"
	"fmt"
	"os"

	"github.com/chromedp/chromedp"
)

// Variable names the browser; see hack/chromium.sh. Without it, chromedp looks for
// one.
const Variable = "FAIRLEAD_CHROMIUM"

// Start starts a browser without a window. Its tabs are contexts of chromedp made of
// the one that it returns; stop ends them all. It takes the certificates of tests.
func Start() (ctx context.Context, stop context.CancelFunc, err error) {
	options := []chromedp.ExecAllocatorOption{chromedp.Headless, chromedp.NoSandbox, chromedp.DisableGPU,
		chromedp.Flag("disable-background-networking", true), chromedp.Flag("disable-component-update", true),
		chromedp.Flag("ignore-certificate-errors", true), chromedp.WindowSize(1440, 900)}
	if path := os.Getenv(Variable); path != "" {
		options = append(options, chromedp.ExecPath(path))
	}
	allocated, end := chromedp.NewExecAllocator(context.Background(), options...)
	ctx, closeBrowser := chromedp.NewContext(allocated)
	stop = func() { closeBrowser(); end() }
	if err := chromedp.Do(ctx, chromedp.Navigate("about:blank")); err != nil {
		stop()
		return nil, nil, fmt.Errorf("the browser does not start: %w; run hack/chromium.sh, or name one in %s", err, Variable)
	}
	return ctx, stop, nil
}
