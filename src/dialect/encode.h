/* What the files that write a request in another dialect share: where it goes, and what becomes of what
 * cannot be said there. Private to dialect/. */
#ifndef PENSTOCK_SRC_DIALECT_ENCODE_H
#define PENSTOCK_SRC_DIALECT_ENCODE_H
#include "dialect/dialect.h"

struct encoder {
    struct arena *a;
    const struct chat *c;
    const struct encode_opt *o;
    struct buf *dropped;
    struct fault *f;
    struct jw w;
};

#define NO_EQUIVALENT "has no equivalent at this provider"

/* A name that a client may have made up, as it stands in a list in a header: cut, and without what would part
 * or end it. */
enum { LISTED_MOST = 128 };
struct str encode_listed(struct arena *a, struct str name);
void encode_report(struct encoder *e, struct str name); /* as dropped; once */
/* true: it was dropped and told of; false and the fault. pass has no meaning for what has no form at all. */
bool encode_unsupported(struct encoder *e, struct str param, const char *why);
bool encode_bad(struct encoder *e, struct str param,
                const char *why); /* false and the fault: no provider takes it */
void encode_number(struct encoder *e, const char *name,
                   const struct opt_num *n); /* as it was written, if it was */
/* The arguments of a call as an object; what is none is kept as {"_raw": text}, which every reader of a
 * history understands: models do write broken JSON. */
void encode_arguments(struct jw *w, const char *name, struct str text);
/* One call at a time, which the provider cannot be told. Where one tool must be called by its name this is
 * what models do anyway: reported only. */
bool encode_one_call(struct encoder *e);
#define KIND_BIT(kind) (1U << (kind))
/* The texts of the parts of these kinds (KIND_BIT), where the provider takes one text. apart: they are blocks
 * of their own, and begin on lines of their own; else, as the model's own words, one goes on where the other
 * stops. */
void encode_texts(struct jw *w, const struct part *p, unsigned kinds, bool apart);
/* A tool as most providers have it: {"type":"function","function":{name, description, parameters}}. */
void encode_function(struct jw *w, const struct tool *t);
/* What the client sent besides the canonical form (chat->extra). Hints that change no answer are left out;
 * members of `own` are the target's and go as they are, as all do that are passed; those of `done` were
 * written already; the others are unsupported. Both are lists of patterns with spaces between; own NULL:
 * nothing can be written. */
bool encode_extra(struct encoder *e, const char *own, const char *done);
#endif
