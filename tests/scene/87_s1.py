"""S1, the enterprise gateway, /api/v1/llm: chats in its envelope, whole and streamed, errors, and what it tells of itself."""

import copy
import importlib
import os

import scene

tokens = importlib.import_module("84_tokens")
EXAMPLES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "conf", "examples")
BASE = "/api/v1/llm"
CHAT = BASE + "/chat/completions"
HELLO = {"messages": [{"role": "user", "content": "Hi"}]}
KEYS = {"keys": [{"id": "team", "key": {"value": "sk-team"}},
                 {"id": "boss", "key": {"value": "sk-boss"}, "permissions": ["completion", "admin"]}]}
TEAM, BOSS = {"authorization": "Bearer sk-team"}, {"authorization": "Bearer sk-boss"}
RETRYABLE = {"rate_limit_error": True, "authentication_error": False, "service_unavailable": True, "timeout_error": True,
             "context_length_error": False, "invalid_request_error": False, "permission_error": False,
             "model_not_found": False}


def start(n=1, provider=None, **conf):
    """Providers p0, p1 ... of OpenAI's kind, whose default model is gpt-4o."""
    ups = [scene.Upstream() for _ in range(n)]
    rows = [u.provider(f"p{i}", kind="openai", default_model="gpt-4o", retry={"max": 0}, **copy.deepcopy(provider or {}))
            for i, u in enumerate(ups)]
    return ups, scene.Gateway({"providers": rows, **copy.deepcopy(conf)}, workers=4)


def data(r, status=200):
    assert r.status == status and r.headers["content-type"] == "application/json", r
    body = r.json()
    assert body["success"] is True and set(body) == {"success", "data"}, body
    return body["data"]


def error(r, status, kind, provider=None):
    assert r.status == status and r.headers["content-type"] == "application/json", r
    body = r.json()
    assert body["success"] is False and set(body) == {"success", "error"}, body
    e = body["error"]
    assert e["type"] == kind and e["retryable"] is RETRYABLE[kind] and e["message"], e
    assert e["requestId"] == r.headers["x-request-id"] and e.get("provider") == provider, (e, r.headers)
    return e


def stream(r):
    """(chunks, the done event's object) of a good one."""
    import json
    assert r.status == 200 and r.headers["content-type"].startswith("text/event-stream"), r
    lines = [d for _, d in r.events()]
    assert lines[-1] == "[DONE]", lines
    events = [json.loads(d) for d in lines[:-1]]
    assert all(set(e) == {"type", "content"} and e["type"] == "chunk" for e in events[:-1]), events
    done = events[-1]
    assert done.pop("type") == "done", done
    return [e["content"] for e in events[:-1]], done


def records(gw, n):
    """The n lines of the log about requests."""
    def rows():
        return [r for r in gw.log() if r.get("event") in ("response", "error")]
    scene.wait_for(lambda: len(rows()) >= n, "the records")
    assert len(rows()) == n, rows()
    return rows()


# --- chat ---


def test_an_answer_with_all_it_took():
    (up,), gw = start()
    r = gw.post(CHAT, {"messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}],
                       "model": "gpt-4o", "maxTokens": 100, "temperature": 0.5, "topP": 0.9, "stop": ["END"]},
                headers={"x-request-id": "mine-1"})
    d = data(r)
    assert d.pop("id") and d.pop("latency") >= 0
    assert d == {"content": "Hello there.", "model": "gpt-4o", "provider": "p0", "finishReason": "stop", "cached": False,
                 "usage": {"promptTokens": 7, "completionTokens": 3, "totalTokens": 10}, "requestId": "mine-1",
                 "cost": {"promptCost": 0.0000175, "completionCost": 0.00003, "totalCost": 0.0000475, "currency": "USD"}}, d
    assert r.headers["x-penstock-cost-usd"] == "0.0000475"
    sent = up.requests[0].json()
    assert sent == {"model": "gpt-4o", "messages": [{"role": "system", "content": "Be brief."},
                                                    {"role": "user", "content": "Hi"}],
                    "max_completion_tokens": 100, "temperature": 0.5, "top_p": 0.9, "stop": ["END"]}, sent
    row = scene.wait_for(lambda: gw.log("response"))[0]
    assert (row["surface"], row["provider"], row["cost_usd"]) == ("s1", "p0", 0.0000475), row


