"""Recorded exchanges with real providers, played again through the daemon: the upstream answers with the recorded
bytes, whole and in pieces, and the client, the upstream and the ledger must see what really happened.

The recordings are no part of this project: PENSTOCK_SHARED names the folder that has wire/recorded (by default
"shared" beside the source directory); without it all is skipped."""

import base64
import json
import os
import re

import replay
import scene

KEY = "sk-the-providers-own-key"
SMALL = 2500  # bytes of an answer that is also sent byte by byte
KINDS = {"openai": "openai", "openrouter": "openrouter", "anthropic": "anthropic"}  # all others: openai_compatible


class Stage:
    """A gateway with a provider of each kind, one upstream behind all of them, and what the ledger must say."""

    def __init__(self):
        self.up = scene.Upstream()
        rows = [self.up.provider(k, kind=k, key=KEY, retry={"max": 0},
                                 breaker={"consecutive_failures": 100000, "min_requests": 100000})
                for k in ("openai", "openai_compatible", "openrouter", "anthropic")]
        models = [{"name": how, "on_unsupported": how, "targets": [{"provider": "anthropic", "model": model}]}
                  for how, model in (("reject", "claude-sonnet-4-5"), ("drop", "claude-opus-5"))]
        self.conf = {"providers": rows, "models": models, "routing": {"fallback": False}, "log": {"level": "info"}}
        self.count = {}
        self.begin()

    def begin(self):
        self.gw = scene.Gateway(self.conf, workers=1)
        self.client = self.gw.client()
        self.expected = []

    def renew(self):
        """A key that a provider has refused rests: the next recording is played to another gateway."""
        self.settle()
        self.gw.stop()
        self.begin()

    def end(self):
        self.settle()
        print("# " + ", ".join(f"{n} {what}" for what, n in sorted(self.count.items())))

    def post(self, body):
        """Over one connection, as long as it lives."""
        if isinstance(body, dict):
            body = json.dumps(body)
        try:
            self.client.request("POST", "/v1/chat/completions", body, {"Content-Type": "application/json"})
            r = self.client.response()
        except (scene.Closed, OSError):
            self.client = self.gw.client()
            raise
        if r.headers.get("connection", "").lower() == "close":
            self.client = self.gw.client()
        assert KEY not in r.text
        return r

    def account(self, what, r, **row):
        self.expected.append((what, r.headers["x-request-id"], row))

    def settle(self):
        """Every request is in the log once, with the numbers that were expected."""
        wanted = {rid for _, rid, _ in self.expected}

        def there():
            rows = [x for x in self.gw.log() if x.get("request_id") in wanted and x.get("event") in ("response", "error")]
            return len(rows) >= len(wanted) and rows
        rows = scene.wait_for(there, "the records")
        assert len(rows) == len(wanted), "a request has two records"
        by_id = {x["request_id"]: x for x in rows}
        for what, rid, want in self.expected:
            row = by_id[rid]
            for key, value in want.items():
                got = len(row["attempts"]) if key == "attempts" else row.get(key)
                if key == "cost_usd" and value is not None:
                    assert got is not None and abs(got - value) < 1e-9, (what, key, got, value)
                else:
                    assert got == value, (what, key, got, "instead of", value, row)
        with open(self.gw.log_path, errors="replace") as f:
            assert KEY not in f.read(), "the key is in the log"

    def counted(self, what):
        self.count[what] = self.count.get(what, 0) + 1


def usage_row(usage):
    if usage is None:
        return {"tokens_estimated": True}
    row = {f"{k}_tokens": usage[k] for k in ("input", "cached", "output", "reasoning")}
    if usage["cost"] is not None:
        row["cost_usd"] = usage["cost"]
    return row


def variants(rec):
    """(name, bytes, cuts) of the ways in which an answer may come."""
    bodies = [("", rec.body)]
    if rec.stream:
        other = rec.body.replace(b"\r\n", b"\n") if b"\r\n" in rec.body else rec.body.replace(b"\n", b"\r\n")
        bodies.append((" with other line ends", other))
    for name, body in bodies:
        for how in ("whole", "cut", "cut again", "bytes"):
            if how == "bytes" and len(body) > SMALL:
                continue
            yield how + name, body, replay.pieces(body, how, (rec.name, how))


