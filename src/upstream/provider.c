/* The table of provider kinds, and the repair of base URLs. One row is all that configuration, routing and
 * the calls need to know of a kind; what it says on the wire is its dialect's business. Facts: each vendor's
 * API reference. */
#include "upstream/provider.h"
#include "base/buf.h"
#include "dialect/dialect.h"

/* What servers of OpenAI's API have in common; those of its own make. */
static const struct kind_endpoint openai_itself[] = {
    {.dialect = "openai_chat"},
    {.dialect = "openai_responses"},
    {.dialect = "openai_completions"},
    {.dialect = "openai_embeddings"},
    {.dialect = "openai_responses_count"},
    {.dialect = "moderations"},
    {.dialect = "images"},
    {.dialect = "audio"},
    {.dialect = "files"},
    {.dialect = "batches"},
    {.dialect = "stored_responses"},
    {.dialect = NULL},
};
static const struct kind_endpoint openai_like[] = {
    {.dialect = "openai_chat"},
    {.dialect = "openai_completions"},
    {.dialect = "openai_embeddings"},
    {.dialect = "moderations"},
    {.dialect = "images"},
    {.dialect = "audio"},
    {.dialect = "rerank"},
    {.dialect = "files"},
    {.dialect = "batches"},
    {.dialect = NULL},
};
static const struct kind_endpoint openrouter_like[] = {
    {.dialect = "openai_chat"},
    {.dialect = "openai_responses"},
    {.dialect = "openai_completions"},
    {.dialect = "openai_embeddings"},
    {.dialect = NULL},
};
static const struct kind_endpoint chat_only[] = {
    {.dialect = "openai_chat"},
    {.dialect = NULL},
};
static const struct kind_endpoint groq_like[] = {
    {.dialect = "openai_chat"}, {.dialect = "audio"}, {.dialect = "files"},
    {.dialect = "batches"},     {.dialect = NULL},
};
static const struct kind_endpoint mistral_like[] = {
    {.dialect = "openai_chat"}, {.dialect = "openai_embeddings"},
    {.dialect = "moderations"}, {.dialect = "audio"},
    {.dialect = "files"},       {.dialect = NULL},
};
static const struct kind_endpoint xai_like[] = {
    {.dialect = "openai_chat"},
    {.dialect = "openai_responses"},
    {.dialect = "openai_completions"},
    {.dialect = "openai_embeddings"},
    {.dialect = "images"},
    {.dialect = "files"},
    {.dialect = "stored_responses"},
    {.dialect = NULL},
};
static const struct kind_endpoint huggingface_like[] = {
    {.dialect = "openai_chat"},
    {.dialect = "openai_embeddings"},
    {.dialect = NULL},
};
static const struct kind_endpoint mock_like[] = {
    {.dialect = "openai_chat"},
    {.dialect = "openai_completions"},
    {.dialect = "openai_embeddings"},
    {.dialect = NULL},
};
static const struct kind_endpoint anthropic_like[] = {
    {.dialect = "anthropic"},
    {.dialect = "anthropic_count"},
    {.dialect = NULL},
};

static const struct kind_endpoint cohere_like[] = {
    {.dialect = "cohere"},
    {.dialect = "cohere_embed"},
    {.dialect = "rerank", .path = "/v2/rerank"},
    {.dialect = NULL},
};

static const struct kind_endpoint ollama_own[] = {
    {.dialect = "ollama"},
    {.dialect = "ollama_embed"},
    {.dialect = NULL},
};

static const struct kind_endpoint azure_like[] = {
    /* a model is the name of a deployment */
    {.dialect = "openai_chat",
     .path = "/openai/deployments/{model}/chat/completions?api-version={api_version}"},
    {.dialect = "openai_responses", .path = "/openai/v1/responses"}, /* it has no version in its query */
    {.dialect = "openai_completions",
     .path = "/openai/deployments/{model}/completions?api-version={api_version}"},
    {.dialect = "openai_embeddings",
     .path = "/openai/deployments/{model}/embeddings?api-version={api_version}"},
    {.dialect = "images", .path = "/openai/deployments/{model}{rest}?api-version={api_version}"},
    {.dialect = "audio", .path = "/openai/deployments/{model}{rest}?api-version={api_version}"},
    {.dialect = "files", .path = "/openai{rest}?api-version={api_version}"},
    {.dialect = "batches", .path = "/openai{rest}?api-version={api_version}"},
    {.dialect = "stored_responses", .path = "/openai/v1{rest}"},
    {.dialect = NULL},
};

