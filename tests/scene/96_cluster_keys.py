"""What three hosts that share a Redis tell each other: keys that are made, changed and revoked, and cleared caches."""

import concurrent.futures
import json
import os
import re
import signal
import threading
import time

import scene
from layers import admin_and_keys, bearer
from redis import Redis

ADMIN = bearer("admin")


def hosts(up, redis, n=3):
    conf = {"providers": [up.provider()], "auth": admin_and_keys("one"), "cluster": {"redis": redis.url},
            "cache": {"enabled": True, "scope": "global"}}
    gws = [scene.Gateway(conf, start=False) for _ in range(n)]
    for gw in gws:
        gw.start(wait=False)
    for gw in gws:
        gw.wait_ready()
        wait_cluster(gw, "connected")
    # each listens, the ear of each scribe is subscribed
    scene.wait_for(lambda: redis.ask("PUBSUB", "NUMSUB", "penstock:news:0")[1] == n, "the subscriptions")
    return gws


def cluster(gw):
    return gw.get("/health", headers=ADMIN).json()["cluster"]


def wait_cluster(gw, status):
    scene.wait_for(lambda: cluster(gw)["status"] == status, f"a cluster that is {status}", 30)


def make(gw, key, **more):
    r = gw.admin("/keys", "POST", {"id": key, **more}, headers=ADMIN)
    assert r.status in (200, 201), r
    return {"authorization": "Bearer " + r.json()["key"]}


def status(gw, headers):
    return gw.chat(headers=headers).status


def wait_all(gws, headers, want, seconds=1.0):
    """On all hosts within a second (and what a busy machine adds)."""
    for gw in gws:
        scene.wait_for(lambda: status(gw, headers) == want, f"{want}", seconds + 4)


def test_keys_are_good_and_gone_on_all_hosts():
    up, redis = scene.Upstream(), Redis()
    gws = hosts(up, redis)
    begin = time.monotonic()
    key = make(gws[0], "shared", owner="somebody", limits={"requests_per_hour": 500})
    wait_all(gws, key, 200)
    rows = [next(k for k in gw.admin("/keys", headers=ADMIN).json()["keys"] if k["id"] == "shared") for gw in gws]
    assert all(r["owner"] == "somebody" and r["limits"] == rows[0]["limits"] for r in rows), rows
    # changed on another host than it was made on
    r = gws[1].admin("/keys/shared", "PATCH", {"owner": "else"}, headers=ADMIN)
    assert r.status == 200, r
    for gw in gws:
        scene.wait_for(lambda: any(k["owner"] == "else" for k in gw.admin("/keys", headers=ADMIN).json()["keys"]
                                   if k["id"] == "shared"), "the change")
    # and revoked on the third
    assert gws[2].admin("/keys/shared", "DELETE", headers=ADMIN).status in (200, 204)
    wait_all(gws, key, 401)
    assert time.monotonic() - begin < 20
    assert "Bearer" not in str(redis.ask("HGETALL", "penstock:{c}:keys"))


def test_what_happened_while_the_server_or_a_host_was_away():
    up, redis = scene.Upstream(), Redis()
    gws = hosts(up, redis)
    stays, goes = make(gws[0], "stays"), make(gws[0], "goes")
    for key in (stays, goes):
        wait_all(gws, key, 200)
    gws[2].stop()
    redis.kill()
    for gw in gws[:2]:
        wait_cluster(gw, "away")
    assert gws[1].admin("/keys/goes", "DELETE", headers=ADMIN).status in (200, 204)
    assert status(gws[1], goes) == 401 and status(gws[0], goes) == 200
    apart = make(gws[0], "apart")
    redis.start()  # knows nothing: the hosts tell it, and a revoked key does not come back
    wait_all(gws[:2], goes, 401, 15)
    wait_all(gws[:2], apart, 200, 15)
    gws[2].start()
    wait_all(gws, goes, 401, 15)
    wait_all(gws, apart, 200, 15)
    wait_all(gws, stays, 200, 15)
    # all of them anew
    for gw in gws:
        gw.stop()
    redis.kill()
    redis.start()
    for gw in gws:
        gw.start()
    wait_all(gws, goes, 401, 15)
    wait_all(gws, apart, 200, 15)


