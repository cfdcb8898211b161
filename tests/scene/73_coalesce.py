"""cache.coalesce: equal requests in flight on any workers share one upstream call, and lose nothing by it."""

import signal
import threading

import scene


class Held:
    """An upstream whose answers wait until the test lets them go; `bad`: statuses of the first ones."""

    def __init__(self, bad=(), size=0):
        self.go, self.bad, self.size = threading.Event(), list(bad), size
        self.lock = threading.Lock()
        self.up = scene.Upstream(self.script)

    def script(self, a):
        with self.lock:
            n = len(self.up.requests)
            status = self.bad.pop(0) if self.bad else 200
        a.wait(self.go)
        if status != 200:
            a.whole(status, {"error": {"message": "scripted", "type": "server_error", "code": None}})
        elif a.request.json().get("stream"):
            a.sse()
            a.event(scene.chat_chunk(f"answer {n}"))
            a.event(scene.chat_chunk(finish="stop"))
            a.event("[DONE]")
            a.end()
        else:
            a.whole(200, scene.chat_reply(text=f"answer {n}" + "x" * self.size))

    def gateway(self, workers=4, cache=None, **more):
        return scene.Gateway({
            "providers": [self.up.provider(retry={"max": 0}, breaker={"consecutive_failures": 0, "error_rate": 0})],
            "cache": {"enabled": True, "coalesce": True, **(cache or {})}, **more}, workers=workers)


class Crowd:
    """n requests under way; each thread's answer, or its exception."""

    def __init__(self, n, fn):
        self.got = [None] * n
        self.threads = [threading.Thread(target=self.run, args=(i, fn), daemon=True) for i in range(n)]
        for t in self.threads:
            t.start()

    def run(self, i, fn):
        try:
            self.got[i] = fn(i)
        except Exception as e:
            self.got[i] = e

    def wait(self):
        for t in self.threads:
            t.join(60)
        return self.got


def in_flight(gw, n, seconds=20):
    scene.wait_for(lambda: gw.metrics()["penstock_in_flight"] == n, f"{n} in flight", seconds)


def how(r):
    return r.status, r.headers.get("x-penstock-cache")


def test_one_call_for_all_workers():
    held = Held()
    gw = held.gateway()
    crowd = Crowd(24, lambda i: gw.chat())
    in_flight(gw, 24)
    assert len(held.up.requests) == 1
    held.go.set()
    got = crowd.wait()
    assert len({r.body for r in got}) == 1 and all(r.status == 200 for r in got), got
    assert sorted(how(r)[1] for r in got) == ["hit"] * 23 + ["miss"]
    assert len(held.up.requests) == 1
    m = gw.metrics()
    assert m["penstock_cache_coalesced_total"] == 23 and m["penstock_cache_hits_total"] == 23, m
    total = scene.wait_for(lambda: (t := gw.admin("/usage").json()["total"])["requests"] == 24 and t, "24 in the ledger")
    assert (total["input_tokens"], total["output_tokens"]) == (7, 3), total


def test_again_and_again_never_more_than_one():
    held = Held()
    held.go.set()
    gw = held.gateway()
    for i in range(30):
        Crowd(8, lambda k: gw.chat(text=f"round {i}")).wait()
        assert len(held.up.requests) == i + 1, i


def test_off_by_default_and_not_for_streams():
    for cache, stream in (({"coalesce": False}, False), ({}, True)):
        held = Held()
        gw = held.gateway(cache=cache)
        crowd = Crowd(6, lambda i: gw.chat(stream=stream))
        scene.wait_for(lambda: len(held.up.requests) == 6, "each to ask")
        held.go.set()
        assert all(how(r) == (200, "miss") for r in crowd.wait())
        gw.stop()


