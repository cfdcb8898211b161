/* What is refused, where, and in which words. */
#include "conf_cases.h"
#include <stdio.h>
#include <stdlib.h>

struct refusal {
    const char *yaml, *want;
};

#define HASH   "sha256:00000000000000000000000000000000000000000000000000000000000000ff"
#define MOCK   "providers: [{kind: mock}]\n"
#define CLAUDE "providers: [{kind: anthropic, key: {value: k}}]\n"

static const struct refusal yaml_refusals[] = {
    {"user: a\nuser: b\n", "2:1: user: given twice; the first is at "},
    {"limits: {concurrent: 1, concurrent: 2}\n", "1:25: limits.concurrent: given twice"},
    {"user: &a x\n", "1:7: user: anchors, aliases and tags"},
    {"user: &a x\ngroup: *a\n", "1:7: user: anchors"},
    {"user: *a\n", "1:7: user: anchors"},
    {"user: !!str x\n", "1:7: user: anchors"},
    {"[a, b]\n", "1:1: expected a map of options"},
    {"just text\n", "1:1: expected a map of options"},
    {"user: a\n---\nuser: b\n", "2:1: a second document"},
    {"user: [a\n", "2:1: "},
    {"a: b: c\n", "1:5: "},
    {"\tuser: a\n", "1:1: "},
    {"? [a]\n: b\n", "1:3: a key must be a plain text"},
    {"user: \"\xff\"\n", "1:8: not UTF-8"},
    {"user: \"a\x01\"\n", "1:9: "},
};