# --- errors ---

LIMIT = re.compile(r"context.?length|context window|prompt is too long|too many (input )?tokens", re.I)


def error_of(body):
    """(message, code) of an error body, whatever its shape."""
    o = body
    if isinstance(o, list):
        o = o[0]
    e = o.get("error", o) if isinstance(o, dict) else o
    if isinstance(e, dict):
        return str(e.get("message") or ""), str(e.get("code") or e.get("type") or "")
    return str(e), ""


def class_of(status, message, code):
    """What kind of fault a status and a text tell of; None where they leave it open."""
    if "insufficient_quota" in code or status == 402 or "credit balance" in message:
        return "insufficient_quota"
    if status in (401, 403) or "invalid_api_key" in code:
        return "provider_authentication"
    if "content_filter" in code or "content_policy" in code:
        return "content_filter"
    if LIMIT.search(message + " " + code) and status in (0, 400, 413):
        return "context_length_exceeded"
    return {400: "invalid_request", 422: "invalid_request", 404: "model_not_found", 413: "request_too_large",
            429: "rate_limit_exceeded", 500: "server_error", 502: "server_error", 503: "overloaded", 529: "overloaded",
            504: "timeout", 408: "timeout"}.get(status)


def check_error(stage, what, r, status, body):
    """A recorded error with a status of its own."""
    message, code = error_of(body if body is not None else {})
    cls = class_of(status, message, code)
    e = r.json()["error"]
    assert set(e) >= {"message", "type", "param", "code"} and e["message"], (what, e)
    if cls == "provider_authentication":
        assert r.status == 502 and (not message or message not in r.text), (what, r)
    elif cls == "insufficient_quota":
        assert r.status == 429 and e["message"].startswith(message[:200]), (what, r)
    else:
        assert r.status == status, (what, r)
        assert e["message"].startswith(message[:200]), (what, e)
    if cls == "context_length_exceeded":
        assert e["code"] == "context_length_exceeded", (what, e)
    stage.account(what, r, complete=False, status=r.status, attempts=1, **({"fault": cls} if cls else {}))
    if cls == "provider_authentication":
        stage.renew()


# --- the same dialect ---


def client_request(rec, provider):
    """What the client sends, and what the upstream must get if nothing is to be added."""
    if rec.request is None:
        body = {"model": "m", "messages": [{"role": "user", "content": "Hi"}]}
        if rec.stream:
            body["stream"] = True
        sent = json.dumps(body)
    else:
        sent = rec.request
    found = re.search(r'"model"\s*:\s*"([^"]*)"', sent)
    return sent[:found.start(1)] + f"{provider}/" + sent[found.start(1):], sent


def check_upstream(what, got, sent):
    before, after = json.loads(sent), json.loads(got)
    options = before.get("stream_options") or {}
    if not before.get("stream") or options.get("include_usage"):
        assert got == sent.encode(), (what, "the request has changed", got[:300], sent[:300])
        return
    assert after.pop("stream_options") == {**options, "include_usage": True}, what
    before.pop("stream_options", None)
    assert after == before, (what, "the request has changed")
    if not options:
        assert got.replace(b'"stream_options":{"include_usage":true},', b"") == sent.encode(), what


def passes(body, usage_asked):
    """(the bytes of a stream that a client must see, the error in it or None, whether there was output before it)."""
    out, output = b"", False
    for frame in replay.frames(body):
        if replay.frame_data(frame) == "[DONE]":
            out += frame if frame.endswith((b"\n\n", b"\r\n\r\n")) else frame + b"\n"
            break
        o = replay.frame_json(frame)
        if o is not None:
            choices = o.get("choices") or []
            error = o.get("error") or next((c["error"] for c in choices if c.get("error")), None)
            if error:
                return out, error, output
            if not choices and o.get("usage") and not usage_asked:
                continue
            for c in choices:
                delta = c.get("delta") or {}
                output = output or bool(c.get("finish_reason") or delta.get("tool_calls") or delta.get("function_call") or any(
                    delta.get(k) for k in ("content", "refusal", "reasoning", "reasoning_content")))
        out += frame
    return out, None, output


