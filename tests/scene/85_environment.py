"""No file at all: the environment alone configures a gateway. And what -t and -T say of configurations."""

import json
import os
import re
import shutil
import signal
import stat
import subprocess
import time

import scene

NOBODY = 65534


class Bare(scene.Gateway):
    """A gateway without a file. What the scene needs of it comes by environment too."""

    def __init__(self, env=None, workers=1, args=(), start=True, home=False, port=None):
        self.user = None
        super().__init__(env=None, args=args, start=False, port=port)
        os.unlink(self.conf_path)
        done = subprocess.run([scene.BIN, "-V"], capture_output=True, text=True)
        default = re.search(r"^configuration\s+(\S+)", done.stdout, re.M)[1]
        if os.path.exists(default):
            scene.skip(f"{default} exists")
        self.env.update({"PORT": str(self.port), "PENSTOCK_WORKERS": str(workers)})
        if not home:
            self.env.update({"PENSTOCK_STATE_DIR": self.path("state"), "PENSTOCK_PID_FILE": self.pid_path,
                             "PENSTOCK_LOG_TARGET": self.log_path, "PENSTOCK_STOP_TIMEOUT": "5s"})
        for name, value in (env or {}).items():
            if value is None:
                self.env.pop(name, None)
            else:
                self.env[name] = value
        if start:
            self.start()

    def command(self, *args):
        return [scene.BIN, *self.args, *args]

    def refuses(self, *texts, **env):
        """-t with some more environment fails and says all of these."""
        before = dict(self.env)
        self.env.update(env)
        done = self.run("-t")
        self.env = before
        assert done.returncode == 1, (env, done)
        for text in texts:
            assert text in done.stderr, (text, done.stderr)
        return done.stderr

    def option(self, path, **env):
        """What -T says of one option, as text."""
        before = dict(self.env)
        self.env.update(env)
        done = self.run("-T")
        self.env = before
        assert done.returncode == 0, done
        return find(done.stdout, path)


def find(yaml, path):
    """The text of a scalar at a.b.c, or a.0.b in a list, in the -T's plain YAML."""
    lines, at, indent = yaml.splitlines(), 0, 0
    for i, part in enumerate(path.split(".")):
        if part.isdigit():
            for _ in range(int(part) + 1):
                at += 1
                while not lines[at].startswith(" " * indent + "- "):
                    at += 1
            lines[at] = lines[at].replace("- ", "  ", 1)
            at -= 1
            indent += 2
        else:
            at += i > 0
            while not lines[at].startswith(" " * indent + part + ":"):
                at += 1
                assert at < len(lines), f"no {path}"
            indent += 2
    value = lines[at].split(":", 1)[1].strip()
    return json.loads(value) if value.startswith('"') else value


def providers(gw, **more):
    return {p["name"]: p for p in gw.admin("/providers", **more).json()["providers"]}


# --- providers ---


def test_a_bare_machine_answers_with_the_mock():
    gw = Bare()
    r = gw.post("/v1/chat/completions", {"messages": [{"role": "user", "content": "Hi"}]})
    assert r.status == 200 and r.json()["choices"][0]["message"]["content"] == "You said: Hi", r
    assert gw.chat("mock/mock").status == 200 and list(providers(gw)) == ["mock"]
    assert gw.admin("/config").json()["file"] == ""
    # to this machine alone
    other = f"0.0.0.0:{scene.free_port()}"
    gw.refuses("mock", PENSTOCK_LISTEN=other, API_KEY="k")
    gw.refuses("authentication", "API_KEY", PENSTOCK_LISTEN=other, OPENAI_API_KEY="k")
    gw.env.update(PENSTOCK_LISTEN=other, OPENAI_API_KEY="k", API_KEY="k")
    assert gw.run("-t").returncode == 0


