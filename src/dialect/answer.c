/* Errors as providers write them. No two agree on the shape, and proxies in between answer in HTML, so
 * reading is lenient and the class comes from status, code, type and (last) the text. Sources: OpenAI,
 * Anthropic, Google, Mistral, xAI, Cohere, OpenRouter, vLLM and TGI errors as recorded or documented. */
#include "answer.h"
#include "base/clock.h"

#include <stdio.h>
#include <strings.h>

#define NANO_DIGITS 9

/* --- reading the shapes --- */

static struct str bounded(struct arena *a, struct str s) {
    char cut[FAULT_MESSAGE_MAX];
    str_copy(cut, sizeof cut, s);
    return arena_dup(a, str_of(cut));
}

static struct str text_of(struct arena *a, struct json_value v) {
    if (v.kind == JSON_STRING)
        return bounded(a, json_text(a, v));
    if (v.kind == JSON_OBJECT || v.kind == JSON_ARRAY)
        return bounded(a, v.raw); /* Mistral and FastAPI put structures here: better shown than lost */
    return STR_NONE;
}

static bool member_text(struct arena *a, struct str object, const char *key, struct str *out) {
    struct json_value v;
    if (!json_member(object, key, &v))
        return false;
    struct str s = text_of(a, v);
    if (s.n == 0)
        return false;
    *out = s;
    return true;
}

static void take_code(struct arena *a, struct str object, struct said *out) {
    struct json_value v;
    uint64_t n;
    if (!json_member(object, "code", &v))
        return;
    if (v.kind == JSON_STRING)
        out->code = bounded(a, json_text(a, v));
    if (json_u64(v, &n) && n >= 400 && n < 600)
        out->status = (int)n;
}

struct first {
    struct json_value v;
    bool found;
};

static bool take_first(void *arg, struct str key, struct json_value v) {
    (void)key;
    struct first *f = arg;
    f->v = v;
    f->found = true;
    return false;
}

static bool first_of(struct json_value array, struct json_value *out) {
    struct first f = {.found = false};
    if (array.kind == JSON_ARRAY)
        json_each(array.raw, take_first, &f);
    *out = f.v;
    return f.found;
}

/* OpenRouter wraps the real provider's body as a string in metadata.raw, under "Provider returned error". */
static void take_raw(struct arena *a, struct str error, struct said *out) {
    struct json_value raw, inner;
    enum json_kind kind;
    struct json_error err;
    if (!json_path(error, &raw, "metadata", "raw", NULL) || raw.kind != JSON_STRING)
        return;
    struct str text = json_text(a, raw), more = STR_NONE;
    if (json_scan(text, &kind, NULL, NULL, &err) == 0 && kind == JSON_OBJECT) {
        if (json_member(text, "error", &inner) && inner.kind == JSON_OBJECT)
            member_text(a, inner.raw, "message", &more);
        else
            member_text(a, text, "message", &more);
    }
    if (more.n > 0)
        out->message =
            bounded(a, arena_printf(a, STR_FMT ": " STR_FMT, STR_ARG(out->message), STR_ARG(more)));
}

void said_error(struct arena *a, struct json_value error, struct said *out) {
    struct json_value v = error;
    *out = (struct said){.status = 0};
    if (error.kind == JSON_ARRAY && !first_of(error, &v))
        return;
    if (v.kind != JSON_OBJECT) {
        out->message = text_of(a, v);
        return;
    }
    if (!member_text(a, v.raw, "message", &out->message))
        member_text(a, v.raw, "msg", &out->message);
    member_text(a, v.raw, "type", &out->type);
    member_text(a, v.raw, "param", &out->param);
    take_code(a, v.raw, out);
    if (out->code.n == 0)
        member_text(a, v.raw, "status", &out->code); /* Google: "INVALID_ARGUMENT" */
    take_raw(a, v.raw, out);
}

/* FastAPI: {"detail":"..."} or {"detail":[{"loc":[..],"msg":"..","type":".."}]}. */
static void take_detail(struct arena *a, struct str object, struct said *out) {
    struct json_value detail, v;
    if (!json_member(object, "detail", &detail))
        return;
    if (detail.kind == JSON_STRING)
        out->message = text_of(a, detail);
    else if (detail.kind == JSON_OBJECT)
        said_error(a, detail, out);
    else if (first_of(detail, &v)) {
        if (v.kind != JSON_OBJECT || !member_text(a, v.raw, "msg", &out->message))
            out->message = text_of(a, v);
    }
}

