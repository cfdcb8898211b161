/* Text in {"input": "..."} and out of it. Models that write such arguments are not strict: what is no JSON is
 * still handed on. */
#include "free_text.h"

#include "base/buf.h"

#include <json-c/linkhash.h>

#define HELD_MAX ((size_t)16 << 20)

/* --- the tool --- */

static struct str described(struct arena *a, struct json_object *o, struct json_object *grammar) {
    struct str said = jo_str(o, "description"), syntax = jo_str(grammar, "syntax"),
               definition = jo_str(grammar, "definition");
    struct str s = arena_printf(a, STR_FMT "%sGive the whole text of the call as the string \"input\".",
                                STR_ARG(said), said.n ? "\n\n" : "");
    if (definition.n == 0)
        return s;
    return arena_printf(a, STR_FMT " The text must match this grammar%s" STR_FMT "%s:\n" STR_FMT, STR_ARG(s),
                        syntax.n ? " (" : "", STR_ARG(syntax), syntax.n ? ")" : "", STR_ARG(definition));
}

void free_text_tool(struct arena *a, struct tool *t, struct json_object *o, struct json_object *grammar) {
    static const char schema[] = "{\"type\":\"object\",\"properties\":{\"input\":{\"type\":\"string\"}},"
                                 "\"required\":[\"input\"],\"additionalProperties\":false}";
    struct json_error err;
    struct str text = {schema, sizeof schema - 1};
    t->custom = true;
    t->description = described(a, o, grammar);
    t->schema = chat_hold(a, json_tree(text, &err));
}

struct str free_text_wrap(struct arena *a, struct str text) {
    struct buf b;
    buf_init(&b, 0);
    BUF_ADD(&b, FREE_TEXT_OPEN);
    json_escape(&b, text);
    BUF_ADD(&b, FREE_TEXT_CLOSE);
    struct str s = arena_dup(a, buf_str(&b));
    buf_free(&b);
    return s;
}

/* --- a JSON string in pieces --- */

