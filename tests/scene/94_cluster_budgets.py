"""Budgets of three hosts that share a Redis: never more than the budget in all, and nearly all of it."""

import json
import signal
import threading
import time
from decimal import Decimal

import scene
from layers import admin_and_keys, at_once, bearer
from redis import Redis

ADMIN = bearer("admin")
PRICES = {"input": 1000, "output": 1000}


def script(a):
    a.whole(200, scene.chat_reply(prompt=10, completion=10))  # 0.02 dollars


def hosts(up, redis, n=3, usd=1.0, **options):
    conf = {"auth": admin_and_keys("one", budget={"usd": usd, "period": "month"}),
            "providers": [up.provider("up", retry={"max": 0})],
            "models": [{"name": "m", "targets": [{"provider": "up", "model": "m"}], "prices": PRICES}],
            "cluster": {"redis": redis.url, **options}, "log": {"access": False}}
    gws = [scene.Gateway(conf, start=False) for _ in range(n)]
    for gw in gws:
        gw.start(wait=False)
    for gw in gws:
        gw.wait_ready()
        wait_cluster(gw, "connected")
    for gw in gws:
        scene.wait_for(lambda: cluster(gw)["hosts"] == n, f"{n} hosts")
    return gws


def cluster(gw):
    return gw.get("/health", headers=ADMIN).json()["cluster"]


def wait_cluster(gw, status):
    scene.wait_for(lambda: cluster(gw)["status"] == status, f"a cluster that is {status}", 30)


def ask(gw):
    try:
        return gw.chat("m", "x" * 40, headers=bearer("one"), max_tokens=10).status
    except (OSError, scene.Closed):
        return 0


def spent(gw):
    rows = json.loads(gw.get("/admin/v1/budgets", headers=ADMIN).text, parse_float=Decimal, parse_int=Decimal)
    (row,) = [b for b in rows["budgets"] if b["id"] == "one"]
    return row


def spend_it_all(gws, rounds=12, at_a_time=12):
    """Until nobody lets anything through any more."""
    ok = quiet = 0
    for _ in range(rounds):
        n = at_once(at_a_time, lambda i: ask(gws[i % len(gws)])).count(200)
        ok += n
        quiet = 0 if n else quiet + 1
        if quiet == 3:
            break
        if n == 0:
            time.sleep(0.2)  # what lies unspent goes back
    return ok


def in_all(gws):
    def rows():
        rows = [spent(gw) for gw in gws]
        return all(r["reserved_usd"] == 0 for r in rows) and sum(r["spent_usd"] for r in rows)
    return scene.wait_for(rows, "all to be settled")


def test_no_more_than_the_budget_and_all_of_it():
    for exact in (True, False):
        up, redis = scene.Upstream(script), Redis()
        gws = hosts(up, redis, exact=exact, timeout="1s")  # a late answer would leave it to the host alone
        ok = spend_it_all(gws)
        assert in_all(gws) == ok * Decimal("0.02") <= 1, ok
        assert ok >= 46, (exact, ok)
        # each host knows what is left to all
        for gw in gws:
            assert spent(gw)["remaining_usd"] <= Decimal("0.1"), spent(gw)
        for gw in gws:
            gw.stop()
        redis.kill()


def test_without_a_server_shares_and_afterwards_the_sum():
    up, redis = scene.Upstream(script), Redis()
    gws = hosts(up, redis, usd=1.2)
    assert at_once(6, lambda i: ask(gws[0])).count(200) == 6
    redis.kill()
    for gw in gws:
        wait_cluster(gw, "away")
    ok = 6 + sum(spend_it_all([gw], rounds=5) for gw in gws)
    assert 40 <= ok and in_all(gws) <= Decimal("1.2"), (ok, in_all(gws))
    redis.start()  # without a memory: the hosts' ledgers have it
    for gw in gws:
        wait_cluster(gw, "connected")
    ok += spend_it_all(gws)
    assert 56 <= ok and in_all(gws) <= Decimal("1.2"), (ok, in_all(gws))


def test_what_waits_for_no_server_tells_it():
    """The embeddings of the semantic cache, by a budget of nobody else's."""
    def embed(a):
        a.whole(200, {"object": "list", "model": "e", "data": [{"object": "embedding", "index": 0, "embedding": [0.1, 0.9]}],
                      "usage": {"prompt_tokens": 20, "total_tokens": 20}})
    up, vec, redis = scene.Upstream(), scene.Upstream(embed), Redis()
    conf = {"auth": admin_and_keys("one"), "cluster": {"redis": redis.url},
            "providers": [up.provider(), vec.provider("vec", budget={"usd": 1, "period": "month"})],
            "models": [{"name": "e", "targets": [{"provider": "vec", "model": "e"}], "prices": PRICES}],
            "cache": {"enabled": True, "semantic": {"enabled": True, "embedder": {"provider": "vec", "model": "e"}}}}

    def of(gw):
        rows = json.loads(gw.get("/admin/v1/budgets", headers=ADMIN).text, parse_float=Decimal, parse_int=Decimal)
        return next(b for b in rows["budgets"] if b["id"] == "vec")

    def spend(gw, n, name):
        for i in range(n):
            assert gw.chat(text=f"{name} {i} " + "x" * 40, headers=bearer("one")).status == 200
            scene.wait_for(lambda: of(gw)["reserved_usd"] == 0, "it to be settled")
    first = scene.Gateway(conf)
    wait_cluster(first, "connected")
    spend(first, 40, "first")
    assert of(first)["spent_usd"] == Decimal("0.8")
    second = scene.Gateway(conf)  # its even share would be as much again
    wait_cluster(second, "connected")
    scene.wait_for(lambda: cluster(second)["hosts"] == 2, "two hosts")
    spend(second, 20, "second")
    both = of(first)["spent_usd"] + of(second)["spent_usd"]
    assert Decimal("0.9") <= both <= 1 and len(vec.requests) == both / Decimal("0.02"), (of(first), of(second))


def test_restarts_and_kills_lose_and_gain_nothing():
    up, redis = scene.Upstream(script), Redis()
    gws = hosts(up, redis, usd=2.0)
    stop = threading.Event()

    def murder():
        while not stop.wait(0.2):
            for p in gws[0].processes()[:2] + gws[1].workers()[:1]:
                if p.role != "?":
                    try:
                        gws[0].signal(signal.SIGKILL, p.pid)
                    except ProcessLookupError:
                        pass
    t = threading.Thread(target=murder, daemon=True)
    t.start()
    for _ in range(12):
        at_once(12, lambda i: ask(gws[i % 3]))
    stop.set()
    t.join(5)
    for gw in gws:
        scene.wait_for(lambda: ask(gw) in (200, 429), "the gateway to be whole", 30)
    gws[2].stop()
    gws[2].start()
    wait_cluster(gws[2], "connected")
    spend_it_all(gws, rounds=20)
    assert Decimal("1.8") <= in_all(gws) <= 2, in_all(gws)


scene.main()
