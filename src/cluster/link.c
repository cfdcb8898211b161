/* A link greets (password, database), asks whom it speaks to, and is usable once that is a primary that has
 * our keys' slot. Replies come in the order of the commands, so what waits for them is a queue. */
#include "cluster/link.h"

#include <stdio.h>

#include "base/clock.h"
#include "base/die.h"
#include "base/hash.h"
#include "base/log.h"
#include "resp.h"
#include "wire.h"

#define LINK_MAGIC 0x6c696e6bu
enum {
    WATCH_MS = 200,
    GREET_MS = 2000,      /* connecting and greeting */
    STALL_MS = 1000,      /* of a usable one that was asked */
    AGAIN_MS = 5000,      /* it is asked whether it is still there */
    PAUSE_MS = 50,        /* before coming back, doubled each time ... */
    PAUSE_MOST_MS = 5000, /* ... up to that, ... */
    STEADY_MS = 1000,     /* ... from the beginning after it was good for so long */
    HOPS = 8,             /* from one server to the next that it names */
    LEARNED = 4,          /* servers that were not configured */
    WAITING_MOST = 16384,
    UNSENT_MOST = 16 << 20,
};

enum link_state { RESTING, OPENING, GREETING, USABLE };

struct place {
    char host[256];
    uint16_t port;
};

struct waiting {
    link_done *done;
    void *arg;
};

struct link {
    unsigned magic;
    struct loop *loop;
    const struct conf_redis *conf;
    bool says;
    struct link_events events;
    void *arg;
    enum link_state state;
    struct wire *wire;
    struct resp_reader *reader;
    struct waiting *waiting; /* a ring of `cap` */
    size_t head, n, cap;
    uint64_t began_ms, usable_ms, again_ms; /* this connection; it was usable; it was asked again */
    uint64_t heard_ms, asked_ms;            /* asked: since when something waits without a reply */
    size_t address; /* 0: the URL's, then those of cluster.redis.addresses, then what was learned */
    unsigned failures, hops;
    struct place at, learned[LEARNED]; /* the primary that was, and its replicas */
    size_t nlearned;
    bool slow, away_told;
    bool unknown; /* user and password were refused */
    struct timer rest, watch;
};

static void fail(struct link *k, const char *why);
static void open_wire(struct link *k);

/* --- the queue --- */

static void enqueue(struct link *k, link_done *done, void *arg) {
    if (k->n == k->cap) {
        size_t cap = k->cap ? 2 * k->cap : 64;
        struct waiting *w = mem_array(cap, sizeof *w);
        for (size_t i = 0; i < k->n; i++)
            w[i] = k->waiting[(k->head + i) % k->cap];
        mem_free(k->waiting);
        k->waiting = w;
        k->cap = cap;
        k->head = 0;
    }
    if (k->n == 0)
        k->asked_ms = clock_ms();
    k->waiting[(k->head + k->n++) % k->cap] = (struct waiting){done, arg};
}

static struct waiting dequeue(struct link *k) {
    struct waiting w = k->waiting[k->head];
    k->head = (k->head + 1) % k->cap;
    k->n--;
    return w;
}

static void put(struct link *k, const struct str *arg, size_t n, link_done *done, void *done_arg) {
    struct buf b;
    buf_init(&b, 0);
    resp_command(&b, arg, n);
    enqueue(k, done, done_arg);
    wire_send(k->wire, buf_str(&b));
    buf_wipe(&b);
}

/* --- up and down --- */

static const char *where(const struct link *k, char out[300]) {
    if (*k->conf->path && k->hops == 0 && k->address == 0)
        snprintf(out, 300, "%s", k->conf->path);
    else
        snprintf(out, 300, "%s port %u", k->at.host, (unsigned)k->at.port);
    return out;
}

static void close_wire(struct link *k) {
    bool was_up = k->state == USABLE;
    wire_close(k->wire);
    k->wire = NULL;
    resp_reader_free(k->reader);
    k->reader = NULL;
    k->state = RESTING;
    timer_clear(&k->watch);
    if (was_up && k->events.state)
        k->events.state(k->arg, false);
    while (k->n > 0) {
        struct waiting w = dequeue(k);
        if (w.done)
            w.done(w.arg, NULL);
    }
}

static uint64_t pause_ms(const struct link *k) {
    uint64_t ms = PAUSE_MS;
    for (unsigned i = 1; i < k->failures && ms < PAUSE_MOST_MS; i++)
        ms *= 2;
    if (ms > PAUSE_MOST_MS)
        ms = PAUSE_MOST_MS;
    return ms / 2 + (uint64_t)(random_unit() * (double)(ms / 2 + 1));
}