def test_messages_alone_are_enough():
    (one, two), gw = start(2)
    assert data(gw.post(CHAT, HELLO))["provider"] == "p0" and one.requests[0].json()["model"] == "gpt-4o"
    # null is as if it were not there
    assert data(gw.post(CHAT, {**HELLO, "model": None, "provider": None, "maxTokens": None, "stream": None}))["model"] == "gpt-4o"
    assert set(one.requests[1].json()) == {"messages", "model"}
    # OpenAI's own names, and ours, and no other reading of either
    gw.post(CHAT, {**HELLO, "max_tokens": 5, "responseFormat": {"type": "json_object"}, "seed": 1,
                   "frequencyPenalty": 0.5, "user": "u"})
    assert {k: v for k, v in one.requests[-1].json().items() if k not in ("messages", "model")} == {
        "max_completion_tokens": 5, "response_format": {"type": "json_object"}, "seed": 1,
        "frequency_penalty": 0.5, "user": "u"}, one.requests[-1].json()
    error(gw.post(CHAT, {**HELLO, "maxTokens": 5, "max_tokens": 7}), 400, "invalid_request_error")
    error(gw.post(CHAT, {**HELLO, "max_tokens": "x"}), 400, "invalid_request_error")


def test_a_provider_by_name():
    ups, gw = start(3, models=[{"name": "gpt-4", "targets": [{"provider": "p0", "model": "gpt-4"},
                                                             {"provider": "p1", "model": "gpt-4-0613"}]}])
    for asked, i, model in (({"provider": "p1"}, 1, "gpt-4o"), ({"provider": "P2", "model": "other"}, 2, "other"),
                            ({"provider": "p1", "model": "gpt-4"}, 1, "gpt-4-0613"), ({"model": "gpt-4"}, 0, "gpt-4"),
                            ({"provider": "p2", "model": "p2/x"}, 2, "x"), ({"provider": "p2", "model": "p0.x"}, 2, "p0.x")):
        d = data(gw.post(CHAT, {**HELLO, **asked}))
        assert d["provider"] == f"p{i}" and ups[i].requests[-1].json()["model"] == model == d["model"], (asked, d)
    # what it does not have
    e = error(gw.post(CHAT, {**HELLO, "provider": "p2", "model": "gpt-4"}), 404, "model_not_found")
    assert "gpt-4" in e["message"]
    assert "nobody" in error(gw.post(CHAT, {**HELLO, "provider": "nobody"}), 400, "invalid_request_error")["message"]
    # it is asked first, and when it fails another may answer
    ups[1].next(scene.status_script(500))
    assert data(gw.post(CHAT, {**HELLO, "provider": "p1", "model": "gpt-4"}))["provider"] == "p0"


def test_streams():
    (up,), gw = start()
    r = gw.post(CHAT, {**HELLO, "stream": True}, headers={"x-request-id": "s-1"})
    chunks, done = stream(r)
    assert chunks == ["Hello", " there", "."], chunks
    whole = data(gw.post(CHAT, HELLO))
    assert set(done) == set(whole), (done, whole)
    for name in ("content", "model", "provider", "finishReason", "usage", "cost", "cached"):
        assert done[name] == whole[name], (name, done, whole)
    assert done["requestId"] == "s-1" and up.requests[0].json()["stream_options"] == {"include_usage": True}


def test_a_stream_comes_as_it_is_made():
    import threading
    go = threading.Event()

    def script(a):
        a.sse()
        a.event(scene.chat_chunk("First"))
        a.wait(go)
        a.event(scene.chat_chunk(" second"))
        a.event(scene.chat_chunk(finish="stop"))
        a.event(scene.chat_usage())
        a.event("[DONE]")
        a.end()
    (up,), gw = start()
    up.next(script)
    c = gw.client()
    c.request("POST", CHAT, {**HELLO, "stream": True})
    c.status, c.headers = c.response_head()
    assert c.event()[1] == '{"type":"chunk","content":"First"}'
    go.set()
    assert c.event()[1] == '{"type":"chunk","content":" second"}'
    assert '"content":"First second"' in c.event()[1] and c.event()[1] == "[DONE]" and c.event() is None


def test_a_stream_that_breaks():
    import json
    (up,), gw = start()
    up.next(lambda a: (a.sse(), a.event(scene.chat_chunk("Half")), a.close()))
    r = gw.post(CHAT, {**HELLO, "stream": True})
    events = [d for _, d in r.events()]
    assert len(events) == 2 and "[DONE]" not in r.text, events
    last = json.loads(events[1])
    assert last["type"] == "error" and last["error"]["retryable"] is True and last["error"]["provider"] == "p0", last
    assert last["error"]["type"] == "service_unavailable" and last["error"]["requestId"] == r.headers["x-request-id"]
    up.next(scene.status_script(401))
    error(gw.post(CHAT, {**HELLO, "stream": True}), 502, "service_unavailable", "p0")


def test_a_stream_without_usage_is_estimated():
    (up,), gw = start()
    up.next(scene.chat_script(usage=False))
    _, done = stream(gw.post(CHAT, {**HELLO, "stream": True}))
    assert done["usage"]["estimated"] is True and done["usage"]["totalTokens"] > 0 and done["cost"]["totalCost"] > 0, done


