"""Watching: what the scribe asks and tells: checks of providers, from one process only and through its death."""

import signal
import time

import scene

KEYS = {"keys": [{"id": "user", "key": {"value": "sk-user"}},
                 {"id": "boss", "key": {"value": "sk-boss"}, "permissions": ["completion", "admin"]}]}
USER, BOSS = {"x-api-key": "sk-user"}, {"x-api-key": "sk-boss"}


def checks(up):
    return [r for r in up.requests if r.method == "GET"]


def kill_scribe(gw):
    """kill -9, until its successor is there."""
    old = gw.scribe().pid
    gw.signal(signal.SIGKILL, old)
    return scene.wait_for(lambda: (s := gw.scribe()) and s.pid != old and s, "another scribe")


# --- checks of providers ---


def test_checks_come_from_one_process_and_go_on_after_its_death():
    up = scene.Upstream(scene.status_script(200, {"data": []}))
    gw = scene.Gateway({"providers": [up.provider("up", health_check={"every": "300ms", "path": "/models"})]}, workers=4)
    up.wait_requests(6)
    seen = checks(up)
    assert all(r.path == "/v1/models" and r.headers["authorization"] == "Bearer up-key" for r in seen)
    assert len({r.connection for r in seen}) == 1, "several processes ask"
    pauses = [b.at - a.at for a, b in zip(seen, seen[1:])]
    assert min(pauses) >= 0.28, pauses
    for pid in gw.worker_pids():
        gw.signal(signal.SIGKILL, pid)
    n = len(seen)
    scene.wait_for(lambda: len(checks(up)) >= n + 3, "checks while all workers are replaced")
    assert len({r.connection for r in checks(up)}) == 1
    kill_scribe(gw)
    scene.wait_for(lambda: len({r.connection for r in checks(up)}) == 2, "checks of the next scribe")
    up.default = scene.status_script(500)
    gw.wait_log("up: the check fails", "health")
    scene.wait_for(lambda: gw.admin("/providers").json()["providers"][0]["health_score"] < 70, "the score to fall")
    up.default = scene.status_script(401)  # the key's matter
    gw.wait_log("up: the check is good again", "health")


def test_who_is_used_is_not_checked():
    up = scene.Upstream()
    gw = scene.Gateway({"providers": [up.provider("up", health_check={"every": "500ms", "path": "/models"})]}, workers=4)
    first = time.monotonic()
    while time.monotonic() - first < 2.5:
        assert gw.chat("up/m").status == 200
    assert len(checks(up)) == 0, checks(up)
    up.default = scene.status_script(200, {"data": []})
    scene.wait_for(lambda: len(checks(up)) >= 2, "checks of a provider at rest")


def test_checks_that_never_end_hold_no_record_up():
    up = scene.Upstream()
    dead = scene.Upstream(lambda a: a.until_closed())
    gw = scene.Gateway({"providers": [up.provider("up"), dead.provider("dead", health_check={"every": "1s"})],
                        "auth": KEYS}, workers=4)
    dead.wait_requests(1)
    for i in range(20):
        assert gw.chat("up/m", headers=USER).status == 200
        scene.wait_for(lambda: gw.admin("/usage", headers=BOSS).json()["total"]["requests"] == i + 1,
                       "the record", seconds=2)
    kill_scribe(gw)
    assert gw.chat("up/m", headers=USER).status == 200
    scene.wait_for(lambda: gw.admin("/usage", headers=BOSS).json()["total"]["requests"] == 21,
                   "the record after a death amid a check", seconds=5)


scene.main()
