"""S0, the OpenRouter service: its paths, its headers, programs in browsers, and clients that send no key beside others
that must."""

import copy
import importlib
import json
import os

import scene

Bare = importlib.import_module("85_environment").Bare
EXAMPLES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "conf", "examples")
HELLO = {"messages": [{"role": "user", "content": "Hi"}]}
KEYS = {"keys": [{"id": "team", "key": {"value": "sk-team"}},
                 {"id": "boss", "key": {"value": "sk-boss"}, "permissions": ["completion", "admin"]}]}
TEAM, BOSS = {"x-api-key": "sk-team"}, {"x-api-key": "sk-boss"}


def start(ups=None, **conf):
    up = scene.Upstream()
    return up, scene.Gateway({"providers": [up.provider("up", default_model="m")], **copy.deepcopy(conf)}, workers=4)


def responses(gw, n):
    """The first n lines of the log about requests."""
    return scene.wait_for(lambda: gw.log("response")[:n] if len(gw.log("response")) >= n else None)


# --- chat ---


def test_chat_is_the_native_one_and_the_model_may_be_left_out():
    up, gw = start()
    r = gw.post("/chat/completions", HELLO)
    assert r.status == 200 and r.json()["choices"][0]["message"]["content"] == "Hello there.", r
    assert r.headers["x-penstock-provider"] == "up" and r.headers["x-penstock-model"] == "m", r.headers
    assert up.requests[0].path == "/v1/chat/completions" and up.requests[0].json()["model"] == "m"
    r = gw.post("/chat/completions", {**HELLO, "model": "other", "stream": True})
    assert r.headers["content-type"].startswith("text/event-stream") and r.events()[-1][1] == "[DONE]", r
    assert up.requests[1].json()["model"] == "other"
    assert gw.post("/chat/completions", {**HELLO, "model": None, "routing": None}).status == 200
    assert up.requests[2].json() == {**HELLO, "model": "m"}, "null is as if it were left out"
    assert [row["surface"] for row in responses(gw, 3)] == ["s0"] * 3


def test_bad_requests():
    _, gw = start()
    for body, param in (({}, "messages"), ({"messages": []}, "messages"), ({"messages": "Hi"}, "messages"),
                        ({"messages": [{"content": "Hi"}]}, "messages[0].role"), ({**HELLO, "model": 7}, "model"),
                        ({"messages": [{"role": "user"}]}, "messages[0].content"),
                        ({"messages": [*HELLO["messages"], {"role": "user", "content": None}]}, "messages[1].content"),
                        ({**HELLO, "temperature": "hot"}, "temperature"), ({**HELLO, "max_tokens": -1}, "max_tokens"),
                        ({**HELLO, "routing": {"preferred_providers": ["nobody"]}}, "routing.preferred_providers")):
        r = gw.post("/chat/completions", body)
        assert r.status == 400 and r.json()["error"]["param"] == param, (body, r)
    assert gw.post("/chat/completions", "{").status == 400
    assert gw.get("/chat/completions").status == 405 and gw.post("/providers/status", {}).status == 405
    assert gw.get("/models/unavailable").status == 404


def test_openrouter_headers_of_the_client_win():
    up = scene.Upstream()
    gw = scene.Gateway({"providers": [up.provider("openrouter", kind="openrouter",
                                                  headers={"HTTP-Referer": "https://ours", "X-Title": "Ours"})]})
    gw.post("/chat/completions", HELLO)
    gw.post("/chat/completions", {**HELLO, "model": "anthropic/claude-3.5-sonnet:beta"},
            headers={"HTTP-Referer": "https://theirs", "X-Title": "Theirs"})
    assert [(r.headers["http-referer"], r.headers["x-title"]) for r in up.requests] == [
        ("https://ours", "Ours"), ("https://theirs", "Theirs")]


# --- what it tells of itself ---


def test_providers_status():
    good, bad = scene.Upstream(), scene.Upstream(scene.status_script(500))
    gw = scene.Gateway({
        "providers": [good.provider("good", default_model="gpt-4o"),
                      bad.provider("bad", retry={"max": 0}, breaker={"consecutive_failures": 2}),
                      good.provider("off", enabled=False), good.provider("drained")],
        "routing": {"fallback": False}}, workers=2)
    gw.admin("/providers/drained/drain", "POST")
    for _ in range(3):
        assert gw.post("/chat/completions", {**HELLO, "model": "good/gpt-4o"}).status == 200
    for _ in range(2):
        assert gw.post("/chat/completions", {**HELLO, "model": "bad/x"}).status == 500
    rows = {p["name"]: p for p in gw.get("/providers/status").json()["providers"]}
    assert {n: p["status"] for n, p in rows.items()} == {"good": "healthy", "bad": "unhealthy", "off": "disabled",
                                                         "drained": "disabled"}
    assert (rows["good"]["breaker"], rows["bad"]["breaker"]) == ("closed", "open")
    assert rows["good"]["requests"] == 3 and rows["good"]["tokens"] == 30 and rows["good"]["error_rate"] == 0
    assert rows["good"]["cost_usd"] == 0.0001425 and rows["good"]["health_score"] > 40, rows["good"]
    assert rows["good"]["avg_response_ms"] >= 0 and rows["bad"]["error_rate"] == 1 and rows["bad"]["health_score"] < 50
    assert set(rows["off"]) == {"name", "status", "breaker", "health_score", "requests", "avg_response_ms", "error_rate",
                                "tokens", "cost_usd"}


