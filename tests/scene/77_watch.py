"""Watching: what the scribe asks and tells, from one process only and through its death: checks of providers, alerts."""

import base64
import hashlib
import hmac
import json
import signal
import time

import scene

KEYS = {"keys": [{"id": "user", "key": {"value": "sk-user"}},
                 {"id": "boss", "key": {"value": "sk-boss"}, "permissions": ["completion", "admin"]}]}
USER, BOSS = {"x-api-key": "sk-user"}, {"x-api-key": "sk-boss"}


def checks(up):
    return [r for r in up.requests if r.method == "GET"]


def kill_scribe(gw):
    """kill -9, until its successor is there."""
    old = gw.scribe().pid
    gw.signal(signal.SIGKILL, old)
    return scene.wait_for(lambda: (s := gw.scribe()) and s.pid != old and s, "another scribe")


# --- checks of providers ---


def test_checks_come_from_one_process_and_go_on_after_its_death():
    up = scene.Upstream(scene.status_script(200, {"data": []}))
    gw = scene.Gateway({"providers": [up.provider("up", health_check={"every": "1s", "path": "/models"})]}, workers=4)
    up.wait_requests(4)
    seen = checks(up)
    assert all(r.path == "/v1/models" and r.headers["authorization"] == "Bearer up-key" for r in seen)
    assert len({r.connection for r in seen}) == 1, "several processes ask"
    pauses = [b.at - a.at for a, b in zip(seen, seen[1:])]
    assert min(pauses) >= 0.95, pauses
    for pid in gw.worker_pids():
        gw.signal(signal.SIGKILL, pid)
    n = len(seen)
    scene.wait_for(lambda: len(checks(up)) >= n + 2, "checks while all workers are replaced")
    mine = {r.connection for r in checks(up)}
    assert len(mine) == 1
    kill_scribe(gw)
    scene.wait_for(lambda: {r.connection for r in checks(up)} - mine, "checks of the next scribe")
    up.default = scene.status_script(500)
    gw.wait_log("up: the check fails", "health")
    scene.wait_for(lambda: gw.admin("/providers").json()["providers"][0]["health_score"] < 70, "the score to fall")
    up.default = scene.status_script(401)  # the key's matter
    gw.wait_log("up: the check is good again", "health")


def test_who_is_used_is_not_checked():
    up = scene.Upstream()
    gw = scene.Gateway({"providers": [up.provider("up", health_check={"every": "500ms", "path": "/models"})]}, workers=4)
    first = time.monotonic()
    while time.monotonic() - first < 2.5:
        assert gw.chat("up/m").status == 200
    assert len(checks(up)) == 0, checks(up)
    up.default = scene.status_script(200, {"data": []})
    scene.wait_for(lambda: len(checks(up)) >= 2, "checks of a provider at rest")


def test_checks_that_never_end_hold_no_record_up():
    up = scene.Upstream()
    dead = scene.Upstream(lambda a: a.until_closed())
    gw = scene.Gateway({"providers": [up.provider("up"), dead.provider("dead", health_check={"every": "1s"})],
                        "auth": KEYS}, workers=4)
    dead.wait_requests(1)
    for i in range(20):
        assert gw.chat("up/m", headers=USER).status == 200
        scene.wait_for(lambda: gw.admin("/usage", headers=BOSS).json()["total"]["requests"] == i + 1,
                       "the record", seconds=2)
    kill_scribe(gw)
    assert gw.chat("up/m", headers=USER).status == 200
    scene.wait_for(lambda: gw.admin("/usage", headers=BOSS).json()["total"]["requests"] == 21,
                   "the record after a death amid a check", seconds=5)


# --- alerts ---

SECRET = "a shared secret"


def hook_of(script=None):
    """A webhook that takes everything, or does what the script says."""
    return scene.Upstream(script or scene.status_script(204, b""))


def alerts_of(hook, **more):
    return {"alerts": {"webhook": hook.url + "/hook/1", "secret": {"value": SECRET}, "window": "8s", "min_requests": 5,
                       **more}}


def told(hook):
    return [json.loads(r.body) for r in hook.requests]


def states(hook, alert):
    return [m["state"] for m in told(hook) if m["alert"] == alert]


