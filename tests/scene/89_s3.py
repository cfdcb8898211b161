"""S3, the microservice's API under /api/v1: ids such as provider.model, mappings, fallback rules, permissions of keys, usage
by dates."""

import base64
import datetime
import hashlib
import hmac
import json
import os
import signal
import time

import scene

EXAMPLES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "conf", "examples")
SECRET = "0123456789abcdef0123456789abcdef-s3"
KEYS = [
    {"id": "chatter", "key": {"value": "k-chat"}, "permissions": ["completion"]},
    {"id": "embedder", "key": {"value": "k-embed"}, "permissions": ["embedding"]},
    {"id": "boss", "key": {"value": "k-boss"}, "permissions": ["admin"]},
    {"id": "narrow", "key": {"value": "k-narrow"}, "permissions": ["completion"], "models": ["team-*"]},
]
CHAT, EMBED, BOSS = ({"X-API-Key": k} for k in ("k-chat", "k-embed", "k-boss"))
MESSAGES = [{"role": "user", "content": "Hi"}]


def b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def token(**claims):
    head = b64(b'{"alg":"HS256"}') + "." + b64(json.dumps({"exp": int(time.time()) + 600, **claims}).encode())
    return {"Authorization": "Bearer " + head + "." + b64(hmac.new(SECRET.encode(), head.encode(), hashlib.sha256).digest())}


def anthropic(text="Bonjour."):
    return lambda a: a.whole(200, {
        "id": "msg_1", "type": "message", "role": "assistant", "model": a.request.json()["model"],
        "content": [{"type": "text", "text": text}], "stop_reason": "end_turn", "stop_sequence": None,
        "usage": {"input_tokens": 11, "output_tokens": 4}})


def vectors(a):
    body = a.request.json()
    texts = body["input"] if isinstance(body["input"], list) else [body["input"]]
    a.whole(200, {"object": "list", "model": body["model"], "usage": {"prompt_tokens": 5, "total_tokens": 5},
                  "data": [{"object": "embedding", "index": i, "embedding": [0.5, -0.5]} for i in range(len(texts))]})


def start(workers=2, **more):
    openai, claude = scene.Upstream(), scene.Upstream(anthropic())
    gw = scene.Gateway({
        "providers": [openai.provider("openai", "openai", retry={"max": 0}),
                      claude.provider("anthropic", "anthropic", retry={"max": 0})],
        "models": [{"name": "team-chat", "display_name": "The team's", "context_window": 9000,
                    "targets": [{"provider": "openai", "model": "gpt-4o"}, {"provider": "anthropic", "model": "claude-3-opus"}]},
                   {"name": "eyes", "capabilities": ["completion", "vision"], "targets": [{"provider": "openai", "model": "gpt-4o"}]}],
        "fallback_rules": [{"model": "openai.gpt-4-turbo", "fallback_models": ["openai.gpt-3.5-turbo", "anthropic.claude-3-sonnet"],
                            "error_codes": ["rate_limit_exceeded", "server_error"]}],
        "auth": {"mode": "keys+jwt", "keys": [dict(k) for k in KEYS], "jwt": {"secret": {"value": SECRET}}}, **more}, workers=workers)
    return gw, openai, claude


def complete(gw, model, headers=CHAT, path="/api/v1/completion", **more):
    body = {"messages": MESSAGES, **more}
    if model:
        body["model"] = model
    return gw.post(path, body, headers=headers)


def test_completions_by_id_mapping_and_inference():
    gw, openai, claude = start()
    for model, upstream, there in (("openai.gpt-4-turbo", openai, "gpt-4-turbo"), ("OpenAI.gpt-4-turbo", openai, "gpt-4-turbo"),
                                   ("ANTHROPIC.claude-3-opus", claude, "claude-3-opus"), ("team-chat", openai, "gpt-4o"),
                                   ("gpt-4o-mini", openai, "gpt-4o-mini"), ("claude-sonnet-4-5", claude, "claude-sonnet-4-5"),
                                   ("openai/gpt-4o", openai, "gpt-4o")):
        r = complete(gw, model)
        assert r.status == 200 and r.json()["object"] == "chat.completion", (model, r)
        assert upstream.requests[-1].json()["model"] == there, model
        assert r.json()["choices"][0]["message"]["content"] and r.json()["usage"]["total_tokens"] in (10, 15), r
        assert r.headers["x-penstock-provider"] == ("openai" if upstream is openai else "anthropic")
    # OpenAI's fields, as they are
    complete(gw, "openai.gpt-4o", temperature=0.3, max_tokens=7, tools=[{"type": "function", "function": {"name": "f"}}])
    got = openai.requests[-1].json()
    assert (got["temperature"], got["max_tokens"], got["tools"][0]["function"]["name"]) == (0.3, 7, "f"), got
    assert complete(gw, "team-chat", headers=token(sub="alice", role="completion")).status == 200
    assert complete(gw, None).status == 200  # the default provider's
    r = gw.post("/api/v1/completion", {"model": "anthropic.claude-3-opus", "prompt": "Hi"}, headers=CHAT)
    assert r.status == 200 and r.json()["choices"][0]["text"] == "Bonjour.", r


