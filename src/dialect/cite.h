/* Citations of the web in an answer, in OpenAI chat's shape of an annotation (struct part of llm/chat.h):
 * {"type":"url_citation","url_citation":{"start_index","end_index","url","title"}}, places counted in
 * characters of the part's text. Private to dialect/. */
#ifndef PENSTOCK_SRC_DIALECT_CITE_H
#define PENSTOCK_SRC_DIALECT_CITE_H
#include "base/json.h"

uint64_t cite_chars(struct str text);
void cite_write(struct jw *w, struct str url, struct str title, uint64_t start, uint64_t end);
/* An annotation of a part whose text became a piece of a longer one, `by` characters from its beginning. */
void cite_moved(struct jw *w, struct str annotation, uint64_t by);
#endif
