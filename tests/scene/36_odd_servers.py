"""What servers that call themselves compatible with OpenAI do differently: it passes as it is where a client can live
with it, and is an error of the usual shape where not; nothing hangs, and all of it is accounted."""

import json
import threading
import time

import replay
import scene


def gateway(up, **more):
    row = up.provider("up", retry={"max": 0}, breaker={"consecutive_failures": 100000, "min_requests": 100000},
                      timeouts={"first_byte": "5s", "idle": "5s"})
    return scene.Gateway({"providers": [row], "log": {"level": "info"}, **more}, workers=1)


def chunk(delta=None, finish=None, **more):
    choice = {"index": 0, "delta": delta or {}, "finish_reason": finish}
    return {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice], **more}


def usage(prompt, completion, **more):
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion, **more}


def sse(*events, start="data: ", end="\n\n", done=True):
    out = b""
    for e in [*events, *(["[DONE]"] if done else [])]:
        out += (start + (e if isinstance(e, str) else json.dumps(e, ensure_ascii=False)) + end).encode()
    return out


HI = chunk({"role": "assistant", "content": "Hi"})
STOP = chunk({}, "stop")
USED = {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [], "usage": usage(11, 7)}
NOTHING_SAID = None  # no numbers from the provider: estimated


def call(*calls):
    return chunk({"tool_calls": list(calls)})