def stream_of(gw, model, body=None, headers=CHAT):
    r = complete(gw, model, headers, "/api/v1/completion/stream", **(body or {}))
    assert r.status == 200 and r.headers["content-type"].startswith("text/event-stream"), r
    events = [d for _, d in r.events()]
    assert events[-1] == "[DONE]", events
    chunks = [json.loads(e) for e in events[:-1]]
    return "".join(c["choices"][0]["delta"].get("content") or "" for c in chunks if c["choices"]), chunks


def test_the_path_asks_for_a_stream():
    gw, openai, claude = start()
    for said in ({}, {"stream": True}, {"stream": False}, {"stream": None}):
        assert stream_of(gw, "openai.gpt-4o", said)[0] == "Hello there.", said
        assert openai.requests[-1].json()["stream"] is True, said
        assert openai.requests[-1].json()["stream_options"] == {"include_usage": True}
    text, chunks = stream_of(gw, "openai.gpt-4o", {"stream_options": {"include_usage": True}})
    assert chunks[-1]["usage"]["total_tokens"] == 10

    def claudes(a):
        assert a.request.json()["stream"] is True
        a.sse()
        usage = {"input_tokens": 11, "output_tokens": 1}
        a.event({"type": "message_start", "message": {"id": "m", "type": "message", "role": "assistant", "content": [], "model": "c",
                                                      "stop_reason": None, "stop_sequence": None, "usage": usage}}, "message_start")
        a.event({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}, "content_block_start")
        a.event({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Bon"}}, "content_block_delta")
        a.event({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "jour"}}, "content_block_delta")
        a.event({"type": "content_block_stop", "index": 0}, "content_block_stop")
        a.event({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 4}}, "message_delta")
        a.event({"type": "message_stop"}, "message_stop")
        a.end()
    claude.default = claudes
    assert stream_of(gw, "anthropic.claude-3-opus")[0] == "Bonjour"
    r = complete(gw, "openai.gpt-4o", stream=True)  # and where the body does, the plain path streams too
    assert r.headers["content-type"].startswith("text/event-stream")
    whole = complete(gw, "openai.gpt-4o")
    assert whole.headers["content-type"] == "application/json" and "stream" not in openai.requests[-1].json()


def test_a_stream_and_a_whole_answer_do_not_share_the_cache():
    gw, openai, _ = start(cache={"enabled": True})
    for _ in range(2):
        assert complete(gw, "openai.gpt-4o").json()["object"] == "chat.completion"
        assert stream_of(gw, "openai.gpt-4o")[0] == "Hello there."
    assert len(openai.requests) == 2


def test_embeddings():
    gw, openai, _ = start()
    openai.default = vectors
    r = gw.post("/api/v1/embedding", {"model": "openai.text-embedding-3-small", "input": ["a", "b"]}, headers=EMBED)
    assert r.status == 200 and len(r.json()["data"]) == 2 and r.json()["usage"]["total_tokens"] == 5, r
    assert openai.requests[-1].path == "/v1/embeddings" and openai.requests[-1].json()["model"] == "text-embedding-3-small"
    assert gw.post("/api/v1/embedding", {"model": "OPENAI.text-embedding-3-small", "input": "a"}, headers=EMBED).status == 200
    for body in ({"model": "openai.x"}, {"model": "openai.x", "input": 3}, {"model": 3, "input": "a"}):
        assert gw.post("/api/v1/embedding", body, headers=EMBED).status == 400, body


