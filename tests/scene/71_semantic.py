"""The semantic cache: the same in other words, on all workers at once, and never across what must be equal."""

import random
import signal
import threading

import scene
from layers import at_once

CAPITAL, AGAIN = "What is the capital of France?", "the capital of france is what"


def numbered():
    """Every answer is another one: what is equal came out of the cache."""
    count = [0]
    lock = threading.Lock()

    def script(a):
        body = a.request.json()
        if "/embeddings" in a.request.path:
            a.upstream.embed(a, body)
            return
        with lock:
            count[0] += 1
            n = count[0]
        if not body.get("stream"):
            a.whole(200, scene.chat_reply(text=f"answer {n}"))
            return
        a.sse()
        a.event(scene.chat_chunk(f"answer {n}"))
        a.event(scene.chat_chunk(finish="stop"))
        if (body.get("stream_options") or {}).get("include_usage"):
            a.event(scene.chat_usage())
        a.event("[DONE]")
        a.end()
    return script


def gateway(up, workers=2, semantic=None, cache=None, **more):
    conf = {"providers": [up.provider(breaker={"consecutive_failures": 0, "error_rate": 0})],
            "cache": {"enabled": True, "semantic": {"enabled": True, **(semantic or {})}, **(cache or {})}}
    return scene.Gateway({**conf, **more}, workers=workers)


def how(r):
    assert r.status == 200, r
    return r.headers.get("x-penstock-cache")


def stats(gw):
    return gw.admin("/cache/stats").json()


KEYS = {"keys": [{"id": "one", "key": {"value": "sk-one"}, "tenant": "t"},
                 {"id": "two", "key": {"value": "sk-two"}, "tenant": "t"},
                 {"id": "three", "key": {"value": "sk-three"}, "tenant": "other"},
                 {"id": "boss", "key": {"value": "sk-boss"}, "permissions": ["completion", "admin"]}]}
ONE, TWO, THREE, BOSS = ({"authorization": f"Bearer sk-{n}"} for n in ("one", "two", "three", "boss"))


# --- hits ---


def test_the_same_in_other_words_on_every_worker():
    up = scene.Upstream(numbered())
    gw = gateway(up, workers=4)
    for stream in (False, True):
        first = gw.chat(text=CAPITAL, stream=stream)
        assert how(first) == "miss" and "x-penstock-cache-similarity" not in first.headers
        want = len(up.requests)

        def served():
            return {w["number"]: w["requests"] for w in gw.admin("/workers").json()["workers"]}
        before = served()

        def all_hit():
            for r in at_once(24, lambda i: gw.chat(text=AGAIN, stream=stream)):
                assert how(r) == "semantic", r
                assert r.body == first.body and r.headers["content-type"] == first.headers["content-type"]
                assert 0.95 <= float(r.headers["x-penstock-cache-similarity"]) <= 1, r.headers
                assert r.headers["x-penstock-provider"] == "up" and r.headers["x-penstock-attempts"] == "0"
            after = served()
            return all(after[n] > before[n] + 1 for n in before)
        scene.wait_for(all_hit, "every worker to serve a hit", 30)
        assert len(up.requests) == want
        assert how(gw.chat(text=CAPITAL, stream=stream)) == "hit"


def test_off_is_the_default():
    up = scene.Upstream(numbered())
    gw = scene.Gateway({"providers": [up.provider()], "cache": {"enabled": True}})
    assert [how(gw.chat(text=t)) for t in (CAPITAL, AGAIN, AGAIN)] == ["miss", "miss", "hit"]
    assert stats(gw)["semantic"] is False and stats(gw)["semantic_entries"] == 0


def test_a_hit_costs_nothing_and_is_counted():
    up = scene.Upstream(numbered())
    gw = gateway(up, models=[{"name": "priced", "targets": [{"provider": "up", "model": "m"}],
                              "prices": {"input": 1, "output": 2}}])
    assert [how(gw.chat("priced", t)) for t in (CAPITAL, AGAIN, CAPITAL)] == ["miss", "semantic", "hit"]
    assert [how(gw.chat("priced", t, stream=True)) for t in (CAPITAL, AGAIN)] == ["miss", "semantic"]
    total = scene.wait_for(lambda: (t := gw.admin("/usage").json()["total"])["requests"] == 5 and t, "5 in the ledger")
    cost = (7 * 1 + 3 * 2) / 1e6
    assert (total["input_tokens"], total["output_tokens"]) == (14, 6) and abs(total["cost_usd"] - 2 * cost) < 1e-12, total
    lines = scene.wait_for(lambda: len(x := [r for r in gw.log("response") if r["cache"] == "semantic"]) == 2 and x, "lines")
    for x in lines:
        assert x["cost_usd"] == 0 and x["input_tokens"] == 0 and x["attempts"] == [] and x["provider"] == "up", x
    s, m = stats(gw), gw.metrics()
    assert (s["hits"], s["semantic_hits"], s["misses"], s["semantic_entries"]) == (1, 2, 2, 2), s
    assert s["hit_rate"] == 0.6 and s["tokens_saved"] == 30 and abs(s["usd_saved"] - 3 * cost) < 1e-12, s
    assert m["penstock_cache_semantic_hits_total"] == 2 and m["penstock_cache_hits_total"] == 1
    assert m["penstock_cache_semantic_entries"] == 2 and m["penstock_cache_tokens_saved_total"] == 30
    assert abs(m["penstock_cache_saved_usd_total"] - 3 * cost) < 1e-12


