#!/bin/sh
# S0, the OpenRouter service: the model may be left out.
set -eu
url=${PENSTOCK_URL:-http://127.0.0.1:8080}

ask() {
    curl -sS --fail-with-body ${PENSTOCK_KEY:+-H "Authorization: Bearer $PENSTOCK_KEY"} "$@"
    echo
}

ask "$url/chat/completions" -H 'Content-Type: application/json' -H 'HTTP-Referer: https://example.com' -H 'X-Title: Example' \
    -d '{"messages": [{"role": "user", "content": "Say hello."}]}'
ask "$url/models/available"
ask "$url/providers/status"