def test_the_openai_variables():
    up = scene.Upstream()
    gw = Bare({"OPENAI_API_KEY": "sk-openai-1", "OPENAI_BASE_URL": up.url + "/v1", "OPENAI_ORGANIZATION": "org-9"})
    r = gw.post("/v1/chat/completions", {"messages": [{"role": "user", "content": "Hi"}]})
    assert r.status == 200 and r.headers["x-penstock-provider"] == "openai", r
    assert gw.chat("gpt-4o").status == 200 and gw.chat("openai/o3").status == 200
    got = [(x.json()["model"], x.headers["authorization"], x.headers["openai-organization"], x.path) for x in up.requests]
    assert got == [(m, "Bearer sk-openai-1", "org-9", "/v1/chat/completions") for m in ("gpt-4o-mini", "gpt-4o", "o3")], got
    assert list(providers(gw)) == ["openai"], "the mock is for those who have nothing"
    assert "sk-openai-1" not in gw.run("-T").stdout + gw.admin("/config").text


def test_base_urls_are_put_right():
    up = scene.Upstream()
    for suffix in ("", "/", "/v1", "/v1/", "/v1/v1", "/v1/chat/completions"):
        gw = Bare({"OPENAI_API_KEY": "k", "OPENAI_BASE_URL": up.url + suffix})
        assert gw.chat("gpt-4o").status == 200 and up.requests[-1].path == "/v1/chat/completions", suffix
        gw.stop()


def test_the_other_providers_variables():
    up = scene.Upstream()
    gw = Bare({"CLAUDE_API_KEY": "sk-claude", "ANTHROPIC_BASE_URL": up.url,
               "OPENROUTER_API_KEY": "sk-router", "OPENROUTER_BASE_URL": up.url + "/api/v1",
               "OPENROUTER_HEADERS_X_TITLE": "A Title", "OPENROUTER_HEADERS_REFERER": "https://example.org",
               "OPENAI_COMPATIBLE_URL": up.url + "/other/v1", "OPENAI_COMPATIBLE_KEY": "sk-compatible",
               "ENABLE_LLM_FAILOVER": "false", "MAX_RETRIES": "0"})
    assert set(providers(gw)) == {"anthropic", "openrouter", "openai_compatible"}
    gw.chat("claude-sonnet-4-5")
    r = up.requests[-1]
    assert (r.path, r.headers["x-api-key"], r.json()["model"]) == ("/v1/messages", "sk-claude", "claude-sonnet-4-5")
    gw.chat("claude")
    assert up.requests[-1].path == "/v1/messages"
    assert gw.chat("meta/llama").status == 200
    r = up.requests[-1]
    assert (r.path, r.headers["authorization"]) == ("/api/v1/chat/completions", "Bearer sk-router")
    assert (r.headers["x-title"], r.headers["http-referer"]) == ("A Title", "https://example.org")
    gw.chat("meta/llama", headers={"X-Title": "Mine", "HTTP-Referer": "https://me"})
    r = up.requests[-1]
    assert sorted(v for n, v in r.headers.list if n.lower() in ("x-title", "http-referer")) == ["Mine", "https://me"]
    assert gw.chat("openai_compatible/x").status == 200
    r = up.requests[-1]
    assert (r.path, r.headers["authorization"]) == ("/other/v1/chat/completions", "Bearer sk-compatible")


def test_two_names_for_one_thing():
    gw = Bare({"ANTHROPIC_API_KEY": "sk-first-name", "CLAUDE_API_KEY": "sk-second-name", "OPENAI_API_KEY": "sk-3",
               "LLM_PROVIDER": "claude", "PRIMARY_LLM_PROVIDER": "openai"})
    assert gw.admin("/config").json()["config"]["providers"][1]["keys"][0]["env"] == "ANTHROPIC_API_KEY"
    assert gw.admin("/config").json()["config"]["routing"]["default_provider"] == "anthropic"
    text = "".join(t for _, t in gw.log_text())
    for name in ("CLAUDE_API_KEY", "PRIMARY_LLM_PROVIDER"):
        assert re.search(rf"{name}: is not used", text), (name, text)
    assert "sk-first-name" not in text and "sk-second-name" not in text


def test_what_needs_another_variable_says_so():
    gw = Bare(start=False)
    gw.env["OPENAI_COMPATIBLE_KEY"] = "k"
    done = gw.run("-t")
    assert done.returncode == 0 and "OPENAI_COMPATIBLE_URL" in done.stderr, done
    gw.refuses("openai", "OPENAI_API_KEY", LLM_PROVIDER="openai")
    gw.refuses("LLM_PROVIDER", LLM_PROVIDER="nobody")


