#include "account.h"
#include "base/clock.h"
#include "base/die.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/log.h"
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>

enum {
    MAX_ANSWER = 64 * 1024,
    LIFE_S = 3600,     /* of the JWT; the most that Google takes */
    RENEW_S = 300,     /* so long before a token's end the next one is fetched */
    ANSWER_MS = 10000, /* of the token endpoint */
    REFUSED_MS = 1000, /* a refused account is not asked for by each request of a crowd */
    AGAIN_MS = 10000,  /* after a renewal that failed, while the old token is good */
};
#define GOOGLE "https://oauth2.googleapis.com/token"
#define SCOPE  "https://www.googleapis.com/auth/cloud-platform"

struct account {
    struct multi *multi;
    struct arena *arena;
    const struct conf_provider *of;
    struct conf_provider conf; /* of the token endpoint */
    struct upstream *upstream;
    const char *path, *id, *email, *key_id, *uri;
    EVP_PKEY *key;   /* NULL: it makes no JWT */
    struct buf user; /* or a person's grant (type authorized_user), which needs no signature */
    struct buf token;
    unsigned number;
    uint64_t renew_ms, end_ms;
    uint64_t refused_ms; /* until then nobody asks again */
    struct call *call;
    struct buf request, answer;
    int status;
    struct link waiting;
};

static const struct provider_kind token_kind = {
    .name = "token endpoint",
    .base_url = "",
    .version_path = "",
    .auth = AUTH_KIND_NONE,
    .fixed_headers = "Content-Type: application/x-www-form-urlencoded",
};

/* --- the account --- */

static EVP_PKEY *read_key(struct str pem) {
    BIO *b = pem.n && pem.n < 65536 ? BIO_new_mem_buf(pem.p, (int)pem.n) : NULL;
    EVP_PKEY *k = b ? PEM_read_bio_PrivateKey(b, NULL, NULL, (void *)(uintptr_t) "") : NULL;
    BIO_free(b);
    ERR_clear_error();
    if (k && EVP_PKEY_get_base_id(k) != EVP_PKEY_RSA) {
        EVP_PKEY_free(k);
        k = NULL;
    }
    return k;
}

static void add_form(struct buf *out, const char *name, struct str value) {
    buf_printf(out, "&%s=", name);
    for (size_t i = 0; i < value.n; i++)
        buf_printf(out, "%%%02X", (unsigned char)value.p[i]);
}

static void write_user(struct account *a, struct json_object *o) {
    static const char *const names[] = {"client_id", "client_secret", "refresh_token"};
    buf_room(&a->user, MAX_ANSWER / 2); /* does not move: no copies are left behind */
    BUF_ADD(&a->user, "grant_type=refresh_token");
    for (size_t i = 0; i < 3; i++) {
        struct str s = jo_str(o, names[i]);
        add_form(&a->user, names[i], s);
        if (s.n)
            mem_wipe((char *)(uintptr_t)s.p, s.n);
    }
}

/* The provider's own way out (proxy, certificates to trust), but none of its headers. */
static void set_endpoint(struct account *a, struct str uri) {
    ptrdiff_t at = str_find(uri, STR("://"));
    struct str rest = str_skip(uri, at < 0 ? uri.n : (size_t)at + 3);
    const char *slash = rest.n ? memchr(rest.p, '/', rest.n) : NULL;
    size_t base = slash ? (size_t)(slash - uri.p) : uri.n;
    a->path = slash ? arena_dupz(a->arena, str_skip(uri, base)) : "/";
    a->conf = (struct conf_provider){
        .name = a->of->name,
        .kind = &token_kind,
        .enabled = true,
        .base_url = arena_dupz(a->arena, str_make(uri.p, base)),
        .default_model = "",
        .organization = "",
        .connect = a->of->connect,
        .first_byte = ANSWER_MS,
        .idle = ANSWER_MS,
        .total = 2 * ANSWER_MS,
        .http2 = HTTP2_OFF,
        .proxy = a->of->proxy,
        .health_path = "",
    };
    a->conf.tls.ca = a->of->tls.ca;
    a->conf.tls.client_certificate = a->conf.tls.client_key = "";
    a->conf.tls.verify = a->of->tls.verify;
}