def test_models():
    gw, openai, _ = start()
    r = gw.get("/api/v1/models", headers=CHAT)
    models = {m["id"]: m for m in r.json()["models"]}
    assert models["team-chat"] == {"id": "team-chat", "displayName": "The team's", "provider": "openai", "providerModelId": "gpt-4o",
                                   "contextWindow": 9000, "capabilities": ["completion", "streaming"]}, r.text
    assert models["eyes"]["capabilities"] == ["completion", "vision"] and models["eyes"]["contextWindow"] == 128000
    assert [m["id"] for m in gw.get("/api/v1/models", headers={"X-API-Key": "k-narrow"}).json()["models"]] == ["team-chat"]
    assert gw.get("/api/v1/models/team-chat", headers=CHAT).json() == models["team-chat"]
    one = gw.get("/api/v1/models/OpenAI.text-embedding-3-small", headers=EMBED).json()
    assert (one["provider"], one["providerModelId"], one["capabilities"]) == ("openai", "text-embedding-3-small", ["embedding"]), one
    assert gw.get("/api/v1/models/openai%2Egpt-4-turbo", headers=CHAT).json()["contextWindow"] == 128000
    at = gw.get("/api/v1/models/provider/Anthropic", headers=CHAT).json()["models"]
    assert [(m["id"], m["provider"], m["providerModelId"]) for m in at] == [("team-chat", "anthropic", "claude-3-opus")], at
    assert [m["id"] for m in gw.get("/api/v1/models/provider/claude", headers=CHAT).json()["models"]] == ["team-chat"]
    gw.reconfigure({"providers": [*gw.conf["providers"], openai.provider("mistral", "mistral")]})
    gw.run("-s", "reload")
    scene.wait_for(lambda: gw.get("/api/v1/models/provider/mistral", headers=CHAT).status == 200 and not gw.workers(generation=1))
    at = gw.get("/api/v1/models/provider/Mistral", headers=CHAT).json()["models"]
    assert [m["id"] for m in at] == ["mistral.mistral-small-latest"], "what answers where only the provider is named"
    for path in ("/models/nonsense", "/models/nobody.gpt-4", "/models/provider/nobody", "/models/provider/%zz", "/models/team-chat%00"):
        r = gw.get("/api/v1" + path, headers=CHAT)
        assert r.status == 404 and r.json()["error"]["code"] == "model_not_found", (path, r)
    assert gw.get("/api/v1/models/eyes", headers={"X-API-Key": "k-narrow"}).status == 404
    assert gw.get("/api/v1/models").status == 401
    # without any mapping: what each provider answers with
    up = scene.Upstream()
    gw = scene.Gateway({"providers": [up.provider("openai", "openai")]})
    assert [m["id"] for m in gw.get("/api/v1/models").json()["models"]] == ["openai.gpt-4o-mini"]
    assert [m["id"] for m in gw.get("/api/v1/models/provider/openai").json()["models"]] == ["openai.gpt-4o-mini"]
    assert gw.get("/api/v1/models/openai.gpt-4o-mini").json()["id"] == "openai.gpt-4o-mini"
    # a request for it would be tried where there is nothing else; that makes no model of it
    for path in ("/api/v1/models/nobody", "/api/v1/models/provider/", "/v1/models/nobody", "/v1beta/models/nobody"):
        assert gw.get(path).status == 404, path
    assert gw.get("/v1/models/gpt-4").status == 200 and gw.get("/v1beta/models/openai.x").status == 200


def test_fallback_rules_by_error_codes():
    gw, openai, claude = start()
    openai.next(scene.status_script(429), scene.status_script(500))
    r = complete(gw, "openai.gpt-4-turbo")
    assert r.status == 200 and r.json()["choices"][0]["message"]["content"] == "Bonjour.", r
    # the key rests after its 429: the second model is passed over, or asked all the same
    assert claude.requests[-1].json()["model"] == "claude-3-sonnet" and r.headers["x-penstock-provider"] == "anthropic"
    gw, openai, claude = start()
    openai.next(scene.status_script(503))
    assert complete(gw, "OpenAI.gpt-4-turbo").status == 200  # the rule holds for any spelling
    assert [r.json()["model"] for r in openai.requests] == ["gpt-4-turbo", "gpt-3.5-turbo"] and not claude.requests
    openai.next(scene.status_script(400, {"error": {"message": "bad", "type": "invalid_request_error"}}))
    assert complete(gw, "openai.gpt-4-turbo").status == 400  # not in the rule
    assert len(openai.requests) == 3 and not claude.requests


