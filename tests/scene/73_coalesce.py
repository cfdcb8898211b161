"""cache.coalesce: equal requests in flight on any workers share one upstream call, and lose nothing by it."""

import json
import os
import signal
import threading
import time

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
    scene.wait_for(lambda: len(held.up.requests) == 1, "the leader's call")
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


def test_off_by_default():
    for stream in (False, True):
        held = Held()
        gw = held.gateway(cache={"coalesce": False})
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
    scene.wait_for(lambda: len(held.up.requests) == 1, "the leader's call")
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
    """The call goes on for those who wait, and what it cost is in the ledger."""
    held = Held()
    gw = held.gateway()
    leader = gw.client()
    leader.request("POST", "/v1/chat/completions", {"model": "up/m", "messages": [{"role": "user", "content": "Hi"}]})
    scene.wait_for(lambda: len(held.up.requests) == 1, "the leader's call")
    crowd = Crowd(10, lambda i: gw.chat())
    in_flight(gw, 11)
    leader.close()
    scene.wait_for(lambda: gw.metrics()["penstock_client_gone_total"] == 1, "the gateway to see it")
    held.go.set()
    got = crowd.wait()
    assert all(how(r) == (200, "hit") for r in got) and len({r.body for r in got}) == 1, got
    assert len(held.up.requests) == 1
    total = scene.wait_for(lambda: (t := gw.admin("/usage").json()["total"])["requests"] == 11 and t, "11 in the ledger")
    assert (total["input_tokens"], total["output_tokens"]) == (7, 3), total


def test_all_clients_leave():
    """Then there is nobody to go on for."""
    for stream in (False, True):
        held = Held()
        gw = held.gateway()
        clients = [gw.client() for _ in range(5)]
        for c in clients:
            c.request("POST", "/v1/chat/completions",
                      {"model": "up/m", "messages": [{"role": "user", "content": "Hi"}], "stream": stream})
        in_flight(gw, 5)
        scene.wait_for(lambda: len(held.up.requests) == 1, "the leader's call")
        for c in clients:
            c.close()
        assert held.up.requests[0].closed.wait(20), "the call goes on for nobody"
        in_flight(gw, 0)
        gw.stop()


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
        scene.wait_for(lambda: len(held.up.requests) == before + 1, "the leader's call")
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


# --- streams ---

class Stream:
    """An upstream that streams: n pieces, then it waits for go[k], and so on; how each answer ends is the test's."""

    def __init__(self, pieces, last="[DONE]", size=50):
        self.pieces, self.last, self.size = pieces, last, size
        self.go = [threading.Event() for _ in pieces]
        self.up = scene.Upstream(self.script)

    def script(self, a):
        n = len(self.up.requests)
        a.sse()
        for go, count in zip(self.go, self.pieces):
            for i in range(count):
                a.event(scene.chat_chunk(f"<{n}:{i}>" + "." * self.size))
            a.wait(go, 60)
        if self.last == "reset":
            a.reset()
            return
        a.event(scene.chat_chunk(finish="stop"))
        a.event("[DONE]")
        a.end()

    def gateway(self, **more):
        return Held.gateway(self, **more)


def first_of(s):
    """The first event's data; what comes behind is read by rest()."""
    assert s.status == 200, s.headers
    return s.event()[1]


def rest(s):
    out = []
    while (e := s.event()) is not None:
        out.append(e[1])
    return out


def test_streams_share_a_call_while_it_comes():
    st = Stream([40, 40])
    gw = st.gateway()
    leader = gw.chat_stream()
    begun = [first_of(leader)]
    followers = [gw.chat_stream() for _ in range(16)]
    assert leader.headers["x-penstock-cache"] == "miss"
    st_first = [[first_of(f)] for f in followers]  # the upstream has not gone on yet
    assert all(f.headers["x-penstock-cache"] == "hit" and f.headers["x-penstock-provider"] == "up" for f in followers)
    late = gw.chat_stream()
    late_first = first_of(late)
    for go in st.go:
        go.set()
    whole = begun + rest(leader)
    assert len(whole) == 82 and whole[-1] == "[DONE]", len(whole)
    for f, b in zip(followers, st_first):
        assert b + rest(f) == whole
    assert [late_first] + rest(late) == whole
    assert len(st.up.requests) == 1
    m = gw.metrics()
    assert m["penstock_cache_coalesced_total"] == 17, m
    total = scene.wait_for(lambda: (t := gw.admin("/usage").json()["total"])["requests"] == 18 and t, "18 in the ledger")
    one = gw.admin("/usage?group_by=provider").json()["rows"]
    assert sum(r["output_tokens"] for r in one) == total["output_tokens"] > 0, one
    again = gw.chat(stream=True)
    assert again.headers["x-penstock-cache"] == "hit" and len(st.up.requests) == 1
    scene.wait_for(lambda: not live_files(gw), "the file to be gone")


