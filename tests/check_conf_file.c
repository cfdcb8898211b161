/* What a file can say: each option of the table, expansion, further files, and -T. */
#include "base/clock.h"
#include "base/hash.h"
#include "base/json.h"
#include "conf_cases.h"
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

static const char whole[] =
    "listen:\n"
    "  - address: 127.0.0.1:8081\n"
    "    surfaces: [native, Metrics]\n"
    "  - {address: 'unix:/run/x.sock', mode: 0600, group: web}\n"
    "  - localhost:8082\n"
    "admin_listen: 'unix:/run/admin.sock'\n"
    "user: penstock\n"
    "group: www\n"
    "workers: 3\n"
    "state_dir: /s\n"
    "pid_file: p.pid\n"
    "drain_timeout: 5m\n"
    "stop_timeout: 250ms\n"
    "limits:\n"
    "  requests_per_minute: 120\n"
    "  tokens_per_minute: 200000\n"
    "  concurrent: none\n"
    "  max_connections: 99\n"
    "  max_request_body: 1MB\n"
    "  max_response_body: 2048\n"
    "  header_timeout: 1h\n"
    "  body_rate: 0\n"
    "  idle_timeout: 1s\n"
    "providers:\n"
    "  - name: first\n"
    "    kind: OpenAI\n"
    "    base_url: http://[::1]:99/v1\n"
    "    keys: [{value: sk-one, weight: 7, id: main}, sk-two]\n"
    "    default_model: m\n"
    "    organization: org\n"
    "    headers: {X-Title: a b, x-number: 5}\n"
    "    limits: {requests_per_minute: 60, tokens_per_minute: 1, concurrent: 2}\n"
    "    timeouts: {connect: 1ms, first_byte: 2s, idle: 3s, total: 4s}\n"
    "    retry: {max: 0, initial_backoff: 0, max_backoff: 1d, factor: 1.5, jitter: 1, honour_retry_after: "
    "no}\n"
    "    breaker: {consecutive_failures: 1, error_rate: 0.25, window: 2s, min_requests: 3, open_for: 4s,\n"
    "              max_open_for: 5s, half_open_probes: 6}\n"
    "    health_check: {every: 0s, path: /h}\n"
    "    http2: on\n"
    "    proxy: socks5://p:1\n"
    "    tls: {verify: off}\n"
    "  - {kind: claude, enabled: false}\n"
    "  - {name: mock}\n"
    "models:\n"
    "  - name: one\n"
    "    display_name: Number One\n"
    "    targets: [{provider: FIRST, model: x, weight: 9}, {provider: anthropic}]\n"
    "    strategy: Round_Robin\n"
    "    on_unsupported: drop\n"
    "    fallbacks: [two, first/gpt, first.gpt]\n"
    "    fallback_on: [timeout, rate-limit]\n"
    "    context_window: 1000\n"
    "    max_output: 10\n"
    "    prices: {input: 2.50, cached_input: 0.000000001, cache_write: 0, output: 10, reasoning: 1.5,\n"
    "             audio_in: 3, audio_out: 1000000}\n"
    "  - {id: two, targets: {provider: mock}}\n"
    "fallback_rules:\n"
    "  - {model: first.big, fallback_models: [first/small], error_codes: server_error}\n"
    "routing: {fallback: false, default_model: one, default_strategy: weighted, default_provider: claude,\n"
    "          infer_provider: no}\n"
    "auth:\n"
    "  mode: Keys\n"
    "  default_limits: {requests_per_minute: 6, tokens_per_minute: 7, concurrent: 8}\n"
    "  keys:\n"
    "    - {id: a, key: {value: secret}, owner: O, tenant: T, permissions: [admin], models: ['gpt-*', x],\n"
    "       limits: {tokens_per_minute: none, concurrent: 1}, expires: 2030-01-02}\n"
    "    - {id: b, hash: 'sha256:00000000000000000000000000000000000000000000000000000000000000ff'}\n"
    "cache: {enabled: true, ttl: 2h, max_size: 2MiB, max_entry: 2KiB, scope: tenant, only_deterministic: "
    "true,\n"
    "        stream: false}\n"
    "prices: {file: p/prices.json}\n"
    "log: {level: WARNING, target: syslog, format: text, access: false}\n";

