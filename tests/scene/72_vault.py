"""The vault: thinking and signatures that a client's dialect has no place for come back to the provider that wants
them, from whatever worker, over a restart, for the key that got them and nobody else; and the provider's headers."""

import json

import scene

SIGNATURE = "EqQBCkgIAhABGAI="
THINKING = {"type": "thinking", "thinking": "The tool knows.", "signature": SIGNATURE}
REDACTED = {"type": "redacted_thinking", "data": "EmwKAhgB"}
CALL = {"type": "tool_use", "id": "toolu_01", "name": "f", "input": {"a": 1}}
USAGE = {"input_tokens": 5, "output_tokens": 4}
KEYS = {"keys": [{"id": "one", "key": {"value": "sk-one"}}, {"id": "two", "key": {"value": "sk-two"}}]}
ONE, TWO = ({"authorization": f"Bearer sk-{n}"} for n in ("one", "two"))


def demanding(a):
    """Thinks and calls a tool first; then wants back what it thought, in front of the call."""
    body = a.request.json()
    turns = [m for m in body["messages"] if m["role"] == "assistant"]
    message = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-x", "usage": USAGE,
               "stop_sequence": None}
    if not turns:
        blocks, stop = [THINKING, REDACTED, CALL], "tool_use"
    elif turns[0]["content"][:2] == [THINKING, REDACTED] and turns[0]["content"][2]["type"] == "tool_use":
        blocks, stop = [{"type": "text", "text": "Done."}], "end_turn"
    else:
        a.whole(400, {"type": "error", "error": {"type": "invalid_request_error",
                                                 "message": "Expected `thinking`, but found `tool_use`"}},
                {"request-id": "req_up", "anthropic-ratelimit-requests-remaining": "7", "x-should-retry": "false"})
        return
    if not body.get("stream"):
        a.whole(200, {**message, "content": blocks, "stop_reason": stop},
                {"x-request-id": "of-theirs", "retry-after": "3"})
        return
    a.sse()
    ev = lambda name, **d: a.event({"type": name, **d}, name)
    ev("message_start", message={**message, "content": [], "stop_reason": None})
    for i, b in enumerate(blocks):
        if b["type"] == "thinking":
            ev("content_block_start", index=i, content_block={"type": "thinking", "thinking": "", "signature": ""})
            for piece in ("The tool ", "knows."):
                ev("content_block_delta", index=i, delta={"type": "thinking_delta", "thinking": piece})
            ev("content_block_delta", index=i, delta={"type": "signature_delta", "signature": b["signature"]})
        elif b["type"] == "tool_use":
            ev("content_block_start", index=i, content_block={**b, "input": {}})
            ev("content_block_delta", index=i, delta={"type": "input_json_delta", "partial_json": '{"a":1}'})
        elif b["type"] == "text":
            ev("content_block_start", index=i, content_block={"type": "text", "text": ""})
            ev("content_block_delta", index=i, delta={"type": "text_delta", "text": b["text"]})
        else:
            ev("content_block_start", index=i, content_block=b)
        ev("content_block_stop", index=i)
    ev("message_delta", delta={"stop_reason": stop, "stop_sequence": None}, usage={"output_tokens": 4})
    ev("message_stop")
    a.end()


def stage(workers=2, **more):
    up = scene.Upstream(demanding)
    return scene.Gateway({"providers": [up.provider("up", kind="anthropic")], "auth": KEYS, **more}, workers=workers)


BODY = {"model": "up/claude-x", "reasoning_effort": "high",
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}]}
ASK = {"role": "user", "content": "go"}


def first(gw, stream=False, key=ONE):
    r = gw.post("/v1/chat/completions", {**BODY, "messages": [ASK], "stream": stream}, headers=key)
    assert r.status == 200, r
    assert "toolu_01" in r.text, r
    return r


def second(gw, stream=False, key=ONE):
    """As an OpenAI client goes on: it knows of no thinking."""
    turn = {"role": "assistant", "content": None, "tool_calls": [
        {"id": "toolu_01", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}]}
    result = {"role": "tool", "tool_call_id": "toolu_01", "content": "42"}
    return gw.post("/v1/chat/completions", {**BODY, "messages": [ASK, turn, result], "stream": stream}, headers=key)


