/* What is said of a request's tokens and of the price that made its cost. */
#ifndef PENSTOCK_SRC_RELAY_BILL_H
#define PENSTOCK_SRC_RELAY_BILL_H
#include "llm/fault.h"
#include "store/ledger.h"

struct gateway;
struct price;
struct request;
/* An attempt that is over: f NULL, it answered. */
void bill_attempt(const struct request *r, const struct fault *f, struct ledger_attempt *a);
/* How far r->usage can be believed, once it is settled. */
void bill_judge(const struct request *r, struct ledger_row *row);
/* The version of a price; the scribe is told of it before the row that names it. 0: of none. */
uint64_t bill_price(struct gateway *g, const struct price *p);
#endif
