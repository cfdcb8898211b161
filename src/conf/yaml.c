/* The only file that knows libyaml. Its event parser is turned into a tree of our own, because the library's
 * allows what a configuration should not: keys given twice, aliases that explode, any depth and any size.
 * Texts are expanded (${NAME}) and further files included while the place of every value is still known. */
#include "base/die.h"
#include "load.h"
#include <errno.h>
#include <glob.h>
#include <stdio.h>
#include <sys/stat.h>
#include <yaml.h>

enum { DEPTH_MAX = 32, NODES_MAX = 200000, KEYS_MAX = 4096, INCLUDE_MAX = 8, EXPANDED_MAX = 1 << 20 };

struct seen {
    struct seen *next;
    dev_t dev;
    ino_t ino;
};

struct parser {
    struct load *l;
    const char *file;
    struct str text;
    yaml_parser_t y;
    bool broken; /* no use in going on with this file; said already */
};

/* ---- events ---- */

static void place_of_offset(struct str text, size_t offset, unsigned *line, unsigned *column) {
    *line = *column = 1;
    for (size_t i = 0; i < offset && i < text.n; i++) {
        if (text.p[i] == '\n') {
            ++*line;
            *column = 1;
        } else {
            ++*column;
        }
    }
}

static void syntax_error(struct parser *p) {
    const yaml_parser_t *y = &p->y;
    unsigned line = (unsigned)y->problem_mark.line + 1, column = (unsigned)y->problem_mark.column + 1;
    const char *problem = y->problem ? y->problem : "not YAML";
    p->broken = true;
    if (y->error == YAML_MEMORY_ERROR)
        die("out of memory (configuration)");
    if (y->error == YAML_READER_ERROR) {
        place_of_offset(p->text, y->problem_offset, &line, &column);
        bool utf8 = strstr(problem, "UTF-8") != NULL;
        load_error_place(p->l, p->file, line, column, NULL, "%s%s", utf8 ? "not UTF-8: " : "", problem);
    } else if (y->context) {
        load_error_place(p->l, p->file, line, column, NULL, "%s, %s of line %zu", problem, y->context,
                         y->context_mark.line + 1);
    } else {
        load_error_place(p->l, p->file, line, column, NULL, "%s", problem);
    }
}

static bool next_event(struct parser *p, yaml_event_t *e) {
    if (p->broken)
        return false;
    if (yaml_parser_parse(&p->y, e))
        return true;
    syntax_error(p);
    return false;
}

/* What goes back to malloc must not carry a secret. */
static void event_done(yaml_event_t *e) {
    if (e->type == YAML_SCALAR_EVENT)
        mem_wipe(e->data.scalar.value, e->data.scalar.length);
    yaml_event_delete(e);
}

static void give_up(struct parser *p, const yaml_event_t *e, const struct at *at, const char *what) {
    p->broken = true;
    load_error_place(p->l, p->file, (unsigned)e->start_mark.line + 1, (unsigned)e->start_mark.column + 1, at,
                     "%s", what);
}

/* ---- ${NAME} ---- */

static bool name_char(char c, bool first) {
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '_' || (!first && c >= '0' && c <= '9');
}

/* One reference; *s stands behind its "${" and is moved behind its "}". */
static const char *expand_one(struct load *l, struct str *s, struct buf *out, char name[65]) {
    size_t n = 0;
    while (n < s->n && name_char(s->p[n], n == 0))
        n++;
    if (n == 0 || n > 64)
        return "${ must be followed by the name of a variable and }; for a plain ${ write $${";
    str_copy(name, 65, str_make(s->p, n));
    *s = str_skip(*s, n);
    bool otherwise = str_starts(*s, ":-");
    const char *end = s->n ? memchr(s->p, '}', s->n) : NULL;
    if (!end || (!otherwise && end != s->p))
        return "expected ${NAME} or ${NAME:-default}; for a plain ${ write $${";
    const char *value = otherwise ? env_value(l->env, name) : env_get(l->env, name);
    if (!value && !otherwise)
        return "";
    if (value)
        buf_addz(out, value);
    else
        buf_add(out, s->p + 2, (size_t)(end - s->p) - 2);
    *s = str_skip(*s, (size_t)(end - s->p) + 1);
    return NULL;
}

