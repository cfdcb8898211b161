/* The environment, .env, secrets and listeners. */
#include "config.h"

#include "base/die.h"
#include "conf_cases.h"
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static struct conf *env_ok(void) {
    struct conf *c = load_env(NULL);
    ck_assert_msg(c != NULL, "%s", errors.n ? errors.list[0].text : "?");
    return c;
}

static void env_refused(const char *want) {
    char whole[300];
    ck_assert_ptr_null(load_env(NULL));
    snprintf(whole, sizeof whole, "...environment: %s", want);
    must_say(whole);
}

/* What the clouds' own tools read makes their providers too; what is secret in it is not in the dump. */
START_TEST(clouds) {
    setenv("AZURE_OPENAI_API_KEY", "az-hidden", 1);
    setenv("AZURE_OPENAI_ENDPOINT", "https://r.openai.azure.com", 1);
    setenv("AWS_ACCESS_KEY_ID", "AKIDHIDDEN", 1);
    setenv("AWS_SECRET_ACCESS_KEY", "aws-hidden", 1);
    setenv("AWS_SESSION_TOKEN", "session-hidden", 1);
    setenv("GOOGLE_CLOUD_LOCATION", "us-east5", 1);
    test_file("account.json",
              "{\"type\": \"service_account\", \"client_email\": \"a@b\", \"project_id\": \"of-file\", "
              "\"private_key\": \"-----BEGIN hidden\", \"token_uri\": \"https://t/token\"}");
    setenv("GOOGLE_APPLICATION_CREDENTIALS", test_path("account.json"), 1);
    struct conf *c = env_ok();
    ck_assert_uint_eq(c->nproviders, 1); /* an access key without a region may be somebody else's */
    ck_assert_str_eq(c->providers[0].api_version, "2024-10-21");
    ck_assert_str_eq(c->providers[0].keys[0].secret.text, "az-hidden");
    done(c);
    c = load_ok("providers: [{kind: vertex}]");
    ck_assert_str_eq(c->providers[0].project, "of-file");
    ck_assert_str_eq(c->providers[0].location, "us-east5");
    done(c);
    setenv("AWS_REGION", "eu-west-1", 1);
    setenv("AZURE_OPENAI_API_VERSION", "2025-04-01-preview", 1);
    setenv("GOOGLE_CLOUD_PROJECT", "other", 1);
    c = env_ok();
    ck_assert_uint_eq(c->nproviders, 3);
    ck_assert_str_eq(c->providers[0].api_version, "2025-04-01-preview");
    const struct conf_provider *aws = conf_provider(c, STR("bedrock"));
    ck_assert_str_eq(aws->region, "eu-west-1");
    ck_assert_str_eq(aws->keys[0].access_key_id.text, "AKIDHIDDEN");
    ck_assert_str_eq(aws->keys[0].secret_access_key.text, "aws-hidden");
    ck_assert_str_eq(aws->keys[0].session_token.text, "session-hidden");
    ck_assert_str_eq(aws->keys[0].secret.text, "");
    ck_assert_str_eq(conf_provider(c, STR("vertex"))->project, "other");
    done(c);
    setenv("AWS_BEARER_TOKEN_BEDROCK", "bearer", 1);
    c = load_ok(
        "providers: [{kind: bedrock}, {name: v, kind: vertex, keys: {service_account: account.json}}, "
        "{name: w, kind: bedrock, keys: {access_key_id: AKIDhidden, secret_access_key: {env: "
        "AWS_SECRET_ACCESS_KEY}}}]");
    ck_assert_str_eq(c->providers[0].keys[0].secret.text, "bearer");
    ck_assert_str_eq(c->providers[0].keys[0].access_key_id.text, "");
    ck_assert(strstr(c->providers[1].keys[0].service_account.text, "BEGIN hidden") != NULL);
    struct buf out;
    buf_init(&out, 0);
    conf_dump_yaml(c, &out);
    ck_assert(str_find(buf_str(&out), STR("hidden")) < 0);
    ck_assert(str_find(buf_str(&out), STR("<redacted:value:w/0>")) >= 0);
    ck_assert(str_find(buf_str(&out), STR("account.json")) >= 0);
    buf_free(&out);
    done(c);
}
END_TEST