START_TEST(every_option) {
    struct conf *c = load_ok(whole);
    ck_assert_uint_eq(c->nlisten, 4);
    ck_assert_uint_eq(c->listen[0].surfaces, SURFACE_NATIVE | SURFACE_METRICS);
    ck_assert_uint_eq(c->listen[0].port, 8081);
    ck_assert(c->listen[1].is_unix);
    ck_assert_uint_eq(c->listen[1].mode, 0600);
    ck_assert_str_eq(c->listen[1].group, "web");
    ck_assert_uint_eq(c->listen[2].surfaces, SURFACE_ALL);
    ck_assert_str_eq(c->listen[3].path, "/run/admin.sock");
    ck_assert_uint_eq(c->listen[3].surfaces, SURFACE_ADMIN);
    ck_assert_str_eq(c->user, "penstock");
    ck_assert_str_eq(c->group, "www");
    ck_assert_uint_eq(c->workers, 3);
    ck_assert_str_eq(c->state_dir, "/s");
    ck_assert_str_eq(c->pid_file, test_path("p.pid"));
    ck_assert_uint_eq(c->drain_timeout, 300000);
    ck_assert_uint_eq(c->stop_timeout, 250);
    ck_assert_uint_eq(c->limits.requests_per_minute, 120);
    ck_assert_uint_eq(c->limits.tokens_per_minute, 200000);
    ck_assert_uint_eq(c->limits.concurrent, CONF_NO_LIMIT);
    ck_assert_uint_eq(c->max_connections, 99);
    ck_assert_uint_eq(c->max_request_body, 1000000);
    ck_assert_uint_eq(c->max_response_body, 2048);
    ck_assert_uint_eq(c->header_timeout, 3600000);
    ck_assert_uint_eq(c->body_rate, 0);
    ck_assert_uint_eq(c->idle_timeout, 1000);
    ck_assert(!c->routing.fallback && !c->routing.infer_provider && c->routing.default_provider_said);
    ck_assert_str_eq(c->routing.default_model, "one");
    ck_assert_str_eq(c->routing.default_provider, "anthropic");
    ck_assert_int_eq(c->routing.default_strategy, STRATEGY_WEIGHTED);
    ck_assert(c->cache.enabled && c->cache.only_deterministic && !c->cache.stream);
    ck_assert_uint_eq(c->cache.ttl, 7200000);
    ck_assert_uint_eq(c->cache.max_size, 2 << 20);
    ck_assert_uint_eq(c->cache.max_entry, 2048);
    ck_assert_int_eq(c->cache.scope, CACHE_SCOPE_TENANT);
    ck_assert_str_eq(c->prices_file, test_path("p/prices.json"));
    ck_assert_int_eq(c->log.level, LVL_WARN);
    ck_assert_int_eq(c->log.format, LOGFMT_TEXT);
    ck_assert_str_eq(c->log.target, "syslog");
    ck_assert(!c->log.access);
    ck_assert_str_eq(c->file, test_path("penstock.yaml"));
    done(c);
}
END_TEST

