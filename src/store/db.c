/* LMDB behind one door. What its caveats ask for stands here once: opened after the fork and only by the
 * process that uses it, reader slots that outlive nobody, a map that another process has grown, a file that
 * is torn. The tables are opened with the environment; a transaction remembers its first error and is a no-op
 * from then on. */
#include "store/db.h"
#include "base/clock.h"
#include "base/die.h"
#include "base/log.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <lmdb.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { TABLES_MAX = 8, READERS_MAX = 1024, GRAIN = 64 * 1024, BOOT_ID = 36, RECHECK_MS = 1000 };

struct db_txn {
    struct db *db;
    MDB_txn *txn;
    bool write, open; /* open: between begin and end */
    int rc;           /* first error: of LMDB or errno */
    const char *what; /* the call that met it */
    void (*at_end)(void *arg, struct db_txn *t, bool commit);
    void *at_end_arg;
};

struct db {
    MDB_env *env; /* NULL: made anew by the writer and not there yet (readers) */
    MDB_dbi dbi[TABLES_MAX];
    const char *const *tables; /* of the caller, for as long as this lives */
    unsigned ntables, mode;
    uint64_t map_bytes, rechecked_ms;
    char *dir;
    pid_t pid;
    dev_t dev; /* the file that is open: the path may name another by now */
    ino_t ino;
    enum db_trouble trouble;
    struct db_txn read, change; /* LMDB allows one writer anyhow, and a reader here is never kept */
};

static bool is_writer(unsigned mode) {
    return (mode & (DB_WRITE | DB_DISPOSABLE)) != 0;
}

/* --- files --- */

struct path {
    char z[PATH_MAX];
};

static bool path_of(struct path *p, const char *dir, const char *name) {
    int n = snprintf(p->z, sizeof p->z, "%s/%s", dir, name);
    return n > 0 && (size_t)n < sizeof p->z;
}

static const char *const file_names[] = {"data.mdb", "lock.mdb", "boot"};

static void remove_files(const char *dir) {
    struct path p;
    for (size_t i = 0; i < sizeof file_names / sizeof *file_names; i++) {
        if (path_of(&p, dir, file_names[i]) && unlink(p.z) != 0 && errno != ENOENT)
            log_event(LVL_ERROR, "store", "cannot remove %s: %s", p.z, strerror(errno));
    }
}

static void set_aside(const char *dir) {
    struct path to;
    int n = snprintf(to.z, sizeof to.z, "%s.damaged-%lld", dir, (long long)clock_wall_ms());
    if (n <= 0 || (size_t)n >= sizeof to.z)
        return;
    if (rename(dir, to.z) != 0)
        log_event(LVL_ERROR, "store", "cannot rename %s: %s", dir, strerror(errno));
    else
        log_event(LVL_ERROR, "store", "%s is damaged; it lies in %s now, and a new one is begun", dir, to.z);
}

void db_condemn(const char *dir, unsigned mode) {
    if (mode & DB_DISPOSABLE) {
        log_event(LVL_WARN, "store", "%s is not usable and is made anew", dir);
        remove_files(dir);
    } else if (mode & DB_SET_ASIDE) {
        set_aside(dir);
    }
}

/* --- the boot mark of an unsynced database ---
 * Without sync a killed process loses nothing, since the kernel has the pages, but a power cut may leave a
 * file of which some pages are old: it opens, and fails later. So the file is only trusted in the boot that
 * wrote it, or when it was closed in order (and synced). */

static size_t read_small(const char *path, char *out, size_t size) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return 0;
    ssize_t n = read(fd, out, size);
    close(fd);
    return n > 0 ? (size_t)n : 0;
}