# name: (bytes, (input, output) tokens of the ledger)
STREAMS = {
    "usage on every chunk, growing": (sse(chunk({"content": "a"}, usage=usage(11, 1)), chunk({"content": "b"}, usage=usage(11, 2)),
                                          chunk({}, "stop", usage=usage(11, 7))), (11, 7)),
    "usage in the choice": (sse(HI, {**STOP, "choices": [{**STOP["choices"][0], "usage": usage(11, 7)}]}), (11, 7)),
    "usage with the finish": (sse(HI, {**STOP, "usage": usage(11, 7)}), (11, 7)),
    "usage twice": (sse(HI, {**STOP, "usage": usage(11, 7)}, {**STOP, "usage": usage(11, 7)}), (11, 7)),
    "usage null": (sse({**HI, "usage": None}, {**STOP, "usage": None}), NOTHING_SAID),
    "usage empty": (sse({**HI, "usage": {}}, {**STOP, "usage": {}}), NOTHING_SAID),
    "usage in x_groq": (sse(HI, {**STOP, "x_groq": {"id": "r", "usage": usage(11, 7)}}), (11, 7)),
    "usage without the total": (sse(HI, {**STOP, "usage": {"prompt_tokens": 11, "completion_tokens": 7}}), (11, 7)),
    "usage in Anthropic's words": (sse(HI, {**STOP, "usage": {"input_tokens": 11, "output_tokens": 7}}), (11, 7)),
    "the finish is empty": (sse(HI, chunk({}, "")), NOTHING_SAID),
    "the finish is eos": (sse(HI, chunk({}, "eos")), NOTHING_SAID),
    "the finish is unheard of": (sse(HI, chunk({}, "repetition_truncation")), NOTHING_SAID),
    "no finish at all": (sse(HI), NOTHING_SAID),
    "the finish twice": (sse(HI, STOP, STOP), NOTHING_SAID),
    "text behind the finish": (sse(HI, STOP, chunk({"content": "!"})), NOTHING_SAID),
    "calls without index, id and type": (sse(call({"function": {"name": "f", "arguments": "{\"a\":"}}),
                                             call({"function": {"arguments": "1}"}}), chunk({}, "tool_calls")), NOTHING_SAID),
    "an id on every fragment": (sse(call({"index": 0, "id": "x", "function": {"name": "f", "arguments": "{"}}),
                                    call({"index": 0, "id": "x", "function": {"name": "f", "arguments": "}"}}),
                                    chunk({}, "tool_calls")), NOTHING_SAID),
    "arguments as an object": (sse(call({"index": 0, "id": "x", "function": {"name": "f", "arguments": {"a": 1}}}),
                                   chunk({}, "tool_calls")), NOTHING_SAID),
    "arguments null, content null": (sse(chunk({"role": "assistant", "content": None, "tool_calls": [
        {"index": 0, "id": "x", "type": "function", "function": {"name": "f", "arguments": None}}]}),
        chunk({"content": None}, "tool_calls")), NOTHING_SAID),
    "tool_calls null and empty": (sse(chunk({"content": "a", "tool_calls": None}), chunk({"content": "b", "tool_calls": []}), STOP),
                                  NOTHING_SAID),
    "the role on every chunk": (sse(HI, HI, chunk({"role": "assistant"}, "stop")), NOTHING_SAID),
    "no role": (sse(chunk({"content": "a"}), STOP), NOTHING_SAID),
    "no [DONE]": (sse(HI, STOP, done=False), NOTHING_SAID),
    "no [DONE], usage last": (sse(HI, STOP, {**USED, "choices": [STOP["choices"][0]]}, done=False), (11, 7)),
    "the first chunk without choices": (sse({"id": "c1", "prompt_filter_results": []}, HI, STOP), NOTHING_SAID),
    "a last chunk without choices": (sse(HI, STOP, {"id": "c1", "timings": {"ms": 1}}), NOTHING_SAID),
    "choices null": (sse({"id": "c1", "choices": None}, HI, STOP), NOTHING_SAID),
    "a choice without delta": (sse(HI, {"id": "c1", "choices": [{"index": 0, "finish_reason": None,
                                                                 "content_filter_results": {}}]}, STOP), NOTHING_SAID),
    "chunks without id and created": (sse({"choices": [{"delta": {"content": "a"}}]},
                                          {"choices": [{"delta": {}, "finish_reason": "stop"}]}), NOTHING_SAID),
    "error null": (sse({**HI, "error": None}, {**STOP, "error": None}), NOTHING_SAID),
    "no space behind data:": (sse(HI, STOP, start="data:"), NOTHING_SAID),
    "much space": (sse(HI, STOP, start="data:   "), NOTHING_SAID),
    "event names and ids": (sse(HI, STOP, start="event: message\nid: 7\nretry: 100\ndata: "), NOTHING_SAID),
    "CRLF": (sse(HI, STOP, end="\r\n\r\n"), NOTHING_SAID),
    "CR": (sse(HI, STOP, end="\r\r"), NOTHING_SAID),
    "comments everywhere": (b": hello\n\n" + sse(HI, end="\n: between\n\n", done=False) + b":\n\n" + sse(STOP), NOTHING_SAID),
    "empty data": (b"data:\n\ndata: \n\n" + sse(HI, STOP), NOTHING_SAID),
    "a byte order mark": (b"\xef\xbb\xbf" + sse(HI, STOP), NOTHING_SAID),
    "blank lines in front": (b"\n\n\r\n" + sse(HI, STOP), NOTHING_SAID),
    "an event of a megabyte": (sse(chunk({"content": "x" * (1 << 20)}), STOP), NOTHING_SAID),
    "letters of four bytes": (sse(chunk({"content": "\u00e9\u4e2d\U0001f600" * 50}), STOP), NOTHING_SAID),
    "several choices": (sse({**HI, "choices": [HI["choices"][0], {"index": 1, "delta": {"content": "b"}}]}, STOP), NOTHING_SAID),
    "numbers beyond all bounds": (sse(HI, {**STOP, "created": 10 ** 30, "usage": usage(11, 7)}), (11, 7)),
    "counts that are no counts": (sse(HI, {**STOP, "usage": {"prompt_tokens": -1, "completion_tokens": "7"}}), NOTHING_SAID),
    "thinking only": (sse(chunk({"reasoning_content": "hm"}), STOP), NOTHING_SAID),
    "the end without a blank line": (sse(HI, STOP, done=False) + b"data: [DONE]", NOTHING_SAID),
}


def check_row(gw, name, r, numbers, **want):
    rows = gw.wait_log(r.headers["x-request-id"])
    rows = [x for x in rows if x["event"] in ("response", "error")]
    assert len(rows) == 1, (name, rows)
    for key, value in want.items():
        assert rows[0].get(key) == value, (name, key, rows[0])
    if numbers:
        assert (rows[0]["input_tokens"], rows[0]["output_tokens"]) == numbers, (name, rows[0])
    elif want.get("complete"):
        assert rows[0]["tokens_estimated"] is True, (name, rows[0])


