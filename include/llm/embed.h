/* The canonical form of a request for embeddings, and of its answer. Pure data in an arena. */
#ifndef PENSTOCK_LLM_EMBED_H
#define PENSTOCK_LLM_EMBED_H
#include "base/arena.h"
#include "base/json.h"
#include "llm/usage.h"

enum embed_purpose { EMBED_UNSET, EMBED_QUERY, EMBED_DOCUMENT, EMBED_CLASSIFICATION, EMBED_CLUSTERING, EMBED_SIMILARITY };

struct embed_input {
    struct str text;
    struct str tokens;   /* token ids in place of text: a JSON array, as sent */
    struct embed_input *next;
};
struct embed {
    struct arena *arena;
    struct str model;             /* as the provider will get it */
    struct embed_input *inputs;   /* at least one */
    size_t ninputs;
    uint64_t dimensions;          /* 0: not said */
    bool base64;                  /* the client wants little-endian float32 in base64 */
    enum embed_purpose purpose;
    struct str title, user;
    struct json_object *extra;    /* members nobody knows, by name, or NULL */
};

struct embedding {
    const float *v;               /* n numbers, in the arena */
    size_t n;
};
struct embed_reply {
    struct str id, model;
    struct embedding *list;       /* in the order of the inputs */
    size_t n;
    struct usage usage;
};
#endif