static const struct refusal refusals[] = {
    {"lisen: x\n", "1:1: lisen: no such option, did you mean listen?"},
    {"limits:\n  conccurrent: 4\n", "2:3: limits.conccurrent: no such option, did you mean concurrent?"},
    {"limits.concurrent: 4\n", "1:1: limits.concurrent: no such option"},
    {"xyzzy: 4\n", "1:1: xyzzy: no such option"},
    {"limits: 4\n", "1:9: limits: expected a map of options"},
    {"limits: {concurrent: 0}\n", "1:22: limits.concurrent: expected none, or 1 to"},
    {"limits: {concurrent: -1}\n",
     "1:22: limits.concurrent: expected a whole number such as 100, or none; got"},
    {"limits: {concurrent: [1]}\n",
     "1:22: limits.concurrent: expected a whole number such as 100, or none; got a list"},
    {"limits: {header_timeout: 5}\n",
     "1:26: limits.header_timeout: expected a duration such as 250ms, 30s, 5m, 24h, "
     "30d; got \"5\""},
    {"limits: {header_timeout: 0s}\n",
     "1:26: limits.header_timeout: \"0s\" is out of range, allowed is 1ms to 1h"},
    {"limits: {header_timeout: 99999999999999999999d}\n", "1:26: limits.header_timeout: expected a duration"},
    {"limits: {header_timeout: 300000000000000d}\n", "1:26: limits.header_timeout: expected a duration"},
    {"limits: {max_request_body: 2 GiB}\n",
     "1:28: limits.max_request_body: \"2 GiB\" is out of range, allowed is "
     "1KiB to 1GiB"},
    {"limits: {max_request_body: big}\n", "1:28: limits.max_request_body: expected a size"},
    {"endpoint_limits: {chat: {requests_per_week: 1}}\n",
     "1:26: endpoint_limits[0].requests_per_week: no such option"},
    {"endpoint_limits: {chat: 5}\n", "1:25: endpoint_limits[0]: expected a map of options"},
    {"endpoint_limits: 5\n", "1:18: endpoint_limits: expected a list, or a map"},
    {"endpoint_limits: [{requests_per_day: 1}]\n", "1:19: endpoint_limits[0]: endpoint is missing"},
    {"endpoint_limits: [{endpoint: a}, {endpoint: a}]\n", "1:18: endpoint_limits: a is given twice"},
    {"tenants: [{id: a}, {id: a}]\n", "1:20: tenants[1]: the id a is taken by tenants[0]"},
    {"queue: {max_wait: 2h}\n", "1:19: queue.max_wait: \"2h\" is out of range"},
    {"queue: {max_depth: 10001}\n", "1:20: queue.max_depth: \"10001\" is out of range"},
    {"tenants: [{id: a, budget: {usd: -1}}]\n", "1:33: tenants[0].budget.usd: expected dollars"},
    {"tenants: [{id: a, budget: {usd: 2000000000}}]\n",
     "1:33: tenants[0].budget.usd: \"2000000000\" is out of range"},
    {"tenants: [{id: a, budget: {usd: 1, period: year}}]\n",
     "1:44: tenants[0].budget.period: \"year\" is not known"},
    {"tenants: [{id: a, budget: {usd: 1, alert: [0.5, 2]}}]\n",
     "1:43: tenants[0].budget.alert: expected parts of the budget above 0 up to 1"},
    {"providers: [{kind: mock}]\nmodels: [{name: m0, targets: [{provider: mock, model: x}], budget: {usd: "
     "1}}, {name: m1, targets: [{provider: mock, model: x}], budget: {usd: 1}}, {name: m2, targets: "
     "[{provider: mock, model: \"x*\"}], budget: {usd: 1}}, {name: m3, targets: [{provider: mock, model: "
     "\"*\"}], "
     "budget: {usd: 1}}, {name: m4, targets: [{provider: mock, model: x}], budget: {usd: 1}}, {name: m5, "
     "targets: [{provider: mock, model: x}], budget: {usd: 1}}]\n",
     "2:418: models[5].budget: mock/x is a target of 5 models before it that have budgets"},
    {"providers: [{kind: mock}]\nmodels: [{name: m, targets: [{provider: mock, tags: [a, "
     "0123456789012345678901234567890123456789012345678901234567890123x]}]}]\n",
     "2:57: models[0].targets[0].tags[1]: a text of 65 bytes, allowed is 1 to 64"},
    {"workers: 0\n", "1:10: workers: \"0\" is out of range, allowed is 1 to 128"},
    {"workers: many\n", "1:10: workers: expected auto, or a whole number such as 4; got \"many\""},
    {"cache: {enabled: 1}\n", "1:18: cache.enabled: expected true or false; got \"1\""},
    {"cache: {scope: keys}\n",
     "1:16: cache.scope: \"keys\" is not known, did you mean key?; allowed is key, tenant "
     "or global"},
    {"log: {level: verbose}\n",
     "1:14: log.level: \"verbose\" is not known; allowed is error, warn, info or debug"},
    {"user: \"a\\nb\"\n", "1:7: user: a line end or another control character"},
    {"listen: {address: '127.0.0.1:1', mode: 0999}\n", "1:40: listen.mode: expected permissions in octal"},
    {"listen: [{mode: 0600}]\n", "1:10: listen[0]: address is missing"},
    {"listen: {address: 127.0.0.1:80, surfaces: [admn]}\n",
     "1:44: listen.surfaces[0]: \"admn\" is not known, did you mean admin?"},
    /* providers */
    {"providers: {kind: mock}\n", "1:12: providers: expected a list; got a map"},
    {"providers: [mock]\n", "1:13: providers[0]: expected a map of options"},
    {"providers: [{name: x}]\n", "1:13: providers[0]: kind is missing, and the name is not that of a kind"},
    {"providers: [{kind: opnai}]\n",
     "1:20: providers[0].kind: \"opnai\" is no kind of provider, did you mean openai?; "
     "allowed is openai, openrouter"},
    {"providers: [{kind: coher}]\n", "1:20: providers[0].kind: \"coher\" is no kind of provider"},
    {"providers: [{kind: mock, name: a b}]\n", "1:32: providers[0].name: expected a name of 1 to 64"},
    {"providers: [{kind: mock}, {kind: mock, name: MOCK}]\n",
     "1:46: providers[1].name: the name MOCK is taken"},
    {"providers: [{kind: openai}]\n",
     "1:13: providers[0]: a provider of kind openai needs a key: give keys, or set"},
    {"providers: [{kind: openai_compatible}]\n",
     "1:13: providers[0]: a provider of kind openai_compatible needs a "
     "base_url"},
    {"providers: [{kind: mock, base_url: ftp://x}]\n", "1:36: providers[0].base_url: expected a URL"},
    {"providers: [{kind: mock, base_url: 'https://'}]\n", "1:36: providers[0].base_url: the URL has no host"},
    {"providers: [{kind: mock, base_url: 'https://:80/'}]\n",
     "1:36: providers[0].base_url: the URL has no host"},
    {"providers: [{kind: mock, base_url: 'https://u:hunter2@h/'}]\n",
     "1:36: providers[0].base_url: a user or password"},
    {"providers: [{kind: mock, base_url: 'https://h/?a'}]\n",
     "1:36: providers[0].base_url: a URL with ? or #"},
    {"providers: [{kind: mock, base_url: 'https://h/#a'}]\n",
     "1:36: providers[0].base_url: a URL with ? or #"},
    {"providers: [{kind: mock, base_url: 'https://h:0/'}]\n", "1:36: providers[0].base_url: the URL's port"},
    {"providers: [{kind: mock, base_url: 'https://h:x/'}]\n", "1:36: providers[0].base_url: the URL's port"},
    {"providers: [{kind: mock, base_url: 'https://a b/'}]\n",
     "1:36: providers[0].base_url: the URL has a character"},
    {"providers: [{kind: mock, proxy: 'http://p/path'}]\n",
     "1:33: providers[0].proxy: a path is not allowed"},
    {"providers: [{kind: mock, headers: {'a b': c}}]\n",
     "1:36: providers[0].headers.<name not shown>: this is not the"},
    {"providers: [{kind: mock, headers: {a: \"b\\r\\nc: d\"}}]\n",
     "1:36: providers[0].headers.a: a line end"},
    {"providers: [{kind: mock, headers: {Content-Length: 5}}]\n",
     "1:36: providers[0].headers.Content-Length: this"},
    {"providers: [{kind: mock, headers: text}]\n", "1:35: providers[0].headers: expected"},
    {"providers: [{kind: mock, headers: {a: 1, A: 2}}]\n", "1:42: providers[0].headers.A: given twice"},
    {"providers: [{kind: mock, retry: {jitter: 1.1}}]\n",
     "1:42: providers[0].retry.jitter: \"1.1\" is out of range"},
    {"providers: [{kind: mock, retry: {factor: 1e3}}]\n",
     "1:42: providers[0].retry.factor: expected a decimal"},
    {"providers: [{kind: mock, retry: {initial_backoff: 2m}}]\n",
     "1:51: providers[0].retry.initial_backoff: retry."},
    {"providers: [{kind: mock, health_check: {path: x}}]\n",
     "1:47: providers[0].health_check.path: a path must begin"},
    {"providers: [{kind: mock, keys: [{value: a, id: x}, {value: b, id: x}]}]\n",
     "1:13: providers[0]: keys[0] and"},
    {"providers: [{kind: mock, tls: {ca: /nonexistent}}]\n",
     "1:36: providers[0].tls.ca: /nonexistent cannot be read"},
    {"providers: [{kind: azure, keys: [a], base_url: 'http://h', region: 'x/y'}]\n",
     "1:68: providers[0].region: region: only letters, digits, '-', '_', '.' and ':'"},
    {"providers: [{kind: azure, keys: [a]}]\n",
     "1:13: providers[0]: a provider of kind azure needs a base_url"},
    {"providers: [{kind: bedrock, region: r, keys: [{access_key_id: x}]}]\n",
     "1:47: providers[0].keys[0]: secret_access_key is missing"},
    {"providers: [{kind: bedrock, region: r, keys: [{value: a, access_key_id: x, secret_access_key: y}]}]\n",
     "1:47: providers[0].keys[0]: a key is one of a secret, an access key and a service account"},
    {"providers: [{kind: mock, keys: [{access_key_id: x, secret_access_key: y}]}]\n",
     "1:13: providers[0]: keys[0] is an access key, which a provider of kind mock does not take"},
    {"providers: [{kind: mock, keys: [{session_token: x, value: a}]}]\n",
     "1:33: providers[0].keys[0]: session_token is given without access_key_id"},
    {"providers: [{kind: vertex, project: p, keys: [{service_account: {value: '{}'}}]}]\n",
     "1:65: providers[0].keys[0].service_account: the service account: its type is neither service_account "
     "nor authorized_user"},
    {"providers: [{kind: vertex, project: p, keys: [{service_account: {value: '{'}}]}]\n",
     "1:65: providers[0].keys[0].service_account: the service account: not a JSON object"},
    {"providers: [{kind: bedrock, keys: [{access_key_id: x, secret_access_key: y}]}]\n",
     "1:13: providers[0]: a provider of kind bedrock needs a region"},
    {"providers: [{kind: vertex, keys: [token]}]\n",
     "1:13: providers[0]: a provider of kind vertex needs a project"},
    {"providers: [{kind: vertex, project: p, keys: [{service_account: {text: 'x'}}]}]\n",
     "1:66: providers[0].keys[0].service_account.text: no such option; allowed is one of env, file and "
     "value"},
    {"providers: [{kind: vertex, project: p, keys: [{service_account: /nowhere.json}]}]\n",
     "1:65: providers[0].keys[0].service_account: /nowhere.json: No such file or directory"},
    /* models */
    {MOCK "models: [{name: m}]\n", "2:10: models[0]: targets is missing"},
    {MOCK "models: [{targets: {provider: mock}}]\n", "2:10: models[0]: name is missing"},
    {MOCK "models: [{name: m, targets: []}]\n", "2:29: models[0].targets: at least one target is needed"},
    {MOCK "models: [{name: m, id: n, targets: {provider: mock}}]\n",
     "2:20: models[0].id: means the same as name"},
    {MOCK "models: [{name: m, targets: [{provider: mok}]}]\n",
     "2:41: models[0].targets[0].provider: there is no provider mok, did you mean mock?"},
    {MOCK "models: [{name: m, targets: [{provider: mock, weight: 0}]}]\n",
     "2:55: models[0].targets[0].weight: \"0\" is out of range, allowed is 1 to 10000"},
    {MOCK "models: [{name: m, targets: {provider: mock}}, {name: m, targets: {provider: mock}}]\n",
     "2:55: models[1].name: the name m is taken by models[0]"},
    {MOCK "models: [{name: m, targets: {provider: mock}, fallbacks: [n]}]\n",
     "2:59: models[0].fallbacks[0]: there is no model n,"},
    {MOCK "models: [{name: m, targets: {provider: mock}, fallbacks: m}]\n",
     "2:58: models[0].fallbacks: fallbacks go in a circle: m -> m"},
    {MOCK "models: [{name: m, targets: {provider: mock}, strategy: fastest}]\n",
     "2:57: models[0].strategy: \"fastest\" is not known; allowed is fallback"},
    {"routing: {tasks: {a: [m], b: {models: m, modell: n}}}\n",
     "1:42: routing.tasks[1].modell: no such option, did you mean models?"},
    {"routing: {tasks: {a: [m], c: {}}}\n", "1:30: routing.tasks[1]: models is missing"},
    {MOCK "models: [{name: m, targets: {provider: mock}, fallback_on: [timeot]}]\n",
     "2:61: models[0].fallback_on[0]: \"timeot\" is not known, did you mean timeout?"},
    {MOCK "models: [{name: m, targets: {provider: mock}, prices: {input: 0.0000000001}}]\n",
     "2:63: models[0].prices.input: expected dollars per million"},
    {MOCK "fallback_rules: [{model: mock/a, fallback_models: [b]}]\n",
     "2:52: fallback_rules[0].fallback_models[0]: there is no model b,"},
    {MOCK "models: [{name: m, targets: {provider: mock}}]\nrouting: {tasks: {a: [m, gpt-5]}}\n",
     "3:26: routing.tasks.a[1]: there is no model gpt-5,"},
    {MOCK
     "models: [{name: m, targets: {provider: mock}}]\nrouting: {tasks: [{name: a, models: [mock, o]}]}\n",
     "3:44: routing.tasks[0].models[1]: there is no model o,"},
    {MOCK "fallback_rules: [{model: x, fallbacks: [mock/b]}]\n",
     "2:26: fallback_rules[0].model: there is no model x,"},
    {MOCK "fallback_rules: [{model: mock/a, fallbacks: [mock.b]}, {model: Mock.b, fallbacks: mock/a}]\n",
     "2:17: fallback_rules: fallbacks go in a circle: mock/a -> mock/b -> mock/a"},
    {MOCK "models: [{name: m, targets: {provider: mock}, fallbacks: [mock/b]}]\n"
          "fallback_rules: [{model: mock.b, fallbacks: [m]}]\n",
     "2:58: models[0].fallbacks: fallbacks go in a circle: m -> mock/b -> m"},
    {CLAUDE "fallback_rules: [{model: claude/a, fallbacks: anthropic.b}, {model: anthropic/b, fallbacks: "
            "Claude.a}]\n",
     "2:17: fallback_rules: fallbacks go in a circle: anthropic/a -> anthropic/b -> anthropic/a"},
    {CLAUDE "models: [{name: m, targets: {provider: anthropic}, fallbacks: [claud/x]}]\n",
     "2:64: models[0].fallbacks[0]: there is no model claud/x,"},
    {MOCK "routing: {default_provider: mck}\n",
     "2:29: routing.default_provider: there is no provider mck, did you mean mock?"},
    /* keys */
    {"auth: {mode: jwt}\n", "1:14: auth.mode: needs one of auth.jwt.secret, auth.jwt.public_keys, "
                            "auth.jwt.jwks_file and auth.jwt.jwks_url"},
    {"auth: {mode: keys+jwt, keys: [{id: a, key: {value: x}}]}\n",
     "1:14: auth.mode: needs one of auth.jwt.secret,"},
    {"auth: {mode: jwts}\n", "1:14: auth.mode: \"jwts\" is not known"},
    {"auth: {jwt: {algorithms: [none], secret: {value: x}}}\n", "1:27: auth.jwt.algorithms[0]: "},
    {"auth: {jwt: {algorithms: [], secret: {value: x}}}\n",
     "1:13: auth.jwt: algorithms: at least one is needed"},
    {"auth: {jwt: {leeway: 2h, secret: {value: x}}}\n", "1:22: auth.jwt.leeway: "},
    {"auth: {jwt: {public_keys: /nowhere/key.pem}}\n", "1:27: auth.jwt.public_keys: /nowhere/key.pem: "},
    {"auth: {jwt: {jwks_file: /nowhere/jwks}}\n", "1:25: auth.jwt.jwks_file: /nowhere/jwks: "},
    {"auth: {jwt: {secret: {env: NO_SUCH_VARIABLE}}}\n", "1:28: auth.jwt.secret.env: the variable"},
    {"auth: {keys: [{id: a}]}\n", "1:15: auth.keys[0]: hash or key is needed"},
    {"auth: {keys: [{id: a, hash: 'sha256:12'}]}\n", "1:29: auth.keys[0].hash: expected sha256: and 64"},
    {"auth: {keys: [{id: a, key: x, hash: '" HASH "'}]}\n", "1:15: auth.keys[0]: only one of hash and key"},
    {"auth: {keys: [{id: a, key: x}, {id: a, key: y}]}\n",
     "1:32: auth.keys[1]: the id a is taken by auth.keys[0]"},
    {"auth: {keys: [{id: a, key: x}, {id: b, key: x}]}\n",
     "1:32: auth.keys[1]: the same key as auth.keys[0]"},
    {"auth: {keys: [{id: a, key: {enf: X}}]}\n", "1:29: auth.keys[0].key.enf: no such option"},
    {"auth: {keys: [{id: a, key: {}}]}\n", "1:28: auth.keys[0].key: one of env, file and value is needed"},
    {"auth: {keys: [{id: a, key: {env: A, file: b}}]}\n",
     "1:28: auth.keys[0].key: only one of env, file and value"},
    {"auth: {keys: [{id: a, key: x, permissions: []}]}\n",
     "1:15: auth.keys[0]: permissions: at least one is needed"},
    {"auth: {keys: [{id: a, key: {value: x}, addresses: [10.0.0.1/8]}]}\n",
     "1:52: auth.keys[0].addresses[0]: expected an address or a network such as"},
    {"auth: {keys: [{id: a, key: {value: x}, addresses: here}]}\n",
     "1:51: auth.keys[0].addresses: expected an address"},
    {"auth: {keys: [{id: a, key: x, expires: soon}]}\n",
     "1:40: auth.keys[0].expires: expected a date such as"},
    {"cache: {semantic: {threshold: 0.4}}\n",
     "1:31: cache.semantic.threshold: expected a number from 0.5 to 1"},
    {"cache: {semantic: {threshold: 1.1}}\n", "1:31: cache.semantic.threshold: \"1.1\" is out of range"},
    {"cache: {semantic: {embedder: magic}}\n", "1:30: cache.semantic.embedder: \"magic\" is not known"},
    {"cache: {semantic: {embedder: {provider: nobody, model: x}}}\n",
     "1:30: cache.semantic.embedder: there is no provider nobody"},
    {"providers: [{kind: mock}]\ncache: {semantic: {embedder: {provider: mock}}}\n",
     "2:30: cache.semantic.embedder: provider and model are needed, both"},
    {"cache: {semantic: {max_entries: 100000}}\n",
     "1:33: cache.semantic.max_entries: \"100000\" is out of range"},
    /* parts of later versions */
    {"cors: {origins: [\"https://a.example\", \"https://b.example/\"]}\n",
     "1:17: cors.origins: \"https://b.example/\" is no origin; one is *, or such as "
     "https://app.example.com:8443"},
    {"auth: {open_surfaces: [s0, s1]}\n", "1:23: auth.open_surfaces: admin, s1 and s3 are never open"},
    {"auth: {jwt: {jwks_url: x}}\n", "1:24: auth.jwt.jwks_url: expected a URL"},
    {"alerts: {webhook: 'http://h/?a=b#c'}\n", "1:19: alerts.webhook: a URL with # is not allowed"},
    {"alerts: {webhook: 'http://?a=b'}\n", "1:19: alerts.webhook: the URL has no host"},
    {"alerts: {webhook: 'http://h:x?a=b'}\n", "1:19: alerts.webhook: the URL's port is not a number"},
    {"log: {content: some}\n", "1:16: log.content: "},
    {"log: {truncate: 1GiB}\n", "1:17: log.truncate: "},
    {"log: {mask: {email: maybe}}\n", "1:21: log.mask.email: "},
    {"log: {mask: {patterns: ['a', '(']}}\n", "1:30: log.mask.patterns[1]: (: "},
    {"log: {mask: {patterns: ['(a)\\1']}}\n",
     "1:25: log.mask.patterns[0]: (a)\\1: back references are not allowed"},
    {"log: {mask: {patterns: [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r, s, t, u, v, w, x, y, z,\n"
     "  A, B, C, D, E, F, G]}}\n",
     "1:24: log.mask.patterns: at most 32 patterns; here are 33"},
};

