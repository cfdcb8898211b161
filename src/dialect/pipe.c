/* One request out and one answer back between any two dialects. With the same dialect on both sides frames
 * are handed on as they came and only looked at; otherwise the provider's reader makes events and the
 * client's writer takes them. Nothing is allocated per event on the first way. */
#include "dialect/pipe.h"

#include "answer.h"
#include "base/die.h"
#include "base/eventstream.h"
#include "base/sse.h"
#include "lines.h"
#include "llm/fold.h"

#define PIPE_MAGIC 0x50495045U

struct pipe {
    unsigned magic;
    struct arena *a;
    const struct client_face *client;
    const struct provider_face *provider;
    unsigned quirks;
    event_fn *watch;
    void *watch_arg;
    bool same, hide_usage, finishing;
    bool array;    /* bytes pass, but as elements of one JSON array */
    bool any;      /* an element went out */
    bool finished; /* nothing is read any more */
    bool cut;      /* the bytes ended inside a frame */
    bool started;  /* an event of the dialect was seen */
    struct sse sse;
    struct eventstream frames; /* of FRAMING_AWS in place of it */
    struct lines lines;        /* of FRAMING_LINES */
    struct stream_reader *reader;
    struct stream_writer *writer;
    struct event_check check;
    struct observed seen;
    struct buf *out; /* during a call */
};

/* --- requests and whole answers --- */

bool pipe_same(const struct dialect *client, const struct dialect *provider, unsigned quirks) {
    if (client == &dialect_mistral_chat) /* Mistral's own program: as good as Mistral takes it */
        return provider == &dialect_openai_chat && quirks & QUIRK_MISTRAL;
    return client == provider && !(quirks & QUIRK_REBUILD);
}

bool pipe_read(struct arena *a, const struct dialect *client, const struct dialect *provider, unsigned quirks,
               const struct ask *ask, struct chat **chat, struct fault *f) {
    if (*chat || client->op == OP_EMBED || pipe_same(client, provider, quirks))
        return true;
    if (client->client->read_request(a, ask, chat, f))
        return true;
    *chat = NULL;
    return false;
}

static bool embed_request(struct arena *a, const struct dialect *client, const struct dialect *provider,
                          const struct ask *ask, const struct encode_opt *o, struct buf *out,
                          struct buf *dropped, struct fault *f) {
    struct embed *e;
    if (!client->client->read_embed(a, ask, &e, f))
        return false;
    e->model = o->model;
    return provider->provider->write_embed(a, e, o, out, dropped, f);
}

bool pipe_request(struct arena *a, const struct dialect *client, const struct dialect *provider,
                  const struct ask *ask, const struct encode_opt *o, struct chat **chat, struct buf *out,
                  struct buf *dropped, struct fault *f) {
    MUST(client->client && provider->provider && client->op == provider->op);
    if (pipe_same(client, provider, o->quirks))
        return provider->provider->splice(a, ask, o, out, f);
    if (!pipe_read(a, client, provider, o->quirks, ask, chat, f))
        return false;
    struct encode_opt named = *o;
    named.names = client->client->names;
    if (client->op != OP_EMBED)
        (*chat)->model = o->model;
    bool ok = client->op == OP_EMBED ? embed_request(a, client, provider, ask, &named, out, dropped, f)
                                     : provider->provider->write_request(a, *chat, &named, out, dropped, f);
    if (!ok) {
        buf_clear(out);
        return false;
    }
    if (buf_ok(out))
        return true;
    fault_set(f, a, FAULT_TOO_LARGE, "the request is too large");
    return false;
}

static void observed_init(struct observed *seen) {
    *seen = (struct observed){.usage = USAGE_NONE, .fault = {.retry_after_ms = -1}};
}

static uint64_t part_bytes(const struct part *p) {
    return p->text.n + p->name.n;
}

static void observe_reply(struct arena *a, struct observed *seen, const struct reply *r) {
    seen->usage = r->usage;
    note_stop(a, seen, r->stop, r->stop_native);
    seen->id = r->id;
    seen->model = r->model;
    seen->output = true;
    seen->ended = true;
    for (; r; r = r->next)
        for (const struct part *p = r->message ? r->message->parts : NULL; p; p = p->next)
            seen->output_bytes += part_bytes(p);
}

