/* A row of the ledger as bytes, and as a line of the access log. The bytes go through the ring and lie in
 * LMDB as they are, so what is read back may be torn or of another version: nothing in it is believed
 * unchecked. */
#include "base/clock.h"
#include "base/hash.h"
#include "base/json.h"
#include "llm/usage.h"
#include "pack.h"
#include "store/ledger.h"

enum { VERSION = 2, OLD_VERSION = 1 /* all but the account */ };
enum { IS_STREAM = 1, IS_COMPLETE = 2, IS_THEIRS = 4, USAGE_KNOWN = 1, USAGE_ESTIMATED = 2 };
/* version, flags, cache, attempts; status, ms, first_byte_ms; wall_ms, cost, two sizes, two parameters; usage
 */
enum { FIXED = 4 + 3 * 4 + 6 * 8 + PACK_USAGE_SIZE, ATTEMPT_FIXED = 2 * 4, STRINGS = 9 };
/* The account, behind all that: what it has, and of that state and why; price; billed numbers; of each
 * attempt state and two counts. */
enum {
    HAS_STATE = 1,
    HAS_PRICE = 2,
    HAS_BILLED = 4,
    HAS_ATTEMPTS = 8,
    HAS_MODEL = 16,
    HAS_SAME = 32,
    HAS_ALL = 63,
    ATTEMPT_ACCOUNT = 1 + 2 * 4
};

void ledger_price_name(char out[2 * LEDGER_PRICE_BYTES + 1], uint64_t version) {
    unsigned char bytes[LEDGER_PRICE_BYTES];
    key_u64(bytes, version);
    hex_encode(out, bytes, sizeof bytes);
}

void ledger_pack_price(struct buf *out, uint64_t version, struct str text) {
    char head[8];
    pack_u64(head, version);
    buf_add(out, head, sizeof head);
    buf_adds(out, text);
}

bool ledger_unpack_price(struct str packed, uint64_t *version, struct str *text) {
    struct unpack u = {.p = packed.p, .n = packed.n};
    *version = unpack_u64(&u);
    *text = str_make(u.p, u.n);
    return !u.bad && *version != 0 && u.n > 0 && u.n <= LEDGER_PRICE_TEXT;
}

/* --- usage --- */

char *pack_usage(char *to, const struct usage *u) {
    to = pack_u8(to, (u->known ? USAGE_KNOWN : 0) | (u->estimated ? USAGE_ESTIMATED : 0));
    const uint64_t v[] = {u->input,  u->cache_read, u->cache_write, u->cache_write_1h,
                          u->output, u->reasoning,  u->audio_in,    u->audio_out};
    for (size_t i = 0; i < sizeof v / sizeof *v; i++)
        to = pack_u64(to, v[i]);
    return pack_u64(to, (uint64_t)u->cost_nano);
}

void unpack_usage(struct unpack *from, struct usage *u) {
    unsigned flags = unpack_u8(from);
    if (flags & ~(unsigned)(USAGE_KNOWN | USAGE_ESTIMATED))
        from->bad = true;
    *u = (struct usage){.known = flags & USAGE_KNOWN, .estimated = flags & USAGE_ESTIMATED};
    uint64_t *const v[] = {&u->input,  &u->cache_read, &u->cache_write, &u->cache_write_1h,
                           &u->output, &u->reasoning,  &u->audio_in,    &u->audio_out};
    for (size_t i = 0; i < sizeof v / sizeof *v; i++)
        *v[i] = unpack_u64(from);
    u->cost_nano = (int64_t)unpack_u64(from);
}

/* --- rows --- */

/* The strings of a row, in their order. */
static void row_strings(struct ledger_row *r, struct str *s[STRINGS]) {
    s[0] = &r->request_id;
    s[1] = &r->key;
    s[2] = &r->tenant;
    s[3] = &r->surface;
    s[4] = &r->model_asked;
    s[5] = &r->provider;
    s[6] = &r->model;
    s[7] = &r->fault;
    s[8] = &r->peer;
}

static unsigned account_has(const struct ledger_row *r, unsigned attempts) {
    unsigned has = (r->state != LEDGER_EXACT ? HAS_STATE : 0) | (r->price ? HAS_PRICE : 0) |
                   (r->usage.billed ? HAS_BILLED : 0);
    for (unsigned i = 0; i < attempts; i++)
        if (r->attempt[i].state != LEDGER_EXACT)
            has |= HAS_ATTEMPTS;
    if (r->configured.n)
        has |= str_eq(pack_cut(r->configured, PACK_STRING_MAX), pack_cut(r->model_asked, PACK_STRING_MAX))
                   ? HAS_SAME
                   : HAS_MODEL;
    return has;
}

