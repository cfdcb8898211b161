#!/bin/sh
# Files as C arrays, by what every system has that can build: embed.sh DIR/FILE...
# The table is declared in include/surface/asset.h.
set -eu
export LC_ALL=C
echo '/* Made by src/ui/embed.sh. */'
echo '#include "surface/asset.h"'
n=0
for file; do
    test -s "$file"
    echo "static const unsigned char a$n[] = {"
    od -A n -v -t x1 "$file" | sed 's/[ 	][ 	]*\([0-9a-f][0-9a-f]\)/0x\1,/g'
    echo '};'
    n=$((n + 1))
done
echo 'const struct asset assets[] = {'
n=0
for file; do
    echo "    {\"${file##*/}\", {(const char *)a$n, sizeof(a$n)}},"
    n=$((n + 1))
done
echo '};'
echo 'const size_t assets_n = sizeof(assets) / sizeof(*assets);'
