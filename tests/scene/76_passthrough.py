"""What goes through untouched: moderations, images, audio, rerank, files, batches. Forms, bytes of any kind, large ones
in bounded memory, both ways."""

import hashlib
import json
import os
import threading

import scene

MIB = 1 << 20
BOUNDARY = "----form.Boundary+7"


def start(kind="openai_compatible", workers=2, **more):
    up = scene.Upstream()
    return up, scene.Gateway({"providers": [up.provider("up", kind=kind, retry={"max": 0})], "log": {"level": "info"}, **more},
                             workers=workers)


def form(*parts, boundary=BOUNDARY):
    """parts: (name, value) or (name, value, filename)"""
    out = b""
    for name, value, *file in parts:
        value = value.encode() if isinstance(value, str) else value
        out += f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"'.encode()
        if file:
            out += f'; filename="{file[0]}"\r\nContent-Type: application/octet-stream'.encode()
        out += b"\r\n\r\n" + value + b"\r\n"
    return out + f"--{boundary}--\r\n".encode()


def post_form(gw, path, body, boundary=BOUNDARY, **headers):
    return gw.post(path, body, headers={"Content-Type": f"multipart/form-data; boundary={boundary}", **headers}, timeout=60)


def record(gw, r):
    rid = r.headers["x-request-id"]
    return scene.wait_for(lambda: [x for x in gw.log() if x.get("request_id") == rid and x.get("event") == "response"],
                          "the record")[0]


def rss_kib(pid):
    with open(f"/proc/{pid}/status") as f:
        status = dict(line.split(":", 1) for line in f)
    return int(status["VmHWM"].split()[0])


def test_json_goes_through_byte_by_byte_with_the_model_put_in():
    up, gw = start()
    answer = b'{"id":"modr-1",  "results":[{"flagged":false,"score":1.0e-07}]}'
    up.next(lambda a: a.whole(200, answer, {"x-request-id": "up-1", "openai-processing-ms": "12"}))
    r = gw.post("/v1/moderations", '{ "input":"x\\u00e9",  "model" : "up/omni-moderation-latest" , "z":1.50}',
                headers={"Content-Type": "application/json"})
    assert r.status == 200 and r.body == answer, r
    assert r.headers["x-penstock-provider"] == "up" and r.headers["openai-processing-ms"] == "12", r.headers
    assert r.headers["x-penstock-upstream-request-id"] == "up-1"
    q = up.requests[0]
    assert (q.method, q.path) == ("POST", "/v1/moderations")
    assert q.body == b'{ "input":"x\\u00e9",  "model" : "omni-moderation-latest" , "z":1.50}', q.body
    assert q.headers["authorization"] == "Bearer up-key" and q.headers["content-type"] == "application/json"
    row = record(gw, r)
    assert row["surface"] == "moderations" and row["provider_model"] == "omni-moderation-latest", row


def test_without_a_model_it_goes_to_who_knows_such_requests():
    up, gw = start()
    other = scene.Upstream()
    gw.reconfigure({"providers": [other.provider("claude", kind="anthropic"), up.provider("up")]})
    gw.stop()
    gw.start()
    up.default = lambda a: a.whole(200, {"results": []})
    assert gw.post("/v1/moderations", {"input": "x"}).status == 200
    assert "model" not in up.requests[0].json()
    assert gw.post("/v1/rerank", {"model": "rerank-x", "query": "q", "documents": ["a"]}).status == 200
    assert up.requests[1].json()["model"] == "rerank-x", "an unknown name goes as it is"
    r = gw.post("/v1/moderations", {"input": "x"}, headers={"x-penstock-provider": "claude"})
    assert r.status == 400 and "error" in r.json(), r
    r = gw.post("/v1/moderations", {"input": "x"}, headers={"x-penstock-provider": "nobody"})
    assert r.status == 400 and r.json()["error"]["param"] == "x-penstock-provider", r
    assert not other.requests


def test_hints_count_here_too():
    up, gw = start()
    other = scene.Upstream()
    gw.reconfigure({"providers": [up.provider("up"), other.provider("other")]})
    gw.stop()
    gw.start()
    up.default = other.default = lambda a: a.whole(200, {"results": []})

    def ask(hints, model=None):
        return gw.post("/v1/moderations", {"input": "x", **({"model": model} if model else {})},
                       headers={"x-penstock-routing": json.dumps(hints)})
    for model in (None, "rerank-x"):
        assert ask({"exclude_providers": ["up"]}, model).headers["x-penstock-provider"] == "other", model
        for hints in ({"preferred_providers": ["nobody"]}, {"exclude_providers": ["nobody"]}):
            r = ask(hints, model)
            assert r.status == 400 and r.json()["error"]["param"] == "routing." + next(iter(hints)), r
    assert ask({"preferred_providers": ["other"]}).headers["x-penstock-provider"] == "other"
    assert not up.requests