START_TEST(nothing_at_all) {
    struct conf *c = env_ok();
    ck_assert_uint_eq(c->nproviders, 1);
    ck_assert_str_eq(c->providers[0].name, "mock");
    ck_assert(c->providers[0].from_environment && c->providers[0].enabled);
    ck_assert_str_eq(c->file, "");
    ck_assert_uint_eq(c->nlisten, 1);
    ck_assert_str_eq(c->listen[0].host, "127.0.0.1");
    ck_assert_uint_eq(c->listen[0].port, 8080);
    ck_assert(c->listen[0].loopback && c->listen[0].surfaces == SURFACE_ALL);
    ck_assert(c->auth.mode == AUTH_NONE && !c->auth.said && c->auth.nkeys == 0);
    ck_assert(c->workers >= 1);
    ck_assert_uint_eq(c->limits.requests_per_minute, CONF_NO_LIMIT);
    ck_assert_uint_eq(c->auth.default_limits.concurrent, CONF_NO_LIMIT);
    ck_assert_uint_eq(c->max_request_body, 32 << 20);
    ck_assert_uint_eq(c->max_response_body, 64 << 20);
    ck_assert(c->header_timeout == 10000 && c->body_rate == 1024 && c->idle_timeout == 75000);
    ck_assert(c->drain_timeout == 600000 && c->stop_timeout == 10000);
    ck_assert(!c->cache.enabled && c->cache.stream && c->cache.ttl == 3600000 &&
              c->cache.max_size == 1 << 30);
    ck_assert(c->cache.max_entry == 1 << 20 && c->cache.scope == CACHE_SCOPE_KEY);
    ck_assert(c->log.level == LVL_INFO && c->log.format == LOGFMT_JSON && c->log.access);
    ck_assert(c->routing.fallback && c->routing.infer_provider && !c->routing.default_provider_said);
    ck_assert_uint_eq(c->nwarnings, 0);
    ck_assert(c->loaded_ms > 0);
    done(c);
}
END_TEST

START_TEST(providers_of_the_environment) {
    setenv("OPENAI_API_KEY", "sk-1", 1);
    setenv("OPENAI_ORGANIZATION", "org", 1);
    setenv("CLAUDE_API_KEY", "sk-2", 1);
    setenv("ANTHROPIC_BASE_URL", "http://127.0.0.1:9", 1);
    setenv("OPENROUTER_API_KEY", "sk-3", 1);
    setenv("OPENROUTER_HEADERS_X_TITLE", "T", 1);
    setenv("OPENROUTER_HEADERS_REFERER", "https://r", 1);
    setenv("OPENAI_COMPATIBLE_URL", "http://h/v1", 1);
    setenv("PRIMARY_LLM_PROVIDER", "claude", 1);
    setenv("LLM_MODEL", "gpt-4o", 1);
    setenv("MAX_RETRIES", "5", 1);
    setenv("INITIAL_BACKOFF", "20", 1);
    setenv("MAX_BACKOFF", "3000", 1);
    setenv("BACKOFF_FACTOR", "3", 1);
    setenv("JITTER", "1.0", 1);
    struct conf *c = env_ok();
    ck_assert_uint_eq(c->nproviders, 4);
    ck_assert_str_eq(c->providers[0].name, "openai");
    ck_assert_str_eq(c->providers[0].keys[0].secret.text, "sk-1");
    ck_assert_str_eq(c->providers[0].keys[0].secret.source, "env:OPENAI_API_KEY");
    ck_assert_str_eq(c->providers[0].organization, "org");
    ck_assert_uint_eq(c->providers[1].nheaders, 2);
    ck_assert_str_eq(c->providers[1].headers[0].name, "X-Title");
    ck_assert_str_eq(c->providers[1].headers[1].value, "https://r");
    ck_assert_str_eq(c->providers[2].base_url, "http://h/v1");
    ck_assert_uint_eq(c->providers[2].nkeys, 0);
    ck_assert_str_eq(c->providers[3].name, "anthropic");
    ck_assert_str_eq(c->providers[3].base_url, "http://127.0.0.1:9");
    ck_assert_str_eq(c->routing.default_provider, "anthropic");
    ck_assert(c->routing.default_provider_said);
    ck_assert_str_eq(c->routing.default_model, "gpt-4o");
    for (size_t i = 0; i < 4; i++) {
        const struct conf_retry *r = &c->providers[i].retry;
        ck_assert(r->max == 5 && r->initial_backoff == 20 && r->max_backoff == 3000);
        ck_assert(r->factor == 3.0 && r->jitter == 1.0);
        ck_assert(c->providers[i].from_environment);
    }
    done(c);
}
END_TEST

