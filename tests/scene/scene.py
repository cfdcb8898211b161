"""Scenes: the real daemon, scripted upstreams and clients, both ends in one readable file.

A scene file is NN_name.py with functions test_*() and, at its end, `scene.main()`. Each test starts what it needs:

    up = scene.Upstream()                       # a provider whose every answer the test scripts
    gw = scene.Gateway({"providers": [up.provider("up")]}, workers=2)
    r = gw.post("/v1/chat/completions", {"model": "up/m", "messages": [...]})
    assert r.status == 200 and up.requests[0].json()["model"] == "m"

Whatever a test started is ended after it; its directory is kept, and the log shown, when it failed. Nothing here
sleeps to synchronise: wait_for() polls with a bound. Python's standard library only.

    PENSTOCK_BIN=build/src/penstock python3 tests/scene/10_processes.py [test_name ...]
"""

import contextlib
import http.client
import json
import os
import re
import shutil
import signal
import socket
import ssl
import struct
import subprocess
import sys
import tempfile
import threading
import time
import traceback

BIN = os.environ.get("PENSTOCK_BIN") or os.path.join(
    os.path.dirname(os.path.abspath(__file__)), "..", "..", "src", "penstock")
TEST_SECONDS = int(os.environ.get("SCENE_SECONDS", "60"))
SANITIZER = re.compile(r"(ERROR: (Address|Leak)Sanitizer|runtime error:)")

_started = []  # of the running test, to be ended after it


class Skip(Exception):
    """Raised (see skip()) by a test that cannot run here."""


def skip(why):
    raise Skip(why)


def wait_for(condition, what="a condition", seconds=15, step=0.01):
    """Polls until condition() is true and gives what it gave."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"waited {seconds} s in vain for {what}")
        time.sleep(step)


def free_port(host="127.0.0.1"):
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as s:
        s.bind((host, 0))
        return s.getsockname()[1]


# --- HTTP as bytes ---


class Closed(Exception):
    """The peer closed (clean) or reset the connection where more was expected."""


class Headers(dict):
    """Last value by lower-case name; all of them, in order, in .list."""

    def __init__(self, pairs):
        super().__init__((n.lower(), v) for n, v in pairs)
        self.list = list(pairs)


class Wire:
    """One connection, either side. Reads are buffered; every wait is bounded by `timeout`."""

    def __init__(self, sock, timeout=20):
        self.sock = sock
        self.sock.settimeout(timeout)
        with contextlib.suppress(OSError):
            self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buf = b""

    def send(self, data):
        self.sock.sendall(data.encode() if isinstance(data, str) else data)

    def more(self):
        data = self.sock.recv(65536)
        if not data:
            raise Closed("end of stream")
        self.buf += data

    def until(self, mark):
        while mark not in self.buf:
            self.more()
        head, self.buf = self.buf.split(mark, 1)
        return head

    def exactly(self, n):
        while len(self.buf) < n:
            self.more()
        data, self.buf = self.buf[:n], self.buf[n:]
        return data

    def rest(self):
        """Everything up to the end of the stream."""
        with contextlib.suppress(Closed):
            while True:
                self.more()
        data, self.buf = self.buf, b""
        return data

    def at_end(self):
        """Waits for the peer's end: True when it closed, False when it sent something."""
        if self.buf:
            return False
        try:
            self.more()
        except (Closed, ConnectionError):
            return True
        return False

    def head(self):
        lines = self.until(b"\r\n\r\n").decode("latin-1").split("\r\n")
        pairs = []
        for line in lines[1:]:
            name, value = line.split(":", 1)
            pairs.append((name, value.strip()))
        return lines[0], Headers(pairs)

    def chunk(self):
        """The next chunk's bytes; b"" for the last one."""
        size = int(self.until(b"\r\n").split(b";")[0], 16)
        data = self.exactly(size)
        assert self.exactly(2) == b"\r\n", "a chunk is not followed by CRLF"
        return data

    def body(self, headers, whole=True):
        if headers.get("transfer-encoding", "").lower() == "chunked":
            data = b""
            while True:
                piece = self.chunk()
                if not piece:
                    return data
                data += piece
        if "content-length" in headers:
            return self.exactly(int(headers["content-length"]))
        return self.rest() if whole else b""

    def close(self):
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)
        with contextlib.suppress(OSError):
            self.sock.close()

    def reset(self):
        with contextlib.suppress(OSError):
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.sock.close()