static bool chat_reply(struct arena *a, const struct dialect *client, const struct dialect *provider,
                       struct str body, const struct pipe_opt *o, struct buf *scratch, struct observed *seen,
                       struct fault *f) {
    struct reply *r = provider->provider->read_reply(a, body, o->quirks, f);
    if (!r)
        return false;
    observe_reply(a, seen, r);
    if (o->watch)
        fold_out(r, o->watch, o->watch_arg);
    client->client->write_reply(scratch, r, o->mint, o->ask);
    return true;
}

static bool embed_reply(struct arena *a, const struct dialect *client, const struct dialect *provider,
                        struct str body, const struct pipe_opt *o, struct buf *scratch, struct observed *seen,
                        struct fault *f) {
    struct embed_reply *r = provider->provider->read_embed(a, body, o->quirks, f);
    if (!r)
        return false;
    *seen = (struct observed){.usage = r->usage,
                              .stop = STOP_END,
                              .id = r->id,
                              .model = r->model,
                              .output = true,
                              .ended = true,
                              .fault = seen->fault};
    client->client->write_embed(scratch, r, o->mint, o->ask);
    return true;
}

/* What passes is read once more; what cannot be read shows nothing. */
static void watch_reply(struct arena *a, const struct provider_face *provider, struct str body,
                        const struct pipe_opt *o) {
    struct fault ignored;
    struct reply *r =
        o->watch && provider->read_reply ? provider->read_reply(a, body, o->quirks, &ignored) : NULL;
    if (r)
        fold_out(r, o->watch, o->watch_arg);
}

bool pipe_reply(struct arena *a, const struct dialect *client, const struct dialect *provider,
                struct str body, const struct pipe_opt *o, struct buf *scratch, struct str *out,
                struct observed *seen, struct fault *f) {
    observed_init(seen);
    *f = seen->fault;
    MUST(client->client && provider->provider);
    if (pipe_same(client, provider, o->quirks)) {
        *out = body;
        if (provider->provider->tap_reply(a, body, o->quirks, seen, f)) {
            watch_reply(a, provider->provider, body, o);
            return true;
        }
        seen->fault = *f;
        return false;
    }
    bool ok = client->op == OP_EMBED ? embed_reply(a, client, provider, body, o, scratch, seen, f)
                                     : chat_reply(a, client, provider, body, o, scratch, seen, f);
    if (!ok) {
        seen->fault = *f;
        return false;
    }
    if (!buf_ok(scratch)) {
        fault_set(f, a, FAULT_SERVER, "the provider's answer is too large");
        seen->fault = *f;
        return false;
    }
    *out = buf_str(scratch);
    return true;
}

void pipe_count(struct arena *a, const struct dialect *client, uint64_t tokens, const struct pipe_opt *o,
                struct buf *out) {
    struct reply r = {.message = chat_message(chat_new(a), ROLE_ASSISTANT), .usage = USAGE_NONE};
    r.usage.known = true;
    r.usage.input = tokens;
    client->client->write_reply(out, &r, o->mint, o->ask);
}

/* --- streams --- */

static void fail(struct pipe *p, enum fault_class c, const char *why) {
    fault_set(&p->seen.fault, p->a, c, "%s", why);
    p->seen.fault.from_provider = true;
}

static bool failed(const struct pipe *p) {
    return fault_is(&p->seen.fault);
}

static struct str kept(struct pipe *p, struct str s) {
    return s.n ? arena_dup(p->a, s) : STR_NONE;
}

static void observe_event(struct pipe *p, const struct event_item *ev) {
    struct observed *o = &p->seen;
    switch (ev->kind) {
    case EV_START:
        o->id = arena_dup(p->a, ev->id);
        o->model = arena_dup(p->a, ev->model);
        break;
    case EV_PART_OPEN:
        o->output = o->output || ev->part == PART_TOOL_CALL || ev->part == PART_THINKING_REDACTED ||
                    ev->part == PART_IMAGE;
        o->output_bytes += ev->name.n;
        break;
    case EV_TEXT:
    case EV_ARGS:
    case EV_THINK:
        o->output = o->output || ev->text.n > 0;
        o->output_bytes += ev->text.n;
        break;
    case EV_USAGE:
        usage_merge(&o->usage, &ev->usage);
        break;
    case EV_STOP:
        note_stop(p->a, o, ev->stop, ev->text);
        o->output = true;
        break;
    case EV_FAULT:
        o->fault = *ev->fault;
        o->fault.message = arena_dup(p->a, ev->fault->message);
        o->fault.type = kept(p, ev->fault->type);
        o->fault.code = kept(p, ev->fault->code);
        o->fault.param = kept(p, ev->fault->param);
        o->fault.unknown = kept(p, ev->fault->unknown);
        break;
    case EV_END:
        o->ended = true;
        break;
    case EV_SIGNATURE:
    case EV_LOGPROBS:
    case EV_ANNOTATION:
    case EV_PART_CLOSE:
        break;
    }
}