def replay_stream(stage, what, rec, sent, r, body):
    usage_asked = bool((json.loads(sent).get("stream_options") or {}).get("include_usage"))
    seen, error, output = passes(body, usage_asked)
    chunks = [c for c in map(replay.frame_json, replay.frames(body)) if c]
    usage = replay.chat_usage(chunks)
    numbers = usage_row(usage)
    if error is None:
        assert r.status == 200 and r.body == seen, (what, r.status, r.body[-400:], seen[-400:])
        assert r.headers["content-type"].startswith("text/event-stream")
        stage.account(what, r, status=200, complete=True, stream=True, attempts=1, **numbers)
    elif output:
        message, _ = error_of({"error": error})
        assert r.status == 200 and r.body.startswith(seen), (what, r)
        last = r.body[len(seen):]
        assert json.loads(replay.frame_data(last))["error"]["message"].startswith(message) and b"[DONE]" not in last
        stage.account(what, r, status=200, complete=False, attempts=1, **numbers)
    else:
        message, code = error_of({"error": error})
        assert r.status >= 400 and r.json()["error"]["message"].startswith(message), (what, r)
        cls = class_of(0, message, code)
        stage.account(what, r, status=r.status, complete=False, attempts=1, **({"fault": cls} if cls else {}))


def replay_whole(stage, what, rec, r, body):
    if rec.status != 200 or (rec.json or {}).get("error"):
        assert rec.status != 200, (what, "an error in a 200")
        check_error(stage, what, r, rec.status, rec.json)
        return
    assert r.status == 200 and r.body == body, (what, r)
    numbers = usage_row(replay.chat_usage([rec.json]))
    if numbers.get("cost_usd"):
        assert float(r.headers["x-penstock-cost-usd"]) == float(f"{numbers['cost_usd']:.9f}"), (what, r.headers)
    stage.account(what, r, status=200, complete=True, stream=False, attempts=1, **numbers)


def replay_same(stage, rec):
    provider = KINDS.get(rec.provider, "openai_compatible")
    client, sent = client_request(rec, provider)
    asks_stream = json.loads(sent).get("stream", False)
    if rec.stream != bool(asks_stream) and rec.status == 200:
        stage.counted(f"{rec.provider}: left out, since request and answer do not fit")
        return
    for how, body, cuts in variants(rec):
        what = f"{rec} {how}"
        stage.up.next(replay.player(rec.status, rec.headers, body, cuts, rec.stream))
        r = stage.post(client)
        check_upstream(what, stage.up.requests[-1].body, sent)
        assert stage.up.requests[-1].headers["authorization"] == f"Bearer {KEY}"
        if rec.stream:
            replay_stream(stage, what, rec, sent, r, body)
        else:
            replay_whole(stage, what, rec, r, body)
    if rec.stream:  # as a client that does the other thing about usage
        body = {"model": f"{provider}/m", "messages": [{"role": "user", "content": "Hi"}], "stream": True}
        if not (json.loads(sent).get("stream_options") or {}).get("include_usage"):
            body["stream_options"] = {"include_usage": True}
        stage.up.next(replay.player(rec.status, rec.headers, rec.body, replay.pieces(rec.body, "cut", rec.name), True))
        r = stage.post(body)
        replay_stream(stage, f"{rec} and usage", rec, json.dumps(body), r, rec.body)
    stage.counted(f"{rec.provider} {'streams' if rec.stream else 'answers' if rec.status == 200 else 'errors'}")


def test_openais_dialect_passes():
    recs = replay.recordings("chat/completions") + replay.recordings("v1/chat", "openai-compatible")
    stage = Stage()
    for rec in recs:
        replay_same(stage, rec)
    stage.end()


# --- Anthropic for a client of OpenAI's dialect ---


def anthropic_request(rec, stream_usage):
    b = json.loads(rec.request) if rec.request else {"model": "claude-sonnet-4-5", "messages": [
        {"role": "user", "content": "Hi"}]}
    out = replay.chat_of_messages(b)
    model = out["model"]
    out["model"] = "anthropic/" + model
    out.pop("stream", None)
    if rec.stream:
        out["stream"] = True
        if stream_usage:
            out["stream_options"] = {"include_usage": True}
    return out, model


