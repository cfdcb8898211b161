/* Whole answers and errors in OpenAI's words. */
#include "cite.h"
#include "opaque.h"
#include "openai_chat_write.h"

/* --- words --- */

const char *oc_finish_word(enum stop_reason stop) {
    switch (stop) {
    case STOP_LENGTH:
    case STOP_CONTEXT:
        return "length";
    case STOP_TOOLS:
        return "tool_calls";
    case STOP_FILTER:
        return "content_filter";
    default: /* END, SEQUENCE, PAUSE, OTHER, UNSET; the native word is told beside it */
        return "stop";
    }
}

/* The native reason is told where "finish_reason" says less than it. */
bool oc_tells_native(enum stop_reason stop, struct str native) {
    return native.n > 0 && (stop == STOP_OTHER || stop == STOP_UNKNOWN || stop == STOP_PAUSE ||
                            stop == STOP_CONTEXT || stop == STOP_FILTER);
}

void oc_write_usage(struct jw *w, const struct usage *u) {
    jw_key(w, "usage");
    jw_obj(w);
    jw_ku64(w, "prompt_tokens", u->input);
    jw_ku64(w, "completion_tokens", u->output);
    jw_ku64(w, "total_tokens", u->input + u->output);
    jw_key(w, "prompt_tokens_details");
    jw_obj(w);
    jw_ku64(w, "cached_tokens", u->cache_read);
    if (u->cache_write)
        jw_ku64(w, "cache_write_tokens", u->cache_write);
    if (u->audio_in)
        jw_ku64(w, "audio_tokens", u->audio_in);
    jw_obj_end(w);
    jw_key(w, "completion_tokens_details");
    jw_obj(w);
    jw_ku64(w, "reasoning_tokens", u->reasoning);
    if (u->audio_out)
        jw_ku64(w, "audio_tokens", u->audio_out);
    jw_obj_end(w);
    if (u->cost_nano >= 0) {
        jw_key(w, "cost");
        jw_nano(w, u->cost_nano);
    }
    jw_obj_end(w);
}

bool oc_has_usage(const struct usage *u) {
    return u->known || u->estimated;
}

/* --- whole --- */

static const struct part *find_part(const struct message *m, enum part_kind kind) {
    for (const struct part *p = m->parts; p; p = p->next)
        if (p->kind == kind)
            return p;
    return NULL;
}

/* All parts of one kind as one string; a single one is not copied. */
static void write_joined(struct jw *w, const char *key, const struct message *m, enum part_kind kind) {
    const struct part *first = find_part(m, kind), *p = first ? first->next : NULL;
    while (p && p->kind != kind)
        p = p->next;
    if (!p) {
        jw_kstr(w, key, first ? first->text : STR(""));
        return;
    }
    struct buf b;
    buf_init(&b, 0);
    for (p = first; p; p = p->next)
        if (p->kind == kind)
            buf_adds(&b, p->text);
    jw_kstr(w, key, buf_str(&b));
    buf_free(&b);
}

/* What another dialect made is marked with its name, so that it only goes back there. */
static void write_opaque(struct jw *w, const char *key, struct str text, struct str origin, const char *own) {
    struct arena *tmp = arena_new(0);
    jw_kstr(w, key, opaque_wrap(tmp, text, origin, own));
    arena_free(tmp);
}

static void open_entry(struct jw *w, int64_t index) {
    jw_obj(w);
    if (index >= 0)
        jw_kint(w, "index", index);
}

void oc_write_image(struct jw *w, const struct part *p, int64_t index) {
    struct arena *tmp = arena_new(0);
    open_entry(w, index);
    jw_kz(w, "type", "image_url");
    jw_key(w, "image_url");
    jw_obj(w);
    jw_kstr(w, "url",
            arena_printf(tmp, "data:" STR_FMT ";base64," STR_FMT, STR_ARG(p->media), STR_ARG(p->data)));
    jw_obj_end(w);
    jw_obj_end(w);
    arena_free(tmp);
}

void oc_write_thinking_block(struct jw *w, const struct part *p, int64_t index) {
    open_entry(w, index);
    if (p->kind == PART_THINKING) {
        jw_kz(w, "type", "thinking");
        jw_kstr(w, "thinking", p->text);
        write_opaque(w, "signature", p->signature, p->origin, OC_NAME);
    } else {
        jw_kz(w, "type", "redacted_thinking");
        write_opaque(w, "data", p->data, p->origin, OC_NAME);
    }
    jw_obj_end(w);
}