static void on_event(void *arg, const struct event_item *ev) {
    struct pipe *p = arg;
    MAGIC_CHECK(p, PIPE_MAGIC);
    if (failed(p))
        return;
    if (!event_check(&p->check, ev)) {
        fail(p, FAULT_INTERNAL, "the provider's stream could not be translated");
        return;
    }
    observe_event(p, ev);
    if (p->watch)
        p->watch(p->watch_arg, ev);
    if (!failed(p))
        p->client->write_event(p->writer, ev, p->out);
}

/* Of a reader beside passing bytes: the tap has the say on the answer. */
static void on_watched(void *arg, const struct event_item *ev) {
    struct pipe *p = arg;
    MAGIC_CHECK(p, PIPE_MAGIC);
    p->watch(p->watch_arg, ev);
}

static bool ends_blank(struct str raw) {
    return str_ends(raw, "\n\n") || str_ends(raw, "\r\r") || str_ends(raw, "\n\r\n");
}

/* The last frame may lack its blank line, and then may have been cut: not one of our end, nor a comment. */
static bool is_cut(const struct pipe *p, const struct sse_event *ev) {
    enum json_kind kind;
    struct json_error err;
    if (!p->finishing || ends_blank(ev->raw) || p->seen.ended)
        return false;
    return ev->comment ? !str_starts(ev->raw, ":") : json_scan(ev->data, &kind, NULL, NULL, &err) != 0;
}

/* Whole, it gets its blank line, since not every client reads a frame without. */
static void forward_last(struct pipe *p, const struct sse_event *ev) {
    buf_adds(p->out, ev->raw);
    buf_addz(p->out, str_ends(ev->raw, "\n") || str_ends(ev->raw, "\r") ? "\n" : "\n\n");
}

/* An event's data as it came; what is cut off in the middle must not reach the client. */
static void forward_element(struct pipe *p, const struct sse_event *ev) {
    enum json_kind kind;
    struct json_error err;
    if (ev->comment || json_scan(ev->data, &kind, NULL, NULL, &err) != 0)
        return;
    buf_addz(p->out, p->any ? ",\r\n" : "[");
    buf_adds(p->out, ev->data);
    p->any = true;
}

static void forward(struct pipe *p, const struct sse_event *ev) {
    bool shown = true;
    if (!ev->comment) {
        shown = p->provider->tap_event(p->a, ev->name, ev->data, p->quirks, p->hide_usage, &p->seen);
        p->started = p->started || ev->data.n > 0;
        if (p->reader)
            p->provider->read_event(p->reader, ev->name, ev->data);
    }
    p->cut = is_cut(p, ev); /* must not reach the client, which would choke on it before our error event */
    if (!shown || p->cut || failed(p))
        return;
    if (p->array) {
        forward_element(p, ev);
        return;
    }
    if (p->finishing && !ends_blank(ev->raw))
        forward_last(p, ev);
    else
        buf_adds(p->out, ev->raw);
}

static bool on_frame(void *arg, const struct sse_event *ev) {
    struct pipe *p = arg;
    MAGIC_CHECK(p, PIPE_MAGIC);
    if (p->seen.ended) /* behind the end: nobody's */
        return true;
    if (p->same) {
        forward(p, ev);
        return !failed(p);
    }
    if (!ev->comment) {
        p->started = p->started || ev->data.n > 0;
        p->provider->read_event(p->reader, ev->name, ev->data);
    }
    p->cut = is_cut(p, ev);
    return !failed(p);
}

static bool aws(const struct pipe *p) {
    return p->provider->framing == FRAMING_AWS;
}

static bool on_payload(void *arg, struct str name, struct str payload) {
    struct pipe *p = arg;
    MAGIC_CHECK(p, PIPE_MAGIC);
    if (p->seen.ended) /* behind the end: nobody's */
        return true;
    p->started = true;
    p->provider->read_event(p->reader, name, payload);
    return !failed(p);
}

static bool on_line(void *arg, struct str line) {
    return on_payload(arg, STR_NONE, line);
}

