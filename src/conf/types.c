/* A row for each type of option: how it is read, printed, and named to people. Printed values read back as
 * the same value, and defaults go through the same readers. */
#include "base/clock.h"
#include "base/die.h"
#include "base/hash.h"
#include "schema.h"
#include <stdio.h>
#include <unistd.h>

_Static_assert(sizeof(enum conf_hedge) == sizeof(unsigned), "choices are stored as unsigned");
_Static_assert(sizeof(enum conf_strategy) == sizeof(unsigned) && sizeof(enum log_level) == sizeof(unsigned),
               "choices are stored as unsigned");

/* ---- words ---- */

bool word_next(struct str *rest, struct str *word) {
    do {
        if (!str_next(rest, ' ', word))
            return false;
    } while (word->n == 0);
    return true;
}

bool word_is(struct str word, struct str name) {
    struct str one;
    while (str_next(&word, '|', &one))
        if (kind_name_eq(one, name))
            return true;
    return false;
}

const char *conf_strategy_name(enum conf_strategy s) {
    static const char *const names[] = {"fallback", "weighted", "round-robin", "health",
                                        "cost",     "latency",  "least-busy"};
    return names[s];
}

unsigned conf_surface_of(struct str name) {
    struct str rest = STR(CONF_SURFACES), word;
    for (unsigned bit = 0; word_next(&rest, &word); bit++)
        if (word_is(word, name))
            return 1U << bit;
    return 0;
}

bool conf_strategy_of(struct str name, enum conf_strategy *out) {
    struct str rest = STR(CONF_STRATEGIES), word;
    for (unsigned i = 0; word_next(&rest, &word); i++)
        if (word_is(word, name)) {
            *out = (enum conf_strategy)i;
            return true;
        }
    return false;
}

struct str word_first(struct str word) {
    struct str one = STR_NONE;
    str_next(&word, '|', &one);
    return one;
}

static int word_find(const char *words, struct str name) {
    struct str rest = str_of(words), word;
    for (int i = 0; word_next(&rest, &word); i++)
        if (word_is(word, name))
            return i;
    return -1;
}

static struct str word_at(const char *words, unsigned i) {
    struct str rest = str_of(words), word = STR_NONE;
    while (word_next(&rest, &word))
        if (i-- == 0)
            return word_first(word);
    return STR_NONE;
}

static void list_words(struct buf *out, const char *words) {
    struct str rest = str_of(words), word, next;
    bool more = word_next(&rest, &word), first = true;
    while (more) {
        more = word_next(&rest, &next);
        if (!first)
            buf_addz(out, more ? ", " : " or ");
        buf_adds(out, word_first(word));
        first = false;
        word = next;
    }
}

static void list_faults(struct buf *out) {
    bool first = true;
    for (int c = FAULT_NONE + 1; c < FAULT_CLASSES; c++) {
        const struct fault_rule *rule = fault_rule((enum fault_class)c);
        if (!rule->tries)
            continue;
        buf_addz(out, first ? "" : ", ");
        buf_addz(out, rule->name);
        first = false;
    }
}

static void list_kinds(struct buf *out, const struct provider_kinds *k) {
    for (size_t i = 0; i < k->n; i++)
        buf_printf(out, "%s%s", i ? ", " : "", k->row[i].name);
}

/* ---- messages ---- */

static void range_end(struct buf *out, const struct option *o, uint64_t v) {
    if (o->type == TYPE_DURATION)
        print_duration(out, v);
    else if (o->type == TYPE_SIZE)
        print_size(out, v);
    else if (o->type == TYPE_MODE)
        buf_printf(out, "%04llo", (unsigned long long)v);
    else
        buf_addu(out, v);
}

void type_allowed(struct buf *out, const struct option *o) {
    if (o->type == TYPE_CHOICE || o->type == TYPE_FLAGS) {
        list_words(out, o->words);
    } else if (o->type == TYPE_FAULTS) {
        list_faults(out);
    } else if (o->type >= TYPE_TEXT && o->type <= TYPE_LOG_TARGET) {
        return;
    } else if (o->max) {
        range_end(out, o, o->min);
        buf_addz(out, " to ");
        range_end(out, o, o->max);
    } else if (o->min) {
        buf_addz(out, "at least ");
        range_end(out, o, o->min);
    }
}

