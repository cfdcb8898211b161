"""S2, the routing gateway: chats on /v1/completions, hints, streams by path, providers and the cache's numbers."""

import copy
import os

import scene

EXAMPLES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "conf", "examples")
HELLO = {"messages": [{"role": "user", "content": "Hi"}]}
KEYS = {"keys": [{"id": "team", "key": {"value": "sk-team"}}]}
TEAM = {"x-api-key": "sk-team"}


def start(n=2, **conf):
    ups = [scene.Upstream() for _ in range(n)]
    rows = [u.provider(f"p{i}", default_model=f"m{i}") for i, u in enumerate(ups)]
    return ups, scene.Gateway({"providers": rows, **copy.deepcopy(conf)}, workers=4)


# --- chats ---


def test_messages_are_a_chat_and_a_prompt_is_not():
    (up, _), gw = start()
    r = gw.post("/v1/completions", HELLO)
    assert r.status == 200 and r.json()["object"] == "chat.completion", r
    assert r.json()["choices"][0]["message"]["content"] == "Hello there." and r.headers["x-penstock-model"] == "m0"
    assert up.requests[0].path == "/v1/chat/completions" and up.requests[0].json() == {**HELLO, "model": "m0"}
    r = gw.post("/v1/completions", {"model": "p0/m", "prompt": "Hi"})
    assert r.status == 200 and up.requests[1].json()["prompt"] == "Hi" and up.requests[1].path == "/v1/completions", r
    # both: the prompt is what the path is for
    gw.post("/v1/completions", {**HELLO, "model": "p0/m", "prompt": "Hi"})
    assert up.requests[2].path == "/v1/completions"
    # null is as if it were not there
    gw.post("/v1/completions", {**HELLO, "prompt": None, "model": "p0/m"})
    assert up.requests[3].path == "/v1/chat/completions"


def test_a_chat_goes_through_untouched():
    (up, _), gw = start()
    body = '{"future":1e400, "model":"p0/m", "messages" : [{"role":"user","content":"Hi"}] ,"routing":{}, "seed":12345678901234567890}'
    assert gw.post("/v1/completions", body).status == 200
    assert up.requests[0].body == body.replace('"routing":{}, ', "").replace("p0/m", "m").encode(), up.requests[0].body


def test_streams():
    (up, _), gw = start()
    for path, body in (("/v1/completions", {**HELLO, "stream": True}), ("/v1/completions/stream", HELLO),
                       ("/v1/completions/stream", {**HELLO, "stream": False}),
                       ("/v1/completions/stream", {**HELLO, "stream": True, "stream_options": {"include_usage": True}})):
        r = gw.post(path, body)
        assert r.status == 200 and r.headers["content-type"].startswith("text/event-stream"), (path, body, r)
        events = [d for _, d in r.events()]
        assert events[-1] == "[DONE]" and "".join(e for e in events if "Hello" in e) and len(events) > 3
        sent = up.requests[-1].json()
        assert sent["stream"] is True and sent["stream_options"] == {"include_usage": True}, sent
    assert '"usage"' in r.text
    r = gw.post("/v1/completions/stream", {"model": "p0/m", "prompt": "Hi"})
    assert up.requests[-1].path == "/v1/completions" and up.requests[-1].json()["stream"] is True


def test_a_stream_of_another_dialect():
    claude = scene.Upstream(lambda a: (a.sse(), [a.event(d, d["type"]) for d in (
        {"type": "message_start", "message": {"id": "msg", "type": "message", "role": "assistant", "model": "c", "content": [],
                                              "stop_reason": None, "usage": {"input_tokens": 3, "output_tokens": 1}}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Bonjour"}},
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 2}},
        {"type": "message_stop"})], a.end()))
    gw = scene.Gateway({"providers": [claude.provider("claude", kind="anthropic")]})
    r = gw.post("/v1/completions/stream", {**HELLO, "model": "claude"})
    assert claude.requests[0].json()["stream"] is True and "Bonjour" in r.text and r.events()[-1][1] == "[DONE]", r


