"""Every recorded answer through the daemon to a client of every chat dialect. What the client gets is read by readers
of this file, not by the gateway's: text, calls and counts must be those that the provider sent. A client of the
provider's own dialect must get the very bytes.

The recordings are no part of this project: see 90_recorded.py."""

import base64
import json
import os
import struct

import replay
import scene

KEY = "sk-the-providers-own-key"

# --- what was said, in whatever dialect ---


class Said:
    def __init__(self):
        self.text, self.calls, self.input, self.output = "", [], None, None
        self.error = False

    def call(self, name, arguments):
        if not isinstance(arguments, str):
            arguments = json.dumps(arguments)
        self.calls.append([name, arguments])

    def done(self):
        calls = [(n, json.loads(a) if a and a != "null" else {}) for n, a in self.calls]
        return self.text, calls, self.input, self.output


def objects(body):
    """Every JSON object of a stream's events."""
    return [json.loads(d) for _, d in scene.sse_events(body) if d.startswith("{")]


def chat_content(content):
    """(text, whether) of a content that may be an array of parts (Mistral)."""
    if isinstance(content, list):
        return "".join(p.get("text", "") for p in content if p.get("type") == "text")
    return content or ""


def chat_counts(said, holders):
    u = replay.chat_usage(holders)
    if u:
        said.input, said.output = u["input"], u["output"]


def said_chat(body, stream):
    said = Said()
    if not stream:
        o = json.loads(body)
        m = o["choices"][0]["message"]
        said.text = chat_content(m.get("content")) + (m.get("refusal") or "")
        legacy = [{"function": m["function_call"]}] if m.get("function_call") else []
        for c in m.get("tool_calls") or legacy:
            said.call(c["function"]["name"], c["function"].get("arguments") or "")
        chat_counts(said, [o])
        return said
    chunks, table = objects(body), {}
    for o in chunks:
        said.error = said.error or bool(o.get("error"))
        for choice in o.get("choices") or []:
            delta = choice.get("delta") or {}
            said.text += chat_content(delta.get("content")) + (delta.get("refusal") or "")
            for i, c in enumerate(delta.get("tool_calls") or []):
                f = c.get("function") or {}
                at = c.get("index", i)
                if at in table and c.get("id") and f.get("name") and table[at][2] not in (None, c["id"]):
                    at = len(table)  # another call under the same number
                row = table.setdefault(at, ["", "", c.get("id")])
                row[0] = row[0] or f.get("name") or ""
                a = f.get("arguments")
                row[1] += a if isinstance(a, str) else json.dumps(a) if a is not None else ""
    for row in table.values():
        said.call(row[0], row[1])
    chat_counts(said, chunks)
    return said


def anthropic_counts(said, u):
    cached = (u.get("cache_read_input_tokens") or 0) + (u.get("cache_creation_input_tokens") or 0)
    if u.get("input_tokens") is not None:
        said.input = max(said.input or 0, u["input_tokens"] + cached)
    if u.get("output_tokens") is not None:
        said.output = u["output_tokens"]


def said_anthropic(body, stream):
    said = Said()
    if not stream:
        o = json.loads(body)
        for b in o["content"]:
            if b["type"] == "text":
                said.text += b["text"]
            elif b["type"] == "tool_use":
                said.call(b["name"], b["input"])
        anthropic_counts(said, o["usage"])
        return said
    open_block, call = None, None
    for o in objects(body):
        kind = o["type"]
        if kind == "message_start":
            anthropic_counts(said, o["message"]["usage"])
        elif kind == "content_block_start":
            open_block, b = o["index"], o["content_block"]
            call = None
            if b["type"] == "text":
                said.text += b["text"]
            elif b["type"] == "tool_use":
                call = [b["name"], ""]
        elif kind == "content_block_delta":
            assert open_block == o["index"], "a delta of a block that is not open"
            d = o["delta"]
            said.text += d.get("text", "")
            if call and d["type"] == "input_json_delta":
                call[1] += d["partial_json"]
        elif kind == "content_block_stop":
            assert open_block == o["index"], "a block is closed that is not open"
            if call:
                said.call(*call)
            open_block = None
        elif kind == "message_delta":
            anthropic_counts(said, o.get("usage") or {})
        elif kind == "error":
            said.error = True
    return said