def texts(messages):
    """Role by role, what a model is to read, of either dialect."""
    out = []
    for m in messages:
        role = "user" if m["role"] in ("user", "tool") else m["role"]
        content = m.get("content") or ""
        text = content if isinstance(content, str) else ""
        for b in content if isinstance(content, list) else []:
            inner = b.get("content") or ""
            text += b.get("text") or (inner if isinstance(inner, str) else "".join(x.get("text", "") for x in inner))
        if out and out[-1][0] == role:
            out[-1] = (role, out[-1][1] + text)
        else:
            out.append((role, text))
    return out


def check_messages_request(what, body, model, asked):
    faults = replay.request_faults(body)
    assert not faults, (what, faults)
    assert body["model"] == model and body["max_tokens"] == asked["max_tokens"], what
    assert bool(body.get("stream")) == bool(asked.get("stream")), what
    said = [m for m in asked["messages"] if m["role"] != "system"]
    # The last words of an assistant may not end with white space.
    got, want = texts(body["messages"]), texts(said)
    if want and want[-1][0] == "assistant":
        want[-1] = ("assistant", want[-1][1].rstrip())
    assert got == want, (what, got, want)
    calls = [(b["name"], b["input"]) for m in body["messages"] for b in m["content"] if b["type"] == "tool_use"]
    assert calls == [(c["function"]["name"], json.loads(c["function"]["arguments"]))
                     for m in said for c in m.get("tool_calls") or []], what
    assert [t["name"] for t in body.get("tools", [])] == [t["function"]["name"] for t in asked.get("tools", [])], what


def marked(state):
    """As another dialect's clients are given a state of Anthropic's."""
    return base64.b64encode(f"penstock:anthropic:{state}".encode()).decode()


def check_chat(what, chat, message, usage_asked):
    assert chat.text == message.text, (what, chat.text, message.text)
    tools = message.of("tool_use")
    assert [(c[1], json.loads(c[2])) for c in chat.calls] == [(b["name"], b["input"]) for b in tools], (what, chat.calls)
    assert all(replay.ID.match(c[0]) for c in chat.calls)
    finish = "tool_calls" if tools else replay.FINISH.get(message.stop, "stop")
    assert chat.finish == finish, (what, chat.finish, message.stop)
    if not tools and message.stop not in ("end_turn", "stop_sequence", "max_tokens", "tool_use"):
        assert chat.native == message.stop, (what, chat.native)
    assert chat.thinking == "".join(b["thinking"] for b in message.of("thinking")), what
    want = [{"type": b["type"], **({"data": marked(b["data"])} if "data" in b else
                                   {"thinking": b["thinking"], "signature": marked(b["signature"])})}
            for b in message.blocks if b["type"] == "redacted_thinking" or (b["type"] == "thinking" and b.get("signature"))]
    assert chat.blocks == want, (what, chat.blocks, want)
    if not usage_asked:
        assert chat.usage is None, what
        return
    u, n = chat.usage, message.usage
    assert (u["prompt_tokens"], u["completion_tokens"], u["total_tokens"]) == (n["input"], n["output"],
                                                                             n["input"] + n["output"]), (what, u, n)
    assert u["prompt_tokens_details"]["cached_tokens"] == n["cached"], (what, u, n)
    assert u["completion_tokens_details"]["reasoning_tokens"] == n["reasoning"], (what, u, n)


def replay_anthropic_stream(stage, what, r, message, usage_asked):
    numbers = usage_row(message.usage)
    if message.error and not message.blocks:
        kind, text = message.error["type"], message.error["message"]
        status = {"overloaded_error": 503, "rate_limit_error": 429, "api_error": 502, "invalid_request_error": 400}.get(kind)
        assert r.status == status and r.json()["error"]["message"].startswith(text), (what, r)
        stage.account(what, r, status=r.status, complete=False, attempts=1)
        return
    if message.begun_anew and r.status == 502:  # all of it came before the first byte went out
        stage.account(what, r, status=502, complete=False, attempts=1)
        return
    assert r.status == 200, (what, r)
    chat = replay.read_chunks(r.body, usage_asked)
    if message.error or message.begun_anew:
        assert chat.error and chat.error["message"], (what, r)
        stage.account(what, r, status=200, complete=False, attempts=1)
        return
    assert not chat.error, (what, chat.error)
    check_chat(what, chat, message, usage_asked)
    stage.account(what, r, status=200, complete=True, stream=True, attempts=1, **numbers)