def test_keys_that_are_long_gone_are_forgotten_and_many_do_no_harm():
    up, redis = scene.Upstream(), Redis()
    gws = hosts(up, redis, 2)
    key = make(gws[0], "shared")
    wait_all(gws, key, 200)

    def gone(name, days):
        redis.ask("HSET", "penstock:{c}:keys", name, f"{int((time.time() - days * 86400) * 1000):020} {1:020} ")
    gone("old", 31)
    gone("young", 29)
    cut_off(redis, gws)
    scene.wait_for(lambda: redis.ask("HGET", "penstock:{c}:keys", "old") is None, "the old one to go")
    scene.wait_for(lambda: len(told(gws[1])) == 2, "the keys")  # the shared one, and the young
    cut_off(redis, gws)
    assert len(told(gws[1])) == 2 and redis.ask("HEXISTS", "penstock:{c}:keys", "young")
    # who was away is told what is revoked, however many are
    gws[1].stop()
    redis.ask("EVAL", f"for i = 1, 9000 do redis.call('HSET', KEYS[1], 'gone-' .. i, "
              f"'{int(time.time() * 1000):020} {1:020} ') end", 1, "penstock:{c}:keys")
    assert gws[0].admin("/keys/shared", "DELETE", headers=ADMIN).status in (200, 204)
    gws[1].start()
    wait_all(gws, key, 401, 20)
    gws[1].wait_log("most of which are gone", "cluster")


def told(gw):
    return [e for e in gw.log("cluster") if "changed by other hosts" in e["message"]]


def test_clearing_the_cache_clears_it_on_all_hosts():
    up, redis = scene.Upstream(), Redis()
    gws = hosts(up, redis)

    def cached(gw, text="Hi"):
        return gw.chat(headers=bearer("one"), text=text).headers.get("x-penstock-cache")

    for gw in gws:
        scene.wait_for(lambda: cached(gw) == "hit", "the answer to be cached")
    assert gws[0].admin("/cache", "DELETE", headers=ADMIN).status == 200
    for gw in gws[1:]:
        scene.wait_for(lambda: gw.admin("/cache/stats", headers=ADMIN).json()["entries"] == 0, "an empty cache", 5)
    n = len(up.requests)
    assert cached(gws[1]) != "hit" and len(up.requests) == n + 1
    # by model, and what is of another stays
    for gw in gws:
        scene.wait_for(lambda: cached(gw) == "hit", "the answer to be cached")
    assert gws[1].admin("/cache?model=other", "DELETE", headers=ADMIN).status == 200
    assert gws[1].admin("/cache?model=up/m", "DELETE", headers=ADMIN).status == 200
    for gw in gws:
        scene.wait_for(lambda: gw.admin("/cache/stats", headers=ADMIN).json()["entries"] == 0, "an empty cache", 5)
    # while the server was away: when it is back
    for gw in gws:
        scene.wait_for(lambda: cached(gw) == "hit", "the answer to be cached")
    redis.kill()
    for gw in gws:
        wait_cluster(gw, "away")
    assert gws[0].admin("/cache", "DELETE", headers=ADMIN).status == 200
    redis.start()
    for gw in gws:
        scene.wait_for(lambda: gw.admin("/cache/stats", headers=ADMIN).json()["entries"] == 0, "an empty cache", 20)


def entries(gw):
    return gw.admin("/cache/stats", headers=ADMIN).json()["entries"]


def cut_off(redis, gws):
    """The connections break; all is asked for again when they are back."""
    redis.ask("CONFIG", "RESETSTAT")
    redis.ask("CLIENT", "KILL", "TYPE", "normal")
    redis.ask("CLIENT", "KILL", "TYPE", "pubsub")
    scene.wait_for(lambda: (m := re.search(r"cmdstat_lrange:calls=(\d+)", redis.ask("INFO", "commandstats"))) and
                   int(m.group(1)) >= len(gws), "the lists to be asked for")
    for gw in gws:
        wait_cluster(gw, "connected")


