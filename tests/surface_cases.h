/* The parts of check_surface: a gateway behind a real server on loopback, and a client in the same loop. */
#ifndef PENSTOCK_TESTS_SURFACE_CASES_H
#define PENSTOCK_TESTS_SURFACE_CASES_H
#include "base/json.h"
#include "policy_cases.h"

struct answer {
    int status;
    struct str head, body; /* live as long as the world */
};

void site_open(void);  /* fixture */
void site_close(void); /* fixture */
void site_load(const char *yaml);
/* What was asked of the master by POST /admin/v1/reload; NULL: nothing yet. */
extern void (*reload_done)(void *arg, bool ok, unsigned generation, struct str text);
extern void *reload_arg;

struct answer talk(const char *method, const char *target, const char *headers); /* lines with \r\n, or "" */
struct answer talk_to(const char *host, const char *method, const char *target, const char *headers);
struct answer get(const char *target, const char *key); /* key: "" for none */
int talk_start(const char *method, const char *target, const char *headers);
struct answer talk_end(int fd); /* also turns the loop */
struct str header_of(const struct answer *a, const char *name);
struct json_object *json_of(const struct answer *a);        /* must be JSON, with that content type */
void has_members(struct json_object *o, const char *names); /* "a b c": these, and no others */
/* An error of the OpenAI shape that says this. */
void is_error(const struct answer *a, int status, const char *type, const char *says);
uint32_t entity(enum entity_kind kind, const char *name);

TCase *case_pages(void);
TCase *case_metrics(void);
TCase *case_admin(void);
TCase *case_openapi(void);
#endif
