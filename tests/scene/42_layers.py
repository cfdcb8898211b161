"""Every layer's limits, of every kind and period, on one shared view of four workers."""

import scene
from layers import admin_and_keys, at_once, bearer, statuses


def test_each_layer_refuses_exactly_what_is_beyond_it():
    """8 pass of 32 at once over four workers, whichever layer says 8, and the refusal names it."""
    up = scene.Upstream()
    rows = {
        "this user": {"auth": admin_and_keys("a", user_limits={"requests_per_day": 8})},
        "this tenant": {"auth": admin_and_keys("a", "b", tenant="t"),
                        "tenants": [{"id": "t", "limits": {"requests_per_hour": 8}}]},
        "this model": {"models": [{"name": "m", "targets": [{"provider": "up", "model": "m"}],
                                   "limits": {"requests_per_hour": 8}}]},
        "this endpoint": {"endpoint_limits": {"chat": {"requests_per_hour": 8}}},
        "the gateway": {"limits": {"requests_per_day": 8}},
    }
    for whose, conf in rows.items():
        conf = {"providers": [up.provider("up", retry={"max": 0})], "auth": admin_and_keys("a"), **conf}
        gw = scene.Gateway(conf, workers=4)
        keys = ["a", "b"] if whose == "this tenant" else ["a"]
        got = at_once(32, lambda i: gw.chat("up/m" if whose != "this model" else "m", user="u",
                                            headers=bearer(keys[i % len(keys)])))
        assert statuses(got) == {200: 8, 429: 24}, (whose, statuses(got))
        refused = next(a for a in got if a.status == 429)
        text = refused.json()["error"]["message"]
        period = "day" if whose in ("this user", "the gateway") else "hour"
        assert text == f"Rate limit reached for {whose}: 8 requests per {period}.", text
        wait = 86400 / 8 if period == "day" else 3600 / 8
        assert wait - 10 < int(refused.headers["retry-after"]) <= wait + 1, (whose, refused.headers)
        assert refused.headers["x-ratelimit-limit-requests"] == "8"
        gw.stop()


def test_a_path_and_a_surface_each_have_limits_of_their_own():
    up = scene.Upstream()
    gw = scene.Gateway({"providers": [up.provider("up")], "endpoint_limits": {
        "/v1/chat/*": {"requests_per_hour": 3}, "messages": {"requests_per_hour": 1}}}, workers=2)
    assert statuses([gw.chat("up/m") for _ in range(5)]) == {200: 3, 429: 2}
    ask = {"model": "up/m", "max_tokens": 5, "messages": [{"role": "user", "content": "hi"}]}
    got = [gw.post("/v1/messages", ask) for _ in range(3)]
    assert statuses(got) == {200: 1, 429: 2}
    assert got[2].json()["error"]["type"] == "rate_limit_error", "in the client's own dialect"


def test_all_of_a_system_has_a_limit_of_its_own():
    gw = scene.Gateway({"providers": [scene.Upstream().provider("up")], "endpoint_limits": {
        "S3": {"requests_per_minute": 2}, "s4": {"requests_per_minute": 1}, "native": {"requests_per_minute": 3},
        "spelt-wrong": {"requests_per_minute": 1}}}, workers=4)
    message = [{"role": "user", "content": "Hi"}]

    def ask(path, body):
        return gw.post(path, {"model": "up/m", **body}).status
    assert [ask("/api/v1/completion", {"messages": message}) for _ in range(3)] == [200, 200, 429]
    assert ask("/api/v1/embedding", {"input": "x"}) == 429
    assert [ask(p, {"query": "Hi"}) for p in ("/v1/gateway/query", "/api/query")] == [200, 429]
    got = [ask("/v1/chat/completions", {"messages": message}), ask("/v1/messages", {"messages": message, "max_tokens": 9}),
           ask("/v1/responses", {"input": "Hi"}), ask("/v1/chat/completions", {"messages": message})]
    assert got == [200, 200, 200, 429], got
    assert ask("/chat/completions", {"messages": message}) == 200, "s0 has none"
    told = gw.wait_log("there is no endpoint", "config")
    assert [r["message"] for r in told] == ["endpoint_limits: there is no endpoint spelt-wrong"], told