def test_permissions():
    gw, openai, _ = start()
    openai.default = vectors
    embed = {"model": "openai.e", "input": "a"}
    assert complete(gw, "openai.m", headers=EMBED).status == 403
    assert complete(gw, "openai.m", EMBED, "/api/v1/completion/stream").status == 403
    assert gw.post("/api/v1/embedding", embed, headers=CHAT).status == 403
    assert gw.get("/api/v1/admin/usage", headers=CHAT).status == 403
    assert gw.get("/api/v1/admin/usage", headers=token(sub="alice")).status == 403
    assert complete(gw, "openai.m", headers=BOSS).status == 403
    assert gw.get("/api/v1/admin/usage", headers=token(sub="root", role="admin")).status == 200
    for headers in ({}, {"X-API-Key": "wrong"}, {"Authorization": "Bearer a.b.c"}, {"X-API-Key": ""}):
        for method, path, body in (("POST", "/completion", {"messages": MESSAGES}), ("POST", "/embedding", embed),
                                   ("POST", "/completion/stream", {"messages": MESSAGES}), ("GET", "/models", None),
                                   ("GET", "/models/x", None), ("GET", "/models/provider/openai", None), ("GET", "/admin/usage", None)):
            r = gw.request(method, "/api/v1" + path, body, headers=headers)
            assert r.status == 401 and r.json()["error"]["message"], (path, headers, r)
    r = complete(gw, "openai.gpt-4o", headers={"X-API-Key": "k-narrow"})
    assert r.status == 403, r
    assert not openai.requests


def test_bad_requests():
    gw, openai, _ = start()
    for path in ("/api/v1/completion", "/api/v1/completion/stream"):
        for body in ({}, {"model": "openai.m"}, {"model": 3, "messages": MESSAGES}, {"model": "openai.m", "messages": "Hi"},
                     {"model": "openai.m", "messages": []}, {"model": "openai.m", "messages": [{"content": "Hi"}]},
                     {"model": "openai.m", "messages": MESSAGES, "stream": "yes"}, {"model": "openai.m", "messages": MESSAGES, "max_tokens": -1},
                     [], "{", "null", "", '{"model":"openai.m","model":"openai.n","messages":[]}'):
            r = gw.post(path, body, headers=CHAT)
            assert r.status == 400 and r.json()["error"]["message"], (path, body, r)
        r = complete(gw, "nobody.gpt-9", path=path)
        assert r.status == 404 and r.json()["error"]["code"] == "model_not_found", r
        r = gw.get(path, headers=CHAT)
        assert r.status == 405 and "POST" in r.headers["allow"], r
    assert gw.get("/api/v1/nothing", headers=CHAT).status == 404
    assert gw.request("DELETE", "/api/v1/models", headers=CHAT).status == 405
    r = complete(gw, "openai.gpt-4", messages=[{"role": "user", "content": "word " * 60000}])
    assert r.status == 400 and r.json()["error"]["code"] == "context_length_exceeded", r
    assert not openai.requests


def usage(gw, query="", headers=BOSS):
    return gw.get("/api/v1/admin/usage" + query, headers=headers)


