"""S4, the cost-aware gateway: questions as plain text, tasks that pick the route, ceilings of cost, dry runs, estimates with
alternatives, tenants, and errors that a person can act on."""

import os
import re
import signal

import scene

EXAMPLES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "conf", "examples")
ASK = "What is the capital of France?"


def gemini(a):
    a.whole(200, {"candidates": [{"content": {"role": "model", "parts": [{"text": "Paris, says Gemini."}]}, "finishReason": "STOP"}],
                  "usageMetadata": {"promptTokenCount": 9, "candidatesTokenCount": 5, "totalTokenCount": 14}})


def anthropic(a):
    a.whole(200, {"id": "msg_1", "type": "message", "role": "assistant", "model": a.request.json()["model"],
                  "content": [{"type": "text", "text": "Paris, says Claude."}], "stop_reason": "max_tokens", "stop_sequence": None,
                  "usage": {"input_tokens": 11, "output_tokens": 4}})


def uncounted(a):
    reply = scene.chat_reply(a.request.json()["model"], "Paris, uncounted.")
    del reply["usage"]
    a.whole(200, reply)


class World:
    def __init__(self, workers=2, env=None, **more):
        self.up = {"openai": scene.Upstream(), "gemini": scene.Upstream(gemini), "mistral": scene.Upstream(),
                   "anthropic": scene.Upstream(anthropic)}
        conf = {"providers": [u.provider(n, n, retry={"max": 0}) for n, u in self.up.items()],
                "routing": {"tasks": {"summarization": ["mistral/mistral-small-latest", "openai/gpt-4o-mini"],
                                      "translation": ["gemini"]}}}
        self.gw = scene.Gateway({**conf, **more}, workers=workers, env=env)

    def query(self, path="/api/query", headers=None, **body):
        return self.gw.post(path, {"query": ASK, **body}, headers=headers)

    def gateway(self, **more):
        return self.query("/v1/gateway/query", **more)

    def asked(self):
        return sum(len(u.requests) for u in self.up.values())

    def rows(self, group, headers=None):
        return {r[group]: r for r in self.gw.admin("/usage?group_by=" + group, headers=headers).json()["rows"]}


def is_sentence(text):
    return isinstance(text, str) and text[0].isupper() | (text[0] in "`$") and text[-1] in ".!?" and " " in text


def refused(r, status, kind):
    e = r.json()
    assert r.status == status and e["type"] == kind and is_sentence(e["error"]), (status, kind, r)
    return e


def test_model_values_name_providers():
    w = World()
    for model, provider, text, tokens in (("openai", "openai", "Hello there.", (7, 3)), ("gemini", "gemini", "Paris, says Gemini.", (9, 5)),
                                          ("mistral", "mistral", "Hello there.", (7, 3)), ("claude", "anthropic", "Paris, says Claude.", (11, 4)),
                                          ("OpenAI", "openai", "Hello there.", (7, 3)), (None, "openai", "Hello there.", (7, 3))):
        for path in ("/api/query", "/v1/gateway/query"):
            r = w.query(path, model=model)
            a = r.json()
            assert r.status == 200 and (a["response"], a["provider"]) == (text, provider), (model, r)
            assert (a["input_tokens"], a["output_tokens"], a["total_tokens"], a["num_tokens"]) == (*tokens, sum(tokens), sum(tokens)), a
            assert a["tokens_estimated"] is False and a["cached"] is False and a["task_type"] is None, a
            assert a["request_id"] == r.headers["x-request-id"] and a["model"] == r.headers["x-penstock-model"], a
            assert a["cost_usd"] > 0 and f"{a['cost_usd']:.9f}".rstrip("0") == r.headers["x-penstock-cost-usd"].rstrip("0"), a
            assert isinstance(a["response_time_ms"], int) and 0 <= a["response_time_ms"] < 60000
    assert w.up["openai"].requests[-1].json()["messages"] == [{"role": "user", "content": ASK}]
    assert w.query(model="claude").json()["finish_reason"] == "length"
    assert w.query(model="openai", max_tokens=9, temperature=0.25).status == 200
    sent = w.up["openai"].requests[-1].json()
    assert sent["temperature"] == 0.25 and 9 in (sent.get("max_tokens"), sent.get("max_completion_tokens")), sent


