/* A whole OpenAI-shaped answer into the canonical form. */
#include "answer.h"
#include "base/hash.h"
#include "openai_chat.h"

struct json_object *oc_first_choice(struct json_object *tree) {
    struct json_object *choices = jo_arr(tree, "choices");
    return choices && json_object_array_length(choices) ? json_object_array_get_idx(choices, 0) : NULL;
}

static void attach_logprobs(struct arena *a, struct message *m, struct json_object *list,
                            enum part_kind kind) {
    struct part *p = m->parts;
    while (p && p->kind != kind)
        p = p->next;
    if (p && list && json_object_array_length(list) > 0)
        p->logprobs = tree_text(a, list);
}

bool oc_image(struct json_object *image, struct str *media, struct str *data, struct str *url) {
    *url = jo_str(jo_obj(image, "image_url"), "url");
    return oc_split_data_url(*url, media, data) && data->n > 0;
}

static void read_images(struct arena *a, struct chat *c, struct message *m, struct json_object *list) {
    size_t n = list ? json_object_array_length(list) : 0;
    for (size_t i = 0; i < n; i++) {
        struct str media, data, url;
        if (oc_image(json_object_array_get_idx(list, i), &media, &data, &url)) {
            struct part *p = message_part(c, m, PART_IMAGE);
            p->media = media;
            p->data = data;
        } else if (url.n > 0) {
            message_part(c, m, PART_TEXT)->text = arena_printf(a, "![image](" STR_FMT ")", STR_ARG(url));
        }
    }
}

static void read_whole(struct arena *a, struct chat *c, struct message *m, struct json_object *choice,
                       uint64_t seed) {
    struct json_object *message = jo_obj(choice, "message"), *notes = jo_arr(message, "annotations"),
                       *logprobs = jo_obj(choice, "logprobs");
    struct part *last = NULL;
    oc_read_message(a, c, m, message, seed);
    for (struct part *p = m->parts; p; p = p->next)
        last = p->kind == PART_TEXT ? p : last;
    if (last && notes && json_object_array_length(notes) > 0)
        last->annotations = tree_text(a, notes);
    read_images(a, c, m, jo_arr(message, "images"));
    attach_logprobs(a, m, jo_arr(logprobs, "content"), PART_TEXT);
    attach_logprobs(a, m, jo_arr(logprobs, "refusal"), PART_REFUSAL);
}

/* The further choices (n > 1), behind the first. */
static void read_choices(struct arena *a, struct chat *c, struct reply *first, struct json_object *choices,
                         uint64_t seed) {
    size_t n = choices ? json_object_array_length(choices) : 0;
    struct reply *last = first;
    for (size_t i = 1; i < n; i++) {
        struct json_object *choice = json_object_array_get_idx(choices, i);
        struct str word = jo_str(choice, "finish_reason");
        struct reply *r = last->next = arena_alloc(a, sizeof *r);
        r->message = chat_message(c, ROLE_ASSISTANT);
        r->usage = USAGE_NONE;
        r->stop = oc_stop(word);
        r->stop_native = word;
        read_whole(a, c, r->message, choice, seed + i);
        last = r;
    }
}

struct reply *oc_read_reply(struct arena *a, struct str body, unsigned quirks, struct fault *f) {
    struct observed o = {.usage = USAGE_NONE};
    struct json_error err;
    if (!oc_tap_reply(a, body, quirks, &o, f))
        return NULL;
    struct chat *c = chat_new(a);
    struct reply *reply = arena_alloc(a, sizeof *reply);
    struct json_object *tree = chat_hold(a, json_tree(body, &err));
    struct json_object *choice = oc_first_choice(tree);
    reply->message = chat_message(c, ROLE_ASSISTANT);
    uint64_t seed = hash64(body.p, body.n);
    read_whole(a, c, reply->message, choice, seed);
    reply->id = jo_str(tree, "id");
    reply->model = jo_str(tree, "model");
    reply->created = jo_int(tree, "created", 0);
    reply->stop_native = jo_str(choice, "native_finish_reason");
    if (reply->stop_native.n == 0)
        reply->stop_native = jo_str(choice, "finish_reason");
    reply->stop = oc_stop(jo_str(choice, "finish_reason")); /* o has the last choice's */
    if (reply->stop == STOP_UNSET)
        reply->stop = STOP_END;
    reply->usage = o.usage;
    read_choices(a, c, reply, jo_arr(tree, "choices"), seed);
    return reply;
}
