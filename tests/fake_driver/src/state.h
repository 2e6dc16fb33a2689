// What the fake driver knows. Everything here is guarded by the lock that an Entry takes.
#pragma once
#include "abi.h"
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <vector>

// ---- work: what was enqueued and runs when something waits for it ----

using Run = std::function<CUresult()>;

struct Work {
    enum { WAITING, RUNNING, DONE } state = WAITING;
    CUcontext context = nullptr;
    Run run;  // empty: only an order
    std::vector<std::shared_ptr<Work>> after;
};
using WorkRef = std::shared_ptr<Work>;

// ---- what handles point to ----

struct Capture {
    CUgraph graph;
    CUstream origin;
    CUstreamCaptureMode mode;
    std::thread::id thread;
    std::set<CUstream> streams;
    bool is_invalid = false;
    bool is_over = false;
};

struct CUstream_st {
    CUcontext context = nullptr;
    bool is_legacy = false;
    bool is_blocking = true;  // takes part in the order of the legacy default stream
    unsigned flags = 0;
    int priority = 0;
    WorkRef last;
    std::shared_ptr<Capture> capture;
    std::vector<CUgraphNode> tips;  // what the next captured operation comes after
};

struct CUevent_st {
    CUcontext context;
    bool has_timing;
    WorkRef work;  // of the last record; null: never recorded
    std::shared_ptr<double> milliseconds;
    std::shared_ptr<Capture> capture;
    std::vector<CUgraphNode> tips;
};

struct CUctx_st {
    int device = 0;
    uint64_t id = 0;
    unsigned flags = 0;
    bool is_primary = false;
    int references = 0;
    CUresult error = CUDA_SUCCESS;  // once set, every call answers it
    CUstream_st legacy;
    std::map<std::thread::id, std::unique_ptr<CUstream_st>> per_thread;
    std::set<CUcontext> peers;
};

// What Python tells of a kernel; the same fields stand in driver.py.
struct FunctionFacts {
    uint64_t id;
    int max_threads, shared_bytes, constant_bytes, local_bytes, registers, ptx_version, binary_version;
    int parameter_bytes, parameter_count;
};

struct CUfunc_st {
    CUmodule module;
    std::string name;
    FunctionFacts facts;
    int max_dynamic_shared_bytes;
    int block[3] = {1, 1, 1};  // of the launch calls of CUDA 3
};

struct CUmod_st {
    CUcontext context;
    uint64_t id;
    std::map<std::string, std::unique_ptr<CUfunc_st>> functions;
    std::map<std::string, std::pair<CUdeviceptr, size_t>> variables;
};

struct CUgraphNode_st {
    CUgraphNodeType type;
    Run run;
    std::vector<CUgraphNode> after;
};

struct CUgraph_st {
    CUcontext context;
    std::vector<std::unique_ptr<CUgraphNode_st>> nodes;
};

struct CUgraphExec_st {
    struct Step {
        Run run;
        std::vector<size_t> after;
    };
    CUcontext context;
    std::vector<Step> steps;
    std::map<CUgraphNode, size_t> step_of;
    WorkRef last;
};

struct Allocation {
    CUcontext context;
    size_t bytes;
    bool is_owned_by_module;
};

struct PinnedRange {
    CUcontext context;
    size_t bytes;
    unsigned flags;
    bool is_registered;  // the caller's own memory
};

// ---- the device itself: calls into Python, which has the emulator (driver.py) ----

struct LaunchRequest {
    uint64_t function;
    unsigned grid[3], block[3], shared_bytes;
    int is_cooperative, is_opted_in, device;
    uint64_t reachable_devices;  // one bit each
    const void *parameters;
    size_t parameter_bytes;
};

