# SPDX-License-Identifier: Apache-2.0
#
# `make` says what there is. Nothing here installs anything outside of bin/ and
# the caches, and nothing but `generate`, `manifests` and `clean` changes the tree.

SHELL := /usr/bin/env bash
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS += --no-builtin-rules --no-print-directory
.DEFAULT_GOAL := help

# One set of flags for the binary, the linter and most tests, so that the large
# dependencies are compiled once. Only the race detector needs them a second time.
export CGO_ENABLED := 0
export GOFLAGS := $(strip $(filter-out -trimpath,$(shell go env GOFLAGS)) -trimpath)

MODULE  := github.com/fairlead-dev/fairlead
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
LDFLAGS := -s -w -X $(MODULE)/cmd/fairlead/app.version=$(VERSION)

BIN     := $(CURDIR)/bin
TOOLS   := $(BIN)/tools
CONTROLLER_GEN := $(TOOLS)/controller-gen
GOLANGCI_LINT  := $(TOOLS)/golangci-lint

# What the tests of a whole system run.
export FAIRLEAD_BIN := $(BIN)/fairlead

# Extra flags for every `go test`, such as TESTFLAGS='-run TestRollback -v'.
TESTFLAGS ?=
# Without tables for debuggers the test binaries, many of which hold the API
# server, are linked in two thirds of the time. Panics and the race detector name lines
# all the same. Vetting is the linter's, which looks at every file.
# -count=1: what these tests meet is not in the key of Go's test cache.
GOTEST := go test -count=1 -vet=off -ldflags '-s -w' $(TESTFLAGS)
# Hermetic tests end today as they did yesterday, with the same code and files.
HERMETIC := go test -vet=off -ldflags '-s -w' $(TESTFLAGS)

# Garbage is collected less often, in tests, daemons and tools alike: the processors are
# what there is too little of. Not where anything is measured.
lint test-controllers test-engine e2e crash: export GOGC := 400

# Tests behind a build tag: their files, and -run and the packages for `go test`. What has
# no tag in those packages is `make test-unit`'s.
tagged_files = $(shell grep -rlE --include='*_test.go' '^//go:build (.* )?$(1)( .*)?$$' api cmd controllers internal test 2>/dev/null)
tagged_tests = $(shell awk '/^func Test/ { sub(/[^A-Za-z0-9_].*/, "", $$2); print $$2 }' $(1) | sort -u | paste -sd'|')
tagged_in = $(if $(1),$(if $(filter -run%,$(TESTFLAGS)),,-run '^($(call tagged_tests,$(1)))$$') $(shell dirname $(1) | sort -u | sed 's|^|./|'))
tagged = $(call tagged_in,$(call tagged_files,$(1)))

section = @printf '\n\033[1m==> %s\033[0m\n' "$(1)"

##@ General

.PHONY: help
help: ## Say what there is.
	@awk 'BEGIN { FS = ":.*## " } \
	  /^##@/ { printf "\n\033[1m%s\033[0m\n", substr($$0, 5) } \
	  /^[a-z0-9-]+:.*## / { printf "  \033[36m%-17s\033[0m %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: clean
clean: ## Remove what was built.
	rm -rf $(BIN)

##@ Build

.PHONY: build
build: ## Build bin/fairlead, one static binary.
	$(call section,build $(VERSION))
	go build -ldflags '$(LDFLAGS)' -o $(BIN)/fairlead ./cmd/fairlead

.PHONY: generate
generate: $(CONTROLLER_GEN) ## Write the DeepCopy methods of api/.
	$(CONTROLLER_GEN) object:headerFile=hack/boilerplate.go.txt paths=./api/...

.PHONY: manifests
manifests: $(CONTROLLER_GEN) ## Write the CustomResourceDefinitions from api/ into config/crd/bases.
	$(CONTROLLER_GEN) crd paths=./api/... output:crd:dir=config/crd/bases

.PHONY: demo
demo: engine build ## Watch an application being updated, and a bad update undone by itself.
	@go run ./test/demo

##@ Test

# The order is: what fails fastest first. The tests of whole updates mostly wait,
# so more of them run at once than there are cores.
ALL_TESTS := build verify lint test-unit fuzz test-controllers test-engine e2e crash

.PHONY: test
test: engine ## Everything: lint, generated files, unit, controllers, engine, e2e and crash tests.
	@begin=$$SECONDS; \
	for target in $(ALL_TESTS); do \
	  from=$$SECONDS; \
	  $(MAKE) $$target || { printf '\n\033[1;31m==> FAILED: make %s, after %d s\033[0m\n' $$target $$((SECONDS - from)); exit 1; }; \
	  printf -- '--- %s: %d s\n' $$target $$((SECONDS - from)); \
	done; \
	printf '\n\033[1;32m==> all passed in %d min %d s\033[0m\n' $$(((SECONDS - begin) / 60)) $$(((SECONDS - begin) % 60))

# For each of the parsers that meet what strangers send first.
FUZZTIME ?= 10s