START_TEST(not_yaml) {
    refused(yaml_refusals[_i].yaml, yaml_refusals[_i].want);
    conf_errors_free(&errors);
}
END_TEST

START_TEST(wrong) {
    refused(refusals[_i].yaml, refusals[_i].want);
    for (size_t i = 0; i < errors.n; i++)
        ck_assert_ptr_null(strstr(errors.list[i].text, "hunter2"));
    ck_assert_msg(errors.n == 1, "and: %s", errors.list[1].text);
    conf_errors_free(&errors);
}
END_TEST

START_TEST(all_of_them) {
    refused("lisen: x\nlimits: {concurrent: x, header_timeout: y}\n"
            "providers: [{kind: openai}, {kind: nothing, retry: {max: z}}]\n",
            "1:1: lisen");
    ck_assert_uint_eq(errors.n, 6);
    must_say("2:22: limits.concurrent");
    must_say("2:41: limits.header_timeout");
    must_say("3:13: providers[0]: a provider of kind openai needs a key");
    must_say("3:36: providers[1].kind");
    must_say("3:58: providers[1].retry.max");
    conf_errors_free(&errors);
}
END_TEST

START_TEST(at_most_a_hundred) {
    struct buf b;
    buf_init(&b, 0);
    for (int i = 0; i < 150; i++)
        buf_printf(&b, "wrong%d: x\n", i);
    buf_addc(&b, '\0');
    ck_assert_ptr_null(load_text(buf_at(&b)));
    ck_assert_uint_eq(errors.n, CONF_MAX_ERRORS);
    ck_assert(errors.truncated);
    buf_free(&b);
    conf_errors_free(&errors);
}
END_TEST