static bool write_mark(const char *dir, const char *text, size_t n) {
    struct path p;
    if (!path_of(&p, dir, "boot"))
        return false;
    int fd = open(p.z, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        return false;
    bool ok = write(fd, text, n) == (ssize_t)n && fsync(fd) == 0;
    close(fd);
    return ok;
}

static size_t boot_id(char out[BOOT_ID]) {
    return read_small("/proc/sys/kernel/random/boot_id", out, BOOT_ID);
}

static bool mark_trusted(const char *dir) {
    char was[BOOT_ID], is[BOOT_ID];
    struct path p;
    size_t n = path_of(&p, dir, "boot") ? read_small(p.z, was, sizeof was) : 0;
    if (n == 5 && memcmp(was, "clean", 5) == 0)
        return true;
    return n == BOOT_ID && boot_id(is) == BOOT_ID && memcmp(was, is, BOOT_ID) == 0;
}

static void mark_opened(const char *dir) {
    char is[BOOT_ID];
    if (!write_mark(dir, is, boot_id(is)))
        log_event(LVL_WARN, "store", "cannot write the mark in %s: %s", dir, strerror(errno));
}

static void distrust(const char *dir) {
    struct path p;
    if (path_of(&p, dir, "boot"))
        unlink(p.z);
}

/* --- opening --- */

static int fail(char err[256], const char *dir, const char *what, int rc) {
    snprintf(err, 256, "%s: %s: %s", dir, what, mdb_strerror(rc));
    return rc;
}

/* An assertion of LMDB means a damaged page; the library aborts after this, and the next start must not meet
 * the same page. Of the ledger the file is kept: it may hold what can still be saved. */
static void on_assert(MDB_env *env, const char *text) {
    struct db *d = mdb_env_get_userctx(env);
    log_event(LVL_ERROR, "store", "%s: %s", d->dir, text);
    if (d->mode & DB_DISPOSABLE)
        distrust(d->dir);
}

static int make_dir(const char *dir) {
    return mkdir(dir, 0700) == 0 || errno == EEXIST ? 0 : errno;
}

/* LMDB writes its table of readers through a mapping of a file with holes: on a full disk that is SIGBUS, in
 * whichever process comes to a page that nobody has had yet. So the blocks are there before it is opened.
 * Before that alone: closing the file would take LMDB's own locks of this process away. */
static int hold_lock_file(const struct db *d, char err[256]) {
    enum {
        BYTES = 68 << 10
    }; /* of READERS_MAX in cache lines, and a head; what is more LMDB takes for readers */
    struct path p;
    if (!path_of(&p, d->dir, "lock.mdb"))
        return fail(err, d->dir, "lock.mdb", ENAMETOOLONG);
    int fd = open(p.z, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return fail(err, d->dir, "lock.mdb", errno);
    int rc = fallocate(fd, 0, 0, BYTES) == 0 || errno == EOPNOTSUPP || errno == ENOSYS ? 0 : errno;
    close(fd);
    return rc == 0 ? 0 : fail(err, d->dir, "lock.mdb", rc);
}

static int new_env(struct db *d, char err[256]) {
    int rc = mdb_env_create(&d->env);
    if (rc != 0) {
        d->env = NULL;
        return fail(err, d->dir, "create", rc);
    }
    mdb_env_set_userctx(d->env, d);
    mdb_env_set_assert(d->env, on_assert);
    uint64_t map = (d->map_bytes + GRAIN - 1) / GRAIN * GRAIN;
    if ((rc = mdb_env_set_maxdbs(d->env, TABLES_MAX)) != 0 ||
        (rc = mdb_env_set_maxreaders(d->env, READERS_MAX)) != 0 ||
        (map && (rc = mdb_env_set_mapsize(d->env, map)) != 0))
        return fail(err, d->dir, "set up", rc);
    unsigned flags = MDB_NOTLS | (is_writer(d->mode) ? 0 : MDB_RDONLY);
    if (d->mode & DB_DISPOSABLE)
        flags |= MDB_NOSYNC;
    rc = mdb_env_open(d->env, d->dir, flags, 0600);
    return rc == 0 ? 0 : fail(err, d->dir, "open", rc);
}

static int open_tables(struct db *d, char err[256]) {
    MDB_txn *txn;
    bool writer = is_writer(d->mode);
    int rc = mdb_txn_begin(d->env, NULL, writer ? 0 : MDB_RDONLY, &txn);
    if (rc != 0)
        return fail(err, d->dir, "begin", rc);
    for (unsigned i = 0; i < d->ntables; i++) {
        rc = mdb_dbi_open(txn, d->tables[i], writer ? MDB_CREATE : 0, &d->dbi[i]);
        if (rc != 0) {
            mdb_txn_abort(txn);
            return fail(err, d->dir, d->tables[i], rc);
        }
    }
    rc = mdb_txn_commit(txn); /* of a reader too: an abort would close the handles */
    return rc == 0 ? 0 : fail(err, d->dir, "commit", rc);
}

/* A file that ends before its last page was cut. Reading there is SIGBUS; after this it is zeros, which LMDB
 * calls corrupted. (The last pages may be free ones that were never written, so it need not be damage.) */
static int check_length(struct db *d, char err[256]) {
    MDB_envinfo info;
    MDB_stat st;
    struct stat file;
    struct path p;
    int rc;
    if ((rc = mdb_env_info(d->env, &info)) != 0 || (rc = mdb_env_stat(d->env, &st)) != 0)
        return fail(err, d->dir, "look", rc);
    if (!path_of(&p, d->dir, "data.mdb") || stat(p.z, &file) != 0)
        return fail(err, d->dir, "stat", errno);
    d->dev = file.st_dev;
    d->ino = file.st_ino;
    off_t want = (off_t)(info.me_last_pgno + 1) * (off_t)st.ms_psize;
    if (is_writer(d->mode) && file.st_size < want && truncate(p.z, want) != 0)
        return fail(err, d->dir, "truncate", errno);
    return 0;
}

static int open_once(struct db *d, char err[256]) {
    int rc = is_writer(d->mode) ? hold_lock_file(d, err) : 0;
    if (rc == 0)
        rc = new_env(d, err);
    if (rc == 0)
        rc = check_length(d, err);
    if (rc == 0)
        rc = open_tables(d, err);
    if (rc != 0 && d->env) {
        mdb_env_close(d->env);
        d->env = NULL;
    }
    return rc;
}

static bool is_damage(int rc) {
    return rc == MDB_INVALID || rc == MDB_CORRUPTED || rc == MDB_PAGE_NOTFOUND ||
           rc == MDB_VERSION_MISMATCH || rc == MDB_INCOMPATIBLE || rc == MDB_CURSOR_FULL;
}

static bool is_no_space(int rc) {
    return rc == ENOSPC || rc == EDQUOT || rc == EFBIG;
}

/* "Opening a database can fail if another process is opening or closing it at exactly the same time"
 * (lmdb.h). */
static int open_patiently(struct db *d, char err[256]) {
    int rc = 0;
    for (int i = 0; i < 4; i++) {
        rc = open_once(d, err);
        if (rc != EAGAIN && rc != EBUSY && rc != EINTR && rc != EACCES && !is_damage(rc))
            return rc;
        nanosleep(&(struct timespec){.tv_nsec = 500000L << i}, NULL);
    }
    return rc;
}

static int open_reader(struct db *d, char err[256]) {
    struct path p;
    struct stat st;
    int rc = ENOENT;
    if (path_of(&p, d->dir, "data.mdb") && stat(p.z, &st) == 0 && st.st_size > 0)
        rc = open_patiently(d, err);
    if (rc == ENOENT || rc == MDB_NOTFOUND)
        snprintf(err, 256, "%s: not there yet", d->dir);
    return rc;
}

static int open_writer(struct db *d, char err[256]) {
    int rc = make_dir(d->dir);
    if (rc != 0)
        return fail(err, d->dir, "make", rc);
    if (d->mode & DB_DISPOSABLE) {
        struct path p;
        if (path_of(&p, d->dir, "data.mdb") && access(p.z, F_OK) == 0 && !mark_trusted(d->dir))
            db_condemn(d->dir, d->mode);
        mark_opened(d->dir);
    }
    rc = open_patiently(d, err);
    bool again =
        (d->mode & DB_DISPOSABLE) ? rc != 0 && !is_no_space(rc) : is_damage(rc) && (d->mode & DB_SET_ASIDE);
    if (!again)
        return rc;
    log_event(LVL_ERROR, "store", "%s", err);
    db_condemn(d->dir, d->mode);
    if ((rc = make_dir(d->dir)) != 0)
        return fail(err, d->dir, "make", rc);
    if (d->mode & DB_DISPOSABLE)
        mark_opened(d->dir);
    return open_patiently(d, err);
}

struct db *db_open(const char *dir, unsigned mode, uint64_t map_bytes, const char *const *tables,
                   char err[256]) {
    struct db *d = mem_alloc(sizeof *d);
    d->dir = mem_dupz(dir);
    d->mode = mode;
    d->map_bytes = map_bytes;
    d->tables = tables;
    d->pid = getpid();
    d->read.db = d->change.db = d;
    d->change.write = true;
    while (tables[d->ntables])
        d->ntables++;
    MUST(d->ntables <= TABLES_MAX);
    if ((is_writer(mode) ? open_writer(d, err) : open_reader(d, err)) == 0)
        return d;
    mem_free(d->dir);
    mem_free(d);
    return NULL;
}

static void close_env(struct db *d) {
    if (!d->env)
        return;
    if (d->read.txn)
        mdb_txn_abort(d->read.txn);
    d->read.txn = NULL;
    mdb_env_close(d->env);
    d->env = NULL;
}

void db_close(struct db *d) {
    if (!d)
        return;
    MUST(d->pid == getpid() && !d->read.open && !d->change.open);
    bool clean = (d->mode & DB_DISPOSABLE) && d->env && mdb_env_sync(d->env, 1) == 0;
    close_env(d);
    if (clean)
        write_mark(d->dir, "clean", 5);
    mem_free(d->dir);
    mem_free(d);
}

/* --- transactions --- */

/* MDB_PANIC comes after a failed write of the meta page: the environment is of no use any more. */
static enum db_trouble trouble_of(int rc) {
    if (rc == 0)
        return DB_FINE;
    if (rc == MDB_MAP_FULL)
        return DB_FULL;
    if (is_no_space(rc))
        return DB_NO_SPACE;
    return is_damage(rc) ? DB_DAMAGED : DB_BROKEN;
}

enum db_trouble db_txn_trouble(const struct db_txn *t) {
    return trouble_of(t->rc);
}

enum db_trouble db_trouble(const struct db *d) {
    return d->trouble;
}

static bool txn_fail(struct db_txn *t, const char *what, int rc) {
    if (rc == 0)
        return false;
    if (t->rc == 0) {
        t->rc = rc;
        t->what = what;
        t->db->trouble = trouble_of(rc);
    }
    return true;
}

static bool dead(const struct db_txn *t) {
    MUST(t->open);
    return t->rc != 0;
}

/* The writer may have deleted the files and begun new ones; the old, unlinked ones would be read for ever. */
static void follow_writer(struct db *d) {
    uint64_t now = clock_ms();
    if (now - d->rechecked_ms < RECHECK_MS)
        return;
    d->rechecked_ms = now;
    struct path p;
    struct stat st;
    bool there = path_of(&p, d->dir, "data.mdb") && stat(p.z, &st) == 0;
    if (d->env && there && st.st_ino == d->ino && st.st_dev == d->dev)
        return;
    if (!d->env && !there)
        return;
    char err[256];
    close_env(d);
    open_reader(d, err);
}

static int renew_read(struct db *d) {
    struct db_txn *t = &d->read;
    return t->txn ? mdb_txn_renew(t->txn) : mdb_txn_begin(d->env, NULL, MDB_RDONLY, &t->txn);
}

static int begin_read(struct db *d) {
    if (!is_writer(d->mode))
        follow_writer(d);
    if (!d->env)
        return ENOENT;
    int rc = renew_read(d);
    if (rc == MDB_MAP_RESIZED) { /* another process has a larger map: take its size */
        if (d->read.txn)
            mdb_txn_abort(d->read.txn);
        d->read.txn = NULL;
        rc = mdb_env_set_mapsize(d->env, 0);
        if (rc == 0)
            rc = renew_read(d);
    } else if (rc == MDB_READERS_FULL) { /* of killed processes, mostly */
        int cleared;
        mdb_reader_check(d->env, &cleared);
        rc = renew_read(d);
    }
    return rc;
}

static int begin_write(struct db *d) {
    int rc = mdb_txn_begin(d->env, NULL, 0, &d->change.txn);
    if (rc == MDB_MAP_RESIZED && (rc = mdb_env_set_mapsize(d->env, 0)) == 0)
        rc = mdb_txn_begin(d->env, NULL, 0, &d->change.txn);
    if (rc != 0)
        d->change.txn = NULL;
    return rc;
}

struct db_txn *db_begin(struct db *d, bool write) {
    struct db_txn *t = write ? &d->change : &d->read;
    MUST(!t->open && (!write || (is_writer(d->mode) && d->pid == getpid())));
    t->open = true;
    t->rc = 0;
    t->at_end = NULL;
    txn_fail(t, "begin", write ? begin_write(d) : begin_read(d));
    return t;
}

void db_at_end(struct db_txn *t, void (*fn)(void *arg, struct db_txn *t, bool commit), void *arg) {
    MUST(t->open && t->write && (!t->at_end || t->at_end == fn));
    t->at_end = fn;
    t->at_end_arg = arg;
}

static void call_at_end(struct db_txn *t, bool commit) {
    void (*fn)(void *, struct db_txn *, bool) = t->at_end;
    t->at_end = NULL;
    if (fn)
        fn(t->at_end_arg, t, commit);
}

void db_end(struct db_txn *t) {
    MUST(t->open);
    call_at_end(t, false);
    t->open = false;
    if (!t->txn)
        return;
    if (!t->write && t->rc == 0) {
        mdb_txn_reset(t->txn); /* keeps its reader slot, pins nothing */
        return;
    }
    mdb_txn_abort(t->txn);
    t->txn = NULL;
}

int db_commit(struct db_txn *t, char err[256]) {
    MUST(t->open);
    if (t->rc == 0)
        call_at_end(t, true);
    if (t->write && t->rc == 0) {
        MDB_txn *txn = t->txn;
        t->txn = NULL; /* freed whatever comes of it */
        txn_fail(t, "commit", mdb_txn_commit(txn));
    }
    int rc = t->rc;
    if (rc != 0)
        snprintf(err, 256, "%s: %s: %s", t->db->dir, t->what, mdb_strerror(rc));
    db_end(t);
    return rc == 0 ? 0 : -1;
}

/* --- tables --- */

static MDB_val val_of(struct str s) {
    return (MDB_val){.mv_size = s.n, .mv_data = (void *)s.p};
}

static struct str str_val(MDB_val v) {
    return (struct str){v.mv_data, v.mv_size};
}

static MDB_dbi table_of(const struct db_txn *t, unsigned table) {
    MUST(table < t->db->ntables);
    return t->db->dbi[table];
}

bool db_get(struct db_txn *t, unsigned table, struct str key, struct str *value) {
    *value = STR_NONE;
    if (dead(t))
        return false;
    MDB_val k = val_of(key), v;
    int rc = mdb_get(t->txn, table_of(t, table), &k, &v);
    if (rc == MDB_NOTFOUND || txn_fail(t, "get", rc))
        return false;
    *value = str_val(v);
    return true;
}

static void put(struct db_txn *t, unsigned table, struct str key, struct str value, unsigned flags) {
    if (dead(t))
        return;
    MUST(t->write);
    MDB_val k = val_of(key), v = val_of(value);
    txn_fail(t, "put", mdb_put(t->txn, table_of(t, table), &k, &v, flags));
}

void db_put(struct db_txn *t, unsigned table, struct str key, struct str value) {
    put(t, table, key, value, 0);
}

void db_append(struct db_txn *t, unsigned table, struct str key, struct str value) {
    put(t, table, key, value, MDB_APPEND);
}

bool db_delete(struct db_txn *t, unsigned table, struct str key) {
    if (dead(t))
        return false;
    MUST(t->write);
    MDB_val k = val_of(key);
    int rc = mdb_del(t->txn, table_of(t, table), &k, NULL);
    return rc != MDB_NOTFOUND && !txn_fail(t, "delete", rc);
}

void db_empty(struct db_txn *t, unsigned table) {
    if (dead(t))
        return;
    MUST(t->write);
    txn_fail(t, "empty", mdb_drop(t->txn, table_of(t, table), 0));
}

static MDB_cursor *cursor_open(struct db_txn *t, unsigned table) {
    MDB_cursor *c;
    if (dead(t) || txn_fail(t, "cursor", mdb_cursor_open(t->txn, table_of(t, table), &c)))
        return NULL;
    return c;
}

static int cursor_first(MDB_cursor *c, struct str from, MDB_val *k, MDB_val *v) {
    *k = val_of(from);
    return mdb_cursor_get(c, k, v, from.n ? MDB_SET_RANGE : MDB_FIRST);
}

void db_each(struct db_txn *t, unsigned table, struct str from,
             bool (*fn)(void *arg, struct str key, struct str value), void *arg) {
    MDB_cursor *c = cursor_open(t, table);
    if (!c)
        return;
    MDB_val k, v;
    int rc = cursor_first(c, from, &k, &v);
    while (rc == 0 && fn(arg, str_val(k), str_val(v)))
        rc = mdb_cursor_get(c, &k, &v, MDB_NEXT);
    if (rc != MDB_NOTFOUND)
        txn_fail(t, "walk", rc);
    mdb_cursor_close(c);
}

void db_place_set(struct db_place *p, struct str key) {
    MUST(key.n <= DB_KEY_MAX);
    p->n = key.n;
    if (key.n)
        memcpy(p->key, key.p, key.n);
}

struct piece {
    struct db_place *place;
    unsigned left;
    bool more;
    bool (*fn)(void *arg, struct str key, struct str value);
    void *arg;
};

static bool take_some(void *arg, struct str key, struct str value) {
    struct piece *p = arg;
    if (p->left == 0) {
        db_place_set(p->place, key);
        p->more = true;
        return false;
    }
    p->left--;
    return p->fn(p->arg, key, value);
}

bool db_some(struct db_txn *t, unsigned table, struct db_place *p, unsigned at_most,
             bool (*fn)(void *arg, struct str key, struct str value), void *arg) {
    struct piece piece = {p, at_most, false, fn, arg};
    char from[DB_KEY_MAX]; /* the place changes while the walk still looks at its beginning */
    memcpy(from, p->key, sizeof from);
    db_each(t, table, str_make(from, p->n), take_some, &piece);
    return piece.more && !dead(t);
}

void db_each_back(struct db_txn *t, unsigned table, struct str before,
                  bool (*fn)(void *arg, struct str key, struct str value), void *arg) {
    MDB_cursor *c = cursor_open(t, table);
    if (!c)
        return;
    MDB_val k, v;
    int rc = before.n ? cursor_first(c, before, &k, &v) : MDB_NOTFOUND;
    if (rc == 0)
        rc = mdb_cursor_get(c, &k, &v, MDB_PREV);
    else if (rc == MDB_NOTFOUND)
        rc = mdb_cursor_get(c, &k, &v, MDB_LAST);
    while (rc == 0 && fn(arg, str_val(k), str_val(v)))
        rc = mdb_cursor_get(c, &k, &v, MDB_PREV);
    if (rc != MDB_NOTFOUND)
        txn_fail(t, "walk back", rc);
    mdb_cursor_close(c);
}

void db_each_delete(struct db_txn *t, unsigned table, struct str from,
                    unsigned (*fn)(void *arg, struct str key, struct str value), void *arg) {
    MDB_cursor *c = cursor_open(t, table);
    if (!c)
        return;
    MUST(t->write);
    MDB_val k, v;
    int rc = cursor_first(c, from, &k, &v);
    while (rc == 0) {
        unsigned verdict = fn(arg, str_val(k), str_val(v));
        if (verdict & DB_DELETE)
            rc = mdb_cursor_del(c, 0);
        if (rc != 0 || (verdict & DB_STOP))
            break;
        rc = mdb_cursor_get(c, &k, &v, MDB_NEXT); /* after a deletion: the one that moved up */
    }
    if (rc != MDB_NOTFOUND)
        txn_fail(t, "walk", rc);
    mdb_cursor_close(c);
}

bool db_last(struct db_txn *t, unsigned table, struct str *key, struct str *value) {
    MDB_cursor *c = cursor_open(t, table);
    if (!c)
        return false;
    MDB_val k, v;
    int rc = mdb_cursor_get(c, &k, &v, MDB_LAST);
    mdb_cursor_close(c);
    if (rc == MDB_NOTFOUND || txn_fail(t, "last", rc))
        return false;
    *key = str_val(k);
    *value = str_val(v);
    return true;
}

uint64_t db_entries(struct db_txn *t, unsigned table) {
    MDB_stat st;
    if (dead(t) || txn_fail(t, "count", mdb_stat(t->txn, table_of(t, table), &st)))
        return 0;
    return st.ms_entries;
}

/* --- upkeep --- */

void db_check_readers(struct db *d) {
    MUST(d->pid == getpid());
    int cleared = 0;
    if (d->env && mdb_reader_check(d->env, &cleared) == 0 && cleared > 0)
        log_event(LVL_DEBUG, "store", "%s: %d readers of dead processes cleared", d->dir, cleared);
}

double db_used(struct db *d) {
    MDB_envinfo info;
    MDB_stat st = {0};
    double pages = 2; /* the meta pages */
    struct db_txn *t = db_begin(d, false);
    for (unsigned i = 0; !dead(t) && i < d->ntables; i++) {
        if (!txn_fail(t, "count", mdb_stat(t->txn, d->dbi[i], &st)))
            pages += (double)(st.ms_branch_pages + st.ms_leaf_pages + st.ms_overflow_pages);
    }
    bool ok = !dead(t) && mdb_env_info(d->env, &info) == 0 && info.me_mapsize > 0;
    db_end(t);
    return ok ? pages * st.ms_psize / (double)info.me_mapsize : 0;
}