# --- routing ---


def test_default_model_and_provider():
    one, two = scene.Upstream(), scene.Upstream()
    keys = {"OPENAI_API_KEY": "k", "OPENAI_BASE_URL": one.url, "OPENROUTER_API_KEY": "k",
            "OPENROUTER_BASE_URL": two.url + "/api/v1"}
    nothing = {"messages": [{"role": "user", "content": "Hi"}]}
    gw = Bare({**keys, "LLM_MODEL": "gpt-4.1"})
    assert gw.post("/v1/chat/completions", nothing).headers["x-penstock-model"] == "gpt-4.1"
    assert one.requests[-1].json()["model"] == "gpt-4.1"
    gw.stop()
    gw = Bare({**keys, "LLM_PROVIDER": "OpenRouter"})
    r = gw.post("/v1/chat/completions", nothing)
    assert (r.headers["x-penstock-provider"], r.headers["x-penstock-model"]) == ("openrouter", "openai/gpt-4o-mini"), r.headers
    for whole in ("openai/gpt-4o", "anthropic/claude-3.5-sonnet:beta"):
        assert gw.chat(whole).headers["x-penstock-provider"] == "openrouter"
        assert two.requests[-1].json()["model"] == whole
    gw.stop()
    gw = Bare({**keys, "PRIMARY_LLM_PROVIDER": "openai", "LLM_MODEL": "something-new"})
    assert gw.post("/v1/chat/completions", nothing).headers["x-penstock-provider"] == "openai"
    assert one.requests[-1].json()["model"] == "something-new"


def test_failover_between_providers():
    bad, good = scene.Upstream(scene.status_script(500)), scene.Upstream()
    keys = {"OPENAI_API_KEY": "k", "OPENAI_BASE_URL": bad.url, "OPENROUTER_API_KEY": "k",
            "OPENROUTER_BASE_URL": good.url + "/api/v1", "MAX_RETRIES": "0"}
    for said, status in ((None, 200), ("true", 200), ("false", 500), ("0", 500)):
        gw = Bare({**keys, "ENABLE_LLM_FAILOVER": said})
        r = gw.chat("gpt-4o")
        assert r.status == status, (said, r)
        if status == 200:
            assert r.headers["x-penstock-provider"] == "openrouter", r.headers
        gw.stop()


def test_retries():
    up = scene.Upstream(scene.status_script(500))
    base = {"OPENAI_API_KEY": "k", "OPENAI_BASE_URL": up.url}
    for tries in (0, 2):
        up.requests.clear()
        gw = Bare({**base, "MAX_RETRIES": str(tries), "INITIAL_BACKOFF": "200", "MAX_BACKOFF": "300", "JITTER": "0",
                   "BACKOFF_FACTOR": "10"})
        begin = time.monotonic()
        assert gw.chat("gpt-4o").status == 500
        assert len(up.requests) == 1 + tries and time.monotonic() - begin >= (0.5 if tries else 0)
        gw.stop()
    gw = Bare(base, start=False)
    more = {"MAX_RETRIES": "7", "INITIAL_BACKOFF": "250", "MAX_BACKOFF": "2000", "BACKOFF_FACTOR": "1.5", "JITTER": "1.0"}
    gw.env.update(more)
    assert gw.option("providers.0.retry.max") == "7"
    assert gw.option("providers.0.retry.initial_backoff") == "250ms"
    assert gw.option("providers.0.retry.max_backoff") == "2s"
    assert float(gw.option("providers.0.retry.factor")) == 1.5 and float(gw.option("providers.0.retry.jitter")) == 1
    for name in more:
        gw.refuses(name, **{name: "lots"})
    gw.refuses("JITTER", JITTER="1.5")


# --- auth and limits ---