def active(gw, headers=None):
    return [(a["alert"], a["subject"]) for a in gw.admin("/alerts", headers=headers).json()["active"]]


def must_be_signed(r):
    parts = dict(p.split("=", 1) for p in r.headers["x-penstock-signature"].split(","))
    mac = hmac.new(SECRET.encode(), parts["t"].encode() + b"." + r.body, hashlib.sha256).hexdigest()
    assert parts["v1"] == mac and abs(int(parts["t"]) - time.time()) < 60, r.headers
    assert r.method == "POST" and r.path == "/hook/1" and r.headers["content-type"] == "application/json"


def failing(hook, **more):
    """A provider that fails all the time, without a breaker, and a gateway of four workers."""
    up = scene.Upstream(scene.status_script(500))
    gw = scene.Gateway({"providers": [up.provider("up", retry={"max": 0}, breaker={"consecutive_failures": 0, "error_rate": 0})],
                        "routing": {"fallback": False}, **alerts_of(hook, error_rate=0.5, **more)}, workers=4)
    return gw, up


def fail(gw, n=20):
    for _ in range(n):
        assert gw.chat("up/m").status >= 500


def test_an_alert_is_raised_once_over_four_workers_and_recovers():
    hook = hook_of()
    gw, up = failing(hook)
    fail(gw, 4)
    up.default = scene.chat_script()  # too few to say anything
    assert gw.admin("/alerts").json()["active"] == []
    up.default = scene.status_script(500)
    fail(gw)
    hook.wait_requests(1)
    message = told(hook)[0]
    assert message["alert"] == "error_rate" and message["subject"] == "up" and message["state"] == "raised", message
    assert message["value"] >= 0.5 and message["threshold"] == 0.5 and message["raised_at"].endswith("Z"), message
    must_be_signed(hook.requests[0])
    for _ in range(16):  # whichever worker is asked
        assert active(gw) == [("error_rate", "up")]
    assert gw.metrics()["penstock_alerts_total"] == 1
    kill_scribe(gw)
    for pid in gw.worker_pids()[:2]:
        gw.signal(signal.SIGKILL, pid)
    gw.wait_workers(4)
    for _ in range(12):
        try:
            gw.chat("up/m")
        except (OSError, scene.Closed):
            pass
    assert active(gw) == [("error_rate", "up")]
    up.default = scene.chat_script()
    scene.wait_for(lambda: gw.chat("up/m").status == 200 and not active(gw), "the recovery", 30, 0.1)
    hook.wait_requests(2)
    assert states(hook, "error_rate") == ["raised", "recovered"] and told(hook)[1]["id"] == message["id"]
    must_be_signed(hook.requests[1])
    recent = gw.admin("/alerts").json()["recent"]
    assert [a["subject"] for a in recent] == ["up"] and recent[0]["recovered_at"] >= recent[0]["raised_at"]
    lines = [(x["alert"], x["subject"], x["state"]) for x in gw.log("alert")]
    assert lines == [("error_rate", "up", "raised"), ("error_rate", "up", "recovered")], lines
    assert SECRET not in gw.admin("/config").text and SECRET not in gw.run("-T").stdout


def test_the_query_of_a_webhook_goes_along_and_is_nobodys_business():
    for path in ("/hook", ""):
        hook = hook_of()
        gw, up = failing(hook)
        gw.reconfigure({"alerts": {"webhook": hook.url + path + "?room=1&key=QUERY-KEY"}})
        gw.stop()
        gw.start()
        fail(gw)
        hook.wait_requests(1)
        assert hook.requests[0].path == (path or "/") + "?room=1&key=QUERY-KEY", hook.requests[0].path
        for text in (gw.admin("/config").text, gw.run("-T").stdout):
            assert "QUERY-KEY" not in text and hook.url + path + "?<redacted>" in text.replace("\\/", "/"), text
        gw.stop()