START_TEST(every_option_of_a_provider) {
    struct conf *c = load_ok(whole);
    ck_assert_uint_eq(c->nproviders, 3);
    const struct conf_provider *p = &c->providers[0];
    ck_assert_str_eq(p->name, "first");
    ck_assert_str_eq(p->kind->name, "openai");
    ck_assert(p->enabled && !p->from_environment);
    ck_assert_str_eq(p->base_url, "http://[::1]:99/v1");
    ck_assert_uint_eq(p->nkeys, 2);
    ck_assert_str_eq(p->keys[0].secret.text, "sk-one");
    ck_assert_str_eq(p->keys[0].id, "main");
    ck_assert_uint_eq(p->keys[0].weight, 7);
    ck_assert_str_eq(p->keys[1].secret.text, "sk-two");
    ck_assert_str_eq(p->keys[1].id, "first/1");
    ck_assert_str_eq(p->default_model, "m");
    ck_assert_str_eq(p->organization, "org");
    ck_assert_uint_eq(p->nheaders, 2);
    ck_assert_str_eq(p->headers[0].name, "X-Title");
    ck_assert_str_eq(p->headers[0].value, "a b");
    ck_assert_str_eq(p->headers[1].value, "5");
    ck_assert_uint_eq(p->limits.requests_per_minute, 60);
    ck_assert_uint_eq(p->limits.tokens_per_minute, 1);
    ck_assert_uint_eq(p->limits.concurrent, 2);
    ck_assert(p->connect == 1 && p->first_byte == 2000 && p->idle == 3000 && p->total == 4000);
    ck_assert(p->retry.max == 0 && p->retry.initial_backoff == 0 && p->retry.max_backoff == 86400000);
    ck_assert(p->retry.factor == 1.5 && p->retry.jitter == 1.0 && !p->retry.honour_retry_after);
    ck_assert(p->breaker.consecutive_failures == 1 && p->breaker.error_rate == 0.25);
    ck_assert(p->breaker.window == 2000 && p->breaker.min_requests == 3 && p->breaker.open_for == 4000);
    ck_assert(p->breaker.max_open_for == 5000 && p->breaker.half_open_probes == 6);
    ck_assert_uint_eq(p->health_every, 0);
    ck_assert_str_eq(p->health_path, "/h");
    ck_assert_int_eq(p->http2, HTTP2_ON);
    ck_assert_str_eq(p->proxy, "socks5://p:1");
    ck_assert(!p->tls.verify);
    ck_assert_uint_eq(p->where.line, 25);
    ck_assert_str_eq(c->providers[1].name, "anthropic"); /* by its kind */
    ck_assert(!c->providers[1].enabled);
    ck_assert_str_eq(c->providers[1].health_path, "/v1/models");
    ck_assert_str_eq(c->providers[2].kind->name, "mock"); /* by its name */
    done(c);
}
END_TEST

