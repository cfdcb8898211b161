/* A conversation as Gemini's contents: sides that alternate, the results of one turn's calls together and in
 * the order of the calls, each under the name of its function. */
#include "gemini_encode.h"

#include "base/hash.h"

/* --- turns --- */

static struct str at_message(struct gm_wr *r, size_t i) {
    return arena_printf(r->e.a, "messages[%zu]", i);
}

static struct str at_part(struct gm_wr *r, size_t i, size_t j) {
    return arena_printf(r->e.a, "messages[%zu].content[%zu]", i, j);
}

static size_t slot_of(const struct gm_wr *r, struct str id) {
    size_t i = hash64(id.p, id.n) % r->slots;
    while (r->calls[i] && !str_eq(r->calls[i]->part->id, id))
        i = (i + 1) % r->slots;
    return i;
}

static void size_table(struct gm_wr *r) {
    size_t n = 0;
    for (const struct message *m = r->e.c->messages; m; m = m->next)
        for (const struct part *p = m->parts; p; p = p->next)
            n += p->kind == PART_TOOL_CALL;
    r->slots = 2 * n + 1;
    r->calls = arena_array(r->e.a, r->slots, sizeof(struct gm_call *));
}

static struct gm_turn *turn_of(struct gm_wr *r, bool model, size_t message) {
    if (r->last && r->last->model == model)
        return r->last;
    struct gm_turn *t = arena_alloc(r->e.a, sizeof *t);
    t->model = model;
    t->number = ++r->nturns;
    t->message = message;
    t->calls_end = &t->calls;
    t->parts_end = &t->parts;
    if (r->last)
        r->last->next = t;
    else
        r->turns = t;
    return r->last = t;
}

static bool unanswered(struct gm_wr *r) {
    return encode_bad(
        &r->e, at_message(r, r->open->message),
        "an assistant message with tool calls must be followed by tool messages that answer each of them");
}

static bool place_result(struct gm_wr *r, const struct part *p, size_t i) {
    struct gm_call *k = r->calls[slot_of(r, p->id)];
    if (!k || k->result || !r->open || k->turn != r->open->number)
        return encode_bad(&r->e, arena_printf(r->e.a, "messages[%zu].tool_call_id", i),
                          "this tool result answers no call of the assistant message before it");
    k->result = p;
    k->result_message = i;
    r->open_calls--;
    turn_of(r, false, i)->answers = r->open;
    return true;
}

static void add_call(struct gm_wr *r, struct gm_turn *t, const struct part *p, size_t message) {
    struct gm_call *k = arena_alloc(r->e.a, sizeof *k);
    k->part = p;
    k->message = message;
    k->turn = t->number;
    *t->calls_end = k;
    t->calls_end = &k->next;
    r->calls[slot_of(r, p->id)] = k;
    if (r->open != t)
        r->open_calls = 0;
    r->open = t;
    r->open_calls++;
}

static bool is_ours(const struct part *p) {
    return p->signature.n > 0 && str_is(p->origin, GM_ORIGIN);
}

/* Said nowhere, and missed nowhere. */
static bool is_nothing(const struct part *p) {
    switch (p->kind) {
    case PART_TEXT:
    case PART_REFUSAL:
        return p->text.n == 0 && !is_ours(p);
    case PART_THINKING: /* another model's: Gemini takes only what it has signed */
        return !is_ours(p);
    case PART_THINKING_REDACTED:
        return true;
    default:
        return false;
    }
}

/* Why a part has no place; NULL: it has. */
static const char *no_place(const struct part *p) {
    bool uri = str_find(p->url, STR("://")) > 0;
    if (p->kind == PART_IMAGE || p->kind == PART_FILE)
        return p->data.n > 0 || uri ? NULL : "is a file of another provider, which " NO_EQUIVALENT;
    return NULL;
}

