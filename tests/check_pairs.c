/* Every recorded exchange through every pair of dialects: its answer is read by its provider's reader and
 * written in every client dialect, and read again where we can; its request, where it is one that a client
 * may send, is written to every provider dialect. Streams also byte by byte, cut at every event's border and
 * at random places. Counts are printed per pair. The recordings are not part of this project: PENSTOCK_SHARED
 * names their folder; without it the test is skipped. */
#include "base/die.h"
#include "base/hash.h"
#include "dialect_feed.h"
#include "llm/fold.h"
#include "pairs_places.h"
#include "surface/surface.h"
#include "under_valgrind.h"
#include "upstream/provider.h"

#include <dirent.h>

enum { DIALECTS = 64, CUTS = 100 };

struct pair {
    unsigned whole, stream, fault, request, refused, embedding;
};
static struct pair answers[DIALECTS][DIALECTS],
    requests[DIALECTS][DIALECTS]; /* [provider][client], [client][provider] */
static unsigned files, passed, idle, left, bad;
static bool verbose;

struct recording {
    const char *name;
    struct arena *a;
    struct json_object *tree, *headers;
    const struct dialect *dialect;
    unsigned quirks;
    struct str body, path;
    int status;
};

static void complain(const struct recording *x, const struct dialect *to, const char *what, struct str more) {
    bad++;
    fprintf(stderr, "%s: %s -> %s: %s " STR_FMT "\n", x->name, x->dialect->name, to ? to->name : "-", what,
            (int)(more.n < 300 ? more.n : 300), more.p ? more.p : "");
}

static size_t number_of(const struct dialect *d) {
    size_t i = 0;
    while (dialect_at(i) != d)
        i++;
    return i;
}

static const struct mint mint = {
    .id = STR("abcdefghijklmnopqrstuvwx"), .created = 1700000000, .model = STR("told")};

/* As the row of that provider has them. */
static unsigned quirks_of(struct str provider, const struct dialect *d) {
    const struct provider_kind *k = kind_find(&provider_table, provider);
    if (!k)
        return 0;
    for (const struct kind_endpoint *e = k->endpoints; e->dialect; e++)
        if (str_is(str_of(e->dialect), d->name))
            return k->quirks | e->quirks;
    return k->quirks;
}

static struct str header(void *arg, const char *name) {
    return jo_str(((struct recording *)arg)->headers, name);
}

static bool is_json(struct str text) {
    enum json_kind kind;
    struct json_error err;
    return json_scan(text, &kind, NULL, NULL, &err) == 0;
}

/* --- errors --- */

static void check_fault(struct recording *x) {
    struct fault f = {.cls = FAULT_NONE, .retry_after_ms = -1};
    x->dialect->provider->read_fault(x->a, x->status, x->body, header, x, &f);
    if (!fault_is(&f))
        complain(x, NULL, "an error without a fault", STR_NONE);
    if (f.unknown.n)
        complain(x, NULL, "an error that no table knows:", f.unknown);
    if (x->status < 500 && fault_status(&f) == 500)
        complain(x, NULL, "a provider's 4xx became 500", STR_NONE);
    for (size_t i = 0; dialect_at(i); i++) {
        const struct dialect *to = dialect_at(i);
        struct buf out;
        if (!to->client)
            continue;
        buf_init(&out, 0);
        to->client->write_fault(&out, &f, STR("req_1"));
        if (!is_json(buf_str(&out)))
            complain(x, to, "the error is no JSON", buf_str(&out));
        buf_free(&out);
        answers[number_of(x->dialect)][i].fault++;
    }
}

/* --- whole answers --- */

/* What of an answer must not get lost on the way. */
struct sum {
    size_t text, calls, arguments;
    struct usage usage;
};

static struct sum sum_of(const struct reply *r) {
    struct sum s = {.usage = r->usage};
    for (const struct part *p = r->message ? r->message->parts : NULL; p; p = p->next) {
        s.text += p->kind == PART_TEXT || p->kind == PART_REFUSAL ? p->text.n : 0;
        s.calls += p->kind == PART_TOOL_CALL;
    }
    return s;
}

