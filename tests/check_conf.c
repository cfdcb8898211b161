/* Unit tests of conf/. With --write-docs, run from the top of the source tree, it writes conf/penstock.yaml
 * and the options of doc/penstock.yaml.5 anew. */
#include "base/die.h"
#include "conf_cases.h"
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static const struct provider_kind rows[] = {
    {.name = "openai",
     .base_url = "https://api.openai.com/v1",
     .env_keys = "OPENAI_API_KEY",
     .env_url = "OPENAI_BASE_URL",
     .health_path = "/models",
     .needs_key = true},
    {.name = "openrouter",
     .base_url = "https://openrouter.ai/api/v1",
     .env_keys = "OPENROUTER_API_KEY",
     .env_url = "OPENROUTER_BASE_URL",
     .health_path = "/models",
     .needs_key = true},
    {.name = "openai_compatible",
     .base_url = "",
     .env_keys = "OPENAI_COMPATIBLE_KEY",
     .env_url = "OPENAI_COMPATIBLE_URL",
     .health_path = "/models"},
    {.name = "anthropic",
     .alias = "claude",
     .base_url = "https://api.anthropic.com",
     .env_keys = "ANTHROPIC_API_KEY,CLAUDE_API_KEY",
     .env_url = "ANTHROPIC_BASE_URL",
     .health_path = "/v1/models",
     .needs_key = true},
    {.name = "azure",
     .base_url = "",
     .auth = AUTH_KIND_API_KEY,
     .env_keys = "AZURE_OPENAI_API_KEY",
     .env_url = "AZURE_OPENAI_ENDPOINT",
     .api_version = "2024-10-21",
     .needs_key = true},
    {.name = "bedrock",
     .base_url = "https://bedrock-runtime.{region}.amazonaws.com",
     .auth = AUTH_KIND_SIGV4,
     .env_keys = "AWS_BEARER_TOKEN_BEDROCK",
     .env_url = "",
     .needs_key = true},
    {.name = "vertex",
     .base_url = "https://{location}-aiplatform.googleapis.com/{project}",
     .auth = AUTH_KIND_SERVICE_ACCOUNT,
     .env_keys = "",
     .env_url = "",
     .location = "global",
     .needs_key = true},
    {.name = "mock", .base_url = "", .env_keys = "", .env_url = "", .health_path = "", .builtin = true},
};
const struct provider_kinds test_kinds = {rows, sizeof rows / sizeof *rows};
struct conf_errors errors;
char test_dir[64];

const char *test_path(const char *name) {
    static char path[256];
    snprintf(path, sizeof path, "%s/%s", test_dir, name);
    return path;
}

void test_file_bytes(const char *name, const void *p, size_t n) {
    FILE *f = fopen(test_path(name), "w");
    ck_assert_ptr_nonnull(f);
    ck_assert_uint_eq(fwrite(p, 1, n, f), n);
    ck_assert_int_eq(fclose(f), 0);
}

void test_file(const char *name, const char *text) {
    test_file_bytes(name, text, strlen(text));
}

struct conf *load_file(const char *name) {
    char path[256];
    snprintf(path, sizeof path, "%s", test_path(name));
    struct conf_source src = {.kinds = &test_kinds, .file = path, .file_required = true};
    conf_errors_free(&errors);
    return conf_load(&src, &errors);
}

struct conf *load_text(const char *yaml) {
    test_file("penstock.yaml", yaml);
    return load_file("penstock.yaml");
}

struct conf *load_ok(const char *yaml) {
    struct conf *c = load_text(yaml);
    ck_assert_msg(c != NULL, "%s", errors.n ? errors.list[0].text : "no conf and no error");
    ck_assert_uint_eq(errors.n, 0);
    return c;
}

struct conf *load_env(const char *env_file) {
    struct conf_source src = {
        .kinds = &test_kinds, .file = "/nonexistent/penstock.yaml", .env_file = env_file, .foreground = true};
    conf_errors_free(&errors);
    return conf_load(&src, &errors);
}

void must_say(const char *want) {
    char whole[700];
    bool place = strncmp(want, "...", 3) != 0;
    if (place)
        snprintf(whole, sizeof whole, "%s:%s", test_path("penstock.yaml"), want);
    else
        snprintf(whole, sizeof whole, "%s", want + 3);
    for (size_t i = 0; i < errors.n; i++)
        if (strncmp(errors.list[i].text, whole, strlen(whole)) == 0)
            return;
    for (size_t i = 0; i < errors.n; i++)
        fprintf(stderr, "  said: %s\n", errors.list[i].text);
    ck_abort_msg("nobody said: %s", whole);
}

void refused(const char *yaml, const char *want) {
    struct conf *c = load_text(yaml);
    ck_assert_msg(c == NULL, "taken: %s", yaml);
    must_say(want);
}

bool warned(const struct conf *c, const char *part) {
    for (size_t i = 0; i < c->nwarnings; i++)
        if (strstr(c->warnings[i], part))
            return true;
    return false;
}

void done(struct conf *c) {
    conf_free(c);
    conf_errors_free(&errors);
}

/* Only what a test sets itself. */
static void clean_environment(void) {
    static const char *const keep[] = {"PATH",        "srcdir",       "CK_FORK",       "CK_VERBOSITY",
                                       "CK_RUN_CASE", "ASAN_OPTIONS", "UBSAN_OPTIONS", "CK_DEFAULT_TIMEOUT"};
    char *values[sizeof keep / sizeof *keep];
    for (size_t i = 0; i < sizeof keep / sizeof *keep; i++)
        values[i] = getenv(keep[i]) ? mem_dupz(getenv(keep[i])) : NULL;
    clearenv();
    for (size_t i = 0; i < sizeof keep / sizeof *keep; i++) {
        if (values[i])
            setenv(keep[i], values[i], 1);
        mem_free(values[i]);
    }
}

static void remove_dir(const char *path) {
    DIR *d = opendir(path);
    char name[512];
    for (struct dirent *e; d && (e = readdir(d));) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        snprintf(name, sizeof name, "%.200s/%.255s", path, e->d_name);
        if (unlink(name) < 0)
            remove_dir(name);
    }
    if (d)
        closedir(d);
    rmdir(path);
}

int main(int argc, char **argv) {
    if (argc == 2 && strcmp(argv[1], "--write-docs") == 0)
        return write_docs();
    clean_environment();
    struct log_target quiet = {"stderr", LVL_ERROR, LOGFMT_TEXT};
    log_open(&quiet);
    snprintf(test_dir, sizeof test_dir, "%s", "/tmp/check_conf.XXXXXX");
    if (!mkdtemp(test_dir))
        die("mkdtemp");
    Suite *s = suite_create("conf");
    suite_add_tcase(s, case_conf_file());
    suite_add_tcase(s, case_conf_errors());
    suite_add_tcase(s, case_conf_secret());
    suite_add_tcase(s, case_conf_env());
    suite_add_tcase(s, case_conf_listen());
    suite_add_tcase(s, case_conf_doc());
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    remove_dir(test_dir);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