def test_models_available():
    one, two = scene.Upstream(scene.status_script(500)), scene.Upstream()
    gw = scene.Gateway({
        "providers": [one.provider("one", kind="openai", retry={"max": 0}, breaker={"consecutive_failures": 1}),
                      two.provider("two")],
        "models": [{"name": "a", "targets": [{"provider": "one", "model": "gpt-4o"}], "fallbacks": []},
                   {"name": "b", "targets": [{"provider": "one", "model": "x"}, {"provider": "two", "model": "y"}],
                    "context_window": 4096, "prices": {"input": 1, "output": 2.5}}]})
    assert all(m["available"] for m in gw.get("/models/available").json()["models"])
    gw.post("/chat/completions", {**HELLO, "model": "a"})
    a, b = gw.get("/models/available").json()["models"]
    assert (a["id"], a["provider"], a["available"]) == ("a", "one", False) and a["context_window"] == 128000
    assert a["price"] == {"input": 2.5, "cached_input": 1.25, "output": 10, "unit": "USD per million tokens"}
    assert b == {"id": "b", "provider": "one", "available": True, "context_window": 4096,
                 "price": {"input": 1, "output": 2.5, "unit": "USD per million tokens"}}


def test_health():
    _, gw = start()
    assert gw.get("/health").json()["status"] == "healthy"


# --- keys: some must, some need not ---


def test_open_surfaces():
    up, gw = start(auth={**KEYS, "open_surfaces": ["s0"], "default_limits": {"requests_per_minute": 3}})
    assert gw.post("/chat/completions", HELLO).status == 200
    assert gw.post("/chat/completions", HELLO, headers={"authorization": "Bearer whatever"}).status == 200
    assert gw.post("/chat/completions", HELLO, headers=TEAM).status == 200
    keys = [r["key"] for r in responses(gw, 3)]
    assert sorted(keys) == ["anonymous", "anonymous", "team"], keys
    assert gw.get("/providers/status").status == 200 and gw.get("/models/available").status == 200
    # all without a key are one caller
    assert gw.post("/chat/completions", HELLO).status == 200
    assert gw.post("/chat/completions", HELLO).status == 429
    assert gw.post("/chat/completions", HELLO, headers=TEAM).status == 200
    # nobody else
    for method, path in (("POST", "/v1/chat/completions"), ("GET", "/v1/models"), ("GET", "/v1/providers"),
                         ("POST", "/v1/completions"), ("GET", "/admin/v1/providers"), ("GET", "/metrics")):
        assert gw.request(method, path, HELLO if method == "POST" else None).status == 401, path
    assert gw.admin("/providers", headers=TEAM).status == 403 and gw.admin("/providers", headers=BOSS).status == 200
    gw.reconfigure({"auth": {"open_surfaces": ["native", "metrics"]}})
    gw.run("-s", "reload")
    scene.wait_for(lambda: gw.get("/metrics").status == 200 and not gw.workers(generation=1))
    assert gw.get("/v1/models").status == 200 and gw.post("/chat/completions", HELLO).status == 401
    assert gw.admin("/providers").status == 401


def test_what_is_never_open():
    gw = scene.Gateway({"auth": copy.deepcopy(KEYS)}, start=False)
    for word in ("admin", "s1", "s3", "all", "s9"):
        gw.reconfigure({"auth": {"open_surfaces": ["s0", word]}})
        done = gw.run("-t")
        assert done.returncode == 1 and "open_surfaces" in done.stderr, (word, done)


def test_surfaces_of_a_listener():
    up, gw = start()
    port = scene.free_port()
    gw.stop()
    gw.reconfigure({"listen": [{"address": f"127.0.0.1:{gw.port}", "surfaces": ["native"]},
                               {"address": f"127.0.0.1:{port}", "surfaces": ["s0"]}]})
    gw.start()
    assert gw.post("/chat/completions", HELLO).status == 404 and gw.post("/v1/chat/completions", HELLO).status == 200
    gw.port = port
    assert gw.post("/chat/completions", HELLO).status == 200 and gw.post("/v1/chat/completions", HELLO).status == 404
    assert gw.get("/health").status == 200