def test_odd_streams_pass_as_they_are():
    up = scene.Upstream()
    gw = gateway(up)
    for name, (body, numbers) in STREAMS.items():
        for how in ("whole", "cut", "bytes"):
            if how == "bytes" and len(body) > 2000:
                continue
            up.next(replay.player(200, {"Content-Type": "text/event-stream"}, body, replay.pieces(body, how, name), True))
            begin = time.monotonic()
            r = gw.chat(stream=True, stream_options={"include_usage": True})
            assert time.monotonic() - begin < 4, (name, how)
            ends = b"\n\n" if name == "the end without a blank line" else b""
            assert r.status == 200 and r.body == body + ends, (name, how, r.status, r.body[-300:])
            if how != "bytes":
                check_row(gw, name, r, numbers, complete=True, status=200)


def test_a_stream_that_is_cut_inside_its_last_events_is_broken():
    """The stop was there, but neither usage nor [DONE]: for clients of the same dialect as for others, and nothing to keep."""
    up = scene.Upstream()
    gw = scene.Gateway({"providers": [up.provider("up", retry={"max": 0}, breaker={"consecutive_failures": 1000, "error_rate": 1.0})],
                        "cache": {"enabled": True}})
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
    said, used = sse(HI, STOP, done=False), b"data: " + json.dumps(scene.chat_usage()).encode()
    asks = {"/v1/chat/completions": {}, "/v1/messages": {"max_tokens": 9}}
    for behind, ok in ((b"", True), (b"d", False), (b"data: {", False), (used[:-1], False), (used, True), (used + b"\n\n: p", True),
                       (used + b"\n\ndata: [DO", False), (used + b"\n\ndata: [DONE]", True)):
        for path, more in asks.items():
            up.next(lambda a, behind=behind: (a.raw(head + said + behind), a.close()))
            r = gw.post(path, {"model": "up/m", "stream": True, "messages": [{"role": "user", "content": repr(behind)}], **more})
            assert r.status == 200 and (b'"error"' not in r.body) == ok, (path, behind, r.body[-200:])
            check_row(gw, behind, r, (7, 3) if ok and behind.startswith(used) else None, complete=ok)
            if not ok and not more and not behind.startswith(used):
                assert r.body.startswith(said + b'data: {"error"'), (behind, r.body[-200:])


def test_bytes_behind_the_end_are_nobodys():
    up = scene.Upstream()
    gw = gateway(up)
    body = sse(HI, STOP)
    for more in (b"\n\n", b": bye\n\n", sse(HI), b"garbage", b"data: {\"error\":{\"message\":\"late\"}}\n\n"):
        for how in ("whole", "cut", "bytes"):
            up.next(replay.player(200, {"Content-Type": "text/event-stream"}, body + more,
                                  replay.pieces(body + more, how, more), True))
            r = gw.chat(stream=True)
            assert r.status == 200 and r.body == body, (more, how, r.body[-200:])
            check_row(gw, more, r, None, complete=True, status=200)


# name: (the event, what the message must have in it, class)
BROKEN = {
    "error as text": ({"error": "out of luck"}, "out of luck", "server_error"),
    "error in a list": ({"error": ["out of luck"]}, "out of luck", "server_error"),
    "error with a code of a status": ({"error": {"message": "slow down", "code": 429}}, "slow down", "rate_limit_exceeded"),
    "error with a code in words": ({"error": {"message": "m", "code": "context_length_exceeded"}}, "m", "context_length_exceeded"),
    "error without a message": ({"error": {"code": 503}}, "", "overloaded"),
    "error in the choice": ({"id": "c", "choices": [{"index": 0, "delta": {}, "finish_reason": "error", "error": {
        "message": "upstream died", "code": 502}}]}, "upstream died", "server_error"),
    "error beside choices": ({"id": "c", "error": {"message": "limit", "code": 400}, "choices": [
        {"index": 0, "delta": {"content": ""}, "finish_reason": "error"}]}, "limit", "invalid_request"),
    "the finish is error": (chunk({}, "error"), "", "server_error"),
    "the finish is abort": (chunk({}, "abort"), "", "server_error"),
    "an error object as vLLM had it": ({"object": "error", "message": "CUDA out of memory", "type": "InternalServerError",
                                        "code": 500}, "CUDA out of memory", "server_error"),
}


