"""The web page and the description of the API, as bytes: tests/web has them in a browser."""

import json
import re
import signal

import scene

FILE = re.compile(r"""(?:src|href)="(/ui/[^"]+)"|from '\./([^']+)'""")


def gateway(**conf):
    return scene.Gateway({"providers": [{"kind": "mock"}], **conf}, workers=4)


def assets(gw):
    """Everything that the two pages lead to: {path: response}"""
    found, wanted = {}, ["/", "/docs"]
    while wanted:
        path = wanted.pop()
        if path in found:
            continue
        r = found[path] = gw.get(path)
        assert r.status == 200, (path, r)
        for absolute, beside in FILE.findall(r.text):
            wanted.append(absolute or f"/ui/{beside}")
    return found


def test_pages_are_whole_and_ask_nobody_else():
    gw = gateway()
    all_of_it = assets(gw)
    assert len(all_of_it) > 15, list(all_of_it)
    for path, r in all_of_it.items():
        assert r.headers["x-content-type-options"] == "nosniff" and r.headers["x-frame-options"] == "DENY", path
        policy = r.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; ") and "unsafe" not in policy and "http" not in policy, policy
        elsewhere = set(re.findall(r"(?:https?:)?//[a-z0-9-]+\.[a-z0-9.-]+", re.sub(r"^\s*//.*$", "", r.text, flags=re.M)))
        assert elsewhere <= {"http://www.w3.org"}, (path, elsewhere)  # the name of SVG
        for word in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "<script>", " style=", " onclick="):
            assert word not in r.text, (path, word)
        assert len(r.body) == int(r.headers["content-length"]), path


def test_all_workers_serve_the_same():
    gw = gateway()
    for path in ("/", "/ui/app.js", "/openapi.json"):
        tags, bodies = set(), set()
        for _ in range(24):
            r = gw.get(path)
            tags.add(r.headers["etag"])
            bodies.add(r.body)
        assert len(tags) == len(bodies) == 1, path
        tag = tags.pop()
        r = gw.get(path, headers={"If-None-Match": tag})
        assert r.status == 304 and r.body == b"" and r.headers["etag"] == tag
        gw.signal(signal.SIGKILL, gw.worker_pids()[0])
        gw.wait_workers(4)
        assert gw.get(path, headers={"If-None-Match": tag}).status == 304
    assert gw.get("/ui/").body == gw.get("/").body
    doc = gw.get("/openapi.json").json()
    assert doc["openapi"] == "3.1.0"
    listed = {(m, p) for p, item in doc["paths"].items() for m in item}
    for one in (("post", "/v1/chat/completions"), ("get", "/providers/status"), ("post", "/api/v1/llm/chat/completions"),
                ("post", "/v1/completions/stream"), ("post", "/api/v1/completion"), ("post", "/api/query"),
                ("get", "/admin/v1/logs"), ("patch", "/admin/v1/keys/{id}")):
        assert one in listed, one


def test_listeners_and_the_switch():
    port = scene.free_port()
    gw = gateway()
    gw.conf["listen"] = [{"address": f"127.0.0.1:{gw.port}", "surfaces": ["native"]},
                         {"address": f"127.0.0.1:{port}", "surfaces": ["admin"]}]
    gw.write_conf()
    gw.signal(signal.SIGHUP)
    scene.wait_for(lambda: gw.get("/").status == 404, "the page to be gone from the first address")
    assert gw.get("/openapi.json").status == 200
    gw.port = port
    assert gw.get("/").status == 200 and gw.get("/docs").status == 200
    assert gw.get("/ui/session").json()["surfaces"] == ["admin"]
    gw.reconfigure({"ui": {"enabled": False}})
    assert gw.admin("/reload", "POST").status == 200
    scene.wait_for(lambda: gw.get("/").status == 404, "the page to be switched off")
    for path in ("/docs", "/ui/app.js"):
        r = gw.get(path)
        assert r.status == 404 and "ui.enabled" in r.json()["error"]["message"], r
    assert gw.get("/openapi.json").status == 200


def test_what_is_no_file():
    gw = gateway()
    for path in ("/ui/../../etc/passwd", "/ui/..%2f..%2fetc%2fpasswd", "/ui/%2e%2e/app.js", "/ui//app.js", "/ui/openapi.json", "/ui/app.js/", "/ui/a" + "a" * 4000):
        r = gw.get(path)
        assert r.status == 404 and "error" in r.json(), (path, r)
    assert gw.post("/", {}).status == 405 and gw.request("DELETE", "/ui/app.js").status == 405
    secret = json.dumps(gw.get("/ui/session", headers={"Authorization": "Bearer sk-whatever"}).json())
    assert "sk-whatever" not in secret


scene.main()
