/* The system prompt and the turns of a Messages request, block by block. */
#include "anthropic_encode.h"

#include "base/hash.h"

/* --- blocks --- */

void an_write_cache_point(struct wr *r, bool point, struct str ttl) {
    if (!point)
        return;
    jw_key(&r->e.w, "cache_control");
    jw_obj(&r->e.w);
    jw_kz(&r->e.w, "type", "ephemeral");
    if (ttl.n > 0)
        jw_kstr(&r->e.w, "ttl", ttl);
    jw_obj_end(&r->e.w);
}

static void write_text(struct wr *r, struct str text, const struct part *p) {
    jw_obj(&r->e.w);
    jw_kz(&r->e.w, "type", "text");
    jw_kstr(&r->e.w, "text", text);
    an_write_cache_point(r, p->cache_point, p->cache_ttl);
    jw_obj_end(&r->e.w);
}

static bool is_http(struct str url) {
    return str_startsi(url, "https://") || str_startsi(url, "http://");
}

static void write_source(struct wr *r, const char *type, struct str media, struct str key_data,
                         const char *key) {
    jw_key(&r->e.w, "source");
    jw_obj(&r->e.w);
    jw_kz(&r->e.w, "type", type);
    if (media.n > 0)
        jw_kstr(&r->e.w, "media_type", media);
    jw_kstr(&r->e.w, key, key_data);
    jw_obj_end(&r->e.w);
}

static const char *image_type(struct str media) {
    static const char *const types[] = {"image/png", "image/jpeg", "image/gif", "image/webp"};
    if (str_isi(media, "image/jpg"))
        return "image/jpeg";
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (str_isi(media, types[i]))
            return types[i];
    return NULL;
}

static bool is_text_file(const struct part *p) {
    return str_startsi(p->media, "text/");
}

const char *an_no_place(const struct part *p) {
    bool media = true;
    switch (p->kind) {
    case PART_IMAGE:
        media = image_type(p->media) != NULL;
        return (p->data.n > 0 ? media : is_http(p->url))
                   ? NULL
                   : "is an image of a kind that this provider does not take";
    case PART_FILE:
        media = str_isi(p->media, "application/pdf") || is_text_file(p);
        return (p->data.n > 0 ? media : is_http(p->url))
                   ? NULL
                   : "is a file of a kind that this provider does not take";
    case PART_AUDIO:
        return "is audio, which this provider does not take";
    default:
        return NULL;
    }
}

static void write_image(struct wr *r, const struct part *p) {
    if (p->detail.n > 0 && !str_is(p->detail, "auto"))
        encode_report(&r->e, STR("image_url.detail"));
    jw_obj(&r->e.w);
    jw_kz(&r->e.w, "type", "image");
    if (p->data.n > 0)
        write_source(r, "base64", str_of(image_type(p->media)), p->data, "data");
    else
        write_source(r, "url", STR_NONE, p->url, "url");
    an_write_cache_point(r, p->cache_point, p->cache_ttl);
    jw_obj_end(&r->e.w);
}

/* A text file goes as text: Anthropic's base64 documents are PDF only. */
static bool write_text_source(struct wr *r, const struct part *p) {
    struct buf plain;
    buf_init(&plain, 0);
    bool ok = base64_decode(&plain, p->data);
    if (ok)
        write_source(r, "text", STR("text/plain"), buf_str(&plain), "data");
    buf_free(&plain);
    return ok;
}

static bool write_document(struct wr *r, const struct part_ref *ref) {
    const struct part *p = ref->part;
    jw_obj(&r->e.w);
    jw_kz(&r->e.w, "type", "document");
    if (p->data.n == 0)
        write_source(r, "url", STR_NONE, p->url, "url");
    else if (!is_text_file(p))
        write_source(r, "base64", STR("application/pdf"), p->data, "data");
    else if (!write_text_source(r, p))
        return encode_bad(&r->e, an_at_part(r, ref), "the file's data is not base64");
    if (p->name.n > 0)
        jw_kstr(&r->e.w, "title", p->name);
    an_write_cache_point(r, p->cache_point, p->cache_ttl);
    jw_obj_end(&r->e.w);
    return true;
}

static bool write_tool_use(struct wr *r, const struct part_ref *ref) {
    const struct part *p = ref->part;
    jw_obj(&r->e.w);
    jw_kz(&r->e.w, "type", "tool_use");
    jw_kstr(&r->e.w, "id", ref->call->out);
    jw_kstr(&r->e.w, "name", p->name);
    encode_arguments(&r->e.w, "input", p->text);
    an_write_cache_point(r, p->cache_point, p->cache_ttl);
    jw_obj_end(&r->e.w);
    return true;
}

static bool write_inner(struct wr *r, const struct part_ref *ref) {
    const struct part *p = ref->part;
    const char *why = an_no_place(p);
    if (why)
        return encode_unsupported(&r->e, an_at_part(r, ref), why);
    if (p->kind == PART_FILE)
        return write_document(r, ref);
    if (p->kind == PART_IMAGE)
        write_image(r, p);
    else if (an_trim_end(p->text).n > 0)
        write_text(r, p->text, p);
    return true;
}

