"""Where a request goes among several targets: strategies on all workers, hints, conversations, the budget of retries,
and what explains it."""

import collections
import concurrent.futures
import json
import threading

import scene
from layers import admin_and_keys, bearer


def names(ups):
    return {f"p{i}": u for i, u in enumerate(ups)}


def start(n=3, model=None, workers=4, kind="openai_compatible", providers=None, **more):
    ups = [scene.Upstream(default=lambda a, i=i: a.whole(200, scene.chat_reply(text=f"p{i}"))) for i in range(n)]
    rows = [u.provider(f"p{i}", kind=kind, retry={"max": 0}, **(providers or {}).get(i, {})) for i, u in enumerate(ups)]
    models = [{"name": "m", "targets": [{"provider": f"p{i}"} for i in range(n)], **(model or {})}]
    return ups, scene.Gateway({"providers": rows, "models": models, **more}, workers=workers)


def served(gw, n, **how):
    """Who answered n requests at once."""
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda i: gw.chat(model="m", **how), range(n)))
    for r in answers:
        assert r.status == 200, r
    return collections.Counter(r.headers["x-penstock-provider"] for r in answers)


def test_round_robin_is_exact_over_all_workers():
    _, gw = start(model={"strategy": "round-robin"})
    assert served(gw, 60) == {"p0": 20, "p1": 20, "p2": 20}


def test_a_request_chooses_its_strategy():
    _, gw = start()
    assert served(gw, 6) == {"p0": 6}
    assert served(gw, 30, routing={"strategy": "round-robin"}) == {"p0": 10, "p1": 10, "p2": 10}
    assert served(gw, 6, headers={"x-penstock-routing": '{"preferred_providers":["p2"]}'}) == {"p2": 6}
    assert served(gw, 6, routing={"exclude_providers": ["p0", "p2"]}) == {"p1": 6}


def test_the_routing_member_is_not_sent_on():
    ups, gw = start()
    gw.chat(model="m", routing={"strategy": "round-robin", "tags": []})
    assert "routing" not in ups[0].requests[0].json()


def test_cost_takes_the_cheapest():
    _, gw = start(model={"strategy": "cost"})
    gw.reconfigure({"models": [
        {"name": "m", "targets": [{"provider": "p0", "model": "gpt-4"}, {"provider": "p1", "model": "unknown"},
                                  {"provider": "p2", "model": "gpt-4o-mini"}], "strategy": "cost"}]})
    ups = [scene.Upstream(default=lambda a, i=i: a.whole(200, scene.chat_reply(text=f"p{i}"))) for i in range(3)]
    gw.reconfigure({"providers": [u.provider(f"p{i}", kind="openai") for i, u in enumerate(ups)]})
    gw.stop()
    gw.start()
    assert served(gw, 8) == {"p2": 8}
    r = gw.chat(model="m", routing={"max_cost_usd": 0.0000001, "exclude_providers": ["p1"]})
    assert r.status == 402 and r.json()["error"]["code"] == "cost_limit_exceeded", r
    assert not ups[0].requests and not ups[1].requests
    r = gw.chat(model="m", routing={"max_cost_usd": 1})
    assert r.status == 200


def test_latency_leaves_the_slow_one_alone():
    ups, gw = start(n=2, model={"strategy": "latency"}, routing={"affinity": False})
    slow = threading.Event()

    def late(a):
        slow.wait(0.3)
        a.whole(200, scene.chat_reply())
    ups[0].default = late
    served(gw, 4)
    assert served(gw, 40).get("p0", 0) <= 8


def test_least_busy_looks_at_what_is_under_way():
    ups, gw = start(n=2, model={"strategy": "least-busy"}, routing={"affinity": False})
    go = threading.Event()
    hold = lambda a: (a.wait(go), a.whole(200, scene.chat_reply()))
    ups[0].default = hold
    ups[1].default = hold
    with concurrent.futures.ThreadPoolExecutor(20) as pool:
        waiting = [pool.submit(gw.chat, model="m", timeout=30) for _ in range(20)]
        scene.wait_for(lambda: len(ups[0].requests) + len(ups[1].requests) == 20, "all of them at the providers")
        assert abs(len(ups[0].requests) - len(ups[1].requests)) <= 4, [len(u.requests) for u in ups]
        go.set()
        assert all(w.result().status == 200 for w in waiting)
    scene.wait_for(lambda: all(t["in_flight"] == 0 for t in explain(gw)["targets"]), "nothing under way")


