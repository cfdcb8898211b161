/* A call over libcurl, for the files that make it: what a wire is, and the upstream that it belongs to.
 * Private to call.c and call_*.c. */
#ifndef PENSTOCK_SRC_UPSTREAM_CALL_WIRE_H
#define PENSTOCK_SRC_UPSTREAM_CALL_WIRE_H
#include "account.h"
#include "answer_head.h"
#include "base/arena.h"
#include "base/buf.h"
#include "inner.h"
#include <curl/curl.h>

enum {
    MAX_UNREAD = 64 * 1024,
    MAX_PATHS = 32,
};

/* One list as libcurl wants it, in one piece of memory of ours, so that keys can be wiped. */
struct header_list {
    struct curl_slist *nodes; /* NULL: not built */
    struct buf text;
};

enum auth_made {
    AUTH_FIXED,  /* among the prepared headers, or none */
    AUTH_SIGNED, /* an AWS signature */
    AUTH_TOKEN,  /* a service account's access token */
};
enum list_kind { LIST_POST, LIST_STREAM, LIST_GET, LISTS };

struct wire;
struct upstream {
    unsigned magic;
    struct multi *multi;
    const struct conf_provider *conf;
    struct arena *arena;
    struct str base;
    struct str host; /* of base, as the Host header has it */
    struct {
        const char *path;
        CURLU *url;
        struct str target; /* as it stands in a request line */
    } paths[MAX_PATHS];
    size_t npaths;
    struct header_list *lists; /* LISTS for each key, and LISTS for none */
    struct buf *lines;         /* the same for plain.c */
    struct account **accounts; /* of each key; NULL: not asked for yet */
    struct wire *idle[2];      /* [stream]: their receive buffers differ */
    unsigned nidle[2];
    struct link calls;
    struct mock_memory *mock; /* the kind is answered by mock.c */
    struct plain *plain;      /* http:// and no proxy: most calls go by plain.c */
    CURLU *connect_url;       /* of connections for it */
    struct connect *idle_connects;
    unsigned nidle_connects;
};

struct wire { /* a call over libcurl */
    struct call c;
    struct easy_owner owner;
    CURL *easy;
    struct upstream *upstream;
    struct wire *next_idle;
    bool added, stream, peeked;
    struct str body;
    struct call_source source; /* of the body; read NULL: there is none */
    uint64_t sent;             /* of a body that is read piece by piece */
    const struct conf_key *key;
    bool get;
    const char *method; /* CURLOPT_CUSTOMREQUEST as it is set */
    enum auth_made auth;
    struct header_list made; /* of this call's auth, in front of the prepared ones */
    struct curl_slist *prepared;
    struct account_waiter waiter;
    unsigned token_number;
    const struct curl_slist *headers_set;
    CURLU *url_set, *own_url;
    size_t upload_set;
    struct header_list own;
    struct answer_head head;
    /* an answer that was still unread when libcurl gave the connection up, see wire_last_words() */
    int upload_fd;
    struct buf unread;
    bool reading_unread;
    char error[CURL_ERROR_SIZE];
};

/* call_headers.c */
void header_list_build(struct header_list *l, const struct conf_provider *p, const struct call_spec *s);
void header_list_free(struct header_list *l);
/* The same as the rest of a request's head, with Host and the empty line. */
void header_lines_build(struct buf *out, struct str host, const struct conf_provider *p,
                        const struct call_spec *s);

/* call_auth.c */
enum auth_made auth_made_of(const struct conf_provider *p, const struct conf_key *k);
bool auth_make(struct wire *w); /* false: the start comes again, or the end */
void auth_drop(struct wire *w);
void auth_ended(struct wire *w); /* looks at the answer's status */

/* call_upstream.c */
CURLU *url_parse(struct str base, const char *path); /* NULL: it is none */
/* The same, kept as long as the upstream; NULL also when there is no more place. */
CURLU *upstream_url(struct upstream *u, const char *path);
/* The prepared list for a call without headers of its own; NULL: the key is none of this provider's. */
struct header_list *upstream_list(struct upstream *u, const struct call_spec *s);
struct buf *upstream_lines(struct upstream *u, const struct call_spec *s); /* likewise */
struct str upstream_target(struct upstream *u, const char *path);          /* likewise of upstream_url() */

/* call.c */
void wire_free(struct wire *w);
void wire_opt_connection(CURL *e, const struct conf_provider *p); /* how the provider is reached */
enum call_error wire_error(CURLcode code);                        /* where nothing but the code is known */

/* call_connect.c */
void connect_free_idle(struct upstream *u);

/* call_answer.c: CURLOPT_HEADERFUNCTION, CURLOPT_WRITEFUNCTION */
size_t wire_on_header(char *p, size_t size, size_t count, void *wire);
size_t wire_on_body(char *p, size_t size, size_t count, void *wire);

/* call_upload.c: CURLOPT_PREREQFUNCTION, CURLOPT_READFUNCTION, CURLOPT_SEEKFUNCTION */
int wire_on_ready(void *wire, char *remote, char *local, int remote_port, int local_port);
size_t wire_on_upload(char *to, size_t size, size_t count, void *wire);
int wire_on_rewind(void *wire, curl_off_t offset, int origin);
/* The write failed. If behind the failure lay a whole answer, it counts: true, and the call ends by it. */
bool wire_last_words(struct wire *w);
void wire_unread_body(struct wire *w); /* the body of such an answer; again after FLOW_FULL */
#endif
