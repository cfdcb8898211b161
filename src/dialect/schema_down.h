/* A JSON Schema in the words that Gemini knows: references put in place, what is only spelt otherwise
 * rewritten. Private to dialect/. */
#ifndef PENSTOCK_SRC_DIALECT_SCHEMA_DOWN_H
#define PENSTOCK_SRC_DIALECT_SCHEMA_DOWN_H
#include "encode.h"

/* where: the client's place of the schema ("tools[0].function.parameters"); of: whose it is ("the tool 'x'").
 * false and the fault, which names both and the path inside. *out is held by the encoder's arena. */
bool schema_down(struct encoder *e, struct json_object *schema, struct str where, struct str of,
                 struct json_object **out);
#endif
