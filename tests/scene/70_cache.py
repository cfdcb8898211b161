"""The exact cache: the same for all workers at once, never somebody else's answer, never a broken or a cleared one."""

import json
import random
import signal
import threading
import time

import scene
from layers import at_once

ON = {"cache": {"enabled": True}}


def cached(up, workers=2, cache=None, **more):
    return scene.Gateway({"providers": [up.provider()], "cache": {"enabled": True, **(cache or {})}, **more},
                         workers=workers)


def numbered():
    """Every answer is another one: what is equal came out of the cache."""
    count = [0]
    lock = threading.Lock()

    def script(a):
        with lock:
            count[0] += 1
            n = count[0]
        body = a.request.json()
        words = ("answer ", str(n), " to ", question(body))
        if not body.get("stream"):
            a.whole(200, scene.chat_reply(text="".join(words), id=f"chatcmpl-{n}"))
            return
        a.sse()
        for w in words:
            a.event(scene.chat_chunk(w, id=f"chatcmpl-{n}"))
        a.event(scene.chat_chunk(finish="stop", id=f"chatcmpl-{n}"))
        if (body.get("stream_options") or {}).get("include_usage"):
            a.event(scene.chat_usage())
        a.event("[DONE]")
        a.end()
    return script


def question(body):
    content = body["messages"][-1]["content"]
    return content if isinstance(content, str) else json.dumps(content)


def said(r):
    """The text of an answer, whole or streamed."""
    if r.headers["content-type"].startswith("text/event-stream"):
        return "".join(c["delta"].get("content") or "" for _, data in r.events() if data != "[DONE]"
                       for c in json.loads(data)["choices"])
    return r.json()["choices"][0]["message"]["content"]


def how(r):
    return r.status, r.headers.get("x-penstock-cache")


MISS, HIT, BYPASS = (200, "miss"), (200, "hit"), (200, "bypass")


def two_keys(**more):
    return {"keys": [
        {"id": "one", "key": {"value": "sk-one"}, **more.get("one", {})},
        {"id": "two", "key": {"value": "sk-two"}, **more.get("two", {})},
        {"id": "three", "key": {"value": "sk-three"}, **more.get("three", {})},
        {"id": "boss", "key": {"value": "sk-boss"}, "permissions": ["completion", "admin"]},
    ]}


ONE, TWO, THREE, BOSS = ({"authorization": f"Bearer sk-{n}"} for n in ("one", "two", "three", "boss"))


# --- hit and miss ---


def test_a_hit_follows_a_miss_at_once_on_every_worker():
    up = scene.Upstream(numbered())
    gw = cached(up, workers=4)
    for stream in (False, True):
        first = gw.chat(stream=stream)
        assert how(first) == MISS, first
        want = len(up.requests)

        def served():
            return {w["number"]: w["requests"] for w in gw.admin("/workers").json()["workers"]}
        before = served()

        def all_hit():
            got = at_once(24, lambda i: gw.chat(stream=stream))
            for r in got:
                assert how(r) == HIT, r
                assert r.body == first.body
            after = served()
            return all(after[n] > before[n] + 1 for n in before)
        scene.wait_for(all_hit, "every worker to serve a hit", 30)
        assert len(up.requests) == want


def test_hits_are_the_same_bytes_and_streams_stay_streams():
    up = scene.Upstream(numbered())
    gw = cached(up)
    for more in ({}, {"stream": True}, {"stream": True, "stream_options": {"include_usage": True}}):
        miss, hit = gw.chat(**more), gw.chat(**more)
        assert how(miss) == MISS and how(hit) == HIT
        assert miss.body == hit.body and miss.headers["content-type"] == hit.headers["content-type"]
        assert hit.headers["x-penstock-provider"] == "up" and hit.headers["x-penstock-model"] == "m"
        assert hit.headers["x-penstock-attempts"] == "0"
        if more:
            assert hit.headers["content-type"].startswith("text/event-stream")
            assert hit.headers.get("transfer-encoding") == "chunked"
            assert hit.events()[-1] == ("", "[DONE]")
        else:
            assert hit.headers["x-penstock-cost-usd"] == "0"
    assert len(up.requests) == 3


def test_off_is_the_default_and_says_so():
    up = scene.Upstream(numbered())
    gw = scene.Gateway({"providers": [up.provider()]})
    assert [how(gw.chat()) for _ in range(2)] == [BYPASS, BYPASS]
    assert [how(gw.chat(stream=True)) for _ in range(2)] == [BYPASS, BYPASS]
    assert len(up.requests) == 4
    assert gw.admin("/cache/stats").json()["enabled"] is False