def test_api_key_makes_authentication():
    gw = Bare({"API_KEY": "sk-gateway-secret"})
    assert gw.chat("mock").status == 401 and gw.admin("/workers").status == 401
    for headers in ({"authorization": "Bearer sk-gateway-secret"}, {"x-api-key": "sk-gateway-secret"}):
        assert gw.chat("mock", headers=headers).status == 200
        assert gw.admin("/workers", headers=headers).status == 200
    r = gw.admin("/config", headers=headers)
    assert r.json()["config"]["auth"]["keys"][0]["key"] == {"env": "API_KEY"} and "sk-gateway-secret" not in r.text
    scene.wait_for(lambda: gw.log("response"), "the lines")
    assert {x["key"] for x in gw.log("response")} == {"api-key"}
    assert not any("sk-gateway-secret" in t for _, t in gw.log_text())


def test_rate_limits_of_the_environment():
    gw = Bare({"RATE_LIMIT_REQUESTS_PER_MINUTE": "4"}, workers=2)
    got = [gw.chat("mock").status for _ in range(6)]
    assert got == [200] * 4 + [429] * 2, got
    gw.stop()
    gw = Bare({"RATE_LIMIT_TOKENS_PER_MINUTE": "100", "API_KEY": "k"})
    got = [gw.chat("mock", text="word " * 200, headers={"x-api-key": "k"}) for _ in range(2)]
    assert [r.status for r in got] == [200, 429], got  # more than a minute's worth passes when nothing was used
    assert got[1].headers["x-ratelimit-limit-tokens"] == "100", got[1].headers
    gw.stop()
    gw.refuses("RATE_LIMIT_REQUESTS_PER_MINUTE", RATE_LIMIT_REQUESTS_PER_MINUTE="many")


# --- options by their names ---


def test_every_scalar_has_its_variable():
    gw = Bare(start=False)
    rows = [("PENSTOCK_LIMITS_CONCURRENT", "17", "limits.concurrent", "17"),
            ("PENSTOCK_LIMITS_MAX_REQUEST_BODY", "5MiB", "limits.max_request_body", "5MiB"),
            ("PENSTOCK_DRAIN_TIMEOUT", "90s", "drain_timeout", "90s"),
            ("PENSTOCK_CACHE_ENABLED", "yes", "cache.enabled", "true"),
            ("CACHE_ENABLED", "true", "cache.enabled", "true"), ("ENABLE_LLM_CACHING", "1", "cache.enabled", "true"),
            ("CACHE_TTL", "90", "cache.ttl", "90s"), ("PENSTOCK_CACHE_TTL", "2h", "cache.ttl", "2h"),
            ("PENSTOCK_CACHE_SCOPE", "GLOBAL", "cache.scope", "global"),
            ("CACHE_SIMILARITY_THRESHOLD", "0.9", "cache.semantic.threshold", "0.9"),
            ("CACHE_SIMILARITY_THRESHOLD", "0.9", "cache.semantic.enabled", "true"),
            ("CACHE_SIMILARITY_THRESHOLD", "0.9", "cache.enabled", "true"),
            ("PENSTOCK_CACHE_SEMANTIC_THRESHOLD", "0.9", "cache.semantic.enabled", "false"),
            ("PENSTOCK_CACHE_MAX_SIZE", "2GiB", "cache.max_size", "2GiB"),
            ("DEFAULT_ROUTING_STRATEGY", "round_robin", "routing.default_strategy", "round-robin"),
            ("PENSTOCK_ROUTING_FALLBACK", "off", "routing.fallback", "false"),
            ("LOG_LEVEL", "WARNING", "log.level", "warn"), ("LOG_LEVEL", "Debug", "log.level", "debug"),
            ("DEBUG", "true", "log.level", "debug"), ("DEBUG", "false", "log.level", "info"),
            ("PENSTOCK_LOG_FORMAT", "TEXT", "log.format", "text"), ("PENSTOCK_LOG_ACCESS", "no", "log.access", "false")]
    for name, value, path, want in rows:
        got = gw.option(path, **{name: value})
        assert got == want, (name, value, got)
    for name, value in (("PENSTOCK_LIMITS_CONCURRENT", "-1"), ("PENSTOCK_CACHE_TTL", "soon"), ("PORT", "0x50"),
                        ("PORT", "70000"), ("CACHE_SIMILARITY_THRESHOLD", "0.3"), ("PENSTOCK_LISTEN", "nowhere"), ("LOG_LEVEL", "loud"), ("DEBUG", "perhaps"),
                        ("CACHE_ENABLED", "perhaps"), ("PENSTOCK_WORKERS", "0")):
        gw.refuses(name, **{name: value})
    text = gw.refuses("PENSTOCK_CACHE_TTL", "LOG_LEVEL", "DEBUG", PENSTOCK_CACHE_TTL="soon", LOG_LEVEL="loud", DEBUG="x")
    assert text.count("\n") >= 3, "all of them, not only the first"
    gw.env["PENSTOCK_LIMITS_CONCURENT"] = "5"
    done = gw.run("-t")
    assert done.returncode == 0 and "did you mean PENSTOCK_LIMITS_CONCURRENT" in done.stderr, done


