/* A stream of GenerateContentResponse objects into events; a whole answer is a stream of one. There is no
 * last event: the end of the bytes is the end, and a finish reason before it says that the answer is whole.
 * Parts of one kind that follow each other are one part here, up to a thoughtSignature. */
#include "gemini.h"

#include "answer.h"
#include "base/die.h"
#include "base/hash.h"

#define READER_MAGIC 0x474D5244U

struct reader {
    unsigned magic;
    struct arena *a;
    struct event_source out;
    struct arena *tmp; /* texts of the event in hand; NULL when none had an escape */
    uint64_t choice;   /* the candidate that is read */
    bool found;        /* it was there */
    bool has_call, is_signed;
    unsigned calls;
    struct str base;            /* of the ids of calls that have none */
    struct gm_partial *partial; /* of the open call */
    struct usage usage;
    enum stop_reason stop;
    struct str stop_native;
    size_t position; /* in the array of candidates */
};

static struct reader *reader_of(struct stream_reader *r) {
    struct reader *self = (struct reader *)(void *)r;
    MAGIC_CHECK(self, READER_MAGIC);
    return self;
}

struct stream_reader *gm_reader_new(struct arena *a, unsigned quirks, event_fn *fn, void *arg) {
    (void)quirks;
    struct reader *r = arena_alloc(a, sizeof *r);
    r->magic = READER_MAGIC;
    r->a = a;
    r->usage = USAGE_NONE;
    r->out = (struct event_source){.fn = fn, .arg = arg, .arena = a};
    return (struct stream_reader *)(void *)r;
}

void gm_reader_choose(struct stream_reader *r, uint64_t choice) {
    reader_of(r)->choice = choice;
}

/* --- texts: valid until the event has been handled, so that a long stream does not fill the arena --- */

static struct str text(struct reader *r, struct json_value v) {
    if (v.kind != JSON_STRING || v.raw.n <= 2)
        return STR_NONE;
    if (!memchr(v.raw.p, '\\', v.raw.n))
        return str_make(v.raw.p + 1, v.raw.n - 2);
    if (!r->tmp)
        r->tmp = arena_new(0);
    return json_text(r->tmp, v);
}

static struct str member(struct reader *r, struct str object, const char *key) {
    struct json_value v;
    return json_member(object, key, &v) ? text(r, v) : STR_NONE;
}

/* --- parts --- */

static void close_part(struct reader *r) {
    if (r->partial && r->out.open) {
        struct arena *tmp = arena_new(0);
        event_text(&r->out, EV_ARGS, tree_text(tmp, gm_partial_tree(r->partial)));
        arena_free(tmp);
    }
    r->partial = NULL;
    r->is_signed = false;
    event_close(&r->out);
}

static void sign(struct reader *r, struct str signature) {
    if (signature.n == 0 || r->is_signed)
        return;
    event_signature(&r->out, signature, STR(GM_ORIGIN));
    r->is_signed = true;
}

static void on_text(struct reader *r, bool thought, struct str said, struct str signature) {
    enum part_kind kind = thought ? PART_THINKING : PART_TEXT;
    if (said.n == 0 && signature.n == 0)
        return;
    bool goes_on = r->out.open && r->out.part == kind && !r->is_signed;
    if (!goes_on) {
        close_part(r);
        event_open(&r->out, (struct event_item){.part = kind});
    }
    event_text(&r->out, thought ? EV_THINK : EV_TEXT, said);
    sign(r, signature);
}

/* The same answer gives the same ids, read whole or in pieces. */
static struct str mint_id(struct reader *r, struct arena *tmp) {
    return arena_printf(tmp, GM_MINTED STR_FMT "_%u", STR_ARG(r->base), r->calls);
}

static void open_call(struct reader *r, struct str id, struct str name, struct str signature) {
    struct arena *tmp = arena_new(0);
    close_part(r);
    if (id.n == 0)
        id = mint_id(r, tmp);
    r->calls++;
    r->has_call = true;
    event_open(&r->out, (struct event_item){.part = PART_TOOL_CALL, .id = id, .name = name});
    arena_free(tmp);
    sign(r, signature);
}