static void repeat(struct buf *b, const char *text, int n) {
    for (int i = 0; i < n; i++)
        buf_addz(b, text);
}

START_TEST(keys_of_a_provider) {
    struct buf b;
    buf_init(&b, 0);
    buf_addz(&b, "providers:\n  - {kind: openai, keys: [a");
    repeat(&b, ", a", 63);
    size_t as_many_as_may_be = buf_len(&b);
    buf_addz(&b, ", a]}\n");
    buf_addc(&b, '\0');
    refused(buf_at(&b), "2:5: providers[0]: a provider has at most 64 keys; here are 65");
    conf_errors_free(&errors);
    b.end = b.off + as_many_as_may_be;
    buf_addz(&b, "]}\n");
    buf_addc(&b, '\0');
    struct conf *c = load_text(buf_at(&b));
    ck_assert_ptr_nonnull(c);
    conf_free(c);
    buf_free(&b);
    conf_errors_free(&errors);
}
END_TEST

START_TEST(bounds) {
    struct buf b;
    buf_init(&b, 0);
    buf_addz(&b, "user: ");
    repeat(&b, "[", 40);
    repeat(&b, "]", 40);
    buf_addc(&b, '\0');
    refused(buf_at(&b), "1:38: user[0][0]");
    buf_clear(&b);
    buf_addz(&b, "user:\n");
    repeat(&b, "- x\n", 200001);
    buf_addc(&b, '\0');
    refused(buf_at(&b), "199999:3: user[199997]: more than 200000 values");
    buf_clear(&b);
    for (int i = 0; i < 4098; i++)
        buf_printf(&b, "k%d: x\n", i);
    buf_addc(&b, '\0');
    refused(buf_at(&b), "4097:1: more than 4096 keys");
    buf_clear(&b);
    repeat(&b, "# a comment of thirty-two chars\n", (4 << 20) / 32);
    buf_addz(&b, "#");
    buf_addc(&b, '\0');
    refused(buf_at(&b), " larger than 4096 KiB");
    buf_free(&b);
    ck_assert_ptr_null(load_file("absent.yaml"));
    ck_assert_ptr_nonnull(strstr(errors.list[0].text, "absent.yaml: No such file"));
    ck_assert_ptr_null(load_file("."));
    ck_assert_ptr_nonnull(strstr(errors.list[0].text, "not a regular file"));
    conf_errors_free(&errors);
}
END_TEST

