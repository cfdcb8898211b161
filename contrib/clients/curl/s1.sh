#!/bin/sh
# S1, the enterprise gateway. The key may be a JSON Web Token.
set -eu
url=${PENSTOCK_URL:-http://127.0.0.1:8080}

ask() {
    curl -sS --fail-with-body ${PENSTOCK_KEY:+-H "Authorization: Bearer $PENSTOCK_KEY"} "$@"
    echo
}

ask "$url/api/v1/llm/chat/completions" -H 'Content-Type: application/json' \
    -d '{"messages": [{"role": "user", "content": "Say hello."}], "maxTokens": 64, "temperature": 0.7}'
ask "$url/api/v1/llm/health"
