"""Other operations than chat: counts of tokens, embeddings, legacy completions, across dialects; and what of them is
billed."""

import base64
import json
import struct

import scene

CLAUDE = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-x", "stop_reason": "end_turn",
          "content": [{"type": "text", "text": "Hello."}], "usage": {"input_tokens": 7, "output_tokens": 3}}


def start(kind, **more):
    up = scene.Upstream()
    return up, scene.Gateway({"providers": [up.provider("up", kind=kind, retry={"max": 0})], "log": {"level": "info"}, **more},
                             workers=2)


def record(gw, r):
    rid = r.headers["x-request-id"]
    return scene.wait_for(lambda: [x for x in gw.log() if x.get("request_id") == rid and x.get("event") == "response"],
                          "the record")[0]


def test_a_count_by_the_providers_own_counter_costs_nothing():
    up, gw = start("anthropic")
    up.next(lambda a: a.whole(200, {"input_tokens": 4711}))
    r = gw.post("/v1/messages/count_tokens", {"model": "up/claude-sonnet-4-5", "messages": [{"role": "user", "content": "Hi"}]})
    assert r.status == 200 and r.json() == {"input_tokens": 4711}, r
    assert "x-penstock-estimated" not in r.headers
    assert up.requests[0].path == "/v1/messages/count_tokens"
    row = record(gw, r)
    assert row["input_tokens"] == 0 and row["output_tokens"] == 0 and not row.get("cost_usd"), row


def test_a_count_where_there_is_no_counter_is_an_estimate_and_says_so():
    up, gw = start("openai_compatible")
    r = gw.post("/v1/messages/count_tokens", {"model": "up/m", "system": "x" * 4000, "messages": [{"role": "user", "content": "Hi"}]})
    assert r.status == 200 and r.headers["x-penstock-estimated"] == "true", r
    assert 1000 <= r.json()["input_tokens"] <= 1300, r
    r = gw.post("/v1beta/models/up%2Fm:countTokens", {"contents": [{"role": "user", "parts": [{"text": "x" * 4000}]}]})
    assert r.status == 200 and r.headers["x-penstock-estimated"] == "true" and r.json()["totalTokens"] >= 1000, r
    assert not up.requests, "nobody is asked"


def count_of(gw, model, text):
    r = gw.post("/v1/messages/count_tokens", {"model": model, "messages": [{"role": "user", "content": text}]})
    assert r.status == 200 and r.headers["x-penstock-estimated"] == "true", r
    return r.json()["input_tokens"]


def test_estimates_learn_from_what_providers_count():
    """Two bytes a token: after some answers all workers count so, for that model alone, and a tenth more."""
    up, gw = start("openai_compatible", models=[{"name": "dense", "targets": [{"provider": "up", "model": "d"}]}])
    text = "x" * 4000
    assert 1100 <= count_of(gw, "dense", text) <= 1110
    for _ in range(20):
        up.next(lambda a: a.whole(200, scene.chat_reply(prompt=2000)))
        assert gw.chat("dense", text).status == 200
    # None of these is a count of that text: one with a picture, numbers that cannot be, none at all.
    picture = [{"type": "text", "text": text}, {"type": "image_url", "image_url": {"url": "https://pictures.example/1.png"}}]
    for _ in range(10):
        up.next(lambda a: a.whole(200, scene.chat_reply(prompt=3900)), lambda a: a.whole(200, scene.chat_reply(prompt=100000000)),
                lambda a: a.whole(200, scene.chat_reply(prompt=10)),
                lambda a: a.whole(200, {k: v for k, v in scene.chat_reply().items() if k != "usage"}))
        assert gw.chat("dense", picture).status == 200
        assert all(gw.chat("dense", text).status == 200 for _ in range(3))
    got = [count_of(gw, "dense", text) for _ in range(12)]  # each on a connection of its own
    assert all(2150 <= n <= 2250 for n in got), got
    assert 1100 <= count_of(gw, "up/other", text) <= 1110, "what was learned is another model's"
    up.next(lambda a: a.whole(200, {k: v for k, v in scene.chat_reply(text="y" * 400).items() if k != "usage"}))
    row = record(gw, gw.chat("dense", text))
    assert row["tokens_estimated"] and 1950 <= row["input_tokens"] <= 2050, row
    assert row["estimated_tokens"] >= 1950, row
    for _ in range(20):
        up.next(lambda a: a.whole(200, scene.chat_reply(prompt=500)))
        assert gw.chat("up/loose", text).status == 200
    assert 550 <= count_of(gw, "up/loose", text) <= 650, "of a model that is not configured, too"


