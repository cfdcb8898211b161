/* Arrays of numbers into vectors: counted first, so that each takes the room it needs and no more. */
#include "vectors.h"

#include "base/json.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

struct reading {
    struct arena *a;
    float *v;
    size_t n, max;
    struct embed_reply *r;
    bool bad;
};

static bool count(void *arg, struct str key, struct json_value v) {
    (void)key, (void)v;
    ++*(size_t *)arg;
    return true;
}

static bool number(void *arg, struct str key, struct json_value v) {
    struct reading *s = arg;
    double d;
    (void)key;
    if (!json_double(v, &d) || s->n == s->max)
        return !(s->bad = true);
    s->v[s->n++] = (float)d;
    return true;
}

bool vector_read(struct arena *a, struct json_value v, struct embedding *out) {
    struct reading s = {.a = a};
    if (v.kind != JSON_ARRAY)
        return false;
    json_each(v.raw, count, &s.max);
    if (s.max > VECTOR_MAX)
        return false;
    s.v = arena_array(a, s.max + 1, sizeof *s.v);
    json_each(v.raw, number, &s);
    *out = (struct embedding){s.v, s.n};
    return !s.bad;
}

static bool vector(void *arg, struct str key, struct json_value v) {
    struct reading *s = arg;
    (void)key;
    if (!vector_read(s->a, v, &s->r->list[s->r->n]))
        return !(s->bad = true);
    s->r->n++;
    return true;
}

bool vectors_read(struct arena *a, struct json_value v, struct embed_reply *r) {
    struct reading s = {.a = a, .r = r};
    if (v.kind != JSON_ARRAY)
        return false;
    json_each(v.raw, count, &s.max);
    r->list = arena_array(a, s.max + 1, sizeof *r->list);
    r->n = 0;
    json_each(v.raw, vector, &s);
    return !s.bad;
}

void vector_write(struct jw *w, float v) {
    char text[32];
    if (!isfinite(v)) {
        jw_null(w);
        return;
    }
    for (int digits = 6; digits <= 9; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, (double)v);
        if (strtof(text, NULL) == v)
            break;
    }
    jw_raw(w, str_of(text));
}