def test_ports_and_addresses():
    gw = Bare()
    assert gw.get("/livez").status == 200
    with open(f"/proc/{gw.pid}/net/tcp") as f:
        mine = [x.split()[1] for x in f if x.split()[1].endswith(":%04X" % gw.port)]
    assert mine and all(x.startswith("0100007F:") for x in mine), mine
    gw.stop()
    other = scene.free_port()
    gw = Bare({"PENSTOCK_LISTEN": f"127.0.0.1:{other}"}, start=False)
    unused, gw.port = gw.port, other
    gw.start()
    assert gw.get("/livez").status == 200
    assert any("PORT: is not used" in t for _, t in gw.log_text())
    gw.port = unused
    try:
        gw.get("/livez")
        raise AssertionError("PORT was used too")
    except OSError:
        pass


def test_a_file_comes_before_the_environment():
    up = scene.Upstream()
    gw = scene.Gateway({"providers": [up.provider("openai", kind="openai", key="from-file")], "cache": {"ttl": "5m"}},
                       env={"OPENAI_API_KEY": "from-env", "CACHE_TTL": "7", "CACHE_ENABLED": "true", "ANTHROPIC_API_KEY": "k",
                            "MAX_RETRIES": "0"})
    conf = gw.admin("/config").json()["config"]
    assert conf["cache"]["ttl"] == "5m" and conf["cache"]["enabled"] is True
    assert [p["name"] for p in conf["providers"]] == ["openai"] and conf["providers"][0]["retry"]["max"] == 0
    assert gw.chat("gpt-4o").status == 200 and up.requests[-1].headers["authorization"] == "Bearer from-file"
    assert any("CACHE_TTL: is not used" in t for _, t in gw.log_text())


# --- .env ---


def test_env_file_and_rotation():
    up = scene.Upstream()
    gw = Bare(start=False)
    gw.args = ["--env-file", gw.path("my.env")]

    def write(key, more=""):
        with open(gw.path("my.env"), "w") as f:
            f.write(f"""# keys
export OPENAI_API_KEY={key}   # the first
OPENAI_BASE_URL="{up.url}/v1"
OPENAI_ORGANIZATION='org # one'

LOG_LEVEL=debug
{more}""")
    write("sk-old-key", "RATE_LIMIT_REQUESTS_PER_MINUTE=100000\n")
    gw.start()
    assert gw.chat("gpt-4o").status == 200
    r = up.requests[-1]
    assert (r.headers["authorization"], r.headers["openai-organization"]) == ("Bearer sk-old-key", "org # one")
    assert gw.admin("/config").json()["config"]["auth"]["default_limits"]["requests_per_minute"] == 100000
    with open(f"/proc/{gw.pid}/environ") as f:
        assert "sk-old-key" not in f.read()
    write("sk-new-key")
    n = len(gw.workers())
    gw.signal(signal.SIGHUP)
    scene.wait_for(lambda: gw.chat("gpt-4o").status == 200 and
                   up.requests[-1].headers["authorization"] == "Bearer sk-new-key", "the new key")
    gw.wait_workers(n, generation=2)
    assert gw.admin("/config").json()["config"]["auth"]["default_limits"]["requests_per_minute"] is None, "it left the file"
    write("sk-bad-key", 'WHAT IS THIS\nX="open\n')
    gw.signal(signal.SIGHUP)
    lines = gw.wait_log("generation 2 goes on", "reload") and "\n".join(x["message"] for x in gw.log("reload"))
    assert "my.env:7:1: expected NAME=value" in lines and "my.env:8:" in lines, lines
    assert gw.chat("gpt-4o").status == 200 and up.requests[-1].headers["authorization"] == "Bearer sk-new-key"
    os.unlink(gw.path("my.env"))
    r = gw.admin("/reload", "POST")
    assert r.status == 422 and "my.env" in r.json()["error"]["message"], r
    assert not any(k in t for _, t in gw.log_text() for k in ("sk-old-key", "sk-new-key", "sk-bad-key"))


