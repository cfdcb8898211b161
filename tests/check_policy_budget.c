/* Budgets: whose they are, when their periods begin and end, and what a request holds of them. */
#include "base/clock.h"
#include "policy/budget.h"
#include "policy_cases.h"

static int64_t at(const char *when) {
    int64_t ms;
    ck_assert(clock_parse(str_of(when), &ms));
    return ms;
}

static void is_span(enum conf_period period, const char *now, const char *from, const char *until) {
    struct budget_span s = budget_span(period, at(now));
    char a[CLOCK_RFC3339_SIZE], b[CLOCK_RFC3339_SIZE];
    clock_rfc3339(a, s.from_ms);
    clock_rfc3339(b, s.until_ms);
    ck_assert_msg(s.from_ms == at(from) && s.until_ms == at(until), "%s: %s to %s", now, a, b);
}

START_TEST(periods) {
    is_span(PERIOD_HOUR, "2026-03-04T05:06:07Z", "2026-03-04T05:00:00Z", "2026-03-04T06:00:00Z");
    is_span(PERIOD_DAY, "2026-03-04T23:59:59.999Z", "2026-03-04", "2026-03-05");
    is_span(PERIOD_WEEK, "2026-11-21T10:00:00Z", "2026-11-16", "2026-11-23"); /* a Saturday */
    is_span(PERIOD_WEEK, "2026-11-23T00:00:00Z", "2026-11-23", "2026-11-30"); /* a Monday */
    is_span(PERIOD_WEEK, "2026-11-22T23:59:59Z", "2026-11-16", "2026-11-23");
    is_span(PERIOD_MONTH, "2024-02-29T12:00:00Z", "2024-02-01", "2024-03-01");
    is_span(PERIOD_MONTH, "2026-12-31T23:59:59Z", "2026-12-01", "2027-01-01");
    is_span(PERIOD_MONTH, "2027-01-01T00:00:00Z", "2027-01-01", "2027-02-01");
    is_span(PERIOD_WEEK, "1970-01-02T00:00:00Z", "1970-01-01", "1970-01-05");
    struct budget_span s = budget_span(PERIOD_TOTAL, at("2026-01-01"));
    ck_assert(s.from_ms == 0 && s.until_ms == INT64_MAX);
    s = budget_span(PERIOD_DAY, -5); /* a clock before the epoch */
    ck_assert(s.from_ms == 0);
}
END_TEST

static const char conf[] =
    "auth:\n  keys:\n"
    "    - {id: a, key: {value: ka}, tenant: t, budget: {usd: 1, alert: [1, 0.25, 0.5]}}\n"
    "    - {id: b, key: {value: kb}, tenant: t}\n"
    "tenants: [{id: t, budget: {usd: 2.5, period: day}}]\n"
    "providers: [{kind: openai, key: {value: x}, budget: {usd: 0, period: total}}, {kind: mock}]\n"
    "models:\n"
    "  - {name: m, targets: [{provider: mock, model: big}, {provider: openai, model: big}], "
    "budget: {usd: 3, period: week}, prices: {input: 1, output: 2}}\n"
    "  - {name: n, targets: [{provider: mock, model: big}], budget: {usd: 4}}\n";

static size_t of(const char *key, const char *tenant, const char *pr, const char *m,
                 const struct budget *out[MONEY_MOST]) {
    return budgets_of(budgets_now(w.p), str_of(key), str_of(tenant), str_of(pr), str_of(m), out);
}

START_TEST(whose) {
    const struct budget *b[MONEY_MOST];
    world_load(conf);
    ck_assert_uint_eq(budgets_now(w.p)->n, 5);
    ck_assert_uint_eq(of("a", "t", "mock", "big", b),
                      4); /* the model twice: by either name it is that money */
    ck_assert(str_is(b[0]->name, "a") && b[0]->conf->nano == 1000000000);
    ck_assert_int_eq(b[0]->conf->alert_nano[0], 250000000);
    ck_assert_int_eq(b[0]->conf->alert_nano[2], 1000000000);
    ck_assert(str_is(b[1]->name, "t") && b[1]->conf->period == PERIOD_DAY);
    ck_assert(b[2]->kind == ENTITY_MODEL && b[3]->kind == ENTITY_MODEL);
    ck_assert_uint_eq(of("b", "t", "openai", "big", b), 3);
    ck_assert_uint_eq(of("b", "", "mock", "small", b), 0);
    ck_assert_uint_eq(of("", "", "", "", b), 0);
}
END_TEST