class Response:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    @property
    def text(self):
        return self.body.decode("utf-8", "replace")

    def json(self):
        return json.loads(self.body)

    def events(self):
        return sse_events(self.body)

    def __repr__(self):
        return f"<{self.status} {self.body[:300]!r}>"


def sse_events(data):
    """[(event name or "", data)] of server-sent events; comments are left out."""
    out = []
    for frame in re.split(r"\r?\n\r?\n", data.decode("utf-8")):
        name, lines = "", []
        for line in frame.splitlines():
            if line.startswith("event:"):
                name = line[6:].strip()
            elif line.startswith("data:"):
                lines.append(line[5:].removeprefix(" "))
        if lines:
            out.append((name, "\n".join(lines)))
    return out


def build_request(method, path, body=None, headers=None, host="gateway"):
    headers = dict(headers or {})
    if isinstance(body, (dict, list)):
        body = json.dumps(body)
        headers.setdefault("Content-Type", "application/json")
    if isinstance(body, str):
        body = body.encode()
    headers.setdefault("Host", host)
    if body is not None and not any(h.lower() in ("content-length", "transfer-encoding") for h in headers):
        headers["Content-Length"] = str(len(body))
    head = f"{method} {path} HTTP/1.1\r\n" + "".join(f"{n}: {v}\r\n" for n, v in headers.items()) + "\r\n"
    return head.encode("latin-1") + (body or b"")


class Client(Wire):
    """A client's connection, for those who want to see the bytes."""

    def __init__(self, address, timeout=20, tls=None):
        if isinstance(address, str):
            sock = socket.socket(socket.AF_UNIX)
            sock.settimeout(timeout)
            sock.connect(address)
        else:
            sock = socket.create_connection(address, timeout)
        if tls:
            sock = tls.wrap_socket(sock, server_hostname="localhost")
        super().__init__(sock, timeout)

    def request(self, method, path, body=None, headers=None):
        self.send(build_request(method, path, body, headers))
        return self

    def response_head(self):
        while True:
            line, headers = self.head()
            status = int(line.split()[1])
            if status != 100:
                return status, headers

    def response(self, method="GET"):
        status, headers = self.response_head()
        none = method == "HEAD" or status in (204, 304)
        return Response(status, headers, b"" if none else self.body(headers))

    def event(self):
        """The next server-sent event of a chunked answer, comments skipped: (name, data); None at its end."""
        self.events = getattr(self, "events", b"")
        while True:
            while b"\n\n" not in self.events:
                piece = self.chunk()
                if not piece:
                    return None
                self.events += piece
            frame, self.events = self.events.split(b"\n\n", 1)
            found = sse_events(frame + b"\n\n")
            if found:
                return found[0]


# --- upstreams ---


class Request:
    def __init__(self, method, path, headers, body, connection):
        self.method, self.path, self.headers, self.body = method, path, headers, body
        self.connection = connection  # number of the connection it came on
        self.at = time.monotonic()
        self.closed = threading.Event()  # the gateway closed the connection before the answer was complete
        self.closed_at = None

    def json(self):
        return json.loads(self.body)