def test_a_webhook_that_answers_500_then_200():
    hook = hook_of()
    hook.next(scene.status_script(500), scene.status_script(503), scene.status_script(429))
    gw, up = failing(hook)
    fail(gw)
    hook.wait_requests(4)
    bodies = {r.body for r in hook.requests}
    assert len(bodies) == 1, bodies
    pauses = [b.at - a.at for a, b in zip(hook.requests, hook.requests[1:])]
    assert 0.2 < pauses[0] < pauses[2] and pauses[2] > 0.9, pauses
    scene.wait_for(lambda: gw.metrics()["penstock_webhook_sent_total"] == 1, "the count")
    assert gw.metrics()["penstock_webhook_retries_total"] == 3 and gw.metrics()["penstock_webhook_lost_total"] == 0
    gw.wait_log("takes what it is told again", "webhook")
    assert len(gw.log("webhook")) == 2, gw.log("webhook")  # that it does not, that it does


def test_a_webhook_that_refuses_gets_nothing_twice():
    hook = hook_of(scene.status_script(400))
    gw, up = failing(hook)
    fail(gw)
    scene.wait_for(lambda: gw.metrics()["penstock_webhook_lost_total"] == 1, "the count")
    assert len(hook.requests) == 1


def test_a_dead_webhook_delays_nothing_and_a_killed_scribe_tells_all_the_same():
    hook = hook_of(lambda a: a.until_closed())  # takes the message, never answers
    gw, up = failing(hook)
    fail(gw)
    hook.wait_requests(1)
    n = 24
    for i in range(4):
        r = gw.chat("up/m")
        scene.wait_for(lambda: gw.admin("/usage").json()["total"]["requests"] == 20 + i + 1, "the record", 2)
    hook.default = scene.status_script(200, {})
    kill_scribe(gw)  # amid the call
    hook.wait_requests(2)
    assert states(hook, "error_rate") == ["raised", "raised"] and len({m["id"] for m in told(hook)}) == 1
    scene.wait_for(lambda: gw.metrics()["penstock_webhook_sent_total"] == 1, "the count")
    assert gw.admin("/usage").json()["total"]["requests"] == n
    assert gw.metrics()["penstock_alerts_total"] == 1


def test_a_webhook_that_is_not_there():
    hook = hook_of()
    hook.stop()
    gw, up = failing(hook)
    fail(gw)
    scene.wait_for(lambda: gw.metrics()["penstock_webhook_retries_total"] >= 3, "retries")
    assert len(gw.log("webhook")) == 1, gw.log("webhook")
    assert gw.chat("up/m").status >= 500 and active(gw) == [("error_rate", "up")]
    gw.reconfigure({"alerts": {"webhook": None}})
    assert gw.admin("/reload", "POST").status == 200
    scene.wait_for(lambda: gw.admin("/alerts").json()["webhook"]["configured"] is False, "the reload")
    assert active(gw) == [("error_rate", "up")]


def test_breakers_keys_latency_and_money():
    hook = hook_of()
    up = scene.Upstream(scene.status_script(500))
    shut = scene.Upstream(scene.status_script(401))
    slow = scene.Upstream(lambda a: (time.sleep(0.3), scene.chat_script()(a)))
    gw = scene.Gateway({"providers": [
        up.provider("up", retry={"max": 0}, breaker={"consecutive_failures": 3, "open_for": "500ms", "max_open_for": "1s"}),
        shut.provider("shut", retry={"max": 0}), slow.provider("slow")],
        "models": [{"name": "dear", "targets": [{"provider": "slow", "model": "x"}], "prices": {"input": 1000000, "output": 0}}],
        "routing": {"fallback": False}, **alerts_of(hook, latency="250ms", cost_per_hour=50)}, workers=4)
    for _ in range(3):
        assert gw.chat("up/m").status >= 500
    assert gw.chat("shut/m").status >= 400
    for _ in range(7):  # each costs seven dollars
        assert gw.chat("dear").status == 200
    hook.wait_requests(3)
    seen = sorted((m["alert"], m["subject"]) for m in told(hook))
    assert seen == [("breaker_open", "up/m"), ("key_rejected", "shut/0"), ("latency", "slow")], seen
    assert gw.chat("dear").status == 200
    hook.wait_requests(4)
    assert told(hook)[3]["alert"] == "cost_per_hour" and told(hook)[3]["value"] == 56, told(hook)[3]
    up.default = scene.chat_script()
    scene.wait_for(lambda: gw.chat("up/m").status == 200 and ("breaker_open", "up/m") not in active(gw), "the breaker", 20, 0.1)
    assert gw.admin("/providers/shut/reset", "POST").status == 200
    scene.wait_for(lambda: ("key_rejected", "shut/0") not in active(gw), "the key")
    gw.reconfigure({"alerts": {"latency": None}, "models": None})  # what is not watched any more has recovered
    assert gw.admin("/reload", "POST").status == 200
    scene.wait_for(lambda: active(gw) == [("cost_per_hour", "gateway")], "only the money is left")
    kill_scribe(gw)
    scene.wait_for(lambda: gw.scribe(), "the next scribe")
    assert active(gw) == [("cost_per_hour", "gateway")]
    scene.wait_for(lambda: len(told(hook)) == 7, "all of it was told")


