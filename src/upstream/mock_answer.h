/* What the built-in provider says: the OpenAI chat dialect, made of the request alone. */
#ifndef PENSTOCK_UPSTREAM_MOCK_ANSWER_H
#define PENSTOCK_UPSTREAM_MOCK_ANSWER_H
#include "base/arena.h"
#include "base/buf.h"
#include "base/str.h"

enum { MOCK_MAX_CALLS = 8, MOCK_MAX_CHOICES = 16 };

struct mock_answer {
    struct arena *arena; /* everything below lives in it */
    const char *bad;     /* NULL, or why the request is refused (400) */
    struct str model;
    char id[32]; /* "chatcmpl-mock..." of the body's hash */
    bool stream, include_usage;
    uint64_t n;         /* choices */
    struct str text;    /* unless generated or calls */
    uint64_t generated; /* so many words of a list, beginning at `seed` */
    uint64_t seed;
    struct {
        struct str name, arguments;
    } calls[MOCK_MAX_CALLS];
    size_t ncalls;
    uint64_t units; /* pieces of one choice in a stream: words, or three of each call */
    bool cut;       /* by max_tokens */
    uint64_t prompt_tokens, completion_tokens; /* of all choices */
    /* the stream's place */
    uint64_t step;
    size_t unit_at, unit_end; /* in text */
};

/* words: what the control asks for, 0: nothing. Never fails: see bad. */
struct mock_answer *mock_answer_new(struct str body, uint64_t words);
void mock_answer_free(struct mock_answer *a);
void mock_answer_whole(const struct mock_answer *a, struct buf *out);
/* The stream's next event with its blank line; false when [DONE] has been given. */
bool mock_answer_next(struct mock_answer *a, struct buf *out);
/* Units of the answer's text given so far, all choices together. */
uint64_t mock_answer_given(const struct mock_answer *a);
#endif