def test_errors_inside_streams():
    up = scene.Upstream()
    gw = gateway(up)
    for name, (event, message, cls) in BROKEN.items():
        body, seen = sse(event), threading.Event()
        up.next(replay.player(200, {"Content-Type": "text/event-stream"}, body, replay.pieces(body, "cut", name), True),
                lambda a: (a.sse(), a.event(HI), a.wait(seen), a.chunk(body), a.end()))
        r = gw.chat(stream=True)
        assert r.status >= 400, (name, r)
        error = r.json()["error"]
        assert message in error["message"] and error["message"], (name, error)
        check_row(gw, name, r, None, complete=False, fault=cls, status=r.status)
        r = gw.chat_stream()
        assert r.status == 200 and r.event()[1] == json.dumps(HI), name
        seen.set()
        error = json.loads(r.event()[1])["error"]
        assert message in error["message"] and error["message"] and r.event() is None, (name, error)
        check_row(gw, name, r, None, complete=False, fault=cls, status=200)


def reply(message=None, finish="stop", **more):
    return {"id": "c1", "object": "chat.completion", "created": 1, "model": "m", "choices": [
        {"index": 0, "message": {"role": "assistant", "content": "Hi", **(message or {})}, "finish_reason": finish}], **more}


WHOLES = {
    "no usage": (reply(), NOTHING_SAID),
    "usage null": (reply(usage=None), NOTHING_SAID),
    "usage": (reply(usage=usage(11, 7)), (11, 7)),
    "the finish is empty": (reply(finish="", usage=usage(11, 7)), (11, 7)),
    "the finish is null": (reply(finish=None), NOTHING_SAID),
    "the finish is missing": ({"choices": [{"message": {"content": "Hi"}}]}, NOTHING_SAID),
    "content null": (reply({"content": None, "refusal": "no"}), NOTHING_SAID),
    "content as parts": (reply({"content": [{"type": "text", "text": "Hi"}]}), NOTHING_SAID),
    "arguments as an object": (reply({"content": None, "tool_calls": [{"function": {"name": "f", "arguments": {"a": 1}}}]},
                                     "tool_calls"), NOTHING_SAID),
    "the old call": (reply({"content": None, "function_call": {"name": "f", "arguments": "{}"}}, "function_call"), NOTHING_SAID),
    "error null": (reply(error=None, usage=usage(11, 7)), (11, 7)),
}


def test_odd_answers_pass_as_they_are():
    up = scene.Upstream()
    gw = gateway(up)
    for name, (o, numbers) in WHOLES.items():
        for kind, pad in (("application/json", b""), ("text/plain", b"\n  \n"), ("text/event-stream", b""), (None, b"\r\n")):
            body = pad + json.dumps(o, indent=1).encode() + pad
            up.next(replay.player(200, {"Content-Type": kind} if kind else {}, body, replay.pieces(body, "cut", name), False))
            r = gw.chat()
            assert r.status == 200 and r.body == body, (name, kind, r)
            check_row(gw, name, r, numbers, complete=True, status=200)


