"""The queue: a request over a limit waits its turn, fair among keys, over four workers."""

import signal
import threading
import time

import scene
from layers import admin_and_keys, at_once, bearer, statuses


def gateway(up, workers=4, limits=None, queue=None, **auth):
    return scene.Gateway({"providers": [up.provider("up", retry={"max": 0})], "limits": limits or {"concurrent": 2},
                          "queue": {"max_wait": "20s", **(queue or {})},
                          "auth": admin_and_keys("a", "b", **auth)}, workers=workers)


def slow(seconds=0.02):
    gate = threading.Event()  # never set: a bounded wait stands for a provider's time

    def script(a):
        gate.wait(seconds)
        a.whole(200, scene.chat_reply())
    return script


def ask(gw, key="a", **more):
    return gw.chat("up/m", headers=bearer(key), timeout=40, **more)


def depth(gw):
    text = gw.request("GET", "/metrics", headers=bearer("admin")).text
    return int(text.split("\npenstock_queue_depth ")[1].split()[0])


def test_all_pass_in_time_and_never_too_many_at_once():
    busy, most, lock = [0], [0], threading.Lock()

    def script(a):
        with lock:
            busy[0] += 1
            most[0] = max(most[0], busy[0])
        threading.Event().wait(0.02)
        with lock:
            busy[0] -= 1
        a.whole(200, scene.chat_reply())
    up = scene.Upstream(script)
    gw = gateway(up)
    got = at_once(60, lambda i: ask(gw))
    assert statuses(got) == {200: 60}, statuses(got)
    assert most[0] <= 2, most


def test_a_key_that_asks_much_does_not_hold_up_another():
    up = scene.Upstream(slow(0.03))
    gw = gateway(up)
    order, lock = [], threading.Lock()

    def one(key):
        assert ask(gw, key).status == 200
        with lock:
            order.append(key)
    many = [threading.Thread(target=one, args=("a",), daemon=True) for _ in range(60)]
    for t in many:
        t.start()
    scene.wait_for(lambda: len(order) >= 4, "the first of them")
    few = [threading.Thread(target=one, args=("b",), daemon=True) for _ in range(10)]
    at = len(order)
    for t in few:
        t.start()
    for t in many + few:
        t.join(30)
    assert len(order) == 70
    last_b = max(i for i, k in enumerate(order) if k == "b")
    # in turn, b's ten are served among the next twenty; first come first served would have put them last
    assert last_b < at + 40, (at, last_b, "".join(order))


def test_too_deep_and_too_long_are_refused_honestly():
    go = threading.Event()

    def script(a):
        a.wait(go)
        a.whole(200, scene.chat_reply())
    up = scene.Upstream(script)
    gw = gateway(up, limits={"concurrent": 1}, queue={"max_depth": 5, "max_wait": "1s"})
    answers = []
    threads = [threading.Thread(target=lambda: answers.append(ask(gw)), daemon=True) for _ in range(12)]
    begin = time.monotonic()
    for t in threads:
        t.start()
    scene.wait_for(lambda: len(answers) >= 6, "those beyond the depth")
    assert time.monotonic() - begin < 0.9
    scene.wait_for(lambda: len(answers) == 11, "those that waited in vain")
    assert time.monotonic() - begin >= 1
    assert statuses(answers) == {429: 11}
    assert all("retry-after" in a.headers for a in answers)
    go.set()
    for t in threads:
        t.join(20)
    assert statuses(answers) == {429: 11, 200: 1}
    gw.stop()
    up2 = scene.Upstream()
    gw = gateway(up2, limits={"requests_per_day": 2})
    begin = time.monotonic()
    got = at_once(4, lambda i: ask(gw))  # the next would be let in after hours: refused at once
    assert statuses(got) == {200: 2, 429: 2} and time.monotonic() - begin < 5


def test_a_rate_is_waited_out_and_one_limit_does_not_hold_up_those_of_another():
    up = scene.Upstream()
    gw = scene.Gateway({
        "providers": [up.provider("up")], "queue": {"max_wait": "10s"},
        "auth": {"keys": [dict(k, limits={"requests_per_minute": 60}) if k["id"] == "a" else k
                          for k in admin_and_keys("a", "b")["keys"]]}}, workers=4)
    assert statuses(at_once(60, lambda i: ask(gw))) == {200: 60}
    begin = time.monotonic()
    waiting = threading.Thread(target=lambda: at_once(3, lambda i: ask(gw)), daemon=True)
    waiting.start()
    assert statuses([ask(gw, "b") for _ in range(5)]) == {200: 5}
    assert time.monotonic() - begin < 0.9
    waiting.join(20)
    assert time.monotonic() - begin > 1.5, "one a second"


def test_who_leaves_and_who_is_killed_frees_its_place():
    go = threading.Event()

    def script(a):
        a.wait(go)
        a.whole(200, scene.chat_reply())
    up = scene.Upstream(script)
    gw = gateway(up, limits={"concurrent": 1}, queue={"max_depth": 4})
    body = {"model": "up/m", "messages": [{"role": "user", "content": "x"}]}

    def connect():
        c = gw.client()
        c.request("POST", "/v1/chat/completions", body, bearer("a"))
        return c
    first = connect()
    scene.wait_for(lambda: len(up.requests) == 1, "the first")
    waiting = [connect() for _ in range(4)]
    scene.wait_for(lambda: depth(gw) == 4, "a full queue")
    assert ask(gw).status == 429
    for c in waiting:
        c.close()
    scene.wait_for(lambda: depth(gw) == 0, "free places", seconds=1)
    more = []
    # all four places are free again
    threads = [threading.Thread(target=lambda: more.append(_try(gw)), daemon=True) for _ in range(4)]
    for t in threads:
        t.start()
    scene.wait_for(lambda: depth(gw) == 4, "a full queue again")
    assert ask(gw).status == 429
    assert more == [], more
    before = gw.worker_pids()
    for pid in before:
        gw.signal(signal.SIGKILL, pid)
    scene.wait_for(lambda: len(w := gw.worker_pids()) == 4 and not set(w) & set(before), "new workers")
    go.set()
    assert statuses(at_once(5, lambda i: ask(gw))) == {200: 5}
    first.close()


def _try(gw):
    try:
        return ask(gw).status
    except (OSError, scene.Closed):
        return None


if __name__ == "__main__":
    scene.main()
