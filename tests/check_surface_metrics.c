/* GET /metrics against the text format 0.0.4 of Prometheus, by a reader of our own that forgives nothing. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "shm/slot.h"
#include "shm/stat.h"
#include "surface_cases.h"

enum { MOST = 4000 };
static struct sample {
    struct str name, labels; /* labels with their braces, or empty */
    double value;
} samples[MOST];
static size_t nsamples;
static struct family {
    struct str name, type;
    size_t samples;
} families[MOST];
static size_t nfamilies;
static const char *wrong; /* of the text that was read last; NULL: nothing */
static struct str wrong_line;

static bool bad(const char *why, struct str line) {
    wrong = why;
    wrong_line = line;
    return false;
}

static size_t name_length(struct str s, bool colon) {
    size_t n = 0;
    while (n < s.n && ((s.p[n] >= 'a' && s.p[n] <= 'z') || (s.p[n] >= 'A' && s.p[n] <= 'Z') ||
                       s.p[n] == '_' || (colon && s.p[n] == ':') || (n && s.p[n] >= '0' && s.p[n] <= '9')))
        n++;
    return n;
}

/* Bytes of {a="b",c="d"}; 0: not legal. */
static size_t labels_length(struct str s) {
    size_t at = 1;
    for (;;) {
        size_t n = name_length(str_skip(s, at), false);
        if (n == 0 || at + n + 2 > s.n || s.p[at + n] != '=' || s.p[at + n + 1] != '"')
            return 0;
        for (at += n + 2; at < s.n && s.p[at] != '"'; at++)
            if (s.p[at] == '\\' && (++at == s.n || !strchr("\\\"n", s.p[at])))
                return 0;
        if (at + 1 >= s.n)
            return 0;
        at++;
        if (s.p[at] == '}')
            return at + 1;
        if (s.p[at++] != ',')
            return 0;
    }
}

static bool utf8(struct str s) { /* the scanner of JSON knows */
    struct buf b;
    buf_init(&b, 0);
    buf_addc(&b, '"');
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] != '"' && s.p[i] != '\\')
            buf_addc(&b, s.p[i]);
    buf_addc(&b, '"');
    bool ok = json_scan(buf_str(&b), NULL, NULL, NULL, NULL) == 0;
    buf_free(&b);
    return ok;
}

static bool read_meta(struct str line) {
    bool help = str_starts(line, "# HELP "), type = str_starts(line, "# TYPE ");
    struct str rest = str_skip(line, 7);
    struct str name = str_make(rest.p, name_length(rest, true));
    rest = str_skip(rest, name.n);
    if ((!help && !type) || name.n == 0 || rest.n < 2 || rest.p[0] != ' ')
        return bad("neither HELP nor TYPE", line);
    struct family *last = nfamilies ? &families[nfamilies - 1] : NULL;
    if (type) {
        if (!last || last->type.p || !str_eq(last->name, name))
            return bad("TYPE without its HELP", line);
        last->type = str_skip(rest, 1);
        return true;
    }
    for (size_t i = 0; i < nfamilies; i++)
        if (str_eq(families[i].name, name))
            return bad("a family twice", line);
    if (last && !last->type.p)
        return bad("HELP without TYPE", line);
    families[nfamilies++] = (struct family){.name = name};
    return true;
}

static bool of_family(struct str name, const struct family *f) {
    if (!f->type.p || name.n < f->name.n || memcmp(name.p, f->name.p, f->name.n) != 0)
        return false;
    struct str rest = str_skip(name, f->name.n);
    if (str_is(f->type, "histogram"))
        return str_is(rest, "_bucket") || str_is(rest, "_sum") || str_is(rest, "_count");
    return rest.n == 0 && (str_is(f->type, "counter") ? str_ends(name, "_total") : str_is(f->type, "gauge"));
}

