/* The items of a Responses conversation into messages. What an assistant did in one turn comes as items of
 * their own (reasoning, message, calls): they are put together in one message, as other dialects have it.
 * The items of other kinds are kept by name, so that the other side can refuse them by that name. */
#include "answer.h"
#include "free_text.h"
#include "opaque.h"
#include "openai_responses.h"

typedef struct part *new_part(struct rs_read *r, void *where, enum part_kind kind);

static struct part *in_message(struct rs_read *r, void *where, enum part_kind kind) {
    return message_part(r->c, where, kind);
}

static struct part *in_result(struct rs_read *r, void *where, enum part_kind kind) {
    return part_inner(r->c, where, kind);
}

static struct str at(struct rs_read *r, const char *rest) {
    return arena_printf(r->a, "input[%zu]%s", r->i, rest);
}

static bool bad(struct rs_read *r, const char *rest, const char *what) {
    return rs_refuse(r, FAULT_BAD_REQUEST, at(r, rest), what);
}

/* --- parts --- */

/* "data:image/png;base64,iVBOR..." in two; any other text is a URL. */
static void take_url(struct part *p, struct str url) {
    struct str rest = str_skip(url, 5), head, piece;
    bool base64 = false, first = true;
    p->url = url;
    if (!str_startsi(url, "data:") || !str_next(&rest, ',', &head))
        return;
    struct str media = STR_NONE;
    while (str_next(&head, ';', &piece)) {
        if (first)
            media = piece;
        base64 = base64 || str_isi(str_trim(piece), "base64");
        first = false;
    }
    if (!base64)
        return;
    p->url = STR_NONE;
    p->media = media;
    p->data = rest;
}

static bool read_image(struct rs_read *r, struct json_object *o, new_part *make, void *where) {
    struct str url = jo_str(o, "image_url"), id = jo_str(o, "file_id");
    if (url.n == 0 && id.n == 0)
        return bad(r, ".content", "an input_image needs an image_url (a string) or a file_id");
    struct part *p = make(r, where, PART_IMAGE);
    take_url(p, url);
    p->id = id;
    p->detail = jo_str(o, "detail");
    if (url.n == 0)
        rs_keep(r, at(r, ".content.file_id"), jo_get(o, "file_id"));
    return true;
}

static bool read_file(struct rs_read *r, struct json_object *o, new_part *make, void *where) {
    struct part *p = make(r, where, PART_FILE);
    struct str data = jo_str(o, "file_data");
    p->name = jo_str(o, "filename");
    p->id = jo_str(o, "file_id");
    if (data.n > 0) {
        take_url(p, data);
        if (p->data.n == 0) { /* bare base64 */
            p->data = data;
            p->url = STR_NONE;
            p->media = STR("application/pdf");
        }
    } else {
        p->url = jo_str(o, "file_url");
    }
    if (p->data.n == 0 && p->url.n == 0 && p->id.n == 0)
        return bad(r, ".content", "an input_file needs file_data, a file_url or a file_id");
    return true;
}

static bool read_audio(struct rs_read *r, struct json_object *o, new_part *make, void *where) {
    struct json_object *audio = jo_obj(o, "input_audio");
    struct str format = jo_str(audio, "format"), data = jo_str(audio, "data");
    if (data.n == 0 || format.n == 0)
        return bad(r, ".content", "input_audio needs data and format");
    struct part *p = make(r, where, PART_AUDIO);
    p->data = data;
    p->media = arena_printf(r->a, "audio/" STR_FMT, STR_ARG(format));
    return true;
}

static bool read_part(struct rs_read *r, struct json_object *o, new_part *make, void *where) {
    struct str type = jo_str(o, "type");
    if (!json_object_is_type(o, json_type_object))
        return bad(r, ".content", "a part must be an object");
    if (str_is(type, "input_text") || str_is(type, "output_text") || str_is(type, "text") ||
        str_is(type, "summary_text")) {
        make(r, where, PART_TEXT)->text = jo_str(o, "text");
        return true;
    }
    if (str_is(type, "refusal")) {
        make(r, where, PART_REFUSAL)->text = jo_str(o, "refusal");
        return true;
    }
    if (str_is(type, "input_image"))
        return read_image(r, o, make, where);
    if (str_is(type, "input_file"))
        return read_file(r, o, make, where);
    if (str_is(type, "input_audio"))
        return read_audio(r, o, make, where);
    if (type.n == 0)
        return bad(r, ".content", "a part needs a type");
    rs_keep(r, at(r, ".content"), o); /* what becomes of it is the other side's to say */
    return true;
}

static bool read_content(struct rs_read *r, struct json_object *v, const char *name, new_part *make,
                         void *where) {
    if (json_object_is_type(v, json_type_string)) {
        make(r, where, PART_TEXT)->text = jo_text(v);
        return true;
    }
    if (!json_object_is_type(v, json_type_array))
        return bad(r, name, "expected a string or an array of parts");
    size_t n = json_object_array_length(v);
    for (size_t k = 0; k < n; k++)
        if (!read_part(r, json_object_array_get_idx(v, k), make, where))
            return false;
    return true;
}

/* --- items --- */