static void compare(struct recording *x, const struct dialect *to, const struct sum *was,
                    const struct sum *is) {
    if (was->text != is->text)
        complain(x, to, "text was lost or added:", arena_printf(x->a, "%zu, then %zu", was->text, is->text));
    if (was->calls != is->calls)
        complain(x, to,
                 "calls were lost or added:", arena_printf(x->a, "%zu, then %zu", was->calls, is->calls));
    if (was->usage.known && (was->usage.input != is->usage.input || was->usage.output != is->usage.output))
        complain(x, to, "usage was lost:",
                 arena_printf(x->a, "%llu %llu, then %llu %llu", (unsigned long long)was->usage.input,
                              (unsigned long long)was->usage.output, (unsigned long long)is->usage.input,
                              (unsigned long long)is->usage.output));
}

static bool translates(const struct dialect *client, const struct dialect *provider) {
    return client->client && client->op == provider->op && provider->provider &&
           (client->op == OP_EMBED || provider->provider->read_reply);
}

static void whole_to(struct recording *x, const struct dialect *to, const struct reply *r) {
    struct ask ask = {.n = 1};
    struct buf out;
    struct fault f = {.cls = FAULT_NONE, .retry_after_ms = -1};
    buf_init(&out, 0);
    to->client->write_reply(&out, r, &mint, &ask);
    if (!is_json(buf_str(&out))) {
        complain(x, to, "the reply is no JSON", buf_str(&out));
    } else if (to->provider && to->provider->read_reply) {
        struct reply *again = to->provider->read_reply(x->a, arena_dup(x->a, buf_str(&out)), 0, &f);
        struct sum was = sum_of(r), is;
        if (!again) {
            complain(x, to, "our own reply is not read:", f.message);
        } else {
            is = sum_of(again);
            compare(x, to, &was, &is);
        }
    }
    buf_free(&out);
}

/* Gemini tells no usage. */
static void embeddings_again(struct recording *x, const struct dialect *to, const struct embed_reply *was,
                             struct str body) {
    struct fault f = {.cls = FAULT_NONE, .retry_after_ms = -1};
    if (!is_json(body)) {
        complain(x, to, "embeddings are no JSON", body);
        return;
    }
    if (!to->provider || !to->provider->read_embed)
        return;
    struct embed_reply *is = to->provider->read_embed(x->a, arena_dup(x->a, body), 0, &f);
    if (!is || is->n != was->n || is->list[0].n != was->list[0].n)
        complain(x, to, "embeddings were lost:", f.message);
    else if (was->usage.known && is->usage.known && was->usage.input != is->usage.input)
        complain(x, to, "usage was lost", STR_NONE);
}

static void check_embedding(struct recording *x) {
    struct fault f = {.cls = FAULT_NONE, .retry_after_ms = -1};
    struct embed_reply *r = x->dialect->provider->read_embed(x->a, x->body, x->quirks, &f);
    if (!r || r->n == 0) {
        complain(x, NULL, "embeddings are not read:", f.message);
        return;
    }
    for (size_t i = 0; dialect_at(i); i++) {
        struct ask ask = {.n = 1};
        struct buf out;
        if (!translates(dialect_at(i), x->dialect))
            continue;
        buf_init(&out, 0);
        dialect_at(i)->client->write_embed(&out, r, &mint, &ask);
        embeddings_again(x, dialect_at(i), r, buf_str(&out));
        buf_free(&out);
        answers[number_of(x->dialect)][i].embedding++;
    }
}

