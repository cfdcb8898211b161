/* Small texts of HTTP: reason phrases, dates, percent-escapes. Pure. */
#include "text.h"
#include "http/server.h"
#include <time.h>

const char *http_reason(int status) {
    static const struct {
        int status;
        const char *text;
    } known[] = {
        {100, "Continue"},
        {200, "OK"},
        {201, "Created"},
        {202, "Accepted"},
        {204, "No Content"},
        {206, "Partial Content"},
        {301, "Moved Permanently"},
        {302, "Found"},
        {303, "See Other"},
        {304, "Not Modified"},
        {307, "Temporary Redirect"},
        {308, "Permanent Redirect"},
        {400, "Bad Request"},
        {401, "Unauthorized"},
        {402, "Payment Required"},
        {403, "Forbidden"},
        {404, "Not Found"},
        {405, "Method Not Allowed"},
        {406, "Not Acceptable"},
        {408, "Request Timeout"},
        {409, "Conflict"},
        {410, "Gone"},
        {411, "Length Required"},
        {412, "Precondition Failed"},
        {413, "Content Too Large"},
        {414, "URI Too Long"},
        {415, "Unsupported Media Type"},
        {417, "Expectation Failed"},
        {421, "Misdirected Request"},
        {422, "Unprocessable Content"},
        {424, "Failed Dependency"},
        {425, "Too Early"},
        {426, "Upgrade Required"},
        {428, "Precondition Required"},
        {429, "Too Many Requests"},
        {431, "Request Header Fields Too Large"},
        {451, "Unavailable For Legal Reasons"},
        {500, "Internal Server Error"},
        {501, "Not Implemented"},
        {502, "Bad Gateway"},
        {503, "Service Unavailable"},
        {504, "Gateway Timeout"},
        {505, "HTTP Version Not Supported"},
        {529, "Overloaded"}, /* Anthropic's */
    };
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (known[i].status == status)
            return known[i].text;
    return "Unknown";
}

static char *two_digits(char *to, int v) {
    to[0] = (char)('0' + v / 10 % 10);
    to[1] = (char)('0' + v % 10);
    return to + 2;
}

static void three_letters(char *to, const char *from) {
    memcpy(to, from, 3);
}

void http_date(char out[HTTP_DATE_BYTES], int64_t unix_s) {
    static const char days[] = "SunMonTueWedThuFriSat", months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    time_t t = (time_t)unix_s;
    struct tm tm;
    if (!gmtime_r(&t, &tm))
        memset(&tm, 0, sizeof tm);
    memcpy(out, "xxx, 00 xxx 0000 00:00:00 GMT", HTTP_DATE_BYTES);
    three_letters(out, days + tm.tm_wday % 7 * 3);
    two_digits(out + 5, tm.tm_mday);
    three_letters(out + 8, months + tm.tm_mon % 12 * 3);
    two_digits(two_digits(out + 12, (tm.tm_year + 1900) / 100), tm.tm_year + 1900);
    two_digits(out + 17, tm.tm_hour);
    two_digits(out + 20, tm.tm_min);
    two_digits(out + 23, tm.tm_sec);
}

static int hex_digit(char c) {
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* A NUL is malformed too: no text of ours holds one. */
static struct str unescape(struct arena *a, struct str s, bool plus_is_space) {
    char *out = arena_alloc(a, s.n + 1);
    size_t n = 0;
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        if (c == '+' && plus_is_space)
            c = ' ';
        if (c == '%') {
            int high = s.n - i > 2 ? hex_digit(s.p[i + 1]) : -1;
            int low = s.n - i > 2 ? hex_digit(s.p[i + 2]) : -1;
            if (high < 0 || low < 0)
                return STR_NONE;
            c = (char)(high << 4 | low);
            i += 2;
        }
        if (c == '\0')
            return STR_NONE;
        out[n++] = c;
    }
    return str_make(out, n);
}

struct str http_unescape(struct arena *a, struct str s) {
    return unescape(a, s, false);
}

static bool name_matches(struct arena *a, struct str raw, const char *name) {
    if (!memchr(raw.p, '%', raw.n) && !memchr(raw.p, '+', raw.n))
        return str_is(raw, name);
    struct str decoded = unescape(a, raw, true);
    return decoded.p && str_is(decoded, name);
}

struct str http_query(struct arena *a, struct str query, const char *name) {
    struct str pair;
    while (str_next(&query, '&', &pair)) {
        struct str key;
        if (pair.n == 0)
            continue;
        struct str value = pair;
        str_next(&value, '=', &key);
        if (name_matches(a, key, name))
            return unescape(a, value.p ? value : STR(""), true);
    }
    return STR_NONE;
}
