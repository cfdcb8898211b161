/* The log: form of its lines, files, a full pipe. */
#include "base/json.h"
#include "base/log.h"
#include "base_cases.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static char path[] = "/tmp/penstock-log-XXXXXX", got[65536];

static void to_file(enum log_format format) {
    int fd = mkstemp(path);
    ck_assert_int_ge(fd, 0);
    close(fd);
    unlink(path);
    log_open(&(struct log_target){path, LVL_INFO, format});
    log_process("worker 0");
}

static const char *file_text(void) {
    FILE *f = fopen(path, "r");
    ck_assert_ptr_nonnull(f);
    size_t n = fread(got, 1, sizeof got - 1, f);
    got[n] = '\0';
    fclose(f);
    return got;
}

START_TEST(json_lines) {
    to_file(LOGFMT_JSON);
    log_event(LVL_WARN, "breaker", "a \"b\" \\ \n\x01 \xC3\xA9 \xFF");
    log_event(LVL_DEBUG, "breaker", "not wanted");
    ck_assert(log_wants(LVL_INFO) && !log_wants(LVL_DEBUG));
    struct str text = str_of(file_text()), line;
    struct json_object *o = json_tree(text, NULL);
    ck_assert_ptr_nonnull(o);
    ck_str_is(jo_str(o, "level"), "warn");
    ck_str_is(jo_str(o, "event"), "breaker");
    ck_str_is(jo_str(o, "process"), "worker 0");
    ck_assert_int_eq(jo_int(o, "pid", 0), getpid());
    ck_assert_uint_eq(jo_str(o, "time").n, 24);
    ck_str_is(jo_str(o, "message"), "a \"b\" \\ \n\x01 \xC3\xA9 \xEF\xBF\xBD");
    json_object_put(o);
    ck_assert(str_next(&text, '\n', &line) && text.n == 0);
    struct stat st;
    ck_assert(stat(path, &st) == 0 && (st.st_mode & 0777 & ~0640) == 0);
    unlink(path);
}
END_TEST

START_TEST(text_lines) {
    char want[64];
    to_file(LOGFMT_TEXT);
    errno = EBADF;
    log_event(LVL_WARN, "breaker", "line\nbreak \x1b[1m \xC2\x9B");
    ck_assert_int_eq(errno, EBADF);
    snprintf(want, sizeof want, " warn  worker 0[%ld] breaker: ", (long)getpid());
    struct str text = str_of(file_text());
    ck_assert(str_starts(str_skip(text, 24), want));
    ck_assert_msg(str_ends(text, "line\\x0abreak \\x1b[1m \\x9b\n"), "%s", got);
    unlink(path);
}
END_TEST

START_TEST(long_messages_are_cut_not_broken) {
    static char big[10000];
    memset(big, 1, sizeof big - 1); /* each becomes six bytes */
    to_file(LOGFMT_JSON);
    log_event(LVL_INFO, "e", "%s", big);
    struct str text = str_of(file_text());
    ck_assert_uint_le(text.n, 4096);
    struct json_object *o = json_tree(text, NULL);
    ck_assert_ptr_nonnull(o);
    json_object_put(o);
    unlink(path);
}
END_TEST

START_TEST(reopens_by_path) {
    char moved[sizeof path + 2];
    to_file(LOGFMT_TEXT);
    snprintf(moved, sizeof moved, "%s.1", path);
    ck_assert(log_line(STR("first")));
    ck_assert_int_eq(rename(path, moved), 0);
    ck_assert(log_line(STR("second")));
    ck_assert_int_eq(log_reopen(), 0);
    ck_assert(log_line(STR("third")));
    ck_assert_str_eq(file_text(), "third\n");
    unlink(path);
    ck_assert_int_eq(mkdir(path, 0700), 0); /* cannot be opened: the old one stays */
    ck_assert_int_eq(log_reopen(), -1);
    ck_assert(log_fd() > 2 && log_line(STR("still")));
    rmdir(path);
    unlink(moved);
}
END_TEST

START_TEST(a_bad_path_keeps_the_old_target) {
    to_file(LOGFMT_TEXT);
    log_open(&(struct log_target){"/nonexistent/penstock.log", LVL_INFO, LOGFMT_TEXT});
    ck_assert_ptr_nonnull(strstr(file_text(), "cannot open /nonexistent/penstock.log"));
    unlink(path);
}
END_TEST

static size_t drain(int fd) {
    size_t all = 0;
    ssize_t n;
    while ((n = read(fd, got, sizeof got - 1)) > 0) {
        got[n] = '\0';
        all += (size_t)n;
    }
    return all;
}

/* A pipe that nobody reads must not stop the writer, although its description is a blocking one. */
START_TEST(a_full_pipe_drops) {
    int fd[2];
    ck_assert_int_eq(pipe(fd), 0);
    ck_assert_int_eq(fcntl(fd[0], F_SETFL, O_NONBLOCK), 0);
    ck_assert_int_ge(dup2(fd[1], STDERR_FILENO), 0);
    log_open(&(struct log_target){"stderr", LVL_INFO, LOGFMT_TEXT});
    static char line[10000];
    memset(line, 'x', sizeof line);
    for (int i = 0; i < 100; i++)
        log_line(str_make(line, sizeof line));
    uint64_t lost = log_dropped();
    ck_assert_uint_ge(lost, 90);
    ck_assert_int_eq(fcntl(fd[1], F_GETFL) & O_NONBLOCK, 0);
    ck_assert_uint_ge(drain(fd[0]), 40000);
    ck_assert(log_line(STR("there again")));
    drain(fd[0]);
    ck_assert_ptr_nonnull(strstr(got, "\nthere again\n")); /* on a line of its own, behind a torn one */
    char want[64];
    snprintf(want, sizeof want, "log: %llu lines", (unsigned long long)lost);
    ck_assert_msg(strstr(got, want) != NULL, "%s", got);
    ck_assert_uint_eq(log_dropped(), lost);
}
END_TEST

START_TEST(a_full_disk_drops) {
    int fd = open("/dev/full", O_WRONLY);
    if (fd < 0)
        return;
    ck_assert_int_ge(dup2(fd, STDERR_FILENO), 0);
    log_open(&(struct log_target){"stderr", LVL_INFO, LOGFMT_TEXT});
    ck_assert(!log_line(STR("lost")));
    log_event(LVL_ERROR, "e", "lost too");
    ck_assert_uint_eq(log_dropped(), 2);
}
END_TEST

TCase *case_log(void) {
    TCase *t = tcase_create("log");
    tcase_add_test(t, json_lines);
    tcase_add_test(t, text_lines);
    tcase_add_test(t, long_messages_are_cut_not_broken);
    tcase_add_test(t, reopens_by_path);
    tcase_add_test(t, a_bad_path_keeps_the_old_target);
    tcase_add_test(t, a_full_pipe_drops);
    tcase_add_test(t, a_full_disk_drops);
    return t;
}
