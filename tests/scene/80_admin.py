"""The administration: usage and money, what runs, what is logged; and nothing of it tells a secret."""

import csv
import io
import json
import os
import re
import signal
import threading
import time
import urllib.parse
from datetime import datetime, timedelta, timezone
from decimal import Decimal

import scene

KEYS = {"keys": [
    {"id": "one", "key": {"value": "sk-one-secret"}, "tenant": "red"},
    {"id": "two", "key": {"value": "sk-two-secret"}, "tenant": "blue"},
    {"id": "boss", "key": {"value": "sk-boss-secret"}, "permissions": ["completion", "admin"]},
]}
ONE, TWO, BOSS = ({"authorization": f"Bearer sk-{n}-secret"} for n in ("one", "two", "boss"))
ADMIN = [("GET", "/usage"), ("DELETE", "/cache"), ("GET", "/cache/stats"), ("GET", "/workers"), ("GET", "/providers"),
         ("GET", "/config"), ("POST", "/reload")]


def exact(r):
    """JSON with the digits as they stand."""
    return json.loads(r.body, parse_float=Decimal, parse_int=Decimal)


def usage(gw, query="", headers=None):
    r = gw.admin("/usage" + query, headers=headers)
    assert r.status == 200, r
    return exact(r)


def wait_usage(gw, requests, headers=None):
    return scene.wait_for(lambda: (t := usage(gw, headers=headers)["total"])["requests"] == requests and t,
                          f"{requests} requests in the ledger")


def access(gw, path=None):
    return [x for x in gw.log(path=path) if x["event"] in ("response", "error") and "request_id" in x]


def wait_access(gw, n):
    return scene.wait_for(lambda: len(x := access(gw)) >= n and x, f"{n} access lines")


def answer_with(usage_, text="Fine.", **more):
    """An answer, or a stream, whose usage is this."""
    def script(a):
        body = a.request.json()
        if not body.get("stream"):
            a.whole(200, {**scene.chat_reply(body["model"], text), "usage": usage_, **more})
            return
        a.sse()
        a.event(scene.chat_chunk(text, model=body["model"]))
        a.event(scene.chat_chunk(finish="stop", model=body["model"]))
        a.event({**scene.chat_usage(model=body["model"]), "usage": usage_})
        a.event("[DONE]")
        a.end()
    return script


# --- usage ---


def mixed(gw, up):
    """Seven requests: whole, stream, cancelled, failed, cached, refused, of another key and model."""
    hold = threading.Event()

    def slow(a):
        a.sse()
        a.event(scene.chat_chunk("half"))
        a.wait(hold)
    assert gw.chat("a", "q1", headers=ONE).status == 200
    assert gw.chat("a", "q1", headers=ONE).headers["x-penstock-cache"] == "hit"
    assert gw.chat("a", "q2", stream=True, headers=ONE).status == 200
    up.next(slow)
    c = gw.chat_stream("a", "q3", headers=ONE)
    assert c.event()
    c.close()
    up.next(scene.status_script(400))
    assert gw.chat("a", "q4", headers=TWO).status == 400
    assert gw.chat("b", "q5", headers=TWO).status == 200
    assert gw.chat("a", "q6", headers={"authorization": "Bearer wrong"}).status == 401


def mixed_gateway(**more):
    up = scene.Upstream()
    gw = scene.Gateway({
        "providers": [up.provider("up"), up.provider("down")], "auth": KEYS, "cache": {"enabled": True},
        "models": [{"name": "a", "targets": [{"provider": "up", "model": "ma"}], "prices": {"input": 1, "output": 2}},
                   {"name": "b", "targets": [{"provider": "down", "model": "mb"}], "prices": {"input": 10}}], **more})
    mixed(gw, up)
    return gw


def test_usage_of_all_kinds_of_requests_by_all_groups():
    gw = mixed_gateway()
    total = wait_usage(gw, 7, BOSS)
    lines = wait_access(gw, 7)
    cancelled = next(x for x in lines if x["status"] == 499)
    assert cancelled["tokens_estimated"] and cancelled["output_tokens"] >= 1 and not cancelled["complete"], cancelled
    assert total["errors"] == 3, total
    assert total["input_tokens"] == 7 + 7 + 7 + cancelled["input_tokens"], total
    assert total["output_tokens"] == 3 + 3 + 3 + cancelled["output_tokens"], total
    assert total["cost_usd"] == sum(Decimal(str(x["cost_usd"] or 0)) for x in lines), (total, lines)

    def rows(group):
        answer = usage(gw, f"?group_by={group}", BOSS)
        assert answer["total"] == total, group
        names = sorted(set(group.split(",")))
        assert sorted(answer["group_by"]) == names
        for field in ("requests", "errors", "input_tokens", "output_tokens"):
            assert sum(r[field] for r in answer["rows"]) == total[field], (group, field)
        assert sum(r["cost_usd"] or 0 for r in answer["rows"]) == total["cost_usd"], group
        return {tuple(r[g] for g in group.split(",")): r for r in answer["rows"]}
    r = rows("key")
    assert {k: int(v["requests"]) for k, v in r.items()} == {("",): 1, ("one",): 4, ("two",): 2}
    assert r[("one",)]["errors"] == 1 and r[("two",)]["errors"] == 1
    assert {k: int(v["requests"]) for k, v in rows("tenant").items()} == {("",): 1, ("red",): 4, ("blue",): 2}
    r = rows("provider")
    assert r[("down",)]["requests"] == 1 and r[("up",)]["requests"] >= 4, r
    r = rows("model")
    assert r[("mb",)]["input_tokens"] == 7, r
    day = datetime.now(timezone.utc).strftime("%Y-%m-%d")
    assert set(rows("day")) <= {(day,), (lines[0]["time"][:10],)}
    hours = set(rows("hour"))
    assert hours <= {(x["time"][:13] + ":00:00Z",) for x in lines} and hours
    r = rows("key,model,day")
    assert sum(v["requests"] for k, v in r.items() if k[0] == "two") == 2
    assert rows("day,key,tenant,provider,model,hour")


