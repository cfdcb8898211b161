"""Limits, breakers, retries, keys: decided on one shared view by four workers."""

import hashlib
import json
import signal
import threading
import time

import scene
from layers import at_once, statuses

KEY = {"authorization": "Bearer sk-one"}
ADMIN = {"authorization": "Bearer sk-admin"}


def keys(**limits):
    return {"keys": [
        {"id": "one", "hash": "sha256:" + hashlib.sha256(b"sk-one").hexdigest(), "limits": limits},
        {"id": "admin", "key": {"value": "sk-admin"}, "permissions": ["completion", "admin"]},
    ]}


def test_exactly_m_of_n_requests_pass_a_bucket_over_four_workers():
    up = scene.Upstream()
    # 12 a minute: the next token would come after 5 s
    gw = scene.Gateway({"providers": [up.provider()], "auth": keys(requests_per_minute=12)}, workers=4)
    got = at_once(60, lambda i: gw.chat(headers=KEY))
    passed = [a for a in got if getattr(a, "status", 0) == 200]
    assert 12 <= len(passed) <= 13, statuses(got)
    assert statuses(got).get(429, 0) == 60 - len(passed), statuses(got)
    assert len(up.requests) == len(passed)
    refused = next(a for a in got if a.status == 429)
    assert 1 <= int(refused.headers["retry-after"]) <= 6
    assert refused.json()["error"]["code"] == "rate_limit_exceeded"
    assert refused.headers["x-ratelimit-limit-requests"] == "12"
    assert refused.headers["x-ratelimit-remaining-requests"] == "0"
    assert int(refused.headers["x-ratelimit-reset"]) > 1_600_000_000_000


def test_limits_of_gateway_provider_and_provider_key():
    up = scene.Upstream()
    for where in ("gateway", "provider", "provider key"):
        row = up.provider("up", retry={"max": 0})
        conf = {"providers": [row]}
        if where == "gateway":
            conf["limits"] = {"requests_per_minute": 5}
        elif where == "provider":
            row["limits"] = {"requests_per_minute": 5}
        else:
            row["keys"] = [{"value": "k", "limits": {"requests_per_minute": 5}}]
        gw = scene.Gateway(conf, workers=4)
        got = at_once(20, lambda i: gw.chat())
        assert statuses(got) == {200: 5, 429: 15}, (where, statuses(got))
        h = next(a for a in got if a.status == 429).headers
        assert "retry-after" in h, where
        if where == "provider":
            assert (h["x-ratelimit-limit-requests"], h["x-ratelimit-remaining"]) == ("5", "0"), h
        assert h.get("x-ratelimit-provider") == (None if where == "gateway" else "up"), h
        gw.stop()


def test_concurrency_is_exact_and_given_back():
    go = threading.Event()

    def script(a):
        a.wait(go)
        a.whole(200, scene.chat_reply())
    up = scene.Upstream(script)
    gw = scene.Gateway({"providers": [up.provider()], "auth": keys(concurrent=5)}, workers=4)
    answers = []
    threads = [threading.Thread(target=lambda: answers.append(gw.chat(headers=KEY)), daemon=True) for _ in range(30)]
    for t in threads:
        t.start()
    scene.wait_for(lambda: len(answers) == 25, "25 refusals")
    assert len(up.requests) == 5
    assert statuses(answers) == {429: 25}
    go.set()
    for t in threads:
        t.join(20)
    assert statuses(answers) == {429: 25, 200: 5}
    assert gw.chat(headers=KEY).status == 200


def test_a_dead_worker_leaks_no_gauge():
    go = threading.Event()

    def script(a):
        a.wait(go)
        a.whole(200, scene.chat_reply())
    up = scene.Upstream(script)
    gw = scene.Gateway({"providers": [up.provider()], "auth": keys(concurrent=4)}, workers=2)
    threads = [threading.Thread(target=lambda: _ignore(lambda: gw.chat(headers=KEY)), daemon=True) for _ in range(4)]
    for t in threads:
        t.start()
    scene.wait_for(lambda: len(up.requests) == 4, "4 calls")
    assert gw.chat(headers=KEY).status == 429
    before = gw.worker_pids()
    for pid in before:
        gw.signal(signal.SIGKILL, pid)
    scene.wait_for(lambda: len(w := gw.worker_pids()) == 2 and not set(w) & set(before), "new workers")
    go.set()
    for t in threads:
        t.join(20)
    assert statuses(at_once(4, lambda i: gw.chat(headers=KEY))) == {200: 4}
    metrics = gw.get("/metrics", headers=KEY).text
    assert 'penstock_key_in_flight{key="one"} 0' in metrics


def _ignore(fn):
    try:
        return fn()
    except (OSError, scene.Closed):
        return None


