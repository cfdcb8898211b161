"""All of state_dir on a disk that gets full: requests go on, nobody dies of it, it is told of, and when there is room
again no money is missing."""

import concurrent.futures
import os
import signal
import subprocess

import scene
from layers import admin_and_keys, bearer

BOSS = bearer("admin")
PRICE = 0.01  # of a request


class SmallDisk:
    errors = ()

    def __init__(self, path, size):
        self.path = path
        os.mkdir(path)
        if os.geteuid() != 0:
            scene.skip("only root can mount a small disk")
        if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=" + size, "none", path], capture_output=True).returncode:
            scene.skip("no disk can be mounted here")

    def fill(self):
        with open(self.path + "/fill", "wb", 0) as f:
            try:
                while f.write(b"x" * 4096):
                    pass
            except OSError:
                pass

    def free(self):
        os.unlink(self.path + "/fill")

    def stop(self):
        subprocess.run(["umount", "-l", self.path])


def start():
    told = []

    def hook(a):
        told.append(a.request.json())
        a.whole(200, {})
    up = scene.Upstream(lambda a: a.whole(200, scene.chat_reply(prompt=5, completion=5)))
    gw = scene.Gateway({
        "providers": [up.provider("up")], "auth": admin_and_keys("a", budget={"usd": 1000, "period": "total"}),
        "models": [{"name": "m", "targets": [{"provider": "up"}], "prices": {"input": 1000, "output": 1000}}],
        "cache": {"enabled": True, "semantic": {"enabled": True}}, "log": {"content": "masked"},
        "alerts": {"disk": "1MiB", "webhook": scene.Upstream(hook).url}}, workers=4, start=False)
    disk = SmallDisk(gw.path("state"), "8m")
    scene._started.insert(0, disk)  # it goes after the gateway
    return gw.start(), disk, told


def ask(gw, n, text):
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        got = list(pool.map(lambda i: gw.chat("m", f"{text} {i} " + "and so on " * 40, headers=bearer("a")).status, range(n)))
    assert got == [200] * n, got


def active(gw):
    return {a["alert"] for a in gw.admin("/alerts", headers=BOSS).json()["active"]}


def test_everything_goes_on_and_nothing_is_lost():
    gw, disk, told = start()
    ask(gw, 40, "before")
    disk.fill()
    ask(gw, 200, "while it is full")
    r = gw.admin("/keys", "POST", {"id": "k"}, headers=BOSS, timeout=60)
    assert r.status == 503 and "not made" in r.text, r
    form = {"Content-Type": "multipart/form-data; boundary=x"}
    r = gw.post("/v1/audio/transcriptions", b"x" * 300000, headers={**bearer("a"), **form})
    assert r.status == 503 and "room" in r.text, r
    assert gw.admin("/cache", "DELETE", headers=BOSS).status == 200
    for i in range(3):
        was = scene.wait_for(gw.scribe, "a scribe").pid
        os.kill(was, signal.SIGKILL)
        scene.wait_for(lambda: (s := gw.scribe()) and s.pid != was, "another scribe")
        ask(gw, 20, f"while scribe {i} comes")
    os.kill(gw.worker_pids()[0], signal.SIGKILL)
    scene.wait_for(lambda: active(gw) >= {"disk", "store"}, "the alerts")
    ask(gw, 20, "and still")
    gw.signal(signal.SIGHUP)
    gw.wait_workers(4, generation=2)
    ask(gw, 20, "after a reload")
    dead = [x["message"] for x in gw.log("worker") if "killed by signal" in x["message"] and "signal 9" not in x["message"]]
    assert not dead, dead
    disk.free()
    n = 40 + 200 + 60 + 20 + 20

    def usage():
        rows = gw.admin("/usage?group_by=key", headers=BOSS).json()["rows"]
        return next(((r["requests"], r["cost_usd"]) for r in rows if r["key"] == "a"), (0, 0))
    scene.wait_for(lambda: usage()[0] >= n + 1, "the records", 60, step=0.2)
    paid = usage()
    assert paid[0] == n + 1 and abs(paid[1] - n * PRICE) < 1e-9, paid  # and the refused upload
    assert gw.admin("/ledger/verify", headers=BOSS).json()["ok"]
    scene.wait_for(lambda: gw.admin("/budgets", headers=BOSS).json()["budgets"][0]["spent_usd"] == paid[1], "the budget")
    assert "penstock_records_dropped_total 0" in gw.get("/metrics", headers=BOSS).text
    scene.wait_for(lambda: gw.admin("/keys", "POST", {}, headers=BOSS, timeout=60).status == 201, "keys")
    assert gw.admin("/keys/k", headers=BOSS).status == 404, "it was said that this one was not made"
    scene.wait_for(lambda: not active(gw), "the alerts to recover", 30)
    scene.wait_for(lambda: {(t["alert"], t["state"]) for t in told} >= {
        (a, s) for a in ("disk", "store") for s in ("raised", "recovered")}, f"the webhook: {told}")
    scene.wait_for(lambda: gw.chat("m", "again", headers=bearer("a")).headers["x-penstock-cache"] == "hit", "the cache", 30)


test_everything_goes_on_and_nothing_is_lost.seconds = 150


if __name__ == "__main__":
    scene.main()
