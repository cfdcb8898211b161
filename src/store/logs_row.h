/* How the log lies in its environment: rows by {wall ms u64, sequence u64}; ids: of each batch one value
 * under the first key of its rows, an array of {hash u64 of the request id, key of its row}. Both grow at
 * their ends, so an index costs no search at each record; looking for an id is a walk over the arrays, newest
 * first. */
#ifndef PENSTOCK_SRC_STORE_LOGS_ROW_H
#define PENSTOCK_SRC_STORE_LOGS_ROW_H
#include "store/logs.h"

enum { LOGS_ROWS, LOGS_IDS, LOGS_STATE };
enum { LOGS_KEY = 16, LOGS_ID = 8 + LOGS_KEY };
const char *logs_text_name(unsigned text);
#endif