static bool write_result_content(struct wr *r, const struct part_ref *ref) {
    const struct part *in = ref->part->inner;
    if (in && !in->next && in->kind == PART_TEXT && !in->cache_point) {
        if (an_trim_end(in->text).n > 0)
            jw_kstr(&r->e.w, "content", in->text);
        return true;
    }
    if (!in)
        return true;
    jw_key(&r->e.w, "content");
    jw_arr(&r->e.w);
    for (size_t j = 0; in; in = in->next, j++)
        if (!write_inner(r, &(struct part_ref){.part = in, .message = ref->message, .index = j}))
            return false;
    jw_arr_end(&r->e.w);
    return true;
}

static bool write_tool_result(struct wr *r, const struct part_ref *ref) {
    const struct part *p = ref->part;
    jw_obj(&r->e.w);
    jw_kz(&r->e.w, "type", "tool_result");
    jw_kstr(&r->e.w, "tool_use_id", ref->call->out);
    if (!write_result_content(r, ref))
        return false;
    if (p->is_error)
        jw_kbool(&r->e.w, "is_error", true);
    an_write_cache_point(r, p->cache_point, p->cache_ttl);
    jw_obj_end(&r->e.w);
    return true;
}

static void write_thinking(struct wr *r, const struct part *p) {
    jw_obj(&r->e.w);
    if (p->kind == PART_THINKING) {
        jw_kz(&r->e.w, "type", "thinking");
        jw_kstr(&r->e.w, "thinking", p->text);
        jw_kstr(&r->e.w, "signature", p->signature);
    } else {
        jw_kz(&r->e.w, "type", "redacted_thinking");
        jw_kstr(&r->e.w, "data", p->data);
    }
    jw_obj_end(&r->e.w);
}

static bool write_block(struct wr *r, const struct part_ref *ref, bool last_words) {
    const struct part *p = ref->part;
    struct str text = last_words ? an_trim_end(p->text) : p->text;
    switch (p->kind) {
    case PART_TEXT:
    case PART_REFUSAL:
        if (ref->wrap)
            text = arena_printf(r->e.a, "<system>\n" STR_FMT "\n</system>", STR_ARG(text));
        if (text.n > 0)
            write_text(r, text, p);
        return true;
    case PART_IMAGE:
        write_image(r, p);
        return true;
    case PART_FILE:
        return write_document(r, ref);
    case PART_AUDIO: /* has no place */
        return true;
    case PART_TOOL_CALL:
        return write_tool_use(r, ref);
    case PART_TOOL_RESULT:
        return write_tool_result(r, ref);
    case PART_THINKING:
    case PART_THINKING_REDACTED:
        write_thinking(r, p);
        return true;
    }
    return true;
}

static bool write_turn(struct wr *r, const struct turn *t) {
    jw_obj(&r->e.w);
    jw_kz(&r->e.w, "role", t->assistant ? "assistant" : "user");
    jw_key(&r->e.w, "content");
    jw_arr(&r->e.w);
    for (const struct part_ref *ref = t->results; ref; ref = ref->next)
        if (!write_block(r, ref, false))
            return false;
    for (const struct part_ref *ref = t->rest; ref; ref = ref->next)
        if (!write_block(r, ref, t->assistant && !t->next && !ref->next))
            return false;
    jw_arr_end(&r->e.w);
    jw_obj_end(&r->e.w);
    return true;
}

bool an_write_messages(struct wr *r) {
    jw_key(&r->e.w, "messages");
    jw_arr(&r->e.w);
    for (const struct turn *t = r->turns; t; t = t->next)
        if (!write_turn(r, t))
            return false;
    jw_arr_end(&r->e.w);
    return true;
}

/* --- system --- */

bool an_write_system(struct wr *r) {
    size_t n = 0, i = 0, j;
    const struct part *only = NULL;
    for (const struct message *m = r->e.c->messages; m != r->body; m = m->next, i++) {
        j = 0;
        for (const struct part *p = m->parts; p; p = p->next, j++) {
            struct part_ref ref = {.part = p, .message = i, .index = j};
            if (p->kind != PART_TEXT) {
                if (!encode_unsupported(&r->e, an_at_part(r, &ref), "is no text, but in a system message"))
                    return false;
            } else if (an_trim_end(p->text).n > 0) {
                only = p;
                n++;
            }
        }
    }
    if (n == 0)
        return true;
    jw_key(&r->e.w, "system");
    if (n == 1 && !only->cache_point) {
        jw_str(&r->e.w, only->text);
        return true;
    }
    jw_arr(&r->e.w);
    for (const struct message *m = r->e.c->messages; m != r->body; m = m->next)
        for (const struct part *p = m->parts; p; p = p->next)
            if (p->kind == PART_TEXT && an_trim_end(p->text).n > 0)
                write_text(r, p->text, p);
    jw_arr_end(&r->e.w);
    return true;
}