static void take_address(struct link *k) {
    const struct conf_redis *c = k->conf;
    k->hops = 0;
    if (k->address > c->naddresses && k->address - c->naddresses <= k->nlearned) {
        k->at = k->learned[k->address - c->naddresses - 1];
        return;
    }
    str_copy(k->at.host, sizeof k->at.host, str_of(c->host));
    k->at.port = c->port;
    if (k->address == 0 || k->address > c->naddresses)
        return;
    struct str s = str_of(c->addresses[k->address - 1]);
    const char *colon = strrchr(s.p, ':'), *bracket = strrchr(s.p, ']');
    uint64_t port = 6379;
    if (colon && (bracket ? colon > bracket : strchr(s.p, ':') == colon)) {
        str_u64(str_of(colon + 1), &port);
        s.n = (size_t)(colon - s.p);
    }
    if (s.n > 2 && s.p[0] == '[')
        s = str_make(s.p + 1, s.n - 2);
    str_copy(k->at.host, sizeof k->at.host, s);
    k->at.port = (uint16_t)port;
}

static void fail(struct link *k, const char *why) {
    char at[300];
    if (k->says && !k->away_told)
        log_event(LVL_WARN, "cluster",
                  "the cluster's server at %s is away: %s; this host's own share decides", where(k, at), why);
    else
        log_event(LVL_DEBUG, "cluster", "the cluster's server at %s: %s", where(k, at), why);
    k->away_told = true;
    if (k->state == USABLE && clock_ms() - k->usable_ms >= STEADY_MS)
        k->failures = 0;
    k->failures += k->failures < 32;
    close_wire(k);
    k->address = (k->address + 1) % (1 + k->conf->naddresses + k->nlearned);
    take_address(k);
    timer_set(&k->rest, pause_ms(k));
}

/* The server named another one. */
static void follow(struct link *k, struct str host, uint64_t port) {
    if (++k->hops > HOPS || port < 1 || port > 65535) {
        fail(k, "servers send us round in a circle");
        return;
    }
    close_wire(k);
    if (host.n && host.n < sizeof k->at.host)
        str_copy(k->at.host, sizeof k->at.host, host);
    k->at.port = (uint16_t)port;
    timer_set(&k->rest, k->hops > 2 ? pause_ms(k) : 0);
}

/* "MOVED 866 127.0.0.1:7001"; no host: the same */
static void follow_moved(struct link *k, struct str text) {
    const char *space = memrchr(text.p, ' ', text.n);
    struct str to = str_skip(text, space ? (size_t)(space - text.p) + 1 : text.n);
    const char *colon = to.n ? memrchr(to.p, ':', to.n) : NULL;
    uint64_t port = 0;
    if (colon)
        str_u64(str_skip(to, (size_t)(colon - to.p) + 1), &port);
    follow(k, str_make(to.p, colon ? (size_t)(colon - to.p) : 0), port);
}

/* --- greeting --- */

static bool refused(struct link *k, const struct resp *r, const char *what) {
    char why[200];
    if (resp_type(r) != RESP_ERROR)
        return false;
    struct str text = resp_text(r);
    if (text.n > 100)
        text.n = 100;
    snprintf(why, sizeof why, "%s: " STR_FMT, what, STR_ARG(text));
    fail(k, why);
    return true;
}

/* A Sentinel mostly has neither password nor users although its primary has: it shows below whether it is
 * one. What the server says here may repeat what it was told, and is for nobody's eyes. */
static void on_auth(void *arg, const struct resp *r) {
    struct link *k = arg;
    k->unknown = resp_type(r) == RESP_ERROR && str_find(resp_text(r), STR("without any password")) < 0;
}

static void on_select(void *arg, const struct resp *r) {
    struct link *k = arg;
    if (r && !k->unknown && str_find(resp_text(r), STR("unknown command")) < 0)
        refused(k, r, "it does not have that database");
}

static void on_primary(void *arg, const struct resp *r) {
    struct link *k = arg;
    uint64_t port = 0;
    if (!r)
        return;
    str_u64(resp_text(resp_at(r, 1)), &port);
    if (resp_n(r) == 2)
        follow(k, resp_text(resp_at(r, 0)), port);
    else
        fail(k, "the Sentinel knows no primary");
}

static void ask_sentinel(struct link *k, struct str name) {
    const struct str ask[] = {STR("SENTINEL"), STR("GET-MASTER-ADDR-BY-NAME"), name};
    put(k, ask, 3, on_primary, k);
}