def test_the_gateways_answer_has_cost_and_metrics():
    w = World()
    a = w.gateway(model="openai", model_version="gpt-4o", task_type="question_answering").json()
    assert (a["model"], a["task_type"]) == ("gpt-4o", "question_answering"), a
    c = a["cost"]
    assert abs(c["input_usd"] - 7 * 2.5e-6) < 1e-12 and abs(c["output_usd"] - 3 * 10e-6) < 1e-12, c
    assert abs(c["actual_usd"] - c["input_usd"] - c["output_usd"]) < 1e-12 and c["actual_usd"] == a["cost_usd"], c
    assert c["estimated_usd"] > 0
    m = a["metrics"]
    assert m["attempts"] == 1 and m["fallback_used"] is False and m["cache"] == "bypass" and m["latency_ms"] == a["response_time_ms"], m
    assert w.gateway(model_version="claude-3-opus").json()["provider"] == "anthropic"
    w.up["openai"].next(scene.status_script(500))
    a = w.gateway(model="openai").json()
    assert a["metrics"]["fallback_used"] is True and a["metrics"]["attempts"] == 2 and a["provider"] != "openai", a
    # no price known: no cost, which is not a cost of 0
    a = w.gateway(model="openai", model_version="of-no-table").json()
    assert a["cost_usd"] is None and a["cost"] == {"estimated_usd": None, "actual_usd": None, "input_usd": None, "output_usd": None}, a
    # no counts given: estimated, and said so
    w.up["openai"].next(uncounted)
    a = w.query(model="openai").json()
    assert a["tokens_estimated"] is True and a["input_tokens"] > 0 and a["num_tokens"] == a["input_tokens"] + a["output_tokens"], a


def test_tasks_pick_the_route():
    w = World()
    assert w.query(task_type="summarization").json()["provider"] == "mistral"
    assert w.up["mistral"].requests[-1].json()["model"] == "mistral-small-latest"
    assert w.query(task_type="Summarization").json()["task_type"] == "Summarization"
    assert w.query(task_type="translation").json()["provider"] == "gemini"  # one of the configuration's own
    for task in ("text_generation", "sentiment_analysis", "question_answering"):  # without a route: the default
        assert w.query(task_type=task).json()["provider"] == "openai", task
    assert w.query(task_type="summarization", model="claude").json()["provider"] == "anthropic"  # the model comes first
    w.up["mistral"].next(scene.status_script(500))
    assert w.gateway(task_type="summarization").json()["model"] == "gpt-4o-mini"
    e = refused(w.query(task_type="poetry"), 400, "invalid_request")
    assert "poetry" in e["error"] and "summarization" in e["error"] and "translation" in e["error"] and e["param"] == "task_type", e


def test_request_ids():
    w = World()
    r = w.query(request_id="My.id_1-2")
    assert r.json()["request_id"] == "My.id_1-2" and r.headers["x-request-id"] == "My.id_1-2"
    assert w.query(request_id="mine", headers={"x-request-id": "theirs"}).headers["x-request-id"] == "mine"
    assert w.query(headers={"x-request-id": "theirs"}).json()["request_id"] == "theirs"
    for bad in ("", "a b", "x" * 129, "ä", "a\nb", "a/b"):
        e = refused(w.query(request_id=bad), 400, "invalid_request")
        assert e["param"] == "request_id", e
    assert w.query(request_id="x" * 128).status == 200
    scene.wait_for(lambda: "My.id_1-2" in {r.get("request_id") for r in w.gw.log("response")}, "its line in the log")
    e = refused(w.query(request_id="mine-too", model="nobody"), 404, "model_not_found")
    assert e["request_id"] == "mine-too"
    e = refused(w.query(request_id="and-mine", query=""), 400, "invalid_request")
    assert e["request_id"] == "and-mine"


