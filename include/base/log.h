/* The process log: one JSON (or text) line per event on stderr, syslog or a file, never blocking.
 * A line that cannot be written at once is dropped and counted; the count is logged when writing works again.
 * A message is cut so that its line fits one atomic write to a pipe; control characters in it are escaped.
 * SIGPIPE has to be ignored by the process. errno is kept.
 * No secret and no prompt text is ever passed in here. Any process; one thread. */
#ifndef PENSTOCK_BASE_LOG_H
#define PENSTOCK_BASE_LOG_H
#include "base/str.h"

enum log_level { LVL_ERROR, LVL_WARN, LVL_INFO, LVL_DEBUG };
enum log_format { LOGFMT_JSON, LOGFMT_TEXT };

struct log_target {
    const char *target; /* "stderr", "syslog" or a path; copied */
    enum log_level level;
    enum log_format format;
};
/* Before the first call: stderr, text, info. When a file cannot be opened that is logged, and lines go on to
 * where they went before. */
void log_open(const struct log_target *t);
int log_reopen(void);                      /* the file again by its path; 0, or -1 and the old one stays */
void log_process(const char *name);        /* "master", "worker 0", "scribe": in every line */
bool log_wants(enum log_level level);
/* event: one word (start, reload, worker, breaker, alert, config ...). */
void log_event(enum log_level level, const char *event, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* The same with what it is about; empty members are left out of the line. */
struct log_fields {
    struct str request_id, key, tenant, provider, model, peer;
    int status; /* 0: none */
};
void log_about(enum log_level level, const char *event, const struct log_fields *fields, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
/* Sees every event of level info and above, whatever log.level is, besides the log; it must not log itself.
 * NULL: nobody. */
typedef void log_tap_fn(void *arg, enum log_level level, const char *event, const struct log_fields *fields,
                        struct str message);
void log_tap(log_tap_fn *fn, void *arg);
/* For it alone: of an event whose line was written with log_line(). */
void log_tapped(enum log_level level, const char *event, struct str message);
/* A ready line without its newline (the access log); false when it was dropped. */
bool log_line(struct str line);
/* Several of them, each with its newline, in one write where the target is a regular file. `count` is how many: so many
 * are counted as dropped when they could not be written. */
bool log_lines(struct str lines, unsigned count);
/* The longest line (without its newline) that no other process's words can come into the middle of. */
size_t log_line_most(void);
uint64_t log_dropped(void);
int log_fd(void); /* -1 for syslog */
#endif