static bool expand(struct load *l, struct node *n, const struct at *at) {
    if (str_find(n->raw, STR("${")) < 0)
        return true;
    struct buf out;
    struct str rest = n->raw;
    char name[65] = "";
    const char *wrong = NULL;
    buf_init(&out, EXPANDED_MAX);
    while (rest.n && !wrong) {
        if (str_starts(rest, "$${")) {
            BUF_ADD(&out, "${");
            rest = str_skip(rest, 3);
        } else if (str_starts(rest, "${")) {
            rest = str_skip(rest, 2);
            wrong = expand_one(l, &rest, &out, name);
        } else {
            buf_addc(&out, *rest.p);
            rest = str_skip(rest, 1);
        }
    }
    struct at here = at ? *at : (struct at){0}; /* none: the whole file is this text */
    here.node = n;
    if (wrong && *wrong)
        load_error(l, &here, "%s", wrong);
    else if (wrong)
        load_error(l, &here, "${%s}: the variable is not set, and no default is given (${%s:-default})", name,
                   name);
    else if (!buf_ok(&out))
        load_error(l, &here, "expands to more than 1 MiB");
    bool ok = !wrong && buf_ok(&out);
    n->text = ok ? arena_dup(l->scratch, buf_str(&out)) : STR("");
    buf_wipe(&out);
    return ok;
}

/* ---- events to nodes ---- */

static bool means_null(struct str s) {
    return s.n == 0 || str_is(s, "~") || str_isi(s, "null");
}

static struct node *parse_node(struct parser *p, yaml_event_t *e, const struct at *at, unsigned depth);

static struct node *node_at(struct parser *p, const yaml_event_t *e, enum node_kind kind) {
    struct node *n = node_new(p->l, kind);
    n->file = p->file;
    n->line = (unsigned)e->start_mark.line + 1;
    n->column = (unsigned)e->start_mark.column + 1;
    return n;
}

static struct node *parse_scalar(struct parser *p, yaml_event_t *e, const struct at *at) {
    struct node *n = node_at(p, e, NODE_SCALAR);
    struct str s = str_make((const char *)e->data.scalar.value, e->data.scalar.length);
    bool plain = e->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
    n->raw = n->text = arena_dup(p->l->scratch, s);
    bool ok = expand(p->l, n, at);
    /* a text that expanded to nothing is as if it had not been written */
    if (!ok || (plain && means_null(n->text)))
        n->kind = NODE_NULL;
    return n;
}

static struct node *parse_list(struct parser *p, yaml_event_t *start, const struct at *at, unsigned depth) {
    struct node *list = node_at(p, start, NODE_LIST);
    yaml_event_t e;
    for (size_t i = 0; next_event(p, &e); i++) {
        if (e.type == YAML_SEQUENCE_END_EVENT) {
            event_done(&e);
            return list;
        }
        struct at here = {at, NULL, i, NULL};
        struct node *child = parse_node(p, &e, &here, depth + 1);
        event_done(&e);
        if (!child)
            return NULL;
        node_append(list, child);
    }
    return NULL;
}

static const struct node *find_key(const struct node *map, const char *key) {
    for (const struct node *n = map->first; n; n = n->next)
        if (strcmp(n->key, key) == 0)
            return n;
    return NULL;
}

/* The key itself is in *k. */
static struct node *parse_member(struct parser *p, struct node *map, yaml_event_t *k, const struct at *at,
                                 unsigned depth) {
    if (k->type != YAML_SCALAR_EVENT || k->data.scalar.anchor) {
        give_up(p, k, at, "a key must be a plain text");
        return NULL;
    }
    struct str text = str_make((const char *)k->data.scalar.value, k->data.scalar.length);
    const char *key = arena_dupz(p->l->scratch, text);
    struct at here = {at, key, 0, NULL};
    yaml_event_t e;
    if (!next_event(p, &e))
        return NULL;
    struct node *child = parse_node(p, &e, &here, depth + 1);
    event_done(&e);
    if (!child)
        return NULL;
    child->key = key;
    child->key_line = (unsigned)k->start_mark.line + 1;
    child->key_column = (unsigned)k->start_mark.column + 1;
    const struct node *first = find_key(map, key);
    if (first)
        load_error_place(p->l, p->file, child->key_line, child->key_column, &here,
                         "given twice; the first is at %s:%u:%u", first->file, first->key_line,
                         first->key_column);
    else
        node_append(map, child);
    return child;
}

static struct node *parse_map(struct parser *p, yaml_event_t *start, const struct at *at, unsigned depth) {
    struct node *map = node_at(p, start, NODE_MAP);
    yaml_event_t k;
    for (size_t i = 0; next_event(p, &k); i++) {
        bool end = k.type == YAML_MAPPING_END_EVENT;
        if (!end && i == KEYS_MAX)
            give_up(p, &k, at, "more than 4096 keys in one map");
        bool ok = end || (!p->broken && parse_member(p, map, &k, at, depth));
        event_done(&k);
        if (end)
            return map;
        if (!ok)
            return NULL;
    }
    return NULL;
}