/* What is there, in a form that may be shown: what came out of ${...} may be a secret, so its source is
 * named. */
static const char *got(const struct reading *r, char out[96]) {
    const struct node *n = r->at->node;
    struct str s = n->raw.p != n->text.p ? n->raw : r->text;
    char cut[60];
    str_copy(cut, sizeof cut, s);
    for (char *c = cut; *c; c++)
        if ((unsigned char)*c < ' ' || *c == 0x7f)
            *c = '?';
    snprintf(out, 96, "\"%s%s\"", cut, s.n >= sizeof cut ? "..." : "");
    return out;
}

static bool refuse(const struct reading *r, const char *expected) {
    char shown[96];
    load_error(r->l, r->at, "expected %s; got %s", expected, got(r, shown));
    return false;
}

static bool refuse_type(const struct reading *r) {
    return refuse(r, conf_types[r->o->type].expected);
}

static bool refuse_range(const struct reading *r) {
    struct buf allowed;
    char shown[96];
    buf_init(&allowed, 0);
    type_allowed(&allowed, r->o);
    load_error(r->l, r->at, "%s is out of range, allowed is " STR_FMT, got(r, shown),
               STR_ARG(buf_str(&allowed)));
    buf_free(&allowed);
    return false;
}

static bool in_range(const struct reading *r, uint64_t v) {
    return v >= r->o->min && (r->o->max == 0 || v <= r->o->max);
}

static void offer_words(struct nearest *n, const char *words) {
    struct str rest = str_of(words), word;
    while (word_next(&rest, &word))
        nearest_offer(n, word_first(word));
}

static bool refuse_word(const struct reading *r) {
    const struct option *o = r->o;
    struct buf allowed;
    struct nearest n;
    char hint[96], shown[96];
    buf_init(&allowed, 0);
    type_allowed(&allowed, o);
    nearest_init(&n, r->text);
    if (o->type == TYPE_FAULTS) {
        for (int c = FAULT_NONE + 1; c < FAULT_CLASSES; c++)
            nearest_offer(&n, str_of(fault_rule((enum fault_class)c)->name));
    } else {
        offer_words(&n, o->words);
    }
    if (o->later && word_find(o->later, r->text) >= 0)
        load_error(r->l, r->at, "%s is not supported by this version, allowed is " STR_FMT, got(r, shown),
                   STR_ARG(buf_str(&allowed)));
    else
        load_error(r->l, r->at, "%s is not known%s; allowed is " STR_FMT, got(r, shown),
                   nearest_hint(&n, hint), STR_ARG(buf_str(&allowed)));
    buf_free(&allowed);
    return false;
}

/* ---- readers ---- */

static bool read_bool(const struct reading *r) {
    bool v;
    bool env = r->at->node->env != NULL; /* there 1 and 0 are usual */
    if (env && (str_is(r->text, "1") || str_is(r->text, "0")))
        v = str_is(r->text, "1");
    else if (!value_bool(r->text, &v))
        return refuse_type(r);
    *(bool *)r->to = v;
    return true;
}

static bool read_u64(const struct reading *r, bool (*parse)(struct str, uint64_t *), uint64_t *v) {
    if (!parse(r->text, v))
        return refuse_type(r);
    return in_range(r, *v) || refuse_range(r);
}

static bool read_count(const struct reading *r) {
    uint64_t v;
    if (!read_u64(r, str_u64, &v))
        return false;
    *(uint64_t *)r->to = v;
    return true;
}

static bool read_number(const struct reading *r) {
    uint64_t v;
    if (!read_u64(r, str_u64, &v))
        return false;
    *(unsigned *)r->to = (unsigned)v; /* every row of this type has a max below UINT_MAX */
    return true;
}

static bool read_rate(const struct reading *r) {
    if (str_isi(r->text, "none") || str_isi(r->text, "unlimited")) {
        *(uint64_t *)r->to = CONF_NO_LIMIT;
        return true;
    }
    uint64_t v;
    if (!str_u64(r->text, &v))
        return refuse_type(r);
    if (v == 0 || v > CONF_LIMIT_MOST)
        return refuse(r, "none, or 1 to 1000000000000000");
    *(uint64_t *)r->to = v;
    return true;
}