static bool read_sample(struct str line) {
    struct sample s = {.name = str_make(line.p, name_length(line, true)), .labels = STR("")};
    struct str rest = str_skip(line, s.name.n);
    if (s.name.n == 0)
        return bad("no name", line);
    if (rest.n && rest.p[0] == '{') {
        s.labels = str_make(rest.p, labels_length(rest));
        if (s.labels.n == 0)
            return bad("labels", line);
        rest = str_skip(rest, s.labels.n);
    }
    char number[64], *end;
    str_copy(number, sizeof number, str_skip(rest, 1));
    s.value = strtod(number, &end);
    if (rest.n < 2 || rest.p[0] != ' ' || *end || rest.n > sizeof number || !isfinite(s.value) || s.value < 0)
        return bad("value", line);
    for (size_t i = 0; i < nsamples; i++)
        if (str_eq(samples[i].name, s.name) && str_eq(samples[i].labels, s.labels))
            return bad("a sample twice", line);
    if (nfamilies == 0 || !of_family(s.name, &families[nfamilies - 1]) || nsamples == MOST)
        return bad("a sample outside of its family", line);
    families[nfamilies - 1].samples++;
    samples[nsamples++] = s;
    return true;
}

/* {a="b",le="1"} is {a="b"} of 1, {le="1"} is of 1 alone. */
static bool split_le(struct str labels, struct str *others, double *le) {
    ptrdiff_t at = str_find(labels, STR("le=\""));
    char number[32];
    if (at < 1)
        return false;
    str_copy(number, sizeof number, str_skip(labels, (size_t)at + 4));
    char *end = strchr(number, '"');
    *end = '\0';
    *le = strcmp(number, "+Inf") == 0 ? INFINITY : strtod(number, &end);
    *others = at == 1 ? STR("") : arena_printf(w.a, "%.*s}", (int)at - 1, labels.p);
    return *end == '\0' || isinf(*le);
}

static const struct sample *find(struct str name, const char *suffix, struct str labels) {
    struct str whole = arena_printf(w.a, STR_FMT "%s", STR_ARG(name), suffix);
    for (size_t i = 0; i < nsamples; i++)
        if (str_eq(samples[i].name, whole) && str_eq(samples[i].labels, labels))
            return &samples[i];
    return NULL;
}

/* Buckets of one series follow one another, grow in both, and end with all. */
static bool read_histogram(const struct family *f) {
    struct str bucket = arena_printf(w.a, STR_FMT "_bucket", STR_ARG(f->name)), others = STR_NONE, before;
    double last = 0, bound = 0, le;
    for (size_t i = 0; i < nsamples; i++) {
        if (!str_eq(samples[i].name, bucket))
            continue;
        before = others;
        if (!split_le(samples[i].labels, &others, &le))
            return bad("a bucket without le", samples[i].labels);
        bool first = !before.p || !str_eq(before, others);
        if (first)
            last = bound = 0;
        if (samples[i].value < last || le <= bound)
            return bad("buckets are not cumulative", samples[i].labels);
        last = samples[i].value;
        bound = le;
        const struct sample *count = find(f->name, "_count", others), *sum = find(f->name, "_sum", others);
        if (!count || !sum || (isinf(le) && count->value != last))
            return bad("+Inf is not the count", samples[i].labels);
    }
    return !others.p || isinf(bound) ? true : bad("no +Inf", f->name);
}

static bool legal(struct str text) {
    struct str rest = text, line;
    nsamples = nfamilies = 0;
    wrong = NULL;
    if (!str_ends(text, "\n"))
        return bad("no line end at the end", STR(""));
    while (str_next(&rest, '\n', &line))
        if (!utf8(line) || !(str_starts(line, "#") ? read_meta(line) : read_sample(line)))
            return wrong ? false : bad("not UTF-8", line);
    for (size_t i = 0; i < nfamilies; i++)
        if (str_is(families[i].type, "histogram") && !read_histogram(&families[i]))
            return false;
    return true;
}

static double value(const char *name, const char *labels) {
    const struct sample *s = find(str_of(name), "", str_of(labels));
    ck_assert_msg(s != NULL, "no %s%s", name, labels);
    return s->value;
}

