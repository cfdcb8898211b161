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
                       ({"messages": [7]}, "messages[0]"), ({"messages": [{"content": "Hi"}]}, "messages[0].role"),
                       ({"messages": [{"role": "wizard", "content": "Hi"}]}, "wizard"), ({**HELLO, "model": 7}, "model"),
                       ({**HELLO, "maxTokens": "ten"}, "maxTokens"), ({**HELLO, "maxTokens": 0}, "maxTokens"),
                       ({**HELLO, "maxTokens": -3}, "maxTokens"), ({**HELLO, "maxTokens": 1.5}, "maxTokens"),
                       ({**HELLO, "temperature": "hot"}, "temperature"), ({**HELLO, "temperature": 3}, "temperature"),
                       ({**HELLO, "stream": "yes"}, "stream"), ({**HELLO, "provider": 7}, "provider"),
                       ({**HELLO, "provider": ""}, "provider"), ({**HELLO, "n": 2}, "n"),
                       ({**HELLO, "provider": "nobody"}, "nobody"), ({**HELLO, "whatIsThis": 1}, "what_is_this")):
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


def test_keys_and_tokens():
    _, gw = start(auth={**KEYS, "mode": "keys+jwt", "jwt": {"secret": {"value": tokens.SECRET}},
                        "open_surfaces": ["native", "s0", "s2", "s4"]})
    error(gw.post(CHAT, HELLO), 401, "authentication_error")
    error(gw.post(CHAT, HELLO, headers={"authorization": "Bearer wrong"}), 401, "authentication_error")
    error(gw.post(CHAT, HELLO, headers=tokens.bearer(tokens.token(exp=-600))), 401, "authentication_error")
    error(gw.post(CHAT, HELLO, headers=tokens.bearer(tokens.token(secret="another" * 8))), 401, "authentication_error")
    assert data(gw.post(CHAT, HELLO, headers=TEAM))["content"] and data(gw.post(CHAT, HELLO, headers=tokens.bearer(tokens.token())))
    assert gw.post("/v1/chat/completions", HELLO).status == 200, "others need none"


if __name__ == "__main__":
    scene.main()
