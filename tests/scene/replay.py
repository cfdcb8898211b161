"""What the scenes of wire formats share: recordings, bytes in pieces, and the rules of both dialects as the vendors'
references and recordings have them. Nothing here is taken from the gateway's own code: it is the second opinion."""

import json
import os
import random
import re

import scene

HERE = os.path.dirname(os.path.abspath(__file__))
SHARED = os.environ.get("PENSTOCK_SHARED") or os.path.join(HERE, "..", "..", "..", "shared")
RECORDED = os.path.join(SHARED, "wire", "recorded")


# --- recordings ---


class Recording:
    def __init__(self, path):
        with open(path, encoding="utf-8") as f:
            whole = json.load(f)
        self.provider, self.name, self.endpoint = whole["provider"], whole["name"], whole["endpoint"]
        request, response = whole["request"], whole["response"]
        self.request = request["body"]  # text or None
        self.status = response["status"]
        self.body = response["body"].encode()
        hop = ("content-length", "transfer-encoding", "content-encoding", "connection", "keep-alive")
        self.headers = {n: v for n, v in (response["headers"] or {}).items() if n.lower() not in hop}
        kind = next((v for n, v in self.headers.items() if n.lower() == "content-type"), "")
        self.stream = self.status == 200 and ("event-stream" in kind or re.match(rb"(data|event|:)", self.body) is not None)
        self.json = None if self.stream else _json(self.body)

    def __repr__(self):
        return f"{self.provider}/{self.name}"


def _json(body):
    try:
        return json.loads(body)
    except ValueError:
        return None


def recordings(wanted, *providers):
    """Every recording whose endpoint is wanted, of the providers named or of all."""
    if not os.path.isdir(RECORDED):
        scene.skip(f"there are no recordings: no {RECORDED} (PENSTOCK_SHARED names the folder that has wire/recorded)")
    found = []
    for provider in sorted(providers or os.listdir(RECORDED)):
        folder = os.path.join(RECORDED, provider)
        if not os.path.isdir(folder):
            continue
        for name in sorted(os.listdir(folder)):
            if name.endswith(".json"):
                path = os.path.join(folder, name)
                with open(path, encoding="utf-8") as f:
                    whole = json.load(f)
                if whole["endpoint"] == wanted and whole["response"]["body_encoding"] == "utf-8":
                    found.append(Recording(path))
    return found


# --- bytes ---


def pieces(body, how, seed=0):
    """The body whole, in random cuts, or byte by byte."""
    if how == "whole":
        return [body]
    if how == "bytes":
        return [body[i:i + 1] for i in range(len(body))]
    dice, out, at = random.Random(f"{seed}"), [], 0
    while at < len(body):
        n = dice.choice((1, 2, 3, 7, 20, 100, 500, 1500, 5000, 20000))
        out.append(body[at:at + n])
        at += n
    return out


def player(status, headers, body, cuts, chunked):
    """A script that answers with these bytes."""
    def script(a):
        a.head(status, headers, None if chunked else len(body))
        for piece in cuts:
            (a.chunk if chunked else a.raw)(piece)
        if chunked:
            a.end()
    return script


def frames(body):
    """The frames of a stream with their line ends and blank lines, as they are; joined they are the body."""
    return [f for f in re.split(rb"(?<=\n\n)|(?<=\r\n\r\n)", body) if f]


def frame_data(frame):
    """The data of a frame: text, or None for a comment."""
    found = scene.sse_events(frame)
    return found[0][1] if found else None


def frame_json(frame):
    data = frame_data(frame)
    return _json(data) if data and data.startswith("{") else None


# --- OpenAI's dialect ---


def _n(o, *path):
    for key in path:
        o = o.get(key) if isinstance(o, dict) else None
    return o if isinstance(o, int) and not isinstance(o, bool) else 0


