"""The ledger: what its records say, that usage is their sum, that nothing in it can be changed unseen, and that prices can be
put right; on four workers, over kills of anybody."""

import contextlib
import glob
import json
import os
import random
import signal
import subprocess
import threading
from decimal import Decimal

import scene
from layers import admin_and_keys, at_once, bearer, statuses

ADMIN = bearer("admin")
PRICES = {"input": 1000, "output": 2000, "cached_input": 100}  # per million tokens


def start(up, prices=None, **more):
    conf = {"auth": admin_and_keys("a", "b", tenant="t"), "providers": [up.provider("up", retry={"max": 0})],
            "models": [{"name": "m", "targets": [{"provider": "up", "model": "m"}], "prices": prices or PRICES},
                       {"name": "n", "targets": [{"provider": "up", "model": "n"}], "prices": {"input": 7, "output": 9}}], **more}
    return scene.Gateway(conf, workers=4)


def exact(r):
    assert r.status in (200, 202), r
    return json.loads(r.text, parse_float=Decimal)


def usage(gw, query=""):
    return exact(gw.admin("/usage?" + query, headers=ADMIN))


def records(gw, limit=100):
    rows, prices, at = [], {}, 0
    while True:
        p = exact(gw.admin(f"/ledger?from={at}&limit={limit}", headers=ADMIN))
        rows += p["data"]
        prices.update(p["prices"])
        if not p["has_more"]:
            return rows, prices
        at = p["next"]


def verify(gw, query=""):
    return exact(gw.admin("/ledger/verify" + query, headers=ADMIN))


def wait_records(gw, n):
    scene.wait_for(lambda: (lambda x: x["records"] if x["records"] >= n else None)(verify(gw)), f"{n} records", 30)
    return records(gw)


def must_add_up(gw):
    """Every grouping is the sum of the records."""
    rows, prices = records(gw)
    assert [r["number"] for r in rows] == list(range(rows[0]["number"], rows[0]["number"] + len(rows)))
    names = {"key": "key", "tenant": "tenant", "provider": "provider", "model": "provider_model", "surface": "surface"}
    for group in ("key", "tenant,model", "provider,surface", "hour", "key,tenant,provider,model,surface,day,hour"):
        want = {}
        for r in rows:
            when = r["hour"] if r["event"] == "correction" else r["time"]
            k = tuple(when[:10] if g == "day" else when[:13] if g == "hour" else r[names[g]] for g in group.split(","))
            s = want.setdefault(k, [0, 0, 0, Decimal(0)])
            if r["event"] == "correction":
                s[3] += r["new_usd"] - r["old_usd"]
            else:
                s[0] += 1
                s[1] += r["input_tokens"]
                s[2] += r["output_tokens"]
                s[3] += r["cost_usd"] or 0
        got = {}
        for u in usage(gw, "group_by=" + group)["rows"]:
            k = tuple(u[g][:13] if g == "hour" else u[g] for g in group.split(","))
            got[k] = [u["requests"], u["input_tokens"], u["output_tokens"], u["cost_usd"] or 0]
        assert got == want, (group, got, want)
    assert all(r["price_version"] in prices for r in rows if "price_version" in r)
    v = verify(gw)
    assert v["ok"] and v["records"] == len(rows) and v["hash"] == rows[-1]["hash"], v
    return rows


def some_script(a):
    i = random.randrange(1, 5000)
    a.whole(200, scene.chat_reply(prompt=i, completion=i % 77))


def must_die(pid):
    with contextlib.suppress(ProcessLookupError):
        if pid:
            os.kill(pid, signal.SIGKILL)


def kill_scribe(gw):
    scribe = gw.scribe()
    must_die(scribe.pid if scribe else None)


