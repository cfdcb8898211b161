/* The messages of a chat request. Results of tools become messages of their own, right behind the calls;
 * pictures in them, which a tool message cannot hold, follow in a message of the user. */
#include "base/hash.h"
#include "openai_chat_encode.h"

/* --- parts --- */

bool oc_mistral(const struct oc_wr *r) {
    return r->e.o->quirks & QUIRK_MISTRAL;
}

static struct str url_of(struct oc_wr *r, const struct part *p) {
    if (p->data.n == 0)
        return p->url;
    return arena_printf(r->e.a, "data:" STR_FMT ";base64," STR_FMT, STR_ARG(p->media), STR_ARG(p->data));
}

void oc_open_typed(struct oc_wr *r, const char *type) {
    jw_obj(&r->e.w);
    jw_kz(&r->e.w, "type", type);
}

static bool no_place(struct oc_wr *r, const char *why) {
    return encode_unsupported(&r->e, arena_printf(r->e.a, "messages[%zu].content", r->i), why);
}

static bool write_image(struct oc_wr *r, const struct part *p) {
    if (p->url.n == 0 && p->data.n == 0)
        return no_place(r, "holds an image by the id of a file, which " NO_EQUIVALENT);
    oc_open_typed(r, "image_url");
    jw_key(&r->e.w, "image_url");
    jw_obj(&r->e.w);
    jw_kstr(&r->e.w, "url", url_of(r, p));
    if (p->detail.n > 0)
        jw_kstr(&r->e.w, "detail", p->detail);
    jw_obj_end(&r->e.w);
    jw_obj_end(&r->e.w);
    return true;
}

/* Its word for a type that others have several for. */
static struct str audio_format(struct str media) {
    struct str format = str_skip(media, sizeof "audio/" - 1);
    if (str_isi(format, "mpeg"))
        return STR("mp3");
    bool wave = str_isi(format, "x-wav") || str_isi(format, "wave") || str_isi(format, "vnd.wave");
    return wave ? STR("wav") : format;
}

static bool write_audio(struct oc_wr *r, const struct part *p) {
    if (p->data.n == 0)
        return no_place(r, "holds sound by its address, which " NO_EQUIVALENT);
    oc_open_typed(r, "input_audio");
    if (oc_mistral(r)) { /* the sound itself, no object */
        jw_kstr(&r->e.w, "input_audio", p->data);
        jw_obj_end(&r->e.w);
        return true;
    }
    jw_key(&r->e.w, "input_audio");
    jw_obj(&r->e.w);
    jw_kstr(&r->e.w, "data", p->data);
    jw_kstr(&r->e.w, "format", audio_format(p->media));
    jw_obj_end(&r->e.w);
    jw_obj_end(&r->e.w);
    return true;
}

static void write_document(struct oc_wr *r, const struct part *p) {
    bool held = p->data.n == 0 && p->url.n == 0;
    oc_open_typed(r, held ? "file" : "document_url");
    jw_kstr(&r->e.w, held ? "file_id" : "document_url", held ? p->id : url_of(r, p));
    if (!held && p->name.n > 0)
        jw_kstr(&r->e.w, "document_name", p->name);
    jw_obj_end(&r->e.w);
}

static bool write_file(struct oc_wr *r, const struct part *p) {
    if (oc_mistral(r) && p->data.n + p->url.n + p->id.n > 0) {
        write_document(r, p);
        return true;
    }
    if (p->data.n == 0 && p->id.n == 0)
        return no_place(r, "holds a file by URL, which " NO_EQUIVALENT);
    oc_open_typed(r, "file");
    jw_key(&r->e.w, "file");
    jw_obj(&r->e.w);
    if (p->data.n > 0) {
        jw_kstr(&r->e.w, "filename", p->name.n > 0 ? p->name : STR("document"));
        jw_kstr(&r->e.w, "file_data", url_of(r, p));
    } else {
        jw_kstr(&r->e.w, "file_id", p->id);
    }
    jw_obj_end(&r->e.w);
    jw_obj_end(&r->e.w);
    return true;
}

static bool write_part(struct oc_wr *r, const struct part *p) {
    switch (p->kind) {
    case PART_TEXT:
        oc_open_typed(r, "text");
        jw_kstr(&r->e.w, "text", p->text);
        jw_obj_end(&r->e.w);
        return true;
    case PART_IMAGE:
        return write_image(r, p);
    case PART_AUDIO:
        return write_audio(r, p);
    case PART_FILE:
        return write_file(r, p);
    default:
        return true;
    }
}