class Answer:
    """What a script writes with. Raises Closed when the gateway has gone."""

    def __init__(self, wire, request, upstream):
        self.wire, self.request, self.upstream = wire, request, upstream
        self.keep = True
        self.chunked = False

    def raw(self, data):
        self.wire.send(data)

    def head(self, status=200, headers=None, length=None):
        """length None: chunked."""
        headers = dict(headers or {})
        if length is None:
            headers.setdefault("Transfer-Encoding", "chunked")
            self.chunked = True
        else:
            headers["Content-Length"] = str(length)
        reason = http.client.responses.get(status, "Whatever")
        self.raw(f"HTTP/1.1 {status} {reason}\r\n" +
                 "".join(f"{n}: {v}\r\n" for n, v in headers.items()) + "\r\n")

    def chunk(self, data):
        data = data.encode() if isinstance(data, str) else data
        self.raw(b"%x\r\n%s\r\n" % (len(data), data))

    def end(self):
        self.raw(b"0\r\n\r\n")

    def whole(self, status, body, headers=None):
        if isinstance(body, (dict, list)):
            body = json.dumps(body)
        body = body.encode() if isinstance(body, str) else body
        headers = {"Content-Type": "application/json", **(headers or {})}
        self.head(status, headers, len(body))
        self.raw(body)

    def sse(self, headers=None):
        self.head(200, {"Content-Type": "text/event-stream", **(headers or {})})

    def event(self, data, name=None):
        if isinstance(data, (dict, list)):
            data = json.dumps(data)
        self.chunk((f"event: {name}\n" if name else "") + f"data: {data}\n\n")

    def wait(self, event, seconds=30):
        """Until the test sets the event; Closed if the gateway leaves meanwhile."""
        end = time.monotonic() + seconds
        while not event.wait(0.02):
            self.check()
            if time.monotonic() > end or self.upstream.stopped:
                raise Closed("the test did not go on")

    def check(self):
        """Has the gateway gone? (Then Closed.)"""
        self.wire.sock.setblocking(False)
        try:
            if self.wire.sock.recv(1, socket.MSG_PEEK) == b"":
                raise Closed("end of stream")
        except (BlockingIOError, ssl.SSLWantReadError):
            pass
        except OSError as e:
            raise Closed(str(e)) from e
        finally:
            with contextlib.suppress(OSError):
                self.wire.sock.settimeout(30)

    def until_closed(self, seconds=30):
        """Writes nothing more until the gateway leaves."""
        self.wait(threading.Event(), seconds)

    def close(self):
        self.keep = False
        self.wire.close()

    def reset(self):
        self.keep = False
        self.wire.reset()


def chat_reply(model="m", text="Hello there.", prompt=7, completion=3, **more):
    """A whole answer in OpenAI's chat dialect."""
    return {
        "id": "chatcmpl-scene", "object": "chat.completion", "created": 1700000000, "model": model,
        "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion},
        **more,
    }


def chat_chunk(text=None, finish=None, model="m", **more):
    delta = {} if text is None else {"role": "assistant", "content": text}
    return {"id": "chatcmpl-scene", "object": "chat.completion.chunk", "created": 1700000000, "model": model,
            "choices": [{"index": 0, "delta": delta, "finish_reason": finish}], **more}


def chat_usage(prompt=7, completion=3, model="m"):
    return {"id": "chatcmpl-scene", "object": "chat.completion.chunk", "created": 1700000000, "model": model,
            "choices": [], "usage": {"prompt_tokens": prompt, "completion_tokens": completion,
                                     "total_tokens": prompt + completion}}


def chat_script(words=("Hello", " there", "."), usage=True):
    """The usual answer: a stream when one is asked for, else a whole one."""
    def script(a):
        body = a.request.json()
        if not body.get("stream"):
            a.whole(200, chat_reply(body.get("model", "m"), "".join(words)))
            return
        a.sse()
        for w in words:
            a.event(chat_chunk(w, model=body.get("model", "m")))
        a.event(chat_chunk(finish="stop", model=body.get("model", "m")))
        if usage and (body.get("stream_options") or {}).get("include_usage"):
            a.event(chat_usage(model=body.get("model", "m")))
        a.event("[DONE]")
        a.end()
    return script


