#include "base/pattern.h"

#include <stdio.h>

static bool has_reference(const char *pattern) {
    for (const char *p = pattern; *p; p++)
        if (*p == '\\' && *++p >= '1' && *p <= '9')
            return true;
        else if (!*p)
            break;
    return false;
}

bool pattern_compile(regex_t *out, const char *pattern, char err[256]) {
    char why[128];
    if (has_reference(pattern)) {
        snprintf(err, 256, "%.100s: back references are not allowed", pattern);
        return false;
    }
    int rc = regcomp(out, pattern, REG_EXTENDED);
    if (rc == 0)
        return true;
    regerror(rc, NULL, why, sizeof why);
    snprintf(err, 256, "%.100s: %s", pattern, why);
    return false;
}
