"""Where it listens and who may ask: TLS, client certificates, unix sockets, IPv6, the admin listener, surfaces, and
gateway keys."""

import contextlib
import datetime
import hashlib
import json
import os
import shutil
import signal
import socket
import ssl
import stat
import subprocess
import threading
import time
import warnings

import scene

CHAT = {"model": "up/m", "messages": [{"role": "user", "content": "Hi"}]}
MOCK = {"providers": [{"name": "mock", "kind": "mock"}]}


# --- certificates ---


def openssl(directory, *args):
    if not shutil.which("openssl"):
        scene.skip("needs openssl")
    subprocess.run(["openssl", *args], cwd=directory, check=True, stdin=subprocess.DEVNULL, capture_output=True,
                   timeout=60)


def certificate(gw, name, cn="localhost", ca=None):
    """(certificate, key) in the gateway's directory, self-signed or signed by the authority `ca`."""
    openssl(gw.dir, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
            "-keyout", f"{name}.key", "-out", f"{name}.pem", "-days", "2", "-subj", f"/CN={cn}",
            "-addext", f"subjectAltName=DNS:{cn}")
    if ca:
        openssl(gw.dir, "req", "-new", "-key", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={cn}")
        openssl(gw.dir, "x509", "-req", "-in", f"{name}.csr", "-CA", f"{ca}.pem", "-CAkey", f"{ca}.key",
                "-CAcreateserial", "-out", f"{name}.pem", "-days", "2")
    return gw.path(f"{name}.pem"), gw.path(f"{name}.key")


class Secure:
    """A gateway with a plain listener and one that speaks TLS."""

    def __init__(self, script=None, workers=1, client_ca=False, **conf):
        self.up = scene.Upstream(script)
        self.gw = gw = scene.Gateway({"providers": [self.up.provider("up", retry={"max": 0})], **conf}, workers=workers,
                                     start=False)
        self.cert, self.key = certificate(gw, "server")
        self.port = scene.free_port()
        tls = {"certificate": self.cert, "key": self.key}
        if client_ca:
            tls["client_ca"] = certificate(gw, "ca", "authority")[0]
        gw.reconfigure({"listen": [gw.conf["listen"][0], {"address": f"127.0.0.1:{self.port}", "tls": tls}]})
        gw.start()

    def context(self, *client, **more):
        c = ssl.create_default_context(cafile=more.get("ca", self.cert))
        if client:
            c.load_cert_chain(*client)
        return c

    def client(self, context=None, timeout=20):
        return scene.Client(("127.0.0.1", self.port), timeout, context or self.context())

    def raw(self):
        return scene.Client(("127.0.0.1", self.port))

    def rss(self):
        with open(f"/proc/{self.gw.worker_pids()[0]}/statm") as f:
            return int(f.read().split()[1]) * os.sysconf("SC_PAGESIZE")

    def sanitized(self):
        with open(f"/proc/{self.gw.worker_pids()[0]}/maps") as f:
            return "asan" in f.read()


def chat(c, headers=None, **more):
    return c.request("POST", "/v1/chat/completions", {**CHAT, **more}, headers).response()


def test_tls():
    s = Secure()
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        context = s.context()
        context.minimum_version = context.maximum_version = version
        c = s.client(context)
        assert c.sock.version() == version.name.replace("v1_", "v1."), c.sock.version()
        for _ in range(3):
            r = chat(c)
            assert r.status == 200 and r.json()["choices"], r
        assert c.request("HEAD", "/livez").response("HEAD").status == 200
        body = json.dumps(CHAT).encode()
        one = scene.build_request("POST", "/v1/chat/completions", body)
        c.send(one * 3 + b"GET /nope HTTP/1.1\r\nHost: g\r\n\r\n")
        assert [c.response().status for _ in range(4)] == [200, 200, 200, 404]
        for i in range(len(one)):  # a record for each byte
            c.send(one[i:i + 1])
        assert c.response().status == 200
        c.send(b"GET /livez HTTP/1.1\r\nHost : g\r\n\r\n")
        assert c.response().status == 400 and c.at_end()
        c.close()
    big = "z" * (3 << 20)
    s.up.next(lambda a: a.whole(200, scene.chat_reply(text=a.request.json()["messages"][0]["content"])))
    r = chat(s.client(), messages=[{"role": "user", "content": big}])
    assert r.status == 200 and r.json()["choices"][0]["message"]["content"] == big


def test_tls_protocols():
    s = Secure()
    context = s.context()
    context.set_alpn_protocols(["h2", "http/1.1"])
    c = s.client(context)
    assert c.sock.selected_alpn_protocol() == "http/1.1" and chat(c).status == 200
    context = s.context()
    context.set_alpn_protocols(["h2"])
    try:
        s.client(context)
        raise AssertionError("h2 was agreed on")
    except (ssl.SSLError, ConnectionError):
        pass
    context = s.context()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
        context.set_ciphers("ALL:@SECLEVEL=0")
    try:
        s.client(context)
        raise AssertionError("TLS 1.1 was agreed on")
    except (ssl.SSLError, ConnectionError):
        pass
    assert chat(s.client()).status == 200


def test_tls_ends_with_close_notify_unless_cut():
    def script(a):
        a.sse()
        a.event(scene.chat_chunk("first"))
        while much:
            sent["now"] += 1
            a.event(scene.chat_chunk("x" * 10000))
        a.event("[DONE]")
        a.end()
    much, sent = [], {"now": 0, "before": 0}
    s = Secure(script, stop_timeout="300ms")

    def old(context):
        """An HTTP/1.0 stream: its end is the connection's."""
        sock = context.wrap_socket(socket.create_connection(("127.0.0.1", s.port), 20), server_hostname="localhost",
                                   suppress_ragged_eofs=False)
        c = scene.Wire(sock)
        c.send(scene.build_request("POST", "/v1/chat/completions", {**CHAT, "stream": True}).replace(b"HTTP/1.1", b"HTTP/1.0"))
        c.until(b"first")
        return c

    def stands_still():
        before, sent["before"] = sent["before"], sent["now"]
        return before == sent["now"] > 0
    assert b"[DONE]" in old(s.context()).rest()
    much.append(True)
    c = old(s.context())
    scene.wait_for(stands_still, "a full connection", step=0.5)
    s.gw.signal(signal.SIGTERM)
    s.gw.wait_exit()
    try:
        c.rest()
    except (ssl.SSLError, OSError):
        return
    raise AssertionError("a cut answer that looks complete")


def test_what_is_no_tls():
    s = Secure(limits={"header_timeout": "1s"})
    other = s.client()
    assert chat(other).status == 200
    for name, raw in {
        "plain HTTP": scene.build_request("POST", "/v1/chat/completions", CHAT),
        "garbage": bytes(range(256)) * 10,
        "SSLv2": b"\x80\x2e\x01\x00\x02\x00\x15\x00\x00\x00\x10" + b"\x07\x00\xc0" * 7 + b"x" * 16,
        "a huge record": b"\x16\x03\x01\xff\xff" + b"x" * 65535,
        "an alert": b"\x15\x03\x01\x00\x02\x02\x28",
        "an empty hello": b"\x16\x03\x01\x00\x04\x01\x00\x00\x00",
    }.items():
        c = s.raw()
        with contextlib.suppress(OSError):
            c.send(raw)
        try:
            said = c.rest()
        except ConnectionError:
            said = b""
        assert b"HTTP" not in said, (name, said)
        c.close()
        assert chat(other).status == 200, name
    forwarded = len(s.up.requests)
    # Handshakes that do not get on are closed in time, without a word.
    hello = ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError):
        s.context().wrap_bio(ssl.MemoryBIO(), hello, server_hostname="localhost").do_handshake()
    hello = hello.read()
    stuck = [s.raw() for _ in range(20)]
    begin = time.monotonic()
    for i, c in enumerate(stuck):
        c.send(hello[:i * len(hello) // 20])
    assert chat(other).status == 200
    for c in stuck:
        assert c.at_end()
    assert 0.5 < time.monotonic() - begin < 10
    c = s.client()  # a slow header inside TLS
    c.send(b"GET /livez HT")
    r = c.response()
    assert r.status == 408 and c.at_end(), r
    assert len(s.up.requests) == forwarded + 1


def test_tls_streams_and_clients_that_leave():
    steps = threading.Semaphore(0)

    def script(a):
        a.sse()
        for i in range(5):
            while not steps.acquire(timeout=0.05):
                a.check()
            a.event(scene.chat_chunk(f"step {i}"))
        a.event("[DONE]")
        a.end()
    s = Secure(script)
    c = s.client()
    c.request("POST", "/v1/chat/completions", {**CHAT, "stream": True})
    for i in range(5):
        steps.release()
        if i == 0:
            assert c.response_head()[0] == 200
        assert f"step {i}" in c.event()[1]  # each as it comes
    while c.event():
        pass
    assert c.request("GET", "/livez").response().status == 200
    for leave in ("close_notify", "close", "reset"):
        c = s.client()
        c.request("POST", "/v1/chat/completions", {**CHAT, "stream": True})
        steps.release()
        c.response_head()
        c.event()
        if leave == "close_notify":
            c.sock.settimeout(0)
            with contextlib.suppress(ssl.SSLError, OSError):
                c.sock.unwrap()
        elif leave == "reset":
            c.reset()
        else:
            c.close()
        assert s.up.requests[-1].closed.wait(10), f"{leave}: the call goes on"
    assert s.gw.metrics()["penstock_in_flight"] == 0


def test_tls_client_that_sends_while_its_answer_streams():
    def script(a):
        a.sse()
        a.event(scene.chat_chunk("first"))
        while not left.wait(0.05):
            a.check()
        while True:  # its end stands behind what nobody reads: only the next write finds out
            a.event(scene.chat_chunk("more"))
            time.sleep(0.1)
    left = threading.Event()
    s = Secure(script)
    c = s.client()
    c.request("POST", "/v1/chat/completions", {**CHAT, "stream": True})
    c.response_head()
    assert "first" in c.event()[1]
    before = s.rss()
    c.sock.settimeout(1)
    sent = 0
    with contextlib.suppress(TimeoutError, ssl.SSLError):
        while sent < 50 << 20:
            sent += c.sock.send(b"GET /livez HTTP/1.1\r\nHost: g\r\nX: " + b"y" * 10000 + b"\r\n\r\n")
    assert sent < 50 << 20, "all of it was taken"
    used = cpu_seconds(s.gw.worker_pids()[0])
    time.sleep(1)
    assert cpu_seconds(s.gw.worker_pids()[0]) - used < 0.3, "a spinning worker"
    assert s.sanitized() or s.rss() - before < 2 << 20, f"{(s.rss() - before) >> 10} KiB more"
    c.sock.close()
    left.set()
    assert s.up.requests[0].closed.wait(5), "the call goes on"


def cpu_seconds(pid):
    with open(f"/proc/{pid}/stat") as f:
        times = f.read().rsplit(")", 1)[1].split()[11:13]
    return sum(map(int, times)) / os.sysconf("SC_CLK_TCK")


def test_tls_slow_reader():
    text, total = "x" * 1000, 20000  # 20 MB
    sent = [0]

    def script(a):
        a.sse()
        a.wire.sock.settimeout(60)
        for _ in range(total):
            a.event(scene.chat_chunk(text))
            sent[0] += 1
        a.event("[DONE]")
        a.end()
    s = Secure(script)
    c = s.client(timeout=60)
    c.request("POST", "/v1/chat/completions", {**CHAT, "stream": True})
    c.response_head()
    c.event()
    before = s.rss()
    last = -1
    while sent[0] != last:  # until it stands still
        last = sent[0]
        time.sleep(0.4)
        assert s.client().request("GET", "/livez").response().status == 200
    assert sent[0] < total * 0.8, "the provider was never paused"
    assert s.sanitized() or s.rss() - before < 4 << 20, f"{(s.rss() - before) >> 10} KiB more"
    n = 1
    while (e := c.event()) and e[1] != "[DONE]":
        n += 1
    assert e and n == total, n
    assert s.sanitized() or s.rss() - before < 8 << 20


def test_client_certificates():
    s = Secure(client_ca=True)
    good = certificate(s.gw, "good", "client", ca="ca")
    other = certificate(s.gw, "other", "client")

    def try_with(context):
        c = None
        try:  # with TLS 1.3 the client hears of it after its handshake
            c = s.client(context)
            return chat(c).status
        except (ssl.SSLError, ConnectionError, scene.Closed):
            return None
        finally:
            if c:
                c.close()
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        for client, want in (((), None), (other, None), ((s.cert, s.key), None), (good, 200)):
            context = s.context(*client)
            context.minimum_version = context.maximum_version = version
            assert try_with(context) == want, (version, client)
    assert len(s.up.requests) == 2
    assert chat(s.gw.client()).status == 200  # the other listener asks for none


def test_tls_reload():
    def script(a):
        a.sse()
        a.event(scene.chat_chunk("first"))
        a.wait(go)
        a.event(scene.chat_chunk("second"))
        a.event("[DONE]")
        a.end()
    go = threading.Event()
    s = Secure(script, workers=2)
    der = lambda c: c.sock.getpeercert(True)
    c = s.client()
    first = der(c)
    c.request("POST", "/v1/chat/completions", {**CHAT, "stream": True})
    c.response_head()
    assert "first" in c.event()[1]
    certificate(s.gw, "server")  # in place of the old one
    context = s.context()

    def renewed():
        with contextlib.suppress(ssl.SSLError, OSError):
            return der(s.client(context)) != first
    assert not renewed()  # not before it is told
    s.gw.signal(signal.SIGHUP)
    scene.wait_for(renewed, "the new certificate")
    s.gw.wait_workers(2, generation=2)

    def current():  # a connection that waited for a worker of before may still get the old one
        with contextlib.suppress(ssl.SSLError, OSError):
            return der(s.client(context))
    second = scene.wait_for(current, "a handshake with the new certificate")
    go.set()
    assert "second" in c.event()[1] and c.event()[1] == "[DONE]"
    # What is no certificate, or none of this key, changes nothing.
    good = open(s.cert).read()
    certificate(s.gw, "stranger")
    for bad in ("", "nothing\n", good.replace("A", "B"), open(s.gw.path("stranger.pem")).read(), None):
        if bad is None:
            os.rename(s.key, s.key + ".gone")
        else:
            with open(s.cert, "w") as f:
                f.write(bad)
        r = s.gw.admin("/reload", "POST")
        assert r.status == 422, (bad, r)
        assert "PRIVATE" not in r.text
        assert der(s.client(context)) == second
        assert s.gw.admin("/workers").json()["generation"] == 2
        with open(s.cert, "w") as f:
            f.write(good)
    os.rename(s.key + ".gone", s.key)
    assert s.gw.admin("/reload", "POST").status == 200


def test_tls_files_are_checked_before_the_start():
    gw = scene.Gateway(MOCK, start=False)
    cert, key = certificate(gw, "server")
    for tls in ({"certificate": cert}, {"key": key}, {"certificate": gw.path("none"), "key": key},
                {"certificate": cert, "key": cert}, {"certificate": key, "key": key},
                {"certificate": cert, "key": key, "client_ca": key}, {"client_ca": cert}):
        gw.conf["listen"][0]["tls"] = tls
        gw.write_conf()
        r = gw.run("-t")
        assert r.returncode == 1 and r.stderr and "PRIVATE" not in r.stderr, (tls, r)
        r = gw.run("-f")
        assert r.returncode == 1 and r.stderr, (tls, r)
    gw.conf["listen"][0]["tls"] = {"certificate": cert, "key": key}
    gw.write_conf()
    assert gw.run("-t").returncode == 0


# --- sockets of other kinds ---


def test_unix_socket_and_its_mode():
    up = scene.Upstream()
    gw = scene.Gateway({"providers": [up.provider()]}, start=False)
    rows = {"a": ("0600", 0o600), "b": ("0666", 0o666), "c": (None, 0o660), "d": ("0777", 0o777)}
    gw.reconfigure({"listen": gw.conf["listen"] + [
        {"address": "unix:" + gw.path(name), **({"mode": mode} if mode else {})} for name, (mode, _) in rows.items()]})
    gw.start()
    for name, (_, mode) in rows.items():
        assert stat.S_IMODE(os.stat(gw.path(name)).st_mode) == mode, name
        c = scene.Client(gw.path(name))
        assert chat(c).status == 200
        status, _ = c.request("POST", "/v1/chat/completions", {**CHAT, "stream": True}).response_head()
        assert status == 200
        while c.event():
            pass
        assert c.request("GET", "/admin/v1/workers").response().status == 200  # this machine
        c.send(b"GET /livez HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n")
        assert c.response().status == 400 and c.at_end()
    for mode in ("999", "01777", "rw"):
        gw.reconfigure({"listen": [{"address": "unix:" + gw.path("a"), "mode": mode}]})
        assert gw.run("-t").returncode == 1, mode


def has_ipv6():
    try:
        scene.free_port("::1")
        return True
    except OSError:
        return False


def test_ipv6():
    if not has_ipv6():
        scene.skip("needs ::1")
    up = scene.Upstream()
    port = scene.free_port("::1")
    gw = scene.Gateway({"providers": [up.provider()]}, start=False)
    gw.reconfigure({"listen": gw.conf["listen"] + [{"address": f"[::1]:{port}"}]})
    gw.start()
    c = scene.Client(("::1", port))
    assert chat(c).status == 200
    assert c.request("GET", "/admin/v1/workers").response().status == 200  # this machine
    c.send(b"GET /livez HTTP/1.1\r\nHost: [::1]:%d\r\n\r\n" % port)
    assert c.response().status == 200
    gw.signal(signal.SIGHUP)
    gw.wait_workers(2, generation=2)
    assert chat(scene.Client(("::1", port))).status == 200
    gw.reconfigure({"listen": gw.conf["listen"][:1] + [{"address": f"::1:{port}"}]})  # could mean two things
    assert gw.run("-t").returncode == 1


# --- surfaces ---


PLACES = {"native": "/v1/models", "metrics": "/metrics", "admin": "/admin/v1/workers"}


def served(client):
    """The surfaces that answer here."""
    out = set()
    for name, path in PLACES.items():
        r = client.request("GET", path).response()
        assert r.status in (200, 404), (path, r)
        if r.status == 200:
            out.add(name)
        else:
            assert r.json()["error"]["message"], r
    r = client.request("POST", "/v1/chat/completions", {**CHAT, "model": "mock/m"}).response()
    assert r.status == (200 if "native" in out else 404), r
    for path in ("/livez", "/readyz", "/health"):  # everywhere
        assert client.request("GET", path).response().status in (200, 503), path
    client.close()
    return out


def test_surfaces():
    gw = scene.Gateway(MOCK, start=False)
    rows = [["native"], ["metrics"], ["admin"], ["native", "metrics"], ["native", "admin"], ["metrics", "admin"], ["all"]]
    gw.reconfigure({"listen": gw.conf["listen"] + [
        {"address": "unix:" + gw.path(f"s{i}"), "surfaces": row} for i, row in enumerate(rows)]})
    gw.start()
    for i, row in enumerate(rows):
        want = set(PLACES) if row == ["all"] else set(row)
        assert served(scene.Client(gw.path(f"s{i}"))) == want, row
    assert served(gw.client()) == set(PLACES)
    for bad in ([], ["nativ"], "none"):
        gw.conf["listen"][1]["surfaces"] = bad
        gw.write_conf()
        assert gw.run("-t").returncode == 1, bad


def test_admin_listener():
    gw = scene.Gateway(MOCK, start=False)
    path = gw.path("admin.sock")
    gw.reconfigure({"listen": [{**gw.conf["listen"][0], "surfaces": ["native", "metrics"]}],
                    "admin_listen": {"address": "unix:" + path, "mode": "0600"}})
    gw.start()
    assert served(scene.Client(path)) == {"admin"}
    assert served(gw.client()) == {"native", "metrics"}
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    for method, place in (("POST", "/admin/v1/reload"), ("DELETE", "/admin/v1/cache"), ("GET", "/admin/v1/config")):
        r = gw.request(method, place)
        assert r.status == 404 and "allow" not in r.headers, r
    assert scene.Client(path).request("POST", "/admin/v1/reload").response().status == 200
    gw.wait_workers(2, generation=2)
    assert served(scene.Client(path)) == {"admin"}
    gw.reconfigure({"admin_listen": "unix:" + path})  # the short form
    assert gw.run("-t").returncode == 0


# --- who may ask ---


def own_address():
    """An address of this machine that is not loopback, or None."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        try:
            s.connect(("192.0.2.1", 9))  # sends nothing
            host = s.getsockname()[0]
            s2 = socket.create_server((host, 0))
            s2.close()
            return None if host.startswith("127.") else host
        except OSError:
            return None


def test_no_authentication_only_on_loopback():
    gw = scene.Gateway(MOCK, workers=1)
    port = gw.port
    key = {"keys": [{"id": "k", "key": {"value": "sk-one"}}]}
    tests = [f"0.0.0.0:{port}", f"*:{port}", f":{port}", "192.0.2.7:80"]
    tests += [f"[::]:{port}", "[2001:db8::1]:80"]
    for address in tests:
        gw.reconfigure({"listen": [{"address": address}], "auth": None})
        for args in (("-t",), ("-f",)):
            r = gw.run(*args)
            assert r.returncode == 1 and "auth" in r.stderr and address in r.stderr, (address, args, r)
        assert gw.admin("/reload", "POST").status == 422  # nothing changes
        assert gw.get("/livez").status == 200
        for auth in ({"mode": "none"}, key):
            gw.reconfigure({"auth": auth})
            assert gw.run("-t").returncode == 0, (address, auth)
            gw.conf.pop("auth")
    for address in ("127.0.0.1:1", "127.8.9.1:1", "[::1]:1", "localhost:1", "[::ffff:127.0.0.1]:1", "unix:/tmp/x"):
        gw.reconfigure({"listen": [{"address": address}]})
        assert gw.run("-t").returncode == 0, address
    gw.reconfigure({"listen": [{"address": f"0.0.0.0:{scene.free_port()}"}], "auth": {"mode": "none"}})
    gw.conf["listen"].append({"address": f"127.0.0.1:{port}"})
    gw.write_conf()
    assert gw.admin("/reload", "POST").status == 200
    gw.wait_workers(1, generation=2)
    host = own_address()
    if host:
        wide = int(gw.conf["listen"][0]["address"].split(":")[1])
        c = scene.Client((host, wide))
        assert c.request("GET", "/v1/models").response().status == 200
        for method, place in (("GET", "/admin/v1/config"), ("POST", "/admin/v1/reload"), ("DELETE", "/admin/v1/cache")):
            r = c.request(method, place).response()
            assert r.status == 403 and r.json()["error"]["message"], r  # administration is for this machine


def sha(key):
    return "sha256:" + hashlib.sha256(key.encode()).hexdigest()


def bearer(key):
    return {"Authorization": "Bearer " + key}


def test_keys_from_everywhere():
    up = scene.Upstream()
    gw = scene.Gateway({"providers": [up.provider()]}, workers=1, start=False, env={"A_KEY": "sk-env", "B": "sk-expanded"})
    with open(gw.path("key"), "w") as f:
        f.write("sk-file\n")
    gw.reconfigure({"auth": {"keys": [
        {"id": "hash", "hash": sha("sk-hash")}, {"id": "upper", "hash": sha("sk-upper").upper().replace("SHA256", "sha256")},
        {"id": "env", "key": {"env": "A_KEY"}}, {"id": "file", "key": {"file": gw.path("key")}},
        {"id": "value", "key": {"value": "sk-value"}}, {"id": "expanded", "key": {"value": "${B}"}},
        {"id": "admin", "hash": sha("sk-admin"), "permissions": ["admin"]}]}})
    gw.start()
    for key in ("sk-hash", "sk-upper", "sk-env", "sk-file", "sk-value", "sk-expanded"):
        c = gw.client()
        for headers in ({"Authorization": "Bearer " + key}, {"authorization": "bearer   " + key + " "},
                        {"Authorization": key}, {"X-Api-Key": key}, {"api-key": key}, {"X-GOOG-API-KEY": key}):
            assert chat(c, headers).status == 200, (key, headers)
        assert chat(c, bearer(sha(key))).status == 401  # the hash is no key
        assert chat(c, bearer(sha(key)[7:])).status == 401
        # Authorization counts where several are given.
        assert chat(c, {"Authorization": "Bearer wrong", "X-Api-Key": key}).status == 401
        assert chat(c, {"Authorization": "Bearer " + key, "X-Api-Key": "wrong"}).status == 200
        assert c.request("POST", f"/v1/chat/completions?key={key}", CHAT).response().status == 401
        c.close()
    every = {"hash", "upper", "env", "file", "value", "expanded"}
    scene.wait_for(lambda: every == {r["key"] for r in gw.log("response")}, "every key in the log by its id")
    # No key is anywhere to be read.
    config = gw.admin("/config", headers=bearer("sk-admin"))
    assert config.status == 200
    seen = config.text + gw.run("-T").stdout + "".join(text for _, text in gw.log_text())
    for p in gw.processes():
        with open(f"/proc/{p.pid}/cmdline", "rb") as f:
            seen += f.read().decode()
    for key in ("sk-hash", "sk-env", "sk-file", "sk-value", "sk-expanded", "sk-admin", "up-key"):
        assert key not in seen, key
    # The file is read again at a reload: so a key is rotated.
    with open(gw.path("key"), "w") as f:
        f.write("sk-new")
    assert gw.admin("/reload", "POST", headers=bearer("sk-admin")).status == 200
    gw.wait_workers(1, generation=2)
    assert gw.chat(headers=bearer("sk-new")).status == 200
    assert gw.chat(headers=bearer("sk-file")).status == 401


def test_permissions_and_models():
    def script(a):
        if a.request.path.endswith("/embeddings"):
            a.whole(200, {"object": "list", "model": "m", "data": [{"object": "embedding", "index": 0, "embedding": [0.5]}],
                          "usage": {"prompt_tokens": 1, "total_tokens": 1}})
        else:
            scene.chat_script()(a)
    up = scene.Upstream(script)
    gw = scene.Gateway({
        "providers": [up.provider()],
        "models": [{"name": n, "targets": [{"provider": "up", "model": "m"}]} for n in ("alpha", "alpha-2", "beta", "b.c*d")],
        "auth": {"keys": [
            {"id": "usual", "key": {"value": "sk-usual"}},
            {"id": "complete", "key": {"value": "sk-complete"}, "permissions": ["completion"]},
            {"id": "embed", "key": {"value": "sk-embed"}, "permissions": ["embedding"]},
            {"id": "admin", "key": {"value": "sk-admin"}, "permissions": ["admin"]},
            {"id": "one", "key": {"value": "sk-one"}, "models": ["alpha"]},
            {"id": "star", "key": {"value": "sk-star"}, "models": ["alpha*", "up/x*z"]},
            {"id": "all", "key": {"value": "sk-all"}, "models": ["*"]},
        ]}}, workers=1)
    for key, completion, admin in (("usual", 200, 403), ("complete", 200, 403), ("embed", 403, 403), ("admin", 403, 200),
                                   ("one", 200, 403), (None, 401, 401)):
        headers = bearer("sk-" + key) if key else {}
        r = gw.chat("alpha", headers=headers)
        assert r.status == completion, (key, r)
        assert gw.chat("alpha", stream=True, headers=headers).status == completion
        may_embed = key in ("usual", "embed", "one")
        for path, body in (("/v1/embeddings", {"model": "alpha", "input": "x"}),
                           ("/v1beta/models/alpha:embedContent", {"content": {"parts": [{"text": "x"}]}}),
                           ("/v1/models/alpha:batchEmbedContents", {"requests": [
                               {"model": "models/alpha", "content": {"parts": [{"text": "x"}]}}]})):
            r = gw.post(path, body, headers=headers)
            assert r.status == (200 if may_embed else 403 if key else 401), (key, path, r)
        for path in ("/admin/v1/workers", "/admin/v1/config", "/admin/v1/usage", "/admin/v1/providers", "/admin/v1/cache/stats"):
            r = gw.get(path, headers=headers)
            assert r.status == admin, (key, path, r)
            if admin == 403:
                assert r.json()["error"]["code"] == "permission_denied" and "www-authenticate" not in r.headers, r
        for method, path in (("POST", "/admin/v1/reload"), ("DELETE", "/admin/v1/cache")):
            if admin != 200:
                assert gw.request(method, path, headers=headers).status == admin, (key, path)
        for path in ("/v1/models", "/metrics"):
            assert gw.get(path, headers=headers).status == (200 if key else 401), (key, path)
    assert gw.admin("/workers", headers=bearer("sk-admin")).json()["generation"] == 1
    models = {"alpha", "alpha-2", "beta", "b.c*d"}
    for key, may, loose in (("one", {"alpha"}, set()), ("star", {"alpha", "alpha-2"}, {"up/xyz", "up/xz"}),
                            ("all", models, {"up/xyz", "up/xz", "up/m"}), ("usual", models, {"up/xyz", "up/xz", "up/m"})):
        headers = bearer("sk-" + key)
        assert {m["id"] for m in gw.get("/v1/models", headers=headers).json()["data"]} == may, key
        for m in models | {"up/xyz", "up/xz", "up/m"}:
            before = len(up.requests)
            r = gw.chat(m, headers=headers)
            ok = m in may | loose
            assert r.status == (200 if ok else 403), (key, m, r)
            assert len(up.requests) - before == ok
            r = gw.get("/v1/models/" + m, headers=headers)
            assert r.status == (200 if ok else 404), (key, m, r)


def test_keys_expire():
    soon = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=3)
    up = scene.Upstream()
    gw = scene.Gateway({"providers": [up.provider()], "auth": {"keys": [
        {"id": "past", "key": {"value": "sk-past"}, "expires": "2020-01-01"},
        {"id": "soon", "key": {"value": "sk-soon"}, "expires": soon.strftime("%Y-%m-%dT%H:%M:%SZ")},
        {"id": "later", "key": {"value": "sk-later"}, "expires": "2100-01-01"},
        {"id": "never", "key": {"value": "sk-never"}}]}}, workers=1)
    for key, status in (("past", 401), ("later", 200), ("never", 200)):
        assert gw.chat(headers=bearer("sk-" + key)).status == status, key
    if datetime.datetime.now(datetime.timezone.utc) < soon - datetime.timedelta(seconds=1.5):
        assert gw.chat(headers=bearer("sk-soon")).status == 200
    scene.wait_for(lambda: gw.chat(headers=bearer("sk-soon")).status == 401, "the end of a key", 10)
    assert datetime.datetime.now(datetime.timezone.utc) >= soon - datetime.timedelta(seconds=1)
    # One that has expired is no other than one that never was.
    texts = {gw.chat(headers=bearer("sk-" + k)).text for k in ("past", "soon", "unknown")}
    assert len(texts) == 1, texts


def test_a_wrong_key_is_refused_before_the_body():
    up = scene.Upstream()
    gw = scene.Gateway({"providers": [up.provider()], "auth": {"keys": [{"id": "one", "hash": sha("sk-one")}]}}, workers=1)
    for headers in (b"", b"Authorization: Bearer sk-two\r\n"):
        for length in (b"Content-Length: 30000000\r\n", b"Content-Length: 100\r\n", b"Transfer-Encoding: chunked\r\n"):
            c = gw.client()
            c.send(b"POST /v1/chat/completions HTTP/1.1\r\nHost: g\r\n" + headers + length + b"\r\n")  # and not a byte of it
            r = c.response()
            assert r.status == 401 and r.headers["www-authenticate"].startswith("Bearer"), r
            error = r.json()["error"]
            assert error["code"] == "invalid_api_key" and error["type"] == "invalid_request_error", r
            assert "sk-" not in r.text
            if b"100" not in length:
                assert r.headers["connection"] == "close" and c.at_end()
            else:  # a small rest may still come, and is no request
                c.send(b"GET /livez HTTP/1.1\r\nHost: g\r\n\r\n".ljust(100))
                assert c.request("GET", "/livez").response().status == 200
            c.close()
    body = json.dumps({**CHAT, "x": "y" * 20_000_000}).encode()
    c = gw.client()
    with contextlib.suppress(OSError):
        c.send(scene.build_request("POST", "/v1/chat/completions", body, bearer("sk-two")))
    assert c.response().status == 401
    assert not up.requests
    metrics = gw.get("/metrics", headers=bearer("sk-one")).text.splitlines()
    assert "penstock_auth_failures_total 7" in metrics, [m for m in metrics if "auth" in m]
    # What needs no key tells no more without one than its status.
    for headers in ({}, bearer("sk-two")):
        for path in ("/livez", "/readyz", "/health"):
            r = gw.get(path, headers=headers)
            assert r.status == 200 and set(r.json()) == {"status"}, r
    assert {"version", "providers"} <= set(gw.get("/health", headers=bearer("sk-one")).json())


if __name__ == "__main__":
    scene.main()