def status_script(status, body=None, headers=None):
    def script(a):
        a.whole(status, body if body is not None else
                {"error": {"message": f"scripted {status}", "type": "scripted", "code": None}}, headers)
    return script


class Upstream:
    """A provider. Answers come from .next(script, ...) in order, else from .default; a script is called with an
    Answer in the connection's thread."""

    def __init__(self, default=None, tls=None):
        self.default = default or chat_script()
        self.queue, self.requests = [], []
        self.lock = threading.Lock()
        self.tls = tls
        self.connections = 0
        self.open = set()
        self.stopped = False
        self.errors = []
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.port = self.listener.getsockname()[1]
        self.acceptor = threading.Thread(target=self._accept, daemon=True)
        self.acceptor.start()
        _started.append(self)

    @property
    def url(self):
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}"

    def provider(self, name="up", kind="openai_compatible", key="up-key", **more):
        """A row of `providers:`."""
        base = self.url if kind in ("anthropic", "gemini", "cohere") else self.url + "/v1"
        row = {"name": name, "kind": kind, "base_url": base, **more}
        if key:
            row.setdefault("keys", [{"value": key}])
        return row

    def next(self, *scripts):
        with self.lock:
            self.queue += scripts
        return self

    def wait_requests(self, n, seconds=15):
        wait_for(lambda: len(self.requests) >= n, f"{n} requests at the upstream ({len(self.requests)} came)",
                 seconds)
        return self.requests

    def _accept(self):
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._serve, args=(sock, self.connections), daemon=True).start()

    def _serve(self, sock, number):
        wire = None
        try:
            if self.tls:
                sock = self.tls.wrap_socket(sock, server_side=True)
            wire = Wire(sock, 300)
            self.open.add(wire)
            while self._one(wire, number):
                pass
        except (Closed, OSError):
            pass
        except Exception:  # a bug of the script: shown with the test
            self.errors.append(traceback.format_exc())
        finally:
            self.open.discard(wire)
            if wire:
                wire.close()

    def _one(self, wire, number):
        line, headers = wire.head()
        method, path, _ = line.split(" ", 2)
        if headers.get("expect", "").lower() == "100-continue":
            wire.send("HTTP/1.1 100 Continue\r\n\r\n")
        r = Request(method, path, headers, wire.body(headers, whole=False), number)
        with self.lock:
            self.requests.append(r)
            script = self.queue.pop(0) if self.queue else self.default
        a = Answer(wire, r, self)
        try:
            script(a)
        except (Closed, OSError):
            r.closed_at = time.monotonic()
            r.closed.set()
            return False
        return a.keep

    def stop(self):
        self.stopped = True
        # The thread first: in accept() on a closed descriptor it would take connections of whoever gets the number next.
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.acceptor.join(10)
        self.listener.close()
        for wire in list(self.open):
            wire.close()


# --- the gateway ---


def _merge(base, more):
    for key, value in more.items():
        if isinstance(value, dict) and isinstance(base.get(key), dict):
            _merge(base[key], value)
        elif value is None:
            base.pop(key, None)
        else:
            base[key] = value
    return base


class Process:
    def __init__(self, pid, title, ppid):
        self.pid, self.title, self.ppid = pid, title, ppid
        found = re.match(r"penstock: (master|worker|scribe)(?: (\d+) gen (\d+))?( \(draining\))?", title)
        self.role = found.group(1) if found else "?"
        self.number = int(found.group(2)) if found and found.group(2) else None
        self.generation = int(found.group(3)) if found and found.group(3) else None
        self.draining = bool(found and found.group(4))

    def __repr__(self):
        return f"<{self.pid} {self.title}>"


