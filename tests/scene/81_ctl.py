"""penstockctl: each command is the call that it stands for, by the administration's socket or by TCP."""

import json
import os
import shutil
import subprocess

import scene

CTL = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "contrib", "penstockctl")
BOSS = 'sk-bo"ss\\'  # what a file of curl's options would stumble over


def start():
    if not shutil.which("curl"):
        scene.skip("there is no curl")
    up = scene.Upstream()
    gw = scene.Gateway({"providers": [up.provider("up")], "auth": {"keys": [
        {"id": "boss", "key": {"value": BOSS}, "permissions": ["completion", "admin"]}]}}, start=False)
    gw.conf["admin_listen"] = "unix:" + gw.path("admin.sock")
    gw.write_conf()
    return gw.start(), up


def ctl(gw, *args, status=0, key=BOSS, at=None, stdin=""):
    env = {"PATH": os.environ["PATH"], "PENSTOCK_ADMIN": at or "unix:" + gw.path("admin.sock"), "PENSTOCK_KEY": key}
    r = subprocess.run(["sh", CTL, *args], env=env, input=stdin, capture_output=True, text=True, timeout=30)
    assert r.returncode == status, (args, r)
    return json.loads(r.stdout) if r.stdout.strip() else r.stderr


def test_each_command():
    gw, up = start()
    assert ctl(gw, "status")["status"] == "healthy"
    assert len(ctl(gw, "workers")["workers"]) >= 2 and "providers" in ctl(gw, "providers")
    assert ctl(gw, "config", at=f"http://127.0.0.1:{gw.port}/")["generation"] == 1
    assert ctl(gw, "alerts")["active"] == [] and ctl(gw, "budgets")["budgets"] == []
    k = ctl(gw, "keys", "add", json.dumps({"id": "s", "budget": {"usd": 5}, "owner": "it's"}))
    assert k["budget"]["usd"] == 5 and k["owner"] == "it's", k
    secret = {"authorization": f"Bearer {k['key']}"}
    assert gw.chat(headers=secret).status == 200
    assert [x["id"] for x in ctl(gw, "keys")["keys"]] == ["boss", "s"]
    assert ctl(gw, "keys", "change", "s", '{"weight": 4}')["weight"] == 4 and ctl(gw, "keys", "show", "s")["weight"] == 4
    assert ctl(gw, "keys", "rotate", "s", "0s")["key"] != k["key"] and gw.chat(headers=secret).status == 401
    e = ctl(gw, "explain", "key=s", stdin='{"model": "up/m", "messages": [{"role": "user", "content": "x"}]}')
    assert e["key"] == "s" and e["targets"][0]["provider"] == "up", e
    assert ctl(gw, "keys", "revoke", "s")["deleted"]
    ctl(gw, "providers", "drain", "up")
    assert gw.chat(headers={"x-api-key": BOSS}).status == 503
    ctl(gw, "providers", "enable", "up")
    ctl(gw, "providers", "weight", "up/keys/up/0", "7")
    rows = scene.wait_for(lambda: [r for r in ctl(gw, "usage", "group_by=key,model")["rows"] if r["key"] == "s"], "usage")
    assert rows[0]["requests"] == 1, rows
    assert ctl(gw, "usage", "reprice", "from=2026-01-01")["done"] and ctl(gw, "ledger", "verify")["ok"]
    assert [r["number"] for r in ctl(gw, "ledger", "from=0&limit=1")["data"]] == [0]
    assert "hits" in ctl(gw, "cache", "stats") and ctl(gw, "cache", "clear", "model=m") is not None
    assert len(ctl(gw, "logs", "limit=1")["data"]) == 1
    assert ctl(gw, "reload")["generation"] == 2


def test_what_is_refused():
    gw, up = start()
    assert ctl(gw, "keys", status=22, key="sk-nobody")["error"]["message"]
    assert "error" in ctl(gw, "keys", "add", '{"id": "no id"}', status=22)
    for wrong in ((), ("what",), ("keys", "show"), ("keys", "show", "../config"), ("keys", "revoke", "a?b"),
                  ("providers", "weight", "up"), ("keys", "change", "s")):
        ctl(gw, *wrong, status=2)
    assert ctl(gw, "keys", "show", "nobody", status=22)["error"]
    ctl(gw, "status", status=7, at="http://127.0.0.1:1")


if __name__ == "__main__":
    scene.main()