def test_only_who_may_share_waits():
    held = Held()
    keys = [{"id": n, "key": {"value": f"sk-{n}"}} for n in ("one", "two")]
    gw = held.gateway(auth={"keys": keys + [{"id": "boss", "key": {"value": "sk-boss"}, "permissions": ["admin"]}]})
    crowd = Crowd(8, lambda i: gw.chat(headers={"authorization": f"Bearer sk-{('one', 'two')[i % 2]}"}))
    scene.wait_for(lambda: len(held.up.requests) == 2, "a call of each key")
    others = []
    for n, more in enumerate(({}, {"cache-control": "no-cache"}, {"cache-control": "no-store"})):
        others.append(Crowd(1, lambda i: gw.chat(text="Ho", headers={"authorization": "Bearer sk-one", **more})))
        scene.wait_for(lambda: len(held.up.requests) == 3 + n, "a call of its own")
    held.go.set()
    assert all(c.wait()[0].status == 200 for c in others)
    got = crowd.wait()
    assert all(r.status == 200 for r in got)
    assert len({r.body for r in got[::2]} | {r.body for r in got[1::2]}) == 2
    assert {r.body for r in got[::2]} != {r.body for r in got[1::2]}


def test_a_failure_is_the_leaders_alone():
    held = Held(bad=[500])
    gw = held.gateway()
    crowd = Crowd(12, lambda i: gw.chat())
    in_flight(gw, 12)
    assert len(held.up.requests) == 1
    held.go.set()
    got = crowd.wait()
    assert sorted(r.status for r in got) == [200] * 11 + [500], got
    assert len(held.up.requests) == 2


def test_what_is_not_kept_is_not_waited_for_for_ever():
    held = Held(size=5000)
    gw = held.gateway(cache={"max_entry": "1KiB"})
    crowd = Crowd(12, lambda i: gw.chat())
    in_flight(gw, 12)
    held.go.set()
    got = crowd.wait()
    assert all(how(r) == (200, "miss") for r in got), got
    assert len(held.up.requests) == 12


def test_the_leaders_client_leaves():
    held = Held()
    gw = held.gateway()
    leader = gw.client()
    leader.request("POST", "/v1/chat/completions", {"model": "up/m", "messages": [{"role": "user", "content": "Hi"}]})
    scene.wait_for(lambda: len(held.up.requests) == 1, "the leader's call")
    crowd = Crowd(10, lambda i: gw.chat())
    in_flight(gw, 11)
    leader.close()
    scene.wait_for(lambda: len(held.up.requests) == 2, "another to ask")
    in_flight(gw, 10)
    held.go.set()
    got = crowd.wait()
    assert all(r.status == 200 for r in got) and len({r.body for r in got}) == 1, got
    assert len(held.up.requests) == 2


def test_a_follower_leaves():
    held = Held()
    gw = held.gateway()
    crowd = Crowd(4, lambda i: gw.chat())
    in_flight(gw, 4)
    follower = gw.client()
    follower.request("POST", "/v1/chat/completions", {"model": "up/m", "messages": [{"role": "user", "content": "Hi"}]})
    in_flight(gw, 5)
    follower.close()
    in_flight(gw, 4)
    held.go.set()
    assert all(r.status == 200 for r in crowd.wait()) and len(held.up.requests) == 1


def test_the_leaders_worker_is_killed():
    held = Held()
    gw = held.gateway()
    for round_ in range(3):
        before = len(held.up.requests)
        crowd = Crowd(16, lambda i: gw.chat(text=f"round {round_}"))
        in_flight(gw, 16)
        assert len(held.up.requests) == before + 1
        asked = held.up.requests[before]
        killed = 0
        for pid in gw.worker_pids():  # until it was the one
            gw.signal(signal.SIGKILL, pid)
            killed += 1
            if asked.closed.wait(1):
                break
        scene.wait_for(lambda: len(held.up.requests) == before + 2 or all(isinstance(g, Exception) for g in crowd.got),
                       "another to ask")
        held.go.set()
        got = crowd.wait()
        well = [g for g in got if not isinstance(g, Exception)]
        assert all(r.status == 200 for r in well) and len({r.body for r in well}) <= 1, got
        assert len(held.up.requests) <= before + 2
        held.go.clear()
        gw.wait_workers(4)
        in_flight(gw, 0)


if __name__ == "__main__":
    scene.main()