START_TEST(not_in_a_circle) { /* two ways to one model are none */
    struct conf *c = load_ok("providers: [{kind: mock}]\nmodels:\n"
                             "- {name: a, targets: {provider: mock}, fallbacks: [b, c]}\n"
                             "- {name: b, targets: {provider: mock}, fallbacks: [d]}\n"
                             "- {name: c, targets: {provider: mock}, fallbacks: [b, d]}\n"
                             "- {name: d, targets: {provider: mock}, fallbacks: [mock/e]}\n"
                             "- {name: mock.e, targets: {provider: mock}, fallbacks: [a]}\n");
    done(c);
}
END_TEST

START_TEST(long_names_are_not_shown) { /* a key in the place of a name */
    refused("providers:\n- {kind: mock, sk-hunter2hunter2hunter2hunter2hunter2hunter2: x}\n",
            "2:16: providers[0].<name not shown>: no such option");
    ck_assert_ptr_null(strstr(errors.list[0].text, "hunter2"));
    conf_errors_free(&errors);
}
END_TEST

TCase *case_conf_errors(void) {
    TCase *t = tcase_create("errors");
    tcase_set_timeout(t, 60);
    tcase_add_loop_test(t, not_yaml, 0, sizeof yaml_refusals / sizeof *yaml_refusals);
    tcase_add_loop_test(t, wrong, 0, sizeof refusals / sizeof *refusals);
    tcase_add_test(t, all_of_them);
    tcase_add_test(t, at_most_a_hundred);
    tcase_add_test(t, keys_of_a_provider);
    tcase_add_test(t, bounds);
    tcase_add_test(t, not_in_a_circle);
    tcase_add_test(t, long_names_are_not_shown);
    return t;
}
