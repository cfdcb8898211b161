/* Masks: whatever comes, the same whole, byte by byte and cut as the input says, and not longer than
 * promised. clang -g -O1 -fsanitize=fuzzer,address,undefined -D_GNU_SOURCE -Iinclude tests/fuzz/fuzz_mask.c
 * src/policy/mask*.c src/base/x.c ... */
#include "base/die.h"
#include "policy/mask.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct mask *masks(bool patterns) {
    static struct mask *made[2];
    static const char *const own[] = {"[A-Z]{3}-[0-9]+", "x+y?$"};
    char err[256];
    if (!made[patterns])
        made[patterns] = mask_new(MASK_BUILTIN, own, patterns ? 2 : 0, err);
    MUST(made[patterns] != NULL);
    return made[patterns];
}

static void in_pieces(const struct mask *m, struct str text, size_t piece, struct buf *out) {
    struct mask_stream s;
    buf_init(out, 0);
    mask_open(&s, m);
    while (text.n > 0) {
        size_t n = text.n < piece ? text.n : piece;
        mask_push(&s, str_make(text.p, n), out);
        text = str_skip(text, n);
    }
    mask_close(&s, out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 1)
        return 0;
    const struct mask *m = masks(data[0] & 1);
    const struct str text = str_make((const char *)data + 1, size - 1);
    const size_t pieces[] = {1, 1 + data[0], SIZE_MAX};
    struct buf whole, cut;
    buf_init(&whole, 0);
    mask_text(m, text, &whole);
    MUST(buf_len(&whole) <= MASK_GROWTH * text.n);
    for (size_t i = 0; i < sizeof pieces / sizeof *pieces; i++) {
        in_pieces(m, text, pieces[i], &cut);
        MUST(str_eq(buf_str(&whole), buf_str(&cut)));
        buf_free(&cut);
    }
    buf_free(&whole);
    return 0;
}
