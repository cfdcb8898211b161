/* Clocks and times as text; digests, codings, random numbers. */
#include "base/clock.h"
#include "base/hash.h"
#include "base_cases.h"
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static void ck_time(const char *text, int64_t want) {
    int64_t got = -1;
    ck_assert_msg(clock_parse(str_of(text), &got), "%s", text);
    ck_assert_msg(got == want, "%s is %lld", text, (long long)got);
}

START_TEST(parses_times) {
    ck_time("1970-01-01", 0);
    ck_time("1970-01-01T00:00:00Z", 0);
    ck_time("2000-02-29T12:34:56.789Z", 951827696789);
    ck_time("2026-01-02T03:04:05Z", 1767323045000);
    ck_time("2026-01-02t03:04:05.6789123z", 1767323045678);
    ck_time("2026-01-02T03:04:05+01:30", 1767323045000 - 5400000);
    ck_time("2026-01-02T03:04:05-01:30", 1767323045000 + 5400000);
    ck_time("1969-12-31T23:59:59.999Z", -1);
    ck_time("2016-12-31T23:59:60Z", 1483228800000);
}
END_TEST

START_TEST(refuses_other_times) {
    static const char *const bad[] = {"",
                                      "2026",
                                      "2026-1-2",
                                      "2026-13-01",
                                      "2026-02-29",
                                      "1900-02-29",
                                      "2026-00-01",
                                      "2026-01-32",
                                      "2026-01-02 03:04:05Z",
                                      "2026-01-02T03:04Z",
                                      "2026-01-02T03:04:05",
                                      "2026-01-02T24:00:00Z",
                                      "2026-01-02T03:60:05Z",
                                      "2026-01-02T03:04:61Z",
                                      "2026-01-02T03:04:05.Z",
                                      "2026-01-02T03:04:05+0100",
                                      "2026-01-02T03:04:05+24:00",
                                      "2026-01-02T03:04:05Zx",
                                      "2026-01-02T",
                                      "+026-01-02"};
    int64_t ms;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        ck_assert_msg(!clock_parse(str_of(bad[i]), &ms), "%s", bad[i]);
}
END_TEST

START_TEST(prints_times) {
    char z[CLOCK_RFC3339_SIZE];
    clock_rfc3339(z, 1767323045678);
    ck_assert_str_eq(z, "2026-01-02T03:04:05.678Z");
    clock_rfc3339(z, -1);
    ck_assert_str_eq(z, "1969-12-31T23:59:59.999Z");
    clock_rfc3339(z, INT64_MAX);
    ck_assert_str_eq(z, "9999-12-31T23:59:59.999Z");
    clock_rfc3339(z, INT64_MIN);
    ck_assert_str_eq(z, "0000-01-01T00:00:00.000Z");
    for (int64_t day = -800000; day < 800000; day += 97) { /* both directions over four thousand years */
        int64_t ms = day * 86400000 + 12345678, back = 0;
        clock_rfc3339(z, ms);
        if (z[0] != '0' || z[1] != '0')
            ck_assert(clock_parse(str_of(z), &back) && (back == ms || z[0] == '9'));
    }
}
END_TEST

START_TEST(clocks_move) {
    uint64_t a = clock_ns(), b = clock_ns();
    ck_assert(b >= a && clock_ms() >= a / 1000000);
    ck_assert(clock_wall_ms() > INT64_C(1600000000000));
}
END_TEST

TCase *case_clock(void) {
    TCase *t = tcase_create("clock");
    tcase_add_test(t, parses_times);
    tcase_add_test(t, refuses_other_times);
    tcase_add_test(t, prints_times);
    tcase_add_test(t, clocks_move);
    return t;
}

/* --- hash --- */

static void ck_digest(const uint8_t d[SHA256_SIZE], const char *want) {
    char hex[2 * SHA256_SIZE + 1];
    hex_encode(hex, d, SHA256_SIZE);
    ck_assert_str_eq(hex, want);
}

START_TEST(sha_of_fips_180) {
    static const char abc[] = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    static const char none[] = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    uint8_t d[SHA256_SIZE];
    sha256("abc", 3, d);
    ck_digest(d, abc);
    sha256(NULL, 0, d);
    ck_digest(d, none);
    struct sha256 *one = sha256_new(), *two = sha256_new();
    sha256_add(one, "a", 1);
    sha256_add(two, "", 0);
    sha256("between", 7, d);
    sha256_add(one, "bc", 2);
    sha256_end(one, d);
    ck_digest(d, abc);
    sha256_end(two, d);
    ck_digest(d, none);
}
END_TEST

