/* The table of dialects. One file is one wire format; it has a client face (programs speak it to us), a
 * provider face (we speak it to providers), or both. Rooms above use pipe.h and never a face directly. Pure:
 * no sockets, no clock, no random: ids and times are handed in. */
#ifndef PENSTOCK_DIALECT_DIALECT_H
#define PENSTOCK_DIALECT_DIALECT_H
#include "llm/chat.h"
#include "llm/embed.h"
#include "llm/event.h"
#include "llm/fault.h"

/* What is asked for. A request is translated between dialects of the same operation only. */
enum operation {
    OP_CHAT,  /* struct chat in, struct reply or events out */
    OP_COUNT, /* struct chat in, a reply of which only usage.input counts */
    OP_EMBED, /* struct embed in, struct embed_reply out */
    OP_PASS,  /* bytes in, bytes out, between the same dialects only; bodies need not be JSON */
};

/* What the steps must know of any request before they choose a target; read in one scan of the body. */
struct ask {
    /* Set by the caller of peek: */
    struct str rest,
        query; /* what '*' of the route stood for, and the query, as sent (Gemini: the model is there) */
    bool stream; /* the path asks for one; peek keeps it, and sets it where the body says it */
    /* Set by peek: */
    struct str body;              /* the client's bytes, or the same in other words; all spans below lie inside */
    struct str model;             /* text; empty when not given */
    struct json_value model_span; /* raw.p NULL when absent */
    bool array; /* the stream is one JSON array in place of events (Gemini without alt=sse) */
    struct json_value stream_span;
    bool include_usage; /* the client asked for usage in its stream */
    struct json_value stream_options_span;
    struct json_value routing_span; /* "routing": removed before it goes upstream */
    struct str routing;             /* its JSON, or empty */
    uint64_t max_tokens;            /* 0: not said */
    uint64_t n;                     /* 1 when not said */
    uint64_t input_bytes;           /* of text the model will read, for the estimate (base64 left out) */
    bool more_than_text;            /* pictures, sound or files besides: its bytes say nothing about its tokens */
    struct str user;
    struct str provider; /* the one that is asked for by name; empty: any */
    /* Of dialects whose bodies say it; else empty: */
    struct str task;               /* what it is for: stands in for a missing model */
    struct str request_id, tenant; /* checked in form; the first also of a body that was refused */
    struct str ignored;            /* names of members that nobody knows, comma-separated */
    bool known_model;              /* a model that nobody knows is an error, not the default provider's */
    bool dry_run;                  /* nobody is to be asked */
    bool max_cost_said;
    double max_cost_usd;
    uint64_t expected_output; /* tokens; 0: not said */
};

/* Differences of one provider from the dialect it speaks; a row of the provider table names them. */
enum quirk {
    QUIRK_NO_STREAM_OPTIONS = 1, /* does not know stream_options: do not add it */
    QUIRK_MAX_COMPLETION_TOKENS =
        2,             /* wants max_completion_tokens instead of max_tokens (translated requests) */
    QUIRK_REBUILD = 4, /* its own clients' requests too go through the canonical form: it refuses what others
                        * take, or answers in a shape that they do not read */
    QUIRK_VERTEX = 8,  /* Anthropic on Vertex: no model in the body, anthropic_version in it */
    QUIRK_MISTRAL = 16,        /* knows fewer members and calls some otherwise; ids of calls have nine characters */
    QUIRK_REASONING = 32,      /* wants its reasoning_content back in a loop of tools */
    QUIRK_BEDROCK = 64,        /* Anthropic on Bedrock: as on Vertex, and no stream in the body either */
    QUIRK_DETAILS = 128,       /* wants its reasoning_details back, as OpenRouter does */
    QUIRK_FREE_1 = 0x100, /* from here on: of the OpenAI family, named in openai_chat.h */
};

/* What a dialect's clients call what the canonical form calls as OpenAI's chat does. */
struct client_names {
    const char *turns, *parts, *system; /* "messages[1].content[0]" is "contents[1].parts[0]", or in systemInstruction */
    const char *call;                   /* "messages[1].tool_call_id" is "input[1].call_id" */
    const char *const (*rows)[2];       /* "parallel_tool_calls", and the client's word; ends with {NULL} */
};

struct encode_opt {
    struct str model; /* the provider's name for it */
    unsigned quirks;
    uint64_t default_max_tokens; /* where the dialect demands one and the client gave none */
    /* QUIRK_REASONING and QUIRK_DETAILS, same dialect: what was given out with a tool call, or nothing: the text of the
     * thinking, or, with an origin, its signatures of that origin with commas between them. NULL: none is kept. */
    struct str (*reasoning)(void *arg, struct str call, const char *origin);
    void *reasoning_arg;
    const struct client_names *names; /* for what is refused or dropped; NULL: the canonical ones */
    bool drop_unsupported;       /* on_unsupported: drop (report in `dropped`) or pass; else refuse */
    bool pass_unsupported;
};

