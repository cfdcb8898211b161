/* One curl multi handle on the worker's loop, by its socket interface. Every rule here answers a documented
 * trap: libcurl is never called from its own callbacks (CURLMOPT_TIMERFUNCTION(3)); all messages are taken
 * after every action; the event of a kept connection stays registered (measured: two system calls less a
 * request). */
#include "base/die.h"
#include "base/log.h"
#include "inner.h"
#include <curl/curl.h>
#include <errno.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    MAX_MESSAGES = 64,          /* of one turn; what is left waits for the next */
    MAX_CONNECTIONS_KEPT = 4096 /* below the peak of concurrency every answer would close a connection */
};

struct sock {
    struct multi *multi;
    int fd;
    bool ours; /* opened by on_open: the end is told by on_close, so that the event may outlive a transfer */
    bool given_up;          /* not to be closed */
    struct call *uploading; /* to be told before the descriptor is closed */
    short wanted;           /* by libcurl now; 0: a kept connection, or a paused transfer */
    short registered;       /* with the loop */
    struct event ev;
};

struct multi {
    unsigned magic;
    CURLM *curl;
    struct loop *loop;
    struct sock **socks; /* by descriptor */
    size_t nsocks;
    struct timer timer;
    struct task task;
    bool now; /* libcurl asked for a timeout of 0 ms */
    bool broken;
    unsigned inside;
    int current;
    struct link calls, work, doomed;
    unsigned ncalls;
};

static void action(struct multi *m, curl_socket_t fd, int bits);

/* --- sockets --- */

static struct sock *sock_of(struct multi *m, curl_socket_t fd) {
    return fd >= 0 && (size_t)fd < m->nsocks ? m->socks[fd] : NULL;
}

static void on_event(evutil_socket_t fd, short what, void *arg);

/* Failures of the kernel's side are not fatal: a descriptor may be gone already (curl#14976). */
static void sock_register(struct sock *s, short what) {
    if (s->registered == what)
        return;
    if (s->registered)
        event_del(&s->ev);
    s->registered = 0;
    if (!what)
        return;
    if (event_assign(&s->ev, loop_base(s->multi->loop), s->fd, what | EV_PERSIST, on_event, s) != 0 ||
        event_add(&s->ev, NULL) != 0)
        log_event(LVL_ERROR, "upstream", "a socket cannot be watched: %s", strerror(errno));
    else
        s->registered = what;
}

static void sock_free(struct multi *m, struct sock *s) {
    sock_register(s, 0);
    m->socks[s->fd] = NULL;
    mem_free(s);
}

static struct sock *sock_new(struct multi *m, int fd) {
    struct sock *old = sock_of(m, fd);
    if (old) /* its end was never told (curl#16026) and the number is in use again */
        sock_free(m, old);
    if ((size_t)fd >= m->nsocks) {
        size_t n = m->nsocks ? m->nsocks : 64;
        while (n <= (size_t)fd)
            n *= 2;
        m->socks = mem_grow(m->socks, n * sizeof(struct sock *));
        memset(m->socks + m->nsocks, 0, (n - m->nsocks) * sizeof(struct sock *));
        m->nsocks = n;
    }
    struct sock *s = mem_alloc(sizeof *s);
    s->multi = m;
    s->fd = fd;
    m->socks[fd] = s;
    return s;
}

static void on_event(evutil_socket_t fd, short what, void *arg) {
    struct sock *s = arg;
    if (!(what &
          s->wanted)) { /* a kept connection was closed by the peer, or bytes come while we are paused */
        sock_register(s, s->wanted);
        return;
    }
    int bits = (what & EV_READ ? CURL_CSELECT_IN : 0) | (what & EV_WRITE ? CURL_CSELECT_OUT : 0);
    action(s->multi, fd, bits); /* may free s */
}

static int on_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *per_socket) {
    struct multi *m = arg;
    (void)easy;
    (void)per_socket;
    struct sock *s = sock_of(m, fd);
    if (what == CURL_POLL_REMOVE) {
        if (!s)
            return 0;
        s->wanted = 0;
        if (!s->ours) /* the resolver's pair: closed without telling us */
            sock_free(m, s);
        return 0;
    }
    if (!s)
        s = sock_new(m, fd);
    s->wanted = (short)((what & CURL_POLL_IN ? EV_READ : 0) | (what & CURL_POLL_OUT ? EV_WRITE : 0));
    if (s->wanted)
        sock_register(s, s->wanted);
    return 0;
}

