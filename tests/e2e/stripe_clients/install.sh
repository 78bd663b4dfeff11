#!/usr/bin/env bash
# Installs what the tests here run beside Python, outside of the repository: Stripe's client for Node (into
# node_modules), Stripe's client for Go (into Go's own cache, compiled), and stripe-mock. Skips what needs Node or Go
# where they are missing. Takes about half a minute on two cores, the first time.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

mock_version=v0.203.0 # the newest that the Go proxy serves
bin="${HOME}/.cache/payment-tests/bin"

if command -v npm > /dev/null; then
    npm ci --no-audit --no-fund --ignore-scripts >&2
else
    echo "no npm on this machine: story.js is not installed" >&2
fi

go="$(command -v go || true)"
[[ -z "$go" && -x /usr/local/go/bin/go ]] && go=/usr/local/go/bin/go
if [[ -n "$go" ]]; then
    mkdir -p "$bin"
    "$go" build -o /dev/null .
    [[ -x "$bin/stripe-mock" ]] || GOBIN="$bin" "$go" install "github.com/stripe/stripe-mock@$mock_version" >&2
else
    echo "no Go on this machine: story.go and stripe-mock are not built (https://go.dev/doc/install)" >&2
fi