/* What a reply says of itself, seen while it passes. */
struct observed {
    struct usage usage;
    enum stop_reason stop;
    struct str unknown;    /* with STOP_UNKNOWN: the provider's word; in the pipe's arena */
    struct str id, model;  /* in the pipe's arena */
    bool output;           /* something of the answer itself has come (a delta, a call, a stop) */
    bool ended;            /* the dialect's own end was seen ([DONE], message_stop, a whole reply) */
    struct fault fault;    /* an error inside the answer */
    uint64_t output_bytes; /* of text, for the estimate */
};

/* Ids and times for replies that are written by us. */
struct mint {
    struct str id;    /* "chatcmpl-..." style without prefix: random alphanumerics, 24 */
    int64_t created;  /* seconds */
    struct str model; /* the model name the client is told */
};

/* What has come of a request, known when its account is made. Nano-dollars are -1 where no price is known. */
struct receipt {
    struct str request_id;
    struct str provider, model; /* that answered; of a dry run: that would */
    struct usage usage;         /* of the answer, also of one from the cache */
    int64_t cost_nano;          /* of this request: 0 of one from the cache */
    int64_t input_nano, output_nano; /* its parts */
    uint64_t expected_input, expected_output; /* tokens, before it was asked */
    int64_t expected_nano;
    struct str tenant; /* that it is counted for; empty: none */
    const char *cache; /* as in x-penstock-cache */
    uint64_t ms;       /* since the request began */
    unsigned attempts;
    bool cached, fallback; /* fallback: not by the target that was to be the first */
};

struct stream_writer; /* per stream state of a client face */
struct stream_reader; /* per stream state of a provider face */

struct client_face {
    /* Where one path serves two kinds of clients: the dialect that this body, of whatever bytes, of a program that calls
     * itself `agent` (User-Agent, or empty), is in. NULL: this one. */
    const struct dialect *(*really)(struct str body, struct str agent);
    /* One scan: checks JSON, the types of the members it names, required members. false and *f. */
    bool (*peek)(struct arena *a, struct str body, struct ask *ask, struct fault *f);
    /* The whole request in the canonical form. false and *f. */
    bool (*read_request)(struct arena *a, const struct ask *ask, struct chat **out, struct fault *f);
    /* What the last message asks, for those who look for an earlier one that asked the same: its text, a JSON string inside
     * the checked body, when it is a user's and nothing but one text; else raw.p is NULL. NULL: never looked for. */
    struct json_value (*question)(struct str body);
    void (*write_reply)(struct buf *out, const struct reply *r, const struct mint *m, const struct ask *ask);
    /* For dialects whose answers tell what they took: the client's body, of what write_reply has written, which is
     * what the cache keeps. Of a stream: of its last bytes, with all that was written for EV_END. NULL: that is the
     * body. */
    void (*write_receipt)(struct buf *out, struct str written, const struct ask *ask, const struct receipt *o);
    /* OP_EMBED in place of these two. */
    bool (*read_embed)(struct arena *a, const struct ask *ask, struct embed **out, struct fault *f);
    void (*write_embed)(struct buf *out, const struct embed_reply *r, const struct mint *m,
                        const struct ask *ask);
    /* The error body (whole answers), and as a stream's last words. request_id may be empty. */
    void (*write_fault)(struct buf *out, const struct fault *f, struct str request_id);
    /* w: the stream's writer, or NULL where bytes passed untouched. */
    void (*write_stream_fault)(struct stream_writer *w, struct buf *out, const struct fault *f,
                               struct str request_id);
    struct stream_writer *(*writer_new)(struct arena *a, const struct mint *m, const struct ask *ask);
    void (*write_event)(struct stream_writer *w, const struct event_item *ev, struct buf *out);
    const char *stream_type; /* Content-Type of a stream of events */
    bool provider_rates;     /* answers tell the limits of the provider that gave them, not the caller's */
    const char *silent;      /* members that change no answer, besides those of all dialects; comma-separated; NULL: none */
    const char *turns;       /* the member with the turns of a conversation: "messages"; NULL: none */
    const struct client_names *names; /* NULL: the canonical ones are its own */
};

enum framing {
    FRAMING_SSE,
    FRAMING_AWS,   /* application/vnd.amazon.eventstream */
    FRAMING_LINES, /* application/x-ndjson: a line is an event */
};

