/* Headers that are made for each call: an AWS signature, or a service account's access token. They stand in
 * front of the prepared ones, in a list of their own. */
#include "base/clock.h"
#include "base/die.h"
#include "call_wire.h"
#include "sign.h"

static bool has(const struct conf_secret *s) {
    return s->text && *s->text;
}

enum auth_made auth_made_of(const struct conf_provider *p, const struct conf_key *k) {
    if (k && conf_auth_of(p) == AUTH_KIND_SIGV4 && has(&k->access_key_id))
        return AUTH_SIGNED;
    if (k && conf_auth_of(p) == AUTH_KIND_SERVICE_ACCOUNT && has(&k->service_account))
        return AUTH_TOKEN;
    return AUTH_FIXED;
}

/* `lines` of NUL-terminated headers as nodes, before the prepared ones. */
static void put_in_front(struct wire *w, size_t lines) {
    struct header_list *l = &w->made;
    char *at = buf_at(&l->text);
    l->nodes = mem_array(lines, sizeof *l->nodes);
    for (size_t i = 0; i < lines; i++) {
        l->nodes[i].data = at;
        l->nodes[i].next = i + 1 < lines ? &l->nodes[i + 1] : w->prepared;
        at += strlen(at) + 1;
    }
    curl_easy_setopt(w->easy, CURLOPT_HTTPHEADER, l->nodes);
    w->headers_set = l->nodes;
}

static struct str url_part(CURLU *u, CURLUPart part, char **text) {
    *text = NULL;
    return curl_url_get(u, part, text, 0) == CURLUE_OK ? str_of(*text) : STR_NONE;
}

/* The Host header as libcurl sends it: a configured one, else with the port where it is not the scheme's own.
 */
static void add_host(struct wire *w, struct buf *out) {
    for (const struct curl_slist *n = w->prepared; n; n = n->next)
        if (str_startsi(str_of(n->data), "host: ")) {
            buf_adds(out, str_trim(str_skip(str_of(n->data), 6)));
            return;
        }
    char *host, *port, *scheme;
    struct str h = url_part(w->url_set, CURLUPART_HOST, &host),
               p = url_part(w->url_set, CURLUPART_PORT, &port),
               s = url_part(w->url_set, CURLUPART_SCHEME, &scheme);
    buf_adds(out, h);
    if (p.n && !str_is(p, str_isi(s, "https") ? "443" : "80")) {
        buf_addc(out, ':');
        buf_adds(out, p);
    }
    curl_free(host);
    curl_free(port);
    curl_free(scheme);
}

static void make_signature(struct wire *w) {
    struct buf host;
    char *path, *query;
    buf_init(&host, 1024);
    add_host(w, &host);
    struct sign_request r = {
        .method = w->get ? STR("GET") : STR("POST"),
        .host = buf_str(&host),
        .path = url_part(w->url_set, CURLUPART_PATH, &path),
        .query = url_part(w->url_set, CURLUPART_QUERY, &query),
        .body = w->get ? STR_NONE : w->body,
        .region = str_of(w->upstream->conf->region),
        .service = STR("bedrock"),
        .wall_ms = clock_wall_ms(),
    };
    buf_init(&w->made.text, 0);
    put_in_front(w, sign_v4(w->key, &r, &w->made.text));
    curl_free(path);
    curl_free(query);
    buf_free(&host);
}

static void on_token(struct account_waiter *waiter, enum call_error e) {
    struct wire *w = LINK_OWNER(waiter, struct wire, waiter);
    if (e != CALL_OK)
        w->c.verdict = e;
    multi_work(w->c.multi, &w->c, e == CALL_OK ? WORK_START : WORK_FAIL);
}

static bool make_token(struct wire *w) {
    struct account **a = &w->upstream->accounts[w->key - w->upstream->conf->keys];
    if (!*a)
        *a = account_new(w->c.multi, w->upstream->conf, w->key);
    w->waiter.ready = on_token;
    struct str token = account_token(*a, &w->waiter, &w->token_number);
    if (token.n == 0)
        return false;
    buf_init(&w->made.text, 0);
    buf_room(&w->made.text, token.n + 32);
    BUF_ADD(&w->made.text, "Authorization: Bearer ");
    buf_adds(&w->made.text, token);
    buf_addc(&w->made.text, '\0');
    put_in_front(w, 1);
    return true;
}

bool auth_make(struct wire *w) {
    if (w->auth == AUTH_SIGNED)
        make_signature(w);
    return w->auth != AUTH_TOKEN || make_token(w);
}

void auth_drop(struct wire *w) {
    if (!w->made.nodes)
        return;
    curl_easy_setopt(w->easy, CURLOPT_HTTPHEADER, NULL);
    w->headers_set = NULL;
    header_list_free(&w->made);
}

void auth_ended(struct wire *w) {
    if (w->auth == AUTH_TOKEN && w->head.status == 401 && w->made.nodes)
        account_refused(w->upstream->accounts[w->key - w->upstream->conf->keys], w->token_number);
}