START_TEST(options_of_the_environment) {
    setenv("PENSTOCK_STATE_DIR", "/x", 1);
    setenv("PENSTOCK_LIMITS_CONCURRENT", "12", 1);
    setenv("PENSTOCK_LOG_LEVEL", "error", 1);
    setenv("LOG_LEVEL", "Info", 1);
    setenv("PENSTOCK_ADMIN_LISTEN", "unix:/a.sock", 1);
    setenv("PORT", "9000", 1);
    setenv("ENABLE_LLM_FAILOVER", "false", 1);
    setenv("ENABLE_LLM_CACHING", "1", 1);
    setenv("CACHE_TTL", "90", 1);
    setenv("DEFAULT_ROUTING_STRATEGY", "ROUND_ROBIN", 1);
    setenv("RATE_LIMIT_REQUESTS_PER_MINUTE", "60", 1);
    setenv("RATE_LIMIT_TOKENS_PER_MINUTE", "70", 1);
    setenv("API_KEY", "gateway", 1);
    struct conf *c = env_ok();
    ck_assert_str_eq(c->state_dir, "/x");
    ck_assert_uint_eq(c->limits.concurrent, 12);
    ck_assert_int_eq(c->log.level, LVL_ERROR);
    ck_assert(warned(c, "environment: LOG_LEVEL: is not used: PENSTOCK_LOG_LEVEL"));
    ck_assert_uint_eq(c->nlisten, 2);
    ck_assert_uint_eq(c->listen[0].port, 9000);
    ck_assert_str_eq(c->listen[1].path, "/a.sock");
    ck_assert(!c->routing.fallback && c->cache.enabled && c->cache.ttl == 90000);
    ck_assert_int_eq(c->routing.default_strategy, STRATEGY_ROUND_ROBIN);
    ck_assert_uint_eq(c->auth.default_limits.requests_per_minute, 60);
    ck_assert_uint_eq(c->auth.nkeys, 1);
    ck_assert_str_eq(c->auth.keys[0].id, "api-key");
    ck_assert_str_eq(c->auth.keys[0].source, "env:API_KEY");
    ck_assert_uint_eq(c->auth.keys[0].permissions, PERM_COMPLETION | PERM_EMBEDDING | PERM_ADMIN);
    ck_assert_uint_eq(c->auth.keys[0].limits.tokens_per_minute, 70);
    ck_assert(c->auth.mode == AUTH_KEYS && !c->auth.said);
    done(c);
}
END_TEST

START_TEST(the_file_comes_first) {
    setenv("PENSTOCK_LIMITS_CONCURRENT", "12", 1);
    setenv("PENSTOCK_LISTEN", "127.0.0.1:1", 1);
    setenv("PORT", "2", 1);
    setenv("MAX_RETRIES", "5", 1);
    setenv("OPENAI_API_KEY", "sk-1", 1);
    setenv("ANTHROPIC_API_KEY", "sk-2", 1);
    setenv("API_KEY", "k", 1);
    struct conf *c =
        load_ok("limits: {concurrent: 7}\n"
                "providers: [{name: a, kind: openai}, {name: b, kind: openai, key: own, retry: {max: 1}}]\n"
                "auth: {keys: [{id: x, key: y}]}\n");
    ck_assert_uint_eq(c->limits.concurrent, 7);
    ck_assert(warned(c, "PENSTOCK_LIMITS_CONCURRENT: is not used: limits.concurrent is set at"));
    ck_assert_uint_eq(c->nlisten, 1);
    ck_assert_uint_eq(c->listen[0].port, 1);
    ck_assert(warned(c, "PORT: is not used: PENSTOCK_LISTEN says otherwise"));
    ck_assert_uint_eq(c->nproviders, 2); /* no anthropic */
    ck_assert_str_eq(c->providers[0].keys[0].secret.text, "sk-1");
    ck_assert_str_eq(c->providers[1].keys[0].secret.text, "own");
    ck_assert(c->providers[0].retry.max == 5 && c->providers[1].retry.max == 1);
    ck_assert(!c->providers[0].from_environment);
    ck_assert_uint_eq(c->auth.nkeys, 1);
    ck_assert(warned(c, "API_KEY: is not used"));
    done(c);
    c = load_ok("auth: {keys: [{id: legacy, key: {env: API_KEY}}]}\n");
    ck_assert_uint_eq(c->auth.nkeys, 1);
    ck_assert(!warned(c, "API_KEY"));
    done(c);
    c = load_ok("limits: {concurrent: 12}\n"); /* the same value is no contradiction */
    ck_assert(!warned(c, "CONCURRENT"));
    done(c);
}
END_TEST