def test_a_hit_is_a_request_without_tokens_or_cost():
    up = scene.Upstream()
    gw = cached(up, models=[{"name": "priced", "targets": [{"provider": "up", "model": "m"}],
                             "prices": {"input": 1, "output": 2}}])
    for stream in (False, True):
        assert [how(gw.chat("priced", stream=stream)) for _ in range(3)] == [MISS, HIT, HIT]
    total = scene.wait_for(lambda: (t := gw.admin("/usage").json()["total"])["requests"] == 6 and t, "6 in the ledger")
    assert (total["input_tokens"], total["output_tokens"]) == (14, 6), total
    assert total["cost_usd"] == 2 * (7 * 1 + 3 * 2) / 1e6 and total["errors"] == 0, total
    lines = scene.wait_for(lambda: len(x := gw.log("response")) == 6 and x, "6 lines")
    hits = [x for x in lines if x["cache"] == "hit"]
    assert len(hits) == 4
    for x in hits:
        assert x["cost_usd"] == 0 and x["input_tokens"] == 0 and x["attempts"] == [] and x["provider"] == "up", x
    m = gw.metrics()
    assert m["penstock_cache_hits_total"] == 4 and m["penstock_cache_misses_total"] == 2


# --- what makes a question another one ---


def test_whatever_changes_the_answer_changes_the_key():
    up = scene.Upstream(numbered())
    gw = cached(up, models=[{"name": n, "targets": [{"provider": "up", "model": "m"}]} for n in ("a", "b")])
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
    user = {"role": "user", "content": "Hi"}
    changes = [
        {}, {"temperature": 0}, {"temperature": 0.5}, {"temperature": 1}, {"top_p": 0.5}, {"max_tokens": 5},
        {"max_completion_tokens": 5}, {"seed": 1}, {"seed": 9007199254740992}, {"seed": 9007199254740993},
        {"stop": ["x"]}, {"stop": "x"}, {"n": 1}, {"presence_penalty": 0.1}, {"frequency_penalty": 0.1},
        {"logit_bias": {"1": 2}}, {"logprobs": True}, {"reasoning_effort": "low"}, {"x_unknown": 1},
        {"response_format": {"type": "json_object"}}, {"tools": [tool]},
        {"tools": [tool], "tool_choice": "required"},
        {"tools": [{**tool, "function": {**tool["function"], "description": "d"}}]},
        {"messages": [{"role": "system", "content": "s"}, user]},
        {"messages": [{"role": "developer", "content": "s"}, user]},
        {"messages": [user, {"role": "assistant", "content": "x"}, user]},
        {"messages": [{**user, "name": "me"}]}, {"messages": [{**user, "content": "Hi "}]},
        {"messages": [{**user, "content": "hi"}]}, {"messages": [{**user, "user": "x"}]},
        {"messages": [{**user, "content": [{"type": "text", "text": "Hi"}]}]},
        {"model": "b"}, {"model": "up/m"}, {"model": "up/n"},
        {"stream": True}, {"stream": True, "stream_options": {"include_usage": True}},
    ]
    ask = lambda change: gw.post("/v1/chat/completions", {"model": "a", "messages": [user], **change})
    first = []
    for i, change in enumerate(changes):
        r = ask(change)
        assert how(r) == MISS and len(up.requests) == i + 1, (change, r)
        first.append(r.body)
    for change, body in zip(changes, first):
        r = ask(change)
        assert how(r) == HIT and r.body == body, change
    assert len(up.requests) == len(changes)


def test_twice_the_same_member_is_no_way_to_another_answer():
    up = scene.Upstream(numbered())
    gw = cached(up)
    ask = lambda more: gw.post("/v1/chat/completions",
                               '{"model":"up/m","messages":[{"role":"user","content":"Hi"}]%s}' % more)
    for i, more in enumerate([',"seed":1,"seed":2', ',"seed":2,"seed":1', ',"seed":1', ',"seed":2']):
        r = ask(more)
        assert r.status == 400 or how(r) == MISS, (i, r)