def test_a_stream_that_was_left_is_paid_for_what_came():
    """Anthropic's begins with an output of one token."""
    up, gw = start("anthropic")

    def script(a):
        a.sse()
        a.event({"type": "message_start", "message": {**CLAUDE, "content": [], "stop_reason": None, "usage": {"input_tokens": 700, "output_tokens": 1}}},
                name="message_start")
        a.event({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}, name="content_block_start")
        a.event({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "z" * 4000}}, name="content_block_delta")
        a.until_closed()

    for path in ("/v1/messages", "/v1/chat/completions"):
        up.next(script)
        c = gw.client()
        c.request("POST", path, {"model": "up/claude-sonnet-4-5", "max_tokens": 5000, "stream": True,
                                 "messages": [{"role": "user", "content": "Hi"}]})
        status, headers = c.response_head()
        assert status == 200
        while "zzz" not in c.event()[1]:
            pass
        c.close()
        rows = scene.wait_for(lambda: [x for x in gw.log() if x.get("request_id") == headers["x-request-id"]
                                       and x.get("event") == "error"], "the record")
        assert rows[0]["tokens_estimated"] and rows[0]["input_tokens"] == 700 and rows[0]["output_tokens"] == 1000, rows[0]


def test_the_count_of_responses():
    ask = {"model": "up/gpt-4.1-mini", "input": [{"role": "user", "content": "The quick brown fox."}], "text": {"verbosity": "low"}}
    up, gw = start("openai")
    up.next(lambda a: a.whole(200, {"object": "response.input_tokens", "input_tokens": 18}))
    r = gw.post("/v1/responses/input_tokens", ask)
    assert r.status == 200 and r.json() == {"object": "response.input_tokens", "input_tokens": 18}, r
    assert up.requests[0].path == "/v1/responses/input_tokens" and up.requests[0].json() == {**ask, "model": "gpt-4.1-mini"}
    assert record(gw, r)["input_tokens"] == 0
    up.next(lambda a: a.whole(200, {"object": "response.input_tokens", "input_tokens": 19}))
    r = gw.post("/v1/messages/count_tokens", {"model": "up/gpt-4.1-mini", "system": "s", "messages": [{"role": "user", "content": "Hi"}]})
    assert r.status == 200 and r.json() == {"input_tokens": 19}, r
    assert set(up.requests[1].json()) == {"model", "instructions", "input"}, up.requests[1].json()
    up, gw = start("anthropic")
    up.next(lambda a: a.whole(200, {"input_tokens": 20}))
    r = gw.post("/v1/responses/input_tokens", {**ask, "model": "up/claude-sonnet-4-5"})
    assert r.status == 200 and r.json()["input_tokens"] == 20 and up.requests[0].path == "/v1/messages/count_tokens", r
    up, gw = start("openai_compatible")
    r = gw.post("/v1/responses/input_tokens", {**ask, "input": "x" * 4000, "model": "up/m"})
    assert r.status == 200 and r.headers["x-penstock-estimated"] == "true" and r.json()["input_tokens"] >= 1000, r
    assert not up.requests


def embeddings(numbers):
    return {"object": "list", "model": "e", "usage": {"prompt_tokens": 5, "total_tokens": 5},
            "data": [{"object": "embedding", "index": i, "embedding": v} for i, v in enumerate(numbers)]}


def test_embeddings_of_the_same_dialect_pass():
    up, gw = start("openai_compatible")
    answer = embeddings([[0.25, -1.5], [1e-7, 3.0]])
    up.next(lambda a: a.whole(200, answer))
    body = '{"model":"up/e",  "input":["a","b"], "unknown": 1.50}'
    r = gw.post("/v1/embeddings", body, headers={"Content-Type": "application/json"})
    assert r.status == 200 and r.json() == answer, r
    assert up.requests[0].path == "/v1/embeddings"
    assert up.requests[0].body == b'{"model":"e",  "input":["a","b"], "unknown": 1.50}', up.requests[0].body
    assert record(gw, r)["input_tokens"] == 5


