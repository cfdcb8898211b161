/* Privileges: the master keeps them, to bind and to read secrets again; its children never have them once
 * they begin to work. */
#include "privilege.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <pwd.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

bool identity_find(const struct conf *c, struct identity *id, char err[256]) {
    *id = (struct identity){.change = false};
    if (geteuid() != 0 || !*c->user)
        return true;
    const struct passwd *pw = getpwnam(c->user);
    if (!pw) {
        snprintf(err, 256, "user: there is no user %.100s", c->user);
        return false;
    }
    id->change = true;
    id->uid = pw->pw_uid;
    id->gid = pw->pw_gid;
    if (*c->group) {
        const struct group *gr = getgrnam(c->group);
        if (!gr) {
            snprintf(err, 256, "group: there is no group %.100s", c->group);
            return false;
        }
        id->gid = gr->gr_gid;
    }
    id->ngroups = IDENTITY_GROUPS;
    if (getgrouplist(c->user, id->gid, id->groups, &id->ngroups) < 0) {
        snprintf(err, 256, "user: %.100s is in more than %d groups", c->user, IDENTITY_GROUPS);
        return false;
    }
    return true;
}

bool identity_become(const struct identity *id, char err[256]) {
    if (id->change &&
        (setgroups((size_t)id->ngroups, id->groups) != 0 || setresgid(id->gid, id->gid, id->gid) != 0 ||
         setresuid(id->uid, id->uid, id->uid) != 0)) {
        snprintf(err, 256, "cannot become uid %ld, gid %ld: %s", (long)id->uid, (long)id->gid,
                 strerror(errno));
        return false;
    }
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) {
        snprintf(err, 256, "PR_SET_NO_NEW_PRIVS: %s", strerror(errno));
        return false;
    }
    process_hide(); /* a change of uid resets it */
    return true;
}

/* Made for us by somebody else (a service manager) and not used yet. */
static bool is_new(const char *path) {
    struct stat st;
    if (lstat(path, &st) != 0 || !S_ISDIR(st.st_mode) || st.st_uid != 0)
        return false;
    DIR *d = opendir(path);
    size_t entries = 0;
    while (d && readdir(d))
        entries++;
    if (d)
        closedir(d);
    return d && entries <= 2; /* . and .. */
}

static bool make_one(const struct identity *id, const char *path, mode_t mode, bool last) {
    mode_t old = umask(022); /* others pass through /run/penstock to a socket or the pid file */
    bool made = mkdir(path, mode) == 0;
    int why = made ? 0 : errno;
    umask(old);
    if (why != 0 && why != EEXIST) {
        errno = why;
        return false;
    }
    if (last && id->change && (made || is_new(path)))
        return lchown(path, id->uid, id->gid) == 0;
    return true;
}

bool identity_mkdir(const struct identity *id, const char *path, mode_t mode) {
    char part[PATH_MAX];
    size_t n = strlen(path);
    if (n == 0 || n >= sizeof part) {
        errno = ENAMETOOLONG;
        return false;
    }
    for (size_t i = 1; i <= n; i++) {
        if (path[i] != '/' && path[i] != '\0')
            continue;
        memcpy(part, path, i);
        part[i] = '\0';
        if (!make_one(id, part, path[i] ? 0755 : mode, path[i] == '\0'))
            return false;
    }
    return true;
}

void identity_own_fd(const struct identity *id, int fd) {
    struct stat st;
    if (!id->change || fd < 0 || fstat(fd, &st) != 0 || !S_ISREG(st.st_mode) || st.st_uid != 0)
        return;
    if (fchown(fd, id->uid, id->gid) != 0)
        log_event(LVL_WARN, "log", "the log file cannot be given to uid %ld: %s", (long)id->uid,
                  strerror(errno));
}

void process_hide(void) {
#ifndef PENSTOCK_SANITIZED /* the leak checker looks at its process by ptrace */
    prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
#endif
}

static void raise_descriptors(void) {
    struct rlimit r;
    if (getrlimit(RLIMIT_NOFILE, &r) == 0 && r.rlim_cur < r.rlim_max) {
        r.rlim_cur = r.rlim_max;
        setrlimit(RLIMIT_NOFILE, &r);
    }
}

static void stdin_from_null(void) {
    int fd = open("/dev/null", O_RDWR);
    if (fd < 0)
        return;
    dup2(fd, STDIN_FILENO);
    /* 1 and 2 must not be given to a socket when the caller had closed them. */
    while (fd <= STDERR_FILENO && (fd = dup(fd)) >= 0 && fd <= STDERR_FILENO)
        ;
    if (fd > STDERR_FILENO)
        close(fd);
}

void process_limits(void) {
    const struct rlimit none = {0, 0};
    stdin_from_null();
    umask(027);
    setrlimit(RLIMIT_CORE, &none);
    raise_descriptors();
    process_hide();
}
