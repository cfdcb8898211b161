/* The running configuration as YAML that loads again, and as JSON. Both walk the table; where a secret stands
 * its source is written and never the secret. */
#include "base/json.h"
#include "schema.h"

struct writer {
    struct buf *out;
    bool json;
    struct jw w;
    unsigned indent; /* YAML: of the map that is open */
    bool dash;       /* YAML: the next key is the first of a list's element */
    struct buf text, scratch;
};

/* ---- the two languages ---- */

/* JSON's double quotes are YAML's too; a ${ would be expanded when it is read again. */
static void yaml_quote(struct writer *w, struct str s) {
    struct buf escaped;
    ptrdiff_t at;
    buf_init(&escaped, 0);
    while ((at = str_find(s, STR("${"))) >= 0) {
        buf_add(&escaped, s.p, (size_t)at);
        BUF_ADD(&escaped, "$${");
        s = str_skip(s, (size_t)at + 2);
    }
    buf_adds(&escaped, s);
    json_quote(w->out, buf_str(&escaped));
    buf_free(&escaped);
}

static void put_key(struct writer *w, struct str key, bool quoted) {
    if (w->json) {
        jw_keys(&w->w, key);
        return;
    }
    buf_printf(w->out, "%*s%s", (int)(w->dash ? w->indent - 2 : w->indent), "", w->dash ? "- " : "");
    w->dash = false;
    if (quoted)
        json_quote(w->out, key);
    else
        buf_adds(w->out, key);
    BUF_ADD(w->out, ":");
}

static void put_string(struct writer *w, struct str s) {
    if (w->json) {
        jw_str(&w->w, s);
        return;
    }
    BUF_ADD(w->out, " ");
    yaml_quote(w, s);
    BUF_ADD(w->out, "\n");
}

static void put_plain(struct writer *w, struct str s) {
    if (!w->json)
        buf_printf(w->out, " " STR_FMT "\n", STR_ARG(s));
    else if (str_is(s, "none"))
        jw_null(&w->w);
    else
        jw_raw(&w->w, s);
}

static void open_map(struct writer *w, bool key) {
    if (w->json) {
        jw_obj(&w->w);
    } else if (key) {
        BUF_ADD(w->out, "\n");
        w->indent += 2;
    }
}

static void close_map(struct writer *w) {
    if (w->json)
        jw_obj_end(&w->w);
    else
        w->indent -= 2;
}

/* ---- groups: "limits.concurrent" stands in the map limits ---- */

static struct str group_of(const char *path) {
    const char *dot = strrchr(path, '.');
    return str_make(path, dot ? (size_t)(dot - path) : 0);
}

static bool holds(struct str outer, struct str inner) {
    return outer.n == 0 || (inner.n >= outer.n && memcmp(outer.p, inner.p, outer.n) == 0 &&
                            (inner.n == outer.n || inner.p[outer.n] == '.'));
}

/* From the group that is open to the one of this row. */
static void enter(struct writer *w, struct str *open, struct str want) {
    while (!holds(*open, want)) {
        size_t n = open->n;
        while (n && open->p[n - 1] != '.')
            n--;
        open->n = n ? n - 1 : 0;
        close_map(w);
    }
    while (open->n < want.n) {
        size_t from = open->n ? open->n + 1 : 0, to = from;
        while (to < want.n && want.p[to] != '.')
            to++;
        put_key(w, str_make(want.p + from, to - from), false);
        open_map(w, true);
        *open = str_make(want.p, to);
    }
}

static void key_of(struct writer *w, struct str *open, const struct option *o) {
    struct str group = group_of(o->path);
    enter(w, open, group);
    put_key(w, str_skip(str_of(o->path), group.n ? group.n + 1 : 0), false);
}

/* ---- values ---- */

static void dump_table(struct writer *w, const struct table *t, const void *element);

static void dump_scalar(struct writer *w, struct str *open, const struct option *o, const void *from) {
    const struct type_row *t = &conf_types[o->type];
    buf_clear(&w->text);
    if (!t->print(&w->text, o, from))
        return;
    key_of(w, open, o);
    if (t->quoted || (w->json && (o->type == TYPE_DURATION || o->type == TYPE_SIZE)))
        put_string(w, buf_str(&w->text));
    else
        put_plain(w, buf_str(&w->text));
}

static void put_words(struct writer *w, const struct option *o, const void *from, const void *count) {
    const char *const *texts = o->type == TYPE_TEXTS ? *(const char *const *const *)from : NULL;
    size_t n = texts ? *(const size_t *)count : SIZE_MAX;
    if (w->json)
        jw_arr(&w->w);
    else
        BUF_ADD(w->out, " [");
    for (size_t i = 0; i < n; i++) {
        const char *one = texts                      ? texts[i]
                          : conf_types[o->type].item ? conf_types[o->type].item(o, from, i, &w->scratch)
                                                     : NULL;
        if (!one)
            break;
        if (!w->json && i)
            BUF_ADD(w->out, ", ");
        if (w->json)
            jw_z(&w->w, one);
        else
            yaml_quote(w, str_of(one));
    }
    if (w->json)
        jw_arr_end(&w->w);
    else
        BUF_ADD(w->out, "]\n");
}

