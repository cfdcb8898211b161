"""The log store: what GET /admin/v1/logs tells of requests and of the gateway itself, on all workers, over reloads, kills
and restarts, and without room."""

import os
import signal
import subprocess
import threading

import scene

BOSS = {"authorization": "Bearer sk-boss"}
ONE, TWO = {"authorization": "Bearer sk-one"}, {"authorization": "Bearer sk-two"}
KEYS = {"keys": [{"id": "boss", "key": {"value": "sk-boss"}, "permissions": ["completion", "admin"]},
                 {"id": "one", "key": {"value": "sk-one"}, "tenant": "acme"},
                 {"id": "two", "key": {"value": "sk-two"}, "tenant": "other"}]}


def start(workers=4, **more):
    up = scene.Upstream()
    conf = {"providers": [up.provider(retry={"max": 0})], "auth": KEYS, **more}
    return up, scene.Gateway(conf, workers=workers)


def page(gw, query="", headers=BOSS):
    r = gw.admin("/logs" + ("?" + query if query else ""), headers=headers)
    assert r.status == 200, r
    return r.json()


def logs(gw, query=""):
    """All pages together."""
    rows, more = [], query
    while True:
        p = page(gw, more)
        assert p["object"] == "list" and p["has_more"] == (p["next_cursor"] is not None), p
        rows += p["data"]
        if not p["has_more"]:
            return rows
        more = (query + "&" if query else "") + "cursor=" + p["next_cursor"]


def metric(gw, name):
    text = gw.get("/metrics", headers=BOSS).text
    return float([x for x in text.splitlines() if x.startswith(name + " ")][0].split()[1])


def wait_logs(gw, n, query=""):
    return scene.wait_for(lambda: (lambda rows: rows if len(rows) >= n else None)(logs(gw, query)), f"{n} records of {query}")


def test_requests_by_all_filters():
    up, gw = start()
    for i in range(6):
        assert gw.chat("up/m", headers=ONE if i % 2 else TWO).status == 200
    assert gw.chat("up/x", stream=True, headers=ONE).status == 200
    up.next(scene.status_script(500, {"error": {"message": "broken"}}))
    bad = gw.chat("up/m", headers={**ONE, "x-request-id": "the-bad-one"})
    assert bad.status >= 500
    assert gw.chat("up/m", headers={"authorization": "Bearer wrong"}).status == 401
    rows = wait_logs(gw, 18)
    assert len(rows) == 18 and [r["event"] for r in rows].count("request") == 9, rows
    for query, n in (("type=request", 9), ("type=response", 7), ("type=error", 2), ("type=error,response", 9), ("key=one", 10),
                     ("tenant=other", 6), ("status=200", 14), ("status=5xx", 2), ("status=4xx", 2), ("status=401&type=error", 1),
                     ("request_id=the-bad-one", 2), ("request_id=the-bad-one&type=request", 1), ("model=up/x", 2), ("model=x", 2),
                     ("provider=up", 16), ("provider=down", 0), ("key=one&status=5xx&type=error", 1), ("from=2020-01-01", 18),
                     ("to=2020-01-01", 0), ("from=2020-01-01T00:00:00Z&to=2099-01-01", 18), ("key=nobody", 0), ("type=audit", 0)):
        got = logs(gw, query)
        assert len(got) == n, (query, n, got)
    error = logs(gw, "request_id=the-bad-one&type=error")[0]
    assert error["fault"] == "server_error" and error["attempts"][0]["reason"] == "server_error" and error["key"] == "one", error
    asked = logs(gw, "model=up/x&type=request")[0]
    assert asked["stream"] and asked["tenant"] == "acme" and asked["estimated_tokens"] > 0 and "status" not in asked, asked
    times = [r["time"] for r in logs(gw, "type=response")]
    assert times == sorted(times, reverse=True)