static curl_socket_t on_open(void *arg, curlsocktype purpose, struct curl_sockaddr *a) {
    struct multi *m = arg;
    (void)purpose;
    int fd = socket(a->family, a->socktype | SOCK_CLOEXEC | SOCK_NONBLOCK, a->protocol);
    if (fd < 0)
        return CURL_SOCKET_BAD;
    sock_new(m, fd)->ours = true;
    return fd;
}

static int on_close(void *arg, curl_socket_t fd) {
    struct multi *m = arg;
    struct sock *s = sock_of(m, fd);
    bool given_up = s && s->given_up;
    if (s && s->uploading)
        wire_closing(s->uploading, fd);
    if (s)
        sock_free(m, s);
    return given_up ? 0 : close(fd);
}

void multi_give_up(struct multi *m, int fd) {
    struct sock *s = sock_of(m, fd);
    if (!s)
        return;
    sock_register(s, 0);
    s->given_up = true;
}

void multi_uploading(struct multi *m, int fd, struct call *c) {
    struct sock *s = sock_of(m, fd);
    if (s)
        s->uploading = c;
}

void multi_opt_easy(struct multi *m, void *easy) {
    curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, on_open);
    curl_easy_setopt(easy, CURLOPT_OPENSOCKETDATA, m);
    curl_easy_setopt(easy, CURLOPT_CLOSESOCKETFUNCTION, on_close);
    curl_easy_setopt(easy, CURLOPT_CLOSESOCKETDATA, m);
}

/* --- driving --- */

/* Deadlines only ever move the armed timer when they come earlier, and "none" (-1) leaves it: one superfluous
 * CURL_SOCKET_TIMEOUT is harmless and cheaper than the churn. */
static int on_curl_timer(CURLM *curl, long ms, void *arg) {
    struct multi *m = arg;
    (void)curl;
    if (ms > 0) {
        timer_set(&m->timer, (uint64_t)ms);
    } else if (ms == 0) {
        m->now = true;
        task_defer(m->loop, &m->task);
    }
    return 0;
}

static void on_timer(void *arg) {
    action(arg, CURL_SOCKET_TIMEOUT, 0);
}

static void drain(struct multi *m) {
    for (unsigned i = 0; i < MAX_MESSAGES && m->curl && !m->broken; i++) {
        int left = 0;
        CURLMsg *msg = curl_multi_info_read(m->curl, &left);
        if (!msg)
            return;
        if (msg->msg != CURLMSG_DONE)
            continue;
        char *owner = NULL;
        CURLcode code = msg->data.result; /* the message dies with the removal of its handle */
        if (curl_easy_getinfo(msg->easy_handle, CURLINFO_PRIVATE, &owner) == CURLE_OK && owner)
            ((struct easy_owner *)(void *)owner)->ended((struct easy_owner *)(void *)owner, (int)code);
    }
    task_defer(m->loop, &m->task);
}

static void action(struct multi *m, curl_socket_t fd, int bits) {
    int running;
    multi_enter(m);
    m->current = fd == CURL_SOCKET_TIMEOUT ? -1 : fd;
    CURLMcode rc = curl_multi_socket_action(m->curl, fd, bits, &running);
    m->current = -1;
    if (rc != CURLM_OK) {
        log_event(LVL_ERROR, "upstream", "libcurl: %s", curl_multi_strerror(rc));
        multi_broken(m);
    }
    multi_leave(m);
    drain(m);
}

void multi_enter(struct multi *m) {
    m->inside++;
}

void multi_leave(struct multi *m) {
    MUST(m->inside > 0);
    if (--m->inside > 0)
        return;
    while (m->doomed.next != &m->doomed)
        call_doomed(LINK_OWNER(m->doomed.next, struct call, in_doomed));
}

bool multi_inside(const struct multi *m) {
    return m->inside > 0;
}

int multi_current_fd(const struct multi *m) {
    return m->current;
}

