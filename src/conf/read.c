/* Walks the tree by the table: each row finds its value, or its default, and stores it; names that no row
 * knows are refused. Nothing here knows any option. */
#include "base/die.h"
#include "schema.h"

/* ---- names ---- */

static bool inside(const char *path, struct str prefix) { /* "limits.concurrent" inside "limits" */
    return strlen(path) > prefix.n && memcmp(path, prefix.p, prefix.n) == 0 && path[prefix.n] == '.';
}

static const struct option *find_row(const struct table *t, struct str path, bool *group) {
    *group = false;
    for (size_t i = 0; i < t->n; i++) {
        const struct option *o = &t->row[i];
        if (o->type == TYPE_SECTION)
            continue;
        if (str_is(path, o->path) || (o->alias && str_is(path, o->alias)))
            return o;
        if (inside(o->path, path))
            *group = true;
    }
    return NULL;
}

/* Offers the names that stand directly behind the prefix. */
static void offer_names(const struct table *t, struct str prefix, struct nearest *n) {
    for (size_t i = 0; i < t->n; i++) {
        const char *path = t->row[i].path;
        if (t->row[i].type == TYPE_SECTION || (prefix.n && !inside(path, prefix)))
            continue;
        struct str rest = str_skip(str_of(path), prefix.n ? prefix.n + 1 : 0), name = STR_NONE;
        str_next(&rest, '.', &name);
        nearest_offer(n, name);
    }
}

/* "providers[].region", without the numbers. */
static void generic_path(const struct at *at, struct buf *out) {
    if (!at)
        return;
    generic_path(at->up, out);
    if (at->key)
        buf_printf(out, "%s%s", buf_len(out) ? "." : "", at->key);
    else if (at->up)
        buf_addz(out, "[]");
}

static bool is_later(const struct at *at) {
    struct buf path;
    bool found = false;
    buf_init(&path, 4096);
    generic_path(at, &path);
    for (size_t i = 0; conf_later[i] && !found; i++)
        found = str_is(buf_str(&path), conf_later[i]);
    buf_free(&path);
    return found;
}

static void unknown_name(struct load *l, const struct table *t, struct str prefix, const struct at *at) {
    struct nearest n;
    char hint[96];
    if (is_later(at)) {
        load_error_key(l, at, "not supported by this version");
        return;
    }
    nearest_init(&n, str_of(at->key));
    offer_names(t, prefix, &n);
    load_error_key(l, at, "no such option%s", nearest_hint(&n, hint));
}

static void check_names(struct load *l, const struct table *t, struct str prefix, const struct at *up) {
    for (const struct node *n = up->node->first; n; n = n->next) {
        struct str path =
            arena_printf(l->scratch, STR_FMT "%s%s", STR_ARG(prefix), prefix.n ? "." : "", n->key);
        struct at at = {up, n->key, 0, n};
        bool group;
        bool dotted = strchr(n->key, '.') != NULL; /* "a.b: 1" is not the option a: {b: 1} */
        if (find_row(t, path, &group) && !dotted)
            continue;
        if (!group || dotted)
            unknown_name(l, t, prefix, &at);
        else if (n->kind == NODE_MAP)
            check_names(l, t, path, &at);
        else if (n->kind != NODE_NULL)
            load_error(l, &at, "expected a map of options");
    }
}

/* ---- values ---- */

static const char *kind_of(const struct node *n) {
    return n->kind == NODE_MAP ? "a map" : n->kind == NODE_LIST ? "a list" : "a text";
}

static bool read_scalar(struct load *l, const struct option *o, const struct at *at, void *to) {
    if (at->node->kind != NODE_SCALAR || !conf_types[o->type].read) { /* of maps and lists none is a text */
        load_error(l, at, "expected %s; got %s", conf_types[o->type].expected, kind_of(at->node));
        return false;
    }
    struct reading r = {l, o, at, at->node->text, to};
    return conf_types[o->type].read(&r);
}

/* Words of a set: a list of texts, or one text with them. */
static bool read_set(struct load *l, const struct option *o, const struct at *at, void *to) {
    struct reading r = {l, o, at, STR_NONE, to};
    bool ok = true;
    *(unsigned *)to = 0;
    if (at->node->kind == NODE_SCALAR) {
        struct str rest = at->node->text;
        char between = str_find(rest, STR(",")) >= 0 ? ',' : ' ';
        while (str_next(&rest, between, &r.text)) {
            r.text = str_trim(r.text);
            ok = (r.text.n == 0 || conf_types[o->type].read(&r)) && ok;
        }
        return ok;
    }
    if (at->node->kind != NODE_LIST)
        return read_scalar(l, o, at, to);
    size_t i = 0;
    for (const struct node *n = at->node->first; n; n = n->next, i++) {
        struct at here = {at, NULL, i, n};
        r.at = &here;
        r.text = n->text;
        if (n->kind == NODE_SCALAR)
            ok = conf_types[o->type].read(&r) && ok;
        else
            load_error(l, &here, "expected a word");
    }
    return ok;
}

