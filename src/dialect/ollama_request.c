/* A conversation as a request of Ollama's native chat: texts and pictures apart, arguments as objects, and
 * what steers the model in "options". */
#include "encode.h"
#include "ollama.h"

#include <json-c/linkhash.h>
#include <stdlib.h>

struct called {
    struct str id, name;
};
struct wr {
    struct encoder e;
    size_t i;             /* of the message */
    struct called *calls; /* of the whole conversation, by id */
    size_t ncalls;
};

/* --- whose result it is: templates of models want the name of the tool --- */

static int by_id(const void *a, const void *b) {
    struct str x = ((const struct called *)a)->id, y = ((const struct called *)b)->id;
    int d = memcmp(x.p ? x.p : "", y.p ? y.p : "", x.n < y.n ? x.n : y.n);
    return d ? d : (x.n > y.n) - (x.n < y.n);
}

static size_t each_call(const struct chat *c, struct called *out) {
    size_t n = 0;
    for (const struct message *m = c->messages; m; m = m->next)
        for (const struct part *p = m->parts; p; p = p->next)
            if (p->kind == PART_TOOL_CALL) {
                if (out)
                    out[n] = (struct called){p->id, p->name};
                n++;
            }
    return n;
}

static void find_calls(struct wr *r) {
    r->ncalls = each_call(r->e.c, NULL);
    r->calls = arena_array(r->e.a, r->ncalls + 1, sizeof *r->calls);
    each_call(r->e.c, r->calls);
    qsort(r->calls, r->ncalls, sizeof *r->calls, by_id);
}

static struct str tool_of(const struct wr *r, const struct part *result) {
    struct called want = {.id = result->id};
    if (result->name.n)
        return result->name;
    const struct called *k = bsearch(&want, r->calls, r->ncalls, sizeof *r->calls, by_id);
    return k ? k->name : STR_NONE;
}

/* --- messages --- */

static bool any(const struct part *p, enum part_kind kind) {
    for (; p; p = p->next)
        if (p->kind == kind)
            return true;
    return false;
}

static void write_texts(struct wr *r, const struct part *p, bool apart) {
    jw_key(&r->e.w, "content");
    encode_texts(&r->e.w, p, KIND_BIT(PART_TEXT) | KIND_BIT(PART_REFUSAL), apart);
}

static void open_message(struct wr *r, const char *role) {
    jw_obj(&r->e.w);
    jw_kz(&r->e.w, "role", role);
}

/* Files are none of what it takes, and it fetches no pictures. */
static bool check_parts(struct wr *r, const struct part *p) {
    for (size_t j = 0; p; p = p->next, j++) {
        bool file = p->kind == PART_AUDIO || p->kind == PART_FILE || (p->kind == PART_IMAGE && !p->data.n);
        if (file &&
            !encode_unsupported(&r->e, arena_printf(r->e.a, "messages[%zu].content[%zu]", r->i, j),
                                p->kind == PART_IMAGE
                                    ? "is a picture by its address, which this provider does not fetch"
                                    : NO_EQUIVALENT))
            return false;
    }
    return true;
}

static void write_images(struct wr *r, const struct part *p) {
    bool open = false;
    for (; p; p = p->next) {
        if (p->kind != PART_IMAGE || !p->data.n)
            continue;
        if (!open) {
            jw_key(&r->e.w, "images");
            jw_arr(&r->e.w);
        }
        open = true;
        jw_str(&r->e.w, p->data);
    }
    if (open)
        jw_arr_end(&r->e.w);
}

static bool write_results(struct wr *r, const struct message *m) {
    for (const struct part *p = m->parts; p; p = p->next) {
        if (p->kind != PART_TOOL_RESULT)
            continue;
        struct str name = tool_of(r, p);
        if (!check_parts(r, p->inner))
            return false;
        if (p->is_error)
            encode_report(&r->e, STR("is_error")); /* its text says so to the model */
        open_message(r, "tool");
        write_texts(r, p->inner, true);
        write_images(r, p->inner);
        if (name.n)
            jw_kstr(&r->e.w, "tool_name", name);
        jw_kstr(&r->e.w, "tool_call_id", p->id);
        jw_obj_end(&r->e.w);
    }
    return true;
}

