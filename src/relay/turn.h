/* What the vault must know of a translated answer, gathered while its events pass: thinking, signatures, and
 * the ids of the calls; not what the client itself gives back. */
#ifndef PENSTOCK_SRC_RELAY_TURN_H
#define PENSTOCK_SRC_RELAY_TURN_H
#include "llm/event.h"

struct turn;
struct turn *turn_new(struct arena *a, const char *origin); /* origin: of state that names none */
void turn_event(void *turn, const struct event_item *ev);   /* an event_fn */
const struct message *turn_message(struct turn *t);         /* NULL: it was too large */

#endif
