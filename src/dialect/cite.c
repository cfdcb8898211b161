/* Annotations of citations. */
#include "cite.h"

#include <json-c/linkhash.h>

uint64_t cite_chars(struct str text) {
    uint64_t n = 0;
    for (size_t i = 0; i < text.n; i++)
        n += ((unsigned char)text.p[i] & 0xC0) != 0x80;
    return n;
}

void cite_write(struct jw *w, struct str url, struct str title, uint64_t start, uint64_t end) {
    jw_obj(w);
    jw_kz(w, "type", "url_citation");
    jw_key(w, "url_citation");
    jw_obj(w);
    jw_ku64(w, "start_index", start);
    jw_ku64(w, "end_index", end);
    jw_kstr(w, "url", url);
    jw_kstr(w, "title", title);
    jw_obj_end(w);
    jw_obj_end(w);
}

static void write_citation(struct jw *w, struct json_object *citation, uint64_t by) {
    jw_obj(w);
    json_object_object_foreach(citation, key, v) {
        bool place = strcmp(key, "start_index") == 0 || strcmp(key, "end_index") == 0;
        jw_keys(w, str_of(key));
        if (place && json_object_is_type(v, json_type_int) && json_object_get_int64(v) >= 0)
            jw_u64(w, (uint64_t)json_object_get_int64(v) + by);
        else
            jw_tree(w, v);
    }
    jw_obj_end(w);
}

void cite_moved(struct jw *w, struct str annotation, uint64_t by) {
    struct json_error err;
    struct json_object *o = by ? json_tree(annotation, &err) : NULL, *citation = jo_obj(o, "url_citation");
    if (!citation) {
        jw_raw(w, annotation);
    } else {
        jw_obj(w);
        jw_kz(w, "type", "url_citation");
        jw_key(w, "url_citation");
        write_citation(w, citation, by);
        jw_obj_end(w);
    }
    json_object_put(o);
}
