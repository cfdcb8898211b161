"""Budgets: exact over four workers, never over by retries, fallbacks or streams, equal to the ledger to the
nano-dollar, through restarts, reloads and kills of anybody."""

import signal
import threading
from decimal import Decimal

import scene
from layers import admin_and_keys, at_once, bearer, statuses

# 10 prompt and 10 answer tokens cost 0.02 dollars
PRICES = {"input": 1000, "output": 1000}
ADMIN = bearer("admin")


def model(up, name="m", **more):
    return {"name": name, "targets": [{"provider": up, "model": name}], "prices": PRICES, **more}


def cost_script(prompt=10, completion=10):
    def script(a):
        a.whole(200, scene.chat_reply(prompt=prompt, completion=completion))
    return script


def budgets(gw):
    """{(scope, id): row}, money exact."""
    rows = gw.request("GET", "/admin/v1/budgets", headers=ADMIN)
    import json
    rows = json.loads(rows.text, parse_float=Decimal, parse_int=Decimal)["budgets"]
    return {(b["scope"], b["id"]): b for b in rows}


def ledger(gw, **where):
    import json
    group = ",".join(where) or "key"
    text = gw.request("GET", f"/admin/v1/usage?group_by={group}", headers=ADMIN).text
    rows = json.loads(text, parse_float=Decimal, parse_int=Decimal)["rows"]
    return sum((r["cost_usd"] for r in rows if all(r[k] == v for k, v in where.items())), Decimal(0))


def settled(gw, scope, name):
    """The budget's row when nothing is on its way any more."""
    return scene.wait_for(lambda: (b := budgets(gw)[(scope, name)])["reserved_usd"] == 0 and b, "the scribe")


def ask(gw, key="a", name="m", **more):
    return gw.chat(name, "x" * 40, headers=bearer(key), max_tokens=10, **more)


def test_exactly_what_fits_passes_at_each_layer():
    """Each request reserves some 0.02 dollars (the prompt's estimate and max_tokens) and costs 0.02."""
    up = scene.Upstream(cost_script())
    for scope, name in (("key", "a"), ("tenant", "t"), ("provider", "up"), ("model", "m")):
        budget = {"budget": {"usd": 0.1, "period": "month"}}
        auth = admin_and_keys("a", "b", tenant="t")
        conf = {"auth": auth, "providers": [up.provider("up", retry={"max": 0})], "models": [model("up")],
                "tenants": [{"id": "t"}]}
        row = {"key": auth["keys"][0], "tenant": conf["tenants"][0], "provider": conf["providers"][0],
               "model": conf["models"][0]}[scope]
        row.update(budget)
        gw = scene.Gateway(conf, workers=4)
        ok = 0
        for _ in range(3):
            got = at_once(24, lambda i: ask(gw, "a" if scope == "key" else "ab"[i % 2]))
            assert set(statuses(got)) <= {200, 429}, (scope, statuses(got))
            ok += statuses(got).get(200, 0)
            b = settled(gw, scope, name)
            assert b["spent_usd"] <= Decimal("0.1")
            assert b["spent_usd"] == ok * Decimal("0.02") == ledger(gw)
        assert ok == 5, (scope, ok)
        refused = ask(gw)
        e = refused.json()["error"]
        assert refused.status == 429 and e["type"] == e["code"] == "insufficient_quota", e
        assert "next begins at" in e["message"] and int(refused.headers["retry-after"]) > 0, e
        if scope == "key":
            assert ask(gw, "b").status == 200
        m = gw.request("GET", "/metrics", headers=ADMIN).text
        assert f'penstock_budget_spent_usd{{scope="{scope}",id="{name}",period="month"}} 0.100000000' in m
        gw.stop()


def test_a_refusal_in_anthropics_words():
    up = scene.Upstream(cost_script())
    gw = scene.Gateway({"auth": admin_and_keys("a", budget={"usd": 0, "period": "day"}),
                        "providers": [up.provider("up")], "models": [model("up")]}, workers=1)
    r = gw.post("/v1/messages", {"model": "m", "max_tokens": 5, "messages": [{"role": "user", "content": "x"}]},
                headers=bearer("a"))
    assert r.status == 402 and r.json()["error"]["type"] == "billing_error", r
    assert up.requests == []


def test_embeddings_and_streams_count_too():
    def script(a):
        if a.request.path.endswith("/embeddings"):
            a.whole(200, {"object": "list", "model": "m", "data": [{"object": "embedding", "index": 0,
                    "embedding": [0.5]}], "usage": {"prompt_tokens": 20, "total_tokens": 20}})
        else:
            scene.chat_script()(a)  # 7 + 3 tokens
    up = scene.Upstream(script)
    gw = scene.Gateway({"auth": admin_and_keys("a", budget={"usd": 0.05, "period": "total"}),
                        "providers": [up.provider("up")], "models": [model("up")]}, workers=2)
    r = gw.post("/v1/embeddings", {"model": "m", "input": "y" * 80}, headers=bearer("a"))
    assert r.status == 200
    assert settled(gw, "key", "a")["spent_usd"] == Decimal("0.02")
    r = ask(gw, stream=True)
    assert r.status == 200 and settled(gw, "key", "a")["spent_usd"] == Decimal("0.03")
    r = gw.post("/v1/embeddings", {"model": "m", "input": "y" * 120}, headers=bearer("a"))
    assert r.status == 429, "its worst case does not fit"
    assert "next" not in r.json()["error"]["message"] and "retry-after" not in r.headers