def test_little_disk_is_told():
    gw = scene.Gateway({"alerts": {"disk": "900GiB"}}, workers=2)
    scene.wait_for(lambda: active(gw) == [("disk", "state_dir")], "the alert")
    gw.reconfigure({"alerts": {"disk": "0"}})
    assert gw.admin("/reload", "POST").status == 200
    scene.wait_for(lambda: not active(gw), "its end")


def test_wrong_options_are_refused():
    gw = scene.Gateway(start=False)
    for alerts, word in (({"error_rate": 1.5}, "error_rate"), ({"error_rate": -1}, "error_rate"), ({"latency": "x"}, "latency"),
                         ({"webhook": "ftp://x/"}, "webhook"), ({"webhook": "http://u:p@h/"}, "webhook"),
                         ({"secret": {"env": "NOT_SET"}}, "secret"), ({"window": "0s"}, "window"), ({"webhok": "x"}, "webhok")):
        gw.conf["alerts"] = alerts
        gw.write_conf()
        r = gw.run("-t")
        assert r.returncode != 0 and word in r.stderr, (alerts, r)


# --- histograms ---


def test_histograms_by_provider_and_model():
    def slow_stream(a):
        a.sse()
        for i in range(5):
            a.event(scene.chat_chunk("x"))
            time.sleep(0.03)
        a.event(scene.chat_chunk(finish="stop"))
        a.event(scene.chat_usage(7, 5))
        a.event("[DONE]")
        a.end()
    up = scene.Upstream(slow_stream)
    gw = scene.Gateway({"providers": [up.provider("up")]}, workers=4)
    for _ in range(3):
        c = gw.chat_stream("up/m", stream_options={"include_usage": True})
        while c.event():
            pass
    up.default = scene.chat_script()
    assert gw.chat("up/m").status == 200
    m = scene.wait_for(lambda: (m := gw.metrics()).get("penstock_request_duration_seconds_count") == 4 and m, "the numbers")
    ours, otel = '{provider="up",model="m"}', '{gen_ai_provider_name="up",gen_ai_request_model="m"}'
    assert m["penstock_target_duration_seconds_count" + ours] == m["gen_ai_client_operation_duration_seconds_count" + otel] == 4
    assert m["penstock_target_time_per_output_token_seconds_count" + ours] == 3, "streams only"
    assert 0.06 < m["gen_ai_server_time_per_output_token_seconds_sum" + otel] < 0.5, m
    assert m["gen_ai_server_time_to_first_token_seconds_count" + otel] == 4
    usage = "gen_ai_client_token_usage_sum" + otel[:-1] + ',gen_ai_token_type="%s"}'
    assert m[usage % "input"] == 28 and m[usage % "output"] == 18
    assert m["penstock_target_overhead_seconds_count" + ours] == m["penstock_overhead_seconds_count"] == 4
    assert 0 < m["penstock_overhead_seconds_sum"] < 0.4, "the stream's time is the provider's"


# --- OTLP ---