static bool has_extras(const yaml_event_t *e) {
    if (e->type == YAML_SCALAR_EVENT)
        return e->data.scalar.anchor || (e->data.scalar.tag && *e->data.scalar.tag);
    if (e->type == YAML_SEQUENCE_START_EVENT)
        return e->data.sequence_start.anchor || e->data.sequence_start.tag;
    if (e->type == YAML_MAPPING_START_EVENT)
        return e->data.mapping_start.anchor || e->data.mapping_start.tag;
    return false;
}

static struct node *parse_node(struct parser *p, yaml_event_t *e, const struct at *at, unsigned depth) {
    if (depth > DEPTH_MAX)
        give_up(p, e, at, "nested deeper than 32");
    else if (p->l->node_count >= NODES_MAX)
        give_up(p, e, at, "more than 200000 values");
    else if (e->type == YAML_ALIAS_EVENT || has_extras(e))
        give_up(p, e, at, "anchors, aliases and tags (&, *, !) are not allowed here; include: merges files");
    if (p->broken)
        return NULL;
    switch (e->type) {
    case YAML_SCALAR_EVENT:
        return parse_scalar(p, e, at);
    case YAML_SEQUENCE_START_EVENT:
        return parse_list(p, e, at, depth);
    case YAML_MAPPING_START_EVENT:
        return parse_map(p, e, at, depth);
    default:
        give_up(p, e, at, "unexpected");
        return NULL;
    }
}

static struct node *parse_stream(struct parser *p) {
    struct node *root = NULL;
    yaml_event_t e;
    bool over = false;
    while (!over && next_event(p, &e)) {
        over = e.type == YAML_STREAM_END_EVENT;
        if (e.type == YAML_DOCUMENT_START_EVENT && root)
            give_up(p, &e, NULL, "a second document (---) in one file");
        else if (e.type == YAML_SCALAR_EVENT || e.type == YAML_SEQUENCE_START_EVENT ||
                 e.type == YAML_MAPPING_START_EVENT || e.type == YAML_ALIAS_EVENT)
            root = parse_node(p, &e, NULL, 1);
        event_done(&e);
    }
    if (p->broken)
        return NULL;
    return root ? root : node_new(p->l, NODE_NULL);
}

static struct node *parse_text(struct load *l, const char *file, struct str text) {
    struct parser p = {.l = l, .file = file, .text = text};
    if (!yaml_parser_initialize(&p.y))
        die("out of memory (configuration)");
    yaml_parser_set_encoding(&p.y, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&p.y, (const unsigned char *)(text.p ? text.p : ""), text.n);
    struct node *root = parse_stream(&p);
    mem_wipe(p.y.raw_buffer.start, (size_t)(p.y.raw_buffer.end - p.y.raw_buffer.start));
    mem_wipe(p.y.buffer.start, (size_t)(p.y.buffer.end - p.y.buffer.start));
    yaml_parser_delete(&p.y);
    return root;
}

/* ---- several files ---- */

static const char *kind_name(const struct node *n) {
    return n->kind == NODE_MAP ? "a map" : n->kind == NODE_LIST ? "a list" : "a value";
}

static void merge(struct load *l, struct node *into, struct node *from, const struct at *up) {
    struct node *next;
    for (struct node *n = from->first; n; n = next) {
        next = n->next;
        struct node *have = (struct node *)(uintptr_t)find_key(into, n->key);
        struct at at = {up, n->key, 0, n};
        if (!have) {
            node_append(into, n);
        } else if (n->kind == NODE_NULL) {
            continue;
        } else if (have->kind == NODE_NULL) {
            struct node *after = have->next, *all = have->all;
            *have = *n;
            have->next = after;
            have->all = all;
        } else if (have->kind == NODE_MAP && n->kind == NODE_MAP) {
            merge(l, have, n, &at);
        } else if (have->kind == NODE_LIST && n->kind == NODE_LIST) {
            for (struct node *item = n->first, *then; item; item = then) {
                then = item->next;
                node_append(have, item);
            }
        } else if (have->kind == NODE_SCALAR && n->kind == NODE_SCALAR) {
            load_error_key(l, &at, "set in two files; the other is at %s:%u:%u", have->file, have->key_line,
                           have->key_column);
        } else {
            load_error_key(l, &at, "%s here and %s at %s:%u:%u", kind_name(n), kind_name(have), have->file,
                           have->key_line, have->key_column);
        }
    }
}