static void check_whole(struct recording *x) {
    struct fault f = {.cls = FAULT_NONE, .retry_after_ms = -1};
    struct observed seen = {.usage = USAGE_NONE};
    struct reply *r = x->dialect->provider->read_reply(x->a, x->body, x->quirks, &f);
    if (!r) {
        if (!strstr(x->name, "error") && !strstr(x->name, "blocked") && !strstr(x->name, "failed"))
            complain(x, NULL, "not read:", f.message);
        return;
    }
    if (x->dialect->provider->tap_reply &&
        x->dialect->provider->tap_reply(x->a, x->body, x->quirks, &seen, &f) &&
        (seen.usage.input != r->usage.input || seen.usage.output != r->usage.output))
        complain(x, x->dialect, "tap and reader see different usage", STR_NONE);
    if (r->stop == STOP_UNKNOWN)
        complain(x, NULL, "a reason to stop that no table knows:", r->stop_native);
    for (size_t i = 0; dialect_at(i); i++)
        if (translates(dialect_at(i), x->dialect)) {
            whole_to(x, dialect_at(i), r);
            answers[number_of(x->dialect)][i].whole++;
        }
}

/* --- streams --- */

struct through {
    struct event_check check;
    struct fold *fold;
    bool bad;
};

static void on_event(void *arg, const struct event_item *ev) {
    struct through *t = arg;
    t->bad = t->bad || !event_check(&t->check, ev);
    fold_event(t->fold, ev);
}

struct run {
    struct buf out;
    struct observed seen;
    bool ok, bad;
    const struct reply *reply;
};

/* The first `n` bytes, in pieces of `piece` (0: at once). */
static void run(struct recording *x, const struct dialect *from, struct str body, unsigned quirks,
                const struct dialect *to, size_t n, size_t piece, struct run *r) {
    struct ask ask = {.n = 1, .stream = true, .include_usage = true};
    struct through t = {.fold = fold_new(x->a, 1 << 24)};
    struct pipe_opt o = {
        .quirks = quirks | QUIRK_REBUILD, .mint = &mint, .ask = &ask, .watch = on_event, .watch_arg = &t};
    struct pipe *p = pipe_new(x->a, to, from, &o);
    const struct fault *f;
    buf_init(&r->out, 0);
    r->ok = true;
    for (size_t at = 0, step; at < n && r->ok; at += step) {
        step = piece && piece < n - at ? piece : n - at;
        r->ok = pipe_push(p, body.p + at, step, &r->out);
    }
    r->ok = pipe_finish(p, &r->out) && r->ok;
    r->seen = *pipe_seen(p);
    r->bad = t.bad || r->seen.fault.cls == FAULT_INTERNAL;
    if (!r->ok)
        pipe_fault(p, &r->seen.fault, STR("req_1"), &r->out);
    r->reply = fold_reply(t.fold, &f);
    pipe_free(p);
}

static uint32_t dice = 11;

/* A stream that is cut ends with an error, never like one that is whole. */
static void cut_at(struct recording *x, const struct dialect *to, size_t n, const struct run *all) {
    struct run r;
    run(x, x->dialect, x->body, x->quirks, to, n, 0, &r);
    if (r.bad)
        complain(x, to, "cut, it leaves the grammar of events", STR_NONE);
    bool stopped = x->dialect->provider->stop_is_end && r.seen.stop != STOP_UNSET;
    if (r.ok && !stopped && buf_len(&r.out) < buf_len(&all->out))
        complain(x, to, "cut, it ends as if it were whole:", arena_printf(x->a, "%zu of %zu", n, x->body.n));
    buf_free(&r.out);
}

static void cuts(struct recording *x, const struct dialect *to, const struct run *all) {
    struct arena *whole = x->a;
    if (under_valgrind()) /* minutes there */
        return;
    for (size_t i = 1; i < x->body.n; i++) {
        if (!(x->body.p[i - 1] == '\n' && x->body.p[i] == '\n') && i % (x->body.n / 8 + 1))
            continue;
        x->a = arena_new(0);
        cut_at(x, to, i + 1, all);
        arena_free(x->a);
    }
    for (unsigned i = 0; i < CUTS; i++) {
        x->a = arena_new(0);
        cut_at(x, to, feed_random(&dice) % x->body.n, all);
        arena_free(x->a);
    }
    x->a = whole;
}

