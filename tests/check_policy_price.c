/* Prices: the lookup by id, and bills that were worked out by hand. 1 dollar per million tokens is 1000
 * nano-dollars per token. */
#include <stdio.h>
#include <sys/stat.h>

#include "../src/policy/price_table.h"
#include "base/buf.h"
#include "policy/price.h"
#include "policy_cases.h"

static struct price_table *table;
static char why[256];

static void setup(void) {
    world_open();
    table = price_table_new("", why);
    ck_assert_ptr_nonnull(table);
}

static void teardown(void) {
    price_table_free(table);
    world_close();
}

static const struct price *find(const char *vendor, const char *id) {
    return price_find(table, str_of(vendor), str_of(id));
}

/* The input price of what was found; -1 when nothing was. */
static int64_t input_of(const char *vendor, const char *id) {
    const struct price *p = find(vendor, id);
    return p ? p->input : -1;
}

static int64_t bill(const char *vendor, const char *id, struct usage u) {
    const struct price *p = find(vendor, id);
    ck_assert_msg(p != NULL, "no price of %s", id);
    return price_cost(p, &u);
}

/* --- finding --- */

struct row {
    const char *vendor, *model;
    uint64_t context, max_output;
    int64_t input, output, cached, write;
    uint64_t tier_start;
    int64_t tier_input, tier_output, tier_cached, tier_write;
};
static const struct row rows[] = {
#define X(...) {__VA_ARGS__},
    PRICE_TABLE(X)
#undef X
};

START_TEST(every_row_is_found_whole) {
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const struct row *r = &rows[i];
        const struct price *p = find(r->vendor, r->model);
        ck_assert_msg(p != NULL, "%s", r->model);
        ck_assert_int_eq(p->input, r->input);
        ck_assert_int_eq(p->output, r->output);
        ck_assert_int_eq(p->cached_input, r->cached);
        ck_assert_int_eq(p->cache_write, r->write);
        ck_assert_uint_eq(p->tier_start, r->tier_start);
        ck_assert_int_eq(p->tier_input, r->tier_input);
        ck_assert_int_eq(p->tier_output, r->tier_output);
        ck_assert_int_eq(p->tier_cached_input, r->tier_cached);
        ck_assert_int_eq(p->tier_cache_write, r->tier_write);
        ck_assert_uint_eq(p->context, r->context);
        ck_assert_uint_eq(p->max_output, r->max_output);
        ck_assert_int_eq(p->reasoning, -1);
        ck_assert_int_eq(p->audio_in, -1);
        ck_assert_int_eq(p->audio_out, -1);
        ck_assert_int_ge(r->input, 0); /* what has no input price at all is a slip of the table */
        ck_assert(r->tier_start == 0 || (r->tier_input > r->input && r->tier_output > r->output));
    }
}
END_TEST