/* Those of stored keys besides; what they were made from may go. */
START_TEST(of_stored_keys) {
    const struct budget *b[MONEY_MOST];
    struct conf_gateway_key one = {.id = "s1", .budget = {.nano = 7, .period = PERIOD_HOUR}},
                            two = {.id = "s2", .budget = {.nano = -1}};
    const struct conf_gateway_key *stored[] = {&one, &two};
    world_load(conf);
    struct budgets *all = budgets_new(w.shm, w.p->conf, stored, 2);
    memset(&one, 0xff, sizeof one);
    ck_assert_uint_eq(all->n, 6);
    ck_assert_uint_eq(budgets_of(all, STR("s1"), STR("t"), STR_NONE, STR_NONE, b), 2);
    ck_assert(str_is(b[0]->name, "s1") && b[0]->conf->nano == 7 && b[0]->conf->period == PERIOD_HOUR);
    ck_assert_uint_eq(budgets_of(all, STR("s2"), STR_NONE, STR_NONE, STR_NONE, b), 0);
    budgets_free(all);
    budgets_free(NULL);
}
END_TEST

START_TEST(held_and_settled) {
    world_load(conf);
    struct caller c = {.key = w.p->keys[0].conf, .entity = w.p->keys[0].entity};
    struct target *t = &model("m")->targets[0];
    struct budget_ask ask = {&c, t, {.input = 100000, .output = 200000}, NULL}; /* 0.1 and 0.4 dollars */
    struct budget_hold one, two;
    struct fault f;
    bool waits;
    int64_t now = clock_wall_ms();
    ck_assert_int_eq(budget_take(w.p, &ask, &one, w.a, &f, &waits), MONEY_UNKNOWN);
    for (size_t i = 0; i < budgets_now(w.p)->n; i++)
        money_set(w.shm, budgets_now(w.p)->list[i].entity,
                  budget_period(budgets_now(w.p)->list[i].conf->period, now), 0);
    ck_assert_int_eq(budget_take(w.p, &ask, &one, w.a, &f, &waits), MONEY_OK);
    ck_assert_uint_eq(one.n, 4);
    ck_assert_uint_eq(one.nano, 500000000);
    ck_assert_int_eq(budget_take(w.p, &ask, &two, w.a, &f, &waits), MONEY_OK);
    struct budget_hold three;
    ck_assert_int_eq(budget_take(w.p, &ask, &three, w.a, &f, &waits), MONEY_OVER); /* of the key's dollar */
    ck_assert_int_eq(f.cls, FAULT_BUDGET);
    ck_assert_int_eq(fault_status(&f), 429);
    ck_assert(str_find(f.message, STR("this key for this month")) >= 0);
    ck_assert_int_gt(f.retry_after_ms, 0);
    ck_assert_uint_eq(three.n, 0);
    budget_drop(w.p, &two);
    budget_settle(w.p, &one, 123);
    struct money m;
    money_look(w.shm, budgets_now(w.p)->list[0].entity, budget_period(PERIOD_MONTH, now), &m);
    ck_assert_uint_eq(m.on_way, 123);
    ask.target = &model("m")->targets[1]; /* openai's budget is nothing at all */
    ck_assert_int_eq(budget_take(w.p, &ask, &three, w.a, &f, &waits), MONEY_OVER);
    ck_assert(str_find(f.message, STR("the provider")) >= 0);
    ck_assert_int_eq(f.retry_after_ms, -1);
}
END_TEST

TCase *case_budget(void) {
    TCase *t = tcase_create("budget");
    tcase_add_checked_fixture(t, world_open, world_close);
    tcase_add_test(t, periods);
    tcase_add_test(t, whose);
    tcase_add_test(t, of_stored_keys);
    tcase_add_test(t, held_and_settled);
    return t;
}