void said_body(struct arena *a, struct str body, struct said *out) {
    enum json_kind kind;
    struct json_error err;
    struct json_value whole, error;
    *out = (struct said){.status = 0};
    if (json_scan(body, &kind, NULL, NULL, &err) != 0)
        return;
    whole = (struct json_value){kind, body};
    if (kind == JSON_ARRAY && !first_of(whole, &whole))
        return;
    if (whole.kind == JSON_STRING)
        out->message = text_of(a, whole);
    if (whole.kind != JSON_OBJECT)
        return;
    if (json_member(whole.raw, "error", &error) && error.kind != JSON_NULL) {
        said_error(a, error, out);
        if (out->type.n == 0)
            member_text(a, whole.raw, "error_type", &out->type); /* TGI */
        if (out->code.n == 0)
            take_code(a, whole.raw, out); /* xAI: code beside error */
        return;
    }
    said_error(a, whole, out); /* Mistral, old vLLM, Bedrock: the members at the top */
    if (out->message.n == 0)
        take_detail(a, whole.raw, out);
}

/* --- classing --- */

/* What follows the word, in any case of letters; .p is NULL when the word is not in it. */
static struct str behind(struct str text, const char *word) {
    size_t n = strlen(word);
    for (size_t i = 0; i + n <= text.n; i++)
        if (strncasecmp(text.p + i, word, n) == 0)
            return str_skip(text, i + n);
    return STR_NONE;
}

static bool has(struct str text, const char *word) {
    return behind(text, word).p != NULL;
}

static bool named(const struct said *s, const char *word) {
    return has(s->code, word) || has(s->type, word);
}

static bool is_auth(int status, const struct said *s) {
    if (status == 401 || named(s, "invalid_api_key") || named(s, "authentication_error"))
        return true;
    /* Google and xAI answer 400 to a wrong key. */
    return status == 400 && (has(s->message, "api key not valid") || has(s->message, "incorrect api key"));
}

/* 498 is Groq's capacity, and Cohere's word for a text that it does not pass on. */
static bool is_blocked(int status, const struct said *s) {
    return status == 498 && (has(s->message, "block") || has(s->message, "invalid token"));
}

static bool is_filter(int status, const struct said *s) {
    return named(s, "content_filter") || named(s, "content_policy") || named(s, "moderation") ||
           named(s, "responsibleaipolicy") || is_blocked(status, s) ||
           (status == 403 && (has(s->message, "moderation") || has(s->message, "flagged")));
}

static bool is_quota(int status, const struct said *s) {
    if (status == 402 || named(s, "insufficient_quota") || named(s, "billing"))
        return true;
    return has(s->message, "exceeded your current quota") || has(s->message, "credit balance is too low") ||
           has(s->message, "specified api usage limits");
}

static bool is_context(int status, const struct said *s) {
    if (named(s, "context_length_exceeded"))
        return true;
    if (status == 413 && has(s->message, "tokens per minute")) /* Groq: larger than the whole allowance */
        return true;
    return status != 429 && fault_text_is_context(s->message);
}

static enum fault_class by_name(const struct said *s) {
    if (named(s, "not_found"))
        return FAULT_MODEL_NOT_FOUND;
    if (named(s, "rate_limit") || named(s, "resource_exhausted") || named(s, "too_many_requests"))
        return FAULT_RATE_LIMIT;
    if (named(s, "overloaded") || named(s, "unavailable"))
        return FAULT_OVERLOADED;
    if (named(s, "timeout") || named(s, "deadline_exceeded"))
        return FAULT_TIMEOUT;
    if (named(s, "request_too_large"))
        return FAULT_TOO_LARGE;
    if (named(s, "permission"))
        return FAULT_PROVIDER_AUTH;
    if (named(s, "invalid_request") || named(s, "invalid_argument") || named(s, "invalid_value"))
        return FAULT_BAD_REQUEST;
    return FAULT_SERVER;
}