.PHONY: fuzz
fuzz: ## What the gateway reads from strangers, with inputs that nobody thought of; FUZZTIME=10m tries more of them.
	$(call section,fuzz)
	go test -run '^$$' -fuzz '^FuzzRequest$$' -fuzztime $(FUZZTIME) ./internal/gateway/http1
	go test -run '^$$' -fuzz '^FuzzResponse$$' -fuzztime $(FUZZTIME) ./internal/gateway/http1
	go test -run '^$$' -fuzz '^FuzzClassify$$' -fuzztime $(FUZZTIME) ./internal/gateway/proxy

# Packages with such tests must not link the API server: that would compile all of
# Kubernetes a second time, for the race detector.
.PHONY: test-unit
test-unit: ## Hermetic tests, with the race detector.
	$(call section,unit tests)
	@linked="$$(go list -f '{{if or .TestGoFiles .XTestGoFiles}}{{$$path := .ImportPath}}{{range .Deps}}{{if eq . "k8s.io/kubernetes/pkg/controlplane/apiserver"}}{{$$path}}{{end}}{{end}}{{end}}' ./... | grep . || true)"; \
	if [[ -n "$$linked" ]]; then echo "these packages link the API server, so their tests need the build tag controlplane: $$linked" >&2; exit 1; fi
	CGO_ENABLED=1 $(HERMETIC) -race -p 4 -timeout 10m $$(go list -f '{{if or .TestGoFiles .XTestGoFiles}}{{.ImportPath}}{{end}}' ./...)

.PHONY: test-controllers
test-controllers: build ## Tests against the embedded API server. RACE=1: with the race detector.
	$(call section,controllers on the embedded API server)
	$(if $(RACE),CGO_ENABLED=1) $(GOTEST) $(if $(RACE),-race) -tags controlplane -timeout 20m $(or $(call tagged,controlplane),$(error no test has the build tag controlplane))

.PHONY: test-engine
test-engine: engine images ## Tests of single packages against a Docker engine.
	$(call section,packages on a Docker engine)
	$(GOTEST) -p 3 -tags engine -timeout 20m $(or $(call tagged,engine),$(error no test has the build tag engine))

.PHONY: e2e
e2e: engine images build ## Whole updates of real applications on a real engine.
	$(call section,end to end)
	$(GOTEST) -tags e2e -parallel 6 -timeout 45m ./test/e2e/...

# Long: some ten minutes, of which most keep both processors busy, so that nothing
# may run beside it. What of it is short and light is part of e2e.
.PHONY: soak
soak: engine images build ## Fifty updates in a row, an engine that is restarted and others, under as much load as there can be.
	$(call section,soak)
	$(GOTEST) -tags 'e2e soak' -run TestSoak -timeout 60m -v ./test/e2e/...

.PHONY: browser
browser: engine images build ## The web UI in a real browser, on a real daemon and engine.
	$(call section,browser)
	@export FAIRLEAD_CHROMIUM="$$(hack/chromium.sh)" FAIRLEAD_AXE="$$(hack/axe.sh)"; \
	$(GOTEST) -tags browser -timeout 30m ./test/browser/... ./internal/webui

# Each page in both languages and themes, on a phone and on a screen.
.PHONY: screenshots
screenshots: engine images build ## Pictures of the web UI into bin/screenshots, and those of docs/ui.md.
	$(call section,screenshots)
	@export FAIRLEAD_CHROMIUM="$$(hack/chromium.sh)" FAIRLEAD_AXE="$$(hack/axe.sh)" FAIRLEAD_SCREENSHOTS=$(BIN)/screenshots; \
	$(GOTEST) -tags browser -timeout 30m -run '^TestLook$$' ./test/browser/...
	mkdir -p docs/images && cp $(BIN)/screenshots/docs/*.webp docs/images/

.PHONY: crash
crash: engine images build ## The daemon killed at every step, and what the next one makes of it.
	$(call section,crash matrix)
	$(GOTEST) -tags crash -parallel 4 -timeout 45m ./test/crash/...

.PHONY: bench
bench: engine images build ## The figures of docs/benchmarks.md, measured here.
	$(call section,benchmarks)
	export FAIRLEAD_CHROMIUM="$$(hack/chromium.sh)"; \
	$(GOTEST) -tags bench -timeout 60m -v ./test/bench/...

.PHONY: engine
engine: ## Find a Docker engine, or install and start one.
	@hack/engine.sh

.PHONY: images
images: engine ## Make the images of the test applications, where they are missing.
	@test/images/build.sh

##@ Check

.PHONY: lint
lint: $(GOLANGCI_LINT) ## Run the linters of .golangci.yml.
	$(call section,lint)
	$(GOLANGCI_LINT) run

.PHONY: verify
verify: $(CONTROLLER_GEN) ## Check that generated files, modules, format and licences are as they must be.
	$(call section,verify)
	@CONTROLLER_GEN=$(CONTROLLER_GEN) hack/verify.sh

# The tools, at the versions of hack/gotools/go.mod.
$(CONTROLLER_GEN): hack/gotools/go.mod hack/gotools/go.sum
	$(call section,build controller-gen)
	cd hack/gotools && go build -o $@ sigs.k8s.io/controller-tools/cmd/controller-gen

$(GOLANGCI_LINT): hack/gotools/go.mod hack/gotools/go.sum
	$(call section,build golangci-lint)
	cd hack/gotools && go build -o $@ github.com/golangci/golangci-lint/v2/cmd/golangci-lint
