/* Configuration: whatever is accepted must be dumped as a text that is accepted again and dumps the same.
 *   clang -g -O1 -fsanitize=fuzzer,address,undefined -D_GNU_SOURCE -Iinclude tests/fuzz/fuzz_yaml.c
 * src/conf/x.c ... src/base/x.c ... src/llm/fault.c */
#include "base/die.h"
#include "base/json.h"
#include "conf/conf.h"
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct provider_kind rows[] = {
    {.name = "openai", .base_url = "https://api.openai.com/v1", .health_path = "/models", .needs_key = true},
    {.name = "openai_compatible", .base_url = "", .health_path = "/models"},
    {.name = "anthropic", .alias = "claude", .base_url = "https://api.anthropic.com", .needs_key = true},
    {.name = "mock", .base_url = "", .builtin = true},
};
static const struct provider_kinds kinds = {rows, sizeof rows / sizeof *rows};

static void check_errors(const struct conf_errors *e) {
    MUST(e->n > 0 && e->n <= CONF_MAX_ERRORS);
    for (size_t i = 0; i < e->n; i++)
        MUST(strlen(e->list[i].text) > 10);
}

static void check_json(const struct conf *c) {
    struct buf json;
    enum json_kind kind;
    buf_init(&json, 0);
    conf_dump_json(c, &json);
    MUST(json_scan(buf_str(&json), &kind, NULL, NULL, NULL) == 0 && kind == JSON_OBJECT);
    buf_free(&json);
}

/* Environment variables are names for anybody's secret files and values; a dump keeps only their names. */
static void check_dump(const struct conf *c) {
    struct buf one, two;
    struct conf_errors e;
    buf_init(&one, 0);
    buf_init(&two, 0);
    conf_dump_yaml(c, &one);
    struct conf *again = conf_load_text(&kinds, "dump", buf_str(&one), &e);
    MUST(again != NULL);
    conf_dump_yaml(again, &two);
    MUST(str_eq(buf_str(&one), buf_str(&two)));
    conf_free(again);
    conf_errors_free(&e);
    buf_free(&one);
    buf_free(&two);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static bool started;
    if (!started) {
        struct log_target quiet = {"stderr", LVL_ERROR, LOGFMT_TEXT};
        log_open(&quiet);
        clearenv();
        setenv("A", "value", 1);
        started = true;
    }
    struct conf_errors e;
    struct conf *c = conf_load_text(&kinds, "f.yaml", str_make((const char *)data, size), &e);
    if (c) {
        check_json(c);
        check_dump(c);
    } else {
        check_errors(&e);
    }
    conf_free(c);
    conf_errors_free(&e);
    return 0;
}
