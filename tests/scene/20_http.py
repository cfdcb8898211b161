"""Bad input and what it gets, and HTTP/1.1 as clients really speak it: raw bytes against the daemon, before an
upstream that counts what comes through."""

import contextlib
import json
import os
import random
import socket
import threading
import time

import scene

CHAT = {"model": "m", "messages": [{"role": "user", "content": "Hi"}]}
BODY = json.dumps(CHAT).encode()
LINE = b"POST /v1/chat/completions HTTP/1.1\r\n"
HOST = b"Host: gateway\r\n"
SECRETS = ("up-key", "127.0.0.1", "penstock-scene", ".c:")


def chat_bytes(body=BODY, *fields, line=LINE + HOST):
    """A chat request with these fields besides the right length."""
    return line + b"".join(f + b"\r\n" for f in fields) + b"Content-Length: %d\r\n\r\n" % len(body) + body


class Front:
    """One worker, so that whoever is disturbed shows; and one connection that must never notice anything."""

    def __init__(self, up=None, **conf):
        self.up = up or scene.Upstream()
        self.gw = scene.Gateway({"providers": [self.up.provider("up", retry={"max": 0})],
                                 "models": [{"name": "m", "targets": [{"provider": "up", "model": "m"}]}], **conf},
                                workers=1)
        self.other = self.gw.client()
        self.good = len(self.up.requests)

    def undisturbed(self):
        """A good request on the same connection as ever; nothing but good ones has gone upstream."""
        self.other.send(chat_bytes())
        r = self.other.response()
        assert r.status == 200 and r.json()["choices"], r
        self.good += 1
        assert len(self.up.requests) == self.good, self.up.requests[-1].body[:200]

    def rss(self):
        with open(f"/proc/{self.gw.worker_pids()[0]}/statm") as f:
            return int(f.read().split()[1]) * os.sysconf("SC_PAGESIZE")

    def cpu_seconds(self):
        with open(f"/proc/{self.gw.worker_pids()[0]}/stat") as f:
            times = f.read().rsplit(")", 1)[1].split()[11:13]
        return sum(map(int, times)) / os.sysconf("SC_CLK_TCK")

    def bounded(self, before, most):
        with open(f"/proc/{self.gw.worker_pids()[0]}/maps") as f:
            if "asan" in f.read():
                return  # keeps what is freed
        grown = self.rss() - before
        assert grown < most, f"{grown >> 10} KiB more"


def check_error(r, status, name=""):
    """OpenAI's shape, and nothing of the inside."""
    assert r.status == status, (name, status, r)
    assert r.headers["content-type"].startswith("application/json"), (name, r.headers)
    assert list(r.json()) == ["error"], (name, r)
    error = r.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}, (name, r)
    assert isinstance(error["message"], str) and error["message"], (name, r)
    assert isinstance(error["type"], str) and error["type"], (name, r)
    assert not any(s in r.text for s in SECRETS), (name, r)
    assert scene.re.fullmatch(r"[A-Za-z0-9._-]{1,128}", r.headers["x-request-id"]), (name, r.headers)
    if status < 500 or status in (501, 505):
        assert error["type"] == "invalid_request_error" or status == 408, (name, error)
    return error


def refused(front, name, raw, status):
    """Refused and closed: behind the answer comes nothing, though a good request was smuggled in behind."""
    c = front.gw.client()
    with contextlib.suppress(OSError):  # it may be closed before all is sent
        c.send(raw)
    r = c.response()
    check_error(r, status, name)
    assert r.headers.get("connection") == "close", (name, r.headers)
    assert c.rest() == b"", name
    c.close()


SMUGGLED = chat_bytes()


