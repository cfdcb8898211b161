/* Routing: what a model id means, in which order its targets are tried, and what comes after which fault. */
#include <stdio.h>

#include "base/clock.h"
#include "policy/route.h"
#include "policy_cases.h"
#include "shm/bucket.h"
#include "shm/health.h"

static struct plan plan;
static struct fault fault;

/* "openai/gpt-4o anthropic/x", of [from, to) */
static const char *listed(size_t from, size_t to) {
    struct buf b;
    buf_init(&b, 0);
    for (size_t i = from; i < to; i++)
        buf_printf(&b, "%s%s/" STR_FMT, i > from ? " " : "", plan.list[i]->provider->conf->name,
                   STR_ARG(plan.list[i]->model));
    const char *text = arena_dup(w.a, buf_str(&b)).p;
    buf_free(&b);
    return text ? text : "";
}

static bool resolve(const char *id) {
    return route_resolve(w.p, w.a, str_of(id), NULL, &plan, &fault);
}

static void means(const char *id, const char *targets) {
    ck_assert_msg(resolve(id), "%s: " STR_FMT, id, STR_ARG(fault.message));
    ck_assert_msg(strcmp(listed(0, plan.n), targets) == 0, "%s: %s", id, listed(0, plan.n));
    ck_assert_uint_eq(plan.own, plan.n);
}

static void unknown(const char *id) {
    ck_assert_msg(!resolve(id), "%s: %s", id, listed(0, plan.n));
    ck_assert_int_eq(fault.cls, FAULT_MODEL_NOT_FOUND);
    ck_str(fault.param, "model");
}

static const char *next(enum fault_class after) {
    bool more = route_has_more(w.p, w.a, &plan, after);
    struct target *t = route_next(w.p, w.a, &plan, after);
    ck_assert_int_eq(more, t != NULL); /* looking and taking agree */
    return t ? arena_printf(w.a, "%s/" STR_FMT, t->provider->conf->name, STR_ARG(t->model)).p : "";
}
#define ck_next(after, want) ck_assert_str_eq(next(after), want)

static void trip(uint32_t entity) {
    struct breaker_rule r = {.consecutive_failures = 1, .open_for_ms = 60000, .max_open_for_ms = 60000};
    breaker_done(w.shm, entity, &r, BREAKER_PASS, OUTCOME_FAILED, clock_ns(), 0);
    ck_assert_int_eq(breaker_state(w.shm, entity, NULL, clock_ns()), BREAKER_OPEN);
}

/* --- what an id means --- */

#define OPENAI     "  - {kind: openai, keys: [{value: k}]}\n"
#define ANTHROPIC  "  - {kind: anthropic, keys: [{value: k}]}\n"
#define OPENROUTER "  - {kind: openrouter, keys: [{value: k}]}\n"
#define LOCAL      "  - {name: local, kind: openai_compatible, base_url: \"http://127.0.0.1:9/v1\"}\n"
#define MOCK       "  - {kind: mock}\n"
#define MODELS                                                                                               \
    "models:\n"                                                                                              \
    "  - {name: fast, targets: [{provider: openai, model: gpt-4o-mini}, {provider: anthropic, model: c}]}\n" \
    "  - {name: openai/gpt-4o, targets: [{provider: anthropic, model: mapped}]}\n"                           \
    "  - {name: claude, targets: [{provider: openai, model: alias}]}\n"

START_TEST(configured_models_come_first) {
    world_load("providers:\n" OPENAI ANTHROPIC OPENROUTER MODELS "routing: {default_provider: openrouter}\n");
    means("fast", "openai/gpt-4o-mini anthropic/c");
    ck_assert_ptr_eq(plan.model, model("fast"));
    ck_assert_uint_eq(plan.model_entity, model("fast")->entity);
    ck_str(plan.asked, "fast");
    means("openai/gpt-4o", "anthropic/mapped");
    means("claude", "openai/alias");
    means("Fast", "openrouter/Fast"); /* names of models are exact */
    ck_assert_uint_eq(plan.model_entity, SHM_NONE);
}
END_TEST

START_TEST(a_default_that_takes_whole_ids) {
    world_load("providers:\n" OPENAI ANTHROPIC OPENROUTER "routing: {default_provider: openrouter}\n");
    means("openai/gpt-4o", "openrouter/openai/gpt-4o");
    means("anthropic/claude-3.5-sonnet:beta", "openrouter/anthropic/claude-3.5-sonnet:beta");
    means("gpt-4o", "openrouter/gpt-4o");
    means("claude", "openrouter/claude");
    world_load("providers:\n" OPENAI LOCAL "routing: {default_provider: local}\n");
    means("openai/gpt-4o", "local/openai/gpt-4o");
}
END_TEST

START_TEST(whole_ids_only_when_said) {
    world_load("providers:\n" OPENROUTER OPENAI); /* the first, but nobody said that it is the default */
    means("openai/gpt-4o", "openai/gpt-4o");
    means("meta/llama", "openrouter/meta/llama"); /* inferred */
}
END_TEST

