/* The world of a policy or surface test: real configuration, real segment, real loop; no network. */
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/log.h"
#include "policy_cases.h"
#include "shm/slot.h"
#include "upstream/provider.h"

struct world w;

void world_open(void) {
    clearenv(); /* keys of whoever runs the tests are not the tests' */
    log_open(&(struct log_target){"stderr", LVL_ERROR, LOGFMT_TEXT});
    w = (struct world){.dir = "/tmp/penstock-policy-XXXXXX"};
    ck_assert_ptr_nonnull(mkdtemp(w.dir));
    char err[256] = "";
    w.a = arena_new(0);
    w.loop = loop_new();
    w.multi = multi_new(w.loop);
    w.shm = shm_create(256 << 10, err);
    ck_assert_msg(w.shm != NULL, "%s", err);
    w.slot = slot_claim(w.shm, SLOT_WORKER, 0, 1);
    slot_started(w.shm, w.slot, getpid());
    slot_enter(w.shm, w.slot);
    slot_set_state(w.shm, SLOT_READY);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw) {
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

static void drop_plane(void) {
    plane_free(w.p);
    if (w.conf)
        conf_free(w.conf);
    w.p = NULL;
    w.conf = NULL;
}

void world_close(void) {
    drop_plane();
    multi_free(w.multi);
    loop_free(w.loop);
    shm_free(w.shm);
    arena_free(w.a);
    nftw(w.dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

const char *world_file(const char *name, const char *text) {
    static char path[4][160];
    static unsigned turn;
    char *p = path[turn++ % 4];
    snprintf(p, sizeof path[0], "%s/%s", w.dir, name);
    FILE *f = fopen(p, "we");
    ck_assert_ptr_nonnull(f);
    ck_assert_int_ge(fputs(text, f), 0);
    ck_assert_int_eq(fclose(f), 0);
    return p;
}

void world_load(const char *yaml) {
    drop_plane(); /* of one before */
    const char *text = arena_printf(w.a, "state_dir: %s\npid_file: %s/pid\n%s", w.dir, w.dir, yaml).p;
    struct conf_source src = {.kinds = &provider_table, .file = world_file("penstock.yaml", text)};
    struct conf_errors errors;
    char err[256] = "";
    w.conf = conf_load(&src, &errors);
    ck_assert_msg(w.conf != NULL, "%s", errors.n ? errors.list[0].text : "?");
    conf_errors_free(&errors);
    w.p = plane_new(w.loop, w.multi, w.shm, w.conf, err);
    ck_assert_msg(w.p != NULL, "%s", err);
}

struct plane_provider *provider(const char *name) {
    struct plane_provider *pr = plane_provider(w.p, str_of(name));
    ck_assert_msg(pr != NULL, "no provider %s", name);
    return pr;
}

struct plane_model *model(const char *name) {
    struct plane_model *m = plane_model(w.p, str_of(name));
    ck_assert_msg(m != NULL, "no model %s", name);
    return m;
}

struct exchange *request(const char *headers) {
    struct exchange *x = arena_alloc(w.a, sizeof *x);
    struct http_header *h = arena_array(w.a, 32, sizeof *h);
    struct str rest = str_of(headers), line;
    *x = (struct exchange){
        .arena = w.a, .method = HTTP_POST, .headers = h, .peer = STR("127.0.0.1"), .peer_loopback = true};
    while (str_next(&rest, '\n', &line)) {
        ptrdiff_t colon = str_find(line, STR(":"));
        ck_assert(colon > 0 && x->nheaders < 32);
        h[x->nheaders++] = (struct http_header){str_make(line.p, (size_t)colon),
                                                str_trim(str_skip(line, (size_t)colon + 1))};
    }
    return x;
}