# The messages of opentelemetry-proto that are sent, as its JSON mapping names their fields: another message's name, a
# list of them, or a scalar. What is not here is not in the specification.
STR, INT, REAL, BOOL, ENUM, TRACE, SPAN = "str", "int64", "double", "bool", "enum", "16 bytes", "8 bytes"
PROTO = {
    "ExportTraceServiceRequest": {"resourceSpans": ["ResourceSpans"]},
    "ResourceSpans": {"resource": "Resource", "scopeSpans": ["ScopeSpans"], "schemaUrl": STR},
    "Resource": {"attributes": ["KeyValue"], "droppedAttributesCount": ENUM},
    "ScopeSpans": {"scope": "InstrumentationScope", "spans": ["Span"], "schemaUrl": STR},
    "InstrumentationScope": {"name": STR, "version": STR, "attributes": ["KeyValue"]},
    "Span": {"traceId": TRACE, "spanId": SPAN, "traceState": STR, "parentSpanId": SPAN, "flags": ENUM, "name": STR,
             "kind": ENUM, "startTimeUnixNano": INT, "endTimeUnixNano": INT, "attributes": ["KeyValue"], "status": "Status"},
    "Status": {"message": STR, "code": ENUM},
    "KeyValue": {"key": STR, "value": "AnyValue"},
    "AnyValue": {"stringValue": STR, "boolValue": BOOL, "intValue": INT, "doubleValue": REAL},
    "ExportMetricsServiceRequest": {"resourceMetrics": ["ResourceMetrics"]},
    "ResourceMetrics": {"resource": "Resource", "scopeMetrics": ["ScopeMetrics"], "schemaUrl": STR},
    "ScopeMetrics": {"scope": "InstrumentationScope", "metrics": ["Metric"], "schemaUrl": STR},
    "Metric": {"name": STR, "description": STR, "unit": STR, "sum": "Sum", "histogram": "Histogram"},
    "Sum": {"dataPoints": ["NumberDataPoint"], "aggregationTemporality": ENUM, "isMonotonic": BOOL},
    "NumberDataPoint": {"attributes": ["KeyValue"], "startTimeUnixNano": INT, "timeUnixNano": INT, "asInt": INT, "asDouble": REAL},
    "Histogram": {"dataPoints": ["HistogramDataPoint"], "aggregationTemporality": ENUM},
    "HistogramDataPoint": {"attributes": ["KeyValue"], "startTimeUnixNano": INT, "timeUnixNano": INT, "count": INT,
                           "sum": REAL, "bucketCounts": [INT], "explicitBounds": [REAL]},
}


def must_be_proto(value, kind, at="$"):
    """Strict: no unknown field, no field twice, 64-bit numbers as texts, enums as numbers, ids in hex."""
    if isinstance(kind, list):
        assert isinstance(value, list), (at, value)
        for i, v in enumerate(value):
            must_be_proto(v, kind[0], f"{at}[{i}]")
    elif kind in PROTO:
        assert isinstance(value, dict), (at, value)
        for k, v in value.items():
            assert k in PROTO[kind], f"{at}.{k}: {kind} has no such field"
            must_be_proto(v, PROTO[kind][k], f"{at}.{k}")
        assert kind != "AnyValue" or len(value) == 1, (at, value)
    elif kind in (TRACE, SPAN):
        size = 32 if kind == TRACE else 16
        assert len(value) == size and not set(value) - set("0123456789abcdef") and set(value) != {"0"}, (at, value)
    elif kind == INT:
        assert isinstance(value, str) and str(int(value)) == value and int(value) >= 0, (at, value)
    elif kind == ENUM:
        assert type(value) is int and 0 <= value <= 5, (at, value)
    elif kind == REAL:
        assert type(value) in (int, float), (at, value)
    else:
        assert type(value) is {STR: str, BOOL: bool}[kind], (at, value)


def once(pairs):
    assert len({k for k, _ in pairs}) == len(pairs), pairs
    return dict(pairs)


def exported(collector, path):
    """What came there, checked."""
    kind = {"/v1/traces": "ExportTraceServiceRequest", "/v1/metrics": "ExportMetricsServiceRequest"}[path]
    out = []
    for r in list(collector.requests):
        if r.path == path:
            assert r.method == "POST" and r.headers["content-type"] == "application/json" and r.headers["x-tenant"] == "t1"
            body = json.loads(r.body, object_pairs_hook=once)
            must_be_proto(body, kind)
            out.append(body)
    return out


