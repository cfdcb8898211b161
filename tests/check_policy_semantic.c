/* What means the same, what does not, and what is never compared. */
#include <math.h>

#include "base/clock.h"
#include "policy/lexical.h"
#include "policy/semantic.h"
#include "policy_cases.h"
#include "shm/stat.h"
#include "shm/vectors.h"

static struct fault fault;

/* --- the lexical embedder --- */

static double similar(const char *a, const char *b, bool *same_guard, unsigned *words) {
    struct vector x, y;
    struct buf g, h;
    unsigned n, m;
    ck_assert_msg(lexical_embed(str_of(a), &x, &n) && lexical_embed(str_of(b), &y, &m), "%s | %s", a, b);
    buf_init(&g, 0);
    buf_init(&h, 0);
    lexical_guard(str_of(a), &g);
    lexical_guard(str_of(b), &h);
    *same_guard = str_eq(buf_str(&g), buf_str(&h));
    *words = n > m ? n : m;
    buf_free(&g);
    buf_free(&h);
    return vector_cosine(&x, &y);
}

static bool lexical_hit(const char *a, const char *b) {
    bool guard;
    unsigned words;
    double v = similar(a, b, &guard, &words);
    return guard && v >= lexical_threshold(0.95, words) - 1e-6;
}

#define EMAIL(x, y)                                                                                          \
    "Write a polite email to my " x " asking him to repair the heating in the " y " room as soon as "        \
    "possible."
#define CAT(x, y)                                                                                            \
    "Translate to " x ": the cat sat on the mat and looked at the dog which was lying in front of the " y    \
    " all day long"

START_TEST(the_same_in_other_words) {
    static const char *const pairs[][2] = {
        {"What is the capital of France?", "what is the capital of france"},
        {"What is the capital of France?", "The capital of France is what?"},
        {"How do I reverse a list in Python?", "How can I reverse a list in Python"},
        {"Explain the difference between TCP and UDP.", "What is the difference between TCP and UDP?"},
        {"Explain the difference between TCP and UDP.", "explain the difference between tcp and udp please"},
        {"Summarize the plot of Hamlet in one paragraph.",
         "Can you summarize the plot of Hamlet in one paragraph?"},
        {"How do I reset my password?", "How can I reset my password??"},
        {"Jak nazywa się stolica Polski?", "JAK NAZYWA SIĘ STOLICA POLSKI"},
        {"ΠΟΙΑ ΕΙΝΑΙ Η ΠΡΩΤΕΥΟΥΣΑ", "ποια ειναι η πρωτευουσα"},
        {"Какая СТОЛИЦА Франции", "какая столица франции?"},
        {"如何在Python中读取文件？", "如何在 python 中读取文件"},
        {EMAIL("landlord", "living"),
         " write a polite  email to my landlord; asking him to repair the\nheating in "
         "the living room as soon as possible"},
        {"Is it 20 % of 5?", "is it 20% of 5"},
    };
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++)
        ck_assert_msg(lexical_hit(pairs[i][0], pairs[i][1]), "%s | %s", pairs[i][0], pairs[i][1]);
}
END_TEST

START_TEST(something_else) {
    static const char *const pairs[][2] = {
        {"What is the capital of France?", "What is the capital of Finland?"},
        {"What is the capital of France?", "What is the population of France?"},
        {"How do I reverse a list in Python?", "How do I sort a list in Python?"},
        {"How do I reverse a list in C", "How do I reverse a list in C++"},
        {"How do I reverse a list in C", "How do I reverse a list in C#"},
        {"Convert 5 miles to kilometres", "Convert 6 miles to kilometres"},
        {"Convert miles to kilometres", "Convert kilometres to miles"},
        {"Is it legal to park here?", "Is it illegal to park here?"},
        {"When was Einstein born?", "Where was Einstein born?"},
        {"Did Rome conquer Carthage?", "Did Carthage conquer Rome?"},
        {"Who is the president of France", "Who was the president of France"},
        {"Should I take aspirin after lunch", "Can I take aspirin after lunch"},
        {"How many people live in Rome and Milan", "How many people live in Rome or Milan"},
        {"Does the drug increase blood pressure in adults",
         "Does the drug decrease blood pressure in adults"},
        {"How much is a flight from London to Paris", "How much is a flight from Paris to London"},
        {"What are good names for my dog", "What are good names for your dog"},
        {"Can I cancel my order", "Can you cancel my order"},
        {"is x < y", "is x > y"},
        {"what is 5 + 5", "what is 5 - 5"},
        {"what is 5", "what is -5"},
        /* a changed word in a longer text */
        {EMAIL("landlord", "living"), EMAIL("landlord", "dining")},
        {EMAIL("landlord", "living"), EMAIL("landlady", "living")},
        {CAT("German", "house"), CAT("French", "house")},
        {CAT("German", "house"), CAT("German", "horse")},
        {"如何在Python中读取文件？", "如何在Python中写入文件？"},
        {"它安全吗", "它不安全吗"},
    };
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++)
        ck_assert_msg(!lexical_hit(pairs[i][0], pairs[i][1]), "%s | %s", pairs[i][0], pairs[i][1]);
}
END_TEST