def _proc(pid):
    """(title, ppid, state) or None."""
    try:
        with open(f"/proc/{pid}/stat") as f:
            stat = f.read().rsplit(")", 1)[1].split()
        with open(f"/proc/{pid}/cmdline", "rb") as f:
            title = f.read().replace(b"\0", b" ").decode("utf-8", "replace").strip()
    except OSError:
        return None
    return title, int(stat[1]), stat[0]


def alive(pid):
    p = _proc(pid)
    return p is not None and p[2] != "Z"


class Gateway:
    """The daemon in a directory of its own. conf: over the base configuration, as a dict (merged; None removes).
    env: its whole environment besides PATH."""

    def __init__(self, conf=None, workers=2, env=None, args=(), foreground=True, start=True, port=None):
        self.dir = tempfile.mkdtemp(prefix="penstock-scene-")
        os.chmod(self.dir, 0o755)
        self.port = port or free_port()
        self.host = "127.0.0.1"
        self.env = {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "HOME": self.dir, **(env or {})}
        for name in ("ASAN_OPTIONS", "UBSAN_OPTIONS", "LSAN_OPTIONS"):
            if name in os.environ:
                self.env[name] = os.environ[name]
        self.args, self.foreground = list(args), foreground
        self.path = lambda name: os.path.join(self.dir, name)
        self.conf_path, self.log_path = self.path("penstock.yaml"), self.path("penstock.log")
        self.pid_path, self.stderr_path = self.path("penstock.pid"), self.path("stderr")
        self.conf = {
            "listen": [{"address": f"127.0.0.1:{self.port}"}],
            "workers": workers,
            "state_dir": self.path("state"),
            "pid_file": self.pid_path,
            "drain_timeout": "20s",
            "stop_timeout": "5s",
            "log": {"target": self.log_path, "format": "json", "level": "debug"},
        }
        _merge(self.conf, conf or {})
        self.write_conf()
        self.process = None
        self.known = set()  # every pid that was ever seen
        _started.append(self)
        if start:
            self.start()

    # life

    def write_conf(self, text=None):
        with open(self.conf_path + ".new", "w") as f:
            # JSON is YAML
            f.write(text if text is not None else json.dumps(self.conf, indent=2) + "\n")
        os.rename(self.conf_path + ".new", self.conf_path)

    def reconfigure(self, more):
        _merge(self.conf, more)
        self.write_conf()

    def command(self, *args):
        return [BIN, "-c", self.conf_path, *self.args, *args]

    def run(self, *args, seconds=30):
        """A short run of the binary: -t, -s ..."""
        return subprocess.run(self.command(*args), env=self.env, cwd=self.dir, stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, timeout=seconds)

    def start(self, wait=True):
        with open(self.stderr_path, "ab") as err:
            self.process = subprocess.Popen(self.command(*(["-f"] if self.foreground else [])), env=self.env,
                                            cwd=self.dir, stdin=subprocess.DEVNULL, stdout=err, stderr=err)
        if wait:
            self.wait_ready()
        return self

    @property
    def pid(self):
        """The master's."""
        if self.foreground:
            return self.process.pid
        with open(self.pid_path) as f:
            return int(f.read())

    def running(self):
        if self.foreground:
            return self.process.poll() is None
        return os.path.exists(self.pid_path) and alive(self.pid)

    def wait_ready(self, seconds=30):
        def ready():
            if self.foreground and self.process.poll() is not None:
                raise AssertionError(f"the gateway ended with status {self.process.returncode}")
            try:
                return self.get("/readyz").status == 200
            except (OSError, Closed):
                return False
        wait_for(ready, "the gateway to be ready", seconds)
        self.processes()
        return self

    def signal(self, sig, pid=None):
        os.kill(pid or self.pid, sig)

    def wait_exit(self, seconds=30):
        """The master's exit status."""
        if self.foreground:
            return self.process.wait(seconds)
        wait_for(lambda: not self.running(), "the master to end", seconds)
        return 0

    def stop(self, seconds=20):
        if not self.process:
            return
        self.processes()
        with contextlib.suppress(ProcessLookupError, FileNotFoundError, ValueError):
            if self.running():
                self.signal(signal.SIGTERM)
                self.wait_exit(seconds)

    def kill_all(self):
        with contextlib.suppress(Exception):
            self.processes()
        if self.process and self.foreground and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        for pid in self.known:
            p = _proc(pid)
            if p and p[0].startswith("penstock"):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    # processes

    def processes(self):
        """Living children of the master, and those seen before that outlived it."""
        master = None
        with contextlib.suppress(Exception):
            master = self.pid
        out = []
        for name in os.listdir("/proc"):
            if not name.isdigit():
                continue
            p = _proc(int(name)) if int(name) != master else None
            if p and p[2] != "Z" and (p[1] == master or int(name) in self.known) and p[0].startswith("penstock"):
                self.known.add(int(name))
                out.append(Process(int(name), p[0], p[1]))
        if master:
            self.known.add(master)
        return out

    def workers(self, generation=None, draining=False):
        """Sorted by number; draining None: both."""
        return sorted((p for p in self.processes() if p.role == "worker" and
                       (generation is None or p.generation == generation) and
                       (draining is None or p.draining == draining)), key=lambda p: (p.generation, p.number))

    def worker_pids(self, **how):
        return [p.pid for p in self.workers(**how)]

    def scribe(self):
        found = [p for p in self.processes() if p.role == "scribe"]
        return found[0] if found else None

    def wait_workers(self, n, seconds=15, generation=None):
        """Those that take requests: n, and all of that generation where one is named."""
        def are():
            found = self.workers()
            return len(found) == n and all(p.generation == generation or generation is None for p in found) and found
        return wait_for(are, f"{n} workers", seconds)

    # requests

    @property
    def address(self):
        return (self.host, self.port)

    def client(self, timeout=20, tls=None):
        return Client(self.address, timeout, tls)

    def request(self, method, path, body=None, headers=None, timeout=20):
        c = self.client(timeout)
        try:
            c.request(method, path, body, {"Connection": "close", **(headers or {})})
            return c.response(method)
        finally:
            c.close()

    def get(self, path, **more):
        return self.request("GET", path, **more)

    def post(self, path, body=None, **more):
        return self.request("POST", path, body, **more)

    def chat(self, model="up/m", text="Hi", stream=False, headers=None, timeout=20, **more):
        body = {"model": model, "messages": [{"role": "user", "content": text}], **more}
        if stream:
            body["stream"] = True
        return self.post("/v1/chat/completions", body, headers=headers, timeout=timeout)

    def chat_stream(self, model="up/m", text="Hi", headers=None, **more):
        """The connection, after the head of a streamed answer has come."""
        c = self.client()
        c.request("POST", "/v1/chat/completions",
                  {"model": model, "messages": [{"role": "user", "content": text}], "stream": True, **more}, headers)
        c.status, c.headers = c.response_head()
        return c

    def admin(self, path, method="GET", body=None, **more):
        return self.request(method, "/admin/v1" + path, body, **more)

    def metrics(self):
        """{name or name{labels}: value}"""
        out = {}
        for line in self.get("/metrics").text.splitlines():
            if line and not line.startswith("#"):
                name, value = line.rsplit(" ", 1)
                out[name] = float(value)
        return out

    # log

    def log_text(self):
        for path in (self.log_path, self.stderr_path):
            with contextlib.suppress(FileNotFoundError), open(path, errors="replace") as f:
                text = f.read()
                if text:
                    yield path, text

    def log(self, event=None, path=None):
        """Log lines as dicts."""
        out = []
        with contextlib.suppress(FileNotFoundError), open(path or self.log_path, errors="replace") as f:
            for line in f:
                with contextlib.suppress(ValueError):
                    row = json.loads(line)
                    if isinstance(row, dict) and (event is None or row.get("event") == event):
                        out.append(row)
        return out

    def wait_log(self, text, event=None, seconds=15, path=None):
        return wait_for(lambda: [r for r in self.log(event, path) if text in r.get("message", json.dumps(r))],
                        f"{text!r} in the log", seconds)


