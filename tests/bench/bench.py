#!/usr/bin/env python3
"""Speed and memory of penstock beside nginx: `make bench` runs this. doc/benchmarks.md explains the method.

Everything happens on loopback and in a temporary directory. The proxies run on one processor; wrk (or streams.c,
where there are streams) and the upstream (upstream.c) on another. CPU per request is the run time of all processes
of a proxy, by the kernel's accounts in nanoseconds, divided by the requests that the load counted. The contenders
take turns in short rounds; a row shows the medians, and as ratio the median of the rounds' ratios.
"""
import argparse
import hashlib
import json
import os
import resource
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

KEY = "sk-bench-0123456789abcdef0123456789abcdef"
CHAT = "/v1/chat/completions"
MESSAGES = "/v1/messages"
FILES = 40000  # open files that 5,000 streams need, with some to spare
KIB = 1024


class Invalid(Exception):
    """A row that could not be measured, and why."""


# --- processes ---


def read(path):
    with open(path) as f:
        return f.read()


def family(pid):
    """A process and all its descendants."""
    pids = [pid]
    for task in os.listdir(f"/proc/{pid}/task"):
        for child in read(f"/proc/{pid}/task/{task}/children").split():
            pids += family(int(child))
    return pids


def run_time_ns(pid):
    """What all threads of a process have run, user and kernel."""
    return sum(int(read(f"/proc/{pid}/task/{t}/schedstat").split()[0]) for t in os.listdir(f"/proc/{pid}/task"))


def memory_kib(pid):
    """PSS and private memory of a process."""
    fields = dict.fromkeys(["Pss", "Private_Clean", "Private_Dirty"], 0)
    try:
        lines = read(f"/proc/{pid}/smaps_rollup").splitlines()
    except PermissionError:
        raise Invalid("the memory of a process that hides it can be read by root only")
    for line in lines[1:]:
        name, value = line.split()[:2]
        if name[:-1] in fields:
            fields[name[:-1]] = int(value)
    return fields["Pss"], fields["Private_Clean"] + fields["Private_Dirty"]


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def post(port, path, body, timeout=10):
    """Status, headers (lower case) and body of one request."""
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", data=body, method="POST")
    request.add_header("Content-Type", "application/json")
    request.add_header("Authorization", "Bearer " + KEY)
    try:
        with urllib.request.urlopen(request, timeout=timeout) as answer:
            return answer.status, {k.lower(): v for k, v in answer.headers.items()}, answer.read()
    except urllib.error.HTTPError as e:
        return e.code, {k.lower(): v for k, v in e.headers.items()}, e.read()


class Contender:
    """A server under test: one that was started with its configuration in a directory of its own."""

    def __init__(self, name, argv, port, cpu, directory):
        self.name, self.port = name, port
        self.log = os.path.join(directory, "output")
        with open(self.log, "wb") as out:
            self.process = subprocess.Popen(["taskset", "-c", str(cpu)] + argv, stdin=subprocess.DEVNULL,
                                            stdout=out, stderr=out, start_new_session=True)

    def wait_ready(self):
        for _ in range(200):
            if self.process.poll() is not None:
                break
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                time.sleep(0.05)
        raise Invalid(f"{self.name} does not start: {read(self.log)[-600:].strip()}")

    def pids(self):
        return family(self.process.pid)

    def worker(self):
        for _ in range(100):
            for pid in self.pids():
                if "worker" in read(f"/proc/{pid}/cmdline"):
                    return pid
            time.sleep(0.05)
        raise Invalid(f"{self.name} has no worker")

    def cpu(self):
        return {pid: run_time_ns(pid) for pid in self.pids()}

    def cpu_since(self, before):
        now = self.cpu()
        if set(before) - set(now):
            raise Invalid(f"a process of {self.name} died")
        return sum(now.values()) - sum(before.values())

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            pass
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()


