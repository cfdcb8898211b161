/* A key is JSON, in the store as on the way to clients: one table of members reads and writes both. */
#include "store/keys.h"
#include "base/clock.h"
#include "base/hash.h"
#include "pack.h"
#include <inttypes.h>

enum { TABLE_KEYS, TABLE_OUTCOMES, TABLE_STAMPS };
const char *const keys_tables[] = {"keys", "outcomes", "stamps", NULL};

enum { TEXT_MOST = 256, PATTERN_MOST = 512, LIST_MOST = 64, VERSION_BYTES = 8 };

/* --- reading members --- */

struct member;
struct reader {
    struct arena *arena;
    bool kept;
    struct stored_key *k;
    const struct member *m;
    bool seen[32];
    struct str param;
    const char *why;
};
struct member {
    const char *name;
    bool kept; /* in the store only */
    bool (*read)(struct reader *r, struct json_value v);
    void (*write)(struct jw *w, const struct member *m, const struct stored_key *k);
    size_t offset, count;
};

static bool wrong(struct reader *r, const char *why) {
    r->why = why;
    return false;
}

static void *member_of(const struct reader *r) {
    return (char *)r->k + r->m->offset;
}

static bool read_text(struct reader *r, struct json_value v) {
    struct str s = v.kind == JSON_STRING ? json_text(r->arena, v) : STR_NONE;
    if ((v.kind != JSON_STRING && v.kind != JSON_NULL) || s.n > TEXT_MOST || !str_plain(s))
        return wrong(r, "expected a text of at most 256 bytes");
    *(const char **)member_of(r) = arena_dupz(r->arena, s);
    return true;
}

bool key_id_ok(struct str id) {
    for (size_t i = 0; i < id.n; i++) {
        char c = id.p[i];
        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
              c == '_' || c == '-'))
            return false;
    }
    return id.n >= 1 && id.n <= KEY_ID_MOST;
}

static bool read_id(struct reader *r, struct json_value v) {
    struct str s = v.kind == JSON_STRING ? json_text(r->arena, v) : STR_NONE;
    if (!key_id_ok(s))
        return wrong(r, "expected 1 to 64 letters, digits, '.', '_' and '-'");
    r->k->key.id = arena_dupz(r->arena, s);
    return true;
}

static const char *const permissions[] = {"completion", "embedding", "admin"}; /* of enum conf_permission */

static bool add_permission(void *arg, struct str key, struct json_value v) {
    unsigned *mask = arg;
    (void)key;
    for (unsigned i = 0; i < 3; i++)
        if (json_string_is(v, permissions[i])) {
            *mask |= 1U << i;
            return true;
        }
    *mask = 0;
    return false;
}

static bool read_permissions(struct reader *r, struct json_value v) {
    unsigned mask = 0;
    if (v.kind == JSON_ARRAY)
        json_each(v.raw, add_permission, &mask);
    r->k->key.permissions = mask;
    return mask != 0 || wrong(r, "expected a list of completion, embedding and admin, one at least");
}

struct list {
    struct arena *arena;
    const char *text[LIST_MOST];
    size_t n;
    bool bad;
};

static bool add_text(void *arg, struct str key, struct json_value v) {
    struct list *l = arg;
    struct str s = v.kind == JSON_STRING ? json_text(l->arena, v) : STR_NONE;
    (void)key;
    l->bad = s.n == 0 || s.n > PATTERN_MOST || !str_plain(s) || l->n == LIST_MOST;
    if (!l->bad)
        l->text[l->n++] = arena_dupz(l->arena, s);
    return !l->bad;
}

static bool read_list(struct reader *r, struct json_value v) {
    struct list l = {.arena = r->arena};
    if (v.kind == JSON_ARRAY)
        json_each(v.raw, add_text, &l);
    if (l.bad || (v.kind != JSON_ARRAY && v.kind != JSON_NULL))
        return wrong(r, "expected a list of at most 64 texts of 1 to 512 bytes");
    const char **kept = arena_array(r->arena, l.n + 1, sizeof *kept);
    memcpy(kept, l.text, l.n * sizeof *kept);
    *(const char ***)member_of(r) = kept;
    *(size_t *)(void *)((char *)r->k + r->m->count) = l.n;
    return true;
}

