/* What stands in front of a usage record that is spent from budgets. It stays in the ring: the ledger keeps
 * the row alone. */
#include "store/record.h"
#include "pack.h"

void record_spent(struct buf *out, const uint32_t *entity, size_t n) {
    char number[4];
    buf_addc(out, (char)(unsigned char)n);
    for (size_t i = 0; i < n; i++) {
        pack_u32(number, entity[i]);
        buf_add(out, number, sizeof number);
    }
}

bool record_spent_read(struct str *payload, uint32_t *entity, size_t max, size_t *n) {
    struct unpack u = {.p = payload->p, .n = payload->n};
    *n = unpack_u8(&u);
    if (*n > max)
        return false;
    for (size_t i = 0; i < *n; i++)
        entity[i] = unpack_u32(&u);
    *payload = str_make(u.p, u.n);
    return !u.bad;
}