def test_a_fallback_is_taken_for_the_budget_of_the_first_and_has_its_own():
    one, two = scene.Upstream(cost_script()), scene.Upstream(cost_script())
    gw = scene.Gateway({
        "auth": admin_and_keys("a"),
        "providers": [one.provider("one", budget={"usd": 0.04, "period": "week"}),
                      two.provider("two", budget={"usd": 0.06, "period": "day"})],
        "models": [model("one", "m", fallbacks=["f"]), model("two", "f")]}, workers=4)
    got = [ask(gw) for _ in range(8)]
    assert statuses(got) == {200: 5, 429: 3}, statuses(got)
    assert (len(one.requests), len(two.requests)) == (2, 3)
    assert settled(gw, "provider", "one")["spent_usd"] == Decimal("0.04")
    assert settled(gw, "provider", "two")["spent_usd"] == Decimal("0.06")


def test_retries_hold_no_more_than_one_reservation_and_failures_cost_nothing():
    up = scene.Upstream(cost_script())
    gw = scene.Gateway({
        "auth": admin_and_keys("a", budget={"usd": 0.021, "period": "month"}),
        "providers": [up.provider("up", retry={"max": 2, "initial_backoff": "1ms"},
                                  breaker={"consecutive_failures": 0, "error_rate": 0})], "models": [model("up")]})
    for _ in range(4):
        up.next(scene.status_script(500), scene.status_script(500), scene.status_script(500))
        assert ask(gw).status == 500
    up.next(scene.status_script(500))
    assert ask(gw).status == 200
    assert settled(gw, "key", "a")["spent_usd"] == Decimal("0.02")
    assert ask(gw).status == 429


def test_spent_survives_a_restart_and_a_reload_to_another_period():
    up = scene.Upstream(cost_script())
    auth = admin_and_keys("a", budget={"usd": 1, "period": "month"})
    conf = {"auth": auth, "providers": [up.provider("up")], "models": [model("up")]}
    gw = scene.Gateway(conf, workers=4)
    at_once(5, lambda i: ask(gw))
    assert settled(gw, "key", "a")["spent_usd"] == Decimal("0.1") == ledger(gw, key="a")
    gw.stop()
    gw.start()
    assert budgets(gw)[("key", "a")]["spent_usd"] == Decimal("0.1")
    for n, period in enumerate(("day", "total", "month")):
        auth["keys"][0]["budget"] = {"usd": round(0.145 + 0.02 * n, 3), "period": period}
        gw.reconfigure({"auth": auth})
        gw.signal(signal.SIGHUP)
        gw.wait_workers(4, generation=n + 2)
        got = at_once(12, lambda i: ask(gw))
        b = settled(gw, "key", "a")
        assert b["period"] == period and b["spent_usd"] == Decimal("0.14") + n * Decimal("0.02"), (b, statuses(got))
        assert b["spent_usd"] == ledger(gw, key="a"), (period, b)


def test_kills_of_workers_and_of_the_scribe_neither_lose_nor_leak():
    """Requests all the time, everybody is killed; in the end spent is the ledger's sum, and what was left could be used
    up to the last request that fits."""
    up = scene.Upstream(cost_script())
    gw = scene.Gateway({"auth": admin_and_keys("a", budget={"usd": 2, "period": "month"}),
                        "providers": [up.provider("up", retry={"max": 0}, breaker={"consecutive_failures": 0})],
                        "models": [model("up", budget={"usd": 100})]}, workers=4)
    stop, answers = threading.Event(), []

    def client():
        while not stop.is_set():
            try:
                answers.append(ask(gw).status)
            except (OSError, scene.Closed):
                answers.append(0)
    threads = [threading.Thread(target=client, daemon=True) for _ in range(8)]
    for t in threads:
        t.start()
    for n in range(12):
        scene.wait_for(lambda: len(answers) > 3 * n, "some answers")
        victim = gw.scribe() if n % 3 == 2 else gw.worker_pids()[n % len(gw.worker_pids())]
        victim = getattr(victim, "pid", victim)
        try:
            gw.signal(signal.SIGKILL, victim)
        except ProcessLookupError:
            pass
        scene.wait_for(lambda: len(gw.worker_pids()) >= 3 and gw.scribe(), "successors")
    scene.wait_for(lambda: 429 in answers[-50:], "the end of the money", seconds=30)
    stop.set()
    for t in threads:
        t.join(20)
    b = settled(gw, "key", "a")
    assert b["spent_usd"] == ledger(gw, key="a") == budgets(gw)[("model", "m")]["spent_usd"], b
    assert Decimal("1.98") <= b["spent_usd"] <= 2, b
    assert ask(gw).status == 429


