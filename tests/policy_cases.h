/* Shared by check_policy and check_surface: a plane made of a YAML text, a segment of its own and a loop. */
#ifndef PENSTOCK_TESTS_POLICY_CASES_H
#define PENSTOCK_TESTS_POLICY_CASES_H
#include <check.h>

#include "http/exchange.h"
#include "policy/plane.h"

struct world {
    char dir[64]; /* of this test: the configuration, the state, the stores */
    uint32_t slot;
    struct loop *loop;
    struct multi *multi;
    struct shm *shm;
    struct conf *conf;
    struct plane *p;
    struct arena *a;
};
extern struct world w;

void world_open(void);             /* fixture: all but configuration and plane */
void world_close(void);            /* fixture */
void world_load(const char *yaml); /* loads it and joins the plane, in place of one before */
const char *world_file(const char *name, const char *text); /* its path; one of four buffers in turn */
struct plane_provider *provider(const char *name);
struct plane_model *model(const char *name);

/* A request as the http room would hand it over: headers "Name: value\n...", NULL for none. */
struct exchange *request(const char *headers);

TCase *case_price(void);
TCase *case_auth(void);
TCase *case_jwt(void);
TCase *case_admit(void);
TCase *case_budget(void);
TCase *case_route(void);
TCase *case_hints(void);
TCase *case_cache(void);
TCase *case_semantic(void);

#define ck_str(got, want)                                                                                    \
    do {                                                                                                     \
        struct str ck_got = (got), ck_want = str_of(want);                                                   \
        ck_assert_msg(str_eq(ck_got, ck_want), "\"" STR_FMT "\" is not \"%s\"", STR_ARG(ck_got), ck_want.p); \
    } while (0)
#endif
