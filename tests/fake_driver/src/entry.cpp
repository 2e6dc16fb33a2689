// The lock, planned errors, names of errors, the report at exit, and what tests reach by name.
#include "state.h"
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <dlfcn.h>
#include <mutex>

State &state = *new State;  // never destroyed: objects of the host may come back at exit
thread_local bool is_in_host_function = false;
thread_local bool is_default_per_thread = false;

namespace {

struct ErrorText {
    CUresult number;
    const char *name, *text;
};
const ErrorText error_texts[] = {
#define FAKE_ERROR(number, name, text) {name, #name, text},
#include "errors.inc"
#undef FAKE_ERROR
};

struct Plan {
    int nth;  // 0: every time
    CUresult error;
};
std::multimap<std::string, Plan> plans;
std::recursive_mutex mutex;

// Who waits lets the interpreter go on: the thread that has the lock may need it for a callback.
void lock()
{
    if (mutex.try_lock())
        return;
    if (state.python.holds_interpreter && state.python.holds_interpreter()) {
        void *released = state.python.release_interpreter();
        mutex.lock();
        state.python.take_interpreter(released);
    } else {
        mutex.lock();
    }
}

CUresult error_named(const std::string &text)
{
    for (const ErrorText &error : error_texts)
        if (text == error.name || text == error.name + strlen("CUDA_ERROR_"))
            return error.number;
    return (CUresult)atoi(text.c_str());
}

// "cuMemAlloc@3=CUDA_ERROR_OUT_OF_MEMORY, kernel=702"
void plan(const std::string &text)
{
    plans.clear();
    size_t at = 0;
    while (at < text.size()) {
        const size_t end = std::min(text.find(',', at), text.size());
        std::string item = text.substr(at, end - at);
        at = end + 1;
        item.erase(0, item.find_first_not_of(' '));
        const size_t equals = item.find('='), where = std::min(item.find('@'), equals);
        if (equals == std::string::npos)
            continue;
        const int nth = where < equals ? atoi(item.c_str() + where + 1) : 0;
        const std::string name = item.substr(0, where);
        plans.insert({name, {nth ? state.calls[name] + nth : 0, error_named(item.substr(equals + 1))}});
    }
}

std::string without_version(std::string name)
{
    const size_t at = name.rfind("_v");
    const bool has_version =
        at != std::string::npos && name.find_first_not_of("0123456789", at + 2) == std::string::npos;
    return has_version ? name.substr(0, at) : name;
}

// In a process that runs Python the other half is imported; other processes have no device.
void attach()
{
    const auto ensure = (int (*)())dlsym(RTLD_DEFAULT, "PyGILState_Ensure");
    const auto release = (void (*)(int))dlsym(RTLD_DEFAULT, "PyGILState_Release");
    const auto run = (int (*)(const char *))dlsym(RTLD_DEFAULT, "PyRun_SimpleString");
    if (!ensure || !release || !run)
        return;
    const int held = ensure();
    run("import sys\n"
        "sys.path.append(r'" FAKE_CUDA_HOME "')\n"
        "from tests.fake_driver.driver import attached\n"
        "attached()\n");
    release(held);
}

std::map<std::string, int> alive()
{
    int streams = (int)state.streams.size(), allocations = 0, contexts = 0;
    for (const auto &[address, allocation] : state.allocations)
        allocations += !allocation.is_owned_by_module;
    for (CUcontext context : state.contexts)
        contexts += context->is_primary ? context->references : 1;
    std::map<std::string, int> counts = {
        {"contexts", contexts},
        {"allocations", allocations},
        {"host_allocations", (int)state.pinned.size()},
        {"modules", (int)state.modules.size()},
        {"streams", streams},
        {"events", (int)state.events.size()},
        {"graphs", (int)state.graphs.size()},
        {"graph_execs", (int)state.execs.size()},
    };
    for (const auto &[kind, count] : state.abandoned)
        counts[kind] += count;
    return counts;
}

// With $FAKE_CUDA_REPORT, a line of JSON goes to that file when the process ends.
struct AtExit {
    ~AtExit()
    {
        const char *path = getenv("FAKE_CUDA_REPORT");
        FILE *file = path && *path && state.is_initialized ? fopen(path, "w") : nullptr;
        if (!file)
            return;
        const char *comma = "{";
        for (const auto &[kind, count] : alive()) {
            fprintf(file, "%s\"%s\": %d", comma, kind.c_str(), count);
            comma = ", ";
        }
        fprintf(file, "}\n");
        fclose(file);
    }
} at_exit;

}  // namespace

