/* Who the children are, and what every process of the gateway gives up. */
#ifndef PENSTOCK_PROC_PRIVILEGE_H
#define PENSTOCK_PROC_PRIVILEGE_H
#include "conf/conf.h"
#include <sys/types.h>

enum { IDENTITY_GROUPS = 64 };
struct identity {
    bool change; /* false: children stay who the master is */
    uid_t uid;
    gid_t gid;
    gid_t groups[IDENTITY_GROUPS];
    int ngroups;
};
/* By user: and group:. Not root, or no user: no change. False and a text when there is no such user or group.
 */
bool identity_find(const struct conf *c, struct identity *id, char err[256]);
/* In a child: becomes it for good. False and a text. */
bool identity_become(const struct identity *id, char err[256]);
/* Makes a directory (and what is missing above it); a directory that was made, or is
 * root's and empty, then belongs to the identity. */
bool identity_mkdir(const struct identity *id, const char *path, mode_t mode);
/* The log file that the master has opened: writable for the children. */
void identity_own_fd(const struct identity *id, int fd);

void process_limits(void); /* master, once: no core dumps, many descriptors, umask, stdin */
void process_hide(void);   /* no core dump, no ptrace: the memory holds keys; again after a change of uid */
#endif
