/* Put before every source of check_shm_chaos: the same tests of the same code, in which any atomic operation
 * may give the processor away first. So processes are stopped between any two steps of an algorithm, also
 * where there are few processors and all are busy. (All orders are seq_cst here: this is about
 * interleavings.) */
#ifndef PENSTOCK_TESTS_SHM_CHAOS_H
#define PENSTOCK_TESTS_SHM_CHAOS_H
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <unistd.h>

/* So many operations from now the process is killed, before it does that one; 0: it is not. */
extern uint64_t chaos_left;

static inline void chaos(void) {
    static uint64_t x;
    if (chaos_left && --chaos_left == 0)
        raise(SIGKILL);
    if (x == 0)
        x = (uint64_t)getpid();
    x = x * 6364136223846793005U + 1442695040888963407U;
    if (x >> 58 == 0) /* one in 64 */
        sched_yield();
}

#define CHAOS_OF(T, N)                                                                                       \
    static inline T chaos_load##N(_Atomic T *p) {                                                            \
        chaos();                                                                                             \
        return atomic_load(p);                                                                               \
    }                                                                                                        \
    static inline void chaos_store##N(_Atomic T *p, T v) {                                                   \
        chaos();                                                                                             \
        atomic_store(p, v);                                                                                  \
    }                                                                                                        \
    static inline T chaos_exchange##N(_Atomic T *p, T v) {                                                   \
        chaos();                                                                                             \
        return atomic_exchange(p, v);                                                                        \
    }                                                                                                        \
    static inline T chaos_add##N(_Atomic T *p, T v) {                                                        \
        chaos();                                                                                             \
        return atomic_fetch_add(p, v);                                                                       \
    }                                                                                                        \
    static inline T chaos_or##N(_Atomic T *p, T v) {                                                         \
        chaos();                                                                                             \
        return atomic_fetch_or(p, v);                                                                        \
    }                                                                                                        \
    static inline bool chaos_cas##N(_Atomic T *p, T *was, T v) {                                             \
        chaos();                                                                                             \
        return atomic_compare_exchange_strong(p, was, v);                                                    \
    }
CHAOS_OF(uint64_t, 64)
CHAOS_OF(uint32_t, 32)

#undef atomic_load
#undef atomic_store
#undef atomic_exchange
#undef atomic_fetch_add
#undef atomic_fetch_sub
#undef atomic_fetch_or
#undef atomic_compare_exchange_strong
#undef atomic_compare_exchange_weak
#undef atomic_load_explicit
#undef atomic_store_explicit
#undef atomic_fetch_add_explicit
#undef atomic_compare_exchange_strong_explicit
#undef atomic_compare_exchange_weak_explicit

#define CHAOS(p, f) _Generic((p), _Atomic uint64_t * : chaos_##f##64, _Atomic uint32_t * : chaos_##f##32)

#define atomic_load(p)                                          CHAOS(p, load)(p)
#define atomic_store(p, v)                                      CHAOS(p, store)(p, v)
#define atomic_exchange(p, v)                                   CHAOS(p, exchange)(p, v)
#define atomic_fetch_add(p, v)                                  CHAOS(p, add)(p, v)
#define atomic_fetch_sub(p, v)                                  CHAOS(p, add)(p, 0 - (v))
#define atomic_fetch_or(p, v)                                   CHAOS(p, or)(p, v)
#define atomic_compare_exchange_strong(p, w, v)                 CHAOS(p, cas)(p, w, v)
#define atomic_compare_exchange_weak(p, w, v)                   CHAOS(p, cas)(p, w, v)
#define atomic_load_explicit(p, o)                              CHAOS(p, load)(p)
#define atomic_store_explicit(p, v, o)                          CHAOS(p, store)(p, v)
#define atomic_fetch_add_explicit(p, v, o)                      CHAOS(p, add)(p, v)
#define atomic_compare_exchange_strong_explicit(p, w, v, o, o2) CHAOS(p, cas)(p, w, v)
#define atomic_compare_exchange_weak_explicit(p, w, v, o, o2)   CHAOS(p, cas)(p, w, v)
#endif