def live_files(gw):
    return [n for n in os.listdir(gw.path("state")) if n.startswith("live-")]


def test_a_streams_leader_leaves():
    st = Stream([3, 3])
    gw = st.gateway()
    leader = gw.chat_stream()
    first_of(leader)
    followers = [gw.chat_stream() for _ in range(6)]
    begun = [[first_of(f)] for f in followers]
    leader.close()
    scene.wait_for(lambda: gw.metrics()["penstock_client_gone_total"] == 1, "the gateway to see it")
    followers.pop().close()
    begun.pop()
    for go in st.go:
        go.set()
    got = [b + rest(f) for b, f in zip(begun, followers)]
    assert all(len(g) == 8 and g == got[0] and g[-1] == "[DONE]" for g in got), got
    assert len(st.up.requests) == 1
    in_flight(gw, 0)


def test_the_leader_leaves_in_a_reload():
    st = Stream([3, 3])
    gw = st.gateway()
    leader = gw.chat_stream()
    first_of(leader)
    gw.signal(signal.SIGHUP)
    gw.wait_workers(4, generation=2)
    follower = gw.chat_stream()  # on a new worker, of one of the old
    begun = [first_of(follower)]
    leader.close()
    scene.wait_for(lambda: gw.metrics()["penstock_client_gone_total"] == 1, "the gateway to see it")
    for go in st.go:
        go.set()
    assert (begun + rest(follower))[-1] == "[DONE]" and len(st.up.requests) == 1
    scene.wait_for(lambda: not gw.workers(draining=True), "the old workers to end")


def test_a_shared_stream_breaks_off():
    st = Stream([3, 3], last="reset")
    gw = st.gateway()
    leader = gw.chat_stream()
    first_of(leader)
    followers = [gw.chat_stream() for _ in range(6)]
    for f in followers:
        first_of(f)
    for go in st.go:
        go.set()
    for n, s in enumerate([leader] + followers):
        got = rest(s)
        assert "error" in json.loads(got[-1]) and sum('"error"' in g for g in got) == 1 and "[DONE]" not in got, (n, got)
    assert len(st.up.requests) == 1
    in_flight(gw, 0)


def test_the_leaders_worker_is_killed_in_its_stream():
    st = Stream([3, 3])
    gw = st.gateway()
    leader = gw.chat_stream()
    first_of(leader)
    followers = [gw.chat_stream() for _ in range(12)]
    for f in followers:
        first_of(f)
    for pid in gw.worker_pids():  # until it was the one
        gw.signal(signal.SIGKILL, pid)
        if st.up.requests[0].closed.wait(1):
            break
    told = 0
    for f in followers:
        try:
            got = rest(f)
        except (scene.Closed, OSError, ValueError):
            continue  # was on a worker that is gone
        if not got:
            continue
        assert "error" in json.loads(got[-1]) and "[DONE]" not in got, got
        told += 1
    gw.wait_workers(4)
    for go in st.go:
        go.set()
    assert gw.chat(stream=True).status == 200 and len(st.up.requests) == 2
    gw.signal(signal.SIGHUP)  # the first of new workers takes the file of the dead away
    scene.wait_for(lambda: not live_files(gw), "the file of the dead to be gone")


def test_a_slow_follower_holds_nobody_up():
    st = Stream([2000, 4000])
    gw = st.gateway(cache={"max_entry": "16MiB"})
    leader = gw.chat_stream()
    begun = [first_of(leader)]
    slow, quick = gw.chat_stream(), gw.chat_stream()
    slow_first, quick_first = first_of(slow), first_of(quick)
    for go in st.go:
        go.set()
    whole = begun + rest(leader)
    assert [quick_first] + rest(quick) == whole
    assert [slow_first] + rest(slow) == whole and len(whole) == 6002


def test_a_slow_follower_keeps_the_stream_whose_leader_left():
    st = Stream([3, 200], size=100_000)  # more than sockets hold
    gw = st.gateway()
    leader = gw.chat_stream()
    first_of(leader)
    slow = gw.chat_stream()
    begun = [first_of(slow)]
    leader.close()
    scene.wait_for(lambda: gw.metrics()["penstock_client_gone_total"] == 1, "the gateway to see it")
    st.go[0].set()
    until = time.monotonic() + 5  # longer than who waits is believed
    while time.monotonic() < until:
        assert gw.metrics()["penstock_in_flight"] == 2
    st.go[1].set()
    got = begun + rest(slow)
    assert len(got) == 205 and got[-1] == "[DONE]" and len(st.up.requests) == 1, (len(got), got[-1][-200:])
    in_flight(gw, 0)


if __name__ == "__main__":
    scene.main()
