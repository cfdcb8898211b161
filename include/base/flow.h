/* Data is pushed down, permission comes back up. */
#ifndef PENSTOCK_BASE_FLOW_H
#define PENSTOCK_BASE_FLOW_H
enum flow {
    FLOW_OK,   /* taken, go on */
    FLOW_FULL, /* see the function: pause until told to resume */
    FLOW_STOP, /* end it: nothing further is wanted */
};
#endif
