/* Texts that only this room needs. */
#ifndef PENSTOCK_SRC_HTTP_TEXT_H
#define PENSTOCK_SRC_HTTP_TEXT_H
#include <stdint.h>

enum { HTTP_DATE_BYTES = 30 };                             /* "Sun, 06 Nov 1994 08:49:37 GMT" and a NUL */
void http_date(char out[HTTP_DATE_BYTES], int64_t unix_s); /* IMF-fixdate, RFC 9110, 5.6.7 */
#endif
