/* The grammar of an answer as events, as a checker: the readers of all dialects are tested and fuzzed against
 * it, and the pipe holds them to it in production, so that no writer meets a sequence it was not written for.
 */
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
    case EV_SIGNATURE:
        return c->open == PART_THINKING;
    default:
        return false;
    }
}

static bool may_open(enum part_kind k) {
    return k == PART_TEXT || k == PART_TOOL_CALL || k == PART_THINKING || k == PART_THINKING_REDACTED ||
           k == PART_REFUSAL;
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