def test_a_clear_is_done_once():
    up, redis = scene.Upstream(), Redis()
    gws = hosts(up, redis, 2)
    for i in range(3):
        assert gws[i % 2].admin("/cache", "DELETE", headers=ADMIN).status == 200
    scene.wait_for(lambda: redis.ask("LLEN", "penstock:{c}:clears") == 3, "the clears")
    assert 86400 < redis.ask("TTL", "penstock:{c}:clears") <= 86400 + 3600
    times = [int(c.split()[0]) for c in redis.ask("LRANGE", "penstock:{c}:clears", 0, -1)]
    assert times == sorted(set(times), reverse=True), times
    cut_off(redis, gws)
    cut_off(redis, gws)  # the second time for what was not heard
    # what is on its way while they are looked at again is kept
    go = threading.Event()

    def slow(a):
        a.wait(go)
        scene.chat_script()(a)
    for i, gw in enumerate(gws):
        n = len(up.requests)
        go.clear()
        up.next(slow)
        t = threading.Thread(target=lambda: gw.chat(headers=bearer("one"), text=f"slow {i}"), daemon=True)
        t.start()
        up.wait_requests(n + 1)
        cut_off(redis, gws)
        go.set()
        t.join(20)
        assert gw.chat(headers=bearer("one"), text=f"slow {i}").headers.get("x-penstock-cache") == "hit"


def test_many_clears_at_once_are_not_one_of_everything():
    up, redis = scene.Upstream(), Redis()
    gws = hosts(up, redis, 2)
    scene.wait_for(lambda: gws[1].chat(headers=bearer("one"), text="stays").headers.get("x-penstock-cache") == "hit",
                   "the answer to be cached")
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        done = list(pool.map(lambda i: gws[0].admin(f"/cache?model=other-{i}", "DELETE", headers=ADMIN).status, range(150)))
    assert done == [200] * 150
    scene.wait_for(lambda: redis.ask("LLEN", "penstock:{c}:clears") == 150, "the clears")
    assert not [c for c in redis.ask("LRANGE", "penstock:{c}:clears", 0, -1) if c.endswith(" 0 0 0")]
    scene.wait_for(lambda: not os.path.exists(gws[0].path("state/clears")), "nothing to wait")
    assert gws[1].chat(headers=bearer("one"), text="stays").headers["x-penstock-cache"] == "hit"


def test_no_clear_is_forgotten():
    up, redis = scene.Upstream(), Redis()
    gws = hosts(up, redis, 2)

    def fill(gw):
        scene.wait_for(lambda: gw.chat(headers=bearer("one")).headers.get("x-penstock-cache") == "hit", "a cached answer")

    def kept():
        return os.path.exists(gws[0].path("state/clears"))

    def clear_alone(what, stopped=False):
        """At one host while the server is away, then something happens to that host, then the server is back. stopped:
        the scribe hears of the clear when it is to leave."""
        for gw in gws:
            fill(gw)
        redis.kill()
        for gw in gws:
            wait_cluster(gw, "away")
        if stopped:
            gws[0].signal(signal.SIGSTOP, gws[0].scribe().pid)
        assert gws[0].admin("/cache", "DELETE", headers=ADMIN).status == 200
        what()
        redis.start()
        scene.wait_for(lambda: entries(gws[1]) == 0, "an empty cache", 30)
        scene.wait_for(lambda: not kept(), "the file to go")

    def reload():
        scene.wait_for(kept, "the clear to be kept")
        old = gws[0].scribe().pid
        gws[0].signal(signal.SIGHUP)
        scene.wait_for(lambda: (s := gws[0].scribe()) and s.pid != old, "another scribe", 30)

    def restart():
        gws[0].stop()
        gws[0].start()

    def reload_of_a_stopped():
        old = gws[0].scribe().pid
        generation = gws[0].workers()[0].generation + 1
        gws[0].signal(signal.SIGHUP)
        gws[0].wait_log(f"generation {generation} serves", "reload", 30)
        gws[0].signal(signal.SIGCONT, old)
        scene.wait_for(lambda: not scene.alive(old), "the old one to go", 30)

    def kill():
        scene.wait_for(kept, "the clear to be kept")
        gws[0].signal(signal.SIGKILL, gws[0].scribe().pid)

    def kill_at_once():  # it may be in the ring, or committed
        gws[0].signal(signal.SIGKILL, gws[0].scribe().pid)

    for what in (reload, restart, kill, kill_at_once):
        clear_alone(what)
    clear_alone(reload_of_a_stopped, stopped=True)
    # a server that takes no writes for a while
    for gw in gws:
        fill(gw)
    redis.ask("CONFIG", "SET", "maxmemory", "1")
    assert gws[0].admin("/cache", "DELETE", headers=ADMIN).status == 200
    gws[0].wait_log("refuses", "cluster")
    scene.wait_for(lambda: entries(gws[1]) == 0, "an empty cache", 20)  # heard, though not listed
    assert kept()
    redis.ask("CONFIG", "SET", "maxmemory", "0")
    scene.wait_for(lambda: not kept(), "the file to go")


