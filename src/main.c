/* The command line. Everything that runs longer than a moment is the master's (src/proc/master.c). */
#include "base/buf.h"
#include "base/die.h"
#include "conf/conf.h"
#include "config.h"
#include "http/server.h"
#include "policy/price.h"
#include "proc/master.h"
#include "proc/pidfile.h"
#include "proc/ready.h"
#include "proc/title.h"
#include "upstream/provider.h"
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct options {
    const char *file, *env_file, *signal, *ask;
    bool test, dump, foreground;
};

static void usage(FILE *out) {
    fputs("usage: penstock [-c FILE] [-e FILE] [-f]     start\n"
          "       penstock [-c FILE] [-e FILE] -t | -T  check, or print, the configuration\n"
          "       penstock [-c FILE] -s reload|reopen|quit|stop\n"
          "       penstock -H ADDRESS                   is one there that accepts requests?\n"
          "       penstock -V | -h\n"
          "\n"
          "  -c FILE             configuration (default " PENSTOCK_SYSCONFDIR "/penstock/penstock.yaml,\n"
          "                      which may be absent)\n"
          "  -e, --env-file FILE more environment: NAME=value lines\n"
          "  -f                  stay in the foreground\n"
          "  -t                  check the configuration; all errors are printed\n"
          "  -T                  print the whole configuration as YAML, without secrets\n"
          "  -s SIGNAL           to the running master: reload, reopen (logs), quit (when all\n"
          "                      requests are done), stop\n"
          "  -H ADDRESS          ask the gateway at this address (127.0.0.1:8080, unix:/path) whether it\n"
          "                      accepts requests; status 1 when it does not\n"
          "  -V                  version and how it was built\n",
          out);
}

static void version(void) {
    puts(PACKAGE_STRING);
    puts("configuration   " PENSTOCK_SYSCONFDIR "/penstock/penstock.yaml");
    puts("state           " PENSTOCK_STATEDIR);
    puts("pid and sockets " PENSTOCK_RUNDIR);
    puts("compiler        " PENSTOCK_SUMMARY_COMPILER);
    puts("libraries       " PENSTOCK_SUMMARY_LIBRARIES);
    puts("options         " PENSTOCK_SUMMARY_OPTIONS);
}