def test_embeddings_through_gemini():
    up, gw = start("gemini")
    vectors = [[0.25, -1.5], [0.5, 3.0]]
    for encoding in ("float", "base64"):
        up.next(lambda a: a.whole(200, {"embeddings": [{"values": v} for v in vectors]}))
        r = gw.post("/v1/embeddings", {"model": "up/gemini-embedding-001", "input": ["a", "b"], "encoding_format": encoding,
                                       "dimensions": 2})
        assert r.status == 200, r
        got = [d["embedding"] for d in r.json()["data"]]
        if encoding == "base64":
            got = [list(struct.unpack("<2f", base64.b64decode(e))) for e in got]
        assert got == vectors, got
        assert up.requests[-1].path.endswith(":batchEmbedContents"), up.requests[-1].path
        assert [q["content"]["parts"][0]["text"] for q in up.requests[-1].json()["requests"]] == ["a", "b"]


def test_embeddings_through_cohere():
    up, gw = start("cohere")
    up.next(lambda a: a.whole(200, {"id": "1", "embeddings": {"float": [[0.25, -1.5]]}, "texts": ["a"],
                                    "meta": {"billed_units": {"input_tokens": 3}}}))
    r = gw.post("/v1/embeddings", {"model": "up/embed-v4.0", "input": "a", "dimensions": 256})
    assert r.status == 200 and r.json()["data"][0]["embedding"] == [0.25, -1.5], r
    assert r.json()["usage"] == {"prompt_tokens": 3, "total_tokens": 3}, r
    assert up.requests[0].path == "/v2/embed", up.requests[0].path
    assert up.requests[0].json() == {"model": "embed-v4.0", "texts": ["a"], "input_type": "search_document",
                                     "embedding_types": ["float"], "output_dimension": 256}, up.requests[0].json()
    up.next(lambda a: a.whole(200, {"id": "1", "embeddings": {"float": [[0.5]]}}))
    r = gw.post("/v1beta/models/up%2Fembed-v4.0:embedContent", {"content": {"parts": [{"text": "a"}]}, "taskType": "RETRIEVAL_QUERY"})
    assert r.status == 200 and r.json() == {"embedding": {"values": [0.5]}}, r
    assert up.requests[1].json()["input_type"] == "search_query"


def test_ollama_in_its_own_words():
    up, gw = start("ollama_native")
    lines = [{"model": "qwen3", "message": {"role": "assistant", "content": "Hel"}, "done": False},
             {"model": "qwen3", "message": {"role": "assistant", "content": "lo."}, "done": False},
             {"model": "qwen3", "message": {"role": "assistant", "content": ""}, "done": True, "done_reason": "stop",
              "prompt_eval_count": 7, "eval_count": 3}]
    body = "".join(json.dumps(o) + "\n" for o in lines).encode()
    up.next(lambda a: a.whole(200, body, {"Content-Type": "application/x-ndjson"}))
    r = gw.post("/v1/chat/completions", {"model": "up/qwen3", "stream": True, "stream_options": {"include_usage": True},
                                         "messages": [{"role": "user", "content": "Hi"}], "options": {"num_ctx": 8192}})
    assert r.status == 200, r
    chunks = [json.loads(d) for _, d in scene.sse_events(r.body) if d.startswith("{")]
    assert "".join(c["choices"][0]["delta"].get("content") or "" for c in chunks if c["choices"]) == "Hello.", chunks
    assert chunks[-1]["usage"]["prompt_tokens"] == 7 and r.body.rstrip().endswith(b"[DONE]"), chunks[-1]
    assert up.requests[0].path == "/api/chat" and up.requests[0].json()["options"] == {"num_ctx": 8192}, up.requests[0].json()
    assert up.requests[0].headers["accept"] == "*/*"
    up.next(lambda a: a.whole(404, {"error": "model 'x' not found"}))
    r = gw.post("/v1/messages", {"model": "up/x", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]})
    assert r.status == 404 and r.json()["error"]["type"] == "not_found_error", r
    up.next(lambda a: a.whole(200, {"model": "e", "embeddings": [[0.5, 1.5]], "prompt_eval_count": 2}))
    r = gw.post("/v1/embeddings", {"model": "up/e", "input": "a"})
    assert r.status == 200 and r.json()["data"][0]["embedding"] == [0.5, 1.5] and r.json()["usage"]["prompt_tokens"] == 2, r
    assert up.requests[2].path == "/api/embed"


def test_embeddings_need_their_own_permission_and_an_endpoint():
    auth = {"mode": "keys", "keys": [{"id": "k", "key": {"value": "sk-chat-only"}, "permissions": ["completion"]}]}
    up, gw = start("openai_compatible", auth=auth)
    r = gw.post("/v1/embeddings", {"model": "up/e", "input": "a"}, headers={"Authorization": "Bearer sk-chat-only"})
    assert r.status == 403, r
    up, gw = start("anthropic")
    r = gw.post("/v1/embeddings", {"model": "up/claude-x", "input": "a"})
    assert 400 <= r.status < 500 and "error" in r.json(), r
    assert not up.requests