static bool guarded(const char *a, const char *b) {
    bool guard;
    unsigned words;
    similar(a, b, &guard, &words);
    return !guard;
}

START_TEST(numbers_and_negations) { /* however long the text is, and whoever made the vector */
    ck_assert(guarded("is this safe", "is this not safe") && guarded("is this safe", "isn't this safe"));
    ck_assert(guarded("is this safe", "isn\u2019t this safe") && guarded("is this safe", "isnt this safe"));
    ck_assert(!guarded("it isn't safe", "it is not safe") && !guarded("I cannot", "I can't"));
    ck_assert(guarded("with milk", "without milk") && guarded("always do it", "never do it"));
    ck_assert(guarded("das ist gut", "das ist nicht gut") && guarded("c'est bon", "ce n'est pas bon"));
    ck_assert(guarded("es bueno", "no es bueno") && guarded("to jest", "to nie jest"));
    ck_assert(guarded("это можно", "это не можно"));
    ck_assert(guarded("in 2023", "in 2024") && guarded("page 3 of 5", "page 5 of 3"));
    ck_assert(guarded("gpt4", "gpt5") && guarded("two apples", "three apples"));
    ck_assert(!guarded("in 2023", "In 2023!") && !guarded("a knot", "a note"));
    ck_assert(guarded("1.5", "15") && guarded("x", "x^2") && guarded("£5", "€5"));
}
END_TEST

START_TEST(odd_texts) {
    struct vector v;
    unsigned words;
    char big[LEXICAL_MAX + 1];
    memset(big, 'x', sizeof big);
    ck_assert(!lexical_embed(str_of(""), &v, &words));
    ck_assert(!lexical_embed(str_of(" ?!.,\n"), &v, &words));
    ck_assert(!lexical_embed(str_make(big, sizeof big), &v, &words));
    ck_assert(lexical_embed(str_make(big, LEXICAL_MAX), &v, &words));
    for (int i = 0; i < 256; i++) { /* no UTF-8, cut anywhere */
        char odd[4] = {(char)i, (char)(i ^ 0x55), (char)0xF0, (char)0x9F};
        struct buf g;
        buf_init(&g, 0);
        lexical_embed(str_make(odd, 4), &v, &words);
        lexical_guard(str_make(odd, 4), &g);
        buf_free(&g);
    }
    ck_assert(lexical_threshold(0.95, 5) > 0.9499 && lexical_threshold(0.95, 5) < 0.9501);
    ck_assert(lexical_threshold(0.95, 140) > 0.9949 && lexical_threshold(0.95, 140) < 1);
    ck_assert(lexical_threshold(1, 1000) >= 1);
}
END_TEST

/* --- partitions --- */

static const char *yaml(const char *more) {
    return arena_printf(
               w.a,
               "providers:\n  - {name: one, kind: mock}\n  - {name: two, kind: mock}\n"
               "models:\n  - {name: m, targets: [{provider: one}]}\n"
               "  - {name: n, targets: [{provider: one, model: m}]}\n"
               "  - {name: strict, targets: [{provider: one}], cache: {threshold: 0.99}}\n"
               "auth:\n  keys:\n"
               "    - {id: a, key: {value: ka}, tenant: t}\n    - {id: b, key: {value: kb}, tenant: t}\n"
               "    - {id: c, key: {value: kc}, tenant: other}\n"
               "cache: {enabled: true, semantic: {enabled: true}%s%s}\n",
               *more ? ", " : "", more)
        .p;
}