# name: (status, type, body, what the message must be or have in it, the client's status, class)
ERRORS = {
    "OpenAI's": (400, None, {"error": {"message": "bad thing", "type": "invalid_request_error", "param": "x", "code": None}},
                 "bad thing", 400, "invalid_request"),
    "error as text": (400, None, {"error": "bad thing"}, "bad thing", 400, "invalid_request"),
    "error as a list": (422, None, {"error": ["bad thing", "worse"]}, "bad thing", 422, "invalid_request"),
    "detail": (422, None, {"detail": "bad thing"}, "bad thing", 422, "invalid_request"),
    "detail as a list": (422, None, {"detail": [{"loc": ["body", "x"], "msg": "field required", "type": "missing"}]},
                         "field required", 422, "invalid_request"),
    "message at the top": (500, None, {"message": "boom"}, "boom", 500, "server_error"),
    "vLLM's of old": (400, None, {"object": "error", "message": "This model's maximum context length is 4096 tokens.",
                                  "type": "BadRequestError", "param": None, "code": 400}, "maximum context", 400,
                      "context_length_exceeded"),
    "vLLM's": (404, None, {"error": {"message": "The model `x` does not exist.", "type": "NotFoundError", "param": None,
                                     "code": 404}}, "does not exist", 404, "model_not_found"),
    "llama.cpp's": (400, None, {"error": {"code": 400, "message": "the request exceeds the available context size",
                                          "type": "exceed_context_size_error"}}, "context size", 400, "context_length_exceeded"),
    "OpenRouter's, wrapped": (502, None, {"error": {"message": "Provider returned error", "code": 502, "metadata": {
        "raw": "{\"error\":{\"message\":\"GPU fell off\"}}", "provider_name": "X"}}, "user_id": "u"}, "GPU fell off", 502,
        "server_error"),
    "OpenRouter's, no credits": (402, None, {"error": {"message": "Insufficient credits", "code": 402}}, "Insufficient credits",
                                 429, "insufficient_quota"),
    "OpenRouter's, flagged": (403, None, {"error": {"message": "Input was flagged by moderation", "code": 403, "metadata": {
        "reasons": ["violence"], "flagged_input": "..."}}}, "flagged", 403, "content_filter"),
    "OpenAI's quota": (429, None, {"error": {"message": "You exceeded your current quota", "type": "insufficient_quota",
                                             "param": None, "code": "insufficient_quota"}}, "current quota", 429,
                       "insufficient_quota"),
    "OpenAI's rate": (429, None, {"error": {"message": "Rate limit reached", "type": "tokens", "param": None,
                                            "code": "rate_limit_exceeded"}}, "Rate limit", 429, "rate_limit_exceeded"),
    "Azure's filter": (400, None, {"error": {"message": "The response was filtered", "type": None, "param": "prompt",
                                             "code": "content_filter", "status": 400, "innererror": {
                                                 "code": "ResponsibleAIPolicyViolation"}}}, "filtered", 400, "content_filter"),
    "xAI's": (400, None, {"code": "Client specified an invalid argument", "error": "bad thing"}, "bad thing", 400,
              "invalid_request"),
    "Google's, in a list": (400, None, [{"error": {"code": 400, "message": "bad thing", "status": "INVALID_ARGUMENT"}}],
                            "bad thing", 400, "invalid_request"),
    "HTML": (503, "text/html", "<html><body><h1>503 Service Unavailable</h1></body></html>", "503", 503, "overloaded"),
    "a line of text": (500, "text/plain", "Internal Server Error", "500", 500, "server_error"),
    "nothing": (500, None, "", "500", 500, "server_error"),
    "cut JSON": (500, None, '{"error": {"mess', "500", 500, "server_error"),
    "null": (500, None, "null", "500", 500, "server_error"),
    "a number": (429, None, "5", "429", 429, "rate_limit_exceeded"),
    "Cloudflare's": (524, "text/html", "<!DOCTYPE html><title>A timeout occurred</title>", "524", 524, "timeout"),
    "Anthropic's overload": (529, None, {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}},
                             "Overloaded", 529, "overloaded"),
}


def test_errors_of_every_shape():
    up = scene.Upstream()
    gw = gateway(up)
    for name, (status, kind, body, message, want, cls) in ERRORS.items():
        data = body.encode() if isinstance(body, str) else json.dumps(body).encode()
        for how in ("whole", "cut"):
            for stream in (False, True):
                up.next(replay.player(status, {"Content-Type": kind or "application/json"}, data,
                                      replay.pieces(data, how, name), how == "cut"))
                r = gw.chat(stream=stream)
                assert r.status == want, (name, r)
                e = r.json()["error"]
                assert message in e["message"] and "<" not in e["message"], (name, e)
                assert e["type"] and set(e) == {"message", "type", "param", "code"}, (name, e)
                check_row(gw, name, r, None, complete=False, status=want, fault=cls)