def test_request_lines():
    front = Front()
    rest = b"\r\n" + HOST + b"\r\n"
    for name, line, status in (
        ("TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
        ("binary", bytes(range(256)), 400),
        ("SSH", b"SSH-2.0-OpenSSH_9.2", 400),
        ("HTTP/2 preface", b"PRI * HTTP/2.0\r\n\r\nSM", 505),
        ("no version", b"GET /livez", 400),
        ("only a method", b"GET", 400),
        ("two spaces", b"GET  /livez HTTP/1.1", 400),
        ("space behind", b"GET /livez HTTP/1.1 ", 400),
        ("space before", b" GET /livez HTTP/1.1", 400),
        ("tab", b"GET\t/livez\tHTTP/1.1", 400),
        ("space in the target", b"GET /li vez HTTP/1.1", 400),
        ("NUL in the target", b"GET /livez\0 HTTP/1.1", 400),
        ("control in the target", b"GET /livez\x0b HTTP/1.1", 400),
        ("raw byte in the target", b"GET /livez\xff HTTP/1.1", 400),
        ("fragment", b"GET /livez#x HTTP/1.1", 400),
        ("relative target", b"GET livez HTTP/1.1", 400),
        ("star", b"GET * HTTP/1.1", 400),
        ("authority", b"CONNECT example.com:443 HTTP/1.1", 501),
        ("other scheme", b"GET ftp://gateway/livez HTTP/1.1", 400),
        ("user in the target", b"GET http://a@gateway/livez HTTP/1.1", 400),
        ("no host in the target", b"GET http:///livez HTTP/1.1", 400),
        ("odd method", b"G(T /livez HTTP/1.1", 400),
        ("quoted method", b'"GET" /livez HTTP/1.1', 400),
        ("HTTP/0.9", b"GET /livez HTTP/0.9", 505),
        ("HTTP/1.2", b"GET /livez HTTP/1.2", 505),
        ("HTTP/2.0", b"GET /livez HTTP/2.0", 505),
        ("HTTP/1.10", b"GET /livez HTTP/1.10", 400),
        ("HTTP/1", b"GET /livez HTTP/1", 400),
        ("http/1.1", b"GET /livez http/1.1", 400),
        ("HTTP/+1.1", b"GET /livez HTTP/+1.1", 400),
        ("bare CR", b"GET /livez HTTP/1.1\rX: y", 400),
        ("two CR", b"GET /livez HTTP/1.1\r", 400),
        ("two empty lines before", b"\r\n\r\nGET /livez HTTP/1.1", 400),
        ("too long", b"GET /" + b"a" * 80000 + b" HTTP/1.1", 414),
        ("too long and never ending", b"GET /" + b"a" * 200000, 414),
    ):
        refused(front, name, line + rest + SMUGGLED, status)
        front.undisturbed()
    refused(front, "bare LF", b"GET /livez HTTP/1.1\n" + HOST + b"\r\n" + SMUGGLED, 400)
    refused(front, "bare LF all along", b"GET /livez HTTP/1.1\nHost: gateway\n\n" + SMUGGLED, 400)
    front.undisturbed()


def test_header_fields():
    front = Front()
    for name, fields, status in (
        ("no Host", b"X: y\r\n", 400),
        ("two Hosts", HOST + HOST, 400),
        ("two other Hosts", HOST + b"host: other\r\n", 400),
        ("list in Host", b"Host: a, b\r\n", 400),
        ("path in Host", b"Host: a/b\r\n", 400),
        ("user in Host", b"Host: u@a\r\n", 400),
        ("port that is none", b"Host: a:8x\r\n", 400),
        ("raw byte in Host", b"Host: \xe4\r\n", 400),
        ("space before the colon", HOST + b"X : y\r\n", 400),
        ("tab before the colon", HOST + b"X\t: y\r\n", 400),
        ("space in the name", HOST + b"X Y: z\r\n", 400),
        ("space before the name", HOST + b" X: y\r\n", 400),
        ("first line folded", b" " + HOST, 400),
        ("folded", HOST + b"X: y\r\n\tz\r\n", 400),
        ("no colon", HOST + b"X\r\n", 400),
        ("no name", HOST + b": y\r\n", 400),
        ("name that is no token", HOST + b"X(Y): z\r\n", 400),
        ("raw byte in the name", HOST + b"X\xe4: z\r\n", 400),
        ("NUL in the name", HOST + b"X\0: z\r\n", 400),
        ("DEL", HOST + b"X: \x7f\r\n", 400),
        ("bare CR", HOST + b"X: y\rZ: z\r\n", 400),
        ("bare LF", HOST + b"X: y\nZ: z\r\n", 400),
        ("bare LF before the end", HOST + b"X: y\n", 400),
        ("two CR", HOST + b"X: y\r\r\n", 400),
        *((f"control byte {b}", HOST + b"X: a%cb\r\n" % b, 400) for b in range(32) if b not in (9, 10, 13)),
        ("too many", HOST + b"".join(b"X-%d: y\r\n" % i for i in range(100)), 431),
        ("too long", HOST + b"X: " + b"y" * 70000 + b"\r\n", 431),
        ("too long together", HOST + b"".join(b"X-%d: %s\r\n" % (i, b"y" * 1500) for i in range(60)), 431),
        ("name too long", HOST + b"X" * 70000 + b": y\r\n", 431),
        ("other expectation", HOST + b"Expect: 200-maybe\r\n", 417),
    ):
        refused(front, name, b"GET /livez HTTP/1.1\r\n" + fields + b"\r\n" + SMUGGLED, status)
        front.undisturbed()
    for name, fields in (  # odd, and legal
        ("tab and blanks in a value", HOST + b"X:\ta \t b\t \r\n"),
        ("raw bytes in a value", HOST + b"X: \xe4\xff\r\n"),
        ("empty value", HOST + b"X:\r\n"),
        ("empty Host", b"Host:\r\n"),
        ("Host with port", b"Host: [::1]:8080\r\n"),
        ("names of all kinds", HOST + b"!#$%&'*+-.^_`|~09azAZ: y\r\n"),
        ("ninety-nine", HOST + b"".join(b"X-%d: y\r\n" % i for i in range(99))),
        ("long", HOST + b"X: " + b"y" * 60000 + b"\r\n"),
        ("underscores", HOST + b"Transfer_Encoding: chunked\r\nContent_Length: 9\r\n"),
    ):
        front.other.send(b"GET /livez HTTP/1.1\r\n" + fields + b"\r\n")
        assert front.other.response().status == 200, name


def test_framing_that_could_be_read_in_two_ways():
    front = Front()
    chunked = b"%x\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY)
    cl = b"Content-Length: %d" % len(BODY)
    te = b"Transfer-Encoding: chunked"
    length = str(len(BODY)).encode()
    for name, fields, body, status in (
        ("length and chunked", (cl, te), chunked, 400),
        ("chunked and length", (te, cl), chunked, 400),
        ("length 0 and chunked", (b"Content-Length: 0", te), chunked, 400),
        ("length twice", (cl, cl), BODY, 400),
        ("two lengths", (cl, b"Content-Length: 0"), BODY, 400),
        ("two lengths, spelt otherwise", (cl, b"CONTENT-LENGTH: 0"), BODY, 400),
        ("list of equal lengths", (cl + b", " + length,), BODY, 400),
        ("list of lengths", (cl + b", 0",), BODY, 400),
        *((f"length {bad}", (b"Content-Length: " + bad,), BODY, 400) for bad in (
            b"+" + length, b"-" + length, b"-1", b"0x1", b"", b"  ", length + b"a", b"1e3", b"5.0", b"5 5", b"5;",
            b'"5"', b"\xd9\xa5", b"9" * 19, b"9" * 30, b"0x" + length, b"5\x0b", length + b"\0")),
        ("space before the colon of the length", (b"Content-Length : " + length,), BODY, 400),
        ("length folded", (b"Content-Length:\r\n " + length,), BODY, 400),
        ("space before the colon of the coding", (b"Transfer-Encoding : chunked",), chunked, 400),
        ("space before the colon of the coding, and a length", (b"Transfer-Encoding : chunked", cl), chunked, 400),
        ("coding folded", (b"Transfer-Encoding:\r\n chunked",), chunked, 400),
        ("coding after VT", (b"Transfer-Encoding: \x0bchunked",), chunked, 400),
        ("coding after NUL", (b"Transfer-Encoding: \0chunked",), chunked, 400),
        ("coding twice", (te, te), chunked, 400),
        ("two codings", (te, b"Transfer-Encoding: identity"), chunked, 400),
        *((f"coding {bad}", (b"Transfer-Encoding: " + bad,), chunked, 501) for bad in (
            b"gzip", b"gzip, chunked", b"chunked, gzip", b"identity", b"chunked, chunked", b"xchunked", b"chunked;q=1",
            b"chunked,", b'"chunked"', b"", b"chunked\xa0", b"cow")),
        ("unknown coding and a length", (b"Transfer-Encoding: cow", cl), BODY, 400),
    ):
        refused(front, name, LINE + HOST + b"".join(f + b"\r\n" for f in fields) + b"\r\n" + body + SMUGGLED, status)
        front.undisturbed()
    refused(front, "chunked in HTTP/1.0", LINE.replace(b"1.1", b"1.0") + te + b"\r\n\r\n" + chunked + SMUGGLED, 400)
    front.undisturbed()
    front.other.send(LINE + HOST + b"Transfer-Encoding: CHUNKED\r\n\r\n" + chunked)  # codings have no case
    assert front.other.response().status == 200
    front.good += 1
    front.undisturbed()


def test_chunked_bodies_that_are_none():
    front = Front()
    data = BODY[:10]
    for name, body in (
        ("no size", b"\r\n" + data),
        ("sign", b"+a\r\n" + data),
        ("minus", b"-a\r\n" + data),
        ("0x", b"0xa\r\n" + data),
        ("space before", b" a\r\n" + data),
        ("space behind", b"a \r\n" + data),
        ("no digit", b"g\r\n" + data),
        ("too many digits", b"0" * 16 + b"a\r\n" + data),
        ("overflow", b"f" * 17 + b"\r\n" + data),
        ("bare LF behind the size", b"a\n" + data),
        ("bare CR behind the size", b"a\r" + data),
        ("bare LF behind the data", b"a\r\n" + data + b"\n0\r\n\r\n"),
        ("data longer than said", b"9\r\n" + data + b"\r\n0\r\n\r\n"),
        ("data shorter than said", b"b\r\n" + data + b"\r\n0\r\n\r\n"),
        ("control in an extension", b"a;x\0y\r\n" + data),
        ("bare LF in an extension", b"a;x=1\n" + data),
        ("endless extension", b"a;" + b"x" * 10000),
        ("trailer without a colon", b"0\r\ntrailer\r\n\r\n"),
        ("trailer with a blank", b"0\r\nX : y\r\n\r\n"),
        ("folded trailer", b"0\r\nX: y\r\n z\r\n\r\n"),
        ("control in a trailer", b"0\r\nX: \0\r\n\r\n"),
        ("bare LF in a trailer", b"0\r\nX: y\n\r\n"),
        ("bare LF at the end", b"0\r\n\n"),
        ("endless trailers", b"0\r\n" + b"X: yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy\r\n" * 2000),
    ):
        refused(front, name, LINE + HOST + b"Transfer-Encoding: chunked\r\n\r\n" + body + SMUGGLED, 400)
        front.undisturbed()


def test_bodies_that_are_cut():
    front = Front()
    chunked = LINE + HOST + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY)
    for whole in (chat_bytes(), chunked):
        for n in (1, 4, 30, len(LINE), len(LINE) + len(HOST), len(whole) - len(BODY), len(whole) - 1):
            for end in ("close", "half-close", "reset"):
                c = front.gw.client()
                c.send(whole[:n])
                if end == "half-close":
                    c.sock.shutdown(socket.SHUT_WR)
                    assert c.at_end(), "an answer to half a request"
                    c.close()
                elif end == "close":
                    c.close()
                else:
                    c.reset()
        front.undisturbed()
    scene.wait_for(lambda: front.gw.metrics()["penstock_in_flight"] == 0, "nothing in flight")
    front.undisturbed()


