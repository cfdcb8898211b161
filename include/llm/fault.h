/* What can go wrong, as classes; policy is a mask of classes, a decision is one lookup. */
#ifndef PENSTOCK_LLM_FAULT_H
#define PENSTOCK_LLM_FAULT_H
#include "base/arena.h"
#include "base/str.h"

/* One row each in fault.c: name, client status, what may be tried next, whether it counts against the target. */
enum fault_class {
    FAULT_NONE,
    FAULT_BAD_REQUEST,     /* invalid_request: the caller's */
    FAULT_UNSUPPORTED,     /* a field that the target cannot express (param names it) */
    FAULT_CONTEXT_LENGTH,  /* context_length_exceeded */
    FAULT_CONTENT_FILTER,  /* content_filter: refused by policy */
    FAULT_TOO_LARGE,       /* 413 */
    FAULT_AUTH,            /* the caller's key: 401 */
    FAULT_PERMISSION,      /* the caller may not: 403 */
    FAULT_MODEL_NOT_FOUND, /* model_not_found: 404 */
    FAULT_RATE_LIMIT,      /* rate_limit_exceeded: ours or the provider's, 429 */
    FAULT_COST_LIMIT,      /* dearer than the caller allowed: 402 */
    FAULT_QUOTA,           /* the provider's account has no money or quota left: another key or target */
    FAULT_BUDGET,          /* a budget of ours is used up: 429 (402 where the dialect has a word for it) */
    FAULT_PROVIDER_AUTH,   /* the provider refused OUR key: 502 for the client, never 401 */
    FAULT_SERVER,          /* server_error: 5xx, garbage, an empty answer */
    FAULT_OVERLOADED,      /* 503, 529 */
    FAULT_TIMEOUT,         /* timeout: 504 */
    FAULT_CONNECTION,      /* connection: refused, reset, TLS, DNS: 502 */
    FAULT_NO_TARGET,       /* nothing that could serve: all open, drained or excluded: 503 */
    FAULT_CANCELLED,       /* the client left: 499, never sent */
    FAULT_INTERNAL,        /* our own bug or exhaustion: 500 */
    FAULT_CLASSES
};

/* Whose fault it was, in a closed vocabulary: in the log, in GET /admin/v1/logs and as a label of
 * penstock_errors_total. The caller's; a rule's of ours that refused it; the provider's; the gateway's own. A new one
 * goes to the end: their numbers are places in shared memory. */
#define ERROR_TYPES(X)                                                                                               \
    X(NONE, "")                                                                                                      \
    X(CALLER_INVALID_REQUEST, "caller_invalid_request")                                                              \
    X(CALLER_UNSUPPORTED, "caller_unsupported")                                                                      \
    X(CALLER_CONTEXT_LENGTH, "caller_context_length")                                                                \
    X(CALLER_TOO_LARGE, "caller_too_large")                                                                          \
    X(CALLER_AUTHENTICATION, "caller_authentication")                                                                \
    X(CALLER_MODEL_NOT_FOUND, "caller_model_not_found")                                                              \
    X(CALLER_TIMEOUT, "caller_timeout")     /* its body came too slowly, or it gave too little time */               \
    X(CALLER_CANCELLED, "caller_cancelled") /* it left */                                                            \
    X(POLICY_PERMISSION, "policy_permission")                                                                        \
    X(POLICY_CONTENT_FILTER, "policy_content_filter")                                                                \
    X(POLICY_RATE_LIMIT, "policy_rate_limit")                                                                        \
    X(POLICY_COST_LIMIT, "policy_cost_limit")                                                                        \
    X(POLICY_BUDGET, "policy_budget")                                                                                \
    X(PROVIDER_MODEL_NOT_FOUND, "provider_model_not_found")                                                          \
    X(PROVIDER_CONTENT_FILTER, "provider_content_filter")                                                            \
    X(PROVIDER_RATE_LIMIT, "provider_rate_limit")                                                                    \
    X(PROVIDER_QUOTA, "provider_quota")                                                                              \
    X(PROVIDER_AUTHENTICATION, "provider_authentication") /* of our key */                                           \
    X(PROVIDER_SERVER_ERROR, "provider_server_error")                                                                \
    X(PROVIDER_OVERLOADED, "provider_overloaded")                                                                    \
    X(PROVIDER_TIMEOUT, "provider_timeout")                                                                          \
    X(PROVIDER_CONNECTION, "provider_connection")                                                                    \
    X(GATEWAY_OVERLOADED, "gateway_overloaded")                                                                      \
    X(GATEWAY_NO_TARGET, "gateway_no_target")                                                                        \
    X(GATEWAY_INTERNAL, "gateway_internal")
enum error_type {
#define X(n, name) ERROR_##n,
    ERROR_TYPES(X)
#undef X
    ERROR_TYPES_N
};
const char *error_type_name(enum error_type t);
/* Those of a name, or of a family of them ("caller", "policy", "provider", "gateway"), as a mask of 1 << type; 0: none. */
uint64_t error_types_by_name(struct str name);

enum { /* fault_rule.try */
    FAULT_TRY_SAME = 1,    /* the same target again after a pause (another key first) */
    FAULT_TRY_KEY = 2,     /* another key of the same provider, at once */
    FAULT_TRY_TARGET = 4,  /* the next target of the same model */
    FAULT_TRY_MODEL = 8,   /* a fallback model, when its rule lists this class */
};
struct fault_rule {
    const char *name;      /* as in fallback_on: "rate_limit_exceeded", "server_error", "timeout", "connection" ... */
    int status;            /* the client's HTTP status */
    unsigned tries;
    bool counts;           /* against the target's breaker and health */
    bool rests_key;        /* the key rests (Retry-After, or until reload for PROVIDER_AUTH) */
    enum error_type ours, theirs; /* when it came about here, and when a provider said it */
};
const struct fault_rule *fault_rule(enum fault_class c);
static inline enum error_type fault_type(enum fault_class c, bool of_provider) {
    return of_provider ? fault_rule(c)->theirs : fault_rule(c)->ours;
}
/* By the names used in configuration (case and -/_ alike); false if unknown. */
bool fault_by_name(struct str name, enum fault_class *out);
/* Does a rule configured for one class cover this one? Itself, and the finer classes that an operator means by the
 * coarse name: overloaded, a refused provider key and "no target" are server_error; an empty account is
 * rate_limit_exceeded. */
bool fault_matches(enum fault_class c, enum fault_class configured);

struct fault {
    enum fault_class cls;  /* FAULT_NONE: no fault */
    int status;            /* 0: fault_rule(cls)->status; a provider's 4xx keeps its own */
    struct str message;    /* for the client; never a secret, never a URL with one */
    struct str type, code, param; /* OpenAI's words where known; empty: derived from the class. Other dialects
                                     derive theirs from the class always */
    struct str unknown;     /* the provider's own type or code when no table knows it: told, logged, counted */
    int64_t retry_after_ms; /* -1: none */
    bool from_provider;
    struct str provider;   /* that has failed; empty: none, or not known */
    bool retry_said_no;    /* x-should-retry: false */
};
static inline bool fault_is(const struct fault *f) {
    return f->cls != FAULT_NONE;
}
/* Fills *f anew; the text is printed into the arena, at most FAULT_MESSAGE_MAX bytes of it. */
#define FAULT_MESSAGE_MAX 2048
void fault_set(struct fault *f, struct arena *a, enum fault_class c, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
int fault_status(const struct fault *f);
/* Texts that say so in any dialect ("maximum context length", "prompt is too long" ...). */
bool fault_text_is_context(struct str message);
#endif