def test_dates_to_wait_for():
    """Against the answer's own clock, which may be wrong, and against ours where it has none."""
    soon = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() + 100))
    for headers, least, most in (({"Retry-After": "Sun, 06 Nov 1994 08:49:57 GMT", "Date": "Sun, 06 Nov 1994 08:49:37 GMT"}, 20, 20),
                                 ({"Retry-After": soon}, 30, 101),
                                 ({"Retry-After": "Sun, 06 Nov 1994 08:49:57 GMT"}, 0, 0)):
        for status in (429, 503):
            gw = gateway(scene.Upstream(scene.status_script(status, headers=headers)))
            r = gw.chat()
            assert r.status == status and least <= int(r.headers["retry-after"]) <= most, (headers, r.headers)
            gw.stop()


def test_words_that_nobody_knows_reach_the_client():
    for kind, body in (("anthropic", {"type": "error", "error": {"type": "brand_new", "message": "m"}}),
                       ("gemini", {"error": {"code": 400, "message": "m", "status": "brand_new"}}),
                       ("openai_compatible", {"error": {"message": "m", "type": "brand_new"}})):
        up = scene.Upstream(scene.status_script(400, body, {"x-amzn-requestid": "amzn-1", "request-id": "req_1"}))
        gw = scene.Gateway({"providers": [up.provider("up", kind=kind, retry={"max": 0})]}, workers=1)
        hi = [{"role": "user", "content": "Hi"}]
        r = gw.chat()
        assert r.status == 400 and r.json()["error"]["type"] == "brand_new", (kind, r)
        own = "request-id" if kind == "openai_compatible" else "x-penstock-upstream-request-id"
        assert r.headers["x-amzn-requestid"] == "amzn-1" and r.headers[own] == "req_1", r.headers
        r = gw.post("/v1/messages", {"model": "up/m", "max_tokens": 9, "messages": hi})
        assert r.json()["error"]["details"] == {"native_type": "brand_new"}, (kind, r)
        r = gw.post("/v1beta/models/up%2Fm:generateContent", {"contents": [{"parts": [{"text": "Hi"}]}]})
        assert "brand_new" in [d.get("reason") for d in r.json()["error"]["details"]], (kind, r)


def test_refused_keys_are_not_quoted():
    for status, body in ((401, {"error": {"message": "Incorrect API key provided: up-key"}}),
                         (403, {"error": {"message": "up-key may not use this"}}),
                         (400, {"error": {"message": "API key not valid: up-key", "status": "INVALID_ARGUMENT"}})):
        up = scene.Upstream(scene.status_script(status, body))
        gw = gateway(up)
        r = gw.chat()
        assert r.status == 502 and "up-key" not in r.text, r
        check_row(gw, status, r, None, complete=False, status=502, fault="provider_authentication")
        assert not any("up-key" in text for _, text in gw.log_text())