# --- paths, methods, keys, models ---


def test_paths_and_methods():
    front = Front()
    c = front.gw.client()
    for method, path, status, allow in (
        ("GET", "/v1", 404, None),
        ("GET", "/v1/", 404, None),
        ("POST", "/v1/chat/completions/", 404, None),
        ("POST", "//v1/chat/completions", 404, None),
        ("POST", "/v1/./chat/completions", 404, None),
        ("POST", "/v1/chat/completions%00", 404, None),
        ("POST", "/V1/chat/completions", 404, None),
        ("GET", "/v1/models/", 404, None),
        ("GET", "/../../etc/passwd", 404, None),
        ("GET", "/nope?" + "x" * 5000, 404, None),
        ("GET", "/" + "n" * 5000, 404, None),
        ("GET", '/"quoted"\\', 404, None),
        ("OPTIONS", "*", 404, None),
        ("GET", "/v1/chat/completions", 405, {"POST"}),
        ("PUT", "/v1/chat/completions", 405, {"POST"}),
        ("DELETE", "/v1/models", 405, {"GET", "HEAD"}),
        ("POST", "/v1/models/m", 405, {"GET", "HEAD"}),
        ("PATCH", "/health", 405, {"GET", "HEAD"}),
        ("TRACE", "/livez", 405, {"GET", "HEAD"}),
        ("BREW", "/livez", 405, {"GET", "HEAD"}),
        ("get", "/livez", 405, {"GET", "HEAD"}),
        ("GETGETGETGETGETGETGETGETGETGETGETGETGETGETGETGETGETGETGETGET", "/livez", 405, {"GET", "HEAD"}),
        ("GET", "/admin/v1/reload", 405, {"POST"}),
        ("PUT", "/admin/v1/cache", 405, {"DELETE"}),
    ):
        r = c.request(method, path, BODY if method in ("POST", "PUT") else None).response()
        check_error(r, status, path)
        assert "connection" not in r.headers, (path, r.headers)  # nothing wrong with the connection
        assert "x-request-id" in r.headers
        got = r.headers.get("allow")
        assert (set(got.split(", ")) if got else None) == allow, (path, got)
    front.undisturbed()
    for target in ("/livez?x=y", "http://elsewhere/livez", "HTTPS://elsewhere:1/livez?x", "/livez?"):
        assert c.request("GET", target).response().status == 200, target
    assert c.request("POST", "/v1/chat/completions?api-version=1", CHAT).response().status == 200
    front.good += 1
    front.undisturbed()


def test_head():
    front = Front()
    c = front.gw.client()
    for path in ("/livez", "/readyz", "/health", "/v1/models", "/v1/models/m", "/v1/models/none", "/nope",
                 "/v1/chat/completions", "/metrics"):
        head = c.request("HEAD", path).response("HEAD")
        get = c.request("GET", path).response()
        assert head.status == get.status, path
        assert head.headers.get("content-type") == get.headers.get("content-type")
        assert set(head.headers) == set(get.headers), path
        if path not in ("/metrics", "/v1/chat/completions"):  # the text of these differs
            assert int(head.headers["content-length"]) == len(get.body), path
    c.send(b"HEAD /livez HTTP/9.9\r\n\r\n")
    c.response_head()
    front.undisturbed()


def test_keys_and_models():
    front = Front(auth={"keys": [{"id": "one", "key": {"value": "sk-one"}, "models": ["m"]}]})
    front.other.send(chat_bytes(BODY, b"Authorization: Bearer sk-one"))
    assert front.other.response().status == 200
    front.good += 1
    c = front.gw.client()
    for name, headers in {
        "none": {}, "empty": {"Authorization": ""}, "only the scheme": {"Authorization": "Bearer "},
        "wrong": {"Authorization": "Bearer sk-two"}, "longer": {"Authorization": "Bearer sk-one "[:-1] + "x"},
        "shorter": {"Authorization": "Bearer sk-on"}, "case": {"Authorization": "Bearer SK-ONE"},
        "other scheme": {"Authorization": "Basic c2stb25l"}, "two schemes": {"Authorization": "Bearer Bearer sk-one"},
        "huge": {"Authorization": "Bearer " + "x" * 20000}, "other header": {"X-Api-Key": "sk-two"},
        "as a cookie": {"Cookie": "key=sk-one"},
    }.items():
        for method, path, body in (("POST", "/v1/chat/completions", CHAT), ("GET", "/v1/models", None),
                                   ("GET", "/admin/v1/config", None), ("GET", "/metrics", None)):
            r = c.request(method, path, body, headers).response()
            assert "sk-" not in check_error(r, 401, name)["message"], r
            assert r.headers["www-authenticate"].startswith("Bearer"), name
    assert len(front.up.requests) == front.good
    right = {"Authorization": "Bearer sk-one"}
    for model, status in (("x", 404), ("up/m", 403), ("mm", 404), ("m\0", 404), ("M", 404)):
        r = c.request("POST", "/v1/chat/completions", {**CHAT, "model": model}, right).response()
        assert check_error(r, status, model)["param"] == "model"
    assert c.request("POST", "/v1/chat/completions", CHAT, right).response().status == 200
    front.good += 1
    assert len(front.up.requests) == front.good