def test_types_of_errors_say_whose_fault_it_was():
    up = scene.Upstream()
    dead = {"name": "dead", "kind": "openai_compatible", "base_url": f"http://127.0.0.1:{scene.free_port()}/v1", "keys": [{"value": "k"}],
            "retry": {"max": 0}}
    poor = {"id": "poor", "key": {"value": "sk-poor"}, "limits": {"requests_per_minute": 1}, "models": ["up/*"]}
    gw = scene.Gateway({"providers": [up.provider(retry={"max": 0}, timeouts={"first_byte": "300ms"}), dead],
                        "auth": {"keys": KEYS["keys"] + [poor]}}, workers=4)
    POOR = {"authorization": "Bearer sk-poor"}
    asked = []

    def ask(kind, status, model="up/m", script=None, headers=ONE, **more):
        if script:
            up.next(script)
        asked.append(kind)
        r = gw.chat(model, headers={**headers, "x-request-id": f"r-{len(asked)}"}, **more)
        assert r.status == status, (kind, r)

    ask("policy_permission", 403, "dead/m", headers=POOR)
    ask("", 200, headers=POOR)
    ask("policy_rate_limit", 429, headers=POOR)
    ask("caller_authentication", 401, headers={"authorization": "Bearer no"})
    ask("caller_invalid_request", 400, messages="none")
    ask("provider_model_not_found", 404, script=scene.status_script(404, {"error": {"message": "no", "code": "model_not_found"}}))
    ask("provider_connection", 502, "dead/m")
    ask("provider_server_error", 500, script=scene.status_script(500))
    ask("provider_timeout", 504, script=lambda a: a.until_closed())
    ask("caller_context_length", 400, script=scene.status_script(400, {"error": {
        "message": "This model's maximum context length is 10 tokens", "code": "context_length_exceeded"}}))
    ask("provider_rate_limit", 429, script=scene.status_script(429, headers={"retry-after": "1"}))
    c, before = gw.client(), len(up.requests)
    up.next(lambda a: a.until_closed())
    c.request("POST", "/v1/chat/completions", {"model": "up/m", "messages": [{"role": "user", "content": "Hi"}]},
              {**TWO, "x-request-id": "r-12"})
    up.wait_requests(before + 1)
    c.close()
    asked.append("caller_cancelled")
    rows = wait_logs(gw, len(asked), "type=response,error")
    got = {r["request_id"]: r.get("type", "") for r in rows}
    assert got == {f"r-{i + 1}": kind for i, kind in enumerate(asked)}, got
    scene.wait_for(lambda: {r["request_id"]: r.get("type", "") for r in gw.log("error") + gw.log("response")} == got, "the same in the log")
    for family in ("caller", "policy", "provider", "gateway"):
        want = [k for k in asked if k.startswith(family)]
        assert sorted(r["type"] for r in logs(gw, "type=" + family)) == sorted(want), family
    assert len(logs(gw, "type=provider_timeout,policy")) == 3 and len(logs(gw, "type=provider_timeout&key=two")) == 0
    assert page(gw, "type=provider_timeout,audit")["data"]
    lines = [x for x in gw.get("/metrics", headers=BOSS).text.splitlines() if x.startswith("penstock_errors_total{")]
    counted = {x.split('"')[1]: int(x.split()[-1]) for x in lines}
    assert len(lines) < 64 and all(counted[k] == asked.count(k) for k in asked if k), counted
    assert sum(counted.values()) == len(asked) - 1, "nothing else"


def test_pages_do_not_move_while_records_come():
    _, gw = start()
    for _ in range(10):
        assert gw.chat("up/m", headers=ONE).status == 200
    ids = [r["request_id"] for r in wait_logs(gw, 20)]
    first = page(gw, "limit=3")
    got = first["data"]
    while first["has_more"]:
        assert gw.chat("up/m", headers=TWO).status == 200
        first = page(gw, "limit=3&cursor=" + first["next_cursor"])
        assert len(first["data"]) <= 3
        got += first["data"]
    assert [r["request_id"] for r in got] == ids


def test_who_may_and_what_is_wrong():
    _, gw = start()
    assert gw.admin("/logs").status == 401 and gw.admin("/logs", headers=ONE).status == 403
    for query, param in (("status=700", "status"), ("status=6xx", "status"), ("status=abc", "status"), ("type=nothing", "type"), ("type=provider_", "type"), ("type=,", "type"),
                         ("limit=0", "limit"), ("limit=1001", "limit"), ("limit=x", "limit"), ("cursor=x", "cursor"),
                         ("cursor=" + "0" * 32 + "9", "cursor"), ("from=yesterday", "from"), ("to=", "to"), ("colour=red", "colour"),
                         ("from=2026-02-01&to=2026-01-01", "from"), ("key=a&key=b", "key"), ("key=%zz", "key")):
        r = gw.admin("/logs?" + query, headers=BOSS)
        assert r.status == 400 and r.json()["error"]["param"] == param, (query, r)
    assert gw.admin("/logs", "POST", headers=BOSS).status == 405