def test_health_prefers_who_does_not_fail():
    ups, gw = start(n=2, model={"strategy": "health"}, routing={"affinity": False},
                    providers={0: {"breaker": {"consecutive_failures": 1000, "error_rate": 1.0}}})
    ups[0].default = lambda a: a.whole(500, {"error": {"message": "no"}})
    served(gw, 12)
    before = len(ups[0].requests)
    served(gw, 12)
    assert len(ups[0].requests) - before <= 1, "it is known to fail"


def turns(n, first="How are you?"):
    out = [{"role": "user", "content": first}]
    for i in range(n):
        out += [{"role": "assistant", "content": f"Fine {i}."}, {"role": "user", "content": f"And {i}?"}]
    return out


def ask(gw, messages, **more):
    r = gw.post("/v1/chat/completions", {"model": "m", "messages": messages, **more})
    assert r.status == 200, r
    return r.headers["x-penstock-provider"]


def test_a_conversation_stays_where_it_is_on_every_worker():
    _, gw = start(model={"strategy": "round-robin"})
    for first in ("one", "two", "three", "four"):
        at = ask(gw, turns(0, first))
        for n in range(1, 6):
            assert ask(gw, turns(n, first)) == at, "its prompt is cached there"
    named = [ask(gw, turns(0, str(i)), prompt_cache_key="k1") for i in range(5)]
    assert len(set(named)) == 1, named
    named = [gw.chat(model="m", text=str(i), headers={"x-penstock-session": "s1"}).headers["x-penstock-provider"]
             for i in range(5)]
    assert len(set(named)) == 1, named
    assert served(gw, 30) == {"p0": 10, "p1": 10, "p2": 10}, "first turns are nobody's"


def test_a_conversation_leaves_a_target_that_is_down():
    ups, gw = start(model={"strategy": "round-robin"}, n=2)
    at = ask(gw, turns(0))
    assert ask(gw, turns(1)) == at
    names(ups)[at].default = lambda a: a.whole(503, {"error": {"message": "down"}})
    other = ask(gw, turns(2))
    assert other != at
    assert ask(gw, turns(3)) == other


def test_tags_tasks_and_wildcards():
    ups, gw = start(routing={"tasks": {"summarization": ["m"], "code": ["p2/coder"]}},
                    model={"targets": [{"provider": "p0"}, {"provider": "p1", "tags": ["eu"]}]})
    assert served(gw, 4, routing={"tags": ["eu"]}) == {"p1": 4}
    for model, tag in (("m", "mars"), ("p1/x", "eu")):
        r = gw.chat(model=model, routing={"tags": [tag]})
        assert r.status == 400 and r.json()["error"]["param"] == "routing", r
    ups[1].next(scene.status_script(503))
    r = gw.chat(model="m", routing={"tags": ["eu"], "fallbacks": ["p2/x"]})
    assert r.status == 503 and not ups[2].requests, "a fallback that has not the tags"
    r = gw.post("/v1/chat/completions", {"messages": turns(0), "routing": {"task": "code"}})
    assert r.status == 200 and ups[2].requests[-1].json()["model"] == "coder", r
    gw.reconfigure({"models": [{"name": "fast-*", "targets": [{"provider": "p1", "model": "turbo-*-v2"}]}]})
    done = gw.run("-t")
    assert done.returncode == 1 and "routing.tasks.summarization[0]: there is no model m" in done.stderr, done
    gw.reconfigure({"routing": {"tasks": {"summarization": ["fast-seven"]}}})
    gw.stop()
    gw.start()
    assert gw.chat(model="fast-seven").status == 200
    assert ups[1].requests[-1].json()["model"] == "turbo-seven-v2"


def test_wrong_hints():
    ups, gw = start()
    for routing, param in (({"strategy": "best"}, "routing.strategy"), ({"timeout_ms": -1}, "routing.timeout_ms"),
                           ({"max_cost_usd": -5}, "routing.max_cost_usd"), ({"tags": ["x" * 100]}, "routing.tags"),
                           ({"tags": ["x"] * 100}, "routing.tags"), ({"what": 1}, "routing"),
                           ({"exclude_providers": ["nobody"]}, "routing.exclude_providers"),
                           ({"fallbacks": ["m", "no-such-model"]}, "routing.fallbacks")):
        r = gw.chat(model="m", routing=routing)
        assert r.status == 400 and r.json()["error"]["param"] == param, (routing, r)
    r = gw.chat(model="m", headers={"x-penstock-routing": "[]"})
    assert r.status == 400, r
    assert not ups[0].requests


