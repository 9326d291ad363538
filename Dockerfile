# SPDX-License-Identifier: Apache-2.0
#
# Fairlead in a container, for config/compose:
#
#   docker build --build-arg VERSION=$(git describe --tags --always) -t fairlead .
#
# With a binary that `make build` has made, and without a Go image:
#
#   docker build --build-arg BINARY=prebuilt -t fairlead .
ARG BUILDER=golang:1.26-bookworm
ARG BASE=debian:bookworm-slim
ARG BINARY=compiled

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
RUN CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags "-s -w -X main.version=${VERSION}" -o /fairlead ./cmd/fairlead

FROM scratch AS prebuilt
COPY bin/fairlead /fairlead

FROM ${BINARY} AS binary

FROM ${BASE}
# git and ssh fetch the commits; curl is the healthcheck.
RUN apt-get update \
 && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends ca-certificates curl git git-lfs openssh-client \
 && rm -rf /var/lib/apt/lists/*
COPY --from=binary /fairlead /usr/local/bin/fairlead
# The deployment directories belong to whoever made them on the host.
RUN git config --system --add safe.directory '*'
VOLUME /var/lib/fairlead
ENTRYPOINT ["fairlead"]
CMD ["serve"]
