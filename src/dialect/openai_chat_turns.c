/* The messages of a chat request into the canonical form, and of an answer, which has the same ones. */
#include "answer.h"
#include "free_text.h"
#include "opaque.h"
#include "openai_chat_read.h"

#include <json-c/linkhash.h>

bool oc_refuse(struct oc_rd *r, enum fault_class c, struct str param, const char *what) {
    fault_set(r->f, r->a, c, "'" STR_FMT "': %s", STR_ARG(param), what);
    r->f->param = param;
    return r->lenient;
}

static struct str at(struct oc_rd *r, const char *rest) {
    return arena_printf(r->a, "messages[%zu]%s", r->i, rest);
}

static struct str at_part(struct oc_rd *r, size_t j) {
    return arena_printf(r->a, "messages[%zu].content[%zu]", r->i, j);
}

void oc_keep(struct oc_rd *r, struct str name, struct json_object *v) {
    if (!r->c->extra)
        r->c->extra = chat_hold(r->a, json_object_new_object());
    json_object_object_add(r->c->extra, arena_dupz(r->a, name), json_object_get(v));
}

static bool is_str(struct json_object *v) {
    return json_object_is_type(v, json_type_string);
}

/* --- parts --- */

/* cache_control as OpenRouter and others let it pass in OpenAI's form; prompt_cache_breakpoint is OpenAI's
 * own. */
void oc_take_cache_point(struct json_object *o, bool *point, struct str *ttl) {
    struct json_object *cc = jo_obj(o, "cache_control");
    if (cc || jo_obj(o, "prompt_cache_breakpoint"))
        *point = true;
    if (cc)
        *ttl = jo_str(cc, "ttl");
}

/* "data:image/png;base64,iVBOR..." in two; false when it is no such URL. */
bool oc_split_data_url(struct str url, struct str *media, struct str *data) {
    if (!str_startsi(url, "data:"))
        return false;
    struct str rest = str_skip(url, 5), head, piece;
    if (!str_next(&rest, ',', &head))
        return false;
    bool base64 = false, first = true;
    *data = rest;
    *media = STR_NONE;
    while (str_next(&head, ';', &piece)) {
        if (first)
            *media = piece;
        base64 = base64 || str_isi(str_trim(piece), "base64");
        first = false;
    }
    return base64;
}

static void take_url(struct part *p, struct str url) {
    if (!oc_split_data_url(url, &p->media, &p->data))
        p->url = url;
}

typedef struct part *new_part(struct oc_rd *r, void *where, enum part_kind kind);

static struct part *in_message(struct oc_rd *r, void *where, enum part_kind kind) {
    return message_part(r->c, where, kind);
}

static struct part *in_result(struct oc_rd *r, void *where, enum part_kind kind) {
    return part_inner(r->c, where, kind);
}

static bool read_image(struct oc_rd *r, struct part *p, struct json_object *o, size_t j) {
    struct json_object *image = jo_get(o, "image_url");
    struct str url = is_str(image) ? jo_text(image) : jo_str(image, "url");
    if (url.n == 0)
        return oc_refuse(r, FAULT_BAD_REQUEST, at_part(r, j), "an image_url without a url");
    take_url(p, url);
    if (!is_str(image))
        p->detail = jo_str(image, "detail");
    return true;
}

static bool read_audio(struct oc_rd *r, struct part *p, struct json_object *o, size_t j) {
    struct json_object *audio = jo_obj(o, "input_audio");
    struct str format = jo_str(audio, "format");
    p->data = jo_str(audio, "data");
    if (!audio || p->data.n == 0 || format.n == 0)
        return oc_refuse(r, FAULT_BAD_REQUEST, at_part(r, j), "input_audio needs data and format");
    p->media = arena_printf(r->a, "audio/" STR_FMT, STR_ARG(format));
    return true;
}

static bool read_file(struct oc_rd *r, struct part *p, struct json_object *o, size_t j) {
    struct json_object *file = jo_obj(o, "file");
    if (!file)
        return oc_refuse(r, FAULT_BAD_REQUEST, at_part(r, j), "a file part needs a file object");
    p->id = jo_str(file, "file_id");
    p->name = jo_str(file, "filename");
    take_url(p, jo_str(file, "file_data"));
    return true;
}