def test_usage_is_the_sum_of_records_over_kills():
    gw = start(scene.Upstream(some_script))
    done, over = [], threading.Event()

    def ask(i):
        for n in range(120):
            name = f"r-{i}-{n}"
            try:
                r = gw.chat("mn"[n % 2], headers={**bearer("ab"[i % 2]), "x-request-id": name})
                if r.status == 200:
                    done.append(name)
            except (OSError, scene.Closed):
                pass

    def kill():
        while not over.wait(0.15):
            kill_scribe(gw)
            must_die(random.choice(gw.worker_pids() or [None]))
    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    at_once(12, ask)
    over.set()
    killer.join()
    gw.wait_ready()
    wait_records(gw, len(done))
    rows = must_add_up(gw)
    ids = [r["request_id"] for r in rows]
    assert len(ids) == len(set(ids)), "one of them twice"
    assert set(done) <= set(ids), "one of them is missing"
    gw.stop()
    gw.start()
    assert [r["hash"] for r in must_add_up(gw)] == [r["hash"] for r in rows]


test_usage_is_the_sum_of_records_over_kills.seconds = 240


def test_what_is_known_of_tokens():
    up = scene.Upstream()
    gw = start(up)

    asked = []

    def ask(script, name="m", leave=None, **more):
        asked.append(f"r-{len(asked)}")
        if script:
            up.next(script)
        before = len(up.requests)
        c = gw.client()
        c.request("POST", "/v1/chat/completions", {"model": name, "messages": [{"role": "user", "content": "Hi there"}], **more},
                  {**bearer("a"), "x-request-id": asked[-1]})
        if leave:
            up.wait_requests(before + 1)
            leave(c)
        else:
            c.response()
        c.close()

    def says(a, *, hang, words=("Hello", " there")):
        a.sse()
        for w in words:
            a.event(scene.chat_chunk(w))
        if hang:
            a.until_closed()
        else:
            a.wire.reset()
    ask(scene.chat_script(), stream=True)
    ask(lambda a: a.whole(200, scene.chat_reply(prompt=100, completion=10)))
    ask(scene.chat_script(usage=False), stream=True)
    ask(lambda a: says(a, hang=True), stream=True, leave=lambda c: (c.response_head(), c.event()))
    ask(lambda a: a.until_closed(), stream=True, leave=lambda c: None)
    ask(lambda a: says(a, hang=False), stream=True)
    ask(lambda a: a.whole(200, "no answer at all"))
    ask(scene.status_script(400, {"error": {"message": "no"}}))
    ask(None, name="nothing-of-the-kind")
    rows, prices = wait_records(gw, 9)
    rows.sort(key=lambda r: r["request_id"])
    got = [(r["usage"], r.get("usage_reason", ""), r["output_tokens"] > 0) for r in rows]
    assert got == [("exact", "", True), ("exact", "", True), ("estimated", "not_told", True), ("estimated", "cancelled", True),
                   ("unknown", "cancelled", False), ("estimated", "interrupted", True), ("unknown", "interrupted", False),
                   ("exact", "", False), ("exact", "", False)], got
    assert [a["usage"] for a in rows[4]["attempts"]] == ["unknown"], rows[4]
    total = usage(gw)["total"]
    assert total["estimated_requests"] == 3 and total["unknown_requests"] == 2, total
    version = rows[0]["price_version"]
    assert prices[version]["input"] == 1000 * 10**9 and prices[version]["cached_input"] == 100 * 10**9, prices
    must_add_up(gw)


def month(gw):
    return [b for b in exact(gw.admin("/budgets", headers=ADMIN))["budgets"] if b["id"] == "m"][0]


def reprice(gw):
    return exact(gw.admin("/usage/reprice?from=2020-01-01", "POST", headers=ADMIN))