START_TEST(every_option_of_models_and_keys) {
    struct conf *c = load_ok(whole);
    const struct conf_model *m = conf_model(c, STR("one"));
    ck_assert_ptr_nonnull(m);
    ck_assert_str_eq(m->display_name, "Number One");
    ck_assert_uint_eq(m->ntargets, 2);
    ck_assert_str_eq(m->targets[0].provider, "first");
    ck_assert_uint_eq(m->targets[0].weight, 9);
    ck_assert_uint_eq(m->targets[1].provider_index, 1);
    ck_assert_str_eq(m->targets[1].model, "one");
    ck_assert_int_eq(m->strategy, STRATEGY_ROUND_ROBIN);
    ck_assert_int_eq(m->on_unsupported, UNSUPPORTED_DROP);
    ck_assert_uint_eq(m->nfallbacks, 3);
    ck_assert_uint_eq(m->fallback_on, 1U << FAULT_TIMEOUT | 1U << FAULT_RATE_LIMIT);
    ck_assert(m->context_window == 1000 && m->max_output == 10);
    ck_assert_int_eq(m->prices.input, 2500000000);
    ck_assert_int_eq(m->prices.cached_input, 1);
    ck_assert_int_eq(m->prices.cache_write, 0);
    ck_assert_int_eq(m->prices.audio_out, INT64_C(1000000000000000));
    const struct conf_model *two = conf_model(c, STR("two"));
    ck_assert_int_eq(two->strategy, STRATEGY_WEIGHTED); /* routing.default_strategy */
    ck_assert_int_eq(two->prices.input, -1);
    ck_assert_uint_eq(two->fallback_on, 1U << FAULT_RATE_LIMIT | 1U << FAULT_SERVER | 1U << FAULT_TIMEOUT |
                                            1U << FAULT_CONNECTION | 1U << FAULT_MODEL_NOT_FOUND |
                                            1U << FAULT_CONTEXT_LENGTH);
    ck_assert_ptr_null(conf_model(c, STR("ONE")));
    ck_assert_ptr_null(conf_model(c, STR("")));
    ck_assert_ptr_eq(conf_provider(c, STR("First")), &c->providers[0]);
    ck_assert_ptr_null(conf_provider(c, STR("second")));
    ck_assert_uint_eq(c->nfallback_rules, 1);
    ck_assert_uint_eq(c->fallback_rules[0].fallback_on, 1U << FAULT_SERVER);
    ck_assert_str_eq(c->fallback_rules[0].fallbacks[0], "first/small");

    const struct conf_gateway_key *k = &c->auth.keys[0];
    uint8_t hash[32];
    int64_t expires;
    sha256("secret", 6, hash);
    ck_assert_int_eq(memcmp(k->hash, hash, 32), 0);
    ck_assert_str_eq(k->source, "value");
    ck_assert_uint_eq(k->permissions, PERM_ADMIN);
    ck_assert_str_eq(k->owner, "O");
    ck_assert_str_eq(k->tenant, "T");
    ck_assert_uint_eq(k->nmodels, 2);
    ck_assert_uint_eq(k->limits.requests_per_minute, 6); /* by default_limits */
    ck_assert_uint_eq(k->limits.tokens_per_minute, CONF_NO_LIMIT);
    ck_assert_uint_eq(k->limits.concurrent, 1);
    ck_assert(clock_parse(STR("2030-01-02"), &expires) && k->expires == expires);
    ck_assert_uint_eq(c->auth.keys[1].permissions, PERM_COMPLETION | PERM_EMBEDDING);
    ck_assert_uint_eq(c->auth.keys[1].hash[31], 255);
    ck_assert_uint_eq(c->auth.keys[1].limits.concurrent, 8);
    ck_assert(c->auth.said && c->auth.mode == AUTH_KEYS);
    done(c);
}
END_TEST