def chat_usage(holders):
    """{input, cached, output, reasoning, cost} of a whole answer or of a stream's chunks, or None. Counts are totals:
    the last word counts."""
    found = None
    for o in holders:
        places = [o.get("usage"), (o.get("x_groq") or {}).get("usage")]
        places += [c.get("usage") for c in o.get("choices") or [] if isinstance(c, dict)]
        for u in places:
            if isinstance(u, dict) and (_n(u, "prompt_tokens") or _n(u, "completion_tokens")):
                found = u
    if found is None:
        return None
    cost = found.get("cost")
    if isinstance(cost, dict):
        cost = cost.get("total_cost")
    elif found.get("is_byok"):  # OpenRouter with an account of one's own at the provider
        cost += (found.get("cost_details") or {}).get("upstream_inference_cost") or 0
    elif cost is None and found.get("cost_in_usd_ticks"):  # xAI
        cost = found["cost_in_usd_ticks"] / 1e10
    out = {
        "input": _n(found, "prompt_tokens"),
        "cached": _n(found, "prompt_tokens_details", "cached_tokens") or _n(found, "prompt_cache_hit_tokens") or
        _n(found, "cached_tokens") or _n(found, "num_cached_tokens"),
        "output": _n(found, "completion_tokens"),
        "reasoning": _n(found, "completion_tokens_details", "reasoning_tokens") or _n(found, "reasoning_tokens"),
        "cost": cost,
    }
    beside = _n(found, "total_tokens") - out["input"] - out["output"]
    if beside > 0 and beside == out["reasoning"]:
        out["output"] += beside  # xAI
    elif beside > 0 and not out["reasoning"]:  # Gemini's own imitation: thoughts are in the total only
        out["output"] += beside
        out["reasoning"] = beside
    if out["cached"] > out["input"] and "num_sources_used" in found:  # grok on Azure: beside the prompt
        out["input"] += out["cached"]
    out["reasoning"] = min(out["reasoning"], out["output"])
    return out


class ChatAnswer:
    """A chat answer, whole or put together from its chunks as a client does, with what is wrong about the form."""

    def __init__(self):
        self.text, self.thinking, self.calls, self.blocks = "", "", [], []
        self.refusal, self.finish, self.native, self.usage, self.error = "", None, None, None, None


def read_chat(body):
    o = json.loads(body)
    assert o["object"] == "chat.completion" and o["id"] and isinstance(o["created"], int) and o["model"], o
    assert len(o["choices"]) == 1, o
    choice, out = o["choices"][0], ChatAnswer()
    message = choice["message"]
    assert choice["index"] == 0 and message["role"] == "assistant", o
    assert "content" in message and (message["content"] is not None or message.get("tool_calls") or message.get("refusal"))
    out.text = message["content"] or ""
    out.thinking = message.get("reasoning_content") or ""
    out.blocks = message.get("thinking_blocks") or []
    for call in message.get("tool_calls") or []:
        assert call["type"] == "function", call
        out.calls.append((call["id"], call["function"]["name"], call["function"]["arguments"]))
    out.finish, out.native, out.usage = choice["finish_reason"], choice.get("native_finish_reason"), o.get("usage")
    return out


def read_chunks(body, usage_asked):
    """Checks the grammar of a stream that the gateway wrote."""
    events = scene.sse_events(body)
    assert events and all(name == "" for name, _ in events), "events have names"
    out = ChatAnswer()
    chunks = [json.loads(d) for _, d in events if d != "[DONE]"]
    if "error" in chunks[-1]:
        out.error = chunks.pop()["error"]
        assert events[-1][1] != "[DONE]", "[DONE] behind an error"
    else:
        assert events[-1][1] == "[DONE]", "no [DONE]"
    assert [d for _, d in events].count("[DONE]") == (0 if out.error else 1)
    assert len({(c["id"], c["created"], c["model"], c["object"]) for c in chunks}) <= 1, "ids differ"
    if chunks:
        assert chunks[0]["object"] == "chat.completion.chunk"
        assert chunks[0]["choices"][0]["delta"]["role"] == "assistant", "the first chunk has no role"
    for i, c in enumerate(chunks):
        if not c["choices"]:
            assert usage_asked and i == len(chunks) - 1 and c["usage"], f"a chunk without choices: {c}"
            out.usage = c["usage"]
            continue
        assert not c.get("usage"), "usage in a chunk with choices"
        assert len(c["choices"]) == 1 and c["choices"][0]["index"] == 0
        choice = c["choices"][0]
        delta = choice["delta"]
        assert out.finish is None, f"a chunk behind the finish: {c}"
        assert i == 0 or "role" not in delta, "a second role"
        out.text += delta.get("content") or ""
        out.refusal += delta.get("refusal") or ""
        out.thinking += delta.get("reasoning_content") or ""
        for block in delta.get("thinking_blocks") or []:
            assert block.pop("index") == len(out.blocks), "blocks are put together by their index"
            out.blocks.append(block)
        for call in delta.get("tool_calls") or []:
            if call["index"] == len(out.calls):
                assert call["id"] and call["type"] == "function" and call["function"]["name"], call
                out.calls.append((call["id"], call["function"]["name"], call["function"].get("arguments") or ""))
            else:
                assert call["index"] == len(out.calls) - 1, f"index {call['index']} behind {len(out.calls)} calls"
                assert not call.get("id") and not call["function"].get("name"), call
                before = out.calls.pop()
                out.calls.append((before[0], before[1], before[2] + call["function"]["arguments"]))
        if choice["finish_reason"] is not None:
            out.finish, out.native = choice["finish_reason"], choice.get("native_finish_reason")
    assert out.error or out.finish, "no finish_reason"
    assert len({c[0] for c in out.calls}) == len(out.calls), "ids of calls repeat"
    return out