static void scrape(void) {
    struct answer a = get("/metrics", "sk");
    ck_assert_int_eq(a.status, 200);
    ck_str(header_of(&a, "content-type"), "text/plain; version=0.0.4; charset=utf-8");
    ck_assert_msg(legal(a.body), "%s: " STR_FMT, wrong, STR_ARG(wrong_line));
}

#define H "# HELP h x\n# TYPE h histogram\n"
static const struct {
    const char *text;
    bool legal;
} texts[] = {
    {"# HELP a_total x\n# TYPE a_total counter\na_total{x=\"y\\\"\\\\\\n\",z=\"\"} 1\n", true},
    {"# HELP a x\n# TYPE a gauge\na 1.5e-3\n", true},
    {"a 1\n", false},
    {"# HELP a x\na 1\n", false},
    {"# TYPE a gauge\na 1\n", false},
    {"# HELP a x\n# TYPE a gauge\na 1", false},
    {"# HELP a x\n# TYPE a gauge\nb 1\n", false},
    {"# HELP a x\n# TYPE a gauge\na 1\na 2\n", false},
    {"# HELP a x\n# TYPE a gauge\na{x=\"1\"} 1\na{x=\"1\"} 1\n", false},
    {"# HELP a x\n# TYPE a gauge\n# HELP a x\n# TYPE a gauge\n", false},
    {"# HELP a x\n# TYPE a gauge\na{x=\"\"\"} 1\n", false},
    {"# HELP a x\n# TYPE a gauge\na{x=\"\\x\"} 1\n", false},
    {"# HELP a x\n# TYPE a gauge\na{} 1\n", false},
    {"# HELP a x\n# TYPE a gauge\na nan\n", false},
    {"# HELP a x\n# TYPE a gauge\na 1 x\n", false},
    {"# HELP a x\n# TYPE a gauge\na{x=\"\xff\"} 1\n", false},
    {"# HELP a x\n# TYPE a counter\na 1\n", false},
    {H "h_bucket{le=\"1\"} 1\nh_bucket{le=\"+Inf\"} 2\nh_sum 1\nh_count 2\n", true},
    {H
     "h_bucket{a=\"b\",le=\"1\"} 1\nh_bucket{a=\"b\",le=\"+Inf\"} 2\nh_sum{a=\"b\"} 1\nh_count{a=\"b\"} 2\n",
     true},
    {H "h_bucket{le=\"1\"} 3\nh_bucket{le=\"+Inf\"} 2\nh_sum 1\nh_count 2\n", false},
    {H "h_bucket{le=\"2\"} 1\nh_bucket{le=\"1\"} 1\nh_bucket{le=\"+Inf\"} 2\nh_sum 1\nh_count 2\n", false},
    {H "h_bucket{le=\"1\"} 1\nh_bucket{le=\"+Inf\"} 2\nh_sum 1\nh_count 3\n", false},
    {H "h_bucket{le=\"1\"} 1\nh_sum 1\nh_count 1\n", false},
    {H "h_bucket{le=\"+Inf\"} 2\nh_count 2\n", false},
};

START_TEST(the_reader_reads) {
    ck_assert_msg(legal(str_of(texts[_i].text)) == texts[_i].legal, "%s (%s)", texts[_i].text,
                  wrong ? wrong : "");
}
END_TEST

#define SITE                                                                                                 \
    "providers:\n  - {name: one, kind: mock}\n  - {name: two, kind: mock}\n"                                 \
    "models:\n  - {name: fast, targets: [{provider: one, model: a/b}]}\n"                                    \
    "  - {name: 'odd \"x\\y\" {},=', targets: [{provider: two}]}\n"                                          \
    "auth: {keys: [{id: k, key: {value: sk}}]}\n"