def said_responses(body, stream):
    if stream:
        events = objects(body)
        last = [o for o in events if o["type"] in ("response.completed", "response.incomplete", "response.failed")]
        said = Said()
        if not last:
            said.error = True
            return said
        o = last[-1]["response"]
        said = said_responses(json.dumps(o), False)
        deltas = "".join(e["delta"] for e in events if e["type"] in ("response.output_text.delta", "response.refusal.delta"))
        assert deltas == said.text, "the deltas are not the text"
        said.error = last[-1]["type"] == "response.failed"
        return said
    o, said = json.loads(body), Said()
    for item in o["output"]:
        if item["type"] == "message":
            said.text += "".join(p.get("text") or p.get("refusal") or "" for p in item["content"])
        elif item["type"] == "function_call":
            said.call(item["name"], item["arguments"])
    if o.get("usage"):
        said.input, said.output = o["usage"]["input_tokens"], o["usage"]["output_tokens"]
    return said


def fenced(word, text):
    return f"\n```{word}\n{text}{'' if text.endswith(chr(10)) else chr(10)}```\n"


def said_gemini(body, stream):
    said = Said()
    for o in objects(body) if stream else [json.loads(body)]:
        said.error = said.error or "error" in o
        for part in [p for c in (o.get("candidates") or [])[:1] for p in (c.get("content") or {}).get("parts") or []]:
            if part.get("functionCall"):
                said.call(part["functionCall"]["name"], part["functionCall"].get("args") or {})
            elif "executableCode" in part:
                said.text += fenced(part["executableCode"]["language"].lower(), part["executableCode"]["code"])
            elif "codeExecutionResult" in part:
                said.text += fenced("", part["codeExecutionResult"]["output"])
            elif not part.get("thought"):
                said.text += part.get("text", "")
        u = o.get("usageMetadata")
        if u:
            said.input = u.get("promptTokenCount", 0) + u.get("toolUsePromptTokenCount", 0)
            said.output = u.get("candidatesTokenCount", 0) + u.get("thoughtsTokenCount", 0)
    return said


def cohere_counts(said, u):
    t = (u or {}).get("tokens") or {}
    if t:
        said.input, said.output = int(t["input_tokens"]), int(t["output_tokens"])


def said_cohere(body, stream):
    said = Said()
    if not stream:
        o = json.loads(body)
        m = o["message"]
        said.text = (m.get("tool_plan") or "") + "".join(p.get("text", "") for p in m.get("content") or []
                                                         if p["type"] == "text")
        for c in m.get("tool_calls") or []:
            said.call(c["function"]["name"], c["function"]["arguments"])
        cohere_counts(said, o.get("usage"))
        return said
    for o in objects(body):
        m = (o.get("delta") or {}).get("message") or {}
        if o["type"] == "tool-plan-delta":
            said.text += m["tool_plan"]
        elif o["type"] == "content-delta":
            said.text += m["content"].get("text") or ""
        elif o["type"] == "content-start":
            said.text += m["content"].get("text") or ""
        elif o["type"] == "tool-call-start":
            said.call(m["tool_calls"]["function"]["name"], m["tool_calls"]["function"].get("arguments") or "")
        elif o["type"] == "tool-call-delta":
            said.calls[-1][1] += m["tool_calls"]["function"]["arguments"]
        elif o["type"] == "message-end":
            cohere_counts(said, o["delta"].get("usage"))
            said.error = o["delta"].get("finish_reason") == "ERROR"
    return said


def aws_frames(body):
    at = 0
    while at < len(body):
        total, heads = struct.unpack(">II", body[at:at + 8])
        head, rest, names = body[at + 12:at + 12 + heads], body[at + 12 + heads:at + total - 4], {}
        while head:
            n = head[0]
            name, (size,) = head[1:1 + n].decode(), struct.unpack(">H", head[2 + n:4 + n])
            names[name] = head[4 + n:4 + n + size].decode()
            head = head[4 + n + size:]
        yield names, json.loads(rest) if rest else {}
        at += total


def bedrock_counts(said, u):
    said.input = u["inputTokens"] + (u.get("cacheReadInputTokens") or 0) + (u.get("cacheWriteInputTokens") or 0)
    said.output = u["outputTokens"]


