"""log.content: the words of prompts and answers in the log store and in the log, masked before anything is written,
however a stream is cut, within their bounds; on all workers, over kills and reloads."""

import fcntl
import json
import os
import signal
import threading

import scene

BOSS = {"authorization": "Bearer sk-boss"}
KEYS = {"keys": [{"id": "boss", "key": {"value": "sk-boss"}, "permissions": ["completion", "embedding", "admin"]}]}
PRIVATE = ["jane.doe@example.com", "4111 1111 1111 1111", "+49 30 90182001", "sk-live1234567890abcdefgh", "Musterstraße 12"]
SAID = ("Write to jane.doe@example.com, pay with 4111 1111 1111 1111, call +49 30 90182001, use the key "
        "sk-live1234567890abcdefgh and come to Musterstraße 12, 10115 Berlin. 🙂 Ünïcode \"quoted\"\nand a second line.")
MASKED = ("Write to [EMAIL], pay with [CARD], call [PHONE], use the key [SECRET] and come to [ADDRESS]. 🙂 Ünïcode \"quoted\"\n"
          "and a second line.")


def start(log=None, workers=4, up=None, **more):
    up = up or scene.Upstream()
    return up, scene.Gateway({"providers": [up.provider(retry={"max": 0})], "auth": KEYS, "log": {"content": "masked", **(log or {})}, **more}, workers=workers)


def record(gw, request_id, kind="response,error"):
    """The one record of a request."""
    def look():
        rows = gw.admin(f"/logs?request_id={request_id}&type={kind}", headers=BOSS).json()["data"]
        return rows if rows else None
    rows = scene.wait_for(look, f"the record of {request_id}")
    assert len(rows) == 1, rows
    return rows[0]


def line(gw, request_id):
    return scene.wait_for(lambda: [x for x in gw.log("response") + gw.log("error") if x["request_id"] == request_id],
                          "its line")[0]


def kept(gw):
    """All bytes that the gateway has written."""
    files = [gw.path("state/logs/data.mdb")] + [path for path, _ in gw.log_text()]
    return b"".join(open(f, "rb").read() for f in files)


def nothing_private(gw):
    data = kept(gw)
    for secret in PRIVATE:
        assert secret.encode() not in data and json.dumps(secret)[1:-1].encode() not in data, secret


def ask(gw, name, text="Hi", **more):
    r = gw.chat("up/m", text=text, headers={**BOSS, "x-request-id": name}, **more)
    assert r.status == 200, r


def words(text, sizes):
    """Cut as `sizes` say, again and again."""
    out, i = [], 0
    while text:
        n = sizes[i % len(sizes)]
        out.append(text[:n])
        text = text[n:]
        i += 1
    return out


def test_masked_by_default_in_the_store_and_in_the_log():
    up, gw = start()
    up.next(lambda a: a.whole(200, scene.chat_reply(text=SAID)))
    ask(gw, "whole", SAID)
    asked, got = record(gw, "whole", "request"), record(gw, "whole")
    assert asked["prompt"] == "user: " + MASKED and got["answer"] == MASKED, (asked, got)
    assert "answer" not in asked and "prompt" not in got and "truncated" not in asked
    text = line(gw, "whole")
    assert text["prompt"] == asked["prompt"] and text["answer"] == got["answer"], text
    nothing_private(gw)


def test_lines_behind_what_happened_to_the_gateway_itself():
    """One batch of the rings of two workers, each of which begins with an event."""
    up = scene.Upstream(scene.status_script(500))
    up, gw = start(workers=2, up=up, providers=[up.provider(retry={"max": 0}, breaker={"consecutive_failures": 1, "error_rate": 0})])
    for batch in range(3):
        scribe = gw.scribe().pid
        gw.signal(signal.SIGSTOP, scribe)
        names = [f"{batch}-{i}" for i in range(10)]
        for name in names:  # a target each, whose breaker opens
            assert gw.chat(f"up/{name}", text=f"Say {name}", headers={**BOSS, "x-request-id": name}).status >= 500
        gw.signal(signal.SIGCONT, scribe)
        for name in names:
            assert line(gw, name)["prompt"] == f"user: Say {name}", line(gw, name)


