/* What the files of this room share while one configuration is being read. Nothing of it outlives
 * conf_load(). */
#ifndef PENSTOCK_CONF_LOAD_H
#define PENSTOCK_CONF_LOAD_H
#include "conf/conf.h"

enum node_kind { NODE_NULL, NODE_SCALAR, NODE_MAP, NODE_LIST };
/* One value as written, wherever it was written: a file, or a variable of the environment that stands for it.
 */
struct node {
    enum node_kind kind;
    struct node *next;         /* in its map or list */
    struct node *first, *last; /* MAP, LIST */
    struct node *all;          /* every node of this load, for the wipe */
    const char *key;           /* in a map */
    struct str text;           /* SCALAR: expanded, NUL-terminated; may be a secret, wiped with the load */
    struct str raw;            /* as written, before ${...}: what messages quote */
    const char *env;           /* the variable it came from, or NULL */
    const char *file;          /* NULL: of no file */
    unsigned line, column;
    unsigned key_line, key_column;
};

/* Where the reader stands: a chain on the stack, from the innermost to the root. */
struct at {
    const struct at *up;
    const char *key; /* NULL: a list's element */
    size_t index;
    const struct node *node; /* NULL: absent; messages then take the place of what is above */
};

struct load {
    struct conf *c;
    const struct provider_kinds *kinds;
    struct conf_errors *errors;
    struct arena *scratch;
    struct env *env;
    struct node *root;  /* all files merged, then what the environment adds */
    struct node *nodes; /* all of them */
    size_t node_count, byte_count;
    struct seen *seen; /* files read so far */
    bool no_files;     /* neither includes nor secret files (fuzzing) */
    bool lenient;      /* inside a provider that is not enabled: an unset secret is no error */
    bool mock_implied; /* nothing is configured at all: the built-in provider answers */
};

/* errors.c */
void load_error(struct load *l, const struct at *at, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* The same about the key itself and not its value. */
void load_error_key(struct load *l, const struct at *at, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
void load_error_place(struct load *l, const char *file, unsigned line, unsigned column, const struct at *at,
                      const char *fmt, ...) __attribute__((format(printf, 6, 7)));
void load_error_env(struct load *l, const char *name, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
void load_warn(struct load *l, const struct at *at, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
void load_warn_env(struct load *l, const char *name, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* The name nearest to `name`, found by being offered each candidate; empty when none is near. */
struct nearest {
    struct str name;
    char best[65];
    size_t distance;
};
void nearest_init(struct nearest *n, struct str name);
void nearest_offer(struct nearest *n, struct str candidate);
/* ", did you mean x?" or "". */
const char *nearest_hint(struct nearest *n, char out[96]);
/* A name for a message: one that is long or strange may be a misplaced secret and is not shown. */
const char *shown_name(const char *name);

/* node.c */
struct node *node_new(struct load *l, enum node_kind kind);
void node_append(struct node *parent, struct node *child);
struct node *node_get(const struct node *map, const char *path); /* dotted; NULL if absent or null */
/* Adds a scalar at a dotted path, with the maps on the way; nothing when the way is blocked. */
struct node *node_put(struct load *l, struct node *map, const char *path, const char *text, const char *env);
size_t node_count(const struct node *list);
struct at at_child(const struct at *up, const char *path); /* dotted path as one key */
struct at at_item(const struct at *list, size_t index);
void check_file(struct load *l, const struct at *at, const char *path); /* "" is fine; else it can be read */
/* A secret (or what may be one) in an arena: wiped when the arena goes. */
const char *arena_secret(struct arena *a, struct str s);

/* yaml.c */
bool yaml_read(struct load *l, const char *file, struct str text); /* merges into l->root; false: errors */
bool yaml_read_file(struct load *l, const char *file, bool required, bool *found);

/* file.c */
enum { FILE_CONF_MAX = 4 << 20, FILE_SECRET_MAX = 64 << 10, FILE_PEM_MAX = 1 << 20 };
/* Reads a whole regular file (allow_null: or a device such as /dev/null); 0 or an errno; EFBIG, EINVAL. */
int file_read(const char *path, size_t max, bool allow_null, struct buf *out);
const char *file_why(int error, size_t max, char out[80]);
/* A path as found in `file`: relative ones are relative to its directory; without a file, to the working one.
 */
const char *file_path(struct arena *a, const char *file, struct str path);

/* value.c: texts to values and back; false when malformed */
enum money { NANO = 1000000000 };
bool value_plain(struct str s); /* UTF-8, no control characters */
bool value_bool(struct str s, bool *out);
bool value_duration(struct str s, uint64_t *ms);
bool value_size(struct str s, uint64_t *bytes);
bool value_octal(struct str s, unsigned *out);
void print_duration(struct buf *out, uint64_t ms);
void print_size(struct buf *out, uint64_t bytes);
void print_real(struct buf *out, double v);
void print_nano(struct buf *out, int64_t v);

/* secret.c */
/* Of a map with env, file or value. */
bool secret_read(struct load *l, const struct at *at, const struct node *map, struct conf_secret *out);
/* Of a map that has nothing but the secret. */
bool secret_read_only(struct load *l, const struct at *at, struct conf_secret *out);
bool secret_names(struct load *l, const struct at *at); /* has it nothing else? */
/* Likewise of a document, which may have lines; a plain text is the path of its file. */
bool secret_document(struct load *l, const struct at *at, const struct node *map, struct conf_secret *out);
bool secret_pem(struct load *l, const struct at *at, const char *path, bool private_part, struct str *out);
bool name_is_credential(struct str header);

/* env.c */
struct env *env_new(struct load *l);
void env_file(struct load *l, const char *path, bool required);
void env_free(struct env *e);
const char *env_get(const struct env *e, const char *name);   /* NULL: not set */
const char *env_value(const struct env *e, const char *name); /* NULL: not set or empty */
/* env_cloud.c: what the clouds' own tools read. The variable that says that there is a key, or NULL. */
const char *env_cloud_key(struct load *l, const struct provider_kind *k);
void env_cloud(struct load *l, struct node *provider, const struct provider_kind *k);
void env_provide(struct load *l); /* adds to l->root what the environment says and the files do not */

/* read.c */
void read_conf(struct load *l);

/* check.c */
void check_conf(struct load *l);

/* budget.c */
void check_budgets(struct load *l, const struct at *root);
#endif
