/* Unit tests of the masks: a corpus with its counts of misses and of false alarms, the same fed byte by byte,
 * and what the corpus cannot say. */
#include "base/die.h"
#include "policy/mask.h"
#include <check.h>
#include <stdio.h>
#include <stdlib.h>

#ifndef MASKS
#define MASKS "tests/masks.txt"
#endif

/* No more than these, of the whole corpus. Both are known and stand in it. */
enum { MISSES_MOST = 3, ALARMS_MOST = 1, INEXACT_MOST = 0 };
enum { KINDS = 6 };
static const char *const words[KINDS] = {"EMAIL", "PHONE", "ADDRESS", "CARD", "IP", "SECRET"};

static char *read_corpus(void) {
    const char *dir = getenv("srcdir");
    char path[512];
    snprintf(path, sizeof path, "%s/%s", dir ? dir : ".", MASKS);
    FILE *f = fopen(path, "re");
    ck_assert_msg(f != NULL, "no %s", path);
    char *text = calloc(1, 1 << 20);
    ck_assert(fread(text, 1, (1 << 20) - 1, f) > 0);
    fclose(f);
    return text;
}

static struct mask *make(unsigned kinds, const char *const *patterns, size_t n) {
    char err[256] = "";
    struct mask *m = mask_new(kinds, patterns, n, err);
    ck_assert_msg(m != NULL, "%s", err);
    return m;
}

static struct str masked(const struct mask *m, const char *text, size_t n) {
    static struct buf out;
    buf_free(&out);
    buf_init(&out, 0);
    mask_text(m, str_make(text, n), &out);
    buf_addc(&out, 0);
    return str_make(buf_at(&out), buf_len(&out) - 1);
}

static struct str in_pieces(const struct mask *m, const char *text, size_t n, size_t piece) {
    static struct buf out;
    struct mask_stream s;
    buf_free(&out);
    buf_init(&out, 0);
    mask_open(&s, m);
    for (size_t at = 0; at < n; at += piece)
        mask_push(&s, str_make(text + at, n - at < piece ? n - at : piece), &out);
    mask_close(&s, &out);
    return buf_str(&out);
}

/* --- the corpus --- */

/* "a {{EMAIL|x@y.z}}" as the text "a x@y.z" and as what is wanted, "a [EMAIL]". */
static void take_apart(struct str line, struct buf *text, struct buf *want) {
    for (size_t i = 0; i < line.n; i++) {
        ptrdiff_t bar, end;
        if (!str_starts(str_skip(line, i), "{{") || (bar = str_find(str_skip(line, i), STR("|"))) < 0 ||
            (end = str_find(str_skip(line, i), STR("}}"))) < bar) {
            buf_addc(text, line.p[i]);
            buf_addc(want, line.p[i]);
            continue;
        }
        buf_add(text, line.p + i + bar + 1, (size_t)(end - bar - 1));
        buf_printf(want, "[%.*s]", (int)bar - 2, line.p + i + 2);
        i += (size_t)end + 1;
    }
}

static int count(struct str text, const char *word) {
    char mark[32];
    int n = 0;
    snprintf(mark, sizeof mark, "[%s]", word);
    for (ptrdiff_t at; (at = str_find(text, str_of(mark))) >= 0; n++)
        text = str_skip(text, (size_t)at + strlen(mark));
    return n;
}

struct tally {
    int wanted, missed, alarms;
};

static bool judge(struct str line, struct str want, struct str got, struct tally t[KINDS]) {
    bool fine = true;
    for (int k = 0; k < KINDS; k++) {
        int w = count(want, words[k]), g = count(got, words[k]);
        t[k].wanted += w;
        t[k].missed += w > g ? w - g : 0;
        t[k].alarms += g > w ? g - w : 0;
        fine = fine && w == g;
    }
    if (!str_eq(want, got))
        printf("  %s " STR_FMT "\n    -> " STR_FMT "\n", fine ? "inexact:" : "wrong:  ", STR_ARG(line),
               STR_ARG(got));
    return fine;
}

