"""Providers at their oddest: compressed though nobody asked, absurd numbers, events of many megabytes, answers that are
correct HTTP but hardly anybody's."""

import gzip
import json
import time

import scene

NEVER = {"consecutive_failures": 0, "error_rate": 0}


def one_try(up, **more):
    return up.provider("up", retry={"max": 0}, breaker=NEVER, **more)


def test_compressed_though_not_asked_for():
    up = scene.Upstream()
    gw = scene.Gateway({"providers": [one_try(up)]}, workers=1)
    whole = json.dumps(scene.chat_reply(text="Hello there."))
    events = "".join(f"data: {json.dumps(e)}\n\n" for e in (
        scene.chat_chunk("Hello"), scene.chat_chunk(" there."), scene.chat_chunk(finish="stop"), scene.chat_usage()))
    events += "data: [DONE]\n\n"

    up.next(lambda a: a.whole(200, gzip.compress(whole.encode()), {"Content-Encoding": "gzip"}))
    r = gw.chat()
    assert r.status == 200 and r.text == whole and "content-encoding" not in r.headers, r
    assert up.requests[0].headers["accept-encoding"] == "identity"

    up.next(lambda a: a.whole(200, gzip.compress(events.encode()),
                              {"Content-Encoding": "gzip", "Content-Type": "text/event-stream"}))
    r = gw.chat(stream=True)
    assert r.status == 200 and r.events()[0] == ("", json.dumps(scene.chat_chunk("Hello"))), r
    assert r.events()[-1][1] == "[DONE]", r

    up.next(lambda a: a.whole(200, gzip.compress(whole.encode())[:-40] + b"x" * 40, {"Content-Encoding": "gzip"}))
    assert gw.chat().status == 502
    up.next(lambda a: a.whole(200, gzip.compress(b'{"x":"' + b"y" * (100 << 20)), {"Content-Encoding": "gzip"}))
    r = gw.chat()
    assert r.status == 502 and "larger" in r.text, r
    assert gw.chat().status == 200


def test_absurd_counts_are_not_believed():
    """Numbers that cannot be true neither shut a token limit for years nor make a bill: they are estimated."""
    up = scene.Upstream()
    gw = scene.Gateway({
        "providers": [one_try(up)],
        "models": [{"name": "m", "targets": [{"provider": "up", "model": "x"}], "prices": {"input": 1, "output": 1}}],
        "auth": {"keys": [{"id": "k", "key": {"value": "sk-key-of-k"}, "permissions": ["completion", "admin"],
                           "limits": {"tokens_per_minute": 1000000}}]}}, workers=1)
    mine = {"Authorization": "Bearer sk-key-of-k"}
    for usage in (
            {"prompt_tokens": 2**63, "completion_tokens": 2**63, "total_tokens": 2**64},
            {"prompt_tokens": 2**63 - 1, "completion_tokens": 5},
            {"prompt_tokens": 5, "completion_tokens": 4294967295},
            {"prompt_tokens": 5, "completion_tokens": -1},
            {"prompt_tokens": 7.5, "completion_tokens": 1e300, "total_tokens": 3e3},
            {"total_tokens": 12},
            {"prompt_tokens": "7", "completion_tokens": None}):
        up.next(lambda a, u=usage: a.whole(200, scene.chat_reply(usage=u)))
        r = gw.chat("m", headers=mine)
        assert r.status == 200, (usage, r)
        row = gw.wait_log(r.headers["x-request-id"], "response")[0]
        assert row["tokens_estimated"] and 0 < row["input_tokens"] < 100 and 0 < row["output_tokens"] < 100, (usage, row)
        assert float(r.headers["x-penstock-cost-usd"]) < 0.001, (usage, r.headers)
    up.next(lambda a: a.whole(200, scene.chat_reply(usage={
        "prompt_tokens": 9, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 99999999}})))
    r = gw.chat("m", headers=mine)
    row = gw.wait_log(r.headers["x-request-id"], "response")[0]
    assert (row["input_tokens"], row["cached_tokens"], row["output_tokens"]) == (9, 9, 2), row
    assert gw.chat("m", headers=mine).status == 200


def test_absurd_times_to_wait():
    """A key rests for an hour at most, whatever is said."""
    up = scene.Upstream()
    saids = ("9000000000", "1e30", "-5", "99999999999999999999999", "Fri, 31 Dec 9999 23:59:59 GMT", "soon")
    gw = scene.Gateway({"providers": [dict(one_try(up), name=f"p{i}") for i in range(len(saids))]}, workers=1)
    for i, said in enumerate(saids):
        up.next(lambda a, s=said: a.whole(429, {"error": {"message": "no"}}, {"Retry-After": s}))
        assert gw.chat(f"p{i}/m").status == 429, said
    for p, said in zip(gw.admin("/providers").json()["providers"], saids):
        assert 0 < p["keys"][0]["rests_ms"] <= 3600 * 1000, (said, p)


def test_odd_but_correct_http():
    up = scene.Upstream()
    gw = scene.Gateway({"providers": [one_try(up, timeouts={"first_byte": "20s"})]}, workers=1)
    body = json.dumps(scene.chat_reply()).encode()
    sized = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n" % len(body)
    chunks = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x" % len(body)
    for name, raw in {
            "hundreds of 1xx": b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" * 300 + sized + b"\r\n" + body,
            "chunk extensions": chunks + b";" + b"x" * 10000 + b"\r\n" + body + b"\r\n0\r\n\r\n",
            "trailers": chunks + b"\r\n" + body + b"\r\n0\r\nX-A: b\r\nX-B: c\r\n\r\n",
            "a field twice": sized + sized.split(b"\r\n", 1)[1] + b"Set-Cookie: a\r\nSet-Cookie: b\r\n\r\n" + body,
            "206": sized.replace(b"200 OK", b"206 Partial Content") + b"\r\n" + body,
    }.items():
        up.next(lambda a, r=raw: a.raw(r))
        r = gw.chat()
        assert r.status == 200 and r.body == body, (name, r)
        assert "set-cookie" not in r.headers and "x-a" not in r.headers, name
    for name, raw in {"1.0 without a length": b"HTTP/1.0 200 OK\r\n\r\n", "1.1 without": b"HTTP/1.1 200 OK\r\n\r\n"}.items():
        up.next(lambda a, r=raw: (a.raw(r + body), a.close()))
        r = gw.chat()
        assert r.status == 200 and r.body == body, (name, r)
    up.next(lambda a: (a.raw(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n"), a.until_closed()))
    begin = time.monotonic()
    assert gw.chat().status == 502 and time.monotonic() - begin < 5


def test_an_event_of_twenty_megabytes():
    up = scene.Upstream()
    gw = scene.Gateway({"providers": [one_try(up)]}, workers=1)
    text = "y" * (20 << 20)

    def script(a):
        a.sse()
        a.event(scene.chat_chunk("a"))
        a.event(scene.chat_chunk(text))
        a.event(scene.chat_chunk(finish="stop"))
        a.event("[DONE]")
        a.end()
    up.next(script)
    r = gw.chat(stream=True)
    assert r.status == 200 and [len(d) for _, d in r.events()][1] == len(json.dumps(scene.chat_chunk(text)))
    assert r.events()[-1][1] == "[DONE]"
    small = scene.Gateway({"providers": [one_try(up)], "limits": {"max_response_body": "1MiB"}}, workers=1)
    up.next(script)
    r = small.chat(stream=True)
    assert r.status == 200 and "too large" in r.events()[-1][1], r


if __name__ == "__main__":
    scene.main()
