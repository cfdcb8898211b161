/* The table of fault classes: what the client is told, what may be tried next, and whose fault it was.
 * Whatever decides about a failure looks here, so that retry, breaker, key rest and fallback never disagree.
 */
#include "llm/fault.h"

#include <stdarg.h>
#include <stdio.h>
#include <strings.h>

#define ANYWHERE  (FAULT_TRY_SAME | FAULT_TRY_KEY | FAULT_TRY_TARGET | FAULT_TRY_MODEL)
#define ELSEWHERE (FAULT_TRY_KEY | FAULT_TRY_TARGET | FAULT_TRY_MODEL)

#define EITHER(ours, theirs) ERROR_##ours, ERROR_##theirs
#define ONLY(type)           EITHER(type, type)

/* The caller's own faults and 429 never count against a target (behaviour: Breakers). A 429 and a refused or
 * empty account are the key's: it rests, and another key goes first. */
/* clang-format off */
static const struct fault_rule rules[FAULT_CLASSES] = {
    [FAULT_NONE] = {"none", 200, 0, false, false, ONLY(NONE)},
    [FAULT_BAD_REQUEST] = {"invalid_request", 400, 0, false, false, ONLY(CALLER_INVALID_REQUEST)},
    /* Another target of the model may speak a dialect that has the field. */
    [FAULT_UNSUPPORTED] = {"unsupported", 400, FAULT_TRY_TARGET, false, false, ONLY(CALLER_UNSUPPORTED)},
    /* Not the next target: the window is the model's. */
    [FAULT_CONTEXT_LENGTH] = {"context_length_exceeded", 400, FAULT_TRY_MODEL, false, false, ONLY(CALLER_CONTEXT_LENGTH)},
    [FAULT_CONTENT_FILTER] = {"content_filter", 400, FAULT_TRY_MODEL, false, false, EITHER(POLICY_CONTENT_FILTER, PROVIDER_CONTENT_FILTER)},
    [FAULT_TOO_LARGE] = {"request_too_large", 413, 0, false, false, ONLY(CALLER_TOO_LARGE)},
    [FAULT_AUTH] = {"authentication", 401, 0, false, false, ONLY(CALLER_AUTHENTICATION)},
    [FAULT_PERMISSION] = {"permission", 403, 0, false, false, ONLY(POLICY_PERMISSION)},
    [FAULT_MODEL_NOT_FOUND] = {"model_not_found", 404, FAULT_TRY_TARGET | FAULT_TRY_MODEL, false, false, EITHER(CALLER_MODEL_NOT_FOUND, PROVIDER_MODEL_NOT_FOUND)},
    [FAULT_RATE_LIMIT] = {"rate_limit_exceeded", 429, ANYWHERE, false, true, EITHER(POLICY_RATE_LIMIT, PROVIDER_RATE_LIMIT)},
    [FAULT_COST_LIMIT] = {"cost_limit_exceeded", 402, 0, false, false, ONLY(POLICY_COST_LIMIT)},
    [FAULT_QUOTA] = {"insufficient_quota", 429, ELSEWHERE, false, true, ONLY(PROVIDER_QUOTA)},
    /* Another target may cost less, or be of a provider or a model that has money left. */
    [FAULT_BUDGET] = {"budget_exceeded", 429, FAULT_TRY_TARGET | FAULT_TRY_MODEL, false, false, ONLY(POLICY_BUDGET)},
    [FAULT_PROVIDER_AUTH] = {"provider_authentication", 502, ELSEWHERE, false, true, ONLY(PROVIDER_AUTHENTICATION)},
    [FAULT_SERVER] = {"server_error", 502, ANYWHERE, true, false, ONLY(PROVIDER_SERVER_ERROR)},
    [FAULT_OVERLOADED] = {"overloaded", 503, ANYWHERE, true, false, EITHER(GATEWAY_OVERLOADED, PROVIDER_OVERLOADED)},
    [FAULT_TIMEOUT] = {"timeout", 504, ANYWHERE, true, false, EITHER(CALLER_TIMEOUT, PROVIDER_TIMEOUT)},
    [FAULT_CONNECTION] = {"connection", 502, ANYWHERE, true, false, ONLY(PROVIDER_CONNECTION)},
    [FAULT_NO_TARGET] = {"no_target", 503, FAULT_TRY_TARGET | FAULT_TRY_MODEL, false, false, ONLY(GATEWAY_NO_TARGET)},
    [FAULT_CANCELLED] = {"cancelled", 499, 0, false, false, ONLY(CALLER_CANCELLED)},
    [FAULT_INTERNAL] = {"internal", 500, 0, false, false, ONLY(GATEWAY_INTERNAL)},
};
/* clang-format on */

static const char *const types[ERROR_TYPES_N] = {
#define X(n, name) name,
    ERROR_TYPES(X)
#undef X
};

const char *error_type_name(enum error_type t) {
    return types[(unsigned)t < ERROR_TYPES_N ? t : ERROR_NONE];
}