static const struct kind_endpoint bedrock_like[] = {
    {.dialect = "openai_chat", .models = "openai.*", .path = "/openai/v1/chat/completions"},
    {.dialect = "bedrock"},
    {.dialect = NULL},
};
/* Claude in Anthropic's own words, of which Converse lacks some; a profile's ARN does not say whose it is. */
static const struct kind_endpoint bedrock_invoke_like[] = {
    {.dialect = "openai_chat", .models = "openai.*", .path = "/openai/v1/chat/completions"},
    {.dialect = "bedrock_invoke", .models = "anthropic.claude*,*.anthropic.claude*"},
    {.dialect = "bedrock"},
    {.dialect = NULL},
};
static const struct kind_endpoint gemini_like[] = {
    {.dialect = "gemini"},
    {.dialect = "gemini_count"},
    {.dialect = "gemini_batch_embed"}, /* what others are translated to */
    {.dialect = "gemini_embed"},
    {.dialect = NULL},
};
#define VERTEX "/v1/projects/{project}/locations/{location}"
static const struct kind_endpoint vertex_like[] = {
    {.dialect = "anthropic",
     .models = "claude-*",
     .path = VERTEX "/publishers/anthropic/models/{model}:rawPredict",
     .stream_path = VERTEX "/publishers/anthropic/models/{model}:streamRawPredict",
     .quirks = QUIRK_VERTEX},
    {.dialect = "anthropic_count", /* it wants the model in the body */
     .models = "claude-*",
     .path = VERTEX "/publishers/anthropic/models/count-tokens:rawPredict"},
    {.dialect = "gemini",
     .models = "gemini-*",
     .path = VERTEX "/publishers/google/models/{model}:generateContent",
     .stream_path = VERTEX "/publishers/google/models/{model}:streamGenerateContent?alt=sse"},
    {.dialect = "gemini_count",
     .models = "gemini-*",
     .path = VERTEX "/publishers/google/models/{model}:countTokens"},
    {.dialect = "openai_chat", .models = "*/*", .path = VERTEX "/endpoints/openapi/chat/completions"},
    {.dialect = NULL},
};