static bool read_part(struct oc_rd *r, struct json_object *o, size_t j, new_part *make, void *where) {
    struct str type = jo_str(o, "type");
    struct part *p = NULL;
    bool ok = true;
    if (str_is(type, "text") || (type.n == 0 && is_str(jo_get(o, "text")))) {
        p = make(r, where, PART_TEXT);
        p->text = jo_str(o, "text");
    } else if (str_is(type, "image_url")) {
        p = make(r, where, PART_IMAGE);
        ok = read_image(r, p, o, j);
    } else if (str_is(type, "input_audio")) {
        p = make(r, where, PART_AUDIO);
        ok = read_audio(r, p, o, j);
    } else if (str_is(type, "file")) {
        p = make(r, where, PART_FILE);
        ok = read_file(r, p, o, j);
    } else if (str_is(type, "thinking") && jo_arr(o, "thinking")) { /* Mistral's */
        struct json_object *list = jo_arr(o, "thinking");
        p = make(r, where, PART_THINKING);
        for (size_t i = 0; i < json_object_array_length(list); i++)
            p->text = arena_printf(r->a, STR_FMT STR_FMT, STR_ARG(p->text),
                                   STR_ARG(jo_str(json_object_array_get_idx(list, i), "text")));
    } else if (str_is(type, "refusal")) {
        p = make(r, where, PART_REFUSAL);
        p->text = jo_str(o, "refusal");
    } else {
        oc_keep(r, at_part(r, j), o); /* what becomes of it is the other side's to say */
        return true;
    }
    oc_take_cache_point(o, &p->cache_point, &p->cache_ttl);
    return ok;
}

static bool read_content(struct oc_rd *r, struct json_object *content, new_part *make, void *where) {
    if (is_str(content)) {
        make(r, where, PART_TEXT)->text = jo_text(content);
        return true;
    }
    if (!json_object_is_type(content, json_type_array))
        return true;
    size_t n = json_object_array_length(content);
    for (size_t j = 0; j < n; j++) {
        struct json_object *o = json_object_array_get_idx(content, j);
        if (!json_object_is_type(o, json_type_object))
            return oc_refuse(r, FAULT_BAD_REQUEST, at_part(r, j), "not an object");
        if (!read_part(r, o, j, make, where))
            return false;
    }
    return true;
}

/* --- what an assistant said before --- */

/* Whose a state is: what we gave out is marked. What is not is of an unknown origin in a request. */
static struct str unwrap(struct oc_rd *r, struct str state, struct str *origin) {
    struct str s = opaque_unwrap(r->a, state, OC_NAME, origin);
    if (state.n == 0 || (!r->lenient && str_is(*origin, OC_NAME)))
        *origin = STR_NONE;
    return s;
}

static void thinking(struct oc_rd *r, struct message *m, struct str text, struct str signature) {
    struct part *p = message_part(r->c, m, PART_THINKING);
    p->text = text;
    p->signature = unwrap(r, signature, &p->origin);
}

static void redacted(struct oc_rd *r, struct message *m, struct str data) {
    if (data.n == 0)
        return;
    struct part *p = message_part(r->c, m, PART_THINKING_REDACTED);
    p->data = unwrap(r, data, &p->origin);
}

/* As Google's own endpoint of this dialect has it. */
static void read_call_signature(struct oc_rd *r, struct part *p, struct json_object *o) {
    struct str s = oc_call_signature(o);
    if (s.n > 0)
        p->signature = opaque_unwrap(r->a, s, OC_FOR_GOOGLE, &p->origin);
}

/* An answer's, whole: it goes back as it is. */
static bool keep_details(struct oc_rd *r, struct message *m, struct json_object *list, struct str said) {
    struct oc_details *d = oc_details_new(r->a);
    oc_details_add(d, list);
    struct str s = oc_details_take(d);
    size_t n = json_object_array_length(list);
    struct buf b;
    if (s.n == 0)
        return false;
    struct part *p = message_part(r->c, m, PART_THINKING);
    p->signature = s;
    p->origin = STR(OC_DETAILS);
    p->text = said;
    buf_init(&b, 0);
    for (size_t k = 0; k < n && said.n == 0; k++) {
        buf_adds(&b, jo_str(json_object_array_get_idx(list, k), "text"));
        buf_adds(&b, jo_str(json_object_array_get_idx(list, k), "summary"));
    }
    if (buf_len(&b) > 0)
        p->text = arena_dup(r->a, buf_str(&b));
    buf_free(&b);
    return true;
}

/* A client's, in a request for another vendor: reasoning.text with a signature, reasoning.encrypted. Only
 * Anthropic's are ever handed on as blocks. */
