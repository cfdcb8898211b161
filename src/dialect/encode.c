/* What a conversation loses on its way into another dialect: refused by the client's name for it, or dropped
 * and told of, as the route is configured. */
#include "encode.h"

void encode_report(struct encoder *e, struct str name) {
    struct str rest = buf_str(e->dropped), one;
    while (str_next(&rest, ',', &one))
        if (str_eq(one, name))
            return;
    if (buf_len(e->dropped) > 0)
        buf_addc(e->dropped, ',');
    buf_adds(e->dropped, name);
}

bool encode_unsupported(struct encoder *e, struct str param, const char *why) {
    if (e->o->drop_unsupported) {
        encode_report(e, param);
        return true;
    }
    fault_set(e->f, e->a, FAULT_UNSUPPORTED, "'" STR_FMT "' %s", STR_ARG(param), why);
    e->f->param = arena_dup(e->a, param);
    return false;
}

bool encode_bad(struct encoder *e, struct str param, const char *why) {
    fault_set(e->f, e->a, FAULT_BAD_REQUEST, "'" STR_FMT "': %s", STR_ARG(param), why);
    e->f->param = arena_dup(e->a, param);
    return false;
}

void encode_number(struct encoder *e, const char *name, const struct opt_num *n) {
    if (!n->set)
        return;
    jw_key(&e->w, name);
    jw_raw(&e->w, n->text);
}

void encode_arguments(struct encoder *e, const char *name, struct str text) {
    enum json_kind kind = JSON_NULL;
    struct json_error err;
    text = str_trim(text);
    jw_key(&e->w, name);
    if (text.n && json_scan(text, &kind, NULL, NULL, &err) == 0 && kind == JSON_OBJECT) {
        jw_raw(&e->w, text);
        return;
    }
    jw_obj(&e->w);
    if (text.n && kind != JSON_NULL)
        jw_kstr(&e->w, "_raw", text);
    jw_obj_end(&e->w);
}