def test_rerank_at_cohere():
    up, gw = start("cohere")
    up.next(lambda a: a.whole(200, {"results": [{"index": 0, "relevance_score": 0.9}]}))
    r = gw.post("/v1/rerank", {"model": "up/rerank-v3.5", "query": "q", "documents": ["a"]})
    assert r.status == 200 and up.requests[0].path == "/v2/rerank", (r, up.requests[0].path)


def test_a_forms_model_is_put_in_wherever_it_stands():
    up, gw = start()
    up.default = lambda a: a.whole(200, {"text": "hello", "usage": {"type": "tokens", "input_tokens": 14, "output_tokens": 4,
                                                                   "input_token_details": {"audio_tokens": 14}}})
    audio = b"RIFF\r\n--" + BOUNDARY.encode()[:-1] + b"\r\n\x00\xff" + os.urandom(200000)
    for parts in ([("model", "up/whisper-1"), ("file", audio, "a.wav"), ("language", "en")],
                  [("file", audio, "model"), ("model", "up/whisper-1")],
                  [("prompt", ""), ("file", b"", "a.wav"), ("model", "up/whisper-1")]):
        r = post_form(gw, "/v1/audio/transcriptions", form(*parts))
        assert r.status == 200 and r.json()["text"] == "hello", r
        want = form(*[(n, "whisper-1" if n == "model" else v, *f) for n, v, *f in parts])
        assert up.requests[-1].body == want, "the bytes are others"
        assert up.requests[-1].headers["content-type"] == f"multipart/form-data; boundary={BOUNDARY}"
        row = record(gw, r)
        assert row["provider_model"] == "whisper-1" and row["input_tokens"] == 14 and row["output_tokens"] == 4, row


def test_forms_that_could_be_read_in_two_ways_are_refused():
    up, gw = start()
    good = [("file", b"x", "a"), ("model", "up/m")]
    for body in (form(*good, ("model", "up/other")),
                 form(*good, ("x", "up/other")).replace(b'name="x"', b"name*=utf-8''model"),
                 form(("file", b"x", "a")).replace(b"--\r\n", b"-x\r\n"),
                 form(("model", "m" * 600)),
                 form(*good).replace(b'name="model"', b'name="model"\r\nContent-Disposition: form-data; name="file"')):
        r = post_form(gw, "/v1/audio/transcriptions", body)
        assert r.status == 400 and r.json()["error"]["type"] == "invalid_request_error", r
    assert not up.requests


def test_a_key_for_some_models_only():
    auth = {"mode": "keys", "keys": [{"id": "k", "key": {"value": "sk-one"}, "models": ["up/whisper-1"]}]}
    up, gw = start(auth=auth)
    up.default = lambda a: a.whole(200, {"text": "x"})
    for model, status in (("up/whisper-1", 200), ("up/whisper-2", 403)):
        r = post_form(gw, "/v1/audio/transcriptions", form(("file", os.urandom(100000), "a"), ("model", model)),
                      Authorization="Bearer sk-one")
        assert r.status == status, r
    r = gw.post("/v1/batches", {"input_file_id": "f"}, headers={"Authorization": "Bearer sk-one"})
    assert r.status == 403, "a batch could name any model"
    r = gw.post("/v1/moderations", {"input": "x"}, headers={"Authorization": "Bearer sk-two"})
    assert r.status == 401 and len(up.requests) == 1, r


def test_speech_comes_as_it_is_made():
    up, gw = start()
    more = threading.Event()

    def speak(a):
        a.head(200, {"Content-Type": "audio/mpeg"})
        a.chunk(b"\xff\xf3one")
        a.wait(more)
        a.chunk(b"two\x00")
        a.end()
    up.next(speak)
    c = gw.client()
    c.request("POST", "/v1/audio/speech", {"model": "up/tts-1", "input": "Hi", "voice": "alloy"},
              {"Accept": "application/octet-stream"})
    status, headers = c.response_head()
    assert status == 200 and headers["content-type"] == "audio/mpeg", headers
    assert c.chunk() == b"\xff\xf3one"
    more.set()
    assert c.chunk() == b"two\x00" and c.chunk() == b""
    assert up.requests[0].headers["accept"] == "application/octet-stream"