static const struct {
    const char *vendor, *id;
    int64_t input; /* -1: unknown */
} finds[] = {
    {"openai", "gpt-4o", 2500000000},
    {"", "gpt-4o", 2500000000},
    {"openrouter", "gpt-4o", 2500000000}, /* whoever resells it: the list price */
    /* dates and -latest */
    {"openai", "gpt-4o-2024-11-20", 2500000000},
    {"openai", "gpt-4o-mini-2024-07-18", 150000000},
    {"openai", "gpt-4o-latest", 2500000000},
    {"openai", "gpt-4-0613", 30000000000},
    {"openai", "gpt-3.5-turbo-0125", 500000000},
    {"anthropic", "claude-3-opus-20240229", 15000000000},
    {"anthropic", "claude-3-haiku-latest", 250000000},
    {"anthropic", "claude-haiku-4-5-20251001", 1000000000},
    {"mistral", "mistral-large-2512", 500000000}, /* a date that is part of the id */
    /* vendor prefixes and suffixes */
    {"openrouter", "openai/gpt-4o", 2500000000},
    {"openrouter", "openai/gpt-4o:extended", 2500000000},
    {"openrouter", "openai/gpt-4o-2024-11-20:free", 2500000000},
    {"openrouter", "anthropic/claude-3-opus:beta", 15000000000},
    {"openrouter", "anthropic/claude-sonnet-4.5", 3000000000},
    {"openrouter", "anthropic/claude-opus-4.6", 5000000000},
    {"openrouter", "openrouter/openai/gpt-4o", 2500000000},
    {"groq", "openai/gpt-oss-120b", 150000000},
    {"cerebras", "gpt-oss-120b", 350000000},
    {"aws", "amazon.nova-pro-v1:0", 800000000}, /* its own ':' is part of the id */
    /* as clouds write them */
    {"aws", "us.anthropic.claude-haiku-4-5-20251001-v1:0", 1000000000},
    {"aws", "anthropic.claude-sonnet-4-5-20250929-v1:0", 3000000000},
    {"aws", "eu.amazon.nova-pro-v1:0", 800000000},
    {"aws", "us.meta.llama3-1-8b-instruct-v1:0", -1},
    {"aws", "moon.amazon.nova-pro-v1:0", -1},
    {"aws", "us.", -1},
    {"aws", "us.anthropic.", -1},
    {"google", "claude-haiku-4-5@20251001", 1000000000},
    {"google", "@20251001", -1},
    {"cohere", "command-a-03-2025", 2500000000},
    {"cohere", "command-a-3-2025", -1},
    /* dots of an id's own */
    {"openai", "gpt-4.1", 2000000000},
    {"openrouter", "openai/gpt-4.1-mini", 400000000},
    {"openai", "gpt-3.5-turbo", 500000000},
    /* what is not there must not find a neighbour */
    {"openrouter", "anthropic/claude-3.5-sonnet", -1},
    {"openrouter", "anthropic/claude-3.5-sonnet:beta", -1},
    {"openrouter", "anthropic/claude-3.7-sonnet:thinking", -1},
    {"anthropic", "claude-3-5-sonnet-20241022", -1},
    {"anthropic", "claude-sonnet-4-20250514", -1},
    {"anthropic", "claude-opus-4-1-20250805", -1},
    {"openai", "gpt-4-32k", -1},
    {"openai", "gpt-4o-audio-preview", -1},
    {"openai", "gpt-4o-2024-11-2", -1},
    {"openai", "gpt-4o-2024-11-201", -1},
    {"openai", "gpt-4o2024-11-20", -1},
    {"openai", "gpt-4o-", -1},
    {"openai", "gpt-4", 30000000000},
    {"openai", "gpt", -1},
    {"openai", "GPT-4o", -1},
    {"openai", "ft:gpt-4o-mini-2024-07-18:acme::abc", -1}, /* tuned models cost more: unknown, not a guess */
    {"mistral", "mistral-small-latest", 150000000},        /* the default model */
    {"mistral", "mistral-large-latest", -1},
    {"openai", "", -1},
    {"openai", "/", -1},
    {"openai", "openai/", -1},
    {"openai", ":", -1},
    {"openai", "-latest", -1},
    {"openai", "-20241120", -1},
    {"", "2024-11-20", -1},
};

START_TEST(lookup) {
    int64_t got = input_of(finds[_i].vendor, finds[_i].id);
    ck_assert_msg(got == finds[_i].input, "%s of %s: %lld", finds[_i].id, finds[_i].vendor, (long long)got);
}
END_TEST

START_TEST(long_and_odd_ids) {
    char id[5000];
    memset(id, '.', sizeof id - 1);
    id[sizeof id - 1] = '\0';
    ck_assert_ptr_null(find("openai", id));
    memset(id, '/', sizeof id - 1);
    ck_assert_ptr_null(find("openai", id));
    ck_assert_ptr_null(price_find(table, STR_NONE, STR_NONE));
}
END_TEST

/* --- bills --- */

