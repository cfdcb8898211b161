/* The shape of the table of options. Reading, checking of names, -T, the manual page and the example all walk
 * it. */
#ifndef PENSTOCK_CONF_SCHEMA_H
#define PENSTOCK_CONF_SCHEMA_H
#include "load.h"

enum option_type {
    TYPE_SECTION, /* no option: a heading in the documents (path: its title; help: what to know of it) */
    TYPE_BOOL,
    TYPE_NUMBER,   /* unsigned */
    TYPE_COUNT,    /* uint64_t */
    TYPE_RATE,     /* uint64_t, or none */
    TYPE_DURATION, /* uint64_t, ms */
    TYPE_SIZE,     /* uint64_t, bytes */
    TYPE_REAL,     /* double */
    TYPE_PRICE,    /* int64_t, nano-dollars per million tokens; -1 when not said */
    TYPE_MONEY,    /* int64_t, nano-dollars; -1 when not said */
    TYPE_TEXT,     /* const char *, and so are the next seven */
    TYPE_NAME,
    TYPE_PATH,
    TYPE_URL,
    TYPE_WHOLE_URL, /* also with a query */
    TYPE_PROXY,
    TYPE_REDIS, /* without its password, which the table's finish reads */
    TYPE_LOG_TARGET,
    TYPE_WORKERS, /* unsigned */
    TYPE_MODE,    /* unsigned, octal */
    TYPE_DATE,    /* int64_t, wall ms; 0: never */
    TYPE_CHOICE,  /* an enum: position in `words` */
    TYPE_FLAGS,   /* unsigned: list of `words`; the n-th is bit n */
    TYPE_FAULTS,  /* unsigned: list of names of faults */
    TYPE_KIND,    /* const struct provider_kind * */
    TYPE_HASH,    /* uint8_t[32] */
    TYPE_TEXTS,   /* const char **, and a count */
    TYPE_HEADERS, /* struct conf_pair *, and a count */
    TYPE_SOURCE,  /* env, file, value of a secret: the table's finish reads all three */
    TYPE_SECRET,  /* a map of these three, likewise */
    TYPE_LIST,    /* an array of the structs of `table`, and a count */
    TYPE_LAST
};

struct table;
struct option {
    const char *path; /* inside its table, dotted */
    enum option_type type;
    size_t offset, count; /* of the member, and of the number of its elements */
    uint64_t min, max;    /* of numbers, durations, sizes, prices (dollars); of texts: bytes. max 0: none */
    const char *def;      /* as it would be written; NULL: zero, "", nothing */
    const char *words;    /* CHOICE, FLAGS: names, "|" between names of one meaning */
    const char *later;    /* names that this version does not support yet */
    const struct table *table;
    const char *env;   /* further variables that set it, with the unit of a bare number: "CACHE_TTL@s" */
    const char *alias; /* another path */
    const char *shown; /* the default in documents, where def is computed */
    const char
        *example; /* the value in the example, where the default would not do; "-": not in the example */
    bool required;
    const char *help;
};
struct table {
    const struct option *row;
    size_t n;
    size_t size;
    const char *title;  /* "providers[]" */
    const char *scalar; /* the option that an element given as a plain text sets, or NULL */
    bool single;        /* one element need not be written as a list */
    const char *keyed;  /* a map is a list too: of its keys, each this option of an element, and its value */
    void (*start)(struct load *l, void *element, const struct at *at);
    void (*finish)(struct load *l, void *element, const struct at *at);
};

/* types.c: how each type is read, printed and named */
struct reading {
    struct load *l;
    const struct option *o;
    const struct at *at; /* at->node: the value */
    struct str text;
    void *to;
};
struct type_row {
    const char *name;                      /* in documents: "duration" */
    const char *expected;                  /* in messages: "a duration such as 250ms, ..." */
    bool (*read)(const struct reading *r); /* of a scalar; reports its error */
    /* Prints the value; false: nothing was said, leave it out. */
    bool (*print)(struct buf *out, const struct option *o, const void *from);
    /* Of lists: the i-th, or NULL. */
    const char *(*item)(const struct option *o, const void *from, size_t i, struct buf *scratch);
    bool quoted; /* in YAML; and a string in JSON */
};
extern const struct type_row conf_types[TYPE_LAST];
bool type_is_scalar(enum option_type t);
void type_allowed(struct buf *out,
                  const struct option *o); /* "fallback, weighted or round-robin", "1 to 64" */
bool read_value(struct load *l, const struct option *o, const struct at *at, void *to, void *count);
void read_table(struct load *l, const struct table *t, void *element, const struct at *at);

/* redis.c */
bool redis_read(const struct reading *r);

/* schema.c */
extern const struct table conf_table, provider_options;
#define CONF_STRATEGIES                                                                                      \
    "fallback weighted round-robin health cost latency least-busy" /* enum conf_strategy */
extern const char *const conf_later[]; /* "queue", "providers[].region": NULL at the end */
extern const char *const conf_later_kinds;

/* finish.c */
void start_listen(struct load *l, void *element, const struct at *at);
void start_provider(struct load *l, void *element, const struct at *at);
void finish_listen(struct load *l, void *element, const struct at *at);
void finish_provider(struct load *l, void *element, const struct at *at);
void finish_provider_cloud(struct load *l, struct conf_provider *p, const struct at *at); /* keys.c */
void finish_provider_key(struct load *l, void *element, const struct at *at);
void finish_model(struct load *l, void *element, const struct at *at);
void finish_redis(struct load *l, void *element, const struct at *at);
void finish_gateway_key(struct load *l, void *element, const struct at *at);

/* Words of a list such as "warn|warning info": false at the end. */
bool word_next(struct str *rest, struct str *word);
bool word_is(struct str word, struct str name);
struct str word_first(struct str word);
#endif