/* Of what no file has written, a variable or a default: the texts between commas. */
static const struct node *parted(struct load *l, const struct node *node) {
    struct node *list = node_new(l, NODE_LIST);
    struct str rest = node->text, one;
    while (str_next(&rest, ',', &one)) {
        struct node *n = node_new(l, NODE_SCALAR);
        n->env = node->env;
        n->text = n->raw = arena_dup(l->scratch, str_trim(one)); /* nodes are wiped */
        if (n->text.n)
            node_append(list, n);
    }
    return list;
}

static bool read_texts(struct load *l, const struct option *o, const struct at *at, void *to, void *count) {
    const struct option element = {.path = "", .type = TYPE_TEXT, .min = 1, .max = o->max ? o->max : 512};
    struct at as_list = *at;
    const struct node *node = at->node;
    if (node->kind == NODE_MAP)
        return read_scalar(l, o, at, to);
    if (node->kind == NODE_SCALAR && !node->file) {
        as_list.node = node = parted(l, node);
        at = &as_list;
    }
    size_t n = node->kind == NODE_LIST ? node_count(node) : 1;
    const char **list = arena_array(l->c->arena, n ? n : 1, sizeof *list);
    bool ok = true;
    for (size_t i = 0; i < n; i++) {
        struct at here = at_item(at, i);
        list[i] = "";
        ok = read_scalar(l, &element, node->kind == NODE_LIST ? &here : at, &list[i]) && ok;
    }
    *(const char ***)to = list;
    *(size_t *)count = n;
    return ok;
}

static bool token_char(char c) { /* RFC 9110, 5.6.2 */
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
           (c && strchr("!#$%&'*+-.^_`|~", c));
}

static const char *header_wrong(struct str name, struct str value) {
    static const char *const framing[] = {"content-length", "transfer-encoding", "connection",
                                          "expect",         "upgrade",           "te",
                                          "trailer",        "keep-alive"};
    for (size_t i = 0; i < name.n; i++)
        if (!token_char(name.p[i]))
            return "this is not the name of a header";
    if (name.n == 0 || name.n > 128)
        return "the name of a header has 1 to 128 characters";
    for (size_t i = 0; i < sizeof framing / sizeof *framing; i++)
        if (str_isi(name, framing[i]))
            return "this header belongs to the connection and cannot be set";
    if (!value_plain(value))
        return "a line end or another control character, or bytes that are not UTF-8, in the value of a "
               "header";
    return value.n > 8192 ? "the value of a header has at most 8192 bytes" : NULL;
}

static bool read_header(struct load *l, const struct at *at, const struct conf_pair *before, size_t nbefore,
                        struct conf_pair *to) {
    const struct node *n = at->node;
    struct str name = str_of(n->key);
    *to = (struct conf_pair){arena_dupz(l->c->arena, name), ""};
    if (n->kind != NODE_SCALAR && n->kind != NODE_NULL) {
        load_error(l, at, "expected a text; got %s", kind_of(n));
        return false;
    }
    const char *wrong = header_wrong(name, n->text);
    for (size_t i = 0; i < nbefore; i++)
        if (str_isi(name, before[i].name))
            wrong = "given twice, in other letters";
    if (wrong)
        load_error_key(l, at, "%s", wrong);
    to->value = arena_secret(l->c->arena, str_trim(n->text)); /* it may well be a credential */
    return !wrong;
}

static bool read_headers(struct load *l, const struct option *o, const struct at *at, void *to, void *count) {
    if (at->node->kind != NODE_MAP)
        return read_scalar(l, o, at, to);
    size_t n = node_count(at->node), i = 0;
    struct conf_pair *list = arena_array(l->c->arena, n ? n : 1, sizeof *list);
    bool ok = true;
    for (const struct node *m = at->node->first; m; m = m->next, i++) {
        struct at here = {at, m->key, 0, m};
        ok = read_header(l, &here, list, i, &list[i]) && ok;
    }
    *(struct conf_pair **)to = list;
    *(size_t *)count = n;
    return ok;
}

/* {a: x, b: {y: 1}} as [{name: a, models: x}, {name: b, y: 1}]. */
static const struct node *keyed_list(struct load *l, const struct table *t, const struct node *map) {
    struct node *list = node_new(l, NODE_LIST);
    for (const struct node *n = map->first; n; n = n->next) {
        struct node *element = node_new(l, NODE_MAP), *all = element->all, *key = node_new(l, NODE_SCALAR),
                    *key_all = key->all;
        *element = *n;
        element->all = all;
        element->key = NULL;
        *key = *n;
        key->all = key_all;
        key->kind = NODE_SCALAR;
        key->key = t->keyed;
        key->text = key->raw = str_of(n->key);
        key->line = n->key_line;
        key->column = n->key_column;
        if (n->kind == NODE_MAP) {
            key->next = n->first;
        } else if (!t->scalar) {
            node_append(list, element); /* the reader says what it should have been */
            continue;
        } else {
            struct node *value = node_new(l, n->kind), *value_all = value->all;
            *value = *n;
            value->all = value_all;
            value->key = t->scalar;
            value->next = NULL;
            key->next = value;
            element->kind = NODE_MAP;
        }
        element->first = key;
        node_append(list, element);
    }
    return list;
}