def test_unknown_models():
    front = Front()
    c = front.gw.client()
    for model in ("unknown", "gpt-4o", "nobody/m", "m ", "../m", "\u0000", "m" * 100000, "\ud83d\ude00", "{}"):
        r = c.request("POST", "/v1/chat/completions", {**CHAT, "model": model}).response()
        error = check_error(r, 404, model)
        assert error["code"] == "model_not_found" and error["type"] == "invalid_request_error", error
        assert len(r.body) < 4096
        r = c.request("GET", "/v1/models/" + scene.re.sub(r"[^a-z0-9./]", "_", model[:1000])).response()
        check_error(r, 404, model)
    front.undisturbed()


# --- JSON ---


def nested(depth):
    """A body whose arrays and objects are so deep, with its own braces."""
    arrays = depth - 1
    return BODY[:-1] + b', "x": ' + b"[" * arrays + b"]" * arrays + b"}"


def test_json_that_is_none():
    front = Front()
    c = front.gw.client()
    text = BODY.decode()
    bad_utf8 = [b"\xff", b"\xc0\x80", b"\xe0\x80\x80", b"\xed\xa0\x80", b"\xe2\x82", b"\xf4\x90\x80\x80", b"\x80",
                b"\xf8\x88\x80\x80\x80", b"\xc3", b"\xc3("]
    for name, body in (
        ("none", None), ("empty", b""), ("blank", b" \n"), ("null", b"null"), ("array", b"[]"), ("array of it", b"[" + BODY + b"]"),
        ("string", b'"x"'), ("number", b"1"), ("true", b"true"), ("form", b"model=m&messages=x"),
        ("multipart", b"--x\r\nContent-Disposition: form-data"), ("brace", b"{"),
        ("no value", text.replace('"m"', "").encode()), ("trailing comma", BODY[:-1] + b",}"),
        ("trailing bytes", BODY + b"x"), ("twice", BODY + BODY), ("trailing NUL", BODY + b"\0"),
        ("NUL before", b"\0" + BODY), ("single quotes", text.replace('"', "'").encode()),
        ("bare key", text.replace('"model"', "model").encode()), ("comment", b"/* */" + BODY),
        ("BOM", b"\xef\xbb\xbf" + BODY),
        ("UTF-16", text.encode("utf-16")), ("no comma", text.replace(",", "", 1).encode()),
        ("no colon", text.replace(":", " ", 1).encode()), ("control byte", text.replace("Hi", "H\x01i").encode()),
        ("newline in a string", text.replace("Hi", "H\ni").encode()), ("escape", text.replace("Hi", "\\x").encode()),
        ("short escape", text.replace("Hi", "\\u12").encode()), ("open string", BODY[:-6]),
        ("wrong bracket", text.replace("]", "}").encode()),
        *((f"number {n}", BODY[:-1] + b', "seed": ' + n + b"}") for n in (
            b"01", b"+1", b"1.", b".5", b"1e", b"-", b"NaN", b"Infinity", b"-Infinity", b"0x10", b"1_000", b"- 1",
            b"nul", b"TRUE", b"undefined")),
        *((f"UTF-8 {b}", BODY.replace(b"Hi", b"H" + b)) for b in bad_utf8),
        *((f"UTF-8 {b} in a key", BODY[:-1] + b', "x' + b + b'": 1}') for b in bad_utf8),
        *((f"cut at {n}", BODY[:n]) for n in range(1, len(BODY), 7)),
        ("129 levels", nested(129)), ("100000 levels", nested(100000)), ("levels never closed", b"[" * 1000000),
        ("objects never closed", b'{"a":' * 100000),
    ):
        c.send(LINE + HOST + b"\r\n" if body is None else chat_bytes(body))
        r = c.response()
        error = check_error(r, 400, name)
        assert error["type"] == "invalid_request_error", (name, error)
        assert "connection" not in r.headers, (name, r.headers)
    front.undisturbed()
    for name, body in (
        ("128 levels", nested(128)), ("blanks around", b" \r\n\t" + BODY + b"\n "),
        ("escapes", BODY.replace(b"Hi", b"\\ud83d\\ude00\\/")),
        ("U+10FFFF", BODY.replace(b"Hi", b"\xf4\x8f\xbf\xbf")), ("U+0000", BODY.replace(b"Hi", b"\\u0000")),
        ("huge number", BODY[:-1] + b', "seed": ' + b"9" * 4000 + b"}"),
        ("10000 members", BODY[:-1] + b"".join(b',"x%d":%d' % (i, i) for i in range(10000)) + b"}"),
        ("other content type", None),
    ):
        c.send(chat_bytes(body or BODY, b"Content-Type: text/plain"))
        assert c.response().status == 200, name
        front.good += 1
        assert front.up.requests[-1].body == (body or BODY), name  # as it came
    front.undisturbed()


def test_wrong_types_name_their_param():
    front = Front()
    c = front.gw.client()
    message = CHAT["messages"][0]
    cases = [("model", v) for v in (1, True, {}, [])]
    cases += [("messages", v) for v in ("x", 1, {}, None, True, [])]
    cases += [(name, v) for name in ("stream",) for v in ("true", 1, [], {})]
    cases += [("stream_options", v) for v in ("x", 1, [], True)]
    cases += [(name, v) for name in ("max_tokens", "max_completion_tokens", "n") for v in ("1", 1.5, -1, True, [], {}, 1e30)]
    cases += [("n", v) for v in (0, 129)]
    cases += [(name, v) for name in ("temperature", "top_p") for v in ("1", True, [], {})]
    cases += [("tools", v) for v in ("x", 1, {}, True)]
    cases += [("tool_choice", v) for v in (1, [], True)]
    cases += [("stop", v) for v in (1, {}, True)]
    cases += [("user", v) for v in (1, [], {}, True)]
    cases += [("routing", v) for v in ("x", 1, [], True)]
    cases += [("response_format", v) for v in ("json", 1, [], True)]
    for param, value in cases:
        r = c.request("POST", "/v1/chat/completions", {**CHAT, param: value}).response()
        error = check_error(r, 400, (param, value))
        assert error["param"] == param and param in error["message"], (param, value, error)
        assert error["type"] == "invalid_request_error" and error["code"], error
    for param, messages in (
        ("messages[0]", ["x"]), ("messages[1]", [message, 1]), ("messages[0]", [[]]), ("messages[0]", [None]),
        ("messages[0].role", [{"content": "x"}]), ("messages[0].role", [{"role": 1, "content": "x"}]),
        ("messages[1].role", [message, {"role": "robot", "content": "x"}]),
        ("messages[0].content", [{"role": "user", "content": 1}]), ("messages[0].content", [{"role": "user", "content": {}}]),
        ("messages[2].content", [message, message, {"role": "user", "content": True}]),
    ):
        r = c.request("POST", "/v1/chat/completions", {**CHAT, "messages": messages}).response()
        assert check_error(r, 400, messages)["param"] == param, (messages, r)
    r = c.request("POST", "/v1/chat/completions", {**CHAT, "stream_options": {"include_usage": "yes"}}).response()
    assert check_error(r, 400)["param"] == "stream_options.include_usage"
    r = c.request("POST", "/v1/chat/completions", {"model": "m"}).response()
    assert check_error(r, 400)["param"] == "messages"
    for hints in ("x", "[]", "{", "", "1"):
        r = c.request("POST", "/v1/chat/completions", CHAT, {"X-Penstock-Routing": hints}).response()
        assert check_error(r, 400, hints)["param"] == "x-penstock-routing"
    assert "connection" not in r.headers
    front.undisturbed()