static bool write_user(struct wr *r, const struct message *m) {
    if (!write_results(r, m) || !check_parts(r, m->parts))
        return false;
    if (!any(m->parts, PART_IMAGE) && !any(m->parts, PART_TEXT))
        return true;
    open_message(r, "user");
    write_texts(r, m->parts, true);
    write_images(r, m->parts);
    jw_obj_end(&r->e.w);
    return true;
}

static void write_calls(struct wr *r, const struct message *m) {
    unsigned n = 0;
    jw_key(&r->e.w, "tool_calls");
    jw_arr(&r->e.w);
    for (const struct part *p = m->parts; p; p = p->next) {
        if (p->kind != PART_TOOL_CALL)
            continue;
        jw_obj(&r->e.w);
        jw_kstr(&r->e.w, "id", p->id);
        jw_key(&r->e.w, "function");
        jw_obj(&r->e.w);
        jw_ku64(&r->e.w, "index", n++);
        jw_kstr(&r->e.w, "name", p->name);
        encode_arguments(&r->e.w, "arguments", p->text);
        jw_obj_end(&r->e.w);
        jw_obj_end(&r->e.w);
    }
    jw_arr_end(&r->e.w);
}

/* Thinking is plain text there; what another vendor has sealed with a signature stays away. */
static void write_thinking(struct wr *r, const struct message *m) {
    struct buf b;
    buf_init(&b, 0);
    for (const struct part *p = m->parts; p; p = p->next)
        if (p->kind == PART_THINKING && p->origin.n == 0)
            buf_adds(&b, p->text);
    if (buf_len(&b))
        jw_kstr(&r->e.w, "thinking", buf_str(&b));
    buf_free(&b);
}

static void write_assistant(struct wr *r, const struct message *m) {
    bool calls = any(m->parts, PART_TOOL_CALL);
    if (!calls && !any(m->parts, PART_TEXT) && !any(m->parts, PART_REFUSAL))
        return;
    open_message(r, "assistant");
    write_texts(r, m->parts, false);
    write_thinking(r, m);
    if (calls)
        write_calls(r, m);
    jw_obj_end(&r->e.w);
}

static bool write_messages(struct wr *r) {
    jw_key(&r->e.w, "messages");
    jw_arr(&r->e.w);
    for (const struct message *m = r->e.c->messages; m; m = m->next, r->i++) {
        if (m->role == ROLE_SYSTEM || m->role == ROLE_DEVELOPER) {
            open_message(r, "system");
            write_texts(r, m->parts, true);
            jw_obj_end(&r->e.w);
        } else if (m->role == ROLE_ASSISTANT) {
            write_assistant(r, m);
        } else if (!write_user(r, m)) {
            return false;
        }
    }
    jw_arr_end(&r->e.w);
    return true;
}

/* --- tools --- */

/* There is no choice: a model that shall not call is offered nothing. */
static bool write_tools(struct wr *r) {
    const struct chat *c = r->e.c;
    size_t n = 0;
    if ((c->choice == CHOICE_REQUIRED || c->choice == CHOICE_NAMED) &&
        !encode_unsupported(&r->e, STR("tool_choice"), NO_EQUIVALENT))
        return false;
    for (const struct tool *t = c->choice == CHOICE_NONE ? NULL : c->tools; t; t = t->next) {
        if (t->raw && !t->custom) {
            if (!encode_unsupported(&r->e, arena_printf(r->e.a, "tools[%zu]", t->at),
                                    "is a tool of a kind that " NO_EQUIVALENT))
                return false;
            continue;
        }
        if (n++ == 0) {
            jw_key(&r->e.w, "tools");
            jw_arr(&r->e.w);
        }
        encode_function(&r->e.w, t);
    }
    if (n > 0)
        jw_arr_end(&r->e.w);
    return true;
}

/* --- parameters --- */