def test_a_price_that_was_wrong_is_put_right():
    up = scene.Upstream(lambda a: a.whole(200, scene.chat_reply(prompt=1000, completion=500)))
    gw = start(up)
    gw.reconfigure({"models": [{**gw.conf["models"][0], "budget": {"usd": 100, "period": "total"}}, gw.conf["models"][1]]})
    assert gw.admin("/reload", "POST", headers=ADMIN).status == 200
    at_once(30, lambda i: gw.chat("mn"[i % 3 == 0], headers=bearer("ab"[i % 2])))
    wait_records(gw, 30)
    before = must_add_up(gw)
    assert sum(r["cost_usd"] for r in before if r["provider_model"] == "m") == 20 * Decimal("2")
    scene.wait_for(lambda: month(gw)["spent_usd"] == 40, "the budget")
    days = [r["day"] for r in usage(gw, "group_by=day")["rows"]]
    same = exact(gw.admin(f"/usage/reprice?from={days[0]}&to={days[-1]}", "POST", headers=ADMIN))
    assert same["done"] and same["corrections"] == 0 and same["requests"] == 30 and same["old_usd"] == same["new_usd"], same
    cheap = {"input": 100, "output": 200}
    gw.reconfigure({"models": [{**gw.conf["models"][0], "prices": cheap}, gw.conf["models"][1]]})
    assert gw.admin("/reload", "POST", headers=ADMIN).status == 200
    r = reprice(gw)
    assert r["done"] and r["old_usd"] - r["new_usd"] == 36 and r["corrections"] >= 2 and r["left_out"] == 0, r
    assert r["by"] == "admin"
    rows = must_add_up(gw)
    assert rows[:30] == before, "records are never changed"
    assert {x["event"] for x in rows[30:]} == {"correction"} and len(rows) == 30 + r["corrections"]
    assert {x["by"] for x in rows[30:]} == {"admin"} and all(x["provider_model"] == "m" for x in rows[30:])
    by_model = {u["model"]: u["cost_usd"] for u in usage(gw, "group_by=model")["rows"]}
    assert by_model["m"] == 4, by_model
    scene.wait_for(lambda: month(gw)["spent_usd"] == 4, "the budget follows")
    again = reprice(gw)
    assert again["corrections"] == 0 and again["old_usd"] == again["new_usd"] == r["new_usd"], again
    assert exact(gw.admin("/usage/reprice/" + r["id"], headers=ADMIN)) == r
    assert gw.chat("m", headers=bearer("a")).status == 200
    wait_records(gw, len(rows) + 1)
    assert must_add_up(gw)[-1]["price_version"] != before[0]["price_version"]
    gw.stop()
    gw.start()
    must_add_up(gw)
    assert month(gw)["spent_usd"] == Decimal("4.2")


def test_a_file_of_prices_put_right_while_all_are_killed():
    up = scene.Upstream(lambda a: a.whole(200, scene.chat_reply(prompt=1000, completion=0)))
    gw = scene.Gateway({"auth": admin_and_keys("a"), "providers": [up.provider("up")]}, workers=4, start=False)
    file = gw.path("prices.json")

    def price(usd, names="mu"):
        with open(file, "w") as f:
            json.dump({n: {"litellm_provider": "openai", "input_cost_per_token": usd, "output_cost_per_token": usd, "mode": "chat"}
                       for n in names}, f)
    price(0.001, "m")
    gw.reconfigure({"prices": {"file": file}})
    gw.start()
    at_once(42, lambda i: gw.chat("up/m" if i < 40 else "up/u", headers=bearer("a")))
    wait_records(gw, 42)
    total = usage(gw)["total"]
    assert total["cost_usd"] == 40 and total["unpriced_requests"] == 2, total
    for round in range(3):
        price(0.002 + round / 1000)
        assert gw.admin("/reload", "POST", headers=ADMIN).status == 200
        scene.wait_for(gw.scribe, "the scribe")
        killer = threading.Timer(0.01 * round, kill_scribe, [gw])
        killer.start()
        r = reprice(gw)
        killer.join()
        scene.wait_for(lambda: exact(gw.admin("/usage/reprice/" + r["id"], headers=ADMIN))["done"], "the job", 30)
        total = usage(gw)["total"]
        assert total["cost_usd"] == 42 * (2 + round) and "unpriced_requests" not in total, "what had no price has one now"
        must_add_up(gw)
    price(0)
    with open(file, "w") as f:
        f.write("{")
    os.rename(file, file + ".gone")
    bad = gw.admin("/usage/reprice?from=2020-01-01", "POST", headers=ADMIN)
    assert bad.status == 422 and bad.json()["error"], bad
    os.rename(file + ".gone", file)


