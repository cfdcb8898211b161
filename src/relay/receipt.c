/* What has come of a request, for the clients whose dialect tells it with the answer. */
#include "base/clock.h"
#include "policy/price.h"
#include "request.h"

/* Who answered, or would have. */
static const struct target *answerer(const struct request *r) {
    return r->now.target ? r->now.target : r->dry ? r->dry : r->plan.n ? r->plan.list[0] : NULL;
}

/* Of a dry run: what is expected. */
static void split_cost(const struct request *r, const struct target *t, struct receipt *o) {
    int64_t whole = r->dry ? o->expected_nano : o->cost_nano;
    if (r->dry)
        o->usage = (struct usage){.known = true,
                                  .estimated = true,
                                  .input = o->expected_input,
                                  .output = o->expected_output,
                                  .cost_nano = -1};
    if (whole == 0)
        o->input_nano = o->output_nano = 0;
    else
        price_parts(r->p->prices, str_of(t->provider->conf->kind->price_vendor), t->model,
                    t->conf ? &t->conf->prices : NULL, &o->usage, whole, &o->input_nano, &o->output_nano);
}

static void expect(struct request *r, const struct target *t, struct receipt *o) {
    r->plan.input_bytes = r->ask.input_bytes; /* an answer from the cache has not been routed */
    r->plan.output_tokens = admit_expected(r->p, &r->ask, r->plan.model_entity);
    o->expected_output = r->plan.output_tokens;
    o->expected_input = route_input_tokens(r->p, &r->plan, t);
    o->expected_nano = route_cost(r->p, &r->plan, t);
}

void receipt_tell(struct request *r) {
    const struct client_face *face = r->client->client;
    const struct target *t = answerer(r);
    struct str written = r->ask.stream && !from_cache(r) ? buf_str(&r->held_bytes) : r->reply;
    if (!face->write_receipt || fault_is(&r->fault) || r->gone || !t)
        return;
    struct receipt o = {
        .request_id = r->request_id,
        .provider = from_cache(r) ? r->row.provider : str_of(t->provider->conf->name),
        .model = from_cache(r) ? r->row.model : t->model,
        .usage = r->usage,
        .cost_nano = r->cost_nano,
        .tenant = str_of(r->caller.key->tenant),
        .cache = answer_cache_word(r),
        .ms = (clock_ns() - r->x->started_ns) / 1000000,
        .attempts = r->row.attempts,
        .cached = from_cache(r),
        .fallback = !from_cache(r) && t != r->plan.list[0],
    };
    expect(r, t, &o);
    split_cost(r, t, &o);
    face->write_receipt(&r->told, written, &r->ask, &o);
}
