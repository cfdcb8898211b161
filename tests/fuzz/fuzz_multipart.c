/* Forms: in any pieces the same is found, and where it is said to lie. The first line is the content type. */
#include "base/die.h"
#include "http/multipart.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void feed(struct multipart *m, struct str body, size_t step) {
    for (; body.n; body = str_skip(body, step < body.n ? step : body.n))
        multipart_feed(m, str_make(body.p, step < body.n ? step : body.n));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const uint8_t *end = memchr(data, '\n', size);
    struct multipart whole, bytes;
    if (!end)
        return 0;
    struct str type = str_make((const char *)data, (size_t)(end - data)),
               body = str_make((const char *)end + 1, size - type.n - 1);
    if (!multipart_init(&whole, type, "model"))
        return 0;
    multipart_init(&bytes, type, "model");
    feed(&whole, body, body.n);
    feed(&bytes, body, 1);
    MUST(whole.found == bytes.found && whole.bad == bytes.bad && whole.seen == bytes.seen);
    if (whole.found) {
        MUST(str_eq(whole.value, bytes.value) && whole.at == bytes.at);
        MUST(whole.at + whole.value.n <= body.n);
        MUST(whole.value.n == 0 || memcmp(body.p + whole.at, whole.value.p, whole.value.n) == 0);
    }
    return 0;
}