def test_what_happens_while_the_server_is_full():
    up, redis = scene.Upstream(), Redis()
    gws = hosts(up, redis)
    redis.ask("CONFIG", "SET", "maxmemory", "1")
    for gw in gws:
        wait_cluster(gw, "refused")
        assert gw.get("/health", headers=ADMIN).json()["status"] == "degraded"
        gw.wait_log("refuses: OOM", "cluster")
    # nothing can be kept there; who listens hears it all the same
    key = make(gws[0], "meanwhile")
    wait_all(gws, key, 200)
    for _ in range(2):  # each clear, also where the same waits for the server
        for gw in gws:
            scene.wait_for(lambda: gw.chat(headers=bearer("one")).headers.get("x-penstock-cache") == "hit", "a hit")
        assert gws[1].admin("/cache", "DELETE", headers=ADMIN).status == 200
        for gw in gws:
            scene.wait_for(lambda: gw.admin("/cache/stats", headers=ADMIN).json()["entries"] == 0, "an empty cache", 5)
    assert redis.ask("EXISTS", "penstock:{c}:keys", "penstock:{c}:clears") == 0
    redis.ask("CONFIG", "SET", "maxmemory", "0")
    for gw in gws:
        wait_cluster(gw, "connected")
        gw.wait_log("takes again", "cluster")
    scene.wait_for(lambda: redis.ask("EXISTS", "penstock:{c}:keys", "penstock:{c}:clears") == 2, "all that was not kept")


def test_a_clear_that_the_server_takes_to_its_grave():
    up, redis = scene.Upstream(), Redis()
    gws = hosts(up, redis, n=2)
    for gw in gws:
        scene.wait_for(lambda: gw.chat(headers=bearer("one")).headers.get("x-penstock-cache") == "hit", "a hit")
    redis.signal(signal.SIGSTOP)
    assert gws[0].admin("/cache", "DELETE", headers=ADMIN).status == 200
    scene.wait_for(lambda: gws[0].admin("/cache/stats", headers=ADMIN).json()["entries"] == 0, "an empty cache")
    redis.kill()
    redis.start()
    scene.wait_for(lambda: gws[1].admin("/cache/stats", headers=ADMIN).json()["entries"] == 0, "the clear to be told again")


