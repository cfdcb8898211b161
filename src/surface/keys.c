/* /admin/v1/keys: gateway keys that live in the state directory. A change is made by the scribe and answered
 * once it is committed; by then all workers go by it. The secret is told once, in the answer that made it; of
 * it only the hash is kept. Keys of the configuration are shown, and changed where they stand. */
#include "body.h"

#include "base/clock.h"
#include "base/die.h"
#include "base/hash.h"
#include "policy/keyring.h"
#include "query.h"
#include "shm/ring.h"
#include "shm/slot.h"
#include "store/record.h"

enum {
    POLL_MS = 5,
    MADE_MS =
        7000, /* the scribe makes no change that has waited longer: longer than it takes to be forked anew */
    PATIENCE_MS = 8000, /* and then nobody waits for it */
    SECRET_BYTES = 32,
};
#define SECRET_PREFIX "sk-penstock-"
#define GRACE_MOST_MS (INT64_C(90) * 86400000)

/* --- how keys are shown --- */

struct shown {
    const struct stored_key *key;
    const char *source;
    bool shadowed;
    struct str secret; /* STR_NONE: not told */
};

static void write_time(struct jw *w, const char *name, int64_t ms) {
    char text[CLOCK_RFC3339_SIZE];
    clock_rfc3339(text, ms);
    jw_kz(w, name, text);
}

static void write_key(struct jw *w, const struct shown *s) {
    const struct stored_key *k = s->key;
    int64_t now = clock_wall_ms();
    jw_obj(w);
    stored_key_write(w, k, false);
    jw_kz(w, "source", s->source);
    jw_kbool(w, "expired", k->key.expires && k->key.expires <= now);
    if (k->created_ms) {
        write_time(w, "created_at", k->created_ms);
        write_time(w, "changed_at", k->changed_ms);
    }
    if (k->old_until_ms > now)
        write_time(w, "old_key_until", k->old_until_ms);
    if (s->shadowed)
        jw_kbool(w, "shadowed", true);
    if (s->secret.n)
        jw_kstr(w, "key", s->secret);
    jw_obj_end(w);
}

static void write_configured(struct jw *w, const struct conf_gateway_key *c) {
    const struct stored_key k = {.key = *c};
    write_key(w, &(struct shown){.key = &k, .source = "config"});
}

static void write_stored(struct jw *w, const struct ring_key *k) {
    write_key(w, &(struct shown){.key = &k->stored, .source = "stored", .shadowed = k->shadowed});
}

/* --- looking --- */

static void refuse(struct surface_call *c, int status, const char *why) {
    struct fault f;
    fault_set(&f, c->x->arena, status == 503 ? FAULT_OVERLOADED : FAULT_BAD_REQUEST, "%s", why);
    f.status = status;
    surface_fault(c, &f);
}

/* The stored keys; else answered. */
static const struct keyring *ring_of(struct surface_call *c) {
    const struct keyring *r = keyring_now(c->plane);
    if (!r)
        refuse(c, 503,
               "The store of keys cannot be read at the moment: the scribe may not have opened it yet.");
    return r;
}

static const struct conf_gateway_key *configured(struct plane *p, struct str id) {
    for (size_t i = 0; i < p->nkeys; i++)
        if (str_is(id, p->keys[i].conf->id))
            return p->keys[i].conf;
    return NULL;
}

void surface_keys(struct surface_call *c) {
    const struct keyring *r = ring_of(c);
    struct buf b;
    struct jw w;
    if (!r)
        return;
    buf_init(&b, 0);
    jw_init(&w, &b);
    jw_obj(&w);
    jw_key(&w, "keys");
    jw_arr(&w);
    for (size_t i = 0; i < c->plane->nkeys; i++)
        write_configured(&w, c->plane->keys[i].conf);
    for (size_t i = 0; i < keyring_size(r); i++)
        write_stored(&w, keyring_at(r, i));
    jw_arr_end(&w);
    jw_obj_end(&w);
    surface_json(c, 200, buf_str(&b));
    buf_free(&b);
}

void surface_key(struct surface_call *c) {
    const struct conf_gateway_key *conf = configured(c->plane, c->rest);
    const struct keyring *r = conf ? NULL : ring_of(c);
    const struct ring_key *k = keyring_by_id(r, c->rest);
    struct buf b;
    struct jw w;
    if (!conf && !r)
        return;
    if (!conf && !k) {
        refuse(c, 404, "There is no such key.");
        return;
    }
    buf_init(&b, 0);
    jw_init(&w, &b);
    if (conf)
        write_configured(&w, conf);
    else
        write_stored(&w, k);
    surface_json(c, 200, buf_str(&b));
    buf_free(&b);
}

/* --- a change, and waiting for it --- */

struct changing {
    struct surface_call call;
    struct timer timer;
    struct stored_key key; /* as it shall be */
    struct key_change change;
    uint64_t pos; /* of its record in my ring */
    uint64_t until_ms;
    struct str secret;
    int status; /* of the answer when it is done */
};