struct account *account_new(struct multi *m, const struct conf_provider *p, const struct conf_key *k) {
    struct account *a = mem_alloc(sizeof *a);
    struct json_error e;
    struct json_object *o = json_tree(str_of(k->service_account.text), &e);
    struct str pem = jo_str(o, "private_key");
    char err[256] = "its private_key is no RSA key in PEM";
    a->multi = m;
    a->of = p;
    a->arena = arena_new(0);
    a->id = k->id;
    a->email = arena_dupz(a->arena, jo_str(o, "client_email"));
    a->key_id = arena_dupz(a->arena, jo_str(o, "private_key_id"));
    a->uri = jo_str(o, "token_uri").n ? arena_dupz(a->arena, jo_str(o, "token_uri")) : GOOGLE;
    a->key = read_key(pem);
    buf_init(&a->user, MAX_ANSWER);
    if (str_is(jo_str(o, "type"), "authorized_user"))
        write_user(a, o);
    link_head(&a->waiting);
    buf_init(&a->token, MAX_ANSWER);
    buf_init(&a->request, MAX_ANSWER);
    buf_init(&a->answer, MAX_ANSWER);
    set_endpoint(a, str_of(a->uri));
    if (a->key || buf_len(&a->user))
        a->upstream = upstream_new(m, &a->conf, err);
    if (!a->upstream)
        log_event(LVL_ERROR, "alert", "the service account %s cannot be used: %s", a->id, err);
    if (pem.n)
        mem_wipe((char *)(uintptr_t)pem.p, pem.n);
    json_object_put(o);
    return a;
}

void account_free(struct account *a) {
    if (!a)
        return;
    MUST(a->waiting.next == &a->waiting);
    upstream_free(a->upstream); /* cancels the call */
    EVP_PKEY_free(a->key);
    buf_wipe(&a->user);
    buf_wipe(&a->token);
    buf_wipe(&a->request);
    buf_wipe(&a->answer);
    arena_free(a->arena);
    mem_free(a);
}

/* --- the JWT --- */

static void add_base64url(struct buf *out, const void *p, size_t n) {
    size_t from = buf_len(out);
    base64_encode(out, p, n);
    size_t end = buf_len(out);
    char *s = buf_at(out);
    while (end > from && s[end - 1] == '=')
        end--;
    out->end -= buf_len(out) - end;
    for (size_t i = from; i < end; i++)
        s[i] = s[i] == '+' ? '-' : s[i] == '/' ? '_' : s[i];
}

static void add_claims(const struct account *a, struct buf *out) {
    struct buf text;
    struct jw w;
    int64_t now = clock_wall_ms() / 1000;
    buf_init(&text, MAX_ANSWER);
    jw_init(&w, &text);
    jw_obj(&w);
    jw_kz(&w, "alg", "RS256");
    jw_kz(&w, "typ", "JWT");
    if (*a->key_id)
        jw_kz(&w, "kid", a->key_id);
    jw_obj_end(&w);
    add_base64url(out, buf_at(&text), buf_len(&text));
    buf_addc(out, '.');
    buf_clear(&text);
    jw_init(&w, &text);
    jw_obj(&w);
    jw_kz(&w, "iss", a->email);
    jw_kz(&w, "scope", SCOPE);
    jw_kz(&w, "aud", a->uri);
    jw_kint(&w, "iat", now);
    jw_kint(&w, "exp", now + LIFE_S);
    jw_obj_end(&w);
    add_base64url(out, buf_at(&text), buf_len(&text));
    buf_free(&text);
}

static bool add_signature(const struct account *a, struct buf *out, size_t from) {
    uint8_t sig[1024]; /* of a key of 8192 bits */
    size_t n = sizeof sig;
    EVP_MD_CTX *c = EVP_MD_CTX_new();
    bool ok = c && (size_t)EVP_PKEY_get_size(a->key) <= sizeof sig &&
              EVP_DigestSignInit(c, NULL, EVP_sha256(), NULL, a->key) == 1 &&
              EVP_DigestSign(c, sig, &n, (const uint8_t *)buf_at(out) + from, buf_len(out) - from) == 1;
    EVP_MD_CTX_free(c);
    ERR_clear_error();
    if (ok) {
        buf_addc(out, '.');
        add_base64url(out, sig, n);
    }
    return ok && buf_ok(out);
}

static bool write_request(struct account *a) {
    buf_wipe(&a->request);
    if (!a->key) {
        buf_adds(&a->request, buf_str(&a->user));
        return buf_ok(&a->request);
    }
    BUF_ADD(&a->request, "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion=");
    size_t from = buf_len(&a->request);
    add_claims(a, &a->request);
    return buf_ok(&a->request) && add_signature(a, &a->request, from);
}

