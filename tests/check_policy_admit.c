/* Limits of key and gateway, of provider and its key: all or none, settled, and told. Buckets refill with
 * time, so limits here are so small that a test's own time gives nothing back, or bounds are loose. */
#include "base/clock.h"
#include "policy/admit.h"
#include "policy_cases.h"
#include "shm/slot.h"
#include "shm/stat.h"
#include "shm/tokens.h"

static struct fault fault;

static struct caller caller(size_t i) {
    return (struct caller){.key = w.p->keys[i].conf, .entity = w.p->keys[i].entity};
}

static bool take(const struct caller *c, uint64_t tokens, struct admission *a) {
    fault = (struct fault){0};
    struct admit_ask ask = {.caller = c, .tokens.input = tokens};
    return admit_caller(w.p, &ask, a, w.a, &fault);
}

static void settle(struct admission *a, uint64_t tokens) {
    admit_settle(w.p, a, &(struct admit_tokens){.input = tokens});
}

static bool provider_takes(struct plane_provider *pr, struct plane_key *k, struct admission *a) {
    return admit_provider(w.p, pr, k, NULL, &(struct admit_tokens){.input = 10}, a, w.a, &fault);
}

/* The headers of one that asks, and uses nothing. */
static size_t headers(const struct caller *c, struct http_header *h) {
    struct admission a;
    take(c, 0, &a);
    admit_undo(w.p, &a);
    return admit_headers(w.p, &a, w.a, h);
}

static uint64_t estimate(const struct ask *ask, uint32_t model, uint32_t text) {
    struct admit_tokens t = admit_estimate(w.p, ask, model, text);
    return admit_total(&t);
}

static uint64_t left(uint32_t entity, enum bucket kind, uint64_t limit) {
    uint64_t remaining, full;
    bucket_look(w.shm, entity, kind, limit, clock_ns(), &remaining, &full);
    return remaining;
}

static uint64_t in_flight(uint32_t entity) {
    return gauge_sum(w.shm, entity, GAUGE_IN_FLIGHT);
}

static void says(const char *text) {
    ck_assert_int_eq(fault.cls, FAULT_RATE_LIMIT);
    ck_assert_msg(str_find(fault.message, str_of(text)) >= 0, "%s", fault.message.p);
    ck_assert_int_gt(fault.retry_after_ms, 0);
}

/* limits of the gateway, limits of the key a, limits of the provider, of its key */
static void load(const char *gateway, const char *key, const char *pr, const char *pk) {
    world_load(arena_printf(w.a,
                            "limits: {%s}\n"
                            "auth:\n  keys:\n"
                            "    - {id: a, key: {value: ka}, limits: {%s}}\n"
                            "    - {id: b, key: {value: kb}}\n"
                            "providers: [{kind: openai, limits: {%s}, keys: [{value: x, limits: {%s}}]}]\n",
                            gateway, key, pr, pk)
                   .p);
}

START_TEST(nothing_is_limited) {
    load("", "", "", "");
    struct caller c = caller(0);
    struct admission a[50];
    for (size_t i = 0; i < 50; i++)
        ck_assert(take(&c, 1000000, &a[i]));
    ck_assert_uint_eq(in_flight(c.entity), 50);
    ck_assert_uint_eq(in_flight(w.p->gateway), 50);
    for (size_t i = 0; i < 50; i++)
        settle(&a[i], 5);
    ck_assert_uint_eq(in_flight(c.entity), 0);
    ck_assert_uint_eq(in_flight(w.p->gateway), 0);
    struct http_header h[ADMIT_HEADERS];
    ck_assert_uint_eq(headers(&c, h), 0);
}
END_TEST

START_TEST(requests_of_a_key) {
    load("", "requests_per_minute: 3", "", "");
    struct caller a = caller(0), b = caller(1);
    struct admission held;
    for (int i = 0; i < 3; i++) {
        ck_assert(take(&a, 1, &held));
        settle(&held, 1);
    }
    ck_assert(!take(&a, 1, &held));
    says("this key: 3 requests per minute");
    ck_assert_int_le(fault.retry_after_ms, 20001); /* one comes back every 20 s */
    ck_assert_int_gt(fault.retry_after_ms, 15000);
    ck_assert_int_eq(fault_status(&fault), 429);
    ck_assert_uint_eq(held.gauges + held.asks, 0); /* settling it would do nothing */
    settle(&held, 0);
    ck_assert_uint_eq(in_flight(a.entity), 0);
    ck_assert_uint_eq(in_flight(w.p->gateway), 0);
    ck_assert(take(&b, 1, &held)); /* another key is not concerned */
    settle(&held, 1);
}
END_TEST