static bool read_addresses(struct reader *r, struct json_value v) {
    struct conf_gateway_key *k = &r->k->key;
    if (!read_list(r, v))
        return false;
    k->nets = arena_array(r->arena, k->naddresses + 1, sizeof *k->nets);
    for (size_t i = 0; i < k->naddresses; i++)
        if (!net_parse(str_of(k->addresses[i]), &k->nets[i]))
            return wrong(r, "expected addresses and networks such as 192.0.2.0/24 or 2001:db8::/32");
    return true;
}

static const char *const rates[] = {
#define X(option) #option,
    CONF_RATES(X)
#undef X
        "concurrent",
};
enum { RATES = sizeof rates / sizeof *rates };

static uint64_t *rate_of(struct conf_rates *of, size_t i) {
    return i < CONF_RATES_N ? &of->rate[i] : &of->concurrent;
}

struct limits {
    struct conf_rates *rates;
    bool bad;
};

static bool read_rate(void *arg, struct str key, struct json_value v) {
    struct limits *l = arg;
    size_t i = 0;
    while (i < RATES && !json_key_is(key, rates[i]))
        i++;
    l->bad = i == RATES;
    if (l->bad)
        return false;
    uint64_t *to = rate_of(l->rates, i);
    *to = CONF_NO_LIMIT;
    l->bad = v.kind != JSON_NULL && (!json_u64(v, to) || *to == 0 || *to > CONF_LIMIT_MOST);
    return !l->bad;
}

static bool read_limits(struct reader *r, struct json_value v) {
    struct limits l = {.rates = &r->k->key.limits, .bad = v.kind != JSON_OBJECT && v.kind != JSON_NULL};
    for (size_t i = 0; i < RATES; i++)
        *rate_of(l.rates, i) = KEY_LIMIT_DEFAULT;
    if (v.kind == JSON_OBJECT)
        json_each(v.raw, read_rate, &l);
    return !l.bad ||
           wrong(r, "expected an object of limits as in auth.keys: whole numbers from 1, or null for none");
}

static bool read_weight(struct reader *r, struct json_value v) {
    uint64_t weight = 1;
    if (v.kind != JSON_NULL && (!json_u64(v, &weight) || weight < 1 || weight > CONF_WEIGHT_MOST))
        return wrong(r, "expected a whole number from 1 to 10000");
    r->k->key.weight = (unsigned)weight;
    return true;
}

/* --- budgets --- */

struct budgeting {
    struct arena *arena;
    struct conf_budget *b;
    bool bad;
};

static bool add_alert(void *arg, struct str key, struct json_value v) {
    struct budgeting *g = arg;
    (void)key;
    g->bad = v.kind != JSON_NUMBER || g->b->nalerts == CONF_MAX_ALERTS;
    if (!g->bad)
        g->b->alert[g->b->nalerts++] = arena_dupz(g->arena, v.raw);
    return !g->bad;
}

static bool read_period(struct json_value v, enum conf_period *period) {
    for (unsigned i = 0; i < CONF_PERIODS; i++)
        if (json_string_is(v, conf_period_name((enum conf_period)i))) {
            *period = (enum conf_period)i;
            return true;
        }
    return false;
}

static bool read_of_budget(void *arg, struct str key, struct json_value v) {
    struct budgeting *g = arg;
    const int64_t most = INT64_C(1000000000) * CONF_BUDGET_MOST;
    if (json_key_is(key, "usd"))
        g->bad = v.kind != JSON_NUMBER || !value_nano(v.raw, &g->b->nano) || g->b->nano > most;
    else if (json_key_is(key, "period"))
        g->bad = !read_period(v, &g->b->period);
    else if (json_key_is(key, "alert") && v.kind == JSON_ARRAY) {
        g->b->nalerts = 0;
        json_each(v.raw, add_alert, g);
    } else
        g->bad = true;
    return !g->bad;
}

static const struct conf_budget no_budget = {.nano = -1, .period = PERIOD_MONTH};

/* What is not said is as in auth.keys. */
static bool read_budget(struct reader *r, struct json_value v) {
    struct conf_budget *b = &r->k->key.budget;
    struct budgeting g = {r->arena, b, v.kind != JSON_OBJECT && v.kind != JSON_NULL};
    *b = no_budget;
    if (v.kind == JSON_NULL)
        return true;
    b->alert = arena_array(r->arena, CONF_MAX_ALERTS, sizeof *b->alert);
    b->alert[b->nalerts++] = "0.8";
    if (!g.bad)
        json_each(v.raw, read_of_budget, &g);
    if (!g.bad && b->nano >= 0 && conf_budget_alerts(b))
        return true;
    return wrong(r,
                 "expected null or an object: usd, a decimal such as 0.50, period (hour, day, week, month, "
                 "total), alert, at most 8 parts of it above 0 up to 1");
}