static bool place_part(struct gm_wr *r, const struct message *m, const struct part *p, size_t i, size_t j) {
    bool model = m->role == ROLE_ASSISTANT;
    if (p->kind == PART_TOOL_RESULT)
        return place_result(r, p, i);
    if (is_nothing(p))
        return true;
    if (model && (!r->last || !r->last->model) && r->open_calls > 0)
        return unanswered(r);
    const char *why = no_place(p);
    if (why)
        return encode_unsupported(&r->e, at_part(r, i, j), why);
    struct gm_turn *t = turn_of(r, model, i);
    struct gm_ref *ref = arena_alloc(r->e.a, sizeof *ref);
    *ref = (struct gm_ref){.part = p, .message = i, .index = j};
    ref->wrap = m->role == ROLE_SYSTEM || m->role == ROLE_DEVELOPER;
    *t->parts_end = ref;
    t->parts_end = &ref->next;
    if (p->kind == PART_TOOL_CALL)
        add_call(r, t, p, i);
    return true;
}

static bool is_system(const struct message *m) {
    return m->role == ROLE_SYSTEM || m->role == ROLE_DEVELOPER;
}

/* Where the conversation begins. A request of system messages only is legal elsewhere: its last one is then
 * the user's. */
static void find_body(struct gm_wr *r) {
    size_t i = 0, last_index = 0;
    const struct message *m = r->e.c->messages, *last = NULL;
    for (; m && is_system(m); m = m->next, i++) {
        last = m;
        last_index = i;
    }
    r->body = m ? m : last;
    r->body_index = m ? i : last_index;
}

/* The model's words at the end, to be gone on from: Gemini answers the user only. */
static bool check_end(struct gm_wr *r) {
    if (!r->last || !r->last->model || r->e.o->pass_unsupported)
        return true;
    if (!encode_unsupported(&r->e, at_message(r, r->last->message),
                            "is the beginning of an answer (a prefill), which " NO_EQUIVALENT))
        return false;
    struct gm_turn *t = r->turns;
    while (t != r->last && t->next != r->last)
        t = t->next;
    if (t == r->last)
        r->turns = r->last = NULL;
    else
        (r->last = t)->next = NULL;
    return true;
}

bool gm_make_turns(struct gm_wr *r) {
    size_table(r);
    find_body(r);
    size_t i = r->body_index;
    bool only_system = r->body && is_system(r->body);
    for (const struct message *m = r->body; m; m = m->next, i++) {
        size_t j = 0;
        for (const struct part *p = m->parts; p; p = p->next, j++)
            if (!place_part(r, m, p, i, j))
                return false;
    }
    if (only_system)
        for (struct gm_ref *ref = r->turns ? r->turns->parts : NULL; ref; ref = ref->next)
            ref->wrap = false;
    if (r->open_calls > 0)
        return unanswered(r);
    if (!check_end(r))
        return false;
    return r->turns || encode_bad(&r->e, STR("messages"), "there is no text in them");
}

/* --- parts --- */

static void write_signature(struct gm_wr *r, const struct part *p) {
    if (is_ours(p))
        jw_kstr(&r->e.w, "thoughtSignature", p->signature);
}

static void write_text(struct gm_wr *r, const struct part *p, struct str text) {
    jw_obj(&r->e.w);
    jw_kstr(&r->e.w, "text", text);
    if (p->kind == PART_THINKING)
        jw_kbool(&r->e.w, "thought", true);
    write_signature(r, p);
    jw_obj_end(&r->e.w);
}

