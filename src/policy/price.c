/* Prices by (vendor, model). Looked up exactly first, then with what ids carry besides the model taken off: a
 * vendor prefix, a ":suffix", a date or "-latest" at the end. All sums are 128-bit integers, rounded once. */
#include "policy/price.h"

#include "base/die.h"
#include "base/hash.h"
#include "price_file.h"
#include "price_table.h"

static const struct {
    const char *vendor, *model;
    struct price price;
} builtin[] = {
#define X(v, m, ctx, max, in, out, cr, cw, start, tin, tout, tcr, tcw)                                       \
    {v,                                                                                                      \
     m,                                                                                                      \
     {.input = in,                                                                                           \
      .cached_input = cr,                                                                                    \
      .cache_write = cw,                                                                                     \
      .output = out,                                                                                         \
      .reasoning = -1,                                                                                       \
      .audio_in = -1,                                                                                        \
      .audio_out = -1,                                                                                       \
      .tier_start = start,                                                                                   \
      .tier_input = tin,                                                                                     \
      .tier_cached_input = tcr,                                                                              \
      .tier_cache_write = tcw,                                                                               \
      .tier_output = tout,                                                                                   \
      .context = ctx,                                                                                        \
      .max_output = max}},
    PRICE_TABLE(X)
#undef X
};

/* --- the table --- */

static void grow(struct price_table *t);

void price_put(struct price_table *t, struct str vendor, struct str model, const struct price *p) {
    if ((t->used + 1) * 2 > t->mask + 1)
        grow(t);
    size_t i = hash64(model.p, model.n) & t->mask;
    while (t->slot[i].model.p && !(str_eq(t->slot[i].model, model) && str_eq(t->slot[i].vendor, vendor)))
        i = (i + 1) & t->mask;
    if (!t->slot[i].model.p)
        t->used++;
    t->slot[i] = (struct price_entry){vendor, model, *p};
}

static void grow(struct price_table *t) {
    struct price_entry *old = t->slot;
    size_t n = old ? t->mask + 1 : 0;
    t->mask = n ? 2 * n - 1 : 255;
    t->slot = mem_array(t->mask + 1, sizeof(*t->slot));
    t->used = 0;
    for (size_t i = 0; i < n; i++)
        if (old[i].model.p)
            price_put(t, old[i].vendor, old[i].model, &old[i].price);
    mem_free(old);
}

/* vendor empty: the first of that model. */
static const struct price *get(const struct price_table *t, struct str vendor, struct str model) {
    if (model.n == 0)
        return NULL;
    for (size_t i = hash64(model.p, model.n) & t->mask; t->slot[i].model.p; i = (i + 1) & t->mask)
        if (str_eq(t->slot[i].model, model) && (vendor.n == 0 || str_eq(t->slot[i].vendor, vendor)))
            return &t->slot[i].price;
    return NULL;
}

struct price_table *price_table_new(const char *file, char err[256]) {
    struct arena *a = arena_new(0);
    struct price_table *t = arena_alloc(a, sizeof(*t));
    t->arena = a;
    t->last = &t->patterns;
    grow(t);
    for (size_t i = 0; i < sizeof(builtin) / sizeof(*builtin); i++)
        price_put(t, str_of(builtin[i].vendor), str_of(builtin[i].model), &builtin[i].price);
    if (file && *file && !price_file_read(t, file, err)) {
        price_table_free(t);
        return NULL;
    }
    return t;
}

void price_table_free(struct price_table *t) {
    if (!t)
        return;
    mem_free(t->slot);
    arena_free(t->arena);
}

/* --- looking up --- */

static const struct price *either(const struct price_table *t, struct str vendor, struct str model) {
    const struct price *p = get(t, vendor, model);
    return p ? p : get(t, STR_NONE, model);
}

static bool digits(const char *p, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (p[i] < '0' || p[i] > '9')
            return false;
    return true;
}

/* "-2024-11-20", "-20241120", "-03-2025" (Cohere), "-1106", "-latest" at the end. */
static struct str undated(struct str m) {
    if (str_ends(m, "-latest"))
        return str_make(m.p, m.n - 7);
    if (m.n > 11 && m.p[m.n - 11] == '-' && digits(m.p + m.n - 10, 4) && m.p[m.n - 6] == '-' &&
        digits(m.p + m.n - 5, 2) && m.p[m.n - 3] == '-' && digits(m.p + m.n - 2, 2))
        return str_make(m.p, m.n - 11);
    if (m.n > 9 && m.p[m.n - 9] == '-' && digits(m.p + m.n - 8, 8))
        return str_make(m.p, m.n - 9);
    if (m.n > 8 && m.p[m.n - 8] == '-' && digits(m.p + m.n - 7, 2) && m.p[m.n - 5] == '-' &&
        digits(m.p + m.n - 4, 4))
        return str_make(m.p, m.n - 8);
    if (m.n > 5 && m.p[m.n - 5] == '-' && digits(m.p + m.n - 4, 4))
        return str_make(m.p, m.n - 5);
    return m;
}