START_TEST(provider_before_a_separator) {
    world_load("providers:\n" OPENAI ANTHROPIC LOCAL MODELS);
    means("openai/gpt-x", "openai/gpt-x");
    means("openai.gpt-4.1", "openai/gpt-4.1");
    means("OpenAI/gpt-x", "openai/gpt-x");
    means("OPENAI.gpt-x", "openai/gpt-x");
    means("claude/x", "anthropic/x");
    means("claude.x", "anthropic/x");
    means("local/org/model:tag", "local/org/model:tag");
    means("local/openai/x", "local/openai/x"); /* the first separator that has a provider before it */
    means("openai//x", "openai//x");
    unknown("openai/");
    unknown("/openai/");
    unknown("xopenai/x");
    unknown("gpt4.1");
    unknown("other/x");
    unknown("other.openai");
}
END_TEST

START_TEST(provider_names_with_dots) {
    world_load("providers:\n  - {name: my.own, kind: mock}\n  - {name: my, kind: mock}\n" MOCK
               "models: [{name: m, "
               "targets: [{provider: my}]}]\n");
    means("my.own/x", "my/own/x"); /* the shortest prefix that is a provider */
    means("my/x", "my/x");
}
END_TEST

START_TEST(a_provider_alone) {
    world_load("providers:\n  - {kind: openai, keys: [k], default_model: gpt-x}\n" ANTHROPIC LOCAL
               "models: [{name: m, targets: [{provider: openai}]}]\n");
    means("openai", "openai/gpt-x");
    means("anthropic", "anthropic/claude-sonnet-4-5");
    means("Claude", "anthropic/claude-sonnet-4-5");
    unknown("local"); /* has no default model: an empty id would mean nothing to it */
    world_load("providers:\n" OPENAI LOCAL "routing: {default_provider: openai}\n");
    means("local", "openai/local");
}
END_TEST

START_TEST(inference) {
    world_load("providers:\n" OPENAI ANTHROPIC OPENROUTER MOCK
               "models: [{name: m, targets: [{provider: mock}]}]\n");
    means("gpt-4o", "openai/gpt-4o");
    means("gpt-", "openai/gpt-");
    means("o3-mini", "openai/o3-mini");
    means("chatgpt-4o-latest", "openai/chatgpt-4o-latest");
    means("claude-3-opus", "anthropic/claude-3-opus");
    means("meta-llama/llama-3", "openrouter/meta-llama/llama-3");
    means("mock-slow", "mock/mock-slow");
    unknown("gpt");
    unknown("xgpt-4o");
    unknown("GPT-4o");
    unknown("llama-3");
    world_load("providers:\n" ANTHROPIC "models: [{name: m, targets: [{provider: anthropic}]}]\n");
    unknown("gpt-4o"); /* nobody of that kind is configured */
    world_load("providers:\n" OPENAI
               "models: [{name: m, targets: [{provider: openai}]}]\nrouting: {infer_provider: false}\n");
    unknown("gpt-4o");
}
END_TEST

START_TEST(the_default_provider_last) {
    world_load("providers:\n" OPENAI ANTHROPIC MODELS "routing: {default_provider: anthropic}\n");
    means("gpt-4o", "openai/gpt-4o");
    means("something", "anthropic/something");
    means("a/b.c", "anthropic/a/b.c");
    world_load("providers:\n" OPENAI ANTHROPIC); /* nothing configured at all: the first takes what is left */
    means("something", "openai/something");
    world_load("providers:\n" OPENAI ANTHROPIC MODELS);
    unknown("something");
    ck_assert_int_eq(fault_status(&fault), 404);
    ck_assert(str_find(fault.message, STR("`something`")) > 0);
}
END_TEST

START_TEST(a_default_provider_by_its_kind) {
    world_load("providers:\n  - {name: main, kind: anthropic, keys: [k]}\n" OPENAI
               "routing: {default_provider: claude}\n");
    means("something", "main/something");
    means("", "main/claude-sonnet-4-5");
}
END_TEST

START_TEST(disabled_providers) {
    world_load("providers:\n  - {kind: openai, keys: [k], enabled: false}\n" ANTHROPIC OPENROUTER "models:\n"
               "  - {name: both, targets: [{provider: openai, model: a}, {provider: anthropic, model: b}]}\n"
               "  - {name: gone, targets: [{provider: openai, model: a}]}\n"
               "  - {name: saved, targets: [{provider: openai, model: a}], fallbacks: [both]}\n"
               "routing: {default_provider: openai}\n");
    means("both", "anthropic/b");
    ck_assert(!resolve("gone"));
    ck_assert_int_eq(fault.cls, FAULT_NO_TARGET);
    ck_assert_int_eq(fault_status(&fault), 503);
    ck_assert(resolve("saved")); /* that nobody of its own is there is what a fallback is for */
    ck_assert_uint_eq(plan.own, 0);
    route_order(w.p, &plan);
    ck_next(FAULT_NONE, "anthropic/b");
    ck_next(FAULT_SERVER, "");
    unknown("openai");
    unknown("gpt-4o");
    unknown("something"); /* the default is off: the next provider is not the default instead */
    means("x/y", "openrouter/x/y");
}
END_TEST