def test_dry_runs_ask_nobody():
    w = World(cache={"enabled": True})
    r = w.gateway(model="claude", dry_run=True, expected_response_tokens=1000)
    a = r.json()
    assert r.status == 200 and a["dry_run"] is True and a["response"] is None and a["provider"] == "anthropic", a
    assert a["tokens_estimated"] is True and a["output_tokens"] == 1000 and a["cost_usd"] == 0 and a["cost"]["actual_usd"] == 0, a
    assert a["cost"]["estimated_usd"] > 0
    assert abs(a["cost"]["input_usd"] + a["cost"]["output_usd"] - a["cost"]["estimated_usd"]) < 1e-12, a
    assert a["metrics"]["attempts"] == 0
    assert w.asked() == 0
    assert w.query(model="claude").json()["cached"] is False  # nothing of it was kept
    assert w.gateway(model="claude", dry_run=True).json()["response"] is None  # and nothing is looked up
    refused(w.gateway(model="openai", model_version="gpt-4", dry_run=True, query="word " * 60000), 400, "context_length_exceeded")
    refused(w.gateway(model="claude", dry_run=True, max_cost_usd=0), 402, "cost_limit_exceeded")
    refused(w.gateway(model="nobody", dry_run=True), 404, "model_not_found")
    assert w.asked() == 1
    rows = scene.wait_for(lambda: (g := w.rows("provider")).get("anthropic") and g, "the ledger")
    assert rows["anthropic"]["requests"] == 1 and rows["anthropic"]["input_tokens"] == 11, rows


def test_ceilings_of_cost():
    w = World(routing={"tasks": {"summarization": ["openai/gpt-4", "openai/gpt-4o-mini"]}})
    e = refused(w.gateway(model="openai", model_version="gpt-4", max_cost_usd=0.000001), 402, "cost_limit_exceeded")
    assert "max_cost_usd" in e["error"] and "$" in e["error"], e
    assert w.asked() == 0
    # a cheaper one of the route fits
    a = w.gateway(task_type="summarization", max_cost_usd=0.005, expected_response_tokens=200).json()
    assert a["model"] == "gpt-4o-mini" and a["metrics"]["fallback_used"] is True and a["metrics"]["attempts"] == 1, a
    assert a["cost"]["estimated_usd"] <= 0.005
    assert w.gateway(task_type="summarization", max_cost_usd=1).json()["model"] == "gpt-4"
    # a header does not lift it, and the lower of two counts
    for more in ({"headers": {"x-penstock-routing": '{"max_cost_usd": 5}'}}, {"routing": {"max_cost_usd": 5}}):
        refused(w.gateway(model="openai", model_version="gpt-4", max_cost_usd=0.000001, **more), 402, "cost_limit_exceeded")
    refused(w.gateway(model="openai", max_cost_usd=5, routing={"max_cost_usd": 0.0000001}), 402, "cost_limit_exceeded")
    for bad in (-1, "0.1", True, 1e99, [1]):
        refused(w.gateway(max_cost_usd=bad), 400, "invalid_request")


def test_estimates_with_alternatives():
    w = World()
    r = w.gw.post("/v1/gateway/cost-estimate", {"query": "word " * 400, "model": "openai", "model_version": "gpt-4o",
                                                "expected_response_tokens": 250})
    e = r.json()
    assert r.status == 200 and (e["model"], e["provider"], e["output_tokens"]) == ("gpt-4o", "openai", 250), r
    assert 300 < e["input_tokens"] < 700 and e["tokens_estimated"] is True and e["num_tokens"] == e["input_tokens"] + 250, e
    assert abs(e["cost"]["input_usd"] - e["input_tokens"] * 2.5e-6) < 1e-9 and abs(e["cost"]["output_usd"] - 250 * 10e-6) < 1e-9, e
    assert abs(e["cost"]["estimated_usd"] - e["cost"]["input_usd"] - e["cost"]["output_usd"]) < 1e-12
    others = {a["provider"]: a for a in e["alternatives"]}
    assert set(others) == {"gemini", "mistral", "anthropic"}, e
    for a in others.values():
        assert a["output_tokens"] == 250 and a["cost"]["estimated_usd"] > 0 and a["available"] is True, a
    e = w.gw.post("/v1/gateway/cost-estimate", {"query": ASK, "task_type": "summarization"}).json()
    assert e["model"] == "mistral-small-latest" and [a["model"] for a in e["alternatives"]][0] == "gpt-4o-mini", e
    assert e["output_tokens"] > 0  # by what answers take
    e = w.gw.post("/v1/gateway/cost-estimate", {"query": ASK, "model_version": "openai/of-no-table"}).json()
    assert e["cost"] == {"estimated_usd": None, "input_usd": None, "output_usd": None}, e
    assert w.asked() == 0
    for body in ({}, {"query": 1}, {"query": ASK, "expected_response_tokens": -1}, {"query": ASK, "expected_response_tokens": 1.5},
                 {"query": ASK, "expected_response_tokens": 1e30}, {"query": ASK, "model": 7}, "nonsense", [], ""):
        refused(w.gw.post("/v1/gateway/cost-estimate", body), 400, "invalid_request")
    refused(w.gw.post("/v1/gateway/cost-estimate", {"query": ASK, "model": "nobody"}), 404, "model_not_found")