def test_the_next_turn_has_its_thinking_again_on_every_worker():
    for stream in (False, True):
        gw = stage(workers=4)
        first(gw, stream)
        for i in range(12):
            r = second(gw, stream)
            assert r.status == 200 and "Done." in r.text, r
        gw.stop()


def test_it_lives_over_a_restart():
    gw = stage()
    first(gw)
    gw.stop()
    gw.start()
    r = scene.wait_for(lambda: (lambda r: r if r.status == 200 else None)(second(gw)), "the vault to be open")
    assert "Done." in r.text, r


def test_clearing_the_cache_does_not_mean_it():
    gw = stage(auth={"keys": KEYS["keys"] + [{"id": "root", "key": {"value": "sk-root"}, "permissions": ["admin"]}]})
    first(gw)
    r = gw.admin("/cache", "DELETE", headers={"authorization": "Bearer sk-root"})
    assert r.status == 200 and r.json() == {"cleared": 0}, r
    assert second(gw).status == 200
    gw.stop()
    gw.start()
    scene.wait_for(lambda: second(gw).status == 200, "the vault to be open")


def test_it_belongs_to_the_key():
    gw = stage()
    first(gw)
    r = second(gw, key=TWO)
    assert r.status == 400 and "Expected `thinking`" in r.text, r
    assert second(gw).status == 200


def test_it_expires_and_can_be_off():
    gw = stage(vault={"ttl": "100ms"})
    first(gw)
    scene.wait_for(lambda: second(gw).status == 400, "the entry to expire")
    gw = stage(vault={"ttl": "0"})
    first(gw)
    assert second(gw).status == 400


def test_headers_of_the_provider():
    gw = stage()
    r = first(gw)
    assert r.headers["x-penstock-upstream-request-id"] == "of-theirs" != r.headers["x-request-id"]
    assert r.headers["retry-after"] == "3"
    r = second(gw, key=TWO)
    assert r.status == 400 and r.headers["x-should-retry"] == "false", r.headers
    assert "anthropic-ratelimit-requests-remaining" not in r.headers


def test_models_in_the_shape_of_anthropic():
    up = scene.Upstream(demanding)
    gw = scene.Gateway({"providers": [up.provider("up", kind="anthropic")],
                        "models": [{"name": n, "targets": [{"provider": "up", "model": n}]} for n in ("m1", "m2")]})
    r = gw.get("/v1/models", headers={"anthropic-version": "2023-06-01"})
    body = json.loads(r.body)
    assert [(m["type"], m["id"], m["display_name"]) for m in body["data"]] == [("model", n, n) for n in ("m1", "m2")]
    assert (body["has_more"], body["first_id"], body["last_id"]) == (False, "m1", "m2") and "object" not in body
    assert body["data"][0]["created_at"].endswith("Z")
    one = gw.get("/v1/models/m2", headers={"anthropic-version": "2023-06-01"}).json()
    assert one["id"] == "m2" and one["type"] == "model" and one["max_input_tokens"] is None
    known = gw.get("/v1/models/up/claude-sonnet-4-5", headers={"anthropic-version": "2023-06-01"}).json()
    assert known["max_input_tokens"] >= 200000 and known["max_tokens"] > 0, known
    for path, headers in (("/v1/models/nobodys", {"anthropic-version": "2023-06-01"}), ("/v1/messages/nothing", {})):
        r = gw.get(path, headers=headers)
        assert r.status == 404 and r.json()["type"] == "error", r
        assert r.json()["error"]["type"] == "not_found_error" and r.json()["request_id"], r
    r = gw.get("/v1beta/nothing")
    assert r.status == 404 and (r.json()["error"]["code"], r.json()["error"]["status"]) == (404, "NOT_FOUND"), r
    r = gw.get("/v1/models/nobodys")
    assert r.status == 404 and r.json()["error"]["code"] == "model_not_found", r
    assert gw.get("/v1/models").json()["object"] == "list"