# --- browsers ---

PAGE = "https://app.example.com"


def preflight(gw, path="/chat/completions", origin=PAGE, method="POST", headers="content-type, x-title"):
    return gw.request("OPTIONS", path, headers={"Origin": origin, "Access-Control-Request-Method": method,
                                                "Access-Control-Request-Headers": headers})


def allowed(r):
    return r.headers.get("access-control-allow-origin")


def test_cors_of_one_page():
    _, gw = start(cors={"origins": [PAGE]}, auth=KEYS, limits={"requests_per_minute": 3})
    r = preflight(gw)
    assert r.status == 204 and r.body == b"" and allowed(r) == PAGE and r.headers["vary"] == "Origin", (r, r.headers)
    assert "POST" in r.headers["access-control-allow-methods"] and r.headers["access-control-max-age"] == "600"
    for name in ("authorization", "content-type", "http-referer", "x-title", "x-api-key"):
        assert name in r.headers["access-control-allow-headers"].split(", "), name
    assert "access-control-allow-credentials" not in r.headers
    # every answer says it: good ones, streams, errors
    origin = {"Origin": PAGE}
    r = gw.post("/chat/completions", HELLO, headers={**TEAM, **origin})
    assert r.status == 200 and allowed(r) == PAGE, r.headers
    exposed = r.headers["access-control-expose-headers"].lower().split(", ")
    for name in ("x-request-id", "x-penstock-provider", "x-ratelimit-remaining", "x-ratelimit-limit-requests"):
        assert name in exposed and name in r.headers, (name, exposed)
    assert "content-type" not in exposed and all(n in r.headers for n in exposed)
    r = gw.post("/chat/completions", {**HELLO, "stream": True}, headers={**TEAM, **origin})
    assert r.status == 200 and allowed(r) == PAGE and r.events()[-1][1] == "[DONE]"
    for r, status in ((gw.post("/chat/completions", {}, headers={**TEAM, **origin}), 400),
                      (gw.post("/chat/completions", HELLO, headers=origin), 401),
                      (gw.get("/nowhere", headers=origin), 404), (gw.get("/chat/completions", headers=origin), 405),
                      (gw.post("/v1/embeddings", "{", headers={**TEAM, **origin}), 400)):
        assert (r.status, allowed(r)) == (status, PAGE), (r, r.headers)
    gw.post("/chat/completions", HELLO, headers={**TEAM, **origin})
    r = gw.post("/chat/completions", HELLO, headers={**TEAM, **origin})
    assert r.status == 429 and allowed(r) == PAGE and "retry-after" in r.headers["access-control-expose-headers"]


def test_cors_of_other_pages_and_none():
    _, gw = start(cors={"origins": [PAGE]})
    for origin in ("https://evil.example.com", PAGE + ".evil.com", "http://app.example.com", PAGE + ":8443", "null",
                   "https://app.example.com@evil.com", ""):
        r = preflight(gw, origin=origin)
        assert r.status == 405 and not [h for h in r.headers if h.startswith("access-control")], (origin, r.headers)
        r = gw.post("/chat/completions", HELLO, headers={"Origin": origin})
        assert r.status == 200 and not [h for h in r.headers if h.startswith("access-control")], origin
    assert allowed(gw.post("/chat/completions", HELLO)) is None
    # an OPTIONS that is no preflight is what it was
    assert gw.request("OPTIONS", "/chat/completions", headers={"Origin": PAGE}).status == 405
    _, off = start()
    assert preflight(off).status == 405 and allowed(off.post("/chat/completions", HELLO, headers={"Origin": PAGE})) is None


def test_cors_of_all_pages():
    _, gw = start(cors={"origins": "*", "headers": "*"})
    r = preflight(gw, origin="https://who.ever", headers="x-made-up")
    assert (r.status, allowed(r), r.headers["access-control-allow-headers"]) == (204, "*", "x-made-up"), r.headers
    # a pattern stands for those that are asked for, as the SDKs of OpenAI and Anthropic do in a browser
    _, gw = start(cors={"origins": [PAGE]})
    r = preflight(gw, headers="authorization,x-stainless-os,X-Stainless-Retry-Count,x-made-up,x-penstock-routing,x-penstock-session")
    names = r.headers["access-control-allow-headers"].split(", ")
    assert names[-3:] == ["x-stainless-os", "X-Stainless-Retry-Count", "x-penstock-session"], names
    assert names.count("authorization") == names.count("x-penstock-routing") == 1 and "x-made-up" not in names and not [n for n in names if "*" in n], names
    _, gw = start(cors={"origins": "*", "headers": "*"})
    # ... but without keys the administration is not theirs
    for path in ("/admin/v1/config", "/admin/v1/keys"):
        assert allowed(gw.get(path, headers={"Origin": "https://who.ever"})) is None
        assert preflight(gw, path).status == 405