/* --- the token --- */

static uint64_t now_of(const struct account *a) {
    return loop_ms(multi_loop(a->multi));
}

static void tell(struct account *a, enum call_error e) {
    while (a->waiting.next != &a->waiting) {
        struct account_waiter *w = LINK_OWNER(a->waiting.next, struct account_waiter, link);
        link_cut(&w->link);
        w->ready(w, e);
    }
}

static bool is_token(struct str s) {
    for (size_t i = 0; i < s.n; i++)
        if ((unsigned char)s.p[i] <= ' ' || (unsigned char)s.p[i] >= 0x7f)
            return false;
    return s.n > 0;
}

static bool take_token(struct account *a) {
    struct json_error e;
    struct json_object *o = json_tree(buf_str(&a->answer), &e);
    struct str token = jo_str(o, "access_token");
    bool ok = is_token(token);
    if (ok) {
        int64_t life = jo_int(o, "expires_in", LIFE_S);
        uint64_t ms = (uint64_t)(life < 1 ? 1 : life > 86400 ? 86400 : life) * 1000, now = now_of(a);
        uint64_t early = ms / 4 < RENEW_S * 1000 ? ms / 4 : RENEW_S * 1000;
        buf_wipe(&a->token);
        buf_room(&a->token, token.n);
        buf_adds(&a->token, token);
        a->number++;
        a->end_ms = now + ms;
        a->renew_ms = a->end_ms - early;
        mem_wipe((char *)(uintptr_t)token.p, token.n);
    }
    json_object_put(o);
    return ok;
}

static enum flow on_head(void *arg, int status, const struct call_header *h, size_t n) {
    struct account *a = arg;
    (void)h, (void)n;
    a->status = status;
    return FLOW_OK;
}

static enum flow on_data(void *arg, const char *p, size_t n) {
    struct account *a = arg;
    buf_add(&a->answer, p, n);
    return buf_ok(&a->answer) ? FLOW_OK : FLOW_STOP;
}

/* A refusal is the account's matter; anything else may pass, and is told like a connection that failed. */
static enum call_error verdict(struct account *a, const struct call_result *r) {
    bool whole = r->error == CALL_OK;
    if (whole && a->status >= 200 && a->status < 300)
        return take_token(a) ? CALL_OK : CALL_PROTOCOL;
    if (whole && a->status >= 400 && a->status < 500 && a->status != 408 && a->status != 429)
        return CALL_AUTH;
    return whole || r->error == CALL_STOPPED ? CALL_CONNECT : r->error;
}

static void on_done(void *arg, const struct call_result *r) {
    struct account *a = arg;
    a->call = NULL;
    enum call_error e = verdict(a, r);
    buf_wipe(&a->request);
    buf_wipe(&a->answer);
    if (e == CALL_AUTH)
        a->refused_ms = now_of(a) + REFUSED_MS;
    if (e != CALL_OK) {
        a->renew_ms = now_of(a) + AGAIN_MS;
        log_event(LVL_ERROR, "alert", "no access token for the service account %s (%s, status %d)", a->id,
                  call_error_text(e), a->status);
    }
    tell(a, e);
}

static void fetch(struct account *a) {
    static const struct call_sink sink = {on_head, on_data, on_done};
    struct call_spec spec = {.upstream = a->upstream, .path = a->path, .body = buf_str(&a->request)};
    a->status = 0;
    a->call = call_start(a->multi, &spec, &sink, a);
}

struct str account_token(struct account *a, struct account_waiter *w, unsigned *number) {
    uint64_t now = now_of(a);
    bool good = buf_len(&a->token) > 0 && now < a->end_ms;
    bool wanted = !a->call && (!good || now >= a->renew_ms);
    bool able = a->upstream && now >= a->refused_ms && (!wanted || write_request(a));
    if (wanted && able)
        fetch(a);
    *number = a->number;
    if (good)
        return buf_str(&a->token);
    if (able)
        link_add(&a->waiting, &w->link);
    else
        w->ready(w, CALL_AUTH);
    return STR_NONE;
}

void account_leave(struct account_waiter *w) {
    link_cut(&w->link);
}

void account_refused(struct account *a, unsigned number) {
    if (a->number == number)
        buf_wipe(&a->token);
}