static void read_again(struct recording *x, const struct dialect *to, const struct run *all) {
    if (!to->provider || !to->provider->reader_new || !all->reply)
        return;
    struct run again;
    struct sum was = sum_of(all->reply), is;
    run(x, to, arena_dup(x->a, buf_str(&all->out)), 0, to, buf_len(&all->out), 0, &again);
    if (!again.reply) {
        complain(x, to, "our own stream is not read:", again.seen.fault.message);
    } else {
        is = sum_of(again.reply);
        compare(x, to, &was, &is);
    }
    buf_free(&again.out);
}

static void stream_to(struct recording *x, const struct dialect *to, bool fault_wanted) {
    struct run all, bytes;
    run(x, x->dialect, x->body, x->quirks, to, x->body.n, 0, &all);
    run(x, x->dialect, x->body, x->quirks, to, x->body.n, 1, &bytes);
    if (all.bad)
        complain(x, to, "it leaves the grammar of events", STR_NONE);
    if (all.seen.stop == STOP_UNKNOWN || all.seen.fault.unknown.n)
        complain(x, to, "an end that no table knows:", all.seen.fault.message);
    if (!all.ok && !fault_wanted)
        complain(x, to, "a fault:", all.seen.fault.message);
    if (!str_eq(buf_str(&all.out), buf_str(&bytes.out)))
        complain(x, to, "byte by byte the client gets something else", STR_NONE);
    if (all.ok) {
        read_again(x, to, &all);
        cuts(x, to, &all);
    }
    buf_free(&all.out);
    buf_free(&bytes.out);
}

static void same_stream(struct recording *x) {
    struct ask ask = {.n = 1, .stream = true, .include_usage = true};
    struct pipe_opt o = {.mint = &mint, .ask = &ask};
    struct buf out;
    struct observed seen;
    buf_init(&out, 0);
    if (feed_stream(x->a, x->dialect, x->dialect, x->body, &o, FEED_RANDOM, 3, &out, &seen) &&
        memcmp(buf_at(&out), x->body.p, buf_len(&out) < x->body.n ? buf_len(&out) : x->body.n) != 0)
        complain(x, x->dialect, "bytes of a stream of the same dialect were changed", STR_NONE);
    buf_free(&out);
}

static bool expects_fault(const char *name) {
    return strstr(name, "sql-agent__") || strstr(name, "error") || strstr(name, "overloaded") ||
           strstr(name, "spliced") || strstr(name, "failed");
}

static void check_stream(struct recording *x) {
    for (size_t i = 0; dialect_at(i); i++)
        if (translates(dialect_at(i), x->dialect) && dialect_at(i)->client->writer_new) {
            stream_to(x, dialect_at(i), expects_fault(x->name));
            answers[number_of(x->dialect)][i].stream++;
        }
    if (x->dialect->client && x->dialect->provider->tap_event)
        same_stream(x);
}

/* --- what passes --- */

static void check_pass(struct recording *x) {
    struct observed seen = {.usage = USAGE_NONE};
    struct fault f = {.cls = FAULT_NONE, .retry_after_ms = -1};
    passed++;
    if (!is_json(x->body))
        complain(x, NULL, "an answer that is no JSON", STR_NONE);
    if (!x->dialect->provider->tap_reply(x->a, x->body, x->quirks, &seen, &f))
        complain(x, NULL, "an answer that passes is a fault:", f.message);
}

static bool is_stream(const struct recording *x) {
    return str_starts(x->body, "data:") || str_starts(x->body, "event:") || str_starts(x->body, ":") ||
           (x->dialect->provider->framing == FRAMING_AWS && !str_starts(x->body, "{")) ||
           (x->dialect->provider->framing == FRAMING_LINES && str_find(x->body, STR("\n{")) >= 0);
}

/* --- requests --- */

