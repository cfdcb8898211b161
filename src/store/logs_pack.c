/* Records of the log as bytes, and as JSON. What is read back may be of another version: nothing in it is
 * believed unchecked. */
#include "base/clock.h"
#include "pack.h"
#include "store/logs.h"

enum { VERSION = 1, TALK = 1, EVENT = 2, LEFT_OUT = 1, SPENT = 2, FIELDS = 6 };

static const char *const names[LOGS_TYPES] = {"request", "response", "error", "audit",
                                              "alert",   "breaker",  "reload"};

const char *logs_type_name(enum logs_type t) {
    return names[(unsigned)t < LOGS_TYPES ? t : LOGS_ERROR];
}

bool logs_type_by_name(struct str name, enum logs_type *out) {
    for (unsigned i = 0; i < LOGS_TYPES; i++)
        if (str_is(name, names[i])) {
            *out = (enum logs_type)i;
            return true;
        }
    return false;
}

/* --- texts longer than names --- */

static char *pack_long(char *to, struct str s) {
    return pack_bytes(pack_u32(to, (uint32_t)s.n), s.p, s.n);
}

static struct str unpack_long(struct unpack *u) {
    size_t n = unpack_u32(u);
    const char *p = unpack_bytes(u, n);
    return u->bad ? STR_NONE : str_make(p, n);
}

/* --- an exchange --- */

void logs_pack_talk(struct buf *out, const struct logs_talk *t) {
    struct str prompt = pack_cut(t->prompt, LOGS_TEXT_MAX), answer = pack_cut(t->answer, LOGS_TEXT_MAX);
    char *to = buf_room(out, 3 + 3 * 4 + t->row.n + prompt.n + answer.n), *from = to;
    if (!to)
        return;
    to = pack_u8(to, VERSION);
    to = pack_u8(to, TALK);
    to = pack_u8(to, (t->left_out ? LEFT_OUT : 0) | (t->spent ? SPENT : 0));
    to = pack_long(to, t->row);
    to = pack_long(to, prompt);
    to = pack_long(to, answer);
    buf_commit(out, (size_t)(to - from));
}

bool logs_unpack_talk(struct str packed, struct logs_talk *t) {
    struct unpack u = {.p = packed.p, .n = packed.n};
    if (unpack_u8(&u) != VERSION || unpack_u8(&u) != TALK)
        return false;
    unsigned flags = unpack_u8(&u);
    t->left_out = flags & LEFT_OUT;
    t->spent = flags & SPENT;
    t->row = unpack_long(&u);
    t->prompt = unpack_long(&u);
    t->answer = unpack_long(&u);
    return !u.bad && u.n == 0;
}

/* --- an event --- */

static void fields_of(struct log_fields *f, struct str *s[FIELDS]) {
    s[0] = &f->request_id;
    s[1] = &f->key;
    s[2] = &f->tenant;
    s[3] = &f->provider;
    s[4] = &f->model;
    s[5] = &f->peer;
}

void logs_pack_event(struct buf *out, const struct logs_event *e) {
    struct log_fields f = e->fields;
    struct str *s[FIELDS], message = pack_cut(e->message, LOGS_MESSAGE_MAX);
    size_t n = 4 + 8 + 4 + 4 + message.n;
    fields_of(&f, s);
    for (unsigned i = 0; i < FIELDS; i++)
        n += pack_str_size(*s[i]);
    char *to = buf_room(out, n), *from = to;
    if (!to)
        return;
    to = pack_u8(to, VERSION);
    to = pack_u8(to, EVENT);
    to = pack_u8(to, e->type);
    to = pack_u8(to, e->level);
    to = pack_u64(to, (uint64_t)e->wall_ms);
    to = pack_u32(to, (uint32_t)f.status);
    for (unsigned i = 0; i < FIELDS; i++)
        to = pack_str(to, *s[i]);
    to = pack_long(to, message);
    buf_commit(out, (size_t)(to - from));
}

bool logs_unpack_event(struct str packed, struct logs_event *e) {
    struct unpack u = {.p = packed.p, .n = packed.n};
    struct str *s[FIELDS];
    *e = (struct logs_event){.wall_ms = 0};
    if (unpack_u8(&u) != VERSION || unpack_u8(&u) != EVENT)
        return false;
    unsigned type = unpack_u8(&u), level = unpack_u8(&u);
    e->wall_ms = (int64_t)unpack_u64(&u);
    e->fields.status = (int)unpack_u32(&u);
    fields_of(&e->fields, s);
    for (unsigned i = 0; i < FIELDS && !u.bad; i++)
        *s[i] = unpack_str(&u);
    e->message = unpack_long(&u);
    e->type = (enum logs_type)type;
    e->level = (enum log_level)level;
    return !u.bad && u.n == 0 && type < LOGS_TYPES && level <= LVL_DEBUG;
}