static const struct provider_kind rows[] = {
    {
        .name = "openai",
        .endpoints = openai_itself,
        .base_url = "https://api.openai.com/v1",
        .version_path = "/v1",
        .auth = AUTH_KIND_BEARER,
        .fixed_headers = "",
        .quirks = QUIRK_MAX_COMPLETION_TOKENS, /* reasoning models refuse max_tokens */
        .default_model = "gpt-4o-mini",
        .env_keys = "OPENAI_API_KEY",
        .env_url = "OPENAI_BASE_URL",
        .infer = "gpt-*,o1*,o3*,o4*,chatgpt-*,text-embedding-*,whisper-*,tts-*,dall-e-*,omni-moderation-*,"
                 "text-moderation-*",
        .price_vendor = "openai",
        .health_path = "/models",
        .needs_key = true,
    },
    {
        .name = "openai_compatible",
        .endpoints = openai_like,
        .base_url = "",
        .version_path = "/v1",
        .auth = AUTH_KIND_BEARER,
        .fixed_headers = "",
        .default_model = "",
        .env_keys = "OPENAI_COMPATIBLE_KEY",
        .env_url = "OPENAI_COMPATIBLE_URL",
        .infer = "",
        .price_vendor = "",
        .health_path = "/models",
        .whole_ids = true,
    },
    {
        .name = "openrouter",
        .endpoints = openrouter_like,
        .base_url = "https://openrouter.ai/api/v1",
        .version_path = "/api/v1",
        .auth = AUTH_KIND_BEARER,
        .fixed_headers = "",
        .pass_headers = "http-referer,x-title", /* its clients name themselves with them */
        .default_model = "openai/gpt-4o-mini",
        .env_keys = "OPENROUTER_API_KEY",
        .env_url = "OPENROUTER_BASE_URL",
        .infer = "*/*",
        .price_vendor = "openrouter",
        .quirks = QUIRK_DETAILS,
        .health_path = "/key", /* small and checks the key; /models is hundreds of kilobytes */
        .whole_ids = true,
        .needs_key = true,
    },
    {
        .name = "anthropic",
        .alias = "claude",
        .endpoints = anthropic_like,
        .base_url = "https://api.anthropic.com",
        .version_path = "", /* the SDKs take the bare root; the dialect's path begins with /v1 */
        .auth = AUTH_KIND_X_API_KEY,
        .fixed_headers = "anthropic-version: 2023-06-01",
        .pass_headers = "anthropic-beta,anthropic-version",
        .answer_headers = "anthropic-beta,anthropic-version",
        .default_model = "claude-sonnet-4-5",
        .env_keys = "ANTHROPIC_API_KEY,CLAUDE_API_KEY",
        .env_url = "ANTHROPIC_BASE_URL",
        .infer = "claude-*",
        .price_vendor = "anthropic",
        .health_path = "/v1/models?limit=1",
        .needs_key = true,
    },
    {
        .name = "gemini",
        .alias = "google",
        .endpoints = gemini_like,
        .base_url = "https://generativelanguage.googleapis.com/v1beta",
        .version_path = "/v1beta",
        .auth = AUTH_KIND_GOOG,
        .fixed_headers = "",
        .default_model = "gemini-2.5-flash",
        .env_keys = "GEMINI_API_KEY,GOOGLE_API_KEY",
        .env_url = "GEMINI_BASE_URL",
        .infer = "gemini-*",
        .price_vendor = "google",
        .health_path = "/models",
        .needs_key = true,
    },
    {
        .name = "azure",
        .endpoints = azure_like,
        .base_url = "", /* https://RESOURCE.openai.azure.com */
        .version_path = "",
        .auth = AUTH_KIND_API_KEY,
        .fixed_headers = "",
        .quirks = QUIRK_MAX_COMPLETION_TOKENS,
        .default_model = "",
        .env_keys = "AZURE_OPENAI_API_KEY",
        .env_url = "AZURE_OPENAI_ENDPOINT",
        .infer = "",
        .price_vendor = "openai",
        .health_path = "/openai/models?api-version={api_version}",
        .api_version = "2024-10-21",
        .needs_key = true,
    },
    {
        .name = "bedrock",
        .endpoints = bedrock_like,
        .base_url = "https://bedrock-runtime.{region}.amazonaws.com",
        .version_path = "",
        .auth = AUTH_KIND_SIGV4,
        .fixed_headers = "Accept: */*", /* its streams are no text/event-stream */
        .default_model = "amazon.nova-lite-v1:0",
        .env_keys = "AWS_BEARER_TOKEN_BEDROCK",
        .env_url = "AWS_ENDPOINT_URL_BEDROCK_RUNTIME",
        .infer =
            "amazon.nova*,*.amazon.nova*,*.anthropic.claude*,meta.llama*,*.meta.llama*,arn:aws:bedrock:*",
        .price_vendor = "aws",
        .health_path = "", /* nothing is free there */
        .needs_key = true,
    },
    {
        .name = "bedrock_invoke",
        .endpoints = bedrock_invoke_like,
        .base_url = "https://bedrock-runtime.{region}.amazonaws.com",
        .version_path = "",
        .auth = AUTH_KIND_SIGV4,
        .fixed_headers = "Accept: */*", /* its streams are no text/event-stream */
        .default_model = "",
        .env_keys = "AWS_BEARER_TOKEN_BEDROCK",
        .env_url = "AWS_ENDPOINT_URL_BEDROCK_RUNTIME",
        .infer = "",
        .price_vendor = "aws",
        .health_path = "", /* nothing is free there */
        .needs_key = true,
        .by_choice = true,
    },
    {
        .name = "vertex",
        .endpoints = vertex_like,
        .base_url = "https://{location}-aiplatform.googleapis.com",
        .version_path = "",
        .auth = AUTH_KIND_SERVICE_ACCOUNT,
        .fixed_headers = "",
        .default_model = "gemini-2.5-flash",
        .env_keys = "",
        .env_url = "",
        .infer = "",
        .price_vendor = "google",
        .health_path = "",
        .location = "global",
        .needs_key = true,
    },
    {
        .name = "mistral",
        .endpoints = mistral_like,
        .base_url = "https://api.mistral.ai/v1",
        .version_path = "/v1",
        .auth = AUTH_KIND_BEARER,
        .fixed_headers = "",
        .default_model = "mistral-small-latest",
        .env_keys = "MISTRAL_API_KEY",
        .env_url = "MISTRAL_BASE_URL",
        .infer = "mistral-*,codestral-*,ministral-*,magistral-*,pixtral-*,devstral-*",
        .price_vendor = "mistral",
        .health_path = "/models",
        .quirks = QUIRK_REBUILD | QUIRK_NO_STREAM_OPTIONS | QUIRK_MISTRAL, /* unknown members are a 422 */
        .needs_key = true,
    },
    {
        .name = "groq",
        .endpoints = groq_like,
        .base_url = "https://api.groq.com/openai/v1",
        .version_path = "/openai/v1",
        .auth = AUTH_KIND_BEARER,
        .fixed_headers = "",
        .default_model = "llama-3.3-70b-versatile",
        .env_keys = "GROQ_API_KEY",
        .env_url = "GROQ_BASE_URL",
        .infer = "",
        .price_vendor = "groq",
        .health_path = "/models",
        .needs_key = true,
    },
    {
        .name = "deepseek",
        .endpoints = chat_only,
        .base_url = "https://api.deepseek.com/v1",
        .version_path = "/v1",
        .auth = AUTH_KIND_BEARER,
        .fixed_headers = "",
        .default_model = "deepseek-chat",
        .env_keys = "DEEPSEEK_API_KEY",
        .env_url = "DEEPSEEK_BASE_URL",
        .infer = "deepseek-*",
        .price_vendor = "deepseek",
        .health_path = "/models",
        .quirks = QUIRK_REASONING,
        .needs_key = true,
    },
    {
        .name = "xai",
        .endpoints = xai_like,
        .base_url = "https://api.x.ai/v1",
        .version_path = "/v1",
        .auth = AUTH_KIND_BEARER,
        .fixed_headers = "",
        .default_model = "grok-4",
        .env_keys = "XAI_API_KEY",
        .env_url = "XAI_BASE_URL",
        .infer = "grok-*",
        .price_vendor = "x-ai",
        .health_path = "/models",
        .needs_key = true,
    },
    {
        .name = "together",
        .endpoints = openai_like,
        .base_url = "https://api.together.xyz/v1",
        .version_path = "/v1",
        .auth = AUTH_KIND_BEARER,
        .fixed_headers = "",
        .default_model = "meta-llama/Llama-3.3-70B-Instruct-Turbo",
        .env_keys = "TOGETHER_API_KEY",
        .env_url = "TOGETHER_BASE_URL",
        .infer = "",
        .price_vendor = "",
        .health_path = "/models",
        .whole_ids = true,
        .needs_key = true,
    },
    {
        .name = "huggingface",
        .endpoints = huggingface_like,
        .base_url = "https://router.huggingface.co/v1",
        .version_path = "/v1",
        .auth = AUTH_KIND_BEARER,
        .fixed_headers = "",
        .default_model = "meta-llama/Llama-3.3-70B-Instruct",
        .env_keys = "HF_TOKEN,HUGGINGFACE_API_KEY",
        .env_url = "HUGGINGFACE_BASE_URL",
        .infer = "",
        .price_vendor = "",
        .health_path = "/models",
        .whole_ids = true,
        .needs_key = true,
    },
    {
        .name = "vllm",
        .endpoints = openai_like,
        .base_url = "",
        .version_path = "/v1",
        .auth = AUTH_KIND_BEARER,
        .fixed_headers = "",
        .default_model = "",
        .env_keys = "VLLM_API_KEY",
        .env_url = "VLLM_BASE_URL",
        .infer = "",
        .price_vendor = "",
        .health_path = "/models",
        .whole_ids = true,
    },
    {
        .name = "ollama",
        .endpoints = openai_like,
        .base_url = "http://127.0.0.1:11434/v1",
        .version_path = "/v1",
        .auth = AUTH_KIND_BEARER,
        .fixed_headers = "",
        .default_model = "",
        .env_keys = "OLLAMA_API_KEY",
        .env_url = "OLLAMA_BASE_URL",
        .infer = "",
        .price_vendor = "",
        .health_path = "/models",
        .whole_ids = true,
    },
    {
        .name = "ollama_native", /* its OpenAI endpoints know neither num_ctx nor keep_alive */
        .endpoints = ollama_own,
        .base_url = "http://127.0.0.1:11434",
        .version_path = "",
        .auth = AUTH_KIND_BEARER,
        .fixed_headers = "Accept: */*", /* its streams are no text/event-stream */
        .default_model = "",
        .env_keys = "OLLAMA_API_KEY",
        .env_url = "",
        .infer = "",
        .price_vendor = "",
        .health_path = "/api/version",
        .whole_ids = true,
        .by_choice = true,
    },
    {
        .name = "cohere",
        .endpoints = cohere_like,
        .base_url = "https://api.cohere.com",
        .version_path = "",
        .auth = AUTH_KIND_BEARER,
        .fixed_headers = "",
        .default_model = "command-a-03-2025",
        .env_keys = "COHERE_API_KEY,CO_API_KEY",
        .env_url = "COHERE_BASE_URL",
        .infer = "command-*,rerank-*,embed-*",
        .price_vendor = "cohere",
        .health_path = "/v1/models",
        .needs_key = true,
    },
    {
        .name = "mock",
        .endpoints = mock_like,
        .base_url = "",
        .version_path = "",
        .auth = AUTH_KIND_NONE,
        .fixed_headers = "",
        .default_model = "mock",
        .env_keys = "",
        .env_url = "",
        .infer = "mock,mock-*",
        .price_vendor = "",
        .health_path = "/models",
        .builtin = true,
    },
};
const struct provider_kinds provider_table = {rows, sizeof rows / sizeof rows[0]};