def test_members_given_twice():
    front = Front()
    c = front.gw.client()
    values = {"model": '"m"', "messages": json.dumps(CHAT["messages"]), "stream": "false", "stream_options": "null",
              "max_tokens": "1", "max_completion_tokens": "1", "n": "1", "temperature": "1", "top_p": "1", "tools": "[]",
              "tool_choice": '"auto"', "stop": '"x"', "user": '"u"', "response_format": "{}", "routing": "{}"}
    for name, value in values.items():
        members = {**values, name: value}
        one = "{" + ",".join(f'"{k}":{v}' for k, v in members.items())
        for again in (name, f"\\u{ord(name[0]):04x}" + name[1:]):
            c.send(chat_bytes(f'{one},"{again}":{value}}}'.encode()))
            assert check_error(c.response(), 400, again)["param"] == name
    front.undisturbed()


# --- sizes ---


def test_bodies_over_the_limit():
    limit = 64 << 10
    front = Front(limits={"max_request_body": "64KiB"})
    pad = lambda n: BODY[:-1] + b" " * (n - len(BODY)) + b"}"
    chunked = lambda body, size: (LINE + HOST + b"Transfer-Encoding: chunked\r\n\r\n" + b"".join(
        b"%x\r\n%s\r\n" % (len(body[i:i + size]), body[i:i + size]) for i in range(0, len(body), size)) + b"0\r\n\r\n")
    for raw in (chat_bytes(pad(limit)), chunked(pad(limit), 1000), chunked(pad(limit), limit)):
        front.other.send(raw)
        assert front.other.response().status == 200
        front.good += 1
    for name, raw in (
        ("declared", chat_bytes(pad(limit + 1))),
        ("declared, nothing comes", LINE + HOST + b"Content-Length: 65537\r\n\r\n"),
        ("declared, exabytes", LINE + HOST + b"Content-Length: 999999999999999999\r\n\r\n" + BODY),
        ("chunked", chunked(pad(limit + 1), 1000)),
        ("one chunk", chunked(pad(limit + 1), limit + 1)),
        ("a chunk of exabytes", LINE + HOST + b"Transfer-Encoding: chunked\r\n\r\nfffffffffffffff\r\n" + b"x" * (limit + 1)),
        ("declared and sent, megabytes", chat_bytes(pad(5 << 20))),
        ("chunked, megabytes", chunked(pad(5 << 20), 10000)),
    ):
        before = front.rss()
        refused(front, name, raw + SMUGGLED, 413)
        front.bounded(before, 4 << 20)
        front.undisturbed()
    for name, raw in (  # never asked for: read away to keep the connection, or the connection ends
        ("small", b"GET /livez HTTP/1.1\r\n" + HOST + b"Content-Length: 1000\r\n\r\n" + b"x" * 1000),
        ("chunked", b"GET /livez HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n3\r\nxxx\r\n0\r\n\r\n"),
        ("large", b"GET /livez HTTP/1.1\r\n" + HOST + b"Content-Length: 10000000\r\n\r\n" + b"x" * 100000),
    ):
        c = front.gw.client()
        c.send(raw)
        r = c.response()
        assert r.status == 200, name
        if r.headers.get("connection") == "close":
            assert name != "small" and c.at_end()
        else:
            assert c.request("GET", "/livez").response().status == 200, name
        c.close()
    front.undisturbed()


# --- slowness ---


def trickle(c, data, each=0.05, piece=1):
    """A few bytes now and then, until the peer answers or closes. Gives all of what it said."""
    c.sock.settimeout(each)
    out = b""
    i = 0
    while True:
        with contextlib.suppress(TimeoutError, OSError):
            if i < len(data):
                c.sock.send(data[i:i + piece])
                i += piece
        try:
            got = c.sock.recv(65536)
            if not got:
                return out
            out += got
        except TimeoutError:
            continue
        except OSError:
            return out


def each_at_once(cases, fn):
    """{name: fn(case)} in a thread each."""
    out = {}

    def run(name, case):
        try:
            out[name] = fn(case)
        except Exception as e:
            out[name] = e
    threads = [threading.Thread(target=run, args=x, daemon=True) for x in cases.items()]
    for t in threads:
        t.start()
    return threads, out


def parsed(raw):
    """The one answer in these bytes."""
    a, b = socket.socketpair()
    with a, b:
        a.sendall(raw)
        a.shutdown(socket.SHUT_WR)
        w = scene.Client.__new__(scene.Client)
        scene.Wire.__init__(w, b)
        r = w.response()
        assert w.rest() == b""
        return r


def test_slow_headers():
    front = Front(limits={"header_timeout": "1s", "idle_timeout": "30s"})
    front.undisturbed()
    head = LINE + HOST + b"X: " + b"y" * 10000
    cases = {
        "from the first byte": (b"", head, 408),
        "from the second line": (LINE, HOST + b"X: y\r\n" * 10000, 408),
        "stops midway": (LINE + b"Ho", b"", 408),
        "a leading CRLF": (b"\r\n", b"", 408),
        "in the second request": (b"GET /livez HTTP/1.1\r\n" + HOST + b"\r\n", head, 408),
        "nothing at all": (b"", b"", None),
    }

    def run(case):
        first, slow, _ = case
        c = front.gw.client()
        begin = time.monotonic()
        c.send(first)
        if first.endswith(b"\r\n\r\n"):
            assert c.response().status == 200
        said = trickle(c, slow)
        c.close()
        return said, time.monotonic() - begin
    threads, out = each_at_once(cases, run)
    while any(t.is_alive() for t in threads):
        front.undisturbed()
        time.sleep(0.02)
    for name, (_, _, status) in cases.items():
        assert not isinstance(out[name], Exception), (name, out[name])
        said, seconds = out[name]
        assert 0.9 < seconds < 8, (name, seconds)
        if status:
            r = parsed(said)
            check_error(r, status, name)
            assert r.headers["connection"] == "close", name
        else:
            assert said == b"", (name, said)
    front.undisturbed()