static size_t account_size(const struct ledger_row *r, unsigned attempts) {
    unsigned has = account_has(r, attempts);
    return 1 + (has & HAS_STATE ? 1 + pack_str_size(r->why) : 0) + (has & HAS_PRICE ? 8 : 0) +
           (has & HAS_BILLED ? 2 * 8 : 0) + (has & HAS_ATTEMPTS ? attempts * ATTEMPT_ACCOUNT : 0) +
           (has & HAS_MODEL ? pack_str_size(r->configured) : 0);
}

static size_t packed_size(const struct ledger_row *r, struct str *const s[STRINGS], unsigned attempts) {
    size_t n = FIXED + account_size(r, attempts);
    for (unsigned i = 0; i < STRINGS; i++)
        n += pack_str_size(*s[i]);
    for (unsigned i = 0; i < attempts; i++) {
        const struct ledger_attempt *a = &r->attempt[i];
        n += ATTEMPT_FIXED + pack_str_size(a->provider) + pack_str_size(a->model) + pack_str_size(a->key) +
             pack_str_size(a->reason);
    }
    return n;
}

static char *pack_attempt(char *to, const struct ledger_attempt *a) {
    to = pack_u32(to, (uint32_t)a->status);
    to = pack_u32(to, a->ms);
    to = pack_str(to, a->provider);
    to = pack_str(to, a->model);
    to = pack_str(to, a->key);
    return pack_str(to, a->reason);
}

static char *pack_account(char *to, const struct ledger_row *r, unsigned attempts) {
    unsigned has = account_has(r, attempts);
    to = pack_u8(to, has);
    if (has & HAS_STATE)
        to = pack_str(pack_u8(to, r->state), r->why);
    if (has & HAS_PRICE)
        to = pack_u64(to, r->price);
    if (has & HAS_BILLED)
        to = pack_u64(pack_u64(to, r->usage.billed_input), r->usage.billed_output);
    for (unsigned i = 0; (has & HAS_ATTEMPTS) && i < attempts; i++) {
        to = pack_u8(to, r->attempt[i].state);
        to = pack_u32(to, r->attempt[i].input);
        to = pack_u32(to, r->attempt[i].output);
    }
    return has & HAS_MODEL ? pack_str(to, r->configured) : to;
}

void ledger_pack(struct buf *out, const struct ledger_row *r) {
    struct str *s[STRINGS];
    row_strings((struct ledger_row *)r, s);
    unsigned attempts = r->attempts < LEDGER_MAX_ATTEMPTS ? r->attempts : LEDGER_MAX_ATTEMPTS;
    size_t n = packed_size(r, s, attempts);
    char *to = buf_room(out, n);
    if (!to)
        return;
    to = pack_u8(to, VERSION);
    to = pack_u8(to,
                 (r->stream ? IS_STREAM : 0) | (r->complete ? IS_COMPLETE : 0) | (r->theirs ? IS_THEIRS : 0));
    to = pack_u8(to, r->cache);
    to = pack_u8(to, attempts);
    to = pack_u32(to, (uint32_t)r->status);
    to = pack_u32(to, r->ms);
    to = pack_u32(to, r->first_byte_ms);
    to = pack_u64(to, (uint64_t)r->wall_ms);
    to = pack_u64(to, (uint64_t)r->cost_nano);
    to = pack_u64(to, r->bytes_in);
    to = pack_u64(to, r->bytes_out);
    to = pack_u64(to, r->estimated_tokens);
    to = pack_u64(to, r->max_tokens);
    to = pack_usage(to, &r->usage);
    for (unsigned i = 0; i < STRINGS; i++)
        to = pack_str(to, *s[i]);
    for (unsigned i = 0; i < attempts; i++)
        to = pack_attempt(to, &r->attempt[i]);
    pack_account(to, r, attempts);
    buf_commit(out, n);
}

static void unpack_attempt(struct unpack *u, struct ledger_attempt *a) {
    *a = (struct ledger_attempt){.status = 0};
    a->status = (int)unpack_u32(u);
    a->ms = unpack_u32(u);
    a->provider = unpack_str(u);
    a->model = unpack_str(u);
    a->key = unpack_str(u);
    a->reason = unpack_str(u);
}

static enum ledger_state unpack_state(struct unpack *u) {
    unsigned state = unpack_u8(u);
    if (state > LEDGER_UNKNOWN)
        u->bad = true;
    return (enum ledger_state)state;
}