START_TEST(not_understood) {
    setenv("CACHE_TTL", "soon", 1);
    env_refused("CACHE_TTL: cache.ttl: expected a duration");
    unsetenv("CACHE_TTL");
    setenv("JITTER", "2", 1);
    setenv("OPENAI_API_KEY", "sk-1", 1);
    setenv("ANTHROPIC_API_KEY", "sk-1", 1);
    env_refused("JITTER: providers[0].retry.jitter: \"2\" is out of range");
    ck_assert_uint_eq(errors.n, 1); /* once, and not for each provider */
    unsetenv("JITTER");
    setenv("LLM_PROVIDER", "openrouter", 1);
    env_refused("LLM_PROVIDER: routing.default_provider: there is no provider openrouter: its key is not set "
                "(OPENROUTER_API_KEY)");
    unsetenv("LLM_PROVIDER");
    setenv("DEBUG", "banana", 1);
    env_refused("DEBUG: expected true or false");
    setenv("DEBUG", "TRUE", 1);
    struct conf *c = env_ok();
    ck_assert_int_eq(c->log.level, LVL_DEBUG);
    done(c);
    unsetenv("DEBUG");
    setenv("OPENAI_API_KEY", "hunter2\nx", 1);
    env_refused("OPENAI_API_KEY: providers[0].keys.env: the variable's value has a line end");
    ck_assert_ptr_null(strstr(errors.list[0].text, "hunter2"));
    conf_errors_free(&errors);
}
END_TEST

START_TEST(jwt_secret) {
    setenv("JWT_SECRET", "hunter2", 1);
    struct conf *c = env_ok();
    ck_assert_int_eq(c->auth.mode, AUTH_JWT);
    ck_assert_str_eq(c->auth.jwt.secret.text, "hunter2");
    ck_assert_str_eq(c->auth.jwt.secret.source, "env:JWT_SECRET");
    ck_assert(warned(c, "auth.jwt.secret: shorter than 32 bytes"));
    struct buf b;
    buf_init(&b, 0);
    conf_dump_yaml(c, &b);
    conf_dump_json(c, &b);
    ck_assert(str_find(buf_str(&b), STR("hunter2")) < 0 && str_find(buf_str(&b), STR("JWT_SECRET")) > 0);
    buf_free(&b);
    done(c);
    setenv("API_KEY", "k", 1);
    c = env_ok();
    ck_assert_int_eq(c->auth.mode, AUTH_KEYS_JWT);
    done(c);
    c = load_ok("auth: {mode: keys, keys: [{id: a, key: {value: x}}]}\n");
    ck_assert(c->auth.mode == AUTH_KEYS && !*c->auth.jwt.secret.text);
    ck_assert(warned(c, "JWT_SECRET: is not used: auth.mode takes no tokens"));
    done(c);
    c = load_ok("auth: {jwt: {secret: {value: other}, algorithms: [hs512, eddsa]}}\n");
    ck_assert_str_eq(c->auth.jwt.secret.text, "other");
    ck_assert_uint_eq(c->auth.jwt.algorithms, 1U << 2 | 1U << 9);
    ck_assert(warned(c, "JWT_SECRET: is not used: auth.jwt.secret is set in a file"));
    done(c);
}
END_TEST

START_TEST(not_used) {
    setenv("PENSTOCK_LOG_LEVL", "x", 1);
    setenv("PENSTOCK_PORT_8080_TCP", "x", 1);
    setenv("OPENAI_COMPATIBLE_KEY", "x", 1);
    setenv("OPENAI_API_KEY", "", 1); /* as if it were not there */
    struct conf *c = env_ok();
    ck_assert(warned(c, "PENSTOCK_LOG_LEVL: is no option of penstock, did you mean PENSTOCK_LOG_LEVEL?"));
    ck_assert(warned(c, "OPENAI_COMPATIBLE_KEY: is not used: OPENAI_COMPATIBLE_URL is not set"));
    ck_assert(!warned(c, "8080"));
    ck_assert_str_eq(c->providers[0].name, "mock");
    done(c);
}
END_TEST