/* --- base URLs --- */

static bool cut_end(struct str *s, struct str end) {
    if (end.n == 0 || s->n < end.n || memcmp(s->p + s->n - end.n, end.p, end.n) != 0)
        return false;
    s->n -= end.n;
    return true;
}

static void cut_slashes(struct str *s) {
    while (s->n && s->p[s->n - 1] == '/')
        s->n--;
}

/* Behind "scheme://host"; empty when there is none. */
static struct str path_of(struct str url) {
    ptrdiff_t at = str_find(url, STR("://"));
    struct str rest = str_skip(url, at < 0 ? 0 : (size_t)at + 3);
    const char *slash = rest.n ? memchr(rest.p, '/', rest.n) : NULL;
    return slash ? str_skip(rest, (size_t)(slash - rest.p)) : STR_NONE;
}

/* Does a segment look like a version ("v1", "v4", "v1beta")? Then the operator has said which. */
static bool has_version(struct str path) {
    struct str seg;
    while (str_next(&path, '/', &seg))
        if (seg.n >= 2 && seg.p[0] == 'v' && seg.p[1] >= '0' && seg.p[1] <= '9')
            return true;
    return false;
}

/* What is missing of version_path at the end of url: "/v1" of "/api/v1" behind "https://h/api". */
static struct str missing(struct str url, struct str version) {
    struct str path = path_of(url);
    for (size_t have = version.n; have > 0; have--)
        if ((have == version.n || version.p[have] == '/') && path.n >= have &&
            memcmp(path.p + path.n - have, version.p, have) == 0)
            return str_skip(version, have);
    return version;
}