def test_hints():
    _, plain = start(3, routing={"default_model": "p0/other"})
    ups, gw = start(3, models=[{"name": "m", "targets": [{"provider": f"p{i}", "model": f"m{i}"} for i in range(3)]}])

    def served(**routing):
        r = gw.post("/v1/completions", {**HELLO, "model": "m", "routing": routing})
        assert r.status == 200, r
        return r.headers["x-penstock-provider"]

    assert served() == "p0" and served(preferred_providers=["p2"]) == "p2"
    assert served(exclude_providers=["p0"]) == "p1" and served(exclude_providers=["p0", "p1"]) == "p2"
    assert sorted(served(strategy="round_robin") for _ in range(3)) == ["p0", "p1", "p2"]
    # no model: a preferred provider's own
    r = gw.post("/v1/completions", {**HELLO, "routing": {"preferred_providers": ["p1"]}})
    assert ups[1].requests[-1].json()["model"] == "m1" and r.headers["x-penstock-provider"] == "p1"
    # ... and not one that is excluded, though it is the default
    for excluded, at in ((["p0"], "p1"), (["P0", "p1"], "p2"), (["p2"], "p0")):
        r = plain.post("/v1/completions", {**HELLO, "routing": {"exclude_providers": excluded}})
        assert r.status == 200 and r.headers["x-penstock-provider"] == at, (excluded, r, r.headers)
    r = plain.post("/v1/completions", {**HELLO, "routing": {"exclude_providers": ["p0", "p1", "p2"]}})
    assert r.status == 400 and r.json()["error"]["param"] == "routing", r
    for routing in ({"strategy": "best"}, {"preferred_providers": ["nobody"]}, {"exclude_providers": "p0 p1"}, {"who": 1},
                    {"exclude_providers": ["p0", "p1", "p2"]}, 7, []):
        r = gw.post("/v1/completions", {**HELLO, "model": "m", "routing": routing})
        assert r.status == 400 and r.json()["error"]["message"], (routing, r)


def test_a_key_for_one_model_gets_no_other_providers_default():
    keys = {"keys": [{"id": "one", "key": {"value": "sk-one"}, "models": ["m0"]}, {"id": "all", "key": {"value": "sk-all"}},
                     {"id": "boss", "key": {"value": "sk-boss"}, "permissions": ["admin"]}]}
    ups, gw = start(2, auth=keys, routing={"fallback": False})

    def ask(key, *providers):
        return gw.post("/v1/completions", {**HELLO, "routing": {"preferred_providers": providers}}, headers={"x-api-key": key})

    assert ask("sk-one", "p0", "p1").status == 200 and ask("sk-one", "p1", "p0").status == 403 and not ups[1].requests
    assert gw.admin("/providers/p0/drain", "POST", headers={"x-api-key": "sk-boss"}).status == 200
    r = ask("sk-one", "p0", "p1")
    assert r.status == 503 and not ups[1].requests, r
    r = ask("sk-all", "p0", "p1")
    assert r.status == 200 and r.headers["x-penstock-provider"] == "p1", r


def test_a_strategy_chooses_among_the_providers_where_no_model_is_named():
    _, gw = start(3)

    def served(n, **routing):
        return sorted(gw.post("/v1/completions", {**HELLO, "routing": routing}).headers["x-penstock-provider"] for _ in range(n))

    assert served(3) == ["p0"] * 3 and served(3, strategy="fallback") == ["p0"] * 3
    assert served(6, strategy="round-robin") == ["p0", "p0", "p1", "p1", "p2", "p2"], "exact over all workers"
    assert served(4, strategy="round-robin", exclude_providers=["p1"]) == ["p0", "p0", "p2", "p2"]
    assert served(4, strategy="round-robin", preferred_providers=["p2", "p1"]) == ["p2"] * 4
    _, gw = start(2, routing={"default_strategy": "round-robin"})
    assert served(4) == ["p0", "p0", "p1", "p1"]
    _, gw = start(2, routing={"default_strategy": "round-robin", "default_provider": "p1"})
    assert served(4) == ["p1"] * 4, "unless one is the default"
    ups, gw = start(2, routing={"default_strategy": "round-robin", "fallback": False})
    ups[0].next(*[lambda a: a.reset()] * 8)
    assert sorted(gw.post("/v1/completions", HELLO).status for _ in range(2)) == [200, 502], "chosen, not gone on to"
    ups = [scene.Upstream() for _ in range(3)]
    gw = scene.Gateway({"providers": [u.provider(f"p{i}", default_model=m, retry={"max": 0}) for i, (u, m) in enumerate(
        zip(ups, ("gpt-4", "gpt-4o-mini", "gpt-4o")))]})
    assert served(2, strategy="cost") == ["p1"] * 2
    ups[1].default = scene.status_script(503)
    assert served(2, strategy="cost") == ["p2"] * 2
    # of those that the key may use
    ups, gw = start(2, auth={"keys": [{"id": "one", "key": {"value": "sk-one"}, "models": ["m0"]}]}, routing={"default_strategy": "round-robin"})
    assert [gw.post("/v1/completions", HELLO, headers={"x-api-key": "sk-one"}).status for _ in range(4)] == [200] * 4 and not ups[1].requests
    ups, gw = start(2, auth={"keys": [{"id": "two", "key": {"value": "sk-two"}, "models": ["m1"]},
                                      {"id": "none", "key": {"value": "sk-none"}, "models": ["m7"]}]},
                    routing={"default_strategy": "round-robin"})
    assert [gw.post("/v1/completions", HELLO, headers={"x-api-key": "sk-two"}).status for _ in range(4)] == [200] * 4 and not ups[0].requests
    assert gw.post("/v1/completions", HELLO, headers={"x-api-key": "sk-none"}).status == 403