#ifdef PENSTOCK_HIREDIS
START_TEST(redis) {
    setenv("REDIS_URL", "h:7000", 1);
    struct conf *c = env_ok();
    ck_assert_str_eq(conf_cluster(c)->host, "h");
    ck_assert_uint_eq(conf_cluster(c)->port, 7000);
    ck_assert_str_eq(conf_cluster(c)->prefix, "penstock:");
    done(c);
    setenv("REDIS_URL", "rediss://u%21:p%40%2fw@[::1]:7001/5", 1);
    c = env_ok();
    const struct conf_redis *r = conf_cluster(c);
    ck_assert(r->tls && r->port == 7001 && r->db == 5);
    ck_assert_str_eq(r->host, "::1");
    ck_assert_str_eq(r->user, "u!");
    ck_assert_str_eq(r->password.text, "p@/w");
    ck_assert_str_eq(r->url, "rediss://u%21@[::1]:7001/5");
    done(c);
    setenv("REDIS_URL", "", 1);
    c = env_ok();
    ck_assert_ptr_null(conf_cluster(c));
    done(c);
    setenv("REDIS_URL", "redis://hunter2@h", 1); /* as redis-cli takes it */
    c = env_ok();
    ck_assert_str_eq(conf_cluster(c)->password.text, "hunter2");
    ck_assert_str_eq(conf_cluster(c)->user, "");
    ck_assert_str_eq(conf_cluster(c)->url, "redis://h:6379/0");
    done(c);
    setenv("REDIS_URL", "redis://:hunter2@h:99999", 1);
    ck_assert_ptr_null(load_env(NULL));
    ck_assert_ptr_null(strstr(errors.list[0].text, "hunter2"));
    conf_errors_free(&errors);
}
END_TEST
#endif

START_TEST(homes) {
    if (geteuid() == 0 && setuid(65534) < 0)
        return;
    setenv("HOME", "/h", 1);
    struct conf *c = env_ok();
    ck_assert_str_eq(c->state_dir, "/h/.local/state/penstock");
    ck_assert_str_eq(c->pid_file, "");
    done(c);
    setenv("XDG_STATE_HOME", "/x", 1);
    c = env_ok();
    ck_assert_str_eq(c->state_dir, "/x/penstock");
    done(c);
}
END_TEST

/* ---- .env ---- */

START_TEST(dotenv) {
    char file[128];
    snprintf(file, sizeof file, "%s", test_path("env"));
    test_file("env", "\xef\xbb\xbf# comment\r\n\n"
                     "OPENAI_API_KEY=sk-#1 # one\n"
                     "export  PENSTOCK_USER = \"a \\\"b\\\" # c\"   # two\n"
                     "PENSTOCK_GROUP='x\\n$y'\n"
                     "PENSTOCK_LIMITS_CONCURRENT=1\n"
                     "PENSTOCK_LIMITS_CONCURRENT=2\r\n"
                     "LLM_MODEL=\n"
                     "LOG_LEVEL=debug");
    setenv("LOG_LEVEL", "error", 1);
    struct conf *c = load_env(file);
    ck_assert_msg(c != NULL, "%s", errors.n ? errors.list[0].text : "?");
    ck_assert_str_eq(c->providers[0].keys[0].secret.text, "sk-#1");
    ck_assert_str_eq(c->user, "a \"b\" # c");
    ck_assert_str_eq(c->group, "x\\n$y");
    ck_assert_uint_eq(c->limits.concurrent, 2);
    ck_assert_int_eq(c->log.level, LVL_ERROR); /* the real one wins */
    ck_assert_ptr_null(getenv("OPENAI_API_KEY"));
    done(c);
    test_file("env", "PENSTOCK_USER=x\n"); /* what has vanished is gone */
    c = load_env(file);
    ck_assert_str_eq(c->providers[0].name, "mock");
    done(c);
    test_file("env", "A=1\n  what is this\nB=\"hunter2\nC='x' y\n");
    ck_assert_ptr_null(load_env(file));
    ck_assert_uint_eq(errors.n, 3);
    ck_assert_ptr_nonnull(strstr(errors.list[0].text, "env:2:3: expected NAME=value"));
    ck_assert_ptr_nonnull(strstr(errors.list[1].text, "env:3:1: a quote is not closed on its line"));
    ck_assert_ptr_nonnull(strstr(errors.list[2].text, "env:4:1: something stands behind"));
    ck_assert_ptr_null(load_env("/nonexistent/.env"));
    ck_assert_ptr_nonnull(strstr(errors.list[0].text, "/nonexistent/.env: No such file"));
    conf_errors_free(&errors);
}
END_TEST

START_TEST(dotenv_here) {
    ck_assert_int_eq(chdir(test_dir), 0);
    test_file(".env", "PENSTOCK_USER=here\n");
    struct conf *c = env_ok();
    ck_assert_str_eq(c->user, "here");
    done(c);
    c = load_ok("group: x\n"); /* there is a file */
    ck_assert_str_eq(c->user, "");
    done(c);
    unlink(test_path(".env"));
}
END_TEST

/* ---- secrets ---- */

