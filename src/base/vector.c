/* The products are written for SSE2 and AVX2 by hand, as no compiler is sure to find the instruction that
 * multiplies pairs of 16 bits and adds them; elsewhere the compiler's own vectors become what there is
 * (NEON). */
#include "base/vector.h"

#include <math.h>
#include <string.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

/* --- the product --- */

int32_t vector_dot_plain(const int8_t *a, const int8_t *b) {
    int32_t sum = 0;
    for (size_t i = 0; i < VECTOR_DIM; i++)
        sum += a[i] * b[i];
    return sum;
}

typedef int8_t bytes8 __attribute__((vector_size(8)));
typedef int16_t words8 __attribute__((vector_size(16)));
typedef int32_t longs8 __attribute__((vector_size(32)));

static int32_t dot_vectors(const int8_t *a, const int8_t *b) {
    longs8 sum = {0};
    int32_t all = 0;
    for (size_t i = 0; i < VECTOR_DIM; i += 8) {
        bytes8 x, y;
        memcpy(&x, a + i, sizeof x);
        memcpy(&y, b + i, sizeof y);
        /* 127 * 127 fits into 16 bits; -128 does not occur, see vector_of(). */
        words8 product = __builtin_convertvector(x, words8) * __builtin_convertvector(y, words8);
        sum += __builtin_convertvector(product, longs8);
    }
    for (size_t i = 0; i < 8; i++)
        all += sum[i];
    return all;
}

#if defined(__x86_64__)
static int32_t dot_sse2(const int8_t *a, const int8_t *b) {
    __m128i sum = _mm_setzero_si128();
    for (size_t i = 0; i < VECTOR_DIM; i += 16) {
        __m128i x = _mm_load_si128((const __m128i *)(const void *)(a + i));
        __m128i y = _mm_load_si128((const __m128i *)(const void *)(b + i));
        __m128i x_low = _mm_srai_epi16(_mm_unpacklo_epi8(x, x), 8);
        __m128i x_high = _mm_srai_epi16(_mm_unpackhi_epi8(x, x), 8);
        __m128i y_low = _mm_srai_epi16(_mm_unpacklo_epi8(y, y), 8);
        __m128i y_high = _mm_srai_epi16(_mm_unpackhi_epi8(y, y), 8);
        sum = _mm_add_epi32(sum, _mm_madd_epi16(x_low, y_low));
        sum = _mm_add_epi32(sum, _mm_madd_epi16(x_high, y_high));
    }
    sum = _mm_add_epi32(sum, _mm_shuffle_epi32(sum, 0x4E));
    sum = _mm_add_epi32(sum, _mm_shuffle_epi32(sum, 0xB1));
    return _mm_cvtsi128_si32(sum);
}

__attribute__((target("avx2"))) static int32_t dot_avx2(const int8_t *a, const int8_t *b) {
    __m256i even = _mm256_setzero_si256(), odd = _mm256_setzero_si256();
    for (size_t i = 0; i < VECTOR_DIM; i += 32) {
        const __m128i *x = (const __m128i *)(const void *)(a + i),
                      *y = (const __m128i *)(const void *)(b + i);
        even = _mm256_add_epi32(even, _mm256_madd_epi16(_mm256_cvtepi8_epi16(_mm_load_si128(x)),
                                                        _mm256_cvtepi8_epi16(_mm_load_si128(y))));
        odd = _mm256_add_epi32(odd, _mm256_madd_epi16(_mm256_cvtepi8_epi16(_mm_load_si128(x + 1)),
                                                      _mm256_cvtepi8_epi16(_mm_load_si128(y + 1))));
    }
    even = _mm256_add_epi32(even, odd);
    __m128i sum = _mm_add_epi32(_mm256_castsi256_si128(even), _mm256_extracti128_si256(even, 1));
    sum = _mm_add_epi32(sum, _mm_shuffle_epi32(sum, 0x4E));
    sum = _mm_add_epi32(sum, _mm_shuffle_epi32(sum, 0xB1));
    return _mm_cvtsi128_si32(sum);
}

static bool has_avx2(void) {
    return __builtin_cpu_supports("avx2");
}
#endif

static bool always(void) {
    return true;
}

/* Slowest first. */
static const struct {
    const char *name;
    vector_dot_fn *fn;
    bool (*can)(void);
} products[] = {
    {"plain", vector_dot_plain, always},
    {"vectors", dot_vectors, always},
#if defined(__x86_64__)
    {"sse2", dot_sse2, always},
    {"avx2", dot_avx2, has_avx2},
#endif
};
enum { PRODUCTS = sizeof products / sizeof *products };

vector_dot_fn *vector_dot_at(size_t i, const char **name) {
    if (i >= PRODUCTS || !products[i].can())
        return NULL;
    *name = products[i].name;
    return products[i].fn;
}

vector_dot_fn *vector_dot(void) {
    size_t i = PRODUCTS - 1;
    while (!products[i].can())
        i--;
    return products[i].fn;
}

double vector_cosine(const struct vector *a, const struct vector *b) {
    return (double)vector_dot()(a->v, b->v) / ((double)a->norm * (double)b->norm);
}

/* --- making one --- */

/* A bit that looks like chance and is the same everywhere (the finalizer of SplitMix64). */
static bool is_minus(size_t i) {
    uint64_t x = (uint64_t)i + UINT64_C(0x9E3779B97F4A7C15);
    x = (x ^ x >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
    x = (x ^ x >> 27) * UINT64_C(0x94D049BB133111EB);
    return (x ^ x >> 31) & 1;
}

static void fold(const float *f, size_t n, double sum[VECTOR_DIM]) {
    memset(sum, 0, VECTOR_DIM * sizeof *sum);
    for (size_t i = 0; i < n; i++)
        sum[i % VECTOR_DIM] += n > VECTOR_DIM && is_minus(i) ? -(double)f[i] : (double)f[i];
}

bool vector_of(const float *f, size_t n, struct vector *out) {
    double sum[VECTOR_DIM], most = 0, square = 0;
    if (n > VECTOR_DIM_MAX)
        return false;
    fold(f, n, sum);
    for (size_t i = 0; i < VECTOR_DIM; i++) {
        if (!isfinite(sum[i]))
            return false;
        most = fmax(most, fabs(sum[i]));
    }
    if (most <= 0)
        return false;
    for (size_t i = 0; i < VECTOR_DIM;
         i++) { /* -127 to 127: all of a byte but the one that has no opposite */
        out->v[i] = (int8_t)lrint(sum[i] / most * 127);
        square += (double)(out->v[i] * out->v[i]);
    }
    out->norm = (float)sqrt(square);
    return true;
}
