// What the parts of the runtime share. One OS thread runs everything; fibers change only at synchronisations.
#pragma once
#include <stddef.h>
#include <vector>
#include "emu_base.h"

enum State : u32 { RUNNABLE, RUNNING, BLOCKED, DONE };
enum : u32 { MAX_BARRIERS = 16, MAX_WARPS = 32, FUEL = 4096, MAX_FINDINGS = 16, TICK_LIMIT = 0xFFFF0u };

struct WarpGroup {  // lanes of a warp that meet at one instruction with one mask
  u32 mask, arrived, line;
  Combine combine;  // null for bar.warp.sync
  void *slots[32];
};

struct Warp {
  WarpGroup groups[32];
  u32 group_count, exited, index;
  Thread *lanes[32];
};

struct Clock {  // what is ordered before a moment: records below the floor, and by thread those below its entry
  u32 floor, async_floor;
  std::vector<u32> threads;
};

struct Barrier {
  u32 arrived[MAX_WARPS];  // lanes that arrived, by warp
  u32 lines[MAX_WARPS];    // where they wait
  u32 expected_threads, line, sum;
  bool is_waiting, is_partial;
  Clock joined;  // of those who arrived
};

struct KnownThreads {  // of one block: threads [first, first + count) up to a clock
  u32 stamp, first, count, clock;
};
struct Knowledge {  // what other blocks did that is ordered before a moment
  std::vector<u32> floors;  // by number of the block
  std::vector<KnownThreads> threads;
  bool is_empty() const { return floors.empty() && threads.empty(); }
};

struct Pending {  // a cp.async that has not landed
  u32 shared, bytes, source_bytes, group, granularity;
  const char *from;
};

struct Block {
  u32 index[3];
  u32 thread_count, live, cursor, tick;
  bool is_partial_sync_used;
  std::vector<Thread> threads;
  std::vector<Warp> warps;
  std::vector<u16> order;
  std::vector<u32> knowledge;  // per thread: the clock of every thread of the block
  u32 stamp;                   // the upper half of its records of global memory
  Knowledge world;
  struct AsyncState *async;
  Barrier barriers[MAX_BARRIERS];
  char *shared;
  Shadow shadow;
  char *local;
  char *stacks;
  size_t shared_capacity, local_capacity, stacks_capacity, stack_stride, stack_bytes;
};

// Mirrored by the ctypes structures of native.py.
struct Finding {
  u32 kind, line, other_line;
  s32 other_thread;
  u32 block[3], thread[3], bytes, in_thread;
  u64 address;
  char text[352];
};
struct LaunchRequest {
  void (*kernel)(Thread *);
  const char *params;
  Range *sites;
  u64 seed;
  double timeout_s;
  u32 grid[3], block[3];
  u32 static_shared_bytes, dynamic_shared_bytes, local_bytes, stack_bytes, granularity, site_count, parameter_bytes;
  u32 order, is_cooperative, is_copy_late, resident_blocks, global_granularity;
};
struct LaunchResult {
  u64 switches, barriers, warp_operations, copies, blocks, threads;
  u32 is_aborted, finding_count;
  Finding findings[MAX_FINDINGS];
};

struct Machine {
  const LaunchRequest *request;
  LaunchResult *result;
  void *stack_pointer;
  Thread *current;
  u64 random, idle_switches;
  u32 first_stamp;
  double deadline;
};
extern Machine machine;

extern "C" void emu_switch(void **save, void *load);
void *emu_new_fiber(char *stack_top, void (*entry)());
u64 emu_random();
double emu_now();
void emu_leave(Thread *t, const char *waits_for, u32 line, State state);
[[noreturn]] void emu_abort(Thread *t);
void emu_record(Thread *t, Block *block, u32 kind, u32 line, u32 other_line, s32 other, u64 address, u32 bytes, const char *text);
void emu_thread_exits(Thread *t);
void emu_report_stuck(Block *block, u32 kind, const char *headline);
u32 emu_next_tick(Block *block);
void emu_set_clock(Thread *t, u32 tick);
void emu_reset_sync(Block *block);
void emu_land_copies(Thread *t, u32 groups_left);
void emu_set_workspace(u64 begin, u64 bytes);
void emu_reset_async(Block *block);
void emu_exit_async(Thread *t);
void emu_exit_wgmma(Thread *t);
void emu_compare_registers(Thread *t);
bool emu_is_ordered(Thread *t, u32 record);
bool emu_is_known(Thread *t, u32 stamp, u32 record);
void emu_use_partial_sync(Block *block);
void emu_contribute(Thread *t, Clock *clock);
void emu_learn(Thread *t, const Clock *clock);
bool emu_map_shadow(u64 base, u64 bytes);
bool emu_shadow_variables(u64 begin, u64 end);
void emu_start_global(u64 blocks);
void emu_retire_stamp(Block *block);
void emu_share_world(Block *block);
void emu_share_warp(Warp *warp, u32 mask);
const char *emu_buffer_text(u64 address, char *text, size_t bytes);