/* 0, or an exit status (2: usage) less one: -1 means go on. */
static int parse(int argc, char **argv, struct options *o) {
    static const struct option longs[] = {
        {"env-file", required_argument, NULL, 'e'},
        {"version", no_argument, NULL, 'V'},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    for (int c; (c = getopt_long(argc, argv, "c:e:s:H:tTfVh", longs, NULL)) != -1;) {
        switch (c) {
        case 'c':
            o->file = optarg;
            break;
        case 'e':
            o->env_file = optarg;
            break;
        case 's':
            o->signal = optarg;
            break;
        case 'H':
            o->ask = optarg;
            break;
        case 't':
            o->test = true;
            break;
        case 'T':
            o->dump = true;
            break;
        case 'f':
            o->foreground = true;
            break;
        case 'V':
            version();
            return 0;
        case 'h':
            usage(stdout);
            return 0;
        default:
            usage(stderr);
            return 2;
        }
    }
    if (optind == argc)
        return -1;
    fprintf(stderr, "penstock: what is %s?\n", argv[optind]);
    usage(stderr);
    return 2;
}

/* Options' texts lie where titles will be written, and a relative path must mean the same file at a reload.
 */
static const char *keep_path(const char *path) {
    if (!path)
        return NULL;
    char *full = realpath(path, NULL);
    return full ? full : mem_dupz(path);
}

static struct conf *load(const struct conf_source *src) {
    struct conf_errors errors = {0};
    struct conf *c = conf_load(src, &errors);
    for (size_t i = 0; !c && i < errors.n; i++)
        fprintf(stderr, "penstock: %s\n", errors.list[i].text);
    if (!c && errors.truncated)
        fputs("penstock: and more\n", stderr);
    conf_errors_free(&errors);
    return c;
}

/* --- -t and -T --- */

static bool check_tls(const struct conf *c) {
    bool ok = true;
    for (size_t i = 0; i < c->nlisten; i++) {
        const struct conf_listen *l = &c->listen[i];
        char err[256];
        if (!l->has_tls)
            continue;
        struct http_tls *t = http_tls_new(l->tls.certificate, l->tls.key, l->tls.client_ca, err);
        if (!t)
            fprintf(stderr, "penstock: listen %s: tls: %s\n", l->address, err);
        ok = ok && t;
        http_tls_free(t);
    }
    return ok;
}

static bool check_prices(const struct conf *c) {
    char err[256];
    struct price_table *t = price_table_new(c->prices_file, err);
    if (!t)
        fprintf(stderr, "penstock: %s\n", err);
    price_table_free(t);
    return t;
}

static int check(const struct conf_source *src) {
    struct conf *c = load(src);
    bool ok = c && check_tls(c);
    ok = c && check_prices(c) && ok;
    if (ok)
        printf("%s: the configuration is good\n", *c->file ? c->file : "environment");
    conf_free(c);
    return ok ? 0 : 1;
}

static int dump(const struct conf_source *src) {
    struct conf *c = load(src);
    if (!c)
        return 1;
    struct buf out;
    buf_init(&out, 0);
    conf_dump_yaml(c, &out);
    bool ok = fwrite(buf_at(&out), 1, buf_len(&out), stdout) == buf_len(&out) && fflush(stdout) == 0;
    buf_free(&out);
    conf_free(c);
    return ok ? 0 : 1;
}

/* --- -s --- */

static int signal_number(const char *name) {
    static const struct {
        const char *name;
        int sig;
    } rows[] = {{"reload", SIGHUP}, {"reopen", SIGUSR1}, {"quit", SIGQUIT}, {"stop", SIGTERM}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (strcmp(name, rows[i].name) == 0)
            return rows[i].sig;
    return 0;
}

/* "pid_file: /path" at the start of a line: all that is wanted of a configuration that has errors. This shell
 * may lack the variables that the running master's environment has; it must be possible to stop it all the
 * same. */
static void scan_pid_file(const char *file, char *path, size_t size) {
    char line[PATH_MAX + 64];
    FILE *f = fopen(file, "re");
    while (f && fgets(line, sizeof line, f)) {
        struct str s = str_of(line);
        if (!str_starts(s, "pid_file:"))
            continue;
        s = str_skip(s, strlen("pid_file:"));
        s.n = strcspn(s.p, "#\r\n");
        s = str_trim(s);
        if (s.n >= 2 && (*s.p == '"' || *s.p == '\'') && s.p[s.n - 1] == *s.p)
            s = str_make(s.p + 1, s.n - 2);
        str_copy(path, size, s);
    }
    if (f)
        fclose(f);
}

static int send_signal(const struct conf_source *src, const char *name) {
    char path[PATH_MAX] = PENSTOCK_RUNDIR "/penstock.pid", err[256];
    int sig = signal_number(name);
    if (sig == 0) {
        fprintf(stderr, "penstock: -s takes reload, reopen, quit or stop\n");
        return 2;
    }
    struct conf *c = load(src);
    if (c)
        str_copy(path, sizeof path, str_of(c->pid_file));
    else
        scan_pid_file(src->file ? src->file : PENSTOCK_SYSCONFDIR "/penstock/penstock.yaml", path,
                      sizeof path);
    conf_free(c);
    pid_t pid = pidfile_master(path, err);
    if (pid == 0) {
        fprintf(stderr, "penstock: %s\n", err);
        return 1;
    }
    if (kill(pid, sig) != 0) {
        fprintf(stderr, "penstock: pid %ld: %s\n", (long)pid, strerror(errno));
        return 1;
    }
    return 0;
}

/* --- -H --- */

static int ask(const char *address) {
    char err[256];
    if (ready_ask(address, err))
        return 0;
    fprintf(stderr, "penstock: %s\n", err);
    return 1;
}

/* --- the start --- */

/* The child goes on as the daemon; the parent waits until the first workers are ready, and says how it went.
 */
static int daemonise(int *ready_fd) {
    int pipe_fd[2];
    char byte;
    if (pipe2(pipe_fd, O_CLOEXEC) != 0) {
        perror("penstock: pipe");
        return 1;
    }
    pid_t pid = fork();
    if (pid < 0) {
        perror("penstock: fork");
        return 1;
    }
    if (pid == 0) {
        close(pipe_fd[0]);
        setsid();
        *ready_fd = pipe_fd[1];
        return -1;
    }
    close(pipe_fd[1]);
    ssize_t n;
    while ((n = read(pipe_fd[0], &byte, 1)) < 0 && errno == EINTR)
        ;
    _exit(n == 1 ? 0 : 1);
}

static int start(const struct conf_source *src) {
    struct master_args args = {.source = *src, .ready_fd = -1};
    args.conf = load(src);
    if (!args.conf)
        return 1;
    if (!src->foreground) {
        int status = daemonise(&args.ready_fd);
        if (status >= 0)
            return status;
    }
    return master_run(&args);
}

int main(int argc, char **argv) {
    struct options o = {0};
    int status = parse(argc, argv, &o);
    if (status >= 0)
        return status;
    if (o.ask)
        return ask(o.ask);
    static struct conf_source src; /* for as long as the process lives */
    src = (struct conf_source){
        .kinds = &provider_table,
        .file = keep_path(o.file),
        .file_required = o.file != NULL,
        .env_file = keep_path(o.env_file),
        .foreground = o.foreground,
    };
    if (o.signal)
        return send_signal(&src, o.signal);
    if (o.test)
        return check(&src);
    if (o.dump)
        return dump(&src);
    title_init(argc, argv);
    return start(&src);
}
