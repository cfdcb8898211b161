/* Names of provider kinds, as people and their environment write them. */
#include "conf/kind.h"

static char folded(char c) {
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c == '-' ? '_' : c;
}

bool kind_name_eq(struct str a, struct str b) {
    if (a.n != b.n)
        return false;
    for (size_t i = 0; i < a.n; i++)
        if (folded(a.p[i]) != folded(b.p[i]))
            return false;
    return true;
}

/* "org/name" */
static bool is_path(struct str id) {
    const char *slash = id.n ? memchr(id.p, '/', id.n) : NULL;
    return slash && slash > id.p && slash + 1 < id.p + id.n;
}

bool kind_infers(const struct provider_kind *k, struct str id) {
    struct str rest = str_of(k->infer), one;
    while (str_next(&rest, ',', &one)) {
        if (str_is(one, "*/*") && is_path(id))
            return true;
        if (one.n > 1 && one.p[one.n - 1] == '*' && id.n >= one.n - 1 && memcmp(one.p, id.p, one.n - 1) == 0)
            return true;
        if (str_eq(one, id))
            return true;
    }
    return false;
}

const struct provider_kind *kind_find(const struct provider_kinds *k, struct str name) {
    for (size_t i = 0; i < k->n; i++) {
        const struct provider_kind *row = &k->row[i];
        if (kind_name_eq(name, str_of(row->name)) || (row->alias && kind_name_eq(name, str_of(row->alias))))
            return row;
    }
    return NULL;
}
