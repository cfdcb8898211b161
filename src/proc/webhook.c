/* One message at a time. What is refused for good (a status of 400, say) is given up and counted; what may
 * be taken later is sent again after a pause that doubles, with jitter, and given up when it was sent often
 * enough, so that no message keeps the others back for ever. A webhook that is dead is logged once. */
#include "webhook.h"

#include "base/clock.h"
#include "base/die.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/log.h"
#include "courier.h"
#include "shm/alert.h"
#include "shm/stat.h"
#include <inttypes.h>
#include <stdio.h>

#define WEBHOOK_MAGIC 0x77656268u
enum {
    PAUSE_MS = 500,
    PAUSE_MOST_MS = 300000,
    TRIES_MOST = 16, /* about an hour */
    ANSWER_MOST = 64 << 10,
    SIGNATURE_SIZE = 2 + 20 + 4 + 2 * SHA256_SIZE + 1, /* t=...,v1=... */
};

struct webhook {
    unsigned magic;
    struct shm *shm;
    const struct conf *conf;
    struct courier *courier;
    struct timer timer;
    struct buf body;
    char signature[SIGNATURE_SIZE];
    struct call_header header;
    uint64_t id;   /* of the alert that is being told ... */
    unsigned what; /* ... and which of its two messages */
    unsigned tries;
    bool dead;
};

/* The message that is to be told next: the oldest. */
static bool next_message(const struct webhook *w, struct alert *out, unsigned *what) {
    struct alert a;
    int64_t oldest = INT64_MAX;
    for (uint32_t i = 0; i < ALERT_PLACES; i++) {
        if (!alert_at(w->shm, i, &a))
            continue;
        bool raised = !(a.told & ALERT_SENT_RAISED);
        if (!raised && (a.recovered_ms == 0 || (a.told & ALERT_SENT_RECOVERED)))
            continue;
        int64_t at = raised ? a.raised_ms : a.recovered_ms;
        if (at > oldest || (at == oldest && a.id > out->id))
            continue;
        oldest = at;
        *out = a;
        *what = raised ? ALERT_SENT_RAISED : ALERT_SENT_RECOVERED;
    }
    return oldest != INT64_MAX;
}

static void put_time(struct jw *j, const char *key, int64_t wall_ms) {
    char text[CLOCK_RFC3339_SIZE];
    clock_rfc3339(text, wall_ms);
    jw_kz(j, key, text);
}

static void write_body(struct webhook *w, const struct alert *a) {
    struct jw j;
    char id[48];
    snprintf(id, sizeof id, "%016" PRIx64 "-%" PRIu64, shm_instance(w->shm), a->id);
    bool raised = w->what == ALERT_SENT_RAISED;
    buf_clear(&w->body);
    jw_init(&j, &w->body);
    jw_obj(&j);
    jw_kz(&j, "id", id);
    jw_kz(&j, "alert", alert_name(a->kind));
    jw_kz(&j, "subject", a->subject);
    jw_kz(&j, "state", raised ? "raised" : "recovered");
    jw_key(&j, "value");
    jw_real(&j, a->value);
    jw_key(&j, "threshold");
    jw_real(&j, a->threshold);
    jw_kz(&j, "unit", alert_unit(a->kind));
    put_time(&j, "raised_at", a->raised_ms);
    if (!raised)
        put_time(&j, "recovered_at", a->recovered_ms);
    jw_obj_end(&j);
}

/* The time of sending is signed too, so that what was overheard is of no use later. */
static void sign(struct webhook *w) {
    uint8_t mac[SHA256_SIZE];
    struct buf text;
    int64_t now = clock_wall_ms() / 1000;
    buf_init(&text, 0);
    buf_printf(&text, "%" PRId64 ".", now);
    buf_adds(&text, buf_str(&w->body));
    hmac_sha256(str_of(w->conf->alerts.secret.text), buf_str(&text), mac);
    int n = snprintf(w->signature, sizeof w->signature, "t=%" PRId64 ",v1=", now);
    MUST(n > 0 && (size_t)n + 2 * SHA256_SIZE < sizeof w->signature);
    hex_encode(w->signature + n, mac, sizeof mac);
    buf_free(&text);
    w->header = (struct call_header){STR("x-penstock-signature"), str_of(w->signature)};
}