def test_audit_of_what_was_done_and_what_was_refused():
    _, gw = start()
    assert gw.admin("/cache", "DELETE", headers=BOSS).status == 200
    assert gw.admin("/providers/up/drain", "POST", headers=ONE).status == 403
    assert gw.admin("/providers/up/drain", "POST", headers={"authorization": "Bearer wrong"}).status == 401
    assert gw.admin("/usage", headers=ONE).status == 403
    assert gw.admin("/providers/nobody/drain", "POST", headers=BOSS).status == 404
    assert gw.admin("/usage", headers=BOSS).status == 200  # reads nothing but: no record
    assert gw.admin("/cache?model=m&key=sk-one&older_than=1h", "DELETE", headers=BOSS).status == 200  # a key in place of its id
    assert gw.admin("/cache?key=sk-boss", "DELETE", headers=ONE).status == 403
    assert gw.admin("/reload", "POST", headers={**BOSS, "x-request-id": "reload-1"}).status == 200
    rows = wait_logs(gw, 8, "type=audit")
    assert sorted((r.get("key", ""), r["status"], r["message"]) for r in rows) == [
        ("", 401, "POST /admin/v1/providers/up/drain"), ("boss", 200, "DELETE /admin/v1/cache"),
        ("boss", 200, "DELETE /admin/v1/cache?model=m&key=[SECRET]&older_than=1h"),
        ("boss", 200, "POST /admin/v1/reload"), ("boss", 404, "POST /admin/v1/providers/nobody/drain"),
        ("one", 403, "DELETE /admin/v1/cache"), ("one", 403, "GET /admin/v1/usage"), ("one", 403, "POST /admin/v1/providers/up/drain")], rows
    assert all(r["peer"] == "127.0.0.1" and r["request_id"] for r in rows)
    assert len(logs(gw, "request_id=reload-1")) == 1 and len(logs(gw, "type=audit&status=403&key=one")) == 3
    lines = gw.log("audit")
    assert sorted(r["request_id"] for r in lines) == sorted(r["request_id"] for r in rows), "in the log and in the store"
    assert not any("sk-" in str(r) for r in rows + lines)


def test_the_gateways_own_events():
    up = scene.Upstream()
    gw = scene.Gateway({"providers": [up.provider(retry={"max": 0}, breaker={"consecutive_failures": 2})], "auth": KEYS,
                        "log": {"level": "error"}}, workers=4)
    for _ in range(2):
        up.next(scene.status_script(500, {"error": {"message": "broken"}}))
        assert gw.chat("up/m", headers=ONE).status >= 500
    row = wait_logs(gw, 1, "type=breaker")[0]
    assert row["provider"] == "up" and row["model"] == "m" and row["level"] == "warn" and "open" in row["message"].lower(), row
    good = gw.conf
    gw.write_conf("nonsense: [")
    gw.signal(signal.SIGHUP)
    rows = wait_logs(gw, 3, "type=reload")
    assert any("refused" in r["message"] and r["level"] == "error" for r in rows), rows
    gw.conf = good
    gw.write_conf()
    gw.signal(signal.SIGHUP)
    rows = scene.wait_for(lambda: [r for r in logs(gw, "type=reload") if r["message"] == "generation 2 serves"], "the reload")
    assert not gw.log("reload") or all(r["level"] == "error" for r in gw.log("reload")), "the store has what log.level leaves out"


def test_once_each_over_kills_reloads_and_a_restart():
    _, gw = start()
    ids = set()
    for i in range(60):
        r = gw.chat("up/m", headers={**ONE, "x-request-id": f"r-{i}"})
        if r.status == 200:
            ids.add(f"r-{i}")
        if i % 15 == 7:
            gw.signal(signal.SIGKILL, scene.wait_for(gw.scribe, "a scribe").pid)
        if i % 15 == 11:
            gw.signal(signal.SIGKILL, gw.worker_pids(draining=False)[0])
            gw.wait_workers(4)
        if i == 30:
            gw.signal(signal.SIGHUP)
    scene.wait_for(lambda: ids <= {r["request_id"] for r in logs(gw, "type=response")}, "all of them")
    gw.stop()
    gw.start()
    seen = [r["request_id"] for r in logs(gw, "type=response")]
    assert len(seen) == len(set(seen)) and ids <= set(seen), (len(seen), len(ids))
    assert metric(gw, "penstock_log_records_dropped_total") == 0


test_once_each_over_kills_reloads_and_a_restart.seconds = 120


COUNT = 5000


def test_a_small_store_forgets_the_oldest():
    _, gw = start(log={"max_size": "1MiB"})
    c = gw.client()
    for i in range(COUNT):
        c.request("POST", "/v1/chat/completions", {"model": "up/m", "messages": [{"role": "user", "content": f"question {i}"}]},
                  {**ONE, "x-request-id": f"r-{i}"})
        assert c.response().status == 200
    scene.wait_for(lambda: logs(gw, f"request_id=r-{COUNT - 1}&type=response"), "the last one")
    rows = [r["request_id"] for r in logs(gw, "type=response&limit=1000")]
    assert 200 < len(rows) < COUNT and rows == [f"r-{COUNT - 1 - i}" for i in range(len(rows))], len(rows)
    assert not logs(gw, "request_id=r-0")
    assert os.path.getsize(gw.path("state/logs/data.mdb")) <= 1 << 20
    assert metric(gw, "penstock_log_records_dropped_total") == 0