START_TEST(refused_by_the_gateway_costs_the_key_nothing) {
    load("requests_per_minute: 2", "requests_per_minute: 100, tokens_per_minute: 1000", "", "");
    struct caller a = caller(0), b = caller(1);
    struct admission held;
    for (int i = 0; i < 2; i++) {
        ck_assert(take(&b, 1, &held));
        settle(&held, 1);
    }
    ck_assert(!take(&a, 400, &held));
    says("the gateway: 2 requests per minute");
    ck_assert_uint_eq(left(a.entity, BUCKET_REQUESTS_PER_MINUTE, 100), 100);
    ck_assert_uint_eq(left(a.entity, BUCKET_TOKENS_PER_MINUTE, 1000), 1000);
    ck_assert_uint_eq(in_flight(a.entity) + in_flight(w.p->gateway), 0);
}
END_TEST

START_TEST(refused_by_the_key_costs_the_gateway_nothing) {
    load("requests_per_minute: 100, tokens_per_minute: 100000", "tokens_per_minute: 500", "", "");
    struct caller a = caller(0);
    struct admission one, two;
    ck_assert(take(&a, 400, &one));
    ck_assert(!take(&a, 400, &two));
    says("this key: 500 tokens per minute");
    ck_assert_uint_ge(left(w.p->gateway, BUCKET_REQUESTS_PER_MINUTE, 100), 99);
    ck_assert_uint_ge(left(w.p->gateway, BUCKET_TOKENS_PER_MINUTE, 100000), 99600);
    ck_assert_uint_eq(in_flight(a.entity), 1); /* the first is still there */
    settle(&one, 400);
    ck_assert_uint_eq(in_flight(a.entity), 0);
}
END_TEST

START_TEST(at_the_same_time) {
    load("concurrent: 3", "concurrent: 2", "", "");
    struct caller a = caller(0), b = caller(1);
    struct admission h[4];
    ck_assert(take(&a, 1, &h[0]) && take(&a, 1, &h[1]));
    ck_assert(!take(&a, 1, &h[2]));
    says("this key: 2 concurrent requests");
    ck_assert(take(&b, 1, &h[2]));
    ck_assert(!take(&b, 1, &h[3]));
    says("the gateway: 3 concurrent requests");
    ck_assert_uint_eq(in_flight(b.entity), 1); /* what the key gave was given back */
    settle(&h[0], 1);
    ck_assert(take(&b, 1, &h[3]));
    for (int i = 1; i < 4; i++)
        settle(&h[i], 1);
    ck_assert_uint_eq(in_flight(a.entity) + in_flight(b.entity) + in_flight(w.p->gateway), 0);
}
END_TEST

START_TEST(settled_down_and_up) {
    load("tokens_per_minute: 100000", "tokens_per_minute: 10000", "", "");
    struct caller a = caller(0);
    struct admission held;
    ck_assert(take(&a, 6000, &held));
    ck_assert_uint_lt(left(a.entity, BUCKET_TOKENS_PER_MINUTE, 10000), 5000);
    settle(&held, 1000); /* 5000 come back */
    ck_assert_uint_ge(left(a.entity, BUCKET_TOKENS_PER_MINUTE, 10000), 9000);
    ck_assert_uint_ge(left(w.p->gateway, BUCKET_TOKENS_PER_MINUTE, 100000), 99000);
    settle(&held, 0); /* once: the second does nothing */
    ck_assert_uint_lt(left(a.entity, BUCKET_TOKENS_PER_MINUTE, 10000), 10000);
    ck_assert(take(&a, 1000, &held));
    settle(&held, 20000); /* it took more than there was: a debt */
    ck_assert_uint_eq(left(a.entity, BUCKET_TOKENS_PER_MINUTE, 10000), 0);
    ck_assert(!take(&a, 1, &held));
    ck_assert_int_gt(fault.retry_after_ms, 50000);
    ck_assert_uint_lt(left(w.p->gateway, BUCKET_TOKENS_PER_MINUTE, 100000), 81000);
}
END_TEST

START_TEST(absurd_numbers) {
    load("tokens_per_minute: 1000000000000000", "tokens_per_minute: 1000", "", "");
    struct caller a = caller(0);
    struct admission held;
    ck_assert(take(&a, UINT64_MAX, &held)); /* more than the limit passes when it is full */
    settle(&held, 1000);
    ck_assert(!take(&a, 1, &held));
    struct caller b = caller(1);
    uint64_t end =
        clock_ms() + 5000; /* until the clock of limits has ticked: 10^15 a minute are rounded to whole ns */
    while (!take(&b, 1, &held))
        ck_assert_uint_lt(clock_ms(), end);
    settle(&held, UINT64_MAX); /* a provider's word for what was used is taken as much, not as little */
    ck_assert(!take(&b, 1, &held));
    says("the gateway: 1000000000000000 tokens per minute");
}
END_TEST