static bool check_unsupported(struct wr *r) {
    const struct chat *c = r->e.c;
    const struct {
        bool asked;
        const char *name;
    } rows[] = {
        {c->n > 1, "n"},
        {c->logprobs, "logprobs"},
        {c->logit_bias && json_object_object_length(c->logit_bias) > 0, "logit_bias"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (rows[i].asked && !encode_unsupported(&r->e, str_of(rows[i].name), NO_EQUIVALENT))
            return false;
    return encode_one_call(&r->e);
}

static void write_format(struct wr *r) {
    const struct chat *c = r->e.c;
    if (c->format == FORMAT_SCHEMA && c->format_schema) {
        jw_key(&r->e.w, "format");
        jw_tree(&r->e.w, c->format_schema);
    } else if (c->format == FORMAT_JSON || c->format == FORMAT_SCHEMA) {
        jw_kz(&r->e.w, "format", "json");
    }
}

/* A level where one is known, for the models that tell them apart; else on or off. */
static void write_think(struct wr *r) {
    const struct chat *c = r->e.c;
    static const struct {
        const char *effort, *level;
    } rows[] = {{"minimal", "low"}, {"low", "low"},    {"medium", "medium"},
                {"high", "high"},   {"xhigh", "high"}, {"max", "high"}};
    if (c->thinking == THINKING_OFF || str_is(c->effort, "none")) {
        jw_kbool(&r->e.w, "think", false);
        return;
    }
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (str_is(c->effort, rows[i].effort)) {
            jw_kz(&r->e.w, "think", rows[i].level);
            return;
        }
    if (c->thinking == THINKING_BUDGET) {
        jw_kbool(&r->e.w, "think", true);
    } else if (jo_get(c->extra, "think")) { /* said in Ollama's own word */
        jw_key(&r->e.w, "think");
        jw_tree(&r->e.w, jo_get(c->extra, "think"));
    }
}

static bool is_written(const struct chat *c, const char *option) {
    const struct {
        bool set;
        const char *name;
    } rows[] = {{c->max_tokens > 0, "num_predict"},
                {c->temperature.set, "temperature"},
                {c->top_p.set, "top_p"},
                {c->top_k.set, "top_k"},
                {c->frequency_penalty.set, "frequency_penalty"},
                {c->presence_penalty.set, "presence_penalty"},
                {c->seed_set, "seed"},
                {c->nstop > 0, "stop"}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (rows[i].set && strcmp(option, rows[i].name) == 0)
            return true;
    return false;
}

/* The client's own "options" (num_ctx above all) stand beside what it said in its dialect's words. */
static void write_own_options(struct wr *r) {
    struct json_object *own = jo_obj(r->e.c->extra, "options");
    if (!own)
        return;
    json_object_object_foreach(own, key, v) {
        if (is_written(r->e.c, key))
            continue;
        jw_keys(&r->e.w, str_of(key));
        jw_tree(&r->e.w, v);
    }
}

static void write_options(struct wr *r) {
    const struct chat *c = r->e.c;
    jw_key(&r->e.w, "options");
    jw_obj(&r->e.w);
    if (c->max_tokens)
        jw_ku64(&r->e.w, "num_predict", c->max_tokens);
    encode_number(&r->e, "temperature", &c->temperature);
    encode_number(&r->e, "top_p", &c->top_p);
    encode_number(&r->e, "top_k", &c->top_k);
    encode_number(&r->e, "frequency_penalty", &c->frequency_penalty);
    encode_number(&r->e, "presence_penalty", &c->presence_penalty);
    if (c->seed_set)
        jw_kint(&r->e.w, "seed", c->seed);
    if (c->nstop) {
        jw_key(&r->e.w, "stop");
        jw_arr(&r->e.w);
        for (size_t i = 0; i < c->nstop; i++)
            jw_str(&r->e.w, c->stop[i]);
        jw_arr_end(&r->e.w);
    }
    write_own_options(r);
    jw_obj_end(&r->e.w);
}

static bool write_extra(struct wr *r) {
    return encode_extra(&r->e, "keep_alive truncate shift", "options think");
}

bool ol_write_request(struct arena *a, const struct chat *c, const struct encode_opt *o, struct buf *out,
                      struct buf *dropped, struct fault *f) {
    struct wr r = {.e = {.a = a, .c = c, .o = o, .dropped = dropped, .f = f}};
    *f = (struct fault){.cls = FAULT_NONE, .retry_after_ms = -1};
    jw_init(&r.e.w, out);
    jw_obj(&r.e.w);
    jw_kstr(&r.e.w, "model", o->model);
    find_calls(&r);
    if (!check_unsupported(&r) || !write_messages(&r) || !write_tools(&r))
        return false;
    jw_kbool(&r.e.w, "stream", c->stream); /* a stream is what it gives unasked */
    write_options(&r);
    write_format(&r);
    write_think(&r);
    if (!write_extra(&r))
        return false;
    jw_obj_end(&r.e.w);
    return true;
}
