#!/bin/sh
# S3, the microservice: models as provider.model.
set -eu
url=${PENSTOCK_URL:-http://127.0.0.1:8080}

ask() {
    curl -sS --fail-with-body ${PENSTOCK_KEY:+-H "X-API-Key: $PENSTOCK_KEY"} "$@"
    echo
}

chat='{"model": "openai.gpt-4o-mini", "messages": [{"role": "user", "content": "Say hello."}]}'
ask "$url/api/v1/completion" -H 'Content-Type: application/json' -d "$chat"
ask -N "$url/api/v1/completion/stream" -H 'Content-Type: application/json' -d "$chat"
ask "$url/api/v1/models"