def test_hosts_that_may_not_listen_ask():
    up, redis = scene.Upstream(), Redis(options=["user pen on >pw ~penstock:* resetchannels +@all"])
    conf = {"providers": [up.provider()], "auth": admin_and_keys("one"), "cache": {"enabled": True, "scope": "global"},
            "cluster": {"redis": f"redis://pen:pw@127.0.0.1:{redis.port}"}}
    gws = [scene.Gateway(conf) for _ in range(2)]
    for gw in gws:
        wait_cluster(gw, "connected")
        gw.wait_log("not listen: NOPERM", "cluster")
        scene.wait_for(lambda: gw.chat(headers=bearer("one")).headers.get("x-penstock-cache") == "hit", "a hit")
    key = make(gws[0], "k")
    wait_all(gws, key, 200, 2)
    assert gws[1].admin("/keys/k", "DELETE", headers=ADMIN).status in (200, 204)
    wait_all(gws, key, 401, 2)
    assert gws[0].admin("/cache", "DELETE", headers=ADMIN).status == 200
    scene.wait_for(lambda: entries(gws[1]) == 0, "an empty cache", 6)


def test_databases_are_clusters_of_their_own():
    up, redis = scene.Upstream(), Redis()
    conf = {"providers": [up.provider()], "auth": admin_and_keys("one")}
    gws = [scene.Gateway({**conf, "cluster": {"redis": f"{redis.url}/{db}"}}) for db in (1, 2, 1)]
    for gw in gws:
        wait_cluster(gw, "connected")
    scene.wait_for(lambda: redis.ask("PUBSUB", "NUMSUB", "penstock:news:1")[1] == 2, "the subscriptions")
    key = make(gws[0], "k")
    wait_all(gws[2:], key, 200)
    assert status(gws[1], key) == 401
    scene.wait_for(lambda: [cluster(gw)["hosts"] for gw in gws] == [2, 1, 2], "the hosts")


def test_an_answer_that_one_host_has_is_had_by_all():
    up, redis = scene.Upstream(), Redis()
    gws = hosts(up, redis)
    for text, words in (("short", ("Hello",)), ("long", ("word " * 4000,))):
        up.default = scene.chat_script(words)
        first = gws[0].chat(headers=bearer("one"), text=text)
        assert first.headers.get("x-penstock-cache") == "miss", first.headers
        n = len(up.requests)
        for gw in gws[1:]:
            r = scene.wait_for(lambda: (r := gw.chat(headers=bearer("one"), text=text)).headers.get(
                "x-penstock-cache") == "hit" and r, "the answer of another host")
            assert r.body == first.body
        assert len(up.requests) - n <= 1, "asked again"
    kept = [k for k in redis.ask("KEYS", "penstock:{c}:a:*")]
    assert len(kept) == 2 and all(0 < redis.ask("PTTL", k) <= 3600_000 for k in kept)
    assert min(redis.ask("STRLEN", k) for k in kept) < 2000 and max(redis.ask("STRLEN", k) for k in kept) < 21000
    # what was cleared anywhere is not taken from there
    assert gws[2].admin("/cache", "DELETE", headers=ADMIN).status == 200
    assert gws[2].chat(headers=bearer("one"), text="long").headers.get("x-penstock-cache") == "miss"
    # paused: nobody waits for it
    redis.signal(signal.SIGSTOP)
    begin = time.monotonic()
    for i in range(20):
        assert gws[1].chat(headers=bearer("one"), text=f"other {i}").status == 200
    assert time.monotonic() - begin < 5
    redis.signal(signal.SIGCONT)


def test_a_breaker_that_opened_elsewhere_is_a_hint():
    up, redis = scene.Upstream(), Redis()
    conf = {"providers": [up.provider(retry={"max": 0}, breaker={"consecutive_failures": 5, "error_rate": 0})],
            "auth": admin_and_keys("one"), "cluster": {"redis": redis.url}}
    gws = [scene.Gateway(conf) for _ in range(2)]
    for gw in gws:
        wait_cluster(gw, "connected")
    scene.wait_for(lambda: redis.ask("PUBSUB", "NUMSUB", "penstock:news:0")[1] == 2, "the subscriptions")
    assert gws[1].chat(headers=bearer("one")).status == 200  # the target is known there
    up.default = scene.status_script(500)
    for _ in range(5):
        assert gws[0].chat(headers=bearer("one")).status >= 500
    gws[1].wait_log("opened at another host", "breaker")
    n = len(up.requests)
    for _ in range(5):
        assert gws[1].chat(headers=bearer("one")).status >= 500
    assert len(up.requests) == n + 1, "one failure opens it here"
    # a hint about what works here is forgotten with the next success
    up.default = scene.chat_script()
    two = scene.Gateway(conf)
    wait_cluster(two, "connected")
    assert two.chat(headers=bearer("one")).status == 200
    scene.wait_for(lambda: redis.ask("PUBSUB", "NUMSUB", "penstock:news:0")[1] == 3, "the subscription")
    redis.ask("PUBLISH", "penstock:news:0", "0123456789abcdef breaker up/m")
    two.wait_log("opened at another host", "breaker")
    for _ in range(3):
        assert two.chat(headers=bearer("one")).status == 200
    up.next(*[scene.status_script(500)] * 4)
    for _ in range(4):
        assert two.chat(headers=bearer("one")).status >= 500
    assert two.chat(headers=bearer("one")).status == 200