def test_the_real_environment_wins_over_the_file():
    gw = Bare({"CACHE_TTL": "5", "OPENAI_API_KEY": "k"}, start=False)
    with open(gw.path("e"), "w") as f:
        f.write("CACHE_TTL=9\nCACHE_ENABLED=true\nCACHE_ENABLED=false\nPENSTOCK_DRAIN_TIMEOUT = 33s\r\n")
    gw.args = ["-e", gw.path("e")]
    assert gw.option("cache.ttl") == "5s" and gw.option("drain_timeout") == "33s"
    assert gw.option("cache.enabled") == "false", "the last one of a file"
    gw.args = ["-e", gw.path("nothing")]
    gw.refuses("nothing")


def test_dot_env_of_the_directory():
    up = scene.Upstream()
    gw = Bare(start=False)
    with open(gw.path(".env"), "w") as f:
        f.write(f"OPENAI_API_KEY=sk-dot\nOPENAI_BASE_URL={up.url}\n")
    gw.start()  # in the foreground
    assert gw.chat("gpt-4o").status == 200 and up.requests[-1].headers["authorization"] == "Bearer sk-dot"
    assert gw.option("providers.0.name") == "mock", "not without -f"
    gw.stop()
    other = scene.Gateway(start=False)
    shutil.copy(gw.path(".env"), other.path(".env"))
    other.start()
    assert list(providers(other)) == ["mock"], "a file was given"


# --- -t and -T ---


def test_all_errors_with_their_places_and_the_nearest_key():
    gw = scene.Gateway(start=False)
    text = """listen: 127.0.0.1:8080
wrokers: 4
drain_timeout: 5 minutes
providers:
  - name: openai
    kind: opnai
    keys: {value: sk-in-the-file}
    retry: {max: -1, jiter: 0.5}
  - name: two
    kind: mock
    limits:
      requests_per_minut: 5
models:
  - name: m
    targets: [{provider: tow, model: x}]
    strategy: cheapest
    fallbacks: [n]
  - name: n
    targets: [{provider: two}]
    fallbacks: [m]
cache:
  enabled: perhaps
  max_size: 12
  tll: 5m
log: [a, b]
auth:
  keys:
    - {id: a, hash: "sha256:12"}
"""
    gw.write_conf(text)
    done = gw.run("-t")
    assert done.returncode == 1 and done.stdout == "", done
    want = [(2, 1, "wrokers", "workers"), (3, 16, "drain_timeout", None), (6, 11, "providers[0].kind", "openai"),
            (8, 18, "providers[0].retry.max", None), (8, 22, "providers[0].retry.jiter", "jitter"),
            (12, 7, "providers[1].limits.requests_per_minut", "requests_per_minute"),
            (15, 26, "models[0].targets[0].provider", "two"), (16, 15, "models[0].strategy", None),
            (22, 12, "cache.enabled", None), (23, 13, "cache.max_size", None), (24, 3, "cache.tll", "ttl"),
            (25, 6, "log", None), (28, 21, "auth.keys[0].hash", None)]
    missing = []
    for line, column, path, nearest in want:
        found = [x for x in done.stderr.splitlines() if f"penstock.yaml:{line}:{column}: {path}: " in x]
        if not found or (nearest and f"did you mean {nearest}?" not in found[0]):
            missing.append((line, column, path, nearest))
    assert not missing, (missing, done.stderr)
    assert "circle" in done.stderr and "sk-in-the-file" not in done.stderr
    for broken, place in (("a: [1, 2\nb: 3\n", ":2:"), ("a: b: c\n", ":1:"), ("x: &a [*a]\n", ":1:"), ("- 1\n", ":1:1")):
        gw.write_conf(broken)
        done = gw.run("-t")
        assert done.returncode == 1 and f"penstock.yaml{place}" in done.stderr, (broken, done)
    gw.write_conf("workers: 1\nworkers: 2\n")
    done = gw.run("-t")
    assert done.returncode == 1 and ":2:1: workers" in done.stderr, done
    os.unlink(gw.conf_path)
    done = gw.run("-t")
    assert done.returncode == 1 and gw.conf_path in done.stderr, done


