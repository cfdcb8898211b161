/* The words of a prompt or an answer, for the log: its beginning, as text, escapes undone. A piece of it begins on a
 * line of its own; a turn of a conversation begins with who has it ("user: Hello"). What is no text (pictures, tools'
 * schemas, ids) is left out. */
#ifndef PENSTOCK_DIALECT_EXCERPT_H
#define PENSTOCK_DIALECT_EXCERPT_H
#include "base/buf.h"
#include "base/json.h"
#include "llm/event.h"

struct excerpt {
    struct arena *a;
    struct buf text;  /* at most `most` bytes; may end inside a character when it was cut */
    size_t most;
    bool cut;         /* there was more */
    struct str role;  /* of the turn whose first piece has not come */
    bool open;        /* what comes next goes on where the last piece ended */
};
void excerpt_init(struct excerpt *e, struct arena *a, size_t most); /* its memory goes with the arena */
/* JSON that has been scanned: a request, or a whole answer, of any dialect. asked: it is a request. */
void excerpt_json(struct excerpt *e, struct str checked, bool asked);
void excerpt_event(void *excerpt, const struct event_item *ev); /* an event_fn */
#endif