def test_a_completion_of_a_chat_model():
    up, gw = start("anthropic")
    up.next(lambda a: a.whole(200, CLAUDE))
    r = gw.post("/v1/completions", {"model": "up/claude-sonnet-4-5", "prompt": "Say hello", "max_tokens": 5, "stop": ["x"]})
    assert r.status == 200, r
    o = r.json()
    assert o["object"] == "text_completion" and o["choices"][0]["text"] == "Hello.", o
    assert o["usage"] == {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}, o
    sent = up.requests[0].json()
    assert sent["messages"] == [{"role": "user", "content": [{"type": "text", "text": "Say hello"}]}], sent
    for extra in ({"echo": True}, {"suffix": "y"}, {"best_of": 2}, {"prompt": ["a", "b"]}, {"prompt": [1, 2]}):
        r = gw.post("/v1/completions", {"model": "up/claude-sonnet-4-5", "prompt": "p", **extra})
        assert r.status == 400 and r.json()["error"]["param"] in extra, r
    assert len(up.requests) == 1


def test_wrong_types_are_named_in_the_clients_dialect():
    _, gw = start("openai_compatible")
    r = gw.post("/v1/messages", {"model": "up/m", "messages": [{"role": "user", "content": "Hi"}]})
    assert r.status == 400 and r.json()["type"] == "error" and "max_tokens" in r.json()["error"]["message"], r
    r = gw.post("/v1/responses", {"model": "up/m", "input": 5})
    assert r.status == 400 and r.json()["error"]["param"] == "input", r
    r = gw.post("/v1beta/models/up%2Fm:generateContent", {"contents": 5})
    assert r.status == 400 and r.json()["error"]["status"] == "INVALID_ARGUMENT", r
    r = gw.post("/v1/embeddings", {"model": "up/m", "input": {"a": 1}})
    assert r.status == 400 and r.json()["error"]["param"] == "input", r


def test_capabilities_are_what_the_encoders_say():
    up = scene.Upstream()
    gw = scene.Gateway({
        "providers": [up.provider("o", kind="openai"), up.provider("a", kind="anthropic"), up.provider("g", kind="gemini"),
                      up.provider("c", kind="cohere")],
        "models": [{"name": n, "targets": [{"provider": n, "model": m}], "on_unsupported": "drop"}
                   for n, m in (("o", "gpt-4o"), ("a", "claude-sonnet-4-5"), ("g", "gemini-2.5-flash"), ("c", "command-a"))]})
    r = gw.get("/v1/capabilities")
    assert r.status == 200, r
    got = {m["id"]: m for m in r.json()["data"]}
    assert set(got) == {"o", "a", "g", "c"}
    assert all(v == "supported" for k, v in got["o"]["features"].items() if k not in ("top_k",)), got["o"]
    assert got["a"]["features"]["tools"] == "supported" and got["a"]["features"]["n"] == "unsupported", got["a"]
    assert got["a"]["features"]["seed"] == "dropped" and got["a"]["features"]["logit_bias"] == "unsupported"
    assert got["g"]["features"]["audio"] == "supported" and got["g"]["features"]["json_schema"] == "supported", got["g"]
    assert got["c"]["features"]["parallel_tool_calls"] == "unsupported", got["c"]
    assert got["a"]["operations"] == {"chat": "supported", "embeddings": "unsupported", "count_tokens": "supported"}
    assert got["o"]["operations"] == {"chat": "supported", "embeddings": "supported", "count_tokens": "supported"}
    assert not up.requests


def test_a_provider_that_does_not_count_after_all():
    """404 from where another dialect's counter should be: an estimate that says so. In its own dialect it is told."""
    up = scene.Upstream(scene.status_script(404, {"error": {"message": "Not found"}}))
    gw = scene.Gateway({"providers": [up.provider("o", kind="openai", retry={"max": 0}),
                                      up.provider("a", kind="anthropic", retry={"max": 0})]})
    ask = lambda model: gw.post("/v1/messages/count_tokens", {"model": model, "messages": [{"role": "user", "content": "Hi" * 200}]})
    r = ask("o/gpt-4.1")
    assert r.status == 200 and r.json()["input_tokens"] > 50 and r.headers["x-penstock-estimated"] == "true", r
    r = ask("a/claude-sonnet-4-5")
    assert r.status == 404 and r.json()["error"]["type"] == "not_found_error", r


