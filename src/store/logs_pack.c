/* Records of the log as bytes, and as JSON. What is read back may be of another version: nothing in it is
 * believed unchecked. */
#include "base/clock.h"
#include "logs_row.h"
#include "pack.h"

enum { VERSION = 1, TALK = 1, EVENT = 2, LEFT_OUT = 1, SPENT = 2, CUT = 4, FIELDS = 6 };

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
    struct str text[LOGS_TEXTS_N];
    unsigned flags = (t->left_out ? LEFT_OUT : 0) | (t->spent ? SPENT : 0);
    size_t n = 3 + 4 + t->row.n;
    for (unsigned i = 0; i < LOGS_TEXTS_N; i++) {
        text[i] = pack_cut(t->text[i], LOGS_TEXT_MAX);
        n += 4 + text[i].n;
        flags |= t->cut[i] ? CUT << i : 0;
    }
    char *to = buf_room(out, n);
    if (!to)
        return;
    to = pack_u8(to, VERSION);
    to = pack_u8(to, TALK);
    to = pack_u8(to, flags);
    to = pack_long(to, t->row);
    for (unsigned i = 0; i < LOGS_TEXTS_N; i++)
        to = pack_long(to, text[i]);
    buf_commit(out, n);
}

bool logs_unpack_talk(struct str packed, struct logs_talk *t) {
    struct unpack u = {.p = packed.p, .n = packed.n};
    if (unpack_u8(&u) != VERSION || unpack_u8(&u) != TALK)
        return false;
    unsigned flags = unpack_u8(&u);
    t->left_out = flags & LEFT_OUT;
    t->spent = flags & SPENT;
    t->row = unpack_long(&u);
    for (unsigned i = 0; i < LOGS_TEXTS_N; i++) {
        t->cut[i] = flags & (unsigned)(CUT << i);
        t->text[i] = unpack_long(&u);
    }
    return !u.bad && u.n == 0;
}

/* --- the log's line --- */

static const char *const text_names[LOGS_TEXTS_N] = {
#define X(name) #name,
    LOGS_TEXTS(X)
#undef X
};

const char *logs_text_name(unsigned text) {
    return text_names[text];
}

/* The beginning of a text that takes at most `*room` bytes as JSON; these are taken from it. */
static struct str cut_quoted(struct str s, size_t most, size_t *room) {
    size_t n = 0, used = 0;
    if (s.n <= most / 6) { /* whatever it is made of */
        *room -= 6 * s.n;
        return s;
    }
    for (; n < s.n; n++) {
        unsigned char c = (unsigned char)s.p[n];
        unsigned one = c < 0x20 || c == 0x7F ? 6 : c == '"' || c == '\\' ? 2 : 1;
        if (one > most - used)
            break;
        used += one;
    }
    *room -= used;
    return pack_cut(s, n);
}

/* What room there is goes to all in equal parts; what one does not need the next may have: errors are
 * short. */
static void fit(const struct logs_talk *t, size_t room, struct str out[LOGS_TEXTS_N]) {
    enum { AROUND = 32 }; /* a name and its punctuation */
    room = room > LOGS_TEXTS_N * AROUND ? room - LOGS_TEXTS_N * AROUND : 0;
    for (unsigned i = LOGS_TEXTS_N; i-- > 0;)
        out[i] = cut_quoted(t->text[i], room / (i + 1), &room);
}

void logs_line(struct buf *out, const struct ledger_row *r, const struct logs_talk *t, size_t most) {
    struct jw w;
    struct str text[LOGS_TEXTS_N];
    size_t from = buf_len(out);
    jw_init(&w, out);
    jw_obj(&w);
    ledger_log_members(&w, r);
    size_t used = buf_len(out) - from;
    fit(t, used < most ? most - used : 0, text);
    for (unsigned i = 0; i < LOGS_TEXTS_N; i++)
        if (text[i].n)
            jw_kstr(&w, text_names[i], text[i]);
    jw_obj_end(&w);
}

void logs_line_text(struct buf *out, const struct ledger_row *r, const struct logs_talk *t,
                    const char *writer, size_t most) {
    struct str text[LOGS_TEXTS_N];
    size_t from = buf_len(out);
    ledger_log_text(out, r, writer);
    size_t used = buf_len(out) - from;
    fit(t, used < most ? most - used : 0, text);
    for (unsigned i = 0; i < LOGS_TEXTS_N; i++)
        if (text[i].n) {
            buf_printf(out, " %s=", text_names[i]);
            json_quote(out, text[i]);
        }
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