static struct str media_by_name(struct str name) {
    static const struct {
        const char *end, *media;
    } rows[] = {{".pdf", "application/pdf"}, {".png", "image/png"},         {".jpg", "image/jpeg"},
                {".jpeg", "image/jpeg"},     {".webp", "image/webp"},       {".gif", "image/gif"},
                {".txt", "text/plain"},      {".md", "text/markdown"},      {".csv", "text/csv"},
                {".html", "text/html"},      {".json", "application/json"}, {".mp4", "video/mp4"}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (str_ends(name, rows[i].end))
            return str_of(rows[i].media);
    return STR_NONE;
}

static void write_media(struct gm_wr *r, const struct part *p) {
    struct str media = p->media;
    bool inlined = p->data.n > 0;
    if (media.n == 0)
        media = media_by_name(p->name.n ? p->name : p->url);
    if (media.n == 0 && inlined)
        media = p->kind == PART_IMAGE ? STR("image/png") : STR("application/pdf");
    jw_key(&r->e.w, inlined ? "inlineData" : "fileData");
    jw_obj(&r->e.w);
    if (media.n > 0)
        jw_kstr(&r->e.w, "mimeType", media);
    jw_kstr(&r->e.w, inlined ? "data" : "fileUri", inlined ? p->data : p->url);
    jw_obj_end(&r->e.w);
}

/* Arguments are text in other dialects, and models do write broken JSON. It is handed on as {"_raw": text}.
 */
static void write_args(struct gm_wr *r, struct str text) {
    enum json_kind kind = JSON_NULL;
    struct json_error err;
    struct str trimmed = str_trim(text);
    jw_key(&r->e.w, "args");
    if (trimmed.n > 0 && json_scan(text, &kind, NULL, NULL, &err) == 0 && kind == JSON_OBJECT) {
        jw_raw(&r->e.w, text);
        return;
    }
    jw_obj(&r->e.w);
    if (trimmed.n > 0)
        jw_kstr(&r->e.w, "_raw", text);
    jw_obj_end(&r->e.w);
}

/* Only Gemini's own ids go back to it: others are ours, or of a provider that spoke before. */
static void write_id(struct gm_wr *r, struct str id) {
    static const char *const foreign[] = {"call_", "toolu_", "srvtoolu_", "tooluse_", "fc_", "chatcmpl-"};
    for (size_t i = 0; i < sizeof foreign / sizeof *foreign; i++)
        if (str_starts(id, foreign[i]))
            return;
    if (id.n > 0 && id.n <= 64)
        jw_kstr(&r->e.w, "id", id);
}

/* Gemini 3 refuses a turn whose first call lacks its signature, but for this one, which is documented for
 * histories that it did not write. */
static void write_call(struct gm_wr *r, const struct part *p, bool first) {
    jw_obj(&r->e.w);
    jw_key(&r->e.w, "functionCall");
    jw_obj(&r->e.w);
    write_id(r, p->id);
    jw_kstr(&r->e.w, "name", p->name);
    write_args(r, p->text);
    jw_obj_end(&r->e.w);
    if (is_ours(p))
        write_signature(r, p);
    else if (first && r->major >= 3)
        jw_kz(&r->e.w, "thoughtSignature", "skip_thought_signature_validator");
    jw_obj_end(&r->e.w);
}

/* --- results --- */

static struct str result_text(struct gm_wr *r, const struct part *result) {
    const struct part *only = NULL;
    size_t n = 0;
    for (const struct part *p = result->inner; p; p = p->next)
        if (p->kind == PART_TEXT || p->kind == PART_REFUSAL) {
            only = p;
            n++;
        }
    if (n <= 1)
        return only ? only->text : STR("");
    struct buf b;
    buf_init(&b, 0);
    for (const struct part *p = result->inner; p; p = p->next)
        if (p->kind == PART_TEXT || p->kind == PART_REFUSAL) {
            if (buf_len(&b) > 0)
                buf_addc(&b, '\n');
            buf_adds(&b, p->text);
        }
    struct str s = arena_dup(r->e.a, buf_str(&b));
    buf_free(&b);
    return s;
}

static bool is_media(const struct part *p) {
    return p->kind == PART_IMAGE || p->kind == PART_AUDIO || p->kind == PART_FILE;
}

static bool has_media(const struct part *result) {
    for (const struct part *p = result->inner; p; p = p->next)
        if (is_media(p) && !no_place(p))
            return true;
    return false;
}

/* Images in a result: inside the response since Gemini 3, beside it before. */
static bool write_result_media(struct gm_wr *r, const struct gm_call *k, bool report) {
    size_t j = 0;
    for (const struct part *p = k->result->inner; p; p = p->next, j++) {
        if (!is_media(p))
            continue;
        const char *why = no_place(p);
        if (why) {
            if (report && !encode_unsupported(&r->e, at_part(r, k->result_message, j), why))
                return false;
            continue;
        }
        jw_obj(&r->e.w);
        write_media(r, p);
        jw_obj_end(&r->e.w);
    }
    return true;
}

static bool write_result(struct gm_wr *r, const struct gm_call *k) {
    bool inside = r->major >= 3 && has_media(k->result);
    jw_obj(&r->e.w);
    jw_key(&r->e.w, "functionResponse");
    jw_obj(&r->e.w);
    write_id(r, k->part->id);
    jw_kstr(&r->e.w, "name", k->part->name);
    jw_key(&r->e.w, "response");
    jw_obj(&r->e.w);
    jw_kstr(&r->e.w, k->result->is_error ? "error" : "result", result_text(r, k->result));
    jw_obj_end(&r->e.w);
    if (inside) {
        jw_key(&r->e.w, "parts");
        jw_arr(&r->e.w);
        if (!write_result_media(r, k, true))
            return false;
        jw_arr_end(&r->e.w);
    }
    jw_obj_end(&r->e.w);
    jw_obj_end(&r->e.w);
    return true;
}

static bool write_results(struct gm_wr *r, const struct gm_turn *t) {
    for (const struct gm_call *k = t->answers ? t->answers->calls : NULL; k; k = k->next)
        if (!write_result(r, k))
            return false;
    for (const struct gm_call *k = t->answers ? t->answers->calls : NULL; k; k = k->next)
        if (!(r->major >= 3 && has_media(k->result)) && !write_result_media(r, k, true))
            return false;
    return true;
}

static void write_part(struct gm_wr *r, const struct gm_ref *ref, bool first_call) {
    const struct part *p = ref->part;
    if (p->kind == PART_TOOL_CALL) {
        write_call(r, p, first_call);
    } else if (is_media(p)) {
        jw_obj(&r->e.w);
        write_media(r, p);
        jw_obj_end(&r->e.w);
    } else if (ref->wrap) {
        write_text(r, p, arena_printf(r->e.a, "<system>\n" STR_FMT "\n</system>", STR_ARG(p->text)));
    } else {
        write_text(r, p, p->text);
    }
}

static bool write_turn(struct gm_wr *r, const struct gm_turn *t) {
    bool first = true;
    jw_obj(&r->e.w);
    jw_kz(&r->e.w, "role", t->model ? "model" : "user");
    jw_key(&r->e.w, "parts");
    jw_arr(&r->e.w);
    if (!write_results(r, t))
        return false;
    for (const struct gm_ref *ref = t->parts; ref; ref = ref->next) {
        write_part(r, ref, first);
        first = first && ref->part->kind != PART_TOOL_CALL;
    }
    jw_arr_end(&r->e.w);
    jw_obj_end(&r->e.w);
    return true;
}

bool gm_write_contents(struct gm_wr *r) {
    jw_key(&r->e.w, "contents");
    jw_arr(&r->e.w);
    for (const struct gm_turn *t = r->turns; t; t = t->next)
        if (!write_turn(r, t))
            return false;
    jw_arr_end(&r->e.w);
    return true;
}

/* --- system --- */

bool gm_write_system(struct gm_wr *r) {
    bool any = false;
    size_t i = 0, j;
    for (const struct message *m = r->e.c->messages; m != r->body; m = m->next, i++) {
        j = 0;
        for (const struct part *p = m->parts; p; p = p->next, j++) {
            if (p->kind != PART_TEXT) {
                if (!encode_unsupported(&r->e, at_part(r, i, j), "is no text, but in a system message"))
                    return false;
                continue;
            }
            if (p->text.n == 0)
                continue;
            if (!any) {
                jw_key(&r->e.w, "systemInstruction");
                jw_obj(&r->e.w);
                jw_key(&r->e.w, "parts");
                jw_arr(&r->e.w);
            }
            any = true;
            write_text(r, p, p->text);
        }
    }
    if (any) {
        jw_arr_end(&r->e.w);
        jw_obj_end(&r->e.w);
    }
    return true;
}