START_TEST(odd_ids) {
    world_load("providers:\n" OPENAI ANTHROPIC MODELS "  - {name: nul, targets: [{provider: openai}]}\n"
               "routing: {default_provider: openai}\n");
    char id[20000];
    memset(id, '.', sizeof id);
    ck_assert(route_resolve(w.p, w.a, str_make(id, sizeof id), NULL, &plan,
                            &fault)); /* the default takes anything */
    ck_assert(!route_resolve(w.p, w.a, str_make("nul\0x", 5), NULL, &plan, &fault)); /* but no line ends */
    ck_assert_ptr_null(plan.model);
    unknown("openai/a\nb");
    means("/", "openai//");
    means(".", "openai/.");
    world_load("providers:\n" OPENAI ANTHROPIC MODELS);
    memset(id, 'x', sizeof id);
    ck_assert(!route_resolve(w.p, w.a, str_make(id, sizeof id), NULL, &plan, &fault));
    ck_assert_uint_lt(fault.message.n, 256); /* the text does not grow with it */
}
END_TEST

START_TEST(no_model_at_all) {
    world_load("providers:\n" OPENAI ANTHROPIC
               "routing: {default_model: openai/gpt-y, default_provider: claude}\n");
    means("", "openai/gpt-y");
    ck_str(plan.asked, "openai/gpt-y");
    world_load("providers:\n" OPENAI ANTHROPIC MODELS "routing: {default_model: fast}\n");
    means("", "openai/gpt-4o-mini anthropic/c");
    ck_assert_ptr_eq(plan.model, model("fast"));
    world_load("providers:\n" OPENAI ANTHROPIC "routing: {default_provider: anthropic}\n");
    means("", "anthropic/claude-sonnet-4-5");
    world_load("providers:\n" ANTHROPIC OPENAI);
    means("", "anthropic/claude-sonnet-4-5");
    ck_str(plan.asked, "claude-sonnet-4-5");
    world_load("providers:\n" OPENAI ANTHROPIC MODELS);
    means("", "openai/gpt-4o-mini");
    world_load("providers:\n" LOCAL
               "models: [{name: m, targets: [{provider: local}]}]\n"); /* has no default of its own */
    means("", "local/m");
    world_load("providers:\n" LOCAL);
    ck_assert(!resolve(""));
    ck_assert_int_eq(fault.cls, FAULT_BAD_REQUEST);
    ck_str(fault.param, "model");
}
END_TEST

START_TEST(a_default_model_is_its_providers) {
    /* what would be inferred, split or named otherwise */
    world_load("providers:\n" OPENAI
               "  - {name: second, kind: openai, keys: [k], default_model: gpt-z}\n" ANTHROPIC MODELS
               "routing: {default_provider: second}\n");
    means("", "second/gpt-z");
    means("second", "second/gpt-z");
    world_load("providers:\n" OPENROUTER OPENAI);
    means("", "openrouter/openai/gpt-4o-mini");
    world_load("providers:\n  - {kind: openai, keys: [k], default_model: fast}\n" ANTHROPIC MODELS);
    means("", "openai/gpt-4o-mini anthropic/c"); /* but a configured model of that name is meant */
}
END_TEST

/* --- order --- */

static void order(const char *id) {
    ck_assert(resolve(id));
    route_order(w.p, &plan);
}

#define THREE                                                                                                \
    "providers:\n  - {name: a, kind: mock}\n  - {name: b, kind: mock}\n  - {name: c, kind: mock}\n"          \
    "models:\n"                                                                                              \
    "  - {name: f, targets: [{provider: a}, {provider: b}, {provider: c}]}\n"                                \
    "  - {name: r, targets: [{provider: a}, {provider: b}, {provider: c}], strategy: round-robin}\n"         \
    "  - {name: w, targets: [{provider: a, weight: 1}, {provider: b, weight: 3}, {provider: c, weight: 6}]," \
    " strategy: weighted}\n"

START_TEST(fallback_keeps_the_order) {
    world_load(THREE);
    for (int i = 0; i < 5; i++) {
        order("f");
        ck_assert_str_eq(listed(0, plan.n), "a/f b/f c/f");
    }
}
END_TEST

START_TEST(round_robin_is_exact) {
    world_load(THREE);
    static const char *const turns[] = {"a/r b/r c/r", "b/r c/r a/r", "c/r a/r b/r"};
    for (int i = 0; i < 30; i++) {
        order("r");
        ck_assert_str_eq(listed(0, plan.n), turns[i % 3]);
    }
    world_load(THREE); /* a worker more takes part in the same turns */
    order("r");
    ck_assert_str_eq(listed(0, plan.n), turns[0]);
    order("r");
    ck_assert_str_eq(listed(0, plan.n), turns[1]);
}
END_TEST

