/* Vectors of a fixed dimension in bytes, to be compared by the angle between them: a text's embedding. Pure. */
#ifndef PENSTOCK_BASE_VECTOR_H
#define PENSTOCK_BASE_VECTOR_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define VECTOR_DIM     384
#define VECTOR_DIM_MAX 65536 /* of what is folded down */

struct vector {
    _Alignas(16) int8_t v[VECTOR_DIM];
    float norm; /* the length of v: never 0 */
};
/* n numbers, n <= VECTOR_DIM_MAX. More than VECTOR_DIM are folded: number i is added to, or taken from, number
 * i % VECTOR_DIM, by a fixed sign. That is a random projection, which keeps angles whatever model made the vector (at a
 * cosine of 0.95 to about 0.005); to cut would be right only for models that put what matters first.
 * false: nothing that has a direction (all 0, or not finite). */
bool vector_of(const float *f, size_t n, struct vector *out);
double vector_cosine(const struct vector *a, const struct vector *b);

/* The product of two times VECTOR_DIM bytes, both aligned to 16. The fastest this processor has; and a plain loop, which
 * all must agree with. */
typedef int32_t vector_dot_fn(const int8_t *a, const int8_t *b);
vector_dot_fn *vector_dot(void);
int32_t vector_dot_plain(const int8_t *a, const int8_t *b);
/* The i-th that this processor can do, from 0 on; NULL behind the last. For tests. */
vector_dot_fn *vector_dot_at(size_t i, const char **name);
#endif