static void put_headers(struct writer *w, const struct conf_pair *pair, size_t n) {
    if (!w->json && n == 0) {
        BUF_ADD(w->out, " {}\n");
        return;
    }
    open_map(w, true);
    for (size_t i = 0; i < n; i++) {
        struct str name = str_of(pair[i].name);
        put_key(w, name, true);
        put_string(w, name_is_credential(name) ? STR("<redacted>") : str_of(pair[i].value));
    }
    close_map(w);
}

static void put_list(struct writer *w, const struct table *t, const void *elements, size_t n) {
    if (w->json)
        jw_arr(&w->w);
    else
        buf_addz(w->out, n ? "\n" : " []\n");
    w->indent += 4;
    for (size_t i = 0; i < n; i++) {
        w->dash = true;
        if (w->json)
            jw_obj(&w->w);
        dump_table(w, t, (const char *)elements + i * t->size);
        if (w->json)
            jw_obj_end(&w->w);
    }
    w->indent -= 4;
    w->dash = false;
    if (w->json)
        jw_arr_end(&w->w);
}

/* "env:NAME" is {env: NAME}; a literal is not shown, but told apart from others. */
static bool source_is(const char *source, const char *part, struct str *rest) {
    struct str s = str_of(source);
    *rest = str_skip(s, strlen(part) + 1);
    return str_starts(s, part) && (s.n == strlen(part) || s.p[strlen(part)] == ':');
}

static void dump_source(struct writer *w, struct str *open, const struct option *o, const char *source,
                        const char *id) {
    struct str rest;
    if (!source_is(source, o->path, &rest))
        return;
    key_of(w, open, o);
    buf_clear(&w->text);
    if (str_is(str_of(o->path), "value"))
        buf_printf(&w->text, "<redacted:value:%s>", id);
    else
        buf_adds(&w->text, rest);
    put_string(w, buf_str(&w->text));
}

static void dump_secret(struct writer *w, struct str *open, const struct option *o, const char *source,
                        const char *id) {
    static const char *const parts[] = {"env", "file", "value"};
    if (!*source || strcmp(source, "hash") == 0)
        return;
    key_of(w, open, o);
    open_map(w, true);
    for (size_t i = 0; i < 3; i++) {
        struct option part = {.path = parts[i]};
        struct str inner = STR_NONE;
        dump_source(w, &inner, &part, source, id);
    }
    close_map(w);
}

/* What is said elsewhere, or would say more than was said. */
static bool left_out(const struct option *o, const struct table *t, const void *element) {
    if (o->type == TYPE_SECTION)
        return true;
    if (o->type == TYPE_HASH)
        return strcmp(((const struct conf_gateway_key *)element)->source, "hash") != 0;
    if (t != &conf_table)
        return false;
    const struct conf *c = element;
    return strcmp(o->path, "admin_listen") == 0 || /* it is in listen */
           (strcmp(o->path, "auth.mode") == 0 && c->auth.mode == AUTH_NONE && !c->auth.said);
}

static void dump_row(struct writer *w, struct str *open, const struct option *o, const struct table *t,
                     const void *element) {
    const char *from = (const char *)element + o->offset, *count = (const char *)element + o->count;
    if (left_out(o, t, element))
        return;
    switch (o->type) {
    case TYPE_FLAGS:
    case TYPE_FAULTS:
    case TYPE_TEXTS:
        key_of(w, open, o);
        put_words(w, o, from, count);
        break;
    case TYPE_HEADERS:
        key_of(w, open, o);
        put_headers(w, *(const struct conf_pair *const *)(const void *)from,
                    *(const size_t *)(const void *)count);
        break;
    case TYPE_LIST:
        key_of(w, open, o);
        put_list(w, o->table, *(const void *const *)(const void *)from, *(const size_t *)(const void *)count);
        break;
    case TYPE_SOURCE:
        dump_source(w, open, o, ((const struct conf_key *)element)->secret.source,
                    ((const struct conf_key *)element)->id);
        break;
    case TYPE_SECRET:
        if (t == &conf_table || t->finish == finish_redis)
            dump_secret(w, open, o, ((const struct conf_secret *)(const void *)from)->source, o->path);
        else if (o->offset) /* of a provider's key; a gateway key's is not kept */
            dump_secret(w, open, o, ((const struct conf_secret *)(const void *)from)->source,
                        ((const struct conf_key *)element)->id);
        else
            dump_secret(w, open, o, ((const struct conf_gateway_key *)element)->source,
                        ((const struct conf_gateway_key *)element)->id);
        break;
    default:
        dump_scalar(w, open, o, from);
    }
}

static void dump_table(struct writer *w, const struct table *t, const void *element) {
    struct str open = STR_NONE;
    for (size_t i = 0; i < t->n; i++)
        dump_row(w, &open, &t->row[i], t, element);
    enter(w, &open, STR_NONE);
}

static void dump(const struct conf *c, struct buf *out, bool json) {
    struct writer w = {.out = out, .json = json};
    buf_init(&w.text, 0);
    buf_init(&w.scratch, 0);
    jw_init(&w.w, out);
    if (json)
        jw_obj(&w.w);
    dump_table(&w, &conf_table, c);
    if (json)
        jw_obj_end(&w.w);
    buf_free(&w.text);
    buf_free(&w.scratch);
}

void conf_dump_yaml(const struct conf *c, struct buf *out) {
    dump(c, out, false);
}

void conf_dump_json(const struct conf *c, struct buf *out) {
    dump(c, out, true);
}
