/* The table of providers, and what a base URL may be. */
#include "base/arena.h"
#include "upstream_stage.h"

START_TEST(base_urls) {
    static const struct {
        const char *kind, *in, *out;
    } rows[] = {
        {"openai", "", "https://api.openai.com/v1"},
        {"openai", "https://h", "https://h/v1"},
        {"openai", "https://h/", "https://h/v1"},
        {"openai", " https://h/v1/ ", "https://h/v1"},
        {"openai", "https://h/v1/v1/", "https://h/v1"},
        {"openai", "https://h/v1/v1/v1", "https://h/v1"},
        {"openai", "https://h/proxy", "https://h/proxy/v1"},
        {"openai", "https://h/v1/chat/completions", "https://h/v1"},
        {"openai_compatible", "", ""},
        {"openai_compatible", "http://127.0.0.1:11434", "http://127.0.0.1:11434/v1"},
        {"openai_compatible", "https://h/openai/v1", "https://h/openai/v1"},
        {"openai_compatible", "https://h/v1beta/openai/", "https://h/v1beta/openai"},
        {"openai_compatible", "https://h/api/paas/v4", "https://h/api/paas/v4"},
        {"openrouter", "", "https://openrouter.ai/api/v1"},
        {"openrouter", "https://h", "https://h/api/v1"},
        {"openrouter", "https://h/api", "https://h/api/v1"},
        {"openrouter", "https://h/api/v1/v1", "https://h/api/v1"},
        {"openrouter", "http://h:1/v1", "http://h:1/v1"},
        {"anthropic", "", "https://api.anthropic.com"},
        {"anthropic", "https://h/v1", "https://h"},
        {"anthropic", "https://h/v1/v1/", "https://h"},
        {"anthropic", "https://h/v1/messages", "https://h"},
        {"azure", "https://r.openai.azure.com/", "https://r.openai.azure.com"},
        {"azure", "https://r.openai.azure.com/openai/v1/", "https://r.openai.azure.com"},
        {"azure", "https://h/proxy/openai", "https://h/proxy"},
        {"bedrock", "", "https://bedrock-runtime.{region}.amazonaws.com"},
        {"bedrock", "http://127.0.0.1:9/", "http://127.0.0.1:9"},
        {"anthropic", "https://h/proxy/anthropic/", "https://h/proxy/anthropic"},
        {"cohere", "https://api.cohere.com/v2/", "https://api.cohere.com"},
        {"cohere", "https://api.cohere.ai/v1", "https://api.cohere.ai"},
        {"ollama_native", "http://127.0.0.1:11434/api", "http://127.0.0.1:11434"},
        {"anthropic", "https://h/v2", "https://h/v2"},
    };
    struct arena *a = arena_new(0);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct str got = provider_base_url(a, kind_of(rows[i].kind), str_of(rows[i].in));
        ck_assert_msg(str_is(got, rows[i].out), "%s %s: " STR_FMT, rows[i].kind, rows[i].in, STR_ARG(got));
    }
    arena_free(a);
}
END_TEST

START_TEST(table_is_whole) {
    for (size_t i = 0; i < provider_table.n; i++) {
        const struct provider_kind *k = &provider_table.row[i];
        ck_assert(k->name && k->endpoints && k->endpoints[0].dialect && k->base_url && k->version_path &&
                  k->fixed_headers && k->default_model && k->env_keys && k->env_url && k->infer &&
                  k->price_vendor && k->health_path);
    }
    ck_assert_str_eq(kind_of("anthropic")->alias, "claude");
    ck_assert(kind_of("mock")->builtin && !kind_of("mock")->needs_key);
}
END_TEST

/* What the variables of URLs and paths become. */
START_TEST(variables) {
    static const struct {
        const char *kind, *location, *base, *path, *model, *want;
    } rows[] = {
        {"bedrock", "", "https://bedrock-runtime.eu-west-1.amazonaws.com", "/model/{model}/converse",
         "us.anthropic.claude-x:0", "/model/us.anthropic.claude-x%3A0/converse"},
        {"bedrock", "", "https://bedrock-runtime.eu-west-1.amazonaws.com", "/model/{model}/converse",
         "arn:aws:bedrock:r:1:p/x", "/model/arn%3Aaws%3Abedrock%3Ar%3A1%3Ap%2Fx/converse"},
        {"bedrock", "", "https://bedrock-runtime.eu-west-1.amazonaws.com", "/model/{model}/converse", "..",
         "/model/%2E%2E/converse"},
        {"vertex", "global", "https://aiplatform.googleapis.com", "/p/{project}/l/{location}/{model}:x",
         "claude@1", "/p/my%3Ap/l/global/claude%401:x"},
        {"vertex", "us-east5", "https://us-east5-aiplatform.googleapis.com", "/l/{location}", "m",
         "/l/us-east5"},
        {"azure", "", "", "/{model}/c?api-version={api_version}", "a b?c", "/a%20b%3Fc/c?api-version=v"},
        {"vertex", "eu", "https://aiplatform.eu.rep.googleapis.com", "/l/{location}", "m", "/l/eu"},
        {"azure", "", "", "/{unknown}/{", "m", "//{"},
        {"azure", "", "", "/d/{model}{rest}?a=b", "m/n", "/d/m%2Fn/images/edits?a=b"},
    };
    struct arena *a = arena_new(0);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct conf_provider p = {.kind = kind_of(rows[i].kind),
                                  .base_url = "",
                                  .location = rows[i].location,
                                  .region = "eu-west-1",
                                  .project = "my:p",
                                  .api_version = "v"};
        ck_assert_str_eq(provider_base(a, &p).p, rows[i].base);
        ck_assert_str_eq(provider_path(a, &p, rows[i].path, str_of(rows[i].model), STR("/images/edits")),
                         rows[i].want);
    }
    arena_free(a);
}
END_TEST

START_TEST(bad_base_urls) {
    static const char *const bad[] = {"",       "ftp://h/v1", "h/v1", "http://u:p@h/v1", "http://h/v1?x=1",
                                      "http://"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        char err[256] = "";
        conf.base_url = bad[i];
        ck_assert(upstream_new(multi, &conf, err) == NULL);
        ck_assert_msg(strstr(err, "base_url") != NULL, "%s", err);
    }
}
END_TEST

TCase *case_table(void) {
    TCase *t = tcase_create("table");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, base_urls);
    tcase_add_test(t, variables);
    tcase_add_test(t, table_is_whole);
    tcase_add_test(t, bad_base_urls);
    return t;
}