def test_a_file_that_is_a_page_is_none_of_ours():
    up, gw = start()
    up.default = lambda a: a.whole(200, "<script>alert(1)</script>", {"Content-Type": "text/html", "Set-Cookie": "a=b", "Refresh": "0"})
    r = gw.get("/v1/files/f-1/content")
    assert r.status == 200 and r.body == b"<script>alert(1)</script>" and r.headers["content-type"] == "text/html", r
    assert r.headers["content-security-policy"] == "sandbox" and r.headers["x-content-type-options"] == "nosniff", r.headers
    assert "set-cookie" not in r.headers and "refresh" not in r.headers, r.headers


def test_files_and_batches_with_all_their_methods():
    up, gw = start()
    up.default = lambda a: a.whole(200, {"id": "x"})
    for method, path, want in (("GET", "/v1/files?purpose=batch&limit=2", "/v1/files?purpose=batch&limit=2"),
                               ("GET", "/v1/files/file-1/content", "/v1/files/file-1/content"),
                               ("DELETE", "/v1/files/file-1", "/v1/files/file-1"),
                               ("POST", "/v1/batches/batch_1/cancel", "/v1/batches/batch_1/cancel"),
                               ("GET", "/v1/batches", "/v1/batches")):
        r = gw.request(method, path)
        assert r.status == 200 and r.json() == {"id": "x"}, r
        q = up.requests[-1]
        assert (q.method, q.path) == (method, want) and q.body == b"", (q.method, q.path, q.body)
    up.next(lambda a: a.whole(200, {"id": "batch_1", "usage": {"input_tokens": 5, "output_tokens": 6, "total_tokens": 11}}))
    r = gw.get("/v1/batches/batch_1")
    assert r.status == 200 and record(gw, r)["output_tokens"] == 0, "it was billed when it was made"
    # The calls that follow on the same connections have their own method again.
    up.default = scene.chat_script()
    assert gw.chat().status == 200 and up.requests[-1].method == "POST"
    for path in ("/v1/files/../chat/completions", "/v1/files/%2e%2e/models", "/v1/files//x", "/v1/files/a%2fb", "/v1/files/a/"):
        r = gw.get(path)
        assert r.status == 404 and "error" in r.json(), (path, r)
    assert len(up.requests) == 7


def test_errors_of_the_provider_and_none_of_them_hidden():
    up, gw = start()
    error = {"error": {"message": "No such file", "type": "invalid_request_error", "code": "x", "param": "id"}}
    up.next(lambda a: a.whole(404, error), lambda a: a.whole(401, error), lambda a: a.reset())
    r = gw.get("/v1/files/file-9")
    assert r.status == 404 and r.json()["error"]["message"] == "No such file", r
    r = gw.get("/v1/files/file-9")
    assert r.status >= 500 and "up-key" not in r.text, r
    gw.reconfigure({"providers": [up.provider("up", retry={"max": 0}, keys=[{"value": "k2"}])]})
    r = gw.get("/v1/files/file-9")
    assert r.status >= 500, r


def test_a_second_try_has_the_whole_body():
    up, gw = start()
    gw.reconfigure({"providers": [up.provider("up", retry={"max": 2, "initial_backoff": "10ms"})]})
    gw.stop()
    gw.start()
    up.next(lambda a: a.whole(500, {"error": {"message": "no"}}), lambda a: a.whole(200, {"id": "file-1"}))
    body = form(("purpose", "batch"), ("file", os.urandom(3 * MIB), "b.jsonl"))
    r = post_form(gw, "/v1/files", body)
    assert r.status == 200 and r.headers["x-penstock-attempts"] == "2", r
    assert up.requests[0].body == body and up.requests[1].body == body