def test_a_key_for_some_models_chooses_no_others_as_fallbacks():
    ups, gw = start(n=2, auth=admin_and_keys("a", models=["m"]), model={"targets": [{"provider": "p0"}]})
    ups[0].default = scene.status_script(500)
    for names in (["p1/x"], ["m", "p1/x"]):
        r = gw.chat(model="m", routing={"fallbacks": names}, headers=bearer("a"))
        assert r.status == 403 and r.json()["error"]["param"] == "routing.fallbacks", r
    assert not ups[1].requests
    assert gw.chat(model="m", routing={"fallbacks": ["p1/x"]}, headers=bearer("admin")).status == 200


def test_a_key_for_some_models_is_led_to_no_other_by_a_failure():
    """What no configured model stands for falls back to the other providers' default models."""
    ups, gw = start(n=3, auth=admin_and_keys("a", models=["p0/*", "x", "y"]),
                    providers={1: {"default_model": "not-yours"}, 2: {"default_model": "y"}})
    ups[0].default = scene.status_script(500)
    for _ in range(5):
        r = gw.chat(model="p0/x", headers=bearer("a"))
        assert r.status == 200 and r.headers["x-penstock-provider"] == "p2", r
    assert not ups[1].requests
    ups[2].default = scene.status_script(500)
    assert gw.chat(model="p0/x", headers=bearer("a")).status >= 500 and not ups[1].requests
    assert gw.chat(model="p0/x", headers=bearer("admin")).headers["x-penstock-provider"] == "p1"


def test_a_timeout_of_its_own():
    ups, gw = start(n=1)
    ups[0].default = lambda a: a.until_closed()
    r = gw.chat(model="m", routing={"timeout_ms": 300})
    assert r.status == 504 and ups[0].requests[0].closed.wait(10), r


def test_a_prompt_that_cannot_fit_is_not_sent():
    ups, gw = start(n=2)
    gw.reconfigure({"models": [
        {"name": "small", "targets": [{"provider": "p0"}], "context_window": 1000, "fallbacks": ["large"]},
        {"name": "large", "targets": [{"provider": "p1"}], "context_window": 100000},
        {"name": "alone", "targets": [{"provider": "p0"}], "context_window": 1000}]})
    gw.stop()
    gw.start()
    r = gw.chat(model="small", text="word " * 4000)
    assert r.status == 200 and r.headers["x-penstock-provider"] == "p1", r
    r = gw.chat(model="alone", text="word " * 4000)
    assert r.status == 400 and r.json()["error"]["code"] == "context_length_exceeded", r
    assert not ups[0].requests
    assert gw.chat(model="alone", text="word " * 500).status == 200


def test_an_outage_is_not_amplified():
    up = scene.Upstream(default=lambda a: a.whole(500, {"error": {"message": "down"}}))
    gw = scene.Gateway({"providers": [up.provider("up", retry={"max": 3, "initial_backoff": "1ms", "max_backoff": "2ms"},
                                                  breaker={"consecutive_failures": 100000, "min_requests": 1000000})]}, workers=4)
    n = 200
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda i: gw.chat(model="up/m"), range(n)))
    assert all(r.status >= 500 for r in answers)
    assert n + 10 <= len(up.requests) <= n + n // 5 + 10, len(up.requests)
    assert gw.metrics()["penstock_retries_denied_total"] > 0


def hedged(stream=False, **hedge):
    """Two targets; p0 has been quick so far."""
    ups, gw = start(n=2, routing={"hedge": {"enabled": True, **hedge}}, workers=2)
    script = scene.chat_script if stream else lambda: (lambda a: a.whole(200, scene.chat_reply()))
    for u in ups:
        u.default = script()
    # as many as it takes to know what is late: none of these is hedged itself, however slow this machine is
    assert served(gw, 20, stream=stream) == {"p0": 20}
    return ups, gw