def test_origins_that_are_none():
    gw = scene.Gateway(start=False)
    for bad in ("https://app.example.com/", "app.example.com", "https://*.example.com", "https://a b", "https://"):
        gw.reconfigure({"cors": {"origins": [bad]}})
        done = gw.run("-t")
        assert done.returncode == 1 and "is no origin" in done.stderr, (bad, done)


# --- the environment alone ---


def test_its_environment_alone():
    up = scene.Upstream()
    gw = Bare({"OPENROUTER_API_KEY": "sk-or", "OPENROUTER_BASE_URL": up.url + "/api/v1", "LLM_PROVIDER": "openrouter",
               "LLM_MODEL": "anthropic/claude-3.5-sonnet:beta", "OPENROUTER_HEADERS_X_TITLE": "T",
               "OPENROUTER_HEADERS_REFERER": "https://r", "CORS_ORIGINS": "http://localhost:3000, https://app.example.com"})
    r = gw.post("/chat/completions", HELLO, headers={"Origin": "http://localhost:3000"})
    assert r.status == 200 and allowed(r) == "http://localhost:3000", r
    q = up.requests[0]
    assert (q.path, q.json()["model"]) == ("/api/v1/chat/completions", "anthropic/claude-3.5-sonnet:beta")
    assert (q.headers["x-title"], q.headers["http-referer"]) == ("T", "https://r")
    assert allowed(gw.get("/models/available", headers={"Origin": PAGE})) == PAGE
    assert gw.get("/providers/status").json()["providers"][0]["name"] == "openrouter"
    models = gw.get("/models/available").json()["models"]
    assert (models[0]["id"], models[0]["provider"]) == ("anthropic/claude-3.5-sonnet:beta", "openrouter"), models
    assert [m["id"] for m in models] == ["anthropic/claude-3.5-sonnet:beta", "openai/gpt-4o-mini"], models
    assert gw.get("/v1/models/anthropic/claude-3.5-sonnet:beta").json()["id"] == "anthropic/claude-3.5-sonnet:beta"
    assert gw.get("/api/v1/models").json()["models"][0]["id"] == "openrouter.anthropic/claude-3.5-sonnet:beta"
    assert gw.get("/health").json()["status"] == "healthy"


def test_lists_by_the_environment():
    gw = Bare({"API_KEY": "sk-env", "PENSTOCK_AUTH_OPEN_SURFACES": "s0, s2", "PENSTOCK_CORS_ORIGINS": "https://a.example,https://b.example",
               "PENSTOCK_CORS_METHODS": "GET,POST"})
    assert gw.post("/chat/completions", HELLO).status == 200 and gw.get("/v1/providers").status == 200
    assert gw.post("/v1/chat/completions", HELLO).status == 401
    assert preflight(gw, origin="https://b.example").headers["access-control-allow-methods"] == "GET, POST"
    gw.refuses("open_surfaces", "never open", PENSTOCK_AUTH_OPEN_SURFACES="s1")
    gw.refuses("is no origin", CORS_ORIGINS="", PENSTOCK_CORS_ORIGINS="app.example.com")


def test_the_example():
    for model in (None, "google/gemini-flash-1.5:free"):
        up = scene.Upstream()
        gw = scene.by_environment({"OPENROUTER_API_KEY": "k", "OPENROUTER_BASE_URL": up.url + "/api/v1",
                                   **({"LLM_MODEL": model} if model else {})}, os.path.join(EXAMPLES, "s0.yaml"))
        done = gw.run("-t")
        assert done.returncode == 0 and not done.stderr.strip(), done
        done = gw.run("-T")
        for text in ('default_provider: "openrouter"', 'origins: ["*"]', "initial_backoff: 1s"):
            assert text in done.stdout, (text, done.stdout)
        gw.start()
        r = gw.post("/chat/completions", HELLO, headers={"Origin": PAGE, "X-Title": "Mine"})
        assert r.status == 200 and allowed(r) == "*", r
        assert up.requests[0].json()["model"] == (model or "openai/gpt-4o-mini")
        assert up.requests[0].headers["x-title"] == "Mine" and up.requests[0].headers["http-referer"] == "http://localhost"
        for whole in ("anthropic/claude-3.5-sonnet:beta", "openai/gpt-4o", "openrouter/auto", "gpt-4o"):
            assert gw.post("/chat/completions", {**HELLO, "model": whole}).status == 200
            assert up.requests[-1].json()["model"] == whole, whole


if __name__ == "__main__":
    scene.main()
