/* One model call from start to end. The steps run in the order of the table in request.c; a step that must
 * wait returns WAIT and somebody calls request_go() later. Whatever happens, SETTLE and LOG run exactly once,
 * and then the answer's last bytes go out: what a client has seen whole is in the ledger's ring. */
#ifndef PENSTOCK_RELAY_REQUEST_H
#define PENSTOCK_RELAY_REQUEST_H
#include "bill.h"
#include "cluster/shelf.h"
#include "dialect/pipe.h"
#include "outbox.h"
#include "pass.h"
#include "policy/admit.h"
#include "policy/budget.h"
#include "policy/cache.h"
#include "policy/plane.h"
#include "policy/route.h"
#include "queue.h"
#include "relay/gateway.h"
#include "share.h"
#include "store/ledger.h"
#include "surface/surface.h"
#include "talk.h"
#include "trace.h"
#include "turn.h"
#include "upstream/call.h"

enum { REQUEST_ID_BYTES = 4 + 32 + 1 /* one of our own */, PRICES_TOLD = 256 };

struct gateway {
    struct gateway_env env;
    struct plane *plane;
    struct queue *queue;
    struct outbox *outbox;           /* usage records waiting for room in the ring */
    struct request *open;            /* all of them, linked both ways */
    char error_id[REQUEST_ID_BYTES]; /* of the last error that the server itself answered */
    uint64_t told[64];               /* hashes of the unknown words that were logged */
    size_t ntold;
    uint64_t prices_told[PRICES_TOLD]; /* versions of prices that the scribe has been told of, this hour; 0:
                                          free */
    uint64_t prices_hour;
    bool embedder_fails; /* that was logged */
};

enum step {
    STEP_AUTH,
    STEP_READ,
    STEP_DECODE,
    STEP_ADMIT,
    STEP_LOOKUP,
    STEP_JOIN,
    STEP_SIMILAR,
    STEP_ROUTE,
    STEP_SEND,
    STEP_SETTLE,
    STEP_LOG,
    STEP_FINISH
};
enum verdict {
    NEXT,   /* the next step */
    WAIT,   /* request_go() comes later */
    SETTLE, /* answered, refused or left: to the end */
    OVER,   /* the request is gone: touch nothing */
};

/* One try at one target: what is held for it and what has come of it. */
struct attempt {
    struct target *target;
    const struct plane_endpoint *endpoint; /* of the target's provider, for this client's dialect */
    const struct plane_key *key;
    size_t key_index;
    uint64_t tried_keys; /* of this target's provider */
    unsigned again;      /* further tries at this target */
    bool open;           /* begun and not accounted for yet: pass and held are ours */
    bool busy;           /* the target's gauge is taken */
    enum breaker_pass pass;
    struct admission held;
    struct budget_hold money; /* until the request is settled, or this was in vain */
    struct call *call;
    uint64_t started_ns;
    int status; /* of the provider's answer; 0: none yet */
    struct call_header *headers;
    size_t nheaders;
    bool unsent;       /* the provider has not seen the request */
    bool sse;          /* the answer is an event stream */
    struct buf body;   /* of a whole answer or an error */
    struct pipe *pipe; /* of a stream */
    uint8_t span[SPAN_ID];
    struct turn *turn;    /* what the vault keeps of a translated answer; NULL: nothing */
    struct excerpt *said; /* of a stream, for the log; NULL: it wants nothing */
};

#define REQUEST_MAGIC 0x72657175u
struct request {
    unsigned magic;
    struct gateway *g;
    struct request *prev, *next; /* among the open ones */
    struct plane *p;
    struct exchange *x;
    struct arena *a; /* the exchange's */
    const struct surface_route *route;
    const struct dialect *client;
    struct str request_id;
    enum step step;

    struct surface_chat *own; /* of the gateway's own, told and not answered; NULL: a client's */
    struct caller caller;
    struct ask ask;
    struct hints *hints; /* NULL: none */
    struct plan plan;
    uint64_t conversation; /* 0: not known, or of no interest */
    struct fault fault;    /* what the client gets, or why it ended */
    struct admission held;
    struct waiter wait;       /* for a limit */
    struct patience patience; /* with the cluster */
    struct limits_ask limits; /* of the cluster; serves one admission at a time */
    struct purse_ask purse;   /* likewise, of budgets */
    struct shelf_ask shelf;   /* likewise, of its cache */
    struct admit_tokens estimate;
    struct cache_ticket ticket;
    uint32_t cached_as;  /* the target that the ticket's key names */
    struct share *share; /* share.h; NULL: it shares no call */
    bool asked_similar;
    struct embed_call *embed; /* embed.h: under way */
    double similarity;        /* of a semantic hit */
    enum ledger_cache cache;
    struct mint mint;

    struct attempt now;
    struct trace *trace;      /* NULL: none */
    const struct target *dry; /* of a dry run: who would be asked */
    struct hedge *hedge;      /* NULL: no second attempt beside it */
    struct pass *pass;        /* the client's dialect is OP_PASS; else NULL */
    struct chat *chat;        /* canonical request, made once for all attempts */
    bool readable;            /* the body is JSON */
    bool restored;            /* the vault has put back into it what it has */
    struct buf out;           /* body for the provider; alive while a call is */
    struct buf dropped;       /* names of what was left out, for the client */
    uint64_t upstream_ns;     /* all attempts together */
    uint64_t waited_ms;       /* for Retry-After */
    unsigned budget_waits;
    struct target
        *rested; /* passed over because all its keys rest: asked all the same when nothing else is left */
    struct timer timer; /* back-off, and the bound on the first output */
    struct task go;

