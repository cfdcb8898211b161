"""Gateway keys that administration makes: at once on all workers, true to what was answered, whoever is killed."""

import concurrent.futures
import copy
import glob
import os
import signal
import threading
import time

import scene

KEYS = {"keys": [{"id": "boss", "key": {"value": "sk-boss"}, "permissions": ["completion", "admin"]},
                 {"id": "user", "key": {"value": "sk-user"}}]}
BOSS = {"x-api-key": "sk-boss"}


def key(secret):
    return {"authorization": f"Bearer {secret}"}


def start(**more):
    up = scene.Upstream()
    gw = scene.Gateway({"providers": [up.provider(retry={"max": 0})], "auth": copy.deepcopy(KEYS), **more}, workers=4)
    return gw, up


def create(gw, want=201, **body):
    r = gw.admin("/keys", "POST", body, headers=BOSS)
    assert r.status == want, r
    return r.json()


def patch(gw, which, want=200, **body):
    r = gw.admin(f"/keys/{which}", "PATCH", body, headers=BOSS)
    assert r.status == want, r
    return r.json()


def listed(gw):
    r = gw.admin("/keys", headers=BOSS)
    assert r.status == 200, r
    return {k["id"]: k for k in r.json()["keys"]}


def everywhere(gw, secret, want, model="up/m", n=40):
    """The status on connections of their own: so many that each worker has some."""
    got = [gw.chat(model, headers=key(secret)).status for _ in range(n)]
    assert set(got) == {want}, got


def test_created_keys_are_good_on_all_workers_and_told_once():
    gw, up = start()
    k = create(gw, id="team-b", owner="Team B", tenant="red", models=["up/*"], limits={"requests_per_minute": 1000})
    secret = k.pop("key")
    assert secret.startswith("sk-penstock-") and len(secret) == 12 + 43, secret
    everywhere(gw, secret, 200)
    everywhere(gw, secret[:-1] + ("A" if secret[-1] != "A" else "B"), 401, n=8)
    assert k == {"id": "team-b", "source": "stored", "owner": "Team B", "tenant": "red", "models": ["up/*"],
                 "endpoints": [], "addresses": [], "permissions": ["completion", "embedding"], "budget": None, "weight": 1,
                 "limits": {"requests_per_minute": 1000}, "expires": None, "expired": False,
                 "created_at": k["created_at"], "changed_at": k["created_at"]}, k
    assert gw.admin("/keys/team-b", headers=BOSS).json() == k
    all_ = listed(gw)
    assert set(all_) == {"boss", "user", "team-b"} and all_["team-b"] == k and all_["boss"]["source"] == "config"
    assert gw.chat("other/m", headers=key(secret)).status == 403
    other = create(gw)
    assert other["id"].startswith("key-") and other["key"] != secret
    everywhere(gw, other["key"], 200, n=8)
    scene.wait_for(lambda: any(r["key"] == "team-b" and r["tenant"] == "red" for r in
                               gw.admin("/usage?group_by=key,tenant", headers=BOSS).json()["rows"]), "usage of the key")
    lines = [x["message"] for x in gw.wait_log("key team-b created by key boss", "audit")]
    assert len([x for x in lines if "created" in x]) == 1, lines
    gw.stop()
    for path in [gw.log_path, gw.stderr_path] + glob.glob(gw.path("state") + "/**", recursive=True):
        if os.path.isfile(path):
            with open(path, "rb") as f:
                data = f.read()
            assert secret.encode() not in data and b"sk-penstock-" not in data, path
    assert os.stat(gw.path("state/keys/data.mdb")).st_mode & 0o777 == 0o600


