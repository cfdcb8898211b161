/* Hints of a request, and the strategies that measure. */
#include "base/clock.h"
#include "policy/hints.h"
#include "policy/route.h"
#include "policy_cases.h"
#include "shm/health.h"
#include "shm/slot.h"
#include "shm/speed.h"

static struct hints hints;
static struct fault fault;
static struct plan plan;

static bool read_hints(const char *json) {
    return hints_read(w.a, str_of(json), &hints, &fault);
}

START_TEST(hints_are_read) {
    world_load("providers:\n  - {kind: mock}\n");
    ck_assert(read_hints(""));
    ck_assert(hints.max_cost_nano == -1 && !hints.strategy_said && hints.timeout_ms == 0);
    ck_assert(read_hints("{\"strategy\":\"Least_Busy\",\"preferred_providers\":[\"a\",\"b\"],"
                         "\"exclude_providers\":\"c\",\"fallbacks\":[],\"tags\":[\"eu\"],\"task\":\"t\","
                         "\"max_cost_usd\":0.25,\"timeout_ms\":1500,"
                         "\"cache\":{\"mode\":\"semantic\",\"ttl\":60,\"similarity\":0.9}}"));
    ck_assert(hints.strategy_said && hints.strategy == STRATEGY_LEAST_BUSY);
    ck_assert(hints.preferred.n == 2 && hints.excluded.n == 1 && hints.fallbacks_said &&
              hints.fallbacks.n == 0);
    ck_str(hints.preferred.at[1], "b");
    ck_str(hints.task, "t");
    ck_assert(hints.max_cost_nano == 250000000 && hints.timeout_ms == 1500);
    ck_assert(hints.cache.mode == CACHE_MODE_SEMANTIC && hints.cache.ttl_ms == 60000);
    ck_assert(read_hints("{\"strategy\":null}") && !hints.strategy_said);
}
END_TEST

START_TEST(wrong_hints_are_told) {
    static const struct {
        const char *json, *param;
    } rows[] = {
        {"{\"strategy\":\"fastest\"}", "routing.strategy"},
        {"{\"strategy\":1}", "routing.strategy"},
        {"{\"stratgy\":\"cost\"}", "routing"},
        {"{\"preferred_providers\":[1]}", "routing.preferred_providers"},
        {"{\"preferred_providers\":[\"\"]}", "routing.preferred_providers"},
        {"{\"tags\":[\"a\",\"a\",\"a\",\"a\",\"a\",\"a\",\"a\",\"a\",\"a\",\"a\",\"a\",\"a\",\"a\",\"a\","
         "\"a\","
         "\"a\",\"a\"]}",
         "routing.tags"},
        {"{\"tags\":[\"0123456789012345678901234567890123456789012345678901234567890123x\"]}",
         "routing.tags"},
        {"{\"max_cost_usd\":-1}", "routing.max_cost_usd"},
        {"{\"max_cost_usd\":1e300}", "routing.max_cost_usd"},
        {"{\"max_cost_usd\":\"1\"}", "routing.max_cost_usd"},
        {"{\"timeout_ms\":0}", "routing.timeout_ms"},
        {"{\"timeout_ms\":1e18}", "routing.timeout_ms"},
        {"{\"cache\":{\"mode\":\"on\"}}", "routing.cache"},
        {"{\"cache\":{\"similarity\":1.5}}", "routing.cache"},
        {"{\"cache\":{\"x\":1}}", "routing.cache"},
        {"{\"cache\":true}", "routing.cache"},
        {"{\"task\":[]}", "routing.task"},
    };
    world_load("providers:\n  - {kind: mock}\n");
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        ck_assert_msg(!read_hints(rows[i].json), "%s", rows[i].json);
        ck_assert_int_eq(fault.cls, FAULT_BAD_REQUEST);
        ck_str(fault.param, rows[i].param);
    }
}
END_TEST

/* --- where they lead --- */

#define WORLD                                                                                                \
    "providers:\n  - {name: a, kind: mock}\n  - {name: b, kind: mock}\n  - {name: c, kind: mock}\n"          \
    "  - {name: d, kind: mock, default_model: dear}\n"                                                       \
    "routing: {tasks: {sum: [m, big], one: big}}\n"                                                          \
    "models:\n"                                                                                              \
    "  - {name: m, targets: [{provider: a, model: 1, tags: [eu, fast]}, {provider: b, model: 2, tags: eu},"  \
    " {provider: c, model: 3}], fallbacks: [big]}\n"                                                         \
    "  - {name: big, targets: [{provider: c, model: big}], context_window: 100000}\n"                        \
    "  - {name: \"x/*-chat\", targets: [{provider: a, model: \"up-*\"}, {provider: b, model: fixed}]}\n"

