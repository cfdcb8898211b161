#!/bin/sh
# A room includes headers of its own and of rooms below it, by the table of floors in doc/internals.md; and a foreign
# library is known to as few files as possible.
cd "${srcdir:-.}" || exit 99
export LC_ALL=C
bad=$(
    find src include -name '*.[ch]' | sort | xargs awk '
    BEGIN {
        # "    5  policy/    decisions; no sockets" under "## Floors"
        while ((getline line < "doc/internals.md") > 0) {
            if (line ~ /^## /) in_floors = (line ~ /^## Floors/)
            if (in_floors && line ~ /^ +[0-9]+ +[a-z]+\//) {
                split(line, w, " ")
                room = w[2]; sub(/\/$/, "", room)
                floor[room] = w[1] + 0; rooms++
            }
        }
        if (rooms < 10) { print "doc/internals.md: the table of floors was not understood"; exit }
        # header (prefix): a pattern of the files that may include it
        only["curl/"] = only["call_wire.h"] = "src/upstream/(call|call_[a-z]+|multi)[.][ch]"
        only["hiredis/"] = "src/cluster/resp[.]c"
        only["zlib.h"] = "src/upstream/inflate[.]c"
        only["zstd.h"] = "src/cluster/shelf[.]c"
        only["lmdb.h"] = "src/store/db[.]c"
        only["yaml.h"] = "src/conf/yaml[.]c"
        only["event2/http"] = "nobody"
        only["evhttp.h"] = "nobody"
    }
    function room_of(file,    part) {
        split(file, part, "/")
        return part[3] == "" ? "" : part[2]
    }
    /^[ \t]*#[ \t]*include[ \t]*[<"]/ {
        header = $0; sub(/^[^<"]*[<"]/, "", header); sub(/[>"].*/, "", header)
        for (h in only)
            if (index(header, h) == 1 && FILENAME !~ ("^" only[h] "$"))
                print FILENAME ":" FNR ": <" header "> belongs to " only[h]
        if (header !~ /\//) next
        to = header; sub(/\/.*/, "", to)
        if (!(to in floor)) next
        from = room_of(FILENAME)
        if (from == "" || from == to) next
        if (!(from in floor)) { print FILENAME ": the room " from " has no floor"; next }
        if (floor[to] > floor[from] || (floor[to] == floor[from] && !beside(from, to)))
            print FILENAME ":" FNR ": " from "/ (floor " floor[from] ") includes " header " (floor " floor[to] ")"
    }
    # On the same floor, one way only.
    function beside(from, to) {
        return (from == "conf" && to == "llm") || (from == "store" && (to == "llm" || to == "shm" || to == "conf"))
    }'
)
[ -z "$bad" ] && exit 0
echo "$bad"
exit 1