static void write_budget(struct jw *w, const struct member *m, const struct stored_key *k) {
    const struct conf_budget *b = &k->key.budget;
    double part;
    jw_key(w, m->name);
    if (b->nano < 0) {
        jw_null(w);
        return;
    }
    jw_obj(w);
    jw_key(w, "usd");
    jw_nano(w, b->nano);
    jw_kz(w, "period", conf_period_name(b->period));
    jw_key(w, "alert");
    jw_arr(w);
    for (size_t i = 0; i < b->nalerts; i++)
        if (value_real(str_of(b->alert[i]), &part))
            jw_real(w, part);
    jw_arr_end(w);
    jw_obj_end(w);
}

static void write_weight(struct jw *w, const struct member *m, const struct stored_key *k) {
    jw_ku64(w, m->name, k->key.weight ? k->key.weight : 1);
}

static bool read_time(struct reader *r, struct json_value v) {
    int64_t *to = member_of(r);
    *to = 0;
    if (v.kind == JSON_NULL || (v.kind == JSON_STRING && clock_parse(json_text(r->arena, v), to) && *to > 0))
        return true;
    return wrong(r, "expected a date (2030-01-31), a time (2030-01-31T12:00:00Z) or null");
}

static bool read_hash(struct reader *r, struct json_value v) {
    return (v.kind == JSON_STRING && hex_decode(member_of(r), SHA256_SIZE, json_text(r->arena, v))) ||
           wrong(r, "expected a hash");
}

/* --- writing them --- */

static const void *value_of(const struct member *m, const struct stored_key *k) {
    return (const char *)k + m->offset;
}

static void write_text(struct jw *w, const struct member *m, const struct stored_key *k) {
    jw_kz(w, m->name, *(const char *const *)value_of(m, k));
}

static void write_permissions(struct jw *w, const struct member *m, const struct stored_key *k) {
    jw_key(w, m->name);
    jw_arr(w);
    for (unsigned i = 0; i < 3; i++)
        if (k->key.permissions & 1U << i)
            jw_z(w, permissions[i]);
    jw_arr_end(w);
}

static void write_list(struct jw *w, const struct member *m, const struct stored_key *k) {
    const char *const *list = *(const char *const *const *)value_of(m, k);
    size_t n = *(const size_t *)(const void *)((const char *)k + m->count);
    jw_key(w, m->name);
    jw_arr(w);
    for (size_t i = 0; i < n; i++)
        jw_z(w, list[i]);
    jw_arr_end(w);
}

static void write_limits(struct jw *w, const struct member *m, const struct stored_key *k) {
    struct conf_rates of = k->key.limits;
    jw_key(w, m->name);
    jw_obj(w);
    for (size_t i = 0; i < RATES; i++) {
        uint64_t v = *rate_of(&of, i);
        if (v == CONF_NO_LIMIT)
            jw_knull(w, rates[i]);
        else if (v != KEY_LIMIT_DEFAULT)
            jw_ku64(w, rates[i], v);
    }
    jw_obj_end(w);
}

static void write_time(struct jw *w, const struct member *m, const struct stored_key *k) {
    char text[CLOCK_RFC3339_SIZE];
    int64_t ms = *(const int64_t *)value_of(m, k);
    if (ms)
        clock_rfc3339(text, ms);
    jw_kz(w, m->name, ms ? text : NULL);
}

static void write_hash(struct jw *w, const struct member *m, const struct stored_key *k) {
    char hex[2 * SHA256_SIZE + 1];
    hex_encode(hex, value_of(m, k), SHA256_SIZE);
    jw_kz(w, m->name, hex);
}

/* --- the table --- */