def test_idle_connections_are_closed_silently():
    front = Front(limits={"header_timeout": "5s", "idle_timeout": "700ms"})
    c = front.gw.client()
    assert c.request("GET", "/livez").response().status == 200
    begin = time.monotonic()
    assert c.rest() == b""
    assert 0.5 < time.monotonic() - begin < 8
    front.other = front.gw.client()
    front.undisturbed()


def test_slow_bodies():
    front = Front(limits={"body_rate": "1KiB"})
    big = BODY[:-1] + b" " * 40000 + b"}"
    declared = LINE + HOST + b"Content-Length: %d\r\n" % len(big)
    chunked = LINE + HOST + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n" % len(big)
    cases = {
        "declared": (declared + b"\r\n", big, 1, 408),
        "chunked": (chunked, big, 1, 408),
        "in small chunks": (LINE + HOST + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n" * 1000, 6, 408),
        "stops midway": (declared + b"\r\n" + big[:10], b"", 1, 408),
        "nothing at all": (declared + b"\r\n", b"", 1, 408),
        "a good part at once, then nothing": (declared + b"\r\n" + big[:39000], b"", 1, 408),
        "only a hundred continues": (declared + b"Expect: 100-continue\r\n\r\n", b"", 1, 408),
        "slow, but good enough": (declared + b"\r\n", big, 300, 200),
    }

    def run(case):
        first, slow, piece, status = case
        c = front.gw.client()
        begin = time.monotonic()
        c.send(first)
        if status == 200:
            for i in range(0, len(slow), piece):
                c.send(slow[i:i + piece])
                time.sleep(0.05)
            r = c.response()
            c.close()
            return r, time.monotonic() - begin
        said = trickle(c, slow, 0.1, piece)
        c.close()
        return parsed(said), time.monotonic() - begin
    threads, out = each_at_once(cases, run)
    while any(t.is_alive() for t in threads):
        assert front.gw.get("/livez").status == 200
        time.sleep(0.1)
    for name, (_, _, _, status) in cases.items():
        assert not isinstance(out[name], Exception), (name, out[name])
        r, seconds = out[name]
        assert r.status == status, (name, r)
        assert seconds > 4.5, (name, seconds)
        if status == 408:
            check_error(r, 408, name)
            assert r.headers["connection"] == "close" and seconds < 20, (name, seconds)
    front.good += 1  # the good one
    front.undisturbed()


# --- HTTP/1.1 as it should be ---


def test_byte_at_a_time():
    front = Front()
    chunked = LINE + HOST + b"Transfer-Encoding: chunked\r\n\r\n5;a=b\r\n%s\r\n%x\r\n%s\r\n0\r\nX-T: y\r\n\r\n" % (
        BODY[:5], len(BODY) - 5, BODY[5:])
    for raw in (chat_bytes(), chunked, b"\r\n" + chat_bytes()):
        for i in range(len(raw)):
            front.other.send(raw[i:i + 1])
        assert front.other.response().status == 200
        front.good += 1
        assert front.up.requests[-1].body == BODY
    front.undisturbed()


def test_chunked_bodies_in_every_cut():
    front = Front()
    head = LINE + HOST + b"Transfer-Encoding: chunked\r\n\r\n"
    for size in range(1, len(BODY) + 1):
        pieces = [BODY[i:i + size] for i in range(0, len(BODY), size)]
        ext = (b"", b";x", b";name=value", b';q="a;b"', b"; spaced = 1")[size % 5]
        zeros = b"0" * (size % 9)
        trailer = (b"", b"X-T: y\r\n", b"X: 1\r\nAuthorization: Bearer no\r\nContent-Length: 7\r\n")[size % 3]
        form = b"%s%x%s\r\n%s\r\n" if size % 2 else b"%s%X%s\r\n%s\r\n"
        front.other.send(head + b"".join(form % (zeros, len(p), ext, p) for p in pieces) +
                         b"0" + zeros + ext + b"\r\n" + trailer + b"\r\n")
        r = front.other.response()
        assert r.status == 200, (size, r)
        front.good += 1
        q = front.up.requests[-1]
        assert q.body == BODY and q.headers["authorization"] == "Bearer up-key" and "x-t" not in q.headers
    raw = head + b"%x;e=1\r\n%s\r\n%x\r\n%s\r\n0\r\nX-T: y\r\n\r\n" % (9, BODY[:9], len(BODY) - 9, BODY[9:])
    for cut in range(1, len(raw)):
        front.other.send(raw[:cut])
        front.other.send(raw[cut:])
        assert front.other.response().status == 200, cut
        front.good += 1
        assert front.up.requests[-1].body == BODY
    front.undisturbed()


def test_pipelined_requests_are_answered_in_order():
    def script(a):
        body = a.request.json()
        text = body["messages"][0]["content"]
        if not body.get("stream"):
            a.whole(200, scene.chat_reply(text=text))
            return
        a.sse()
        for part in (text, text):
            a.event(scene.chat_chunk(part))
        a.event(scene.chat_chunk(finish="stop"))
        a.event("[DONE]")
        a.end()
    front = Front(scene.Upstream(script))
    ask = lambda text, **more: json.dumps({"model": "m", "messages": [{"role": "user", "content": text}], **more}).encode()
    raw, want = b"", []
    for i in range(12):
        text = f"round {i}"
        raw += chat_bytes(ask(text))
        want.append(lambda r, t=text: r.status == 200 and r.json()["choices"][0]["message"]["content"] == t)
        raw += b"GET /livez HTTP/1.1\r\n" + HOST + b"\r\n"
        want.append(lambda r: r.status == 200 and r.json() == {"status": "ok"})
        raw += chat_bytes(ask(text, stream=True), b"X-Request-Id: s-%d" % i)
        want.append(lambda r, t=text, i=i: r.status == 200 and r.headers["x-request-id"] == f"s-{i}" and
                    r.text.count(t) == 2 and r.events()[-1][1] == "[DONE]")
        raw += chat_bytes(b"{")
        want.append(lambda r: r.status == 400)
        raw += b"GET /nope/%d HTTP/1.1\r\n" % i + HOST + b"Content-Length: 3\r\n\r\nxyz"
        want.append(lambda r, i=i: r.status == 404 and f"/nope/{i}" in r.text)
        raw += LINE + HOST + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(ask(text)), ask(text))
        want.append(lambda r, t=text: r.status == 200 and t in r.text)
        raw += b"\r\n" * (i % 2)
    for piece in (len(raw), 7001, 97):
        c = front.gw.client()
        sender = threading.Thread(target=lambda: [c.send(raw[i:i + piece]) for i in range(0, len(raw), piece)], daemon=True)
        sender.start()
        for i, right in enumerate(want):
            r = c.response()
            assert right(r), (piece, i, r)
        sender.join(10)
        c.send(b"GET /livez HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n" + SMUGGLED)
        assert c.response().headers["connection"] == "close"
        assert c.rest() == b""
        c.close()
    assert len(front.up.requests) == 3 * 3 * 12
    assert front.gw.get("/livez").status == 200


