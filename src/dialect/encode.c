/* What a conversation loses on its way into another dialect: refused by the client's name for it, or dropped
 * and told of, as the route is configured. */
#include "encode.h"

#include <json-c/linkhash.h>

struct str encode_listed(struct arena *a, struct str name) {
    char *out = arena_alloc(a, LISTED_MOST);
    size_t n = 0;
    for (; n < name.n && n < LISTED_MOST; n++)
        out[n] = name.p[n] > ' ' && name.p[n] < 0x7f && name.p[n] != ',' ? name.p[n] : '_';
    return str_make(out, n);
}

/* "messages[K]" and what follows, where the client has its turns. */
static struct str turn_name(const struct encoder *e, struct str rest) {
    const struct client_names *names = e->o->names;
    const struct message *m = e->c->messages;
    size_t k = 0, i = 0;
    for (; i < rest.n && i < 9 && rest.p[i] >= '0' && rest.p[i] <= '9'; i++)
        k = k * 10 + (size_t)(rest.p[i] - '0');
    for (; m && k > 0; k--)
        m = m->next;
    struct str behind = str_skip(rest, i + 1); /* the bracket */
    if (!m || m->turn == 0)
        return str_of(names->system);
    if (str_starts(behind, ".content"))
        return arena_printf(e->a, "%s[%zu].%s" STR_FMT, names->turns, m->turn - 1, names->parts,
                            STR_ARG(str_skip(behind, 8)));
    if (str_is(behind, ".tool_call_id"))
        return arena_printf(e->a, "%s[%zu].%s", names->turns, m->turn - 1, names->call);
    return arena_printf(e->a, "%s[%zu]" STR_FMT, names->turns, m->turn - 1, STR_ARG(behind));
}

static struct str client_name(const struct encoder *e, struct str name) {
    const struct client_names *names = e->o->names;
    if (!names)
        return name;
    if (names->turns && e->c && str_starts(name, "messages["))
        return turn_name(e, str_skip(name, 9));
    for (const char *const(*row)[2] = names->rows; (*row)[0]; row++)
        if (str_is(name, (*row)[0]))
            return str_of((*row)[1]);
    return name;
}

void encode_report(struct encoder *e, struct str name) {
    struct str rest = buf_str(e->dropped), one;
    name = encode_listed(e->a, client_name(e, name));
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
    param = client_name(e, param);
    fault_set(e->f, e->a, FAULT_UNSUPPORTED, "'" STR_FMT "' %s", STR_ARG(param), why);
    e->f->param = arena_dup(e->a, param);
    return false;
}

bool encode_bad(struct encoder *e, struct str param, const char *why) {
    param = client_name(e, param);
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

void encode_arguments(struct jw *w, const char *name, struct str text) {
    enum json_kind kind = JSON_NULL;
    struct json_error err;
    text = str_trim(text);
    jw_key(w, name);
    if (text.n && json_scan(text, &kind, NULL, NULL, &err) == 0 && kind == JSON_OBJECT) {
        jw_raw(w, text);
        return;
    }
    jw_obj(w);
    if (text.n && kind != JSON_NULL)
        jw_kstr(w, "_raw", text);
    jw_obj_end(w);
}

void encode_texts(struct jw *w, const struct part *p, unsigned kinds, bool apart) {
    struct buf b;
    buf_init(&b, 0);
    for (; p; p = p->next) {
        if (!(kinds & KIND_BIT(p->kind)) || p->text.n == 0)
            continue;
        struct str before = buf_str(&b);
        if (apart && before.n > 0 && (unsigned char)before.p[before.n - 1] > ' ' &&
            (unsigned char)p->text.p[0] > ' ')
            buf_addc(&b, '\n');
        buf_adds(&b, p->text);
    }
    jw_str(w, buf_str(&b));
    buf_free(&b);
}

static bool listed(const char *patterns, const char *name) {
    struct str rest = str_of(patterns), one;
    while (str_next(&rest, ' ', &one))
        if (str_glob(one, str_of(name)))
            return true;
    return false;
}

/* For accounts, caches and speed. */
static bool is_hint(const char *name, struct json_object *v) {
    if (strcmp(name, "modalities") == 0 && json_object_is_type(v, json_type_array))
        return json_object_array_length(v) == 1 && str_is(jo_text(json_object_array_get_idx(v, 0)), "text");
    return listed("store prompt_cache_key prompt_cache_retention prompt_cache_options prediction usage "
                  "safety_identifier include_reasoning",
                  name);
}

bool encode_extra(struct encoder *e, const char *own, const char *done) {
    if (!e->c->extra)
        return true;
    json_object_object_foreach(e->c->extra, key, v) {
        bool inner = strchr(key, '[') != NULL; /* of a message: it has no place here */
        bool is_own = own && listed(own, key);
        if (listed(done, key) || (!is_own && is_hint(key, v)))
            continue;
        if (is_own || (own && e->o->pass_unsupported && !inner)) {
            jw_keys(&e->w, str_of(key));
            jw_tree(&e->w, v);
        } else if (!encode_unsupported(e, str_of(key), NO_EQUIVALENT)) {
            return false;
        }
    }
    return true;
}

void encode_function(struct jw *w, const struct tool *t) {
    jw_obj(w);
    jw_kz(w, "type", "function");
    jw_key(w, "function");
    jw_obj(w);
    jw_kstr(w, "name", t->name);
    if (t->description.n)
        jw_kstr(w, "description", t->description);
    if (t->schema) {
        jw_key(w, "parameters");
        jw_tree(w, t->schema);
    }
    jw_obj_end(w);
    jw_obj_end(w);
}

bool encode_one_call(struct encoder *e) {
    if (e->c->parallel_calls != 0 || !e->c->tools)
        return true;
    if (e->c->choice != CHOICE_NAMED)
        return encode_unsupported(e, STR("parallel_tool_calls"), NO_EQUIVALENT);
    encode_report(e, STR("parallel_tool_calls"));
    return true;
}