static void learn(struct link *k, struct str host, uint64_t port) {
    struct place *p = &k->learned[k->nlearned];
    if (k->nlearned == LEARNED || host.n == 0 || host.n >= sizeof p->host || port < 1 || port > 65535)
        return;
    str_copy(p->host, sizeof p->host, host);
    p->port = (uint16_t)port;
    k->nlearned++;
}

/* One of them will be the primary when this one is gone. */
static void learn_all(struct link *k, const struct resp *replicas) {
    k->nlearned = 0;
    learn(k, str_of(k->at.host), k->at.port);
    for (size_t i = 0; i < resp_n(replicas); i++) {
        const struct resp *r = resp_at(replicas, i);
        uint64_t port = 0;
        str_u64(resp_text(resp_at(r, 1)), &port);
        learn(k, resp_text(resp_at(r, 0)), port);
    }
}

static void on_role(void *arg, const struct resp *r) {
    struct link *k = arg;
    struct str role = resp_text(resp_at(r, 0));
    if (!r || k->state != GREETING)
        return;
    if (str_is(role, "sentinel"))
        ask_sentinel(k, resp_text(resp_at(resp_at(r, 1), 0)));
    else if (k->unknown)
        fail(k, "it does not take user and password");
    else if (str_find(resp_text(r), STR("NOAUTH")) >= 0)
        refused(k, r, "it wants a password");
    else if (str_is(role, "master"))
        learn_all(k, resp_at(r, 2));
    else if (str_is(role, "slave"))
        follow(k, resp_text(resp_at(r, 1)), (uint64_t)resp_integer(resp_at(r, 2)));
}

/* Also says where the slot of our keys is, where there are slots. */
static void on_probe(void *arg, const struct resp *r) {
    struct link *k = arg;
    char at[300];
    if (!r || k->state != GREETING ||
        (resp_type(r) == RESP_ERROR && str_find(resp_text(r), STR("unknown command")) >= 0))
        return; /* a Sentinel */
    if (refused(k, r, "it cannot be used"))
        return;
    k->state = USABLE;
    k->slow = false;
    if (k->says)
        log_event(LVL_INFO, "cluster", "the cluster's server is %s", where(k, at));
    k->usable_ms = clock_ms();
    k->away_told = false;
    if (k->events.state)
        k->events.state(k->arg, true);
}

static void greet(void *arg) {
    struct link *k = arg;
    MAGIC_CHECK(k, LINK_MAGIC);
    const struct conf_redis *c = k->conf;
    char db[24], probe[96];
    snprintf(db, sizeof db, "%u", c->db);
    snprintf(probe, sizeof probe, "%s{c}", c->prefix);
    const struct str auth[] = {STR("AUTH"), str_of(c->user), str_of(c->password.text)},
                     old_auth[] = {STR("AUTH"), str_of(c->password.text)},
                     select[] = {STR("SELECT"), str_of(db)}, role[] = {STR("ROLE")},
                     ask[] = {STR("EXISTS"), str_of(probe)};
    k->state = GREETING;
    k->unknown = false;
    k->reader = resp_reader_new();
    if (*c->password.text)
        put(k, *c->user ? auth : old_auth, *c->user ? 3 : 2, on_auth, k);
    if (c->db)
        put(k, select, 2, on_select, k);
    put(k, role, 1, on_role, k);
    put(k, ask, 2, on_probe, k);
}

/* --- replies --- */

static bool is_push(const struct resp *r) {
    return resp_n(r) >= 3 && str_is(resp_text(resp_at(r, 0)), "message");
}

static void take(struct link *k, const struct resp *r) {
    if (is_push(r)) {
        if (k->events.push)
            k->events.push(k->arg, r);
        return;
    }
    if (k->n == 0) {
        fail(k, "it answers what was not asked");
        return;
    }
    struct str error = resp_type(r) == RESP_ERROR ? resp_text(r) : STR_NONE;
    bool moved = str_starts(error, "MOVED "),
         no_primary = str_find(error, STR("READONLY ")) >= 0 || str_starts(error, "MASTERDOWN") ||
                      str_starts(error, "CLUSTERDOWN") || str_starts(error, "LOADING");
    struct waiting w = dequeue(k);
    k->asked_ms = k->heard_ms;
    if (w.done && !(moved && k->state == GREETING))
        w.done(w.arg, r);
    if (moved && k->wire)
        follow_moved(k, error);
    else if (no_primary && k->state == USABLE)
        fail(k, "it is no primary any more, or cannot be used");
}

