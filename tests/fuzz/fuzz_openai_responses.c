/* Answers of OpenAI Responses, for a client that speaks OpenAI chat. The first byte chooses what the rest is:
 * a stream, a whole answer, an error. */
#include "fuzz_dialect.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 2)
        return 0;
    fuzz_answer(&dialect_openai_responses, data[0], (struct str){(const char *)data + 1, size - 1});
    return 0;
}