static enum fault_class by_status(int status, const struct said *s) {
    switch (status) {
    case 404:
        return FAULT_MODEL_NOT_FOUND;
    case 408:
    case 504:
    case 522: /* Cloudflare in front of many: no connection, no answer in time */
    case 524:
        return FAULT_TIMEOUT;
    case 413:
        return FAULT_TOO_LARGE;
    case 424: /* TGI, Bedrock: the model itself failed */
        return FAULT_SERVER;
    case 429:
        return FAULT_RATE_LIMIT;
    case 498: /* Groq: flex capacity */
    case 503:
    case 529: /* Anthropic */
        return FAULT_OVERLOADED;
    default:
        break;
    }
    if (status >= 500)
        return named(s, "overloaded") ? FAULT_OVERLOADED : FAULT_SERVER;
    if (status >= 400)
        return named(s, "model_not_found") || has(s->message, "model identifier is invalid")
                   ? FAULT_MODEL_NOT_FOUND
                   : FAULT_BAD_REQUEST;
    return status == 0 ? by_name(s) : FAULT_SERVER; /* 1xx and 3xx have no business here */
}

static enum fault_class classify(int status, const struct said *s) {
    if (is_auth(status, s))
        return FAULT_PROVIDER_AUTH;
    if (is_filter(status, s))
        return FAULT_CONTENT_FILTER;
    if (is_quota(status, s))
        return FAULT_QUOTA;
    if (status == 403)
        return FAULT_PROVIDER_AUTH;
    if (is_context(status, s))
        return FAULT_CONTEXT_LENGTH;
    return by_status(status, s);
}

/* Parts of types and codes that say something we have an answer to, or nothing that needs one. */
static bool is_known_word(struct str word) {
    static const char *const known[] = {
        "invalid",         "auth",
        "permission",      "denied",
        "forbidden",       "not_found",
        "notfound",        "rate_limit",
        "ratelimit",       "too_many",
        "throttl",         "exhausted",
        "quota",           "billing",
        "credit",          "balance",
        "payment",         "overloaded",
        "unavailable",     "capacity",
        "timeout",         "deadline",
        "too_large",       "context_length",
        "content_",        "moderation",
        "policy",          "safety",
        "unsupported",     "not_supported",
        "server_error",    "internal",
        "api_error",       "bad_request",
        "validation",      "missing",
        "failed",          "unimplemented",
        "aborted",         "cancelled",
        "unprocessable",   "unrecognizedclient",
        "expiredtoken",    "modelerror",
        "modelstream",     "modelnotready",
        "extra_forbidden", "exceeded",
    };
    bool number = true;
    for (size_t i = 0; i < word.n; i++)
        number = number && word.p[i] >= '0' && word.p[i] <= '9';
    for (size_t i = 0; !number && i < sizeof known / sizeof *known; i++)
        if (has(word, known[i]))
            return true;
    return number;
}

/* Type or code, when neither of them tells us anything. */
static struct str unknown_word(struct arena *a, const struct said *s) {
    enum { WORD_MAX = 64 };
    if ((s->type.n && is_known_word(s->type)) || (s->code.n && is_known_word(s->code)))
        return STR_NONE;
    struct str word = s->type.n ? s->type : s->code;
    return word.n == 0 ? STR_NONE : arena_dup(a, str_make(word.p, word.n < WORD_MAX ? word.n : WORD_MAX));
}

/* A provider's own status is kept where it says the same to the client: 4xx for 4xx, 5xx for 5xx. An empty
 * account is ours, not the client's 402. */
static int kept_status(enum fault_class c, int status) {
    if (c == FAULT_QUOTA || status < 400 || status > 599)
        return 0;
    /* A model that failed behind its server is tried again as a 5xx is, but no client is told of another
     * status. */
    return status == 408 || status == 424 || status / 100 == fault_rule(c)->status / 100 ? status : 0;
}

/* --- when to come back --- */

static size_t run_of(struct str s, bool (*fits)(char c)) {
    size_t n = 0;
    while (n < s.n && fits(s.p[n]))
        n++;
    return n;
}

static bool is_number(char c) {
    return (c >= '0' && c <= '9') || c == '.';
}

static bool is_letter(char c) {
    return (c | 0x20) >= 'a' && (c | 0x20) <= 'z';
}