def test_headers_that_change_the_answer_change_the_key():
    count = [0]

    def script(a):
        count[0] += 1
        a.whole(200, {"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "stop_reason": "end_turn", "stop_sequence": None,
                      "content": [{"type": "text", "text": f"Answer {count[0]}"}], "usage": {"input_tokens": 1, "output_tokens": 1}})
    up = scene.Upstream(script)
    gw = scene.Gateway({"providers": [up.provider(kind="anthropic")], "cache": {"enabled": True, "semantic": {"enabled": True}}}, workers=2)
    version = {"anthropic-version": "2023-06-01"}
    heads = [version, {}, {**version, "Anthropic-Beta": "x", "anthropic-beta": "y"}, {**version, "anthropic-beta": "context-1m-2025-08-07"}, {**version, "anthropic-beta": "interleaved-thinking-2025-05-14"}]
    for path in ("/v1/messages", "/v1/chat/completions"):
        ask = lambda h, text: gw.post(path, {"model": "up/m", "max_tokens": 9, "messages": [{"role": "user", "content": text}]},
                                      headers={**h, "user-agent": path})
        first = [ask(h, "What is the capital of France?") for h in heads]
        assert up.requests[-len(heads) + 2].headers["anthropic-beta"] == "x, y", "two lines are one list"
        assert all(r.status == 200 and r.headers["x-penstock-cache"] == "miss" for r in first), first
        for h, r in zip(heads, first):
            again = scene.wait_for(lambda: (x := ask(h, "What is the capital of France?")).headers["x-penstock-cache"] == "hit" and x, "a hit")
            words = scene.wait_for(lambda: (x := ask(h, "what is the capital of france")).headers["x-penstock-cache"] == "semantic" and x, "one by meaning")
            assert again.body == r.body == words.body, (h, again, r, words)


def test_what_does_not_change_the_answer_does_not_change_the_key():
    up = scene.Upstream(numbered())
    gw = cached(up)
    first = gw.post("/v1/chat/completions",
                    '{"model":"up/m","temperature":0,"messages":[{"role":"user","content":"Hi \u00fc"}]}')
    assert how(first) == MISS
    same = [
        '{"messages":[{"content":"Hi \u00fc","role":"user"}],"temperature":0,"model":"up/m"}',
        ' {\n "model" : "up/m", "temperature" : 0 ,\t"messages" : [ { "role" : "user", "content" : "Hi \u00fc" } ] } \n',
        '{"model":"up\\/m","temperature":0,"messages":[{"role":"user","content":"\\u0048i \\u00fc"}]}',
        '{"model":"up/m","temperature":0,"messages":[{"role":"user","content":"Hi \u00fc"}],"user":"u-7"}',
        '{"model":"up/m","temperature":0,"messages":[{"role":"user","content":"Hi \u00fc"}],"metadata":{"a":"b"}}',
        '{"model":"up/m","temperature":0,"messages":[{"role":"user","content":"Hi \u00fc"}],"stream":false}',
        '{"model":"up/m","temperature":0,"messages":[{"role":"user","content":"Hi \u00fc"}],"routing":{"tags":[]}}',
    ]
    for body in same:
        r = gw.post("/v1/chat/completions", body)
        if '"stream":false' in body and how(r) == MISS:
            continue  # a question of its own is right as well, if not clever
        assert how(r) == HIT and r.body == first.body, (body, r)
    r = gw.chat(text="Hi \u00fc", temperature=0, headers={"x-request-id": "other", "user-agent": "x"})
    assert how(r) == HIT and r.headers["x-request-id"] == "other"


def test_only_deterministic_requests_when_asked_for():
    up = scene.Upstream(numbered())
    gw = cached(up, cache={"only_deterministic": True})
    assert [how(gw.chat()) for _ in range(2)] == [BYPASS] * 2
    assert [how(gw.chat(temperature=0.1)) for _ in range(2)] == [BYPASS] * 2
    assert [how(gw.chat(temperature=0)) for _ in range(2)] == [MISS, HIT]
    assert [how(gw.chat(temperature=0.9, seed=3)) for _ in range(2)] == [MISS, HIT]


def test_streams_can_be_left_out():
    up = scene.Upstream(numbered())
    gw = cached(up, cache={"stream": False})
    assert [how(gw.chat(stream=True)) for _ in range(2)] == [BYPASS] * 2
    assert [how(gw.chat()) for _ in range(2)] == [MISS, HIT]


# --- by the request ---