/* A whole endpoint was pasted where the base was asked for. */
static void cut_endpoint(struct str *url) {
    static const struct str ends[] = {
        {"/chat/completions", 17}, {"/v1/messages", 12}, {"/messages", 9}, {"/models", 7}};
    for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++)
        if (cut_end(url, ends[i]))
            break;
    cut_slashes(url);
}

struct str provider_base_url(struct arena *a, const struct provider_kind *k, struct str configured) {
    struct str url = str_trim(configured);
    if (url.n == 0)
        url = str_of(k->base_url);
    cut_slashes(&url);
    if (url.n == 0)
        return STR("");
    cut_endpoint(&url);
    struct str version = str_of(k->version_path);
    if (version.n == 0) { /* the bare root */
        while (cut_end(&url, STR("/v1")))
            cut_slashes(&url);
        if (k->auth == AUTH_KIND_API_KEY && cut_end(&url, STR("/openai"))) /* as Azure's portal shows it */
            cut_slashes(&url);
        /* what their own documentation calls the base */
        if ((k->endpoints == cohere_like && cut_end(&url, STR("/v2"))) ||
            (k->endpoints == ollama_own && cut_end(&url, STR("/api"))))
            cut_slashes(&url);
        return arena_dup(a, url);
    }
    const char *slash = memrchr(version.p, '/', version.n);
    struct str last = str_skip(version, (size_t)(slash - version.p)); /* "/v1" of "/api/v1" */
    for (struct str once = url; cut_end(&once, last);) {
        cut_slashes(&once);
        struct str twice = once;
        if (!cut_end(&twice, last))
            break;
        url = once;
    }
    struct str add = has_version(path_of(url)) ? STR_NONE : missing(url, version);
    return arena_printf(a, STR_FMT STR_FMT, STR_ARG(url), STR_ARG(add));
}

