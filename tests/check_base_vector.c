/* Vectors: all products agree with the plain loop, folding keeps angles. */
#include "base/hash.h"
#include "base/vector.h"
#include "base_cases.h"
#include <math.h>

START_TEST(products_agree) {
    static _Alignas(64) int8_t a[VECTOR_DIM], b[VECTOR_DIM];
    const char *name;
    for (int round = 0; round < 200; round++) {
        for (size_t i = 0; i < VECTOR_DIM; i++) {
            a[i] = round == 0 ? -127 : (int8_t)((int)(random_u64() % 255) - 127);
            b[i] = round == 0 ? 127 : (int8_t)((int)(random_u64() % 255) - 127);
        }
        int32_t want = vector_dot_plain(a, b);
        for (size_t i = 0; vector_dot_at(i, &name); i++)
            ck_assert_msg(vector_dot_at(i, &name)(a, b) == want, "%s: %d, not %d", name,
                          vector_dot_at(i, &name)(a, b), want);
    }
    ck_assert(vector_dot() != vector_dot_plain);
}
END_TEST

static double gauss(void) { /* near enough */
    double sum = 0;
    for (int i = 0; i < 12; i++)
        sum += random_unit();
    return sum - 6;
}

/* Two vectors of n numbers, and the cosine between them. */
static double pair(float *a, float *b, size_t n, double noise) {
    double aa = 0, bb = 0, ab = 0;
    for (size_t i = 0; i < n; i++) {
        a[i] = (float)gauss();
        b[i] = a[i] + (float)(noise * gauss());
        aa += (double)(a[i] * a[i]);
        bb += (double)(b[i] * b[i]);
        ab += (double)(a[i] * b[i]);
    }
    return ab / sqrt(aa * bb);
}

START_TEST(folding_keeps_angles) {
    static float a[3072], b[3072];
    static const size_t sizes[] = {64, 256, 384, 512, 768, 1024, 1536, 3072};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        for (int round = 0; round < 20; round++) {
            struct vector x, y;
            double noise = 0.05 * (1 + round), want = pair(a, b, sizes[i], noise);
            ck_assert(vector_of(a, sizes[i], &x) && vector_of(b, sizes[i], &y));
            /* up to five times the deviation of a random projection, and what bytes lose */
            double far = 5 * (1 - want * want) / sqrt(VECTOR_DIM) + 0.002;
            ck_assert_msg(fabs(vector_cosine(&x, &y) - want) < far, "%zu numbers: %f, not %f", sizes[i],
                          vector_cosine(&x, &y), want);
            ck_assert(fabs(vector_cosine(&x, &x) - 1) < 1e-6);
        }
}
END_TEST

START_TEST(without_direction) {
    float f[400] = {0};
    struct vector v;
    ck_assert(!vector_of(f, 400, &v) && !vector_of(f, 0, &v));
    f[3] = NAN;
    ck_assert(!vector_of(f, 400, &v));
    f[3] = INFINITY;
    ck_assert(!vector_of(f, 400, &v));
    f[3] = 1e-30F;
    ck_assert(vector_of(f, 400, &v));
    ck_assert_int_eq(v.v[3] * v.v[3], 127 * 127);
    ck_assert(fabs((double)v.norm - 127) < 1e-6);
    ck_assert(!vector_of(f, VECTOR_DIM_MAX + 1, &v));
}
END_TEST

TCase *case_vector(void) {
    TCase *t = tcase_create("vector");
    tcase_add_test(t, products_agree);
    tcase_add_test(t, folding_keeps_angles);
    tcase_add_test(t, without_direction);
    return t;
}