static bool peeked(struct recording *x, struct str body, struct ask *ask) {
    const struct surface_route *route;
    struct fault f = {.cls = FAULT_NONE, .retry_after_ms = -1};
    char allow[64];
    *ask = (struct ask){.n = 1};
    struct str path = x->path;
    ptrdiff_t query = str_find(path, STR("?"));
    if (query >= 0) {
        ask->query = str_skip(path, (size_t)query + 1);
        path.n = (size_t)query;
    }
    surface_find(HTTP_POST, path, SURFACE_NATIVE, &route, &ask->rest, allow);
    if (x->dialect->client->peek(x->a, body, ask, &f))
        return true;
    if (x->status < 400)
        complain(x, NULL, "a request that the provider took is refused:", f.message);
    return false;
}

static void request_to(struct recording *x, const struct dialect *to, const struct ask *ask) {
    struct encode_opt o = {.model = ask->model.n ? ask->model : STR("m"),
                           .default_max_tokens = 4096,
                           .quirks = QUIRK_REBUILD,
                           .drop_unsupported = true};
    struct fault f = {.cls = FAULT_NONE, .retry_after_ms = -1};
    struct chat *chat = NULL;
    struct buf out, dropped;
    struct pair *count = &requests[number_of(x->dialect)][number_of(to)];
    buf_init(&out, 0);
    buf_init(&dropped, 4096);
    if (pipe_request(x->a, x->dialect, to, ask, &o, &chat, &out, &dropped, &f)) {
        count->request++;
        if (!is_json(buf_str(&out)))
            complain(x, to, "the request is no JSON", buf_str(&out));
    } else {
        count->refused++;
        if (!chat && f.cls != FAULT_UNSUPPORTED && x->status < 400 && x->dialect->op != OP_EMBED)
            complain(x, to, "the request is not read:", f.message);
        if (verbose)
            printf("    %s: %s -> %s refused: " STR_FMT "\n", x->name, x->dialect->name, to->name,
                   STR_ARG(f.message));
        if (f.cls == FAULT_INTERNAL)
            complain(x, to, "an internal fault:", f.message);
    }
    buf_free(&out);
    buf_free(&dropped);
}

static void same_request(struct recording *x, const struct ask *ask) {
    struct encode_opt o = {.model = ask->model, .quirks = QUIRK_NO_STREAM_OPTIONS};
    struct fault f;
    struct buf out;
    if (!x->dialect->provider->splice)
        return;
    buf_init(&out, 0);
    if (!x->dialect->provider->splice(x->a, ask, &o, &out, &f) || !str_eq(buf_str(&out), ask->body))
        complain(x, x->dialect, "bytes of a request of the same dialect were changed", STR_NONE);
    buf_free(&out);
}

static void check_request(struct recording *x, struct str body) {
    struct ask ask = {.rest = STR_NONE};
    if (!x->dialect->client || body.n == 0 || str_starts(body, "<") || !peeked(x, body, &ask))
        return;
    same_request(x, &ask);
    for (size_t i = 0; dialect_at(i); i++) {
        const struct dialect *to = dialect_at(i);
        if (to->op == x->dialect->op && to->provider &&
            (to->op == OP_EMBED ? to->provider->write_embed != NULL : to->provider->write_request != NULL))
            request_to(x, to, &ask);
    }
}

/* --- files --- */

static struct str body_of(struct arena *a, struct json_object *response) {
    struct str text = jo_str(response, "body");
    struct buf plain;
    if (!str_is(jo_str(response, "body_encoding"), "base64"))
        return text;
    buf_init(&plain, 0);
    if (base64_decode(&plain, text))
        text = arena_dup(a, buf_str(&plain));
    buf_free(&plain);
    return text;
}

/* What no dialect is for: of all others nobody knows why. */
static void leave(const struct recording *x, struct str endpoint) {
    if (!is_no_call(endpoint)) {
        left++;
        bad++;
        printf("left out: %s: nobody knows why\n", x->name);
        return;
    }
    idle++;
    if (!is_json(x->body)) {
        fprintf(stderr, "%s: the recording is no JSON\n", x->name);
        bad++;
    }
}