def test_tools():
    calls = [{"id": "call_1", "type": "function", "function": {"name": "now", "arguments": "{}"}}]
    (up,), gw = start()
    tools = [{"type": "function", "function": {"name": "now", "parameters": {"type": "object", "properties": {}}}}]
    reply = scene.chat_reply()
    reply["choices"][0] = {"index": 0, "message": {"role": "assistant", "content": None, "tool_calls": calls},
                           "finish_reason": "tool_calls"}
    up.next(lambda a: a.whole(200, reply))
    d = data(gw.post(CHAT, {**HELLO, "tools": tools, "toolChoice": "auto"}))
    assert (d["toolCalls"], d["finishReason"], d["content"]) == (calls, "tool_calls", ""), d
    assert up.requests[0].json()["tool_choice"] == "auto" and up.requests[0].json()["tools"][0]["function"]["name"] == "now"
    turn = [*HELLO["messages"], {"role": "assistant", "content": None, "tool_calls": calls},
            {"role": "tool", "tool_call_id": "call_1", "content": "noon"}]
    data(gw.post(CHAT, {"messages": turn, "tools": tools}))
    assert up.requests[1].json()["messages"][2]["tool_call_id"] == "call_1"


def test_another_dialect_and_a_price_that_is_not_known():
    claude = scene.Upstream(lambda a: a.whole(200, {
        "id": "m", "type": "message", "role": "assistant", "model": "c", "content": [{"type": "text", "text": "Bonjour"}],
        "stop_reason": "max_tokens", "stop_sequence": None, "usage": {"input_tokens": 4, "output_tokens": 2}}))
    gw = scene.Gateway({"providers": [claude.provider("claude", kind="anthropic")]})
    d = data(gw.post(CHAT, {**HELLO, "model": "claude/unheard-of", "maxTokens": 2}))
    assert (d["content"], d["finishReason"], d["provider"]) == ("Bonjour", "length", "claude"), d
    assert d["cost"] == {"promptCost": None, "completionCost": None, "totalCost": None, "currency": "USD"}, d
    assert claude.requests[0].json()["max_tokens"] == 2


def test_the_cache():
    (up,), gw = start(cache={"enabled": True})
    for body in (HELLO, {**HELLO, "stream": True}):
        first, again = gw.post(CHAT, body), gw.post(CHAT, body)
        (was, now) = (stream(first)[1], stream(again)[1]) if body.get("stream") else (data(first), data(again))
        assert (was["cached"], now["cached"]) == (False, True) and was["requestId"] != now["requestId"]
        assert now["cost"] == {"promptCost": 0, "completionCost": 0, "totalCost": 0, "currency": "USD"}, now
        for name in ("id", "content", "model", "provider", "usage", "finishReason"):
            assert was[name] == now[name], (name, was, now)
        assert again.headers["x-penstock-cache"] == "hit" and again.headers["x-ratelimit-provider"] == "p0"
    assert len(up.requests) == 2
    # a name for the same is another question
    data(gw.post(CHAT, {**HELLO, "provider": "p0", "model": "gpt-4o-mini"}))
    assert len(up.requests) == 3


def test_rate_headers_are_the_providers():
    import time
    ups, gw = start(2, provider={"limits": {"requests_per_minute": 60, "tokens_per_minute": 100000}},
                    limits={"requests_per_minute": 120}, auth={**KEYS, "default_limits": {"requests_per_minute": 5}})
    ups[0].next(scene.status_script(500))
    for body in (HELLO, {**HELLO, "stream": True}):
        h = gw.post(CHAT, {**body, "provider": "p1"}, headers=TEAM).headers
        assert (h["x-ratelimit-limit"], h["x-ratelimit-provider"]) == ("60", "p1"), h
        assert 0 < int(h["x-ratelimit-reset"]) - time.time() * 1000 < 61000 and int(h["x-ratelimit-remaining"]) < 60, h
    assert h["x-ratelimit-remaining"] == "58" and h["x-ratelimit-limit-tokens"] == "100000"
    # of the one that answered, not of the one that was asked
    h = gw.post(CHAT, HELLO, headers=TEAM).headers
    assert (h["x-ratelimit-provider"], h["x-ratelimit-remaining"]) == ("p1", "57"), h


# --- errors ---


