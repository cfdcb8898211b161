"""The wall clock is set while the gateway runs: periods of budgets and hours of usage are those of the clock, to the
nano-dollar; nothing is removed for looking old, and it is told."""

import concurrent.futures
import datetime
import os
import struct
import subprocess

import scene
from layers import admin_and_keys, bearer

BOSS = bearer("admin")
HOUR, DAY = 3600, 86400
MOST = 1.0  # dollars an hour; a request is 0.1


def preload(gw):
    """The library, made here."""
    lib = gw.path("clock_step.so")
    source = os.path.join(os.path.dirname(os.path.abspath(__file__)), "clock_step.c")
    try:
        made = subprocess.run(["cc", "-shared", "-fPIC", "-o", lib, source], capture_output=True)
    except FileNotFoundError:
        scene.skip("there is no compiler")
    assert made.returncode == 0, made.stderr
    return lib


def start():
    up = scene.Upstream(lambda a: a.whole(200, scene.chat_reply(prompt=5, completion=5)))
    model = {"name": "m", "targets": [{"provider": "up"}], "prices": {"input": 0, "output": 20000}}
    auth = admin_and_keys("a", budget={"usd": MOST, "period": "hour"})
    gw = scene.Gateway({"providers": [up.provider("up")], "auth": auth, "models": [model]}, workers=4, start=False)
    gw.env.update({"LD_PRELOAD": preload(gw), "CLOCK_STEP": gw.path("step"),
                   "ASAN_OPTIONS": gw.env.get("ASAN_OPTIONS", "") + ":verify_asan_link_order=0"})
    set_clock(gw, 0)
    return gw.start()


def set_clock(gw, seconds):
    with open(gw.path("step"), "r+b" if os.path.exists(gw.path("step")) else "wb") as f:
        f.write(struct.pack("=q", seconds))


def burst(gw, n=16):
    """So many at once; how many passed."""
    with concurrent.futures.ThreadPoolExecutor(n) as pool:
        got = list(pool.map(lambda i: gw.chat("m", max_tokens=5, headers=bearer("a")).status, range(n)))
    assert set(got) <= {200, 429}, got
    return got.count(200)


def hours(gw):
    r = gw.admin("/usage?from=1970-01-01&to=2099-12-31&group_by=hour,key", headers=BOSS)
    assert r.status == 200, r
    return {row["hour"]: row["cost_usd"] for row in r.json()["rows"] if row["key"] == "a" and row["cost_usd"]}


def hour_at(seconds):
    t = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=seconds)
    return t.strftime("%Y-%m-%dT%H:00:00Z")


def budget(gw):
    rows = gw.admin("/budgets", headers=BOSS).json()["budgets"]
    return next(b for b in rows if b["id"] == "a")


def all_booked(gw, hour, usd):
    scene.wait_for(lambda: hours(gw).get(hour) == usd and (b := budget(gw))["spent_usd"] == usd and
                   b["reserved_usd"] == 0, f"{usd} dollars in {hour}: {hours(gw)}, {budget(gw)}")


def test_each_hour_has_its_budget_whatever_the_clock_does():
    """Forward into an hour of its own, back into one where something was spent, back where nothing was: exactly what is
    left of it passes, also of many at once that come before the scribe has looked at the clock."""
    gw = start()
    now = hour_at(0)
    assert burst(gw, 4) == 4
    if hour_at(0) != now:
        scene.skip("the hour is over")
    all_booked(gw, now, 0.4)
    spent = {now: 0.4}
    for step in (2 * HOUR, -DAY, 400 * DAY, -18000 * DAY, 0):  # 1977
        before = hour_at(step)
        set_clock(gw, step)
        if step == 0 and before != now:
            scene.skip("the hour is over")
        if step == 0:  # of an hour that comes the workers know that nothing was spent in it; this one comes again
            all_booked(gw, now, 0.4)
        passed, after = burst(gw), hour_at(step)
        if before != after:
            scene.skip("the hour is over")
        was = spent.get(before, 0)
        assert passed == round((MOST - was) * 10), (step, passed)
        all_booked(gw, before, MOST)
        spent[before] = MOST
    r = gw.admin("/ledger/verify", headers=BOSS).json()
    assert r["ok"] and not r.get("corrections"), r
    assert "penstock_records_dropped_total 0" in gw.get("/metrics", headers=BOSS).text


def test_what_looks_old_stays_while_the_clock_may_be_wrong():
    gw = start()
    burst(gw, 4)

    def kept():
        logs = gw.admin("/logs?type=response&from=2000-01-01&to=2099-12-31", headers=BOSS).json()["data"]
        return len(logs), gw.admin("/ledger/verify", headers=BOSS).json()["records"]
    scene.wait_for(lambda: kept() == (4, 4), "the records")
    set_clock(gw, 400 * DAY)
    gw.wait_log("the clock was set forward by 3456", "store")
    assert burst(gw, 2) == 2
    scene.wait_for(lambda: kept()[1] >= 6, "the records")
    set_clock(gw, 0)
    gw.wait_log("the clock was set back by 3456", "store")
    scene.wait_for(lambda: kept() == (6, 6), "all of them")


def test_keys_expire_by_the_clock():
    gw = start()
    until = (datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(hours=2)).strftime("%Y-%m-%dT%H:%M:%SZ")
    r = gw.admin("/keys", "POST", {"id": "e", "expires": until}, headers=BOSS)
    assert r.status == 201, r
    key = {"Authorization": "Bearer " + r.json()["key"]}
    for step, status in ((0, 200), (3 * HOUR, 401), (0, 200)):
        set_clock(gw, step)
        assert {gw.chat("m", headers=key).status for _ in range(8)} == {status}, step


if __name__ == "__main__":
    scene.main()