# --- Anthropic's dialect: answers ---

FINISH = {"end_turn": "stop", "stop_sequence": "stop", "max_tokens": "length", "tool_use": "tool_calls",
          "pause_turn": "stop", "refusal": "content_filter", "model_context_window_exceeded": "length"}


def _counts(u, into):
    flat = {**u, **(u.get("output_tokens_details") or {})}
    for key in ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens", "output_tokens", "thinking_tokens"):
        if _n(flat, key):
            into[key] = _n(flat, key)


class Message:
    """An Anthropic answer: blocks as they would be in a whole one, stop reason, usage; .begun_anew when a stream has a
    second message_start behind a tool call; .error when it ends with one."""

    def __init__(self):
        self.blocks, self.stop, self.error, self.begun_anew = [], None, None, False
        self.counts, self.passes = {}, []

    def note(self, u):
        _counts(u or {}, self.counts)
        self.passes = (u or {}).get("iterations") or self.passes

    def of(self, kind):
        return [b for b in self.blocks if b["type"] == kind]

    @property
    def text(self):
        return "".join(b["text"] for b in self.of("text"))

    @property
    def usage(self):
        c = dict(self.counts)
        if self.passes:  # what the top leaves out is billed all the same
            c = {}
            for one in self.passes:
                of_one = {}
                _counts(one, of_one)
                for key, n in of_one.items():
                    c[key] = c.get(key, 0) + n
        cached = c.get("cache_read_input_tokens", 0)
        return {"input": c.get("input_tokens", 0) + cached + c.get("cache_creation_input_tokens", 0), "cached": cached,
                "output": c.get("output_tokens", 0), "reasoning": c.get("thinking_tokens", 0), "cost": None}


def read_message(rec):
    m = Message()
    if not rec.stream:
        m.blocks, m.stop = rec.json["content"], rec.json["stop_reason"]
        m.note(rec.json.get("usage"))
        return m
    place, pieces_of = {}, {}
    for _, data in scene.sse_events(rec.body):
        e = json.loads(data)
        if e["type"] == "message_start":
            m.begun_anew = m.begun_anew or bool(m.of("tool_use"))
            m.note(e["message"].get("usage"))
        elif e["type"] == "content_block_start":
            m.blocks.append(place.setdefault(e["index"], dict(e["content_block"])))
            place[e["index"]] = m.blocks[-1]
            pieces_of[id(m.blocks[-1])] = ""
        elif e["type"] == "content_block_delta":
            block, d = place[e["index"]], e["delta"]
            if d["type"] == "input_json_delta":
                pieces_of[id(block)] += d["partial_json"]
            for key in ("text", "thinking", "signature"):
                if key in d:
                    block[key] = block.get(key, "") + d[key]
        elif e["type"] == "content_block_stop":
            block = place.pop(e["index"])
            if pieces_of[id(block)]:
                block["input"] = json.loads(pieces_of[id(block)])
        elif e["type"] == "message_delta":
            m.stop = e["delta"].get("stop_reason") or m.stop
            m.note(e.get("usage"))
        elif e["type"] == "error":
            m.error = e["error"]
        if e["type"] in ("message_stop", "error"):  # a fixture has two messages behind one another
            break
    return m


# --- Anthropic's dialect: requests ---

MEMBERS = {"model", "messages", "max_tokens", "system", "temperature", "top_p", "top_k", "stop_sequences", "stream", "tools",
           "tool_choice", "metadata", "thinking", "service_tier", "container", "context_management", "mcp_servers",
           "output_config", "cache_control"}
ID = re.compile(r"[a-zA-Z0-9_-]{1,64}\Z")