static bool read_details(struct oc_rd *r, struct message *m, struct json_object *list) {
    size_t n = json_object_array_length(list), found = 0;
    for (size_t k = 0; k < n; k++) {
        struct json_object *o = json_object_array_get_idx(list, k);
        struct str type = jo_str(o, "type"), signature = jo_str(o, "signature"), format = jo_str(o, "format");
        if (format.n > 0 && !str_starts(format, "anthropic"))
            continue; /* "openai-responses-v1": signed for another vendor's eyes only */
        if (str_is(type, "reasoning.text") && signature.n > 0)
            thinking(r, m, jo_str(o, "text"), signature);
        else if (str_is(type, "reasoning.encrypted"))
            redacted(r, m, jo_str(o, "data"));
        else
            continue;
        found++;
    }
    return found > 0;
}

static bool read_blocks(struct oc_rd *r, struct message *m, struct json_object *list) {
    size_t n = json_object_array_length(list);
    for (size_t k = 0; k < n; k++) {
        struct json_object *o = json_object_array_get_idx(list, k);
        struct str type = jo_str(o, "type");
        if (str_is(type, "thinking"))
            thinking(r, m, jo_str(o, "thinking"), jo_str(o, "signature"));
        else if (str_is(type, "redacted_thinking"))
            redacted(r, m, jo_str(o, "data"));
    }
    return n > 0;
}

static void read_thinking(struct oc_rd *r, struct message *m, struct json_object *o) {
    struct json_object *blocks = jo_arr(o, "thinking_blocks"), *details = jo_arr(o, "reasoning_details");
    struct str text = jo_str(o, "reasoning_content");
    if (text.n == 0)
        text = jo_str(o, "reasoning");
    if (blocks && read_blocks(r, m, blocks))
        return;
    if (details && (r->lenient ? keep_details(r, m, details, text) : read_details(r, m, details)))
        return;
    if (text.n > 0)
        thinking(r, m, text, STR_NONE);
}

static struct str arguments_of(struct oc_rd *r, struct json_object *v) {
    struct str s = is_str(v) ? jo_text(v) : v ? tree_text(r->a, v) : STR_NONE;
    return str_is(str_trim(s), "null") ? STR_NONE : s; /* how some say that there are none */
}

static bool read_call(struct oc_rd *r, struct message *m, struct json_object *o, size_t k) {
    struct json_object *fn = jo_obj(o, "function"), *custom = jo_obj(o, "custom");
    struct str where = arena_printf(r->a, "messages[%zu].tool_calls[%zu]", r->i, k);
    struct part *p = message_part(r->c, m, PART_TOOL_CALL);
    p->id = jo_str(o, "id");
    read_call_signature(r, p, o);
    if (fn) {
        p->name = jo_str(fn, "name");
        p->text = arguments_of(r, jo_get(fn, "arguments"));
    } else if (custom) {
        p->custom = true;
        p->name = jo_str(custom, "name");
        p->text = free_text_wrap(r->a, jo_str(custom, "input"));
    }
    if (p->id.n == 0 || p->name.n == 0)
        return oc_refuse(r, FAULT_BAD_REQUEST, where, "a tool call needs an id and a function with a name");
    return true;
}

static bool read_calls(struct oc_rd *r, struct message *m, struct json_object *o) {
    struct json_object *calls = jo_arr(o, "tool_calls"), *legacy = jo_obj(o, "function_call");
    size_t n = calls ? json_object_array_length(calls) : 0;
    for (size_t k = 0; k < n; k++)
        if (!read_call(r, m, json_object_array_get_idx(calls, k), k))
            return false;
    if (legacy && n == 0 && jo_str(legacy, "name").n > 0) {
        struct part *p = message_part(r->c, m, PART_TOOL_CALL);
        p->name = jo_str(legacy, "name");
        p->text = arguments_of(r, jo_get(legacy, "arguments"));
        p->id = r->last_call = arena_printf(r->a, "call_legacy_%zu", r->calls++);
    }
    return true;
}

static bool read_assistant(struct oc_rd *r, struct message *m, struct json_object *o) {
    read_thinking(r, m, o);
    if (!read_content(r, jo_get(o, "content"), in_message, m))
        return false;
    struct str refusal = jo_str(o, "refusal");
    if (refusal.n > 0)
        message_part(r->c, m, PART_REFUSAL)->text = refusal;
    return read_calls(r, m, o);
}