static void on_call(struct reader *r, struct str call, struct str signature) {
    struct json_value v, args = {.kind = JSON_NULL}, pieces = {.kind = JSON_NULL};
    struct str name = member(r, call, "name");
    bool more = json_member(call, "willContinue", &v) && json_true(v);
    json_member(call, "args", &args);
    json_member(call, "partialArgs", &pieces);
    if (name.n > 0)
        open_call(r, member(r, call, "id"), name, signature);
    else if (!r->partial)
        return; /* nothing that could be called */
    if (!r->partial && (more || pieces.kind == JSON_ARRAY))
        r->partial = gm_partial_new(r->a);
    if (r->partial && !gm_partial_add(r->partial, pieces)) {
        event_fail(&r->out, "the arguments of a call are too large");
        return;
    }
    if (args.kind == JSON_OBJECT && !r->partial)
        event_text(&r->out, EV_ARGS, args.raw);
    if (!more)
        close_part(r);
}

/* --- what the model made besides words --- */

static void on_data(struct reader *r, struct str blob) {
    struct str media = member(r, blob, "mimeType"), data = member(r, blob, "data");
    if (str_startsi(media, "image/") && data.n > 0) {
        close_part(r);
        event_open(&r->out, (struct event_item){.part = PART_IMAGE, .name = media, .text = data});
        close_part(r);
    } else if (data.n > 0) {
        if (!r->tmp)
            r->tmp = arena_new(0);
        on_text(r, false,
                arena_printf(r->tmp, "[" STR_FMT ", %zu bytes, which cannot be handed on]", STR_ARG(media),
                             data.n / 4 * 3),
                STR_NONE);
    }
}

/* As Markdown has it; the fence is longer than what is inside. */
static void on_fenced(struct reader *r, struct str word, struct str text) {
    const char *fence = str_find(text, STR("```")) < 0 ? "```" : "``````";
    char language[32];
    str_copy(language, sizeof language, word);
    for (size_t i = 0; language[i]; i++)
        if (language[i] >= 'A' && language[i] <= 'Z')
            language[i] = (char)(language[i] | 0x20);
    if (!r->tmp)
        r->tmp = arena_new(0);
    on_text(r, false,
            arena_printf(r->tmp, "\n%s%s\n" STR_FMT "%s%s\n", fence, language, STR_ARG(text),
                         str_ends(text, "\n") ? "" : "\n", fence),
            STR_NONE);
}

/* Code that Gemini ran itself, and what came of it. true: it was that. */
static bool on_code(struct reader *r, struct str part) {
    struct json_value v;
    if (json_member(part, "executableCode", &v) && v.kind == JSON_OBJECT) {
        on_fenced(r, member(r, v.raw, "language"), member(r, v.raw, "code"));
        return true;
    }
    if (!json_member(part, "codeExecutionResult", &v) || v.kind != JSON_OBJECT)
        return false;
    struct str outcome = member(r, v.raw, "outcome"), output = member(r, v.raw, "output");
    bool ok = outcome.n == 0 || str_is(outcome, "OUTCOME_OK");
    on_fenced(r, STR_NONE, ok || output.n > 0 ? output : outcome);
    return true;
}

static bool on_part(void *arg, struct str key, struct json_value v) {
    struct reader *r = arg;
    struct json_value said = {.kind = JSON_NULL}, call, thinks, blob;
    (void)key;
    if (v.kind != JSON_OBJECT || r->out.done)
        return true;
    struct str signature = member(r, v.raw, "thoughtSignature");
    if (json_member(v.raw, "functionCall", &call) && call.kind == JSON_OBJECT) {
        on_call(r, call.raw, signature);
        return true;
    }
    bool thought = json_member(v.raw, "thought", &thinks) && json_true(thinks);
    if (json_member(v.raw, "inlineData", &blob) && blob.kind == JSON_OBJECT) {
        if (!thought) /* drafts on the way to the picture */
            on_data(r, blob.raw);
        return true;
    }
    if (on_code(r, v.raw))
        return true;
    if (!json_member(v.raw, "text", &said) && signature.n == 0)
        return true;
    on_text(r, thought, text(r, said), signature);
    return true;
}

/* --- a candidate --- */

static void on_finish(struct reader *r, struct json_value v) {
    struct str word = v.kind == JSON_NUMBER ? v.raw : text(r, v);
    if (word.n == 0 || word.n > 256)
        return;
    r->stop = gm_stop(word);
    r->stop_native = arena_dup(r->a, word);
}

static void write_top(struct jw *w, struct str top);

