/* What the files that write a generateContent request share. Private to dialect/. */
#ifndef PENSTOCK_SRC_DIALECT_GEMINI_ENCODE_H
#define PENSTOCK_SRC_DIALECT_GEMINI_ENCODE_H
#include "encode.h"
#include "gemini.h"

struct gm_call {
    const struct part *part, *result;
    size_t message, result_message;
    unsigned turn;        /* number of the model's turn that it is in */
    struct gm_call *next; /* of the same turn */
};
struct gm_ref {
    const struct part *part;
    size_t message, index;
    bool wrap; /* a system message amid the conversation */
    struct gm_ref *next;
};
/* Several messages of one side. */
struct gm_turn {
    bool model;
    unsigned number;
    size_t message;                     /* the first one's index */
    struct gm_call *calls, **calls_end; /* of a model's turn */
    struct gm_turn *answers;            /* the user's turn: the model's whose calls are answered in it */
    struct gm_ref *parts, **parts_end;
    struct gm_turn *next;
};
struct gm_wr {
    struct encoder e;
    struct gm_turn *turns, *last;
    struct gm_turn *open; /* the model's turn whose calls are still to be answered */
    size_t open_calls;
    unsigned nturns;
    struct gm_call **calls; /* open addressing by the hash of the client's id; the latest of equal ids */
    size_t slots;
    const struct message *body; /* the first message behind the leading system messages */
    size_t body_index;
    unsigned major; /* 3 of "gemini-3.1-pro"; 0: unknown */
};
bool gm_make_turns(struct gm_wr *r);
bool gm_write_system(struct gm_wr *r);
bool gm_write_contents(struct gm_wr *r);
#endif
