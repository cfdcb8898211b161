/* The table of routes: method, path, surface, permission, and what answers: a client dialect (a model call,
 * which relay/ runs) or a handler. One row per endpoint. */
#ifndef PENSTOCK_SURFACE_SURFACE_H
#define PENSTOCK_SURFACE_SURFACE_H
#include "http/exchange.h"
#include "policy/auth.h"
#include "policy/plane.h"

/* A chat that a page asks for itself: it goes the way of a client's, with limits, account and log, to one provider and
 * nobody else, and not to the cache. */
struct surface_chat {
    const struct surface_route *route; /* the page's */
    const char *name;                  /* of the surface in records: "s1_test" */
    struct caller caller;              /* for whom; must live until done */
    struct str peer, request_id;       /* copied, as is the next */
    struct str body;                   /* in the route's dialect, with a provider */
    /* Once, perhaps before chat returns. fault: what the client would have been told; FAULT_NONE: there is an answer. */
    void (*done)(void *arg, const struct fault *fault, struct str model, uint64_t ms);
    void *arg;
};

/* What a handler gets. It answers with surface_json() or surface_fault(), at once or later; for later it must
 * set x->on_gone. All memory in x->arena. */
struct surface_call {
    struct exchange *x;
    struct plane *plane;
    struct caller caller; /* key NULL on a row without permission when no key was given */
    struct str rest;      /* what '*' of the row's path stood for, as sent */
    struct str request_id;
    const struct surface_route *route;
    /* POST /admin/v1/reload: asks the master; done is called once. */
    void (*reload)(void *arg, void (*done)(void *done_arg, bool ok, unsigned generation, struct str text),
                   void *done_arg);
    void *reload_arg;
    /* Gives what chat_cancel takes, as long as done was not called. Cancelled: done is called from there. */
    void *(*chat)(void *arg, const struct surface_chat *q);
    void (*chat_cancel)(void *chat);
    void *chat_arg;
    void *state; /* the handler's own */
};
struct surface_route {
    enum http_method method;
    const char *path;    /* "/v1/models/" + star: a star stands for one or more bytes, more than one segment too; text may follow it */
    unsigned surface;    /* enum conf_surface: on which listeners */
    unsigned permission; /* enum conf_permission; 0: no key needed */
    const struct dialect *dialect;           /* of the request and of its errors */
    const char *name;                        /* of the surface in records: "chat"; NULL: not a model call */
    void (*handler)(struct surface_call *c); /* NULL: a model call */
    const char *help;                        /* one line: for docs and the API description */
};
/* Does the path itself ask for a stream? */
bool surface_streams(const struct surface_route *r);
extern const struct surface_route surface_routes[];
extern const size_t surface_routes_n;

enum route_result { ROUTE_FOUND, ROUTE_NO_PATH, ROUTE_NO_METHOD };
/* allow: methods of that path for the Allow header ("GET, HEAD"), when NO_METHOD. HEAD goes to GET's row. */
enum route_result surface_find(enum http_method m, struct str path, unsigned surfaces,
                               const struct surface_route **r, struct str *rest, char allow[64]);
/* The dialect whose errors a path gets, also when it is unknown. */
const struct dialect *surface_dialect(struct str path);
/* What auth_caller is to ask for: the row's permission, and whether its surface is open (auth.open_surfaces). */
unsigned surface_permission(const struct surface_route *r, const struct conf *c, const struct exchange *x);
bool surface_is_admin(struct str path); /* a row of this path wants PERM_ADMIN */

/* Cross-origin requests of browsers (the Fetch standard's CORS protocol), before anything else: true when this was a
 * preflight, which is answered. Else the answer, whichever it will be, says what its page may see. */
bool surface_cors(struct exchange *x, const struct conf *c, struct str request_id);

void surface_json(struct surface_call *c, int status, struct str json);
void surface_text(struct surface_call *c, int status, const char *type, struct str text);
void surface_fault(struct surface_call *c, const struct fault *f);
void surface_fault_as(struct surface_call *c, const struct dialect *d, const struct fault *f); /* in that dialect's shape */

/* The audit record of an admin row, for one that ends without an answer (499); an answer makes its own. */
void surface_audit(struct surface_call *c, int status);

/* Handlers, one file each. */
void surface_ui(struct surface_call *c);
void surface_ui_file(struct surface_call *c);
void surface_ui_session(struct surface_call *c);
void surface_docs(struct surface_call *c);
void surface_openapi(struct surface_call *c);
void surface_health(struct surface_call *c);
void surface_livez(struct surface_call *c);
void surface_readyz(struct surface_call *c);
void surface_metrics(struct surface_call *c);
void surface_models(struct surface_call *c);
void surface_model(struct surface_call *c);
void surface_gemini_models(struct surface_call *c);
void surface_gemini_model(struct surface_call *c);
void surface_capabilities(struct surface_call *c);
void surface_usage(struct surface_call *c);
void surface_reprice(struct surface_call *c);
void surface_reprice_state(struct surface_call *c);
void surface_ledger(struct surface_call *c);
void surface_ledger_verify(struct surface_call *c);
void surface_budgets(struct surface_call *c);
void surface_cache_clear(struct surface_call *c);
void surface_cache_stats(struct surface_call *c);
void surface_logs(struct surface_call *c);
void surface_workers(struct surface_call *c);
void surface_providers(struct surface_call *c);
void surface_provider_drain(struct surface_call *c);
void surface_provider_enable(struct surface_call *c);
void surface_provider_reset(struct surface_call *c);
void surface_provider_weight(struct surface_call *c);
void surface_keys(struct surface_call *c);
void surface_key(struct surface_call *c);
void surface_key_create(struct surface_call *c);
void surface_key_change(struct surface_call *c);
void surface_key_rotate(struct surface_call *c);
void surface_key_revoke(struct surface_call *c);
void surface_alerts(struct surface_call *c);
void surface_config(struct surface_call *c);
void surface_reload(struct surface_call *c);
void surface_s3_models(struct surface_call *c);
void surface_s3_model(struct surface_call *c);
void surface_s3_provider_models(struct surface_call *c);
void surface_s3_usage(struct surface_call *c);
void surface_s4_status(struct surface_call *c);
void surface_s4_estimate(struct surface_call *c);
void surface_explain(struct surface_call *c);
void surface_s0_providers(struct surface_call *c);
void surface_s0_models(struct surface_call *c);
void surface_s1_status(struct surface_call *c);
void surface_s1_health(struct surface_call *c);
void surface_s1_metrics(struct surface_call *c);
void surface_s1_test(struct surface_call *c);
void surface_s1_cache_clear(struct surface_call *c);
void surface_s1_logs(struct surface_call *c);
void surface_s2_providers(struct surface_call *c);
void surface_s2_provider(struct surface_call *c);
#endif
