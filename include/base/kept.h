/* Small files of state_dir that are read and written as a whole. */
#ifndef PENSTOCK_BASE_KEPT_H
#define PENSTOCK_BASE_KEPT_H
#include "base/buf.h"

/* Appends what is in it. Its max should be 4 KiB above what is expected. false: errno, or there was too much. */
bool kept_read(const char *path, struct buf *out);
/* Mode 0600, synced; made beside it as PATH.new: who is killed in here leaves the old one, whole. false: errno. */
bool kept_write(const char *path, struct str text);
#endif
