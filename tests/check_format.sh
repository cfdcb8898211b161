#!/bin/sh
# Formatted by .clang-format. Skipped without clang-format, and with another major version, which formats otherwise.
cd "${srcdir:-.}" || exit 99
tool=${CLANG_FORMAT:-clang-format}
command -v "$tool" >/dev/null || { echo "no $tool"; exit 77; }
[ -f .clang-format ] || { echo "no .clang-format"; exit 77; }
"$tool" --version | grep -q 'version 14\.' || { echo "not version 14"; exit 77; }
find src tests -name '*.[ch]' | sort | xargs "$tool" --dry-run -Werror --ferror-limit=1