START_TEST(secret_files) {
    test_file("key", "sk-file\r\n");
    struct conf *c = load_ok("providers: [{kind: openai, keys: {file: key, weight: 3}}]\n");
    ck_assert_str_eq(c->providers[0].keys[0].secret.text, "sk-file");
    char source[128];
    snprintf(source, sizeof source, "file:%s", test_path("key"));
    ck_assert_str_eq(c->providers[0].keys[0].secret.source, source);
    done(c);
    test_file("key", "hunter2\nhunter2\n");
    refused("providers: [{kind: openai, key: {file: key}}]\n",
            "1:40: providers[0].key.file: the file's content has a line end");
    test_file_bytes("key", "a\0b", 3);
    refused("providers: [{kind: openai, key: {file: key}}]\n",
            "1:40: providers[0].key.file: the file's content has");
    test_file("key", "\n");
    refused("providers: [{kind: openai, key: {file: key}}]\n",
            "1:40: providers[0].key.file: the file's content is em");
    refused("providers: [{kind: openai, key: {file: /dev/null}}]\n",
            "1:40: providers[0].key.file: /dev/null: not a regular file");
    refused("providers: [{kind: openai, key: {file: nokey}}]\n", "1:40: providers[0].key.file: ");
    static char large[(64 << 10) + 1];
    memset(large, 'x', sizeof large);
    test_file_bytes("key", large, sizeof large);
    refused("providers: [{kind: openai, key: {file: key}}]\n", "1:40: providers[0].key.file: ");
    ck_assert_ptr_nonnull(strstr(errors.list[0].text, "larger than 64 KiB"));
    test_file_bytes("key", large, sizeof large - 1);
    done(load_ok("providers: [{kind: openai, key: {file: key}}]\n"));
    ck_assert_int_eq(unlink(test_path("key")), 0);
    ck_assert_int_eq(mkfifo(test_path("key"), 0600), 0);
    refused("providers: [{kind: openai, key: {file: key}}]\n", "1:40: providers[0].key.file: ");
    unlink(test_path("key"));
    conf_errors_free(&errors);
}
END_TEST

START_TEST(secret_variables) {
    refused("providers: [{kind: openai, keys: [{env: NOT_SET}]}]\n",
            "1:41: providers[0].keys[0].env: the variable NOT_SET is not set");
    struct conf *c =
        load_ok("providers: [{kind: mock}, {kind: openai, enabled: false, keys: [{env: NOT_SET}, "
                "{file: /nonexistent}]}]\n");
    ck_assert_str_eq(c->providers[1].keys[0].secret.text, "");
    done(c);
    refused("providers: [{kind: openai, enabled: false, keys: [{env: NOT_SET}]}, {kind: anthropic, key: "
            "{env: N}}]\n",
            "1:98: providers[1].key.env: the variable N is not set");
    refused("providers: [{kind: openai, keys: [\"hunter2\\n\"]}]\n",
            "1:35: providers[0].keys[0]: the value has a");
    ck_assert_ptr_null(strstr(errors.list[0].text, "hunter2"));
    conf_errors_free(&errors);
}
END_TEST

#ifndef __SANITIZE_ADDRESS__ /* its allocator keeps what is freed elsewhere */
/* A secret that stands nowhere in this program's own texts. */
static void hidden(char out[33], unsigned seed) {
    for (unsigned i = 0; i < 32; i++)
        out[i] = (char)('a' + (i * 7 + seed * (i + 3)) % 26);
    out[32] = '\0';
}

static void write_plain(const char *name, const char *before, const char *text, const char *after) {
    int fd = open(test_path(name), O_WRONLY | O_CREAT | O_TRUNC, 0600); /* stdio would keep a copy */
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(write(fd, before, strlen(before)), (ssize_t)strlen(before));
    ck_assert_int_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    ck_assert_int_eq(write(fd, after, strlen(after)), (ssize_t)strlen(after));
    close(fd);
}

/* How often a text stands on the heap. */
static int on_the_heap(const char *text) {
    static char page[65536];
    char line[512];
    unsigned long from, to;
    int n = 0, mem = open("/proc/self/mem", O_RDONLY);
    FILE *maps = fopen("/proc/self/maps", "r");
    ck_assert(mem >= 0 && maps);
    while (fgets(line, sizeof line, maps)) {
        if (!strstr(line, "[heap]") || sscanf(line, "%lx-%lx", &from, &to) != 2)
            continue;
        for (; from < to; from += sizeof page - 31) {
            ssize_t got = pread(mem, page, sizeof page, (off_t)from);
            for (const char *p = page; got >= 32 && (p = memmem(p, (size_t)(page + got - p), text, 32)); p++)
                n++;
        }
    }
    fclose(maps);
    close(mem);
    memset(page, 0, sizeof page);
    return n;
}