def spans(collector):
    return [s for e in exported(collector, "/v1/traces") for rs in e["resourceSpans"] for ss in rs["scopeSpans"]
            for s in ss["spans"]]


def attributes(x):
    return {a["key"]: next(iter(a["value"].values())) for a in x["attributes"]}


def collected(**more):
    collector = scene.Upstream(scene.status_script(200, {}))
    return collector, {"telemetry": {"otlp_endpoint": collector.url + "/", "headers": {"x-tenant": "t1"}, "metrics_every": "1s",
                                     **more}}


def test_spans_of_a_request_and_its_attempts():
    collector, telemetry = collected()
    bad, good = scene.Upstream(scene.status_script(500)), scene.Upstream()
    gw = scene.Gateway({"providers": [bad.provider("bad", retry={"max": 0}), good.provider("good")],
                        "models": [{"name": "m", "targets": [{"provider": "bad"}, {"provider": "good", "model": "gpt"}]}],
                        **telemetry}, workers=4)
    trace, parent = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
    assert gw.chat("m", headers={"traceparent": f"00-{trace}-{parent}-01", "tracestate": "a=b"}).status == 200
    scene.wait_for(lambda: len(spans(collector)) == 3, "three spans")
    by_parent = {s.get("parentSpanId"): [] for s in spans(collector)}
    for s in spans(collector):
        assert s["traceId"] == trace and int(s["startTimeUnixNano"]) <= int(s["endTimeUnixNano"])
        assert abs(int(s["endTimeUnixNano"]) / 1e9 - time.time()) < 60
        by_parent[s.get("parentSpanId")].append(s)
    (root,), children = by_parent[parent], by_parent[by_parent[parent][0]["spanId"]]
    a = attributes(root)
    assert root["name"] == "chat m" and root["kind"] == 2 and "code" not in root["status"], root
    assert a["gen_ai.operation.name"] == "chat" and a["gen_ai.request.model"] == "m" and a["gen_ai.response.model"] == "gpt", a
    assert a["gen_ai.usage.input_tokens"] == "7" and a["gen_ai.usage.output_tokens"] == "3", a
    assert a["http.response.status_code"] == "200" and a["penstock.provider"] == "good" and "error.type" not in a, a
    first, second = sorted(children, key=lambda s: int(s["startTimeUnixNano"]))
    assert first["kind"] == second["kind"] == 3 and first["status"] == {"code": 2} and second["status"] == {}
    assert attributes(first)["penstock.provider"] == "bad" and attributes(first)["error.type"] == "server_error", first
    assert attributes(first)["http.response.status_code"] == "500"
    for up, span in ((bad, first), (good, second)):
        h = up.requests[0].headers
        assert h["traceparent"] == f"00-{trace}-{span['spanId']}-01" and h["tracestate"] == "a=b", h
    assert gw.chat("m", headers={"traceparent": f"00-{trace}-{parent}-00"}).status == 200  # not to be traced
    assert good.requests[1].headers["traceparent"] == f"00-{trace}-{parent}-00"
    for wrong in ("", "00", f"00-{trace}-{parent}", f"ff-{trace}-{parent}-01", f"00-{'0' * 32}-{parent}-01",
                  f"00-{trace.upper()}-{parent}-01", f"00-{trace}-{parent}-01-x", f"00-{trace}-{parent}-0g", "x" * 3000):
        n = len(good.requests)
        assert gw.chat("m", headers={"traceparent": wrong}).status == 200
        own = good.requests[n].headers["traceparent"]
        assert trace not in own and own.startswith("00-") and own.endswith("-01"), (wrong, own)
    scene.wait_for(lambda: len({s["traceId"] for s in spans(collector)}) == 10, "nine traces more")
    assert gw.metrics()["penstock_traces_dropped_total"] == 0


