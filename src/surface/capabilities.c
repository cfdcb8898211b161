/* GET /v1/capabilities: what each model's first target can be asked for. The encoders themselves are asked: a
 * small request with the feature is written for the target, and is taken, taken with something left out, or
 * refused. */
#include "models.h"
#include "policy/route.h"
#include "surface/surface.h"

/* --- a request with one feature --- */

static void ask_text(struct chat *c) {
    message_part(c, chat_message(c, ROLE_USER), PART_TEXT)->text = STR("Answer in JSON.");
}

static void ask_tools(struct chat *c) {
    chat_tool(c, STR("f"));
}

static void ask_required(struct chat *c) {
    ask_tools(c);
    c->choice = CHOICE_REQUIRED;
}

static void ask_one_call(struct chat *c) {
    ask_tools(c);
    c->parallel_calls = 0;
}

static struct part *ask_file(struct chat *c, enum part_kind kind, const char *media) {
    struct part *p = message_part(c, c->last, kind);
    p->media = str_of(media);
    p->data = STR("AAAA");
    return p;
}

static void ask_image(struct chat *c) {
    ask_file(c, PART_IMAGE, "image/png");
}

static void ask_image_url(struct chat *c) {
    struct part *p = ask_file(c, PART_IMAGE, "");
    p->data = STR_NONE;
    p->url = STR("https://example.com/a.png");
}

static void ask_pdf(struct chat *c) {
    ask_file(c, PART_FILE, "application/pdf")->name = STR("a.pdf");
}

static void ask_audio(struct chat *c) {
    ask_file(c, PART_AUDIO, "audio/wav");
}

static void ask_json(struct chat *c) {
    c->format = FORMAT_JSON;
}

static void ask_schema(struct chat *c) {
    struct json_error err;
    c->format = FORMAT_SCHEMA;
    c->format_name = STR("answer");
    c->format_schema = chat_hold(
        c->arena,
        json_tree(STR("{\"type\":\"object\",\"properties\":{},\"additionalProperties\":false}"), &err));
}

static void ask_stop(struct chat *c) {
    c->stop = arena_array(c->arena, 1, sizeof *c->stop);
    c->stop[0] = STR("END");
    c->nstop = 1;
}

static void ask_seed(struct chat *c) {
    c->seed_set = true;
}

static void ask_n(struct chat *c) {
    c->n = 2;
}

static void ask_logprobs(struct chat *c) {
    c->logprobs = true;
}

static void set(struct opt_num *n) {
    *n = (struct opt_num){true, 0.5, STR("0.5")};
}

static void ask_temperature(struct chat *c) {
    set(&c->temperature);
}

static void ask_top_k(struct chat *c) {
    c->top_k = (struct opt_num){true, 5, STR("5")};
}

static void ask_penalties(struct chat *c) {
    set(&c->frequency_penalty);
    set(&c->presence_penalty);
}

static void ask_logit_bias(struct chat *c) {
    struct json_error err;
    c->logit_bias = chat_hold(c->arena, json_tree(STR("{\"1\":1}"), &err));
}

static void ask_reasoning(struct chat *c) {
    c->effort = STR("low");
}

static const struct {
    const char *name;
    void (*ask)(struct chat *c);
} features[] = {
    {"tools", ask_tools},
    {"tool_choice", ask_required},
    {"parallel_tool_calls", ask_one_call},
    {"image", ask_image},
    {"image_url", ask_image_url},
    {"pdf", ask_pdf},
    {"audio", ask_audio},
    {"json_object", ask_json},
    {"json_schema", ask_schema},
    {"stop", ask_stop},
    {"seed", ask_seed},
    {"n", ask_n},
    {"logprobs", ask_logprobs},
    {"temperature", ask_temperature},
    {"top_k", ask_top_k},
    {"penalties", ask_penalties},
    {"logit_bias", ask_logit_bias},
    {"reasoning_effort", ask_reasoning},
};

/* --- what the encoder says --- */

static const char *verdict(const struct plane_endpoint *e, const struct plane_provider *pr, struct str model,
                           void (*ask)(struct chat *c)) {
    struct arena *a = arena_new(0);
    struct chat *c = chat_new(a);
    struct encode_opt o = {
        .model = model, .quirks = pr->conf->kind->quirks | e->row->quirks, .default_max_tokens = 4096};
    struct fault f;
    struct buf out, dropped;
    buf_init(&out, 0);
    buf_init(&dropped, 4096);
    ask_text(c);
    c->max_tokens = 4096;
    ask(c);
    bool ok = e->dialect->provider->write_request(a, c, &o, &out, &dropped, &f);
    const char *word = !ok ? "unsupported" : buf_len(&dropped) > 0 ? "dropped" : "supported";
    buf_free(&out);
    buf_free(&dropped);
    arena_free(a);
    return word;
}

static void write_operations(struct jw *w, const struct plane_provider *pr, struct str model) {
    bool counts = plane_endpoint(pr, &dialect_anthropic_count, model) != NULL;
    jw_key(w, "operations");
    jw_obj(w);
    jw_kz(w, "chat", plane_endpoint(pr, &dialect_openai_chat, model) ? "supported" : "unsupported");
    jw_kz(w, "embeddings",
          plane_endpoint(pr, &dialect_openai_embeddings, model) ? "supported" : "unsupported");
    jw_kz(w, "count_tokens", counts ? "supported" : "estimated");
    jw_obj_end(w);
}

static bool write_model(void *arg, struct str id, const struct conf_model *m, const struct plane_provider *pr,
                        struct str model) {
    static const char *const policies[] = {
        [UNSUPPORTED_REJECT] = "reject", [UNSUPPORTED_DROP] = "drop", [UNSUPPORTED_PASS] = "pass"};
    struct jw *w = arg;
    const struct plane_endpoint *e = plane_endpoint(pr, &dialect_openai_chat, model);
    jw_obj(w);
    jw_kstr(w, "id", id);
    jw_kz(w, "provider", pr->conf->name);
    jw_kstr(w, "model", model);
    jw_kz(w, "on_unsupported", policies[m ? m->on_unsupported : UNSUPPORTED_REJECT]);
    write_operations(w, pr, model);
    if (e && e->dialect->provider->write_request) {
        jw_kz(w, "dialect", e->dialect->name);
        jw_key(w, "features");
        jw_obj(w);
        for (size_t i = 0; i < sizeof features / sizeof *features; i++)
            jw_kz(w, features[i].name, verdict(e, pr, model, features[i].ask));
        jw_obj_end(w);
    }
    jw_obj_end(w);
    return true;
}

void surface_capabilities(struct surface_call *c) {
    struct buf b;
    struct jw w;
    buf_init(&b, 0);
    jw_init(&w, &b);
    jw_obj(&w);
    jw_kz(&w, "object", "list");
    jw_key(&w, "data");
    jw_arr(&w);
    models_each(c->plane, &c->caller, write_model, &w);
    jw_arr_end(&w);
    jw_obj_end(&w);
    surface_json(c, 200, buf_str(&b));
    buf_free(&b);
}
