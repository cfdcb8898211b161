#!/bin/sh
# The manual pages are well-formed, and name every option of the command line.
cd "${srcdir:-.}" || exit 99
command -v mandoc >/dev/null || { echo "no mandoc"; exit 77; }
status=0
for page in doc/*.[0-9]; do
    # STYLE and base-system notes depend on the machine's own manual pages
    mandoc -Tlint -W error "$page" || status=1
done
for option in $(sed -n 's/.*getopt_long(argc, argv, "\([^"]*\)".*/\1/p' src/main.c | tr -d : | sed 's/./& /g'); do
    grep -q "Fl $option" doc/penstock.8 || { echo "doc/penstock.8: -$option is missing"; status=1; }
done
exit $status