START_TEST(weights) {
    world_load(THREE);
    enum { N = 20000 };
    unsigned first[3] = {0}, second_after_c[3] = {0};
    for (int i = 0; i < N; i++) {
        order("w");
        ck_assert_uint_eq(plan.n, 3);
        size_t a = (size_t)(plan.list[0]->provider - w.p->providers);
        size_t b = (size_t)(plan.list[1]->provider - w.p->providers);
        size_t c = (size_t)(plan.list[2]->provider - w.p->providers);
        ck_assert_uint_eq(a + b + c, 3); /* all of them, each once */
        ck_assert(a != b && b != c);
        first[a]++;
        if (a == 2)
            second_after_c[b]++;
    }
    /* 10, 30 and 60 %; six standard deviations of 20000 draws are about 2 % */
    ck_assert_double_eq_tol((double)first[0] / N, 0.1, 0.02);
    ck_assert_double_eq_tol((double)first[1] / N, 0.3, 0.02);
    ck_assert_double_eq_tol((double)first[2] / N, 0.6, 0.025);
    ck_assert_double_eq_tol((double)second_after_c[1] / first[2], 0.75, 0.03); /* 3 of the 4 that are left */
}
END_TEST

START_TEST(default_strategy) {
    world_load("routing: {default_strategy: round-robin}\n" THREE);
    order("f");
    order("f");
    ck_assert_str_eq(listed(0, plan.n), "b/f c/f a/f");
}
END_TEST

START_TEST(more_targets_than_a_plan_holds) {
    struct buf b;
    buf_init(&b, 0);
    buf_addz(&b,
             "providers: [{kind: mock}]\nmodels:\n  - name: many\n    strategy: round-robin\n    targets:\n");
    for (int i = 0; i < 50; i++)
        buf_printf(&b, "      - {provider: mock, model: m%d}\n", i);
    world_load(arena_dup(w.a, buf_str(&b)).p);
    buf_free(&b);
    for (int i = 0; i < 70; i++) {
        order("many");
        ck_assert_uint_eq(plan.n, PLAN_MAX);
        ck_assert_uint_eq(plan.own, PLAN_MAX);
        ck_assert_str_eq(listed(0, 1), arena_printf(w.a, "mock/m%d", i % PLAN_MAX).p);
    }
    for (int i = 0; i < PLAN_MAX; i++)
        ck_assert_ptr_nonnull(route_next(w.p, w.a, &plan, FAULT_SERVER));
    ck_assert_ptr_null(route_next(w.p, w.a, &plan, FAULT_SERVER));
}
END_TEST

/* --- after a fault --- */

#define SHORT_TARGETS                                                                                        \
    "providers:\n  - {name: a, kind: mock}\n  - {name: b, kind: mock}\n  - {name: c, kind: mock}\n"          \
    "models:\n"                                                                                              \
    "  - {name: m, targets: [{provider: a}, {provider: b}], fallbacks: [big, c/loose, c.dotted]}\n"          \
    "  - {name: big, targets: [{provider: a, model: big}, {provider: c, model: big}]}\n"

START_TEST(targets_then_fallbacks) {
    world_load(SHORT_TARGETS);
    order("m");
    ck_next(FAULT_NONE, "a/m");
    ck_next(FAULT_SERVER, "b/m");
    ck_next(FAULT_TIMEOUT, "a/big");
    ck_next(FAULT_CONNECTION, "c/big");
    ck_next(FAULT_RATE_LIMIT, "c/loose");
    ck_next(FAULT_OVERLOADED, "c/dotted");
    ck_next(FAULT_SERVER, "");
    ck_next(FAULT_NONE, "");
    ck_assert_uint_eq(plan.own, 2);
}
END_TEST

/* What the table of faults says, at each of the three places: with a target of the model left, without one,
 * and at a fallback. */
static const struct {
    enum fault_class cls;
    const char *target, *fallback, *further;
} after[] = {
    {FAULT_BAD_REQUEST, "", "", ""},
    {FAULT_UNSUPPORTED, "b/m", "", "c/big"},
    {FAULT_CONTEXT_LENGTH, "a/big", "a/big", "c/loose"},
    {FAULT_CONTENT_FILTER, "", "", ""}, /* not in fallback_on unless said */
    {FAULT_TOO_LARGE, "", "", ""},
    {FAULT_AUTH, "", "", ""},
    {FAULT_PERMISSION, "", "", ""},
    {FAULT_MODEL_NOT_FOUND, "b/m", "a/big", "c/big"},
    {FAULT_RATE_LIMIT, "b/m", "a/big", "c/big"},
    {FAULT_QUOTA, "b/m", "a/big", "c/big"},
    {FAULT_PROVIDER_AUTH, "b/m", "a/big", "c/big"},
    {FAULT_SERVER, "b/m", "a/big", "c/big"},
    {FAULT_OVERLOADED, "b/m", "a/big", "c/big"},
    {FAULT_TIMEOUT, "b/m", "a/big", "c/big"},
    {FAULT_CONNECTION, "b/m", "a/big", "c/big"},
    {FAULT_NO_TARGET, "b/m", "a/big", "c/big"},
    {FAULT_CANCELLED, "", "", ""},
    {FAULT_INTERNAL, "", "", ""},
};

START_TEST(each_class_of_fault) {
    world_load(SHORT_TARGETS);
    enum fault_class cls = after[_i].cls;
    order("m");
    ck_next(FAULT_NONE, "a/m");
    ck_next(cls, after[_i].target);
    order("m");
    ck_next(FAULT_NONE, "a/m");
    ck_next(FAULT_SERVER, "b/m");
    ck_next(cls, after[_i].fallback);
    order("m");
    ck_next(FAULT_NONE, "a/m");
    ck_next(FAULT_SERVER, "b/m");
    ck_next(FAULT_SERVER, "a/big");
    ck_next(cls, after[_i].further);
}
END_TEST

