"""What an operator does to providers by hand: at once for all workers, kept over reloads and deaths of workers."""

import json
import signal
import threading

import scene

KEYS = {"keys": [{"id": "user", "key": {"value": "sk-user"}},
                 {"id": "boss", "key": {"value": "sk-boss"}, "permissions": ["completion", "admin"]}]}
USER, BOSS = {"x-api-key": "sk-user"}, {"x-api-key": "sk-boss"}


def two(**more):
    """A model at `one`, then at `two`."""
    one, two_ = scene.Upstream(), scene.Upstream()
    gw = scene.Gateway({
        "providers": [one.provider("one", retry={"max": 0}), two_.provider("two", retry={"max": 0})], "auth": KEYS,
        "models": [{"name": "m", "targets": [{"provider": "one"}, {"provider": "two"}]}], **more}, workers=4)
    return gw, one, two_


def order(gw, path, body=None, headers=None, want=200):
    r = gw.admin("/providers/" + path, "POST", body, headers=headers or BOSS)
    assert r.status == want, r
    return r.json()


def row(gw, name):
    return next(p for p in gw.admin("/providers", headers=BOSS).json()["providers"] if p["name"] == name)


def on_all_workers(gw, ask, connections=48):
    """ask() over so many connections of their own that every worker gets some."""
    got = [ask() for _ in range(connections)]
    return got


def test_drained_providers_get_nothing_until_they_are_enabled():
    gw, one, two_ = two()
    go = threading.Event()

    def slow(a):
        a.sse()
        a.event(scene.chat_chunk("half"))
        a.wait(go)
        a.event(scene.chat_chunk(finish="stop"))
        a.event("[DONE]")
        a.end()
    one.next(slow)
    c = gw.chat_stream("m", headers=USER)
    assert "half" in c.event()[1]
    assert order(gw, "one/drain")["status"] == "drained"
    before = len(one.requests)
    for r in on_all_workers(gw, lambda: gw.chat("m", headers=USER)):
        assert r.status == 200 and r.headers["x-penstock-provider"] == "two", r
    r = gw.chat("one/x", headers=USER)
    assert r.status == 200 and r.headers["x-penstock-provider"] == "two" or r.status == 503, r
    assert len(one.requests) == before
    go.set()
    assert "stop" in c.event()[1] and c.event()[1] == "[DONE]"  # what was in flight ends as it would
    assert gw.get("/health", headers=USER).json()["status"] == "healthy"
    order(gw, "two/drain")
    r = gw.chat("m", headers=USER)
    assert r.status == 503, r
    assert gw.get("/health", headers=USER).status == 503
    assert order(gw, "one/enable")["status"] == "healthy"
    for r in on_all_workers(gw, lambda: gw.chat("m", headers=USER)):
        assert r.status == 200 and r.headers["x-penstock-provider"] == "one", r


def test_drained_stays_drained_over_reloads_and_kills_but_not_a_restart():
    gw, one, two_ = two()
    order(gw, "one/drain")
    r = gw.admin("/reload", "POST", headers=BOSS)
    assert r.status == 200, r
    gw.wait_workers(4, generation=r.json()["generation"])
    for pid in gw.worker_pids(draining=False)[:2]:
        gw.signal(signal.SIGKILL, pid)
    gw.wait_workers(4)
    for _ in range(24):
        try:
            assert gw.chat("m", headers=USER).headers["x-penstock-provider"] == "two"
        except (OSError, scene.Closed):
            pass  # of a worker that was killed
    assert not one.requests and row(gw, "one")["status"] == "drained"
    gw.stop()
    gw.start()
    assert gw.chat("m", headers=USER).headers["x-penstock-provider"] == "one"