def test_users_are_told_apart_and_belong_to_their_key():
    up = scene.Upstream()
    gw = scene.Gateway({"providers": [up.provider("up")],
                        "auth": admin_and_keys("a", "b", user_limits={"requests_per_day": 2})}, workers=4)
    ask = lambda key, user: gw.chat("up/m", user=user, headers=bearer(key))
    for key, user in (("a", "one"), ("a", "two"), ("b", "one")):
        assert statuses(at_once(6, lambda i: ask(key, user))) == {200: 2, 429: 4}, (key, user)
    assert gw.chat("up/m", headers=bearer("a")).status == 200, "a request that names none has none"


def test_made_up_users_do_not_escape_and_fill_nothing():
    up = scene.Upstream()
    gw = scene.Gateway({"providers": [up.provider("up")],
                        "auth": admin_and_keys("a", user_limits={"requests_per_day": 1})}, workers=2)
    c, n = gw.client(), 0
    for i in range(4000):
        c.request("POST", "/v1/chat/completions", {"model": "up/m", "user": f"u{i}", "messages": [
            {"role": "user", "content": "hi"}]}, bearer("a"))
        n += c.response().status == 200
    # some thousand have a bucket of their own, the others share 512
    assert 2048 <= n <= 2048 + 512, n
    assert gw.chat("up/another", headers=bearer("a")).status == 200


def test_input_and_output_tokens_are_limited_apart():
    def script(a):
        a.whole(200, scene.chat_reply(prompt=300, completion=40))
    up = scene.Upstream(script)
    for kind, used in (("input_tokens", 300), ("output_tokens", 40), ("tokens", 340)):
        gw = scene.Gateway({"providers": [up.provider("up")], "limits": {f"{kind}_per_day": 3 * used}}, workers=2)
        got = [gw.chat("up/m", max_tokens=1) for _ in range(4)]
        assert statuses(got) == {200: 3, 429: 1}, (kind, statuses(got))
        words = kind.replace("_", " ")
        assert f"{3 * used} {words} per day" in got[3].json()["error"]["message"]
        assert got[0].headers["x-ratelimit-limit-tokens"] == str(3 * used)
        gw.stop()


def test_what_was_never_sent_costs_the_caller_nothing():
    """The provider is full: the key's requests and tokens come back."""
    up = scene.Upstream()
    gw = scene.Gateway({
        "providers": [up.provider("up", retry={"max": 0}, limits={"requests_per_day": 1}), up.provider("free")],
        "auth": admin_and_keys("a", limits={"requests_per_day": 5})}, workers=2)
    assert gw.chat("up/m", headers=bearer("a")).status == 200
    for _ in range(10):
        r = gw.chat("up/m", headers=bearer("a"))
        assert r.status == 429 and "the provider" in r.json()["error"]["message"], r
        assert r.headers["x-ratelimit-limit-requests"] == "1" and r.headers["x-ratelimit-remaining-requests"] == "0"
    assert gw.chat("free/m", headers=bearer("a")).headers["x-ratelimit-remaining-requests"] == "3"


def test_a_fallbacks_model_has_its_own_limits():
    bad, good = scene.Upstream(scene.status_script(500)), scene.Upstream()
    gw = scene.Gateway({
        "providers": [bad.provider("bad", retry={"max": 0}, breaker={"consecutive_failures": 0, "error_rate": 0}),
                      good.provider("good")],
        "models": [
            {"name": "m", "targets": [{"provider": "bad", "model": "a"}], "fallbacks": ["f"]},
            {"name": "f", "targets": [{"provider": "good", "model": "b"}], "limits": {"requests_per_day": 3}}]},
        workers=4)
    got = at_once(12, lambda i: gw.chat("m"))
    assert statuses(got) == {200: 3, 500: 9}, statuses(got)
    assert len(good.requests) == 3
    assert gw.chat("f").status == 429, "asked for by its own name it is the same bucket"


if __name__ == "__main__":
    scene.main()