static int push(struct pipe *p, const void *bytes, size_t n) {
    switch (p->provider->framing) {
    case FRAMING_AWS:
        return eventstream_push(&p->frames, bytes, n, on_payload, p);
    case FRAMING_LINES:
        return lines_push(&p->lines, bytes, n, on_line, p);
    case FRAMING_SSE:
        break;
    }
    return sse_push(&p->sse, bytes, n, on_frame, p);
}

/* A frame of AWS that is not whole is none. */
static int push_last(struct pipe *p) {
    switch (p->provider->framing) {
    case FRAMING_AWS:
        return 0;
    case FRAMING_LINES:
        return lines_finish(&p->lines, on_line, p);
    case FRAMING_SSE:
        break;
    }
    return sse_finish(&p->sse, on_frame, p);
}

static void at_arena_end(void *pipe) {
    pipe_free(pipe);
}

struct pipe *pipe_new(struct arena *a, const struct dialect *client, const struct dialect *provider,
                      const struct pipe_opt *o) {
    MUST(client->client && provider->provider);
    struct pipe *p = arena_alloc(a, sizeof *p);
    p->magic = PIPE_MAGIC;
    p->a = a;
    p->client = client->client;
    p->provider = provider->provider;
    p->quirks = o->quirks;
    p->same = pipe_same(client, provider, o->quirks);
    p->watch = o->watch;
    p->watch_arg = o->watch_arg;
    p->hide_usage = o->hide_usage;
    p->array = p->same && o->ask && o->ask->array;
    observed_init(&p->seen);
    sse_init(&p->sse, o->max_frame);
    eventstream_init(&p->frames, o->max_frame);
    lines_init(&p->lines, o->max_frame);
    if (!p->same) {
        p->reader = p->provider->reader_new(a, o->quirks, on_event, p);
        p->writer = p->client->writer_new(a, o->mint, o->ask);
    } else if (o->watch && p->provider->reader_new) {
        p->reader = p->provider->reader_new(a, o->quirks, on_watched, p);
    }
    arena_cleanup(a, at_arena_end, p);
    return p;
}

/* What sse_push and sse_finish give: false when a frame was too large. */
static bool after(struct pipe *p, int rc) {
    if (failed(p) || rc == -1)
        p->finished = true;
    if (rc == -1 && !failed(p))
        fail(p, FAULT_SERVER,
             aws(p) ? "the provider sent a frame that is broken or too large"
                    : "the provider sent an event that is too large");
    return rc != -1;
}

bool pipe_push(struct pipe *p, const void *bytes, size_t n, struct buf *out) {
    if (p->finished)
        return true;
    p->out = out;
    int rc = push(p, bytes, n);
    p->out = NULL;
    return after(p, rc);
}

static bool complete(const struct pipe *p) {
    return p->seen.ended || (p->provider->stop_is_end && p->seen.stop != STOP_UNSET);
}

bool pipe_finish(struct pipe *p, struct buf *out) {
    if (!p->finished) {
        p->out = out;
        p->finishing = true;
        int rc = push_last(p);
        if (p->cut && p->started && !failed(p))
            fail(p, FAULT_SERVER, "the provider's stream ended too early");
        if (p->reader && rc != -1 && !failed(p))
            p->provider->reader_end(p->reader);
        p->out = NULL;
        after(p, rc);
        p->finished = true;
    }
    if (failed(p))
        return false;
    if (!p->started || (p->seen.ended && !p->seen.output && p->seen.id.n == 0 && p->seen.model.n == 0))
        fail(p, FAULT_SERVER, "the provider's answer is empty");
    else if (!complete(p))
        fail(p, FAULT_SERVER, "the provider's stream ended too early");
    if (p->array && !failed(p))
        buf_addz(out, p->any ? "\r\n]" : "[]");
    return !failed(p);
}

void pipe_begun(struct pipe *p) {
    p->any = true;
}

void pipe_fault(struct pipe *p, const struct fault *f, struct str request_id, struct buf *out) {
    if (p->array) {
        buf_addz(out, p->any ? ",\r\n" : "[");
        p->client->write_fault(out, f, request_id);
        buf_addc(out, ']');
        return;
    }
    p->client->write_stream_fault(p->writer, out, f, request_id);
}

void pipe_unwatch(struct pipe *p) {
    p->watch = NULL;
    if (p->same)
        p->reader = NULL;
}

const struct observed *pipe_seen(const struct pipe *p) {
    return &p->seen;
}

void pipe_free(struct pipe *p) {
    MAGIC_CHECK(p, PIPE_MAGIC);
    p->finished = true;
    sse_free(&p->sse);
    eventstream_free(&p->frames);
    lines_free(&p->lines);
}