static bool read_duration(const struct reading *r) {
    uint64_t v;
    if (!read_u64(r, value_duration, &v))
        return false;
    *(uint64_t *)r->to = v;
    return true;
}

static bool read_size(const struct reading *r) {
    uint64_t v;
    if (!read_u64(r, value_size, &v))
        return false;
    *(uint64_t *)r->to = v;
    return true;
}

static bool read_real(const struct reading *r) {
    double v;
    if (!value_real(r->text, &v))
        return refuse_type(r);
    if (v < (double)r->o->min || v > (double)r->o->max)
        return refuse_range(r);
    *(double *)r->to = v;
    return true;
}

static bool read_price(const struct reading *r) {
    int64_t v;
    if (!value_nano(r->text, &v))
        return refuse_type(r);
    if ((uint64_t)v > r->o->max * NANO)
        return refuse_range(r);
    *(int64_t *)r->to = v;
    return true;
}

static bool plain_text(const struct reading *r) {
    uint64_t max = r->o->max ? r->o->max : 4096;
    if (!value_plain(r->text)) {
        load_error(r->l, r->at, "a line end or another control character, or bytes that are not UTF-8");
        return false;
    }
    if (r->text.n < r->o->min || r->text.n > max) {
        load_error(r->l, r->at, "a text of %zu bytes, allowed is %llu to %llu", r->text.n,
                   (unsigned long long)r->o->min, (unsigned long long)max);
        return false;
    }
    return true;
}

static bool keep_text(const struct reading *r, struct str s) {
    *(const char **)r->to = arena_dupz(r->l->c->arena, s);
    return true;
}

static bool read_text(const struct reading *r) {
    return plain_text(r) && keep_text(r, r->text);
}

