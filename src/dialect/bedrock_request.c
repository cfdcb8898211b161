/* A conversation as a Converse request: sides that alternate, blocks of exactly one member each, and what
 * only some models know in a bag of its own. */
#include "bedrock.h"
#include "claude.h"
#include "encode.h"

#include "base/hash.h"
#include <json-c/linkhash.h>

struct wr {
    struct encoder e;
    size_t i;             /* of the message */
    unsigned documents;   /* written so far: their names must differ */
    bool open, assistant; /* a message is being written, and whose */
    bool text, file;      /* what it has of these */
    bool claude;
    bool budget, adaptive; /* how it thinks */
    uint64_t max_tokens, budget_tokens;
};

/* --- blocks --- */

static bool blank(struct str s) {
    for (size_t i = 0; i < s.n; i++)
        if (!memchr(" \t\r\n", s.p[i], 4))
            return false;
    return true;
}

static void write_cache_point(struct wr *r, bool point, struct str ttl) {
    if (!point)
        return;
    jw_obj(&r->e.w);
    jw_key(&r->e.w, "cachePoint");
    jw_obj(&r->e.w);
    jw_kz(&r->e.w, "type", "default");
    if (ttl.n)
        jw_kstr(&r->e.w, "ttl", ttl);
    jw_obj_end(&r->e.w);
    jw_obj_end(&r->e.w);
}

static void write_text(struct wr *r, struct str text) {
    if (blank(text)) /* refused */
        return;
    jw_obj(&r->e.w);
    jw_kstr(&r->e.w, "text", text);
    jw_obj_end(&r->e.w);
}

static void write_source(struct wr *r, struct str data) {
    jw_key(&r->e.w, "source");
    jw_obj(&r->e.w);
    jw_kstr(&r->e.w, "bytes", data);
    jw_obj_end(&r->e.w);
}

