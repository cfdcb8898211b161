/* What the files that read a generateContent request share. Private to gemini_*.c. */
#ifndef PENSTOCK_SRC_DIALECT_GEMINI_READ_H
#define PENSTOCK_SRC_DIALECT_GEMINI_READ_H
#include "gemini.h"

struct gm_rd {
    struct arena *a;
    struct chat *c;
    struct fault *f;
    size_t i, j;          /* of the content, and of the part in it */
    unsigned calls;       /* minted so far */
    struct message *said; /* the last message of the model with calls */
};

/* gemini_read.c */
bool gm_refuse(struct gm_rd *r, struct str param, const char *what);   /* false and the fault */
void gm_keep(struct gm_rd *r, struct str name, struct json_object *v); /* in `extra` */
bool gm_same_name(const char *key, const char *camel);                 /* "fooBar" and "foo_bar" */
struct json_object *gm_get(struct json_object *o, const char *camel);  /* a member in either spelling */
struct str gm_get_str(struct json_object *o, const char *camel);
bool gm_integer(struct arena *a, struct json_object *v, int64_t *n); /* 40, 40.0 or "40" */
size_t gm_length(struct json_object *array);                         /* NULL: 0 */
/* gemini_schema.c. The schema of a member: JSON Schema under one name, or OpenAPI's, whose types are in upper
 * case, under another. */
struct json_object *gm_schema_of(struct gm_rd *r, struct json_object *o, const char *plain, const char *json);

/* gemini_config.c */
bool gm_read_config(struct gm_rd *r, struct json_object *generation_config);
#endif