def by_environment(env, conf=None):
    """A gateway of a file that others shall use too (or of none), and the environment; not started."""
    gw = Gateway(start=False)
    os.unlink(gw.conf_path)
    gw.conf_path = conf
    gw.command = lambda *args: [BIN, *(["-c", conf] if conf else []), *gw.args, *args]
    gw.env.update({"PORT": str(gw.port), "PENSTOCK_WORKERS": "2", "PENSTOCK_STATE_DIR": gw.path("state"),
                   "PENSTOCK_PID_FILE": gw.pid_path, "PENSTOCK_LOG_TARGET": gw.log_path, **env})
    return gw


# --- running ---


def _end_all(failed):
    """Ends what the test started. Gives what was wrong with it."""
    wrong = []
    for x in reversed(_started):
        if isinstance(x, Gateway):
            if not failed:
                try:
                    x.stop()
                except Exception as e:
                    wrong.append(f"the gateway did not stop: {e}")
            x.kill_all()
            for path, text in x.log_text():
                if SANITIZER.search(text):
                    wrong.append(f"a sanitizer spoke in {path}")
        else:
            x.stop()
            wrong += x.errors
    return wrong


def _show(failed):
    for x in _started:
        if not isinstance(x, Gateway):
            continue
        if not failed:
            shutil.rmtree(x.dir, ignore_errors=True)
            continue
        print(f"# kept: {x.dir}")
        for path, text in x.log_text():
            lines = text.splitlines()
            print(f"# {path}" + (f" (the last 60 of {len(lines)} lines)" if len(lines) > 60 else ""))
            for line in lines[-60:]:
                print("#   " + line[:1000])
    _started.clear()