static bool is_block(const struct part *p) {
    return p->kind == PART_THINKING_REDACTED || (p->kind == PART_THINKING && p->signature.n > 0);
}

/* Signed or redacted thinking: whoever gives it back unchanged can go on with the same model. */
static void write_thinking_blocks(struct jw *w, const struct message *m) {
    bool any = false;
    for (const struct part *p = m->parts; p; p = p->next) {
        if (!is_block(p))
            continue;
        if (!any) {
            jw_key(w, "thinking_blocks");
            jw_arr(w);
        }
        any = true;
        oc_write_thinking_block(w, p, -1);
    }
    if (any)
        jw_arr_end(w);
}

void oc_write_call_signature(struct jw *w, struct str signature, struct str origin) {
    if (signature.n == 0)
        return;
    jw_key(w, "extra_content");
    jw_obj(w);
    jw_key(w, "google");
    jw_obj(w);
    write_opaque(w, "thought_signature", signature, origin, OC_FOR_GOOGLE);
    jw_obj_end(w);
    jw_obj_end(w);
}

struct json_object *oc_custom_names(struct arena *a, const struct ask *ask) {
    struct json_error err;
    if (!ask || str_find(ask->body, STR("\"custom\"")) < 0)
        return NULL;
    struct json_object *tools = jo_arr(chat_hold(a, json_tree(ask->body, &err)), "tools");
    struct json_object *names = chat_hold(a, json_object_new_object());
    for (size_t i = 0; tools && i < json_object_array_length(tools); i++) {
        struct str name = jo_str(jo_obj(json_object_array_get_idx(tools, i), "custom"), "name");
        if (name.n > 0)
            json_object_object_add(names, arena_dupz(a, name), NULL);
    }
    return names;
}

bool oc_is_legacy(const struct ask *ask) {
    struct json_value functions, tools;
    return ask && str_find(ask->body, STR("\"functions\"")) >= 0 &&
           json_member(ask->body, "functions", &functions) && functions.kind == JSON_ARRAY &&
           !(json_member(ask->body, "tools", &tools) && tools.kind == JSON_ARRAY);
}

bool oc_is_custom(struct json_object *names, struct str name) {
    char key[256];
    str_copy(key, sizeof key, name);
    return names && json_object_object_get_ex(names, key, NULL);
}

void oc_write_call(struct jw *w, const struct part *p) {
    const char *type = p->custom ? "custom" : "function";
    jw_kstr(w, "id", p->id);
    jw_kz(w, "type", type);
    oc_write_call_signature(w, p->signature, p->origin);
    jw_key(w, type);
    jw_obj(w);
    jw_kstr(w, "name", p->name);
    jw_kstr(w, p->custom ? "input" : "arguments", p->text);
    jw_obj_end(w);
}

/* What the client is told of its request. */
struct told {
    struct arena *a; /* short-lived */
    struct json_object *custom;
    bool legacy;
};

static bool is_legacy_call(const struct told *t, const struct message *m) {
    size_t n = 0;
    for (const struct part *p = m ? m->parts : NULL; p; p = p->next)
        n += p->kind == PART_TOOL_CALL;
    return t->legacy && n == 1; /* there is no way to tell of several */
}

static void write_legacy_call(struct jw *w, const struct part *p) {
    jw_key(w, "function_call");
    jw_obj(w);
    jw_kstr(w, "name", p->name);
    jw_kstr(w, "arguments", p->text.n ? p->text : STR("{}"));
    jw_obj_end(w);
}

static void write_calls(struct jw *w, const struct told *t, const struct message *m) {
    jw_key(w, "tool_calls");
    jw_arr(w);
    for (const struct part *p = m->parts; p; p = p->next) {
        if (p->kind != PART_TOOL_CALL)
            continue;
        struct part call = *p;
        call.custom = oc_is_custom(t->custom, p->name);
        if (call.custom)
            call.text = free_text_of(t->a, p->text);
        else if (call.text.n == 0)
            call.text = STR("{}");
        jw_obj(w);
        oc_write_call(w, &call);
        jw_obj_end(w);
    }
    jw_arr_end(w);
}

struct notes {
    struct jw *w;
    uint64_t before; /* characters of the parts before */
    bool any;
};

static bool one_note(void *arg, struct str key, struct json_value v) {
    struct notes *n = arg;
    (void)key;
    if (!n->any) {
        jw_key(n->w, "annotations");
        jw_arr(n->w);
    }
    n->any = true;
    cite_moved(n->w, v.raw, n->before);
    return true;
}