START_TEST(golden_bills) {
    /* 600k * 2500 + 400k * 1250 + 100k * 10000 = 1.5e9 + 0.5e9 + 1e9: three dollars */
    ck_assert_int_eq(
        bill("openai", "gpt-4o", (struct usage){.input = 1000000, .cache_read = 400000, .output = 100000}),
        3000000000);
    /* plain 3000 * 1000, read 4000 * 100, write 2000 * 1250, an hour's write 1000 * 2000, out 500 * 5000:
     * 3.0 + 0.4 + 2.5 + 2.0 + 2.5 million */
    ck_assert_int_eq(bill("anthropic", "claude-haiku-4-5",
                          (struct usage){.input = 10000,
                                         .cache_read = 4000,
                                         .cache_write = 3000,
                                         .cache_write_1h = 1000,
                                         .output = 500}),
                     10400000);
    /* no price of cached input: as input. 10 * 30000 + 1 * 60000 */
    ck_assert_int_eq(bill("openai", "gpt-4", (struct usage){.input = 10, .cache_read = 7, .output = 1}),
                     360000);
    /* no price of cache writes: as input, for an hour too. 10 * 2500 */
    ck_assert_int_eq(
        bill("openai", "gpt-4o", (struct usage){.input = 10, .cache_write = 9, .cache_write_1h = 5}), 25000);
    /* reasoning and audio without prices of their own are output and input. 10 * 2500 + 10 * 10000 */
    ck_assert_int_eq(
        bill("openai", "gpt-4o",
             (struct usage){.input = 10, .audio_in = 4, .output = 10, .reasoning = 6, .audio_out = 3}),
        125000);
    /* an embedding has no output price: 1000 * 20 */
    ck_assert_int_eq(bill("openai", "text-embedding-3-small", (struct usage){.input = 1000}), 20000);
    ck_assert_int_eq(bill("openai", "gpt-4o", (struct usage){0}), 0);
}
END_TEST

START_TEST(tiers_price_all_tokens) {
    /* at the start itself, not above it: 200000 * 3000 */
    ck_assert_int_eq(bill("anthropic", "claude-sonnet-4-5", (struct usage){.input = 200000}), 600000000);
    /* one more: 200001 * 6000 + 10 * 22500 */
    ck_assert_int_eq(bill("anthropic", "claude-sonnet-4-5", (struct usage){.input = 200001, .output = 10}),
                     1200231000);
    /* plain 150k * 6000 = 900e6, read 100k * 600 = 60e6, write 40k * 7500 = 300e6, an hour's 10k * 12000 =
     * 120e6, out 1000 * 22500 = 22.5e6 */
    ck_assert_int_eq(bill("anthropic", "claude-sonnet-4-5",
                          (struct usage){.input = 300000,
                                         .cache_read = 100000,
                                         .cache_write = 50000,
                                         .cache_write_1h = 10000,
                                         .output = 1000}),
                     1402500000);
    /* a large answer is no large request: 1 * 3000 + 300000 * 15000 */
    ck_assert_int_eq(bill("anthropic", "claude-sonnet-4-5", (struct usage){.input = 1, .output = 300000}),
                     4500003000);
    /* a start that is one off the round number: 272000 is above 271999. 272000 * 5000 */
    ck_assert_int_eq(bill("openai", "gpt-5.4", (struct usage){.input = 272000}), 1360000000);
    ck_assert_int_eq(bill("openai", "gpt-5.4", (struct usage){.input = 271999}), 679997500);
    /* no cache price at all in gpt-5.5-pro: cached input costs the tier's input. 300000 * 60000 */
    ck_assert_int_eq(bill("openai", "gpt-5.5-pro", (struct usage){.input = 300000, .cache_read = 300000}),
                     18000000000);
}
END_TEST