def test_changes_count_at_once_and_only_the_named_ones():
    gw, up = start()
    k = create(gw, id="a", owner="x", limits={"concurrent": 3})
    s = k["key"]
    everywhere(gw, s, 200, n=12)
    assert patch(gw, "a", models=["up/good"])["owner"] == "x"
    everywhere(gw, s, 403)
    everywhere(gw, s, 200, model="up/good", n=12)
    patch(gw, "a", models=None, endpoints=["embeddings"])
    everywhere(gw, s, 403, n=12)
    patch(gw, "a", endpoints=["chat", "/v1/models*"], addresses=["192.0.2.0/24"])
    everywhere(gw, s, 403, n=12)
    row = patch(gw, "a", addresses=["127.0.0.0/8", "2001:db8::/32"])
    assert row["addresses"] == ["127.0.0.0/8", "2001:db8::/32"] and row["limits"] == {"concurrent": 3}
    everywhere(gw, s, 200, n=12)
    assert gw.get("/v1/models", headers=key(s)).status == 200
    assert gw.get("/metrics", headers=key(s)).status == 403
    patch(gw, "a", permissions=["embedding"])
    everywhere(gw, s, 403, n=12)
    patch(gw, "a", permissions=["completion", "admin"], endpoints=[])
    assert gw.admin("/keys", headers=key(s)).status == 200
    patch(gw, "a", expires="2020-01-01")
    everywhere(gw, s, 401)
    assert listed(gw)["a"]["expired"]
    patch(gw, "a", expires="2999-01-01T00:00:00Z")
    everywhere(gw, s, 200, n=12)
    soon = time.time() + 1.5
    patch(gw, "a", expires=time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(soon)) + f".{int(soon % 1 * 1000):03d}Z")
    scene.wait_for(lambda: gw.chat(headers=key(s)).status == 401, "the key to expire")
    everywhere(gw, s, 401)


def test_limits_of_stored_keys_are_exact_over_all_workers():
    gw, up = start()
    s = create(gw, id="a", limits={"requests_per_minute": 7})["key"]
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        got = list(pool.map(lambda _: gw.chat(headers=key(s)).status, range(40)))
    assert sorted(got) == [200] * 7 + [429] * 33, got
    assert len(up.requests) == 7
    patch(gw, "a", limits={})
    everywhere(gw, s, 200, n=12)


def test_default_limits_are_those_of_keys_that_set_none():
    gw, up = start(auth={**KEYS, "default_limits": {"requests_per_minute": 3}})
    s = create(gw, id="a")["key"]
    assert sorted(gw.chat(headers=key(s)).status for _ in range(5)) == [200] * 3 + [429] * 2
    patch(gw, "a", limits={"requests_per_minute": None})
    everywhere(gw, s, 200, n=12)


def test_revoked_while_a_stream_runs():
    gw, up = start()
    go = threading.Event()

    def slow(a):
        a.sse()
        a.event(scene.chat_chunk("half"))
        a.wait(go)
        a.event(scene.chat_chunk(finish="stop"))
        a.event("[DONE]")
        a.end()
    s = create(gw, id="a", tenant="red")["key"]
    streams = []
    for _ in range(8):
        up.next(slow)
        streams.append(gw.chat_stream(headers=key(s)))
        assert "half" in streams[-1].event()[1]
    r = gw.admin("/keys/a", "DELETE", headers=BOSS)
    assert r.status == 200 and r.json() == {"id": "a", "deleted": True}, r
    everywhere(gw, s, 401)
    for _ in range(3):  # other keys come and go: what the streams began with stays theirs
        create(gw)
        everywhere(gw, s, 401, n=12)
    go.set()
    for c in streams:
        assert "stop" in c.event()[1] and c.event()[1] == "[DONE]"
    assert "a" not in listed(gw)
    scene.wait_for(lambda: [r for r in gw.admin("/usage?group_by=key,tenant", headers=BOSS).json()["rows"]
                            if r["key"] == "a" and r["tenant"] == "red" and r["requests"] == 8], "their account")
    assert gw.admin("/keys/a", "DELETE", headers=BOSS).status == 404
    new = create(gw, id="a")["key"]
    everywhere(gw, s, 401, n=12)
    everywhere(gw, new, 200, n=12)


def rotate(gw, id, grace, want=200):
    r = gw.admin(f"/keys/{id}/rotate", "POST", {"grace": grace}, headers=BOSS)
    assert r.status == want, r
    return r.json()


def test_rotation_with_grace():
    gw, up = start()
    one = create(gw, id="a")["key"]
    row = rotate(gw, "a", "1h")
    two = row["key"]
    assert two != one and row["old_key_until"] > row["changed_at"]
    everywhere(gw, one, 200)
    everywhere(gw, two, 200)
    patch(gw, "a", owner="somebody")  # has nothing to do with it
    everywhere(gw, one, 200, n=12)
    three = rotate(gw, "a", "2s")["key"]
    began = time.monotonic()
    everywhere(gw, one, 401)
    everywhere(gw, three, 200, n=12)
    if time.monotonic() - began < 1:
        assert gw.chat(headers=key(two)).status == 200
    scene.wait_for(lambda: gw.chat(headers=key(two)).status == 401, "the end of the grace")
    everywhere(gw, two, 401)
    everywhere(gw, three, 200)
    assert "old_key_until" not in listed(gw)["a"]
    four = rotate(gw, "a", "0s")["key"]
    everywhere(gw, three, 401)
    everywhere(gw, four, 200, n=12)
    for grace in ("", "soon", "-1s", "91d", None, 5, "99999999999999999999s"):
        rotate(gw, "a", grace, want=400)
    assert gw.admin("/keys/a/rotate", "POST", headers=BOSS).status == 400
    rotate(gw, "nobody", "1h", want=404)
    everywhere(gw, four, 200, n=12)