static const struct price *without_date(const struct price_table *t, struct str vendor, struct str model) {
    const struct price *p = either(t, vendor, model);
    struct str bare = undated(model);
    return p || bare.n == model.n ? p : either(t, vendor, bare);
}

/* OpenRouter writes claude-3.5 where Anthropic writes claude-3-5. */
static const struct price *dashed(const struct price_table *t, struct str model) {
    char m[128];
    if (model.n == 0 || model.n >= sizeof(m) || !memchr(model.p, '.', model.n))
        return NULL;
    for (size_t i = 0; i < model.n; i++)
        m[i] = model.p[i] == '.' ? '-' : model.p[i];
    return without_date(t, STR_NONE, str_make(m, model.n));
}

/* What stands behind the first of that character; false where there is none. */
static bool behind(struct str m, char c, struct str *front, struct str *rest) {
    const char *at = m.n ? memchr(m.p, c, m.n) : NULL;
    if (!at)
        return false;
    *front = str_make(m.p, (size_t)(at - m.p));
    *rest = str_skip(m, front->n + 1);
    return true;
}

static bool is_region(struct str s) {
    static const char *const regions[] = {"us", "eu", "apac", "global", "jp", "au", "ca", "us-gov"};
    for (size_t i = 0; i < sizeof(regions) / sizeof(*regions); i++)
        if (str_is(s, regions[i]))
            return true;
    return false;
}

/* "us.anthropic.claude-haiku-4-5-20251001-v1:0", "us.amazon.nova-pro-v1:0", "claude-haiku-4-5@20251001". */
static const struct price *of_cloud(const struct price_table *t, struct str vendor, struct str model) {
    struct str front, rest;
    const struct price *p = NULL;
    if (behind(model, '.', &front, &rest) && is_region(front)) {
        model = rest;
        p = without_date(t, vendor, model);
    }
    if (!p && behind(model, '.', &front, &rest) && str_is(front, "anthropic")) {
        vendor = front;
        model = rest;
    }
    if (!p && (behind(model, ':', &front, &rest) || behind(model, '@', &front, &rest)))
        model = front;
    if (str_ends(model, "-v1") || str_ends(model, "-v2"))
        model.n -= 3;
    return p ? p : without_date(t, vendor, model);
}

/* What no name is known for may still match what a file says of names. */
static const struct price *by_pattern(const struct price_table *t, struct str vendor, struct str model) {
    for (const struct price_pattern *p = t->patterns; p; p = p->next)
        if ((vendor.n == 0 || str_eq(p->vendor, vendor)) && price_pattern_is(p, model))
            return &p->price;
    return NULL;
}

const struct price *price_find(const struct price_table *t, struct str vendor, struct str model) {
    const struct str whole = model, of = vendor;
    const struct price *p = without_date(t, vendor, model);
    if (!p)
        p = of_cloud(t, vendor, model);
    const char *cut = model.n ? memchr(model.p, ':', model.n) : NULL;
    if (!p && cut) {
        model.n = (size_t)(cut - model.p);
        p = without_date(t, vendor, model);
    }
    while (!p && model.n && (cut = memchr(model.p, '/', model.n)) != NULL) {
        vendor = str_make(model.p, (size_t)(cut - model.p));
        model = str_skip(model, vendor.n + 1);
        p = without_date(t, vendor, model);
    }
    if (!p)
        p = dashed(t, model);
    return p || !t->patterns ? p : by_pattern(t, of, whole);
}

/* What is said holds above the tier's start too. */
static void lay(int64_t *over, int64_t *tier, int64_t own) {
    if (own < 0)
        return;
    *over = own;
    *tier = -1;
}

bool price_merge(const struct price *p, const struct conf_prices *own, struct price *out) {
    static const struct price unknown = {-1, -1, -1, -1, -1, -1, -1, 0, -1, -1, -1, -1, 0, 0};
    int64_t none;
    *out = p ? *p : unknown;
    if (own) {
        if (own->input >= 0) /* the list's prices of its parts belong to the list's price */
            out->cached_input = out->cache_write = out->audio_in = out->tier_cached_input =
                out->tier_cache_write = -1;
        if (own->output >= 0)
            out->reasoning = out->audio_out = -1;
        lay(&out->input, &out->tier_input, own->input);
        lay(&out->cached_input, &out->tier_cached_input, own->cached_input);
        lay(&out->cache_write, &out->tier_cache_write, own->cache_write);
        lay(&out->output, &out->tier_output, own->output);
        lay(&out->reasoning, &none, own->reasoning);
        lay(&out->audio_in, &none, own->audio_in);
        lay(&out->audio_out, &none, own->audio_out);
    }
    return out->input >= 0 || out->output >= 0;
}

