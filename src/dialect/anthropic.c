/* The Anthropic Messages dialect. */
#include "dialect/dialect.h"

const struct dialect dialect_anthropic = {"anthropic", NULL, NULL};
