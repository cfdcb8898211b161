/* An answer as a sequence of events: what a stream is in the canonical form.
 *
 * Grammar: START (PART_OPEN (TEXT|ARGS|THINK|SIGNATURE|LOGPROBS|ANNOTATION)* PART_CLOSE)* with USAGE anywhere between START and END,
 * then STOP, then END; FAULT instead of STOP END at any place. One part is open at a time; parts are numbered 0, 1, 2.
 * event_check() holds a sequence to it; readers must produce it from whatever a provider sends (interleaved parallel
 * calls are queued or force-closed), writers may rely on it. */
#ifndef PENSTOCK_LLM_EVENT_H
#define PENSTOCK_LLM_EVENT_H
#include "llm/chat.h"
#include "llm/fault.h"

enum event_kind {
    EV_START,      /* id, model, created */
    EV_PART_OPEN,  /* part kind (TEXT, TOOL_CALL with id and name, THINKING, THINKING_REDACTED: text is its data, name its origin; REFUSAL;
                   * IMAGE: text is its data, base64, name its media type) */
    EV_TEXT,       /* text of a TEXT or REFUSAL part */
    EV_ARGS,       /* text: a piece of a tool call's arguments */
    EV_THINK,      /* text */
    EV_SIGNATURE,  /* text: the signature of the open THINKING, TOOL_CALL or TEXT part, whole; name: its origin */
    EV_LOGPROBS,   /* text: JSON array of further items, as in struct part; in TEXT and REFUSAL */
    EV_ANNOTATION, /* text: one annotation, a JSON object, as in struct part; in TEXT */
    EV_PART_CLOSE,
    EV_USAGE,      /* usage, cumulative */
    EV_STOP,       /* stop, text = native reason, id = the stop sequence if known */
    EV_FAULT,      /* fault */
    EV_END,
};
/* Slices live during the call that hands the event over. */
struct event_item {
    enum event_kind kind;
    unsigned index;        /* of the part */
    enum part_kind part;
    struct str id, name, model, text;
    int64_t created;
    struct usage usage;
    enum stop_reason stop;
    const struct fault *fault;
};
typedef void event_fn(void *arg, const struct event_item *ev);

struct event_check {
    int state;
    unsigned next_index;
    enum part_kind open;
};
/* false: the sequence has left the grammar. */
bool event_check(struct event_check *c, const struct event_item *ev);

/* The other side: where events come from. It numbers the parts and knows what is open; set fn, arg and (for
 * event_fail) arena, the rest begins as zero. Nothing is told after `done`: the caller looks. */
struct event_source {
    event_fn *fn;
    void *arg;
    struct arena *arena;
    bool started, open, done; /* done: by END or FAULT */
    enum part_kind part;      /* the open one, or the last */
    unsigned next_index;
    char half[3];             /* of a character that a provider cut between two events (as UTF-16); see json_text() */
    bool has_half;
    enum event_kind half_kind;
};
void event_start(struct event_source *s, struct str id, struct str model, int64_t created); /* once; then nothing */
void event_open(struct event_source *s, struct event_item ev); /* its part, id, name and text */
void event_text(struct event_source *s, enum event_kind kind, struct str text); /* of the open part; empty: nothing */
/* Each element of a JSON array as an ANNOTATION. */
void event_annotations(struct event_source *s, struct str array);
void event_signature(struct event_source *s, struct str text, struct str origin); /* of the open part */
void event_close(struct event_source *s);                      /* the open part, if any */
void event_usage(struct event_source *s, const struct usage *u);
void event_end(struct event_source *s, enum stop_reason stop, struct str native, struct str sequence); /* STOP, END */
void event_fault(struct event_source *s, const struct fault *f);
void event_fail(struct event_source *s, const char *why); /* the provider's fault: SERVER */
#endif