def replay_anthropic(stage, rec):
    message = replay.read_message(rec) if rec.status == 200 else None
    for i, (how, body, cuts) in enumerate(variants(rec)):
        what, usage_asked = f"{rec} {how}", i % 2 == 0
        asked, model = anthropic_request(rec, usage_asked)
        stage.up.next(replay.player(rec.status, rec.headers, body, cuts, rec.stream))
        r = stage.post(asked)
        got = stage.up.requests[-1]
        assert got.path == "/v1/messages" and got.headers["anthropic-version"], (what, got.path)
        assert got.headers["x-api-key"] == KEY, (what, got.headers.list)
        check_messages_request(what, got.json(), model, asked)
        if rec.status != 200:
            check_error(stage, what, r, rec.status, rec.json)
        elif rec.stream:
            replay_anthropic_stream(stage, what, r, message, usage_asked)
        else:
            assert r.status == 200, (what, r)
            check_chat(what, replay.read_chat(r.body), message, True)
            stage.account(what, r, status=200, complete=True, stream=False, attempts=1, **usage_row(message.usage))
    stage.counted(f"{rec.provider} {'streams' if rec.stream else 'answers' if rec.status == 200 else 'errors'}")


def test_anthropic_for_a_client_of_openai():
    recs = replay.recordings("messages", "anthropic")
    stage = Stage()
    for rec in recs:
        replay_anthropic(stage, rec)
    stage.end()


# --- every recorded request of OpenAI's dialect, for Anthropic ---


def test_recorded_requests_for_anthropic():
    recs = [r for r in replay.recordings("chat/completions") if r.request]
    stage = Stage()
    stage.up.default = lambda a: a.whole(200, {
        "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-sonnet-4-5", "stop_reason": "end_turn",
        "stop_sequence": None, "content": [{"type": "text", "text": "Fine."}], "usage": {"input_tokens": 5, "output_tokens": 1}})
    for rec in recs:
        asked = json.loads(rec.request)
        asked.pop("stream", None)
        asked.pop("stream_options", None)
        for how in ("reject", "drop"):
            what, n = f"{rec} {how}", len(stage.up.requests)
            asked["model"] = how
            r = stage.post(asked)
            stage.account(what, r, status=r.status, complete=r.status == 200)
            dropped = [x for x in r.headers.get("x-penstock-dropped", "").split(",") if x]
            if r.status == 400:
                e = r.json()["error"]
                stage.counted(f"{how}: refused")
                assert e["param"] and e["param"] in e["message"] and len(stage.up.requests) == n, (what, r)
                assert how == "reject" or e["code"] != "unsupported_parameter", (what, r)
                if os.environ.get("SCENE_VERBOSE"):
                    print(f"# {what}: {e['message']}")
                continue
            assert r.status == 200, (what, r)
            body = stage.up.requests[-1].json()
            faults = replay.request_faults(body)
            assert not faults, (what, faults, body)
            if os.environ.get("SCENE_VERBOSE") and dropped:
                print(f"# {what}: dropped {dropped}")
            for name in dropped:
                assert name.split("[")[0].split(".")[0] in asked, (what, f"{name} was never there")
            stage.counted(f"{how}: translated" + (" with something dropped" if dropped else ""))
            said = [m for m in asked["messages"] if m["role"] not in ("system", "developer")]
            calls = sum(len(m.get("tool_calls") or ()) + bool(m.get("function_call")) for m in said)
            assert calls == sum(b["type"] == "tool_use" for m in body["messages"] for b in m["content"]), what
    stage.end()


if __name__ == "__main__":
    scene.main()