def test_streams_cut_anywhere():
    up, gw = start()
    for i, sizes in enumerate([[1], [2], [3], [7], [1, 40], [5, 1, 2], [1000]]):
        up.next(scene.chat_script(words(SAID, sizes)))
        ask(gw, f"s{i}", "Hi", stream=True)
        assert record(gw, f"s{i}")["answer"] == MASKED, (sizes, record(gw, f"s{i}"))
    nothing_private(gw)


def test_other_dialects():
    up, gw = start()
    messages = [{"role": "user", "content": [{"type": "text", "text": "first"}, {"type": "text", "text": SAID}]}]
    paths = {"/v1/messages": {"model": "up/m", "max_tokens": 50, "system": "Be kind.", "messages": messages},
             "/v1/responses": {"model": "up/m", "instructions": "Be kind.", "input": [
                 {"role": "user", "content": [{"type": "input_text", "text": "first"}, {"type": "input_text", "text": SAID}]}]},
             "/v1beta/models/up%2Fm:generateContent": {"systemInstruction": {"parts": [{"text": "Be kind."}]},
                                                       "contents": [{"role": "user", "parts": [{"text": "first"}, {"text": SAID}]}]}}
    for i, (path, body) in enumerate(paths.items()):
        for stream in (False, True):
            up.next(scene.chat_script(words(SAID, [3, 1])) if stream else lambda a: a.whole(200, scene.chat_reply(text=SAID)))
            name = f"d{i}-{stream}"
            if "models" in path:
                path = path.replace(":generateContent", ":streamGenerateContent?alt=sse") if stream else path
                r = gw.post(path, body, headers={**BOSS, "x-request-id": name})
            else:
                r = gw.post(path, {**body, "stream": stream}, headers={**BOSS, "x-request-id": name})
            assert r.status == 200, (path, r)
            asked, got = record(gw, name, "request"), record(gw, name)
            assert got["answer"] == MASKED, (path, stream, got)
            assert "Be kind." in asked["prompt"] and "user: first\n" + MASKED in asked["prompt"], (path, asked)
    nothing_private(gw)


def test_of_a_conversation_the_text_and_nothing_else():
    up, gw = start()
    body = {"model": "up/m", "tools": [{"type": "function", "function": {"name": "f", "description": "TOOL", "parameters": {
        "type": "object", "properties": {"text": {"type": "string", "description": "TOOL"}}}}}], "metadata": {"text": "META"},
        "messages": [{"role": "system", "content": "one"}, {"content": [
            {"type": "text", "text": "two"}, {"type": "image_url", "image_url": {"url": "data:image/png;base64,UElDVFVSRQ=="}}],
            "role": "user"},
            {"role": "assistant", "content": None, "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{\"a\":\"jane.doe@example.com\"}"}}]},
            {"role": "tool", "tool_call_id": "c1", "content": "three"}, {"role": "user", "content": "four"}]}
    call = {"id": "c2", "type": "function", "function": {"name": "f", "arguments": "{\"b\":\"+49 30 90182001\"}"}}
    up.next(lambda a: a.whole(200, {"id": "x", "object": "chat.completion", "model": "m", "usage": {"prompt_tokens": 1, "completion_tokens": 1},
                                    "choices": [{"index": 0, "finish_reason": "tool_calls", "message": {
                                        "role": "assistant", "content": None, "tool_calls": [call]}}]}))
    assert gw.post("/v1/chat/completions", body, headers={**BOSS, "x-request-id": "talk"}).status == 200
    assert record(gw, "talk", "request")["prompt"] == (
        "system: one\nuser: two\nassistant: {\"a\":\"[EMAIL]\"}\ntool: three\nuser: four"), record(gw, "talk", "request")
    assert record(gw, "talk")["answer"] == "{\"b\":\"[PHONE]\"}", record(gw, "talk")