def test_included_files_have_their_own_places():
    gw = scene.Gateway(start=False)
    os.mkdir(gw.path("conf.d"))
    with open(gw.path("conf.d/a.yaml"), "w") as f:
        f.write("providers:\n  - name: mock\n    kind: mok\n")
    gw.write_conf("include: conf.d/*.yaml\nworkers: 2\n")
    done = gw.run("-t")
    assert done.returncode == 1 and "conf.d/a.yaml:3:11: providers[0].kind: " in done.stderr, done


def test_what_is_dumped_loads_again_and_says_the_same():
    up = scene.Upstream()
    gw = scene.Gateway({
        "providers": [up.provider("one", keys=[{"env": "UP_KEY"}], headers={"X-Thing": "a ${NOT_THIS:-b} \"c\""},
                                  timeouts={"total": "90s"}), {"name": "mock", "kind": "mock", "enabled": False}],
        "models": [{"name": "m: 'odd' #name", "targets": [{"provider": "one", "model": "x"}], "fallbacks": ["one/y"],
                    "prices": {"input": 2.5, "output": 0.001}}],
        "auth": {"keys": [{"id": "a", "hash": "sha256:" + "ab" * 32, "models": ["*"], "expires": "2031-01-01"}]},
        "cache": {"enabled": True, "ttl": "90m"}, "limits": {"requests_per_minute": 120}},
        env={"UP_KEY": "k"}, start=False)
    first = gw.run("-T")
    assert first.returncode == 0 and "UP_KEY" in first.stdout, first
    gw.write_conf(first.stdout)
    second = gw.run("-T")
    assert second.returncode == 0 and second.stdout == first.stdout, second
    assert gw.run("-t").returncode == 0
    bare = Bare({"OPENAI_API_KEY": "k", "API_KEY": "g"}, start=False)
    gw.env.update({"OPENAI_API_KEY": "k", "API_KEY": "g"})
    text = bare.run("-T").stdout
    gw.write_conf(text)
    assert gw.run("-T").stdout == text


# --- who is not root ---


def test_somebody_who_is_not_root_has_it_at_home():
    as_nobody = {"user": NOBODY, "group": NOBODY, "extra_groups": []} if os.geteuid() == 0 else {}
    for name in ("HOME", "XDG_STATE_HOME"):
        gw = Bare(start=False, home=True)
        home = gw.path("home")
        os.mkdir(home)
        if as_nobody:
            os.chown(home, NOBODY, NOBODY)
            try:
                subprocess.run([scene.BIN, "-V"], capture_output=True, check=True, **as_nobody)
            except (OSError, subprocess.CalledProcessError):
                scene.skip("the binary cannot be run by nobody")
        gw.env.update({"HOME": home, name: home})
        with open(gw.stderr_path, "ab") as err:
            gw.process = subprocess.Popen(gw.command("-f"), env=gw.env, cwd="/", stdin=subprocess.DEVNULL, stdout=err,
                                          stderr=err, **as_nobody)
        gw.wait_ready()
        assert gw.chat("mock").status == 200
        state = os.path.join(home, "penstock" if name != "HOME" else ".local/state/penstock")
        scene.wait_for(lambda: os.path.exists(os.path.join(state, "ledger")), f"{state}/ledger")
        assert stat.S_IMODE(os.stat(state).st_mode) & 0o077 == 0
        for root, _, files in os.walk(state):
            for f in files:
                assert stat.S_IMODE(os.stat(os.path.join(root, f)).st_mode) & 0o077 == 0, (root, f)
        scene.wait_for(lambda: gw.admin("/usage").json()["total"]["requests"] == 1, "the ledger")
        gw.stop()


if __name__ == "__main__":
    scene.main()