static void check_exchange(struct arena *a, struct json_object *tree, const char *name) {
    struct json_object *response = jo_obj(tree, "response"), *request = jo_obj(tree, "request");
    struct str provider = jo_str(tree, "provider");
    struct recording x = {.name = name, .a = a, .tree = tree, .headers = jo_obj(response, "headers")};
    x.dialect = dialect_of(jo_str(tree, "endpoint"), provider);
    x.status = (int)jo_int(response, "status", 0);
    x.body = body_of(a, response);
    x.path = jo_str(request, "path");
    if (!x.dialect || !x.dialect->provider) {
        leave(&x, jo_str(tree, "endpoint"));
        return;
    }
    x.quirks = quirks_of(provider, x.dialect);
    files++;
    if (x.body.n == 0)
        ;
    else if (x.status >= 400)
        check_fault(&x);
    else if (x.dialect->op == OP_PASS)
        check_pass(&x);
    else if (x.dialect->op == OP_EMBED)
        check_embedding(&x);
    else if (is_stream(&x))
        check_stream(&x);
    else if (x.dialect->provider->read_reply)
        check_whole(&x);
    check_request(&x, jo_str(request, "body"));
}

static void check_file(const char *dir, const char *name) {
    struct buf text;
    struct json_error err;
    struct arena *a = arena_new(0);
    buf_init(&text, 0);
    const char *path = arena_printf(a, "%s/%s", dir, name).p;
    struct json_object *tree = read_file(path, &text) ? chat_hold(a, json_tree(buf_str(&text), &err)) : NULL;
    if (tree)
        check_exchange(a, tree, name);
    else
        bad++;
    buf_free(&text);
    arena_free(a);
}

static void each_entry(const char *dir, void (*fn)(const char *dir, const char *name)) {
    DIR *d = opendir(dir);
    if (!d)
        return;
    for (struct dirent *e; (e = readdir(d));)
        if (e->d_name[0] != '.')
            fn(dir, e->d_name);
    closedir(d);
}

static void check_entry(const char *dir, const char *name) {
    if (str_ends(str_of(name), ".json"))
        check_file(dir, name);
}

static void check_folder(const char *dir, const char *name) {
    struct arena *a = arena_new(0);
    if (!str_ends(str_of(name), ".tsv"))
        each_entry(arena_printf(a, "%s/%s", dir, name).p, check_entry);
    arena_free(a);
}

static void print_pairs(void) {
    printf("answers, provider -> client: whole / streams / errors / embeddings\n");
    for (size_t p = 0; dialect_at(p); p++)
        for (size_t c = 0; dialect_at(c); c++) {
            const struct pair *n = &answers[p][c];
            if (n->whole || n->stream || n->embedding)
                printf("  %-22s -> %-22s %3u / %3u / %3u / %3u\n", dialect_at(p)->name, dialect_at(c)->name,
                       n->whole, n->stream, n->fault, n->embedding);
        }
    printf("requests, client -> provider: written / refused\n");
    for (size_t c = 0; dialect_at(c); c++)
        for (size_t p = 0; dialect_at(p); p++) {
            const struct pair *n = &requests[c][p];
            if (n->request || n->refused)
                printf("  %-22s -> %-22s %3u / %3u\n", dialect_at(c)->name, dialect_at(p)->name, n->request,
                       n->refused);
        }
}

int main(int argc, char **argv) {
    const char *shared = getenv("PENSTOCK_SHARED"), *srcdir = getenv("srcdir");
    struct arena *a = arena_new(0);
    MUST(dialect_at(DIALECTS) == NULL);
    verbose = argc > 1 && strcmp(argv[1], "-v") == 0;
    if (!shared || !*shared)
        shared = arena_printf(a, "%s/../shared", srcdir && *srcdir ? srcdir : ".").p;
    const char *dir = arena_printf(a, "%s/wire/recorded", shared).p;
    each_entry(dir, check_folder);
    arena_free(a);
    if (files == 0) {
        printf("skipped: no recordings (PENSTOCK_SHARED names the folder that holds wire/recorded)\n");
        return 77;
    }
    print_pairs();
    printf("%u exchanges: %u read, %u pass through, %u no model call, %u left out; %u complaints\n",
           files + idle + left, files - passed, passed, idle, left, bad);
    return bad != 0;
}