static void told(struct webhook *w, bool taken) {
    stat_add(w->shm, taken ? STAT_WEBHOOK_SENT : STAT_WEBHOOK_LOST, 1);
    alert_told(w->shm, w->id, w->what);
    w->id = 0;
    w->tries = 0;
}

static bool may_be_taken_later(const struct courier_answer *a) {
    return a->error != CALL_OK || a->status >= 500 || a->status == 408 || a->status == 429;
}

static void note_life(struct webhook *w, bool dead, const struct courier_answer *a) {
    if (dead && !w->dead)
        log_event(LVL_WARN, "webhook", "alerts.webhook does not take what it is told (%s, status %d)",
                  call_error_text(a->error), a->status);
    if (!dead && w->dead)
        log_event(LVL_INFO, "webhook", "alerts.webhook takes what it is told again");
    w->dead = dead;
}

static uint64_t pause_of(unsigned tries) {
    uint64_t pause = PAUSE_MS;
    while (tries-- > 1 && pause < PAUSE_MOST_MS)
        pause *= 2;
    if (pause > PAUSE_MOST_MS)
        pause = PAUSE_MOST_MS;
    return pause / 2 + (uint64_t)(random_unit() * (double)pause / 2);
}

static void on_answer(void *arg, const struct courier_answer *a) {
    struct webhook *w = arg;
    MAGIC_CHECK(w, WEBHOOK_MAGIC);
    bool taken = a->status >= 200 && a->status < 300; /* whatever became of the answer's body */
    note_life(w, !taken, a);
    if (taken || !may_be_taken_later(a) || ++w->tries >= TRIES_MOST) {
        told(w, taken);
        timer_set(&w->timer, 0);
        return;
    }
    stat_add(w->shm, STAT_WEBHOOK_RETRIES, 1);
    timer_set(&w->timer, pause_of(w->tries));
}

static void tell(void *arg) {
    struct webhook *w = arg;
    struct alert a = {.id = 0};
    unsigned what = 0;
    MAGIC_CHECK(w, WEBHOOK_MAGIC);
    if (courier_busy(w->courier) || !next_message(w, &a, &what))
        return;
    if (a.id != w->id || what != w->what)
        w->tries = 0;
    w->id = a.id;
    w->what = what;
    write_body(w, &a);
    bool secret = *w->conf->alerts.secret.text != '\0';
    if (secret)
        sign(w);
    courier_send(w->courier, buf_str(&w->body), &w->header, secret ? 1 : 0, on_answer, w);
}

void webhook_look(struct webhook *w) {
    if (w && !courier_busy(w->courier) && !timer_pending(&w->timer))
        tell(w);
}

struct webhook *webhook_start(struct loop *l, struct multi *m, struct shm *s, const struct conf *c) {
    char err[256];
    if (!c->alerts.webhook || !*c->alerts.webhook)
        return NULL;
    struct courier *courier = courier_new(m, c->alerts.webhook, ANSWER_MOST, err);
    if (!courier) {
        log_event(LVL_ERROR, "webhook", "alerts.webhook: %s", err);
        return NULL;
    }
    struct webhook *w = mem_alloc(sizeof(*w));
    *w = (struct webhook){.magic = WEBHOOK_MAGIC, .shm = s, .conf = c, .courier = courier};
    buf_init(&w->body, 64 << 10);
    timer_init(&w->timer, l, tell, w);
    return w;
}

void webhook_stop(struct webhook *w) {
    if (!w)
        return;
    courier_free(w->courier);
    timer_free(&w->timer);
    buf_free(&w->body);
    w->magic = 0;
    mem_free(w);
}