START_TEST(all_classes_of_tokens) {
    struct price p = {.input = 1000000000,
                      .cached_input = -1,
                      .cache_write = -1,
                      .output = 2000000000,
                      .reasoning = 3000000000,
                      .audio_in = 4000000000,
                      .audio_out = 5000000000};
    struct usage u = {.input = 100, .audio_in = 10, .output = 50, .reasoning = 20, .audio_out = 5};
    /* 90 * 1000 + 10 * 4000 + 25 * 2000 + 20 * 3000 + 5 * 5000 */
    ck_assert_int_eq(price_cost(&p, &u), 265000);
    p.reasoning = -1; /* 90000 + 40000 + 45 * 2000 + 25000 */
    ck_assert_int_eq(price_cost(&p, &u), 245000);
    p.input = p.output = -1;
    ck_assert_int_eq(price_cost(&p, &u), -1);
    p.output = 2000000000; /* only the answer has a price: audio_in still its own. 40000 + 90000 + 25000 */
    ck_assert_int_eq(price_cost(&p, &u), 155000);
    /* parts larger than the whole do not make it negative */
    u = (struct usage){.input = 1, .cache_read = 5, .cache_write = 5, .output = 1, .reasoning = 9};
    ck_assert_int_ge(price_cost(&p, &u), 0);
}
END_TEST

START_TEST(rounds_half_up_once) {
    ck_assert_int_eq(bill("cohere", "command-r7b", (struct usage){.input = 1}), 38); /* 37.5 */
    ck_assert_int_eq(bill("cohere", "command-r7b", (struct usage){.input = 2}), 75);
    ck_assert_int_eq(bill("cohere", "command-r7b", (struct usage){.input = 3}), 113); /* 112.5 */
    struct price p = {.input = 499999,
                      .output = 500000,
                      .cached_input = -1,
                      .cache_write = -1,
                      .reasoning = -1,
                      .audio_in = -1,
                      .audio_out = -1};
    ck_assert_int_eq(price_cost(&p, &(struct usage){.input = 1}), 0);
    ck_assert_int_eq(price_cost(&p, &(struct usage){.output = 1}), 1);
    /* 0.499999 + 0.5: one rounding of the sum, not two of its parts */
    ck_assert_int_eq(price_cost(&p, &(struct usage){.input = 1, .output = 1}), 1);
}
END_TEST

START_TEST(huge_counts) {
    const uint64_t t = UINT64_C(1000000000000); /* 10^12 * 60000 + 10^12 * 270000 */
    ck_assert_int_eq(bill("openai", "gpt-5.5-pro", (struct usage){.input = t, .output = t}),
                     INT64_C(330000000000000000));
    ck_assert_int_eq(bill("openai", "gpt-5.5-pro",
                          (struct usage){.input = UINT64_MAX,
                                         .cache_read = UINT64_MAX,
                                         .cache_write = UINT64_MAX,
                                         .cache_write_1h = UINT64_MAX,
                                         .output = UINT64_MAX,
                                         .audio_in = UINT64_MAX,
                                         .audio_out = UINT64_MAX}),
                     INT64_MAX);
    const int64_t dear = INT64_C(1000000000000000); /* a million dollars: the most that may be configured */
    struct price p = {.input = dear,
                      .cached_input = dear,
                      .cache_write = dear,
                      .output = dear,
                      .reasoning = dear,
                      .audio_in = dear,
                      .audio_out = dear};
    struct usage u = {.input = UINT64_MAX,
                      .cache_read = UINT64_MAX,
                      .cache_write = UINT64_MAX,
                      .cache_write_1h = UINT64_MAX,
                      .output = UINT64_MAX,
                      .reasoning = UINT64_MAX,
                      .audio_in = UINT64_MAX,
                      .audio_out = UINT64_MAX};
    ck_assert_int_eq(price_cost(&p, &u), INT64_MAX);
}
END_TEST

/* --- a model's own prices --- */

static const struct conf_prices unsaid = {-1, -1, -1, -1, -1, -1, -1};