def test_tokens_are_reserved_and_settled():
    def script(a):
        a.whole(200, scene.chat_reply(prompt=10, completion=490))
    up = scene.Upstream(script)
    gw = scene.Gateway({"providers": [up.provider()], "auth": keys(tokens_per_minute=1000)}, workers=2)
    first = gw.chat(headers=KEY, max_tokens=5)
    assert first.status == 200
    second = gw.chat(headers=KEY, max_tokens=5)  # 500 of 1000 are gone, whatever max_tokens said
    assert second.status == 200
    assert int(second.headers["x-ratelimit-remaining-tokens"]) < 520
    third = gw.chat(headers=KEY, max_tokens=100)
    assert third.status == 429, third
    assert "tokens per minute" in third.json()["error"]["message"]


def test_exactly_one_probe_of_a_half_open_breaker_over_four_workers():
    state = {"good": False}
    go = threading.Event()

    def script(a):
        if state["good"]:
            a.wait(go)
            a.whole(200, scene.chat_reply())
        else:
            a.whole(500, {"error": {"message": "down"}})
    up = scene.Upstream(script)
    row = up.provider("up", retry={"max": 0},
                      breaker={"consecutive_failures": 3, "open_for": "1s", "max_open_for": "2s", "half_open_probes": 1})
    gw = scene.Gateway({"providers": [row], "models": [{"name": "m", "targets": [{"provider": "up", "model": "m"}]}]},
                       workers=4)
    for _ in range(3):
        assert gw.chat("m").status == 500
    n = len(up.requests)
    refused = gw.chat("m")
    assert refused.status == 503 and len(up.requests) == n, refused
    assert gw.get("/health").status == 503
    gw.wait_log("closed to open", "breaker")
    state["good"] = True
    breaker = lambda: gw.admin("/providers").json()["providers"][0]["targets"][0]
    # half open is entered by the first request after the pause
    scene.wait_for(lambda: breaker()["breaker"] != "open" or breaker().get("retry_in_ms", 1) == 0, "the pause to end")
    answers = []
    threads = [threading.Thread(target=lambda: answers.append(gw.chat("m")), daemon=True) for _ in range(24)]
    for t in threads:
        t.start()
    scene.wait_for(lambda: len(answers) == 23, "23 refusals")
    assert len(up.requests) == n + 1, "more than one probe"
    assert statuses(answers) == {503: 23}
    go.set()
    for t in threads:
        t.join(20)
    assert statuses(answers) == {503: 23, 200: 1}
    scene.wait_for(lambda: breaker()["breaker"] == "closed", "the breaker to close")
    assert statuses(at_once(8, lambda i: gw.chat("m"))) == {200: 8}


def test_one_broken_model_does_not_take_the_others_of_its_provider_down():
    def script(a):
        bad = a.request.json()["model"] == "broken"
        a.whole(500 if bad else 200, {"error": {"message": "down"}} if bad else scene.chat_reply())
    up = scene.Upstream(script)
    gw = scene.Gateway({"providers": [up.provider("up", retry={"max": 0})]}, workers=2)
    for _ in range(5):
        assert gw.chat("up/broken").status == 500
    assert gw.chat("up/broken").status == 503
    assert gw.chat("up/fine").status == 200
    assert gw.get("/health").json()["status"] != "unhealthy"
    targets = gw.admin("/providers").json()["providers"][0]["targets"]
    assert {t["model"]: t["breaker"] for t in targets} == {"broken": "open", "fine": "closed"}


def test_what_opens_a_breaker_and_what_never_does():
    up = scene.Upstream()
    row = up.provider("up", retry={"max": 0}, breaker={"consecutive_failures": 2, "open_for": "60s"})
    gw = scene.Gateway({"providers": [row], "models": [{"name": "m", "targets": [{"provider": "up", "model": "m"}]}]})
    for status in (400, 404, 413, 422, 400, 404):
        up.next(scene.status_script(status))
        assert gw.chat("m").status == status
    assert gw.chat("m").status == 200
    up.next(scene.status_script(500), scene.status_script(529))
    assert gw.chat("m").status == 500
    assert gw.chat("m").status in (503, 529)
    assert gw.chat("m").status == 503
    assert len(up.requests) == 9


def test_retry_with_backoff_then_next_target_then_fallback_model():
    bad, second, third = scene.Upstream(scene.status_script(500)), scene.Upstream(scene.status_script(503)), scene.Upstream()
    retry = {"max": 1, "initial_backoff": "30ms", "jitter": 0.0}
    gw = scene.Gateway({
        "providers": [bad.provider("bad", retry=retry), second.provider("second", retry=retry), third.provider("third")],
        "models": [
            {"name": "m", "targets": [{"provider": "bad", "model": "a"}, {"provider": "second", "model": "b"}],
             "fallbacks": ["f"]},
            {"name": "f", "targets": [{"provider": "third", "model": "c"}]},
        ]}, workers=2)
    r = gw.chat("m")
    assert r.status == 200, r
    assert [len(u.requests) for u in (bad, second, third)] == [2, 2, 1]
    assert bad.requests[1].at - bad.requests[0].at >= 0.03
    assert r.headers["x-penstock-provider"] == "third" and r.headers["x-penstock-attempts"] == "5"
    row = gw.wait_log(r.headers["x-request-id"])[0]
    assert [a["reason"] for a in row["attempts"]] == ["server_error", "server_error", "overloaded", "overloaded", "ok"]