static bool is_media(const struct part *p) {
    return p->kind == PART_IMAGE || p->kind == PART_AUDIO || p->kind == PART_FILE;
}

static bool any_media(const struct part *p) {
    for (; p; p = p->next)
        if (is_media(p))
            return true;
    return false;
}

static size_t count_kind(const struct part *p, enum part_kind kind) {
    size_t n = 0;
    for (; p; p = p->next)
        n += p->kind == kind;
    return n;
}

static void write_texts(struct oc_wr *r, const struct part *p, enum part_kind kind, bool apart) {
    encode_texts(&r->e.w, p, KIND_BIT(kind), apart);
}

/* Mistral wants nine letters and digits: another's id is made into some, always the same. */
static struct str call_id(struct oc_wr *r, struct str id) {
    static const char digits[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    bool fits = id.n == 9;
    for (size_t i = 0; i < id.n && fits; i++)
        fits = id.p[i] && memchr(digits, id.p[i], sizeof digits - 1);
    if (!oc_mistral(r) || fits)
        return id;
    uint64_t h = hash64(id.p, id.n);
    char *nine = arena_alloc(r->e.a, 10);
    for (size_t i = 0; i < 9; i++, h /= 62)
        nine[i] = digits[h % 62];
    return str_make(nine, 9);
}

/* --- messages --- */

static void open_message(struct oc_wr *r, const char *role) {
    jw_obj(&r->e.w);
    jw_kz(&r->e.w, "role", role);
}

static bool write_results(struct oc_wr *r, const struct message *m) {
    for (const struct part *p = m->parts; p; p = p->next) {
        if (p->kind != PART_TOOL_RESULT)
            continue;
        if (p->is_error)
            encode_report(&r->e, STR("is_error")); /* its text says so to the model */
        open_message(r, "tool");
        jw_kstr(&r->e.w, "tool_call_id", call_id(r, p->id));
        if (oc_mistral(r) && p->name.n > 0)
            jw_kstr(&r->e.w, "name", p->name);
        jw_key(&r->e.w, "content");
        write_texts(r, p->inner, PART_TEXT, true);
        jw_obj_end(&r->e.w);
    }
    return true;
}

static bool result_media(const struct message *m) {
    for (const struct part *p = m->parts; p; p = p->next)
        if (p->kind == PART_TOOL_RESULT && any_media(p->inner))
            return true;
    return false;
}

static bool write_result_media(struct oc_wr *r, const struct message *m) {
    for (const struct part *p = m->parts; p; p = p->next)
        for (const struct part *in = p->kind == PART_TOOL_RESULT ? p->inner : NULL; in; in = in->next)
            if (is_media(in) && !write_part(r, in))
                return false;
    return true;
}

static bool write_user(struct oc_wr *r, const struct message *m) {
    bool media = result_media(m);
    if (!write_results(r, m))
        return false;
    if (!media && !any_media(m->parts) && count_kind(m->parts, PART_TEXT) == 0)
        return true;
    open_message(r, "user");
    jw_key(&r->e.w, "content");
    if (!media && !any_media(m->parts)) {
        write_texts(r, m->parts, PART_TEXT, true);
    } else {
        jw_arr(&r->e.w);
        if (!write_result_media(r, m))
            return false;
        for (const struct part *p = m->parts; p; p = p->next)
            if (!write_part(r, p))
                return false;
        jw_arr_end(&r->e.w);
    }
    jw_obj_end(&r->e.w);
    return true;
}

/* Gemini's, behind Google's own endpoint of this dialect; others know no such member. */
static void write_call_signature(struct oc_wr *r, const struct part *p) {
    if (p->signature.n == 0 || !str_is(p->origin, OC_FOR_GOOGLE) ||
        str_find(r->e.o->model, STR("gemini")) < 0)
        return;
    jw_key(&r->e.w, "extra_content");
    jw_obj(&r->e.w);
    jw_key(&r->e.w, "google");
    jw_obj(&r->e.w);
    jw_kstr(&r->e.w, "thought_signature", p->signature);
    jw_obj_end(&r->e.w);
    jw_obj_end(&r->e.w);
}

static void write_calls(struct oc_wr *r, const struct message *m) {
    jw_key(&r->e.w, "tool_calls");
    jw_arr(&r->e.w);
    for (const struct part *p = m->parts; p; p = p->next) {
        if (p->kind != PART_TOOL_CALL)
            continue;
        jw_obj(&r->e.w);
        jw_kstr(&r->e.w, "id", call_id(r, p->id));
        jw_kz(&r->e.w, "type", "function");
        write_call_signature(r, p);
        jw_key(&r->e.w, "function");
        jw_obj(&r->e.w);
        jw_kstr(&r->e.w, "name", p->name);
        jw_kstr(&r->e.w, "arguments", p->text.n > 0 ? p->text : STR("{}"));
        jw_obj_end(&r->e.w);
        jw_obj_end(&r->e.w);
    }
    jw_arr_end(&r->e.w);
}

/* Mistral's thinking is a part of the content. Another vendor's is not shown to it. */
static bool is_own_thinking(const struct part *p) {
    return p->kind == PART_THINKING && p->text.n > 0 &&
           (p->origin.n == 0 || str_is(p->origin, "openai_chat"));
}

static void write_details(struct oc_wr *r, const struct message *m) {
    struct buf b;
    buf_init(&b, 0);
    for (const struct part *p = r->e.o->quirks & QUIRK_DETAILS ? m->parts : NULL; p; p = p->next)
        if (p->kind == PART_THINKING && p->signature.n > 0 && str_is(p->origin, OC_DETAILS)) {
            if (buf_len(&b) > 0)
                buf_addc(&b, ',');
            buf_adds(&b, p->signature);
        }
    struct str array = oc_details_array(r->e.a, buf_str(&b));
    if (array.n > 0) {
        jw_key(&r->e.w, "reasoning_details");
        jw_raw(&r->e.w, array);
    }
    buf_free(&b);
}

static bool own_thinking(const struct oc_wr *r, const struct message *m) {
    for (const struct part *p = oc_mistral(r) ? m->parts : NULL; p; p = p->next)
        if (is_own_thinking(p))
            return true;
    return false;
}

static void write_thinking_part(struct oc_wr *r, const struct part *p) {
    oc_open_typed(r, "thinking");
    jw_key(&r->e.w, "thinking");
    jw_arr(&r->e.w);
    oc_open_typed(r, "text");
    jw_kstr(&r->e.w, "text", p->text);
    jw_obj_end(&r->e.w);
    jw_arr_end(&r->e.w);
    jw_obj_end(&r->e.w);
}

static void write_thoughtful(struct oc_wr *r, const struct message *m) {
    jw_arr(&r->e.w);
    for (const struct part *p = m->parts; p; p = p->next) {
        if (is_own_thinking(p))
            write_thinking_part(r, p);
        else if (p->kind == PART_TEXT)
            write_part(r, p);
    }
    jw_arr_end(&r->e.w);
}

static void write_assistant(struct oc_wr *r, const struct message *m) {
    bool calls = count_kind(m->parts, PART_TOOL_CALL) > 0, refusal = count_kind(m->parts, PART_REFUSAL) > 0;
    bool text = count_kind(m->parts, PART_TEXT) > 0;
    if (!calls && !refusal && !text)
        return;
    open_message(r, "assistant");
    jw_key(&r->e.w, "content");
    if (own_thinking(r, m))
        write_thoughtful(r, m);
    else if (text)
        write_texts(r, m->parts, PART_TEXT, false);
    else
        jw_null(&r->e.w);
    if (refusal) {
        jw_key(&r->e.w, "refusal");
        write_texts(r, m->parts, PART_REFUSAL, false);
    }
    if (calls && r->e.o->quirks & QUIRK_REASONING && count_kind(m->parts, PART_THINKING) > 0) {
        jw_key(&r->e.w, "reasoning_content");
        write_texts(r, m->parts, PART_THINKING, false);
    }
    write_details(r, m);
    if (calls)
        write_calls(r, m);
    jw_obj_end(&r->e.w);
}

static bool write_message(struct oc_wr *r, const struct message *m) {
    switch (m->role) {
    case ROLE_SYSTEM:
    case ROLE_DEVELOPER:
        open_message(r, "system");
        jw_key(&r->e.w, "content");
        write_texts(r, m->parts, PART_TEXT, true);
        jw_obj_end(&r->e.w);
        return true;
    case ROLE_ASSISTANT:
        write_assistant(r, m);
        return true;
    case ROLE_USER:
    case ROLE_TOOL:
        return write_user(r, m);
    }
    return true;
}

bool oc_write_messages(struct oc_wr *r) {
    jw_key(&r->e.w, "messages");
    jw_arr(&r->e.w);
    r->i = 0;
    for (const struct message *m = r->e.c->messages; m; m = m->next, r->i++)
        if (!write_message(r, m))
            return false;
    jw_arr_end(&r->e.w);
    return true;
}
