/* One entry is the turn as a list of items, each a kind and counted texts: thinking, redacted thinking, and
 * the places of text and calls between them, with their signatures. */
#include "policy/vault.h"

#include <endian.h>

#include "base/clock.h"
#include "base/hash.h"
#include "shm/ring.h"
#include "shm/slot.h"
#include "store/record.h"
#include "store/replies.h"

enum {
    ENTRY_MAX = 1 << 20, /* of one turn */
    CALLS_MAX = 64,      /* of one turn that are known by their ids */
    LOOKUPS_MAX = 512,   /* of one request: a conversation of more calls is hardly one */
    FIELDS = 5,
};

bool vault_on(const struct plane *p) {
    return p->conf->vault.ttl > 0;
}

static void vault_key(struct arena *a, const struct caller *c, struct str call, uint8_t key[INDEX_KEY]) {
    struct str text = arena_printf(a, "vault%c%s%c" STR_FMT, '\0', c->key->id, '\0', STR_ARG(call));
    sha256(text.p, text.n, key);
}

/* --- one turn as bytes --- */

static void put_text(struct buf *b, struct str s) {
    uint32_t n = htole32((uint32_t)s.n);
    buf_add(b, &n, sizeof(n));
    buf_adds(b, s);
}

static bool get_text(struct str *from, struct str *s) {
    uint32_t n;
    if (from->n < sizeof(n))
        return false;
    memcpy(&n, from->p, sizeof(n));
    n = le32toh(n);
    *from = str_skip(*from, sizeof(n));
    if (n > from->n)
        return false;
    *s = str_make(from->p, n);
    *from = str_skip(*from, n);
    return true;
}

static bool is_thinking(const struct part *p) {
    return p->kind == PART_THINKING || p->kind == PART_THINKING_REDACTED;
}

static void put_part(struct buf *b, const struct part *p) {
    const struct str fields[FIELDS] = {is_thinking(p) ? p->text : STR_NONE, p->id, p->data, p->signature,
                                       p->origin};
    buf_addc(b, (char)p->kind);
    for (size_t i = 0; i < FIELDS; i++)
        put_text(b, fields[i]);
}

static bool get_part(struct str *from, struct part *p) {
    struct str fields[FIELDS];
    if (from->n == 0)
        return false;
    *p = (struct part){.kind = (enum part_kind)from->p[0]};
    *from = str_skip(*from, 1);
    for (size_t i = 0; i < FIELDS; i++)
        if (!get_text(from, &fields[i]))
            return false;
    p->text = fields[0];
    p->id = fields[1];
    p->data = fields[2];
    p->signature = fields[3];
    p->origin = fields[4];
    return true;
}

/* --- keeping --- */

static void store(struct plane *p, struct arena *a, const struct caller *c, struct str call,
                  struct str body) {
    int64_t now = clock_wall_ms();
    struct reply_head h = {
        .expires_wall_ms = now + (int64_t)p->conf->vault.ttl,
        .created_wall_ms = now,
        .model_hash = hash64("vault", 5),
        .owner_hash = hash64(c->key->id, strlen(c->key->id)),
        .kept = true,
        .content_type = STR("vault"),
        .usage = USAGE_NONE,
    };
    vault_key(a, c, call, h.key);
    struct buf packed;
    buf_init(&packed, body.n + 4096);
    reply_pack(&packed, &h, body);
    struct index_entry e = {
        .expires_wall_ms = h.expires_wall_ms,
        .bytes = buf_len(&packed),
        .kept = true,
        .slot = slot_mine(p->shm),
        .model_hash = h.model_hash,
        .owner_hash = h.owner_hash,
        .created_wall_ms = (uint64_t)now,
    };
    memcpy(e.key, h.key, INDEX_KEY);
    /* As the cache's: the scribe throws away what it does not find in the index. */
    if (buf_ok(&packed) && ring_where(p->shm, buf_len(&packed), &e.pos) &&
        index_put(p->shm, &e, shm_cache_epoch(p->shm), now))
        ring_put(p->shm, RECORD_REPLY, buf_str(&packed), STR_NONE, NULL);
    buf_free(&packed);
}

static bool worth(const struct message *m) {
    bool state = false, calls = false;
    for (const struct part *p = m->parts; p; p = p->next) {
        state = state || is_thinking(p) || p->signature.n > 0;
        calls = calls || (p->kind == PART_TOOL_CALL && p->id.n > 0);
    }
    return state && calls;
}

void vault_keep(struct plane *p, struct arena *a, const struct caller *c, const struct message *turn) {
    struct buf body;
    unsigned n = 0;
    if (!vault_on(p) || !c->key || !worth(turn))
        return;
    buf_init(&body, ENTRY_MAX);
    for (const struct part *x = turn->parts; x; x = x->next)
        put_part(&body, x);
    for (const struct part *x = turn->parts; x && buf_ok(&body) && n < CALLS_MAX; x = x->next)
        if (x->kind == PART_TOOL_CALL && x->id.n > 0) {
            store(p, a, c, x->id, buf_str(&body));
            n++;
        }
    buf_free(&body);
}

/* --- putting back --- */

