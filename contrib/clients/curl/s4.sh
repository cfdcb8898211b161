#!/bin/sh
# S4, the cost-aware gateway: a question, its answer and what it cost; and what it would cost elsewhere.
set -eu
url=${PENSTOCK_URL:-http://127.0.0.1:8080}

ask() {
    curl -sS --fail-with-body ${PENSTOCK_KEY:+-H "X-API-Key: $PENSTOCK_KEY"} "$@"
    echo
}

ask "$url/v1/gateway/query" -H 'Content-Type: application/json' \
    -d '{"query": "Say hello.", "task_type": "text_generation", "max_cost_usd": 0.01}'
ask "$url/v1/gateway/cost-estimate" -H 'Content-Type: application/json' \
    -d '{"query": "Say hello.", "expected_response_tokens": 100}'