NGINX = """
daemon off;
{user}
worker_processes 1;
worker_rlimit_nofile {files};
pid {dir}/pid;
error_log {dir}/error.log warn;
events {{ worker_connections 12000; }}
http {{
    access_log off;
    client_body_temp_path {dir}/body;
    proxy_temp_path {dir}/proxy;
    fastcgi_temp_path {dir}/fastcgi;
    uwsgi_temp_path {dir}/uwsgi;
    scgi_temp_path {dir}/scgi;
    client_body_buffer_size 64k;
    keepalive_requests 100000000;
    keepalive_timeout 300s;
    upstream provider {{
        server 127.0.0.1:{upstream};
        keepalive 512;
        keepalive_requests 100000000;
        keepalive_timeout 300s;
    }}
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        proxy_http_version 1.1;
        proxy_set_header Connection "";
        location / {{ proxy_pass http://provider; }}
        location /stream/ {{ proxy_pass http://provider; proxy_buffering off; }}
    }}
}}
"""

# Auth with a hashed key, limits that are counted and never reached, prices, access log and ledger. In JSON, which
# YAML contains. What the upstream shall send is in the base_url of the model's provider.
PLENTY = {"requests_per_minute": 1000000000, "tokens_per_minute": 1000000000000, "concurrent": 1000000}


def everything(conf, upstream):
    """All that can be on beside it, but for the caches, which would answer themselves: limits of every layer, budgets, the queue, two targets by speed, conversations, texts kept and masked, alerts, traces, metrics."""
    limits = {"requests_per_minute": 1000000000, "tokens_per_minute": 1000000000000, "tokens_per_day": 1000000000000,
              "concurrent": 1000000}
    budget = {"usd": 1000000, "period": "month"}
    conf["limits"].update(limits)
    conf["endpoint_limits"] = [dict(limits, endpoint="chat")]
    conf["tenants"] = [{"id": "bench", "limits": limits, "budget": budget}]
    conf["auth"].update(default_limits=limits, user_limits=limits)
    conf["auth"]["keys"][0].update(tenant="bench", limits=limits, budget=budget)
    for p in conf["providers"]:
        p.update(limits=limits, budget=budget, keys=[{"value": "sk-upstream", "limits": limits}])
    plain = conf["models"][0]
    other = dict(conf["providers"][0], name="p-other")
    conf["providers"].append(other)
    plain.update(limits=limits, budget=budget, strategy="latency",
                 targets=plain["targets"] + [dict(plain["targets"][0], provider="p-other")])
    conf["queue"] = {"max_wait": "10s"}
    conf["log"].update(content="masked")
    conf["alerts"] = {"error_rate": 0.5, "latency": "30s", "cost_per_hour": 1000000}
    conf["telemetry"] = {"otlp_endpoint": f"http://127.0.0.1:{upstream}", "sample": 1}
    return conf


def penstock_conf(directory, port, upstream, name, redis=None):
    """Every model is a provider of its own: (name, kind, base_url)."""
    at = f"http://127.0.0.1:{upstream}"
    models = [
        ("plain", "openai", f"{at}/v1"),
        ("1k", "openai", f"{at}/answer/1024/v1"),
        ("8k", "openai", f"{at}/answer/8192/v1"),
        ("claude", "anthropic", at),
        ("fast", "openai", f"{at}/stream/0/200/5/v1"),
        ("slow", "openai", f"{at}/stream/0/200/100/v1"),
        ("rare", "openai", f"{at}/stream/0/200/1000/v1"),
        ("claude-fast", "anthropic", f"{at}/stream/0/200/5"),
        ("gemini", "gemini", f"{at}/v1beta"),
        ("gemini-fast", "gemini", f"{at}/stream/0/200/5/v1beta"),
    ]
    real = {"openai": "gpt-4o-mini", "anthropic": "claude-3-5-haiku", "gemini": "gemini-2.5-flash"}
    conf = {
        "listen": f"127.0.0.1:{port}",
        "workers": 1,
        "state_dir": f"{directory}/state",
        "pid_file": f"{directory}/pid",
        "limits": dict(PLENTY, max_connections=12000),
        "providers": [{
            "name": f"p-{name}", "kind": kind, "base_url": url, "keys": [{"value": "sk-upstream"}],
            "limits": PLENTY, "health_check": {"every": "0s"},
        } for name, kind, url in models],
        "models": [{
            "name": f"bench-{name}",
            "targets": [{"provider": f"p-{name}", "model": real[kind]}],
            "prices": {"input": 0.15, "cached_input": 0.075, "output": 0.6},
        } for name, kind, url in models],
        "auth": {"mode": "keys", "keys": [{
            "id": "bench", "hash": "sha256:" + hashlib.sha256(KEY.encode()).hexdigest(), "limits": PLENTY,
        }]},
        "cache": {"enabled": name == "penstock-cache"},
        "log": {"level": "info", "target": f"{directory}/log", "access": True},
    }
    if redis:
        conf["cluster"] = {"redis": f"redis://127.0.0.1:{redis}", "exact": name == "penstock-exact"}
    return json.dumps(everything(conf, upstream) if name == "penstock-all" else conf, indent=1)


