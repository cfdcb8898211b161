/* The documents are what the table says: conf/penstock.yaml whole, and the options in doc/penstock.yaml.5. */
#include "conf_cases.h"
#include <stdio.h>
#include <stdlib.h>

static const char example[] = "conf/penstock.yaml", page[] = "doc/penstock.yaml.5";
static const char begin[] = ".\\\" BEGIN OPTIONS", end[] = ".\\\" END OPTIONS";

/* From the top of the source tree. */
static bool read_source(const char *file, struct buf *out) {
    const char *top = getenv("srcdir");
    char path[1024], block[4096];
    size_t n;
    snprintf(path, sizeof path, "%s/%s", top ? top : ".", file);
    buf_init(out, 0);
    FILE *f = fopen(path, "r");
    if (!f)
        return false;
    while ((n = fread(block, 1, sizeof block, f)) > 0)
        buf_add(out, block, n);
    return fclose(f) == 0;
}

/* What stands between the markers; the markers' lines stay. */
static bool find_options(struct str text, size_t *from, size_t *to) {
    ptrdiff_t b = str_find(text, str_of(begin)), e = str_find(text, str_of(end));
    if (b < 0 || e < b)
        return false;
    *from = (size_t)b;
    while (text.p[*from] != '\n')
        ++*from;
    ++*from;
    *to = (size_t)e;
    return true;
}

static bool write_source(const char *file, struct str text) {
    FILE *f = fopen(file, "w");
    bool ok = f && fwrite(text.p, 1, text.n, f) == text.n;
    return f && fclose(f) == 0 && ok;
}

int write_docs(void) {
    struct buf text, options, old, new;
    size_t from, to;
    buf_init(&text, 0);
    buf_init(&options, 0);
    buf_init(&new, 0);
    conf_doc_example(&text);
    conf_doc_mdoc(&options);
    bool ok = read_source(page, &old) && find_options(buf_str(&old), &from, &to);
    if (ok) {
        buf_add(&new, buf_at(&old), from);
        buf_adds(&new, buf_str(&options));
        buf_add(&new, buf_at(&old) + to, buf_len(&old) - to);
        ok = write_source(page, buf_str(&new)) && write_source(example, buf_str(&text));
    }
    buf_free(&text);
    buf_free(&options);
    buf_free(&old);
    buf_free(&new);
    if (!ok)
        fprintf(stderr, "cannot write %s and %s\n", example, page);
    return ok ? EXIT_SUCCESS : EXIT_FAILURE;
}

START_TEST(files_are_the_table) {
    struct buf have, want;
    size_t from, to;
    buf_init(&want, 0);
    conf_doc_example(&want);
    ck_assert(read_source(example, &have));
    ck_assert_msg(str_eq(buf_str(&have), buf_str(&want)), "%s lags: tests/check_conf --write-docs", example);
    buf_free(&have);
    buf_clear(&want);
    conf_doc_mdoc(&want);
    ck_assert(read_source(page, &have));
    ck_assert(find_options(buf_str(&have), &from, &to));
    ck_assert_msg(str_eq(str_make(buf_at(&have) + from, to - from), buf_str(&want)),
                  "%s lags: tests/check_conf --write-docs", page);
    buf_free(&have);
    buf_free(&want);
}
END_TEST

static void dump_of(const char *yaml, struct buf *out) {
    struct conf *c = load_ok(yaml);
    buf_init(out, 0);
    conf_dump_yaml(c, out);
    buf_addc(out, '\0');
    done(c);
}

START_TEST(example_changes_nothing) {
    struct buf text, one, two;
    buf_init(&text, 0);
    conf_doc_example(&text);
    buf_addc(&text, '\0');
    dump_of(buf_at(&text), &one);
    dump_of("", &two);
    ck_assert_str_eq(buf_at(&one), buf_at(&two));
    buf_free(&text);
    buf_free(&one);
    buf_free(&two);
}
END_TEST

/* Every option of the example taken out of its comment: valid, and the options of the whole at their
 * defaults. */
START_TEST(example_is_valid) {
    struct buf text, open;
    struct str rest, line;
    buf_init(&text, 0);
    buf_init(&open, 0);
    conf_doc_example(&text);
    rest = buf_str(&text);
    while (str_next(&rest, '\n', &line)) {
        size_t n = 0;
        while (n < line.n && line.p[n] == ' ')
            n++;
        if (n + 1 < line.n && line.p[n] == '#' && line.p[n + 1] != ' ') {
            buf_add(&open, line.p, n);
            buf_add(&open, line.p + n + 1, line.n - n - 1);
        } else {
            buf_adds(&open, line);
        }
        buf_addc(&open, '\n');
    }
    buf_addc(&open, '\0');
    setenv("OPENAI_API_KEY", "x", 1);
    setenv("TEAM_A_KEY", "y", 1);
    struct conf *c = load_ok(buf_at(&open));
    ck_assert_uint_eq(c->nmodels, 1);
    ck_assert_uint_eq(c->nlisten, 2);
    ck_assert_uint_eq(c->auth.nkeys, 1);
    ck_assert_uint_eq(c->drain_timeout, 600000);
    ck_assert_uint_eq(c->limits.concurrent, CONF_NO_LIMIT);
    ck_assert_uint_eq(c->providers[0].retry.max, 3);
    ck_assert_uint_eq(c->nwarnings, 0);
    buf_free(&text);
    buf_free(&open);
    done(c);
}
END_TEST

TCase *case_conf_doc(void) {
    TCase *t = tcase_create("doc");
    tcase_add_test(t, files_are_the_table);
    tcase_add_test(t, example_changes_nothing);
    tcase_add_test(t, example_is_valid);
    return t;
}