START_TEST(own_prices_over_the_list) {
    const struct price *list = find("anthropic", "claude-sonnet-4-5");
    struct price out;
    ck_assert(price_merge(list, NULL, &out));
    ck_assert_int_eq(memcmp(list, &out, sizeof out), 0);
    ck_assert(price_merge(list, &unsaid, &out));
    ck_assert_int_eq(memcmp(list, &out, sizeof out), 0);
    ck_assert(!price_merge(NULL, NULL, &out));
    ck_assert(!price_merge(NULL, &unsaid, &out));
    ck_assert_int_eq(price_cost(&out, &(struct usage){.input = 5}), -1);

    struct conf_prices own = unsaid;
    own.input = 1000000000; /* an input of its own: the list's prices of its parts mean nothing */
    ck_assert(price_merge(list, &own, &out));
    ck_assert_int_eq(price_cost(&out, &(struct usage){.input = 10, .cache_read = 4, .cache_write = 3}),
                     10000);
    /* nor has it tiers: 300000 * 1000; the answer is the list's, whose tier it is: 10 * 22500 */
    ck_assert_int_eq(price_cost(&out, &(struct usage){.input = 300000, .output = 10}), 300225000);

    own.cached_input = 100000000; /* 6 * 1000 + 4 * 100; the list's price of writes still means nothing */
    ck_assert(price_merge(list, &own, &out));
    ck_assert_int_eq(price_cost(&out, &(struct usage){.input = 10, .cache_read = 4}), 6400);
    ck_assert_int_eq(price_cost(&out, &(struct usage){.input = 10, .cache_write = 3}), 10000);
}
END_TEST

START_TEST(own_output_alone) {
    const struct price *list = find("anthropic", "claude-sonnet-4-5");
    struct conf_prices own = unsaid;
    struct price out;
    own.output = 1000000000;
    ck_assert(price_merge(list, &own, &out));
    ck_assert_int_eq(price_cost(&out, &(struct usage){.input = 10, .output = 10}), 40000);
    /* what was said holds above the tier's start too, and what was not is the list's there: 6000 a token */
    ck_assert_int_eq(price_cost(&out, &(struct usage){.input = 300000, .output = 10}), 1800010000);
    ck_assert(price_merge(NULL, &own, &out)); /* and without a list the answers alone are billed */
    ck_assert_int_eq(price_cost(&out, &(struct usage){.input = 10, .output = 10}), 10000);
}
END_TEST

START_TEST(own_parts_alone) {
    struct price list = *find("anthropic", "claude-sonnet-4-5"), out;
    struct conf_prices own = unsaid;
    own.cached_input = 10000000; /* also above the tier's start: 300000 * 10 */
    ck_assert(price_merge(&list, &own, &out));
    ck_assert_int_eq(price_cost(&out, &(struct usage){.input = 300000, .cache_read = 300000}), 3000000);
    own = unsaid;
    own.cache_write = 20000000;
    ck_assert(price_merge(&list, &own, &out));
    ck_assert_int_eq(price_cost(&out, &(struct usage){.input = 300000, .cache_write = 300000}), 6000000);
    list.reasoning = 77000000;
    own = unsaid;
    own.output = 1000000000; /* reasoning is output: what the list says of it is of another price */
    ck_assert(price_merge(&list, &own, &out));
    ck_assert_int_eq(price_cost(&out, &(struct usage){.output = 10, .reasoning = 10}), 10000);
    own = (struct conf_prices){0, 0, 0, 0, 0, 0, 0}; /* free is a price */
    ck_assert(price_merge(&list, &own, &out));
    ck_assert_int_eq(price_cost(&out, &(struct usage){.input = 300000, .output = 10}), 0);
}
END_TEST

/* --- a file --- */

static void use_file(const char *json) {
    price_table_free(table);
    table = price_table_new(world_file("prices.json", json), why);
    ck_assert_msg(table != NULL, "%s", why);
}