/* The texts become one here: places in the later ones move. */
static void write_annotations(struct jw *w, const struct message *m) {
    struct notes n = {.w = w};
    for (const struct part *p = m->parts; p; p = p->next) {
        if (p->kind != PART_TEXT)
            continue;
        if (p->annotations.n > 0)
            json_each(p->annotations, one_note, &n);
        n.before += cite_chars(p->text);
    }
    if (n.any)
        jw_arr_end(w);
}

static void write_images(struct jw *w, const struct message *m) {
    const struct part *p = find_part(m, PART_IMAGE);
    if (!p)
        return;
    jw_key(w, "images");
    jw_arr(w);
    for (; p; p = p->next)
        if (p->kind == PART_IMAGE)
            oc_write_image(w, p, -1);
    jw_arr_end(w);
}

static bool raw_item(void *arg, struct str key, struct json_value v) {
    (void)key;
    jw_raw(arg, v.raw);
    return true;
}

static void write_logprobs_of(struct jw *w, const char *key, const struct message *m, enum part_kind kind) {
    const struct part *p = m->parts;
    while (p && (p->kind != kind || p->logprobs.n == 0))
        p = p->next;
    if (!p) {
        jw_knull(w, key);
        return;
    }
    jw_key(w, key);
    jw_arr(w);
    for (; p; p = p->next)
        if (p->kind == kind && p->logprobs.n > 0)
            json_each(p->logprobs, raw_item, w);
    jw_arr_end(w);
}

static void write_logprobs(struct jw *w, const struct message *m) {
    const struct part *p = m->parts;
    while (p && p->logprobs.n == 0)
        p = p->next;
    if (!p) {
        jw_knull(w, "logprobs");
        return;
    }
    jw_key(w, "logprobs");
    jw_obj(w);
    write_logprobs_of(w, "content", m, PART_TEXT);
    write_logprobs_of(w, "refusal", m, PART_REFUSAL);
    jw_obj_end(w);
}

static void write_message(struct jw *w, const struct told *t, const struct message *m) {
    bool calls = find_part(m, PART_TOOL_CALL), refusal = find_part(m, PART_REFUSAL);
    jw_key(w, "message");
    jw_obj(w);
    jw_kz(w, "role", "assistant");
    if (!find_part(m, PART_TEXT) && (calls || refusal))
        jw_knull(w, "content");
    else
        write_joined(w, "content", m, PART_TEXT);
    if (refusal)
        write_joined(w, "refusal", m, PART_REFUSAL);
    else
        jw_knull(w, "refusal");
    if (find_part(m, PART_THINKING))
        write_joined(w, "reasoning_content", m, PART_THINKING);
    write_thinking_blocks(w, m);
    write_annotations(w, m);
    write_images(w, m);
    if (is_legacy_call(t, m))
        write_legacy_call(w, find_part(m, PART_TOOL_CALL));
    else if (calls)
        write_calls(w, t, m);
    jw_obj_end(w);
}

void oc_write_id(struct buf *out, const struct mint *m) {
    BUF_ADD(out, "\"id\":");
    struct buf id;
    buf_init(&id, 0);
    BUF_ADD(&id, "chatcmpl-");
    buf_adds(&id, m->id);
    json_quote(out, buf_str(&id));
    buf_free(&id);
}

static void write_choice(struct buf *out, const struct told *t, int64_t index, const struct reply *r) {
    enum stop_reason stop = stop_effective(r->stop, find_part(r->message, PART_TOOL_CALL) != NULL);
    struct jw w;
    jw_init(&w, out);
    jw_obj(&w);
    jw_kint(&w, "index", index);
    write_message(&w, t, r->message);
    write_logprobs(&w, r->message);
    bool legacy = stop == STOP_TOOLS && is_legacy_call(t, r->message);
    jw_kz(&w, "finish_reason", legacy ? "function_call" : oc_finish_word(stop));
    if (oc_tells_native(r->stop, r->stop_native))
        jw_kstr(&w, "native_finish_reason", r->stop_native);
    jw_obj_end(&w);
}