static bool one_alternative(void *arg, struct str key, struct json_value v) {
    struct jw *w = arg;
    (void)key;
    if (v.kind == JSON_OBJECT) {
        jw_obj(w);
        write_top(w, v.raw);
        jw_obj_end(w);
    }
    return true;
}

/* token, logprob, bytes as OpenAI has them */
static void write_top(struct jw *w, struct str top) {
    struct json_value v;
    if (json_member(top, "token", &v) && v.kind == JSON_STRING) {
        jw_key(w, "token");
        jw_raw(w, v.raw);
    } else {
        jw_kz(w, "token", "");
    }
    jw_key(w, "logprob");
    if (json_member(top, "logProbability", &v) && v.kind == JSON_NUMBER)
        jw_raw(w, v.raw);
    else
        jw_int(w, 0);
    jw_knull(w, "bytes");
}

struct tops {
    struct jw w;
    struct str list;
    size_t at, want;
    struct json_value found;
};

static bool nth(void *arg, struct str key, struct json_value v) {
    struct tops *t = arg;
    (void)key;
    if (t->at++ < t->want)
        return true;
    t->found = v;
    return false;
}

static bool one_chosen(void *arg, struct str key, struct json_value v) {
    struct tops *t = arg;
    struct json_value m;
    (void)key;
    if (v.kind != JSON_OBJECT)
        return true;
    jw_obj(&t->w);
    write_top(&t->w, v.raw);
    jw_key(&t->w, "top_logprobs");
    jw_arr(&t->w);
    t->at = 0;
    t->found = (struct json_value){.kind = JSON_NULL};
    if (t->list.n)
        json_each(t->list, nth, t);
    if (t->found.kind == JSON_OBJECT && json_member(t->found.raw, "candidates", &m) && m.kind == JSON_ARRAY)
        json_each(m.raw, one_alternative, &t->w);
    jw_arr_end(&t->w);
    jw_obj_end(&t->w);
    t->want++;
    return true;
}

enum { LOGPROBS_MAX = 1 << 20 }; /* the two lists are walked against each other */

static void on_logprobs(struct reader *r, struct str result) {
    struct json_value chosen, top;
    struct tops t = {.want = 0};
    struct buf b;
    if (result.n > LOGPROBS_MAX || !json_member(result, "chosenCandidates", &chosen) ||
        chosen.kind != JSON_ARRAY || !r->out.open || r->out.part != PART_TEXT)
        return;
    if (json_member(result, "topCandidates", &top) && top.kind == JSON_ARRAY)
        t.list = top.raw;
    buf_init(&b, 0);
    jw_init(&t.w, &b);
    jw_arr(&t.w);
    json_each(chosen.raw, one_chosen, &t);
    jw_arr_end(&t.w);
    if (buf_len(&b) > 2)
        event_text(&r->out, EV_LOGPROBS, buf_str(&b));
    buf_free(&b);
}

static bool one_source(void *arg, struct str key, struct json_value v) {
    struct reader *r = arg;
    struct json_value uri, title;
    struct buf b;
    struct jw w;
    (void)key;
    if (v.kind != JSON_OBJECT || !json_path(v.raw, &uri, "web", "uri", NULL) || uri.kind != JSON_STRING)
        return true;
    buf_init(&b, 0);
    jw_init(&w, &b);
    jw_obj(&w);
    jw_kz(&w, "type", "url_citation");
    jw_key(&w, "url_citation");
    jw_obj(&w);
    jw_key(&w, "url");
    jw_raw(&w, uri.raw);
    jw_key(&w, "title");
    if (json_path(v.raw, &title, "web", "title", NULL) && title.kind == JSON_STRING)
        jw_raw(&w, title.raw);
    else
        jw_z(&w, "");
    jw_obj_end(&w);
    jw_obj_end(&w);
    event_text(&r->out, EV_ANNOTATION, buf_str(&b));
    buf_free(&b);
    return true;
}

static void on_grounding(struct reader *r, struct str metadata) {
    struct json_value chunks;
    if (r->out.open && r->out.part == PART_TEXT && json_member(metadata, "groundingChunks", &chunks) &&
        chunks.kind == JSON_ARRAY)
        json_each(chunks.raw, one_source, r);
}