def test_of_other_clients():
    up = scene.Upstream(numbered())
    gw = gateway(up)
    asks = [
        lambda t: ("/v1/messages", {"model": "up/m", "max_tokens": 9, "messages": [{"role": "user", "content": t}]}),
        lambda t: ("/v1/messages", {"model": "up/m", "max_tokens": 9, "stream": True,
                                    "messages": [{"role": "user", "content": [{"type": "text", "text": t}]}]}),
        lambda t: ("/v1/responses", {"model": "up/m", "input": t}),
        lambda t: ("/v1beta/models/up%2Fm:generateContent", {"contents": [{"role": "user", "parts": [{"text": t}]}]}),
        lambda t: ("/v1/chat/completions", {"model": "up/m", "messages": [
            {"role": "system", "content": "s"}, {"role": "user", "content": "x"}, {"role": "assistant", "content": "y"},
            {"role": "user", "content": t}]}),
    ]
    for i, ask in enumerate(asks):
        first = gw.post(*ask(CAPITAL))
        assert how(first) == "miss" and len(up.requests) == i + 1
        again = gw.post(*ask(AGAIN))
        assert how(again) == "semantic" and again.body == first.body, again


# --- misses ---


def test_what_only_looks_the_same():
    up = scene.Upstream(numbered())
    gw = gateway(up)
    pairs = [("Is this mushroom from the forest safe to eat?", "Is this mushroom from the forest not safe to eat?"),
             ("Is this mushroom from the forest safe to eat?", "Isn't this mushroom from the forest safe to eat?"),
             ("Who was president of France in 2023?", "Who was president of France in 2024?"),
             ("How do I sort a list in C", "How do I sort a list in C++"),
             (CAPITAL, "What is the capital of Finland?"),
             ("word " * 400 + "one", "word " * 400 + "other")]
    for text, other in pairs:
        gw.chat(text=text)
        assert how(gw.chat(text=other)) == "miss", other
        assert how(gw.chat(text=text)) == "hit"


def test_all_else_must_be_equal():
    up = scene.Upstream(numbered())
    gw = gateway(up, models=[{"name": n, "targets": [{"provider": "up", "model": "m"}]} for n in ("a", "b")])
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}

    def ask(text, change):
        before = change.pop("before", []) if "before" in change else []
        return gw.post("/v1/chat/completions", {"model": "a", "messages": before + [{"role": "user", "content": text}], **change})
    changes = [
        {}, {"temperature": 0}, {"temperature": 0.5}, {"max_tokens": 5}, {"seed": 1}, {"stop": "x"}, {"n": 1},
        {"tools": [tool]}, {"tools": [{**tool, "function": {**tool["function"], "description": "d"}}]},
        {"response_format": {"type": "json_object"}}, {"model": "b"}, {"model": "up/m"}, {"model": "up/n"},
        {"stream": True}, {"x_unknown": 1}, {"before": [{"role": "system", "content": "s"}]},
        {"before": [{"role": "system", "content": "t"}]}, {"before": [{"role": "developer", "content": "s"}]},
        {"before": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]},
        {"before": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "c"}]},
    ]
    first = []
    for change in changes:
        r = ask(CAPITAL, dict(change))
        assert how(r) == "miss", (change, r)
        first.append(r.body)
    for change, body in zip(changes, first):
        r = ask(AGAIN, dict(change))
        assert how(r) == "semantic" and r.body == body, (change, r)
    assert len(up.requests) == len(changes)


def test_pictures_are_not_looked_for():
    up = scene.Upstream(numbered())
    gw = gateway(up)
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    for text in (CAPITAL, AGAIN):
        r = gw.post("/v1/chat/completions", {"model": "up/m", "messages": [
            {"role": "user", "content": [{"type": "text", "text": text}, picture]}]})
        assert how(r) == "miss", r
    assert stats(gw)["semantic_entries"] == 0