test_a_small_store_forgets_the_oldest.seconds = 120


def test_long_texts_are_not_all_of_a_small_store():
    _, gw = start(log={"max_size": "1MiB", "truncate": "256KiB", "content": "masked"})
    for i in range(90):
        assert gw.chat("up/m", text="word " * (50000 if i % 3 else 10), headers={**ONE, "x-request-id": f"r-{i}"}).status == 200
    rows = scene.wait_for(lambda: (lambda x: x if any(r["request_id"] == "r-89" for r in x) else None)(logs(gw, "type=request")), "the last")
    kept = {r["request_id"]: r for r in rows}
    assert len(kept) >= 30 and metric(gw, "penstock_log_records_dropped_total") == 0, len(kept)
    assert all(len(r.get("prompt", "")) <= 8192 for r in rows) and kept["r-87"]["prompt"] == "user: " + "word " * 10


def test_from_and_to_cut_to_the_millisecond():
    _, gw = start()
    for i in range(8):
        assert gw.chat("up/m", headers={**ONE, "x-request-id": f"c-{i}"}).status == 200
    rows = wait_logs(gw, 8, "type=response")
    times = [r["time"] for r in rows]
    middle = times[4]
    assert [r["time"] for r in logs(gw, "type=response&to=" + middle)] == [t for t in times if t < middle]
    assert [r["time"] for r in logs(gw, "type=response&from=" + middle)] == [t for t in times if t >= middle]


def test_every_page_of_every_filter_while_all_workers_write():
    _, gw = start()
    stop, sent = threading.Event(), []

    def flood(n):
        while not stop.is_set():
            r = gw.chat("up/m", headers={**(ONE if n % 2 else TWO), "x-request-id": f"f-{n}-{len(sent)}"})
            sent.append(r.status)
    threads = [threading.Thread(target=flood, args=(n,)) for n in range(4)]
    for t in threads:
        t.start()
    wait_logs(gw, 100, "type=response")
    for query in ("limit=7", "limit=3&key=one", "limit=11&type=response&tenant=other", "limit=5&status=2xx&type=request,response"):
        got, more = [], query
        for _ in range(20):
            p = page(gw, more)
            got += [(r["request_id"], r["event"]) for r in p["data"]]
            if not p["has_more"]:
                break
            more = query + "&cursor=" + p["next_cursor"]
        assert len(got) > 15 and len(got) == len(set(got)), (query, "nothing twice")
        assert all(i[0].startswith("f-") for i in got)
    stop.set()
    for t in threads:
        t.join()
    assert set(sent) == {200}
    scene.wait_for(lambda: len(logs(gw, "type=response&limit=1000")) == len(sent), "each of them once")


test_every_page_of_every_filter_while_all_workers_write.seconds = 120


def test_a_full_disk_fails_no_request():
    if os.geteuid() != 0:
        scene.skip("only root can mount a small disk")
    up = scene.Upstream()
    gw = scene.Gateway({"providers": [up.provider()], "auth": KEYS}, workers=4, start=False)
    disk = gw.path("state/logs")
    os.makedirs(disk)
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=160k", "none", disk], capture_output=True).returncode:
        scene.skip("no disk can be mounted here")
    try:
        gw.start()
        c = gw.client()
        for i in range(1500):
            c.request("POST", "/v1/chat/completions", {"model": "up/m", "messages": [{"role": "user", "content": "Hi"}]}, ONE)
            assert c.response().status == 200, i
        gw.wait_log("records are dropped", "store")
        gw.wait_log("records of the log were dropped", "store")
        assert metric(gw, "penstock_log_records_dropped_total") > 0
        scene.wait_for(lambda: gw.admin("/usage", headers=BOSS).json()["total"]["requests"] == 1500, "all of them in the ledger")
        subprocess.run(["mount", "-o", "remount,size=64m", disk], check=True)
        scene.wait_for(lambda: gw.chat("up/m", headers={**ONE, "x-request-id": "after"}).status == 200 and
                       logs(gw, "request_id=after"), "the log to go on", 30, step=0.2)
        gw.wait_log("the log store works again", "store")
    finally:
        gw.stop()
        subprocess.run(["umount", "-l", disk])


test_a_full_disk_fails_no_request.seconds = 120


scene.main()