START_TEST(of_a_provider) {
    load("", "", "requests_per_minute: 2, concurrent: 2", "requests_per_minute: 100, concurrent: 1");
    struct plane_provider *pr = provider("openai");
    struct plane_key *k = &pr->keys[0];
    struct admission a, b, c;
    ck_assert(provider_takes(pr, k, &a));
    ck_assert_uint_eq(in_flight(pr->entity), 1);
    ck_assert_uint_eq(in_flight(k->entity), 1);
    ck_assert(!provider_takes(pr, k, &b));
    says("the provider's key: 1 concurrent requests");
    ck_assert(provider_takes(pr, NULL, &b)); /* a provider without keys */
    ck_assert(!provider_takes(pr, NULL, &c));
    says("the provider: 2 concurrent requests");
    settle(&a, 10);
    settle(&b, 10);
    ck_assert(!provider_takes(pr, k, &c));
    says("the provider: 2 requests per minute");
    ck_assert_uint_ge(left(k->entity, BUCKET_REQUESTS_PER_MINUTE, 100),
                      99); /* the key's own was given back */
    ck_assert_uint_eq(in_flight(pr->entity) + in_flight(k->entity), 0);
}
END_TEST

/* All layers that one request meets, and what each of them is when another refuses. */
START_TEST(layers_all_or_none) {
    world_load("limits: {requests_per_day: 100}\n"
               "endpoint_limits: {chat: {input_tokens_per_hour: 1000}, /v1/chat/*: {requests_per_hour: 50}}\n"
               "tenants: [{id: z}, {id: t, limits: {output_tokens_per_day: 500, concurrent: 9}}, {id: a}]\n"
               "auth:\n  user_limits: {requests_per_minute: 3}\n"
               "  keys: [{id: a, key: {value: ka}, tenant: t, limits: {tokens_per_hour: 2000}}]\n"
               "providers: [{kind: openai, key: {value: x}}]\n"
               "models: [{name: m, targets: [{provider: openai}], limits: {tokens_per_day: 3000}}]\n");
    struct caller c = caller(0);
    const struct plane_limits *tenant = plane_tenant(w.p, STR("t"));
    ck_assert_ptr_nonnull(tenant);
    ck_assert_ptr_null(plane_tenant(w.p, STR("none")));
    struct admit_ask ask = {.caller = &c,
                            .user = STR("u"),
                            .surface = STR("chat"),
                            .path = STR("/v1/chat/completions"),
                            .model = model("m"),
                            .tokens = {.input = 10, .output = 200}};
    struct admission held[4];
    for (int i = 0; i < 2; i++) {
        ck_assert(admit_caller(w.p, &ask, &held[i], w.a, &fault));
        ck_assert_uint_eq(held[i].nlayers, 7);
        ck_assert_uint_eq(held[i].asks, 7);
        ck_assert_uint_eq(in_flight(tenant->entity), (uint64_t)i + 1);
    }
    ck_assert(!admit_caller(w.p, &ask, &held[2], w.a, &fault)); /* 600 of 500 */
    says("this tenant: 500 output tokens per day");
    ck_assert_int_gt(fault.retry_after_ms, 17000000); /* a fifth of a day */
    uint32_t user = plane_user(w.p, w.a, STR("a"), STR("u")), chat = w.p->endpoints[0].entity;
    ck_assert_uint_eq(left(user, BUCKET_REQUESTS_PER_MINUTE, 3), 1);
    ck_assert_uint_ge(left(c.entity, BUCKET_TOKENS_PER_HOUR, 2000), 1580);
    ck_assert_uint_ge(left(chat, BUCKET_INPUT_TOKENS_PER_HOUR, 1000), 980);
    ck_assert_uint_eq(left(w.p->gateway, BUCKET_REQUESTS_PER_DAY, 100), 98);
    ck_assert_uint_eq(in_flight(tenant->entity), 2);
    admit_settle(w.p, &held[0], &(struct admit_tokens){.input = 500, .output = 1});
    admit_undo(w.p, &held[1]);
    ck_assert_uint_eq(left(tenant->entity, BUCKET_OUTPUT_TOKENS_PER_DAY, 500), 499);
    ck_assert_uint_ge(left(chat, BUCKET_INPUT_TOKENS_PER_HOUR, 1000), 499);
    ck_assert_uint_le(left(chat, BUCKET_INPUT_TOKENS_PER_HOUR, 1000), 501);
    ck_assert_uint_eq(left(w.p->gateway, BUCKET_REQUESTS_PER_DAY, 100), 99);
    ck_assert_uint_eq(in_flight(tenant->entity) + in_flight(user) + in_flight(chat), 0);
    struct http_header h[ADMIT_HEADERS]; /* of the tightest: the user's */
    ck_assert_uint_eq(admit_headers(w.p, &held[0], w.a, h), ADMIT_HEADERS);
    ck_assert(str_is(h[0].value, "3"));
}
END_TEST

