#include "share.h"

#include "base/clock.h"
#include "base/die.h"
#include "request.h"
#include "shm/claim.h"
#include "shm/stat.h"
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <unistd.h>

enum {
    FIRST_MS = 2, /* between two looks, and twice as long each time nothing is new */
    MOST_MS = 32,
    TIMES = 2,            /* so many leaders are waited for */
    MOST_WAIT_MS = 60000, /* for a first byte, but not more than a quarter of what the provider may take */
    LOOK_MS = 20,         /* a leader looks for those who wait to be told of its stream */
    LEFT_MS = 500,        /* and when its client has left, for whom to go on */
    PIECE = 16 << 10,
    PIECES = 8, /* of one turn */
};

/* The file: its head, the two names, the bytes. What the head tells of has been written before. The last
 * bytes are apart: some dialects tell in them what came of a request, and of each something else. */
enum live_state { LIVE_RUNNING, LIVE_COMPLETE, LIVE_FAILED };
struct live_head {
    uint32_t magic, holder; /* as claim_holder() */
    uint32_t state;
    uint32_t provider_n, model_n;
    uint64_t end;    /* of the bytes, in the file */
    uint64_t last_n; /* and of the last ones behind them */
    struct usage usage;
    int64_t cost_nano;
};
#define LIVE_MAGIC 0x6c697665u
#define LIVE_NAME  "live-%016llx"

struct share {
    bool leads, follows, timed;
    unsigned joined;   /* how many leaders it has waited for */
    uint64_t pause_ms; /* between two looks; 0: it has not waited yet */
    int fd;            /* -1: none */
    uint64_t at;       /* of one who follows: read so far, in the file */
    struct live_head head;
    struct timer timer; /* of a leader: see look */
};

static uint64_t key_of(const struct request *r) {
    uint64_t key;
    memcpy(&key, r->ticket.key, sizeof key);
    return key;
}

/* false: a state_dir that is too long for it. */
static bool path_of(const struct request *r, char path[PATH_MAX]) {
    int n = snprintf(path, PATH_MAX, "%s/" LIVE_NAME, r->p->conf->state_dir, (unsigned long long)key_of(r));
    return n > 0 && n < PATH_MAX;
}

void share_sweep(const struct plane *p) {
    DIR *d = opendir(p->conf->state_dir);
    for (struct dirent *e; d && (e = readdir(d));) {
        unsigned long long key;
        char more;
        if (sscanf(e->d_name, LIVE_NAME "%c", &key, &more) == 1 && !claim_stands(p->shm, key))
            (void)unlinkat(dirfd(d), e->d_name, 0);
    }
    if (d)
        closedir(d);
}

/* --- the leader --- */

bool share_wanted(const struct request *r) {
    return r->share && r->share->leads && claim_waited(r->p->shm, key_of(r));
}

/* A full disk: those who wait must ask themselves. */
static bool put(struct share *s, const void *p, size_t n, uint64_t at) {
    return pwrite(s->fd, p, n, (off_t)at) == (ssize_t)n;
}

static bool add(struct share *s, struct str bytes) {
    bool ok = put(s, bytes.p, bytes.n, s->head.end);
    s->head.end += bytes.n;
    return ok && put(s, &s->head.end, sizeof s->head.end, offsetof(struct live_head, end));
}

static void stop_leading(struct request *r) {
    struct share *s = r->share;
    char path[PATH_MAX];
    if (s->fd >= 0) {
        if (path_of(r, path))
            unlink(path);
        close(s->fd);
    }
    s->fd = -1;
    s->leads = false;
    claim_release(r->p->shm, key_of(r));
}

/* The state is its writer's last word: who reads it finds all that goes with it. */
static void end_file(struct request *r, enum live_state state) {
    struct share *s = r->share;
    uint32_t last_word = state;
    if (s->fd < 0)
        return;
    s->head.usage = r->usage;
    s->head.cost_nano = r->cost_nano;
    s->head.last_n = buf_len(&r->held_bytes);
    if (!put(s, buf_at(&r->held_bytes), s->head.last_n, s->head.end) || !put(s, &s->head, sizeof s->head, 0))
        last_word = LIVE_FAILED;
    (void)put(s, &last_word, sizeof last_word, offsetof(struct live_head, state));
}

