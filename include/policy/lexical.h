/* The built-in embedder of the semantic cache: a text's words, pairs of words and runs of three letters, hashed. It knows
 * spellings and no meanings; doc/cache.md says what that catches, with numbers. Pure. */
#ifndef PENSTOCK_POLICY_LEXICAL_H
#define PENSTOCK_POLICY_LEXICAL_H
#include "base/buf.h"
#include "base/vector.h"

#define LEXICAL_MAX 4096 /* bytes of a text; a longer one is not embedded */

/* false: too long, or no words in it. *words: how many (a letter of Chinese, Japanese and the like is one). */
bool lexical_embed(struct str text, struct vector *out, unsigned *words);
/* How similar two texts of so many words must be, where a short one needs `threshold`: a changed word weighs the less the
 * longer a text is, so what may differ is kept to what may differ in a short one. */
double lexical_threshold(double threshold, unsigned words);
/* What turns a meaning round though it is hardly seen in the spelling: numbers, negations (English, and the commonest of
 * German, French, Spanish, Italian, Portuguese, Dutch, Polish, Russian, Chinese) and signs such as + < % #, in their order.
 * Texts in which they differ are never the same question, whatever the embedder says. */
void lexical_guard(struct str text, struct buf *out);
#endif