def _blocks(content):
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def _block_faults(b, where):
    kind = b.get("type")
    if kind == "text":
        if not isinstance(b.get("text"), str) or not b["text"].strip():
            yield f"{where}: text must not be empty"
    elif kind in ("image", "document"):
        source = b.get("source") or {}
        if source.get("type") == "base64":
            if source.get("media_type") not in (("image/jpeg", "image/png", "image/gif", "image/webp") if kind == "image"
                                                else ("application/pdf",)):
                yield f"{where}: media_type {source.get('media_type')}"
            if not source.get("data") or re.search(r"[^A-Za-z0-9+/=]", source["data"]):
                yield f"{where}: data is no base64"
        elif source.get("type") == "url":
            if not re.match(r"https?://", source.get("url") or ""):
                yield f"{where}: url {source.get('url')}"
        elif source.get("type") != "text" or kind == "image":
            yield f"{where}: source {source.get('type')}"
    elif kind == "tool_use":
        if not ID.match(b.get("id") or ""):
            yield f"{where}: id {b.get('id')}"
        if not isinstance(b.get("input"), dict):
            yield f"{where}: input is no object"
        if not re.match(r"[a-zA-Z0-9_-]{1,128}\Z", b.get("name") or ""):
            yield f"{where}: name {b.get('name')}"
    elif kind == "tool_result":
        inner = b.get("content", "")
        for i, x in enumerate([] if isinstance(inner, str) else inner):
            if x.get("type") not in ("text", "image", "document"):
                yield f"{where}.content[{i}]: {x.get('type')}"
            else:
                yield from _block_faults(x, f"{where}.content[{i}]")
    elif kind == "thinking":
        if not b.get("signature"):
            yield f"{where}: thinking without a signature"
    elif kind != "redacted_thinking":
        yield f"{where}: type {kind}"


def _message_faults(messages):
    open_ids, used, before = set(), set(), None
    if not messages:
        yield "messages: at least one"
    for i, m in enumerate(messages):
        where = f"messages[{i}]"
        if m.get("role") not in ("user", "assistant"):
            yield f"{where}: role {m.get('role')}"
        if m["role"] == before:
            yield f"{where}: {before} speaks twice"
        if i == 0 and m["role"] != "user":
            yield "the first message must be the user's"
        before = m["role"]
        blocks = _blocks(m.get("content") or [])
        if not blocks:
            yield f"{where} is empty"
        for j, b in enumerate(blocks):
            yield from _block_faults(b, f"{where}.content[{j}]")
            if b.get("type") in ("tool_use", "thinking", "redacted_thinking") and m["role"] != "assistant":
                yield f"{where}: {b['type']} of the user"
            if b.get("type") in ("tool_result", "image") and m["role"] != "user":
                yield f"{where}: {b['type']} of the assistant"
        results = [b["tool_use_id"] for b in blocks if b.get("type") == "tool_result"]
        if m["role"] == "user":
            if set(results) != open_ids or len(results) != len(open_ids):
                yield f"{where}: results {results} for calls {sorted(open_ids)}"
            if any(b.get("type") == "tool_result" for b in blocks[len(results):]):
                yield f"{where}: results must come first"
            open_ids = set()
        for b in blocks:
            if b.get("type") == "tool_use":
                if b["id"] in used:
                    yield f"{where}: id {b['id']} twice"
                used.add(b["id"])
                open_ids.add(b["id"])
    if open_ids:
        yield "the last calls have no results"
    if messages and messages[-1]["role"] == "assistant":
        last = _blocks(messages[-1]["content"])[-1]
        if last.get("type") == "text" and last["text"] != last["text"].rstrip():
            yield "the last text ends with white space"


def version_of(model):
    """(4, 5) of claude-sonnet-4-5-20250929."""
    found = re.search(r"-(\d)(?:[-.](\d))?(?=[-.@:]|$)", model)
    return (int(found.group(1)), int(found.group(2) or 0)) if found else (0, 0)