def test_off_and_full():
    for content in ("off", "full"):
        up, gw = start({"content": content})
        up.next(lambda a: a.whole(200, scene.chat_reply(text=SAID)))
        ask(gw, "whole", SAID)
        up.next(scene.chat_script(words(SAID, [4])))
        ask(gw, "stream", "Hi", stream=True)
        up.next(scene.status_script(400, {"error": {"message": SAID}}))
        assert gw.chat("up/m", text=SAID, headers={**BOSS, "x-request-id": "bad"}).status == 400
        for name in ("whole", "stream", "bad"):
            asked, got, text = record(gw, name, "request"), record(gw, name), line(gw, name)
            if content == "off":
                assert not {"prompt", "answer", "error", "truncated", "content"} & (set(asked) | set(got) | set(text)), (asked, got, text)
            else:
                assert asked["prompt"] == text["prompt"] == "user: " + ("Hi" if name == "stream" else SAID), asked
                assert got["error" if name == "bad" else "answer"] == SAID, got
        if content == "off":
            nothing_private(gw)
            assert b"Unicode" not in kept(gw) and b"Hello" not in kept(gw)


def test_truncate_never_shows_half_of_a_secret():
    up, gw = start({"truncate": "100B"})
    for n in range(60, 101, 4):
        said = "x" * n + " jane.doe@example.com " + "y " * 900
        up.next(lambda a, said=said: a.whole(200, scene.chat_reply(text=said)))
        ask(gw, f"n{n}", said)
        up.next(scene.chat_script(words(said, [3])))
        ask(gw, f"t{n}", "ü" * n * 2, stream=True)
        for name in (f"n{n}", f"t{n}"):
            asked, got = record(gw, name, "request"), record(gw, name)
            for text in (asked["prompt"], got["answer"]):
                assert 90 <= len(text.encode()) <= 100 and "jane" not in text and "\ufffd" not in text, (name, text)
            assert asked["truncated"] and got["truncated"]
    many = ("j" * 60 + "@example.com ") * 30  # masked they are so short that the end of what the scribe sees comes into view
    for n in range(0, 73, 9):
        ask(gw, f"m{n}", "y" * n + " " + many)
        asked = record(gw, f"m{n}", "request")
        assert "jj" not in asked["prompt"] and "[EMAIL]" in asked["prompt"] and asked["truncated"], asked
    assert b"jane" not in kept(gw) and b"jjjj" not in kept(gw)


def test_patterns_of_ones_own_and_single_switches():
    up, gw = start({"truncate": "300B", "mask": {"email": False, "ip": True, "patterns": ["ACME-[0-9]{6}", "^secret .*$"]}})
    up.next(scene.chat_script(words("see ACME-123456\nsecret plan\nno secret\n10.1.2.3 and jane.doe@example.com", [1])))
    ask(gw, "p", "ACME-999999 " + "z" * 5000, stream=True)
    got = record(gw, "p")
    assert got["answer"] == "see [CUSTOM]\n[CUSTOM]\nno secret\n[IP] and jane.doe@example.com", got
    asked = record(gw, "p", "request")
    assert asked["prompt"].startswith("user: [CUSTOM] zzz") and 290 < len(asked["prompt"]) <= 300 and asked["truncated"], asked
    gw.conf["log"]["mask"]["patterns"] = ["("]
    gw.write_conf()
    r = gw.admin("/reload", "POST", headers=BOSS)
    assert r.status == 422 and "log.mask.patterns[0]" in r.text, r


