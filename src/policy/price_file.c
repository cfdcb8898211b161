/* Files of prices: LiteLLM's price map, dollars per token by model; and genai-prices' data.json, dollars per
 * million tokens by vendor, with patterns of names and prices that begin on a day. What a file does not say
 * in a form that is known here is passed over: a price list is larger than what a gateway needs of it. */
#include "price_file.h"

#include <errno.h>
#include <stdio.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/json.h"

enum { FILE_MAX = 32 << 20 };
/* A million dollars per million tokens, as for a price of one's own: sums stay within 128 bits. */
#define PRICE_MOST INT64_C(1000000000000000)

/* --- numbers --- */

/* "-06", "+6", "6": what stands behind the e of a number; beyond a thousand it is all the same. */
static bool read_exponent(struct str s, int *out) {
    enum { FAR = 1000 };
    int64_t e;
    bool minus = str_starts(s, "-");
    if (!str_i64(minus || str_starts(s, "+") ? str_skip(s, 1) : s, &e))
        return false;
    int n = e > FAR ? FAR : (int)e;
    *out = minus ? -n : n;
    return true;
}

/* Dollars as text times 10^scale, digit by digit, no binary fractions: nano-dollars per million tokens of
 * dollars per token (15) or per million (9). More than PRICE_MOST is no price. */
static int64_t price_of(struct json_value v, int scale) {
    const __int128 most = (__int128)1 << 100;
    __int128 n = 0;
    int exponent = 0;
    bool point = false;
    const char *p = v.raw.p, *end = p + v.raw.n;
    if (v.kind != JSON_NUMBER || (p < end && *p == '-'))
        return -1;
    for (; p < end && *p != 'e' && *p != 'E'; p++) {
        if (*p == '.') {
            point = true;
        } else if (n < most) {
            n = n * 10 + (*p - '0');
            scale -= point;
        } else { /* digits that no longer count but for their place */
            scale += !point;
        }
    }
    if (p < end && !read_exponent(str_make(p + 1, (size_t)(end - p - 1)), &exponent))
        return -1;
    for (scale += exponent; scale > 0 && n < most; scale--)
        n *= 10;
    for (; scale < 0; scale++)
        n = scale == -1 ? (n + 5) / 10 : n / 10;
    return n > PRICE_MOST ? -1 : (int64_t)n;
}

/* --- LiteLLM's price map --- */

static int64_t cost_member(struct str object, const char *key) {
    struct json_value v;
    return json_member(object, key, &v) ? price_of(v, 15) : -1;
}

/* "input_cost_per_token_above_200k_tokens" */
static int64_t tier_member(struct str object, const char *cost, const char *tier) {
    char key[96];
    snprintf(key, sizeof(key), "%s_above_%s_tokens", cost, tier);
    return cost_member(object, key);
}

static uint64_t count_member(struct str object, const char *key) {
    struct json_value v;
    uint64_t n;
    return json_member(object, key, &v) && json_u64(v, &n) ? n : 0;
}

/* The first of those that are in use; no model has two. */
static void read_tier(struct str object, struct price *p) {
    static const struct {
        const char *name;
        uint64_t start;
    } tiers[] = {{"128k", 128000}, {"200k", 200000}, {"256k", 256000}, {"272k", 272000}};
    for (size_t i = 0; p->tier_start == 0 && i < sizeof(tiers) / sizeof(*tiers); i++) {
        p->tier_input = tier_member(object, "input_cost_per_token", tiers[i].name);
        p->tier_output = tier_member(object, "output_cost_per_token", tiers[i].name);
        p->tier_cached_input = tier_member(object, "cache_read_input_token_cost", tiers[i].name);
        p->tier_cache_write = tier_member(object, "cache_creation_input_token_cost", tiers[i].name);
        p->tier_start = p->tier_input >= 0 || p->tier_output >= 0 ? tiers[i].start : 0;
    }
}

struct reading {
    struct price_table *table;
};

static bool read_model(void *arg, struct str key, struct json_value v) {
    struct reading *r = arg;
    struct arena *a = r->table->arena;
    if (v.kind != JSON_OBJECT || str_is(key, "sample_spec") || memchr(key.p, '\\', key.n))
        return true;
    struct price p = {
        .input = cost_member(v.raw, "input_cost_per_token"),
        .cached_input = cost_member(v.raw, "cache_read_input_token_cost"),
        .cache_write = cost_member(v.raw, "cache_creation_input_token_cost"),
        .output = cost_member(v.raw, "output_cost_per_token"),
        .reasoning = cost_member(v.raw, "output_cost_per_reasoning_token"),
        .audio_in = cost_member(v.raw, "input_cost_per_audio_token"),
        .audio_out = cost_member(v.raw, "output_cost_per_audio_token"),
        .tier_input = -1,
        .tier_output = -1,
        .tier_cached_input = -1,
        .tier_cache_write = -1,
        .context = count_member(v.raw, "max_input_tokens"),
        .max_output = count_member(v.raw, "max_output_tokens"),
    };
    read_tier(v.raw, &p);
    struct json_value provider;
    struct str vendor = STR_NONE, model = arena_dup(a, key);
    if (json_member(v.raw, "litellm_provider", &provider) && provider.kind == JSON_STRING)
        vendor = arena_dup(a, json_text(a, provider));
    if (p.input < 0 && p.output < 0)
        return true;
    price_put(r->table, vendor, model, &p);
    const char *slash = memchr(model.p, '/', model.n); /* "openai/gpt-x" is gpt-x of openai, too */
    if (slash)
        price_put(r->table, str_make(model.p, (size_t)(slash - model.p)),
                  str_skip(model, (size_t)(slash - model.p) + 1), &p);
    return true;
}