static void on_data(void *arg, const char *p, size_t n) {
    struct link *k = arg;
    struct resp *r;
    int rc = 0;
    MAGIC_CHECK(k, LINK_MAGIC);
    struct wire *mine = k->wire;
    k->heard_ms = clock_ms();
    k->slow = false;
    resp_reader_feed(k->reader, p, n);
    while (k->wire == mine && (rc = resp_reader_next(k->reader, &r)) == 1) {
        take(k, r);
        resp_free(r);
    }
    if (rc < 0 && k->wire == mine)
        fail(k, "it does not speak Redis' protocol");
}

static void on_down(void *arg, const char *why) {
    struct link *k = arg;
    char text[200];
    MAGIC_CHECK(k, LINK_MAGIC);
    snprintf(text, sizeof text, "%s", why); /* the wire goes */
    fail(k, text);
}

static const struct wire_sink sink = {greet, on_data, on_down};

static void open_wire(struct link *k) {
    const struct conf_redis *c = k->conf;
    const struct wire_to to = {.path = k->hops == 0 && k->address == 0 ? c->path : "",
                               .host = k->at.host,
                               .port = k->at.port,
                               .tls = c->tls,
                               .verify = c->verify,
                               .ca = c->ca,
                               .certificate = c->client_certificate,
                               .key = c->client_key};
    k->state = OPENING;
    k->began_ms = k->heard_ms = k->again_ms = clock_ms();
    k->wire = wire_open(k->loop, &to, &sink, k);
    timer_set(&k->watch, WATCH_MS);
}

static void after_rest(void *arg) {
    struct link *k = arg;
    MAGIC_CHECK(k, LINK_MAGIC);
    open_wire(k);
}

static void on_role_again(void *arg, const struct resp *r) {
    struct link *k = arg;
    struct str role = resp_text(resp_at(r, 0));
    if (str_is(role, "master"))
        learn_all(k, resp_at(r, 2));
    else if (str_is(role, "slave") && k->state == USABLE)
        fail(k, "it is no primary any more");
}

/* Whether it is still there, and what it is. Who has subscribed may ask for the former only. */
static void ask_again(struct link *k, uint64_t now) {
    const struct str ping[] = {STR("PING")}, role[] = {STR("ROLE")};
    if (k->events.push)
        put(k, ping, 1, NULL, NULL);
    else
        put(k, role, 1, on_role_again, k);
    k->again_ms = now;
}

static void watch(void *arg) {
    struct link *k = arg;
    uint64_t now = clock_ms();
    MAGIC_CHECK(k, LINK_MAGIC);
    if (k->state != USABLE && now - k->began_ms >= GREET_MS) {
        fail(k, "it does not answer");
        return;
    }
    if (k->state == USABLE && k->n > 0 && now - k->asked_ms >= STALL_MS) {
        fail(k, "it does not answer any more");
        return;
    }
    if (k->state == USABLE && now - k->again_ms >= AGAIN_MS)
        ask_again(k, now);
    timer_set(&k->watch, WATCH_MS);
}

/* --- from outside --- */

struct link *link_new(struct loop *l, const struct conf_redis *c, bool says, const struct link_events *e,
                      void *arg) {
    struct link *k = mem_alloc(sizeof *k);
    *k = (struct link){.magic = LINK_MAGIC, .loop = l, .conf = c, .says = says, .events = *e, .arg = arg};
    timer_init(&k->rest, l, after_rest, k);
    timer_init(&k->watch, l, watch, k);
    take_address(k);
    timer_set(&k->rest, 0);
    return k;
}

void link_free(struct link *k) {
    if (!k)
        return;
    MAGIC_CHECK(k, LINK_MAGIC);
    k->events = (struct link_events){NULL, NULL};
    close_wire(k);
    timer_free(&k->rest);
    timer_free(&k->watch);
    mem_free(k->waiting);
    k->magic = 0;
    mem_free(k);
}

bool link_up(const struct link *k) {
    return k->state == USABLE;
}

bool link_failed(const struct link *k) {
    return k->failures > 0;
}

bool link_slow(const struct link *k) {
    return k->slow;
}

void link_late(struct link *k) {
    k->slow = true;
}

bool link_send(struct link *k, const struct str *arg, size_t n, link_done *done, void *done_arg) {
    MAGIC_CHECK(k, LINK_MAGIC);
    if (k->state != USABLE || k->n >= WAITING_MOST || wire_waiting(k->wire) > UNSENT_MOST)
        return false;
    put(k, arg, n, done, done_arg);
    return true;
}