CUresult injected(const std::string &what)
{
    const int count = ++state.calls[what];
    const auto [first, last] = plans.equal_range(what);
    for (auto it = first; it != last; ++it)
        if (it->second.nth == 0 || it->second.nth == count)
            return it->second.error;
    return CUDA_SUCCESS;
}

bool kills_context(CUresult error)
{
    switch (error) {
    case CUDA_ERROR_ECC_UNCORRECTABLE:
    case CUDA_ERROR_ILLEGAL_ADDRESS:
    case CUDA_ERROR_LAUNCH_TIMEOUT:
    case CUDA_ERROR_ASSERT:
    case CUDA_ERROR_HARDWARE_STACK_ERROR:
    case CUDA_ERROR_ILLEGAL_INSTRUCTION:
    case CUDA_ERROR_MISALIGNED_ADDRESS:
    case CUDA_ERROR_INVALID_ADDRESS_SPACE:
    case CUDA_ERROR_INVALID_PC:
    case CUDA_ERROR_LAUNCH_FAILED: return true;
    default: return false;
    }
}

CUresult not_supported(const char *what)
{
    fprintf(stderr, "fake libcuda: %s is not supported\n", what);
    return CUDA_ERROR_NOT_SUPPORTED;
}

Entry::Entry(const char *function, Needs needs)
{
    if (is_in_host_function) {
        error = CUDA_ERROR_NOT_PERMITTED;
        return;
    }
    lock();
    is_locked = true;
    const std::string name = without_version(function);
    if (name == "cuInit" && state.last_id == 0) {  // the first time
        state.last_id = 1;
        const char *planned = getenv("FAKE_CUDA_FAIL"), *version = getenv("FAKE_CUDA_DRIVER_VERSION");
        const char *eager = getenv("FAKE_CUDA_EAGER");
        if (planned)
            plan(planned);
        if (version && *version)
            state.driver_version = atoi(version);
        state.is_eager = eager && *eager && strcmp(eager, "0") != 0;
    }
    if (name == "cuInit" && !state.python.launch)
        attach();
    const CUcontext context = state.is_initialized ? current_context() : nullptr;
    if ((error = injected(name)) != CUDA_SUCCESS) {
        if (context && kills_context(error))
            context->error = error;
    } else if (needs != Needs::NOTHING && !state.is_initialized) {
        error = CUDA_ERROR_NOT_INITIALIZED;
    } else if (needs == Needs::CONTEXT) {
        error = context ? context->error : CUDA_ERROR_INVALID_CONTEXT;
    }
}

Entry::~Entry()
{
    if (is_locked)
        mutex.unlock();
}

API cuGetErrorString(CUresult error, const char **text)
{
    for (const ErrorText &known : error_texts)
        if (known.number == error) {
            *text = known.text;
            return CUDA_SUCCESS;
        }
    *text = nullptr;
    return CUDA_ERROR_INVALID_VALUE;
}

API cuGetErrorName(CUresult error, const char **name)
{
    for (const ErrorText &known : error_texts)
        if (known.number == error) {
            *name = known.name;
            return CUDA_SUCCESS;
        }
    *name = nullptr;
    return CUDA_ERROR_INVALID_VALUE;
}

// ---- for driver.py, and the sign by which others know that this is no GPU ----

extern "C" const char bnncc_fake_driver[] = "emulated GPU";

extern "C" void fake_install(const Python *python) { state.python = *python; }

extern "C" void fake_plan(const char *text)
{
    lock();
    plan(text);
    mutex.unlock();
}

extern "C" void fake_set_eager(int is_eager) { state.is_eager = is_eager != 0; }

extern "C" int fake_alive(const char *kind)
{
    lock();
    const std::map<std::string, int> counts = alive();
    const auto found = counts.find(kind);
    mutex.unlock();
    return found == counts.end() ? -1 : found->second;
}

extern "C" int fake_calls(const char *function)
{
    lock();
    const auto found = state.calls.find(function);
    const int count = found == state.calls.end() ? 0 : found->second;
    mutex.unlock();
    return count;
}