/* --- what it costs --- */

static int64_t known(int64_t first, int64_t second) {
    return first >= 0 ? first : second >= 0 ? second : 0;
}

/* A part out of what is left of its whole. */
static uint64_t out_of(uint64_t *left, uint64_t part) {
    uint64_t n = part < *left ? part : *left;
    *left -= n;
    return n;
}

static int64_t rounded(__int128 sum) {
    sum = (sum + 500000) / 1000000;
    return sum > INT64_MAX ? INT64_MAX : (int64_t)sum;
}

int64_t price_cost(const struct price *p, const struct usage *u) {
    if (p->input < 0 && p->output < 0)
        return -1;
    uint64_t plain = u->billed ? u->billed_input : u->input;
    uint64_t text = u->billed ? u->billed_output : u->output;
    bool tier = p->tier_start && plain > p->tier_start;
    int64_t in = tier && p->tier_input >= 0 ? p->tier_input : known(p->input, -1);
    int64_t out = tier && p->tier_output >= 0 ? p->tier_output : known(p->output, -1);
    int64_t cached = tier && p->tier_cached_input >= 0 ? p->tier_cached_input : known(p->cached_input, in);
    int64_t write = tier && p->tier_cache_write >= 0 ? p->tier_cache_write : known(p->cache_write, in);
    if (u->billed) /* of what is not known: there are no parts of it */
        return rounded((__int128)plain * in + (__int128)text * out);
    uint64_t read = out_of(&plain, u->cache_read), write_5m = out_of(&plain, u->cache_write);
    uint64_t write_1h = out_of(&write_5m, u->cache_write_1h), audio_in = out_of(&plain, u->audio_in);
    uint64_t reasoning = p->reasoning >= 0 ? out_of(&text, u->reasoning) : 0;
    uint64_t audio_out = out_of(&text, u->audio_out);
    __int128 sum = (__int128)plain * in + (__int128)read * cached + (__int128)write_5m * write;
    sum += (__int128)write_1h * (p->cache_write >= 0 ? 2 * in : write); /* an hour costs twice the input */
    sum += (__int128)audio_in * known(p->audio_in, in) + (__int128)audio_out * known(p->audio_out, out);
    return rounded(sum + (__int128)text * out + (__int128)reasoning * known(p->reasoning, 0));
}

int64_t price_charge(const struct price_table *t, struct str vendor, struct str model,
                     const struct conf_prices *own, const struct usage *u, struct price *by) {
    if (u->cost_nano < 0 && price_merge(price_find(t, vendor, model), own, by))
        return price_cost(by, u);
    *by = (struct price){.input = -1, .output = -1};
    return u->cost_nano;
}

int64_t price_bill(const struct price_table *t, struct str vendor, struct str model,
                   const struct conf_prices *own, const struct usage *u) {
    struct price by;
    return price_charge(t, vendor, model, own, u, &by);
}

void price_parts(const struct price_table *t, struct str vendor, struct str model,
                 const struct conf_prices *own, const struct usage *u, int64_t bill, int64_t *input,
                 int64_t *output) {
    struct usage in = *u;
    in.output = in.reasoning = in.audio_out = in.billed_output = 0;
    in.cost_nano = -1;
    *input = bill < 0 ? -1 : price_bill(t, vendor, model, own, &in);
    if (*input > bill) /* by its own count it cost less than by the table */
        *input = bill;
    *output = *input < 0 ? -1 : bill - *input;
}

/* --- what it is called --- */

/* The members that say what something costs; windows are no part of a price. */
#define PRICE_MEMBERS(X)                                                                                     \
    X(input)                                                                                                 \
    X(cached_input)                                                                                          \
    X(cache_write)                                                                                           \
    X(output)                                                                                                \
    X(reasoning)                                                                                             \
    X(audio_in)                                                                                              \
    X(audio_out)                                                                                             \
    X(tier_input)                                                                                            \
    X(tier_cached_input)                                                                                     \
    X(tier_cache_write)                                                                                      \
    X(tier_output)

uint64_t price_version(const struct price *p) {
    const int64_t v[] = {
#define X(name) p->name,
        PRICE_MEMBERS(X)
#undef X
            (int64_t) p->tier_start};
    return p->input < 0 && p->output < 0 ? 0 : hash64(v, sizeof v);
}

void price_write(struct jw *w, const struct price *p) {
    jw_obj(w);
#define X(name)                                                                                              \
    if (p->name >= 0)                                                                                        \
        jw_kint(w, #name, p->name);
    PRICE_MEMBERS(X)
#undef X
    if (p->tier_start)
        jw_ku64(w, "tier_start", p->tier_start);
    jw_obj_end(w);
}