def test_expect_continue():
    front = Front(limits={"max_request_body": "64KiB"}, auth={"keys": [{"id": "one", "key": {"value": "sk-one"}}]})
    key = b"Authorization: Bearer sk-one\r\n"
    expect = b"Expect: 100-Continue\r\n"
    length = b"Content-Length: %d\r\n" % len(BODY)
    c = front.gw.client()
    for fields, body in ((length, BODY), (b"Transfer-Encoding: chunked\r\n", b"%x\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY))):
        for _ in range(2):
            c.send(LINE + HOST + key + expect + fields + b"\r\n")
            line, _ = c.head()
            assert line == "HTTP/1.1 100 Continue", line
            c.send(body)
            assert c.response().status == 200
            front.good += 1
        c.send(LINE + HOST + key + expect + fields + b"\r\n" + body)  # did not wait
        assert c.response().status == 200
        front.good += 1
    c.send(b"GET /livez HTTP/1.1\r\n" + HOST + expect + b"\r\n")  # nothing to wait for
    line, headers = c.head()
    assert line == "HTTP/1.1 200 OK", line
    c.body(headers)
    c.send(LINE.replace(b"1.1", b"1.0") + key + expect + length + b"\r\n" + BODY)  # RFC 9110, 10.1.1: no 1xx for 1.0
    line, headers = c.head()
    assert line == "HTTP/1.1 200 OK", line
    c.close()
    front.good += 1
    for name, raw, status in (
        ("no key", LINE + HOST + expect + length, 401),
        ("too large", LINE + HOST + key + expect + b"Content-Length: 65537\r\n", 413),
        ("unknown path", LINE.replace(b"chat", b"cat") + HOST + key + expect + length, 404),
        ("other method", LINE.replace(b"POST", b"PUT") + HOST + key + expect + length, 405),
    ):
        c = front.gw.client()
        c.send(raw + b"\r\n")
        line, headers = c.head()
        assert int(line.split()[1]) == status, (name, line)  # and not 100
        # Nobody could tell whether the body follows.
        assert headers["connection"] == "close", name
        check_error(scene.Response(status, headers, c.body(headers)), status, name)
        assert c.rest() == b"", name
        c.close()
    assert len(front.up.requests) == front.good


def test_http_1_0():
    front = Front()
    old = lambda raw: raw.replace(b"HTTP/1.1", b"HTTP/1.0")
    c = front.gw.client()
    c.send(b"GET /livez HTTP/1.0\r\n\r\n")  # no Host needed
    r = c.response()
    assert r.status == 200 and r.headers["connection"] == "close" and c.at_end()
    c = front.gw.client()
    for _ in range(3):
        c.send(b"GET /livez HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n")
        r = c.response()
        assert r.status == 200 and r.headers["connection"].lower() == "keep-alive"
    c.send(old(chat_bytes()))
    assert c.response().status == 200 and c.at_end()
    front.good += 1
    c = front.gw.client()
    c.send(old(chat_bytes(BODY[:-1] + b', "stream": true}', b"Connection: keep-alive")))
    status, headers = c.response_head()
    assert status == 200 and "transfer-encoding" not in headers and "content-length" not in headers
    assert headers["connection"] == "close"
    body = c.rest()
    assert scene.sse_events(body)[-1][1] == "[DONE]" and b"Hello" in body
    front.good += 1
    front.undisturbed()


def test_a_stop_in_http_1_0():
    """What the stop cuts says so in its last event. Who has not taken that gets a reset: without a length and chunks
    nothing else tells that something is missing."""
    def script(a):
        a.sse()
        a.event(scene.chat_chunk("first"))
        while a.request.json()["messages"][0]["content"] == "much":
            sent["now"] += 1
            a.event(scene.chat_chunk("x" * 10000))
        a.until_closed()
    sent = {"now": 0, "before": 0}

    def stands_still():
        before, sent["before"] = sent["before"], sent["now"]
        return before == sent["now"] > 0

    def stopped(text):
        front = Front(scene.Upstream(script), stop_timeout="300ms")
        c = front.gw.client()
        body = json.dumps({**CHAT, "stream": True, "messages": [{"role": "user", "content": text}]}).encode()
        c.send(chat_bytes(body).replace(b"HTTP/1.1", b"HTTP/1.0"))
        c.response_head()
        c.until(b"first")
        if text == "much":
            scene.wait_for(stands_still, "a full connection", step=0.5)
        front.gw.signal(scene.signal.SIGTERM)
        front.gw.wait_exit()
        return c
    events = scene.sse_events(b"data: " + stopped("little").rest())
    assert "error" in json.loads(events[-1][1]), events
    try:
        stopped("much").rest()
    except ConnectionError:
        return
    raise AssertionError("a cut answer that looks complete")


def test_connections_are_kept_and_closed_as_said():
    front = Front()
    before = front.gw.metrics()["penstock_connections_total"]
    for _ in range(1000):
        front.other.send(b"GET /livez HTTP/1.1\r\n" + HOST + b"\r\n")
        assert front.other.response().status == 200
    scene.wait_for(lambda: front.gw.metrics()["penstock_connections_total"] > before, "the counter's beat")
    assert front.gw.metrics()["penstock_connections_total"] < before + 100
    for option in (b"close", b"Close", b"keep-alive, close", b"x,close ,y", b" close"):
        c = front.gw.client()
        c.send(b"GET /livez HTTP/1.1\r\n" + HOST + b"Connection: " + option + b"\r\n\r\n")
        r = c.response()
        assert r.status == 200 and r.headers["connection"] == "close" and c.at_end(), option
        c.close()
    for option in (b"keep-alive", b"closed", b"TE", b""):
        front.other.send(b"GET /livez HTTP/1.1\r\n" + HOST + b"Connection: " + option + b"\r\n\r\n")
        r = front.other.response()
        assert r.status == 200 and "connection" not in r.headers, option
    front.undisturbed()


def test_request_ids():
    front = Front()
    c = front.gw.client()
    for given in ("a", "A-Z_0.9", "x" * 128, "-", "..."):
        for method, path, body in (("GET", "/livez", None), ("POST", "/v1/chat/completions", CHAT), ("GET", "/nope", None)):
            r = c.request(method, path, body, {"X-Request-Id": given}).response()
            assert r.headers["x-request-id"] == given, (path, r.headers)
        front.good += 1
        assert front.gw.wait_log(given, "response")[0]["request_id"]
    made = set()
    for given in ("", "x" * 129, "a b", "a/b", "\xe4", "a,b", "<x>", '"', "a\tb", None):
        for method, path, body in (("GET", "/livez", None), ("POST", "/v1/chat/completions", CHAT),
                                   ("POST", "/v1/chat/completions", {}), ("GET", "/nope", None)):
            headers = {} if given is None else {"X-Request-Id": given}
            r = c.request(method, path, body, headers).response()
            got = r.headers["x-request-id"]
            assert scene.re.fullmatch(r"[A-Za-z0-9._-]{8,128}", got), (given, got)
            made.add(got)
        front.good += 1
    assert len(made) == 40
    front.undisturbed()


# --- many, and hostile ---


def test_more_connections_than_allowed():
    front = Front(limits={"max_connections": 6})
    held = [front.gw.client() for _ in range(5)]  # and front.other
    for c in held:
        assert c.request("GET", "/livez").response().status == 200
    for _ in range(10):
        c = front.gw.client()
        r = c.response()  # without a word of ours
        check_error(r, 503)
        assert r.headers["connection"] == "close" and c.rest() == b""
        c.close()
        front.undisturbed()
    held.pop().close()

    def free():
        c = front.gw.client()
        try:
            return c.request("GET", "/livez").response().status == 200
        except OSError:
            return False
        finally:
            c.close()
    scene.wait_for(free, "a free place")
    for c in held:
        assert c.request("GET", "/livez").response().status == 200
    front.undisturbed()


def test_hundreds_of_idle_and_half_open_connections():
    front = Front()
    before = front.rss()
    idle = [front.gw.client() for _ in range(500)]
    half = [front.gw.client() for _ in range(200)]
    for i, c in enumerate(half):
        c.send(chat_bytes()[:(5, 60, len(chat_bytes()) - 3)[i % 3]])
    scene.wait_for(lambda: front.gw.admin("/workers").json()["workers"][0]["connections"] >= 700, "700 connections")
    for _ in range(20):
        front.undisturbed()
    front.bounded(before, 20 << 20)
    for c in idle[::50]:
        c.send(chat_bytes())
        assert c.response().status == 200
        front.good += 1
    for c in half[::3]:
        c.reset()
    for c in idle + half:
        c.close()
    scene.wait_for(lambda: front.gw.admin("/workers").json()["workers"][0]["connections"] < 10, "all to be gone")
    front.undisturbed()


def test_a_client_that_sends_while_its_answer_streams():
    go = threading.Event()

    def script(a):
        a.sse()
        a.event(scene.chat_chunk("first"))
        a.wait(go)
        a.event(scene.chat_chunk(finish="stop"))
        a.event("[DONE]")
        a.end()
    front = Front()
    front.up.next(script)
    c = front.gw.client(timeout=60)
    c.send(chat_bytes(BODY[:-1] + b', "stream": true}'))
    front.good += 1
    c.response_head()
    assert "first" in c.event()[1]
    before = front.rss()
    more = b"GET /livez HTTP/1.1\r\n" + HOST + b"X: " + b"y" * 50000 + b"\r\n\r\n"
    count, sent = 1000, [0]  # 50 MB

    def send():
        for _ in range(count):
            c.send(more)
            sent[0] += 1
    sender = threading.Thread(target=send, daemon=True)
    sender.start()
    last = -1
    while sent[0] != last:  # until it stands still
        last = sent[0]
        time.sleep(0.3)
        front.undisturbed()
    assert last < count, "all of it was taken"
    front.bounded(before, 2 << 20)
    used = front.cpu_seconds()
    time.sleep(1)
    assert front.cpu_seconds() - used < 0.3, "a spinning worker"
    go.set()
    while c.event():
        pass
    for _ in range(count):  # and all of it is answered
        assert c.response().status == 200
    sender.join(10)
    front.bounded(before, 4 << 20)
    front.undisturbed()


def test_a_client_that_leaves_behind_what_nobody_reads():
    """Its end stands behind what it sent: a reset is seen all the same, a close by the next write."""
    def script(a):
        a.sse()
        a.event(scene.chat_chunk("first"))
        if quiet:
            a.until_closed()
        while True:
            a.event(scene.chat_chunk("more"))
            time.sleep(0.1)
    front = Front()
    for leave, quiet in ((scene.Client.reset, True), (scene.Client.reset, False), (scene.Client.close, False)):
        front.up.next(script)
        c = front.gw.client()
        c.send(chat_bytes(BODY[:-1] + b', "stream": true}'))
        front.good += 1
        c.response_head()
        c.event()
        c.sock.settimeout(0.5)
        with contextlib.suppress(TimeoutError):
            while True:
                c.sock.send(b"x" * 100000)
        leave(c)
        assert front.up.requests[front.good - 1].closed.wait(4), f"{leave}: the call goes on"
        front.undisturbed()


def test_a_flood_of_garbage():
    front = Front()
    rng = random.Random(20)
    # Whatever becomes of it, this one is refused.
    never = chat_bytes(b'{"model": "m", "messages": []}')

    def garbage(rng):
        kind = rng.randrange(5)
        if kind == 0:
            return rng.randbytes(rng.randrange(1, 3000))
        if kind == 1:
            return LINE + HOST + rng.randbytes(rng.randrange(1, 3000))
        if kind == 2:
            body = rng.randbytes(rng.randrange(1, 3000))
            return chat_bytes(body) + rng.randbytes(100)
        if kind == 3:
            return LINE + HOST + b"Transfer-Encoding: chunked\r\n\r\n" + rng.randbytes(rng.randrange(1, 3000))
        raw = bytearray(never * rng.randrange(1, 4))
        for _ in range(rng.randrange(1, 6)):
            at = rng.randrange(len(raw))
            if rng.randrange(2):
                raw[at] = rng.randrange(256)
            else:
                del raw[at:at + rng.randrange(1, 9)]
        return bytes(raw)

    def flood(seed):
        rng = random.Random(seed)
        for _ in range(60):
            c = front.gw.client()
            try:
                for _ in range(rng.randrange(1, 4)):
                    c.send(garbage(rng))
                if rng.randrange(2):
                    c.sock.shutdown(socket.SHUT_WR)
                    for line in c.rest().split(b"\r\n"):
                        assert not line.startswith(b"HTTP/1.1 2"), line
            except OSError:
                pass
            finally:
                c.close() if rng.randrange(3) else c.reset()
        return True
    threads, out = each_at_once({i: rng.randrange(1 << 30) for i in range(8)}, flood)
    while any(t.is_alive() for t in threads):
        front.undisturbed()
    assert all(v is True for v in out.values()), out
    front.undisturbed()
    scene.wait_for(lambda: front.gw.admin("/workers").json()["workers"][0]["connections"] < 5, "all to be gone")
    assert front.gw.metrics()["penstock_in_flight"] == 0


if __name__ == "__main__":
    scene.main()
