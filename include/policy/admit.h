/* Limits: all layers of the caller are taken or none; those of an attempt (provider, its key, a fallback's model) are
 * taken per attempt, all or none. */
#ifndef PENSTOCK_POLICY_ADMIT_H
#define PENSTOCK_POLICY_ADMIT_H
#include "base/buf.h"
#include "cluster/limits.h"
#include "policy/auth.h"
#include "shm/bucket.h"

struct admit_tokens {
    uint64_t input, output;
};
/* Either may be absurd: the sum stops at UINT64_MAX. */
uint64_t admit_total(const struct admit_tokens *t);

/* Who asks what, as far as limits know. */
struct admit_ask {
    const struct caller *caller;
    struct str user;                 /* that the request names, or empty */
    struct str surface, path;        /* for endpoint_limits, and so is ... */
    unsigned systems;                /* ... which of enum conf_surface it belongs to */
    const struct plane_model *model; /* asked for, or NULL */
    struct admit_tokens tokens;      /* to reserve */
    struct limits_ask *cluster;      /* of the admission */
};
struct admit_layer {
    uint32_t entity;
    const struct conf_rates *rates;
    const char *whose; /* for the caller's eyes */
};
struct admission {                    /* what is held; zero-initialised holds nothing */
    const struct admit_layer *layers; /* these and the asks live in the request's arena */
    unsigned nlayers;                 /* stay known when nothing is held any more: for the headers */
    unsigned gauges;                  /* of the first so many layers a gauge is held */
    struct bucket_ask *ask;
    unsigned asks, all; /* taken: none of them or all */
    struct admit_tokens tokens; /* reserved */
    uint32_t refused;           /* the entity whose limit refused, when one did */
    bool full;                  /* by too much at the same time: when that ends nobody knows */
    struct limits_ask *cluster; /* set before: how the cluster is asked; NULL: without waiting for it */
    bool waits;                 /* the cluster has been asked: nothing is decided, its `done` comes; then again */
};
/* The caller's layers: user, key, tenant, model, endpoints, gateway. false: it waits, or *f is RATE_LIMIT with retry_after_ms and
 * says which limit; of several that are spent, the one that will be so longest. */
bool admit_caller(struct plane *p, const struct admit_ask *ask, struct admission *a, struct arena *arena,
                  struct fault *f);
/* The same layers, but only known: for the headers. */
void admit_know(struct plane *p, const struct admit_ask *ask, struct admission *a, struct arena *arena);
/* The same once more, of one that was refused or is only known. */
bool admit_again(struct plane *p, struct admission *a, struct arena *arena, struct fault *f);
/* A provider's and its key's layers for one attempt, decided at once; fallback: its model when that is another than was asked for, else
 * NULL. */
bool admit_provider(struct plane *p, const struct plane_provider *pr, const struct plane_key *key,
                    const struct plane_model *fallback, const struct admit_tokens *tokens, struct admission *a,
                    struct arena *arena, struct fault *f);
/* The same layers, but only known. */
void admit_know_provider(const struct plane_provider *pr, const struct plane_key *key, const struct plane_model *fallback,
                         const struct admit_tokens *tokens, struct admission *a, struct arena *arena);
struct admit_left { /* of one limit */
    const char *whose, *what; /* "this key", "requests per minute" */
    uint64_t limit, remaining, full_in_ms; /* full_in_ms 0 of what goes on at the same time: nobody knows */
    bool fits;                             /* the admission's tokens do */
};
/* What is left of each limit of the layers, in the arena: how many. */
size_t admit_left(struct plane *p, const struct admission *known, struct arena *arena, struct admit_left **out);
/* Settles the reservation with the tokens really used, and lets the gauges go. Once. */
void admit_settle(struct plane *p, struct admission *a, const struct admit_tokens *used);
/* Gives all of it back: the request was never sent. In place of admit_settle. */
void admit_undo(struct plane *p, struct admission *a);
/* What an answer is likely to take: the smaller of max_tokens and the average, for each of n. */
uint64_t admit_output(const struct plane *p, const struct ask *ask, uint32_t model_entity);
/* The same for a forecast, where what the client itself expects comes first: no ground to reserve less. */
uint64_t admit_expected(const struct plane *p, const struct ask *ask, uint32_t model_entity);
/* Tokens to reserve: the input's estimate (by the text of text_entity, shm/tokens.h) and the smaller of max_tokens and
 * what this model's answers take on average. Either may be SHM_NONE. */
struct admit_tokens admit_estimate(struct plane *p, const struct ask *ask, uint32_t model_entity, uint32_t text_entity);

/* The rate headers of the tightest of the admission's layers; at most ADMIT_HEADERS, texts in the arena. */
enum { ADMIT_HEADERS = 9 };
size_t admit_headers(struct plane *p, const struct admission *held, struct arena *a, struct http_header *out);
/* The same of a provider's own limits. */
size_t admit_provider_headers(struct plane *p, const struct plane_provider *pr, struct arena *a, struct http_header *out);
#endif