struct loop *multi_loop(struct multi *m) {
    return m->loop;
}

void *multi_curl(struct multi *m) {
    return m->curl;
}

/* --- calls --- */

void multi_add(struct multi *m, struct call *c) {
    link_add(&m->calls, &c->in_multi);
    m->ncalls++;
}

void multi_remove(struct multi *m, struct call *c) {
    link_cut(&c->in_multi);
    m->ncalls--;
}

unsigned multi_calls(const struct multi *m) {
    return m->ncalls;
}

void multi_work(struct multi *m, struct call *c, unsigned todo) {
    c->todo |= todo;
    if (!c->in_work.next)
        link_add(&m->work, &c->in_work);
    task_defer(m->loop, &m->task);
}

void multi_doom(struct multi *m, struct call *c) {
    link_add(&m->doomed, &c->in_doomed);
}

void multi_broken(struct multi *m) {
    m->broken = true;
    task_defer(m->loop, &m->task);
}

static void curl_open(struct multi *m) {
    m->curl = curl_multi_init();
    if (!m->curl)
        die("libcurl: no multi handle");
    curl_multi_setopt(m->curl, CURLMOPT_SOCKETFUNCTION, on_socket);
    curl_multi_setopt(m->curl, CURLMOPT_SOCKETDATA, m);
    curl_multi_setopt(m->curl, CURLMOPT_TIMERFUNCTION, on_curl_timer);
    curl_multi_setopt(m->curl, CURLMOPT_TIMERDATA, m);
    curl_multi_setopt(m->curl, CURLMOPT_MAXCONNECTS, (long)MAX_CONNECTIONS_KEPT);
}

/* After an error of the multi interface "the state of all transfers are uncertain"
 * (curl_multi_socket_action(3)): all of them end, and a new handle takes over. */
static void rebuild(struct multi *m) {
    struct link old; /* calls that are begun while the old ones end belong to the new handle */
    link_head(&old);
    while (m->calls.next != &m->calls) {
        struct link *l = m->calls.next;
        link_cut(l);
        link_add(&old, l);
    }
    while (old.next != &old)
        call_finish(LINK_OWNER(old.next, struct call, in_multi), CALL_RESET);
    curl_multi_cleanup(m->curl);
    m->broken = m->now = false;
    curl_open(m);
}

static void on_task(void *arg) {
    struct multi *m = arg;
    MAGIC_CHECK(m, MULTI_MAGIC);
    if (m->broken)
        rebuild(m);
    struct link batch; /* what is asked for meanwhile waits for the next turn */
    link_head(&batch);
    while (m->work.next != &m->work) {
        struct link *l = m->work.next;
        link_cut(l);
        link_add(&batch, l);
    }
    while (batch.next != &batch) {
        struct call *c = LINK_OWNER(batch.next, struct call, in_work);
        link_cut(&c->in_work);
        call_todo(c);
    }
    if (m->now) {
        m->now = false;
        action(m, CURL_SOCKET_TIMEOUT, 0);
    } else {
        drain(m);
    }
}

struct multi *multi_new(struct loop *l) {
    static bool initialised; /* here and not before: nothing of libcurl survives a fork */
    if (!initialised && curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
        die("libcurl cannot be initialised");
    initialised = true;
    struct multi *m = mem_alloc(sizeof *m);
    m->magic = MULTI_MAGIC;
    m->loop = l;
    m->current = -1;
    link_head(&m->calls);
    link_head(&m->work);
    link_head(&m->doomed);
    timer_init(&m->timer, l, on_timer, m);
    task_init(&m->task, on_task, m);
    curl_open(m);
    return m;
}

void multi_free(struct multi *m) {
    if (!m)
        return;
    while (m->calls.next != &m->calls)
        call_cancel(LINK_OWNER(m->calls.next, struct call, in_multi));
    curl_multi_cleanup(m->curl); /* calls on_socket and on_close */
    m->curl = NULL;
    for (size_t i = 0; i < m->nsocks; i++)
        if (m->socks[i])
            sock_free(m, m->socks[i]);
    mem_free(m->socks);
    task_cancel(&m->task);
    timer_free(&m->timer);
    m->magic = 0;
    mem_free(m);
}