static const char *listed(size_t n) {
    struct buf b;
    buf_init(&b, 0);
    for (size_t i = 0; i < n; i++)
        buf_printf(&b, "%s%s/" STR_FMT, i ? " " : "", plan.list[i]->provider->conf->name,
                   STR_ARG(plan.list[i]->model));
    buf_addc(&b, '\0');
    const char *text = arena_dup(w.a, buf_str(&b)).p;
    buf_free(&b);
    return text;
}

static void leads(const char *model, const char *json, const char *want) {
    ck_assert_msg(read_hints(json), "%s: " STR_FMT, json, STR_ARG(fault.message));
    ck_assert_msg(route_resolve(w.p, w.a, str_of(model), &hints, &plan, &fault), "%s: " STR_FMT, json,
                  STR_ARG(fault.message));
    route_order(w.p, &plan);
    ck_assert_msg(strcmp(listed(plan.n), want) == 0, "%s %s: %s", model, json, listed(plan.n));
}

/* pattern NULL: all models. */
static void permits(const char *pattern, const char *want) {
    const char *models[] = {pattern};
    const struct conf_gateway_key key = {.models = models, .nmodels = pattern ? 1 : 0};
    const struct caller c = {.key = &key};
    ck_assert_int_eq(route_permit(&plan, &c), want != NULL);
    ck_assert_msg(!want || strcmp(listed(plan.n), want) == 0, "%s: %s", pattern, listed(plan.n));
    ck_assert(!want || plan.own == plan.n);
}

static void refused(const char *model, const char *json, const char *param) {
    ck_assert(read_hints(json));
    ck_assert_msg(!route_resolve(w.p, w.a, str_of(model), &hints, &plan, &fault), "%s", json);
    ck_assert_int_eq(fault.cls, FAULT_BAD_REQUEST);
    ck_str(fault.param, param);
}

START_TEST(hints_choose_targets) {
    world_load(WORLD);
    leads("m", "{}", "a/1 b/2 c/3");
    leads("m", "{\"preferred_providers\":[\"c\",\"b\"]}", "c/3 b/2 a/1");
    leads("m", "{\"exclude_providers\":[\"a\",\"c\"]}", "b/2");
    leads("m", "{\"tags\":[\"eu\"]}", "a/1 b/2");
    leads("m", "{\"tags\":[\"eu\",\"fast\"]}", "a/1");
    refused("m", "{\"tags\":[\"moon\"]}", "routing");
    refused("m", "{\"exclude_providers\":[\"a\",\"b\",\"c\"]}", "routing");
    refused("m", "{\"exclude_providers\":[\"nobody\"]}", "routing.exclude_providers");
    leads("x/fast-chat", "{}", "a/up-fast b/fixed");
    leads("", "{\"task\":\"sum\"}", "a/1 b/2 c/3 c/big");
    leads("", "{\"task\":\"one\"}", "c/big");
    refused("", "{\"task\":\"two\"}", "routing.task");
    leads("", "{\"preferred_providers\":[\"b\"]}", "b/mock");
    leads("", "{\"preferred_providers\":[\"b\",\"d\",\"a\"]}", "b/mock d/dear a/mock");
    permits("mock", "b/mock a/mock"); /* what nobody named is left out */
    permits("dear", NULL);
    permits(NULL, "b/mock a/mock");
    leads("m", "{\"preferred_providers\":[\"b\"]}", "b/2 a/1 c/3");
    permits("m", "b/2 a/1 c/3"); /* what the configuration names may be others */
    leads("m", "{\"fallbacks\":[\"b/other\"],\"exclude_providers\":[\"c\"]}", "a/1 b/2");
    ck_assert(route_next(w.p, w.a, &plan, FAULT_NONE) && route_next(w.p, w.a, &plan, FAULT_SERVER));
    struct target *t = route_next(w.p, w.a, &plan, FAULT_SERVER);
    ck_assert(t != NULL);
    ck_str(t->model, "other");
    ck_assert(!route_next(w.p, w.a, &plan, FAULT_SERVER));
}
END_TEST