START_TEST(the_corpus) {
    struct mask *m = make(MASK_BUILTIN & ~MASK_IP, NULL, 0);
    char *all = read_corpus();
    struct str rest = str_of(all), line;
    struct tally t[KINDS] = {{0}};
    int lines = 0, clean = 0, inexact = 0, missed = 0, alarms = 0;
    while (str_next(&rest, '\n', &line)) {
        if (line.n == 0 || line.p[0] == '#')
            continue;
        struct buf text, want;
        buf_init(&text, 0);
        buf_init(&want, 0);
        take_apart(line, &text, &want);
        struct str got = masked(m, buf_at(&text), buf_len(&text));
        bool fine = judge(line, buf_str(&want), got, t);
        inexact += fine && !str_eq(buf_str(&want), got);
        lines++;
        clean += !memchr(buf_at(&want), '[', buf_len(&want));
        ck_assert(str_eq(in_pieces(m, buf_at(&text), buf_len(&text), 1), got));
        buf_free(&text);
        buf_free(&want);
    }
    printf("masks: %d texts, %d of them with nothing to mask\n", lines, clean);
    for (int k = 0; k < KINDS; k++) {
        printf("masks: %-8s %3d to find, %d missed, %d false alarms\n", words[k], t[k].wanted, t[k].missed,
               t[k].alarms);
        missed += t[k].missed;
        alarms += t[k].alarms;
    }
    printf("masks: together %d missed, %d false alarms, %d found inexactly\n", missed, alarms, inexact);
    ck_assert_msg(missed <= MISSES_MOST && alarms <= ALARMS_MOST && inexact <= INEXACT_MOST,
                  "worse than before");
    free(all);
    mask_free(m);
}
END_TEST

/* The whole corpus as one text, so that windows end everywhere. */
START_TEST(however_it_is_cut) {
    static const char *const patterns[] = {"EMP-[0-9]{4}", "[a-f]+x$"};
    struct mask *m = make(MASK_BUILTIN, patterns, 2);
    char *all = read_corpus();
    size_t n = strlen(all);
    char *whole = strdup(masked(m, all, n).p);
    static const size_t pieces[] = {1, 2, 3, 7, 63, 511, 512, 513, 4096, 20000};
    for (size_t i = 0; i < sizeof pieces / sizeof *pieces; i++)
        ck_assert_msg(str_is(in_pieces(m, all, n, pieces[i]), whole), "pieces of %zu", pieces[i]);
    free(whole);
    free(all);
    mask_free(m);
}
END_TEST

/* --- one by one --- */

static void check(unsigned kinds, const char *text, const char *want) {
    struct mask *m = make(kinds, NULL, 0);
    struct str got = masked(m, text, strlen(text));
    ck_assert_msg(str_is(got, want), "%s: " STR_FMT, text, STR_ARG(got));
    mask_free(m);
}

START_TEST(only_what_is_wanted) {
    static const char text[] =
        "a@b.example 4111111111111111 +15550109999 10.1.2.3 password=abc1 10 Downing Street";
    check(MASK_EMAIL, text, "[EMAIL] 4111111111111111 +15550109999 10.1.2.3 password=abc1 10 Downing Street");
    check(MASK_CARD, text, "a@b.example [CARD] +15550109999 10.1.2.3 password=abc1 10 Downing Street");
    check(MASK_PHONE, text, "a@b.example 4111111111111111 [PHONE] 10.1.2.3 password=abc1 10 Downing Street");
    check(MASK_IP, text, "a@b.example 4111111111111111 +15550109999 [IP] password=abc1 10 Downing Street");
    check(MASK_SECRET, text,
          "a@b.example 4111111111111111 +15550109999 10.1.2.3 password=[SECRET] 10 Downing Street");
    check(MASK_ADDRESS, text, "a@b.example 4111111111111111 +15550109999 10.1.2.3 password=abc1 [ADDRESS]");
    check(0, text, text);
    check(MASK_BUILTIN, "", "");
}
END_TEST