/* --- genai-prices --- */

static const struct price no_price = {-1, -1, -1, -1, -1, -1, -1, 0, -1, -1, -1, -1, 0, 0};

static bool take_first(void *arg, struct str key, struct json_value v) {
    (void)key;
    *(struct json_value *)arg = v;
    return false;
}

/* A number, or {"base": 3, "tiers": [{"start": 200000, "price": 6}]}. */
static void mtok(struct str prices, const char *key, int64_t *base, int64_t *above, uint64_t *start) {
    struct json_value v, tiers, b;
    int64_t none;
    uint64_t from;
    if (!json_member(prices, key, &v))
        return;
    *base = price_of(v, 9);
    if (v.kind != JSON_OBJECT)
        return;
    *base = json_member(v.raw, "base", &b) ? price_of(b, 9) : -1;
    if (!json_member(v.raw, "tiers", &tiers) || tiers.kind != JSON_ARRAY)
        return;
    struct json_value first = {JSON_NULL, STR_NONE};
    json_each(tiers.raw, take_first, &first);
    if (first.kind != JSON_OBJECT || !json_member(first.raw, "start", &b) || !json_u64(b, &from) || !start)
        return;
    none = json_member(first.raw, "price", &b) ? price_of(b, 9) : -1;
    *above = none;
    *start = from;
}

static struct price read_mtoks(struct str prices) {
    struct price p = no_price;
    mtok(prices, "input_mtok", &p.input, &p.tier_input, &p.tier_start);
    mtok(prices, "output_mtok", &p.output, &p.tier_output, &p.tier_start);
    mtok(prices, "cache_read_mtok", &p.cached_input, &p.tier_cached_input, &p.tier_start);
    mtok(prices, "cache_write_mtok", &p.cache_write, &p.tier_cache_write, &p.tier_start);
    mtok(prices, "input_audio_mtok", &p.audio_in, &p.audio_in, NULL);
    mtok(prices, "output_audio_mtok", &p.audio_out, &p.audio_out, NULL);
    return p;
}

struct choosing {
    struct str best; /* "prices" of the last entry that holds today */
    const char *today;
};

/* {"constraint": {"start_date": "2026-03-13"}, "prices": {...}}; what holds at some hours only is not taken.
 */
static bool each_dated(void *arg, struct str key, struct json_value v) {
    struct choosing *c = arg;
    struct json_value constraint, date, prices;
    (void)key;
    if (v.kind != JSON_OBJECT || !json_member(v.raw, "prices", &prices) || prices.kind != JSON_OBJECT)
        return true;
    bool holds = !json_member(v.raw, "constraint", &constraint) || constraint.kind != JSON_OBJECT;
    if (!holds && json_member(constraint.raw, "start_date", &date) && date.kind == JSON_STRING &&
        date.raw.n == 12)
        holds = memcmp(date.raw.p + 1, c->today, 10) <= 0;
    if (holds)
        c->best = prices.raw;
    return true;
}

static struct str prices_of(struct str model) {
    char today[CLOCK_RFC3339_SIZE];
    struct json_value v;
    clock_rfc3339(today, clock_wall_ms());
    struct choosing c = {STR_NONE, today};
    if (!json_member(model, "prices", &v))
        return STR_NONE;
    if (v.kind == JSON_OBJECT)
        return v.raw;
    if (v.kind == JSON_ARRAY)
        json_each(v.raw, each_dated, &c);
    return c.best;
}

struct naming {
    struct price_table *t;
    bool any;
    struct str vendor;
    struct price price;
};

static void add_pattern(struct naming *n, int kind, struct str text) {
    struct price_pattern *p = arena_alloc(n->t->arena, sizeof(*p));
    *p = (struct price_pattern){.vendor = n->vendor, .text = text, .kind = kind, .price = n->price};
    *n->t->last = p;
    n->t->last = &p->next;
    for (size_t i = 0; i <= n->t->mask; i++) { /* what the built-in table knows by name is overlaid */
        struct price_entry *e = &n->t->slot[i];
        if (e->model.p && str_eq(e->vendor, n->vendor) && price_pattern_is(p, e->model))
            e->price = p->price;
    }
}

