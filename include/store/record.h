/* Types of the records in the rings. */
#ifndef PENSTOCK_STORE_RECORD_H
#define PENSTOCK_STORE_RECORD_H
enum record {
    RECORD_USAGE = 1,  /* ledger_pack */
    RECORD_REPLY = 2,  /* reply_pack */
    RECORD_CLEAR = 3,  /* the cache index was cleared: drop what is no longer in it */
    RECORD_KEY = 4,    /* key_change_pack */
};
#endif