def _on_alarm(signum, frame):
    raise AssertionError(f"the test took longer than {TEST_SECONDS} s")


def _run(fn):
    """(result, text): ok, skip or not ok."""
    seconds = getattr(fn, "seconds", TEST_SECONDS)
    signal.signal(signal.SIGALRM, _on_alarm)
    signal.alarm(seconds)
    try:
        fn()
        result, text = "ok", ""
    except Skip as e:
        result, text = "skip", str(e)
    except (Exception, KeyboardInterrupt):
        result, text = "not ok", traceback.format_exc()
    signal.alarm(0)
    wrong = _end_all(result == "not ok")
    if wrong and result != "not ok":
        result, text = "not ok", "\n".join(wrong)
    return result, text


def main():
    module = sys.modules["__main__"]
    wanted = sys.argv[1:]
    tests = [(n, f) for n, f in vars(module).items() if n.startswith("test_") and callable(f)]
    tests = [(n, f) for n, f in tests if not wanted or n in wanted]
    if not os.access(BIN, os.X_OK):
        print(f"1..0 # SKIP there is no {BIN}")
        sys.exit(77)
    count = {"ok": 0, "skip": 0, "not ok": 0}
    print(f"1..{len(tests)}", flush=True)
    for i, (name, fn) in enumerate(tests, 1):
        begin = time.monotonic()
        result, text = _run(fn)
        count[result] += 1
        mark = "ok" if result == "skip" else result
        extra = f" # SKIP {text}" if result == "skip" else ""
        print(f"{mark} {i} - {name} ({time.monotonic() - begin:.1f} s){extra}", flush=True)
        if result == "not ok":
            for line in text.splitlines():
                print("#   " + line)
        _show(result == "not ok")
    print(f"# {count['ok']} passed, {count['not ok']} failed, {count['skip']} skipped", flush=True)
    sys.exit(1 if count["not ok"] else 77 if count["ok"] == 0 else 0)
