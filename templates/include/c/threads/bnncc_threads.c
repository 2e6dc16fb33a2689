/* Threads for `run_parallel`: see bnncc_threads.h. */
#if !defined(_POSIX_C_SOURCE)
#define _POSIX_C_SOURCE 200809L
#endif
#include "bnncc_threads.h"

#include <stdlib.h>

#if defined(__unix__) || defined(__APPLE__)

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>

enum { SPINS = 4000 }; /* some 50 microseconds: longer than a small layer takes, shorter than anybody minds */

typedef struct {
    bnncc_threads *pool;
    size_t index;
    pthread_t thread;
    atomic_uint taken; /* the last loop in which somebody took this worker's part */
} bnncc_worker;

/* A loop has a number, `loop`. Whoever changes `taken` of a worker from the loop before to this one does its part; so
 * nobody waits for a thread that sleeps, and a late one finds nothing to do. */
struct bnncc_threads {
    atomic_uint loop;
    atomic_uint done; /* workers' parts done in all loops so far */
    atomic_uint sleeping;
    atomic_int is_ending;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    void (*part)(void *job, size_t i);
    void *job;
    size_t parts;
    size_t count;
    bnncc_worker workers[];
};

static void pause_briefly(unsigned spins)
{
    if (spins % SPINS == SPINS - 1)
        sched_yield();
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static void work_from(bnncc_threads *pool, unsigned loop, size_t index)
{
    for (size_t n = 0; n < pool->count; ++n) {
        const size_t i = (index + n) % pool->count;
        unsigned before = loop - 1;
        if (!atomic_compare_exchange_strong(&pool->workers[i].taken, &before, loop))
            continue;
        for (size_t part = i; part < pool->parts; part += pool->count)
            pool->part(pool->job, part);
        atomic_fetch_add(&pool->done, 1);
    }
}

/* Returns the number of the loop after `last`, once it has begun. */
static unsigned next_loop(bnncc_threads *pool, unsigned last)
{
    unsigned loop;
    for (unsigned spins = 0; spins < SPINS; ++spins) {
        if ((loop = atomic_load(&pool->loop)) != last)
            return loop;
        pause_briefly(spins);
    }
    pthread_mutex_lock(&pool->lock);
    atomic_fetch_add(&pool->sleeping, 1);
    while ((loop = atomic_load(&pool->loop)) == last)
        pthread_cond_wait(&pool->wake, &pool->lock);
    atomic_fetch_sub(&pool->sleeping, 1);
    pthread_mutex_unlock(&pool->lock);
    return loop;
}

static void *work(void *argument)
{
    bnncc_worker *const self = argument;
    unsigned loop = 0;
    for (;;) {
        loop = next_loop(self->pool, loop);
        if (atomic_load(&self->pool->is_ending))
            return NULL;
        work_from(self->pool, loop, self->index);
    }
}

static void begin_loop(bnncc_threads *pool, unsigned loop)
{
    atomic_store(&pool->loop, loop);
    if (atomic_load(&pool->sleeping) > 0) {
        pthread_mutex_lock(&pool->lock);
        pthread_cond_broadcast(&pool->wake);
        pthread_mutex_unlock(&pool->lock);
    }
}

bnncc_threads *bnncc_threads_start(size_t threads)
{
    const size_t wanted = threads > 1 ? threads : 1;
    bnncc_threads *const pool = calloc(1, sizeof *pool + wanted * sizeof pool->workers[0]);
    sigset_t all, before;
    if (pool == NULL)
        return NULL;
    pthread_mutex_init(&pool->lock, NULL);
    pthread_cond_init(&pool->wake, NULL);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before); /* signals are the program's, not ours */
    for (pool->count = 1; pool->count < wanted; ++pool->count) {
        bnncc_worker *const worker = &pool->workers[pool->count];
        worker->pool = pool;
        worker->index = pool->count;
        if (pthread_create(&worker->thread, NULL, work, worker) != 0)
            break;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return pool;
}

size_t bnncc_threads_count(const bnncc_threads *pool)
{
    return pool->count;
}

void bnncc_threads_for_each(void *argument, size_t parts, void (*part)(void *job, size_t i), void *job)
{
    bnncc_threads *const pool = argument;
    const unsigned loop = atomic_load(&pool->loop) + 1;
    const unsigned done = loop * (unsigned)pool->count;
    pool->part = part;
    pool->job = job;
    pool->parts = parts;
    begin_loop(pool, loop);
    work_from(pool, loop, 0);
    for (unsigned spins = 0; atomic_load(&pool->done) != done; ++spins)
        pause_briefly(spins);
}

void bnncc_threads_stop(bnncc_threads *pool)
{
    if (pool == NULL)
        return;
    atomic_store(&pool->is_ending, 1);
    begin_loop(pool, atomic_load(&pool->loop) + 1);
    for (size_t i = 1; i < pool->count; ++i)
        pthread_join(pool->workers[i].thread, NULL);
    pthread_cond_destroy(&pool->wake);
    pthread_mutex_destroy(&pool->lock);
    free(pool);
}

#else

struct bnncc_threads {
    size_t count;
};

bnncc_threads *bnncc_threads_start(size_t threads)
{
    bnncc_threads *const pool = malloc(sizeof *pool);
    (void)threads;
    if (pool != NULL)
        pool->count = 1;
    return pool;
}

size_t bnncc_threads_count(const bnncc_threads *pool)
{
    return pool->count;
}

void bnncc_threads_for_each(void *pool, size_t parts, void (*part)(void *job, size_t i), void *job)
{
    (void)pool;
    for (size_t i = 0; i < parts; ++i)
        part(job, i);
}

void bnncc_threads_stop(bnncc_threads *pool)
{
    free(pool);
}

#endif
