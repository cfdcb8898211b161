/* Token counts and how two reports of one answer are put together. Streams report cumulatively and in pieces
 * (Anthropic: the input first, the output last), so a later zero or silence never takes a number back. */
#include "llm/usage.h"

#include <stddef.h>

static void take(uint64_t *into, uint64_t more) {
    if (more != 0)
        *into = more;
}

void usage_merge(struct usage *u, const struct usage *more) {
    if (!more->known && !more->estimated)
        return;
    if (more->known && !u->known) {
        /* Real numbers replace estimates whole: a mixture would be neither. */
        int64_t cost = u->cost_nano;
        *u = USAGE_NONE;
        u->cost_nano = cost;
    }
    take(&u->input, more->input);
    take(&u->cache_read, more->cache_read);
    take(&u->cache_write, more->cache_write);
    take(&u->cache_write_1h, more->cache_write_1h);
    take(&u->output, more->output);
    take(&u->reasoning, more->reasoning);
    take(&u->audio_in, more->audio_in);
    take(&u->audio_out, more->audio_out);
    if (more->billed) {
        u->billed = true;
        u->billed_input = more->billed_input;
        u->billed_output = more->billed_output;
    }
    if (more->cost_nano >= 0)
        u->cost_nano = more->cost_nano;
    u->known = u->known || more->known;
    u->estimated = !u->known && (u->estimated || more->estimated);
}

bool usage_count(struct json_value v, uint64_t *n) {
    uint64_t count;
    bool text = v.kind == JSON_STRING; /* as proto3 says 64 bits */
    bool number = text ? str_u64(str_make(v.raw.p + 1, v.raw.n - 2), &count) : json_u64(v, &count);
    if (!number || count > USAGE_COUNT_MAX)
        return false;
    *n = count;
    return true;
}

uint64_t usage_total(const struct usage *u) {
    uint64_t sum;
    return __builtin_add_overflow(u->input, u->output, &sum) ? UINT64_MAX : sum;
}

uint64_t usage_estimate(uint64_t text_bytes) {
    return text_bytes / 4 + (text_bytes % 4 != 0);
}
