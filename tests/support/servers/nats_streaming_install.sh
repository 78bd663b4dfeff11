#!/usr/bin/env bash
# Installs the NATS Streaming server that the tests run against into a cache that git ignores, unless it is there.
# Needs Go. Takes about a minute and a half on two cores, the first time. Prints the program's path.
set -euo pipefail

version=v0.25.6 # the last one: NATS Streaming is at the end of its life
bin="${HOME}/.cache/payment-tests/bin"
program="$bin/nats-streaming-server"

if [[ ! -x "$program" ]]; then
    go="$(command -v go || true)"
    [[ -z "$go" && -x /usr/local/go/bin/go ]] && go=/usr/local/go/bin/go
    [[ -n "$go" ]] || { echo "needs Go to install nats-streaming-server (https://go.dev/doc/install)" >&2; exit 69; }
    mkdir -p "$bin"
    GOBIN="$bin" "$go" install "github.com/nats-io/nats-streaming-server@$version" >&2
fi
echo "$program"
