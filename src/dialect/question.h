/* Where the last message's text lies. Private to dialect/. */
#ifndef PENSTOCK_SRC_DIALECT_QUESTION_H
#define PENSTOCK_SRC_DIALECT_QUESTION_H
#include "dialect/dialect.h"

struct json_value question_of_messages(struct str body); /* OpenAI's chat and Anthropic's */
struct json_value question_of_input(struct str body);    /* OpenAI's Responses */
struct json_value question_of_contents(struct str body); /* Gemini */
#endif