/* {"or": [{"starts_with": "a"}, {"equals": "b"}]}; an "and" or a regex matches nothing here. */
static bool each_match(void *arg, struct str key, struct json_value v) {
    struct naming *n = arg;
    if (key.n == 0 && v.kind == JSON_OBJECT) { /* an element of "or" */
        json_each(v.raw, each_match, n);
        return true;
    }
    if (json_key_is(key, "or") && v.kind == JSON_ARRAY) {
        json_each(v.raw, each_match, n);
        return true;
    }
    if (v.kind != JSON_STRING)
        return true;
    struct str text = arena_dup(n->t->arena, json_text(n->t->arena, v));
    if (json_key_is(key, "equals"))
        price_put(n->t, n->vendor, text, &n->price);
    else if (json_key_is(key, "starts_with"))
        add_pattern(n, PATTERN_STARTS, text);
    else if (json_key_is(key, "ends_with"))
        add_pattern(n, PATTERN_ENDS, text);
    else if (json_key_is(key, "contains"))
        add_pattern(n, PATTERN_CONTAINS, text);
    return true;
}

static bool each_priced(void *arg, struct str key, struct json_value v) {
    struct naming *n = arg;
    struct json_value id, match;
    (void)key;
    if (v.kind != JSON_OBJECT || !json_member(v.raw, "id", &id) || id.kind != JSON_STRING)
        return true;
    n->price = read_mtoks(prices_of(v.raw));
    n->price.context = count_member(v.raw, "context_window");
    if (n->price.input < 0 && n->price.output < 0)
        return true;
    price_put(n->t, n->vendor, arena_dup(n->t->arena, json_text(n->t->arena, id)), &n->price);
    if (json_member(v.raw, "match", &match) && match.kind == JSON_OBJECT)
        json_each(match.raw, each_match, n);
    return true;
}

static bool each_vendor(void *arg, struct str key, struct json_value v) {
    struct naming *n = arg;
    struct price_table *t = n->t;
    struct json_value id, models;
    (void)key;
    if (v.kind != JSON_OBJECT || !json_member(v.raw, "id", &id) || id.kind != JSON_STRING ||
        !json_member(v.raw, "models", &models) || models.kind != JSON_ARRAY)
        return true;
    n->any = true;
    n->vendor = arena_dup(t->arena, json_text(t->arena, id));
    json_each(models.raw, each_priced, n);
    return true;
}

static bool read_vendors(struct price_table *t, struct str text, const char *path, char err[256]) {
    struct naming n = {.t = t};
    json_each(text, each_vendor, &n);
    if (!n.any)
        snprintf(err, 256, "prices.file: %s: not a JSON object, and no list of vendors with their models",
                 path);
    return n.any;
}

bool price_pattern_is(const struct price_pattern *p, struct str model) {
    if (model.n < p->text.n || p->text.n == 0)
        return false;
    if (p->kind == PATTERN_CONTAINS)
        return str_find(model, p->text) >= 0;
    size_t at = p->kind == PATTERN_ENDS ? model.n - p->text.n : 0;
    return memcmp(model.p + at, p->text.p, p->text.n) == 0;
}

/* --- a file --- */

static bool read_all(const char *path, struct buf *text, char err[256]) {
    FILE *f = fopen(path, "re");
    if (!f) {
        snprintf(err, 256, "prices.file: %s: %s", path, strerror(errno));
        return false;
    }
    for (;;) {
        char *room = buf_room(text, 64 << 10);
        size_t n = room ? fread(room, 1, 64 << 10, f) : 0;
        if (n == 0)
            break;
        buf_commit(text, n);
    }
    bool ok = !ferror(f) && buf_ok(text);
    if (fclose(f) != 0 || !ok)
        snprintf(err, 256, "prices.file: %s: cannot be read, or is larger than %d bytes", path, FILE_MAX);
    return ok;
}

bool price_file_read(struct price_table *t, const char *path, char err[256]) {
    struct buf text;
    struct json_error e;
    enum json_kind kind;
    struct reading r = {t};
    buf_init(&text, FILE_MAX);
    bool ok = read_all(path, &text, err);
    if (ok && json_scan(buf_str(&text), &kind, NULL, NULL, &e) != 0) {
        snprintf(err, 256, "prices.file: %s: not a JSON object: byte %zu: %s", path, e.offset, e.why);
        ok = false;
    } else if (ok && kind != JSON_OBJECT && kind != JSON_ARRAY) {
        snprintf(err, 256, "prices.file: %s: not a JSON object", path);
        ok = false;
    }
    if (ok && kind == JSON_OBJECT)
        json_each(buf_str(&text), read_model, &r);
    else if (ok)
        ok = read_vendors(t, buf_str(&text), path, err);
    buf_free(&text);
    return ok;
}