static struct message *turn(struct rs_read *r) {
    if (!r->turn)
        r->turn = chat_message(r->c, ROLE_ASSISTANT);
    return r->turn;
}

static bool read_message(struct rs_read *r, struct json_object *o) {
    static const struct {
        const char *name;
        enum chat_role role;
    } roles[] = {{"user", ROLE_USER},
                 {"assistant", ROLE_ASSISTANT},
                 {"system", ROLE_SYSTEM},
                 {"developer", ROLE_DEVELOPER}};
    struct str said = jo_str(o, "role");
    for (size_t k = 0; k < sizeof roles / sizeof *roles; k++) {
        if (!str_is(said, roles[k].name))
            continue;
        struct message *m = NULL;
        if (roles[k].role == ROLE_ASSISTANT) {
            m = turn(r);
        } else {
            m = chat_message(r->c, roles[k].role);
            r->turn = NULL;
        }
        return read_content(r, jo_get(o, "content"), ".content", in_message, m);
    }
    return bad(r, ".role", "expected user, assistant, system or developer");
}

static bool read_call(struct rs_read *r, struct json_object *o, bool custom) {
    struct json_object *args = jo_get(o, custom ? "input" : "arguments");
    struct str id = jo_str(o, "call_id"), name = jo_str(o, "name");
    if (id.n == 0)
        return bad(r, ".call_id", "a call needs its call_id");
    if (name.n == 0)
        return bad(r, ".name", "a call needs the name of its tool");
    if (args && !json_object_is_type(args, json_type_string))
        return bad(r, custom ? ".input" : ".arguments", "expected a string");
    struct part *p = message_part(r->c, turn(r), PART_TOOL_CALL);
    p->id = id;
    p->name = rs_tool_flat(&r->tools, jo_str(o, "namespace"), name);
    p->text = custom ? free_text_wrap(r->a, jo_text(args)) : jo_text(args);
    p->custom = custom;
    return true;
}

static bool read_result(struct rs_read *r, struct json_object *o) {
    struct str id = jo_str(o, "call_id");
    if (id.n == 0)
        return bad(r, ".call_id", "a tool's output must name the call that it answers");
    struct message *last = r->c->last;
    if (r->turn || !last || last->role != ROLE_TOOL)
        last = chat_message(r->c, ROLE_TOOL);
    r->turn = NULL;
    struct part *p = message_part(r->c, last, PART_TOOL_RESULT);
    p->id = id;
    p->is_error = str_is(jo_str(o, "status"), "failed");
    return read_content(r, jo_get(o, "output"), ".output", in_result, p);
}

static void read_reasoning(struct rs_read *r, struct json_object *o) {
    struct str origin, sealed = opaque_unwrap(r->a, jo_str(o, "encrypted_content"), RS_NAME, &origin);
    struct str text = rs_reasoning_text(r->a, o);
    bool own = str_is(origin, RS_NAME);
    if (text.n == 0 && sealed.n == 0)
        return;
    bool redacted = !own && str_starts(sealed, RS_REDACTED);
    struct part *p = message_part(r->c, turn(r), redacted ? PART_THINKING_REDACTED : PART_THINKING);
    p->origin = str_is(origin, "unknown") ? STR_NONE : origin;
    if (redacted) {
        p->data = str_skip(sealed, sizeof RS_REDACTED - 1);
        return;
    }
    p->text = text;
    p->signature = sealed;
    if (sealed.n == 0)
        p->origin = STR_NONE;
}

static bool read_item(struct rs_read *r, struct json_object *o) {
    struct str type = jo_str(o, "type");
    if (!json_object_is_type(o, json_type_object))
        return bad(r, "", "expected an object");
    if (str_is(type, "message") || (type.n == 0 && jo_get(o, "role")))
        return read_message(r, o);
    if (str_is(type, "function_call"))
        return read_call(r, o, false);
    if (str_is(type, "custom_tool_call"))
        return read_call(r, o, true);
    if (str_is(type, "function_call_output") || str_is(type, "custom_tool_call_output"))
        return read_result(r, o);
    if (str_is(type, "reasoning")) {
        read_reasoning(r, o);
        return true;
    }
    if (str_is(type, "item_reference") || (type.n == 0 && jo_str(o, "id").n > 0))
        return rs_refuse(r, FAULT_UNSUPPORTED, at(r, ".id"),
                         "is a reference to a stored item: send the item itself");
    if (type.n == 0)
        return bad(r, ".type", "an item needs a type");
    rs_keep(r, at(r, ""), o);
    return true;
}

bool rs_read_input(struct rs_read *r, struct json_object *input) {
    if (json_object_is_type(input, json_type_string)) {
        message_part(r->c, chat_message(r->c, ROLE_USER), PART_TEXT)->text = jo_text(input);
        return true;
    }
    size_t n = json_object_is_type(input, json_type_array) ? json_object_array_length(input) : 0;
    for (r->i = 0; r->i < n; r->i++) {
        r->c->turn = r->i + 1;
        if (!read_item(r, json_object_array_get_idx(input, r->i)))
            return false;
    }
    r->c->turn = 0;
    return true;
}