/* In ms; 0: no unit of time. */
static int64_t unit_ms(struct str word) {
    static const struct {
        const char *word;
        int64_t ms;
    } units[] = {{"ms", 1},          {"s", 1000},    {"sec", 1000},     {"second", 1000},
                 {"seconds", 1000},  {"m", 60000},   {"min", 60000},    {"minute", 60000},
                 {"minutes", 60000}, {"h", 3600000}, {"hour", 3600000}, {"hours", 3600000}};
    for (size_t i = 0; i < sizeof units / sizeof *units; i++)
        if (str_isi(word, units[i].word))
            return units[i].ms;
    return 0;
}

/* "7.66s", "20ms", "6m0s", "5 seconds" in front of anything; -1 for anything else. */
static int64_t duration_ms(struct str s) {
    enum { PARTS = 4, NANO = 1000000000 };
    int64_t sum = -1, nano;
    for (int i = 0; i < PARTS; i++) {
        size_t n = run_of(s, is_number);
        struct str number = str_make(s.p, n);
        s = str_skip(s, n);
        if (str_starts(s, " "))
            s = str_skip(s, 1);
        n = run_of(s, is_letter);
        int64_t unit = unit_ms(str_make(s.p, n));
        if (!unit || !decimal_nano(number, &nano))
            break;
        sum = (sum < 0 ? 0 : sum) + nano / NANO * unit + (nano % NANO * unit + NANO - 1) / NANO;
        s = str_skip(s, n);
    }
    return sum;
}

/* OpenAI and Groq say "Please try again in 7.66s", Google "Please retry in 34.4s", Azure "Please retry after
 * 26 seconds", not always with a header beside it. */
static int64_t said_retry_ms(struct str message) {
    static const char *const words[] = {"try again in ", "retry in ", "retry after "};
    struct str when = STR_NONE;
    for (size_t i = 0; i < sizeof words / sizeof *words && !when.p; i++)
        when = behind(message, words[i]);
    return duration_ms(when);
}

void said_fault(struct arena *a, int status, const struct said *s, struct fault *f) {
    int known = status ? status : s->status;
    enum fault_class c = classify(known, s);
    if (c == FAULT_PROVIDER_AUTH) {
        /* Its text may quote our key. */
        fault_set(f, a, c, "the provider refused the gateway's credentials");
    } else if (s->message.n == 0) {
        if (known)
            fault_set(f, a, c, "the provider answered with status %d and no usable error body", known);
        else
            fault_set(f, a, c, "the provider reported an error without a message");
    } else {
        fault_set(f, a, c, "%s", "");
        f->message = s->message;
        f->param = s->param;
        if (c !=
            FAULT_CONTEXT_LENGTH) { /* clients look for OpenAI's code here, whatever a provider calls it */
            f->type = s->type;
            f->code = s->code;
        }
    }
    if (c != FAULT_PROVIDER_AUTH)
        f->unknown = unknown_word(a, s);
    f->from_provider = true;
    f->status = status ? kept_status(c, status) : 0;
    if (c == FAULT_RATE_LIMIT || c == FAULT_QUOTA)
        f->retry_after_ms = said_retry_ms(s->message);
}

/* "Sun, 06 Nov 1994 08:49:37 GMT" (RFC 9110, 5.6.7; the two old forms are not read). */
static bool http_date_ms(struct str s, int64_t *ms) {
    static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    char text[32];
    if (s.n != 29 || !str_ends(s, " GMT") || s.p[3] != ',' || s.p[7] != ' ' || s.p[11] != ' ' ||
        s.p[16] != ' ')
        return false;
    for (int month = 0; month < 12; month++)
        if (memcmp(months + (size_t)month * 3, s.p + 8, 3) == 0) {
            snprintf(text, sizeof text, "%.4s-%02d-%.2sT%.8sZ", s.p + 12, month + 1, s.p + 5, s.p + 17);
            return clock_parse(str_of(text), ms);
        }
    return false;
}

/* From the answer's own date to the one it names; -1 where one of them is none. */
static int64_t until_date_ms(struct str when, struct str now) {
    int64_t then, at;
    if (!http_date_ms(when, &then) || (!http_date_ms(now, &at) && !clock_parse(now, &at)))
        return -1;
    return then > at ? then - at : 0;
}