# --- the same with Gemini, whose signature is on the call ---

GEMINI_CALL = {"functionCall": {"name": "f", "args": {"a": 1}}, "thoughtSignature": "c2lnbmF0dXJl"}


def signed(a):
    """Calls a tool, signed; then wants the signature back on the call."""
    turns = [c for c in a.request.json()["contents"] if c.get("role") == "model"]
    parts, reason = [{"text": "Done."}], "STOP"
    if not turns:
        parts = [GEMINI_CALL]
    elif turns[0]["parts"][-1].get("thoughtSignature") != GEMINI_CALL["thoughtSignature"]:
        a.whole(400, {"error": {"code": 400, "status": "INVALID_ARGUMENT",
                                "message": "Function call is missing a thought_signature"}})
        return
    answer = {"candidates": [{"content": {"role": "model", "parts": parts}, "finishReason": reason, "index": 0}],
              "usageMetadata": {"promptTokenCount": 5, "candidatesTokenCount": 4, "totalTokenCount": 9},
              "modelVersion": "gemini-3-pro", "responseId": "r1"}
    if "streamGenerateContent" not in a.request.path:
        a.whole(200, answer)
        return
    a.sse()
    a.event(answer)
    a.end()


def test_a_signature_of_gemini_for_clients_that_have_no_place_for_it():
    up = scene.Upstream(signed)
    gw = scene.Gateway({"providers": [up.provider("up", kind="gemini", retry={"max": 0})]}, workers=2)
    tools = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}]
    for n in range(4):
        ask = {"model": "up/gemini-3-pro", "tools": tools, "messages": [{"role": "user", "content": f"Use it {n}"}]}
        r = gw.post("/v1/chat/completions", ask)
        assert r.status == 200, r
        call = r.json()["choices"][0]["message"]["tool_calls"][0]
        ask["messages"] += [{"role": "assistant", "content": None, "tool_calls": [
            {"id": call["id"], "type": "function", "function": call["function"]}]},
            {"role": "tool", "tool_call_id": call["id"], "content": "7"}]
        r = gw.post("/v1/chat/completions", ask)
        assert r.status == 200 and r.json()["choices"][0]["message"]["content"] == "Done.", r
    # A client of Anthropic's dialect, streamed
    ask = {"model": "up/gemini-3-pro", "max_tokens": 100, "tools": [{"name": "f", "input_schema": {"type": "object"}}],
           "messages": [{"role": "user", "content": "Use it"}]}
    r = gw.post("/v1/messages", {**ask, "stream": True})
    assert r.status == 200, r
    block = next(json.loads(d)["content_block"] for _, d in scene.sse_events(r.body)
                 if '"tool_use"' in d and "content_block_start" in d)
    ask["messages"] += [{"role": "assistant", "content": [{**block, "input": {"a": 1}}]},
                        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": block["id"], "content": "7"}]}]
    r = gw.post("/v1/messages", ask)
    assert r.status == 200 and r.json()["content"][0]["text"] == "Done.", r


# --- the same with providers of the client's own dialect, who want the text of their reasoning ---

def reasoned(a):
    """DeepSeek's way (a member) and Mistral's (a part of the content), by the name of the model."""
    body = a.request.json()
    mistral = body["model"].startswith("magistral")
    parts = [{"type": "thinking", "thinking": [{"type": "text", "text": "I \"think\""}]}]
    turns = [m for m in body["messages"] if m["role"] == "assistant"]
    call = {"id": "abcdefgh1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}
    message, finish = {"role": "assistant", "content": "Done."}, "stop"
    if not turns:
        message = {"role": "assistant", "content": parts if mistral else "", "tool_calls": [call]}
        if not mistral:
            message["reasoning_content"] = "I \"think\""
        finish = "tool_calls"
    elif any((m["content"] != parts) if mistral else (m.get("reasoning_content") != "I \"think\"") for m in turns):
        a.whole(400, {"error": {"message": "The reasoning_content must be passed back", "type": "invalid_request_error"}})
        return
    usage = {"prompt_tokens": 5, "completion_tokens": 4, "total_tokens": 9}
    base = {"id": "x", "created": 1, "model": body["model"]}
    if not body.get("stream"):
        a.whole(200, {**base, "object": "chat.completion", "usage": usage,
                      "choices": [{"index": 0, "message": message, "finish_reason": finish}]})
        return
    a.sse()
    chunk = lambda delta, why=None, **k: a.event({**base, "object": "chat.completion.chunk", **k, "choices": [
        {"index": 0, "delta": delta, "finish_reason": why}]})
    for k, v in message.items():
        if k == "reasoning_content":
            chunk({k: v[:3]})
            chunk({k: v[3:]})
        elif k == "tool_calls":
            chunk({k: [{"index": 0, **v[0]}]})
        else:
            chunk({k: v})
    chunk({}, finish, usage=usage)
    a.event("[DONE]")
    a.end()


def test_reasoning_for_a_client_of_the_same_dialect_that_left_it_out():
    up = scene.Upstream(reasoned)
    gw = scene.Gateway({"providers": [up.provider("seek", kind="deepseek", retry={"max": 0}),
                                      up.provider("tral", kind="mistral", retry={"max": 0})], "auth": KEYS}, workers=3)
    for model in ("seek/deepseek-chat", "tral/magistral-small"):
        for stream in (False, True):
            ask = {"model": model, "tools": BODY["tools"], "messages": [ASK], "stream": stream}
            r = gw.post("/v1/chat/completions", ask, headers=ONE)
            assert r.status == 200 and "abcdefgh1" in r.text and "I \\\"" in r.text, r
            call = {"id": "abcdefgh1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}
            turn = {"role": "assistant", "content": None, "tool_calls": [call]}
            ask["messages"] = [ASK, turn, {"role": "tool", "tool_call_id": "abcdefgh1", "content": "42"}]
            for _ in range(6):
                r = gw.post("/v1/chat/completions", ask, headers=ONE)
                assert r.status == 200 and "Done." in r.text, r
            r = gw.post("/v1/chat/completions", ask, headers=TWO)
            assert r.status == 400 and "passed back" in r.text, r
            # What it gives back itself is what is sent.
            if model.startswith("seek"):
                ask["messages"][1] = {**turn, "reasoning_content": "something else"}
                r = gw.post("/v1/chat/completions", ask, headers=ONE)
                assert r.status == 400 and "passed back" in r.text, r


# --- OpenRouter's reasoning_details: whatever the model behind it wants back, unmodified ---

DETAILS = [{"type": "reasoning.summary", "summary": "It \u00fcbt.", "format": "openai-responses-v1", "index": 0, "id": None},
           {"type": "reasoning.text", "text": "I think so.", "signature": "sig/+=", "format": "anthropic-claude-v1", "index": 1},
           {"type": "reasoning.encrypted", "data": "Z2VtaW5p", "format": "google-gemini-v1", "index": 2, "id": "call_or_1"},
           {"type": "reasoning.encrypted", "data": "Z2VtaW5q", "format": "google-gemini-v1", "index": 2, "id": "call_or_2", "new": [1.50, True]}]
PAIR = [{"id": f"call_or_{i}", "type": "function", "function": {"name": "f", "arguments": '{"a":%d}' % i}} for i in (1, 2)]
DETAIL_PIECES = [[{**DETAILS[0], "summary": "It "}], [{**DETAILS[0], "summary": "\u00fcbt."}],
                 [{**{k: v for k, v in DETAILS[1].items() if k != "signature"}, "text": "I think"}],
                 [{"type": "reasoning.text", "index": 1, "text": " so."}], [{**DETAILS[1], "text": ""}]]


def detailed(a):
    body = a.request.json()
    turns = [m for m in body["messages"] if m["role"] == "assistant"]
    message, finish = {"role": "assistant", "content": "Done."}, "stop"
    if not turns:
        message = {"role": "assistant", "content": "", "reasoning": "I think so.", "reasoning_details": DETAILS, "tool_calls": PAIR}
        finish = "tool_calls"
    elif any(m.get("reasoning_details") != DETAILS for m in turns):
        a.whole(400, {"error": {"message": "thought_signature is missing: " + json.dumps(turns), "code": 400}, "user_id": "u"})
        return
    base = {"id": "gen-1", "provider": "Google", "created": 1, "model": body["model"]}
    usage = {"prompt_tokens": 5, "completion_tokens": 4, "total_tokens": 9}
    if not body.get("stream"):
        a.whole(200, {**base, "object": "chat.completion", "usage": usage,
                      "choices": [{"index": 0, "message": message, "finish_reason": finish, "native_finish_reason": "STOP"}]})
        return
    a.sse()
    a.chunk(": OPENROUTER PROCESSING\n\n")
    chunk = lambda delta, why=None, **k: a.event({**base, "object": "chat.completion.chunk", **k, "choices": [
        {"index": 0, "delta": {"role": "assistant", "content": "", **delta}, "finish_reason": why}]})
    if turns:
        chunk({"content": "Done."})
    else:
        for piece in DETAIL_PIECES:
            chunk({"reasoning": piece[0].get("text") or None, "reasoning_details": piece})
        for i, call in enumerate(PAIR):
            chunk({"reasoning_details": [DETAILS[2 + i]], "tool_calls": [{"index": i, **call}]})
    chunk({}, finish)
    chunk({}, finish, usage=usage)
    a.event("[DONE]")
    a.end()


def blocks_of(r, stream):
    """The content of an answer in Anthropic's dialect, as its SDK has it after a stream."""
    if not stream:
        return r.json()["content"]
    out = []
    for _, data in r.events():
        e = json.loads(data)
        if e["type"] == "content_block_start":
            out.append({**e["content_block"], **({"input": ""} if e["content_block"]["type"] == "tool_use" else {})})
        elif e["type"] == "content_block_delta":
            member = {"thinking_delta": "thinking", "signature_delta": "signature", "text_delta": "text",
                      "input_json_delta": "input"}[e["delta"]["type"]]
            out[-1][member] += e["delta"]["partial_json" if member == "input" else member]
    return [{**b, "input": json.loads(b["input"] or "{}")} if b["type"] == "tool_use" else b for b in out]


def test_details_of_openrouter_go_back_as_they_were():
    up = scene.Upstream(detailed)
    gw = scene.Gateway({"providers": [up.provider("or", kind="openrouter", retry={"max": 0})], "auth": KEYS}, workers=3)
    model = "or/google/gemini-3-pro"
    results = lambda kind: [{"type": "tool_result", "tool_use_id": c["id"], "content": "7"} if kind == "anthropic" else
                            {"role": "tool", "tool_call_id": c["id"], "content": "7"} for c in PAIR]
    for stream in (False, True):
        # A client of another dialect, with and without what it was given
        ask = {"model": model, "max_tokens": 99, "stream": stream, "messages": [ASK],
               "tools": [{"name": "f", "input_schema": {"type": "object", "properties": {}}}]}
        r = gw.post("/v1/messages", ask, headers=ONE)
        assert r.status == 200, r
        blocks = blocks_of(r, stream)
        assert [b["input"] for b in blocks if b["type"] == "tool_use"] == [{"a": 1}, {"a": 2}], blocks
        assert "".join(b.get("thinking", "") for b in blocks).endswith("I think so."), blocks
        for content in (blocks, [b for b in blocks if b["type"] == "tool_use"]):
            ask["messages"] = [ASK, {"role": "assistant", "content": content}, {"role": "user", "content": results("anthropic")}]
            for _ in range(4):
                r = gw.post("/v1/messages", ask, headers=ONE)
                assert r.status == 200 and "Done." in r.text, (stream, r)
        assert gw.post("/v1/messages", ask, headers=TWO).status == 400, "another key's"
        # One of its own dialect, that forgets what it does not know, or sends it
        ask = {"model": model, "stream": stream, "tools": BODY["tools"], "messages": [ASK]}
        r = gw.post("/v1/chat/completions", ask, headers=ONE)
        assert r.status == 200 and "call_or_2" in r.text, r
        for more in ({}, {"reasoning_details": []}, {"reasoning_details": None}, {"reasoning_details": DETAILS}):
            ask["messages"] = [ASK, {"role": "assistant", "content": None, "tool_calls": PAIR, **more}, *results("")]
            r = gw.post("/v1/chat/completions", ask, headers=ONE)
            assert r.status == 200 and "Done." in r.text, (stream, more, r)
        assert up.requests[-1].body.count(b"reasoning_details") == 1
        ask["messages"][1].pop("reasoning_details")
        assert gw.post("/v1/chat/completions", ask, headers=TWO).status == 400, "another key's"


# --- a client of Gemini's, whose SDK gives every chunk of a stream back as a content of its own ---

def test_chunks_that_a_client_of_gemini_gives_back():
    """Thinking is one part again with its signature, redacted thinking has no place there, and the calls of a turn are one
    turn's."""
    def script(a):
        body = a.request.json()
        calls = [{**CALL, "id": f"toolu_{i}", "input": {"a": i}} for i in (1, 2)]
        turns = [m for m in body["messages"] if m["role"] == "assistant"]
        if turns:
            results = [b["tool_use_id"] for b in body["messages"][-1]["content"]]
            good = len(turns) == 1 and turns[0]["content"] == [THINKING, REDACTED, *calls] and results == ["toolu_1", "toolu_2"]
            a.whole(*((200, {"id": "msg_2", "type": "message", "role": "assistant", "model": "c", "usage": USAGE, "stop_sequence": None,
                             "content": [{"type": "text", "text": "Done."}], "stop_reason": "end_turn"}) if good else
                      (400, {"type": "error", "error": {"type": "invalid_request_error", "message": json.dumps(body["messages"])}})))
            return
        a.sse()
        ev = lambda name, **d: a.event({"type": name, **d}, name)
        ev("message_start", message={"id": "msg_1", "type": "message", "role": "assistant", "model": "c", "usage": USAGE,
                                     "content": [], "stop_reason": None, "stop_sequence": None})
        ev("content_block_start", index=0, content_block={"type": "thinking", "thinking": "", "signature": ""})
        for piece in ("The tool ", "knows."):
            ev("content_block_delta", index=0, delta={"type": "thinking_delta", "thinking": piece})
        ev("content_block_delta", index=0, delta={"type": "signature_delta", "signature": SIGNATURE})
        ev("content_block_stop", index=0)
        for i, b in enumerate([REDACTED, *calls], 1):
            ev("content_block_start", index=i, content_block={**b, **({"input": {}} if "input" in b else {})})
            if "input" in b:
                ev("content_block_delta", index=i, delta={"type": "input_json_delta", "partial_json": json.dumps(b["input"])})
            ev("content_block_stop", index=i)
        ev("message_delta", delta={"stop_reason": "tool_use", "stop_sequence": None}, usage=USAGE)
        ev("message_stop")
        a.end()

    up = scene.Upstream(script)
    gw = scene.Gateway({"providers": [up.provider("up", kind="anthropic", retry={"max": 0})]}, workers=2)
    ask = {"contents": [{"role": "user", "parts": [{"text": "go"}]}], "tools": [{"functionDeclarations": [{"name": "f"}]}]}
    r = gw.post("/v1beta/models/up%2Fclaude-x:streamGenerateContent?alt=sse", ask)
    chunks = [json.loads(d)["candidates"][0]["content"] for _, d in r.events()]
    calls = [p["functionCall"] for c in chunks for p in c["parts"] if "functionCall" in p]
    assert [c["args"] for c in calls] == [{"a": 1}, {"a": 2}] and len(chunks) > 4, r
    results = {"role": "user", "parts": [{"functionResponse": {"name": "f", "response": {"result": "7"}}} for _ in calls]}
    for given in (chunks, [{"role": "model", "parts": [p for c in chunks for p in c["parts"]]}],
                  [{"role": "model", "parts": [{"functionCall": c} for c in calls]}]):
        r = gw.post("/v1beta/models/up%2Fclaude-x:generateContent", {**ask, "contents": [*ask["contents"], *given, results]})
        assert r.status == 200 and "Done." in r.text, (given, r)


if __name__ == "__main__":
    scene.main()
