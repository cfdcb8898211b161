/* Gathers one turn for the vault. Bounded: a turn with more is not kept. */
#include "turn.h"

#include "base/buf.h"

enum { TURN_MAX = 1 << 20, PARTS_MAX = 1024 };

struct turn {
    struct arena *a;
    struct str origin;
    struct chat *chat; /* gives the builders; only its message is used */
    struct message *message;
    struct part *open;
    struct buf text; /* of the open part, when it is thinking */
    size_t kept, parts;
    bool full;
};

static void release(void *turn) {
    buf_free(&((struct turn *)turn)->text);
}

struct turn *turn_new(struct arena *a, const char *origin) {
    struct turn *t = arena_alloc(a, sizeof(*t));
    t->a = a;
    t->origin = str_of(origin);
    t->chat = chat_new(a);
    t->message = chat_message(t->chat, ROLE_ASSISTANT);
    buf_init(&t->text, TURN_MAX);
    arena_cleanup(a, release, t);
    return t;
}

static bool room(struct turn *t, size_t n) {
    if (t->full || n > TURN_MAX - t->kept)
        t->full = true;
    else
        t->kept += n;
    return !t->full;
}

static struct str origin_of(struct turn *t, struct str said) {
    return said.n ? arena_dup(t->a, said) : t->origin;
}

static void open_part(struct turn *t, const struct event_item *ev) {
    t->open = NULL;
    if (ev->part == PART_IMAGE) /* nothing that a provider wants back, and large */
        return;
    if (++t->parts > PARTS_MAX || !room(t, ev->id.n + ev->text.n))
        return;
    t->open = message_part(t->chat, t->message, ev->part);
    if (ev->part == PART_TOOL_CALL) {
        t->open->id = arena_dup(t->a, ev->id);
    } else if (ev->part == PART_THINKING) {
        t->open->origin = t->origin;
    } else if (ev->part == PART_THINKING_REDACTED) {
        t->open->data = arena_dup(t->a, ev->text);
        t->open->origin = origin_of(t, ev->name);
    }
}

static void close_part(struct turn *t) {
    if (t->open && buf_len(&t->text) > 0)
        t->open->text = arena_dup(t->a, buf_str(&t->text));
    t->open = NULL;
    buf_clear(&t->text);
}

void turn_event(void *turn, const struct event_item *ev) {
    struct turn *t = turn;
    if (t->full)
        return;
    switch (ev->kind) {
    case EV_PART_OPEN:
        open_part(t, ev);
        break;
    case EV_THINK:
        if (t->open && room(t, ev->text.n))
            buf_adds(&t->text, ev->text);
        break;
    case EV_SIGNATURE:
        if (t->open && room(t, ev->text.n)) {
            t->open->signature = arena_dup(t->a, ev->text);
            t->open->origin = origin_of(t, ev->name);
        }
        break;
    case EV_PART_CLOSE:
        close_part(t);
        break;
    default:
        break;
    }
    if (t->parts > PARTS_MAX)
        t->full = true;
}

const struct message *turn_message(struct turn *t) {
    return t->full ? NULL : t->message;
}