    struct buf held_bytes; /* client bytes not written yet (before the commit) */
    struct buf capture;    /* client bytes for the cache */
    struct buf scratch;    /* a translated whole answer */
    struct str reply;      /* a whole answer, ready to be sent */
    struct str reply_type;
    struct buf told; /* that reply as the client gets it, where its dialect tells what came of it */
    bool capturing;
    bool committed;   /* the head of the answer has gone to the client */
    bool full;        /* the client is slow: upstream is paused */
    bool untold;      /* an answer that passed through, and its tokens were not told */
    bool ended;       /* the stream is complete by its dialect */
    bool client_lost; /* a write found the client gone: on_gone will follow */
    bool gone;        /* the client left */
    bool left;        /* it did, but the call goes on for others */
    bool no_counter;  /* the provider does not count tokens */
    bool estimated;   /* the answer is our own count of tokens */
    int status;       /* what the client got */

    struct usage usage;
    int64_t cost_nano;
    uint64_t first_byte_ms; /* to the client */
    struct ledger_row row;
};

void request_start(struct gateway *g, struct exchange *x, const struct surface_route *route, struct str rest,
                   struct str request_id);
void *request_chat(void *gateway, const struct surface_chat *q); /* surface_call.chat */
void request_chat_cancel(void *chat);
void request_go(struct request *r); /* runs steps until one waits */
void request_resume(struct request *r,
                    enum step s); /* from a callback: sets the step and goes on, deferred */

void request_leave(struct request *r);  /* there is nobody any more to go on for */
void request_unlink(struct request *r); /* it is not open any more */
void request_cut(struct request *r);    /* the worker ends: its last words, and its account */

/* Nothing was asked of a provider, and nothing is billed. */
static inline bool from_cache(const struct request *r) {
    return r->cache == LEDGER_CACHE_HIT || r->cache == LEDGER_CACHE_SEMANTIC;
}

/* steps.c */
enum verdict step_auth(struct request *r);
enum verdict step_read(struct request *r);
enum verdict step_decode(struct request *r);
void steps_cluster_known(void *request); /* done of what asks the cluster */
enum verdict step_admit(struct request *r);
enum verdict step_lookup(struct request *r);
enum verdict step_similar(struct request *r);
enum verdict answer_from_cache(struct request *r, enum ledger_cache how, const struct reply_head *h,
                               struct str body);
enum verdict step_route(struct request *r);
void steps_body_read(struct exchange *x, int status); /* done of exchange_read_body, then STEP_DECODE */
/* send.c: attempts. Each that is opened is closed by exactly one of failed, done, drop. */
enum verdict step_send(struct request *r);
void attempt_failed(struct request *r,
                    const struct fault *f);       /* accounts for it and decides what comes next */
void attempt_done(struct request *r);             /* a complete answer */
bool attempt_second(struct request *r);           /* now is the hedge's: starts another one there */
void attempt_cancel(struct request *r);           /* it has lost: neutral, and nobody pays */
unsigned attempt_quirks(const struct attempt *t); /* enum quirk, of the provider and its endpoint */
void attempt_drop(struct request *r);             /* the client left: cancels, neutral */
/* answer.c: from the provider to the client */
extern const struct call_sink answer_sink;
void answer_timed_out(struct request *r);
void answer_drained(struct request *r);
enum verdict step_finish(struct request *r);
const char *answer_cache_word(const struct request *r); /* of x-penstock-cache */
size_t answer_headers(struct request *r, struct http_header *h, bool whole);
enum { ANSWER_HEADERS = 40 };
void answer_commit(struct request *r); /* the head of a stream goes out */
/* Is the answer the one that was asked for, so that equal requests may be given it? */
bool answer_is_for_others(const struct request *r);
/* The same for pass.c, which has a sink of its own: */
void answer_begins(struct request *r, int status, const struct call_header *h, size_t n);
bool answer_is_good(const struct request *r); /* its status */
struct str answer_header(struct request *r, const char *name);
enum flow answer_collect(struct request *r, const char *p, size_t n); /* of a body that is kept whole */
enum flow answer_write(struct request *r, const char *p, size_t n);   /* to the client, who may be slow */
/* The call is over; false and *f: it has failed. */
bool answer_arrived(struct request *r, const struct call_result *res, struct fault *f);
void answer_succeeded(struct request *r, uint64_t first_byte_ms);
void answer_failed(struct request *r, struct fault *f);
/* pass.c: the same steps for what goes through untouched */
struct pass *pass_new(struct request *r);
enum verdict pass_read(struct request *r);
bool pass_peek(struct request *r); /* what is asked; false and r->fault */
bool pass_encode(struct request *r, const struct encode_opt *o, struct fault *f);
void pass_spec(const struct request *r, struct call_spec *s);
extern const struct call_sink pass_sink;
void pass_finish(struct request *r, struct buf *last);
/* receipt.c: r->told, once the account is made */
void receipt_tell(struct request *r);
/* account.c */
enum verdict step_settle(struct request *r);
enum verdict step_log(struct request *r);
void account_attempt(struct request *r, const struct fault *f, uint64_t first_byte_ms);
void account_stop(struct request *r, const struct observed *seen); /* of a complete answer */
#endif