static bool read_list(struct load *l, const struct option *o, const struct at *at, void *to, void *count) {
    const struct table *t = o->table;
    const struct node *node = at->node;
    struct at keyed;
    if (t->keyed && node->kind == NODE_MAP) {
        keyed = *at;
        keyed.node = node = keyed_list(l, t, node);
        at = &keyed;
    }
    bool list = node->kind == NODE_LIST;
    if (!list && !(t->single && (node->kind == NODE_MAP || t->scalar))) {
        load_error(l, at, "expected a list%s; got %s",
                   t->single  ? ", or one map"
                   : t->keyed ? ", or a map"
                              : "",
                   kind_of(node));
        return false;
    }
    size_t n = list ? node_count(node) : node->kind == NODE_SCALAR && node->text.n == 0 ? 0 : 1;
    char *elements = arena_array(l->c->arena, n ? n : 1, t->size);
    for (size_t i = 0; i < n; i++) {
        struct at here = list ? at_item(at, i) : *at;
        read_table(l, t, elements + i * t->size, &here);
    }
    *(void **)to = elements;
    *(size_t *)count = n;
    return true;
}

bool read_value(struct load *l, const struct option *o, const struct at *at, void *to, void *count) {
    switch (o->type) {
    case TYPE_FLAGS:
    case TYPE_FAULTS:
        return read_set(l, o, at, to);
    case TYPE_TEXTS:
        return read_texts(l, o, at, to, count);
    case TYPE_HEADERS:
        return read_headers(l, o, at, to, count);
    case TYPE_LIST:
        return read_list(l, o, at, to, count);
    case TYPE_SOURCE:
    case TYPE_SECRET:
    case TYPE_SECTION:
        return true; /* the table's finish reads them together */
    default:
        return read_scalar(l, o, at, to);
    }
}

/* ---- rows and tables ---- */

static void set_default(struct load *l, const struct option *o, void *to, void *count) {
    if (o->type >= TYPE_TEXT && o->type <= TYPE_LOG_TARGET)
        *(const char **)to = "";
    if (o->type == TYPE_PRICE || o->type == TYPE_MONEY)
        *(int64_t *)to = -1;
    if (!o->def)
        return;
    struct node n = {.kind = NODE_SCALAR, .text = str_of(o->def), .raw = str_of(o->def)};
    struct at at = {NULL, o->path, 0, &n};
    MUST(read_value(l, o, &at, to, count));
}

static struct at find_value(struct load *l, const struct table *t, const struct option *o,
                            const struct at *at) {
    if (at->node && at->node->kind == NODE_SCALAR && t->scalar) {
        struct at here = *at;
        here.node = strcmp(o->path, t->scalar) == 0 ? at->node : NULL;
        return here;
    }
    struct at here = at_child(at, o->path);
    if (o->alias) {
        struct at other = at_child(at, o->alias);
        if (here.node && other.node)
            load_error_key(l, &other, "means the same as %s, which is given too", o->path);
        else if (other.node)
            return other;
    }
    return here;
}

static void read_row(struct load *l, const struct table *t, const struct option *o, void *element,
                     const struct at *at) {
    char *to = (char *)element + o->offset, *count = (char *)element + o->count;
    struct at value = find_value(l, t, o, at);
    if (value.node) {
        unsigned before = 0; /* of a set that turns out wrong the default stays */
        bool set = o->type == TYPE_FLAGS || o->type == TYPE_FAULTS;
        if (set)
            before = *(unsigned *)(void *)to;
        if (!read_value(l, o, &value, to, count) && set)
            *(unsigned *)(void *)to = before;
    } else if (o->required) {
        load_error(l, at, "%s is missing", o->path);
    }
}

void read_table(struct load *l, const struct table *t, void *element, const struct at *at) {
    bool map = at->node && at->node->kind == NODE_MAP;
    bool plain = at->node && at->node->kind == NODE_SCALAR && t->scalar;
    if (t->start)
        t->start(l, element, at);
    if (map)
        check_names(l, t, STR_NONE, at);
    else if (!plain)
        load_error(l, at, "expected a map of options");
    for (size_t i = 0; i < t->n; i++) {
        const struct option *o = &t->row[i];
        if (o->type == TYPE_SECTION)
            continue;
        if (o->type != TYPE_SOURCE && o->type != TYPE_SECRET)
            set_default(l, o, (char *)element + o->offset, (char *)element + o->count);
        if (map || plain)
            read_row(l, t, o, element, at);
    }
    if (t->finish && (map || plain))
        t->finish(l, element, at);
}

void read_conf(struct load *l) {
    struct at root = {NULL, NULL, 0, l->root};
    read_table(l, &conf_table, l->c, &root);
}