START_TEST(hmac_of_rfc_4231) {
    uint8_t d[SHA256_SIZE];
    hmac_sha256(STR("Jefe"), STR("what do ya want for nothing?"), d);
    ck_digest(d, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    hmac_sha256(STR_NONE, STR_NONE, d);
    ck_digest(d, "b613679a0814d9ec772f95d778c35fc5ff1697c493715653c6c712144292c5ad");
}
END_TEST

START_TEST(hash64_spreads) {
    char text[64] = {0};
    uint64_t seen[64];
    for (size_t n = 0; n < 64; n++) { /* zeros of every length differ */
        seen[n] = hash64(text, n);
        ck_assert(seen[n] != 0);
        for (size_t i = 0; i < n; i++)
            ck_assert(seen[i] != seen[n]);
    }
    int worst = 64;
    for (int bit = 0; bit < 512; bit++) { /* one bit changes about half of the result */
        text[bit / 8] ^= (char)(1 << bit % 8);
        int n = __builtin_popcountll(hash64(text, 64) ^ hash64((char[64]){0}, 64));
        text[bit / 8] ^= (char)(1 << bit % 8);
        worst = n < worst ? n : worst;
    }
    ck_assert_int_ge(worst, 12);
    ck_assert(hash64_more(hash64("a", 1), "b", 1) != hash64_more(hash64("b", 1), "a", 1));
    /* kept in stores: the values may not change from one release to the next */
    ck_assert_uint_eq(hash64("penstock", 8), UINT64_C(9146046173345198940));
}
END_TEST

START_TEST(random_differs_after_fork) {
    int fd[2];
    uint64_t mine = random_u64(), theirs[2] = {0};
    ck_assert(mine != random_u64());
    ck_assert_int_eq(pipe(fd), 0);
    pid_t pid = fork();
    if (pid == 0) {
        theirs[0] = random_u64();
        _exit(write(fd[1], theirs, 8) == 8 ? 0 : 1);
    }
    mine = random_u64(); /* the number that the child would draw from the same state */
    ck_assert_int_eq(read(fd[0], theirs, 8), 8);
    ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
    ck_assert(mine != theirs[0]);
    for (int i = 0; i < 1000; i++) {
        double d = random_unit();
        ck_assert(d >= 0 && d < 1);
    }
}
END_TEST

START_TEST(codings) {
    uint8_t raw[4];
    ck_assert(hex_decode(raw, 4, STR("00fFa0B1")) && memcmp(raw, "\x00\xff\xa0\xb1", 4) == 0);
    ck_assert(!hex_decode(raw, 4, STR("00fFa0B")) && !hex_decode(raw, 4, STR("00fFa0B1c")) &&
              !hex_decode(raw, 4, STR("00fFa0Bg")) && !hex_decode(raw, 4, STR("00fFa0B1cc")));
    static const char *const pairs[][2] = {{"", ""},
                                           {"f", "Zg=="},
                                           {"fo", "Zm8="},
                                           {"foo", "Zm9v"},
                                           {"foob", "Zm9vYg=="},
                                           {"fooba", "Zm9vYmE="},
                                           {"\xff\xfe", "//4="}};
    struct buf b;
    buf_init(&b, 0);
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        buf_clear(&b);
        base64_encode(&b, pairs[i][0], strlen(pairs[i][0]));
        ck_str_is(buf_str(&b), pairs[i][1]);
        buf_clear(&b);
        ck_assert(base64_decode(&b, str_of(pairs[i][1])));
        ck_str_is(buf_str(&b), pairs[i][0]);
    }
    static const char *const bad[] = {
        "Zg", "Zg=", "Zh==", "Zm9=", "Z===", "====", "Zg==Zg==", "Zm 8", "Zm8=\n", "Zm-_"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        buf_clear(&b);
        ck_assert_msg(!base64_decode(&b, str_of(bad[i])), "%s", bad[i]);
        ck_assert_uint_eq(buf_len(&b), 0);
    }
    buf_free(&b);
    ck_assert(mem_equal_ct("abc", "abc", 3) && !mem_equal_ct("abc", "abd", 3) && mem_equal_ct(NULL, NULL, 0));
}
END_TEST

TCase *case_hash(void) {
    TCase *t = tcase_create("hash");
    tcase_add_test(t, sha_of_fips_180);
    tcase_add_test(t, hmac_of_rfc_4231);
    tcase_add_test(t, hash64_spreads);
    tcase_add_test(t, random_differs_after_fork);
    tcase_add_test(t, codings);
    return t;
}