START_TEST(strategies_that_measure) {
    world_load(WORLD);
    uint32_t e[3];
    for (int i = 0; i < 3; i++)
        e[i] = model("m")->targets[i].entity;
    for (int i = 0; i < 20; i++) {
        health_record(w.shm, e[0], i % 2 ? OUTCOME_FAILED : OUTCOME_OK, 10, 10, clock_ns());
        health_record(w.shm, e[1], i % 5 ? OUTCOME_OK : OUTCOME_FAILED, 10, 10, clock_ns());
        health_record(w.shm, e[2], OUTCOME_OK, 10, 10, clock_ns());
    }
    leads("m", "{\"strategy\":\"health\"}", "c/3 b/2 a/1");
    gauge_take(w.shm, e[2], GAUGE_IN_FLIGHT, UINT64_MAX);
    gauge_take(w.shm, e[2], GAUGE_IN_FLIGHT, UINT64_MAX);
    gauge_take(w.shm, e[0], GAUGE_IN_FLIGHT, UINT64_MAX);
    leads("m", "{\"strategy\":\"least-busy\"}", "b/2 a/1 c/3");
    speed_record(w.shm, e[0], 100, 0, clock_ns());
    speed_record(w.shm, e[1], 5000, 0, clock_ns());
    speed_record(w.shm, e[2], 5000, 0, clock_ns());
    unsigned first[3] = {0};
    for (int i = 0; i < 300;
         i++) { /* of two that are drawn: the slowest is never first, the fastest mostly */
        ck_assert(read_hints("{\"strategy\":\"latency\"}"));
        ck_assert(route_resolve(w.p, w.a, STR("m"), &hints, &plan, &fault));
        route_order(w.p, &plan);
        ck_assert_uint_eq(plan.n, 3);
        first[plan.list[0]->provider - w.p->providers]++;
    }
    ck_assert_uint_eq(first[2], 0);
    ck_assert_uint_gt(first[0], 150);
    ck_assert_uint_gt(first[1], 50);
}
END_TEST

START_TEST(equal_ones_share) {
    world_load(WORLD);
    unsigned first[3] = {0};
    for (int i = 0; i < 30; i++) {
        ck_assert(read_hints("{\"strategy\":\"least-busy\"}"));
        ck_assert(route_resolve(w.p, w.a, STR("m"), &hints, &plan, &fault));
        route_order(w.p, &plan);
        first[plan.list[0]->provider - w.p->providers]++;
    }
    ck_assert(first[0] == 10 && first[1] == 10 && first[2] == 10);
}
END_TEST

#define PRICED                                                                                               \
    "providers:\n  - {name: a, kind: mock}\n  - {name: b, kind: mock}\n  - {name: c, kind: mock}\n"          \
    "models:\n"                                                                                              \
    "  - {name: m, targets: [{provider: a, model: free}], fallbacks: [dear, cheap], strategy: cost}\n"       \
    "  - {name: dear, targets: [{provider: b, model: d}], prices: {input: 10, output: 10}}\n"                \
    "  - {name: cheap, targets: [{provider: c, model: c}], prices: {input: 1, output: 1},"                   \
    " context_window: 1000}\n"

START_TEST(cost_and_window) {
    world_load(PRICED);
    ck_assert(read_hints("{\"max_cost_usd\":0.002}"));
    ck_assert(route_resolve(w.p, w.a, STR("dear"), &hints, &plan, &fault));
    plan.input_bytes = 4000;
    plan.output_tokens = 100;
    ck_assert_int_eq(route_cost(w.p, &plan, plan.list[0]),
                     11000000); /* 1100 tokens of 10 dollars a million */
    ck_assert_int_eq(route_why_not(w.p, &plan, plan.list[0]), ROUTE_COST);
    ck_assert(!route_next(w.p, w.a, &plan, FAULT_NONE));
    ck_assert(route_refused(w.p, w.a, &plan, &fault) && fault.cls == FAULT_COST_LIMIT);
    ck_assert(route_resolve(w.p, w.a, STR("cheap"), &hints, &plan, &fault));
    plan.input_bytes = 4000;
    plan.output_tokens = 100;
    ck_assert_int_eq(route_why_not(w.p, &plan, plan.list[0]), ROUTE_OK); /* 1000 tokens fit */
    plan.input_bytes = 6000;                                             /* about 1500 do not */
    ck_assert_int_eq(route_why_not(w.p, &plan, plan.list[0]), ROUTE_WINDOW);
    ck_assert(route_refused(w.p, w.a, &plan, &fault) && fault.cls == FAULT_CONTEXT_LENGTH);
}
END_TEST