def test_bad_requests():
    (up,), gw = start()
    for body, word in (({}, "messages"), ({"messages": "Hi"}, "messages"), ({"messages": []}, "messages"),
                       ({"messages": [7]}, "messages[0]"), ({"messages": [{"role": "user"}]}, "messages[0].content"),
                       ({"messages": [{"content": "Hi"}]}, "messages[0].role"),
                       ({"messages": [{"role": "wizard", "content": "Hi"}]}, "wizard"), ({**HELLO, "model": 7}, "model"),
                       ({**HELLO, "maxTokens": "ten"}, "maxTokens"), ({**HELLO, "maxTokens": 0}, "maxTokens"),
                       ({**HELLO, "maxTokens": -3}, "maxTokens"), ({**HELLO, "maxTokens": 1.5}, "maxTokens"),
                       ({**HELLO, "temperature": "hot"}, "temperature"), ({**HELLO, "temperature": 3}, "temperature"),
                       ({**HELLO, "stream": "yes"}, "stream"), ({**HELLO, "provider": 7}, "provider"),
                       ({**HELLO, "provider": ""}, "provider"), ({**HELLO, "n": 2}, "n"),
                       ({**HELLO, "provider": "nobody"}, "nobody"), ({**HELLO, "whatIsThis": 1}, "whatIsThis")):
        assert word in error(gw.post(CHAT, body), 400, "invalid_request_error")["message"], (body, word)
    for text in ("", "{", "[]", '"x"', '{"messages":[],"messages":[]}', '{"messages":[{"role":"user","content":"a"}],}'):
        error(gw.post(CHAT, text), 400, "invalid_request_error")
    assert not up.requests


def test_errors_of_all_kinds():
    (up,), gw = start(limits={"max_request_body": "4KiB"})
    for status, body, got, kind in (
            (400, {"error": {"message": "This model's maximum context length is 8192 tokens", "code": "context_length_exceeded"}},
             400, "context_length_error"),
            (400, {"error": {"message": "no", "type": "invalid_request_error"}}, 400, "invalid_request_error"),
            (404, {"error": {"message": "no model", "code": "model_not_found"}}, 404, "model_not_found"),
            (429, None, 429, "rate_limit_error"), (500, None, 500, "service_unavailable"),
            (503, None, 503, "service_unavailable")):
        up.next(scene.status_script(status, body))
        error(gw.post(CHAT, HELLO), got, kind, "p0")
    up.next(lambda a: (a.raw("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{"), a.close()))
    error(gw.post(CHAT, HELLO), 502, "service_unavailable", "p0")
    error(gw.post(CHAT, {"messages": [{"role": "user", "content": "x" * 5000}]}), 413, "invalid_request_error")
    # below the base path all have this shape
    for method, path, status in (("GET", CHAT, 405), ("POST", BASE + "/nothing", 404), ("GET", BASE, 404),
                                 ("GET", BASE + "/chat/completions/", 404), ("DELETE", CHAT, 405)):
        error(gw.request(method, path), status, "invalid_request_error")
    assert gw.get(CHAT).headers["allow"] == "POST"
    assert "error" in gw.get("/api/v1/llmx").json() and "success" not in gw.get("/api/v1/llmx").json()
    # what the parser refuses, too
    c = gw.client()
    c.send(f"POST {CHAT} HTTP/1.1\r\nHost: a\r\nContent-Length: 5x\r\n\r\n")
    error(c.response(), 400, "invalid_request_error")


def test_who_failed_is_who_was_asked():
    (one, two), gw = start(2)
    one.default, two.default = scene.chat_script(), scene.status_script(429)
    error(gw.post(CHAT, {**HELLO, "provider": "p1", "routing": {"exclude_providers": ["p0"]}}), 429, "rate_limit_error", "p1")
    one.default = scene.status_script(500)  # and the other one's key rests
    r = gw.post(CHAT, HELLO)
    error(r, 500, "service_unavailable", "p0")
    assert (r.headers["x-penstock-provider"], r.headers["x-ratelimit-provider"], r.headers["x-penstock-attempts"]) == ("p0", "p0", "1"), r.headers


def test_a_time_that_is_over():
    (up,), gw = start(provider={"timeouts": {"first_byte": "200ms"}})
    up.next(lambda a: a.until_closed())
    error(gw.post(CHAT, HELLO), 504, "timeout_error", "p0")


def test_limits():
    _, gw = start(auth={**KEYS, "default_limits": {"requests_per_minute": 1}})
    data(gw.post(CHAT, HELLO, headers=TEAM))
    r = gw.post(CHAT, HELLO, headers=TEAM)
    error(r, 429, "rate_limit_error")
    assert int(r.headers["retry-after"]) > 0 and r.headers["x-ratelimit-remaining"] == "0"
    # a provider's, where there is no other
    (up,), gw = start(provider={"limits": {"requests_per_minute": 1}}, limits={"requests_per_minute": 100})
    data(gw.post(CHAT, HELLO))
    for body in (HELLO, {**HELLO, "stream": True}):
        r = gw.post(CHAT, body)
        error(r, 429, "rate_limit_error", "p0")
        assert int(r.headers["retry-after"]) > 0, r.headers
        assert (r.headers["x-ratelimit-limit"], r.headers["x-ratelimit-remaining"], r.headers["x-ratelimit-provider"]) == ("1", "0", "p0")
    assert len(up.requests) == 1


