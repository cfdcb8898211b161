/* The grammar of an answer as events, from both sides. The checker: the readers of all dialects are tested
 * and fuzzed against it, and the pipe holds them to it in production, so that no writer meets a sequence it
 * was not written for. The source: what readers tell events with. */
#include "llm/event.h"

enum { S_BEFORE, S_BETWEEN, S_OPEN, S_STOPPED, S_ENDED };

static bool in_part(const struct event_check *c, const struct event_item *ev) {
    if (c->state != S_OPEN || ev->index + 1 != c->next_index)
        return false;
    switch (ev->kind) {
    case EV_TEXT:
        return c->open == PART_TEXT || c->open == PART_REFUSAL;
    case EV_ARGS:
        return c->open == PART_TOOL_CALL;
    case EV_THINK:
        return c->open == PART_THINKING;
    case EV_SIGNATURE:
        return c->open == PART_THINKING || c->open == PART_TOOL_CALL || c->open == PART_TEXT;
    case EV_LOGPROBS:
        return c->open == PART_TEXT || c->open == PART_REFUSAL;
    case EV_ANNOTATION:
        return c->open == PART_TEXT;
    default:
        return false;
    }
}

static bool may_open(enum part_kind k) {
    return k == PART_TEXT || k == PART_TOOL_CALL || k == PART_THINKING || k == PART_THINKING_REDACTED ||
           k == PART_REFUSAL || k == PART_IMAGE;
}

static bool step(struct event_check *c, int from, int to) {
    if (c->state != from)
        return false;
    c->state = to;
    return true;
}

bool event_check(struct event_check *c, const struct event_item *ev) {
    switch (ev->kind) {
    case EV_START:
        return step(c, S_BEFORE, S_BETWEEN);
    case EV_PART_OPEN:
        if (!may_open(ev->part) || ev->index != c->next_index || !step(c, S_BETWEEN, S_OPEN))
            return false;
        c->next_index++;
        c->open = ev->part;
        return true;
    case EV_TEXT:
    case EV_ARGS:
    case EV_THINK:
    case EV_SIGNATURE:
    case EV_LOGPROBS:
    case EV_ANNOTATION:
        return in_part(c, ev);
    case EV_PART_CLOSE:
        return ev->index + 1 == c->next_index && step(c, S_OPEN, S_BETWEEN);
    case EV_USAGE:
        return c->state != S_BEFORE && c->state != S_ENDED;
    case EV_STOP:
        return step(c, S_BETWEEN, S_STOPPED);
    case EV_END:
        return step(c, S_STOPPED, S_ENDED);
    case EV_FAULT:
        if (c->state == S_ENDED || !ev->fault)
            return false;
        c->state = S_ENDED;
        return true;
    }
    return false;
}

/* --- the source --- */

static void emit(struct event_source *s, struct event_item ev) {
    s->fn(s->arg, &ev);
}

void event_start(struct event_source *s, struct str id, struct str model, int64_t created) {
    if (s->started)
        return;
    s->started = true;
    emit(s, (struct event_item){.kind = EV_START, .id = id, .model = model, .created = created});
}

void event_open(struct event_source *s, struct event_item ev) {
    ev.kind = EV_PART_OPEN;
    ev.index = s->next_index++;
    s->part = ev.part;
    s->open = true;
    emit(s, ev);
}

static void emit_text(struct event_source *s, enum event_kind kind, struct str text) {
    if (text.n > 0)
        emit(s, (struct event_item){.kind = kind, .index = s->next_index - 1, .part = s->part, .text = text});
}

/* Programs that count in UTF-16 cut a text between the halves of a character: their clients join them again.
 */
static bool is_half(const char *p, unsigned char least, unsigned char most) {
    return (unsigned char)p[0] == 0xED && (unsigned char)p[1] >= least && (unsigned char)p[1] <= most;
}

static uint32_t half_bits(const char *p) {
    return ((uint32_t)(unsigned char)p[1] & 0x0F) << 6 | ((uint32_t)(unsigned char)p[2] & 0x3F);
}

/* The half that was held back, with the other one if text begins with it. What is left of the text. */
static struct str join_halves(struct event_source *s, enum event_kind kind, struct str text) {
    if (!s->has_half)
        return text;
    s->has_half = false;
    if (text.n < 3 || !is_half(text.p, 0xB0, 0xBF)) {
        emit_text(s, kind, str_make(s->half, 3));
        return text;
    }
    uint32_t c = 0x10000 + (half_bits(s->half) << 10) + half_bits(text.p);
    char whole[4] = {(char)(0xF0 | c >> 18), (char)(0x80 | (c >> 12 & 0x3F)), (char)(0x80 | (c >> 6 & 0x3F)),
                     (char)(0x80 | (c & 0x3F))};
    emit_text(s, kind, str_make(whole, 4));
    return str_skip(text, 3);
}

void event_text(struct event_source *s, enum event_kind kind, struct str text) {
    bool said = kind == EV_TEXT || kind == EV_ARGS || kind == EV_THINK;
    if (said && text.n > 0) {
        text = join_halves(s, kind, text);
        if (text.n >= 3 && is_half(text.p + text.n - 3, 0xA0, 0xAF)) {
            text.n -= 3;
            memcpy(s->half, text.p + text.n, 3);
            s->has_half = true;
            s->half_kind = kind;
        }
    }
    emit_text(s, kind, text);
}

static bool each_annotation(void *arg, struct str key, struct json_value v) {
    (void)key;
    event_text(arg, EV_ANNOTATION, v.raw);
    return true;
}

void event_annotations(struct event_source *s, struct str array) {
    if (array.n)
        json_each(array, each_annotation, s);
}

void event_signature(struct event_source *s, struct str text, struct str origin) {
    if (text.n > 0)
        emit(s, (struct event_item){.kind = EV_SIGNATURE,
                                    .index = s->next_index - 1,
                                    .part = s->part,
                                    .text = text,
                                    .name = origin});
}

void event_close(struct event_source *s) {
    if (!s->open)
        return;
    join_halves(s, s->half_kind, STR_NONE);
    s->open = false;
    emit(s, (struct event_item){.kind = EV_PART_CLOSE, .index = s->next_index - 1, .part = s->part});
}

void event_usage(struct event_source *s, const struct usage *u) {
    emit(s, (struct event_item){.kind = EV_USAGE, .usage = *u});
}

void event_end(struct event_source *s, enum stop_reason stop, struct str native, struct str sequence) {
    s->done = true;
    emit(s, (struct event_item){.kind = EV_STOP, .stop = stop, .text = native, .id = sequence});
    emit(s, (struct event_item){.kind = EV_END});
}

void event_fault(struct event_source *s, const struct fault *f) {
    s->done = true;
    emit(s, (struct event_item){.kind = EV_FAULT, .fault = f});
}

void event_fail(struct event_source *s, const char *why) {
    struct fault f;
    fault_set(&f, s->arena, FAULT_SERVER, "%s", why);
    f.from_provider = true;
    event_fault(s, &f);
}