/* --- paths --- */

static const char hex[] = "0123456789ABCDEF";

/* Everything but RFC 3986's unreserved characters, so that a name stays one segment. */
static void add_segment(struct buf *out, struct str name) {
    if (str_is(name, ".") || str_is(name, "..")) { /* would be taken out of the path, with what is before */
        buf_addz(out, name.n == 1 ? "%2E" : "%2E%2E");
        return;
    }
    for (size_t i = 0; i < name.n; i++) {
        unsigned char c = (unsigned char)name.p[i];
        if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
            (c && strchr("-._~", c))) {
            buf_addc(out, (char)c);
            continue;
        }
        buf_addc(out, '%');
        buf_addc(out, hex[c >> 4]);
        buf_addc(out, hex[c & 15]);
    }
}

static struct str variable(const struct conf_provider *p, struct str name, struct str model) {
    if (str_is(name, "model"))
        return model;
    if (str_is(name, "region"))
        return str_of(p->region);
    if (str_is(name, "project"))
        return str_of(p->project);
    if (str_is(name, "location"))
        return str_of(p->location);
    return str_is(name, "api_version") ? str_of(p->api_version) : STR_NONE;
}

/* "{location}-aiplatform" of a host: `global` has no prefix, and several regions together have a domain. */
static bool add_location_host(struct buf *out, const struct conf_provider *p, struct str *rest) {
    static const struct str host = {"{location}-aiplatform", 21};
    struct str at = str_of(p->location);
    bool several = str_is(at, "us") || str_is(at, "eu");
    if (!str_starts(*rest, host.p) || (!several && !str_is(at, "global")))
        return false;
    BUF_ADD(out, "aiplatform");
    if (several)
        buf_printf(out, "." STR_FMT ".rep", STR_ARG(at));
    *rest = str_skip(*rest, host.n);
    return true;
}

struct str provider_base(struct arena *a, const struct conf_provider *p) {
    struct str url = provider_base_url(a, p->kind, str_of(p->base_url));
    if (str_find(url, STR("{")) < 0)
        return url;
    struct buf out;
    buf_init(&out, 8192);
    for (struct str rest = url; rest.n;) {
        if (add_location_host(&out, p, &rest))
            continue;
        const char *end = rest.p[0] == '{' ? memchr(rest.p, '}', rest.n) : NULL;
        size_t n = end ? (size_t)(end - rest.p) + 1 : 1;
        if (end)
            buf_adds(&out, variable(p, str_make(rest.p + 1, n - 2), STR_NONE));
        else
            buf_addc(&out, rest.p[0]);
        rest = str_skip(rest, n);
    }
    url = arena_dup(a, buf_str(&out));
    buf_free(&out);
    return url;
}

const char *provider_path(struct arena *a, const struct conf_provider *p, const char *path, struct str model,
                          struct str rest_of_path) {
    if (!strchr(path, '{'))
        return path;
    struct buf out;
    buf_init(&out, 8192);
    for (struct str rest = str_of(path); rest.n;) {
        const char *end = rest.p[0] == '{' ? memchr(rest.p, '}', rest.n) : NULL;
        if (!end) {
            buf_addc(&out, rest.p[0]);
            rest = str_skip(rest, 1);
            continue;
        }
        struct str name = str_make(rest.p + 1, (size_t)(end - rest.p) - 1);
        if (str_is(name, "rest"))
            buf_adds(&out, rest_of_path);
        else
            add_segment(&out, variable(p, name, model));
        rest = str_skip(rest, (size_t)(end - rest.p) + 1);
    }
    const char *s = buf_ok(&out) ? arena_dupz(a, buf_str(&out)) : "/"; /* no model has such a name */
    buf_free(&out);
    return s;
}
