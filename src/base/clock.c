/* Clocks, and RFC 3339 both ways by arithmetic alone: gmtime_r takes a lock and reads the zone, and this is
 * called for every line of the logs. */
#include "base/clock.h"
#include "base/die.h"
#include <time.h>

uint64_t clock_ns(void) {
    struct timespec t;
    MUST(clock_gettime(CLOCK_MONOTONIC, &t) == 0);
    return (uint64_t)t.tv_sec * 1000000000U + (uint64_t)t.tv_nsec;
}

uint64_t clock_coarse_ns(void) {
    struct timespec t;
    MUST(clock_gettime(CLOCK_MONOTONIC_COARSE, &t) == 0);
    return (uint64_t)t.tv_sec * 1000000000U + (uint64_t)t.tv_nsec;
}

uint64_t clock_ms(void) {
    return clock_ns() / 1000000U;
}

int64_t clock_wall_ms(void) {
    struct timespec t;
    MUST(clock_gettime(CLOCK_REALTIME, &t) == 0);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* Days since 1970-01-01 in the Gregorian calendar, and back. Years begin in March here, so that the leap day
 * is the last of its year; 146097 days are 400 years. */
static int64_t days_of(int year, int month, int day) {
    int64_t y = year - (month <= 2);
    int64_t era = (y >= 0 ? y : y - 399) / 400;
    int64_t yoe = y - era * 400;
    int64_t doy = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    return era * 146097 + yoe * 365 + yoe / 4 - yoe / 100 + doy - 719468;
}

static void date_of(int64_t days, int64_t *year, int *month, int *day) {
    days += 719468;
    int64_t era = (days >= 0 ? days : days - 146096) / 146097;
    int64_t doe = days - era * 146097;
    int64_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
    int64_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    int64_t mp = (5 * doy + 2) / 153;
    *day = (int)(doy - (153 * mp + 2) / 5 + 1);
    *month = (int)(mp < 10 ? mp + 3 : mp - 9);
    *year = yoe + era * 400 + (*month <= 2);
}

static void put_digits(char *to, int digits, int64_t v) {
    while (digits > 0) {
        to[--digits] = (char)('0' + v % 10);
        v /= 10;
    }
}

void clock_rfc3339(char out[CLOCK_RFC3339_SIZE], int64_t wall_ms) {
    enum { DAY_MS = 86400000 };
    int64_t days = wall_ms / DAY_MS, ms = wall_ms % DAY_MS, year;
    if (ms < 0) {
        ms += DAY_MS;
        days--;
    }
    int month, day;
    date_of(days, &year, &month, &day);
    if (year < 0 || year > 9999) { /* has no such form: the nearest end of what has */
        bool low = year < 0;
        year = low ? 0 : 9999;
        month = low ? 1 : 12;
        day = low ? 1 : 31;
        ms = low ? 0 : DAY_MS - 1;
    }
    memcpy(out, "0000-00-00T00:00:00.000Z", CLOCK_RFC3339_SIZE);
    put_digits(out, 4, year);
    put_digits(out + 5, 2, month);
    put_digits(out + 8, 2, day);
    put_digits(out + 11, 2, ms / 3600000);
    put_digits(out + 14, 2, ms / 60000 % 60);
    put_digits(out + 17, 2, ms / 1000 % 60);
    put_digits(out + 20, 3, ms % 1000);
}

static bool take_number(struct str *s, size_t digits, int least, int most, int *out) {
    uint64_t v;
    if (s->n < digits || !str_u64(str_make(s->p, digits), &v) || v < (uint64_t)least || v > (uint64_t)most)
        return false;
    *s = str_skip(*s, digits);
    *out = (int)v;
    return true;
}

static bool take_char(struct str *s, const char *any_of) {
    if (s->n == 0 || s->p[0] == '\0' || !strchr(any_of, s->p[0]))
        return false;
    *s = str_skip(*s, 1);
    return true;
}

static int days_in(int year, int month) {
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    return month == 2 && leap ? 29 : days[month - 1];
}

static bool take_date(struct str *s, int64_t *days) {
    int year, month, day;
    if (!take_number(s, 4, 0, 9999, &year) || !take_char(s, "-") || !take_number(s, 2, 1, 12, &month) ||
        !take_char(s, "-") || !take_number(s, 2, 1, days_in(year, month), &day))
        return false;
    *days = days_of(year, month, day);
    return true;
}

/* Milliseconds of the day. A second of 60 (a leap second) is the next minute's first. */
static bool take_time(struct str *s, int64_t *ms) {
    int hour, minute, second, fraction = 0, weight = 100;
    if (!take_number(s, 2, 0, 23, &hour) || !take_char(s, ":") || !take_number(s, 2, 0, 59, &minute) ||
        !take_char(s, ":") || !take_number(s, 2, 0, 60, &second))
        return false;
    if (take_char(s, ".")) {
        int digit;
        if (!take_number(s, 1, 0, 9, &digit))
            return false;
        do { /* digits beyond the third weigh nothing */
            fraction += digit * weight;
            weight /= 10;
        } while (take_number(s, 1, 0, 9, &digit));
    }
    *ms = ((int64_t)hour * 60 + minute) * 60000 + (int64_t)second * 1000 + fraction;
    return true;
}

static bool take_zone(struct str *s, int64_t *east_ms) {
    int hour, minute;
    *east_ms = 0;
    if (take_char(s, "Zz"))
        return true;
    bool west = s->n > 0 && s->p[0] == '-';
    if (!take_char(s, "+-") || !take_number(s, 2, 0, 23, &hour) || !take_char(s, ":") ||
        !take_number(s, 2, 0, 59, &minute))
        return false;
    *east_ms = ((int64_t)hour * 60 + minute) * (west ? -60000 : 60000);
    return true;
}

bool clock_parse(struct str s, int64_t *wall_ms) {
    int64_t days, ms = 0, east = 0;
    if (!take_date(&s, &days))
        return false;
    if (s.n > 0 && (!take_char(&s, "Tt") || !take_time(&s, &ms) || !take_zone(&s, &east)))
        return false;
    if (s.n > 0)
        return false;
    *wall_ms = days * 86400000 + ms - east;
    return true;
}