static int hex_digit(char c) {
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* \uXXXX at p: its number, or -1. */
static int32_t unit_at(const char *p, size_t n) {
    int32_t u = 0;
    if (n < 6 || p[0] != '\\' || p[1] != 'u')
        return -1;
    for (int i = 2; i < 6; i++) {
        int d = hex_digit(p[i]);
        if (d < 0)
            return -1;
        u = u * 16 + d;
    }
    return u;
}

static void put_char(struct buf *out, uint32_t c) {
    if (c < 0x80) {
        buf_addc(out, (char)c);
    } else if (c < 0x800) {
        buf_addc(out, (char)(0xC0 | c >> 6));
        buf_addc(out, (char)(0x80 | (c & 0x3F)));
    } else if (c < 0x10000) {
        buf_addc(out, (char)(0xE0 | c >> 12));
        buf_addc(out, (char)(0x80 | (c >> 6 & 0x3F)));
        buf_addc(out, (char)(0x80 | (c & 0x3F)));
    } else {
        buf_addc(out, (char)(0xF0 | c >> 18));
        buf_addc(out, (char)(0x80 | (c >> 12 & 0x3F)));
        buf_addc(out, (char)(0x80 | (c >> 6 & 0x3F)));
        buf_addc(out, (char)(0x80 | (c & 0x3F)));
    }
}

static bool is_high(int32_t u) {
    return u >= 0xD800 && u <= 0xDBFF;
}

/* An escape by number, of one or two units. What was read of it; 0: the rest is still to come. */
static size_t take_unit(const char *p, size_t n, struct buf *out) {
    if (n < 6)
        return 0;
    int32_t u = unit_at(p, n), low = -1;
    if (is_high(u) && n < 12 && (n == 6 || p[6] == '\\'))
        return 0;
    if (is_high(u))
        low = unit_at(p + 6, n - 6);
    if (low >= 0xDC00 && low <= 0xDFFF) {
        put_char(out, 0x10000 + ((uint32_t)(u - 0xD800) << 10) + (uint32_t)(low - 0xDC00));
        return 12;
    }
    put_char(out, u < 0 || (u >= 0xD800 && u <= 0xDFFF) ? 0xFFFD : (uint32_t)u);
    return 6;
}

static size_t take_escape(const char *p, size_t n, struct buf *out) {
    static const char names[] = "\"\\/bfnrt", values[] = "\"\\/\b\f\n\r\t";
    if (n < 2)
        return 0;
    if (p[1] == 'u')
        return take_unit(p, n, out);
    const char *at = p[1] ? strchr(names, p[1]) : NULL;
    if (at)
        buf_addc(out, values[at - names]);
    else
        buf_add(out, p, 2); /* no escape that JSON knows: as it stands */
    return 2;
}

static void take_inside(struct free_text *f, struct buf *out) {
    const char *p = buf_at(&f->held);
    size_t n = buf_len(&f->held), i = 0;
    while (i < n && f->state == FREE_INSIDE) {
        size_t run = i;
        while (run < n && p[run] != '"' && p[run] != '\\')
            run++;
        buf_add(out, p + i, run - i);
        i = run;
        if (i == n)
            break;
        if (p[i] == '"') {
            f->state = FREE_BEHIND;
            break;
        }
        size_t taken = take_escape(p + i, n - i, out);
        if (taken == 0)
            break;
        i += taken;
    }
    buf_consume(&f->held, i);
}

/* Looks for the beginning, with white space wherever JSON has it. */
static void take_before(struct free_text *f) {
    static const char want[] = "{\"input\":\"";
    const char *p = buf_at(&f->held);
    size_t n = buf_len(&f->held), i = 0, k = 0;
    while (i < n && want[k]) {
        bool in_key = k >= 2 && k < 8;
        if (!in_key && (p[i] == ' ' || p[i] == '\t' || p[i] == '\n' || p[i] == '\r')) {
            i++;
        } else if (p[i] == want[k]) {
            i++;
            k++;
        } else {
            f->state = FREE_OTHER;
            return;
        }
    }
    if (want[k])
        return;
    buf_consume(&f->held, i);
    f->state = FREE_INSIDE;
}

void free_text_begin(struct free_text *f) {
    free_text_free(f);
    buf_init(&f->held, HELD_MAX);
    f->state = FREE_BEFORE;
}

void free_text_free(struct free_text *f) {
    buf_free(&f->held);
}

static void take_piece(struct free_text *f, struct str piece, struct buf *out) {
    if (f->state == FREE_BEHIND || piece.n == 0)
        return;
    buf_adds(&f->held, piece);
    if (f->state == FREE_BEFORE)
        take_before(f);
    if (f->state == FREE_INSIDE)
        take_inside(f, out);
}

/* --- whole --- */

/* Arguments that do not begin with the input. */
static struct str other_form(struct json_object *o, struct str arguments) {
    struct str only = STR_NONE;
    if (json_object_is_type(jo_get(o, "input"), json_type_string))
        return jo_str(o, "input");
    if (json_object_is_type(o, json_type_object) && json_object_object_length(o) == 1) {
        json_object_object_foreach(o, key, v) {
            (void)key;
            only = json_object_is_type(v, json_type_string) ? jo_text(v) : STR_NONE;
        }
    }
    if (only.p)
        return only;
    return json_object_is_type(o, json_type_object) && json_object_object_length(o) == 0 ? STR_NONE
                                                                                         : arguments;
}

static void take_end(struct free_text *f, struct buf *out) {
    struct json_error err;
    if (f->state == FREE_BEFORE || f->state == FREE_OTHER) {
        struct json_object *o = json_tree(buf_str(&f->held), &err);
        buf_adds(out, other_form(o, buf_str(&f->held)));
        json_object_put(o);
    }
    f->state = FREE_BEHIND;
    buf_clear(&f->held);
}

void free_text_more(struct free_text *f, struct str piece, struct buf *out) {
    if (piece.n > 0)
        take_piece(f, piece, out);
    else
        take_end(f, out);
}

struct str free_text_of(struct arena *a, struct str arguments) {
    struct free_text f = {.state = FREE_BEFORE};
    struct buf out;
    buf_init(&out, 0);
    free_text_begin(&f);
    take_piece(&f, arguments, &out);
    take_end(&f, &out);
    struct str s = arena_dup(a, buf_str(&out));
    free_text_free(&f);
    buf_free(&out);
    return s;
}
