"""SIGHUP: nothing fails because of it, keys rotate, a bad file changes nothing and says why."""

import os
import signal
import threading
import time

import scene


def test_requests_and_open_streams_through_twenty_reloads():
    go = threading.Event()

    def script(a):
        if not a.request.json().get("stream"):
            a.whole(200, scene.chat_reply())
            return
        a.sse()
        a.event(scene.chat_chunk("first"))
        a.wait(go, 60)
        a.event(scene.chat_chunk("second"))
        a.event(scene.chat_chunk(finish="stop"))
        a.event("[DONE]")
        a.end()
    up = scene.Upstream(script)
    gw = scene.Gateway({"providers": [up.provider()], "drain_timeout": "60s"}, workers=2)
    streams = [gw.chat_stream() for _ in range(20)]
    for s in streams:
        assert s.status == 200 and "first" in s.event()[1]
    failures, done, ending = [], [], threading.Event()

    def load():
        while not ending.is_set():
            try:
                r = gw.chat()
                (done if r.status == 200 else failures).append(r)
            except Exception as e:
                failures.append(repr(e))
    threads = [threading.Thread(target=load, daemon=True) for _ in range(4)]
    for t in threads:
        t.start()
    generation = lambda: gw.admin("/workers").json()["generation"]
    for i in range(20):
        gw.signal(signal.SIGHUP)
        scene.wait_for(lambda: generation() >= i + 2, f"generation {i + 2}", 30)
    scene.wait_for(lambda: len(done) >= 200, "200 requests", 30)
    ending.set()
    for t in threads:
        t.join(20)
    assert not failures, f"{len(failures)} of {len(done)}: {failures[:3]}"
    go.set()
    for s in streams:
        assert "second" in s.event()[1]
        assert "stop" in s.event()[1]
        assert s.event()[1] == "[DONE]" and s.event() is None
    scene.wait_for(lambda: all(w.generation == 21 for w in gw.workers(draining=None)), "the old generations to leave", 30)


test_requests_and_open_streams_through_twenty_reloads.seconds = 120


def test_twenty_hups_at_once():
    up = scene.Upstream()
    gw = scene.Gateway({"providers": [up.provider()]}, workers=2)
    for _ in range(20):
        gw.signal(signal.SIGHUP)
        assert gw.chat().status == 200
    gw.wait_log("generation 2 serves", "reload")
    scene.wait_for(lambda: not gw.workers(draining=True), "the old generations to leave", 30)
    assert gw.chat().status == 200


def test_a_rotated_key_file_is_used_after_the_signal():
    up = scene.Upstream()
    gw = scene.Gateway(start=False)
    with open(gw.path("secret"), "w") as f:
        f.write("first-key\n")
    gw.reconfigure({"providers": [up.provider("up", key=None, keys=[{"file": gw.path("secret")}])]})
    gw.start()
    assert gw.chat().status == 200
    assert up.requests[-1].headers["authorization"] == "Bearer first-key"
    with open(gw.path("secret"), "w") as f:
        f.write("second-key\n")
    assert gw.chat().status == 200
    assert up.requests[-1].headers["authorization"] == "Bearer first-key"
    gw.signal(signal.SIGHUP)
    scene.wait_for(lambda: gw.chat().status == 200 and
                   up.requests[-1].headers["authorization"] == "Bearer second-key", "the new key")
    gw.wait_workers(2, generation=2)
    for _ in range(10):
        assert gw.chat().status == 200
        assert up.requests[-1].headers["authorization"] == "Bearer second-key"
    text = "".join(t for _, t in gw.log_text())
    assert "first-key" not in text and "second-key" not in text


def test_a_bad_file_changes_nothing_and_says_why():
    gw = scene.Gateway({"providers": [{"name": "mock", "kind": "mock"}]}, workers=2)
    good = open(gw.conf_path).read()
    pids = gw.worker_pids()
    gw.write_conf("listen: 127.0.0.1:%d\nproviders:\n  - name: mock\n    knd: mock\nworkers: many\n" % gw.port)
    gw.signal(signal.SIGHUP)
    gw.wait_log("generation 1 goes on", "reload")
    text = "\n".join(r["message"] for r in gw.log("reload"))
    assert ":4:5: providers[0].knd" in text and "kind" in text and ":5:10: workers" in text, text
    r = gw.admin("/reload", "POST")
    assert r.status == 422 and ":4:5: providers[0].knd" in r.json()["error"]["message"], r
    assert gw.worker_pids() == pids and gw.chat("mock").status == 200
    gw.write_conf(good)
    r = gw.admin("/reload", "POST")
    assert r.status == 200 and r.json()["generation"] == 2, r
    gw.wait_workers(2, generation=2)


def test_state_is_kept_over_a_reload():
    up = scene.Upstream(scene.status_script(500))
    row = up.provider("up", retry={"max": 0}, breaker={"consecutive_failures": 2, "open_for": "60s"})
    conf = {"providers": [row, {"name": "mock", "kind": "mock"}],
            "models": [{"name": "m", "targets": [{"provider": "up", "model": "x"}]}],
            "limits": {"requests_per_minute": 4}}
    gw = scene.Gateway(conf, workers=2)
    assert [gw.chat("m").status for _ in range(3)] == [500, 500, 503]
    assert gw.admin("/reload", "POST").status == 200
    gw.wait_workers(2, generation=2)
    assert gw.chat("m").status == 503, "the breaker forgot"
    assert [gw.chat("mock").status for _ in range(3)] == [200, 200, 429], "the bucket forgot"
    assert len(up.requests) == 2


def test_addresses_and_workers_change():
    gw = scene.Gateway({"providers": [{"name": "mock", "kind": "mock"}]}, workers=2)
    old, new = gw.port, scene.free_port()
    gw.reconfigure({"listen": [{"address": f"127.0.0.1:{new}"}], "workers": 3})
    gw.signal(signal.SIGHUP)
    gw.port = new
    scene.wait_for(lambda: _serves(gw), "the new address")
    gw.wait_workers(3, generation=2)
    gw.port = old
    scene.wait_for(lambda: not _serves(gw), "the old address to be closed")
    gw.port = new


def _serves(gw):
    try:
        return gw.get("/livez").status == 200
    except (OSError, scene.Closed):
        return False


def test_the_time_an_old_generation_may_take_is_bounded():
    up = scene.Upstream(lambda a: (a.sse(), a.event(scene.chat_chunk("first")), a.until_closed()))
    gw = scene.Gateway({"providers": [up.provider()], "drain_timeout": "1s"}, workers=1)
    c = gw.chat_stream()
    assert "first" in c.event()[1]
    gw.signal(signal.SIGHUP)
    scene.wait_for(lambda: [w.generation for w in gw.workers(draining=None)] == [2], "the old worker to be ended", 20)


if __name__ == "__main__":
    scene.main()