def test_metrics_for_a_collector():
    collector, telemetry = collected(sample=0)
    up = scene.Upstream()
    gw = scene.Gateway({"providers": [up.provider("up")], **telemetry}, workers=4)
    for _ in range(5):
        assert gw.chat("up/m").status == 200
    assert "traceparent" not in up.requests[0].headers

    def last():
        e = exported(collector, "/v1/metrics")
        return {m["name"]: m for m in e[-1]["resourceMetrics"][0]["scopeMetrics"][0]["metrics"]} if e else {}
    m = scene.wait_for(lambda: (m := last()) and m["gen_ai.client.operation.duration"]["histogram"]["dataPoints"] and m, "metrics")
    point, = m["gen_ai.client.operation.duration"]["histogram"]["dataPoints"]
    assert point["count"] == "5" and sum(map(int, point["bucketCounts"])) == 5
    assert len(point["bucketCounts"]) == len(point["explicitBounds"]) + 1 and point["explicitBounds"] == sorted(point["explicitBounds"])
    assert attributes(point) == {"gen_ai.provider.name": "up", "gen_ai.request.model": "m"}
    usage = {attributes(p)["gen_ai.token.type"]: p["sum"] for p in m["gen_ai.client.token.usage"]["histogram"]["dataPoints"]}
    assert usage == {"input": 35, "output": 15}, usage
    total = m["penstock_http_requests_total"]["sum"]
    assert total["isMonotonic"] is True and total["aggregationTemporality"] == 2 and int(total["dataPoints"][0]["asInt"]) >= 5
    assert not exported(collector, "/v1/traces")


def test_a_collector_that_is_slow_dead_or_says_no_delays_nothing():
    collector, telemetry = collected()
    collector.default = lambda a: a.until_closed()
    up = scene.Upstream()
    gw = scene.Gateway({"providers": [up.provider("up")], **telemetry}, workers=4)
    for i in range(10):
        assert gw.chat("up/m").status == 200
        scene.wait_for(lambda: gw.admin("/usage").json()["total"]["requests"] == i + 1, "the record", 2)
    scene.wait_for(lambda: any(r.path == "/v1/traces" for r in collector.requests), "the collector to be asked")
    collector.default = scene.status_script(400)
    kill_scribe(gw)
    before = gw.metrics()["penstock_traces_dropped_total"]
    assert gw.chat("up/m").status == 200
    scene.wait_for(lambda: gw.metrics()["penstock_traces_dropped_total"] == before + 1, "the refused one")
    n = len([r for r in collector.requests if r.path == "/v1/traces"])
    collector.default = scene.status_script(200, {})
    collector.next()
    assert gw.chat("up/m").status == 200
    scene.wait_for(lambda: gw.metrics()["penstock_traces_sent_total"] == 1, "the next")
    assert len([r for r in collector.requests if r.path == "/v1/traces"]) == n + 1, "what was refused is not sent again"
    gw.wait_log("spans are taken again", "telemetry")
    assert gw.admin("/usage").json()["total"]["requests"] == 12


def test_a_reload_counts_the_spans_that_it_loses():
    collector, telemetry = collected()
    collector.default = lambda a: a.until_closed()
    up = scene.Upstream()
    gw = scene.Gateway({"providers": [up.provider("up")], **telemetry})
    for i in range(3):
        assert gw.chat("up/m").status == 200
    scene.wait_for(lambda: any(r.path == "/v1/traces" for r in collector.requests), "the collector to be asked")
    scribe = gw.scribe().pid
    gw.signal(signal.SIGSTOP, scribe)  # some wait in its memory and at the collector, some in the rings
    generation = gw.workers()[0].generation + 1
    for i in range(4):
        assert gw.chat("up/m").status == 200
    gw.signal(signal.SIGHUP)
    gw.wait_log(f"generation {generation} serves", "reload", 30)
    gw.signal(signal.SIGCONT, scribe)
    scene.wait_for(lambda: not scene.alive(scribe), "the old one to go", 30)
    scene.wait_for(lambda: gw.metrics()["penstock_traces_dropped_total"] == 7, "all to be counted")
    collector.default = scene.status_script(200, {})
    assert gw.chat("up/m").status == 200
    scene.wait_for(lambda: gw.metrics()["penstock_traces_sent_total"] == 1, "the next")
    assert gw.metrics()["penstock_traces_dropped_total"] == 7


# --- the JWK set of a URL ---


def b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def jwks(*secrets):
    return {"keys": [{"kty": "oct", "kid": s[:4], "alg": "HS256", "k": b64(s.encode())} for s in secrets]}