static bool on_candidate(void *arg, struct str key, struct json_value v) {
    struct reader *r = arg;
    struct json_value m;
    uint64_t index = r->position++;
    (void)key;
    if (v.kind != JSON_OBJECT || r->out.done)
        return true;
    if (json_member(v.raw, "index", &m))
        json_u64(m, &index);
    if (index != r->choice)
        return true;
    r->found = true;
    if (json_path(v.raw, &m, "content", "parts", NULL) && m.kind == JSON_ARRAY)
        json_each(m.raw, on_part, r);
    if (r->out.done)
        return true;
    if (json_member(v.raw, "logprobsResult", &m) && m.kind == JSON_OBJECT)
        on_logprobs(r, m.raw);
    if (json_member(v.raw, "groundingMetadata", &m) && m.kind == JSON_OBJECT)
        on_grounding(r, m.raw);
    if (json_member(v.raw, "finishReason", &m))
        on_finish(r, m);
    return true;
}

/* --- a chunk --- */

/* What minted ids are made of: the answer's id, or a digest of its first chunk. */
static void set_base(struct reader *r, struct str id, struct str chunk) {
    char plain[25];
    size_t n = 0;
    for (size_t i = 0; i < id.n && n + 1 < sizeof plain; i++) {
        char c = id.p[i];
        if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9'))
            plain[n++] = c;
    }
    r->base = n ? arena_dup(r->a, str_make(plain, n))
                : arena_printf(r->a, "%016llx", (unsigned long long)hash64(chunk.p, chunk.n));
}

static void on_chunk(struct reader *r, struct str chunk) {
    struct json_value v;
    if (json_member(chunk, "error", &v) && v.kind != JSON_NULL) {
        struct fault f;
        gm_error(r->a, v, &f);
        event_fault(&r->out, &f);
        return;
    }
    struct str id = member(r, chunk, "responseId");
    if (!r->out.started)
        set_base(r, id, chunk);
    event_start(&r->out, id, member(r, chunk, "modelVersion"), 0);
    r->position = 0;
    if (json_member(chunk, "candidates", &v) && v.kind == JSON_ARRAY)
        json_each(v.raw, on_candidate, r);
    if (r->out.done)
        return;
    if (json_path(chunk, &v, "promptFeedback", "blockReason", NULL) && r->stop == STOP_UNSET) {
        on_finish(r, v);
        r->stop = STOP_FILTER;
    }
    if (json_member(chunk, "usageMetadata", &v) && v.kind == JSON_OBJECT) {
        struct usage u = gm_usage(v.raw);
        usage_merge(&r->usage, &u);
        if (u.known)
            event_usage(&r->out, &r->usage);
    }
}

static void forget_texts(struct reader *r) {
    arena_free(r->tmp);
    r->tmp = NULL;
}

void gm_read_event(struct stream_reader *sr, struct str name, struct str data) {
    struct reader *r = reader_of(sr);
    enum json_kind kind = JSON_NULL;
    struct json_error err;
    (void)name;
    if (r->out.done || data.n == 0 || str_is(data, "[DONE]"))
        return;
    if (json_scan(data, &kind, NULL, NULL, &err) != 0) {
        event_fail(&r->out, "the provider sent an event that is not JSON");
        return;
    }
    if (kind == JSON_OBJECT)
        on_chunk(r, data);
    forget_texts(r);
}

static void finish(struct reader *r) {
    enum stop_reason stop = r->stop == STOP_END && r->has_call ? STOP_TOOLS : r->stop;
    close_part(r);
    event_end(&r->out, stop, r->stop_native, STR_NONE);
}

void gm_reader_end(struct stream_reader *sr) {
    struct reader *r = reader_of(sr);
    if (r->out.done)
        return;
    if (!r->out.started)
        event_fail(&r->out, "the provider's answer is empty");
    else if (r->stop == STOP_UNSET)
        event_fail(&r->out, "the provider's stream ended too early");
    else
        finish(r);
}

static bool whole_element(void *arg, struct str key, struct json_value v) {
    struct reader *r = arg;
    (void)key;
    if (v.kind == JSON_OBJECT && !r->out.done)
        on_chunk(r, v.raw);
    return true;
}

bool gm_reader_whole(struct stream_reader *sr, struct str checked) {
    struct reader *r = reader_of(sr);
    struct str body = str_trim(checked);
    while (body.n && (body.p[0] == '\n' || body.p[0] == '\r'))
        body = str_trim(str_skip(body, 1));
    if (body.n && body.p[0] == '[')
        json_each(checked, whole_element, r);
    else
        on_chunk(r, checked);
    forget_texts(r);
    if (!r->out.done)
        finish(r);
    return r->found || r->choice == 0;
}