uint64_t error_types_by_name(struct str name) {
    uint64_t found = 0;
    bool family = name.n > 0 && !memchr(name.p, '_', name.n);
    for (unsigned i = ERROR_NONE + 1; i < ERROR_TYPES_N; i++) {
        struct str type = str_of(types[i]);
        if (str_eq(type, name) ||
            (family && type.n > name.n && type.p[name.n] == '_' && memcmp(type.p, name.p, name.n) == 0))
            found |= UINT64_C(1) << i;
    }
    return found;
}

/* Other words that operators use for the same. */
static const struct {
    const char *name;
    enum fault_class cls;
} aliases[] = {
    {"rate_limit", FAULT_RATE_LIMIT},
    {"context_length", FAULT_CONTEXT_LENGTH},
    {"context_window", FAULT_CONTEXT_LENGTH},
    {"content_policy", FAULT_CONTENT_FILTER},
    {"connection_error", FAULT_CONNECTION},
    {"timeout_error", FAULT_TIMEOUT},
    {"quota", FAULT_QUOTA},
    {"provider_auth", FAULT_PROVIDER_AUTH},
    {"internal_error", FAULT_INTERNAL},
    {"invalid_request_error", FAULT_BAD_REQUEST},
};

const struct fault_rule *fault_rule(enum fault_class c) {
    return &rules[(unsigned)c < FAULT_CLASSES ? c : FAULT_INTERNAL];
}

static bool name_is(struct str name, const char *want) {
    size_t i = 0;
    for (; i < name.n && want[i]; i++) {
        char c = name.p[i] == '-' ? '_' : name.p[i];
        if (c >= 'A' && c <= 'Z')
            c = (char)(c - 'A' + 'a');
        if (c != want[i])
            return false;
    }
    return i == name.n && want[i] == 0;
}

bool fault_by_name(struct str name, enum fault_class *out) {
    for (int c = FAULT_NONE + 1; c < FAULT_CLASSES; c++)
        if (name_is(name, rules[c].name)) {
            *out = (enum fault_class)c;
            return true;
        }
    for (size_t i = 0; i < sizeof aliases / sizeof *aliases; i++)
        if (name_is(name, aliases[i].name)) {
            *out = aliases[i].cls;
            return true;
        }
    return false;
}

bool fault_matches(enum fault_class c, enum fault_class configured) {
    if (c == configured)
        return c != FAULT_NONE;
    switch (c) {
    case FAULT_OVERLOADED:
    case FAULT_PROVIDER_AUTH:
        return configured == FAULT_SERVER;
    case FAULT_NO_TARGET: /* the breaker remembers that it failed, not how */
        return configured == FAULT_SERVER || configured == FAULT_CONNECTION || configured == FAULT_TIMEOUT;
    case FAULT_QUOTA:
    case FAULT_BUDGET:
        return configured == FAULT_RATE_LIMIT;
    default:
        return false;
    }
}

void fault_set(struct fault *f, struct arena *a, enum fault_class c, const char *fmt, ...) {
    char text[FAULT_MESSAGE_MAX], cut[FAULT_MESSAGE_MAX];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    size_t len = n < 0 ? 0 : (size_t)n < sizeof text ? (size_t)n : sizeof text - 1;
    if (n >= (int)sizeof text) { /* the cut may have gone through a character */
        str_copy(cut, len, str_make(text, len));
        len = strlen(cut);
    }
    *f = (struct fault){.cls = c, .retry_after_ms = -1};
    f->message = arena_dup(a, str_make(text, len));
}

int fault_status(const struct fault *f) {
    return f->status ? f->status : fault_rule(f->cls)->status;
}

static bool contains(struct str text, const char *phrase) {
    size_t n = strlen(phrase);
    for (size_t i = 0; i + n <= text.n; i++)
        if (strncasecmp(text.p + i, phrase, n) == 0)
            return true;
    return false;
}

/* From recorded and published errors of OpenAI, Azure, Anthropic, Google, Mistral, Cohere, xAI, Bedrock,
 * Groq, vLLM, SGLang, TGI and llama.cpp. */
bool fault_text_is_context(struct str message) {
    static const char *const phrases[] = {
        "context length",
        "context_length",
        "context window",
        "context size",
        "context limit",
        "prompt is too long",
        "`inputs` must have less than",
        "`inputs` tokens + `max_new_tokens` must be",
        "input is too long",
        "prompt too long",
        "input token count",
        "maximum prompt length",
        "too many tokens in",
        "too many total text bytes",
        "too many input tokens",
        "reduce the length of",
        "too many tokens: total",
        "longer than the maximum model length",
        "longer than the model's context",
        "exceeds the model's maximum",
    };
    if (message.n > FAULT_MESSAGE_MAX)
        message.n = FAULT_MESSAGE_MAX;
    for (size_t i = 0; i < sizeof phrases / sizeof *phrases; i++)
        if (contains(message, phrases[i]))
            return true;
    return false;
}