#define AT(m) offsetof(struct stored_key, m)
/* clang-format off */
static const struct member members[] = {
    {"id", false, read_id, write_text, AT(key.id), 0},
    {"owner", false, read_text, write_text, AT(key.owner), 0},
    {"tenant", false, read_text, write_text, AT(key.tenant), 0},
    {"permissions", false, read_permissions, write_permissions, 0, 0},
    {"models", false, read_list, write_list, AT(key.models), AT(key.nmodels)},
    {"endpoints", false, read_list, write_list, AT(key.endpoints), AT(key.nendpoints)},
    {"addresses", false, read_addresses, write_list, AT(key.addresses), AT(key.naddresses)},
    {"limits", false, read_limits, write_limits, 0, 0},
    {"budget", false, read_budget, write_budget, 0, 0},
    {"weight", false, read_weight, write_weight, 0, 0},
    {"expires", false, read_time, write_time, AT(key.expires), 0},
    {"hash", true, read_hash, write_hash, AT(key.hash), 0},
    {"old_hash", true, read_hash, write_hash, AT(old_hash), 0},
    {"old_until", true, read_time, write_time, AT(old_until_ms), 0},
    {"created", true, read_time, write_time, AT(created_ms), 0},
    {"changed", true, read_time, write_time, AT(changed_ms), 0},
};
/* clang-format on */
enum { MEMBERS = sizeof members / sizeof *members };

static bool read_member(void *arg, struct str key, struct json_value v) {
    struct reader *r = arg;
    size_t i = 0;
    while (i < MEMBERS && !((r->kept || !members[i].kept) && json_key_is(key, members[i].name)))
        i++;
    r->param = str_make(key.p, key.n < TEXT_MOST ? key.n : TEXT_MOST);
    if (i == MEMBERS)
        return wrong(r, "no such member here");
    if (r->seen[i])
        return wrong(r, "given twice");
    r->seen[i] = true;
    r->m = &members[i];
    return r->m->read(r, v);
}

bool stored_key_read(struct arena *a, struct str object, bool kept, struct stored_key *k, struct str *param,
                     const char **why) {
    struct reader r = {.arena = a, .kept = kept, .k = k};
    json_each(object, read_member, &r);
    *param = r.param;
    *why = r.why;
    return !r.why;
}

void stored_key_write(struct jw *w, const struct stored_key *k, bool kept) {
    for (size_t i = 0; i < MEMBERS; i++)
        if (kept || !members[i].kept)
            members[i].write(w, &members[i], k);
}

void stored_key_init(struct stored_key *k) {
    *k = (struct stored_key){.key = {.id = "", .owner = "", .tenant = "", .source = "stored"}};
    k->key.permissions = PERM_COMPLETION | PERM_EMBEDDING;
    k->key.budget = no_budget;
    k->key.weight = 1;
    for (size_t i = 0; i < RATES; i++)
        *rate_of(&k->key.limits, i) = KEY_LIMIT_DEFAULT;
}

/* --- changes on their way --- */

void key_change_pack(struct buf *out, const struct key_change *c) {
    size_t n = 3 * 8 + pack_str_size(c->id) + pack_str_size(c->audit) + c->value.n;
    char *to = buf_room(out, n);
    if (!to)
        return;
    to = pack_u64(to, c->number);
    to = pack_u64(to, c->from);
    to = pack_u64(to, (uint64_t)c->until_ms);
    to = pack_str(to, c->id);
    to = pack_str(to, c->audit);
    pack_bytes(to, c->value.p, c->value.n);
    buf_commit(out, n);
}

bool key_change_unpack(struct str packed, struct key_change *c) {
    struct unpack u = {.p = packed.p, .n = packed.n};
    c->number = unpack_u64(&u);
    c->from = unpack_u64(&u);
    c->until_ms = (int64_t)unpack_u64(&u);
    c->id = unpack_str(&u);
    c->audit = unpack_str(&u);
    c->value = str_make(u.p, u.n);
    return !u.bad && c->number != 0 && key_id_ok(c->id) && u.n <= KEY_BYTES;
}

/* --- tables --- */

static struct str number_key(char out[8], uint64_t number) {
    key_u64((unsigned char *)out, number);
    return str_make(out, 8);
}

enum key_outcome keys_outcome(struct db_txn *t, uint64_t number) {
    char key[8];
    struct str v;
    if (!db_get(t, TABLE_OUTCOMES, number_key(key, number), &v) || v.n != 9)
        return KEY_UNKNOWN;
    return (enum key_outcome)(unsigned char)v.p[8];
}

