// The state behind mbarriers, bulk copies and warpgroup matrix instructions.
#pragma once
#include <unordered_map>
#include "emu_async.h"
#include "scheduler.h"

enum : u32 { ASYNC_THREAD = 1024 };  // the number under which bulk copies write

struct MBarrier {
  u32 expected, pending, init_thread, init_record;
  s64 bytes;
  u64 phase;
  bool is_proxied;
  Clock now, done;  // of the arrivals in this phase, of those in the phases before
};
struct BulkLoad {
  u32 shared, bytes, barrier;
  const char *from;
};
struct BulkStore {
  u32 thread, group, shared, bytes, line;
  bool is_read;
  char *to;
  std::vector<char> content;
};
struct DeferredArrival {  // when the cp.async of a thread so far have landed
  u32 barrier, thread, copies_end, record;
  Clock clock;
};
struct WgmmaTile {
  u32 *const *registers;
  std::vector<u32 *> where;
  std::vector<u32> values;
};
struct WgmmaOp {
  WgmmaCall call;
  u32 group, tile;
};
struct WgmmaState {  // of one thread
  std::vector<WgmmaOp> ops;
  std::vector<WgmmaTile> tiles;
  u32 group;
  bool is_fenced;
};
struct AsyncState {  // of one block
  std::unordered_map<u32, MBarrier> mbarriers;
  std::vector<BulkLoad> loads;
  std::vector<BulkStore> stores;
  std::unordered_map<u32, u32> store_groups;
  std::vector<DeferredArrival> deferred;
  std::unordered_map<u32, WgmmaState> wgmma;
  std::unordered_map<u32, std::vector<u32>> register_changes;  // lines of setmaxnreg, by warp
  Clock proxied;  // what fence.proxy.async has shown to the asynchronous proxy
};
void emu_begin_async_read(Thread *t, u32 shared, u32 bytes, u32 line, const char *what);
void emu_end_async_read(Block *block, Thread *t, u32 shared, u32 bytes);
void emu_land_copies_until(Thread *t, u32 end, u32 record);
