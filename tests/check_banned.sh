#!/bin/sh
# Functions that cannot be used safely, or that hide an error, are not used. Comments and strings do not count.
cd "${srcdir:-.}" || exit 99
export LC_ALL=C
bad=$(
    find src include tests -name '*.[ch]' | sort | xargs awk '
    BEGIN {
        n = split("strcpy stpcpy strncpy strcat sprintf vsprintf gets strtok strtok_r atoi atol atoll atof" \
                  " alloca strdupa strndupa mktemp tmpnam tempnam rand srand system popen signal_longjmp" \
                  " setjmp longjmp localtime gmtime ctime asctime strerror_l usleep", word, " ")
    }
    FNR == 1 { comment = 0 }
    {
        s = $0
        gsub(/\\./, "", s)
        gsub(/"[^"]*"/, "\"\"", s)
        gsub(/\/\*[^*]*\*\//, "", s)
        if (comment) { if (s !~ /\*\//) next; sub(/.*\*\//, "", s); comment = 0 }
        if (s ~ /\/\*/) { sub(/\/\*.*/, "", s); comment = 1 }
        sub(/\/\/.*/, "", s)
        for (i = 1; i <= n; i++)
            if (match(s, "(^|[^A-Za-z0-9_.>])" word[i] "[ \t]*\\("))
                print FILENAME ":" FNR ": " word[i]
    }'
)
[ -z "$bad" ] && exit 0
echo "$bad"
exit 1