def test_cache_control_and_routing_hints():
    up = scene.Upstream(numbered())
    gw = cached(up)
    off = {"cache": {"mode": "off"}}
    no_store, no_cache = {"cache-control": "no-store"}, {"Cache-Control": "max-age=0, No-Cache"}
    for stream in (False, True):
        ask = lambda text, **more: gw.chat(text=f"{text} {stream}", stream=stream, **more)
        # never stored, never read
        for ways in ({"headers": no_store}, {"routing": off}, {"headers": {"x-penstock-routing": json.dumps(off)}}):
            text = json.dumps(ways)
            assert how(ask(text, **ways)) == BYPASS
            plain = ask(text)
            assert how(plain) == MISS, ways
            again = ask(text, **ways)
            assert how(again) == BYPASS and said(again) != said(plain)
            hit = ask(text)
            assert how(hit) == HIT and hit.body == plain.body
        # read from the provider, and stored
        old = ask("fresh")
        assert how(old) == MISS
        new = ask("fresh", headers=no_cache)
        assert how(new) == BYPASS and said(new) != said(old)
        hit = ask("fresh")
        assert how(hit) == HIT and hit.body == new.body
    assert all("routing" not in r.json() and "x-penstock-routing" not in r.headers for r in up.requests)


# --- whose answer ---


def test_scope_key_gives_nobody_the_answer_of_another_key():
    up = scene.Upstream(numbered())
    gw = cached(up, workers=4, auth=two_keys(one={"tenant": "t"}, two={"tenant": "t"}))
    for stream in (False, True):
        bodies = set()
        for key in (ONE, TWO, THREE):
            miss, hit = gw.chat(headers=key, stream=stream), gw.chat(headers=key, stream=stream)
            assert how(miss) == MISS and how(hit) == HIT and miss.body == hit.body
            bodies.add(hit.body)
        assert len(bodies) == 3


def test_scope_tenant_and_scope_global():
    up = scene.Upstream(numbered())
    # a tenant may be called like a key
    auth = two_keys(one={"tenant": "t"}, two={"tenant": "t"}, boss={})
    auth["keys"] += [{"id": "t", "key": {"value": "sk-four"}}, {"id": "five", "key": {"value": "sk-five"}, "tenant": "three"}]
    four, five = ({"authorization": f"Bearer sk-{n}"} for n in ("four", "five"))
    gw = cached(up, cache={"scope": "tenant"}, auth=auth)
    assert how(gw.chat(headers=ONE)) == MISS and how(gw.chat(headers=TWO)) == HIT
    for alone in (THREE, four, five, BOSS):
        assert [how(gw.chat(headers=alone)) for _ in range(2)] == [MISS, HIT]
    gw.stop()
    gw = cached(up, cache={"scope": "global"}, auth=auth)
    assert how(gw.chat(headers=ONE)) == MISS
    for other in (TWO, THREE, four, five, BOSS):
        assert how(gw.chat(headers=other)) == HIT
    assert gw.chat(headers={"authorization": "Bearer wrong"}).status == 401


def test_a_key_that_may_not_use_the_model_gets_no_hit():
    up = scene.Upstream(numbered())
    gw = cached(up, cache={"scope": "global"}, auth=two_keys(two={"models": ["up/other"]}))
    assert how(gw.chat(headers=ONE)) == MISS and how(gw.chat(headers=ONE)) == HIT
    assert gw.chat(headers=TWO).status == 403


# --- what is never stored ---


def broken_stream(a):
    a.sse()
    a.event(scene.chat_chunk("half"))
    a.event(scene.chat_chunk(" of it"))
    a.close()


def error_in_stream(a):
    a.sse()
    a.event(scene.chat_chunk("half"))
    a.event({"error": {"message": "scripted", "type": "server_error", "code": None}})
    a.event("[DONE]")
    a.end()


def stream_without_end(a):
    a.sse()
    a.event(scene.chat_chunk("half"))
    a.end()


def half_a_body(a):
    a.head(200, {"Content-Type": "application/json"}, 1000)
    a.raw('{"id": "x", "choices": [')
    a.close()