def test_tasks_name_models_as_clients_do():
    w = World(routing={"tasks": {"summarization": ["gpt-4", "claude-3-haiku", "mistral"]}})
    e = w.gw.post("/v1/gateway/cost-estimate", {"query": ASK, "task_type": "summarization", "expected_response_tokens": 100}).json()
    assert [e["model"], *(a["model"] for a in e["alternatives"][:2])] == ["gpt-4", "claude-3-haiku", "mistral-small-latest"], e
    a = w.gateway(task_type="summarization", max_cost_usd=0.001, expected_response_tokens=100).json()
    assert (a["provider"], a["model"]) == ("anthropic", "claude-3-haiku"), a
    w.up["openai"].default = scene.status_script(500)
    assert w.query(task_type="summarization").json()["provider"] == "anthropic"


def test_tenants():
    keys = [{"id": "free", "key": {"value": "k-free"}}, {"id": "owned", "key": {"value": "k-owned"}, "tenant": "red"},
            {"id": "lists", "key": {"value": "k-lists"}, "tenant": "red", "tenants": ["blue", "green"]},
            {"id": "boss", "key": {"value": "k-boss"}, "permissions": ["completion", "admin"]}]
    w = World(auth={"keys": keys}, tenants=[{"id": "small", "limits": {"requests_per_minute": 2}}],
              cache={"enabled": True, "scope": "tenant"})

    def tenant(key, name, **more):
        r = w.gateway(headers={"X-API-Key": key}, tenant=name, **more)
        assert r.status == 200, r
        return r.json()["tenant"], r.headers.get("x-penstock-dropped"), r.json()["cached"]

    assert tenant("k-owned", "red") == ("red", None, False)
    assert tenant("k-free", "red") == ("red", None, False)  # its account, but not its cache
    assert tenant("k-free", "red") == ("red", None, True)
    assert tenant("k-free", "pink") == ("pink", None, False)
    assert tenant("k-owned", "blue")[:2] == ("red", "tenant")
    assert tenant("k-lists", "blue")[:2] == ("blue", None)
    assert tenant("k-lists", "pink")[:2] == ("red", "tenant")
    assert tenant("k-free", None)[:2] == (None, None)
    for _ in range(2):
        assert tenant("k-free", "small", query="Another one, please?")[0] == "small"
    e = refused(w.gateway(headers={"X-API-Key": "k-free"}, tenant="small"), 429, "rate_limit_exceeded")
    assert "Try again in" in e["error"], e
    for bad in (7, "x" * 129, "a\tb"):
        refused(w.gateway(headers={"X-API-Key": "k-free"}, tenant=bad), 400, "invalid_request")
    rows = scene.wait_for(lambda: (g := w.rows("tenant", {"X-API-Key": "k-boss"})).get("small", {}).get("requests", 0) >= 2 and g, "rows")
    assert rows["red"]["requests"] == 5 and rows["pink"]["requests"] == 1 and rows["blue"]["requests"] == 1, rows


def test_the_cache():
    w = World(workers=3, cache={"enabled": True})
    first = w.gateway(model="openai", request_id="one").json()
    assert first["cached"] is False and first["metrics"]["cache"] == "miss", first
    hit = w.gateway(model="openai", request_id="two", max_cost_usd=1, expected_response_tokens=5).json()  # no part of the question
    assert hit["response"] == first["response"] and hit["request_id"] == "two" and hit["metrics"]["cache"] == "hit", hit
    assert hit["cost_usd"] == 0 and hit["cost"]["actual_usd"] == 0 and hit["cost"]["input_usd"] == 0, hit
    assert (hit["input_tokens"], hit["output_tokens"], hit["provider"], hit["model"]) == (7, 3, "openai", first["model"]), hit
    assert len(w.up["openai"].requests) == 1
    assert w.gateway(model="claude").json()["cached"] is False
    assert w.gateway(model="openai", temperature=0.5).json()["cached"] is False