void retry_hints(struct str (*header)(void *arg, const char *name), void *arg, struct fault *f) {
    int64_t nano;
    struct str ms = str_trim(header(arg, "retry-after-ms")), s = str_trim(header(arg, "retry-after"));
    if (decimal_nano(ms, &nano))
        f->retry_after_ms = nano / 1000000000;
    else if (decimal_nano(s, &nano))
        f->retry_after_ms = nano / 1000000;
    else if (until_date_ms(s, str_trim(header(arg, "date"))) >= 0)
        f->retry_after_ms = until_date_ms(s, str_trim(header(arg, "date")));
    if (str_isi(str_trim(header(arg, "x-should-retry")), "false"))
        f->retry_said_no = true;
}

void said_read_fault(struct arena *a, int status, struct str body,
                     struct str (*header)(void *arg, const char *name), void *arg, struct fault *f) {
    struct said said;
    said_body(a, body, &said);
    said_fault(a, status, &said, f);
    retry_hints(header, arg, f);
}

void note_stop(struct arena *a, struct observed *o, enum stop_reason stop, struct str word) {
    enum { WORD_MAX = 64 };
    o->stop = stop;
    if (stop == STOP_UNKNOWN)
        o->unknown = arena_dup(a, str_make(word.p, word.n < WORD_MAX ? word.n : WORD_MAX));
}

bool call_id_is_none(struct str id) {
    enum { COUNTED = 2 }; /* digits */
    for (size_t i = 0; i < id.n; i++)
        if (id.p[i] < '0' || id.p[i] > '9')
            return false;
    return id.n <= COUNTED;
}

struct str call_id_minted(struct arena *a, uint64_t seed, size_t k) {
    return arena_printf(a, "call_%016llx%zu", (unsigned long long)seed, k);
}

struct str tree_text(struct arena *a, struct json_object *tree) {
    struct buf b;
    struct jw w;
    buf_init(&b, 0);
    jw_init(&w, &b);
    jw_tree(&w, tree);
    struct str s = arena_dup(a, buf_str(&b));
    buf_free(&b);
    return s;
}

/* --- numbers --- */

static bool grow(int64_t *v, unsigned digit) {
    return !__builtin_mul_overflow(*v, (int64_t)10, v) && !__builtin_add_overflow(*v, (int64_t)digit, v);
}

struct decimal {
    int64_t v;
    int places;   /* behind the point, in v */
    int dropped;  /* digits in front of the point that did not fit: none allowed */
    bool any, up; /* a digit was seen; the first digit left out rounds up */
    bool left_out;
};

static size_t read_digits(struct str t, struct decimal *d) {
    size_t i = 0;
    bool point = false;
    for (; i < t.n; i++) {
        if (t.p[i] == '.' && !point) {
            point = true;
            continue;
        }
        unsigned digit = (unsigned)(t.p[i] - '0');
        if (digit > 9)
            break;
        d->any = true;
        if (d->left_out || d->v > INT64_MAX / 100) { /* full: the rest only counts for the place */
            if (!d->left_out)
                d->up = digit >= 5;
            d->left_out = true;
            d->dropped += !point;
        } else {
            grow(&d->v, digit);
            d->places += point;
        }
    }
    return i;
}

static bool read_exponent(struct str t, int *out) {
    uint64_t n;
    *out = 0;
    if (t.n == 0)
        return true;
    if (t.p[0] != 'e' && t.p[0] != 'E')
        return false;
    t = str_skip(t, 1);
    bool minus = t.n > 0 && t.p[0] == '-';
    if (minus || (t.n > 0 && t.p[0] == '+'))
        t = str_skip(t, 1);
    if (!str_u64(t, &n))
        return false;
    *out = n > 1000 ? 1000 : (int)n;
    if (minus)
        *out = -*out;
    return true;
}

bool decimal_nano(struct str text, int64_t *out) {
    struct decimal d = {.v = 0};
    int exponent;
    size_t n = read_digits(text, &d);
    if (!d.any || !read_exponent(str_skip(text, n), &exponent))
        return false;
    int scale = NANO_DIGITS - d.places + d.dropped + exponent;
    for (; scale > 0 && d.v != 0; scale--)
        if (!grow(&d.v, 0))
            return false;
    if (scale < 0)
        d.up = false;
    for (; scale < 0 && (d.v != 0 || d.up); scale++) {
        d.up = d.v % 10 >= 5;
        d.v /= 10;
    }
    *out = d.v + d.up;
    return true;
}

bool said_garbage(struct arena *a, struct fault *f, const char *why) {
    fault_set(f, a, FAULT_SERVER, "the provider's answer %s", why);
    f->from_provider = true;
    return false;
}
