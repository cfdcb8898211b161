#include "count.h"

static bool count_of(struct arena *a, struct str body, const struct count_shape *shape, struct usage *u,
                     struct fault *f) {
    enum json_kind kind = JSON_NULL;
    struct json_error err;
    struct json_value v;
    *u = USAGE_NONE;
    *f = (struct fault){.cls = FAULT_NONE, .retry_after_ms = -1};
    bool object = json_scan(body, &kind, NULL, NULL, &err) == 0 && kind == JSON_OBJECT;
    if (object && shape->error && shape->error(a, body, f))
        return false;
    u->known = object && json_member(body, shape->member, &v) && usage_count(v, &u->input);
    if (u->known)
        return true;
    fault_set(f, a, FAULT_SERVER, "the provider's answer has no count of tokens");
    f->from_provider = true;
    return false;
}

struct reply *count_reply(struct arena *a, struct str body, const struct count_shape *shape,
                          struct fault *f) {
    struct usage u;
    if (!count_of(a, body, shape, &u, f))
        return NULL;
    struct reply *r = arena_alloc(a, sizeof *r);
    r->message = chat_message(chat_new(a), ROLE_ASSISTANT);
    r->usage = u;
    r->stop = STOP_END;
    return r;
}

bool count_tap(struct arena *a, struct str body, const struct count_shape *shape, struct observed *o,
               struct fault *f) {
    if (!count_of(a, body, shape, &o->usage, f)) {
        o->fault = *f;
        return false;
    }
    o->stop = STOP_END;
    o->output = o->ended = true;
    return true;
}