def test_usage_from_and_to():
    gw = mixed_gateway()
    wait_usage(gw, 7, BOSS)
    now = datetime.now(timezone.utc)
    day = lambda d: (now + timedelta(days=d)).strftime("%Y-%m-%d")
    at = lambda **d: (now + timedelta(**d)).strftime("%Y-%m-%dT%H:%M:%SZ")
    n = lambda query: int(usage(gw, query, BOSS)["total"]["requests"])
    if now.strftime("%H:%M") >= "23:59":
        scene.skip("the day ends")
    assert n(f"?from={day(0)}&to={day(0)}") == 7
    assert n(f"?from={day(-1)}&to={day(-1)}") == 0
    assert n(f"?from={day(1)}&to={day(2)}") == 0
    assert n(f"?to={day(-1)}") == 0
    assert n(f"?from={at(hours=-1)}&to={at(hours=1)}") == 7
    assert n(f"?from={at(hours=2)}&to={at(hours=3)}") == 0
    assert n(f"?from={at(hours=-3)}&to={at(hours=-2)}") == 0
    answer = usage(gw, f"?from={day(-2)}&to={day(0)}", BOSS)
    assert answer["from"].startswith(day(-2) + "T00:00:00") and answer["to"].startswith(day(1) + "T00:00:00"), answer
    zone = (now + timedelta(hours=3)).strftime("%Y-%m-%dT%H:%M:%S")
    assert n(f"?from={day(-1)}&to={zone}%2B02:00") == 7


def test_usage_as_csv():
    gw = mixed_gateway()
    wait_usage(gw, 7, BOSS)
    r = gw.admin("/usage?group_by=key,model&format=csv", headers=BOSS)
    assert r.status == 200 and r.headers["content-type"].startswith("text/csv"), r
    assert r.body.endswith(b"\r\n")
    table = list(csv.DictReader(io.StringIO(r.text)))
    rows = usage(gw, "?group_by=key,model", BOSS)["rows"]
    assert len(table) == len(rows)
    for line, row in zip(table, rows):
        assert line["key"] == row["key"] and line["model"] == row["model"]
        for field in ("requests", "errors", "input_tokens", "cached_tokens", "output_tokens", "reasoning_tokens"):
            assert int(line[field]) == row[field], (field, line, row)
        assert (Decimal(line["cost_usd"]) if line["cost_usd"] else None) == row["cost_usd"], (line, row)


def test_usage_refuses_what_it_does_not_understand():
    gw = scene.Gateway({"providers": [{"name": "mock", "kind": "mock"}]})
    bad = {"from": ["yesterday", "2026-13-01", "2026-02-30", "2026-01-01T25:00:00Z", "1700000000"], "to": ["x"],
           "group_by": ["colour", "key,colour", "key;model"], "format": ["xml"]}
    for param, values in bad.items():
        for value in values:
            r = gw.admin(f"/usage?{param}={value}")
            assert r.status == 400 and r.json()["error"]["param"] == param, (param, value, r)
    r = gw.admin("/usage?from=2026-02-01&to=2026-01-01")
    assert r.status == 400 and r.json()["error"]["type"] == "invalid_request_error", r
    empty = usage(gw)
    assert empty["rows"] == [] and empty["total"]["requests"] == 0 and empty["total"]["cost_usd"] == 0, empty


# --- money ---


def nano(*parts):
    """Dollars of (tokens, dollars per million) pairs."""
    return sum(Decimal(n) * Decimal(str(p)) for n, p in parts) / 1_000_000


def check_cost(gw, want, ask, lines):
    """One request: the header, the log and the ledger agree on the cost."""
    before = usage(gw)["total"]
    r = ask()
    assert r.status == 200, r
    header = r.headers.get("x-penstock-cost-usd")
    if not r.headers["content-type"].startswith("text/event-stream"):
        assert (Decimal(header) if header is not None else None) == want, (header, want)
    lines.append(scene.wait_for(lambda: next((x for x in access(gw) if x["request_id"] == r.headers["x-request-id"]), None),
                                "its line"))
    cost = lines[-1]["cost_usd"]
    assert cost is None if want is None else Decimal(str(cost)).quantize(Decimal("1e-9")) == want, (cost, want)
    after = wait_usage(gw, before["requests"] + 1)
    if want is not None:
        assert (after["cost_usd"] or 0) - (before["cost_usd"] or 0) == want, (before, after, want)
    else:
        assert after["cost_usd"] == before["cost_usd"] or (before["requests"] == 0 and after["cost_usd"] is None)
        assert after["unpriced_requests"] == before.get("unpriced_requests", 0) + 1
    return after