def test_answers_from_the_cache_and_embeddings():
    up, gw = start(cache={"enabled": True})
    for stream in (False, True):
        up.next(scene.chat_script(words(SAID, [6])) if stream else lambda a: a.whole(200, scene.chat_reply(text=SAID)))
        ask(gw, f"miss-{stream}", f"Is it {stream}?", stream=stream)
        record(gw, f"miss-{stream}")
        scene.wait_for(lambda: gw.chat("up/m", text=f"Is it {stream}?", stream=stream,
                                       headers={**BOSS, "x-request-id": f"hit-{stream}"}).headers["x-penstock-cache"] == "hit", "a hit")
        rows = gw.admin(f"/logs?request_id=hit-{stream}&type=response", headers=BOSS)
        rows = scene.wait_for(lambda: [r for r in gw.admin(f"/logs?request_id=hit-{stream}&type=response", headers=BOSS).json()["data"]
                                       if r["cache"] == "hit"], "its record")
        assert rows[0]["answer"] == MASKED, rows
    up.next(lambda a: a.whole(200, {"object": "list", "data": [{"object": "embedding", "index": 0, "embedding": [0.1, 0.2]}],
                                    "model": "m", "usage": {"prompt_tokens": 3, "total_tokens": 3}}))
    r = gw.post("/v1/embeddings", {"model": "up/m", "input": ["one", "jane.doe@example.com"]}, headers={**BOSS, "x-request-id": "e"})
    assert r.status == 200, r
    assert record(gw, "e", "request")["prompt"] == "one\n[EMAIL]" and "answer" not in record(gw, "e")
    nothing_private_in_the_log(gw)


def nothing_private_in_the_log(gw):
    for _, text in gw.log_text():
        assert not any(secret in text for secret in PRIVATE)


def test_a_broken_stream_keeps_what_came():
    up, gw = start()

    def broken(a):
        a.sse()
        a.event(scene.chat_chunk("It was jane.doe@exa"))
        a.event(scene.chat_chunk("mple.com who"))
        a.close()
    up.next(broken)
    gw.chat("up/m", stream=True, headers={**BOSS, "x-request-id": "b"})
    got = record(gw, "b")
    assert got["event"] == "error" and got["type"] == "provider_connection" and got["answer"] == "It was [EMAIL] who" and \
        got["error"], got


def test_what_is_no_answer_is_not_looked_into():
    up, gw = start({"content": "full"}, workers=2)
    before = gw.worker_pids()
    for name, body in {"arrays": "[" * 2_000_000, "objects": '{"content":' * 300_000, "cut": json.dumps(scene.chat_reply())[:-9]}.items():
        for path, more in {"chat/completions": {}, "messages": {"max_tokens": 9}}.items():
            up.next(lambda a, body=body: a.whole(200, body))
            x = f"{name}-{path[:4]}"
            r = gw.post("/v1/" + path, {"model": "up/m", "messages": [{"role": "user", "content": "Hi"}], **more},
                        headers={**BOSS, "x-request-id": x})
            assert r.status == 502, r
            got = record(gw, x)
            assert "answer" not in got and got["error"], got
            ask(gw, x + "-good") # and no breaker opens
            assert record(gw, x + "-good")["answer"] == "Hello there."
    assert gw.worker_pids() == before


def test_kills_and_reloads_lose_and_show_nothing():
    up, gw = start()
    up.default = lambda a: (scene.chat_script(words(SAID, [9])) if a.request.json().get("stream") else
                            lambda b: b.whole(200, scene.chat_reply(text=SAID)))(a)
    good = []
    for i in range(60):
        r = gw.chat("up/m", text=SAID, stream=bool(i % 2), headers={**BOSS, "x-request-id": f"k{i}"})
        if r.status == 200:
            good.append(f"k{i}")
        if i % 9 == 4:
            gw.signal(signal.SIGKILL, scene.wait_for(gw.scribe, "a scribe").pid)
        if i % 20 == 13:
            gw.signal(signal.SIGKILL, gw.worker_pids(draining=False)[0])
            gw.wait_workers(4)
        if i == 30:
            gw.signal(signal.SIGHUP)
    for name in good:
        assert record(gw, name)["answer"] == MASKED and record(gw, name, "request")["prompt"] == "user: " + MASKED, name
    assert len(good) > 50
    nothing_private(gw)
    gw.conf["log"] = {"content": "off"}
    gw.write_conf()
    assert gw.admin("/reload", "POST", headers=BOSS).status == 200

    def silent():  # as soon as no worker of before takes requests
        name = f"silent-{len(up.requests)}"
        ask(gw, name, SAID)
        return "answer" not in record(gw, name) and "prompt" not in record(gw, name, "request")
    scene.wait_for(silent, "nothing to be kept")
    assert record(gw, good[0])["answer"] == MASKED, "what is there stays"