MISTRAL = {"user-agent": "mistral-client-typescript/2.7.0"}


def chunks_of(s):
    assert s.status == 200
    out = []
    while (e := s.event()) is not None:
        out.append(e[1])
    assert out[-1] == "[DONE]"
    return [json.loads(e) for e in out[:-1]]


def test_mistrals_sdk_gets_streams_as_mistrals():
    """Calls whole in one chunk, usage unasked in that of the stop; other programs on the same path get OpenAI's."""
    def script(a):
        call = lambda i, **f: {"index": i, "function": f, **({"id": f"call_{i}", "type": "function"} if "name" in f else {})}
        chunk = lambda finish=None, **d: a.event(scene.chat_chunk(finish=finish) | {
            "choices": [{"index": 0, "delta": d, "finish_reason": finish}]})
        a.sse()
        chunk(role="assistant", content="Let me see. ")
        for i, name in enumerate(("weather", "time")):
            chunk(tool_calls=[call(i, name=name, arguments="")])
            for piece in ('{"ci', 'ty":"', 'Oslo"}'):
                chunk(tool_calls=[call(i, arguments=piece)])
        chunk(finish="tool_calls")
        if (a.request.json().get("stream_options") or {}).get("include_usage"):
            a.event(scene.chat_usage())
        a.event("[DONE]")
        a.end()
    up = scene.Upstream(script)
    gw = scene.Gateway({"providers": [up.provider(kind="openai_compatible")], "cache": {"enabled": True}})
    for cached in (False, True):
        got = chunks_of(gw.chat_stream(headers=MISTRAL))
        calls = [c for g in got for c in g["choices"][0]["delta"].get("tool_calls") or []]
        assert [(c["index"], c["id"], c["function"]) for c in calls] == [
            (0, "call_0", {"name": "weather", "arguments": '{"city":"Oslo"}'}),
            (1, "call_1", {"name": "time", "arguments": '{"city":"Oslo"}'})], calls
        assert all(len(g["choices"]) == 1 for g in got)
        assert got[-1]["choices"][0]["finish_reason"] == "tool_calls" and got[-1]["usage"]["total_tokens"] == 10, got[-1]
        plain = chunks_of(gw.chat_stream())
        assert len([g for g in plain if g["choices"][0]["delta"].get("tool_calls")]) == 8
        assert not any(g.get("usage") for g in plain)
    assert len(up.requests) == 2


def test_mistrals_sdk_at_mistral_is_left_alone():
    bodies = []

    def script(a):
        bodies.append(a.request.body)
        a.sse()
        a.event('{"id":"x","model":"m","choices":[{"index":0,"delta":{"content":[{"type":"thinking","thinking":[]}]}}],"p":1.50}')
        a.event('{"id":"x","model":"m","choices":[{"index":0,"delta":{"content":""},"finish_reason":"stop"}],"usage":{"prompt_tokens":7,"total_tokens":10,"completion_tokens":3}}')
        a.event("[DONE]")
        a.end()
    up = scene.Upstream(script)
    gw = scene.Gateway({"providers": [up.provider(kind="mistral")]})
    c = gw.client()
    c.request("POST", "/v1/chat/completions", b'{"model":"up/m","stream":true,"safe_prompt":true, "messages":[{"role":"user","content":"Hi","prefix":false}]}',
              {"content-type": "application/json", **MISTRAL})
    c.status, c.headers = c.response_head()
    got = []
    while (e := c.event()) is not None:
        got.append(e[1])
    assert got[0].endswith('"p":1.50}') and '"usage"' in got[1] and got[2] == "[DONE]", got
    assert bodies[0] == b'{"model":"m","stream":true,"safe_prompt":true, "messages":[{"role":"user","content":"Hi","prefix":false}]}', bodies
    assert gw.admin("/usage").json()["total"]["output_tokens"] == 3 or scene.wait_for(
        lambda: gw.admin("/usage").json()["total"]["output_tokens"] == 3, "the account")