/* What costs nobody knows how much is asked where it was meant, but is no way out of another's cost; and for
 * that nobody goes where the configuration leads only after failures. */
START_TEST(no_way_out_of_a_cost) {
    world_load("providers:\n  - {name: a, kind: mock}\n  - {name: b, kind: mock}\n  - {name: c, kind: mock}\n"
               "models:\n"
               "  - {name: dear, targets: [{provider: a, model: d}], prices: {input: 10, output: 10},"
               " fallbacks: [unknown, cheap]}\n"
               "  - {name: unknown, targets: [{provider: b, model: u}]}\n"
               "  - {name: cheap, targets: [{provider: c, model: c}], prices: {input: 1, output: 1}}\n");
    ck_assert(read_hints("{\"max_cost_usd\":0.002}"));
    ck_assert(route_resolve(w.p, w.a, STR("unknown"), &hints, &plan, &fault));
    plan.input_bytes = 4000;
    plan.output_tokens = 100;
    ck_assert_int_eq(route_why_not(w.p, &plan, plan.list[0]), ROUTE_OK);
    ck_assert(route_resolve(w.p, w.a, STR("dear"), &hints, &plan, &fault));
    plan.input_bytes = 4000;
    plan.output_tokens = 100;
    ck_assert(!route_next(w.p, w.a, &plan, FAULT_NONE));
    ck_assert(route_refused(w.p, w.a, &plan, &fault) && fault.cls == FAULT_COST_LIMIT);
    ck_assert(str_find(fault.message, STR("$0.011 ")) > 0 && str_find(fault.message, STR("$0.002.")) > 0);
    plan.dear = true;
    const struct target *t = route_next(w.p, w.a, &plan, FAULT_NO_TARGET);
    ck_assert(t && str_is(t->model, "c"));

    world_load("providers:\n  - {name: a, kind: mock, default_model: d}\n  - {name: b, kind: mock, "
               "default_model: e}\n");
    for (int dear = 0; dear < 2; dear++) {
        ck_assert(route_resolve(w.p, w.a, STR("a/x"), NULL, &plan, &fault));
        plan.dear = dear;
        ck_assert_int_eq(route_next(w.p, w.a, &plan, FAULT_NONE) != NULL, true);
        ck_assert_int_eq(route_next(w.p, w.a, &plan, FAULT_SERVER) != NULL, !dear);
    }
}
END_TEST

static bool resolves(const char *id, const struct ask *ask) {
    return hints_of(w.a, ask, &hints, &fault) && route_resolve(w.p, w.a, str_of(id), &hints, &plan, &fault);
}

/* Programs whose models are names of providers must not reach the default one by a name that nobody has. */
START_TEST(models_that_are_known) {
    static const char two[] =
        "  - {name: openai, kind: openai, keys: [{value: k}]}\n"
        "  - {name: far, kind: openrouter, keys: [{value: k}], default_model: far/away}\n";
    const struct ask any = {.n = 1}, known = {.n = 1, .known_model = true};
    world_load(arena_printf(w.a, "providers:\n%s", two).p);
    ck_assert(resolves("nobody", &any) && str_is(plan.list[0]->model, "nobody"));
    ck_assert(!resolves("nobody", &known) && fault.cls == FAULT_MODEL_NOT_FOUND);
    ck_assert(!resolves("nobody/gpt-4o", &known) ||
              plan.list[0]->provider == provider("far")); /* by its form */
    ck_assert(resolves("openai", &known) && str_is(plan.list[0]->model, "gpt-4o-mini"));
    ck_assert(resolves("gpt-4", &known) && plan.list[0]->provider == provider("openai"));
    ck_assert(resolves("", &known) && plan.list[0]->provider == provider("openai"));
    /* where the default provider takes any id whole */
    world_load(arena_printf(w.a, "providers:\n%srouting: {default_provider: far}\n", two).p);
    ck_assert(resolves("openai", &any) && plan.list[0]->provider == provider("far"));
    ck_assert(resolves("openai", &known) && plan.list[0]->provider == provider("openai"));
    ck_assert(resolves("some/model:free", &known) && plan.list[0]->provider == provider("far"));
    ck_assert(!resolves("nobody", &known) && fault.cls == FAULT_MODEL_NOT_FOUND);
}
END_TEST