def test_a_late_answer_is_hedged_and_the_loser_cancelled():
    for stream in (False, True):
        ups, gw = hedged(stream)
        ups[0].next(lambda a: a.until_closed())
        r = gw.chat(model="m", stream=stream)
        assert r.status == 200 and r.headers["x-penstock-provider"] == "p1", r
        assert ups[0].requests[-1].closed.wait(10), "the loser goes on"
        assert len(ups[1].requests) == 1 and r.headers["x-penstock-attempts"] == "2", r.headers
        assert gw.metrics()["penstock_hedges_total"] == 1
        row = scene.wait_for(lambda: [x for x in gw.log("response") if x["request_id"] == r.headers["x-request-id"]], "the record")[0]
        assert [a["reason"] for a in row["attempts"]] == ["cancelled", "ok"], row
        assert row["complete"] and row["output_tokens"] == 3, row
        gw.stop()


def test_the_first_wins_after_all_and_faults_are_the_others_business():
    ups, gw = hedged()
    second = threading.Event()
    ups[0].next(lambda a: (second.wait(10), a.whole(200, scene.chat_reply())))
    ups[1].next(lambda a: (second.set(), a.until_closed()))
    r = gw.chat(model="m")
    assert r.status == 200 and r.headers["x-penstock-provider"] == "p0", r
    assert ups[1].requests[0].closed.wait(10)
    ups, gw = hedged()
    second = threading.Event()
    ups[0].next(lambda a: (second.wait(10), a.whole(200, scene.chat_reply())))
    ups[1].next(lambda a: (a.whole(500, {"error": {"message": "no"}}), second.set()))
    r = gw.chat(model="m")
    assert r.status == 200 and r.headers["x-penstock-provider"] == "p0", r
    ups, gw = hedged()
    second = threading.Event()
    ups[0].next(lambda a: (second.wait(10), a.whole(500, {"error": {"message": "no"}})))
    done = threading.Event()
    ups[1].next(lambda a: (second.set(), done.wait(0.5), a.whole(200, scene.chat_reply())))
    r = gw.chat(model="m")
    assert r.status == 200 and r.headers["x-penstock-provider"] == "p1", r


def test_a_client_that_leaves_ends_both():
    ups, gw = hedged()
    for u in ups:
        u.next(lambda a: a.until_closed())
    c = gw.client()
    c.request("POST", "/v1/chat/completions", {"model": "m", "messages": turns(0)})
    ups[1].wait_requests(1)
    c.reset()
    assert ups[0].requests[-1].closed.wait(10) and ups[1].requests[-1].closed.wait(10)
    scene.wait_for(lambda: all(t["in_flight"] == 0 for t in explain(gw)["targets"]), "nothing under way")


def test_hedges_have_a_budget():
    ups, gw = hedged(budget=0)
    go = threading.Event()
    ups[0].default = lambda a: (a.wait(go), a.whole(200, scene.chat_reply()))
    with concurrent.futures.ThreadPoolExecutor(10) as pool:
        waiting = [pool.submit(gw.chat, model="m", timeout=30) for _ in range(10)]
        ups[0].wait_requests(30)
        ups[1].wait_requests(1)
        assert [w.result(20).status for w in waiting if w.done()] in ([], [200])
        go.set()
        assert all(w.result().status == 200 for w in waiting)
    assert len(ups[1].requests) == 1, "one is always allowed"


def explain(gw, body=None, query="", status=200):
    r = gw.admin("/explain" + query, "POST", body or {"model": "m", "messages": turns(0)})
    assert r.status == status, r
    return r.json()


def test_explain_sends_nothing_and_takes_no_turn():
    ups, gw = start(model={"strategy": "round-robin"})
    for _ in range(4):
        e = explain(gw)
        assert [t["provider"] for t in e["targets"]] == ["p0", "p1", "p2"], e
        assert e["strategy"] == "round-robin" and all(t["eligible"] for t in e["targets"]), e
    assert not any(u.requests for u in ups)
    assert served(gw, 3) == {"p0": 1, "p1": 1, "p2": 1}
    e = explain(gw, {"model": "m", "messages": turns(0), "routing": {"exclude_providers": ["p1"], "strategy": "cost"}})
    told = [(t["provider"], t["eligible"], t["reason"]) for t in e["targets"]]
    assert told == [("p0", True, "ok"), ("p2", True, "ok"), ("p1", False, "excluded")] and e["strategy"] == "cost", e
    e = explain(gw, {"model": "m", "max_tokens": 5, "messages": [{"role": "user", "content": "x"}]}, "?path=/v1/messages")
    assert e["dialect"] == "anthropic" and e["expected_output_tokens"] <= 5, e
    assert explain(gw, {"model": "nobody"}, status=400)["error"]["param"] == "messages"
    assert "error" in explain(gw, {"model": "m", "messages": []}, "?path=/nowhere", 400)