/* The old one, of somebody who was killed, may still be read by those who followed him. */
static bool begin_file(struct request *r) {
    struct share *s = r->share;
    char path[PATH_MAX];
    if (!path_of(r, path))
        return false;
    unlink(path);
    s->fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (s->fd < 0)
        return false;
    struct str provider = str_of(r->now.target->provider->conf->name), model = r->now.target->model;
    struct buf b;
    s->head = (struct live_head){.magic = LIVE_MAGIC,
                                 .holder = claim_holder(r->p->shm, key_of(r)),
                                 .provider_n = (uint32_t)provider.n,
                                 .model_n = (uint32_t)model.n,
                                 .end = sizeof s->head + provider.n + model.n,
                                 .usage = USAGE_NONE};
    buf_init(&b, 0);
    buf_add(&b, &s->head, sizeof s->head);
    buf_adds(&b, provider);
    buf_adds(&b, model);
    bool ok = put(s, buf_at(&b), buf_len(&b), 0) && add(s, buf_str(&r->capture));
    buf_free(&b);
    return ok;
}

static void give_up(struct request *r) {
    end_file(r, LIVE_FAILED);
    stop_leading(r);
}

/* From the stream's first byte on; the provider may be silent for long, and those who wait want what there
 * is. */
static void look(void *arg) {
    struct request *r = arg;
    MAGIC_CHECK(r, REQUEST_MAGIC);
    struct share *s = r->share;
    bool wanted = share_wanted(r);
    if (r->left && !wanted) {
        request_leave(r);
        return;
    }
    if (!s->leads)
        return;
    if (r->committed && s->fd < 0 && wanted && !begin_file(r)) {
        give_up(r);
        return;
    }
    if (s->fd < 0 || r->left)
        timer_set(&s->timer, r->left ? LEFT_MS : LOOK_MS);
}

static void look_later(struct request *r, uint64_t ms) {
    struct share *s = r->share;
    if (!s->timed)
        timer_init(&s->timer, r->g->env.loop, look, r);
    s->timed = true;
    timer_set(&s->timer, ms);
}

void share_tell(struct request *r) {
    struct share *s = r->share;
    bool ok = true;
    if (!s || !s->leads)
        return;
    if (s->fd >= 0)
        ok = add(s, buf_str(&r->held_bytes)) && s->head.end < r->p->conf->max_response_body;
    else if (!answer_is_for_others(r) || !r->capturing) /* the beginning is not there any more, or nobody's */
        ok = false;
    else if (!s->timed)
        look_later(r, LOOK_MS);
    if (!ok)
        give_up(r);
}

bool share_goes_on(struct request *r) {
    if (!share_wanted(r) || r->step >= STEP_SETTLE)
        return false;
    exchange_keep(r->x);
    r->left = true;
    look_later(r, LEFT_MS);
    if (r->full)
        answer_drained(r);
    return true;
}

/* --- those who follow --- */

static void close_file(struct share *s) {
    if (s->fd >= 0)
        close(s->fd);
    s->fd = -1;
    s->follows = false;
}

static bool read_names(struct request *r, struct share *s) {
    size_t n = (size_t)s->head.provider_n + s->head.model_n;
    if (n > PATH_MAX)
        return false;
    char *names = arena_alloc(r->a, n + 1);
    if (pread(s->fd, names, n, sizeof s->head) != (ssize_t)n)
        return false;
    s->at = sizeof s->head + n;
    r->row.provider = str_make(names, s->head.provider_n);
    r->row.model = str_make(names + s->head.provider_n, s->head.model_n);
    return true;
}

static bool read_head(struct share *s) {
    return pread(s->fd, &s->head, sizeof s->head, 0) == sizeof s->head && s->head.magic == LIVE_MAGIC;
}

/* Is there a file of him whom we wait for, with a first byte in it? */
static bool find_file(struct request *r) {
    struct share *s = r->share;
    char path[PATH_MAX];
    s->fd = path_of(r, path) ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    s->follows = s->fd >= 0 && read_head(s) && s->head.holder == claim_holder(r->p->shm, key_of(r)) &&
                 read_names(r, s) && s->head.end > s->at;
    if (!s->follows)
        close_file(s);
    return s->follows;
}

/* 1: something came. 0: nothing yet. -1: the client is gone, or slow: somebody comes back. */
static int pass_on(struct request *r) {
    struct share *s = r->share;
    char piece[PIECE];
    if (r->full)
        return -1;
    uint64_t there = s->head.end - s->at;
    ssize_t n = there ? pread(s->fd, piece, there < PIECE ? there : PIECE, (off_t)s->at) : 0;
    if (n <= 0)
        return 0;
    if (!r->committed) {
        r->cache = LEDGER_CACHE_HIT;
        answer_commit(r);
    }
    s->at += (uint64_t)n;
    return answer_write(r, piece, (size_t)n) == FLOW_STOP || r->full ? -1 : 1;
}

/* The head as it is now, and what it means. Whether its writer lives is looked at first: then he has said his
 * last word. What goes with that is read once more: it was written before. */