/* Takes the key include: out of a file's map, so that it is not merged as an option. */
static struct node *take_include(struct node *root) {
    struct node *before = NULL;
    for (struct node *n = root->first; n; before = n, n = n->next) {
        if (strcmp(n->key, "include") != 0)
            continue;
        if (before)
            before->next = n->next;
        else
            root->first = n->next;
        if (root->last == n)
            root->last = before;
        n->next = NULL;
        return n;
    }
    return NULL;
}

static bool read_one(struct load *l, const char *file, bool required, bool *found, const struct at *why,
                     unsigned depth);

static bool include_pattern(struct load *l, const struct node *n, const struct at *at, unsigned depth) {
    if (n->kind != NODE_SCALAR) {
        load_error(l, at, "expected a file name or pattern such as conf.d/*.yaml, or a list of them");
        return false;
    }
    const char *pattern = file_path(l->scratch, n->file, n->text);
    glob_t g = {0};
    int rc = glob(pattern, 0, NULL, &g);
    bool ok = true, wild = strpbrk(pattern, "*?[") != NULL;
    if (rc == GLOB_NOSPACE)
        die("out of memory (configuration)");
    if (rc == GLOB_NOMATCH && !wild) {
        load_error(l, at, "there is no file %.200s", pattern);
        ok = false;
    } else if (rc != 0 && rc != GLOB_NOMATCH) {
        load_error(l, at, "cannot read the directory of %.200s", pattern);
        ok = false;
    }
    for (size_t i = 0; i < g.gl_pathc && rc == 0; i++) {
        bool found;
        if (!read_one(l, arena_dupz(l->scratch, str_of(g.gl_pathv[i])), true, &found, at, depth + 1))
            ok = false;
    }
    globfree(&g);
    return ok;
}

static bool include_all(struct load *l, const struct node *n, unsigned depth) {
    struct at root = {NULL, NULL, 0, NULL}, at = {&root, "include", 0, n};
    if (n->kind == NODE_NULL || l->no_files)
        return true;
    if (depth >= INCLUDE_MAX) {
        load_error(l, &at, "files include each other deeper than 8");
        return false;
    }
    if (n->kind != NODE_LIST)
        return include_pattern(l, n, &at, depth);
    bool ok = true;
    size_t i = 0;
    for (const struct node *item = n->first; item; item = item->next, i++) {
        struct at here = {&at, NULL, i, item};
        if (!include_pattern(l, item, &here, depth))
            ok = false;
    }
    return ok;
}

static bool read_text(struct load *l, const char *file, struct str text, unsigned depth) {
    struct node *root = parse_text(l, file, text);
    if (!root)
        return false;
    if (root->kind == NODE_NULL)
        return true;
    if (root->kind != NODE_MAP) {
        load_error_place(l, file, root->line, root->column, NULL, "expected a map of options (name: value)");
        return false;
    }
    struct node *include = take_include(root);
    if (!l->root->file) { /* the place of what is missing altogether */
        l->root->file = file;
        l->root->line = l->root->column = 1;
    }
    merge(l, l->root, root, NULL);
    return !include || include_all(l, include, depth);
}

/* A file twice would only say everything twice; in a circle it would never end. */
static bool seen_before(struct load *l, const char *file) {
    struct stat st;
    if (stat(file, &st) < 0 || !S_ISREG(st.st_mode))
        return false;
    for (struct seen *s = l->seen; s; s = s->next)
        if (s->dev == st.st_dev && s->ino == st.st_ino)
            return true;
    struct seen *s = arena_alloc(l->scratch, sizeof *s);
    *s = (struct seen){l->seen, st.st_dev, st.st_ino};
    l->seen = s;
    return false;
}

static bool read_one(struct load *l, const char *file, bool required, bool *found, const struct at *why,
                     unsigned depth) {
    struct buf text;
    char reason[80];
    *found = false;
    if (seen_before(l, file)) {
        load_error(l, why, "%.200s is included twice", file);
        return false;
    }
    int error = file_read(file, FILE_CONF_MAX - l->byte_count, true, &text);
    bool ok = true;
    if (error == ENOENT && !required) {
        ok = true;
    } else if (error) {
        load_error_place(l, file, 0, 0, NULL, "%s", file_why(error, FILE_CONF_MAX, reason));
        ok = false;
    } else {
        *found = true;
        l->byte_count += buf_len(&text);
        ok = read_text(l, file, buf_str(&text), depth);
    }
    buf_wipe(&text);
    return ok;
}

bool yaml_read(struct load *l, const char *file, struct str text) {
    return read_text(l, file, text, 0);
}

bool yaml_read_file(struct load *l, const char *file, bool required, bool *found) {
    return read_one(l, file, required, found, NULL, 0);
}
