/* Exact is what the provider has counted, and what cannot have cost anything. Estimated is what we have
 * counted. Unknown is what the provider may charge for although it told nobody: of a request that it took and
 * did not answer, of an answer that nobody waited for. */
#include "bill.h"
#include "base/clock.h"
#include "base/json.h"
#include "policy/price.h"
#include "request.h"
#include "store/record.h"

/* --- attempts --- */

/* Things that are kept or counted cost no tokens. */
static bool uses_tokens(const struct request *r) {
    const struct dialect *d = r->client;
    return d->op != OP_COUNT &&
           (!r->pass || d == &dialect_images || d == &dialect_audio || d == &dialect_rerank);
}

static uint32_t count_of(uint64_t n) {
    return n > UINT32_MAX ? UINT32_MAX : (uint32_t)n;
}

/* Not one that was refused, or whose connection never came about. */
static bool may_have_used(const struct request *r, const struct fault *f) {
    return uses_tokens(r) && r->now.status < 400 && !r->now.unsent && f->cls != FAULT_INTERNAL;
}

void bill_attempt(const struct request *r, const struct fault *f, struct ledger_attempt *a) {
    if (!f || !may_have_used(r, f))
        return;
    a->state = LEDGER_UNKNOWN;
    const struct observed *seen = r->now.pipe ? pipe_seen(r->now.pipe) : NULL;
    if (!seen || !seen->usage.known)
        return;
    a->state = LEDGER_ESTIMATED; /* as far as it had come */
    a->input = count_of(seen->usage.input);
    a->output = count_of(seen->usage.output);
}

/* --- the request --- */

static void say(struct ledger_row *row, enum ledger_state state, const char *why) {
    row->state = state;
    row->why = str_of(why);
}

static const char *why_not(const struct request *r, const char *otherwise) {
    return r->gone ? "cancelled" : fault_is(&r->fault) ? "interrupted" : otherwise;
}

void bill_judge(const struct request *r, struct ledger_row *row) {
    const struct usage *u = &r->usage;
    const struct ledger_attempt *last = r->row.attempts ? &r->row.attempt[r->row.attempts - 1] : NULL;
    bool partial = last && last->state != LEDGER_EXACT;
    if (from_cache(r) || !last)
        return;
    if (u->known && u->estimated)
        say(row, LEDGER_ESTIMATED, why_not(r, "not_told"));
    else if (u->known && !r->untold)
        say(row, partial && !r->ended && (u->input || u->output) ? LEDGER_ESTIMATED : LEDGER_EXACT, "");
    else if (r->untold && uses_tokens(r))
        say(row, LEDGER_UNKNOWN, "not_told");
    else if (partial)
        say(row, LEDGER_UNKNOWN, r->gone ? "cancelled" : r->now.status ? "interrupted" : "no_answer");
    if (row->state != LEDGER_EXACT && row->why.n == 0)
        row->why = str_of(why_not(r, "not_told"));
}

/* --- prices --- */

/* Where a version is, or is to be: one of the places behind its own, the first that is free; where none is,
 * its own. Told again each hour: the ledger may be another one by now. */
static uint64_t *place_of(struct gateway *g, uint64_t version) {
    enum { HOUR_MS = 3600000, TRIES = 8 };
    uint64_t hour = clock_ms() / HOUR_MS + 1;
    if (g->prices_hour != hour)
        memset(g->prices_told, 0, sizeof g->prices_told);
    g->prices_hour = hour;
    for (unsigned i = 0; i < TRIES; i++) {
        uint64_t *at = &g->prices_told[(version + i) % PRICES_TOLD];
        if (*at == version || *at == 0)
            return at;
    }
    return &g->prices_told[version % PRICES_TOLD];
}

uint64_t bill_price(struct gateway *g, const struct price *p) {
    uint64_t version = price_version(p), *told = version ? place_of(g, version) : NULL;
    if (!told || *told == version)
        return version;
    struct buf text, packed;
    struct jw w;
    buf_init(&text, LEDGER_PRICE_TEXT);
    buf_init(&packed, 2 * LEDGER_PRICE_TEXT);
    jw_init(&w, &text);
    price_write(&w, p);
    ledger_pack_price(&packed, version, buf_str(&text));
    if (buf_ok(&text) && buf_ok(&packed) && outbox_put(g->outbox, RECORD_PRICE, buf_str(&packed)))
        *told = version;
    buf_free(&text);
    buf_free(&packed);
    return version;
}
