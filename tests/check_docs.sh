#!/bin/sh
# Every endpoint of the route table is told of in doc/http.md.
set -eu
srcdir=${srcdir:-.}
missing=0
for path in $(sed -n 's/.*{HTTP_[A-Z]*, *"\([^"]*\)".*/\1/p; s/^ *"\(\/[^"]*\)",$/\1/p' "$srcdir/src/surface/routes.c" | sed 's/\*/{id}/'); do
    grep -qF "$path" "$srcdir/doc/http.md" || { echo "doc/http.md does not tell of $path"; missing=1; }
done
exit $missing