def test_money_of_known_models_to_the_nano_dollar():
    up = scene.Upstream()
    gw = scene.Gateway({"providers": [up.provider("openai", kind="openai"), up.provider("other")]})
    plain = {"prompt_tokens": 1234, "completion_tokens": 567, "total_tokens": 1801}
    cached = {**plain, "prompt_tokens_details": {"cached_tokens": 1000}}
    thinking = {**plain, "completion_tokens_details": {"reasoning_tokens": 500}}
    tiny = {"prompt_tokens": 1, "completion_tokens": 0, "total_tokens": 1}
    cases = [
        ("gpt-4o", plain, nano((1234, 2.5), (567, 10))),
        ("gpt-4o", cached, nano((234, 2.5), (1000, 1.25), (567, 10))),
        ("gpt-4o", thinking, nano((1234, 2.5), (567, 10))),
        ("gpt-4o-2024-11-20", plain, nano((1234, 2.5), (567, 10))),
        ("gpt-4o-mini", cached, nano((234, 0.15), (1000, 0.075), (567, 0.6))),
        ("openai/o3", plain, nano((1234, 2), (567, 8))),
        ("gpt-5-nano", tiny, Decimal("0.000000050")),
        ("gpt-5.6-luna", {"prompt_tokens": 272000, "completion_tokens": 10}, nano((272000, 0.4), (10, 1.8))),
        ("gpt-5.6-luna", {"prompt_tokens": 271999, "completion_tokens": 10}, nano((271999, 0.2), (10, 1.2))),
        ("openai/gpt-99-unheard-of", plain, None),
        ("other/whatever", plain, None),
    ]
    lines = []
    for model, used, want in cases:
        for stream in (False, True):
            up.next(answer_with(used))
            total = check_cost(gw, want, lambda: gw.chat(model, stream=stream), lines)
            assert lines[-1]["input_tokens"] == used["prompt_tokens"]
    assert total["cached_tokens"] == 4 * 1000 and total["reasoning_tokens"] == 2 * 500
    assert total["cost_usd"] == sum(c * 2 for _, _, c in cases if c)
    assert total["cost_usd"] == sum(Decimal(str(x["cost_usd"] or 0)).quantize(Decimal("1e-9")) for x in lines)
    providers = {p["name"]: p for p in exact(gw.admin("/providers"))["providers"]}
    assert providers["openai"]["cost_usd"] == total["cost_usd"]
    row = next(r for r in usage(gw, "?group_by=provider")["rows"] if r["provider"] == "other")
    assert row["cost_usd"] is None and row["unpriced_requests"] == 2
    text = gw.get("/metrics").text
    assert Decimal(re.search(r'penstock_provider_cost_usd_total\{provider="openai"\} (\S+)', text)[1]) == total["cost_usd"]