test_kills_and_reloads_lose_and_show_nothing.seconds = 120


def test_long_texts_and_slow_patterns_hold_no_money_up():
    up, gw = start({"truncate": "256KiB", "mask": {"patterns": ["(([a-z])+.)+[A-Z]([a-z])+$"]}})
    text = "abcdefghij " * 24000
    n = 60
    c = gw.client(timeout=60)
    for i in range(n):
        c.request("POST", "/v1/chat/completions", {"model": "up/m", "messages": [{"role": "user", "content": text}]},
                  {**BOSS, "x-request-id": f"l{i}"})
        assert c.response().status == 200
    scene.wait_for(lambda: gw.admin("/usage", headers=BOSS).json()["total"]["requests"] == n, "all of them in the ledger", 60)
    rows = [record(gw, f"l{i}", "request") for i in range(n)]
    full = [r for r in rows if "prompt" in r]
    assert all(r.get("content") == "left out" for r in rows if "prompt" not in r) and full, len(full)
    assert all(len(r["prompt"]) == 256 << 10 and r["truncated"] for r in full)
    text = gw.get("/metrics", headers=BOSS).text
    left = [x for x in text.splitlines() if x.startswith("penstock_log_content_left_out_total ")][0]
    assert int(left.split()[1]) >= n - len(full), left


test_long_texts_and_slow_patterns_hold_no_money_up.seconds = 180


def test_long_lines_in_a_file_and_on_a_pipe():
    up = scene.Upstream()
    said = "\"quoted\" \\ \u0001" * 500
    up.default = lambda a: a.whole(200, scene.chat_reply(text=said))
    _, gw = start({"content": "full", "truncate": "64KiB"}, up=up)
    ask(gw, "q", "\\\"" * 4000)
    assert record(gw, "q")["answer"] == line(gw, "q")["answer"] == said
    assert line(gw, "q")["prompt"] == "user: " + "\\\"" * 4000
    gw = scene.Gateway({"providers": [up.provider()], "auth": KEYS, "log": {"content": "masked"}}, workers=4, start=False)
    pipe = gw.path("pipe")
    os.mkfifo(pipe)
    got, reader = [], os.open(pipe, os.O_RDWR)  # so that there is always a writer
    fcntl.fcntl(reader, fcntl.F_SETPIPE_SZ, 1 << 20)  # what does not fit would be dropped
    gw.reconfigure({"log": {"content": "full", "truncate": "64KiB", "target": pipe}})
    threading.Thread(target=lambda: got.extend(iter(lambda: os.read(reader, 65536), b"")), daemon=True).start()
    gw.start()
    for i in range(30):
        ask(gw, f"q{i}", "\\\"" * 4000)
    assert record(gw, "q29")["answer"] == said
    gw.stop()
    lines = scene.wait_for(lambda: (lambda x: x if b"q29" in x else None)(b"".join(got)), "all of them").decode().splitlines()
    rows = [r for r in map(json.loads, lines) if r["event"] == "response"]
    assert len(rows) == 30 and all(len(x.encode()) < 4096 for x in lines), max(map(len, lines))
    assert all(said.startswith(r["answer"]) and len(r["answer"]) > 500 for r in rows)


scene.main()