static bool is_taken(const struct message *m, const struct part *upto, struct str id) {
    for (const struct part *p = m->parts; p != upto; p = p->next)
        if (p->kind == PART_TOOL_CALL && str_eq(p->id, id))
            return true;
    return false;
}

/* An answer's call may lack what a request's must have. */
static void mend_calls(struct oc_rd *r, struct message *m, uint64_t seed) {
    for (struct part *p = m->parts; p; p = p->next)
        if (p->kind == PART_TOOL_CALL && (call_id_is_none(p->id) || is_taken(m, p, p->id)))
            p->id = call_id_minted(r->a, seed, r->calls++);
}

void oc_read_message(struct arena *a, struct chat *c, struct message *m, struct json_object *o,
                     uint64_t seed) {
    struct fault ignored;
    struct oc_rd r = {.a = a, .c = c, .f = &ignored, .lenient = true};
    read_assistant(&r, m, o);
    mend_calls(&r, m, seed);
}

static bool read_result(struct oc_rd *r, struct message *m, struct json_object *o, bool legacy) {
    struct part *p = message_part(r->c, m, PART_TOOL_RESULT);
    p->id = legacy ? r->last_call : jo_str(o, "tool_call_id");
    p->name = jo_str(o, "name");
    p->is_error = jo_bool(o, "is_error", false);
    if (p->id.n == 0)
        return oc_refuse(r, FAULT_BAD_REQUEST, at(r, legacy ? ".name" : ".tool_call_id"),
                         "a tool result must name the call that it answers");
    return read_content(r, jo_get(o, "content"), in_result, p);
}

/* --- messages --- */

/* Members that a message may have besides those that are read. An assistant's message is mostly the echo of
 * an answer, with whatever its server added: only what would be missed is kept (and so refused where it has
 * no place). */
static bool member_known(enum chat_role role, const char *key) {
    static const char *const all[] = {"role", "content", "cache_control"};
    static const char *const tool[] = {"tool_call_id", "name", "is_error"};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (strcmp(key, all[i]) == 0)
            return true;
    if (role == ROLE_ASSISTANT)
        return strcmp(key, "audio") != 0 && strcmp(key, "name") != 0;
    if (role != ROLE_TOOL)
        return false;
    for (size_t i = 0; i < sizeof tool / sizeof *tool; i++)
        if (strcmp(key, tool[i]) == 0)
            return true;
    return false;
}

static void keep_unknown(struct oc_rd *r, enum chat_role role, struct json_object *o) {
    json_object_object_foreach(o, key, v) {
        if (v && !member_known(role, key))
            oc_keep(r, arena_printf(r->a, "messages[%zu].%s", r->i, key), v);
    }
}

static bool role_of(struct str s, enum chat_role *out) {
    static const struct {
        const char *name;
        enum chat_role role;
    } roles[] = {
        {"user", ROLE_USER},           {"assistant", ROLE_ASSISTANT}, {"system", ROLE_SYSTEM},
        {"developer", ROLE_DEVELOPER}, {"tool", ROLE_TOOL},           {"function", ROLE_TOOL},
    };
    for (size_t i = 0; i < sizeof roles / sizeof *roles; i++)
        if (str_is(s, roles[i].name)) {
            *out = roles[i].role;
            return true;
        }
    return false;
}

static bool read_message(struct oc_rd *r, struct json_object *o) {
    enum chat_role role;
    struct str said = jo_str(o, "role");
    if (!role_of(said, &role))
        return oc_refuse(r, FAULT_BAD_REQUEST, at(r, ".role"), "unknown role");
    struct message *m = chat_message(r->c, role);
    bool ok;
    m->name = role == ROLE_TOOL ? STR_NONE : jo_str(o, "name");
    if (role == ROLE_ASSISTANT)
        ok = read_assistant(r, m, o);
    else if (role == ROLE_TOOL)
        ok = read_result(r, m, o, str_is(said, "function"));
    else
        ok = read_content(r, jo_get(o, "content"), in_message, m);
    if (ok && m->last)
        oc_take_cache_point(o, &m->last->cache_point, &m->last->cache_ttl);
    keep_unknown(r, role, o);
    return ok;
}

bool oc_read_messages(struct oc_rd *r, struct json_object *v) {
    size_t n = json_object_array_length(v);
    for (r->i = 0; r->i < n; r->i++)
        if (!read_message(r, json_object_array_get_idx(v, r->i)))
            return false;
    return true;
}
