/* Traces: a span of each request, and a child of each attempt (telemetry in penstock.yaml(5)). A client's
 * traceparent (W3C Trace Context) is taken as the parent, and the provider gets one that names the attempt;
 * without an export the client's goes through as it is. Spans leave as OTLP's JSON through the ring, when the
 * request is over: the scribe only puts them together. */
#ifndef PENSTOCK_RELAY_TRACE_H
#define PENSTOCK_RELAY_TRACE_H
#include "base/str.h"
#include <stdint.h>

enum { TRACE_ID = 16, SPAN_ID = 8 };
struct request;
void trace_begin(struct request *r);
/* The header for the attempt r->now, which begins; STR_NONE: none. In the request's arena. */
struct str trace_parent(struct request *r);
void trace_attempt(struct request *r, uint64_t end_ns); /* r->now is over, before its row is filled in */
void trace_end(struct request *r);                      /* the row is filled in */
#endif