START_TEST(of_a_fresh_gateway) {
    site_load(SITE);
    scrape();
    ck_assert_double_eq(value("penstock_workers", ""), 1);
    ck_assert_double_eq(value("penstock_http_requests_total", ""), 1); /* this one */
    ck_assert_double_eq(value("penstock_requests_total", "{code=\"2xx\"}"), 0);
    ck_assert_double_eq(value("penstock_provider_requests_total", "{provider=\"one\"}"), 0);
    ck_assert_double_eq(value("penstock_request_duration_seconds_count", ""), 0);
    ck_assert_uint_gt(nfamilies, 40);
    for (size_t i = 0; i < nfamilies; i++)
        ck_assert(str_starts(families[i].name, "penstock_") || str_starts(families[i].name, "gen_ai_"));
}
END_TEST

START_TEST(of_what_happened) {
    site_load(SITE);
    uint32_t one = entity(ENTITY_PROVIDER, "one"), target = entity(ENTITY_TARGET, "one/a/b");
    entity_add(w.shm, one, ENTITY_STAT_REQUESTS, 7);
    entity_add(w.shm, one, ENTITY_STAT_COST_NANO, 1500000001);
    entity_add(w.shm, target, ENTITY_STAT_INPUT_TOKENS, UINT64_C(1) << 60);
    entity_add(w.shm, entity(ENTITY_MODEL, "odd \"x\\y\" {},="), ENTITY_STAT_ERRORS, 2);
    entity_add(w.shm, entity(ENTITY_GATEWAY_KEY, "k"), ENTITY_STAT_OUTPUT_TOKENS, 3);
    static const uint64_t ms[] = {0, 10, 11, 300, 1000, 299999, 300000, 300001, 9000000};
    for (size_t i = 0; i < sizeof ms / sizeof *ms; i++) {
        hist_add(w.shm, one, HIST_LATENCY, ms[i]);
        hist_add(w.shm, entity(ENTITY_GATEWAY, ""), HIST_LATENCY, ms[i]);
    }
    stat_status(w.shm, 200);
    stat_status(w.shm, 499);
    stat_status(w.shm, 404);
    stat_error(w.shm, ERROR_PROVIDER_TIMEOUT);
    stat_error(w.shm, STAT_ERROR_TYPES);
    ck_assert(gauge_take(w.shm, one, GAUGE_IN_FLIGHT, UINT64_MAX));
    struct breaker_rule r = {.consecutive_failures = 1, .open_for_ms = 60000, .max_open_for_ms = 60000};
    breaker_done(w.shm, target, &r, BREAKER_PASS, OUTCOME_FAILED, 1, 0);
    scrape();
    ck_assert_double_eq(value("penstock_provider_requests_total", "{provider=\"one\"}"), 7);
    ck_assert_double_eq(value("penstock_provider_cost_usd_total", "{provider=\"one\"}"), 1.500000001);
    ck_assert_double_eq(value("penstock_target_input_tokens_total", "{provider=\"one\",model=\"a/b\"}"),
                        0x1p60);
    ck_assert_double_eq(value("penstock_model_errors_total", "{model=\"odd \\\"x\\\\y\\\" {},=\"}"), 2);
    ck_assert_double_eq(value("penstock_key_output_tokens_total", "{key=\"k\"}"), 3);
    ck_assert_double_eq(value("penstock_requests_total", "{code=\"499\"}"), 1);
    ck_assert_double_eq(value("penstock_requests_total", "{code=\"4xx\"}"), 1);
    ck_assert_double_eq(value("penstock_errors_total", "{type=\"provider_timeout\"}"), 1);
    ck_assert_double_eq(value("penstock_errors_total", "{type=\"gateway_internal\"}"), 0);
    ck_assert_double_eq(value("penstock_provider_in_flight", "{provider=\"one\"}"), 1);
    ck_assert_double_eq(value("penstock_breaker_state", "{provider=\"one\",model=\"a/b\"}"), 1);
    const char *h = "penstock_provider_duration_seconds_bucket";
    ck_assert_double_eq(value(h, "{provider=\"one\",le=\"0.01\"}"), 2);
    ck_assert_double_eq(value(h, "{provider=\"one\",le=\"0.025\"}"), 3);
    ck_assert_double_eq(value(h, "{provider=\"one\",le=\"300\"}"), 7);
    ck_assert_double_eq(value(h, "{provider=\"one\",le=\"+Inf\"}"), 9);
    ck_assert_double_eq(value("penstock_request_duration_seconds_count", ""), 9);
    ck_assert_double_eq(value("penstock_request_duration_seconds_sum", ""), 9901.321);
    gauge_drop(w.shm, one, GAUGE_IN_FLIGHT);
}
END_TEST

