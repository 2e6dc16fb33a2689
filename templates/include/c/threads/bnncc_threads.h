/* Threads for `run_parallel` of generated networks, where there are POSIX threads; elsewhere its loops run in the caller.
 * One file serves all networks of a program. */
#ifndef BNNCC_THREADS_H
#define BNNCC_THREADS_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct bnncc_threads bnncc_threads;

/* Starts `threads` - 1 threads, the caller being the first; fewer where the system refuses. NULL: out of memory.
 * They wait for work busily for some 50 microseconds, then asleep. */
bnncc_threads *bnncc_threads_start(size_t threads);

/* How many there are, with the caller. */
size_t bnncc_threads_count(const bnncc_threads *pool);

/* A `bnncc_for_each`: thread i does part i, and then what others have not begun. One loop at a time in a pool. */
void bnncc_threads_for_each(void *pool, size_t parts, void (*part)(void *job, size_t i), void *job);

/* Ends the threads and frees the pool, NULL included; not during a loop. */
void bnncc_threads_stop(bnncc_threads *pool);

#ifdef __cplusplus
}
#endif

#endif