def test_keys_and_tokens():
    _, gw = start(auth={**KEYS, "mode": "keys+jwt", "jwt": {"secret": {"value": tokens.SECRET}},
                        "open_surfaces": ["native", "s0", "s2", "s4"]})
    error(gw.post(CHAT, HELLO), 401, "authentication_error")
    error(gw.post(CHAT, HELLO, headers={"authorization": "Bearer wrong"}), 401, "authentication_error")
    error(gw.post(CHAT, HELLO, headers=tokens.bearer(tokens.token(exp=-600))), 401, "authentication_error")
    error(gw.post(CHAT, HELLO, headers=tokens.bearer(tokens.token(secret="another" * 8))), 401, "authentication_error")
    assert data(gw.post(CHAT, HELLO, headers=TEAM))["content"] and data(gw.post(CHAT, HELLO, headers=tokens.bearer(tokens.token())))
    assert gw.post("/v1/chat/completions", HELLO).status == 200, "others need none"


# --- what it tells of itself ---


def test_who_may():
    _, gw = start(auth={**KEYS, "mode": "keys+jwt", "jwt": {"secret": {"value": tokens.SECRET}}})
    user, admin = tokens.bearer(tokens.token(role="user")), tokens.bearer(tokens.token(role="admin"))
    for method, path, needs_admin in (("GET", "/health", False), ("GET", "/status", False), ("GET", "/metrics", False),
                                      ("POST", "/cache/clear", True), ("POST", "/test", True), ("GET", "/logs", True)):
        body = {} if method == "POST" else None
        error(gw.request(method, BASE + path, body), 401, "authentication_error")
        for who in (user, TEAM):
            r = gw.request(method, BASE + path, body, headers=who)
            error(r, 403, "permission_error") if needs_admin else data(r)
        for who in (admin, BOSS):
            data(gw.request(method, BASE + path, body, headers=who))


def test_status():
    _, gw = start(2, cache={"enabled": True}, limits={"requests_per_minute": 100}, routing={"fallback": False})
    d = scene.wait_for(lambda: (lambda d: d["workers"] == 4 and d)(data(gw.get(BASE + "/status"))), "all workers to be ready")
    assert d["version"] and d["uptime"] >= 0 and d["workers"] == 4 and d["providers"] == ["p0", "p1"], d
    assert d["features"] == {"failover": False, "caching": True, "semanticCaching": False, "rateLimiting": True,
                             "authentication": False, "streaming": True, "alerts": False}, d


def test_health():
    ups, gw = start(2, provider={"breaker": {"consecutive_failures": 2}}, routing={"fallback": False})
    assert data(gw.get(BASE + "/health")) == {"overall": "healthy", "providers": {
        n: {"status": "healthy", "latency": 0, "successRate": 1, "errorRate": 0} for n in ("p0", "p1")}}
    ups[1].default = scene.status_script(500)
    data(gw.post(CHAT, HELLO))
    for _ in range(2):
        error(gw.post(CHAT, {**HELLO, "provider": "p1"}), 500, "service_unavailable", "p1")
    d = data(gw.get(BASE + "/health"))
    assert d["overall"] == "degraded" and d["providers"]["p0"]["status"] == "healthy", d
    assert d["providers"]["p1"] == {"status": "unhealthy", "latency": 0, "successRate": 0, "errorRate": 1}, d
    assert d["providers"]["p0"]["latency"] > 0