def test_nobody_gets_what_is_anothers():
    up = scene.Upstream(numbered())
    for scope, want in (("key", "miss miss miss"), ("tenant", "semantic miss miss"), ("global", "semantic semantic semantic")):
        gw = gateway(up, cache={"scope": scope}, auth=KEYS)
        first = gw.chat(text=CAPITAL, headers=ONE)
        assert how(first) == "miss"
        assert how(gw.chat(text=AGAIN, headers=ONE)) == "semantic"
        got = []
        for other in (TWO, THREE, BOSS):
            r = gw.chat(text=AGAIN, headers=other)
            got.append(how(r))
            assert (r.body == first.body) == (how(r) == "semantic")
        assert " ".join(got) == want, (scope, got)
        gw.stop()


def test_thresholds_and_modes():
    up = scene.Upstream(numbered())
    gw = gateway(up, models=[{"name": "plain", "targets": [{"provider": "up", "model": "m"}]},
                             {"name": "strict", "targets": [{"provider": "up", "model": "m"}], "cache": {"threshold": 1.0}},
                             {"name": "loose", "targets": [{"provider": "up", "model": "m"}], "cache": {"threshold": 0.5}}])
    for model in ("plain", "strict", "loose"):
        assert how(gw.chat(model, CAPITAL)) == "miss"
    assert how(gw.chat("plain", AGAIN)) == "semantic" and how(gw.chat("strict", AGAIN)) == "miss"
    assert how(gw.chat("strict", CAPITAL.upper())) == "semantic"  # as similar as 1
    assert how(gw.chat("loose", "What is the capital city of France, please?")) == "semantic"
    for i, (hints, want) in enumerate((({"mode": "exact"}, "miss"), ({"mode": "off"}, "bypass"), ({"mode": "semantic"}, "semantic"),
                        ({"similarity": 1}, "miss"), ({"similarity": 0.5}, "semantic"))):
        r = gw.chat("plain", AGAIN + "?" * (i + 2), routing={"cache": hints})
        assert how(r) == want, (hints, want, r)
    r = gw.chat("plain", AGAIN + "!!", headers={"cache-control": "no-cache"})
    assert how(r) == "bypass"
    assert how(gw.chat("plain", AGAIN + "!!", headers={"cache-control": "no-store"})) == "bypass"


# --- time and clearing ---


def test_ttl():
    up = scene.Upstream(numbered())
    gw = gateway(up, cache={"ttl": "700ms"})
    first = gw.chat(text=CAPITAL)
    assert how(gw.chat(text=AGAIN)) == "semantic"

    def gone():
        r = gw.chat(text=AGAIN + "?" * random.randrange(99))
        return how(r) == "miss" and r.body != first.body
    scene.wait_for(gone, "it to expire", 10)


def test_a_hint_may_shorten_the_ttl():
    up = scene.Upstream(numbered())
    gw = gateway(up)
    gw.chat(text=CAPITAL, routing={"cache": {"ttl": 1}})
    assert how(gw.chat(text=CAPITAL)) == "hit"
    scene.wait_for(lambda: how(gw.chat(text=AGAIN)) == "miss", "it to expire", 10)
    assert how(gw.chat(text=AGAIN + "?")) == "semantic"