void oc_write_reply(struct buf *out, const struct reply *r, const struct mint *m, const struct ask *ask) {
    struct told t = {.a = arena_new(0)};
    struct jw w;
    t.custom = oc_custom_names(t.a, ask);
    t.legacy = oc_is_legacy(ask);
    BUF_ADD(out, "{");
    oc_write_id(out, m);
    BUF_ADD(out, ",\"object\":\"chat.completion\",\"created\":");
    buf_addi(out, m->created);
    BUF_ADD(out, ",\"model\":");
    json_quote(out, m->model);
    BUF_ADD(out, ",\"choices\":[");
    int64_t i = 0;
    for (const struct reply *c = r; c; c = c->next) {
        if (i > 0)
            BUF_ADD(out, ",");
        write_choice(out, &t, i++, c);
    }
    BUF_ADD(out, "]");
    if (oc_has_usage(&r->usage)) {
        /* The writer puts members into an object of its own: its braces are taken off again. */
        struct buf u;
        buf_init(&u, 0);
        jw_init(&w, &u);
        jw_obj(&w);
        oc_write_usage(&w, &r->usage);
        jw_obj_end(&w);
        BUF_ADD(out, ",");
        buf_add(out, buf_at(&u) + 1, buf_len(&u) - 2);
        buf_free(&u);
    }
    BUF_ADD(out, "}");
    arena_free(t.a);
}

/* --- errors --- */

struct words {
    const char *type, *code;
};

/* From OpenAI's recorded errors where it has the case; the others in the same manner. */
static struct words words_of(enum fault_class c) {
    static const struct words table[FAULT_CLASSES] = {
        [FAULT_BAD_REQUEST] = {"invalid_request_error", NULL},
        [FAULT_UNSUPPORTED] = {"invalid_request_error", "unsupported_parameter"},
        [FAULT_CONTEXT_LENGTH] = {"invalid_request_error", "context_length_exceeded"},
        [FAULT_CONTENT_FILTER] = {"invalid_request_error", "content_filter"},
        [FAULT_TOO_LARGE] = {"invalid_request_error", "request_too_large"},
        [FAULT_AUTH] = {"invalid_request_error", "invalid_api_key"},
        [FAULT_PERMISSION] = {"invalid_request_error", "permission_denied"},
        [FAULT_MODEL_NOT_FOUND] = {"invalid_request_error", "model_not_found"},
        [FAULT_RATE_LIMIT] = {"requests", "rate_limit_exceeded"},
        [FAULT_COST_LIMIT] = {"cost_limit_exceeded", "cost_limit_exceeded"},
        [FAULT_QUOTA] = {"insufficient_quota", "insufficient_quota"},
        [FAULT_BUDGET] = {"insufficient_quota", "insufficient_quota"},
        [FAULT_PROVIDER_AUTH] = {"server_error", "provider_authentication"},
        [FAULT_SERVER] = {"server_error", NULL},
        [FAULT_OVERLOADED] = {"server_error", "overloaded"},
        [FAULT_TIMEOUT] = {"server_error", "timeout"},
        [FAULT_CONNECTION] = {"server_error", "connection_error"},
        [FAULT_NO_TARGET] = {"server_error", "no_target_available"},
        [FAULT_CANCELLED] = {"invalid_request_error", "cancelled"},
        [FAULT_INTERNAL] = {"server_error", "internal_error"},
    };
    return (unsigned)c < FAULT_CLASSES && table[c].type ? table[c] : table[FAULT_INTERNAL];
}

static void kstr_or_null(struct jw *w, const char *key, struct str s, const char *otherwise) {
    if (s.n > 0)
        jw_kstr(w, key, s);
    else
        jw_kz(w, key, otherwise);
}

void oc_write_fault(struct buf *out, const struct fault *f, struct str request_id) {
    (void)request_id; /* OpenAI tells it in a header only */
    struct words words = words_of(f->cls);
    struct jw w;
    jw_init(&w, out);
    jw_obj(&w);
    jw_key(&w, "error");
    jw_obj(&w);
    jw_kstr(&w, "message", f->message.n > 0 ? f->message : str_of(fault_rule(f->cls)->name));
    kstr_or_null(&w, "type", f->type, words.type);
    kstr_or_null(&w, "param", f->param, NULL);
    kstr_or_null(&w, "code", f->code, words.code);
    jw_obj_end(&w);
    jw_obj_end(&w);
}

void oc_write_stream_fault(struct stream_writer *w, struct buf *out, const struct fault *f,
                           struct str request_id) {
    (void)w;
    BUF_ADD(out, "data: ");
    oc_write_fault(out, f, request_id);
    BUF_ADD(out, "\n\n");
}