def test_fallback_only_for_the_classes_that_are_listed():
    bad, good = scene.Upstream(scene.status_script(500)), scene.Upstream()
    gw = scene.Gateway({
        "providers": [bad.provider("bad", retry={"max": 0}), good.provider("good")],
        "models": [
            {"name": "m", "targets": [{"provider": "bad", "model": "a"}], "fallbacks": ["f"], "fallback_on": ["timeout"]},
            {"name": "n", "targets": [{"provider": "bad", "model": "a2"}], "fallbacks": ["f"],
             "fallback_on": ["server_error", "context_length_exceeded"]},
            {"name": "f", "targets": [{"provider": "good", "model": "c"}]},
        ]})
    assert gw.chat("m").status == 500
    assert gw.chat("n").status == 200
    bad.next(scene.status_script(400, {"error": {"message": "maximum context length is 10 tokens",
                                                 "code": "context_length_exceeded"}}))
    assert gw.chat("n").status == 200
    bad.next(scene.status_script(400))
    assert gw.chat("n").status == 400


def test_retry_after_is_waited_out_when_short_and_handed_on_when_long():
    up = scene.Upstream()
    gw = scene.Gateway({"providers": [up.provider("up", retry={"max": 2, "initial_backoff": "10ms"})]})
    up.next(scene.status_script(429, headers={"Retry-After": "1"}))
    r = gw.chat()
    assert r.status == 200 and up.requests[1].at - up.requests[0].at >= 1
    up.next(scene.status_script(429, headers={"Retry-After": "30"}))
    begin = time.monotonic()
    r = gw.chat()
    assert r.status == 429 and r.headers["retry-after"] == "30" and time.monotonic() - begin < 5


def test_keys_of_a_provider_by_weight_and_a_refused_one_rests():
    up = scene.Upstream()
    row = up.provider("up", key=None, retry={"max": 1, "initial_backoff": "10ms"},
                      keys=[{"value": "key-a", "weight": 9}, {"value": "key-b", "weight": 1}])
    gw = scene.Gateway({"providers": [row]}, workers=2)
    for _ in range(60):
        assert gw.chat().status == 200
    used = [r.headers["authorization"].split("-")[-1] for r in up.requests]
    assert used.count("a") > 35 and used.count("b") >= 1, used

    def script(a):
        if a.request.headers["authorization"].endswith("key-a"):
            a.whole(401, {"error": {"message": "bad key key-a", "code": "invalid_api_key"}})
        else:
            a.whole(200, scene.chat_reply())
    up.default = script
    n = len(up.requests)
    for _ in range(20):
        assert gw.chat().status == 200
    used = [r.headers["authorization"].split("-")[-1] for r in up.requests[n:]]
    assert used.count("a") <= 2, used
    resting = [k["resting"] for k in gw.admin("/providers").json()["providers"][0]["keys"]]
    assert resting == [True, False]
    assert gw.wait_log("rests until the next reload", "alert")
    gw.signal(signal.SIGHUP)
    gw.wait_workers(2, generation=2)
    scene.wait_for(lambda: not any(k["resting"] for k in gw.admin("/providers").json()["providers"][0]["keys"]),
                   "the key to be tried again after the reload")


def test_the_only_key_refused_is_the_operators_fault():
    up = scene.Upstream(scene.status_script(401, {"error": {"message": "Incorrect API key provided: up-key"}}))
    good = scene.Upstream()
    gw = scene.Gateway({"providers": [up.provider("up"), good.provider("good")], "models": [
        {"name": "alone", "targets": [{"provider": "up", "model": "m"}]},
        {"name": "m", "targets": [{"provider": "up", "model": "m"}], "fallbacks": ["good/m"]}]})
    for _ in range(3):  # also while the key rests: to wait, as a 429 would say, helps nobody
        r = gw.chat("alone")
        assert r.status == 502 and r.json()["error"]["code"] == "provider_authentication", r
        assert "up-key" not in r.text, r
        assert gw.chat("m").headers["x-penstock-provider"] == "good"
    assert len(up.requests) == 1
    assert all("up-key" not in json.dumps(row) for row in gw.log())


def test_weighted_and_round_robin():
    a, b = scene.Upstream(), scene.Upstream()
    gw = scene.Gateway({
        "providers": [a.provider("a"), b.provider("b")],
        "models": [
            {"name": "w", "strategy": "weighted",
             "targets": [{"provider": "a", "model": "m", "weight": 9}, {"provider": "b", "model": "m", "weight": 1}]},
            {"name": "rr", "strategy": "round_robin",
             "targets": [{"provider": "a", "model": "m"}, {"provider": "b", "model": "m"}]},
        ]}, workers=4)
    at_once(40, lambda i: gw.chat("rr"))
    assert (len(a.requests), len(b.requests)) == (20, 20)
    for _ in range(3):
        at_once(40, lambda i: gw.chat("w"))
    assert len(a.requests) - 20 > 85, len(a.requests)
    assert len(b.requests) - 20 >= 1


if __name__ == "__main__":
    scene.main()
