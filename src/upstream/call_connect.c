/* A connection by libcurl (CURLOPT_CONNECT_ONLY(3)) that is then ours: the descriptor is taken out of
 * libcurl's hands when it closes what nobody else can use any more. */
#include "base/die.h"
#include "call_wire.h"

enum { MAX_IDLE_CONNECTS = 8 }; /* handles kept for the next connections of an upstream */

struct connect {
    struct easy_owner owner;
    CURL *easy;
    struct upstream *upstream;
    struct connect *next_idle;
    connect_fn *done;
    void *arg;
};

static void ended(struct easy_owner *o, int code);

static void opt(struct connect *k) {
    struct upstream *u = k->upstream;
    CURL *e = k->easy;
    multi_opt_easy(u->multi, e);
    wire_opt_connection(e, u->conf);
    curl_easy_setopt(e, CURLOPT_PRIVATE, &k->owner);
    curl_easy_setopt(e, CURLOPT_CONNECT_ONLY, 1L);
    curl_easy_setopt(e, CURLOPT_FRESH_CONNECT, 1L);
    curl_easy_setopt(e, CURLOPT_CURLU, u->connect_url);
}

static struct connect *connect_new(struct upstream *u) {
    struct connect *k = u->idle_connects;
    if (k) {
        u->idle_connects = k->next_idle;
        u->nidle_connects--;
        return k;
    }
    k = mem_alloc(sizeof *k);
    k->owner.ended = ended;
    k->upstream = u;
    k->easy = curl_easy_init();
    if (!k->easy)
        die("libcurl: out of memory");
    opt(k);
    return k;
}

static void connect_free(struct connect *k) {
    curl_easy_cleanup(k->easy);
    mem_free(k);
}

void connect_free_idle(struct upstream *u) {
    while (u->idle_connects) {
        struct connect *k = u->idle_connects;
        u->idle_connects = k->next_idle;
        connect_free(k);
    }
}

/* Also closes the connection, if it is still libcurl's. */
static void let_go(struct connect *k) {
    struct upstream *u = k->upstream;
    if (curl_multi_remove_handle(multi_curl(u->multi), k->easy) != CURLM_OK)
        multi_broken(u->multi);
    if (u->nidle_connects == MAX_IDLE_CONNECTS) {
        connect_free(k);
        return;
    }
    k->next_idle = u->idle_connects;
    u->idle_connects = k;
    u->nidle_connects++;
}

static void ended(struct easy_owner *o, int code) {
    struct connect *k = LINK_OWNER(o, struct connect, owner);
    connect_fn *done = k->done;
    void *arg = k->arg;
    curl_socket_t fd = CURL_SOCKET_BAD;
    if (code == CURLE_OK)
        curl_easy_getinfo(k->easy, CURLINFO_ACTIVESOCKET, &fd);
    if (fd != CURL_SOCKET_BAD)
        multi_give_up(k->upstream->multi, (int)fd);
    let_go(k);
    done(arg, fd == CURL_SOCKET_BAD ? -1 : (int)fd,
         fd != CURL_SOCKET_BAD ? CALL_OK
         : code == CURLE_OK    ? CALL_CONNECT
                               : wire_error((CURLcode)code));
}

struct connect *connect_begin(struct upstream *u, connect_fn *done, void *arg) {
    struct connect *k = connect_new(u);
    k->done = done;
    k->arg = arg;
    if (curl_multi_add_handle(multi_curl(u->multi), k->easy) == CURLM_OK)
        return k;
    connect_free(k);
    return NULL;
}

void connect_cancel(struct connect *k) {
    if (k)
        let_go(k);
}
