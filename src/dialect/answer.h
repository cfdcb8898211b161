/* What the answers of all providers share: the many shapes of an error body, how an error is classed, and
 * hints on when to come back. Private to dialect/. */
#ifndef PENSTOCK_SRC_DIALECT_ANSWER_H
#define PENSTOCK_SRC_DIALECT_ANSWER_H
#include "base/arena.h"
#include "base/json.h"
#include "dialect/dialect.h"
#include "llm/fault.h"

/* An error in the provider's own words; empty where it says nothing. */
struct said {
    struct str message, type, code, param;
    int status; /* a numeric code in 400..599, as OpenRouter gives it; 0: none */
};
/* The value of an "error" member: object, string or array. */
void said_error(struct arena *a, struct json_value error, struct said *out);
/* The body of an answer with an error status, of whatever shape; HTML and garbage give an empty message. */
void said_body(struct arena *a, struct str body, struct said *out);
/* Classes it and fills *f, with the time that a limit's text says to wait. status 0: inside an answer or
 * stream that began well. */
void said_fault(struct arena *a, int status, const struct said *s, struct fault *f);
/* An answer that is none, although its status says so: always false. "...is not JSON" */
bool said_garbage(struct arena *a, struct fault *f, const char *why);
/* retry-after-ms, retry-after (seconds, or a date: behind the answer's own, whatever our clock says),
 * x-should-retry; they count more than a text. */
void retry_hints(struct str (*header)(void *arg, const char *name), void *arg, struct fault *f);
/* All of these: the read_fault of a face whose provider has no shape of its own. */
void said_read_fault(struct arena *a, int status, struct str body,
                     struct str (*header)(void *arg, const char *name), void *arg, struct fault *f);

/* The stop a tap has seen, and the word itself when it is unknown. */
void note_stop(struct arena *a, struct observed *o, enum stop_reason stop, struct str word);

/* Does a call need an id of ours? Some servers give none, or count ("0" for every call). */
bool call_id_is_none(struct str id);
/* Ours for the k-th call of an answer; seed: a digest of bytes that no other answer has. */
struct str call_id_minted(struct arena *a, uint64_t seed, size_t k);
/* A tree printed without white space, into the arena. */
struct str tree_text(struct arena *a, struct json_object *tree);
/* A decimal number's text times 10^9, rounded half up; false when it is negative, none, or too large. */
bool decimal_nano(struct str text, int64_t *out);
#endif