static bool read_name(const struct reading *r) {
    bool ok = r->text.n >= 1 && r->text.n <= 64;
    for (size_t i = 0; i < r->text.n && ok; i++) {
        char c = r->text.p[i];
        ok = (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' ||
             c == '_' || c == '-';
    }
    return ok ? keep_text(r, r->text) : refuse_type(r);
}

static bool read_path(const struct reading *r) {
    if (!plain_text(r))
        return false;
    *(const char **)r->to = file_path(r->l->c->arena, r->at->node->file, r->text);
    return true;
}

static bool read_log_target(const struct reading *r) {
    if (str_isi(r->text, "stderr") || str_isi(r->text, "syslog"))
        return keep_text(r, str_isi(r->text, "stderr") ? STR("stderr") : STR("syslog"));
    return r->text.n ? read_path(r) : refuse_type(r);
}

/* How far a URL may go. */
enum url_rest { URL_HOST, URL_PATH, URL_QUERY };

/* The host of a URL and what follows; NULL, or what is wrong. No message quotes the URL: what stands before
 * an @ may be a password. */
static const char *check_authority(struct str s, enum url_rest rest_allowed) {
    bool path_allowed = rest_allowed != URL_HOST;
    size_t n = 0;
    while (n < s.n && s.p[n] != '/' && s.p[n] != '?' && s.p[n] != '#')
        n++;
    struct str host = str_make(s.p, n), rest = str_skip(s, n);
    if (memchr(s.p, '@', n))
        return "a user or password in a URL is not allowed";
    if (n == 0 || host.p[0] == ':')
        return "the URL has no host";
    if (memchr(s.p, '#', s.n) || (rest_allowed != URL_QUERY && memchr(s.p, '?', s.n)))
        return rest_allowed == URL_QUERY ? "a URL with # is not allowed" : "a URL with ? or # is not allowed";
    if (rest.n > 1 && !path_allowed)
        return "a path is not allowed here";
    struct str port = STR_NONE;
    if (host.p[0] == '[') {
        const char *end = memchr(host.p, ']', host.n);
        if (!end)
            return "the URL's host lacks its ]";
        port = str_skip(host, (size_t)(end - host.p) + 1);
    } else {
        const char *colon = memchr(host.p, ':', host.n);
        port = colon ? str_skip(host, (size_t)(colon - host.p)) : STR_NONE;
    }
    uint64_t number;
    if (port.n && (port.p[0] != ':' || !str_u64(str_skip(port, 1), &number) || number < 1 || number > 65535))
        return "the URL's port is not a number from 1 to 65535";
    return NULL;
}

static const char *check_url(struct str s, const char *const *schemes, enum url_rest rest_allowed) {
    for (size_t i = 0; i < s.n; i++)
        if ((unsigned char)s.p[i] <= ' ' || (unsigned char)s.p[i] >= 0x7f || strchr("\"<>\\^`{|}", s.p[i]))
            return "the URL has a character that must be %-encoded";
    for (; *schemes; schemes++)
        if (str_startsi(s, *schemes) && str_starts(str_skip(s, strlen(*schemes)), "://"))
            return check_authority(str_skip(s, strlen(*schemes) + 3), rest_allowed);
    return "";
}

static bool read_url_of(const struct reading *r, const char *const *schemes, enum url_rest rest_allowed) {
    const char *wrong = r->text.n ? check_url(r->text, schemes, rest_allowed) : NULL;
    if (!wrong)
        return read_text(r);
    load_error(r->l, r->at, "%s%s%s", wrong, *wrong ? "; expected " : "expected ",
               conf_types[r->o->type].expected);
    return false;
}

static bool read_url(const struct reading *r) {
    static const char *const schemes[] = {"https", "http", NULL};
    return read_url_of(r, schemes, URL_PATH);
}

static bool read_whole_url(const struct reading *r) {
    static const char *const schemes[] = {"https", "http", NULL};
    return read_url_of(r, schemes, URL_QUERY);
}

static bool read_proxy(const struct reading *r) {
    static const char *const schemes[] = {"https", "http", "socks5", "socks5h", NULL};
    return read_url_of(r, schemes, URL_HOST);
}

static bool read_workers(const struct reading *r) {
    if (!str_isi(r->text, "auto"))
        return read_number(r);
    long n = sysconf(_SC_NPROCESSORS_ONLN);
    *(unsigned *)r->to = n < 1 ? 1 : n > CONF_MAX_WORKERS ? CONF_MAX_WORKERS : (unsigned)n;
    return true;
}

static bool read_mode(const struct reading *r) {
    unsigned v;
    if (!value_octal(r->text, &v))
        return refuse_type(r);
    if (!in_range(r, v))
        return refuse_range(r);
    *(unsigned *)r->to = v;
    return true;
}

static bool read_date(const struct reading *r) {
    int64_t v;
    if (str_isi(r->text, "never"))
        v = 0;
    else if (!clock_parse(r->text, &v) || v <= 0)
        return refuse_type(r);
    *(int64_t *)r->to = v;
    return true;
}

static bool read_choice(const struct reading *r) {
    int i = word_find(r->o->words, r->text);
    if (i < 0)
        return refuse_word(r);
    *(unsigned *)r->to = (unsigned)i;
    return true;
}

/* The last word of a list may be "all". */
static bool read_flag(const struct reading *r) {
    int i = word_find(r->o->words, r->text);
    if (i < 0)
        return refuse_word(r);
    bool all = str_is(word_at(r->o->words, (unsigned)i), "all");
    *(unsigned *)r->to |= all ? SURFACE_ALL : 1U << i;
    return true;
}

static bool read_fault(const struct reading *r) {
    enum fault_class c;
    if (!fault_by_name(r->text, &c) || !fault_rule(c)->tries)
        return refuse_word(r);
    *(unsigned *)r->to |= 1U << c;
    return true;
}

static bool read_kind(const struct reading *r) {
    const struct provider_kind *k = kind_find(r->l->kinds, r->text);
    if (k) {
        *(const struct provider_kind **)r->to = k;
        return true;
    }
    struct buf known;
    struct nearest n;
    char hint[96], shown[96];
    buf_init(&known, 0);
    list_kinds(&known, r->l->kinds);
    nearest_init(&n, r->text);
    for (size_t i = 0; i < r->l->kinds->n; i++)
        nearest_offer(&n, str_of(r->l->kinds->row[i].name));
    bool later = word_find(conf_later_kinds, r->text) >= 0;
    load_error(r->l, r->at, "%s %s%s; allowed is " STR_FMT, got(r, shown),
               later ? "is not supported by this version" : "is no kind of provider",
               later ? "" : nearest_hint(&n, hint), STR_ARG(buf_str(&known)));
    buf_free(&known);
    return false;
}

/* Its value is never quoted: it may be the key itself, misplaced. */
static bool read_hash(const struct reading *r) {
    if (str_startsi(r->text, "sha256:") && hex_decode(r->to, SHA256_SIZE, str_skip(r->text, 7)))
        return true;
    load_error(r->l, r->at, "expected %s", conf_types[TYPE_HASH].expected);
    return false;
}

/* ---- printers ---- */

static bool print_bool(struct buf *out, const struct option *o, const void *from) {
    (void)o;
    buf_addz(out, *(const bool *)from ? "true" : "false");
    return true;
}

static bool print_unsigned(struct buf *out, const struct option *o, const void *from) {
    (void)o;
    buf_addu(out, *(const unsigned *)from);
    return true;
}

static bool print_count(struct buf *out, const struct option *o, const void *from) {
    (void)o;
    buf_addu(out, *(const uint64_t *)from);
    return true;
}

static bool print_rate(struct buf *out, const struct option *o, const void *from) {
    if (*(const uint64_t *)from != CONF_NO_LIMIT)
        return print_count(out, o, from);
    buf_addz(out, "none");
    return true;
}

static bool print_ms(struct buf *out, const struct option *o, const void *from) {
    (void)o;
    print_duration(out, *(const uint64_t *)from);
    if (*(const uint64_t *)from == 0)
        buf_addz(out, "s");
    return true;
}

static bool print_bytes(struct buf *out, const struct option *o, const void *from) {
    (void)o;
    print_size(out, *(const uint64_t *)from);
    return true;
}

static bool print_double(struct buf *out, const struct option *o, const void *from) {
    (void)o;
    print_real(out, *(const double *)from);
    return true;
}

static bool print_price(struct buf *out, const struct option *o, const void *from) {
    (void)o;
    if (*(const int64_t *)from < 0)
        return false;
    print_nano(out, *(const int64_t *)from);
    return true;
}

static bool print_text(struct buf *out, const struct option *o, const void *from) {
    (void)o;
    buf_addz(out, *(const char *const *)from);
    return true;
}

/* What stands behind a ? is a key more often than not. */
static bool print_whole_url(struct buf *out, const struct option *o, const void *from) {
    (void)o;
    struct str url = str_of(*(const char *const *)from);
    const char *query = url.n ? memchr(url.p, '?', url.n) : NULL;
    buf_adds(out, query ? str_make(url.p, (size_t)(query - url.p) + 1) : url);
    if (query)
        buf_addz(out, "<redacted>");
    return true;
}

static bool print_mode(struct buf *out, const struct option *o, const void *from) {
    (void)o;
    buf_printf(out, "%04o", *(const unsigned *)from);
    return true;
}

static bool print_date(struct buf *out, const struct option *o, const void *from) {
    char text[CLOCK_RFC3339_SIZE];
    (void)o;
    int64_t v = *(const int64_t *)from;
    if (v == 0)
        return false;
    clock_rfc3339(text, v);
    buf_addz(out, text);
    return true;
}

static bool print_choice(struct buf *out, const struct option *o, const void *from) {
    buf_adds(out, word_at(o->words, *(const unsigned *)from));
    return true;
}

static bool print_kind(struct buf *out, const struct option *o, const void *from) {
    (void)o;
    const struct provider_kind *k = *(const struct provider_kind *const *)from;
    buf_addz(out, k ? k->name : "");
    return k != NULL;
}

static bool print_hash(struct buf *out, const struct option *o, const void *from) {
    char hex[2 * SHA256_SIZE + 1];
    (void)o;
    hex_encode(hex, from, SHA256_SIZE);
    buf_printf(out, "sha256:%s", hex);
    return true;
}

static const char *take(struct buf *scratch, struct str s) {
    buf_clear(scratch);
    buf_adds(scratch, s);
    buf_addc(scratch, '\0');
    return buf_at(scratch);
}

static const char *flag_item(const struct option *o, const void *from, size_t i, struct buf *scratch) {
    unsigned v = *(const unsigned *)from;
    if (v == SURFACE_ALL)
        return i == 0 ? "all" : NULL;
    for (unsigned bit = 0; bit < 32; bit++)
        if ((v & 1U << bit) && i-- == 0)
            return take(scratch, word_at(o->words, bit));
    return NULL;
}

static const char *fault_item(const struct option *o, const void *from, size_t i, struct buf *scratch) {
    (void)o;
    unsigned v = *(const unsigned *)from;
    for (unsigned c = 0; c < FAULT_CLASSES; c++)
        if ((v & 1U << c) && i-- == 0)
            return take(scratch, str_of(fault_rule((enum fault_class)c)->name));
    return NULL;
}

const struct type_row conf_types[TYPE_LAST] = {
    [TYPE_BOOL] = {"boolean", "true or false", read_bool, print_bool, NULL, false},
    [TYPE_NUMBER] = {"number", "a whole number such as 10", read_number, print_unsigned, NULL, false},
    [TYPE_COUNT] = {"number", "a whole number such as 1000", read_count, print_count, NULL, false},
    [TYPE_RATE] = {"rate", "a whole number such as 100, or none", read_rate, print_rate, NULL, false},
    [TYPE_DURATION] = {"duration", "a duration such as 250ms, 30s, 5m, 24h, 30d", read_duration, print_ms,
                       NULL, false},
    [TYPE_SIZE] = {"size", "a size such as 512B, 64KiB, 32MiB, 1GiB", read_size, print_bytes, NULL, false},
    [TYPE_REAL] = {"decimal", "a decimal such as 0.5", read_real, print_double, NULL, false},
    [TYPE_PRICE] = {"price", "dollars per million tokens, a decimal such as 2.50", read_price, print_price,
                    NULL, false},
    [TYPE_MONEY] = {"money", "dollars, a decimal such as 100 or 0.50", read_price, print_price, NULL, false},
    [TYPE_TEXT] = {"text", "a text", read_text, print_text, NULL, true},
    [TYPE_NAME] = {"name", "a name of 1 to 64 letters, digits, '.', '_' and '-'", read_name, print_text, NULL,
                   true},
    [TYPE_PATH] = {"path", "the path of a file", read_path, print_text, NULL, true},
    [TYPE_URL] = {"url", "a URL such as https://api.example.com/v1", read_url, print_text, NULL, true},
    [TYPE_WHOLE_URL] = {"url", "a URL such as https://alerts.example.com/hook?room=1", read_whole_url,
                        print_whole_url, NULL, true},
    [TYPE_PROXY] = {"url", "a URL such as http://proxy.example.com:3128 (http, https, socks5 or socks5h)",
                    read_proxy, print_text, NULL, true},
    [TYPE_REDIS] = {"url", "a URL such as redis://127.0.0.1:6379", redis_read, print_text, NULL, true},
    [TYPE_LOG_TARGET] = {"target", "stderr, syslog or the path of a file", read_log_target, print_text, NULL,
                         true},
    [TYPE_WORKERS] = {"number", "auto, or a whole number such as 4", read_workers, print_unsigned, NULL,
                      false},
    [TYPE_MODE] = {"mode", "permissions in octal such as 0660", read_mode, print_mode, NULL, true},
    [TYPE_DATE] = {"date", "a date such as 2027-01-01 or 2027-01-01T12:00:00Z", read_date, print_date, NULL,
                   true},
    [TYPE_CHOICE] = {"choice", "one word", read_choice, print_choice, NULL, true},
    [TYPE_FLAGS] = {"list", "a word, or a list of words", read_flag, NULL, flag_item, true},
    [TYPE_FAULTS] = {"list", "a word, or a list of words", read_fault, NULL, fault_item, true},
    [TYPE_KIND] = {"kind", "a kind of provider", read_kind, print_kind, NULL, true},
    [TYPE_HASH] = {"hash", "sha256: and 64 hexadecimal digits", read_hash, print_hash, NULL, true},
    [TYPE_TEXTS] = {"list", "a text, or a list of texts", NULL, NULL, NULL, true},
    [TYPE_HEADERS] = {"headers", "a map of names and texts", NULL, NULL, NULL, true},
    [TYPE_SOURCE] = {"text", "a text", NULL, NULL, NULL, true},
    [TYPE_SECRET] = {"secret", "a map with one of env, file and value, or a text", NULL, NULL, NULL, true},
    [TYPE_LIST] = {"list", "a list of maps", NULL, NULL, NULL, true},
};

bool type_is_scalar(enum option_type t) {
    return conf_types[t].read && !conf_types[t].item;
}