class Bench:
    """The servers, the directory and the length of rounds."""

    def __init__(self, options):
        self.options = options
        self.rounds, self.seconds = (2, 1) if options.quick else (5, 2)  # wrk takes whole seconds
        self.dir = tempfile.mkdtemp(prefix="penstock-bench.")
        self.running = {}
        self.redis = None
        cpus = sorted(os.sched_getaffinity(0))
        self.proxy_cpu, self.load_cpu = cpus[0], cpus[-1]
        if len(cpus) < 2:
            note("only one processor: load and proxies share it")
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        self.files = FILES if hard == resource.RLIM_INFINITY else min(FILES, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, self.files), hard))
        self.upstream = self.on_load_cpu([self.tool("upstream")], stdout=subprocess.PIPE)
        self.upstream_port = int(self.upstream.stdout.readline())

    def tool(self, name):
        return os.path.join(self.options.tools, name)

    def on_load_cpu(self, argv, **more):
        return subprocess.Popen(["taskset", "-c", str(self.load_cpu)] + argv, text=True, **more)

    def get(self, name):
        """nginx, penstock, penstock-cache, -all, -cluster or -exact: started when first asked for."""
        if name not in self.running:
            start = self.start_nginx if name == "nginx" else self.start_penstock
            self.running[name] = start(name)
            self.running[name].wait_ready()
        return self.running[name]

    def directory(self, name):
        path = os.path.join(self.dir, name)
        os.mkdir(path)
        return path

    def start_nginx(self, name):
        where, port = self.directory(name), free_port()
        user = "user root;" if os.getuid() == 0 else ""
        conf = NGINX.format(dir=where, port=port, upstream=self.upstream_port, user=user, files=self.files)
        with open(f"{where}/conf", "w") as f:
            f.write(conf)
        argv = [self.options.nginx, "-p", where, "-c", f"{where}/conf", "-e", f"{where}/error.log"]
        return Contender(name, argv, port, self.proxy_cpu, where)

    def start_penstock(self, name):
        where, port = self.directory(name), free_port()
        redis = self.redis_port() if name in ("penstock-cluster", "penstock-exact") else None
        with open(f"{where}/conf.yaml", "w") as f:
            f.write(penstock_conf(where, port, self.upstream_port, name, redis))
        argv = [self.options.penstock, "-c", f"{where}/conf.yaml", "-f"]
        return Contender(name, argv, port, self.proxy_cpu, where)

    def redis_port(self):
        """Of one server, on the processor of the load."""
        program = shutil.which("redis-server") or shutil.which("valkey-server")
        if not program:
            raise Invalid("there is no redis-server")
        if not self.redis:
            port = free_port()
            self.redis = self.on_load_cpu([program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir",
                                           self.dir], stdout=subprocess.DEVNULL), port
        return self.redis[1]

    def body(self, model, size, path=CHAT, **more):
        """A file with a request of exactly that many bytes, for OpenAI's or Anthropic's path."""
        def text(n):
            words = "Tell me where the water of the lake goes. " * (n // 40 + 1)
            system, user = "Answer in one sentence.", {"role": "user", "content": words[:n]}
            said = {"system": system, "messages": [user]} if path == MESSAGES else \
                {"messages": [{"role": "system", "content": system}, user]}
            return json.dumps(dict({"model": model, "temperature": 0.2, "max_tokens": 256}, **said, **more))
        data = text(size - len(text(0)))
        path = os.path.join(self.dir, f"{model}-{size}{path.replace('/', '-')}.json")
        with open(path, "w") as f:
            f.write(data)
        return path

    def stop(self):
        for server in self.running.values():
            server.stop()
        if self.redis:
            self.redis[0].kill()
            self.redis[0].wait()
        self.upstream.kill()
        self.upstream.wait()
        if self.options.keep:
            note("kept: " + self.dir)
        else:
            shutil.rmtree(self.dir, ignore_errors=True)


def note(text):
    print("bench: " + text, file=sys.stderr, flush=True)


# --- loads ---


class Way:
    """A path through a server (or None: straight to the upstream), and what it is asked."""

    def __init__(self, bench, server, path, body):
        self.bench, self.path, self.body = bench, path, body
        self.server = bench.get(server) if server else None
        self.port = self.server.port if server else bench.upstream_port

    def check(self, **headers):
        """One request whose answer must be a chat completion; then that its headers are as expected."""
        with open(self.body, "rb") as f:
            status, got, body = post(self.port, self.path, f.read())
        try:
            answer = json.loads(body)
            text = answer["content"][0]["text"] if "content" in answer else answer["choices"][0]["message"]["content"]
        except (ValueError, LookupError, TypeError):
            text = ""
        if status != 200 or not text:
            raise Invalid(f"port {self.port} {self.path}: {status} {body[:300]!r}")
        for name, value in headers.items():
            if got.get(name.replace("_", "-")) != value:
                raise Invalid(f"{name} is {got.get(name.replace('_', '-'))}, not {value}")

    def wrk(self, connections, seconds):
        """What post.lua counted; the row is invalid unless all requests went well."""
        argv = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "5s", "-s",
                os.path.join(os.path.dirname(os.path.abspath(__file__)), "post.lua"),
                f"http://127.0.0.1:{self.port}{self.path}", "--", self.body, KEY]
        load = self.bench.on_load_cpu(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        out, _ = load.communicate()
        lines = [line for line in out.splitlines() if line.startswith("bench ")]
        if not lines:
            raise Invalid("wrk: " + out.strip()[-300:])
        got = json.loads(lines[0][len("bench "):])
        if got["errors"] or got["not_2xx"] or not got["requests"]:
            raise Invalid(f"wrk through {self.server.name if self.server else 0}: {got}")
        return got

    def cpu_per_request(self, connections, seconds):
        before = self.server.cpu()
        got = self.wrk(connections, seconds)
        return self.server.cpu_since(before) / got["requests"] / 1000


class Streams:
    """Open streams of one way."""

    def __init__(self, way, count, patience=60):
        self.way, self.count = way, count
        argv = [way.bench.tool("streams"), str(way.port), way.path, KEY, way.body, str(count)]
        self.client = way.bench.on_load_cpu(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        # An alarm, as a read of the pipe can't time out.
        signal.signal(signal.SIGALRM, lambda *_: self.client.kill())
        signal.alarm(patience)
        self.ready = self.client.stdout.readline().strip() == "ready"
        signal.alarm(0)

    def ask(self):
        """Events, latencies and so on since the last time."""
        try:
            self.client.stdin.write("\n")
            self.client.stdin.flush()
            got = json.loads(self.client.stdout.readline())
        except (OSError, ValueError):
            raise Invalid(f"streams of {self.way.port}{self.way.path} did not open")
        if not self.ready or got["failed"] or got["streams"] != self.count:
            raise Invalid(f"streams of {self.way.port}{self.way.path}: {got}")
        return got

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.client.stdin.close()
        self.client.wait()
        self.client.stdout.close()

    def cpu_per_event(self, seconds):
        """And the part of the wanted events that came."""
        before = self.way.server.cpu()
        self.ask()
        time.sleep(seconds)
        used = self.way.server.cpu_since(before)
        got = self.ask()
        return used / max(got["events"], 1) / 1000, got


# --- rows ---


class Line:
    """One line of the table. Values by contender, in rounds that belong together."""

    def __init__(self, what, unit, nginx, penstock, limit=None, absolute=False):
        self.what, self.unit, self.limit, self.absolute = what, unit, limit, absolute
        self.nginx = statistics.median(nginx) if nginx else None
        self.penstock = statistics.median(penstock)
        self.ratios = sorted(p / n for n, p in zip(nginx, penstock) if n > 0) if nginx else []
        self.ratio = statistics.median(self.ratios) if self.ratios else None
        self.invalid = None

    def met(self):
        value = self.penstock if self.absolute else self.ratio
        return None if self.limit is None or value is None else value <= self.limit

    def cells(self):
        def number(x):
            return "" if x is None else f"{x:.1f}" if x < 1000 else f"{x:,.0f}"
        target = "" if self.limit is None else f"{self.limit:g} {self.unit}" if self.absolute else f"x{self.limit:g}"
        spread = f"{self.ratios[0]:.2f}-{self.ratios[-1]:.2f}" if len(self.ratios) > 1 else ""
        return [self.what, number(self.nginx), number(self.penstock), self.unit,
                "" if self.ratio is None else f"x{self.ratio:.2f}", spread, target,
                {None: "", True: "ok", False: "MISSED"}[self.met()]]

    def record(self):
        return {"what": self.what, "unit": self.unit, "nginx": self.nginx, "penstock": self.penstock,
                "ratio": self.ratio, "ratios": self.ratios, "target": self.limit, "met": self.met()}


class BadLine:
    def __init__(self, what, why):
        self.what, self.invalid, self.ratio = what, why, None

    def met(self):
        return False

    def cells(self):
        return [self.what, "", "", "", "", "", "", "INVALID"]

    def record(self):
        return {"what": self.what, "invalid": self.invalid, "met": False}


def compare_requests(bench, what, limit, nginx, penstock):
    """CPU per request at 64 connections, the two in turns."""
    ways = [nginx, penstock]
    for way in [] if bench.options.quick else ways:
        way.wrk(64, 1)
    rounds = [[way.cpu_per_request(64, bench.seconds) for way in ways] for _ in range(bench.rounds)]
    return [Line(what, "us", [r[0] for r in rounds], [r[1] for r in rounds], limit)]


def pass_through(bench, what, limit, size, penstock="penstock", **more):
    body = bench.body("bench-plain", size, **more)
    ways = [Way(bench, server, CHAT, body) for server in ("nginx", penstock)]
    for way in ways:
        way.check()
    return compare_requests(bench, what, limit, *ways)


def row_1k(bench):
    return pass_through(bench, "1 KiB chat, passed through", 2.3, 1 * KIB)


def row_all(bench):
    return pass_through(bench, "the same with everything on", 2.6, 1 * KIB, "penstock-all", user="bench")


def row_20k(bench):
    return pass_through(bench, "20 KiB chat, passed through", 4, 20 * KIB)


def row_cluster(bench):
    """Beside penstock without a cluster, in the first column; one worker and the server of the cluster on one machine."""
    body = bench.body("bench-plain", 1 * KIB)
    ways = [Way(bench, server, CHAT, body) for server in ("penstock", "penstock-cluster", "penstock-exact")]
    for way in ways:
        way.check()
    rounds = [[way.cpu_per_request(64, bench.seconds) for way in ways] for _ in range(bench.rounds)]
    alone = [r[0] for r in rounds]
    lines = [Line("cluster by leases (left: alone)", "us", alone, [r[1] for r in rounds]),
             Line("cluster, exact (left: alone)", "us", alone, [r[2] for r in rounds])]
    rounds = [[way.wrk(1, bench.seconds)["p50"] for way in ways] for _ in range(bench.rounds)]
    alone = [r[0] for r in rounds]
    return lines + [Line("  1 connection, p50, leases", "us", alone, [r[1] for r in rounds]),
                    Line("  1 connection, p50, exact", "us", alone, [r[2] for r in rounds])]


def cache_hit(bench, what, limit, model, answer):
    body = bench.body(f"bench-{model}", 1 * KIB)
    nginx, penstock = Way(bench, "nginx", f"/answer/{answer}{CHAT}", body), Way(bench, "penstock-cache", CHAT, body)
    nginx.check()
    penstock.check()
    for attempt in range(20):  # the answer is stored behind the request's back
        time.sleep(0.1)
        try:
            penstock.check(x_penstock_cache="hit")
            break
        except Invalid:
            if attempt == 19:
                raise
    return compare_requests(bench, what, limit, nginx, penstock)


def row_hit(bench):
    return cache_hit(bench, "cache hit, 1 KiB answer", 0.8, "1k", 1024)


def row_hit8k(bench):
    return cache_hit(bench, "cache hit, 8 KiB answer", 0.8, "8k", 8192)


def translated(bench, what, path, model):
    body = bench.body(f"bench-{model}", 1 * KIB, path)
    nginx, penstock = Way(bench, "nginx", path, body), Way(bench, "penstock", path, body)
    penstock.check(x_penstock_provider=f"p-{model}")
    return compare_requests(bench, f"1 KiB chat, {what}", 5, nginx, penstock)


def row_translated(bench):
    return (translated(bench, "OpenAI to Anthropic", CHAT, "claude") +
            translated(bench, "Anthropic to OpenAI", MESSAGES, "plain") +
            translated(bench, "OpenAI to Gemini", CHAT, "gemini"))


def compare_streams(bench, what, limit, model, path, count, rate, client=CHAT):
    body = bench.body(f"bench-{model}", 1 * KIB, client, stream=True)
    ways = [Way(bench, "nginx", path + client, body), Way(bench, "penstock", client, body)]
    rounds, late = [], []
    for _ in range(bench.rounds):
        turn = []
        for way in ways:
            with Streams(way, count) as streams:
                time.sleep(0.3)
                us, got = streams.cpu_per_event(bench.seconds)
            if got["events"] < 0.9 * count * rate * got["seconds"]:
                late.append(f"{what}: only {got['events'] / got['seconds']:.0f} of {count * rate} events a second"
                            f" through {way.server.name}")
            turn.append((us, got))
        rounds.append(turn)
    for text in sorted(set(late)):
        note(text)
    lines = [Line(what, "us", [r[0][0] for r in rounds], [r[1][0] for r in rounds], limit)]
    for p in ("p50", "p99"):
        lines.append(Line(f"  its delay, {p}", "us", [r[0][1][p] for r in rounds], [r[1][1][p] for r in rounds]))
    return lines


def row_events(bench):
    return compare_streams(bench, "event, 64 streams at 200/s", 1.4, "fast", "/stream/0/200/5", 64, 200)


def row_events1000(bench):
    return compare_streams(bench, "event, 1,000 streams at 10/s", 1.4, "slow", "/stream/0/200/100", 1000, 10)


def row_translated_events(bench):
    pairs = [("Anthropic to OpenAI", "claude-fast", CHAT), ("OpenAI to Anthropic", "fast", MESSAGES),
             ("Gemini to OpenAI", "gemini-fast", CHAT)]
    lines = []
    for what, model, client in pairs:
        lines += compare_streams(bench, f"event, {what}", 2, model, "/stream/0/200/5", 64, 200, client)
    return lines


def row_idle(bench):
    """Before any request, and before a second penstock would share its pages."""
    server = bench.get("penstock")
    time.sleep(0.3)
    pss, private = memory_kib(server.worker())
    return [Line("idle worker, PSS", "KiB", [], [pss], 8 * KIB, absolute=True),
            Line("  of that its own", "KiB", [], [private])]


def row_memory(bench):
    """Memory for each of 5,000 open streams with an event a second."""
    count = 5000
    if bench.files < 2 * count + 500:
        count = (bench.files - 500) // 2
        note(f"only {bench.files} open files are allowed: {count} streams")
    values = []
    body = bench.body("bench-rare", 1 * KIB, stream=True)
    for name, path in (("nginx", f"/stream/0/200/1000{CHAT}"), ("penstock", CHAT)):
        way = Way(bench, name, path, body)
        worker = way.server.worker()
        before = memory_kib(worker)[0]
        with Streams(way, count) as streams:
            time.sleep(2.2)
            streams.ask()
            values.append((memory_kib(worker)[0] - before) / count)
    return [Line(f"{count:,} streams, each", "KiB", values[:1], values[1:], 24, absolute=True)]


def row_latency(bench):
    """Of one connection: what a proxy adds to the way straight to the upstream."""
    body = bench.body("bench-plain", 1 * KIB)
    ways = [Way(bench, server, CHAT, body) for server in (None, "nginx", "penstock")]
    for way in ways:
        way.check()
    rounds = [[way.wrk(1, bench.seconds) for way in ways] for _ in range(bench.rounds)]
    lines = []
    for p in ("p50", "p99"):
        nginx, penstock = ([r[i][p] - r[0][p] for r in rounds] for i in (1, 2))
        lines.append(Line(f"added latency, 1 connection, {p}", "us", nginx, penstock))
    direct = statistics.median(r[0]["p50"] for r in rounds)
    lines.append(Line("  without a proxy, p50", "us", [direct], [direct]))
    return lines


def row_vectors(bench):
    """One scan of the semantic cache's table, full and all of one partition, on one processor."""
    def scan():
        got = json.loads(bench.on_load_cpu([bench.tool("vectors")], stdout=subprocess.PIPE).communicate()[0])
        return got["ms"]
    return [Line("50,000 vectors, one scan", "ms", [], [scan() for _ in range(bench.rounds)], 5, absolute=True)]


ROWS = {  # in this order: memory before load
    "idle": row_idle,
    "memory": row_memory,
    "1k": row_1k,
    "all": row_all,
    "20k": row_20k,
    "translated": row_translated,
    "events": row_events,
    "events1000": row_events1000,
    "translated-events": row_translated_events,
    "latency": row_latency,
    "cluster": row_cluster,
    "hit": row_hit,
    "hit8k": row_hit8k,
    "vectors": row_vectors,
}


def stolen(bench):
    """Busy and all ticks of the proxies' processor."""
    for line in read("/proc/stat").splitlines():
        fields = line.split()
        if fields[0] == f"cpu{bench.proxy_cpu}":
            ticks = [int(x) for x in fields[1:9]]
            return sum(ticks) - ticks[3] - ticks[4]
    return 0


def run(bench, names):
    lines, ours, busy = [], 0, stolen(bench)
    for name in names:
        note(f"{name} ...")
        try:
            lines += ROWS[name](bench)
        except Invalid as e:
            note(f"{name}: {e}")
            lines.append(BadLine(name, str(e)))
    for server in bench.running.values():
        ours += sum(server.cpu().values()) if server.process.poll() is None else 0
    busy = (stolen(bench) - busy) / os.sysconf("SC_CLK_TCK")
    others = max(0.0, 1 - ours / 1e9 / busy) if busy > 1 else 0.0
    return lines, others


def show(lines):
    table = [["what", "nginx", "penstock", "unit", "ratio", "rounds", "target", ""]]
    table += [line.cells() for line in lines]
    widths = [max(len(row[i]) for row in table) for i in range(len(table[0]))]
    left = {0, 3, 7}
    for row in table:
        print("  ".join(c.ljust(w) if i in left else c.rjust(w)
                        for i, (c, w) in enumerate(zip(row, widths))).rstrip())


def options():
    here = os.path.dirname(os.path.abspath(__file__))
    p = argparse.ArgumentParser(description="Speed and memory of penstock beside nginx.")
    p.add_argument("--penstock", default=os.environ.get("PENSTOCK_BIN", "penstock"), help="the daemon")
    p.add_argument("--nginx", default=shutil.which("nginx") or "/usr/sbin/nginx")
    p.add_argument("--tools", default=here, help="where upstream and streams were built")
    p.add_argument("--quick", action="store_true", help="short rounds: within a minute")
    p.add_argument("--only", action="append", choices=ROWS, metavar="ROW", help="one of: " + ", ".join(ROWS))
    p.add_argument("--json", metavar="FILE", help="write the results there too")
    p.add_argument("--strict", action="store_true", help="fail when a target is missed")
    p.add_argument("--keep", action="store_true", help="keep the temporary directory")
    return p.parse_args()


def main():
    opts = options()
    needed = {"wrk": "wrk", "nginx": opts.nginx, "taskset": "taskset", "penstock": opts.penstock,
              "upstream": os.path.join(opts.tools, "upstream"), "streams": os.path.join(opts.tools, "streams")}
    missing = [name for name, path in needed.items() if not shutil.which(path)]
    if missing:
        note("not there: " + ", ".join(missing))
        return 1 if opts.strict else 77
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    bench = Bench(opts)
    try:
        lines, others = run(bench, [name for name in ROWS if not opts.only or name in opts.only])
    finally:
        bench.stop()
    show(lines)
    if others > 0.1:
        print(f"\nOther work took {100 * others:.0f} % of the proxies' processor: take the ratios with care.")
    if opts.json:
        with open(opts.json, "w") as f:
            json.dump({"rows": [line.record() for line in lines], "other_work": others}, f, indent=1)
            f.write("\n")
    missed = sum(line.met() is False for line in lines)
    return 1 if opts.strict and missed else 0


if __name__ == "__main__":
    sys.exit(main())