def test_one_forced_call_where_several_cannot_be_forbidden():
    def script(a):
        a.whole(200, {"candidates": [{"content": {"role": "model", "parts": [{"functionCall": {"name": "out", "args": {}}}]},
                                      "finishReason": "STOP"}], "usageMetadata": {"promptTokenCount": 1, "candidatesTokenCount": 1}})
    up = scene.Upstream(script)
    gw = scene.Gateway({"providers": [up.provider(kind="gemini")]})
    body = {"model": "up/gemini-2.5-flash", "max_tokens": 64, "messages": [{"role": "user", "content": "Hi"}],
            "tools": [{"name": "out", "input_schema": {"type": "object", "properties": {}}}]}
    r = gw.post("/v1/messages", {**body, "tool_choice": {"type": "tool", "name": "out", "disable_parallel_tool_use": True}})
    assert r.status == 200 and r.headers["x-penstock-dropped"] == "tool_choice.disable_parallel_tool_use", r
    r = gw.post("/v1/messages", {**body, "tool_choice": {"type": "any", "disable_parallel_tool_use": True}})
    assert r.status == 400 and "parallel" in r.json()["error"]["message"], r


def test_names_of_what_was_dropped_are_told_whatever_they_are():
    def script(a):
        a.whole(200, {"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": [{"type": "text", "text": "Hi"}],
                      "stop_reason": "end_turn", "stop_sequence": None, "usage": {"input_tokens": 1, "output_tokens": 1}})
    up = scene.Upstream(script)
    gw = scene.Gateway({"providers": [up.provider(kind="anthropic")],
                        "models": [{"name": "m", "targets": [{"provider": "up", "model": "m"}], "on_unsupported": "drop"}]})
    for name, told in {"a\r\nset-cookie: b": "a__set-cookie:_b", "a,b": "a_b", "\x7f": "_", "x" * 9000: "x" * 128}.items():
        r = gw.chat("m", logit_bias={"1": 1}, **{name: 1})
        assert r.status == 200 and set(r.headers["x-penstock-dropped"].split(",")) == {"logit_bias", told}, (name, r.headers)
        assert "set-cookie" not in r.headers


def test_functions_of_before_there_were_tools():
    def script(a):
        blocks = [{"type": "tool_use", "id": f"toolu_{i}", "name": "f", "input": {"a": i}} for i in range(len(a.request.json()["tools"]))]
        if not a.request.json().get("stream"):
            a.whole(200, {"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": blocks,
                          "stop_reason": "tool_use", "stop_sequence": None, "usage": {"input_tokens": 1, "output_tokens": 1}})
            return
        events = [{"type": "message_start", "message": {"id": "msg_1", "type": "message", "role": "assistant", "model": "m",
                                                        "content": [], "usage": {"input_tokens": 1, "output_tokens": 1}}}]
        for i, b in enumerate(blocks):
            events += [{"type": "content_block_start", "index": i, "content_block": {**b, "input": {}}},
                       {"type": "content_block_delta", "index": i,
                        "delta": {"type": "input_json_delta", "partial_json": json.dumps(b["input"])}},
                       {"type": "content_block_stop", "index": i}]
        events += [{"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 1}},
                   {"type": "message_stop"}]
        a.sse()
        for e in events:
            a.event(e, e["type"])
        a.end()
    up = scene.Upstream(script)
    gw = scene.Gateway({"providers": [up.provider(kind="anthropic")]})
    function = {"name": "f", "parameters": {"type": "object"}}
    choice = gw.chat(functions=[function]).json()["choices"][0]
    assert choice["message"]["function_call"] == {"name": "f", "arguments": '{"a":0}'}, choice
    assert "tool_calls" not in choice["message"] and choice["finish_reason"] == "function_call", choice
    chunks = [json.loads(d) for _, d in gw.chat(functions=[function], stream=True).events() if d != "[DONE]"]
    deltas = [c["choices"][0]["delta"] for c in chunks]
    assert [d["function_call"] for d in deltas if "function_call" in d] == [{"name": "f", "arguments": ""}, {"arguments": '{"a": 0}'}], deltas
    assert chunks[-1]["choices"][0]["finish_reason"] == "function_call" and not any("tool_calls" in d for d in deltas), chunks
    # Of several at once they have no way to be told: nothing is lost.
    choice = gw.chat(functions=[function, {**function, "name": "g"}]).json()["choices"][0]
    assert len(choice["message"]["tool_calls"]) == 2 and choice["finish_reason"] == "tool_calls", choice
    choice = gw.chat(tools=[{"type": "function", "function": function}]).json()["choices"][0]
    assert "function_call" not in choice["message"] and choice["finish_reason"] == "tool_calls", choice


if __name__ == "__main__":
    scene.main()
