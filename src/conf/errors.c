/* Errors with their place, and the nearest name for a misspelt one. All errors of a load are collected, so
 * that a person mends a file once. No function in here is ever given the value of a secret. */
#include "base/die.h"
#include "load.h"
#include <stdarg.h>
#include <stdio.h>

enum { NAME_MOST = 64, PATH_MOST = 160 };

const char *shown_name(const char *name) {
    size_t n = strlen(name);
    if (n == 0 || n > 40)
        return "<name not shown>";
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)name[i] <= ' ' || (unsigned char)name[i] == 0x7f)
            return "<name not shown>";
    return name;
}

/* Appends to a fixed text; what does not fit is cut. */
static void put(char *out, size_t size, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
static void put(char *out, size_t size, const char *fmt, ...) {
    size_t n = strlen(out);
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(out + n, size - n, fmt, ap);
    va_end(ap);
}

static void put_path(char *out, size_t size, const struct at *at) {
    if (!at)
        return;
    put_path(out, size, at->up);
    if (at->key)
        put(out, size, "%s%s", *out ? "." : "", shown_name(at->key));
    else if (at->up)
        put(out, size, "[%zu]", at->index);
}

static struct conf_error *error_next(struct load *l) {
    struct conf_errors *e = l->errors;
    if (!e->arena) {
        e->arena = arena_new(0);
        e->list = arena_array(e->arena, CONF_MAX_ERRORS, sizeof *e->list);
    }
    if (e->n == CONF_MAX_ERRORS) {
        e->truncated = true;
        return NULL;
    }
    return &e->list[e->n++];
}

/* A variable stands for an option of every provider; one error of it is enough. */
static bool said_already(const struct conf_errors *e, const char *place) {
    for (size_t i = 0; i + 1 < e->n; i++)
        if (strncmp(e->list[i].text, place, strlen(place)) == 0)
            return true;
    return false;
}

static void error_add(struct load *l, const char *place, const struct at *at, const char *fmt, va_list ap) {
    struct conf_error *e = error_next(l);
    if (!e)
        return;
    char path[PATH_MOST] = "", what[sizeof e->text];
    put_path(path, sizeof path, at);
    vsnprintf(what, sizeof what, fmt, ap);
    snprintf(e->text, sizeof e->text, "%s%s%s%.*s", place, path, *path ? ": " : "", 300, what);
    str_copy(e->text, sizeof e->text, str_of(e->text)); /* not cut inside a character */
    if (strncmp(place, "environment: ", 13) == 0 && said_already(l->errors, place))
        l->errors->n--;
}

static void place_of(char *out, size_t size, const struct at *at, bool of_key) {
    const struct node *n = NULL;
    *out = '\0';
    for (; at && !n; at = at->up)
        n = at->node;
    if (!n)
        return;
    if (n->env)
        put(out, size, "environment: %s: ", n->env);
    else if (n->file)
        put(out, size, "%.240s:%u:%u: ", n->file, of_key && n->key ? n->key_line : n->line,
            of_key && n->key ? n->key_column : n->column);
}

void load_error(struct load *l, const struct at *at, const char *fmt, ...) {
    char place[320];
    va_list ap;
    place_of(place, sizeof place, at, false);
    va_start(ap, fmt);
    error_add(l, place, at, fmt, ap);
    va_end(ap);
}

void load_error_key(struct load *l, const struct at *at, const char *fmt, ...) {
    char place[320];
    va_list ap;
    place_of(place, sizeof place, at, true);
    va_start(ap, fmt);
    error_add(l, place, at, fmt, ap);
    va_end(ap);
}

void load_error_place(struct load *l, const char *file, unsigned line, unsigned column, const struct at *at,
                      const char *fmt, ...) {
    char place[320] = "";
    va_list ap;
    if (line)
        put(place, sizeof place, "%.240s:%u:%u: ", file, line, column);
    else
        put(place, sizeof place, "%.240s: ", file);
    va_start(ap, fmt);
    error_add(l, place, at, fmt, ap);
    va_end(ap);
}

void load_error_env(struct load *l, const char *name, const char *fmt, ...) {
    char place[320] = "";
    va_list ap;
    put(place, sizeof place, "environment: %.200s: ", name);
    va_start(ap, fmt);
    error_add(l, place, NULL, fmt, ap);
    va_end(ap);
}

static void warn_add(struct load *l, const char *place, const struct at *at, const char *fmt, va_list ap) {
    enum { MOST = 100 };
    struct conf *c = l->c;
    if (c->nwarnings == MOST)
        return;
    if (!c->warnings)
        c->warnings = arena_array(c->arena, MOST, sizeof *c->warnings);
    char path[PATH_MOST] = "", what[400];
    put_path(path, sizeof path, at);
    vsnprintf(what, sizeof what, fmt, ap);
    c->warnings[c->nwarnings++] = arena_printf(c->arena, "%s%s%s%s", place, path, *path ? ": " : "", what).p;
}

void load_warn(struct load *l, const struct at *at, const char *fmt, ...) {
    char place[320];
    va_list ap;
    place_of(place, sizeof place, at, false);
    va_start(ap, fmt);
    warn_add(l, place, at, fmt, ap);
    va_end(ap);
}

void load_warn_env(struct load *l, const char *name, const char *fmt, ...) {
    char place[320] = "";
    va_list ap;
    put(place, sizeof place, "environment: %.200s: ", name);
    va_start(ap, fmt);
    warn_add(l, place, NULL, fmt, ap);
    va_end(ap);
}

static char folded(char c) {
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c == '-' ? '_' : c;
}

static size_t least(size_t a, size_t b) {
    return a < b ? a : b;
}

/* Edits from a to b (insert, delete, replace, swap of neighbours), letters of either case alike. */
static size_t distance(struct str a, struct str b) {
    size_t row[3][NAME_MOST + 1];
    size_t *before = row[0], *above = row[1], *now = row[2];
    for (size_t j = 0; j <= b.n; j++)
        above[j] = j;
    for (size_t i = 1; i <= a.n; i++) {
        now[0] = i;
        for (size_t j = 1; j <= b.n; j++) {
            bool same = folded(a.p[i - 1]) == folded(b.p[j - 1]);
            now[j] = least(least(above[j], now[j - 1]) + 1, above[j - 1] + !same);
            if (i > 1 && j > 1 && folded(a.p[i - 1]) == folded(b.p[j - 2]) &&
                folded(a.p[i - 2]) == folded(b.p[j - 1]))
                now[j] = least(now[j], before[j - 2] + 1);
        }
        size_t *free_row = before;
        before = above;
        above = now;
        now = free_row;
    }
    return above[b.n];
}

void nearest_init(struct nearest *n, struct str name) {
    *n = (struct nearest){.name = name, .distance = 1 + name.n / 3};
}

void nearest_offer(struct nearest *n, struct str candidate) {
    if (candidate.n == 0 || candidate.n > NAME_MOST || n->name.n == 0 || n->name.n > NAME_MOST)
        return;
    size_t d = distance(n->name, candidate);
    if (d < n->distance || (d == n->distance && !*n->best)) {
        n->distance = d;
        str_copy(n->best, sizeof n->best, candidate);
    }
}

const char *nearest_hint(struct nearest *n, char out[96]) {
    *out = '\0';
    if (*n->best)
        put(out, 96, ", did you mean %s?", n->best);
    return out;
}

void conf_errors_free(struct conf_errors *e) {
    arena_free(e->arena);
    *e = (struct conf_errors){0};
}