static void unpack_account(struct unpack *u, struct ledger_row *r) {
    unsigned has = unpack_u8(u);
    if (has & ~(unsigned)HAS_ALL)
        u->bad = true;
    if (has & HAS_STATE) {
        r->state = unpack_state(u);
        r->why = unpack_str(u);
    }
    if (has & HAS_PRICE)
        r->price = unpack_u64(u);
    if (has & HAS_BILLED) {
        r->usage.billed = true;
        r->usage.billed_input = unpack_u64(u);
        r->usage.billed_output = unpack_u64(u);
    }
    for (unsigned i = 0; (has & HAS_ATTEMPTS) && i < r->attempts && !u->bad; i++) {
        r->attempt[i].state = unpack_state(u);
        r->attempt[i].input = unpack_u32(u);
        r->attempt[i].output = unpack_u32(u);
    }
    if (has & HAS_MODEL)
        r->configured = unpack_str(u);
    else if (has & HAS_SAME)
        r->configured = r->model_asked;
}

/* What an older version did not tell. */
static void assume_account(struct ledger_row *r) {
    if (r->usage.estimated)
        r->state = LEDGER_ESTIMATED;
}

static unsigned unpack_fixed(struct unpack *u, struct ledger_row *r) {
    unsigned version = unpack_u8(u), flags = unpack_u8(u), cache = unpack_u8(u);
    r->attempts = unpack_u8(u);
    if ((version != VERSION && version != OLD_VERSION) ||
        flags & ~(unsigned)(IS_STREAM | IS_COMPLETE | IS_THEIRS) || cache > LEDGER_CACHE_SEMANTIC ||
        r->attempts > LEDGER_MAX_ATTEMPTS)
        u->bad = true;
    r->stream = flags & IS_STREAM;
    r->complete = flags & IS_COMPLETE;
    r->theirs = flags & IS_THEIRS;
    r->cache = (enum ledger_cache)cache;
    r->status = (int)unpack_u32(u);
    r->ms = unpack_u32(u);
    r->first_byte_ms = unpack_u32(u);
    r->wall_ms = (int64_t)unpack_u64(u);
    r->cost_nano = (int64_t)unpack_u64(u);
    r->bytes_in = unpack_u64(u);
    r->bytes_out = unpack_u64(u);
    r->estimated_tokens = unpack_u64(u);
    r->max_tokens = unpack_u64(u);
    unpack_usage(u, &r->usage);
    return version;
}

bool ledger_unpack(struct arena *a, struct str packed, struct ledger_row *r) {
    (void)a; /* everything is a slice today */
    struct unpack u = {.p = packed.p, .n = packed.n};
    memset(r, 0, offsetof(struct ledger_row, attempt));
    r->attempts = 0;
    unsigned version = unpack_fixed(&u, r);
    struct str *s[STRINGS];
    row_strings(r, s);
    for (unsigned i = 0; i < STRINGS && !u.bad; i++)
        *s[i] = unpack_str(&u);
    for (unsigned i = 0; i < r->attempts && !u.bad; i++)
        unpack_attempt(&u, &r->attempt[i]);
    if (version == OLD_VERSION)
        assume_account(r);
    else
        unpack_account(&u, r);
    return !u.bad && u.n == 0;
}

bool ledger_peek(struct str packed, int64_t *wall_ms, struct str *request_id) {
    struct unpack u = {.p = packed.p, .n = packed.n};
    struct ledger_row r;
    struct str *s[STRINGS];
    unpack_fixed(&u, &r);
    row_strings(&r, s);
    for (unsigned i = 0; i < STRINGS && !u.bad; i++) {
        *s[i] = unpack_str(&u);
        if (s[i] == &r.request_id)
            break;
    }
    *wall_ms = r.wall_ms;
    *request_id = r.request_id;
    return !u.bad;
}

enum error_type ledger_error(const struct ledger_row *r) {
    enum fault_class c;
    if (r->fault.n && fault_by_name(r->fault, &c))
        return fault_type(c, r->theirs);
    return ERROR_NONE;
}

/* --- the access log --- */

const char *ledger_state_name(enum ledger_state s) {
    static const char *const names[] = {"exact", "estimated", "unknown"};
    return (unsigned)s < sizeof names / sizeof *names ? names[s] : "unknown";
}

static const char *cache_name(enum ledger_cache c) {
    static const char *const names[] = {"off", "miss", "hit", "bypass", "semantic"};
    return (unsigned)c < sizeof names / sizeof *names ? names[c] : "off";
}

static void log_attempts(struct jw *w, const struct ledger_row *r) {
    jw_key(w, "attempts");
    jw_arr(w);
    for (unsigned i = 0; i < r->attempts && i < LEDGER_MAX_ATTEMPTS; i++) {
        const struct ledger_attempt *a = &r->attempt[i];
        jw_obj(w);
        jw_kstr(w, "provider", a->provider);
        jw_kstr(w, "model", a->model);
        jw_kstr(w, "key", a->key);
        jw_kint(w, "status", a->status);
        jw_kstr(w, "reason", a->reason);
        jw_ku64(w, "ms", a->ms);
        if (a->state != LEDGER_EXACT) {
            jw_kz(w, "usage", ledger_state_name(a->state));
            jw_ku64(w, "input_tokens", a->input);
            jw_ku64(w, "output_tokens", a->output);
        }
        jw_obj_end(w);
    }
    jw_arr_end(w);
}