static enum key_outcome judge(struct db_txn *t, const struct key_change *c, int64_t wall_ms) {
    struct str v;
    bool there = db_get(t, TABLE_KEYS, c->id, &v) && v.n > VERSION_BYTES;
    struct unpack u = {.p = there ? v.p : NULL, .n = there ? v.n : 0};
    if (wall_ms > c->until_ms)
        return KEY_LATE;
    if (c->from == 0)
        return there ? KEY_TAKEN : db_entries(t, TABLE_KEYS) >= KEYS_MOST ? KEY_FULL : KEY_DONE;
    if (!there)
        return KEY_GONE;
    return unpack_u64(&u) == c->from ? KEY_DONE : KEY_CHANGED;
}

static void put(struct db_txn *t, const struct key_change *c) {
    char value[VERSION_BYTES + KEY_BYTES];
    pack_bytes(pack_u64(value, c->number), c->value.p, c->value.n);
    db_put(t, TABLE_KEYS, c->id, str_make(value, VERSION_BYTES + c->value.n));
}

/* --- stamps --- */

enum { DIGITS = 20, STAMP = 2 * DIGITS + 1, STAMP_BYTES = 16 };
#define GONE_MS ((int64_t)30 * 24 * 3600 * 1000)

struct stamp {
    uint64_t ms, version; /* of a key that was made before there were stamps: ms is 1 */
};

static bool stamp_of(struct db_txn *t, struct str id, struct stamp *s) {
    struct str v;
    *s = (struct stamp){0};
    if (db_get(t, TABLE_STAMPS, id, &v) && v.n == STAMP_BYTES) {
        struct unpack u = {.p = v.p, .n = v.n};
        s->ms = unpack_u64(&u);
        s->version = unpack_u64(&u);
        return true;
    }
    if (!db_get(t, TABLE_KEYS, id, &v) || v.n <= VERSION_BYTES)
        return false;
    struct unpack u = {.p = v.p, .n = v.n};
    *s = (struct stamp){1, unpack_u64(&u)};
    return true;
}

static void put_stamp(struct db_txn *t, struct str id, struct stamp s) {
    char v[STAMP_BYTES];
    pack_u64(pack_u64(v, s.ms), s.version);
    db_put(t, TABLE_STAMPS, id, str_make(v, sizeof v));
}

static void stamp_now(struct db_txn *t, struct str id, uint64_t version, int64_t wall_ms) {
    struct stamp was;
    stamp_of(t, id, &was);
    uint64_t now = wall_ms > 0 ? (uint64_t)wall_ms : 1;
    put_stamp(t, id, (struct stamp){now > was.ms ? now : was.ms + 1, version});
}

bool keys_line(struct db_txn *t, struct str id, struct buf *out) {
    struct stamp s;
    struct str v;
    if (!stamp_of(t, id, &s))
        return false;
    buf_printf(out, "%020" PRIu64 " %020" PRIu64 " ", s.ms, s.version);
    if (db_get(t, TABLE_KEYS, id, &v) && v.n > VERSION_BYTES)
        buf_add(out, v.p + VERSION_BYTES, v.n - VERSION_BYTES);
    return buf_ok(out);
}

struct lines {
    struct db_txn *t;
    bool (*fn)(void *arg, struct str id, struct str line);
    void *arg;
    bool unstamped; /* only those */
};

static bool each_line(void *arg, struct str key, struct str value) {
    struct lines *l = arg;
    struct str v;
    struct buf line;
    (void)value;
    if (l->unstamped && db_get(l->t, TABLE_STAMPS, key, &v))
        return true;
    buf_init(&line, 0);
    bool on = !keys_line(l->t, key, &line) || l->fn(l->arg, key, buf_str(&line));
    buf_free(&line);
    return on;
}

void keys_lines(struct db_txn *t, bool (*fn)(void *arg, struct str id, struct str line), void *arg) {
    struct lines l = {t, fn, arg, false};
    db_each(t, TABLE_STAMPS, STR_NONE, each_line, &l);
    l.unstamped = true;
    db_each(t, TABLE_KEYS, STR_NONE, each_line, &l);
}

static bool read_stamp(struct str line, struct stamp *s) {
    return line.n > STAMP && line.p[DIGITS] == ' ' && line.p[STAMP] == ' ' &&
           str_u64(str_make(line.p, DIGITS), &s->ms) &&
           str_u64(str_make(line.p + DIGITS + 1, DIGITS), &s->version) && s->ms > 0 && s->version > 0;
}