START_TEST(secrets_are_wiped) {
    char one[33], two[33];
    hidden(one, 1);
    hidden(two, 2);
    char *probe = mem_dupz(one);
    bool can_see = on_the_heap(one) == 1; /* not with another allocator, such as valgrind's */
    mem_wipe(probe, 32);
    mem_free(probe);
    if (!can_see)
        return;
    write_plain("key", "", one, "\n");
    write_plain("penstock.yaml", "providers: [{kind: openai, keys: [{file: key}, ", two, "]}]\n");
    struct conf *c = load_file("penstock.yaml");
    ck_assert_ptr_nonnull(c);
    ck_assert_str_eq(c->providers[0].keys[1].secret.text, two);
    ck_assert_int_eq(on_the_heap(one), 1); /* and nowhere else: what read them has forgotten them */
    ck_assert_int_eq(on_the_heap(two), 1);
    done(c);
    ck_assert_int_eq(on_the_heap(one), 0);
    ck_assert_int_eq(on_the_heap(two), 0);
    write_plain("account.json",
                "{\"type\": \"service_account\", \"client_email\": \"a@b\", \"project_id\": \"p\", "
                "\"token_uri\": \"https://t/\", \"private_key\": \"-----BEGIN \\n",
                one, "\"}");
    write_plain("penstock.yaml",
                "providers: [{kind: vertex, keys: [{service_account: account.json}]}, {kind: bedrock, "
                "region: r, keys: {access_key_id: i, secret_access_key: ",
                two, "}}]\n");
    c = load_file("penstock.yaml");
    ck_assert_ptr_nonnull(c);
    ck_assert_int_eq(on_the_heap(one), 1);
    ck_assert_int_eq(on_the_heap(two), 1);
    done(c);
    ck_assert_int_eq(on_the_heap(one), 0);
    ck_assert_int_eq(on_the_heap(two), 0);
}
END_TEST
#endif

/* ---- listeners ---- */

struct address {
    const char *text, *host; /* NULL: refused */
    unsigned port;
    bool loopback;
};
static const struct address addresses[] = {
    {"127.0.0.1:8080", "127.0.0.1", 8080, true},
    {"127.9.9.9:1", "127.9.9.9", 1, true},
    {"localhost:80", "127.0.0.1", 80, true},
    {"[::1]:80", "::1", 80, true},
    {"[0:0::1]:80", "::1", 80, true},
    {"8080", "127.0.0.1", 8080, true},
    {"0.0.0.0:80", "0.0.0.0", 80, false},
    {"[::]:80", "::", 80, false},
    {"*:80", "", 80, false},
    {":80", "", 80, false},
    {"10.1.2.3:80", "10.1.2.3", 80, false},
    {"[::ffff:127.0.0.1]:80", "::ffff:127.0.0.1", 80, true},
    {"127.0.0.1:0", "127.0.0.1", 0, true},
    {"::1:80", NULL, 0, false},
    {"127.0.0.1", NULL, 0, false},
    {"127.0.0.1:", NULL, 0, false},
    {"127.0.0.1:65536", NULL, 0, false},
    {"example.com:80", NULL, 0, false},
    {"127.0.0.1:80x", NULL, 0, false},
    {"unix:x", NULL, 0, false},
    {"unix:", NULL, 0, false},
    {"[::1:80", NULL, 0, false},
    {"[]:80", NULL, 0, false},
    {"256.1.1.1:80", NULL, 0, false},
};

START_TEST(address) {
    const struct address *a = &addresses[_i];
    char yaml[200];
    snprintf(yaml, sizeof yaml, "providers: [{kind: mock}]\nauth: {mode: none}\nlisten: '%s'\n", a->text);
    struct conf *c = load_text(yaml);
    ck_assert_msg((c != NULL) == (a->host != NULL), "%s", a->text);
    if (c) {
        ck_assert_str_eq(c->listen[0].host, a->host);
        ck_assert_str_eq(c->listen[0].address, a->text);
        ck_assert_uint_eq(c->listen[0].port, a->port);
        ck_assert_int_eq(c->listen[0].loopback, a->loopback);
    } else {
        must_say("3:9: listen: ");
    }
    done(c);
}
END_TEST