def test_reset_closes_breakers_and_ends_rests():
    up = scene.Upstream(scene.status_script(500))
    gw = scene.Gateway({"providers": [up.provider("up", key=None, keys=[{"value": "k-1"}, {"value": "k-2"}],
                                                  retry={"max": 0}, breaker={"consecutive_failures": 2,
                                                                             "open_for": "1h", "max_open_for": "2h"})],
                        "auth": KEYS, "routing": {"fallback": False}}, workers=4)
    scene.wait_for(lambda: gw.chat("up/x", headers=USER).status == 503, "the breaker to open")
    assert row(gw, "up")["targets"][0]["breaker"] == "open"
    up.default = scene.chat_script()
    n = len(up.requests)
    assert gw.chat("up/x", headers=USER).status == 503 and len(up.requests) == n
    answer = order(gw, "up/reset")
    assert answer["targets"][0]["breaker"] == "closed", answer
    for r in on_all_workers(gw, lambda: gw.chat("up/x", headers=USER)):
        assert r.status == 200, r
    up.default = scene.status_script(401)
    scene.wait_for(lambda: gw.chat("up/x", headers=USER).status == 502 and
                   all(k["resting"] for k in row(gw, "up")["keys"]), "both keys to rest")
    up.default = scene.chat_script()
    assert gw.chat("up/x", headers=USER).status == 502
    answer = order(gw, "up/reset")
    assert not any(k["resting"] for k in answer["keys"]), answer
    for r in on_all_workers(gw, lambda: gw.chat("up/x", headers=USER)):
        assert r.status == 200, r


def test_weight_of_a_key():
    up = scene.Upstream()
    gw = scene.Gateway({"providers": [up.provider("up", key=None, keys=[{"value": "k-1"}, {"value": "k-2", "id": "b"}])],
                        "auth": KEYS}, workers=4)

    def share():
        n = len(up.requests)
        for _ in range(60):
            assert gw.chat("up/x", headers=USER).status == 200
        return sum(r.headers["authorization"] == "Bearer k-1" for r in up.requests[n:])
    assert 10 < share() < 50
    answer = order(gw, "up/keys/up/0/weight", {"weight": 10000})
    assert [k["weight"] for k in answer["keys"]] == [10000, 1], answer
    assert share() >= 59
    order(gw, "up/keys/up%2F0/weight", {"weight": None})
    order(gw, "up/keys/b/weight", {"weight": 10000})
    assert share() <= 1
    for body in ({}, {"weight": 0}, {"weight": -1}, {"weight": 10001}, {"weight": 1.5}, {"weight": "2"}, {"wait": 1},
                 {"weight": 1, "more": 1}, '{"weight":1,"weight":2}', '{"weight":1', "[]", "1", "x" * 70000):
        r = gw.admin("/providers/up/keys/b/weight", "POST", body, headers=BOSS)
        assert r.status in (400, 413), (body, r)
    for path in ("up/keys/nobody/weight", "up/keys/weight", "nobody/keys/b/weight", "up/weight"):
        order(gw, path, {"weight": 1}, want=404)
    assert [k["weight"] for k in row(gw, "up")["keys"]] == [1, 10000]


def test_only_admins_and_only_what_there_is():
    gw, one, two_ = two()
    for path in ("one/drain", "one/enable", "one/reset", "one/keys/one%2F0/weight"):
        order(gw, path, {"weight": 1} if "weight" in path else None, headers=USER, want=403)
        order(gw, path, headers={"x-api-key": "wrong"}, want=401)
    for path in ("nobody/drain", "nobody/enable", "nobody/reset", "one%2f/drain"):
        order(gw, path, want=404)
    assert gw.admin("/providers/one/drain", headers=BOSS).status == 405
    assert row(gw, "one")["status"] == "healthy"
    order(gw, "one/drain")
    lines = [x for x in gw.wait_log("one/drain", "audit") if x["status"] == 200]
    assert [(x["message"], x["key"]) for x in lines] == [("POST /admin/v1/providers/one/drain", "boss")], lines
    assert not any("sk-" in json.dumps(x) for x in gw.log("audit"))


scene.main()
