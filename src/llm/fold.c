/* Events into a whole reply, and a reply into events. With these two a stream can be answered whole and a
 * whole answer (a cache hit) streamed, without a third set of translators. */
#include "llm/fold.h"

#include "base/buf.h"

struct fold {
    struct arena *a;
    struct chat *chat; /* gives the builders; only its message is used */
    struct reply *reply;
    struct part *open;
    struct buf text, logprobs, annotations; /* of the open part */
    size_t kept, max;
    struct fault fault;
    bool ended;
};

static void release(void *arg) {
    struct fold *f = arg;
    buf_free(&f->text);
    buf_free(&f->logprobs);
    buf_free(&f->annotations);
}

struct fold *fold_new(struct arena *a, size_t max_bytes) {
    struct fold *f = arena_alloc(a, sizeof *f);
    f->a = a;
    f->max = max_bytes;
    f->chat = chat_new(a);
    f->reply = arena_alloc(a, sizeof *f->reply);
    f->reply->message = chat_message(f->chat, ROLE_ASSISTANT);
    f->reply->usage = USAGE_NONE;
    buf_init(&f->text, max_bytes);
    buf_init(&f->logprobs, max_bytes);
    buf_init(&f->annotations, max_bytes);
    arena_cleanup(a, release, f);
    return f;
}

static bool room(struct fold *f, size_t n) {
    if (n > f->max - f->kept) {
        fault_set(&f->fault, f->a, FAULT_TOO_LARGE, "the answer is larger than %zu bytes", f->max);
        return false;
    }
    f->kept += n;
    return true;
}

static void open_part(struct fold *f, const struct event_item *ev) {
    if (!room(f, ev->id.n + ev->name.n + ev->text.n))
        return;
    struct part *p = message_part(f->chat, f->reply->message, ev->part);
    p->id = arena_dup(f->a, ev->id);
    p->name = arena_dup(f->a, ev->name);
    if (ev->part == PART_THINKING_REDACTED) {
        p->data = arena_dup(f->a, ev->text);
        p->origin = p->name;
        p->name = STR_NONE;
    } else if (ev->part == PART_IMAGE) {
        p->data = arena_dup(f->a, ev->text);
        p->media = p->name;
        p->name = STR_NONE;
    }
    f->open = p;
    buf_clear(&f->text);
}

/* A JSON array that comes in pieces: items of `more`, without its brackets if it is an array, behind those
 * that are there. */
static void join(struct buf *list, struct str more) {
    if (more.n && more.p[0] == '[')
        more = str_trim(str_make(more.p + 1, more.n - 2));
    if (more.n == 0)
        return;
    buf_addc(list, buf_len(list) ? ',' : '[');
    buf_adds(list, more);
}

static struct str joined(struct fold *f, struct buf *list) {
    if (buf_len(list) == 0)
        return STR_NONE;
    buf_addc(list, ']');
    struct str s = arena_dup(f->a, buf_str(list));
    buf_clear(list);
    return s;
}

static void close_part(struct fold *f) {
    if (!f->open)
        return;
    f->open->text = arena_dup(f->a, buf_str(&f->text));
    f->open->logprobs = joined(f, &f->logprobs);
    f->open->annotations = joined(f, &f->annotations);
    buf_clear(&f->text);
    f->open = NULL;
}

void fold_event(void *fold, const struct event_item *ev) {
    struct fold *f = fold;
    if (fault_is(&f->fault) || f->ended)
        return;
    switch (ev->kind) {
    case EV_START:
        f->reply->id = arena_dup(f->a, ev->id);
        f->reply->model = arena_dup(f->a, ev->model);
        f->reply->created = ev->created;
        break;
    case EV_PART_OPEN:
        open_part(f, ev);
        break;
    case EV_TEXT:
    case EV_ARGS:
    case EV_THINK:
        if (f->open && room(f, ev->text.n))
            buf_adds(&f->text, ev->text);
        break;
    case EV_SIGNATURE:
        if (f->open && room(f, ev->text.n)) {
            f->open->signature = arena_dup(f->a, ev->text);
            f->open->origin = arena_dup(f->a, ev->name);
        }
        break;
    case EV_LOGPROBS:
        if (f->open && room(f, ev->text.n))
            join(&f->logprobs, ev->text);
        break;
    case EV_ANNOTATION:
        if (f->open && room(f, ev->text.n))
            join(&f->annotations, ev->text);
        break;
    case EV_PART_CLOSE:
        close_part(f);
        break;
    case EV_USAGE:
        usage_merge(&f->reply->usage, &ev->usage);
        break;
    case EV_STOP:
        f->reply->stop = ev->stop;
        f->reply->stop_native = arena_dup(f->a, ev->text);
        f->reply->stop_sequence = arena_dup(f->a, ev->id);
        break;
    case EV_FAULT:
        f->fault = *ev->fault;
        f->fault.message = arena_dup(f->a, ev->fault->message);
        f->fault.type = arena_dup(f->a, ev->fault->type);
        f->fault.code = arena_dup(f->a, ev->fault->code);
        f->fault.param = arena_dup(f->a, ev->fault->param);
        break;
    case EV_END:
        f->ended = true;
        break;
    }
}

struct reply *fold_reply(struct fold *f, const struct fault **fault) {
    *fault = fault_is(&f->fault) ? &f->fault : NULL;
    return f->ended && !*fault ? f->reply : NULL;
}

static void out_part(struct event_source *s, const struct part *p) {
    struct event_item ev = {.part = p->kind, .id = p->id, .name = p->name};
    switch (p->kind) {
    case PART_TEXT:
    case PART_REFUSAL:
        event_open(s, ev);
        event_text(s, EV_TEXT, p->text);
        event_text(s, EV_LOGPROBS, p->logprobs);
        if (p->kind == PART_TEXT)
            event_annotations(s, p->annotations);
        if (p->kind == PART_TEXT)
            event_signature(s, p->signature, p->origin);
        break;
    case PART_TOOL_CALL:
        event_open(s, ev);
        event_text(s, EV_ARGS, p->text);
        event_signature(s, p->signature, p->origin);
        break;
    case PART_THINKING:
        event_open(s, ev);
        event_text(s, EV_THINK, p->text);
        event_signature(s, p->signature, p->origin);
        break;
    case PART_THINKING_REDACTED:
        ev.text = p->data;
        ev.name = p->origin;
        event_open(s, ev);
        break;
    case PART_IMAGE:
        ev.text = p->data;
        ev.name = p->media;
        event_open(s, ev);
        break;
    default:
        return; /* an answer has no other parts */
    }
    event_close(s);
}

void fold_out(const struct reply *r, event_fn *fn, void *arg) {
    struct event_source s = {.fn = fn, .arg = arg};
    event_start(&s, r->id, r->model, r->created);
    for (const struct part *p = r->message->parts; p; p = p->next)
        out_part(&s, p);
    if (r->usage.known || r->usage.estimated)
        event_usage(&s, &r->usage);
    event_end(&s, r->stop, r->stop_native, r->stop_sequence);
}