def test_prices_put_right_in_full_traffic():
    gw = start(scene.Upstream(some_script))
    over, done = threading.Event(), []

    def ask(i):
        while not over.is_set():
            with contextlib.suppress(OSError, scene.Closed):
                if gw.chat("m", headers=bearer("ab"[i % 2])).status == 200:
                    done.append(i)
    threads = [threading.Thread(target=ask, args=(i,), daemon=True) for i in range(6)]
    for t in threads:
        t.start()
    for n in range(6):
        scene.wait_for(lambda: len(done) >= 100 * (n + 1), "some requests", 30)
        gw.reconfigure({"models": [{**gw.conf["models"][0], "prices": {"input": 10 + n, "output": 3 * n}}, gw.conf["models"][1]]})
        assert gw.admin("/reload", "POST", headers=ADMIN).status == 200
        killer = threading.Timer(0.05 * random.random(), kill_scribe, [gw])
        killer.start()
        r = reprice(gw)
        killer.join()
        scene.wait_for(lambda: exact(gw.admin("/usage/reprice/" + r["id"], headers=ADMIN))["done"], "the job", 30)
    over.set()
    for t in threads:
        t.join()
    wait_records(gw, len(done))
    reprice(gw)
    rows = must_add_up(gw)
    ids = [r["request_id"] for r in rows if r["event"] != "correction"]
    assert len(ids) == len(set(ids)) and len(ids) >= len(done)
    total = usage(gw)["total"]
    assert total["cost_usd"] == (total["input_tokens"] * 15 + total["output_tokens"] * 15) / Decimal(10**6), total


test_prices_put_right_in_full_traffic.seconds = 120


def test_a_changed_file_is_found():
    gw = start(scene.Upstream())
    for i in range(20):
        assert gw.chat("m", headers={**bearer("a"), "x-request-id": f"the-request-{i:02}"}).status == 200
    rows, _ = wait_records(gw, 20)
    v = verify(gw)
    assert v["ok"] and (v["first"], v["last"]) == (0, 19)
    assert verify(gw, f"?record=7&hash={rows[7]['hash']}")["ok"]
    bad = verify(gw, f"?record=7&hash={rows[8]['hash']}")
    assert not bad["ok"] and bad["record"] == 7, bad
    gw.stop()
    [path] = glob.glob(gw.path("state/ledger/data.mdb"))
    data = open(path, "rb").read()
    assert b"the-request-11" in data
    with open(path, "wb") as f:
        f.write(data.replace(b"the-request-11", b"the-reqUest-11"))
    gw.start()
    v = verify(gw)
    number = [r["number"] for r in rows if r["request_id"] == "the-request-11"][0]
    assert not v["ok"] and v["record"] == number and v["error"], v
    assert gw.chat("m", headers=bearer("a")).status == 200, "requests keep flowing"
    gw.stop()
    with open(path, "wb") as f:
        f.write(data)
    gw.start()
    assert verify(gw)["ok"]


def test_who_may_and_what_is_wrong():
    gw = start(scene.Upstream())
    for path, method in (("/ledger", "GET"), ("/ledger/verify", "GET"), ("/usage/reprice?from=2026-01-01", "POST")):
        assert gw.admin(path, method).status == 401 and gw.admin(path, method, headers=bearer("a")).status == 403
    for path, param in (("/ledger?from=x", "from"), ("/ledger?limit=0", "limit"), ("/ledger?limit=1001", "limit"), ("/ledger?colour=red", "colour"),
                        ("/ledger/verify?record=1", "hash"), ("/ledger/verify?hash=ab", "record"), ("/ledger/verify?record=1&hash=xyz", "hash")):
        r = gw.admin(path, headers=ADMIN)
        assert r.status == 400 and r.json()["error"]["param"] == param, (path, r)
    for query, param in (("", "from"), ("?from=x", "from"), ("?from=2026-01-02&to=2026-01-01", "from"), ("?from=2026-01-02&to=x", "to"),
                         ("?to=2026-01-01", "from"), ("?from=1950-01-01", "from"), ("?from=2026-01-01&colour=red", "colour")):
        r = gw.admin("/usage/reprice" + query, "POST", headers=ADMIN)
        assert r.status == 400 and r.json()["error"]["param"] == param, (query, r)
    assert gw.admin("/usage/reprice/0123", headers=ADMIN).status == 404
    assert gw.admin("/usage/reprice/" + "0" * 32, headers=ADMIN).status == 404
    assert verify(gw)["ok"] and records(gw)[0] == []
    empty = exact(gw.admin("/usage/reprice?from=2020-01-01", "POST", headers=ADMIN))
    assert empty["done"] and empty["hours"] == 0 and empty["corrections"] == 0


