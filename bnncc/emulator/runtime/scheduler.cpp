// Blocks, fibers and the order they run in.
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <algorithm>
#include "scheduler.h"

Machine machine;
Geometry emu_geometry;
u64 emu_progress;

static const u64 CANARY = 0x5AFEC0DE0BADF00Dull;
enum Order : u32 { ASCENDING, DESCENDING, RANDOM };

double emu_now() {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

u64 emu_random() {
  u64 &x = machine.random;
  x ^= x << 13;
  x ^= x >> 7;
  x ^= x << 17;
  return x;
}

static void poison(char *at, size_t bytes) {
  u64 word = emu_random() | 0x8080808080808080ull;
  size_t i = 0;
  for (; i + 8 <= bytes; i += 8, word = word * 6364136223846793005ull + 1442695040888963407ull) memcpy(at + i, &word, 8);
  memcpy(at + i, &word, bytes - i);
}

static u32 clamp_u32(u64 x) { return x > 0xFFFFFFFFull ? 0xFFFFFFFFu : (u32)x; }

// Gives the processor to the next fiber of the block, or, at the end of the pass, to the scheduler.
void emu_leave(Thread *t, const char *waits_for, u32 line, State state) {
  t->state = state;
  t->waits_for = waits_for;
  t->line = line;
  Block *block = t->block;
  machine.result->switches++;
  while (block->cursor < block->thread_count) {
    Thread *next = &block->threads[block->order[block->cursor++]];
    if (next->state != RUNNABLE) continue;
    next->state = RUNNING;
    machine.current = next;
    emu_switch(&t->stack_pointer, next->stack_pointer);
    return;
  }
  emu_switch(&t->stack_pointer, machine.stack_pointer);
}

extern "C" void emu_exit(Thread *t) {
  emu_exit_wgmma(t);
  emu_exit_async(t);
  emu_copy_commit(t);
  emu_land_copies(t, 0);
  if (*(u64 *)t->stack != CANARY) emu_fault(t, FAULT_STACK, 0, 0, 0, "the stack of a fiber overflowed");
  if (t->block->live == 1) emu_compare_registers(t);
  emu_thread_exits(t);
  emu_leave(t, nullptr, 0, DONE);
  abort();
}

static void run_fiber() {
  Thread *t = machine.current;
  machine.request->kernel(t);
  emu_exit(t);
}

extern "C" void emu_fuel(Thread *t, u32 line) {
  t->fuel = FUEL;
  if (t->spins == t->spins_at_refill) emu_progress++;  // it computes; a spinning loop reads flags
  t->spins_at_refill = t->spins;
  if (emu_now() > machine.deadline) emu_fault(t, FAULT_TIMEOUT, line, 0, 0, "the time of this launch is over; the loop of this branch is still running");
  emu_leave(t, "its turn in a loop", line, RUNNABLE);
}

extern "C" void emu_spin(Thread *t, u32 line) {
  if ((++t->spins & 15) == 0) emu_leave(t, "a value in memory", line, RUNNABLE);
}

extern "C" void emu_nanosleep(Thread *t, u32 line) {
  t->spins++;
  emu_leave(t, "nanosleep", line, RUNNABLE);
}

static char *grow(char *old, size_t *capacity, size_t bytes) {
  if (bytes <= *capacity) return old;
  if (old) munmap(old, *capacity);
  char *fresh = (char *)mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (fresh == MAP_FAILED) {
    perror("bnncc emulator: mmap");
    abort();
  }
  *capacity = bytes;
  return fresh;
}

// An odd multiple of a cache line, so that the arrays of a shadow do not compete for the same cache sets.
static size_t shadow_cells() { return (emu_geometry.total_shared_bytes / machine.request->granularity / 32 + 1) * 32 + 16; }

static void reserve(Block *block) {
  const LaunchRequest *r = machine.request;
  const size_t shared = ((size_t)emu_geometry.total_shared_bytes + 127) & ~(size_t)127;
  const size_t cells = shadow_cells();
  block->shared = grow(block->shared, &block->shared_capacity, shared + 4 * cells * sizeof(u32) + 128);
  u32 *shadow = (u32 *)(block->shared + shared);
  block->shadow = Shadow{shadow, shadow + cells, shadow + 2 * cells, shadow + 3 * cells};
  block->local = grow(block->local, &block->local_capacity, (size_t)r->local_bytes * block->thread_count + 16);
  // An odd number of cache lines between stacks keeps them from competing for the same cache sets.
  const size_t stride = (((size_t)r->stack_bytes + 4095) & ~(size_t)4095) + 64 * 7;
  if (stride != block->stack_stride && block->stacks) {
    munmap(block->stacks, block->stacks_capacity);
    block->stacks = nullptr;
    block->stacks_capacity = 0;
  }
  block->stack_stride = stride;
  block->stacks = grow(block->stacks, &block->stacks_capacity, stride * block->thread_count);
}

static void start_thread(Block *block, u32 k) {
  const LaunchRequest *r = machine.request;
  Thread *t = &block->threads[k];
  Pending *pending = t->pending;
  Knowledge *world = t->world, *seen = t->seen;
  const u32 capacity = t->pending_capacity;
  memset(t, 0, sizeof *t);
  if (world) *world = Knowledge{};
  if (seen) *seen = Knowledge{};
  t->world = world;
  t->seen = seen;
  t->pending = pending;
  t->pending_capacity = capacity;
  t->index = k;
  t->lane = k % 32;
  t->warp_index = k / 32;
  t->tid[0] = k % r->block[0];
  t->tid[1] = k / r->block[0] % r->block[1];
  t->tid[2] = k / r->block[0] / r->block[1];
  memcpy(t->ctaid, block->index, sizeof t->ctaid);
  t->shared = block->shared;
  t->shadow = block->shadow;
  t->shared_bytes = emu_geometry.total_shared_bytes;
  t->local = block->local + (size_t)k * r->local_bytes;
  t->local_bytes = r->local_bytes;
  t->params = r->params;
  t->fuel = FUEL;
  t->floor = 1u << RECORD_CLOCK_SHIFT;
  emu_set_clock(t, 1);
  t->block = block;
  t->warp = &block->warps[k / 32];
  t->warp->lanes[k % 32] = t;
  t->stack = block->stacks + (size_t)k * block->stack_stride;
  t->stack = (char *)(((uintptr_t)t->stack + 7) & ~(uintptr_t)7);
  *(u64 *)t->stack = CANARY;
  t->stack_pointer = emu_new_fiber(block->stacks + (size_t)(k + 1) * block->stack_stride - 64, run_fiber);
}

static void start_block(Block *block, u64 index) {
  const LaunchRequest *r = machine.request;
  block->index[0] = (u32)(index % r->grid[0]);
  block->index[1] = (u32)(index / r->grid[0] % r->grid[1]);
  block->index[2] = (u32)(index / r->grid[0] / r->grid[1]);
  block->thread_count = block->live = r->block[0] * r->block[1] * r->block[2];
  block->tick = 1;
  block->stamp = machine.first_stamp + (u32)index;
  block->world = Knowledge{};
  block->threads.resize(block->thread_count);
  block->warps.resize((block->thread_count + 31) / 32);
  block->order.resize(block->thread_count);
  reserve(block);
  poison(block->shared, emu_geometry.total_shared_bytes);
  memset(block->shadow.written, 0, 3 * shadow_cells() * sizeof(u32));
  poison(block->local, (size_t)r->local_bytes * block->thread_count);
  for (u32 w = 0; w < block->warps.size(); w++) {
    block->warps[w].exited = 0;
    block->warps[w].index = w;
  }
  if (block->thread_count % 32) block->warps.back().exited = ~0u << block->thread_count % 32;
  emu_reset_sync(block);
  emu_reset_async(block);
  for (u32 k = 0; k < block->thread_count; k++) {
    start_thread(block, k);
    block->order[k] = (u16)(r->order == DESCENDING ? block->thread_count - 1 - k : k);
  }
  machine.result->blocks++;
  machine.result->threads += block->thread_count;
}

template <class T>
static void shuffle(T *values, size_t count) {
  for (size_t i = count; i > 1; i--) std::swap(values[i - 1], values[emu_random() % i]);
}

// Lets every runnable fiber of the block run to its next synchronisation; false if there was none.
static bool run_pass(Block *block) {
  if (machine.request->order == RANDOM) shuffle(block->order.data(), block->thread_count);
  block->cursor = 0;
  while (block->cursor < block->thread_count) {
    Thread *next = &block->threads[block->order[block->cursor++]];
    if (next->state != RUNNABLE) continue;
    next->state = RUNNING;
    machine.current = next;
    emu_switch(&machine.stack_pointer, next->stack_pointer);
    return true;  // the fibers hand over to each other and come back at the end of the pass
  }
  return false;
}

static bool is_hopeless(const std::vector<Block *> &resident, u64 progress, u64 switches, u32 *idle_passes) {
  if (emu_progress != progress) {
    machine.idle_switches = *idle_passes = 0;
    return false;
  }
  machine.idle_switches += machine.result->switches - switches;
  if (++*idle_passes < 1024 || machine.idle_switches < 1000000) return false;
  emu_report_stuck(resident.front(), FAULT_LIVELOCK,
                   machine.request->is_cooperative ? "livelock: every thread spins and nothing changes"
                                                   : "livelock: the block spins and nothing changes (a grid barrier needs a cooperative launch)");
  machine.result->is_aborted = 1;
  return true;
}

static void run_resident(std::vector<Block *> *resident, u32 *idle_passes) {
  const u64 progress = emu_progress, switches = machine.result->switches;
  if (machine.request->order == RANDOM) shuffle(resident->data(), resident->size());
  for (Block *block : *resident) {
    const bool has_run = run_pass(block);
    if (machine.result->is_aborted) return;
    if (!has_run && block->live) {
      emu_report_stuck(block, FAULT_DEADLOCK, "deadlock");
      machine.result->is_aborted = 1;
      return;
    }
  }
  if (emu_now() > machine.deadline) {
    emu_report_stuck(resident->front(), FAULT_TIMEOUT, "the time of this launch is over");
    machine.result->is_aborted = 1;
    return;
  }
  is_hopeless(*resident, progress, switches, idle_passes);
}

static void run_all(std::vector<Block *> *idle) {
  const LaunchRequest *r = machine.request;
  const u64 total = (u64)r->grid[0] * r->grid[1] * r->grid[2];
  std::vector<u32> shuffled(r->order == RANDOM ? total : 0);
  for (size_t i = 0; i < shuffled.size(); i++) shuffled[i] = (u32)i;
  shuffle(shuffled.data(), shuffled.size());
  std::vector<Block *> resident;
  u64 next = 0;
  u32 idle_passes = 0;
  const u64 capacity = r->is_cooperative ? total : r->resident_blocks;
  while ((next < total || !resident.empty()) && !machine.result->is_aborted) {
    for (; next < total && resident.size() < capacity; next++) {
      if (idle->empty()) idle->push_back(new Block{});
      resident.push_back(idle->back());
      idle->pop_back();
      start_block(resident.back(), r->order == RANDOM ? shuffled[next] : r->order == DESCENDING ? total - 1 - next : next);
    }
    run_resident(&resident, &idle_passes);
    for (size_t i = 0; i < resident.size();)
      if (resident[i]->live == 0) {
        idle->push_back(resident[i]);
        resident[i] = resident.back();
        resident.pop_back();
      } else {
        i++;
      }
  }
  idle->insert(idle->end(), resident.begin(), resident.end());
}

// What cooperative groups find through %envreg1 and 2: its size, then the words of the grid barrier.
static u32 workspace[16] __attribute__((aligned(64)));
extern "C" u64 emu_workspace() { return machine.request->is_cooperative ? (u64)workspace : 0; }

extern "C" void emu_run(const LaunchRequest *request, LaunchResult *result) {
  static std::vector<Block *> *idle = new std::vector<Block *>;  // blocks keep their stacks between launches
  memset(result, 0, sizeof *result);
  machine.request = request;
  machine.result = result;
  machine.random = (request->seed + 1) * 0x9E3779B97F4A7C15ull | 1;
  machine.deadline = emu_now() + request->timeout_s;
  machine.idle_switches = 0;
  for (u32 i = 0; i < request->site_count; i++) request->sites[i] = Range{1, 0};
  for (int i = 0; i < 3; i++) {
    emu_geometry.ntid[i] = request->block[i];
    emu_geometry.nctaid[i] = request->grid[i];
  }
  emu_geometry.parameter_bytes = request->parameter_bytes;
  emu_geometry.dynamic_shared_bytes = request->dynamic_shared_bytes;
  emu_geometry.total_shared_bytes = clamp_u32((u64)request->static_shared_bytes + request->dynamic_shared_bytes);
  memset(workspace, 0, sizeof workspace);
  workspace[0] = sizeof workspace;
  emu_set_workspace((u64)workspace, sizeof workspace);
  emu_start_global((u64)request->grid[0] * request->grid[1] * request->grid[2]);
  run_all(idle);
}