START_TEST(no_room_for_state) {
    load("", "requests_per_minute: 1, concurrent: 1", "", "");
    struct caller c = {.key = w.p->keys[0].conf, .entity = SHM_NONE}; /* the table was full */
    struct admission held[3];
    for (int i = 0; i < 3; i++)
        ck_assert(take(&c, 1, &held[i]));
    struct http_header h[ADMIT_HEADERS];
    ck_assert_uint_eq(headers(&c, h), 0);
    for (int i = 0; i < 3; i++)
        settle(&held[i], 1);
}
END_TEST

/* --- headers --- */

static struct str value(const struct http_header *h, size_t n, const char *name) {
    for (size_t i = 0; i < n; i++)
        if (str_is(h[i].name, name))
            return h[i].value;
    ck_abort_msg("no %s", name);
    return STR_NONE;
}

START_TEST(headers_of_the_tightest) {
    load("requests_per_minute: 4, tokens_per_minute: 1000000",
         "requests_per_minute: 100, tokens_per_minute: 60000", "", "");
    struct caller a = caller(0);
    struct admission held;
    struct http_header h[ADMIT_HEADERS];
    for (int i = 0; i < 3; i++) {
        ck_assert(take(&a, 10000, &held));
        settle(&held, 10000);
    }
    int64_t now = clock_wall_ms();
    size_t n = headers(&a, h);
    ck_assert_uint_eq(n, ADMIT_HEADERS);
    /* 1 of 4 is less than 97 of 100 */
    ck_str(value(h, n, "x-ratelimit-limit-requests"), "4");
    ck_str(value(h, n, "x-ratelimit-remaining-requests"), "1");
    ck_str(value(h, n, "X-RateLimit-Limit"), "4");
    ck_str(value(h, n, "X-RateLimit-Remaining"), "1");
    struct str reset = value(h, n, "x-ratelimit-reset-requests"); /* three of 15 s each, less a moment */
    ck_assert_msg((str_starts(reset, "44.") && str_ends(reset, "s")) || str_is(reset, "45.000s"), "%s",
                  reset.p);
    uint64_t at;
    ck_assert(str_u64(value(h, n, "X-RateLimit-Reset"), &at)); /* epoch milliseconds */
    ck_assert_int_gt((int64_t)at, now + 40000);
    ck_assert_int_le((int64_t)at, now + 46000);
    /* half of the key's tokens, nearly all of the gateway's */
    ck_str(value(h, n, "x-ratelimit-limit-tokens"), "60000");
    ck_assert(str_u64(value(h, n, "x-ratelimit-remaining-tokens"), &at));
    ck_assert(at >= 30000 && at < 32000);
    ck_assert(str_ends(value(h, n, "x-ratelimit-reset-tokens"), "s"));
}
END_TEST

START_TEST(the_tightest_is_a_share) {
    load("tokens_per_minute: 100000", "tokens_per_minute: 1000", "", "");
    struct caller a = caller(0), b = caller(1);
    struct admission held;
    struct http_header h[ADMIT_HEADERS];
    ck_assert(take(&a, 100, &held)); /* 900 of 1000 are left of it */
    settle(&held, 100);
    ck_assert(take(&b, 50000, &held)); /* and half of all */
    settle(&held, 50000);
    size_t n = headers(&a, h);
    ck_str(value(h, n, "x-ratelimit-limit-tokens"), "100000");
}
END_TEST

START_TEST(headers_of_one_kind) {
    load("", "tokens_per_minute: 1000", "", "");
    struct caller a = caller(0);
    struct http_header h[ADMIT_HEADERS];
    size_t n = headers(&a, h);
    ck_assert_uint_eq(n, 3);
    ck_str(value(h, n, "x-ratelimit-remaining-tokens"), "1000");
    ck_str(value(h, n, "x-ratelimit-reset-tokens"), "0ms");
    struct admission held;
    ck_assert(take(&a, 1000, &held));
    settle(&held, 4000); /* in debt for four minutes */
    n = headers(&a, h);
    ck_str(value(h, n, "x-ratelimit-remaining-tokens"), "0");
    struct str reset = value(h, n, "x-ratelimit-reset-tokens"); /* by whether the clock has ticked since */
    ck_assert_msg(str_is(reset, "3m59s") || str_is(reset, "4m0s"), STR_FMT, STR_ARG(reset));
}
END_TEST