static enum live_state state_of(struct request *r) {
    struct share *s = r->share;
    bool stands = claim_holder(r->p->shm, key_of(r)) == s->head.holder;
    if (!read_head(s) || (s->head.state != LIVE_RUNNING && !read_head(s)) || s->head.end < s->at ||
        s->head.last_n > r->p->conf->max_response_body)
        return LIVE_FAILED;
    return s->head.state == LIVE_RUNNING && !stands ? LIVE_FAILED : (enum live_state)s->head.state;
}

static enum verdict follow_ends(struct request *r, enum live_state state) {
    struct share *s = r->share;
    size_t n = (size_t)s->head.last_n;
    char *last = state == LIVE_COMPLETE ? arena_alloc(r->a, n + 1) : NULL;
    if (last && pread(s->fd, last, n, (off_t)s->head.end) == (ssize_t)n) {
        struct reply_head h = {.provider = r->row.provider,
                               .model = r->row.model,
                               .stream = true,
                               .usage = s->head.usage,
                               .cost_nano = s->head.cost_nano};
        stat_add(r->p->shm, STAT_CACHE_COALESCED, 1);
        return answer_from_cache(r, LEDGER_CACHE_HIT, &h, str_make(last, n));
    }
    fault_set(&r->fault, r->a, FAULT_SERVER,
              "The answer that this request shared with an equal one broke off.");
    return SETTLE;
}

static enum verdict look_again(struct request *r) {
    struct share *s = r->share;
    s->pause_ms = s->pause_ms == 0 ? FIRST_MS : s->pause_ms < MOST_MS ? s->pause_ms * 2 : MOST_MS;
    timer_set(&r->timer, s->pause_ms);
    return WAIT;
}

static enum verdict follow(struct request *r) {
    struct share *s = r->share;
    enum live_state state = state_of(r); /* before the bytes: behind its last word there are none */
    claim_wait(r->p->shm, key_of(r));
    int got = 1;
    for (int i = 0; i < PIECES && got > 0; i++)
        if ((got = pass_on(r)) > 0)
            s->pause_ms = 1;
    if (got < 0) /* one who is slow still reads it: the leader must know */
        return r->client_lost ? WAIT : look_again(r);
    if (got == 0 && state != LIVE_RUNNING)
        return follow_ends(r, s->at == s->head.end ? state : LIVE_FAILED);
    return look_again(r);
}

void share_pipe(struct request *r) {
    struct pipe_opt *o = arena_alloc(r->a, sizeof *o);
    *o = (struct pipe_opt){.mint = &r->mint, .ask = &r->ask};
    r->now.pipe = pipe_new(r->a, r->client, r->client, o);
    pipe_begun(r->now.pipe);
}

/* --- the step --- */

static bool may_wait(const struct request *r) {
    uint64_t waited = (clock_ns() - r->x->started_ns) / 1000000,
             most = r->plan.list[0]->provider->conf->total / 4;
    if (r->hints && r->hints->timeout_ms && r->hints->timeout_ms / 4 < most)
        most = r->hints->timeout_ms / 4;
    return r->share->joined < TIMES && waited < (most < MOST_WAIT_MS ? most : MOST_WAIT_MS);
}

static enum verdict wait_more(struct request *r) {
    if (!may_wait(r))
        return NEXT;
    claim_wait(r->p->shm, key_of(r));
    return look_again(r);
}

enum verdict step_join(struct request *r) {
    struct reply_head h;
    struct str body;
    if (!r->p->conf->cache.coalesce || !r->ticket.read)
        return NEXT;
    if (!r->share) {
        r->share = arena_alloc(r->a, sizeof *r->share);
        r->share->fd = -1;
    }
    struct share *s = r->share;
    if (s->follows || (s->pause_ms && r->ask.stream && find_file(r)))
        return follow(r);
    if (s->pause_ms && claim_stands(r->p->shm, key_of(r)))
        return wait_more(r);
    s->joined += s->pause_ms > 0;
    enum claim got = claim_take(r->p->shm, key_of(r));
    s->leads = got == CLAIM_MINE;
    if (cache_find(r->p, r->a, &r->ticket, &h, &body)) { /* what came between the lookup and the claim, too */
        stat_add(r->p->shm, STAT_CACHE_COALESCED, 1);
        return answer_from_cache(r, LEDGER_CACHE_HIT, &h, body);
    }
    return got == CLAIM_OTHERS ? wait_more(r) : NEXT;
}

void share_end(struct request *r) {
    struct share *s = r->share;
    if (!s)
        return;
    if (s->timed)
        timer_free(&s->timer);
    if (s->leads) {
        end_file(r, r->ended && !fault_is(&r->fault) ? LIVE_COMPLETE : LIVE_FAILED);
        stop_leading(r);
    }
    close_file(s);
}
