/* What the files that write a Messages request share. Private to dialect/. */
#ifndef PENSTOCK_SRC_DIALECT_ANTHROPIC_ENCODE_H
#define PENSTOCK_SRC_DIALECT_ANTHROPIC_ENCODE_H
#include "anthropic.h"
#include "encode.h"

/* A tool call under the id that Anthropic will see. */
struct call {
    struct str id, out;
    size_t message; /* its index */
    unsigned turn;  /* number of the assistant's turn that it is in */
    bool answered;
};
/* A turn: several messages of one side. Results go first. */
struct turn {
    bool assistant;
    unsigned number;
    struct part_ref *results, **results_end;
    struct part_ref *rest, **rest_end;
    struct turn *next;
};
struct part_ref {
    const struct part *part;
    const struct call *call; /* of TOOL_CALL and TOOL_RESULT */
    size_t message, index;
    bool wrap; /* a system message amid the conversation */
    struct part_ref *next;
};

struct wr {
    struct encoder e;
    struct turn *turns, *last;
    unsigned nturns;
    struct call **calls; /* open addressing by the hash of the client's id; the latest of equal ids */
    uint64_t *used;      /* hashes of ids given out */
    size_t slots;
    unsigned open_turn; /* the assistant's turn whose calls are still to be answered; 0: none */
    size_t open_calls, open_message;
    const struct message *body; /* first message behind the leading system messages */
    size_t body_index;
    bool count; /* only to be counted */
    bool budget, adaptive, no_thinking;
    uint64_t max_tokens, budget_tokens;
};

/* anthropic_turns.c */
bool an_make_turns(struct wr *r);
struct str an_at_part(struct wr *r, const struct part_ref *p); /* "messages[i].content[j]" */
struct str an_trim_end(struct str text);

/* anthropic_blocks.c */
const char *an_no_place(const struct part *p); /* why a part of a message cannot be said; NULL: it can */
bool an_write_system(struct wr *r);
bool an_write_messages(struct wr *r);
void an_write_cache_point(struct wr *r, bool point, struct str ttl);
#endif