START_TEST(genai_prices_over_the_table) {
    use_file("[{\"id\":\"anthropic\",\"models\":[{\"id\":\"claude-x\",\"context_window\":200000,"
             "\"match\":{\"or\":[{\"starts_with\":\"claude-9\"},{\"equals\":\"claude-nine\"},"
             "{\"and\":[{\"contains\":\"z\"}]}]},\"prices\":{\"input_mtok\":0.8,\"cache_write_mtok\":1,"
             "\"cache_read_mtok\":0.08,\"output_mtok\":4,\"input_audio_mtok\":3}},"
             "{\"id\":\"claude-opus-4-1\",\"match\":{\"starts_with\":\"claude-opus-4-1\"},"
             "\"prices\":{\"input_mtok\":7}},{\"id\":\"nothing\",\"prices\":{\"requests_kcount\":1}}]},"
             "{\"id\":\"aws\",\"models\":[{\"id\":\"nova\",\"match\":{\"contains\":\"amazon.nova-lite\"},"
             "\"prices\":[{\"prices\":{\"input_mtok\":{\"base\":5,\"tiers\":[{\"start\":200000,"
             "\"price\":10}]},\"output_mtok\":25}},{\"constraint\":{\"start_date\":\"2020-01-01\"},"
             "\"prices\":{\"input_mtok\":{\"base\":3,\"tiers\":[{\"start\":1000,\"price\":6}]},"
             "\"output_mtok\":15}},{\"constraint\":{\"start_date\":\"2999-01-01\"},\"prices\":"
             "{\"input_mtok\":1}},{\"constraint\":{\"start_time\":\"00:00\"},\"prices\":{\"input_mtok\":2}}]}"
             "]},{\"id\":5},7,{\"id\":\"x\",\"models\":[3,{\"id\":null}]}]");
    static const char *const ids[] = {"claude-x", "claude-9", "claude-9-turbo-20990101", "claude-nine"};
    for (size_t i = 0; i < 4; i++) {
        const struct price *p = find("anthropic", ids[i]);
        ck_assert_msg(p != NULL, "%s", ids[i]);
        ck_assert_int_eq(p->input, 800000000);
        ck_assert_int_eq(p->output, 4000000000);
        ck_assert_int_eq(p->cached_input, 80000000);
        ck_assert_int_eq(p->cache_write, 1000000000);
        ck_assert_int_eq(p->audio_in, 3000000000);
        ck_assert_uint_eq(p->context, 200000);
    }
    ck_assert_ptr_null(find("openai", "claude-9")); /* another vendor's */
    ck_assert_ptr_null(find("anthropic", "nothing"));
    ck_assert_int_eq(find("anthropic", "claude-opus-4-1-20250805")->input, 7000000000); /* over the table's */
    /* The last that holds today, with its tier. */
    ck_assert_int_eq(bill("aws", "eu.amazon.nova-lite-v9:0", (struct usage){.input = 1000, .output = 1}),
                     3015000);
    ck_assert_int_eq(bill("aws", "amazon.nova-lite-v9:0", (struct usage){.input = 1001}), 6006000);
}
END_TEST

