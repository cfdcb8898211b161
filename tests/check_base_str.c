/* Strings, buffers, arenas, allocation. */
#include "base/arena.h"
#include "base/buf.h"
#include "base/die.h"
#include "base/net.h"
#include "base_cases.h"
#include <signal.h>
#include <stdint.h>
#include <stdio.h>

START_TEST(compares) {
    ck_assert(str_eqi(STR("Content-TYPE"), STR("content-type")));
    ck_assert(!str_eqi(STR("a["), STR("A{"))); /* only letters fold */
    ck_assert(!str_eqi(STR("a"), STR("ab")));
    ck_assert(str_eqi(STR_NONE, STR("")));
    ck_assert(str_isi(STR("GeT"), "get"));
    ck_assert(str_starts(STR("abc"), "ab") && !str_starts(STR("ab"), "abc") && str_starts(STR_NONE, ""));
    ck_assert(str_startsi(STR("ABC"), "ab") && !str_startsi(STR("A"), "ab"));
    ck_assert(str_ends(STR("x.json"), ".json") && !str_ends(STR("json"), ".json"));
    ck_assert_int_eq(str_find(STR("hello"), STR("ll")), 2);
    ck_assert_int_eq(str_find(STR("hello"), STR("lo!")), -1);
    ck_assert_int_eq(str_find(STR_NONE, STR("")), 0);
    ck_assert_int_eq(str_find(STR_NONE, STR("a")), -1);
}
END_TEST

START_TEST(cuts) {
    ck_str_is(str_trim(STR(" \t a b \t")), "a b");
    ck_assert_uint_eq(str_trim(STR("  \t")).n, 0);
    ck_str_is(str_skip(STR("abc"), 2), "c");
    ck_str_is(str_skip(STR("abc"), 9), "");
    struct str rest = STR("a,,b"), piece;
    ck_assert(str_next(&rest, ',', &piece));
    ck_str_is(piece, "a");
    ck_assert(str_next(&rest, ',', &piece));
    ck_str_is(piece, "");
    ck_assert(str_next(&rest, ',', &piece));
    ck_str_is(piece, "b");
    ck_assert(!str_next(&rest, ',', &piece));
    rest = STR("");
    ck_assert(!str_next(&rest, ',', &piece));
    rest = STR("a,");
    ck_assert(str_next(&rest, ',', &piece) && !str_next(&rest, ',', &piece));
}
END_TEST

START_TEST(numbers) {
    uint64_t u = 7;
    int64_t i = 7;
    ck_assert(str_u64(STR("18446744073709551615"), &u) && u == UINT64_MAX);
    ck_assert(!str_u64(STR("18446744073709551616"), &u) && !str_u64(STR("99999999999999999999"), &u));
    ck_assert(!str_u64(STR(""), &u) && !str_u64(STR("+1"), &u) && !str_u64(STR("1 "), &u) &&
              !str_u64(STR("-1"), &u));
    ck_assert(str_u64(STR("007"), &u) && u == 7);
    ck_assert(str_i64(STR("9223372036854775807"), &i) && i == INT64_MAX);
    ck_assert(!str_i64(STR("9223372036854775808"), &i) && !str_i64(STR("-1"), &i));
}
END_TEST

START_TEST(copies_end_at_characters) {
    char to[6];
    str_copy(to, sizeof to, STR("abcdefgh"));
    ck_assert_str_eq(to, "abcde");
    str_copy(to, sizeof to, STR("abcd\xC3\xA9"));
    ck_assert_str_eq(to, "abcd");
    str_copy(to, sizeof to, STR("abc\xE2\x82\xAC"));
    ck_assert_str_eq(to, "abc");
    str_copy(to, sizeof to,
             STR("ab\xE2\x82\xAC"
                 "c"));
    ck_assert_str_eq(to, "ab\xE2\x82\xAC");
    str_copy(to, sizeof to, STR("a\xF0\x9F\x98\x80z"));
    ck_assert_str_eq(to, "a\xF0\x9F\x98\x80");
    str_copy(to, sizeof to, STR_NONE);
    ck_assert_str_eq(to, "");
    str_copy(to, 0, STR("x"));
}
END_TEST

START_TEST(buffers_grow_and_give_back) {
    struct buf b;
    buf_init(&b, 0);
    for (int i = 0; i < 1000; i++)
        BUF_ADD(&b, "0123456789");
    ck_assert_uint_eq(buf_len(&b), 10000);
    size_t cap = b.cap;
    for (int i = 0; i < 5000; i++) { /* as a queue it must not grow for ever */
        buf_consume(&b, 10);
        BUF_ADD(&b, "abcdefghij");
    }
    ck_assert_uint_eq(buf_len(&b), 10000);
    ck_assert_uint_le(b.cap, cap * 2);
    ck_assert(memcmp(buf_at(&b), "abcdefghij", 10) == 0);
    buf_consume(&b, 10000);
    ck_assert_uint_eq(b.off, 0);
    buf_free(&b);
    buf_addz(&b, "again");
    ck_str_is(buf_str(&b), "again");
    buf_wipe(&b);
    ck_assert_uint_eq(buf_len(&b), 0);
}
END_TEST

START_TEST(buffers_hold_their_bound) {
    struct buf b;
    buf_init(&b, 8);
    buf_addz(&b, "12345678");
    ck_assert(buf_ok(&b));
    buf_addc(&b, '9'); /* the memory has room, the bound has not */
    ck_assert(!buf_ok(&b));
    buf_consume(&b, 4);
    buf_addc(&b, 'x'); /* the error sticks */
    ck_str_is(buf_str(&b), "5678");
    ck_assert_ptr_null(buf_room(&b, 1));
    buf_clear(&b);
    buf_addz(&b, "abcd");
    buf_consume(&b, 2);
    buf_addz(&b, "efghij");
    ck_assert(buf_ok(&b));
    ck_str_is(buf_str(&b), "cdefghij");
    ck_assert_ptr_null(buf_room(&b, SIZE_MAX));
    buf_free(&b);
}
END_TEST

