/* Replays recorded exchanges with real providers through readers, writers and pipes. The recordings are not
 * part of this project: PENSTOCK_SHARED names the folder that holds them; without it the test is skipped. */
#include "dialect_feed.h"
#include "llm/fold.h"

#include <dirent.h>

static unsigned files, wholes, streams, errors, skipped, broken;
static bool verbose;

static void complain(const char *name, const char *what, struct str more) {
    broken++;
    fprintf(stderr, "%s: %s " STR_FMT "\n", name, what, STR_ARG(more));
}
#define WANT(cond, what)                                                                                     \
    do {                                                                                                     \
        if (!(cond))                                                                                         \
            complain(x->name, what, STR_NONE);                                                               \
    } while (0)

struct exchange {
    const char *name;
    const struct dialect *provider;
    struct str body;
    int status;
    bool stream;
    struct json_object *headers;
    struct arena *a;
};

static struct str header(void *arg, const char *name) {
    return jo_str(((struct exchange *)arg)->headers, name);
}

static const struct mint mint = {
    .id = STR("abcdefghijklmnopqrstuvwx"), .created = 1700000000, .model = STR("told")};

/* Recorded answers that are errors, or cannot be handed on whole. */
static bool expects_fault(const char *name) {
    return strstr(name, "stream-error") || strstr(name, "overloaded") || strstr(name, "spliced");
}

static void check_error(struct exchange *x) {
    struct fault f;
    errors++;
    x->provider->provider->read_fault(x->a, x->status, x->body, header, x, &f);
    WANT(fault_is(&f), "no fault");
    WANT(f.message.n > 0, "no message");
    WANT(x->status != 401 || f.cls == FAULT_PROVIDER_AUTH, "401 is another class");
    WANT(!strstr(x->name, "context-length") || f.cls == FAULT_CONTEXT_LENGTH,
         "context length is another class");
    WANT(x->status == 401 || fault_status(&f) == x->status, "status changed");
    if (verbose)
        printf("    %s " STR_FMT "\n", fault_rule(f.cls)->name, STR_ARG(f.message));
}

static bool usage_equal(const struct usage *a, const struct usage *b) {
    return a->input == b->input && a->output == b->output && a->cache_read == b->cache_read &&
           a->cache_write == b->cache_write && a->reasoning == b->reasoning;
}

static void check_json(struct exchange *x, struct str text, const char *what) {
    enum json_kind kind;
    struct json_error err;
    if (json_scan(text, &kind, NULL, NULL, &err) != 0 || kind != JSON_OBJECT)
        complain(x->name, what, text);
}

static void check_whole(struct exchange *x) {
    struct observed tapped = {.usage = USAGE_NONE};
    struct fault f = {.cls = FAULT_NONE};
    struct buf out;
    wholes++;
    buf_init(&out, 0);
    WANT(x->provider->provider->tap_reply(x->a, x->body, 0, &tapped, &f), "the tap calls it a fault");
    struct reply *r = x->provider->provider->read_reply(x->a, x->body, 0, &f);
    if (!r) {
        complain(x->name, "not read", f.message);
        return;
    }
    WANT(usage_equal(&r->usage, &tapped.usage), "tap and reader see different usage");
    WANT(r->usage.known && r->usage.input > 0, "no usage");
    dialect_openai_chat.client->write_reply(&out, r, &mint, &(struct ask){0});
    check_json(x, buf_str(&out), "the written reply is no JSON:");
    /* What we have written we must read alike. */
    struct reply *again = dialect_openai_chat.provider->read_reply(x->a, buf_str(&out), 0, &f);
    WANT(again && usage_equal(&again->usage, &r->usage), "our own reply reads otherwise");
    if (verbose)
        printf("    stop %d in %llu out %llu\n", (int)r->stop, (unsigned long long)r->usage.input,
               (unsigned long long)r->usage.output);
    buf_free(&out);
}

/* Every frame of a client's stream is JSON or [DONE]. */
static bool frame_is_json(void *arg, const struct sse_event *ev) {
    struct exchange *x = arg;
    if (!ev->comment && !str_is(ev->data, "[DONE]"))
        check_json(x, ev->data, "a written frame is no JSON:");
    return true;
}

static void check_frames(struct exchange *x, struct str out) {
    struct sse s;
    sse_init(&s, 0);
    sse_push(&s, out.p, out.n, frame_is_json, x);
    sse_finish(&s, frame_is_json, x);
    sse_free(&s);
}

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

/* Reader and fold; then the same out of our own chunks when they are written and read again. */
static void check_events(struct exchange *x, bool fault_wanted) {
    struct through t = {.fold = fold_new(x->a, 1 << 24)};
    const struct fault *f;
    feed_reader(x->a, x->provider, x->body, on_event, &t);
    WANT(!t.bad, "the reader left the grammar of events");
    struct reply *r = fold_reply(t.fold, &f);
    WANT((r == NULL) == fault_wanted, fault_wanted ? "no fault" : "a fault");
    if (f && verbose)
        printf("    %s " STR_FMT "\n", fault_rule(f->cls)->name, STR_ARG(f->message));
    if (f && !fault_wanted)
        complain(x->name, "fault:", f->message);
    if (!r)
        return;
    struct buf out;
    buf_init(&out, 0);
    dialect_openai_chat.client->write_reply(&out, r, &mint, &(struct ask){0});
    check_json(x, buf_str(&out), "the folded reply is no JSON:");
    if (verbose)
        printf("    stop %d in %llu out %llu\n", (int)r->stop, (unsigned long long)r->usage.input,
               (unsigned long long)r->usage.output);
    buf_free(&out);
}