def request_faults(b):
    """What Anthropic would refuse about a Messages request."""
    out = [f"unknown member {k}" for k in b if k not in MEMBERS]
    out += [f"{k} is null" for k, v in b.items() if v is None]
    if not isinstance(b.get("model"), str) or not b["model"]:
        out.append("model")
    if not isinstance(b.get("max_tokens"), int) or b["max_tokens"] < 1:
        out.append("max_tokens is required")
    if b.get("system") is not None:
        for i, x in enumerate(_blocks(b["system"])):
            out += [f"system: {x.get('type')}"] if x.get("type") != "text" else list(_block_faults(x, f"system[{i}]"))
    out += _message_faults(b.get("messages") or [])
    names = []
    for i, t in enumerate(b.get("tools") or []):
        names.append(t.get("name"))
        if not re.match(r"[a-zA-Z0-9_-]{1,128}\Z", t.get("name") or ""):
            out.append(f"tools[{i}].name {t.get('name')}")
        if not isinstance(t.get("input_schema"), dict) or t["input_schema"].get("type") != "object":
            out.append(f"tools[{i}].input_schema.type must be object")
        out += [f"tools[{i}].{k}" for k in t
                if k not in ("name", "description", "input_schema", "cache_control", "strict", "type")]
    if len(set(names)) != len(names):
        out.append("tools: names repeat")
    if b.get("tools") == []:
        out.append("tools is empty")
    choice = b.get("tool_choice")
    if choice is not None:
        if not b.get("tools"):
            out.append("tool_choice without tools")
        if not isinstance(choice, dict) or choice.get("type") not in ("auto", "any", "none", "tool"):
            out.append(f"tool_choice {choice}")
        elif choice["type"] == "tool" and choice.get("name") not in names:
            out.append(f"tool_choice names {choice.get('name')}")
    if not 0 <= b.get("temperature", 0) <= 1 or not 0 <= b.get("top_p", 0) <= 1:
        out.append("temperature or top_p out of range")
    version = version_of(b.get("model") or "")
    if version >= (4, 1) and "temperature" in b and "top_p" in b:
        out.append("temperature and top_p")
    if (version >= (5, 0) or (version >= (4, 7) and "opus" in b["model"])) and {"temperature", "top_p", "top_k"} & set(b):
        out.append("sampling values")
    thinking = b.get("thinking") or {}
    if thinking.get("type") == "enabled":
        if not 1024 <= thinking.get("budget_tokens", 0) < b["max_tokens"]:
            out.append("budget_tokens out of range")
        if choice and choice.get("type") in ("any", "tool"):
            out.append("a forced tool with a thinking budget")
    if thinking.get("type") in ("enabled", "adaptive") and b.get("temperature", 1) != 1:
        out.append("temperature with thinking")
    if any(not s.strip() for s in b.get("stop_sequences") or []):
        out.append("an empty stop sequence")
    if len(json.dumps(b).split('"cache_control"')) > 5:
        out.append("more than 4 cache points")
    return out


def chat_of_messages(b):
    """An Anthropic request as a client of OpenAI's dialect would have made it: text, tools, pictures. Other blocks are
    left out."""
    out = {"model": b["model"], "messages": [], "max_tokens": b.get("max_tokens", 1000)}
    for key in ("temperature", "stream"):
        if key in b:
            out[key] = b[key]
    if b.get("stop_sequences"):
        out["stop"] = b["stop_sequences"]
    system = "".join(x["text"] for x in _blocks(b.get("system") or []))
    if system:
        out["messages"].append({"role": "system", "content": system})
    for m in b["messages"]:
        parts, calls = [], []
        for x in _blocks(m["content"]):
            if x["type"] == "text" and x["text"]:
                parts.append({"type": "text", "text": x["text"]})
            elif x["type"] == "image" and x["source"]["type"] in ("base64", "url"):
                s = x["source"]
                url = s["url"] if s["type"] == "url" else f"data:{s['media_type']};base64,{s['data']}"
                parts.append({"type": "image_url", "image_url": {"url": url}})
            elif x["type"] == "tool_use":
                calls.append({"id": x["id"], "type": "function",
                              "function": {"name": x["name"], "arguments": json.dumps(x["input"])}})
            elif x["type"] == "tool_result":
                inner = x.get("content") or ""
                text = inner if isinstance(inner, str) else "".join(y.get("text", "") for y in inner)
                out["messages"].append({"role": "tool", "tool_call_id": x["tool_use_id"], "content": text})
        if m["role"] == "assistant" and (parts or calls):
            text = "".join(p["text"] for p in parts)
            out["messages"].append({"role": "assistant", "content": text or None, **({"tool_calls": calls} if calls else {})})
        elif m["role"] == "user" and parts:
            out["messages"].append({"role": "user", "content": parts})
    if not any(m["role"] == "user" for m in out["messages"]):
        out["messages"].append({"role": "user", "content": "Hi"})
    tools = [t for t in b.get("tools") or [] if t.get("type", "custom") == "custom"]
    if tools:
        out["tools"] = [{"type": "function", "function": {"name": t["name"], "description": t.get("description", ""),
                                                          "parameters": t["input_schema"]}} for t in tools]
    choice = (b.get("tool_choice") or {}).get("type")
    if tools and choice:
        out["tool_choice"] = {"auto": "auto", "any": "required", "none": "none"}.get(
            choice, {"type": "function", "function": {"name": b["tool_choice"].get("name")}})
    return out