def bearer(secret):
    head = b64(json.dumps({"alg": "HS256", "kid": secret[:4]}).encode()) + "." + b64(
        json.dumps({"exp": int(time.time()) + 600, "sub": "alice"}).encode())
    return {"authorization": "Bearer " + head + "." + b64(hmac.new(secret.encode(), head.encode(), hashlib.sha256).digest())}


ONE, TWO = "one-" + "1" * 40, "two-" + "2" * 40


def published(document, every="1s"):
    publisher, up = scene.Upstream(scene.status_script(200, document)), scene.Upstream()
    gw = scene.Gateway({"providers": [up.provider("up")], "auth": {
        "mode": "keys+jwt", "keys": KEYS["keys"],
        "jwt": {"jwks_url": publisher.url + "/.well-known/jwks.json", "jwks_every": every, "algorithms": ["HS256"]}}}, workers=4)
    return gw, publisher


def statuses(gw, secret, n=24):
    return {gw.chat("up/m", headers=bearer(secret)).status for _ in range(n)}


def test_fetched_keys_rotate_and_outlive_who_published_them():
    gw, publisher = published(jwks(ONE))
    scene.wait_for(lambda: statuses(gw, ONE, 4) == {200}, "the first set")
    assert statuses(gw, ONE) == {200} and statuses(gw, TWO) == {401}
    assert publisher.requests[0].path == "/.well-known/jwks.json" and publisher.requests[0].method == "GET"
    assert len({r.connection for r in publisher.requests}) == 1, "several processes fetch"
    publisher.default = scene.status_script(200, jwks(TWO))
    scene.wait_for(lambda: statuses(gw, TWO, 1) == {200}, "the next set")
    assert statuses(gw, TWO) == {200} and statuses(gw, ONE) == {401}
    for wrong in (scene.status_script(500), scene.status_script(200, b"garbage"), scene.status_script(200, {"keys": []}),
                  scene.status_script(200, b"[" * 300000), lambda a: a.reset()):
        n = len(publisher.requests)
        publisher.default = wrong
        kill_scribe(gw)  # the next asks at once
        publisher.wait_requests(n + 1)
        scene.wait_for(lambda: ("jwks", "auth.jwt.jwks_url") in active(gw, BOSS), "the alert")
        assert statuses(gw, TWO, 8) == {200} and statuses(gw, ONE, 4) == {401}
    publisher.stop()
    gw.stop()
    gw.start()
    assert statuses(gw, TWO, 8) == {200} and statuses(gw, ONE, 4) == {401}
    gw.reconfigure({"auth": {"jwt": {"jwks_url": publisher.url + "/other"}}})  # whose keys nobody has seen
    r = gw.admin("/reload", "POST", headers=BOSS)
    gw.wait_workers(4, generation=r.json()["generation"])
    scene.wait_for(lambda: len(gw.workers()) == 4, "the old ones to leave")
    assert statuses(gw, TWO, 8) == {503}, "it may be good, nobody can tell"
    assert "could not be fetched" in gw.chat("up/m", headers=bearer(TWO)).text
    assert gw.chat("up/m", headers={"authorization": "Bearer a.b.c"}).status == 401
    assert gw.chat("up/m", headers=BOSS).status == 200


def test_keys_of_a_set_that_are_of_no_use_are_passed_over():
    gw, publisher = published({"keys": [{"kty": "RSA", "kid": "x"}, 5, {"kty": "weird"}, *jwks(ONE)["keys"], None]})
    scene.wait_for(lambda: statuses(gw, ONE, 1) == {200}, "the set")
    assert statuses(gw, TWO) == {401}


def test_junk_tokens_bring_no_more_fetches_on():
    gw, publisher = published(jwks(ONE), "1h")
    scene.wait_for(lambda: statuses(gw, ONE, 1) == {200}, "the set")
    assert statuses(gw, TWO, 40) == {401}
    scene.wait_for(lambda: gw.get("/metrics", headers=BOSS).status == 200 and time.monotonic() - publisher.requests[0].at > 2, "two seconds")
    assert len(publisher.requests) == 1, "the second may come a minute later"
    assert ("jwks", "auth.jwt.jwks_url") not in active(gw, BOSS)


scene.main()