def test_kept_over_reloads_restarts_and_kills_of_everything():
    gw, up = start()
    s = create(gw, id="a", tenant="red", limits={"concurrent": 5}, expires="2999-01-01")["key"]
    gone = create(gw, id="b")["key"]
    assert gw.admin("/keys/b", "DELETE", headers=BOSS).status == 200
    row = listed(gw)["a"]
    r = gw.admin("/reload", "POST", headers=BOSS)
    gw.wait_workers(4, generation=r.json()["generation"])
    everywhere(gw, s, 200)
    everywhere(gw, gone, 401, n=12)
    gw.stop()
    gw.start()
    everywhere(gw, s, 200, n=12)
    assert listed(gw)["a"] == row
    last = create(gw, id="c")["key"]
    for p in gw.processes():
        gw.signal(signal.SIGKILL, p.pid)
    gw.process.kill()
    gw.process.wait(20)
    scene.wait_for(lambda: not gw.processes(), "everything to be dead")
    gw.start()
    everywhere(gw, last, 200, n=12)
    everywhere(gw, s, 200, n=12)
    everywhere(gw, gone, 401, n=12)


def test_kill_of_the_scribe_during_creates():
    gw, up = start()
    answered, unanswered, lock = {}, set(), threading.Lock()
    ending = threading.Event()

    def make(thread):
        n = 0
        while not ending.is_set():
            n += 1
            id = f"k-{thread}-{n}"
            r = gw.admin("/keys", "POST", {"id": id, "owner": id}, headers=BOSS, timeout=30)
            with lock:
                if r.status == 201:
                    answered[id] = r.json()["key"]
                else:
                    assert r.status == 503, r
                    unanswered.add(id)
    threads = [threading.Thread(target=make, args=(i,)) for i in range(6)]
    for t in threads:
        t.start()
    for _ in range(6):
        n = len(answered)
        scene.wait_for(lambda: len(answered) > n + 8, "keys to be made", 30)
        s = scene.wait_for(gw.scribe, "a scribe")
        os.kill(s.pid, signal.SIGKILL)
    n = len(answered)
    scene.wait_for(lambda: len(answered) > n + 8, "keys to be made", 30)
    ending.set()
    for t in threads:
        t.join(30)
    there = listed(gw)
    for id in answered:
        assert there[id]["owner"] == id, id
    assert set(there) - set(answered) - {"boss", "user"} <= unanswered
    for id in list(answered)[::7]:
        everywhere(gw, answered[id], 200, n=4)
    gw.stop()
    gw.start()
    assert set(listed(gw)) == set(there)


test_kill_of_the_scribe_during_creates.seconds = 120


def test_a_scribe_that_does_not_answer():
    gw, up = start()
    s = create(gw, id="a")["key"]
    pid = gw.scribe().pid
    os.kill(pid, signal.SIGSTOP)
    try:
        began = time.monotonic()
        r = gw.admin("/keys", "POST", {"id": "late"}, headers=BOSS, timeout=30)
        assert r.status == 503 and "scribe" in r.json()["error"]["message"], r
        assert time.monotonic() - began < 12
        c = gw.client()  # one who leaves meanwhile
        c.request("DELETE", "/admin/v1/keys/a", headers=BOSS)
        everywhere(gw, s, 200, n=12)
        c.close()
    finally:
        os.kill(pid, signal.SIGCONT)
    scene.wait_for(lambda: gw.chat(headers=key(s)).status == 401, "the change of the one who left")
    create(gw, id="next")
    assert "late" not in listed(gw)  # who was told that it was not made was told the truth


def test_changes_at_once_are_one_after_the_other():
    gw, up = start()
    create(gw, id="a")

    def change(i):
        return i, gw.admin("/keys/a", "PATCH", {"owner": f"o{i}"}, headers=BOSS).status
    with concurrent.futures.ThreadPoolExecutor(12) as pool:
        got = list(pool.map(change, range(48)))
    assert {s for _, s in got} <= {200, 409} and any(s == 200 for _, s in got), got
    assert listed(gw)["a"]["owner"] in {f"o{i}" for i, s in got if s == 200}
    done = sum(s == 200 for _, s in got)
    scene.wait_for(lambda: len([x for x in gw.log("audit") if "key a changed" in x["message"]]) == done, "audit lines")
    with concurrent.futures.ThreadPoolExecutor(12) as pool:
        got = list(pool.map(lambda _: gw.admin("/keys", "POST", {"id": "b"}, headers=BOSS).status, range(12)))
    assert sorted(got) == [201] + [409] * 11, got


