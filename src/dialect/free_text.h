/* Tools that are called with text of any form (OpenAI's "custom" ones), for providers that only know
 * functions: a function with one string, "input". In the canonical form the arguments of such a call are
 * always that object; what knows the free form unwraps them. Private to dialect/. */
#ifndef PENSTOCK_SRC_DIALECT_FREE_TEXT_H
#define PENSTOCK_SRC_DIALECT_FREE_TEXT_H
#include "llm/chat.h"

#define FREE_TEXT_OPEN  "{\"input\":\""
#define FREE_TEXT_CLOSE "\"}"

/* Makes t such a function. o: with description and format; grammar: with syntax and definition, or NULL. */
void free_text_tool(struct arena *a, struct tool *t, struct json_object *o, struct json_object *grammar);
struct str free_text_wrap(struct arena *a, struct str text);
/* Of whole arguments, whatever a model made of them: the input, the only string, or all as it stands. */
struct str free_text_of(struct arena *a, struct str arguments);

/* The same of arguments that come in pieces. */
struct free_text {
    enum {
        FREE_BEFORE,
        FREE_INSIDE,
        FREE_BEHIND,
        FREE_OTHER
    } state; /* OTHER: nothing is known before the end */
    struct buf held;
};
void free_text_begin(struct free_text *f); /* also again, for the next call; before it all is zero */
void free_text_free(struct free_text *f);
/* Appends to `out` what has become known; an empty piece: that was all. */
void free_text_more(struct free_text *f, struct str piece, struct buf *out);
#endif
