"""One call from start to end: bytes that pass untouched, streams, clients that leave or are slow, and all that a
provider can do wrong."""

import json
import os
import signal
import threading
import time

import scene

ODD = ('{"model" : "up/m",\n  "messages":[{"role":"user","content":"caf\u00e9 \\u00e9 \\/ \\ud83d\\ude00"}], "seed":'
       '12345678901234567890123, "temperature": 0.10, "x_unknown": {"b":1,"a":[1.0,2e3]}, "stop":null }').encode()


def gateway(up, workers=1, **provider):
    row = up.provider("up", **{"retry": {"max": 0}, **provider})
    return scene.Gateway({"providers": [row]}, workers=workers)


def test_same_dialect_passes_byte_for_byte():
    odd_answer = (b'{ "id":"x1","object":"chat.completion","created":1.7e9 ,"model":"m","choices":[{"index":0,"message":'
                  b'{"role":"assistant","content":"\\u00e9 \\/ \xc3\xa9","zz":null},"finish_reason":"stop"}],"usage":'
                  b'{"prompt_tokens":7,"completion_tokens":3,"total_tokens":10},"x_extra":123456789012345678901}\n')
    up = scene.Upstream(lambda a: a.whole(200, odd_answer))
    gw = gateway(up)
    r = gw.post("/v1/chat/completions", ODD)
    assert r.status == 200 and r.body == odd_answer
    assert up.requests[0].body == ODD.replace(b'"up/m"', b'"m"')
    assert up.requests[0].headers["authorization"] == "Bearer up-key"
    assert up.requests[0].path == "/v1/chat/completions"


def test_stream_passes_frame_by_frame_as_it_comes():
    steps = [threading.Event() for _ in range(3)]
    frames = [": hello\n\n", 'data: {"id":"a","choices":[{"index":0,"delta":{"role":"assistant","content":"\u00e9"}}]}\n\n',
              'data:{"id":"a",  "choices":[{"delta":{"content":"b"},"index":0,"finish_reason":"stop"}]}\r\n\r\n',
              "data: [DONE]\n\n"]

    def script(a):
        a.sse()
        a.chunk(frames[0])
        a.chunk(frames[1])
        a.wait(steps[0])
        a.chunk(frames[2][:9])
        a.chunk(frames[2][9:])
        a.wait(steps[1])
        a.chunk(frames[3])
        a.end()
    up = scene.Upstream(script)
    gw = gateway(up)
    c = gw.client()
    c.request("POST", "/v1/chat/completions", {"model": "up/m", "stream": True, "stream_options": {"include_usage": True},
                                               "messages": [{"role": "user", "content": "x"}]})
    status, headers = c.response_head()
    assert status == 200 and headers["content-type"].startswith("text/event-stream")
    assert headers["cache-control"] == "no-cache" and headers["x-accel-buffering"] == "no"
    got = b""
    while len(got) < len((frames[0] + frames[1]).encode()):
        got += c.chunk()
    assert got == (frames[0] + frames[1]).encode()
    steps[0].set()
    got = b""
    while len(got) < len(frames[2].encode()):
        got += c.chunk()
    assert got == frames[2].encode()
    steps[1].set()
    got = b""
    while piece := c.chunk():
        got += piece
    assert got == frames[3].encode()


def test_usage_is_asked_for_and_hidden_from_who_did_not_ask():
    up = scene.Upstream()
    gw = gateway(up)
    r = gw.chat(stream=True)
    assert up.requests[0].json()["stream_options"]["include_usage"] is True
    assert all(json.loads(d)["choices"] for _, d in r.events() if d != "[DONE]"), r.text
    assert r.events()[-1][1] == "[DONE]"
    row = gw.wait_log(r.headers["x-request-id"], "response")[0]
    assert (row["input_tokens"], row["output_tokens"]) == (7, 3)
    r = gw.chat(stream=True, stream_options={"include_usage": True})
    assert any(not json.loads(d)["choices"] for _, d in r.events() if d != "[DONE]")