def test_status():
    w = World()
    r = w.gw.get("/api/status")
    rows = {p["name"]: p for p in r.json()["providers"]}
    assert r.status == 200 and list(rows) == ["openai", "gemini", "mistral", "claude"], r
    assert all(p["available"] is True and is_sentence(p["reason"]) for p in rows.values()), rows
    assert rows["claude"]["provider"] == "anthropic" and rows["openai"]["model"] == "gpt-4o-mini"
    assert w.gw.admin("/providers/gemini/drain", "POST").status == 200
    rows = {p["name"]: p for p in w.gw.get("/api/status").json()["providers"]}
    assert rows["gemini"]["available"] is False and is_sentence(rows["gemini"]["reason"]), rows
    up = scene.Upstream(scene.status_script(401))
    gw = scene.Gateway({"providers": [up.provider("openai", "openai"), up.provider("own")]})
    assert gw.post("/api/query", {"query": ASK, "model": "openai"}).status in (200, 502)
    rows = {p["name"]: p for p in gw.get("/api/status").json()["providers"]}
    assert list(rows) == ["openai", "gemini", "mistral", "claude", "own"], rows
    assert rows["claude"] == {"name": "claude", "provider": None, "available": False, "status": "not_configured",
                              "reason": rows["claude"]["reason"], "model": None}
    assert rows["openai"]["available"] is False and is_sentence(rows["openai"]["reason"]), rows


def test_bad_requests_are_told_in_sentences():
    w = World(limits={"max_request_body": "64KiB"})
    for path in ("/api/query", "/v1/gateway/query"):
        for body, param in (({}, "query"), ({"query": None}, "query"), ({"query": ""}, "query"), ({"query": " \n\t "}, "query"),
                            ({"query": 3}, "query"), ({"query": ["a"]}, "query"), ({"query": ASK, "model": 3}, "model"),
                            ({"query": ASK, "task_type": []}, "task_type"), ({"query": ASK, "dry_run": "yes"}, "dry_run"),
                            ({"query": ASK, "max_tokens": 0}, "max_tokens"), ({"query": ASK, "temperature": "hot"}, "temperature"),
                            ({"query": ASK, "stream": True}, "stream"), ({"query": ASK, "routing": {"strategy": "magic"}}, "routing.strategy"),
                            ('{"query": "a", "query": "b"}', "query"), ("{", None), ("", None), ("[]", None), ("null", None),
                            ('{"query": "\ud800"}'.encode("utf-8", "surrogatepass"), None)):
            e = refused(w.gw.post(path, body), 400, "invalid_request")
            assert e.get("param") == param, (body, e)
        e = refused(w.query(path, model="nobody"), 404, "model_not_found")
        assert "nobody" in e["error"] and "/api/status" in e["error"], e
        refused(w.query(path, query="x" * 70000), 413, "request_too_large")
        e = refused(w.query(path, model="openai", model_version="gpt-4", query="word " * 13000), 400, "context_length_exceeded")
        assert "Shorten" in e["error"], e
        r = w.gw.get(path)
        assert r.status == 405 and is_sentence(r.json()["error"]), r
    assert w.asked() == 0
    # what nobody knows changes nothing, and that is said
    r = w.query(colour="red", model="openai")
    assert r.status == 200 and r.headers["x-penstock-dropped"] == "colour", r.headers
    refused(w.gw.post("/v1/gateway/nothing", {}), 404, "invalid_request")
    for path, method in (("/api/status", "POST"), ("/v1/gateway/cost-estimate", "GET")):
        assert w.gw.request(method, path).status == 405


def test_failures_of_providers_are_told_in_sentences():
    w = World(routing={"fallback": False})
    for status, kind, told in ((500, "server_error", 500), (503, "overloaded", 503), (429, "rate_limit_exceeded", 429),
                               (401, "provider_authentication", 502)):
        w.up["openai"].next(scene.status_script(status))
        e = refused(w.query(model="openai"), told, kind)
        assert e["request_id"].startswith("req_")
        w.gw.admin("/providers/openai/reset", "POST")
    w.up["openai"].default = lambda a: a.reset()
    refused(w.query(model="openai"), 502, "connection")


