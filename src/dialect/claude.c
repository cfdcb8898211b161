/* What the models of Claude take, by their names, wherever they are asked. Source: Anthropic's model pages.
 */
#include "claude.h"

bool claude_is_forced(const struct chat *c) {
    return c->choice == CHOICE_REQUIRED || c->choice == CHOICE_NAMED;
}

static size_t digits_at(struct str s) {
    size_t n = 0;
    while (n < s.n && s.p[n] >= '0' && s.p[n] <= '9')
        n++;
    return n;
}

/* 45 of "claude-sonnet-4-5-20250929", 40 of "claude-sonnet-4-20250514", 37 of "claude-3-7-sonnet"; 0:
 * unknown. */
static unsigned version_of(struct str model) {
    for (; model.n > 1; model = str_skip(model, 1)) {
        struct str rest = str_skip(model, 1);
        if (model.p[0] != '-' || digits_at(rest) != 1)
            continue;
        unsigned major = (unsigned)(rest.p[0] - '0') * 10;
        bool more = rest.n > 2 && (rest.p[1] == '-' || rest.p[1] == '.');
        return more && digits_at(str_skip(rest, 2)) == 1 ? major + (unsigned)(rest.p[2] - '0') : major;
    }
    return 0;
}

bool claude_wants_budget(struct str model) {
    unsigned v = version_of(model);
    return v >= 37 && v <= 45;
}

bool claude_takes_sampling(struct str model) {
    unsigned v = version_of(model);
    return v < 47 || (v < 50 && str_find(model, STR("opus")) < 0);
}

bool claude_takes_both(struct str model) {
    return version_of(model) < 41;
}

uint64_t claude_budget(struct str effort) {
    static const struct {
        const char *effort;
        uint64_t tokens;
    } rows[] = {{"minimal", 1024}, {"low", 2048},    {"medium", 10000},
                {"high", 16384},   {"xhigh", 32768}, {"max", 32768}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (str_is(effort, rows[i].effort))
            return rows[i].tokens;
    return 0;
}