def test_client_gone_cancels_the_call_at_any_phase():
    phases = {}

    def before_head(a):
        phases["head"] = a.request
        a.until_closed()

    def midway(a):
        phases["stream"] = a.request
        a.sse()
        a.event(scene.chat_chunk("first"))
        a.until_closed()
    up = scene.Upstream()
    gw = gateway(up)
    for name, script, stream in (("head", before_head, False), ("head", before_head, True), ("stream", midway, True)):
        up.next(script)
        n = len(up.requests)
        c = gw.client()
        c.request("POST", "/v1/chat/completions",
                  {"model": "up/m", "stream": stream, "messages": [{"role": "user", "content": "x"}]})
        scene.wait_for(lambda: len(up.requests) > n, "the call")
        if name == "stream":
            c.response_head()
            c.event()
        gone = time.monotonic()
        c.close()
        q = up.requests[-1]
        assert q.closed.wait(10), f"{name}: the call goes on"
        assert (q.closed_at or time.monotonic()) - gone < 3
    rows = scene.wait_for(lambda: len(r := [x for x in gw.log("error") if x["status"] == 499]) == 3 and r, "3 records")
    assert all(x["fault"] == "cancelled" for x in rows)
    m = gw.metrics()
    assert m["penstock_client_gone_total"] == 3 and m["penstock_in_flight"] == 0
    assert gw.chat().status == 200


def sanitized(pid):
    """AddressSanitizer keeps what is freed."""
    with open(f"/proc/{pid}/maps") as f:
        return "asan" in f.read()


def rss(pid):
    with open(f"/proc/{pid}/statm") as f:
        return int(f.read().split()[1]) * os.sysconf("SC_PAGESIZE")


def test_slow_reader_pauses_the_provider_with_bounded_memory():
    sent = {"n": 0}
    text = "x" * 1000

    def script(a):
        a.sse()
        a.wire.sock.settimeout(60)
        for _ in range(30000):  # 30 MB
            a.event(scene.chat_chunk(text))
            sent["n"] += 1
        a.event(scene.chat_chunk(finish="stop"))
        a.event("[DONE]")
        a.end()
    up = scene.Upstream(script)
    gw = gateway(up)
    pid = gw.worker_pids()[0]
    c = gw.chat_stream()
    c.sock.settimeout(60)
    c.event()
    before = rss(pid)
    last = -1
    while sent["n"] != last:  # until it stands still
        last = sent["n"]
        time.sleep(0.5)
    assert sent["n"] < 25000, "the provider was never paused"
    assert sanitized(pid) or rss(pid) - before < 4 << 20, f"{(rss(pid) - before) >> 10} KiB more"
    assert gw.chat_stream().status == 200  # others go on
    n = 1
    while (e := c.event()) and e[1] != "[DONE]":
        n += 1
    assert n == 30001 and e, n
    assert sanitized(pid) or rss(pid) - before < 8 << 20


test_slow_reader_pauses_the_provider_with_bounded_memory.seconds = 120


def test_a_stream_that_breaks_midway_ends_with_an_error_event():
    def cut(how):
        def script(a):
            a.sse()
            a.event(scene.chat_chunk("first"))
            a.event(scene.chat_chunk("second"))
            how(a)
        return script
    up = scene.Upstream()
    gw = gateway(up, breaker={"consecutive_failures": 1000, "min_requests": 100000}, timeouts={"idle": "500ms"})
    for name, how in {
        "reset": lambda a: a.reset(),
        "closed": lambda a: a.close(),
        "clean end without [DONE]": lambda a: a.end(),
        "stall": lambda a: a.until_closed(),
        "error event": lambda a: (a.event({"error": {"message": "boom", "type": "server_error"}}), a.end()),
        "garbage": lambda a: (a.raw(b"zz\r\nnot a chunk"), a.close()),
    }.items():
        up.next(cut(how))
        r = gw.chat(stream=True)
        assert r.status == 200, name
        events = [d for _, d in r.events()]
        assert "first" in events[0] and "second" in events[1], (name, events)
        assert "error" in json.loads(events[-1]), (name, events)
        assert "[DONE]" not in events, name
        row = gw.wait_log(r.headers["x-request-id"], "error")[0]
        assert row["complete"] is False and row["output_tokens"] > 0 and row["status"] in (200, 502, 504), (name, row)


