/* What goes to an OpenTelemetry collector (telemetry.otlp_endpoint, OTLP/HTTP in JSON): the spans that
 * workers put into their rings, gathered for a second, and the counters and GenAI histograms of all
 * processes, now and then. Bounded, best effort: what the collector does not take in some tries is dropped
 * and counted. */
#ifndef PENSTOCK_PROC_TELEMETRY_H
#define PENSTOCK_PROC_TELEMETRY_H
#include "base/loop.h"
#include "conf/conf.h"
#include "shm/shm.h"
#include "upstream/call.h"

struct telemetry;
/* NULL: there is no collector. */
struct telemetry *telemetry_start(struct loop *l, struct multi *m, struct shm *s, const struct conf *c);
void telemetry_stop(struct telemetry *t); /* what waits is dropped and counted; NULL is fine */
void telemetry_spans(struct telemetry *t,
                     struct str json); /* spans, with commas between them; NULL is fine */
#endif