START_TEST(file_over_the_table) {
    use_file(
        "{\"sample_spec\": {\"input_cost_per_token\": 9, \"litellm_provider\": \"openai\"},\n"
        "\"gpt-4o\": {\"input_cost_per_token\": 2.5e-06, \"output_cost_per_token\": 0.00001,\n"
        "  \"cache_read_input_token_cost\": 1.25E-6, \"litellm_provider\": \"openai\",\n"
        "  \"max_input_tokens\": 128000, \"max_output_tokens\": 16384, \"mode\": \"chat\"},\n"
        "\"openai/new-model\": {\"input_cost_per_token\": 1.5E-7, \"output_cost_per_token\": 6e-7,\n"
        "  \"cache_creation_input_token_cost\": 1.875e-07, \"litellm_provider\": \"openai\",\n"
        "  \"output_cost_per_reasoning_token\": 1e-6, \"input_cost_per_audio_token\": 0.00004,\n"
        "  \"output_cost_per_audio_token\": 8e-05},\n"
        "\"tiered\": {\"input_cost_per_token\": 1e-6, \"input_cost_per_token_above_200k_tokens\": 2e-6,\n"
        "  \"output_cost_per_token\": 3e-6, \"output_cost_per_token_above_200k_tokens\": 4e-6,\n"
        "  \"cache_read_input_token_cost\": 1e-7, \n"
        "  \"cache_read_input_token_cost_above_200k_tokens\": 2e-7, \"litellm_provider\": \"x\"},\n"
        "\"tier272\": {\"input_cost_per_token\": 1e-6, \"input_cost_per_token_above_272k_tokens\": 2e-6},\n"
        "\"tier128\": {\"input_cost_per_token\": 1e-6, \"input_cost_per_token_above_128k_tokens\": 2e-6},\n"
        "\"free\": {\"input_cost_per_token\": 0, \"output_cost_per_token\": 0.0},\n"
        "\"image\": {\"output_cost_per_image\": 0.04, \"litellm_provider\": \"openai\"},\n"
        "\"text\": {\"input_cost_per_token\": \"1e-6\", \"output_cost_per_token\": 1e-6},\n"
        "\"negative\": {\"input_cost_per_token\": -1e-6, \"output_cost_per_token\": 1e-6},\n"
        "\"nothing\": null, \"number\": 5}");
    const struct price *p = find("openai", "gpt-4o");
    ck_assert_int_eq(p->input, 2500000000);
    ck_assert_int_eq(p->output, 10000000000);
    ck_assert_int_eq(p->cached_input, 1250000000);
    ck_assert_uint_eq(p->context, 128000);
    ck_assert_uint_eq(p->max_output, 16384);
    const char *ids[] = {"new-model", "openai/new-model", "new-model-2025-01-01", "new-model:free"};
    for (size_t i = 0; i < 4; i++) {
        p = find("openai", ids[i]);
        ck_assert_msg(p != NULL, "%s", ids[i]);
        ck_assert_int_eq(p->input, 150000000);
        ck_assert_int_eq(p->output, 600000000);
        ck_assert_int_eq(p->cache_write, 187500000);
        ck_assert_int_eq(p->cached_input, -1);
        ck_assert_int_eq(p->reasoning, 1000000000);
        ck_assert_int_eq(p->audio_in, 40000000000);
        ck_assert_int_eq(p->audio_out, 80000000000);
        ck_assert_uint_eq(p->tier_start, 0);
    }
    /* 200000 * 1000; 100001 * 2000 + 100000 * 200 + 4000 */
    ck_assert_int_eq(bill("x", "tiered", (struct usage){.input = 200000}), 200000000);
    ck_assert_int_eq(bill("x", "tiered", (struct usage){.input = 200001, .cache_read = 100000, .output = 1}),
                     220006000);
    ck_assert_int_eq(bill("", "tier272", (struct usage){.input = 272000}), 272000000);
    ck_assert_int_eq(bill("", "tier272", (struct usage){.input = 272001}), 544002000);
    ck_assert_int_eq(bill("", "tier128", (struct usage){.input = 128001}), 256002000);
    ck_assert_int_eq(bill("", "free", (struct usage){.input = 99, .output = 99}), 0);
    ck_assert_ptr_null(find("openai", "image"));
    ck_assert_ptr_null(find("", "sample_spec"));
    ck_assert_ptr_null(find("", "nothing"));
    ck_assert_ptr_null(find("", "number"));
    ck_assert_int_eq(find("", "text")->input, -1);
    ck_assert_int_eq(find("", "negative")->input, -1);
    ck_assert_int_eq(input_of("anthropic", "claude-haiku-4-5"), 1000000000); /* the table under it */
}
END_TEST