static bool is_state(const struct part *p) {
    return p->kind == PART_THINKING_REDACTED || (p->kind == PART_THINKING && p->signature.n > 0);
}

static size_t count_state(const struct message *m, struct str origin) {
    size_t n = 0;
    for (const struct part *p = m->parts; p; p = p->next)
        n += is_state(p) && (p->origin.n == 0 || str_eq(p->origin, origin));
    return n;
}

/* Does the entry hold thinking that the message lacks? What the client itself gave back is the truth, if it
 * is all that there was: a dialect may have a place for some of it only. */
static bool brings_thinking(const struct message *m, struct str body) {
    struct part item;
    struct str origin = STR_NONE;
    size_t n = 0;
    bool thinks = false;
    while (body.n > 0 && get_part(&body, &item)) {
        if (is_thinking(&item) && !thinks)
            origin = item.origin;
        thinks = thinks || is_thinking(&item);
        n += is_state(&item);
    }
    size_t have = thinks ? count_state(m, origin) : 0;
    return thinks && (have == 0 || have < n);
}

static struct part *call_of(const struct message *m, struct str id) {
    for (struct part *p = m->parts; p; p = p->next)
        if (p->kind == PART_TOOL_CALL && str_eq(p->id, id))
            return p;
    return NULL;
}

/* Text that a client made of the thinking, and what it gave back of a part of it, stands for nothing once all
 * is there. */
static void drop_thinking(struct message *m) {
    struct part **link = &m->parts;
    m->last = NULL;
    while (*link) {
        if (is_thinking(*link)) {
            *link = (*link)->next;
            continue;
        }
        m->last = *link;
        link = &(*link)->next;
    }
}

static void insert(struct chat *chat, struct message *m, struct part *after, struct part *p) {
    struct part *copy = arena_alloc(chat->arena, sizeof(*copy));
    *copy = *p;
    copy->next = after ? after->next : m->parts;
    if (after)
        after->next = copy;
    else
        m->parts = copy;
    if (!copy->next)
        m->last = copy;
}

static struct part *at_or_first(struct message *m, struct part *after) {
    return after ? after->next : m->parts;
}

static bool well_formed(struct str body) {
    struct part p;
    while (body.n > 0)
        if (!get_part(&body, &p))
            return false;
    return true;
}

static void sign(struct part *p, const struct part *from) {
    if (!p || p->signature.n || !from->signature.n)
        return;
    p->signature = from->signature;
    p->origin = from->origin;
}

static void merge(struct chat *chat, struct message *m, struct str body) {
    struct part item, *after = NULL;
    if (!well_formed(body))
        return;
    bool thinks = brings_thinking(m, body);
    if (thinks)
        drop_thinking(m);
    while (body.n > 0 && get_part(&body, &item)) {
        if (is_thinking(&item) && thinks) {
            insert(chat, m, after, &item);
            after = at_or_first(m, after);
        } else if (item.kind == PART_TOOL_CALL) {
            struct part *call = call_of(m, item.id);
            sign(call, &item);
            after = call ? call : after;
        } else if (item.kind == PART_TEXT) {
            struct part *next = at_or_first(m, after);
            if (next && next->kind == PART_TEXT) {
                sign(next, &item);
                after = next;
            }
        }
    }
}

static bool find_entry(struct plane *p, struct arena *a, const struct caller *c, struct str call,
                       struct str *body) {
    uint8_t key[INDEX_KEY];
    struct reply_head h;
    vault_key(a, c, call, key);
    return replies_find(a, p->shm, plane_cache(p), key, clock_wall_ms(), &h, body) &&
           str_is(h.content_type, "vault");
}

static void look_up(struct plane *p, const struct caller *c, struct chat *chat, struct message *m,
                    unsigned *left) {
    struct str body;
    for (struct part *x = m->parts; x && *left > 0; x = x->next) {
        if (x->kind != PART_TOOL_CALL || x->id.n == 0 || x->signature.n > 0)
            continue;
        --*left;
        if (!find_entry(p, chat->arena, c, x->id, &body))
            continue;
        merge(chat, m, body);
        return;
    }
}

void vault_restore(struct plane *p, const struct caller *c, struct chat *chat) {
    unsigned left = LOOKUPS_MAX;
    if (!vault_on(p) || !c->key)
        return;
    for (struct message *m = chat->messages; m; m = m->next)
        if (m->role == ROLE_ASSISTANT)
            look_up(p, c, chat, m, &left);
}

struct str vault_reasoning(struct plane *p, struct arena *a, const struct caller *c, struct str call,
                           const char *origin) {
    struct str body, s;
    struct part item;
    struct buf text;
    if (!vault_on(p) || !c->key || !find_entry(p, a, c, call, &body) || !well_formed(body))
        return STR_NONE;
    buf_init(&text, ENTRY_MAX);
    while (body.n > 0 && get_part(&body, &item)) {
        bool its = item.kind == PART_THINKING && (!origin || str_is(item.origin, origin));
        if (its && origin && item.signature.n > 0 && buf_len(&text) > 0)
            buf_addc(&text, ',');
        if (its)
            buf_adds(&text, origin ? item.signature : item.text);
    }
    s = arena_dup(a, buf_str(&text));
    buf_free(&text);
    return s;
}