def test_words_that_nobody_knows_are_counted_and_told_once():
    """Reasons to stop and types of errors: the client is served, the operator hears of each word once and not in floods."""
    up = scene.Upstream()
    gw = gateway(up)

    def reply(word):
        body = scene.chat_reply()
        body["choices"][0]["finish_reason"] = word
        return lambda a: a.whole(200, body)

    def stream(a):
        a.sse()
        for e in (HI, chunk({}, "brand_new"), USED):
            a.event(e)
        a.event("[DONE]")
        a.end()

    up.next(reply("brand_new"), reply("brand_new"), stream, reply("brand_new"), reply("stop"))
    assert gw.chat().json()["choices"][0]["finish_reason"] == "brand_new", "it passes as it is"
    r = gw.post("/v1/messages", {"model": "up/m", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]})
    assert r.json()["stop_reason"] == "end_turn", r
    assert b"brand_new" in gw.chat(stream=True).body
    r = gw.post("/v1beta/models/up%2Fm:generateContent", {"contents": [{"parts": [{"text": "Hi"}]}]})
    assert r.json()["candidates"][0]["finishMessage"] == "brand_new", r
    assert gw.chat().status == 200
    m = gw.metrics()
    assert m["penstock_unknown_stop_reasons_total"] == 4 and m["penstock_unknown_errors_total"] == 0, m
    told = gw.wait_log("brand_new", event="unknown")
    assert len(told) == 1 and told[0]["level"] == "warn" and "up/m" in told[0]["message"], told

    for body in ({"error": {"message": "m", "type": "teapot"}}, {"error": {"message": "m", "code": "teapot"}},
                 {"error": {"message": "m", "type": "invalid_request_error", "code": "anything"}}, "<html>"):
        up.next(lambda a: a.whole(418, body))
        assert gw.chat().status == 418
    assert gw.metrics()["penstock_unknown_errors_total"] == 2
    assert len(gw.wait_log("teapot", event="unknown")) == 1

    up.next(*(reply(f"word_{i} \u001b[31m{'x' * 300}") for i in range(100)))
    assert all(gw.chat().status == 200 for _ in range(100))
    assert gw.metrics()["penstock_unknown_stop_reasons_total"] == 104
    told = gw.log("unknown")
    assert len(told) == 64 and all(len(x["message"]) < 200 for x in told), len(told)
    assert not any("\x1b" in text for _, text in gw.log_text())


def test_calls_that_are_told_apart_badly():
    """Ids that are missing, "0" or given twice, and arguments that are null, for clients that need each call's own id,
    also among those of the turns before."""
    up = scene.Upstream()
    gw = gateway(up)
    shapes = {
        "no ids": ({"name": "f", "arguments": None}, None, None),
        "null and empty": ({"name": "f", "arguments": "null"}, None, ""),
        "counted": ({"name": "f", "arguments": " null"}, "0", "1"),
        "always 0": ({"name": "f", "arguments": ""}, "0", "0"),
        "twice the same": ({"name": "f", "arguments": "{}"}, "call_same", "call_same"),
    }
    tool = [{"name": n, "input_schema": {"type": "object", "properties": {}}} for n in ("f", "g")]
    seen = {}
    for name, (f, one, two) in shapes.items():
        for stream in (False, True):
            for turn in (1, 2):
                calls = [{"type": "function", "function": f}, {"type": "function", "function": {"name": "g", "arguments": '{"b":1}'}}]
                for i, id in enumerate((one, two)):
                    if id is not None or name == "null and empty":
                        calls[i]["id"] = id
                if stream:
                    events = [{**chunk({"tool_calls": [{"index": i, **c}]}), "created": turn} for i, c in enumerate(calls)]
                    up.next(lambda a, e=events: (a.head(200, {"Content-Type": "text/event-stream"}),
                                                 a.chunk(sse(*e, chunk({}, "stop"), USED)), a.end()))
                else:
                    body = {**scene.chat_reply(), "created": turn}
                    body["choices"][0] = {"index": 0, "finish_reason": "stop",
                                          "message": {"role": "assistant", "content": None, "tool_calls": calls}}
                    up.next(lambda a, b=body: a.whole(200, b))
                r = gw.post("/v1/messages", {"model": "up/m", "max_tokens": 9, "tools": tool, "stream": stream,
                                             "messages": [{"role": "user", "content": "Hi"}]})
                assert r.status == 200, r
                if stream:
                    said = [json.loads(d) for _, d in r.events()]
                    blocks = [e["content_block"] for e in said if e["type"] == "content_block_start"]
                    for i, b in enumerate(blocks):
                        b["input"] = json.loads("".join(e["delta"]["partial_json"] for e in said if e["type"] ==
                                                        "content_block_delta" and e["index"] == i) or "{}")
                else:
                    blocks = r.json()["content"]
                assert [(b["type"], b["name"], b["input"]) for b in blocks] == [("tool_use", "f", {}), ("tool_use", "g", {"b": 1})], (name, blocks)
                for b in blocks:
                    assert b["id"] not in seen or b["id"] == "call_same", (name, stream, b, seen[b["id"]])
                    seen[b["id"]] = name
                assert len({b["id"] for b in blocks}) == 2, (name, blocks)


if __name__ == "__main__":
    scene.main()
