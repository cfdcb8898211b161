/* Secrets: from a variable, a file or the configuration itself into memory that is wiped when the
 * configuration goes. What is wrong with one is said without it. */
#include "base/die.h"
#include "load.h"

static const char *secret_wrong(struct str s, bool document) {
    if (s.n == 0)
        return "is empty";
    if (s.n > FILE_SECRET_MAX)
        return "is longer than 64 KiB";
    if (document)
        return memchr(s.p, '\0', s.n) ? "has a NUL in it" : NULL;
    return str_plain(s) ? NULL : "has a line end or another control character in it";
}

static bool keep(struct load *l, const struct at *at, struct str s, const char *what, struct str source,
                 bool document, struct conf_secret *out) {
    const char *wrong = secret_wrong(s, document);
    out->source = source.p;
    if (wrong) {
        load_error(l, at, "%s %s", what, wrong);
        return false;
    }
    out->text = arena_secret(l->c->arena, s);
    return true;
}

static bool from_env(struct load *l, const struct at *at, bool document, struct conf_secret *out) {
    const char *name = at->node->text.p, *value = env_value(l->env, name);
    out->source = arena_printf(l->c->arena, "env:%s", name).p;
    if (value)
        return keep(l, at, str_of(value), "the variable's value", str_of(out->source), document, out);
    if (!l->lenient)
        load_error(l, at, "the variable %s is not set", shown_name(name));
    return l->lenient;
}

static bool from_file(struct load *l, const struct at *at, bool document, struct conf_secret *out) {
    struct buf text;
    char why[80];
    const char *path = file_path(l->scratch, at->node->file, at->node->text);
    out->source = arena_printf(l->c->arena, "file:%s", path).p;
    if (l->no_files)
        return true;
    int error = file_read(path, FILE_SECRET_MAX, false, &text);
    bool ok = !error;
    if (error && !l->lenient)
        load_error(l, at, "%.200s: %s", path, file_why(error, FILE_SECRET_MAX, why));
    if (!error) {
        struct str s = buf_str(&text);
        if (str_ends(s, "\n"))
            s.n--;
        if (str_ends(s, "\r"))
            s.n--;
        ok = keep(l, at, s, "the file's content", str_of(out->source), document, out);
    }
    buf_wipe(&text);
    return ok || l->lenient;
}

/* One of three, and which is known by name. */
static bool one_of_three(struct load *l, const struct at *at, const struct node *map, bool document,
                         struct conf_secret *out) {
    *out = (struct conf_secret){"", ""};
    struct at here = *at;
    here.node = map;
    if (map->kind == NODE_SCALAR && document)
        return from_file(l, &here, document, out);
    if (map->kind == NODE_SCALAR)
        return keep(l, &here, map->text, "the value", STR("value"), document, out);
    if (map->kind != NODE_MAP) {
        load_error(l, &here, "expected {env: NAME}, {file: PATH} or {value: TEXT}");
        return false;
    }
    struct at env = at_child(&here, "env"), file = at_child(&here, "file"), value = at_child(&here, "value");
    int given = (env.node != NULL) + (file.node != NULL) + (value.node != NULL);
    const struct at *one = env.node ? &env : file.node ? &file : &value;
    if (given != 1) {
        load_error(l, &here, "%s of env, file and value %s", given ? "only one" : "one",
                   given ? "may be given" : "is needed");
        return false;
    }
    if (one->node->kind != NODE_SCALAR) {
        load_error(l, one, "expected a text");
        return false;
    }
    if (env.node)
        return from_env(l, one, document, out);
    return file.node ? from_file(l, one, document, out)
                     : keep(l, one, value.node->text, "the value", STR("value"), document, out);
}

bool secret_read(struct load *l, const struct at *at, const struct node *map, struct conf_secret *out) {
    return one_of_three(l, at, map, false, out);
}

bool secret_document(struct load *l, const struct at *at, const struct node *map, struct conf_secret *out) {
    return one_of_three(l, at, map, true, out);
}

bool secret_names(struct load *l, const struct at *at) {
    bool ok = true;
    for (const struct node *n = at->node->kind == NODE_MAP ? at->node->first : NULL; n; n = n->next) {
        struct at here = {at, n->key, 0, n};
        if (strcmp(n->key, "env") != 0 && strcmp(n->key, "file") != 0 && strcmp(n->key, "value") != 0) {
            load_error_key(l, &here, "no such option; allowed is one of env, file and value");
            ok = false;
        }
    }
    return ok;
}

bool secret_read_only(struct load *l, const struct at *at, struct conf_secret *out) {
    return secret_names(l, at) && secret_read(l, at, at->node, out);
}

bool secret_pem(struct load *l, const struct at *at, const char *path, bool private_part, struct str *out) {
    struct buf text;
    char why[80];
    if (!*path || l->no_files)
        return true;
    int error = file_read(path, FILE_PEM_MAX, false, &text);
    if (error)
        load_error(l, at, "%.200s: %s", path, file_why(error, FILE_PEM_MAX, why));
    else if (str_find(buf_str(&text), STR("-----BEGIN ")) < 0)
        load_error(l, at, "%.200s: no PEM in this file", path);
    else if (private_part)
        *out = (struct str){arena_secret(l->c->arena, buf_str(&text)), buf_len(&text)};
    else
        *out = arena_dup(l->c->arena, buf_str(&text));
    buf_wipe(&text);
    return out->n > 0;
}

bool name_is_credential(struct str header) {
    char low[130];
    str_copy(low, sizeof low, header);
    for (char *c = low; *c; c++)
        if (*c >= 'A' && *c <= 'Z')
            *c = (char)(*c - 'A' + 'a');
    return strstr(low, "auth") || strstr(low, "token") || strstr(low, "secret") || strstr(low, "cookie") ||
           strstr(low, "password") || strstr(low, "credential") || str_ends(str_of(low), "key");
}