def said_bedrock(body, stream):
    said, call = Said(), None
    if not stream:
        o = json.loads(body)
        for b in o["output"]["message"]["content"]:
            said.text += b.get("text", "")
            if "toolUse" in b:
                said.call(b["toolUse"]["name"], b["toolUse"]["input"])
        bedrock_counts(said, o["usage"])
        return said
    for names, o in aws_frames(body):
        kind = names.get(":event-type")
        said.error = said.error or names[":message-type"] != "event"
        if kind == "contentBlockStart" and "toolUse" in o["start"]:
            call = [o["start"]["toolUse"]["name"], ""]
        elif kind == "contentBlockDelta":
            said.text += o["delta"].get("text", "")
            if call and "toolUse" in o["delta"]:
                call[1] += o["delta"]["toolUse"].get("input", "")
        elif kind == "contentBlockStop" and call:
            said.call(*call)
            call = None
        elif kind == "metadata":
            bedrock_counts(said, o["usage"])
    return said


def said_invoke(body, stream):
    """Claude's answers; other makers' models are asked by Converse."""
    if not stream:
        return said_anthropic(body, False)
    events = [base64.b64decode(o["bytes"]).decode() for _, o in aws_frames(body)]
    return said_anthropic("".join(f"data: {e}\n\n" for e in events).encode(), True)


def said_ollama(body, stream):
    said = Said()
    for line in body.decode().split("\n") if stream else [body]:
        o = json.loads(line) if line else {}
        m = o.get("message") or {}
        said.text += m.get("content") or ""
        for c in m.get("tool_calls") or []:
            said.call(c["function"]["name"], c["function"].get("arguments") or "")
        if o.get("done"):
            said.input, said.output = o["prompt_eval_count"], o["eval_count"]
    return said


# --- clients ---

HI = [{"role": "user", "content": "Hi"}]
CLIENTS = {  # dialect: path and body for a model, whole or streamed; how its answer is read
    "openai_chat": (lambda m, s: ("/v1/chat/completions", {"model": m, "messages": HI, "stream": s, **(
        {"stream_options": {"include_usage": True}} if s else {})}), said_chat),
    "openai_responses": (lambda m, s: ("/v1/responses", {"model": m, "input": "Hi", "store": False, "stream": s}),
                         said_responses),
    "anthropic": (lambda m, s: ("/v1/messages", {"model": m, "messages": HI, "max_tokens": 100, "stream": s}),
                  said_anthropic),
    "gemini": (lambda m, s: (f"/v1beta/models/{m}:" + ("streamGenerateContent?alt=sse" if s else "generateContent"),
                             {"contents": [{"role": "user", "parts": [{"text": "Hi"}]}]}), said_gemini),
}

# --- providers: endpoint, dialect, kind by the recording's provider, how its answers are read ---

PROVIDERS = [
    ("chat/completions", "openai_chat", {
        "openai": "openai", "openrouter": "openrouter", "deepseek": "deepseek", "groq": "groq", "xai": "xai",
        "mistral": "mistral", "huggingface": "huggingface", "ollama": "ollama"}, said_chat),
    ("messages", "anthropic", {"anthropic": "anthropic"}, said_anthropic),
    ("generateContent", "gemini", {"gemini": "gemini", "vertex": "gemini"}, said_gemini),
    ("streamGenerateContent", "gemini", {"gemini": "gemini", "vertex": "gemini"}, said_gemini),
    ("v2/chat", "cohere", {"cohere": "cohere"}, said_cohere),
    ("converse", "bedrock", {"bedrock": "bedrock"}, said_bedrock),
    ("converse-stream", "bedrock", {"bedrock": "bedrock"}, said_bedrock),
    ("responses", "openai_responses", {"openai": "openai"}, said_responses),
    ("invoke", "bedrock_invoke", {"bedrock": "bedrock_invoke"}, said_invoke),
    ("invoke-with-response-stream", "bedrock_invoke", {"bedrock": "bedrock_invoke"}, said_invoke),
    ("api/chat", "ollama", {"ollama": "ollama_native"}, said_ollama),
]
STREAM_TYPES = {"bedrock": "application/vnd.amazon.eventstream", "bedrock_invoke": "application/vnd.amazon.eventstream",
                "ollama_native": "application/x-ndjson"}