def test_metrics():
    import threading
    ups, gw = start(2, cache={"enabled": True}, routing={"fallback": False})
    wait = threading.Event()
    for i in range(8):
        data(gw.post(CHAT, {"messages": [{"role": "user", "content": str(i)}]}))
    for i in range(3):
        data(gw.post(CHAT, {**HELLO, "provider": "p1", "model": f"gpt-4{'o-mini' if i else ''}"}))
    ups[1].next(lambda a: (wait.wait(0.3), a.whole(200, scene.chat_reply())), scene.status_script(500))
    data(gw.post(CHAT, {**HELLO, "provider": "p1", "model": "slow"}))
    error(gw.post(CHAT, {**HELLO, "provider": "p1", "model": "bad"}), 500, "service_unavailable", "p1")
    error(gw.post(CHAT, {}), 400, "invalid_request_error")
    assert gw.chat("p0/gpt-4o").status == 200, "other clients' requests count as well"
    d = scene.wait_for(lambda: (d := data(gw.get(BASE + "/metrics")))["gateway"]["totalRequests"] == 15 and d)
    g, p = d["gateway"], d["performance"]
    assert (g["successfulRequests"], g["failedRequests"]) == (13, 2) and g["uptime"] >= 0, g
    assert g["totalCost"] == 0.00082035, g  # 9 of gpt-4o, gpt-4, gpt-4o-mini once; then it came from the cache
    assert 300 / 13 <= g["averageLatency"] < 300, g
    assert (p["provider"], p["totalRequests"], p["totalCost"]) == ("all", 15, g["totalCost"]), p
    assert 250 < p["p95Latency"] < 2000 and p["averageLatency"] == g["averageLatency"], p
    assert p["topModels"][0]["model"] == "gpt-4o" and p["topModels"][0]["count"] == 9 and len(p["topModels"]) == 4, p
    # one provider; the answer from the cache is not its time
    d = data(gw.get(BASE + "/metrics?provider=P1&period=week"))
    p = d["performance"]
    assert d["gateway"]["totalRequests"] == 15 and p["provider"] == "p1" and p["totalRequests"] == 4, d
    assert {m["model"]: m["count"] for m in p["topModels"]} == {"gpt-4": 1, "gpt-4o-mini": 2, "slow": 1}, p
    assert {m["model"]: m["avgLatency"] >= 290 for m in p["topModels"]}["slow"] and p["p95Latency"] > 200, p
    # all workers say the same, and so do they after a restart
    want = {k: v for k, v in d["gateway"].items() if k != "uptime"}
    gw.stop()
    gw.start()
    for period in ("hour", "day", "week", "month", "WEEK"):
        got = scene.wait_for(lambda: (d := data(gw.get(BASE + f"/metrics?provider=p1&period={period}")))["gateway"]["totalRequests"] and d)
        assert {k: v for k, v in got["gateway"].items() if k != "uptime"} == want and got["performance"] == p, (period, got)
    for query in ("period=year", "period=", "provider=nobody", "perod=day", "period=day&period=week", "provider=%zz"):
        error(gw.get(BASE + "/metrics?" + query), 400, "invalid_request_error")


def test_metrics_of_nothing():
    _, gw = start()
    d = data(gw.get(BASE + "/metrics?provider=all"))
    assert d["gateway"]["totalRequests"] == 0 and d["performance"] == {
        "provider": "all", "totalRequests": 0, "averageLatency": 0, "p95Latency": 0, "totalCost": 0, "topModels": []}, d


def test_metrics_over_a_kill_of_the_scribe():
    import os
    import signal
    _, gw = start()
    for i in range(20):
        data(gw.post(CHAT, {"messages": [{"role": "user", "content": str(i)}]}))
        if i % 5 == 4:
            os.kill(scene.wait_for(gw.scribe).pid, signal.SIGKILL)
    scene.wait_for(lambda: data(gw.get(BASE + "/metrics"))["gateway"]["totalRequests"] == 20)
    assert data(gw.get(BASE + "/metrics"))["performance"]["topModels"][0]["count"] == 20


def test_clearing_the_cache():
    (up,), gw = start(cache={"enabled": True})
    for i in range(3):
        data(gw.post(CHAT, {"messages": [{"role": "user", "content": str(i)}]}))
    assert data(gw.post(BASE + "/cache/clear")) == {"cleared": 3}
    assert data(gw.post(BASE + "/cache/clear", {})) == {"cleared": 0}
    assert not data(gw.post(CHAT, {"messages": [{"role": "user", "content": "0"}]}))["cached"]
    error(gw.post(BASE + "/cache/clear", {"model": "x"}), 400, "invalid_request_error")
    error(gw.post(BASE + "/cache/clear", "[1]"), 400, "invalid_request_error")