struct Python {
    int (*device_count)();
    int (*device_attribute)(int device, int attribute);
    int (*device_name)(int device, char *name, int length);
    int (*allocate)(int device, size_t bytes, uint64_t *address);
    int (*release)(uint64_t address);
    int (*to_device)(uint64_t address, const void *source, size_t bytes);
    int (*to_host)(void *target, uint64_t address, size_t bytes);
    int (*between)(uint64_t target, uint64_t source, size_t bytes);
    int (*fill)(uint64_t address, unsigned value, size_t width_bytes, size_t count);
    int (*load)(int device, const void *image, uint64_t *module, char *log, size_t log_bytes);
    int (*unload)(uint64_t module);
    int (*find)(uint64_t module, const char *name, FunctionFacts *facts);
    int (*parameter)(uint64_t function, size_t index, size_t *offset, size_t *bytes);
    int (*variable)(uint64_t module, const char *name, size_t *bytes);
    int (*bind)(uint64_t module, const char *name, uint64_t address);
    int (*launch)(const LaunchRequest *request);
    int (*occupancy)(uint64_t function, int device, int threads, size_t shared_bytes);
    // The interpreter's lock: who waits for ours must not hold it.
    int (*holds_interpreter)();
    void *(*release_interpreter)();
    void (*take_interpreter)(void *state);
};

struct State {
    bool is_initialized = false;
    bool is_eager = false;
    int driver_version = 13000;
    uint64_t last_id = 0;
    std::map<int, CUcontext> primary;
    std::set<CUcontext> contexts;
    std::set<CUstream> streams;  // those that were created; default streams belong to their contexts
    std::set<CUevent> events;
    std::set<CUmodule> modules;
    std::set<CUfunction> functions;
    std::set<CUgraph> graphs;
    std::set<CUgraphExec> execs;
    std::set<std::shared_ptr<Capture>> captures;
    std::map<CUdeviceptr, Allocation> allocations;
    std::map<uintptr_t, PinnedRange> pinned;
    std::map<std::string, int> abandoned;  // what was alive when its context was destroyed, by kind
    std::map<std::string, int> calls;
    Python python = {};
};
extern State &state;

// ---- entry.cpp ----

enum class Needs { NOTHING, INIT, CONTEXT };

// Every function of the API begins with one: takes the lock, notes the call, answers injected errors.
class Entry {
public:
    Entry(const char *function, Needs needs);
    ~Entry();
    CUresult error = CUDA_SUCCESS;

private:
    bool is_locked = false;
};
#define ENTER(needs)                      \
    Entry entry(__func__, Needs::needs);  \
    if (entry.error != CUDA_SUCCESS)      \
        return entry.error

// Answer an error of an inner call.
#define TRY(expression)                                             \
    do {                                                            \
        if (CUresult tried = (expression); tried != CUDA_SUCCESS)   \
            return tried;                                           \
    } while (0)

CUresult injected(const std::string &what);  // counts one more of `what`; its error, if one is planned
bool kills_context(CUresult error);
CUresult not_supported(const char *what);
extern thread_local bool is_in_host_function;
extern thread_local bool is_default_per_thread;  // a null stream means the thread's own

// ---- devices.cpp ----

CUresult check_device(CUdevice device);

// ---- contexts.cpp ----

CUcontext current_context();  // null where there is none

// ---- memory.cpp ----

// The allocation that holds all these bytes, or null.
const std::pair<const CUdeviceptr, Allocation> *allocation_of(CUdeviceptr address, size_t bytes);
bool is_pinned(const void *host);
CUresult allocate(CUdeviceptr *address, size_t bytes, bool is_owned_by_module);
void release_allocation(CUdeviceptr address);

// ---- streams.cpp ----

CUresult find_stream(CUstream handle, CUstream *found);
CUresult enqueue(CUstream stream, CUgraphNodeType type, Run run);
void order_after(Work &work, CUstream stream);  // what comes before the next operation of `stream`
void complete(const WorkRef &work);
bool is_done(const WorkRef &work);
CUresult check_legacy(CUstream stream);
void complete_stream(CUstream stream);
void complete_context(CUcontext context);
void destroy_streams_of(CUcontext context);

// ---- graphs.cpp ----

CUresult capture_node(CUstream stream, CUgraphNodeType type, Run run);
CUresult refuse(Capture &capture, CUresult error);  // the capture is lost
CUresult forbid_while_capturing();                  // for calls that are unsafe then
void destroy_graphs_of(CUcontext context);

// ---- modules.cpp ----

void unload(CUmodule module);
CUfunction function_of(CUfunction handle);  // a kernel handle of a library is one, too; null: none

// ---- launch.cpp ----

struct LaunchShape {
    unsigned grid[3], block[3], shared_bytes;
    bool is_cooperative;
};
CUresult prepare_launch(CUfunction function, const LaunchShape &shape, void **parameters, void **extra, Run *run);