def test_what_another_provider_said_is_not_kept_as_the_first_ones():
    ups = [scene.Upstream(lambda a, i=i: a.whole(200, scene.chat_reply(text=f"from p{i}"))) for i in range(2)]
    gw = scene.Gateway({"providers": [u.provider(f"p{i}", default_model=m) for i, (u, m) in enumerate(zip(ups, ("gpt-4", "gpt-4o-mini")))],
                        "cache": {"enabled": True}})
    ask = {"messages": [{"role": "user", "content": "the same"}], "temperature": 0}
    for _ in range(3):
        r = gw.post("/v1/chat/completions", {**ask, "routing": {"strategy": "cost"}})
        assert r.status == 200 and r.headers["x-penstock-provider"] == "p1", r
    r = gw.post("/v1/chat/completions", ask)
    assert r.headers["x-penstock-provider"] == "p0" and "from p0" in r.text, r


def test_a_default_model_that_nobody_has_is_no_other_ones_default():
    ups, gw = start(2, models=[{"name": "m", "targets": [{"provider": "p1", "model": "x"}]}], routing={"default_model": "nobody/has-it"})
    r = gw.post("/v1/completions", HELLO)
    assert r.status in (400, 404) and not ups[0].requests and not ups[1].requests, r


def test_models_by_provider():
    ups, gw = start()
    for model, i, sent in (("p1", 1, "m1"), ("P1/x", 1, "x"), ("p1.x", 1, "x"), ("p0/vendor/model:free", 0, "vendor/model:free")):
        r = gw.post("/v1/completions", {**HELLO, "model": model})
        assert r.status == 200 and ups[i].requests[-1].json()["model"] == sent, (model, r)


def test_bad_requests():
    _, gw = start()
    for path in ("/v1/completions", "/v1/completions/stream"):
        for body, param in (({}, "prompt"), ({"messages": []}, "messages"), ({"messages": {}}, "messages"),
                            ({"messages": [{"role": "wizard", "content": "x"}]}, "messages[0].role"),
                            ({**HELLO, "model": []}, "model"), ({**HELLO, "stream": "yes"}, "stream"), ({"prompt": 7}, "prompt")):
            r = gw.post(path, body)
            assert r.status == 400 and r.json()["error"]["param"] == param, (path, body, r)
        assert gw.post(path, "[]").status == 400 and gw.post(path, '{"messages":').status == 400
        assert gw.get(path).status == 405
    assert "messages" in gw.post("/v1/completions", {}).json()["error"]["message"]


# --- what it tells of itself ---


def test_providers():
    ups, gw = start(2, models=[{"name": "a", "targets": [{"provider": "p0", "model": "x"}, {"provider": "p1", "model": "y"}]},
                               {"name": "b", "targets": [{"provider": "p1", "model": "y"}]}])
    assert gw.get("/v1/providers").json() == {"providers": [
        {"id": "p0", "kind": "openai_compatible", "models": ["a"], "status": "healthy"},
        {"id": "p1", "kind": "openai_compatible", "models": ["a", "b"], "status": "healthy"}]}
    _, gw = start()
    assert [p["models"] for p in gw.get("/v1/providers").json()["providers"]] == [["m0"], ["m1"]]