def exchanges():
    """(endpoint's row, provider, name, body, stream) of every recording that is known here."""
    if not os.path.isdir(replay.RECORDED):
        scene.skip("there are no recordings")
    rows = {row[0]: row for row in PROVIDERS}
    for provider in sorted(os.listdir(replay.RECORDED)):
        folder = os.path.join(replay.RECORDED, provider)
        for name in sorted(os.listdir(folder)) if os.path.isdir(folder) else []:
            with open(os.path.join(folder, name), encoding="utf-8") as f:
                o = json.load(f)
            row = rows.get(o["endpoint"])
            if not row or o["response"]["status"] != 200:
                continue
            body = o["response"]["body"].encode()
            if o["response"]["body_encoding"] == "base64":
                body = base64.b64decode(body)
            if body.lstrip()[:1] == b"[":
                continue  # Gemini's stream as an array, which is never asked for
            lines = row[1] == "ollama" and b"\n{" in body
            yield row, provider, o["name"], body, lines or body.lstrip()[:1] != b"{"


def gateway(up):
    kinds = sorted({k for row in PROVIDERS for k in row[2].values()} | {"openai_compatible"})
    rows = []
    for kind in kinds:
        more = {"region": "eu-central-1"} if kind.startswith("bedrock") else {}
        rows.append(up.provider(kind, kind=kind, key=KEY, retry={"max": 0},
                                breaker={"consecutive_failures": 100000, "min_requests": 100000}, **more))
    models = [{"name": f"m-{k}", "targets": [{"provider": k, "model": "anthropic.claude-x" if k == "bedrock_invoke" else "m"}]} for k in kinds]
    return scene.Gateway({"providers": rows, "models": models, "log": {"level": "info"}}, workers=1)


def same_counts(what, got, want):
    for name, g, w in (("input", got.input, want.input), ("output", got.output, want.output)):
        if w:
            assert g == w, (what, name, g, "instead of", w)


def judge(what, r, stream, want, said):
    got = said(r.body, stream)
    assert not got.error, (what, r)
    g, w = got.done(), want.done()
    assert g[0] == w[0], (what, "text", g[0][-200:], "instead of", w[0][-200:])
    assert g[1] == w[1], (what, "calls", g[1], "instead of", w[1])
    same_counts(what, got, want)


# Answers that are none, that begin anew midway, and bills of several passes
UNFIT = ("error", "failed", "blocked", "overloaded", "spliced", "sql-agent", "search-regex", "compaction", "fallback",
         "no-args-tool-call", "call-arguments-stream", "array-arguments",
         "snowflake-native",
         "imported-model-completion", "invoke-model-with-content-mistral", "meta-llama3-completion", "anthropic-invoke-stream",
         "cohere-invoke-stream")  # no Claude's


def play(gw, up, exchange, client, make, said, wrong):
    row, provider, name, body, stream = exchange
    kind = row[2].get(provider, "openai" if row[1] == "openai_responses" else "openai_compatible")
    if client == "openai_responses" and row[1] == "openai_chat":
        kind = "openai_compatible"  # others are asked in the client's own dialect
    what = f"{provider}/{name} for {client}"
    type_ = "application/json"
    if stream:
        type_ = STREAM_TYPES.get(kind, "text/event-stream")
    path, asked = make(f"m-{kind}", stream)
    up.next(replay.player(200, {"Content-Type": type_}, body, replay.pieces(body, "cut", what), stream))
    r = gw.post(path, asked)
    try:
        assert r.status == 200, (what, r)
        if client != row[1]:
            judge(what, r, stream, row[3](body, stream), said)
        if client == row[1] and kind not in ("mistral", "huggingface") and not stream:
            assert r.body == body, (what, "bytes were changed")
    except (AssertionError, KeyError, ValueError, TypeError, IndexError) as e:
        wrong.append(f"{what}: {type(e).__name__} {str(e)[:500]}")


def test_every_answer_for_every_client():
    up = scene.Upstream()
    gw = gateway(up)
    wrong, count = [], {}
    for exchange in exchanges():
        row, name = exchange[0], exchange[2]
        if any(word in name for word in UNFIT):
            continue
        for client, (make, said) in CLIENTS.items():
            if row[1] == "openai_responses" and client != "openai_responses":
                continue  # its kinds are asked by their chat endpoint then
            play(gw, up, exchange, client, make, said, wrong)
            count[row[1], client] = count.get((row[1], client), 0) + 1
    for (provider, client), n in sorted(count.items()):
        print(f"# {provider} -> {client}: {n}")
    assert not wrong, f"{len(wrong)} wrong:\n" + "\n".join(wrong)


if __name__ == "__main__":
    scene.main()