def test_records_are_exported_once_each():
    up, redis = scene.Upstream(), Redis()
    conf = {"providers": [up.provider()], "auth": admin_and_keys("one"), "cluster": {"redis": redis.url, "export": 1000}}
    gws = [scene.Gateway(conf) for _ in range(2)]
    for gw in gws:
        wait_cluster(gw, "connected")

    def entries():
        return [dict(zip(fields[::2], fields[1::2])) for _, fields in redis.ask("XRANGE", "penstock:{c}:ledger", "-", "+")]

    asked = 0
    for i in range(6):
        for gw in gws:
            asked += gw.chat(headers=bearer("one"), text=f"{i}").status == 200
        if i % 2:
            gws[0].signal(signal.SIGKILL, scene.wait_for(lambda: gws[0].scribe(), "a scribe").pid)
    scene.wait_for(lambda: len(entries()) >= asked, "all records", 20)
    got = entries()
    assert len(got) == len({e["id"] for e in got}) == asked == 12, got
    rows = [json.loads(e["record"]) for e in got]
    assert all(r["key"] == "one" and r["status"] == 200 and r["provider"] == "up" for r in rows), rows[0]
    assert len({e["id"].split("-")[0] for e in got}) == 2
    # the server has lost its memory: all again, by the same ids
    redis.kill()
    redis.start()
    scene.wait_for(lambda: {e["id"] for e in entries()} == {e["id"] for e in got}, "the same records", 20)


def test_usage_of_all_hosts():
    up, redis = scene.Upstream(), Redis()
    gws = hosts(up, redis)
    for i, gw in enumerate(gws):
        for n in range(i + 1):
            assert gw.chat(headers=bearer("one"), text=f"Hello {i} {n}").status == 200

    def usage(gw, query=""):
        return gw.admin("/usage?scope=cluster" + query, headers=ADMIN).json()

    for gw in gws:
        got = scene.wait_for(lambda: (u := usage(gw))["total"]["requests"] == 6 and u, "all requests")
        assert got["hosts"] == 3 and got["missing_hosts"] == 0, got
        own = gw.admin("/usage", headers=ADMIN).json()
        assert own["total"]["requests"] < 6 and "hosts" not in own
    by = usage(gws[0], "&group_by=key,provider,day")
    assert len(by["rows"]) == 1 and by["rows"][0]["requests"] == 6 and by["rows"][0]["key"] == "one", by
    assert by["rows"][0]["input_tokens"] == 42 and by["rows"][0]["provider"] == "up", by
    csv = gws[0].admin("/usage?scope=cluster&format=csv&group_by=key", headers=ADMIN)
    assert '"one",6,' in csv.text, csv
    # a host that does not answer is told of
    scene.wait_for(lambda: cluster(gws[0])["hosts"] == 3, "the roll")
    gws[2].kill_all()
    got = usage(gws[0])
    assert got["hosts"] == 2 and got["missing_hosts"] == 1 and got["total"]["requests"] == 3, got
    redis.kill()
    got = usage(gws[0])
    assert got["hosts"] == 1 and got["missing_hosts"] == 2, got


scene.main()