/* `body` has no last brace. */
static struct cache_ticket ask_of(const struct dialect *d, size_t key, const char *body) {
    struct caller c = {.key = w.p->keys[key].conf, .entity = w.p->keys[key].entity};
    struct hints hints;
    struct plan plan;
    struct cache_ticket t;
    struct ask ask = {.rest = STR("m")};
    ck_assert_msg(d->client->peek(w.a, arena_printf(w.a, "%s}", body), &ask, &fault), "%s: %s", body,
                  fault.message.p);
    ck_assert(hints_read(w.a, ask.routing, &hints, &fault));
    ck_assert(route_resolve(w.p, w.a, ask.model, &hints, &plan, &fault));
    struct exchange *x = request(NULL);
    cache_ticket(w.p, w.a, x, &c, d, &ask, &plan, &t);
    semantic_ticket(w.p, w.a, x, &c, d, &ask, &plan, &t);
    return t;
}

static struct cache_ticket ticket(size_t key, const char *body) {
    return ask_of(&dialect_openai_chat, key, body);
}

static bool same(struct cache_ticket a, struct cache_ticket b) {
    return a.semantic && b.semantic && memcmp(a.semantic->partition, b.semantic->partition, INDEX_KEY) == 0;
}

#define USER(text) "{\"role\":\"user\",\"content\":\"" text "\"}"
#define BODY(text) "{\"model\":\"m\",\"messages\":[" USER(text) "]"

START_TEST(only_the_question_may_differ) {
    world_load(yaml(""));
    struct cache_ticket t = ticket(0, BODY("Hello there"));
    ck_assert(t.semantic && t.semantic->embedded);
    ck_assert(same(t, ticket(0, BODY("Hi there"))));
    ck_assert(same(t, ticket(0, "{\"messages\":[{\"content\":\"x\", \"role\":\"user\"}], \"model\":\"m\", "
                                "\"user\":\"u\"")));
    ck_assert(!same(t, ticket(1, BODY("Hello there"))));     /* another key */
    ck_assert(!same(t, ticket(0, BODY("Hello there 2"))));   /* another number */
    ck_assert(!same(t, ticket(0, BODY("Hello not there")))); /* not */
    static const char *const others[] = {
        BODY("Hello there") ",\"temperature\":0",
        BODY("Hello there") ",\"max_tokens\":5",
        BODY("Hello there") ",\"seed\":1",
        BODY("Hello there") ",\"stream\":true",
        BODY("Hello there") ",\"something\":1",
        BODY("Hello there") ",\"response_format\":{\"type\":\"json_object\"}",
        BODY("Hello there") ",\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\"}}]",
        BODY("Hello there") ",\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"g\"}}]",
        "{\"model\":\"n\",\"messages\":[" USER("Hello there") "]",
        "{\"model\":\"one/m\",\"messages\":[" USER("Hello there") "]",
        "{\"model\":\"two/m\",\"messages\":[" USER("Hello there") "]",
        "{\"model\":\"m\",\"messages\":[{\"role\":\"system\",\"content\":\"s\"}," USER("Hello there") "]",
        "{\"model\":\"m\",\"messages\":[{\"role\":\"system\",\"content\":\"t\"}," USER("Hello there") "]",
        "{\"model\":\"m\",\"messages\":[" USER("x") ",{\"role\":\"assistant\",\"content\":\"y\"}," USER(
            "Hello there") "]",
        "{\"model\":\"m\",\"messages\":[" USER("") "," USER("Hello there") "]",
        "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"name\":\"me\",\"content\":\"Hello there\"}]",
        "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"Hello "
        "there\"}]}]",
        BODY("Hello there"),
    };
    enum { N = sizeof others / sizeof *others };
    for (size_t i = 0; i < N; i++)
        for (size_t k = 0; k < N; k++)
            ck_assert_msg(same(ticket(0, others[i]), ticket(0, others[k])) == (i == k), "%s and %s",
                          others[i], others[k]);
}
END_TEST

START_TEST(scopes) {
    static const bool share[3][3] = {{true, false, false}, {true, true, false}, {true, true, true}};
    static const char *const scope[] = {"key", "tenant", "global"};
    for (size_t i = 0; i < 3; i++) {
        world_load(yaml(arena_printf(w.a, "scope: %s", scope[i]).p));
        for (size_t k = 0; k < 3; k++)
            ck_assert(same(ticket(0, BODY("Hi")), ticket(k, BODY("Hi"))) == share[i][k]);
    }
}
END_TEST