START_TEST(of_providers_and_models) {
    site_load(SITE);
    uint32_t target = entity(ENTITY_TARGET, "one/a/b");
    hist_add(w.shm, target, HIST_PER_TOKEN, 2000);
    hist_add(w.shm, target, HIST_OVERHEAD, 300);
    hist_add(w.shm, target, HIST_INPUT_TOKENS, 17);
    hist_add(w.shm, target, HIST_OUTPUT_TOKENS, 5);
    for (int i = 0; i < 100; i++)
        hist_add(w.shm, entity(ENTITY_TARGET, arena_printf(w.a, "one/junk%d", i).p), HIST_LATENCY, 2000);
    scrape();
    const char *ours = "{provider=\"one\",model=\"a/b\",le=\"0.0025\"}", *otel = "gen_ai_client_token_usage";
    ck_assert_double_eq(value("penstock_target_time_per_output_token_seconds_bucket", ours), 1);
    ours = "{provider=\"one\",model=\"a/b\"}";
    ck_assert_double_eq(value("penstock_target_overhead_seconds_sum", ours), 0.0003);
    ck_assert_double_eq(value("gen_ai_server_time_per_output_token_seconds_sum",
                              "{gen_ai_provider_name=\"one\",gen_ai_request_model=\"a/b\"}"),
                        0.002);
    ck_assert_double_eq(
        value(arena_printf(w.a, "%s_sum", otel).p,
              "{gen_ai_provider_name=\"one\",gen_ai_request_model=\"a/b\",gen_ai_token_type=\"input\"}"),
        17);
    ck_assert_double_eq(value(arena_printf(w.a, "%s_bucket", otel).p,
                              "{gen_ai_provider_name=\"one\",gen_ai_request_model=\"a/b\","
                              "gen_ai_token_type=\"output\",le=\"16\"}"),
                        1);
    ours = "{provider=\"other\",model=\"other\"}";
    double left = value("penstock_target_duration_seconds_count", ours);
    ck_assert(left >= 30 && left < 100);
    ck_assert_double_eq(value("penstock_target_duration_seconds_sum", ours), 2 * left);
    ck_assert_double_eq(value("penstock_target_duration_seconds_count", "{provider=\"one\",model=\"junk0\"}"),
                        1);
}
END_TEST

START_TEST(of_long_names) {
    char a[240], b[240];
    for (size_t k = 0; k + 3 < sizeof a; k += 3)
        memcpy(a + k, "\xe2\x82\xac", 3); /* cut anywhere but on a border this is no UTF-8 */
    a[237] = '\0';
    memcpy(b, a, sizeof a);
    b[234] = '\0';
    site_load(arena_printf(w.a,
                           "providers: [{name: one, kind: mock}]\nmodels:\n"
                           "  - {name: %s, targets: [{provider: one}]}\n"
                           "  - {name: %s, targets: [{provider: one}]}\n"
                           "auth: {keys: [{id: k, key: {value: sk}}]}\n",
                           a, b)
                  .p);
    shm_entity(w.shm, ENTITY_MODEL, STR("line\nend")); /* no configuration lets one in; a label can say it */
    scrape();
    ck_assert_double_eq(value("penstock_model_requests_total", "{model=\"line\\nend\"}"), 0);
}
END_TEST

TCase *case_metrics(void) {
    TCase *t = tcase_create("metrics");
    tcase_add_checked_fixture(t, site_open, site_close);
    tcase_add_loop_test(t, the_reader_reads, 0, sizeof texts / sizeof *texts);
    tcase_add_test(t, of_a_fresh_gateway);
    tcase_add_test(t, of_what_happened);
    tcase_add_test(t, of_providers_and_models);
    tcase_add_test(t, of_long_names);
    return t;
}