def test_one_providers_health():
    up = scene.Upstream()
    gw = scene.Gateway({"providers": [up.provider("up", retry={"max": 0}, breaker={"consecutive_failures": 2},
                                                  health_check={"every": "0s"}),
                                      up.provider("off", enabled=False)], "routing": {"fallback": False}})
    h = gw.get("/v1/providers/up/health").json()
    assert h == {"id": "up", "status": "healthy", "score": 100, "breaker": "closed", "latency_ms": 0, "success_rate": 1,
                 "error_rate": 0, "last_error": None, "last_error_at": None, "last_check": None}, h
    assert gw.post("/v1/completions", {**HELLO, "model": "up/m"}).status == 200
    up.next(scene.status_script(503), scene.status_script(500))
    for _ in range(2):
        gw.post("/v1/completions", {**HELLO, "model": "up/m"})
    h = gw.get("/v1/providers/UP/health").json()
    assert (h["status"], h["breaker"], h["last_error"]) == ("unhealthy", "open", "server_error"), h
    assert abs(h["error_rate"] - 2 / 3) < 0.01 and abs(h["success_rate"] - 1 / 3) < 0.01 and h["score"] < 50
    assert h["latency_ms"] > 0 and h["last_check"].endswith("Z") and h["last_error_at"].endswith("Z")
    assert gw.get("/v1/providers/off/health").json()["status"] == "disabled"
    r = gw.get("/v1/providers/nobody/health")
    assert r.status == 404 and r.json()["error"]["message"], r
    assert gw.get("/v1/providers/%zz/health").status == 404 and gw.post("/v1/providers/up/health", {}).status == 405


def test_active_checks_are_told_of():
    up = scene.Upstream(scene.status_script(500))
    gw = scene.Gateway({"providers": [up.provider("up", health_check={"every": "1s"})]})
    h = scene.wait_for(lambda: (h := gw.get("/v1/providers/up/health").json())["last_error"] and h)
    assert h["last_error"] == "server_error" and h["last_check"] and not [r for r in up.requests if r.method == "POST"], h


def test_cache_stats():
    _, gw = start(cache={"enabled": True})
    assert gw.get("/v1/cache/stats").json()["entries"] == 0
    for _ in range(3):
        gw.post("/v1/completions", HELLO)
    s = gw.get("/v1/cache/stats").json()
    assert (s["entries"], s["hits"], s["misses"], s["semantic_hits"]) == (1, 2, 1, 0), s
    assert abs(s["hit_rate"] - 2 / 3) < 0.01 and s["tokens_saved"] == 20 and s["evictions"] == 0 and s["bytes"] > 0, s
    assert s["usd_saved"] == 0
    # what the native path was answered is the same chat
    assert gw.chat("m0", **HELLO).status == 200


def test_keys_and_open():
    _, gw = start(auth={**KEYS, "open_surfaces": ["s2"]})
    for path in ("/v1/providers", "/v1/providers/p0/health", "/v1/cache/stats"):
        assert gw.get(path).status == 200, path
    assert gw.post("/v1/completions", HELLO).status == 200 and gw.post("/v1/completions/stream", HELLO).status == 200
    assert gw.post("/v1/chat/completions", HELLO).status == 401 and gw.post("/chat/completions", HELLO).status == 401
    _, gw = start(auth=KEYS)
    for path in ("/v1/providers", "/v1/providers/p0/health", "/v1/cache/stats"):
        assert gw.get(path).status == 401 and gw.get(path, headers=TEAM).status == 200, path
    assert gw.post("/v1/completions", HELLO).status == 401


def test_the_example_and_the_environment_alone():
    for example in (os.path.join(EXAMPLES, "s2.yaml"), None):
        up = scene.Upstream()
        gw = scene.by_environment({"OPENAI_API_KEY": "k", "OPENAI_BASE_URL": up.url + "/v1", "ANTHROPIC_API_KEY": "k",
                                   "DEFAULT_ROUTING_STRATEGY": "fallback", "CACHE_SIMILARITY_THRESHOLD": "0.95",
                                   "CACHE_TTL": "3600", "CACHE_ENABLED": "true", "RATE_LIMIT_REQUESTS_PER_MINUTE": "60"}, example)
        done = gw.run("-t")
        assert done.returncode == 0 and "not used" not in done.stderr, done
        done = gw.run("-T").stdout.replace('"', "")
        for text in ("default_strategy: fallback", "requests_per_minute: 60", "threshold: 0.95", "ttl: 1h"):
            assert text in done, (text, done)
        gw.start()
        assert [p["id"] for p in gw.get("/v1/providers").json()["providers"]] == ["openai", "anthropic"]
        ask = {"messages": [{"role": "user", "content": "What is the capital of France, please?"}]}
        assert gw.post("/v1/completions", ask).headers["x-ratelimit-limit"] == "60"
        scene.wait_for(lambda: gw.post("/v1/completions", ask).headers["x-penstock-cache"] == "hit")
        assert gw.get("/v1/cache/stats").json()["hits"] >= 1
        assert gw.get("/v1/providers/openai/health").json()["status"] == "healthy"


if __name__ == "__main__":
    scene.main()