def test_an_error_before_the_first_output_fails_over():
    good = scene.Upstream()
    bad = scene.Upstream()
    gw = scene.Gateway({
        "providers": [bad.provider("bad", retry={"max": 0}, breaker={"consecutive_failures": 1000, "min_requests": 100000},
                                   timeouts={"first_byte": "700ms"}), good.provider("good")],
        "models": [{"name": "m", "targets": [{"provider": "bad", "model": "a"}, {"provider": "good", "model": "b"}]}]})
    role = {"id": "x", "choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}]}
    for name, script in {
        "error inside a 200": lambda a: (a.sse(), a.event(role), a.event({"error": {"message": "boom"}}), a.end()),
        "nothing": lambda a: (a.sse(), a.end()),
        "only [DONE]": lambda a: (a.sse(), a.event("[DONE]"), a.end()),
        "comments for ever": lambda a: (a.sse(), [(a.chunk(": wait\n\n"), time.sleep(0.05), a.check()) for _ in range(600)]),
        "json instead": lambda a: a.whole(200, {"error": {"message": "no", "code": 502}}),
        "html": lambda a: a.whole(200, "<html>busy</html>", {"Content-Type": "text/html"}),
        "reset": lambda a: (a.sse(), a.event(role), a.reset()),
    }.items():
        bad.next(script)
        r = gw.chat("m", stream=True)
        assert r.status == 200 and r.headers["x-penstock-provider"] == "good", (name, r)
        assert r.events()[-1][1] == "[DONE]", name


def test_what_a_provider_can_do_wrong():
    up = scene.Upstream()
    gw = gateway(up, breaker={"consecutive_failures": 1000, "min_requests": 100000},
                 timeouts={"first_byte": "500ms", "idle": "500ms", "total": "5s"})
    gw_small = scene.Gateway({"providers": [up.provider("up", retry={"max": 0})], "limits": {"max_response_body": "64KiB"}})

    def many_headers(a):
        for i in range(20000):
            a.raw(f"X-{i}: {'y' * 100}\r\n")
    cases = {
        "reset": (lambda a: a.reset(), 502),
        "closed": (lambda a: a.close(), 502),
        "garbage": (lambda a: (a.raw(b"\x00\x01garbage\r\n\r\n"), a.close()), 502),
        "html 502": (lambda a: a.whole(502, "<html><body>Bad gateway</body></html>", {"Content-Type": "text/html"}), 502),
        "empty 200": (lambda a: a.whole(200, ""), 502),
        "invalid json": (lambda a: a.whole(200, '{"choices": ['), 502),
        "a list": (lambda a: a.whole(200, "[]"), 502),
        "no choices": (lambda a: a.whole(200, '{"id":"x"}'), 502),
        "error in 200": (lambda a: a.whole(200, {"error": {"message": "inner", "code": 429}}), None),
        "endless headers": (lambda a: (a.raw(b"HTTP/1.1 200 OK\r\n"), many_headers(a)), 502),
        "content-length too long": (lambda a: (a.raw(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{}"), a.close()), 502),
        "content-length wrong": (lambda a: (a.raw(b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n{}"), a.close()), 502),
        "stall before the head": (lambda a: a.until_closed(), 504),
        "stall after the head": (lambda a: (a.head(200, {"Content-Type": "application/json"}), a.until_closed()), 504),
        "stall in the body": (lambda a: (a.head(200, {}, 100), a.raw(b'{"id":'), a.until_closed()), 504),
        "redirect": (lambda a: a.whole(302, "", {"Location": "http://127.0.0.1:1/"}), 502),
        "204": (lambda a: a.raw(b"HTTP/1.1 204 No Content\r\n\r\n"), 502),
    }
    for name, (script, status) in cases.items():
        up.next(script)
        begin = time.monotonic()
        r = gw.chat()
        assert time.monotonic() - begin < 10, name
        assert status is None or r.status == status, (name, r)
        assert r.status >= 400 and r.json()["error"]["message"], (name, r)
        assert "<html" not in r.text
        row = gw.wait_log(r.headers["x-request-id"], "error")[0]
        assert row["status"] == r.status and len(row["attempts"]) == 1, (name, row)
    up.next(lambda a: a.whole(200, scene.chat_reply(text="y" * 100000)))
    r = gw_small.chat()
    assert r.status == 502 and "larger" in r.json()["error"]["message"], r
    assert gw.chat().status == 200 and gw_small.chat().status == 200


test_what_a_provider_can_do_wrong.seconds = 120


def test_streams_that_a_stop_cuts_end_with_an_error_event():
    up = scene.Upstream(lambda a: (a.sse(), a.event(scene.chat_chunk("first")), a.until_closed()))
    row = up.provider("up", retry={"max": 0})
    gw = scene.Gateway({"providers": [row], "stop_timeout": "300ms"}, workers=2)
    streams = [gw.chat_stream() for _ in range(4)]
    for c in streams:
        assert "first" in c.event()[1]
    gw.signal(signal.SIGTERM)
    for c in streams:
        assert "error" in json.loads(c.event()[1]) and c.event() is None
    assert gw.wait_exit() == 0
    rows = [r for r in gw.log("error") if r["fault"] == "overloaded"]
    assert len(rows) == 4 and all(r["status"] == 200 and not r["complete"] for r in rows), gw.log("error")


def test_refused_and_unknown_hosts():
    port = scene.free_port()
    gw = scene.Gateway({"providers": [
        {"name": "refused", "kind": "openai_compatible", "base_url": f"http://127.0.0.1:{port}/v1",
         "keys": [{"value": "k"}], "retry": {"max": 0}},
        {"name": "unknown", "kind": "openai_compatible", "base_url": "http://no-such-host.invalid/v1",
         "keys": [{"value": "k"}], "retry": {"max": 0}},
        {"name": "nottls", "kind": "openai_compatible", "base_url": f"https://127.0.0.1:{scene.Upstream().port}/v1",
         "keys": [{"value": "k"}], "retry": {"max": 0}, "timeouts": {"connect": "700ms"}}]})
    for name in ("refused", "unknown", "nottls"):
        r = gw.chat(f"{name}/m")
        assert r.status in (502, 504), (name, r)
        assert "127.0.0.1" not in r.text and "invalid/" not in r.text, r.text


def test_a_providers_error_keeps_its_meaning():
    up = scene.Upstream()
    gw = gateway(up, breaker={"consecutive_failures": 1000, "min_requests": 100000})
    for status, body, want, code in (
        (400, {"error": {"message": "bad thing", "type": "invalid_request_error", "param": "x", "code": "c1"}}, 400, "c1"),
        (400, {"error": {"message": "This model's maximum context length is 5", "code": "context_length_exceeded"}}, 400,
         "context_length_exceeded"),
        (404, {"error": {"message": "no model", "code": "model_not_found"}}, 404, "model_not_found"),
        (429, {"error": {"message": "slow down", "code": "rate_limit_exceeded"}}, 429, "rate_limit_exceeded"),
        (413, {"error": {"message": "too big"}}, 413, None),
        (500, {"error": {"message": "oops"}}, 500, None),
        (503, {"error": {"message": "busy"}}, 503, None),
        (401, {"error": {"message": "key sk-secret is wrong"}}, 502, None),
    ):
        up.next(scene.status_script(status, body))
        for _ in range(1):
            r = gw.chat()
        assert r.status == want, (status, r)
        e = r.json()["error"]
        assert code is None or e["code"] == code, e
        if want != 502:
            assert body["error"]["message"] in e["message"]
        assert "sk-secret" not in r.text


def test_five_megabytes_both_ways():
    big = "z" * (5 << 20)
    up = scene.Upstream(lambda a: a.whole(200, scene.chat_reply(text=a.request.json()["messages"][0]["content"])))
    gw = gateway(up)
    r = gw.chat(text=big, timeout=60)
    assert r.status == 200 and r.json()["choices"][0]["message"]["content"] == big


def test_translation_to_anthropic_whole_and_streamed():
    def script(a):
        assert a.request.path == "/v1/messages" and a.request.headers["x-api-key"] == "up-key"
        assert a.request.headers["anthropic-version"]
        body = a.request.json()
        assert body["system"] and body["max_tokens"] > 0, body
        usage = {"input_tokens": 5, "cache_read_input_tokens": 2, "cache_creation_input_tokens": 0, "output_tokens": 4}
        message = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-x", "stop_reason": "tool_use",
                   "stop_sequence": None, "usage": usage,
                   "content": [{"type": "text", "text": "Let me see."},
                               {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"a": 1}}]}
        if not body.get("stream"):
            a.whole(200, message)
            return
        a.sse()
        ev = lambda name, **d: a.event({"type": name, **d}, name)
        ev("message_start", message={**message, "content": [], "stop_reason": None})
        ev("content_block_start", index=0, content_block={"type": "text", "text": ""})
        ev("ping")
        ev("content_block_delta", index=0, delta={"type": "text_delta", "text": "Let me "})
        ev("content_block_delta", index=0, delta={"type": "text_delta", "text": "see."})
        ev("content_block_stop", index=0)
        ev("content_block_start", index=1, content_block={"type": "tool_use", "id": "toolu_1", "name": "f", "input": {}})
        ev("content_block_delta", index=1, delta={"type": "input_json_delta", "partial_json": '{"a"'})
        ev("content_block_delta", index=1, delta={"type": "input_json_delta", "partial_json": ": 1}"})
        ev("content_block_stop", index=1)
        ev("message_delta", delta={"stop_reason": "tool_use", "stop_sequence": None}, usage={"output_tokens": 4})
        ev("message_stop")
        a.end()
    up = scene.Upstream(script)
    gw = gateway(up, kind="anthropic")
    body = {"model": "up/claude-x", "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "go"}],
            "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}]}
    r = gw.post("/v1/chat/completions", body)
    assert r.status == 200, r
    m = r.json()["choices"][0]
    assert m["message"]["content"] == "Let me see." and m["finish_reason"] == "tool_calls"
    assert m["message"]["tool_calls"][0]["function"] == {"name": "f", "arguments": m["message"]["tool_calls"][0]["function"]["arguments"]}
    assert json.loads(m["message"]["tool_calls"][0]["function"]["arguments"]) == {"a": 1}
    assert r.json()["usage"]["prompt_tokens"] == 7 and r.json()["usage"]["prompt_tokens_details"]["cached_tokens"] == 2
    r = gw.post("/v1/chat/completions", {**body, "stream": True, "stream_options": {"include_usage": True}})
    chunks = [json.loads(d) for _, d in r.events()[:-1]]
    assert r.events()[-1][1] == "[DONE]"
    text = "".join(c["choices"][0]["delta"].get("content") or "" for c in chunks if c["choices"])
    args = "".join(t["function"].get("arguments", "") for c in chunks if c["choices"]
                   for t in c["choices"][0]["delta"].get("tool_calls", []))
    assert text == "Let me see." and json.loads(args) == {"a": 1}
    assert chunks[-1]["usage"]["total_tokens"] == 11 and len({c["id"] for c in chunks}) == 1
    r = gw.post("/v1/chat/completions", {**body, "logit_bias": {"5": 1}})
    assert r.status == 400 and "logit_bias" in r.text, r


def test_every_status_of_every_provider_for_every_client():
    """A 4xx stays one (but for those about our key), a 5xx too, in the client's JSON."""
    errors = {"openai": {"error": {"message": "m", "type": "t", "code": "c"}},
              "anthropic": {"type": "error", "error": {"type": "weird_error", "message": "m"}},
              "gemini": {"error": {"code": 400, "message": "m", "status": "WEIRD"}},
              "cohere": {"message": "m"}, "mistral": {"object": "error", "message": "m", "type": "t"}}
    now = {}
    rows = [scene.Upstream(default=lambda a, k=k: a.whole(now["status"], errors[k]))
            .provider(k, kind=k, retry={"max": 0}, breaker={"consecutive_failures": 0, "min_requests": 1000000}) for k in errors]
    gw = scene.Gateway({"providers": rows}, workers=1)
    ask = {"messages": [{"role": "user", "content": "x"}]}
    clients = {"/v1/chat/completions": ask, "/v1/messages": {"max_tokens": 5, **ask}, "/v1/responses": {"input": "x"},
               "/v1beta/models/{}%2Fm:generateContent": {"contents": [{"role": "user", "parts": [{"text": "x"}]}]}}
    of_our_key = (401, 402, 403, 429)  # it rests after them: the last ones
    for status in [s for s in range(400, 452) if s not in of_our_key] + [499, *range(500, 512), 520, 524, 529, 530, 599]:
        now["status"] = status
        for kind in errors:
            for path, body in clients.items():
                r = gw.post(path.format(kind), {"model": f"{kind}/m", **body})
                assert r.status // 100 == status // 100 and "error" in r.json(), (status, kind, path, r)
    for status in (401, 403):
        now["status"] = status
        for kind in errors:
            for path, body in clients.items():
                r = gw.post(path.format(kind), {"model": f"{kind}/m", **body})
                assert r.status == 502 and "error" in r.json(), (status, kind, path, r)


if __name__ == "__main__":
    scene.main()