def test_errors_and_broken_answers_are_never_stored():
    up = scene.Upstream(numbered())
    gw = scene.Gateway({"providers": [up.provider("up", retry={"max": 0}, breaker={"consecutive_failures": 0,
                                                                                   "error_rate": 0})], **ON})
    err = {"error": {"message": "scripted", "type": "server_error", "code": None}}
    bad = [(scene.status_script(s), stream, f"status {s}") for s in (400, 500, 503) for stream in (False, True)]
    bad += [
        (scene.status_script(200, err), False, "error in 200"),
        (scene.status_script(200, err), True, "error in 200 for a stream"),
        (scene.status_script(200, "not json"), False, "garbage"),
        (scene.status_script(200, ""), False, "empty"),
        (scene.status_script(200, {"choices": "no"}), False, "another shape"),
        (half_a_body, False, "half a body"),
        (broken_stream, True, "broken stream"),
        (error_in_stream, True, "error in a stream"),
        (stream_without_end, True, "stream without end"),
    ]
    for script, stream, name in bad:
        up.next(script)
        before = len(up.requests)
        r = gw.chat(text=name, stream=stream)
        assert len(up.requests) == before + 1, name
        if r.status == 200:
            assert stream and "error" in r.text, (name, r)
        r = gw.chat(text=name, stream=stream)
        assert how(r) == MISS and said(r).endswith(name), (name, r)
        assert how(gw.chat(text=name, stream=stream)) == HIT, name


def test_cancelled_requests_are_never_stored():
    hold = threading.Event()

    def slow(a):
        if a.request.json().get("stream"):
            a.sse()
            a.event(scene.chat_chunk("half"))
        a.wait(hold)

    up = scene.Upstream(numbered())
    gw = cached(up)
    for stream in (True, False):
        up.next(slow)
        n = len(up.requests) + 1
        c = gw.client()
        c.request("POST", "/v1/chat/completions",
                  {"model": "up/m", "messages": [{"role": "user", "content": "Hi"}], "stream": stream})
        up.wait_requests(n)
        if stream:
            assert c.response_head()[0] == 200 and "half" in c.event()[1]
        c.close()
        assert up.requests[-1].closed.wait(10), "the upstream call was not cancelled"
        r = gw.chat(stream=stream)
        assert how(r) == MISS and "answer" in said(r), r


def test_answers_of_fallbacks_are_never_stored():
    one, two = scene.Upstream(numbered()), scene.Upstream(numbered())
    gw = scene.Gateway({
        "providers": [one.provider("one", retry={"max": 0}), two.provider("two")], **ON,
        "models": [{"name": "m", "targets": [{"provider": "one", "model": "x"}], "fallbacks": ["spare"]},
                   {"name": "spare", "targets": [{"provider": "two", "model": "y"}]}]})
    for stream in (False, True):
        one.next(scene.status_script(500))
        r = gw.chat("m", stream=stream)
        assert how(r) == MISS and r.headers["x-penstock-provider"] == "two", r
        r = gw.chat("m", stream=stream)
        assert how(r) == MISS and r.headers["x-penstock-provider"] == "one", r
        assert how(gw.chat("m", stream=stream)) == HIT
        assert how(gw.chat("spare", stream=stream)) == MISS


# --- bounds ---


def test_entries_expire():
    up = scene.Upstream(numbered())
    gw = cached(up, cache={"ttl": "2s"})
    for stream in (False, True):
        begin = time.monotonic()
        first = gw.chat(stream=stream)
        assert how(first) == MISS
        second = gw.chat(stream=stream)
        if time.monotonic() - begin < 2:
            assert how(second) == HIT
        new = scene.wait_for(lambda: how(r := gw.chat(stream=stream)) == MISS and r, "the entry to expire", 20, 0.05)
        assert time.monotonic() - begin >= 2, "expired too early"
        assert said(new) != said(first)
    # and the store forgets it too
    scene.wait_for(lambda: gw.admin("/cache/stats").json()["expired"] >= 1, "an expired entry in the stats")


def test_an_answer_over_max_entry_is_not_stored():
    def script(a):
        size = int(question(a.request.json()).split()[0])
        text = "x" * size
        if a.request.json().get("stream"):
            a.sse()
            for i in range(0, size, 100):
                a.event(scene.chat_chunk(text[i:i + 100]))
            a.event(scene.chat_chunk(finish="stop"))
            a.event("[DONE]")
            a.end()
        else:
            a.whole(200, scene.chat_reply(text=text))
    up = scene.Upstream(script)
    gw = cached(up, cache={"max_entry": "8KiB"})
    for stream in (False, True):
        assert [how(gw.chat(text="9000 large", stream=stream)) for _ in range(2)] == [MISS, MISS]
        assert [how(gw.chat(text="500 small", stream=stream)) for _ in range(2)] == [MISS, HIT]
    r = gw.chat(text="200000 large", stream=True)
    assert len(said(r)) == 200000
    assert gw.admin("/cache/stats").json()["entries"] == 2