def test_keys():
    w = World(auth={"keys": [{"id": "a", "key": {"value": "k-a"}, "models": ["claude*", "gpt-4o"]}, {"id": "b", "key": {"value": "k-b"}, "permissions": ["embedding"]}]})
    for path, method, body in (("/api/query", "POST", {"query": ASK}), ("/api/status", "GET", None), ("/v1/gateway/query", "POST", {"query": ASK}),
                               ("/v1/gateway/cost-estimate", "POST", {"query": ASK})):
        e = refused(w.gw.request(method, path, body), 401, "authentication")
        assert "key" in e["error"]
        refused(w.gw.request(method, path, body, headers={"X-API-Key": "wrong"}), 401, "authentication")
        if method == "POST":
            refused(w.gw.request(method, path, body, headers={"X-API-Key": "k-b"}), 403, "permission")
            refused(w.gw.request(method, path, {**body, "model": "gemini"}, headers={"X-API-Key": "k-a"}), 403, "permission")
            assert w.gw.request(method, path, {**body, "model": "claude"}, headers={"X-API-Key": "k-a"}).status == 200
    assert w.gw.get("/api/status", headers={"X-API-Key": "k-b"}).status == 200
    assert re.match(r"Bearer", w.gw.post("/api/query", {"query": ASK}).headers["www-authenticate"])


def test_the_account_over_kills():
    w = World(workers=3)
    n = 30
    for i in range(n):
        assert w.gateway(model="openai", model_version="gpt-4o", tenant="t").status == 200
        if i == n // 2:
            os.kill(w.gw.scribe().pid, signal.SIGKILL)
    rows = scene.wait_for(lambda: (g := w.rows("tenant")).get("t", {}).get("requests") == n and g, "the ledger", 40)
    assert rows["t"]["input_tokens"] == 7 * n and abs(rows["t"]["cost_usd"] - n * (7 * 2.5e-6 + 3 * 10e-6)) < 1e-9, rows


def test_the_example_and_the_environment_alone():
    for example in (os.path.join(EXAMPLES, "s4.yaml"), None):
        up = {"OPENAI": scene.Upstream(), "GEMINI": scene.Upstream(gemini), "MISTRAL": scene.Upstream(), "ANTHROPIC": scene.Upstream(anthropic)}
        env = {n + "_BASE_URL": u.url + ("/v1" if n in ("OPENAI", "MISTRAL") else "") for n, u in up.items()}
        keys = {n: "k" for n in ("OPENAI_API_KEY", "GEMINI_API_KEY", "MISTRAL_API_KEY", "CLAUDE_API_KEY")}
        gw = scene.by_environment({**env, **keys, "LOG_LEVEL": "INFO"}, example)
        done = gw.run("-t")
        assert done.returncode == 0 and "not used" not in done.stderr, done
        gw.start()
        for model in ("openai", "gemini", "mistral", "claude"):
            r = gw.post("/api/query", {"query": ASK, "model": model})
            assert r.status == 200 and r.json()["cost_usd"] > 0, r
        assert [len(u.requests) for u in up.values()] == [1, 1, 1, 1]
        for task in ("text_generation", "summarization", "sentiment_analysis", "question_answering"):
            r = gw.post("/v1/gateway/query", {"query": ASK, "task_type": task, "max_cost_usd": 0.05})
            assert r.status == 200 and r.json()["task_type"] == task, r
        e = gw.post("/v1/gateway/cost-estimate", {"query": ASK, "model": "claude", "expected_response_tokens": 100}).json()
        assert {a["provider"] for a in e["alternatives"]} == {"openai", "gemini", "mistral"} and e["cost"]["estimated_usd"] > 0, e
        status = gw.get("/api/status").json()
        assert [p["name"] for p in status["providers"]] == ["openai", "gemini", "mistral", "claude"] and status["status"] == "healthy", status
        assert all(p["available"] for p in status["providers"]), status


def test_a_surface_that_needs_no_key_beside_others_that_do():
    w = World(auth={"keys": [{"id": "a", "key": {"value": "k-a"}}], "open_surfaces": ["s4"]}, tenants=[{"id": "red", "limits": {"requests_per_minute": 1}}])
    for _ in range(3):  # whoever comes without a key is nobody's tenant
        r = w.gateway(tenant="red")
        assert r.status == 200 and r.json()["tenant"] is None and r.headers["x-penstock-dropped"] == "tenant", r
    assert w.gw.get("/api/status").status == 200 and w.gw.post("/v1/gateway/cost-estimate", {"query": ASK}).status == 200
    assert w.gateway(tenant="red", headers={"X-API-Key": "k-a"}).json()["tenant"] == "red"
    assert w.gw.chat().status == 401


if __name__ == "__main__":
    scene.main()