static const struct {
    const char *text;
    int64_t nano;
} numbers[] = {
    {"2.5e-06", 2500000000},
    {"2.5e-6", 2500000000},
    {"0.0000025", 2500000000},
    {"25E-7", 2500000000},
    {"0.00000000025e4", 2500000000},
    {"1e-15", 1},
    {"5e-16", 1},
    {"4.99e-16", 0},
    {"1e-60", 0},
    {"0", 0},
    {"0e-400", 0},
    {"0.000000000000000000000000000000000000000000000001", 0},
    {"2.50000000000000000000000000000000000000000000000000e-06", 2500000000},
    {"2500000000000000000000000000000000000000000000000000e-57", 2500000000},
    {"1", INT64_C(1000000000000000)},
    {"1e+0", INT64_C(1000000000000000)},
    {"2", -1}, /* more than a million dollars a million tokens is no price */
    {"1e30", -1},
    {"1e999999999999999999999", -1},
    {"-1", -1},
    {"null", -1},
    {"true", -1},
};

START_TEST(numbers_are_exact) {
    char json[256];
    snprintf(json, sizeof json, "{\"m\": {\"input_cost_per_token\": %s, \"output_cost_per_token\": 0}}",
             numbers[_i].text);
    use_file(json);
    ck_assert_msg(input_of("", "m") == numbers[_i].nano, "%s: %lld", numbers[_i].text,
                  (long long)input_of("", "m"));
}
END_TEST

START_TEST(many_entries) {
    struct buf b;
    char id[32];
    buf_init(&b, 0);
    buf_addc(&b, '{');
    for (int i = 0; i < 3000; i++)
        buf_printf(&b,
                   "%s\"m-x%d\": {\"input_cost_per_token\": %d, \"output_cost_per_token\": 1e-6, "
                   "\"litellm_provider\": \"v%d\"}",
                   i ? "," : "", i / 2, 0, i % 2);
    buf_addz(&b, "}");
    buf_addc(&b, '\0');
    use_file(buf_at(&b));
    for (int i = 0; i < 1500; i++) {
        snprintf(id, sizeof id, "m-x%d", i);
        ck_assert_int_eq(input_of("v1", id), 0);
    }
    ck_assert_ptr_null(find("v1", "m-x1500"));
    ck_assert_int_eq(input_of("openai", "gpt-4o"), 2500000000);
    buf_free(&b);
}
END_TEST

static void refused(const char *path, const char *says) {
    why[0] = '\0';
    ck_assert_ptr_null(price_table_new(path, why));
    ck_assert_msg(strstr(why, says) != NULL && strstr(why, path) != NULL, "%s", why);
    ck_assert_int_eq(strncmp(why, "prices.file: ", 13), 0);
}

START_TEST(broken_files) {
    char missing[128];
    snprintf(missing, sizeof missing, "%s/none.json", w.dir);
    refused(missing, "No such file");
    refused(world_file("a", ""), "not a JSON object");
    refused(world_file("b", "[1, 2]"), "not a JSON object");
    refused(world_file("c", "{\"a\": {\"input_cost_per_token\": 1e-6}"), "not a JSON object");
    refused(world_file("c", "{\"a\": {\"input_cost_per_token\": 1e-6}"), "byte 36"); /* where it breaks off */
    refused(world_file("d", "{\"a\": NaN}"), "byte 6");
    refused(w.dir, "cannot be read");
}
END_TEST

TCase *case_price(void) {
    TCase *t = tcase_create("price");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, every_row_is_found_whole);
    tcase_add_loop_test(t, lookup, 0, sizeof finds / sizeof *finds);
    tcase_add_test(t, long_and_odd_ids);
    tcase_add_test(t, golden_bills);
    tcase_add_test(t, tiers_price_all_tokens);
    tcase_add_test(t, all_classes_of_tokens);
    tcase_add_test(t, rounds_half_up_once);
    tcase_add_test(t, huge_counts);
    tcase_add_test(t, own_prices_over_the_list);
    tcase_add_test(t, own_output_alone);
    tcase_add_test(t, own_parts_alone);
    tcase_add_test(t, file_over_the_table);
    tcase_add_test(t, genai_prices_over_the_table);
    tcase_add_loop_test(t, numbers_are_exact, 0, sizeof numbers / sizeof *numbers);
    tcase_add_test(t, many_entries);
    tcase_add_test(t, broken_files);
    return t;
}