def test_the_provider_s_own_word_on_the_cost_wins():
    up = scene.Upstream()
    row = {**up.provider("openrouter", kind="openrouter"), "base_url": up.url + "/api/v1"}
    gw = scene.Gateway({"providers": [row], "routing": {"default_provider": "openrouter"}})
    lines = []
    for said, want in ((0.00123, "0.00123"), (1.5e-07, "0.00000015"), (0, "0"), (12.000000001, "12.000000001")):
        for stream in (False, True):
            up.next(answer_with({"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15, "cost": said}))
            check_cost(gw, Decimal(want), lambda: gw.chat("openai/gpt-4o", stream=stream), lines)
    for r in up.requests:
        body = r.json()
        assert body["model"] == "openai/gpt-4o"
    up.next(answer_with({"prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 1100}))
    check_cost(gw, nano((1000, 2.5), (100, 10)), lambda: gw.chat("openai/gpt-4o"), lines)


def claude(used):
    def script(a):
        body = a.request.json()
        head = {"id": "msg_1", "type": "message", "role": "assistant", "model": body["model"], "content": [],
                "stop_reason": None, "stop_sequence": None}
        if not body.get("stream"):
            a.whole(200, {**head, "content": [{"type": "text", "text": "Fine."}], "stop_reason": "end_turn", "usage": used})
            return
        a.sse()
        a.event({"type": "message_start", "message": {**head, "usage": {**used, "output_tokens": 1}}}, "message_start")
        a.event({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
                "content_block_start")
        a.event({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Fine."}},
                "content_block_delta")
        a.event({"type": "content_block_stop", "index": 0}, "content_block_stop")
        a.event({"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": None},
                 "usage": {"output_tokens": used["output_tokens"]}}, "message_delta")
        a.event({"type": "message_stop"}, "message_stop")
        a.end()
    return script


def test_money_of_claude_with_its_cache():
    up = scene.Upstream()
    gw = scene.Gateway({"providers": [up.provider("anthropic", kind="anthropic")]})
    lines = []
    cases = [
        ({"input_tokens": 100, "output_tokens": 50}, nano((100, 3), (50, 15))),
        ({"input_tokens": 100, "cache_creation_input_tokens": 2000, "cache_read_input_tokens": 3000, "output_tokens": 50},
         nano((100, 3), (2000, 3.75), (3000, 0.3), (50, 15))),
        ({"input_tokens": 100, "cache_creation_input_tokens": 2000, "cache_read_input_tokens": 3000, "output_tokens": 50,
          "cache_creation": {"ephemeral_5m_input_tokens": 1500, "ephemeral_1h_input_tokens": 500}},
         nano((100, 3), (1500, 3.75), (500, 6), (3000, 0.3), (50, 15))),
        ({"input_tokens": 200001, "output_tokens": 50}, nano((200001, 6), (50, 22.5))),
        ({"input_tokens": 1, "cache_read_input_tokens": 200000, "output_tokens": 50},
         nano((1, 6), (200000, 0.6), (50, 22.5))),
    ]
    for used, want in cases:
        for stream in (False, True):
            up.next(claude(used))
            check_cost(gw, want, lambda: gw.chat("claude-sonnet-4-5", stream=stream), lines)
            prompt = sum(used.get(k, 0) for k in ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens"))
            assert lines[-1]["input_tokens"] == prompt
            assert lines[-1]["cached_tokens"] == used.get("cache_read_input_tokens", 0)


def test_prices_of_the_configuration_and_of_a_file():
    up = scene.Upstream()
    gw = scene.Gateway(start=False)
    table = {
        "sample_spec": {"input_cost_per_token": 0.0, "litellm_provider": "one of ..."},
        "gpt-4o": {"input_cost_per_token": 3e-06, "output_cost_per_token": 1.2e-05,
                   "cache_read_input_token_cost": 1.5e-06, "litellm_provider": "openai", "max_input_tokens": 128000},
        "home/made": {"input_cost_per_token": 1.25e-07, "output_cost_per_token": 0.0000005, "litellm_provider": "home"},
        "free": {"input_cost_per_token": 0, "output_cost_per_token": 0},
    }
    with open(gw.path("prices.json"), "w") as f:
        json.dump(table, f)
    gw.reconfigure({
        "providers": [up.provider("openai", kind="openai"), up.provider("up")],
        "prices": {"file": gw.path("prices.json")},
        "models": [{"name": "own", "targets": [{"provider": "openai", "model": "gpt-4o"}],
                    "prices": {"input": 0.1234567, "output": 7}}]})
    gw.start()
    used = {"prompt_tokens": 1001, "completion_tokens": 333, "total_tokens": 1334,
            "prompt_tokens_details": {"cached_tokens": 1}}
    lines = []
    for model, want in (
            ("openai/gpt-4o", nano((1000, 3), (1, 1.5), (333, 12))),
            ("openai/gpt-4o-mini", nano((1000, 0.15), (1, 0.075), (333, 0.6))),
            ("up/home/made", nano((1001, 0.125), (333, 0.5))),
            ("up/free", Decimal(0)),
            ("own", nano((1001, "0.1234567"), (333, 7))),
            ("up/unknown", None)):
        up.next(answer_with(used))
        want = want.quantize(Decimal("1e-9"), "ROUND_HALF_UP") if want is not None else None
        check_cost(gw, want, lambda: gw.chat(model), lines)


def test_a_bad_price_file_is_found_before_anything_happens():
    gw = scene.Gateway({"providers": [{"name": "mock", "kind": "mock"}]})
    with open(gw.path("prices.json"), "w") as f:
        f.write('{"gpt-4o": {"input_cost_per_token": 3e-06,}}')
    gw.reconfigure({"prices": {"file": gw.path("prices.json")}})
    done = gw.run("-t")
    assert done.returncode == 1 and "prices.json" in done.stderr, done
    r = gw.admin("/reload", "POST")
    assert r.status == 422 and "prices.json" in r.json()["error"]["message"], r
    assert gw.chat("mock").status == 200 and gw.admin("/workers").json()["generation"] == 1
    gw.stop()
    done = gw.run("-f", seconds=20)
    assert done.returncode != 0 and "prices.json" in done.stderr + "".join(t for _, t in gw.log_text()), done


# --- who may ---


def test_permissions_of_the_administration():
    gw = scene.Gateway({"providers": [{"name": "mock", "kind": "mock"}], "auth": KEYS})
    for method, path in ADMIN:
        for headers in (None, {"authorization": "Bearer wrong"}, {"x-api-key": ""}):
            r = gw.admin(path, method, headers=headers)
            assert r.status == 401 and r.json()["error"]["code"] == "invalid_api_key", (method, path, headers, r)
            assert r.headers["www-authenticate"].startswith("Bearer")
        r = gw.admin(path, method, headers=ONE)
        assert r.status == 403 and "error" in r.json(), (method, path, r)
        assert gw.admin(path, method, headers={"x-api-key": "sk-boss-secret"}).status == 200, (method, path)
    scene.wait_for(lambda: gw.admin("/workers", headers=BOSS).json()["generation"] == 2, "the new generation")
    done = [x for x in gw.log("audit") if x["status"] == 200]
    assert [x["key"] for x in done] == ["boss", "boss"], "DELETE and POST, once each"
    for method, path, status in (("POST", "/usage", 405), ("GET", "/cache", 405), ("GET", "/nothing", 404)):
        assert gw.admin(path, method, headers=BOSS).status == status, path
    assert gw.get("/metrics").status == 401 and gw.get("/metrics", headers=ONE).status == 200


def test_surfaces_of_listeners():
    inside, outside = scene.free_port(), scene.free_port()
    gw = scene.Gateway({"providers": [{"name": "mock", "kind": "mock"}],
                        "listen": [{"address": f"127.0.0.1:{outside}", "surfaces": ["native"]},
                                   {"address": f"127.0.0.1:{inside}", "surfaces": ["admin", "metrics"]}]}, port=outside)
    assert gw.chat("mock").status == 200
    for method, path in ADMIN:
        assert gw.admin(path, method).status == 404, path
    assert gw.get("/metrics").status == 404
    gw.port = inside
    assert gw.admin("/workers").status == 200 and gw.get("/metrics").status == 200
    assert gw.chat("mock").status == 404


# --- what runs ---


def test_workers():
    up = scene.Upstream()
    gw = scene.Gateway({"providers": [up.provider()]}, workers=3)
    for _ in range(5):
        assert gw.chat().status == 200
    c = gw.chat_stream()
    answer = gw.admin("/workers").json()
    rows = answer["workers"]
    assert answer["generation"] == 1 and [r["number"] for r in rows] == [0, 1, 2], answer
    assert sorted(r["pid"] for r in rows) == sorted(gw.worker_pids())
    assert [r["pid"] for r in answer["scribe"]] == [gw.scribe().pid]
    for r in rows + answer["scribe"]:
        assert r["state"] == "ready" and r["generation"] == 1 and 0 <= r["uptime_seconds"] < 60, r
        assert 1 << 20 < r["resident_bytes"] < 1 << 32, r
    assert sum(r["requests"] for r in rows) >= 7
    scene.wait_for(lambda: sum(r["connections"] for r in gw.admin("/workers").json()["workers"]) >= 1,
                   "the open connection to show")
    c.close()
    assert gw.admin("/reload", "POST").json() == {"reloaded": True, "generation": 2}
    scene.wait_for(lambda: gw.admin("/workers").json()["generation"] == 2, "the new generation")


def test_providers_show_breakers_keys_and_numbers():
    up, bad = scene.Upstream(), scene.Upstream(scene.status_script(500))
    refused = scene.Upstream(scene.status_script(401))
    gw = scene.Gateway({
        "providers": [
            up.provider("good", keys=[{"value": "up-key"}, {"value": "up-key-2", "weight": 3}]),
            bad.provider("bad", retry={"max": 0}, breaker={"consecutive_failures": 2, "open_for": "60s"}),
            refused.provider("refused", retry={"max": 0}),
            {"name": "off", "kind": "mock", "enabled": False}],
        "models": [{"name": "g", "targets": [{"provider": "good", "model": "x"}]},
                   {"name": "b", "targets": [{"provider": "bad", "model": "x"}, ]},
                   {"name": "r", "targets": [{"provider": "refused", "model": "x"}]}]}, workers=4)
    before = {p["name"]: p for p in gw.admin("/providers").json()["providers"]}
    assert list(before) == ["good", "bad", "refused", "off"]
    assert [before[n]["status"] for n in before] == ["healthy"] * 3 + ["disabled"]
    assert gw.chat("g").status == 200
    assert [gw.chat("b").status for _ in range(3)] == [500, 500, 503]
    assert gw.chat("r").status == 502
    p = {p["name"]: p for p in gw.admin("/providers").json()["providers"]}
    good, broken, resting = p["good"], p["bad"], p["refused"]
    assert good["status"] == "healthy" and good["requests"] == 1 and good["errors"] == 0, good
    assert good["kind"] == "openai_compatible" and good["health_score"] == 100
    assert good["input_tokens"] == 7 and good["output_tokens"] == 3
    assert [t["model"] for t in good["targets"]] == ["x"] and good["targets"][0]["breaker"].lower() == "closed"
    assert [(k["source"], k["weight"], k["resting"]) for k in good["keys"]] == [("value", 1, False), ("value", 3, False)]
    assert broken["status"] == "unhealthy" and broken["errors"] == 2 and broken["error_rate"] == 1, broken
    assert broken["failures_in_a_row"] == 2
    assert broken["targets"][0]["breaker"].lower() == "open" and 0 < broken["targets"][0]["retry_in_ms"] <= 60000
    assert resting["keys"][0]["resting"] is True and "up-key" not in json.dumps(p), resting
    state = lambda: gw.metrics()['penstock_breaker_state{provider="bad",model="x"}']
    assert state() == 1


def test_reload_answers_what_happened():
    gw = scene.Gateway({"providers": [{"name": "mock", "kind": "mock"}]})
    good = open(gw.conf_path).read()
    r = gw.admin("/reload", "POST")
    assert r.status == 200 and r.json() == {"reloaded": True, "generation": 2}, r
    gw.wait_workers(2, generation=2)
    gw.write_conf(good.replace('"kind"', '"knid"'))
    r = gw.admin("/reload", "POST")
    error = r.json()["error"]
    assert r.status == 422 and r.json()["reloaded"] is False and r.json()["generation"] == 2, r
    assert re.search(r"penstock\.yaml:\d+:\d+: providers\[0\]\.knid: .*did you mean kind", error["message"]), error
    assert gw.chat("mock").status == 200
    gw.write_conf(good)
    assert gw.admin("/reload", "POST").json()["generation"] == 3
    assert gw.metrics()["penstock_reload_failures_total"] == 1 and gw.metrics()["penstock_reloads_total"] == 2


# --- secrets ---

SECRETS = ["literal-secret-1", "env-secret-2", "file-secret-3", "header-secret-4", "header-secret-5", "sk-literal-6",
           "sk-env-7", "sk-file-8"]


def secretive(**more):
    up = scene.Upstream()
    gw = scene.Gateway(start=False, env={"UP_KEY": "env-secret-2", "GW_KEY": "sk-env-7", "EXTRA": "header-secret-5"})
    for name, text in (("up.key", "file-secret-3"), ("gw.key", "sk-file-8")):
        with open(gw.path(name), "w") as f:
            f.write(text + "\n")
    gw.reconfigure({
        "providers": [up.provider("up", keys=[{"value": "literal-secret-1"}, {"env": "UP_KEY"}, {"file": gw.path("up.key")}],
                                  headers={"X-Api-Key": "header-secret-4", "Authorization-Extra": "${EXTRA}", "X-Title": "shown"})],
        "auth": {"keys": [{"id": "boss", "key": {"value": "sk-literal-6"}, "permissions": ["completion", "admin"]},
                          {"id": "env", "key": {"env": "GW_KEY"}}, {"id": "file", "key": {"file": gw.path("gw.key")}}]}, **more})
    gw.start()
    return gw, up


def test_the_configuration_is_shown_without_secrets():
    gw, up = secretive()
    boss = {"authorization": "Bearer sk-literal-6"}
    r = gw.admin("/config", headers=boss)
    answer = r.json()
    assert answer["file"] == gw.conf_path and answer["generation"] == 1 and re.match(r"20\d\d-", answer["loaded_at"])
    conf = answer["config"]
    assert conf["workers"] == 2 and conf["state_dir"] == gw.path("state") and conf["cache"]["enabled"] is False
    row = conf["providers"][0]
    assert row["base_url"] == up.url + "/v1" and row["headers"]["X-Title"] == "shown", row
    assert row["keys"][1]["env"] == "UP_KEY" and row["keys"][2]["file"] == gw.path("up.key"), row
    assert [k["id"] for k in conf["auth"]["keys"]] == ["boss", "env", "file"]
    dump = gw.run("-T")
    assert dump.returncode == 0 and "providers:" in dump.stdout
    for path in ("/config", "/providers", "/workers", "/usage", "/cache/stats"):
        text = gw.admin(path, headers=boss).text
        assert not [s for s in SECRETS if s in text], path
    assert not [s for s in SECRETS if s in dump.stdout + dump.stderr]
    for p in gw.processes():
        with open(f"/proc/{p.pid}/cmdline", "rb") as f:
            assert not [s for s in SECRETS if s.encode() in f.read()]


def test_no_key_in_any_log_and_where_content_is_off_no_prompt_and_no_answer():
    for content in ("off", "masked", "full"):
        whatever_is_asked(content)


test_no_key_in_any_log_and_where_content_is_off_no_prompt_and_no_answer.seconds = 120


def whatever_is_asked(content):
    gw, up = secretive(log={"content": content})
    prompt, said = "PROMPT-lorem-ipsum", "ANSWER-dolor-sit"
    boss = {"authorization": "Bearer sk-literal-6"}

    def broken(a):
        a.sse()
        a.event(scene.chat_chunk(said))
        a.event(scene.chat_chunk(said))
        a.close()
    echo = {"error": {"message": f"Incorrect key literal-secret-1 for {prompt}: {said}", "type": "x", "code": None}}
    scripts = [answer_with({"prompt_tokens": 1, "completion_tokens": 1}, said)] * 2 + [
        scene.status_script(400, echo), scene.status_script(500, echo), scene.status_script(401, echo),
        scene.status_script(200, echo), scene.status_script(200, f"<html>{said}"), broken]
    n = 0
    for script in scripts:
        for stream in (False, True):
            if script is broken and not stream:
                continue
            for key in ("sk-literal-6", "sk-env-7", "sk-file-8"):
                up.default = script
                gw.chat(text=prompt, stream=stream, headers={"authorization": f"Bearer {key}"})
                n += 1
    # what does not even parse, or asks for the impossible
    gw.post("/v1/chat/completions", '{"model": "up/m", "messages": "%s' % prompt, headers=boss)
    gw.post("/v1/chat/completions", {"model": "up/m", "messages": prompt}, headers=boss)
    gw.post("/v1/chat/completions", {"messages": [{"role": prompt, "content": prompt}], "model": "up/m"}, headers=boss)
    gw.chat(text=prompt, headers={"authorization": "Bearer sk-literal-6-wrong"})
    gw.get(f"/v1/{prompt}?key=sk-literal-6")
    c = gw.client()
    c.send(f"GET / HTTP/1.1\r\nHost: x\r\nAuthorization : Bearer sk-literal-6\r\n{prompt}\r\n\r\n")
    c.rest()
    wait_access(gw, n + 4)
    gw.stop()
    for path, text in gw.log_text():
        for secret in SECRETS + ([prompt, said] if content == "off" else []):
            assert secret not in text, (path, secret, [x for x in text.splitlines() if secret in x][:3])
    with open(gw.path("state/logs/data.mdb"), "rb") as f:
        store = f.read()
    assert not any(secret.encode() in store for secret in SECRETS)
    assert (prompt.encode() in store) == (said.encode() in store) == (content != "off")


# --- metrics and health ---


def parse_metrics(text):
    """{family: (type, {(name, labels): value})}; fails where the text is no legal exposition."""
    families, family, seen, closed = {}, None, set(), set()
    assert text.endswith("\n")
    for line in text.splitlines():
        if line.startswith("# HELP "):
            name = line.split()[2]
            assert name not in families and len(line.split(None, 3)) == 4, line
            families[name] = [None, {}]
            family = name
        elif line.startswith("# TYPE "):
            _, _, name, kind = line.split()
            assert name == family and kind in ("counter", "gauge", "histogram"), line
            families[name][0] = kind
        else:
            m = re.fullmatch(r'([a-zA-Z_:][a-zA-Z0-9_:]*)(\{(?:[a-z_]+="(?:[^"\\\n]|\\["\\n])*",?)*\})? (\S+)', line)
            assert m, line
            base = m[1]
            if families[family][0] == "histogram":
                base = re.sub("_(bucket|sum|count)$", "", base)
            assert base == family, (line, family)
            assert (m[1], m[2]) not in seen, line
            seen.add((m[1], m[2]))
            families[family][1][(m[1], m[2] or "")] = float(m[3])
    for name, (kind, series) in families.items():
        assert kind, name
        if kind == "counter":
            assert name.endswith("_total"), name
        if kind != "histogram":
            continue
        groups = {}
        for (n, labels), value in series.items():
            rest = re.sub(r',?le="[^"]*"', "", labels).replace("{}", "")
            groups.setdefault(rest, []).append((n, labels, value))
        for rows in groups.values():
            buckets = [v for n, _, v in rows if n.endswith("_bucket")]
            assert buckets == sorted(buckets) and len(buckets) > 3
            assert 'le="+Inf"' in [l for n, l, _ in rows if n.endswith("_bucket")][-1]
            assert buckets[-1] == next(v for n, _, v in rows if n.endswith("_count"))
            assert next(v for n, _, v in rows if n.endswith("_sum")) >= 0
    return families


def test_metrics_are_prometheus_text_and_the_same_on_all_workers():
    up = scene.Upstream()
    gw = scene.Gateway({"providers": [up.provider("up"), up.provider("up-2")], "cache": {"enabled": True},
                        "models": [{"name": 'odd "\\ name', "targets": [{"provider": "up", "model": 'mod/"el\\'}]},
                                   {"name": "plain", "targets": [{"provider": "up-2", "model": "m"}]}]}, workers=4)
    for model in ('odd "\\ name', "plain", "up/loose"):
        for text in ("a", "a", "b"):
            assert gw.chat(model, text).status == 200
            assert gw.chat(model, text, stream=True).status == 200
    up.next(scene.status_script(400))
    assert gw.chat("plain", "c").status == 400
    r = gw.get("/metrics")
    assert r.headers["content-type"].startswith("text/plain; version=0.0.4"), r.headers
    f = parse_metrics(r.text)
    calls = f["penstock_requests_total"][1]
    assert calls[("penstock_requests_total", '{code="2xx"}')] == 18
    assert calls[("penstock_requests_total", '{code="4xx"}')] == 1
    assert f["penstock_request_duration_seconds"][1][("penstock_request_duration_seconds_count", "")] == 19
    assert f["penstock_workers"][1][("penstock_workers", "")] == 4
    assert ("penstock_model_requests_total", '{model="odd \\"\\\\ name"}') in f["penstock_model_requests_total"][1]
    # the same wherever the scrape lands: only what a scrape itself moves differs
    moves = {"penstock_http_requests_total", "penstock_connections_total", "penstock_connections", "penstock_uptime_seconds"}
    still = lambda f: {k: v for name, (_, s) in f.items() if name not in moves for k, v in s.items()}
    want = still(f)
    served = lambda: {w["number"]: w["requests"] for w in gw.admin("/workers").json()["workers"]}
    before = served()

    def everywhere():
        got = []
        threads = [threading.Thread(target=lambda: got.append(gw.get("/metrics").text), daemon=True) for _ in range(16)]
        for t in threads:
            t.start()
        for t in threads:
            t.join(20)
        assert len(got) == 16
        for text in got:
            assert still(parse_metrics(text)) == want
        after = served()
        return all(after[n] > before[n] + 1 for n in before)
    scene.wait_for(everywhere, "every worker to be scraped", 30)


def test_names_that_clients_make_up():
    """One with control characters is no model's, wherever it is named; all others are text in metrics and tables."""
    up = scene.Upstream()
    gw = scene.Gateway({"providers": [up.provider("up")],
                        "models": [{"name": "any-*", "targets": [{"provider": "up", "model": "*"}]}]})
    for bad in ("a\rb", "up/a\rb 1", "up/a\nb", "any-\t", "up/a\0b", "up.\x7f", "any-\x1b[31m"):
        for ask in (lambda: gw.chat(bad), lambda: gw.post("/v1/embeddings", {"model": bad, "input": "a"}),
                    lambda: gw.post("/v1/moderations", {"model": bad, "input": "a"}),
                    lambda: gw.post("/v1beta/models/" + urllib.parse.quote(bad, safe="") + ":generateContent",
                                    {"contents": [{"parts": [{"text": "a"}]}]})):
            r = ask()
            assert r.status == 404, (bad, r)
        r = gw.chat("up/m", routing={"fallbacks": [bad]})
        assert r.status == 400, (bad, r)
    assert not up.requests
    odd = ("=1+1", "+1", "@a", 'a"b', "a,b", "a\\b", 'a{b="c"}', "<b>", "\u20ac")
    for name in odd:
        assert gw.chat("up/" + name).status == 200
    wait_usage(gw, len(odd) + 7 * 5)
    calls = parse_metrics(gw.get("/metrics").text)["penstock_target_requests_total"][1]
    assert ("penstock_target_requests_total", '{provider="up",model="a\\"b"}') in calls, calls
    table = list(csv.DictReader(io.StringIO(gw.admin("/usage?group_by=model&format=csv").text)))
    assert {r["model"] for r in table} == {"", *("'" + n if n[0] in "=+@" else n for n in odd)}, table


def test_health_tells_strangers_nothing():
    bad = scene.Upstream(scene.status_script(500))
    gw = scene.Gateway({"providers": [bad.provider("bad", retry={"max": 0},
                                                   breaker={"consecutive_failures": 2, "open_for": "60s"})],
                        "auth": KEYS}, workers=4)
    for headers in (None, {"authorization": "Bearer wrong"}):
        r = gw.get("/health", headers=headers)
        assert r.status == 200 and r.json() == {"status": "healthy"}, r
    r = gw.get("/health", headers=ONE)
    assert r.status == 200 and set(r.json()) >= {"status", "version", "uptime_seconds", "providers"}, r
    assert r.json()["providers"]["bad"]["status"] == "healthy"
    for _ in range(2):
        assert gw.chat("bad/m", headers=ONE).status == 500
    for _ in range(8):
        r = gw.get("/health")
        assert r.status == 503 and r.json() == {"status": "unhealthy"}, r
    r = gw.get("/health", headers=ONE)
    assert r.status == 503 and r.json()["providers"]["bad"]["status"] == "unhealthy", r
    assert gw.get("/livez").status == 200 and gw.get("/readyz").status == 200
    r = gw.request("HEAD", "/health")
    assert r.status == 503 and r.body == b""


def test_health_is_degraded_while_only_some_serve():
    up, bad = scene.Upstream(), scene.Upstream(scene.status_script(500))
    gw = scene.Gateway({"providers": [up.provider("up"), bad.provider("bad", retry={"max": 0}, breaker={
        "consecutive_failures": 2, "open_for": "60s"})]})
    assert gw.get("/health").json()["status"] == "healthy"
    for _ in range(2):
        gw.chat("bad/m")
    r = gw.get("/health")
    assert r.status == 200 and r.json()["status"] == "degraded", r


# --- logs ---


def test_one_line_for_each_request_with_everything_in_it():
    up = scene.Upstream()
    gw = scene.Gateway({
        "providers": [up.provider("one", retry={"max": 1, "initial_backoff": "1ms"}), up.provider("two")], "auth": KEYS,
        "models": [{"name": "m", "targets": [{"provider": "one", "model": "x"}, {"provider": "two", "model": "y"}],
                    "prices": {"input": 1, "output": 2}}]}, workers=1)
    up.next(scene.status_script(503), scene.status_script(500), scene.chat_script())
    r = gw.chat("m", headers={**ONE, "x-request-id": "my-id.1_A"}, max_tokens=55)
    assert r.status == 200 and r.headers["x-request-id"] == "my-id.1_A" and r.headers["x-penstock-attempts"] == "3"
    (line,) = wait_access(gw, 1)
    assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line["time"]), line
    want = {"level": "info", "event": "response", "request_id": "my-id.1_A", "key": "one", "tenant": "red",
            "surface": "chat", "model": "m", "provider": "two", "provider_model": "y", "status": 200, "stream": False,
            "input_tokens": 7, "output_tokens": 3, "cache": "off", "max_tokens": 55, "complete": True}
    assert {k: line[k] for k in want} == want, line
    assert line["cost_usd"] == 13e-6 and line["peer"].startswith("127.0.0.1"), line
    assert [(a["provider"], a["model"], a["status"], a["reason"]) for a in line["attempts"]] == [
        ("one", "x", 503, "overloaded"), ("one", "x", 500, "server_error"), ("two", "y", 200, "ok")], line
    assert all(a["key"] in ("one/0", "two/0") and a["ms"] >= 0 for a in line["attempts"])
    assert line["latency_ms"] >= 0 and line["first_byte_ms"] >= 0 and line["estimated_tokens"] > 0
    assert line["bytes_in"] > 100 and line["bytes_out"] >= len(r.body), line
    # errors and streams too, each once
    gw.chat("m", stream=True, headers=ONE)
    gw.chat("nothing-like-it", headers=ONE)
    gw.chat("m", headers={"authorization": "Bearer no"})
    up.next(scene.status_script(400))
    gw.chat("m", headers=TWO)
    gw.stop()
    lines = access(gw)
    assert [x["status"] for x in lines] == [200, 200, 404, 401, 400], lines
    assert [x["event"] for x in lines] == ["response"] * 2 + ["error"] * 3
    assert [bool(x.get("fault")) for x in lines] == [False] * 2 + [True] * 3
    assert lines[1]["stream"] is True and len({x["request_id"] for x in lines}) == 5
    assert [x["key"] for x in lines] == ["one", "one", "one", "", "two"]


def test_request_ids():
    gw = scene.Gateway({"providers": [{"name": "mock", "kind": "mock"}]})
    for good in ("a", "A-b_c.9", "x" * 128):
        for ask in (lambda h: gw.chat("mock", headers=h), lambda h: gw.chat("mock", stream=True, headers=h),
                    lambda h: gw.chat("no/such", headers=h), lambda h: gw.get("/livez", headers=h),
                    lambda h: gw.get("/no/such/path", headers=h), lambda h: gw.admin("/workers", headers=h)):
            assert ask({"x-request-id": good}).headers["x-request-id"] == good
    seen = set()
    for bad in (None, "", "x" * 129, "a b", "a/b", "\u00e4", "a;b", 'a"b'):
        r = gw.chat("mock", headers={} if bad is None else {"x-request-id": bad})
        assert r.status == 200 and re.fullmatch(r"req_[0-9a-f]{32}", r.headers["x-request-id"]), (bad, r.headers)
        seen.add(r.headers["x-request-id"])
    assert len(seen) == 8


def test_logs_are_reopened_and_no_line_is_lost():
    gw = scene.Gateway({"providers": [{"name": "mock", "kind": "mock"}]}, workers=3)
    done, ending = [], threading.Event()

    def load():
        while not ending.is_set():
            r = gw.chat("mock")
            assert r.status == 200
            done.append(r.headers["x-request-id"])
    threads = [threading.Thread(target=load, daemon=True) for _ in range(3)]
    for t in threads:
        t.start()
    rotated = []
    for i in range(3):
        upto = len(done) + 50
        scene.wait_for(lambda: len(done) >= upto, "50 requests")
        rotated.append(gw.path(f"penstock.log.{i}"))
        os.rename(gw.log_path, rotated[-1])
        gw.signal(signal.SIGUSR1)
        scene.wait_for(lambda: len(access(gw)) > 5, "lines in the new file")
        inode = os.stat(gw.log_path).st_ino
        pids = [gw.pid, gw.scribe().pid, *gw.worker_pids()]

        def all_there():
            return all(any(_inode(pid, fd) == inode for fd in os.listdir(f"/proc/{pid}/fd")) for pid in pids)
        scene.wait_for(all_there, "all processes to open the new file")
    ending.set()
    for t in threads:
        t.join(20)
    gw.stop()
    files = [*rotated, gw.log_path]
    ids = [x["request_id"] for f in files for x in access(gw, f)]
    assert sorted(ids) == sorted(done), (len(ids), len(done))
    for f in files:
        for line in open(f):
            json.loads(line)


def _inode(pid, fd):
    try:
        return os.stat(f"/proc/{pid}/fd/{fd}").st_ino
    except OSError:
        return None


def test_access_lines_can_be_left_out():
    gw = scene.Gateway({"providers": [{"name": "mock", "kind": "mock"}], "log": {"access": False}})
    for _ in range(3):
        assert gw.chat("mock").status == 200
    wait_usage(gw, 3)
    gw.stop()
    assert gw.log("start") and not access(gw)


def test_text_format():
    gw = scene.Gateway({"providers": [{"name": "mock", "kind": "mock"}], "log": {"format": "text"}})
    r = gw.chat("mock", headers={"x-request-id": "text-1"})
    assert r.status == 200
    line = scene.wait_for(lambda: [x for x in open(gw.log_path) if "text-1" in x], "its line")
    gw.stop()
    for x in open(gw.log_path):
        assert re.match(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (error|warn |info |debug) ", x), x
    assert len(line) == 1 and "status=200" in line[0] and "model=mock" in line[0], line


def dropped(gw):
    return gw.metrics()["penstock_log_dropped_total"]


def test_a_log_that_nobody_reads_holds_up_nothing():
    gw = scene.Gateway(start=False)
    os.mkfifo(gw.path("pipe"))
    reader = os.open(gw.path("pipe"), os.O_RDONLY | os.O_NONBLOCK)
    gw.reconfigure({"providers": [{"name": "mock", "kind": "mock"}], "log": {"target": gw.path("pipe")}})
    gw.start()
    c = gw.client()

    def ask(n):
        for _ in range(n):
            c.request("POST", "/v1/chat/completions", {"model": "mock", "messages": [{"role": "user", "content": "Hi"}]})
            assert c.response("POST").status == 200
    sent = 0
    while sent < 3000 and not dropped(gw):
        ask(100)
        sent += 100
    scene.wait_for(lambda: dropped(gw) > 0, "lines to be dropped")
    ask(100)
    sent += 100
    wait_usage(gw, sent)
    # the reader comes back: lines again, and the count of those that are missing
    text = b""

    def read():
        nonlocal text
        try:
            text += os.read(reader, 1 << 20)
        except BlockingIOError:
            pass
        ask(1)
        return b"dropped" in text
    scene.wait_for(read, "the count in the log")
    os.close(reader)
    for _ in range(20):
        ask(1)


def test_a_full_disk_under_the_log_holds_up_nothing():
    if not os.path.exists("/dev/full"):
        scene.skip("no /dev/full")
    gw = scene.Gateway({"providers": [{"name": "mock", "kind": "mock"}], "log": {"target": "/dev/full"}})
    for i in range(50):
        assert gw.chat("mock", text=f"q{i}").status == 200
    wait_usage(gw, 50)
    scene.wait_for(lambda: dropped(gw) >= 50, "the drops to be counted")


if __name__ == "__main__":
    scene.main()