/* claude/x is anthropic/x, unless a provider calls itself so. */
START_TEST(alias_of_a_kind) {
    static const char models[] =
        "models: [{name: m, targets: {provider: Claude}, fallbacks: [claude/x, CLAUDE.y]}]\n"
        "fallback_rules: [{model: claude/a, fallbacks: claude/b}]\n";
    static const struct {
        const char *providers;
        size_t meant;
    } rows[] = {
        {"{name: a, kind: anthropic, key: {value: k}}", 0},
        {"{name: a, kind: anthropic, enabled: no}, {name: b, kind: anthropic, key: {value: k}}", 1},
        {"{name: a, kind: anthropic, key: {value: k}}, {name: claude, kind: mock}", 1},
        {"{name: claude, kind: mock, enabled: no}, {name: b, kind: anthropic, key: {value: k}}", 0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char text[512];
        snprintf(text, sizeof text, "providers: [%s]\n%s", rows[i].providers, models);
        struct conf *c = load_ok(text);
        ck_assert_ptr_eq(conf_provider(c, STR("claude")), &c->providers[rows[i].meant]);
        ck_assert_uint_eq(c->models[0].targets[0].provider_index, rows[i].meant);
        done(c);
    }
}
END_TEST

START_TEST(many_models) {
    struct buf b;
    buf_init(&b, 0);
    buf_addz(&b, "models:\n");
    for (int i = 0; i < 1000; i++)
        buf_printf(&b, "- {name: m%d, targets: {provider: mock}}\n", i);
    buf_addz(&b, "providers: [{kind: mock}]\n");
    buf_addc(&b, '\0');
    struct conf *c = load_ok(buf_at(&b));
    for (int i = 0; i < 1000; i++) {
        char name[16];
        snprintf(name, sizeof name, "m%d", i);
        ck_assert_ptr_eq(conf_model(c, str_of(name)), &c->models[i]);
    }
    ck_assert_ptr_null(conf_model(c, STR("m1000")));
    buf_free(&b);
    done(c);
}
END_TEST

START_TEST(empty_files) {
    static const char *const texts[] = {"",      "\n",        "# nothing\n",
                                        "---\n", "limits:\n", "listen: ~\nauth: null\n"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct conf *c = load_ok(texts[i]);
        ck_assert_str_eq(c->providers[0].name, "mock");
        ck_assert_str_eq(c->listen[0].address, "127.0.0.1:8080");
        done(c);
    }
}
END_TEST

START_TEST(expansion) {
    setenv("A", "x", 1);
    setenv("EMPTY", "", 1);
    setenv("N", "7", 1);
    struct conf *c = load_ok("workers: ${N}\n"
                             "user: a${A}b$${A}c$$d$\n"
                             "group: ${NOT:-d-e}${EMPTY:-f}${EMPTY}${NOT:-}\n"
                             "state_dir: ${NOT:-}\n"
                             "pid_file: \"${A}\"\n");
    ck_assert_uint_eq(c->workers, 7);
    ck_assert_str_eq(c->user, "axb${A}c$$d$");
    ck_assert_str_eq(c->group, "d-ef");
    ck_assert(*c->state_dir == '/'); /* as if it were not there */
    done(c);
    refused("user: ${NOT_THERE}\n", "1:7: user: ${NOT_THERE}: the variable is not set");
    refused("user: ${A\n", "1:7: user: expected ${NAME}");
    refused("user: ${1}\n", "1:7: user: ${ must be followed");
    refused("user: ${A:x}\n", "1:7: user: expected ${NAME}");
    setenv("SECRET_ONE", "hunter2", 1);
    refused("workers: ${SECRET_ONE}\n",
            "1:10: workers: expected auto, or a whole number such as 4; got \"${SEC");
    ck_assert_ptr_null(strstr(errors.list[0].text, "hunter2"));
    conf_errors_free(&errors);
}
END_TEST

START_TEST(includes) {
    char dir[128];
    snprintf(dir, sizeof dir, "%s", test_path("inc.d"));
    ck_assert_int_eq(mkdir(dir, 0700), 0);
    test_file("inc.d/b.yaml", "providers: [{name: b, kind: mock}]\nlimits: {concurrent: 5}\n");
    test_file("inc.d/a.yaml", "providers: [{name: a, kind: mock}]\ninclude: deep.yml\n");
    test_file("inc.d/deep.yml", "user: deep\nstate_dir: here\n");
    struct conf *c = load_ok("include: inc.d/*.yaml\n"
                             "providers: [{name: c, kind: mock}]\nlimits: {requests_per_minute: 4}\n");
    ck_assert_uint_eq(c->nproviders, 3);
    ck_assert_str_eq(c->providers[0].name, "c");
    ck_assert_str_eq(c->providers[1].name, "a");
    ck_assert_str_eq(c->providers[2].name, "b");
    ck_assert(c->limits.concurrent == 5 && c->limits.requests_per_minute == 4);
    ck_assert_str_eq(c->user, "deep");
    ck_assert_str_eq(c->state_dir, test_path("inc.d/here"));
    done(c);
    done(load_ok("include: [none.d/*.yaml]\n"));
    refused("include: [inc.d/deep.yml, nothing.yaml]\n", "1:27: include[1]: there is no file");
    char want[300];
    snprintf(want, sizeof want, "...%s/inc.d/deep.yml:1:1: user: set in two files; the other is at %s:2:1",
             test_dir, test_path("penstock.yaml"));
    refused("include: inc.d/deep.yml\nuser: me\n", want);
    snprintf(want, sizeof want, "1:10: include: %s is included twice", test_path("penstock.yaml"));
    refused("include: penstock.yaml\n", want);
    snprintf(want, sizeof want, "...%s/inc.d/deep.yml:1:1: user: a value here and a list at", test_dir);
    refused("include: inc.d/deep.yml\nuser: [a]\n", want);
    test_file("inc.d/b.yaml", "a: [\n");
    snprintf(want, sizeof want, "...%s/inc.d/b.yaml:2:1: did not find", test_dir);
    refused("include: inc.d/*.yaml\n", want);
    conf_errors_free(&errors);
}
END_TEST

static char *dumped(const struct conf *c, bool json, struct buf *out) {
    buf_init(out, 0);
    if (json)
        conf_dump_json(c, out);
    else
        conf_dump_yaml(c, out);
    ck_assert(buf_ok(out));
    buf_addc(out, '\0');
    return buf_at(out);
}

START_TEST(dump_loads_again) {
    setenv("KEY", "sk-env-secret", 1);
    static const char *const texts[] = {
        "", whole,
        "providers:\n- {kind: mock, headers: {x: 'a $${b} \"c\" \\ \xc3\xbc', Authorization: geheim}}\n"
        "- {kind: openai, key: {env: KEY}, breaker: {error_rate: 0.333333333}}\n"
        "auth: {keys: [{id: x, key: {env: KEY}}, {id: y, key: geheim}]}\n"
        "log: {target: x.log}\n"
        "models: [{name: 'm $${x}', targets: {provider: mock, model: \"a\\\"b\"}, prices: {input: 0.1}}]\n"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct buf one, two, json;
        struct conf *c = load_ok(texts[i]);
        char *yaml = dumped(c, false, &one);
        ck_assert_ptr_null(strstr(yaml, "geheim"));
        ck_assert_ptr_null(strstr(yaml, "sk-"));
        struct conf *again = load_ok(yaml);
        ck_assert_str_eq(dumped(again, false, &two), yaml);
        dumped(c, true, &json);
        struct json_error error;
        enum json_kind kind;
        ck_assert_int_eq(json_scan(str_of(buf_at(&json)), &kind, NULL, NULL, &error), 0);
        ck_assert_int_eq(kind, JSON_OBJECT);
        ck_assert_ptr_null(strstr(buf_at(&json), "geheim"));
        ck_assert_ptr_null(strstr(buf_at(&json), "sk-"));
        ck_assert_int_eq(again->auth.said, c->auth.said || c->auth.nkeys > 0);
        buf_free(&one);
        buf_free(&two);
        buf_free(&json);
        done(again);
        done(c);
    }
}
END_TEST

START_TEST(dump_tells_the_source) {
    setenv("KEY", "sk-env-secret", 1);
    struct buf b;
    struct conf *c = load_ok("providers: [{kind: openai, keys: [{env: KEY}, {value: sk-literal}]}]\n");
    const char *yaml = dumped(c, false, &b);
    ck_assert_ptr_nonnull(strstr(yaml, "      - env: \"KEY\"\n"));
    ck_assert_ptr_nonnull(strstr(yaml, "      - value: \"<redacted:value:openai/1>\"\n"));
    buf_free(&b);
    done(c);
}
END_TEST

TCase *case_conf_file(void) {
    TCase *t = tcase_create("file");
    tcase_add_test(t, every_option);
    tcase_add_test(t, every_option_of_a_provider);
    tcase_add_test(t, every_option_of_models_and_keys);
    tcase_add_test(t, alias_of_a_kind);
    tcase_add_test(t, many_models);
    tcase_add_test(t, empty_files);
    tcase_add_test(t, expansion);
    tcase_add_test(t, includes);
    tcase_add_test(t, dump_loads_again);
    tcase_add_test(t, dump_tells_the_source);
    return t;
}