def test_clearing_is_at_once_for_all():
    up = scene.Upstream(numbered())
    gw = gateway(up, workers=4, auth=KEYS, models=[{"name": n, "targets": [{"provider": "up", "model": "m"}]} for n in ("a", "b")])

    def fill():
        for model in ("a", "b"):
            for key in (ONE, TWO):
                gw.chat(model, CAPITAL, headers=key)

    def ask():
        got = at_once(16, lambda i: (i % 4, how(gw.chat("ab"[i % 2], AGAIN, headers=(ONE, TWO)[i // 2 % 2],
                                                          routing={"cache": {"mode": "semantic"}}))))
        out = {}
        for i, h in got:
            out.setdefault(i, set()).add(h)
        return out
    for query, cleared in (("?model=a", {0, 2}), ("?key=two", {2, 3}), ("", {0, 1, 2, 3})):
        fill()
        assert all(v == {"semantic"} for v in ask().values())
        assert gw.admin("/cache" + query, "DELETE", headers=BOSS).status == 200
        entries = gw.admin("/cache/stats", headers=BOSS).json()["semantic_entries"]
        assert entries == 4 - len(cleared), (query, entries)
        for i, h in ask().items():
            assert ("semantic" not in h or len(h) > 1 or i not in cleared), (query, i, h)
            assert (i in cleared) == ("miss" in h), (query, i, h)
        gw.admin("/cache", "DELETE", headers=BOSS)
    fill()
    assert gw.admin("/cache?older_than=1h", "DELETE", headers=BOSS).json()["cleared"] == 0
    assert all(v == {"semantic"} for v in ask().values())


def test_killed_workers_and_reloads_lose_nothing():
    up = scene.Upstream(numbered())
    gw = gateway(up, workers=4)
    first = gw.chat(text=CAPITAL)
    words = ["apple", "river", "stone", "cloud", "garden", "engine", "letter", "winter", "silver", "market"]
    done = threading.Event()

    def load():
        while not done.is_set():
            try:
                gw.chat(text=" ".join(random.choice(words) for _ in range(6)))
            except (OSError, scene.Closed):
                pass
    threads = [threading.Thread(target=load, daemon=True) for _ in range(4)]
    for t in threads:
        t.start()
    for _ in range(8):
        pids = scene.wait_for(lambda: len(p := gw.worker_pids()) >= 4 and p, "four workers")
        gw.signal(signal.SIGKILL, random.choice(pids))
        scene.wait_for(lambda: gw.get("/readyz").status == 200, "the gateway to serve")
    done.set()
    for t in threads:
        t.join(30)
    gw.signal(signal.SIGHUP)
    gw.wait_workers(4, generation=2)

    def hits():
        try:
            r = gw.chat(text=AGAIN)
        except (OSError, scene.Closed):
            return False
        assert how(r) == "semantic" and r.body == first.body, r
        return True
    scene.wait_for(hits, "a hit")


def test_a_full_table_gives_up_the_oldest():
    up = scene.Upstream(numbered())
    gw = gateway(up, semantic={"max_entries": 8})
    texts = [f"Please tell me about the history of {w}" for w in
             ("apples", "rivers", "stones", "clouds", "gardens", "engines", "letters", "winters", "silver", "markets")]
    for t in texts:
        assert how(gw.chat(text=t)) == "miss"
    assert stats(gw)["semantic_entries"] == 8
    assert how(gw.chat(text=texts[9] + "?")) == "semantic"
    assert how(gw.chat(text=texts[0] + "?")) == "miss"


# --- a provider makes the vectors ---


def by_provider(script, workers=2, timeout="20s", embed=None, **more):
    """The embedder is a provider of its own, with that script."""
    chat, vec = scene.Upstream(numbered()), scene.Upstream(script)
    gw = scene.Gateway({
        "providers": [chat.provider(), vec.provider("vec", retry={"max": 0}, **(embed or {}))],
        "models": [{"name": "e", "targets": [{"provider": "vec", "model": "e"}], "prices": {"input": 10, "output": 0}}],
        "cache": {"enabled": True, "semantic": {"enabled": True, "threshold": 0.9, "timeout": timeout,
                                                "embedder": {"provider": "vec", "model": "e"}}}, **more}, workers=workers)
    return gw, chat, vec


def vector(a, dim=1536):
    """Texts that begin with the same word mean the same."""
    text = a.request.json()["input"]
    text = text[0] if isinstance(text, list) else text
    r = random.Random(text.split()[0])
    v = [r.gauss(0, 1) for _ in range(dim)]
    r = random.Random(text)
    v = [x + r.gauss(0, 0.1) for x in v]
    a.whole(200, {"object": "list", "model": "e", "data": [{"object": "embedding", "index": 0, "embedding": v}],
                  "usage": {"prompt_tokens": 5, "total_tokens": 5}})


def test_a_provider_embeds():
    gw, chat, vec = by_provider(vector, workers=4)
    first = gw.chat(text="france what is its capital")
    assert how(first) == "miss"
    for r in at_once(12, lambda i: gw.chat(text="france name the seat of its government" + "!" * i)):
        assert how(r) == "semantic" and r.body == first.body, r
        assert 0.95 < float(r.headers["x-penstock-cache-similarity"]) < 1
    assert how(gw.chat(text="finland what is its capital")) == "miss"
    assert how(gw.chat(text="france what is its capital in 1940")) == "miss"  # numbers count for all
    assert len(chat.requests) == 3 and len(vec.requests) == 15
    assert all(r.json()["model"] == "e" and r.path == "/v1/embeddings" for r in vec.requests)
    assert vec.requests[0].json()["input"] in ("france what is its capital", ["france what is its capital"])
    # it is paid for, and by no key
    rows = scene.wait_for(lambda: (u := gw.admin("/usage?group_by=provider,key").json())["total"]["requests"] == 30 and u,
                          "30 rows")["rows"]
    mine = [x for x in rows if x["provider"] == "vec"]
    assert len(mine) == 1 and mine[0]["key"] == "" and mine[0]["requests"] == 15 and mine[0]["input_tokens"] == 75, rows
    assert abs(mine[0]["cost_usd"] - 75 * 10 / 1e6) < 1e-12, mine
    m = gw.metrics()
    assert m["penstock_cache_embeddings_total"] == 15 and m["penstock_cache_embedding_failures_total"] == 0
    assert m['penstock_provider_input_tokens_total{provider="vec"}'] == 75
    assert how(gw.chat(text="france what is its capital")) == "hit" and len(vec.requests) == 15  # nobody is asked


def bodies(a):
    """One kind of rubbish after the other."""
    kinds = ["", "{", "[]", "null", '{"data": []}', '{"data": [{}]}', '{"data": [{"embedding": []}]}',
             '{"data": [{"embedding": [0, 0, 0]}]}', '{"data": [{"embedding": ["x"]}]}', '{"data": [{"embedding": [1e999]}]}',
             '{"data": [{"embedding": {"a": 1}}]}', '{"error": {"message": "scripted"}}', '{"data": 7}', "x" * (3 << 20)]
    a.whole(200, kinds[len(a.upstream.requests) % len(kinds)])


def test_an_embedder_that_fails_is_a_miss():
    def reset(a):
        a.head(200, {"Content-Type": "application/json"}, 1000)
        a.raw("{")
        a.reset()
    for script in (scene.status_script(500), scene.status_script(401), scene.status_script(429), scene.status_script(404), reset, bodies):
        gw, chat, vec = by_provider(script, embed={"breaker": {"consecutive_failures": 0, "error_rate": 0}})
        for i in range(16):
            assert how(gw.chat(text=f"ask this{'x' * i} of it")) == "miss"
            assert how(gw.chat(text=f"ask this{'x' * i} of it")) == "hit"
        assert len(chat.requests) == 16 and vec.requests and gw.metrics()["penstock_cache_embedding_failures_total"] >= 16
        assert len([x for x in gw.log("cache") if "embedder" in x["message"]]) <= 2  # once by each worker
        gw.stop()


def test_a_dead_embedder_is_left_alone():
    gw, chat, vec = by_provider(scene.status_script(503), embed={"breaker": {"consecutive_failures": 3, "open_for": "60s"}})
    for i in range(20):
        assert how(gw.chat(text=f"ask this{'x' * i}")) == "miss"
    assert len(chat.requests) == 20 and len(vec.requests) == 3
    vec.stop()
    assert how(gw.chat(text="something else")) == "miss"


def test_a_slow_embedder_is_not_waited_for():
    gw, chat, vec = by_provider(lambda a: a.until_closed(), timeout="300ms",
                                embed={"breaker": {"consecutive_failures": 0, "error_rate": 0}})
    got = at_once(8, lambda i: gw.chat(text=f"ask this{'x' * i}"))
    assert [how(r) for r in got] == ["miss"] * 8
    assert len(vec.requests) == 8
    for r in vec.requests:
        assert r.closed.wait(10)


def test_a_client_that_leaves_meanwhile():
    gw, chat, vec = by_provider(lambda a: a.until_closed(), workers=1)
    c = gw.client()
    c.request("POST", "/v1/chat/completions", {"model": "up/m", "messages": [{"role": "user", "content": "Hi"}]})
    scene.wait_for(lambda: vec.requests, "the embedder to be asked")
    c.close()
    assert vec.requests[0].closed.wait(10) and not chat.requests
    total = scene.wait_for(lambda: (t := gw.admin("/usage").json()["total"])["requests"] == 1 and t, "its row")
    assert total["input_tokens"] == 0
    # and a gateway that stops meanwhile
    c = gw.client()
    c.request("POST", "/v1/chat/completions", {"model": "up/m", "messages": [{"role": "user", "content": "Ho"}]})
    scene.wait_for(lambda: len(vec.requests) == 2, "the embedder to be asked")
    gw.stop()


def test_an_embedder_without_embeddings():
    up = scene.Upstream(numbered())
    gw = scene.Gateway({"providers": [up.provider(), {"name": "claude", "kind": "anthropic", "key": {"value": "k"},
                                                      "base_url": "http://127.0.0.1:9"}],
                        "cache": {"enabled": True, "semantic": {"enabled": True, "embedder": {"provider": "claude", "model": "e"}}}})
    assert [how(gw.chat(text=CAPITAL)) for _ in range(2)] == ["miss", "hit"]
    assert gw.wait_log("has no embeddings", "config")


if __name__ == "__main__":
    scene.main()
