/* Documents out of the table: the section OPTIONS of penstock.yaml(5), and the commented example. A test
 * compares the committed files with what comes out of here. */
#include "base/die.h"
#include "schema.h"

/* ---- both ---- */

enum { COLUMN = 110, MAN_COLUMN = 78 };

/* Words of a text, broken before a column; each line begins with `lead`. */
static void fill(struct buf *out, const char *lead, size_t column, struct str text) {
    struct str word;
    size_t at = 0;
    while (str_next(&text, ' ', &word)) {
        if (at && at + 1 + word.n > column) {
            BUF_ADD(out, "\n");
            at = 0;
        }
        if (at == 0) {
            buf_addz(out, lead);
            at = strlen(lead);
        } else {
            BUF_ADD(out, " ");
            at++;
        }
        buf_adds(out, word);
        at += word.n;
    }
    BUF_ADD(out, "\n");
}

static const char *last_name(const char *path) {
    const char *dot = strrchr(path, '.');
    return dot ? dot + 1 : path;
}

/* ---- the example ---- */

/* An option's line is its text behind a '#'; help is behind "# ". Without the former's '#' the file is valid.
 */
struct example {
    struct buf *out;
    unsigned indent;
    bool dash; /* the next option begins a list's element */
    struct str open;
};

static void example_line(struct example *x, const char *name, size_t n, const char *value) {
    buf_printf(x->out, "%*s#%s%.*s:%s%s\n", (int)(x->dash ? x->indent - 2 : x->indent), "",
               x->dash ? "- " : "", (int)n, name, value ? " " : "", value ? value : "");
    x->dash = false;
}

/* Opens the maps on the way to a row, and forgets those that are behind it. */
static void example_group(struct example *x, const char *path) {
    const char *dot = strrchr(path, '.');
    struct str want = str_make(path, dot ? (size_t)(dot - path) : 0);
    while (x->open.n && !(want.n >= x->open.n && memcmp(want.p, x->open.p, x->open.n) == 0 &&
                          (want.n == x->open.n || want.p[x->open.n] == '.'))) {
        do
            x->open.n--;
        while (x->open.n && x->open.p[x->open.n] != '.');
        x->indent -= 2;
    }
    while (x->open.n < want.n) {
        size_t from = x->open.n ? x->open.n + 1 : 0, to = from;
        while (to < want.n && want.p[to] != '.')
            to++;
        example_line(x, path + from, to - from, NULL);
        x->indent += 2;
        x->open = str_make(path, to);
    }
}

static void example_value(const struct option *o, struct buf *out) {
    struct str rest = str_of(o->def), word;
    bool first = true;
    buf_clear(out);
    if (o->example) {
        buf_addz(out, o->example);
    } else if (o->type == TYPE_FLAGS || o->type == TYPE_FAULTS) {
        BUF_ADD(out, "[");
        for (; word_next(&rest, &word); first = false)
            buf_printf(out, "%s" STR_FMT, first ? "" : ", ", STR_ARG(word));
        BUF_ADD(out, "]");
    } else if (o->def) {
        buf_printf(out, o->type == TYPE_TEXTS ? "[%s]" : "%s", o->def);
    } else {
        MUST((o->type >= TYPE_TEXT && o->type <= TYPE_LOG_TARGET) || o->type == TYPE_TEXTS);
        buf_addz(out, o->type == TYPE_TEXTS ? "[]" : "\"\"");
    }
    buf_addc(out, '\0');
}

static void example_table(struct buf *out, const struct table *t, unsigned indent, bool list);

static void example_row(struct example *x, const struct option *o) {
    bool shown = !o->example || strcmp(o->example, "-") != 0;
    char lead[64] = "";
    if (shown)
        example_group(x, o->path);
    struct buf text;
    buf_init(&text, 0);
    /* the element's dash stands in front of its first option, so its help is level with the dash */
    buf_printf(&text, "%*s# %c", (int)(x->dash ? x->indent - 2 : x->indent), "", '\0');
    str_copy(lead, sizeof lead, str_of(buf_at(&text)));
    buf_clear(&text);
    if (!shown)
        buf_printf(&text, "%s: ", o->path);
    buf_addz(&text, o->help);
    fill(x->out, lead, COLUMN, buf_str(&text));
    const char *name = last_name(o->path);
    if (shown && o->type == TYPE_LIST && !o->example) {
        example_line(x, name, strlen(name), NULL);
        example_table(x->out, o->table, x->indent + 4, true);
    } else if (shown) {
        example_value(o, &text);
        example_line(x, name, strlen(name), buf_at(&text));
    }
    buf_free(&text);
}

static void example_table(struct buf *out, const struct table *t, unsigned indent, bool list) {
    struct example x = {.out = out, .indent = indent, .dash = list};
    for (size_t i = 0; i < t->n; i++) {
        const struct option *o = &t->row[i];
        if (o->type != TYPE_SECTION) {
            if (!list && i && !strchr(o->path, '.') && t->row[i - 1].type != TYPE_SECTION)
                BUF_ADD(out, "\n");
            example_row(&x, o);
            continue;
        }
        example_group(&x, "");
        buf_printf(out, "\n# ---- %s ----\n", o->path);
        if (*o->help)
            fill(out, "# ", COLUMN, str_of(o->help));
        BUF_ADD(out, "\n");
    }
}