def test_the_test():
    ups, gw = start(4, cache={"enabled": True}, auth=KEYS,
                    models=[{"name": "gpt-4o", "targets": [{"provider": f"p{i}", "model": f"m{i}"} for i in range(4)]}])
    gw.reconfigure({"providers": [*gw.conf["providers"], ups[0].provider("off", enabled=False)]})
    gw.run("-s", "reload")
    scene.wait_for(lambda: gw.workers(generation=2) and not gw.workers(generation=1))
    ups[1].default = scene.status_script(401)
    ups[2].default = lambda a: (a.raw("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"), a.close())
    first = data(gw.post(BASE + "/test", headers={**BOSS, "x-request-id": "t-1"}))["results"]
    assert [(r["provider"], r["ok"]) for r in first] == [("p0", True), ("p1", False), ("p2", False), ("p3", True)], first
    assert first[0]["model"] == "m0" and "error" not in first[0] and all(r["latency"] >= 0 for r in first)
    assert first[1]["error"] and first[2]["error"] and "model" not in first[1]
    # each got one real message of its own, and nothing of the others'
    assert [len(u.requests) for u in ups] == [1, 1, 1, 1], [len(u.requests) for u in ups]
    assert ups[3].requests[0].json()["model"] == "m3" and ups[3].requests[0].json()["messages"][0]["role"] == "user"
    # on the account of who asked, never from the cache
    data(gw.post(BASE + "/test", {"provider": "P3"}, headers=BOSS))
    assert len(ups[3].requests) == 2
    rows = records(gw, 5)
    assert {(r["surface"], r["key"]) for r in rows} == {("s1_test", "boss")}, rows
    assert sorted(r["status"] for r in rows) == [200, 200, 200, 502, 502], rows
    r = scene.wait_for(lambda: (u := gw.admin("/usage?group_by=provider", headers=BOSS).json()["total"])["requests"] == 5 and u)
    assert r["input_tokens"] == 21 and r["errors"] == 2, r
    assert data(gw.post(BASE + "/test", {"provider": "off"}, headers=BOSS))["results"] == [
        {"provider": "off", "ok": False, "latency": 0, "error": "The provider is disabled."}]
    for body in ({"provider": "nobody"}, {"provider": 7}, {"who": "p0"}, [], "x"):
        error(gw.post(BASE + "/test", body, headers=BOSS), 400, "invalid_request_error")


def test_a_test_asks_whatever_the_breaker_says():
    (up,), gw = start(provider={"breaker": {"consecutive_failures": 2, "open_for": "5m", "max_open_for": "5m"},
                                "health_check": {"every": "0s"}})
    up.default = scene.status_script(500)
    for _ in range(2):
        error(gw.post(CHAT, HELLO), 500, "service_unavailable", "p0")
    assert [r["ok"] for r in data(gw.post(BASE + "/test"))["results"]] == [False] and len(up.requests) == 3
    up.default = scene.chat_script()
    assert [r["ok"] for r in data(gw.post(BASE + "/test"))["results"]] == [True]
    error(gw.post(CHAT, HELLO), 503, "service_unavailable")
    assert len(up.requests) == 4, "others wait for the breaker"


def test_who_leaves_a_test_cancels_it():
    ups, gw = start(3)
    for u in ups:
        u.default = lambda a: a.until_closed()
    ups[0].default = scene.chat_script()
    c = gw.client()
    c.request("POST", BASE + "/test", {})
    for u in ups:
        u.wait_requests(1)
    c.close()
    for u in ups[1:]:
        assert u.requests[0].closed.wait(10)
    rows = records(gw, 3)
    assert sorted(r["status"] for r in rows) == [200, 499, 499], rows
    # the worker lives on, and so does one that is told to end meanwhile
    c = gw.client()
    c.request("POST", BASE + "/test", {"provider": "p1"})
    ups[1].wait_requests(2)
    gw.conf["providers"][1]["timeouts"] = {"total": "5m"}
    gw.stop()


def test_logs_are_in_order_though_workers_write_at_a_time():
    import concurrent.futures
    _, gw = start()
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda i: gw.post(CHAT, HELLO if i % 2 else {}), range(100)))

    def page():
        return data(gw.get(BASE + "/logs?limit=1000"))["logs"]
    scene.wait_for(lambda: gw.get(BASE + "/logs").status == 200 and len(page()) == 200)
    times = [r["time"] for r in page()]
    assert times == sorted(times, reverse=True), times