START_TEST(other_dialects) {
    world_load(yaml(""));
    static const struct {
        const struct dialect *d;
        const char *body; /* "Hi there" stands for the question */
        bool looked_for;
    } cases[] = {
        {&dialect_anthropic, "{\"model\":\"m\",\"max_tokens\":5,\"messages\":[" USER("Hi there") "]", true},
        {&dialect_anthropic,
         "{\"model\":\"m\",\"max_tokens\":5,\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\","
         "\"text\":\"Hi there\"}]}]",
         true},
        {&dialect_anthropic,
         "{\"model\":\"m\",\"max_tokens\":5,\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":"
         "\"image\","
         "\"source\":{\"type\":\"url\",\"url\":\"u\"}},{\"type\":\"text\",\"text\":\"Hi there\"}]}]",
         false},
        {&dialect_anthropic,
         "{\"model\":\"m\",\"max_tokens\":5,\"messages\":[" USER(
             "x") ",{\"role\":\"assistant\",\"content\":\"Hi there\"}]",
         false},
        {&dialect_anthropic,
         "{\"model\":\"m\",\"max_tokens\":5,\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"tool_"
         "result\",\"tool_use_id\":\"x\",\"content\":\"Hi there\"}]}]",
         false},
        {&dialect_openai_responses, "{\"model\":\"m\",\"input\":\"Hi there\"", true},
        {&dialect_openai_responses, "{\"model\":\"m\",\"input\":[" USER("Hi there") "]", true},
        {&dialect_openai_responses,
         "{\"model\":\"m\",\"input\":[{\"type\":\"message\",\"role\":\"user\",\"content\":[{\"type\":\"input_"
         "text\",\"text\":\"Hi there\"}]}]",
         true},
        {&dialect_openai_responses,
         "{\"model\":\"m\",\"input\":[{\"type\":\"function_call_output\",\"call_id\":\"c\",\"output\":\"Hi "
         "there\"}]",
         false},
        {&dialect_openai_responses,
         "{\"model\":\"m\",\"input\":[{\"role\":\"user\",\"content\":[{\"type\":\"input_text\",\"text\":\"Hi "
         "there\"},{\"type\":\"input_image\",\"image_url\":\"u\"}]}]",
         false},
        {&dialect_gemini, "{\"contents\":[{\"role\":\"user\",\"parts\":[{\"text\":\"Hi there\"}]}]", true},
        {&dialect_gemini, "{\"contents\":[{\"parts\":[{\"text\":\"Hi there\"}]}]", true},
        {&dialect_gemini, "{\"contents\":[{\"role\":\"model\",\"parts\":[{\"text\":\"Hi there\"}]}]", false},
        {&dialect_gemini, "{\"contents\":[{\"parts\":[{\"text\":\"Hi there\"},{\"text\":\"x\"}]}]", false},
        {&dialect_gemini, "{\"contents\":[{\"parts\":[{\"text\":\"Hi there\",\"thought\":true}]}]", false},
        {&dialect_gemini,
         "{\"contents\":[{\"parts\":[{\"inlineData\":{\"mimeType\":\"image/"
         "png\",\"data\":\"AA==\"}},{\"text\":\"Hi there\"}]}]",
         false},
        {&dialect_openai_chat,
         "{\"model\":\"m\",\"messages\":[" USER("x") ",{\"role\":\"tool\",\"tool_call_id\":\"c\",\"content\":"
                                                     "\"Hi there\"}]",
         false},
        {&dialect_openai_chat,
         "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"Hi "
         "there\"},{\"type\":\"image_url\",\"image_url\":{\"url\":\"u\"}}]}]",
         false},
        {&dialect_openai_chat, "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"\"}]", false},
        {&dialect_openai_embeddings, "{\"model\":\"m\",\"input\":\"Hi there\"", false},
        {&dialect_anthropic_count, "{\"model\":\"m\",\"messages\":[" USER("Hi there") "]", false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct cache_ticket t = ask_of(cases[i].d, 0, cases[i].body);
        ck_assert_msg((t.semantic != NULL) == cases[i].looked_for, "%s: %s", cases[i].d->name, cases[i].body);
        if (t.semantic)
            ck_str(t.semantic->text, "Hi there");
    }
}
END_TEST

START_TEST(thresholds) {
    world_load(yaml(""));
    ck_assert(fabs(ticket(0, BODY("Hi")).semantic->threshold - 0.95) < 1e-9);
    ck_assert(fabs(ticket(0, "{\"model\":\"strict\",\"messages\":[" USER("Hi") "]").semantic->threshold -
                   0.99) < 1e-9);
    struct cache_ticket t = ticket(0, BODY("Hi") ",\"routing\":{\"cache\":{\"similarity\":0.97}}");
    ck_assert(fabs(t.semantic->threshold - 0.97) < 1e-9);
    t = ticket(0, BODY("Hi") ",\"routing\":{\"cache\":{\"similarity\":0.6}}");
    ck_assert(fabs(t.semantic->threshold - 0.95) < 1e-9); /* a request may only ask for more */
    ck_assert_ptr_null(ticket(0, BODY("Hi") ",\"routing\":{\"cache\":{\"mode\":\"exact\"}}").semantic);
    ck_assert_ptr_null(ticket(0, BODY("Hi") ",\"routing\":{\"cache\":{\"mode\":\"off\"}}").semantic);
    ck_assert_ptr_nonnull(ticket(0, BODY("Hi") ",\"routing\":{\"cache\":{\"mode\":\"semantic\"}}").semantic);
    world_load(yaml("only_deterministic: true"));
    ck_assert_ptr_null(ticket(0, BODY("Hi")).semantic);
}
END_TEST

/* --- there and back --- */

static void store(struct cache_ticket *t, const char *body) {
    struct reply_head h = {
        .provider = STR("one"), .model = STR("m"), .content_type = STR("application/json")};
    cache_store(w.p, t, &h, str_of(body));
}

static bool found(struct cache_ticket t, const char *body) {
    struct reply_head h;
    struct str got;
    double similarity = 0;
    if (!semantic_find(w.p, w.a, &t, &h, &got, &similarity))
        return false;
    ck_str(got, body);
    ck_assert(similarity >= t.semantic->threshold - 1e-6 && similarity <= 1);
    return true;
}

START_TEST(stored_and_found) {
    world_load(yaml(""));
    struct cache_ticket t = ticket(0, BODY("What is the capital of France?"));
    ck_assert(!found(t, ""));
    store(&t, "Paris");
    ck_assert(found(ticket(0, BODY("what is the capital of france")), "Paris"));
    ck_assert(!found(ticket(0, BODY("what is the capital of finland")), ""));
    ck_assert(!found(ticket(1, BODY("what is the capital of france")), ""));
    ck_assert(!found(ticket(0, BODY("what is the capital of france") ",\"temperature\":0"), ""));
    struct cache_ticket blind = ticket(0, BODY("what is the capital of france"));
    blind.read = false; /* no-cache */
    ck_assert(!found(blind, ""));
    /* an answer that is gone is no answer, and its vector goes */
    ck_assert_uint_eq(vectors_count(w.shm), 1);
    ck_assert(index_drop(w.shm, t.key));
    ck_assert(!found(ticket(0, BODY("what is the capital of france")), ""));
    ck_assert_uint_eq(vectors_count(w.shm), 0);
    /* cleared between question and answer */
    t = ticket(0, BODY("What is the capital of France?"));
    index_clear(w.shm, &(struct index_filter){0});
    store(&t, "Paris");
    ck_assert_uint_eq(vectors_count(w.shm), 0);
}
END_TEST

START_TEST(another_embedder_is_another_world) {
    world_load(yaml(""));
    struct cache_ticket before = ticket(0, BODY("Hi"));
    world_load(arena_printf(w.a, "providers:\n  - {name: one, kind: mock}\n"
                                 "models:\n  - {name: m, targets: [{provider: one}]}\n"
                                 "auth: {keys: [{id: a, key: {value: ka}, tenant: t}]}\n"
                                 "cache: {enabled: true, semantic: {enabled: true, embedder: {provider: one, "
                                 "model: e}}}\n")
                   .p);
    ck_assert_ptr_nonnull(w.p->embedder);
    struct cache_ticket after = ticket(0, BODY("Hi"));
    ck_assert(after.semantic && !after.semantic->embedded && !same(before, after));
    ck_assert(!found(after, "")); /* without a vector there is nothing to be found */
    float none[3] = {0}, some[3] = {1, 2, 3};
    semantic_take(after.semantic, none, 3);
    ck_assert(!after.semantic->embedded);
    semantic_take(after.semantic, some, 3);
    ck_assert(after.semantic->embedded);
    store(&after, "x");
    ck_assert(found(after, "x"));
}
END_TEST

TCase *case_semantic(void) {
    TCase *t = tcase_create("semantic");
    tcase_add_checked_fixture(t, world_open, world_close);
    tcase_add_test(t, the_same_in_other_words);
    tcase_add_test(t, something_else);
    tcase_add_test(t, numbers_and_negations);
    tcase_add_test(t, odd_texts);
    tcase_add_test(t, only_the_question_may_differ);
    tcase_add_test(t, scopes);
    tcase_add_test(t, other_dialects);
    tcase_add_test(t, thresholds);
    tcase_add_test(t, stored_and_found);
    tcase_add_test(t, another_embedder_is_another_world);
    return t;
}
