# SPDX-License-Identifier: Apache-2.0
#
# Fairlead in a container, for config/compose:
#
#   docker build --build-arg VERSION=$(git describe --tags --always) -t fairlead .
#
# With a binary that `make build` has made, and without a Go image:
#
#   make build && docker build --target prebuilt -t fairlead .
#
# That stage comes first: Docker's classic builder makes all stages up to the target. It
# makes this one for the other too, where there is no binary yet: hence the pattern, which
# may find none as long as the licence is found.
ARG BUILDER=golang:1.26-bookworm
ARG BASE=debian:bookworm-slim

FROM ${BASE} AS runtime
# git and ssh fetch the commits; curl is the healthcheck.
RUN apt-get update \
 && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends ca-certificates curl git git-lfs openssh-client \
 && rm -rf /var/lib/apt/lists/*
# The deployment directories belong to whoever made them on the host.
RUN git config --system --add safe.directory '*' \
 && ln -s /opt/fairlead/fairlead /usr/local/bin/fairlead
VOLUME /var/lib/fairlead
ENTRYPOINT ["fairlead"]
CMD ["serve"]

FROM runtime AS prebuilt
COPY LICENSE bin/fairlea[d] /opt/fairlead/

FROM ${BUILDER} AS compiled
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY api api
COPY cmd cmd
COPY config config
COPY controllers controllers
COPY internal internal
ARG VERSION=devel
RUN CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags "-s -w -X github.com/fairlead-dev/fairlead/cmd/fairlead/app.version=${VERSION}" -o /fairlead ./cmd/fairlead

FROM runtime
COPY LICENSE /opt/fairlead/
COPY --from=compiled /fairlead /opt/fairlead/fairlead
