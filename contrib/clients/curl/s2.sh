#!/bin/sh
# S2, the routing gateway: a chat with hints where it may go, and the same streamed.
set -eu
url=${PENSTOCK_URL:-http://127.0.0.1:8080}

ask() {
    curl -sS --fail-with-body ${PENSTOCK_KEY:+-H "Authorization: Bearer $PENSTOCK_KEY"} "$@"
    echo
}

chat='{"messages": [{"role": "user", "content": "Say hello."}], "routing": {"strategy": "cost"}}'
ask "$url/v1/completions" -H 'Content-Type: application/json' -d "$chat"
ask -N "$url/v1/completions/stream" -H 'Content-Type: application/json' -d "$chat"
ask "$url/v1/providers"