def test_ids_of_the_configuration_are_its_own():
    gw, up = start()
    for id in ("boss", "user", "anonymous"):
        create(gw, want=409, id=id)
    for method in ("PATCH", "DELETE"):
        assert gw.admin("/keys/user", method, {}, headers=BOSS).status == 409
    rotate(gw, "user", "1h", want=409)
    assert gw.chat(headers=key("sk-user")).status == 200
    s = create(gw, id="later")["key"]
    gw.reconfigure({"auth": {"keys": KEYS["keys"] + [{"id": "later", "key": {"value": "sk-later"}}]}})
    r = gw.admin("/reload", "POST", headers=BOSS)
    gw.wait_workers(4, generation=r.json()["generation"])
    everywhere(gw, s, 401, n=12)
    everywhere(gw, "sk-later", 200, n=12)
    rows = [k for k in gw.admin("/keys", headers=BOSS).json()["keys"] if k["id"] == "later"]
    assert [k["source"] for k in rows] == ["config", "stored"] and rows[1]["shadowed"], rows


def test_what_is_refused():
    gw, up = start()
    s = create(gw, id="a")["key"]
    for who, want in ((key("sk-user"), 403), (key(s), 403), (key("wrong"), 401), (None, 401)):
        for method, path, body in (("GET", "/keys", None), ("POST", "/keys", {}), ("GET", "/keys/a", None),
                                   ("PATCH", "/keys/a", {"permissions": ["admin"]}), ("DELETE", "/keys/a", None),
                                   ("POST", "/keys/a/rotate", {"grace": "0s"})):
            r = gw.admin(path, method, body, headers=who)
            assert r.status == want and s not in r.text, (method, path, r)
    bad = [{"id": ""}, {"id": "a b"}, {"id": "x" * 65}, {"id": "../x"}, {"id": 5}, {"id": "jwt:x"}, {"owner": 5},
           {"owner": "x" * 257}, {"owner": "a\nb"}, {"tenant": ["x"]}, {"permissions": []}, {"permissions": ["root"]},
           {"permissions": "admin"}, {"permissions": None}, {"models": "x"}, {"models": [""]}, {"models": [5]},
           {"models": ["x"] * 65}, {"models": ["x" * 513]}, {"endpoints": {}}, {"addresses": ["here"]},
           {"addresses": ["10.0.0.1/8"]}, {"limits": 5}, {"limits": {"requests_per_minute": 0}},
           {"limits": {"requests_per_minute": -1}}, {"limits": {"requests_per_minute": 1.5}},
           {"limits": {"requests_per_minute": "5"}}, {"limits": {"requests_per_minute": 2 ** 64}}, {"limits": {"tokens_per_day": 10 ** 15 + 1}},
           {"limits": {"x": 1}},
           {"expires": "soon"}, {"expires": 5}, {"hash": "00" * 32}, {"key": "mine"}, {"old_until": "2999-01-01"},
           {"colour": "red"}, {"models": ["x" * 500] * 64}]
    for body in bad:
        r = gw.admin("/keys", "POST", {"id": "z", **body}, headers=BOSS)
        assert r.status == 400 and r.json()["error"]["type"] == "invalid_request_error", (body, r)
        if "id" not in body:
            assert gw.admin("/keys/a", "PATCH", body, headers=BOSS).status == 400, body
    for body in ("", "[]", "null", '{"id":"z"', '{"owner":"a","owner":"b"}', '{"owner":"\\u0000"}', b'{"owner":"\xff"}'):
        r = gw.admin("/keys", "POST", body, headers=BOSS)
        assert r.status == (400 if body else 201), (body, r)
    assert gw.admin("/keys", "POST", {"owner": "x" * 100000}, headers=BOSS).status == 413
    patch(gw, "a", want=400, id="b")
    patch(gw, "nobody", want=404, owner="x")
    assert gw.admin("/keys/nobody", headers=BOSS).status == 404
    assert gw.admin("/keys/a/b", headers=BOSS).status == 404
    assert len([k for k in listed(gw) if not k.startswith("key-")]) == 3
    everywhere(gw, s, 200, n=8)


scene.main()