struct provider_face {
    bool stop_is_end; /* a stream with a stop reason is complete even without the dialect's last event */
    bool early_usage; /* its streams begin with a usage whose output is not the last word */
    /* Behind the base URL: "/chat/completions"; {model} stands for the model's name, percent-encoded, {rest} for
     * what the client's path has behind its version. A provider kind's endpoint may say another. */
    const char *path;
    const char *stream_path; /* NULL: the same */
    enum framing framing;    /* of its streams */
    /* Same dialect: the client's bytes with spliced values; never re-printed. */
    bool (*splice)(struct arena *a, const struct ask *ask, const struct encode_opt *o, struct buf *out,
                   struct fault *f);
    /* Another dialect. Names of what was left out go to `dropped`, comma-separated. NULL: no kind asks by this
     * face in other dialects than its own; it is there for who reads. */
    bool (*write_request)(struct arena *a, const struct chat *c, const struct encode_opt *o, struct buf *out,
                          struct buf *dropped, struct fault *f);
    struct reply *(*read_reply)(struct arena *a, struct str body, unsigned quirks, struct fault *f);
    /* OP_EMBED in place of these two. */
    bool (*write_embed)(struct arena *a, const struct embed *e, const struct encode_opt *o, struct buf *out,
                        struct buf *dropped, struct fault *f);
    struct embed_reply *(*read_embed)(struct arena *a, struct str body, unsigned quirks, struct fault *f);
    /* Same dialect: usage, stop and error of a whole reply in one scan, no tree. false and *f when it is no
     * reply. OP_PASS: the usage that the last bytes of an answer tell. */
    bool (*tap_reply)(struct arena *a, struct str body, unsigned quirks, struct observed *o, struct fault *f);
    /* An answer with an error status. headers: value of a response header by lower-case name, or STR_NONE. */
    void (*read_fault)(struct arena *a, int status, struct str body,
                       struct str (*header)(void *arg, const char *name), void *arg, struct fault *f);
    struct stream_reader *(*reader_new)(struct arena *a, unsigned quirks, event_fn *fn, void *arg);
    /* One event of the stream. FRAMING_AWS: name is the :event-type (message-type "event"), or the
     * :exception-type behind a '!'; data the payload. FRAMING_LINES: name is empty, data the line. */
    void (*read_event)(struct stream_reader *r, struct str name, struct str data);
    void (*reader_end)(
        struct stream_reader *r); /* the bytes are over: END, or a FAULT if the dialect's end is missing */
    /* Same dialect: looks at one event of a passing stream. Returns false when the client must not see it
     * (the usage chunk it did not ask for). */
    bool (*tap_event)(struct arena *a, struct str name, struct str data, unsigned quirks, bool hide_usage,
                      struct observed *o);
};

struct dialect {
    const char *name; /* "openai_chat", "anthropic" */
    enum operation op;
    const struct client_face *client;     /* NULL: not spoken by clients */
    const struct provider_face *provider; /* NULL: not spoken to providers */
};
const struct dialect *dialect_at(size_t i);                 /* all of them from 0 on; NULL behind the last */
const struct dialect *dialect_by_name(struct str name); /* NULL if unknown */
const struct dialect *dialect_really(const struct dialect *client, struct str body, struct str agent); /* client_face.really */

extern const struct dialect dialect_openai_chat;
extern const struct dialect dialect_mistral_chat;
extern const struct dialect dialect_openai_completions;
extern const struct dialect dialect_enterprise;
extern const struct dialect dialect_openai_embeddings;
extern const struct dialect dialect_anthropic;
extern const struct dialect dialect_openai_responses;
extern const struct dialect dialect_openai_responses_count;
extern const struct dialect dialect_gemini;
extern const struct dialect dialect_gemini_interactions; /* an answer is read; no request is written */
extern const struct dialect dialect_gemini_count;
extern const struct dialect dialect_anthropic_count;
extern const struct dialect dialect_gemini_embed;
extern const struct dialect dialect_gemini_batch_embed;
extern const struct dialect dialect_cohere;
extern const struct dialect dialect_cohere_embed;
extern const struct dialect dialect_bedrock;
extern const struct dialect dialect_bedrock_invoke;
extern const struct dialect dialect_ollama;
extern const struct dialect dialect_ollama_embed;
extern const struct dialect dialect_query; /* a client's alone */
extern const struct dialect dialect_tgi; /* as gemini_interactions */
/* passthrough.c */
extern const struct dialect dialect_moderations;
extern const struct dialect dialect_images;
extern const struct dialect dialect_audio;
extern const struct dialect dialect_rerank;
extern const struct dialect dialect_files;
extern const struct dialect dialect_batches;
extern const struct dialect dialect_stored_responses;
#endif