START_TEST(tasks_and_ceilings_of_a_body) {
    struct ask ask = {.n = 1, .task = STR("Question-Answering"), .max_cost_said = true, .max_cost_usd = 0.25};
    world_load("providers: [{name: a, kind: mock}]\nrouting: {tasks: {poetry: [a/verse]}}\n");
    ck_assert(resolves("", &ask) && str_is(plan.list[0]->model, "mock"));
    ck_assert_int_eq(hints.max_cost_nano, 250000000);
    ask.task = STR("poetry");
    ck_assert(resolves("", &ask) && str_is(plan.list[0]->model, "verse"));
    ask.task = STR("prose");
    ck_assert(!resolves("", &ask) && fault.cls == FAULT_BAD_REQUEST && str_is(fault.param, "routing.task"));
    ck_assert(str_find(fault.message, STR("poetry")) > 0 && str_find(fault.message, STR("`prose`")) > 0);
    /* the lower of two counts */
    ask.task = STR_NONE;
    ask.routing = STR("{\"max_cost_usd\":0.1,\"task\":\"poetry\"}");
    ck_assert(resolves("", &ask) && str_is(plan.list[0]->model, "verse") && hints.max_cost_nano == 100000000);
    ask.max_cost_usd = 0;
    ck_assert(resolves("", &ask) && hints.max_cost_nano == 0);
}
END_TEST

/* What the operator names is named as a client would name it, whoever asks. */
START_TEST(what_the_configuration_names) {
    static const char two[] =
        "  - {kind: openai, keys: [{value: k}]}\n  - {kind: anthropic, keys: [{value: k}]}\n"
        "  - {name: near, kind: openai_compatible, base_url: \"http://127.0.0.1:9/v1\"}\n";
    const struct ask known = {.n = 1, .known_model = true},
                     task = {.n = 1, .known_model = true, .task = STR("t")};
    world_load(arena_printf(
                   w.a,
                   "providers:\n%srouting: {tasks: {t: [claude-3-haiku, claude, gpt-4o, any/where, near]}}\n"
                   "models: [{name: any/*, targets: [{provider: near, model: \"up-*\"}]}, "
                   "{name: m, targets: [{provider: near, model: m}], fallbacks: [gpt-4, claude]}]\n",
                   two)
                   .p);
    ck_assert(resolves("", &task));
    ck_assert_str_eq(listed(plan.n),
                     "anthropic/claude-3-haiku anthropic/claude-sonnet-4-5 openai/gpt-4o near/up-where");
    leads("m", "{\"fallbacks\":[\"claude-3-opus\",\"any/one\"]}", "near/m");
    struct target *t = NULL;
    for (size_t i = 0; i < 2; i++)
        t = route_next(w.p, w.a, &plan, i ? FAULT_SERVER : FAULT_NONE);
    ck_assert(t && t->provider == provider("anthropic") && str_is(t->model, "claude-3-opus"));
    refused("m", "{\"fallbacks\":[\"nobody\"]}", "routing.fallbacks");
    /* the default provider's, too */
    world_load(arena_printf(w.a,
                            "providers:\n%srouting: {default_provider: near, default_model: llama3, tasks: "
                            "{t: [qwen, llama3]}}\n",
                            two)
                   .p);
    ck_assert(resolves("", &task));
    ck_assert_str_eq(listed(plan.n), "near/qwen near/llama3");
    ck_assert(resolves("", &known));
    ck_assert_str_eq(listed(plan.n), "near/llama3");
}
END_TEST

TCase *case_hints(void) {
    TCase *t = tcase_create("hints");
    tcase_add_checked_fixture(t, world_open, world_close);
    tcase_set_timeout(t, 60);
    tcase_add_test(t, hints_are_read);
    tcase_add_test(t, wrong_hints_are_told);
    tcase_add_test(t, hints_choose_targets);
    tcase_add_test(t, what_the_configuration_names);
    tcase_add_test(t, strategies_that_measure);
    tcase_add_test(t, equal_ones_share);
    tcase_add_test(t, cost_and_window);
    tcase_add_test(t, no_way_out_of_a_cost);
    tcase_add_test(t, models_that_are_known);
    tcase_add_test(t, tasks_and_ceilings_of_a_body);
    return t;
}