START_TEST(ip_addresses) {
    check(MASK_IP, "from 192.168.1.1:8080, 2001:db8::1 and ::1 to [fe80::1%eth0]",
          "from [IP]:8080, [IP] and [IP] to [[IP]%eth0]");
    check(MASK_IP, "2001:0db8:85a3:0000:0000:8a2e:0370:7334.", "[IP].");
    check(MASK_IP, "1.2.3 1.2.3.4.5 256.1.1.1 v1.2.3.4 12:30:45 std::string a::b 01.2.3.4",
          "1.2.3 1.2.3.4.5 256.1.1.1 v1.2.3.4 12:30:45 std::string a::b 01.2.3.4");
}
END_TEST

START_TEST(private_keys_go_whole) {
    check(MASK_SECRET, "x -----BEGIN RSA PRIVATE KEY-----\nMIIE\nabc=\n-----END RSA PRIVATE KEY----- y",
          "x [SECRET] y");
    check(MASK_SECRET, "-----BEGIN OPENSSH PRIVATE KEY-----\\nb3Bl", "[SECRET]");
    struct buf long_one; /* longer than anything that is held back */
    buf_init(&long_one, 0);
    buf_addz(&long_one, "k -----BEGIN PRIVATE KEY-----");
    for (int i = 0; i < 2000; i++)
        buf_addz(&long_one, "\nabcdefgh");
    buf_addz(&long_one, "\n-----END PRIVATE KEY-----\nz eyJhbGciOiJIUzI1NiJ9.");
    for (int i = 0; i < 2000; i++)
        buf_addz(&long_one, "QUJD");
    buf_addz(&long_one, " end");
    struct mask *m = make(MASK_SECRET, NULL, 0);
    ck_assert(str_is(masked(m, buf_at(&long_one), buf_len(&long_one)), "k [SECRET]\nz [SECRET] end"));
    buf_free(&long_one);
    mask_free(m);
}
END_TEST

START_TEST(patterns_of_ones_own) {
    static const char *const two[] = {"EMP-[0-9]{4,6}", "\\<internal\\>"};
    struct mask *m = make(MASK_EMAIL, two, 2);
    static const char text[] = "EMP-12345 a@b.example internal\ninternals EMP-12 EMP-9999";
    ck_assert(str_is(masked(m, text, strlen(text)), "[CUSTOM] [EMAIL] [CUSTOM]\ninternals EMP-12 [CUSTOM]"));
    mask_free(m);
    char err[256];
    static const char *const bad[] = {"(", "(a)\\1", "a{2,1}"};
    for (size_t i = 0; i < 3; i++)
        ck_assert(mask_new(0, &bad[i], 1, err) == NULL && str_find(str_of(err), str_of(bad[i])) == 0);
    static const char *const empty[] = {"x*"}; /* matches nothing as well */
    m = make(0, empty, 1);
    ck_assert(str_is(masked(m, "axxb", 4), "a[CUSTOM]b"));
    mask_free(m);
}
END_TEST

/* Patterns that match each other's words, and a line without an end. */
START_TEST(bounded) {
    static const char *const mad[] = {".", ".", ".", "[A-Z]", "."};
    struct mask *m = make(MASK_BUILTIN, mad, 5);
    size_t n = 3 * MASK_LINE;
    char *text = malloc(n);
    memset(text, 'a', n);
    ck_assert_uint_le(masked(m, text, n).n, MASK_GROWTH * n);
    mask_free(m);
    free(text);
}
END_TEST

int main(void) {
    Suite *s = suite_create("mask");
    TCase *t = tcase_create("mask");
    tcase_set_timeout(t, 60);
    tcase_add_test(t, the_corpus);
    tcase_add_test(t, however_it_is_cut);
    tcase_add_test(t, only_what_is_wanted);
    tcase_add_test(t, ip_addresses);
    tcase_add_test(t, private_keys_go_whole);
    tcase_add_test(t, patterns_of_ones_own);
    tcase_add_test(t, bounded);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