def test_the_size_is_bounded_and_the_oldest_go():
    size = 40_000

    def script(a):
        q = question(a.request.json())
        a.whole(200, scene.chat_reply(text=(q + " ") * (size // (len(q) + 1))))
    up = scene.Upstream(script)
    gw = cached(up, cache={"max_size": "1MiB"})
    asked = 150  # 6 MB
    for i in range(asked):
        r = gw.chat(text=f"q{i}")
        assert how(r) == MISS and said(r).startswith(f"q{i} q{i} ")
    stats = lambda: gw.admin("/cache/stats").json()
    s = scene.wait_for(lambda: (x := stats())["bytes"] <= 1 << 20 and x, "the cache to shrink", 20)
    assert s["max_bytes"] == 1 << 20 and s["evictions"] >= asked - 1.2 * (1 << 20) / size, s
    assert 5 <= s["entries"] <= (1 << 20) / size + 1 and s["bytes"] > 5 * size, s
    for i in range(asked):
        assert how(gw.chat(text=f"q{i}", headers={"cache-control": "no-cache"})) == BYPASS
    scene.wait_for(lambda: stats()["bytes"] <= 1 << 20, "the cache to shrink again", 20)
    for i in range(asked):
        r = gw.chat(text=f"q{i}")
        assert r.status == 200 and said(r).startswith(f"q{i} q{i} "), i


# --- clearing ---


def test_clearing_is_at_once_on_all_workers():
    up = scene.Upstream(numbered())
    gw = cached(up, workers=4)
    for round_ in range(5):
        for i in range(4):
            assert how(gw.chat(text=f"q{i}")) == MISS
            assert how(gw.chat(text=f"q{i}", stream=True)) == MISS
        r = gw.admin("/cache", "DELETE")
        assert r.status == 200 and r.json() == {"cleared": 8}, r
        before = len(up.requests)
        got = at_once(16, lambda i: gw.chat(text=f"q{i % 4}", headers={"x-request-id": f"{i}"}))
        assert all(r.status == 200 for r in got), got
        numbers = [int(said(r).split()[1]) for r in got]
        assert min(numbers) > before, (before, sorted(numbers))
        assert gw.admin("/cache", "DELETE").json() == {"cleared": 4}
    assert gw.admin("/cache", "DELETE").json() == {"cleared": 0}
    assert gw.admin("/cache/stats").json()["entries"] == 0


def test_clearing_a_part():
    up = scene.Upstream(numbered())
    gw = cached(up, auth=two_keys(), models=[{"name": n, "targets": [{"provider": "up", "model": "m"}]} for n in "ab"])

    def fill():
        for model in "ab":
            for key in (ONE, TWO):
                gw.chat(model, headers=key)

    def state():
        return [how(gw.chat(m, headers={**k, "cache-control": "only-if-cached"}))[1] for m in "ab" for k in (ONE, TWO)]
    clear = lambda query: gw.admin("/cache" + query, "DELETE", headers=BOSS)
    fill()
    begin = time.monotonic()
    assert state() == ["hit"] * 4
    assert clear("?model=a").json() == {"cleared": 2}
    assert state() == ["miss", "miss", "hit", "hit"]
    assert clear("?key=two").json() == {"cleared": 2}
    assert state() == ["hit", "miss", "hit", "miss"]
    assert clear("?model=b&key=one").json() == {"cleared": 1}
    assert state() == ["hit", "hit", "miss", "hit"]
    for nothing in ("?model=c", "?key=nobody", "?older_than=1h", "?older_than=7d"):
        assert clear(nothing).json() == {"cleared": 0}, nothing
    assert state() == ["hit"] * 4
    for wrong in ("?older_than=soon", "?older_than=1y", "?older_than=-5s", "?older_than=1.5h"):
        r = clear(wrong)
        assert r.status == 400 and r.json()["error"]["param"] == "older_than", (wrong, r)
    gone = lambda: clear("?older_than=2").json()["cleared"]
    assert scene.wait_for(gone, "entries to be 2 s old", 20, 0.05) >= 1
    assert time.monotonic() - begin >= 2


def test_an_answer_under_way_while_the_cache_is_cleared_is_not_stored():
    go = threading.Event()

    def slow(a):
        if a.request.json().get("stream"):
            a.sse()
            a.event(scene.chat_chunk("from before"))
            a.wait(go)
            a.event(scene.chat_chunk(finish="stop"))
            a.event("[DONE]")
            a.end()
        else:
            a.wait(go)
            a.whole(200, scene.chat_reply(text="from before"))
    up = scene.Upstream(numbered())
    gw = cached(up, workers=4)
    for query in ("", "?model=up/m", "?key=anonymous"):
        for stream in (False, True):
            go.clear()
            up.next(slow)
            n, got, text = len(up.requests) + 1, [], f"Hi {query}"
            t = threading.Thread(target=lambda: got.append(gw.chat(text=text, stream=stream)), daemon=True)
            t.start()
            up.wait_requests(n)
            assert gw.admin("/cache" + query, "DELETE").status == 200
            go.set()
            t.join(20)
            assert how(got[0]) == MISS and said(got[0]) == "from before"
            r = gw.chat(text=text, stream=stream)
            assert how(r) == MISS and "answer" in said(r), (query, stream, r)


def test_stats():
    up = scene.Upstream(numbered())
    gw = cached(up)
    stats = lambda: gw.admin("/cache/stats").json()
    empty = stats()
    assert empty["entries"] == empty["bytes"] == empty["hits"] == empty["misses"] == empty["hit_rate"] == 0, empty
    for i in range(3):
        gw.chat(text=f"q{i}")
    for _ in range(9):
        gw.chat(text="q0")
    gw.chat(text="q0", headers={"cache-control": "no-store"})
    s = stats()
    assert s["entries"] == 3 and s["hits"] == 9 and s["misses"] == 3 and s["stores"] == 3, s
    assert s["hit_rate"] == 0.75 and 3 * 100 < s["bytes"] < 3 * 5000, s
    m = gw.metrics()
    assert m["penstock_cache_entries"] == 3 and m["penstock_cache_bytes"] == s["bytes"]
    gw.admin("/cache", "DELETE")
    s = stats()
    assert s["entries"] == 0 and s["bytes"] == 0 and s["hits"] == 9, s


# --- life and death ---


def test_one_of_many_answers_to_one_question_stays():
    plain, gate = numbered(), threading.Barrier(8)

    def together(a):
        gate.wait(20)
        plain(a)
    up = scene.Upstream(plain)
    gw = cached(up, workers=4)
    for i in range(10):
        up.next(*[together] * 8)
        got = at_once(8, lambda _: gw.chat(text=f"q{i}"))
        assert [how(r) for r in got] == [MISS] * 8, got
        hit = gw.chat(text=f"q{i}")
        assert how(hit) == HIT and hit.body in [r.body for r in got]
        committed(gw)
        later = gw.chat(text=f"q{i}")
        assert how(later) == HIT and later.body == hit.body, (i, later)


def committed(gw):
    """Everything that is cached is in the store: a request is only in the ledger with what its worker wrote before."""
    n = len(gw.log("response")) + len(gw.log("error"))
    r = gw.chat(text="is all of it stored?", headers={"cache-control": "no-store"})
    scene.wait_for(lambda: any(x["request_id"] == r.headers["x-request-id"] for x in gw.log("response")[n:]),
                   "the scribe to commit")


def test_answers_survive_reload_restart_and_kill():
    up = scene.Upstream(numbered())
    gw = cached(up, workers=1)
    first = {s: gw.chat(stream=s) for s in (False, True)}
    assert all(how(r) == MISS for r in first.values())

    def still_there(when):
        for stream, r in first.items():
            hit = gw.chat(stream=stream)
            assert how(hit) == HIT and hit.body == r.body, (when, hit)
    assert gw.admin("/reload", "POST").status == 200
    gw.wait_workers(1, generation=2)
    still_there("after a reload")
    for pid in gw.worker_pids():
        gw.signal(signal.SIGKILL, pid)
    still_there("after the death of the worker")
    scribe = gw.scribe().pid
    gw.signal(signal.SIGKILL, scribe)
    scene.wait_for(lambda: (s := gw.scribe()) and s.pid != scribe, "a new scribe")
    still_there("after the death of the scribe")
    gw.stop()
    gw.start()
    scene.wait_for(lambda: gw.admin("/cache/stats").json()["entries"] == 2, "the store to be read")
    still_there("after a restart")
    late = gw.chat(text="late")
    committed(gw)
    gw.kill_all()
    gw.start()
    scene.wait_for(lambda: gw.admin("/cache/stats").json()["entries"] == 3, "the store to be read")
    still_there("after kill -9 of all")
    hit = gw.chat(text="late")
    assert how(hit) == HIT and hit.body == late.body


def test_what_was_cleared_stays_away_after_restart_and_kill():
    up = scene.Upstream(numbered())
    gw = cached(up, workers=2, auth=two_keys())
    ask = lambda key: gw.chat(headers=key)
    assert how(ask(ONE)) == MISS and how(ask(TWO)) == MISS
    assert gw.admin("/cache?key=one", "DELETE", headers=BOSS).json() == {"cleared": 1}
    gw.stop()
    gw.start()
    scene.wait_for(lambda: gw.admin("/cache/stats", headers=BOSS).json()["entries"] == 1, "the store to be read")
    assert how(ask(TWO)) == HIT
    assert how(ask(ONE)) == MISS
    assert gw.admin("/cache", "DELETE", headers=BOSS).json() == {"cleared": 2}
    gw.signal(signal.SIGKILL, gw.scribe().pid)
    scene.wait_for(lambda: gw.scribe(), "a new scribe")
    assert how(ask(ONE)) == MISS
    gw.stop()
    gw.start()
    scene.wait_for(lambda: gw.admin("/cache/stats", headers=BOSS).json()["entries"] == 1, "the store to be read")
    assert how(ask(TWO)) == MISS and how(ask(ONE)) == HIT


# --- all at once ---


def test_never_a_wrong_and_never_a_cleared_answer_under_load():
    version, cleared = [0], [0]  # what the upstream says now; what everybody must have from now on

    def script(a):
        v, body = version[0], a.request.json()
        q = question(body)
        text = f"{v} {q} " + (q + " ") * random.randrange(0, 2000)
        if random.random() < 0.05:
            a.whole(500, {"error": {"message": "scripted", "type": "x", "code": None}})
        elif body.get("stream"):
            a.sse()
            for i in range(0, len(text), 4000):
                a.event(scene.chat_chunk(text[i:i + 4000]))
            a.event(scene.chat_chunk(finish="stop"))
            a.event("[DONE]")
            a.end()
        else:
            a.whole(200, scene.chat_reply(text=text))
    up = scene.Upstream(script)
    gw = scene.Gateway({"providers": [up.provider("up", retry={"max": 3, "initial_backoff": "1ms"},
                                                  breaker={"consecutive_failures": 0, "error_rate": 0})],
                        "cache": {"enabled": True, "max_size": "1MiB"}}, workers=4)
    wrong, count, hits = [], [0], [0]
    ending = threading.Event()
    lock = threading.Lock()

    def run(i):
        rnd = random.Random(i)
        c = gw.client()
        while not ending.is_set():
            stream, q = rnd.random() < 0.4, f"question-{rnd.randrange(12)}"
            at_least = cleared[0]
            c.request("POST", "/v1/chat/completions",
                      {"model": "up/m", "messages": [{"role": "user", "content": q}], "stream": stream})
            r = c.response("POST")
            if r.status == 500:
                continue
            words = said(r).split()
            with lock:
                count[0] += 1
                hits[0] += how(r) == HIT
                if r.status != 200 or set(words[1:]) != {q} or int(words[0]) < at_least:
                    wrong.append((q, at_least, r.headers.get("x-penstock-cache"), words[:3], len(words)))
        c.close()

    def guarded(i):
        try:
            run(i)
        except Exception as e:
            wrong.append(repr(e))
    threads = [threading.Thread(target=guarded, args=(i,), daemon=True) for i in range(40)]
    for t in threads:
        t.start()
    rounds = 0
    end = time.monotonic() + 30
    while not wrong and time.monotonic() < end and (count[0] < 2500 or rounds < 20):
        version[0] += 1
        v = version[0]
        query = "?model=up/m" if rounds % 3 == 2 else "?key=anonymous" if rounds % 3 == 1 else ""
        assert gw.admin("/cache" + query, "DELETE").status == 200
        cleared[0] = v
        rounds += 1
        upto = count[0] + 100
        scene.wait_for(lambda: wrong or count[0] >= upto, "100 more answers", 20)
    ending.set()
    for t in threads:
        t.join(20)
    assert not wrong, wrong[:5]
    assert hits[0] > count[0] / 20, (hits, count)
    s = scene.wait_for(lambda: (x := gw.admin("/cache/stats").json())["bytes"] <= 1 << 20 and x, "the size to settle")
    assert s["entries"] <= 24, s


if __name__ == "__main__":
    scene.main()