static const char *format_of(struct str media) {
    static const struct {
        const char *media, *format;
    } rows[] = {{"image/png", "png"},
                {"image/jpeg", "jpeg"},
                {"image/jpg", "jpeg"},
                {"image/gif", "gif"},
                {"image/webp", "webp"},
                {"application/pdf", "pdf"},
                {"text/csv", "csv"},
                {"text/html", "html"},
                {"text/plain", "txt"},
                {"text/markdown", "md"},
                {"application/msword", "doc"},
                {"application/vnd.openxmlformats-officedocument.wordprocessingml.document", "docx"},
                {"application/vnd.ms-excel", "xls"},
                {"application/vnd.openxmlformats-officedocument.spreadsheetml.sheet", "xlsx"}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (str_isi(media, rows[i].media))
            return rows[i].format;
    return NULL;
}

static bool write_media(struct wr *r, const struct part *p) {
    const char *format = p->data.n ? format_of(p->media) : NULL;
    bool image = p->kind == PART_IMAGE;
    if (!format || image != str_startsi(p->media, "image/"))
        return encode_unsupported(
            &r->e, arena_printf(r->e.a, "messages[%zu].content", r->i),
            "holds a file of a kind, or by a reference, that this provider does not take");
    jw_obj(&r->e.w);
    jw_key(&r->e.w, image ? "image" : "document");
    jw_obj(&r->e.w);
    jw_kz(&r->e.w, "format", format);
    if (!image) /* only a few characters are allowed: a number will do */
        jw_kstr(&r->e.w, "name", arena_printf(r->e.a, "document %u", ++r->documents));
    write_source(r, p->data);
    jw_obj_end(&r->e.w);
    jw_obj_end(&r->e.w);
    return true;
}

/* Ids are letters, digits, '_' and '-', at most 64: others are made fit, always alike. */
static struct str fit_id(struct wr *r, struct str id) {
    bool fits = id.n > 0 && id.n <= 64;
    for (size_t i = 0; i < id.n && fits; i++) {
        char c = id.p[i];
        fits = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
               c == '-';
    }
    return fits ? id : arena_printf(r->e.a, "tooluse_%016llx", (unsigned long long)hash64(id.p, id.n));
}

static void write_call(struct wr *r, const struct part *p) {
    jw_obj(&r->e.w);
    jw_key(&r->e.w, "toolUse");
    jw_obj(&r->e.w);
    jw_kstr(&r->e.w, "toolUseId", fit_id(r, p->id));
    jw_kstr(&r->e.w, "name", p->name);
    encode_arguments(&r->e.w, "input", p->text);
    jw_obj_end(&r->e.w);
    jw_obj_end(&r->e.w);
}

static bool write_result(struct wr *r, const struct part *p) {
    jw_obj(&r->e.w);
    jw_key(&r->e.w, "toolResult");
    jw_obj(&r->e.w);
    jw_kstr(&r->e.w, "toolUseId", fit_id(r, p->id));
    jw_key(&r->e.w, "content");
    jw_arr(&r->e.w);
    for (const struct part *in = p->inner; in; in = in->next) {
        if (in->kind == PART_TEXT)
            write_text(r, in->text);
        else if (!write_media(r, in))
            return false;
    }
    jw_arr_end(&r->e.w);
    if (p->is_error)
        jw_kz(&r->e.w, "status", "error");
    jw_obj_end(&r->e.w);
    jw_obj_end(&r->e.w);
    return true;
}

/* Only what Bedrock itself has signed. */
static void write_reasoning(struct wr *r, const struct part *p) {
    if (!str_is(p->origin, "bedrock") || (p->kind == PART_THINKING && p->signature.n == 0))
        return;
    jw_obj(&r->e.w);
    jw_key(&r->e.w, "reasoningContent");
    jw_obj(&r->e.w);
    if (p->kind == PART_THINKING) {
        jw_key(&r->e.w, "reasoningText");
        jw_obj(&r->e.w);
        jw_kstr(&r->e.w, "text", p->text);
        jw_kstr(&r->e.w, "signature", p->signature);
        jw_obj_end(&r->e.w);
    } else {
        jw_kstr(&r->e.w, "redactedContent", p->data);
    }
    jw_obj_end(&r->e.w);
    jw_obj_end(&r->e.w);
}

static bool write_block(struct wr *r, const struct part *p) {
    bool ok = true;
    switch (p->kind) {
    case PART_TEXT:
    case PART_REFUSAL:
        write_text(r, p->text);
        r->text = r->text || !blank(p->text);
        break;
    case PART_IMAGE:
    case PART_FILE:
    case PART_AUDIO:
        ok = write_media(r, p);
        r->file = r->file || p->kind == PART_FILE;
        break;
    case PART_TOOL_CALL:
        write_call(r, p);
        break;
    case PART_TOOL_RESULT:
        ok = write_result(r, p);
        break;
    case PART_THINKING:
    case PART_THINKING_REDACTED:
        write_reasoning(r, p);
        return true;
    }
    if (ok)
        write_cache_point(r, p->cache_point, p->cache_ttl);
    return ok;
}

/* --- messages --- */

static bool is_system(const struct message *m) {
    return m->role == ROLE_SYSTEM || m->role == ROLE_DEVELOPER;
}

static bool says_nothing(const struct message *m) {
    for (const struct part *p = m->parts; p; p = p->next)
        if ((p->kind != PART_TEXT && p->kind != PART_REFUSAL && p->kind != PART_THINKING &&
             p->kind != PART_THINKING_REDACTED) ||
            ((p->kind == PART_TEXT || p->kind == PART_REFUSAL) && !blank(p->text)))
            return false;
    return true;
}

static void close_message(struct wr *r) {
    if (!r->open)
        return;
    if (r->file && !r->text) /* a document is refused without a text beside it */
        write_text(r, STR("See the document."));
    r->file = r->text = false;
    jw_arr_end(&r->e.w);
    jw_obj_end(&r->e.w);
    r->open = false;
}

static void open_message(struct wr *r, bool assistant) {
    if (r->open && r->assistant == assistant)
        return;
    close_message(r);
    jw_obj(&r->e.w);
    jw_kz(&r->e.w, "role", assistant ? "assistant" : "user");
    jw_key(&r->e.w, "content");
    jw_arr(&r->e.w);
    r->open = true;
    r->assistant = assistant;
}

static bool write_messages(struct wr *r, const struct message *m) {
    jw_key(&r->e.w, "messages");
    jw_arr(&r->e.w);
    for (; m; m = m->next, r->i++) {
        if (says_nothing(m))
            continue;
        open_message(r, m->role == ROLE_ASSISTANT);
        for (const struct part *p = m->parts; p; p = p->next)
            if (!write_block(r, p))
                return false;
    }
    close_message(r);
    jw_arr_end(&r->e.w);
    return true;
}

/* The system messages at the beginning; where the conversation begins. */
static const struct message *write_system(struct wr *r) {
    const struct message *m = r->e.c->messages;
    bool any = false;
    for (; m && is_system(m); m = m->next, r->i++) {
        if (says_nothing(m))
            continue;
        if (!any) {
            jw_key(&r->e.w, "system");
            jw_arr(&r->e.w);
        }
        any = true;
        for (const struct part *p = m->parts; p; p = p->next) {
            write_text(r, p->text);
            write_cache_point(r, p->cache_point, p->cache_ttl);
        }
    }
    if (any)
        jw_arr_end(&r->e.w);
    return m;
}

/* --- tools --- */

static void write_tool(struct wr *r, struct str name, struct str description, struct json_object *schema) {
    jw_obj(&r->e.w);
    jw_key(&r->e.w, "toolSpec");
    jw_obj(&r->e.w);
    jw_kstr(&r->e.w, "name", name);
    if (description.n)
        jw_kstr(&r->e.w, "description", description);
    jw_key(&r->e.w, "inputSchema");
    jw_obj(&r->e.w);
    jw_key(&r->e.w, "json");
    if (schema) {
        jw_tree(&r->e.w, schema);
    } else {
        jw_obj(&r->e.w);
        jw_kz(&r->e.w, "type", "object");
        jw_obj_end(&r->e.w);
    }
    jw_obj_end(&r->e.w);
    jw_obj_end(&r->e.w);
    jw_obj_end(&r->e.w);
}

/* A history with calls needs tools, though none is offered any more. */
static struct str called_before(const struct chat *c) {
    for (const struct message *m = c->messages; m; m = m->next)
        for (const struct part *p = m->parts; p; p = p->next)
            if (p->kind == PART_TOOL_CALL)
                return p->name;
    return STR_NONE;
}

static void write_choice(struct wr *r) {
    const struct chat *c = r->e.c;
    static const char *const words[] = {
        [CHOICE_AUTO] = "auto", [CHOICE_REQUIRED] = "any", [CHOICE_NAMED] = "tool"};
    if (c->choice == CHOICE_UNSET || c->choice == CHOICE_NONE)
        return;
    jw_key(&r->e.w, "toolChoice");
    jw_obj(&r->e.w);
    jw_key(&r->e.w, words[c->choice]);
    jw_obj(&r->e.w);
    if (c->choice == CHOICE_NAMED)
        jw_kstr(&r->e.w, "name", c->choice_name);
    jw_obj_end(&r->e.w);
    jw_obj_end(&r->e.w);
}

static bool check_tools(struct wr *r, size_t *n) {
    *n = 0;
    for (const struct tool *t = r->e.c->tools; t; t = t->next) {
        if (t->custom || !t->raw)
            ++*n;
        else if (!encode_unsupported(&r->e, arena_printf(r->e.a, "tools[%zu]", t->at),
                                     "is a tool of a kind that " NO_EQUIVALENT))
            return false;
    }
    return true;
}

static bool write_tools(struct wr *r) {
    const struct chat *c = r->e.c;
    struct str before = called_before(c);
    size_t n;
    if (!check_tools(r, &n))
        return false;
    if ((n == 0 || c->choice == CHOICE_NONE) && before.n == 0)
        return true;
    jw_key(&r->e.w, "toolConfig");
    jw_obj(&r->e.w);
    jw_key(&r->e.w, "tools");
    jw_arr(&r->e.w);
    for (const struct tool *t = c->tools; t; t = t->next)
        if (t->custom || !t->raw) {
            write_tool(r, t->name, t->description, t->schema);
            write_cache_point(r, t->cache_point, t->cache_ttl);
        }
    if (n == 0)
        write_tool(r, before, STR_NONE, NULL);
    jw_arr_end(&r->e.w);
    if (n > 0)
        write_choice(r);
    jw_obj_end(&r->e.w);
    return true;
}

/* --- parameters --- */

static bool check_unsupported(struct wr *r) {
    const struct chat *c = r->e.c;
    if (c->seed_set)
        encode_report(&r->e, STR("seed")); /* it only hopes for sameness */
    const struct {
        bool asked;
        const char *name;
    } rows[] = {
        {c->n > 1, "n"},
        {c->logprobs, "logprobs"},
        {c->logit_bias && json_object_object_length(c->logit_bias) > 0, "logit_bias"},
        {c->frequency_penalty.set && c->frequency_penalty.v != 0, "frequency_penalty"},
        {c->presence_penalty.set && c->presence_penalty.v != 0, "presence_penalty"},
        {c->format == FORMAT_JSON, "response_format"},
        {c->top_k.set && !r->claude, "top_k"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (rows[i].asked && !encode_unsupported(&r->e, str_of(rows[i].name), NO_EQUIVALENT))
            return false;
    return encode_one_call(&r->e);
}

static bool is_state(const struct part *p) {
    return str_is(p->origin, "bedrock") &&
           (p->kind == PART_THINKING_REDACTED || (p->kind == PART_THINKING && p->signature.n > 0));
}

/* With a budget an answer in a tool loop must begin with its thinking, which a client may have lost. */
static bool loop_lacks_thinking(const struct chat *c) {
    const struct message *said = NULL;
    bool results = false, thought = false;
    for (const struct message *m = c->messages; m; m = m->next)
        if (m->role == ROLE_ASSISTANT)
            said = m;
    for (const struct part *p = said ? said->parts : NULL; p; p = p->next)
        thought = thought || is_state(p);
    for (const struct part *p = said && said->next ? said->next->parts : NULL; p; p = p->next)
        results = results || p->kind == PART_TOOL_RESULT;
    return results && !thought;
}

static void plan_budget(struct wr *r) {
    const struct chat *c = r->e.c;
    uint64_t tokens = c->thinking == THINKING_BUDGET ? c->thinking_budget : claude_budget(c->effort);
    if (tokens == 0)
        tokens = claude_budget(STR("high"));
    if (claude_is_forced(c) || r->max_tokens <= 1024 || loop_lacks_thinking(c)) {
        encode_report(&r->e, STR("reasoning_effort")); /* refused together */
        return;
    }
    uint64_t most = r->max_tokens - 1;
    r->budget = true;
    r->budget_tokens = tokens < 1024 ? 1024 : tokens < most ? tokens : most;
}

static void plan_thinking(struct wr *r) {
    const struct chat *c = r->e.c;
    bool asked = c->thinking == THINKING_BUDGET || c->thinking == THINKING_ADAPTIVE ||
                 (c->effort.n && !str_is(c->effort, "none"));
    r->max_tokens = c->max_tokens;
    if (!asked)
        return;
    if (!r->claude) {
        encode_report(&r->e, STR("reasoning_effort"));
        return;
    }
    if (!r->max_tokens) /* the model's own default leaves no room to think */
        r->max_tokens = r->e.o->default_max_tokens;
    if (c->thinking == THINKING_BUDGET || claude_wants_budget(r->e.o->model))
        plan_budget(r);
    else
        r->adaptive = true;
}

/* Claude refuses some of it, with thinking more. */
static void write_sampling(struct wr *r) {
    const struct chat *c = r->e.c;
    bool thinks = r->budget || r->adaptive, any = !r->claude || claude_takes_sampling(r->e.o->model);
    bool warmth = c->temperature.set && any && !thinks;
    bool second = warmth && r->claude && !claude_takes_both(r->e.o->model);
    bool top = any && !second && (!thinks || c->top_p.v >= 0.95);
    if (warmth)
        encode_number(&r->e, "temperature", &c->temperature);
    else if (c->temperature.set && c->temperature.v != 1)
        encode_report(&r->e, STR("temperature"));
    if (top)
        encode_number(&r->e, "topP", &c->top_p);
    else if (c->top_p.set)
        encode_report(&r->e, STR("top_p"));
}

static void write_inference(struct wr *r) {
    const struct chat *c = r->e.c;
    if (!r->max_tokens && !c->temperature.set && !c->top_p.set && c->nstop == 0)
        return;
    jw_key(&r->e.w, "inferenceConfig");
    jw_obj(&r->e.w);
    if (r->max_tokens)
        jw_ku64(&r->e.w, "maxTokens", r->max_tokens);
    write_sampling(r);
    if (c->nstop) {
        jw_key(&r->e.w, "stopSequences");
        jw_arr(&r->e.w);
        for (size_t i = 0; i < c->nstop; i++)
            jw_str(&r->e.w, c->stop[i]);
        jw_arr_end(&r->e.w);
    }
    jw_obj_end(&r->e.w);
}

static void write_thinking(struct wr *r) {
    struct str effort = r->e.c->effort;
    jw_key(&r->e.w, "thinking");
    jw_obj(&r->e.w);
    jw_kz(&r->e.w, "type", r->budget ? "enabled" : "adaptive");
    if (r->budget)
        jw_ku64(&r->e.w, "budget_tokens", r->budget_tokens);
    jw_obj_end(&r->e.w);
    if (r->budget || effort.n == 0)
        return;
    jw_key(&r->e.w, "output_config");
    jw_obj(&r->e.w);
    jw_kstr(&r->e.w, "effort", str_is(effort, "minimal") ? STR("low") : effort);
    jw_obj_end(&r->e.w);
}

/* What only Claude knows there. */
static void write_additional(struct wr *r) {
    const struct chat *c = r->e.c;
    bool thinks = r->budget || r->adaptive;
    bool top_k = c->top_k.set && r->claude && !thinks && claude_takes_sampling(r->e.o->model);
    if (c->top_k.set && r->claude && !top_k)
        encode_report(&r->e, STR("top_k"));
    if (!thinks && !top_k)
        return;
    jw_key(&r->e.w, "additionalModelRequestFields");
    jw_obj(&r->e.w);
    if (top_k)
        encode_number(&r->e, "top_k", &c->top_k);
    if (thinks)
        write_thinking(r);
    jw_obj_end(&r->e.w);
}

/* The schema goes as a text. */
static void write_format(struct wr *r) {
    const struct chat *c = r->e.c;
    if (c->format != FORMAT_SCHEMA || !c->format_schema)
        return;
    struct buf text;
    struct jw w;
    buf_init(&text, 0);
    jw_init(&w, &text);
    jw_tree(&w, c->format_schema);
    jw_key(&r->e.w, "outputConfig");
    jw_obj(&r->e.w);
    jw_key(&r->e.w, "textFormat");
    jw_obj(&r->e.w);
    jw_kz(&r->e.w, "type", "json_schema");
    jw_key(&r->e.w, "structure");
    jw_obj(&r->e.w);
    jw_key(&r->e.w, "jsonSchema");
    jw_obj(&r->e.w);
    jw_kstr(&r->e.w, "schema", buf_str(&text));
    jw_kstr(&r->e.w, "name", c->format_name.n ? c->format_name : STR("answer"));
    jw_obj_end(&r->e.w);
    jw_obj_end(&r->e.w);
    jw_obj_end(&r->e.w);
    jw_obj_end(&r->e.w);
    buf_free(&text);
}

bool br_write_request(struct arena *a, const struct chat *c, const struct encode_opt *o, struct buf *out,
                      struct buf *dropped, struct fault *f) {
    struct wr r = {.e = {.a = a, .c = c, .o = o, .dropped = dropped, .f = f}};
    *f = (struct fault){.cls = FAULT_NONE, .retry_after_ms = -1};
    r.claude = str_find(o->model, STR("anthropic")) >= 0;
    jw_init(&r.e.w, out);
    jw_obj(&r.e.w); /* the model and whether it is a stream are in the path */
    if (!check_unsupported(&r) || !encode_extra(&r.e, NULL, ""))
        return false;
    const struct message *body = write_system(&r);
    if (!write_messages(&r, body) || !write_tools(&r))
        return false;
    plan_thinking(&r);
    write_inference(&r);
    write_additional(&r);
    write_format(&r);
    jw_obj_end(&r.e.w);
    return true;
}