def test_usage_by_dates():
    gw, openai, claude = start(workers=3)
    today = datetime.datetime.now(datetime.timezone.utc).date()
    day = datetime.timedelta(days=1)
    assert usage(gw).json()["total"]["requests"] == 0 and usage(gw).json()["byDay"] == []
    for _ in range(3):
        assert complete(gw, "openai.gpt-4o").status == 200
    for _ in range(2):
        assert complete(gw, "anthropic.claude-3-opus", headers=token(sub="alice", role="completion")).status == 200
    scene.wait_for(lambda: usage(gw).json()["total"]["totalTokens"] == 60, "the ledger")
    u = usage(gw, f"?startDate={today}&endDate={today}").json()
    assert (u["startDate"], u["endDate"]) == (str(today), str(today)), u
    cost = 3 * (7 * 2.5 + 3 * 10) / 1e6
    opus = 2 * (11 * 15 + 4 * 75) / 1e6
    total = {k: round(v, 9) for k, v in u["total"].items()}
    assert total == {"requests": 5, "promptTokens": 43, "completionTokens": 17, "totalTokens": 60, "cost": round(cost + opus, 9)}, u
    for part, label, want in (("byProvider", "provider", {"openai": (3, 30), "anthropic": (2, 30)}),
                              ("byModel", "model", {"gpt-4o": (3, 30), "claude-3-opus": (2, 30)}),
                              ("byUser", "user", {"chatter": (3, 30), "alice": (2, 30)}), ("byDay", "date", {str(today): (5, 60)})):
        got = {x[label]: (x["requests"], x["totalTokens"]) for x in u[part]}
        assert got == want, (part, u[part])
        assert abs(sum(x["cost"] for x in u[part]) - u["total"]["cost"]) < 1e-12
    # both dates are included, and nothing beyond them
    assert usage(gw, f"?startDate={today - day}&endDate={today}").json()["total"]["requests"] == 5
    assert usage(gw, f"?startDate={today}&endDate={today + day}").json()["total"]["requests"] == 5
    assert usage(gw, f"?endDate={today - day}").json()["total"]["requests"] == 0
    assert usage(gw, f"?startDate={today + day}&endDate={today + day}").json()["total"]["requests"] == 0
    assert usage(gw, f"?startDate={today}").json()["total"]["requests"] == 5
    assert usage(gw, f"?startDate={today}T00:00:00.000Z&endDate={today}T23:59:59.999Z").json()["total"]["requests"] == 5
    # what no price is known of has no cost, which is not a cost of 0
    assert complete(gw, "openai.of-no-table").status == 200
    row = scene.wait_for(lambda: [m for m in usage(gw).json()["byModel"] if m["model"] == "of-no-table"], "its row")[0]
    assert row["cost"] is None and row["totalTokens"] == 10, row
    # the same over a killed scribe
    scribe = gw.scribe()
    os.kill(scribe.pid, signal.SIGKILL)
    for _ in range(5):
        assert complete(gw, "openai.gpt-4o").status == 200
    scene.wait_for(lambda: usage(gw).json()["total"]["requests"] == 11, "the ledger after a kill", 40)


def test_bad_dates():
    gw, *_ = start()
    for query in ("?startDate=yesterday", "?startDate=2026-13-01", "?endDate=2026-02-30", "?startDate=2026-02-02&endDate=2026-02-01",
                  "?startDate=", "?endDate=2026-1-1", "?start=2026-01-01", "?startDate=2026-01-01&startDate=2026-01-02",
                  "?startDate=%zz", "?startDate=1769904000", "?endDate=2026-01-01%00"):
        r = usage(gw, query)
        assert r.status == 400 and r.json()["error"]["param"], (query, r)
    assert usage(gw, "?startDate=1970-01-01&endDate=9999-12-31").status == 200


def test_the_example_and_the_environment_alone():
    for example in (os.path.join(EXAMPLES, "s3.yaml"), None):
        openai, claude = scene.Upstream(), scene.Upstream(anthropic())
        retry = {"MAX_RETRIES": "3", "INITIAL_BACKOFF": "1000", "MAX_BACKOFF": "30000", "BACKOFF_FACTOR": "2", "JITTER": "0.1"}
        gw = scene.by_environment({"OPENAI_API_KEY": "k", "OPENAI_BASE_URL": openai.url + "/v1", "ANTHROPIC_API_KEY": "k",
                                   "ANTHROPIC_BASE_URL": claude.url, "API_KEY": "k-all", "JWT_SECRET": SECRET,
                                   **({} if example else retry)}, example)
        done = gw.run("-t")
        assert done.returncode == 0 and "not used" not in done.stderr, done
        gw.start()
        key, admin = {"X-API-Key": "k-all"}, token(sub="root", role="admin")
        assert complete(gw, "openai.gpt-4-turbo", key).status == 200 and complete(gw, "openai.gpt-4-turbo", {}).status == 401
        assert complete(gw, "anthropic.claude-3-opus", admin).status == 200
        assert stream_of(gw, "openai.gpt-4-turbo", None, key)[0] == "Hello there."
        openai.next(vectors)
        assert gw.post("/api/v1/embedding", {"model": "openai.text-embedding-ada-002", "input": "a"}, headers=key).status == 200
        ids = [m["id"] for m in gw.get("/api/v1/models", headers=key).json()["models"]]
        assert ids == (["default-chat", "default-embedding"] if example else ["openai.gpt-4o-mini", "anthropic.claude-sonnet-4-5"]), ids
        assert gw.get("/api/v1/admin/usage", headers=admin).status == 200 and gw.get("/health").status == 200
        if example:
            assert complete(gw, "default-chat", key).status == 200 and openai.requests[-1].json()["model"] == "gpt-4-turbo"


if __name__ == "__main__":
    scene.main()