/* What cannot be read as a key is none of ours. */
static bool is_key(struct str id, struct str value) {
    struct stored_key k;
    struct str param;
    const char *why;
    enum json_kind kind;
    struct arena *a = arena_new(0);
    stored_key_init(&k);
    bool ok = value.n <= KEY_BYTES && json_scan(value, &kind, NULL, NULL, NULL) == 0 && kind == JSON_OBJECT &&
              stored_key_read(a, value, true, &k, &param, &why) && str_is(id, k.key.id);
    arena_free(a);
    return ok;
}

bool keys_long_gone(struct str line, int64_t wall_ms) {
    struct stamp s;
    return read_stamp(line, &s) && line.n == STAMP + 1 && wall_ms > GONE_MS &&
           s.ms < (uint64_t)(wall_ms - GONE_MS);
}

bool keys_merge(struct db_txn *t, struct str id, struct str line) {
    struct stamp is, new;
    if (!key_id_ok(id) || !read_stamp(line, &new))
        return false;
    bool known = stamp_of(t, id, &is);
    if (known ? new.ms < is.ms || (new.ms == is.ms &&new.version <= is.version)
              : keys_long_gone(line, clock_wall_ms()))
        return false; /* it is known here, or was and is forgotten */
    struct key_change c = {.number = new.version, .id = id, .value = str_skip(line, STAMP + 1)};
    struct str had;
    bool there = db_get(t, TABLE_KEYS, id, &had);
    if (c.value.n && (!is_key(id, c.value) || (!there && db_entries(t, TABLE_KEYS) >= KEYS_MOST)))
        return false;
    if (c.value.n)
        put(t, &c);
    else if (there)
        db_delete(t, TABLE_KEYS, id);
    put_stamp(t, id, new);
    return true;
}

enum key_outcome keys_make(struct db_txn *t, const struct key_change *c, int64_t wall_ms) {
    char key[8], note[9];
    enum key_outcome o = keys_outcome(t, c->number);
    if (o != KEY_UNKNOWN)
        return o;
    o = judge(t, c, wall_ms);
    if (o == KEY_DONE && c->value.n)
        put(t, c);
    else if (o == KEY_DONE)
        db_delete(t, TABLE_KEYS, c->id);
    if (o == KEY_DONE)
        stamp_now(t, c->id, c->number, wall_ms);
    pack_u8(pack_u64(note, (uint64_t)wall_ms), o);
    db_put(t, TABLE_OUTCOMES, number_key(key, c->number), str_make(note, sizeof note));
    return o;
}

static unsigned is_old(void *arg, struct str key, struct str value) {
    const int64_t *before = arg;
    struct unpack u = {.p = value.p, .n = value.n};
    (void)key;
    return (int64_t)unpack_u64(&u) < *before ? DB_DELETE : DB_KEEP;
}

struct gone {
    struct db_txn *t;
    int64_t before;
};

static unsigned is_long_gone(void *arg, struct str key, struct str value) {
    struct gone *g = arg;
    struct unpack u = {.p = value.p, .n = value.n};
    struct str v;
    return (int64_t)unpack_u64(&u) < g->before && !db_get(g->t, TABLE_KEYS, key, &v) ? DB_DELETE : DB_KEEP;
}

void keys_forget(struct db_txn *t, int64_t before_wall_ms) {
    struct gone g = {t, before_wall_ms - GONE_MS};
    db_each_delete(t, TABLE_OUTCOMES, STR_NONE, is_old, &before_wall_ms);
    db_each_delete(t, TABLE_STAMPS, STR_NONE, is_long_gone, &g);
}

struct each {
    bool (*fn)(void *arg, struct str id, uint64_t version, struct str value);
    void *arg;
};

static bool each_key(void *arg, struct str key, struct str value) {
    struct each *e = arg;
    struct unpack u = {.p = value.p, .n = value.n};
    uint64_t version = unpack_u64(&u);
    return u.bad || e->fn(e->arg, key, version, str_make(u.p, u.n));
}

void keys_each(struct db_txn *t, bool (*fn)(void *arg, struct str id, uint64_t version, struct str value),
               void *arg) {
    struct each e = {fn, arg};
    db_each(t, TABLE_KEYS, STR_NONE, each_key, &e);
}
