/* Events to a whole reply and back, so that streaming is not a third axis. */
#ifndef PENSTOCK_LLM_FOLD_H
#define PENSTOCK_LLM_FOLD_H
#include "llm/event.h"

struct fold;
struct fold *fold_new(struct arena *a, size_t max_bytes); /* of text kept; more sets the fault TOO_LARGE */
void fold_event(void *fold, const struct event_item *ev);   /* an event_fn */
/* The reply after END; NULL before it, or after a fault (*fault is set then). */
struct reply *fold_reply(struct fold *f, const struct fault **fault);
void fold_out(const struct reply *r, event_fn *fn, void *arg); /* a reply as events */
#endif