START_TEST(only_what_fallback_on_lists) {
    world_load(
        "providers:\n  - {name: a, kind: mock}\n  - {name: b, kind: mock}\n"
        "models:\n"
        "  - {name: m, targets: [{provider: a}], fallbacks: [b/x], fallback_on: [timeout, content_filter]}\n"
        "  - {name: s, targets: [{provider: a}], fallbacks: [b/x], fallback_on: [server_error]}\n"
        "  - {name: r, targets: [{provider: a}], fallbacks: [b/x], fallback_on: [rate_limit_exceeded]}\n");
    static const struct {
        const char *model;
        enum fault_class cls;
        bool goes;
    } cases[] = {
        {"m", FAULT_TIMEOUT, true},         {"m", FAULT_CONTENT_FILTER, true}, {"m", FAULT_SERVER, false},
        {"m", FAULT_CONTEXT_LENGTH, false}, {"m", FAULT_RATE_LIMIT, false},    {"s", FAULT_SERVER, true},
        {"s", FAULT_OVERLOADED, true},      {"s", FAULT_PROVIDER_AUTH, true},  {"s", FAULT_NO_TARGET, true},
        {"s", FAULT_TIMEOUT, false},        {"r", FAULT_QUOTA, true},          {"r", FAULT_RATE_LIMIT, true},
        {"r", FAULT_NO_TARGET, false},      {"r", FAULT_BAD_REQUEST, false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        order(cases[i].model);
        ck_assert_str_eq(next(FAULT_NONE), arena_printf(w.a, "a/%s", cases[i].model).p);
        const char *got = next(cases[i].cls);
        ck_assert_msg((strcmp(got, "b/x") == 0) == cases[i].goes, "%s after %s: %s", cases[i].model,
                      fault_rule(cases[i].cls)->name, got);
    }
}
END_TEST

START_TEST(a_fault_that_is_not_listed_is_not_the_last_word) {
    world_load("providers:\n  - {name: a, kind: mock}\n  - {name: b, kind: mock}\n"
               "models: [{name: m, targets: [{provider: a}, {provider: b}], fallbacks: [b/x], fallback_on: "
               "[timeout]}]\n");
    order("m");
    ck_next(FAULT_NONE, "a/m");
    ck_next(FAULT_SERVER, "b/m"); /* the model's own targets need no list */
    ck_next(FAULT_TIMEOUT, "b/x");
}
END_TEST

START_TEST(switched_off) {
    world_load("routing: {fallback: false}\n" SHORT_TARGETS
               "fallback_rules: [{model: m, fallback_models: [c/rule]}]\n");
    order("m");
    ck_next(FAULT_NONE, "a/m");
    ck_next(FAULT_SERVER, "b/m");
    ck_next(FAULT_SERVER, "");
    world_load("routing: {fallback: false}\nproviders:\n" OPENAI ANTHROPIC);
    order("gpt-4o");
    ck_next(FAULT_NONE, "openai/gpt-4o");
    ck_next(FAULT_SERVER, "");
}
END_TEST

START_TEST(no_target_twice) {
    world_load("providers:\n  - {name: a, kind: mock}\n  - {name: b, kind: mock}\n"
               "models:\n"
               "  - {name: m, targets: [{provider: a, model: x}, {provider: a, model: x}], fallbacks: [n, "
               "b/y, A.x]}\n"
               "  - {name: n, targets: [{provider: a, model: x}, {provider: b, model: y}, {provider: a, "
               "model: z}]}\n");
    order("m");
    ck_next(FAULT_NONE, "a/x");
    ck_next(FAULT_SERVER, "b/y");
    ck_next(FAULT_SERVER, "a/z");
    ck_next(FAULT_SERVER, "");
}
END_TEST

START_TEST(fallbacks_of_fallbacks_are_not_followed) {
    world_load("providers:\n  - {name: a, kind: mock}\n"
               "models:\n"
               "  - {name: m, targets: [{provider: a, model: 1}], fallbacks: [n]}\n"
               "  - {name: n, targets: [{provider: a, model: 2}], fallbacks: [o]}\n"
               "  - {name: o, targets: [{provider: a, model: 3}]}\n");
    order("m");
    ck_next(FAULT_NONE, "a/1");
    ck_next(FAULT_SERVER, "a/2");
    ck_next(FAULT_SERVER, "");
}
END_TEST

START_TEST(rules) {
    world_load(
        "providers:\n" OPENAI ANTHROPIC "models: [{name: named, targets: [{provider: openai, model: x}]}]\n"
        "fallback_rules:\n"
        "  - {model: openai.gpt-4-turbo, fallback_models: [openai.gpt-3.5-turbo, anthropic.claude-3-sonnet],"
        " error_codes: [rate_limit_exceeded, server_error]}\n"
        "  - {model: named, fallback_models: [anthropic/y], error_codes: [timeout]}\n");
    static const char *const spellings[] = {"openai.gpt-4-turbo", "openai/gpt-4-turbo", "OpenAI/gpt-4-turbo",
                                            "gpt-4-turbo"};
    for (size_t i = 0; i < 4; i++) { /* one target, however it was written */
        order(spellings[i]);
        ck_next(FAULT_NONE, "openai/gpt-4-turbo");
        ck_next(FAULT_RATE_LIMIT, "openai/gpt-3.5-turbo");
        ck_next(FAULT_SERVER, "anthropic/claude-3-sonnet");
        ck_next(FAULT_SERVER, "");
    }
    order("named");
    ck_next(FAULT_NONE, "openai/x");
    ck_next(FAULT_SERVER, "");
    order("named");
    ck_next(FAULT_NONE, "openai/x");
    ck_next(FAULT_TIMEOUT, "anthropic/y");
    order("gpt-4-turbo-2024"); /* another model: the other providers */
    ck_next(FAULT_NONE, "openai/gpt-4-turbo-2024");
    ck_next(FAULT_RATE_LIMIT, "anthropic/claude-sonnet-4-5");
}
END_TEST

START_TEST(a_fallback_names_its_provider) {
    /* although a default that takes whole ids would take these too: it is the one that has just failed */
    world_load("providers:\n" OPENROUTER ANTHROPIC OPENAI
               "models: [{name: m, targets: [{provider: openrouter, model: x}], fallbacks: [anthropic/c, "
               "openai.g]}]\n"
               "routing: {default_provider: openrouter}\n");
    order("m");
    ck_next(FAULT_NONE, "openrouter/x");
    ck_next(FAULT_SERVER, "anthropic/c");
    ck_next(FAULT_SERVER, "openai/g");
    world_load(
        "providers:\n" OPENROUTER "  - {kind: anthropic, keys: [k], enabled: false}\n"
        "models: [{name: m, targets: [{provider: openrouter, model: x}], fallbacks: [anthropic/c]}]\n");
    order("m");
    ck_next(FAULT_NONE, "openrouter/x");
    ck_next(FAULT_SERVER, ""); /* off: nobody stands in for it */
}
END_TEST

START_TEST(other_providers_by_health) {
    world_load("providers:\n" OPENAI ANTHROPIC OPENROUTER LOCAL MOCK);
    order("gpt-4o");
    ck_next(FAULT_NONE, "openai/gpt-4o");
    for (int i = 0; i < 20; i++) {
        health_record(w.shm, provider("anthropic")->entity, OUTCOME_FAILED, 10, 10, clock_ns());
        health_record(w.shm, provider("openrouter")->entity, i % 2 ? OUTCOME_FAILED : OUTCOME_OK, 10, 10,
                      clock_ns());
        health_record(w.shm, provider("mock")->entity, OUTCOME_OK, 10, 10, clock_ns());
    }
    ck_next(FAULT_SERVER, "mock/mock");
    ck_next(FAULT_SERVER, "openrouter/openai/gpt-4o-mini");
    ck_next(FAULT_SERVER, "anthropic/claude-sonnet-4-5");
    ck_next(FAULT_SERVER, ""); /* local has no default model */
    static const enum fault_class no[] = {FAULT_CONTEXT_LENGTH, FAULT_CONTENT_FILTER, FAULT_BAD_REQUEST};
    for (size_t i = 0; i < 3; i++) { /* another vendor's default is no answer to these */
        order("gpt-4o");
        ck_next(FAULT_NONE, "openai/gpt-4o");
        ck_next(no[i], "");
    }
}
END_TEST

START_TEST(many_other_providers) {
    struct buf b;
    buf_init(&b, 0);
    buf_addz(&b, "providers:\n");
    for (int i = 0; i < 60; i++)
        buf_printf(&b, "  - {name: p%d, kind: mock}\n", i);
    world_load(arena_dup(w.a, buf_str(&b)).p);
    buf_free(&b);
    for (int i = 0; i < 60; i += 2)
        health_record(w.shm, provider(arena_printf(w.a, "p%d", i).p)->entity, OUTCOME_FAILED, 1, 1,
                      clock_ns());
    order("anything");
    ck_next(FAULT_NONE, "p0/anything");
    for (int i = 1; i < PLAN_MAX; i++)
        ck_assert_str_ne(next(FAULT_SERVER), "");
    ck_next(FAULT_SERVER, "");
}
END_TEST

START_TEST(made_up_ids_have_breakers_of_their_own_up_to_a_bound) {
    world_load(SHORT_TARGETS);
    struct plane_provider *c = provider("c");
    uint32_t one = plane_loose_target(w.p, w.a, c, STR("one"));
    ck_assert_uint_ne(one, c->other_target);
    ck_assert_uint_eq(one, plane_loose_target(w.p, w.a, c, STR("one")));
    uint32_t before = shm_entities(w.shm);
    for (int i = 0; i < 2000; i++)
        plane_loose_target(w.p, w.a, c, arena_printf(w.a, "made-up-%d", i));
    ck_assert_uint_le(shm_entities(w.shm) - before, 512);
    ck_assert_uint_eq(plane_loose_target(w.p, w.a, c, STR("late")), c->other_target);
    ck_assert_uint_eq(plane_loose_target(w.p, w.a, c, STR("one")), one);
}
END_TEST

START_TEST(open_breakers_are_passed_over) {
    world_load(SHORT_TARGETS);
    trip(model("m")->targets[0].entity);
    order("m");
    ck_next(FAULT_NONE, "b/m");
    trip(model("m")->targets[1].entity);
    trip(model("big")->targets[0].entity);
    order("m");
    ck_next(FAULT_NONE, "");
    ck_next(FAULT_NO_TARGET, "c/big"); /* what is open counts as failed */
    rest_until(w.shm, model("big")->targets[1].entity, UINT64_MAX);
    order("m");
    ck_next(FAULT_NO_TARGET, "c/loose");
    trip(plane_loose_target(w.p, w.a, provider("c"), STR("loose")));
    trip(plane_loose_target(w.p, w.a, provider("c"), STR("dotted")));
    order("m");
    ck_next(FAULT_NO_TARGET, "");
    breaker_reset(w.shm, model("m")->targets[1].entity);
    order("m");
    ck_next(FAULT_NONE, "b/m");
    ck_next(FAULT_BAD_REQUEST, "");
}
END_TEST

START_TEST(larger_windows_for_long_requests) {
    world_load("providers:\n  - {name: a, kind: mock}\n"
               "models:\n"
               "  - {name: m, targets: [{provider: a, model: 1}], context_window: 100000, fallbacks: [less, "
               "same, more,"
               " a/gpt-4, a/gpt-4.1, a/unknown]}\n"
               "  - {name: less, targets: [{provider: a, model: 2}], context_window: 50000}\n"
               "  - {name: same, targets: [{provider: a, model: 3}], context_window: 100000}\n"
               "  - {name: more, targets: [{provider: a, model: 4}], context_window: 200000}\n");
    order("m");
    ck_next(FAULT_NONE, "a/1");
    ck_next(FAULT_CONTEXT_LENGTH, "a/4");
    ck_next(FAULT_CONTEXT_LENGTH, "a/gpt-4.1"); /* 8192 are fewer, a million more, by the price table */
    ck_next(FAULT_CONTEXT_LENGTH, "a/unknown"); /* it may have a larger one */
    order("m");
    ck_next(FAULT_NONE, "a/1");
    ck_next(FAULT_SERVER, "a/2"); /* for any other reason all of them */
    ck_next(FAULT_SERVER, "a/3");
}
END_TEST

/* --- keys --- */

static const struct plane_key *key(struct plane_provider *pr, uint64_t tried) {
    size_t i = SIZE_MAX;
    const struct plane_key *k = route_key(w.p, pr, tried, &i);
    ck_assert(!k || k == &pr->keys[i]);
    return k;
}

START_TEST(keys_by_weight) {
    world_load("providers: [{kind: openai, keys: [{value: a, weight: 1}, {value: b, weight: 4}]}]\n");
    struct plane_provider *pr = provider("openai");
    unsigned n[2] = {0};
    for (int i = 0; i < 10000; i++)
        n[key(pr, 0) - pr->keys]++;
    ck_assert_uint_gt(n[0], 1700); /* 2000, and six deviations of 40 */
    ck_assert_uint_lt(n[0], 2300);
    for (int i = 0; i < 20; i++) {
        ck_assert_ptr_eq(key(pr, 2), &pr->keys[0]);
        ck_assert_ptr_eq(key(pr, 1), &pr->keys[1]);
    }
    ck_assert_ptr_null(key(pr, 3));
}
END_TEST

START_TEST(resting_keys) {
    world_load("providers: [{kind: openai, keys: [a, b, c]}]\n");
    struct plane_provider *pr = provider("openai");
    uint64_t now = clock_ns();
    size_t i;
    rest_until(w.shm, pr->keys[0].entity, now + 60000000000u);
    rest_until(w.shm, pr->keys[1].entity, now + 30000000000u);
    for (int k = 0; k < 20; k++)
        ck_assert_ptr_eq(key(pr, 0), &pr->keys[2]);
    rest_until(w.shm, pr->keys[2].entity, UINT64_MAX);
    ck_assert_ptr_null(key(pr, 0));
    ck_assert_ptr_eq(route_key_resting(w.p, pr, &i), &pr->keys[1]); /* whose rest ends first */
    ck_assert_uint_eq(i, 1);
    rest_until(w.shm, pr->keys[0].entity, UINT64_MAX);
    rest_until(w.shm, pr->keys[1].entity, UINT64_MAX);
    ck_assert_ptr_null(route_key_resting(w.p, pr, &i));
}
END_TEST

START_TEST(a_reload_wakes_refused_keys) {
    char id[121];
    memset(id, 'k', sizeof id - 1);
    id[sizeof id - 1] = '\0'; /* longer than the segment keeps */
    const char *yaml =
        arena_printf(w.a, "providers: [{kind: openai, keys: [{value: a, id: %s}, b]}]\n", id).p;
    world_load(yaml);
    uint64_t far = clock_ns() + 3600000000000u;
    rest_until(w.shm, provider("openai")->keys[0].entity, UINT64_MAX);
    rest_until(w.shm, provider("openai")->keys[1].entity, far);
    world_load(yaml); /* a worker that was replaced wakes nobody */
    ck_assert_ptr_null(key(provider("openai"), 0));
    plane_wake_keys(w.shm, w.conf);
    ck_assert_ptr_eq(key(provider("openai"), 0), &provider("openai")->keys[0]);
    ck_assert_ptr_null(key(provider("openai"), 1)); /* what a provider asked for is still kept */
}
END_TEST

START_TEST(no_keys_and_many) {
    world_load("providers:\n" LOCAL);
    ck_assert_ptr_null(key(provider("local"), 0));
    size_t at;
    ck_assert_ptr_null(route_key_resting(w.p, provider("local"), &at));
    struct buf b;
    buf_init(&b, 0);
    buf_addz(&b, "providers: [{kind: openai, keys: [");
    for (int i = 0; i < 64; i++)
        buf_printf(&b, "{value: k%d, weight: 10000},", i);
    buf_addz(&b, "]}]\n");
    world_load(arena_dup(w.a, buf_str(&b)).p);
    buf_free(&b);
    struct plane_provider *pr = provider("openai");
    uint64_t tried = 0;
    for (int i = 0; i < 64; i++) { /* each once: the mask of those that were tried has 64 bits */
        ck_assert_ptr_nonnull(route_key(w.p, pr, tried, &at));
        ck_assert_uint_lt(at, 64);
        ck_assert(!(tried >> at & 1));
        tried |= UINT64_C(1) << at;
    }
    ck_assert_ptr_null(route_key(w.p, pr, tried, &at));
    for (int i = 0; i < 64; i++)
        rest_until(w.shm, pr->keys[i].entity, UINT64_MAX);
    ck_assert_ptr_null(route_key_resting(w.p, pr, &at)); /* none beyond them either */
}
END_TEST

/* --- names in the segment --- */

START_TEST(long_names_stay_apart) {
    char one[200], two[200];
    memset(one, 'm', sizeof one - 1);
    one[sizeof one - 1] = '\0';
    memcpy(two, one, sizeof one);
    two[sizeof two - 2] = 'n';
    world_load(
        arena_printf(w.a,
                     "providers: [{kind: mock}]\nmodels:\n  - {name: %s, targets: [{provider: mock}]}\n"
                     "  - {name: %s, targets: [{provider: mock}]}\n",
                     one, two)
            .p);
    uint32_t e[2] = {model(one)->entity, model(two)->entity};
    ck_assert_uint_ne(e[0], e[1]);
    enum entity_kind kind;
    struct str name[2];
    for (int i = 0; i < 2; i++)
        ck_assert(shm_entity_at(w.shm, e[i], &kind, &name[i]));
    ck_assert(!str_eq(name[0], name[1])); /* pages and metrics show them by name */
    ck_assert(str_starts(name[0], "mmmmmmmm"));
}
END_TEST

TCase *case_route(void) {
    TCase *t = tcase_create("route");
    tcase_add_checked_fixture(t, world_open, world_close);
    tcase_add_test(t, configured_models_come_first);
    tcase_add_test(t, a_default_that_takes_whole_ids);
    tcase_add_test(t, whole_ids_only_when_said);
    tcase_add_test(t, provider_before_a_separator);
    tcase_add_test(t, provider_names_with_dots);
    tcase_add_test(t, a_provider_alone);
    tcase_add_test(t, inference);
    tcase_add_test(t, the_default_provider_last);
    tcase_add_test(t, a_default_provider_by_its_kind);
    tcase_add_test(t, disabled_providers);
    tcase_add_test(t, odd_ids);
    tcase_add_test(t, no_model_at_all);
    tcase_add_test(t, a_default_model_is_its_providers);
    tcase_add_test(t, fallback_keeps_the_order);
    tcase_add_test(t, round_robin_is_exact);
    tcase_add_test(t, weights);
    tcase_add_test(t, default_strategy);
    tcase_add_test(t, more_targets_than_a_plan_holds);
    tcase_add_test(t, targets_then_fallbacks);
    tcase_add_loop_test(t, each_class_of_fault, 0, sizeof after / sizeof *after);
    tcase_add_test(t, only_what_fallback_on_lists);
    tcase_add_test(t, a_fault_that_is_not_listed_is_not_the_last_word);
    tcase_add_test(t, switched_off);
    tcase_add_test(t, no_target_twice);
    tcase_add_test(t, fallbacks_of_fallbacks_are_not_followed);
    tcase_add_test(t, rules);
    tcase_add_test(t, a_fallback_names_its_provider);
    tcase_add_test(t, other_providers_by_health);
    tcase_add_test(t, many_other_providers);
    tcase_add_test(t, made_up_ids_have_breakers_of_their_own_up_to_a_bound);
    tcase_add_test(t, open_breakers_are_passed_over);
    tcase_add_test(t, larger_windows_for_long_requests);
    tcase_add_test(t, keys_by_weight);
    tcase_add_test(t, resting_keys);
    tcase_add_test(t, a_reload_wakes_refused_keys);
    tcase_add_test(t, no_keys_and_many);
    tcase_add_test(t, long_names_stay_apart);
    return t;
}