START_TEST(buffers_print) {
    struct buf b;
    buf_init(&b, 0);
    buf_addu(&b, UINT64_MAX);
    buf_addc(&b, ' ');
    buf_addi(&b, INT64_MIN);
    buf_addc(&b, ' ');
    buf_addu(&b, 0);
    buf_printf(&b, " %s %300d|", "x", 5);
    ck_assert(str_starts(buf_str(&b), "18446744073709551615 -9223372036854775808 0 x "));
    ck_assert(str_ends(buf_str(&b), "  5|"));
    ck_assert_uint_eq(buf_len(&b), 42 + 1 + 1 + 1 + 1 + 300 + 1);
    buf_free(&b);
}
END_TEST

static char order[8];

static void note(void *arg) {
    strncat(order, arg, 1);
}

START_TEST(arenas) {
    struct arena *a = arena_new(0);
    arena_cleanup(a, note, "1");
    arena_cleanup(a, note, "2");
    for (size_t n = 0; n < 3000; n += 7) {
        char *p = arena_alloc(a, n);
        ck_assert_uint_eq((uintptr_t)p % _Alignof(max_align_t), 0);
        for (size_t i = 0; i < n; i++)
            ck_assert_int_eq(p[i], 0);
        memset(p, 0xA5, n);
        char *z = arena_dupz(a, STR("odd"));
        ck_assert_str_eq(z, "odd");
    }
    char *big = arena_alloc(a, 1 << 20);
    big[(1 << 20) - 1] = 1;
    struct str s = arena_printf(a, "%s-%0300d", "x", 1);
    ck_assert_uint_eq(s.n, 302);
    ck_assert_int_eq(s.p[s.n], 0);
    ck_str_is(arena_dup(a, STR("copy")), "copy");
    ck_assert_uint_ge(arena_size(a), 1 << 20);
    arena_cleanup(a, note, "3");
    arena_free(a);
    ck_assert_str_eq(order, "321");
    arena_free(NULL);
    a = arena_new(1); /* too small for its own head: made larger */
    arena_alloc(a, 10);
    arena_free(a);
}
END_TEST

START_TEST(overflow_ends_the_process) {
    mem_array(SIZE_MAX / 2, 3);
}
END_TEST

START_TEST(a_bug_aborts) {
    struct buf b;
    buf_init(&b, 0);
    buf_consume(&b, 1);
}
END_TEST

static const struct {
    const char *text;
    int bits; /* -1: no network */
} nets[] = {
    {"192.0.2.1", 128},
    {"192.0.2.0/24", 120},
    {"0.0.0.0/0", 96},
    {"192.0.2.1/32", 128},
    {"::/0", 0},
    {"2001:db8::/32", 32},
    {"::1", 128},
    {"::ffff:10.0.0.0/104", 104},
    {"192.0.2.1/24", -1},
    {"192.0.2.0/33", -1},
    {"192.0.2.0/", -1},
    {"192.0.2.0/-1", -1},
    {"192.0.2.0/+8", -1},
    {"/24", -1},
    {"", -1},
    {"192.0.2", -1},
    {"192.0.2.01", -1},
    {"fe80::1%eth0", -1},
    {"2001:db8::/129", -1},
    {"localhost", -1},
    {"192.0.2.0/24/24", -1},
    {"2001:db8::1/32", -1},
    {"1.2.3.4 ", -1},
    {"0x7f.0.0.1", -1},
};

START_TEST(networks) {
    struct net n;
    bool ok = net_parse(str_of(nets[_i].text), &n);
    ck_assert_msg(ok == (nets[_i].bits >= 0), "%s", nets[_i].text);
    if (ok)
        ck_assert_msg((int)n.bits == nets[_i].bits, "%s: %u", nets[_i].text, n.bits);
}
END_TEST

START_TEST(networks_have_addresses) {
    struct net n;
    uint8_t a[16];
    for (unsigned bits = 0; bits <= 32;
         bits++) { /* the address that differs in one bit is in while it may differ */
        char text[32];
        snprintf(text, sizeof text, "128.0.0.0/%u", bits);
        ck_assert(bits == 0 || net_parse(str_of(text), &n));
        for (unsigned i = 1; bits && i < 32; i++) {
            uint32_t v = 0x80000000U | 0x80000000U >> i;
            snprintf(text, sizeof text, "%u.%u.%u.%u", v >> 24, v >> 16 & 255, v >> 8 & 255, v & 255);
            ck_assert(net_address(str_of(text), a));
            ck_assert_int_eq(net_has(&n, a), i >= bits);
        }
    }
    ck_assert(!net_address(STR_NONE, a) && !net_address(str_make("::1\0", 4), a));
}
END_TEST

TCase *case_str(void) {
    TCase *t = tcase_create("str, buf, arena, die");
    tcase_add_test(t, compares);
    tcase_add_test(t, cuts);
    tcase_add_test(t, numbers);
    tcase_add_test(t, copies_end_at_characters);
    tcase_add_test(t, buffers_grow_and_give_back);
    tcase_add_test(t, buffers_hold_their_bound);
    tcase_add_test(t, buffers_print);
    tcase_add_test(t, arenas);
    tcase_add_loop_test(t, networks, 0, sizeof nets / sizeof *nets);
    tcase_add_test(t, networks_have_addresses);
    tcase_add_exit_test(t, overflow_ends_the_process, 1);
    tcase_add_test_raise_signal(t, a_bug_aborts, SIGABRT);
    return t;
}
