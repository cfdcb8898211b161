/* Process titles. The kernel shows the memory where argv and environ lay at exec; the environment is moved to
 * the heap, and the whole area is ours to write. Without it an operator could not tell a worker from the
 * master. */
#include "proc/title.h"
#include "base/die.h"
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

static char *area;
static size_t area_size;

static char *end_of_area(int argc, char **argv) {
    char *end = argv[0];
    for (int i = 0; i < argc && argv[i]; i++)
        if (argv[i] == end)
            end += strlen(end) + 1;
    for (char **e = environ; e && *e; e++)
        if (*e == end)
            end += strlen(end) + 1;
    return end;
}

/* One block, kept for ever: getenv() gives pointers into it. */
static void move_environ(void) {
    static char *texts;
    size_t n = 0, size = 1;
    for (; environ && environ[n]; n++)
        size += strlen(environ[n]) + 1;
    char **copy = mem_array(n + 1, sizeof *copy), *p = texts = mem_alloc(size);
    for (size_t i = 0; i < n; i++) {
        size_t len = strlen(environ[i]) + 1;
        copy[i] = memcpy(p, environ[i], len);
        p += len;
    }
    environ = copy;
}

void title_init(int argc, char **argv) {
    if (argc < 1 || !argv[0])
        return;
    char *end = end_of_area(argc, argv);
    move_environ();
    area = argv[0];
    area_size = (size_t)(end - argv[0]);
}

void title_set(const char *fmt, ...) {
    char text[256];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    if (area_size < 2)
        return;
    memset(area, 0, area_size);
    /* The last byte stays NUL: otherwise the kernel reads on behind the area. */
    snprintf(area, area_size - 1, "penstock: %s", text);
    char name[16]; /* what top and /proc/PID/comm show */
    snprintf(name, sizeof name, "penstock-%.6s", text);
    prctl(PR_SET_NAME, name);
}