static const char *event_name(const struct ledger_row *r) {
    return ledger_failed(r) ? "error" : "response";
}

static void log_who(struct jw *w, const struct ledger_row *r) {
    char when[CLOCK_RFC3339_SIZE];
    clock_rfc3339(when, r->wall_ms);
    jw_kz(w, "time", when);
    jw_kz(w, "level", "info");
    jw_kz(w, "event", event_name(r));
    jw_kstr(w, "request_id", r->request_id);
    jw_kstr(w, "key", r->key);
    jw_kstr(w, "tenant", r->tenant);
    jw_kstr(w, "surface", r->surface);
    jw_kstr(w, "model", r->model_asked);
    jw_kstr(w, "provider", r->provider);
    jw_kstr(w, "provider_model", r->model);
    jw_kint(w, "status", r->status);
    if (r->fault.n) {
        jw_kstr(w, "fault", r->fault);
        jw_kz(w, "type", error_type_name(ledger_error(r)));
    }
    jw_kbool(w, "stream", r->stream);
    jw_kbool(w, "complete", r->complete);
}

static void log_price(struct jw *w, uint64_t version) {
    char hex[2 * LEDGER_PRICE_BYTES + 1];
    ledger_price_name(hex, version);
    jw_kz(w, "price_version", hex);
}

static void log_some(struct jw *w, const char *name, uint64_t n) {
    if (n)
        jw_ku64(w, name, n);
}

static void log_what(struct jw *w, const struct ledger_row *r) {
    jw_ku64(w, "latency_ms", r->ms);
    jw_ku64(w, "first_byte_ms", r->first_byte_ms);
    jw_ku64(w, "input_tokens", r->usage.input);
    jw_ku64(w, "cached_tokens", r->usage.cache_read);
    jw_ku64(w, "output_tokens", r->usage.output);
    jw_ku64(w, "reasoning_tokens", r->usage.reasoning);
    log_some(w, "cache_write_tokens", r->usage.cache_write);
    log_some(w, "cache_write_1h_tokens", r->usage.cache_write_1h);
    log_some(w, "audio_input_tokens", r->usage.audio_in);
    log_some(w, "audio_output_tokens", r->usage.audio_out);
    if (r->usage.estimated)
        jw_kbool(w, "tokens_estimated", true);
    jw_kz(w, "usage", ledger_state_name(r->state));
    if (r->why.n)
        jw_kstr(w, "usage_reason", r->why);
    jw_key(w, "cost_usd");
    if (r->cost_nano < 0)
        jw_null(w);
    else
        jw_nano(w, r->cost_nano);
    if (r->price)
        log_price(w, r->price);
    jw_kz(w, "cache", cache_name(r->cache));
    jw_ku64(w, "bytes_in", r->bytes_in);
    jw_ku64(w, "bytes_out", r->bytes_out);
    jw_kstr(w, "peer", r->peer);
    jw_ku64(w, "estimated_tokens", r->estimated_tokens);
    jw_ku64(w, "max_tokens", r->max_tokens);
}

void ledger_log_members(struct jw *w, const struct ledger_row *r) {
    log_who(w, r);
    log_attempts(w, r);
    log_what(w, r);
}

void ledger_log_line(struct buf *out, const struct ledger_row *r) {
    struct jw w;
    jw_init(&w, out);
    jw_obj(&w);
    ledger_log_members(&w, r);
    jw_obj_end(&w);
}

/* The same for people: of the line's members those that say something, as name=value. */
static bool text_member(void *arg, struct str key, struct json_value v) {
    struct buf *out = arg;
    struct str text = v.raw;
    if (v.kind == JSON_STRING)
        text = str_make(text.p + 1, text.n - 2);
    if (text.n == 0 || str_is(key, "time") || str_is(key, "level") || str_is(key, "event"))
        return true;
    bool plain = v.kind != JSON_STRING || !(memchr(text.p, ' ', text.n) || memchr(text.p, '\\', text.n));
    buf_printf(out, " " STR_FMT "=" STR_FMT, STR_ARG(key), STR_ARG(plain ? text : v.raw));
    return true;
}

void ledger_log_text(struct buf *out, const struct ledger_row *r, const char *writer) {
    char when[CLOCK_RFC3339_SIZE];
    struct buf json;
    buf_init(&json, out->max);
    ledger_log_line(&json, r);
    clock_rfc3339(when, r->wall_ms);
    buf_printf(out, "%s info  %s %s:", when, writer, event_name(r));
    if (buf_ok(&json))
        json_each(buf_str(&json), text_member, out);
    buf_free(&json);
}