START_TEST(the_open_door) {
    refused("providers: [{kind: mock}]\nlisten: [127.0.0.1:1, '*:80']\n",
            "2:23: listen[1]: *:80 can be reached from other machines, but there is no authentication");
    refused("providers: [{kind: mock}]\nadmin_listen: '0.0.0.0:80'\n",
            "2:15: admin_listen: 0.0.0.0:80 can be reached");
    done(load_ok("providers: [{kind: mock}]\nlisten: '*:80'\nauth: {mode: none}\n"));
    done(load_ok("providers: [{kind: mock}]\nlisten: '*:80'\nauth: {mode: keys}\n"));
    done(load_ok("providers: [{kind: mock}]\nlisten: '*:80'\nauth: {keys: [{id: a, key: b}]}\n"));
    /* the mock that nobody asked for */
    refused("listen: '*:80'\nauth: {mode: none}\n",
            "1:9: listen: *:80 can be reached from other machines, but no prov");
    setenv("PENSTOCK_LISTEN", "0.0.0.0:80", 1);
    env_refused(
        "PENSTOCK_LISTEN: listen: 0.0.0.0:80 can be reached from other machines, but there is no auth");
    setenv("API_KEY", "x", 1);
    env_refused("PENSTOCK_LISTEN: listen: 0.0.0.0:80 can be reached from other machines, but no provider");
    setenv("OPENAI_API_KEY", "x", 1);
    done(env_ok());
}
END_TEST

START_TEST(addresses_twice) {
    refused("listen: [127.0.0.1:80, localhost:80]\n",
            "1:24: listen[1]: the address localhost:80 is given twice");
    refused("listen: unix:/a\nadmin_listen: unix:/a\n",
            "2:15: admin_listen: the address unix:/a is given twice");
    done(load_ok("listen: [127.0.0.1:0, 127.0.0.1:0]\n"));
    refused("listen: []\n", "1:9: listen: at least one address is needed");
    struct conf *c = load_ok("admin_listen: ''\n");
    ck_assert_uint_eq(c->nlisten, 1);
    done(c);
    conf_errors_free(&errors);
}
END_TEST

START_TEST(tls) {
    test_file("c.pem", "-----BEGIN CERTIFICATE-----\n");
    test_file("k.pem", "-----BEGIN PRIVATE KEY-----\n");
    test_file("no.pem", "hunter2\n");
    struct conf *c = load_ok("listen: {address: '127.0.0.1:443', tls: {certificate: c.pem, key: k.pem}}\n");
    ck_assert(c->listen[0].has_tls);
    ck_assert(str_is(c->listen[0].tls.key, "-----BEGIN PRIVATE KEY-----\n"));
    ck_assert(str_is(c->listen[0].tls.certificate, "-----BEGIN CERTIFICATE-----\n"));
    ck_assert_str_eq(c->listen[0].tls.key_file, test_path("k.pem"));
    done(c);
    refused("listen: {address: '127.0.0.1:443', tls: {certificate: c.pem}}\n",
            "1:55: listen.tls.certificate: given without tls.key");
    refused("listen: {address: '127.0.0.1:443', tls: {key: k.pem}}\n",
            "1:47: listen.tls.key: given without tls.certificate");
    refused("listen: {address: '127.0.0.1:443', tls: {certificate: c.pem, key: no.pem}}\n",
            "1:67: listen.tls.key: ");
    ck_assert_ptr_null(strstr(errors.list[0].text, "hunter2"));
    conf_errors_free(&errors);
}
END_TEST

START_TEST(expired) {
    struct conf *c = load_ok("auth: {keys: [{id: old, key: x, expires: 2020-01-01}]}\n");
    ck_assert(warned(c, "auth.keys[0]: the key old has expired"));
    done(c);
}
END_TEST

TCase *case_conf_env(void) {
    TCase *t = tcase_create("env");
    tcase_add_test(t, nothing_at_all);
    tcase_add_test(t, clouds);
    tcase_add_test(t, providers_of_the_environment);
    tcase_add_test(t, options_of_the_environment);
    tcase_add_test(t, the_file_comes_first);
    tcase_add_test(t, not_understood);
    tcase_add_test(t, jwt_secret);
    tcase_add_test(t, not_used);
#ifdef PENSTOCK_HIREDIS
    tcase_add_test(t, redis);
#endif
    tcase_add_test(t, homes);
    tcase_add_test(t, dotenv);
    tcase_add_test(t, dotenv_here);
    return t;
}

TCase *case_conf_secret(void) {
    TCase *t = tcase_create("secret");
    tcase_add_test(t, secret_files);
    tcase_add_test(t, secret_variables);
    tcase_add_test(t, expired);
#ifndef __SANITIZE_ADDRESS__
    tcase_add_test(t, secrets_are_wiped);
#endif
    return t;
}

TCase *case_conf_listen(void) {
    TCase *t = tcase_create("listen");
    tcase_add_loop_test(t, address, 0, sizeof addresses / sizeof *addresses);
    tcase_add_test(t, the_open_door);
    tcase_add_test(t, addresses_twice);
    tcase_add_test(t, tls);
    return t;
}