def test_logs():
    (up,), gw = start(auth=KEYS, provider={"limits": {"concurrent": 50}})

    def logs(query=""):
        return data(gw.get(BASE + "/logs" + query, headers=BOSS))
    for i in range(5):
        data(gw.post(CHAT, {"messages": [{"role": "user", "content": f"number {i}"}]}, headers={**TEAM, "x-request-id": f"r{i}"}))
        # pages are cut where different workers' records lie, which may be a moment off: one by one
        scene.wait_for(lambda: gw.get(BASE + "/logs", headers=BOSS).status == 200 and f'"r{i}"' in str(logs()).replace("'", '"'))
    error(gw.post(CHAT, {}, headers={**TEAM, "x-request-id": "bad"}), 400, "invalid_request_error")
    d = scene.wait_for(lambda: (d := logs("?limit=1000")) and len(d["logs"]) == 12 and d)
    times = [r["time"] for r in d["logs"]]
    assert d["hasMore"] is False and d["nextCursor"] is None and {r["event"] for r in d["logs"]} == {"request", "response", "error"}
    one = [r for r in d["logs"] if r["event"] == "response" and r["requestId"] == "r3"][0]
    assert one["costUsd"] == 0.0000475 and one["inputTokens"] == 7 and one["attempts"][0]["provider"] == "p0", one
    assert not [k for r in d["logs"] for k in r if "_" in k]
    assert times == sorted(times, reverse=True), times
    assert [r["requestId"] for r in logs("?type=response")["logs"]] == ["r4", "r3", "r2", "r1", "r0"], "newest first"
    assert [r["requestId"] for r in logs("?type=error")["logs"]] == ["bad"]
    # pages
    got, cursor = [], ""
    while True:
        page = logs(f"?type=request&limit=2{cursor}")
        got += [r["requestId"] for r in page["logs"]]
        assert len(page["logs"]) <= 2
        if not page["hasMore"]:
            break
        cursor = "&cursor=" + page["nextCursor"]
    assert got == ["bad", "r4", "r3", "r2", "r1", "r0"], got
    # times
    assert logs("?startTime=2999-01-01")["logs"] == [] and logs("?endTime=2001-01-01T00:00:00Z")["logs"] == []
    day = times[0][:10]
    for query in (f"?startTime={day}&endTime={day}", f"?startTime={day}T00:00:00Z", f"?startTime={day}T00:00:00.000",
                  f"?startTime={day}T02:00:00+02:00", f"?startTime={day}T02:00:00%2B02:00"):
        assert len(logs(query)["logs"]) == 12, query
    for query in ("startTime=yesterday", "endTime=2026-13-01", "startTime=2026-02-30", "startTime=2026-01-02&endTime=2026-01-01",
                  "type=audit", "type=", "limit=0", "limit=1001", "limit=x", "cursor=x", "since=1"):
        error(gw.get(BASE + "/logs?" + query, headers=BOSS), 400, "invalid_request_error")


# --- its own configuration ---


def test_the_example_and_the_environment_alone():
    anthropic = {"id": "m", "type": "message", "role": "assistant", "model": "c", "content": [{"type": "text", "text": "Bonjour"}],
                 "stop_reason": "end_turn", "stop_sequence": None, "usage": {"input_tokens": 4, "output_tokens": 2}}
    for example in (os.path.join(EXAMPLES, "s1.yaml"), None):
        openai, claude = scene.Upstream(), scene.Upstream(lambda a: a.whole(200, anthropic))
        env = {"OPENAI_API_KEY": "k", "OPENAI_BASE_URL": openai.url + "/v1", "ANTHROPIC_API_KEY": "k",
               "ANTHROPIC_BASE_URL": claude.url, "JWT_SECRET": tokens.SECRET, "PRIMARY_LLM_PROVIDER": "claude",
               "ENABLE_LLM_FAILOVER": "true", "ENABLE_LLM_CACHING": "true", "CACHE_TTL": "600"}
        if not example:
            env.update({"RATE_LIMIT_REQUESTS_PER_MINUTE": "120", "MAX_RETRIES": "0"})
        gw = scene.by_environment(env, example)
        done = gw.run("-t")
        assert done.returncode == 0 and "not used" not in done.stderr, done
        said = gw.run("-T").stdout.replace('"', "")
        for text in ("ttl: 10m", "default_provider: anthropic", "fallback: true") + ((
                     "requests_per_minute: 120", "tokens_per_minute: 200000", "requests_per_minute: 60", "tokens_per_minute: 100000",
                     "every: 30s", "error_rate: 0.1", "latency: 5s", "cost_per_hour: 100", "retention: 30d") if example else ()):
            assert text in said, (text, said)
        gw.start()
        user, admin = tokens.bearer(tokens.token(sub="u")), tokens.bearer(tokens.token(sub="a", role="admin"))
        error(gw.post(CHAT, HELLO), 401, "authentication_error")
        r = gw.post(CHAT, HELLO, headers=user)
        assert data(r)["provider"] == "anthropic" and data(r)["content"] == "Bonjour", r
        assert r.headers["x-ratelimit-provider"] == "anthropic" and r.headers.get("x-ratelimit-limit") == ("60" if example else "120")
        # failover
        claude.next(scene.status_script(401))
        d = data(gw.post(CHAT, {"messages": [{"role": "user", "content": "Again"}], "maxTokens": 50}, headers=user))
        assert d["provider"] == "openai" and d["model"].startswith("gpt-"), d
        error(gw.get(BASE + "/logs", headers=user), 403, "permission_error")
        assert data(gw.get(BASE + "/status", headers=user))["features"]["failover"] is True
        assert {r["provider"] for r in data(gw.post(BASE + "/test", headers=admin))["results"]} == {"openai", "anthropic"}


if __name__ == "__main__":
    scene.main()