static void drop_timer(void *arg) {
    timer_free(arg);
}

static void gone(struct exchange *x) {
    struct changing *g = x->owner;
    timer_clear(&g->timer); /* the change goes its way */
}

static void answer_done(struct changing *g) {
    struct buf b;
    struct jw w;
    buf_init(&b, 0);
    buf_room(&b, 4096);
    jw_init(&w, &b);
    if (g->change.value.n) {
        write_key(&w, &(struct shown){.key = &g->key, .source = "stored", .secret = g->secret});
    } else {
        jw_obj(&w);
        jw_kstr(&w, "id", g->change.id);
        jw_kbool(&w, "deleted", true);
        jw_obj_end(&w);
    }
    surface_json(&g->call, g->status, buf_str(&b));
    buf_wipe(&b);
}

static void answer(struct changing *g, enum key_outcome o) {
    struct surface_call *c = &g->call;
    switch (o) {
    case KEY_DONE:
        answer_done(g);
        break;
    case KEY_TAKEN:
        refuse(c, 409, "There is a key of this id.");
        break;
    case KEY_GONE:
        refuse(c, 404, "There is no such key.");
        break;
    case KEY_CHANGED:
        refuse(c, 409, "The key was changed by somebody else meanwhile: nothing was done.");
        break;
    case KEY_FULL:
        refuse(c, 409, "There are as many keys as the gateway stores.");
        break;
    case KEY_LATE:
    case KEY_UNKNOWN:
        refuse(
            c, 503,
            "The change was not made: the scribe, which stores the keys, does not answer or cannot write.");
    }
}

static enum key_outcome outcome(struct changing *g) {
    struct db *d = plane_keys(g->call.plane);
    if (!d)
        return KEY_UNKNOWN;
    struct db_txn *t = db_begin(d, false);
    enum key_outcome o = keys_outcome(t, g->change.number);
    db_end(t);
    return o;
}

/* What lies behind the scribe's position was made, or could not be. */
static void look(void *arg) {
    struct changing *g = arg;
    struct shm *s = g->call.plane->shm;
    bool taken = ring_tail(s, slot_mine(s)) > g->pos, late = clock_ms() >= g->until_ms;
    if (taken || late)
        answer(g, outcome(g));
    else
        timer_set(&g->timer, POLL_MS);
}

/* "created by key boss, request req_..." */
static struct str audit_line(struct surface_call *c, const char *what, struct str id) {
    return arena_printf(c->x->arena, "key " STR_FMT " %s by key %.80s, request " STR_FMT, STR_ARG(id), what,
                        c->caller.key->id, STR_ARG(c->request_id));
}

static bool send(struct changing *g) {
    struct shm *s = g->call.plane->shm;
    struct buf packed;
    buf_init(&packed, KEY_BYTES + 1024);
    key_change_pack(&packed, &g->change);
    bool ok = buf_ok(&packed) && ring_put(s, RECORD_KEY, buf_str(&packed), STR_NONE, &g->pos);
    buf_free(&packed);
    return ok;
}

static void start(struct changing *g, const char *what, int status) {
    struct surface_call *c = &g->call;
    struct str id = str_of(g->key.key.id);
    while (g->change.number == 0)
        random_bytes(&g->change.number, sizeof g->change.number);
    g->change.until_ms = clock_wall_ms() + MADE_MS;
    g->change.id = id;
    g->change.audit = audit_line(c, what, id);
    g->status = status;
    if (!send(g)) {
        refuse(c, 503, "The change was not made: too much waits for the scribe.");
        return;
    }
    g->until_ms = clock_ms() + PATIENCE_MS;
    c->x->owner = g;
    c->x->on_gone = gone;
    timer_init(&g->timer, c->plane->loop, look, g);
    arena_cleanup(c->x->arena, drop_timer, &g->timer);
    timer_set(&g->timer, POLL_MS);
}

/* Writes the key as it shall be; false: answered. */
static bool write_value(struct changing *g) {
    struct arena *a = g->call.x->arena;
    struct buf b;
    struct jw w;
    buf_init(&b, KEY_BYTES);
    jw_init(&w, &b);
    jw_obj(&w);
    stored_key_write(&w, &g->key, true);
    jw_obj_end(&w);
    bool ok = buf_ok(&b);
    if (ok)
        g->change.value = arena_dup(a, buf_str(&b));
    else
        refuse(&g->call, 400, "The key is larger than 16 KiB.");
    buf_free(&b);
    return ok;
}

static struct changing *changing_new(struct surface_call *c) {
    struct changing *g = arena_alloc(c->x->arena, sizeof *g);
    g->call = *c;
    return g;
}

/* --- secrets --- */

static void wipe(void *arg) {
    struct changing *g = arg;
    mem_wipe((char *)(uintptr_t)g->secret.p, g->secret.n);
}

