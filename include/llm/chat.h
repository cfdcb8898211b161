/* The canonical form of a conversation: what every dialect is translated through. Pure data in an arena.
 * Trees (json_object) are held by reference; chat_hold() hangs their release on the arena. */
#ifndef PENSTOCK_LLM_CHAT_H
#define PENSTOCK_LLM_CHAT_H
#include "base/arena.h"
#include "base/json.h"
#include "base/str.h"
#include "llm/usage.h"

enum chat_role { ROLE_SYSTEM, ROLE_DEVELOPER, ROLE_USER, ROLE_ASSISTANT, ROLE_TOOL };

enum part_kind {
    PART_TEXT,
    PART_IMAGE,       /* url, or media + data (base64 text) */
    PART_AUDIO,       /* media ("wav", "mp3" as audio/...) + data */
    PART_FILE,        /* name, media + data, or url, or id */
    PART_TOOL_CALL,   /* id, name, text = arguments as JSON text ("" means {}) */
    PART_TOOL_RESULT, /* id, name if known, parts inside, is_error */
    PART_THINKING,    /* text, signature */
    PART_THINKING_REDACTED, /* data */
    PART_REFUSAL,     /* text */
};

struct part {
    enum part_kind kind;
    struct str text;
    struct str id, name;
    struct str media;      /* MIME type */
    struct str data;       /* base64 */
    struct str url;
    struct str detail;     /* images: low, high, auto */
    /* Opaque state that the provider wants back with this part: of THINKING (Anthropic's signature, an encrypted
     * reasoning item), of TOOL_CALL and TEXT (Gemini's thoughtSignature). */
    struct str signature;
    struct str origin;     /* the dialect that made signature or data ("anthropic", "gemini", "openai_responses",
                            * "bedrock"); a provider's writer sends back its own only. Empty: unknown */
    struct str logprobs;   /* TEXT, REFUSAL of an answer: JSON array of items as in OpenAI's logprobs.content */
    struct str annotations;/* TEXT of an answer: JSON array in OpenAI chat's shape of message.annotations */
    bool is_error;
    bool custom;           /* TOOL_CALL of a request: it was a free-text call (OpenAI "custom"); text is {"input": "..."} */
    struct part *inner, *inner_last; /* TOOL_RESULT: its parts */
    bool cache_point;      /* a cache breakpoint after this part */
    struct str cache_ttl;  /* "5m", "1h", or empty */
    struct json_object *extra; /* members the canonical form has no place for (same dialect only), or NULL */
    struct part *next;
};
struct message {
    enum chat_role role;
    struct part *parts, *last;
    struct str name;       /* author name */
    size_t turn;           /* its place in the client's list, from 1 on; 0: it stood elsewhere (Anthropic's `system`) */
    struct message *next;
};
struct tool {
    struct str name, description;
    struct json_object *schema; /* of its arguments; NULL: none given */
    int strict;            /* -1 not said, 0, 1 */
    bool custom;           /* of OpenAI's free text: schema is {"input": string}, for those who know functions only */
    bool cache_point;
    struct str cache_ttl;
    struct json_object *raw; /* a tool of a kind we do not know (server tools), or a custom one, whole; or NULL */
    size_t at;             /* its place in the client's list */
    struct tool *next;
};
enum tool_choice { CHOICE_UNSET, CHOICE_AUTO, CHOICE_NONE, CHOICE_REQUIRED, CHOICE_NAMED };
enum format_kind { FORMAT_UNSET, FORMAT_TEXT, FORMAT_JSON, FORMAT_SCHEMA };
enum thinking_kind { THINKING_UNSET, THINKING_OFF, THINKING_ADAPTIVE, THINKING_BUDGET };

struct opt_num { /* a number that may be absent; its text is kept as it was written */
    bool set;
    double v;
    struct str text;
};

struct chat {
    struct arena *arena;
    struct str model;            /* as the provider will get it */
    struct message *messages, *last;
    size_t turn;                 /* what chat_message() gives its message: a reader's, while it reads */
    struct tool *tools, *last_tool;
    enum tool_choice choice;
    struct str choice_name;
    int parallel_calls;          /* -1 not said */
    bool stream, include_usage;
    uint64_t max_tokens;         /* 0: not said */
    struct opt_num temperature, top_p, top_k, frequency_penalty, presence_penalty;
    bool seed_set;
    int64_t seed;
    uint64_t n;                  /* choices; 0 or 1: one */
    struct str *stop;
    size_t nstop;
    enum format_kind format;
    struct str format_name, format_description;
    struct json_object *format_schema;
    int format_strict;           /* -1 not said */
    enum thinking_kind thinking;
    uint64_t thinking_budget;
    struct str effort;           /* none minimal low medium high xhigh max */
    struct str user;
    bool logprobs;
    int64_t top_logprobs;        /* -1 not said */
    struct json_object *logit_bias, *metadata;
    struct str service_tier;
    struct json_object *extra;   /* members of the request that the canonical form does not know, by name */
};
struct chat *chat_new(struct arena *a);
struct message *chat_message(struct chat *c, enum chat_role role); /* appended */
struct part *message_part(struct chat *c, struct message *m, enum part_kind kind); /* appended */
struct part *part_inner(struct chat *c, struct part *result, enum part_kind kind); /* appended inside a tool result */
struct tool *chat_tool(struct chat *c, struct str name);           /* appended */
struct json_object *chat_hold(struct arena *a, struct json_object *tree); /* takes over one reference */

/* Why the model stopped. Tool calls in the message win over what the provider says. */
enum stop_reason {
    STOP_UNSET,
    STOP_END,
    STOP_SEQUENCE,
    STOP_LENGTH,       /* max_tokens */
    STOP_CONTEXT,      /* the window is full */
    STOP_TOOLS,
    STOP_FILTER,       /* policy, refusal */
    STOP_PAUSE,        /* server tools paused */
    STOP_ERROR,
    STOP_OTHER,        /* none of these: `native` has it */
    STOP_UNKNOWN,      /* a word that no table has: `native` */
};

/* What is told of it: STOP_TOOLS when there are calls, whatever the provider said. */
enum stop_reason stop_effective(enum stop_reason said, bool has_calls);

/* A whole answer of one choice. */
struct reply {
    struct str id, model;
    int64_t created;             /* seconds; 0 unknown */
    struct message *message;     /* ROLE_ASSISTANT */
    enum stop_reason stop;
    struct str stop_native, stop_sequence;
    struct usage usage;
    struct json_object *extra;
    struct reply *next;          /* a further choice (n > 1; whole answers only); its usage counts for nothing */
};
#endif
