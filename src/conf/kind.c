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

const struct provider_kind *kind_find(const struct provider_kinds *k, struct str name) {
    for (size_t i = 0; i < k->n; i++) {
        const struct provider_kind *row = &k->row[i];
        if (kind_name_eq(name, str_of(row->name)) || (row->alias && kind_name_eq(name, str_of(row->alias))))
            return row;
    }
    return NULL;
}