/* 256 random bits. */
static void new_secret(struct changing *g) {
    uint8_t random[SECRET_BYTES];
    struct buf text;
    buf_init(&text, 0);
    buf_room(&text, 128); /* does not move: no copies are left behind */
    random_bytes(random, sizeof random);
    BUF_ADD(&text, SECRET_PREFIX);
    base64url_encode(&text, random, sizeof random);
    g->secret = arena_dup(g->call.x->arena, buf_str(&text));
    arena_cleanup(g->call.x->arena, wipe, g);
    sha256(g->secret.p, g->secret.n, g->key.key.hash);
    mem_wipe(random, sizeof random);
    buf_wipe(&text);
}

/* --- what may be asked for --- */

/* The body's members over the key; false: answered. */
static bool take_members(struct changing *g, struct str json) {
    struct str param;
    const char *why;
    if (stored_key_read(g->call.x->arena, json, false, &g->key, &param, &why))
        return true;
    body_wrong(&g->call, param, why);
    return false;
}

static bool id_is_free(struct changing *g) {
    struct arena *a = g->call.x->arena;
    struct str id = str_of(g->key.key.id);
    if (id.n == 0) {
        uint8_t random[6];
        char hex[2 * sizeof random + 1];
        random_bytes(random, sizeof random);
        hex_encode(hex, random, sizeof random);
        g->key.key.id = arena_printf(a, "key-%s", hex).p;
    } else if (configured(g->call.plane, id) || str_is(id, "anonymous")) {
        refuse(&g->call, 409, "Configuration has a key of this id.");
        return false;
    }
    return true;
}

/* Without a name of its own its limits and its budget would be shared with others. */
static bool has_room(struct changing *g) {
    if (keyring_entity(g->call.plane->shm, str_of(g->key.key.id)) != SHM_NONE)
        return true;
    refuse(&g->call, 409,
           "So many keys were made since the gateway started that it can tell no more apart; "
           "restart it.");
    return false;
}

static void create(struct surface_call *c, struct str json) {
    struct changing *g = changing_new(c);
    stored_key_init(&g->key);
    if (!take_members(g, json) || !id_is_free(g) || !has_room(g))
        return;
    g->key.created_ms = g->key.changed_ms = clock_wall_ms();
    new_secret(g);
    if (write_value(g))
        start(g, "created", 201);
}

/* The change of a key that is there; NULL: answered. */
static struct changing *changing_of(struct surface_call *c) {
    const struct conf_gateway_key *conf = configured(c->plane, c->rest);
    const struct keyring *r = conf ? NULL : ring_of(c);
    const struct ring_key *k = keyring_by_id(r, c->rest);
    if (conf)
        refuse(c, 409, "This key is the configuration's: it is changed there.");
    else if (r && !k)
        refuse(c, 404, "There is no such key.");
    if (!k)
        return NULL;
    struct changing *g = changing_new(c);
    keyring_hold(r, c->x->arena);
    g->key = k->stored;
    g->key.changed_ms = clock_wall_ms();
    g->change.from = k->stored.version;
    return g;
}

static void change(struct surface_call *c, struct str json) {
    struct changing *g = changing_of(c);
    const char *id = g ? g->key.key.id : NULL;
    if (!g || !take_members(g, json))
        return;
    if (strcmp(id, g->key.key.id) != 0)
        body_wrong(c, STR("id"), "a key keeps its id");
    else if (write_value(g))
        start(g, "changed", 200);
}

/* "90s", "15m", "24h", "7d" */
static bool take_grace(struct surface_call *c, struct str json, int64_t *ms) {
    struct json_value v;
    struct str s = json_member(json, "grace", &v) ? json_text(c->x->arena, v) : STR_NONE;
    return query_age(s, (uint64_t *)ms) && *ms >= 0 && *ms <= GRACE_MOST_MS;
}

static void rotate(struct surface_call *c, struct str json) {
    static const char *const names[] = {"grace", NULL};
    int64_t grace;
    if (!body_names(c, json, names))
        return;
    if (!take_grace(c, json, &grace)) {
        body_wrong(c, STR("grace"), "how long the old key stays good must be said: 0s, 15m, 24h ... 90d");
        return;
    }
    struct changing *g = changing_of(c);
    if (!g)
        return;
    memcpy(g->key.old_hash, g->key.key.hash, sizeof g->key.old_hash);
    g->key.old_until_ms = grace ? g->key.changed_ms + grace : 0;
    if (!grace)
        memset(g->key.old_hash, 0, sizeof g->key.old_hash);
    new_secret(g);
    if (write_value(g))
        start(g, "rotated", 200);
}

static void revoke(struct surface_call *c, struct str json) {
    static const char *const names[] = {NULL};
    struct changing *g = body_names(c, json, names) ? changing_of(c) : NULL;
    if (g)
        start(g, "revoked", 200);
}

void surface_key_create(struct surface_call *c) {
    body_read(c, create);
}

void surface_key_change(struct surface_call *c) {
    body_read(c, change);
}

void surface_key_rotate(struct surface_call *c) {
    body_read(c, rotate);
}

void surface_key_revoke(struct surface_call *c) {
    body_read(c, revoke);
}