def test_explain_tells_why_not():
    ups, gw = start(n=2, providers={0: {"breaker": {"consecutive_failures": 1, "open_for": "60s"}}})
    ups[0].default = lambda a: a.whole(500, {"error": {"message": "no"}})
    assert gw.chat(model="m").status == 200
    e = explain(gw)
    assert e["targets"][0]["reason"] == "breaker_open" and not e["targets"][0]["eligible"], e
    assert e["targets"][1]["eligible"], e


def test_explain_tells_what_is_left_out_and_what_comes_after():
    targets = [{"provider": "p0"}, {"provider": "p1", "tags": ["eu"]}, {"provider": "p2"}]
    ups, gw = start(model={"targets": targets, "fallbacks": ["p1/last"]}, providers={2: {"enabled": False}})

    def told(routing):
        r = gw.admin("/explain", "POST", {"model": "m", "messages": turns(0)},
                     headers={"x-penstock-routing": json.dumps(routing)})
        assert r.status == 200, r
        return [(t["provider"], t["reason"]) for t in r.json()["targets"]]
    assert told({}) == [("p0", "ok"), ("p1", "ok"), ("p1", "ok"), ("p2", "disabled")]
    assert told({"tags": ["eu"]}) == [("p1", "ok"), ("p0", "tags"), ("p1", "tags"), ("p2", "disabled")]
    assert told({"exclude_providers": ["p1"]}) == [("p0", "ok"), ("p1", "excluded"), ("p1", "excluded"),
                                                   ("p2", "disabled")]
    r = gw.admin("/explain", "POST", {"model": "m", "messages": turns(0)}, headers={"x-penstock-routing": "[]"})
    assert r.status == 400 and r.json()["error"]["param"] == "x-penstock-routing", r
    assert not any(u.requests for u in ups)


def test_explain_shows_what_is_left_for_a_key():
    limits = {"requests_per_minute": 2, "concurrent": 5}
    ups, gw = start(n=2, auth=admin_and_keys("a", models=["m"], limits=limits, budget={"usd": 0.01, "period": "day"}),
                    providers={0: {"limits": {"requests_per_day": 1}}},
                    model={"prices": {"input": 1000, "output": 1000}})
    boss, body = bearer("admin"), {"model": "m", "messages": turns(0), "max_tokens": 5}

    def look(key, **more):
        r = gw.admin("/explain?key=" + key, "POST", {**body, **more}, headers=boss)
        assert r.status == 200, r
        return r.json()
    e = look("a")
    left = {x["what"]: (x["of"], x["limit"], x["remaining"], x["fits"]) for x in e["headroom"]}
    assert left == {"requests per minute": ("this key", 2, 2, True), "concurrent requests": ("this key", 5, 5, True)}, left
    assert e["permitted"] and e["admitted"] and e["key"] == "a"
    money = e["targets"][1]["budgets"]
    assert [(b["scope"], b["id"], b["remaining_usd"]) for b in money] == [("key", "a", 0.01)], e
    assert [t["reason"] for t in look("a", max_tokens=50)["targets"]] == ["budget", "budget"]
    assert not look("a", model="p1/x")["permitted"]
    assert look("admin")["headroom"] == [] and look("admin")["targets"][0]["budgets"] == []
    assert {r["key"] for r in gw.wait_log("/admin/v1/explain", "audit")} == {"admin"}, "the key is not who asks"
    assert gw.chat(model="m", max_tokens=1, headers=bearer("a")).status == 200
    scene.wait_for(lambda: look("a")["targets"][1]["budgets"][0]["reserved_usd"] == 0, "the scribe")
    e = look("a")
    assert e["headroom"][0]["remaining"] == 1 and e["limits"]["x-ratelimit-remaining-requests"] == "1", e
    assert (e["targets"][0]["reason"], e["targets"][0]["limits"][0]["of"]) == ("limit", "the provider"), e
    r = gw.admin("/keys", "POST", {"id": "s", "limits": {"tokens_per_hour": 7}}, headers=boss)
    assert r.status == 201 and look("s")["headroom"][0]["limit"] == 7
    assert gw.admin("/explain?key=nobody", "POST", body, headers=boss).status == 400


if __name__ == "__main__":
    scene.main()
