-- For wrk: the same POST again and again; then its own counts as a line of JSON.
-- wrk -s post.lua URL -- BODY-FILE KEY
function init(args)
    local file = assert(io.open(args[1], "rb"))
    wrk.method = "POST"
    wrk.body = file:read("*a")
    file:close()
    wrk.headers["Content-Type"] = "application/json"
    wrk.headers["Authorization"] = "Bearer " .. args[2]
end

function done(summary, latency)
    local e = summary.errors
    io.write(string.format(
        'bench {"requests": %d, "errors": %d, "not_2xx": %d, "p50": %d, "p99": %d}\n',
        summary.requests, e.connect + e.read + e.write + e.timeout, e.status,
        latency:percentile(50), latency:percentile(99)))
end