START_TEST(headers_of_huge_limits) {
    load("requests_per_minute: 1000000000000000", "requests_per_minute: 999999999999999", "", "");
    struct caller a = caller(0);
    struct http_header h[ADMIT_HEADERS];
    size_t n = headers(&a, h);
    ck_assert_uint_eq(n, 6);
    ck_str(value(h, n, "X-RateLimit-Remaining"), "999999999999999"); /* both full: the key's own is told */
}
END_TEST

/* --- the estimate --- */

static void answered(uint32_t entity, uint64_t requests, uint64_t errors, uint64_t tokens) {
    entity_add(w.shm, entity, ENTITY_STAT_REQUESTS, requests);
    entity_add(w.shm, entity, ENTITY_STAT_ERRORS, errors);
    entity_add(w.shm, entity, ENTITY_STAT_OUTPUT_TOKENS, tokens);
}

START_TEST(estimates) {
    load("", "", "", "");
    struct ask ask = {.input_bytes = 400, .n = 1};
    ck_assert_uint_eq(estimate(&ask, SHM_NONE, SHM_NONE), 100 + 256); /* nothing is known yet */
    ask.max_tokens = 50;
    ck_assert_uint_eq(estimate(&ask, SHM_NONE, SHM_NONE), 100 + 50);
    ask.max_tokens = 100000;
    ck_assert_uint_eq(estimate(&ask, SHM_NONE, SHM_NONE), 100 + 256);
    ask.n = 3;
    ck_assert_uint_eq(estimate(&ask, SHM_NONE, SHM_NONE), 100 + 3 * 256);
    ask.n = 0;
    ck_assert_uint_eq(estimate(&ask, SHM_NONE, SHM_NONE), 100 + 256);

    uint32_t e = shm_entity(w.shm, ENTITY_MODEL, STR("m"));
    answered(e, 7, 0, 7000); /* too few to go by */
    ck_assert_uint_eq(estimate(&ask, e, SHM_NONE), 100 + 256);
    answered(e, 1, 0, 1000);
    ck_assert_uint_eq(estimate(&ask, e, SHM_NONE), 100 + 1001);
    answered(e, 1000, 1000, 0); /* an outage says nothing of answers */
    ck_assert_uint_eq(estimate(&ask, e, SHM_NONE), 100 + 1001);
    answered(w.p->gateway, 10, 0, 100); /* of names that are not configured: what all take */
    ck_assert_uint_eq(estimate(&ask, SHM_NONE, SHM_NONE), 100 + 11);

    for (int i = 0; i < 300; i++)
        tokens_learn(w.shm, e, 2000, 1000);
    ck_assert_uint_eq(estimate(&ask, SHM_NONE, e), 200 + 11); /* by what its text has been */
}
END_TEST

START_TEST(estimates_do_not_overflow) {
    load("", "", "", "");
    uint32_t e = shm_entity(w.shm, ENTITY_MODEL, STR("m"));
    answered(e, 8, 0, UINT64_MAX);
    struct ask ask = {.input_bytes = UINT64_MAX, .n = UINT64_MAX};
    ck_assert_uint_gt(estimate(&ask, e, SHM_NONE), UINT64_C(1) << 40);
}
END_TEST

TCase *case_admit(void) {
    TCase *t = tcase_create("admit");
    tcase_add_checked_fixture(t, world_open, world_close);
    tcase_add_test(t, nothing_is_limited);
    tcase_add_test(t, requests_of_a_key);
    tcase_add_test(t, refused_by_the_gateway_costs_the_key_nothing);
    tcase_add_test(t, refused_by_the_key_costs_the_gateway_nothing);
    tcase_add_test(t, at_the_same_time);
    tcase_add_test(t, settled_down_and_up);
    tcase_add_test(t, absurd_numbers);
    tcase_add_test(t, of_a_provider);
    tcase_add_test(t, layers_all_or_none);
    tcase_add_test(t, no_room_for_state);
    tcase_add_test(t, headers_of_the_tightest);
    tcase_add_test(t, the_tightest_is_a_share);
    tcase_add_test(t, headers_of_one_kind);
    tcase_add_test(t, headers_of_huge_limits);
    tcase_add_test(t, estimates);
    tcase_add_test(t, estimates_do_not_overflow);
    return t;
}