def test_what_is_too_large():
    up, gw = start(limits={"max_upload": "1MiB", "max_request_body": "64KiB"})
    r = post_form(gw, "/v1/files", form(("file", os.urandom(2 * MIB), "b")))
    assert r.status == 413 and "1048576" in r.json()["error"]["message"], r
    c = gw.client()
    c.send(f"POST /v1/files HTTP/1.1\r\nHost: g\r\nContent-Type: application/octet-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
    try:
        for _ in range(300):
            c.send(b"1000\r\n" + b"x" * 4096 + b"\r\n")
    except OSError:
        pass
    assert c.response_head()[0] == 413
    r = gw.post("/v1/moderations", {"input": "x" * 100000})
    assert r.status == 413, r
    assert not up.requests


class Count:
    """Takes a large body without keeping it."""

    def __init__(self, wire, headers):
        self.sum, self.n = hashlib.sha256(), int(headers["content-length"])
        left = self.n
        while left:
            if not wire.buf:
                wire.more()
            piece, wire.buf = wire.buf[:left], wire.buf[left:]
            self.sum.update(piece)
            left -= len(piece)


def still(value, looks=50):
    """Waits until it does not change any more."""
    seen = []

    def look():
        seen.append(value())
        return len(seen) > looks and len(set(seen[-looks:])) == 1
    scene.wait_for(look, "a value that stays")
    return seen[-1]


def test_large_ones_up_and_down_in_bounded_memory():
    up, gw = start(workers=1)
    blocks, bound_kib = 128, 24 << 10  # a sanitizer's memory is larger than ours
    block = os.urandom(MIB)
    got, sent = [], []

    class Large(scene.Wire):
        def body(self, headers, whole=True):
            if int(headers.get("content-length", 0)) < MIB:
                return super().body(headers, whole)
            got.append(Count(self, headers))
            return b""
    scene_wire, scene.Wire = scene.Wire, Large
    try:
        up.default = lambda a: a.whole(200, {"id": "file-1"})
        pid = gw.worker_pids()[0]
        gw.get("/v1/files")
        before = rss_kib(pid)
        head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\n'.encode()
        tail = f"\r\n--{BOUNDARY}--\r\n".encode()
        c = gw.client(120)
        c.send(f"POST /v1/files HTTP/1.1\r\nHost: g\r\nContent-Length: {len(head) + blocks * MIB + len(tail)}\r\n"
               f"Content-Type: multipart/form-data; boundary={BOUNDARY}\r\n\r\n")
        want = hashlib.sha256()
        for piece in [head] + [block] * blocks + [tail]:
            want.update(piece)
            c.send(piece)
        assert c.response().status == 200
        assert got[0].sum.digest() == want.digest(), "the bytes are others"
        assert rss_kib(pid) - before < bound_kib, f"{before} KiB, then {rss_kib(pid)}"

        def content(a):
            a.head(200, {"Content-Type": "application/octet-stream", "Content-Disposition": "attachment"}, blocks * MIB)
            for i in range(blocks):
                a.raw(block)
                sent.append(i)
        up.next(content)
        c.request("GET", "/v1/files/file-1/content")
        status, headers = c.response_head()
        assert status == 200 and headers["content-length"] == str(blocks * MIB) and headers["content-disposition"], headers
        assert still(lambda: len(sent)) < blocks, "a client that takes nothing: the provider has to wait"
        assert rss_kib(pid) - before < bound_kib, f"{before} KiB, then {rss_kib(pid)}"
        assert Count(c, headers).n == blocks * MIB
    finally:
        scene.Wire = scene_wire


def test_who_leaves_in_the_middle_leaves_nothing_behind():
    up, gw = start(workers=1)
    pid = gw.worker_pids()[0]
    hang = threading.Event()
    up.default = lambda a: a.wait(hang)
    gw.get("/health")
    fds = lambda: len(os.listdir(f"/proc/{pid}/fd"))
    quiet = fds()
    c = gw.client()
    c.send(f"POST /v1/files HTTP/1.1\r\nHost: g\r\nContent-Length: {8 * MIB}\r\n"
           f"Content-Type: multipart/form-data; boundary={BOUNDARY}\r\n\r\n" + "x" * MIB)
    scene.wait_for(lambda: any("deleted" in os.readlink(f"/proc/{pid}/fd/{f}") for f in list_fds(pid)), "the spool")
    c.reset()
    scene.wait_for(lambda: fds() <= quiet, "the spool's end")
    assert not up.requests
    c = gw.client()
    c.request("POST", "/v1/images/generations", {"model": "up/m", "prompt": "x"})
    q = up.wait_requests(1)[0]
    c.reset()
    assert q.closed.wait(15), "the provider goes on for nobody"
    up.next(lambda a: (a.head(200, {"Content-Type": "image/png"}, 1000), a.raw(b"x" * 10), a.reset()))
    c = gw.client()
    c.request("POST", "/v1/images/edits", {"model": "up/m", "prompt": "x"})
    status, headers = c.response_head()
    assert status == 200
    assert len(c.rest()) < 1000, "an answer that broke off must not look whole"


def list_fds(pid):
    return [f for f in os.listdir(f"/proc/{pid}/fd") if os.path.islink(f"/proc/{pid}/fd/{f}")]


if __name__ == "__main__":
    scene.main()