void conf_doc_example(struct buf *out) {
    BUF_ADD(
        out,
        "# Configuration of penstock: every option with its default, or with an example where that would "
        "say nothing.\n"
        "# An option is behind a # without a space; take that away, and those of the lines it stands "
        "in, to set it.\n"
        "# See penstock.yaml(5). Check with: penstock -t -c FILE; see what is in force with: penstock -T\n"
        "#\n"
        "# Durations: 250ms, 30s, 5m, 24h, 30d. Sizes: 512B, 64KiB, 32MiB, 1GiB. ${NAME} and "
        "${NAME:-default} are taken\n"
        "# from the environment. Each plain option is also a variable: limits.concurrent is "
        "PENSTOCK_LIMITS_CONCURRENT.\n\n"
        "# Further files, whose options and lists are added to this one's.\n"
        "#include: conf.d/*.yaml\n");
    example_table(out, &conf_table, 0, false);
}

/* ---- the manual page ---- */

/* Text for mdoc: backslashes and leading dots mean something there. */
static void man_text(struct buf *out, struct str s) {
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] == '\\')
            BUF_ADD(out, "\\e");
        else if ((s.p[i] == '.' || s.p[i] == '\'') && (i == 0 || s.p[i - 1] == '\n'))
            buf_printf(out, "\\&%c", s.p[i]);
        else
            buf_addc(out, s.p[i]);
    }
}

/* A line of text, broken where it is long. */
static void man_line(struct buf *out, struct str s) {
    struct buf filled;
    buf_init(&filled, 0);
    fill(&filled, "", MAN_COLUMN, s);
    man_text(out, buf_str(&filled));
    buf_free(&filled);
}

/* A sentence to a line, as mdoc wants it. */
static void man_help(struct buf *out, const char *help) {
    struct str s = str_of(help);
    ptrdiff_t end;
    while ((end = str_find(s, STR(". "))) >= 0) {
        man_line(out, str_make(s.p, (size_t)end + 1));
        s = str_skip(s, (size_t)end + 2);
    }
    man_line(out, s);
}

static void man_variables(struct buf *out, const struct option *o) {
    struct str rest = str_of(o->env), one, name;
    if (!rest.n)
        return;
    BUF_ADD(out, "Also set by\n");
    while (str_next(&rest, ',', &one)) {
        struct str unit = one;
        str_next(&unit, '@', &name);
        buf_printf(out, ".Ev " STR_FMT "%s\n", STR_ARG(name), rest.n ? " ," : unit.n ? "" : " .");
        if (unit.n)
            buf_printf(out, "in " STR_FMT " when it has no unit.\n", STR_ARG(unit));
    }
}

static const char *man_default(const struct option *o) {
    if (o->shown || o->def)
        return o->shown ? o->shown : o->def;
    return o->required                                                                ? NULL
           : o->type == TYPE_LIST || o->type == TYPE_TEXTS || o->type == TYPE_HEADERS ? "none"
                                                                                      : "empty";
}

static void man_allowed(struct buf *out, const struct option *o) {
    bool words = o->type == TYPE_CHOICE || o->type == TYPE_FLAGS || o->type == TYPE_FAULTS;
    struct buf text, line;
    buf_init(&text, 0);
    buf_init(&line, 0);
    if (o->type != TYPE_RATE) /* its name says it */
        type_allowed(&text, o);
    if (buf_len(&text)) {
        buf_addz(&line, !words ? "Allowed is " : o->type == TYPE_CHOICE ? "One of " : "One or several of ");
        buf_adds(&line, buf_str(&text));
        buf_addc(&line, '.');
        man_line(out, buf_str(&line));
    }
    buf_free(&text);
    buf_free(&line);
}

static void man_row(struct buf *out, const struct option *o) {
    const char *def = man_default(o);
    bool part = o->type == TYPE_SOURCE || o->type == TYPE_SECRET || o->type == TYPE_HASH;
    buf_printf(out, ".It Ic %s\n.Pq %s", o->path, conf_types[o->type].name);
    if (part)
        BUF_ADD(out, "\n");
    else
        buf_printf(out, "; %s%s\n", def ? "default: " : "required", def ? def : "");
    man_help(out, o->help);
    man_allowed(out, o);
    if (o->alias)
        buf_printf(out, "May also be written\n.Ic %s .\n", o->alias);
    man_variables(out, o);
    if (o->type == TYPE_LIST)
        buf_printf(out, "See\n.Sx %s .\n", o->table->title);
}

static void man_rows(struct buf *out, const struct table *t, size_t from, size_t to) {
    BUF_ADD(out, ".Bl -tag -width Ds\n");
    for (size_t i = from; i < to; i++)
        man_row(out, &t->row[i]);
    BUF_ADD(out, ".El\n");
}

static void man_subtables(struct buf *out, const struct table *t, size_t from, size_t to) {
    for (size_t i = from; i < to; i++) {
        const struct table *sub = t->row[i].table;
        if (!sub || (i > from && t->row[i - 1].table && strcmp(t->row[i - 1].table->title, sub->title) == 0))
            continue; /* admin_listen is one more of listen */
        buf_printf(out, ".Ss %s\n", sub->title);
        if (sub->scalar)
            buf_printf(out, "A plain text in place of a map sets\n.Ic %s .\n", sub->scalar);
        man_rows(out, sub, 0, sub->n);
        man_subtables(out, sub, 0, sub->n);
    }
}

void conf_doc_mdoc(struct buf *out) {
    const struct table *t = &conf_table;
    size_t from = 0;
    while (from < t->n) {
        size_t to = from + 1;
        MUST(t->row[from].type == TYPE_SECTION);
        while (to < t->n && t->row[to].type != TYPE_SECTION)
            to++;
        buf_printf(out, ".Ss %s\n", t->row[from].path);
        if (*t->row[from].help)
            man_help(out, t->row[from].help);
        man_rows(out, t, from + 1, to);
        man_subtables(out, t, from + 1, to);
        from = to;
    }
}