def test_stored_keys_have_budgets_too():
    """Exact over the workers, at once when they are set, changed or taken away; kept over a restart and the scribe's death;
    forgotten with the key, unless the ledger knows of it."""
    up = scene.Upstream(cost_script())
    gw = scene.Gateway({"auth": admin_and_keys("a"), "providers": [up.provider("up", retry={"max": 0})],
                        "models": [model("up")]}, workers=4)

    def keys(method, path="", want=200, **body):
        r = gw.request(method, "/admin/v1/keys" + path, body, headers=ADMIN)
        assert r.status == want, r
        return r.json()

    def burst(secret, n=24):
        head = {"authorization": f"Bearer {secret}"}
        return statuses(at_once(n, lambda i: gw.chat("m", "x" * 40, headers=head, max_tokens=10)))

    k = keys("POST", want=201, id="s", budget={"usd": 0.1, "period": "month", "alert": [0.5]}, weight=3)
    assert k["budget"] == {"usd": 0.1, "period": "month", "alert": [0.5]} and k["weight"] == 3, k
    ok = sum(burst(k["key"]).get(200, 0) for _ in range(3))
    b = settled(gw, "key", "s")
    assert ok == 5 and b["spent_usd"] == Decimal("0.1") == ledger(gw, key="s") and b["usd"] == Decimal("0.1"), (ok, b)
    gw.wait_log("50 % is passed", "alert")
    keys("PATCH", "/s", owner="who")
    assert burst(k["key"], 8) == {429: 8}
    keys("PATCH", "/s", budget={"usd": 0.14, "period": "day"})
    assert burst(k["key"], 8) == {200: 2, 429: 6}
    keys("PATCH", "/s", budget=None)
    assert burst(k["key"], 8) == {200: 8} and ("key", "s") not in budgets(gw)
    keys("PATCH", "/s", budget={"usd": 0.34, "period": "total"})
    gw.signal(signal.SIGKILL, gw.scribe().pid)
    scene.wait_for(lambda: gw.scribe(), "a scribe")
    assert sum(burst(k["key"], 12).get(200, 0) for _ in range(2)) == 2
    assert settled(gw, "key", "s")["spent_usd"] == Decimal("0.34") == ledger(gw, key="s")
    gw.stop()
    gw.start()
    assert burst(k["key"], 8) == {429: 8} and budgets(gw)[("key", "s")]["spent_usd"] == Decimal("0.34")
    keys("DELETE", "/s")
    scene.wait_for(lambda: ("key", "s") not in budgets(gw), "the budget to go")
    k = keys("POST", want=201, id="s", budget={"usd": 0.36, "period": "total"})
    assert burst(k["key"], 8) == {200: 1, 429: 7}
    e = gw.request("POST", "/admin/v1/keys", {"id": "t", "budget": {"usd": -1}}, headers=ADMIN)
    assert e.status == 400 and e.json()["error"]["param"] == "budget", e


def test_alerts_once_for_each_threshold():
    up = scene.Upstream(cost_script())
    gw = scene.Gateway({"auth": admin_and_keys("a", budget={"usd": 0.2, "period": "month", "alert": [0.5, "0.1", 1]}),
                        "providers": [up.provider("up")], "models": [model("up")]}, workers=4)
    for _ in range(12):
        ask(gw)
    gw.wait_log("100 % is passed, with 0.20 of 0.20 dollars", "alert")
    gw.signal(signal.SIGKILL, getattr(gw.scribe(), "pid", None))
    scene.wait_for(lambda: gw.scribe(), "a scribe")
    ask(gw)
    told = [r for r in gw.log("alert") if "budget of key a" in str(r)]
    assert len(told) == 3, told
    listed = lambda: [a for a in gw.admin("/alerts", headers=ADMIN).json()["active"] if a["alert"] == "budget"]
    a = scene.wait_for(listed, "the alert")
    assert len(a) == 1 and a[0]["subject"] == "key/a" and a[0]["threshold"] == 0.2, a


def test_a_model_without_a_price_counts_nothing_and_is_told_of_once():
    up = scene.Upstream(cost_script())
    gw = scene.Gateway({"auth": admin_and_keys("a", budget={"usd": 0.01, "period": "month"}),
                        "providers": [up.provider("up")]}, workers=4)
    assert statuses(at_once(12, lambda i: ask(gw, name="up/unknown-to-all"))) == {200: 12}
    assert settled(gw, "key", "a")["spent_usd"] == 0
    assert len([r for r in gw.log("alert") if "no price" in str(r)]) == 1


if __name__ == "__main__":
    scene.main()