static void check_pipe(struct exchange *x, const struct dialect *client, bool fault_wanted) {
    struct ask ask = {.include_usage = true};
    struct pipe_opt o = {.mint = &mint, .ask = &ask};
    struct buf out[3];
    struct observed seen[3];
    for (int i = 0; i < 3; i++) {
        buf_init(&out[i], 0);
        bool ok = feed_stream(x->a, client, x->provider, x->body, &o, (enum feed)i, 7, &out[i], &seen[i]);
        WANT(ok != fault_wanted, fault_wanted ? "the pipe sees no fault" : "the pipe sees a fault");
        WANT(seen[i].output || fault_wanted, "no output seen");
        if (i == 0)
            continue;
        WANT(str_eq(buf_str(&out[0]), buf_str(&out[i])), "cut elsewhere, the client gets something else");
        WANT(usage_equal(&seen[0].usage, &seen[i].usage), "cut elsewhere, the usage is another");
    }
    check_frames(x, buf_str(&out[0]));
    if (client == x->provider && !fault_wanted) {
        size_t n = buf_len(&out[0]);
        WANT(n >= x->body.n && memcmp(buf_at(&out[0]), x->body.p, x->body.n) == 0, "bytes were changed");
    }
    for (int i = 0; i < 3; i++)
        buf_free(&out[i]);
}

static void check_stream(struct exchange *x) {
    bool fault_wanted = expects_fault(x->name);
    streams++;
    check_events(x, fault_wanted);
    check_pipe(x, &dialect_openai_chat, fault_wanted);
}

static bool is_stream(struct str body) {
    return str_starts(body, "data:") || str_starts(body, "event:") || str_starts(body, ":");
}

static void check_exchange(struct arena *a, struct json_object *tree, const char *name) {
    struct json_object *response = jo_obj(tree, "response");
    struct str endpoint = jo_str(tree, "endpoint");
    struct exchange x = {
        .name = name, .a = a, .body = jo_str(response, "body"), .headers = jo_obj(response, "headers")};
    x.status = (int)jo_int(response, "status", 0);
    if (str_is(endpoint, "chat/completions") || str_is(endpoint, "v1/chat"))
        x.provider = &dialect_openai_chat;
    else if (str_is(endpoint, "messages"))
        x.provider = &dialect_anthropic;
    if (!x.provider || x.body.n == 0) {
        skipped++;
        return;
    }
    files++;
    if (verbose)
        printf("%s\n", name);
    if (x.status >= 400)
        check_error(&x);
    else if (is_stream(x.body))
        check_stream(&x);
    else
        check_whole(&x);
}

static void check_file(const char *dir, const char *name) {
    struct buf text;
    struct json_error err;
    struct arena *a = arena_new(0);
    buf_init(&text, 0);
    const char *path = arena_printf(a, "%s/%s", dir, name).p;
    struct json_object *tree = read_file(path, &text) ? chat_hold(a, json_tree(buf_str(&text), &err)) : NULL;
    if (!tree)
        complain(path, "cannot be read", STR_NONE);
    else
        check_exchange(a, tree, name);
    buf_free(&text);
    arena_free(a);
}

static bool check_folder(const char *shared, const char *provider) {
    struct arena *a = arena_new(0);
    const char *dir = arena_printf(a, "%s/wire/recorded/%s", shared, provider).p;
    DIR *d = opendir(dir);
    if (!d) {
        arena_free(a);
        return false;
    }
    for (struct dirent *e; (e = readdir(d));)
        if (str_ends(str_of(e->d_name), ".json"))
            check_file(dir, e->d_name);
    closedir(d);
    arena_free(a);
    return true;
}

int main(int argc, char **argv) {
    static const char *const providers[] = {"openai", "openai-compatible", "openrouter", "anthropic"};
    const char *shared = getenv("PENSTOCK_SHARED"), *srcdir = getenv("srcdir");
    struct arena *a = arena_new(0);
    verbose = argc > 1 && strcmp(argv[1], "-v") == 0;
    if (!shared || !*shared)
        shared = arena_printf(a, "%s/../shared", srcdir && *srcdir ? srcdir : ".").p;
    for (size_t i = 0; i < sizeof providers / sizeof *providers; i++)
        if (!check_folder(shared, providers[i])) {
            printf("skipped: no recordings in %s (PENSTOCK_SHARED names the folder)\n", shared);
            arena_free(a);
            return 77;
        }
    printf("%u exchanges: %u whole, %u streams, %u errors; %u of other endpoints left out; %u complaints\n",
           files, wholes, streams, errors, skipped, broken);
    arena_free(a);
    return broken || files == 0;
}
