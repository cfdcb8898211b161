#!/bin/sh
# The native surface: OpenAI's and Anthropic's APIs, whichever provider answers.
set -eu
url=${PENSTOCK_URL:-http://127.0.0.1:8080}

ask() {
    curl -sS --fail-with-body ${PENSTOCK_KEY:+-H "Authorization: Bearer $PENSTOCK_KEY"} "$@"
    echo
}

ask "$url/v1/chat/completions" -H 'Content-Type: application/json' \
    -d '{"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Say hello."}]}'
ask -N "$url/v1/chat/completions" -H 'Content-Type: application/json' \
    -d '{"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Say hello."}], "stream": true}'
ask "$url/v1/messages" -H 'Content-Type: application/json' -H 'anthropic-version: 2023-06-01' \
    -d '{"model": "gpt-4o-mini", "max_tokens": 64, "messages": [{"role": "user", "content": "Say hello."}]}'