def test_a_full_disk_loses_nothing():
    if os.geteuid() != 0:
        scene.skip("only root can mount a small disk")
    gw = start(scene.Upstream())
    gw.stop()
    disk = gw.path("state/ledger")
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=160k", "none", disk], capture_output=True).returncode:
        scene.skip("no disk can be mounted here")

    def metric(name):
        text = gw.get("/metrics", headers=ADMIN).text
        return float([x for x in text.splitlines() if x.startswith(name + " ")][0].split()[1])
    try:
        gw.start()
        c = gw.client()
        for i in range(1200):
            c.request("POST", "/v1/chat/completions", {"model": "m", "messages": [{"role": "user", "content": "Hi"}]}, bearer("a"))
            assert c.response().status == 200, i
        gw.wait_log("the ledger cannot be written", "store")
        kill_scribe(gw)
        scene.wait_for(lambda: metric("penstock_ledger_failures_total") > 1, "it to be tried again")
        assert verify(gw)["ok"]
        subprocess.run(["mount", "-o", "remount,size=64m", disk], check=True)
        scene.wait_for(lambda: verify(gw)["records"] == 1200, "all of them", 60, step=0.2)
        must_add_up(gw)
        assert metric("penstock_records_dropped_total") == 0
    finally:
        gw.stop()
        subprocess.run(["umount", "-l", disk])


test_a_full_disk_loses_nothing.seconds = 120


def test_a_price_on_a_connection_of_before_the_reload():
    """The job comes by a worker of the old generation: it is done by the new one's prices all the same."""
    up = scene.Upstream(lambda a: a.whole(200, scene.chat_reply(prompt=1000, completion=0)))
    gw = start(up)
    for i in range(8):
        assert gw.chat("m", headers=bearer("a")).status == 200
    wait_records(gw, 8)
    for n in range(6):
        c = gw.client()
        c.request("GET", "/admin/v1/usage", None, ADMIN)
        assert c.response().status == 200
        gw.reconfigure({"models": [{**gw.conf["models"][0], "prices": {"input": 10 + n, "output": 0}}, gw.conf["models"][1]]})
        assert gw.admin("/reload", "POST", headers=ADMIN).status == 200
        try:
            c.request("POST", "/admin/v1/usage/reprice?from=2020-01-01", None, ADMIN)
            r = exact(c.response())
        except (OSError, scene.Closed):  # it was idle, and its worker has gone
            r = exact(gw.admin("/usage/reprice?from=2020-01-01", "POST", headers=ADMIN))
        assert r["done"] and r["new_usd"] == 8 * Decimal(10 + n) / 1000, (n, r)
        c.close()
    must_add_up(gw)


def test_verifying_holds_nobody_up():
    gw = start(scene.Upstream())
    at_once(16, lambda i: [gw.chat("m", headers=bearer("a")) for _ in range(60)])
    wait_records(gw, 960)
    got = at_once(12, lambda i: gw.admin("/ledger/verify", headers=ADMIN) if i % 2 else gw.chat("m", headers=bearer("a")))
    assert statuses(got) == {200: 12}, statuses(got)
    assert all(r.json()["ok"] for r in got[1::2])


scene.main()
