// A libcuda.so.1 for tests, so that real PyCUDA runs where there is no GPU.
// Devices, contexts, streams and events are bookkeeping here; memory, modules and launches are calls back into
// Python, which has the emulator (see driver.py). What nothing needs answers CUDA_ERROR_NOT_SUPPORTED.
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <vector>

typedef int Result;
typedef uint64_t Address;
enum { SUCCESS = 0, INVALID_VALUE = 1, NOT_INITIALIZED = 3, NO_DEVICE = 100, INVALID_DEVICE = 101,
       INVALID_CONTEXT = 201, NOT_FOUND = 500, NOT_SUPPORTED = 801 };

struct Callbacks {
    Result (*allocate)(Address *address, size_t bytes);
    Result (*release)(Address address);
    Result (*to_device)(Address address, const void *source, size_t bytes);
    Result (*to_host)(void *target, Address address, size_t bytes);
    Result (*fill)(Address address, unsigned value, size_t width, size_t count);
    Result (*load)(const void *image, uint64_t *module);
    Result (*unload)(uint64_t module);
    Result (*find)(uint64_t module, const char *name, uint64_t *function);
    Result (*launch)(uint64_t function, const unsigned *grid, const unsigned *block, unsigned shared,
                     const void *parameters, size_t bytes);
};

extern "C" {
int fake_device_count = 1;
int fake_capability = 80;
int fake_contexts = 0;  // retained and not released
uint64_t fake_memory_bytes = 8ull << 30;
static Callbacks call;
void fake_install(const Callbacks *callbacks) { call = *callbacks; }
}

struct Context { int device; };
struct Event { double milliseconds; };
static bool is_initialized = false;
static Context primary = {0};
static thread_local std::vector<Context *> stack;

static bool has_context() { return is_initialized && !stack.empty(); }

#define API extern "C" Result
#define NEEDS_CONTEXT                      \
    if (!is_initialized)                   \
        return NOT_INITIALIZED;            \
    if (!has_context())                    \
        return INVALID_CONTEXT

API cuInit(unsigned)
{
    if (fake_device_count == 0)
        return NO_DEVICE;
    is_initialized = true;
    return SUCCESS;
}
API cuDriverGetVersion(int *version) { *version = 13000; return SUCCESS; }
API cuGetErrorString(Result error, const char **text)
{
    switch (error) {
    case SUCCESS: *text = "no error"; break;
    case INVALID_VALUE: *text = "invalid argument"; break;
    case 2: *text = "out of memory"; break;
    case NO_DEVICE: *text = "no CUDA-capable device is detected"; break;
    case 200: *text = "device kernel image is invalid"; break;
    case 209: *text = "no kernel image is available for execution on the device"; break;
    case NOT_FOUND: *text = "named symbol not found"; break;
    case 700: *text = "an illegal memory access was encountered"; break;
    case NOT_SUPPORTED: *text = "operation not supported"; break;
    default: *text = "some other error"; break;
    }
    return SUCCESS;
}

API cuDeviceGetCount(int *count) { *count = fake_device_count; return is_initialized ? SUCCESS : NOT_INITIALIZED; }
API cuDeviceGet(int *device, int index)
{
    *device = index;
    return index >= 0 && index < fake_device_count ? SUCCESS : INVALID_DEVICE;
}
API cuDeviceGetName(char *name, int length, int) { snprintf(name, length, "fake device"); return SUCCESS; }
API cuDeviceTotalMem_v2(size_t *bytes, int) { *bytes = fake_memory_bytes; return SUCCESS; }
API cuDeviceComputeCapability(int *major, int *minor, int)
{
    *major = fake_capability / 10;
    *minor = fake_capability % 10;
    return SUCCESS;
}
API cuDeviceGetAttribute(int *value, int attribute, int)
{
    switch (attribute) {
    case 16: *value = 132; break;  // multiprocessors
    case 1: *value = 1024; break;  // threads of a block
    case 75: *value = fake_capability / 10; break;
    case 76: *value = fake_capability % 10; break;
    default: *value = 0; break;
    }
    return SUCCESS;
}

API cuDevicePrimaryCtxRetain(Context **context, int device)
{
    primary.device = device;
    ++fake_contexts;
    *context = &primary;
    return SUCCESS;
}
API cuDevicePrimaryCtxRelease_v2(int) { --fake_contexts; return SUCCESS; }
API cuCtxPushCurrent_v2(Context *context) { stack.push_back(context); return SUCCESS; }
API cuCtxPopCurrent_v2(Context **context)
{
    NEEDS_CONTEXT;
    if (context)
        *context = stack.back();
    stack.pop_back();
    return SUCCESS;
}
API cuCtxGetDevice(int *device) { NEEDS_CONTEXT; *device = stack.back()->device; return SUCCESS; }
API cuCtxGetApiVersion(Context *, unsigned *version) { *version = 13000; return SUCCESS; }
API cuCtxSynchronize() { NEEDS_CONTEXT; return SUCCESS; }

API cuMemAlloc_v2(Address *address, size_t bytes) { NEEDS_CONTEXT; return call.allocate(address, bytes); }
API cuMemFree_v2(Address address) { NEEDS_CONTEXT; return call.release(address); }
API cuMemcpyHtoD_v2(Address address, const void *source, size_t bytes)
{
    NEEDS_CONTEXT;
    return call.to_device(address, source, bytes);
}
API cuMemcpyDtoH_v2(void *target, Address address, size_t bytes)
{
    NEEDS_CONTEXT;
    return call.to_host(target, address, bytes);
}
API cuMemcpyHtoDAsync_v2(Address a, const void *s, size_t n, void *) { return cuMemcpyHtoD_v2(a, s, n); }
API cuMemcpyDtoHAsync_v2(void *t, Address a, size_t n, void *) { return cuMemcpyDtoH_v2(t, a, n); }
API cuMemsetD8_v2(Address address, unsigned char value, size_t count)
{
    NEEDS_CONTEXT;
    return call.fill(address, value, 1, count);
}
API cuMemsetD32_v2(Address address, unsigned value, size_t count)
{
    NEEDS_CONTEXT;
    return call.fill(address, value, 4, count);
}
API cuMemsetD8Async(Address a, unsigned char v, size_t n, void *) { return cuMemsetD8_v2(a, v, n); }
API cuMemsetD32Async(Address a, unsigned v, size_t n, void *) { return cuMemsetD32_v2(a, v, n); }
API cuMemGetInfo_v2(size_t *free, size_t *total)
{
    *free = *total = fake_memory_bytes;
    return SUCCESS;
}

API cuModuleLoadData(uint64_t *module, const void *image) { NEEDS_CONTEXT; return call.load(image, module); }
API cuModuleLoadDataEx(uint64_t *module, const void *image, unsigned, void *, void *)
{
    return cuModuleLoadData(module, image);
}
API cuModuleUnload(uint64_t module) { NEEDS_CONTEXT; return call.unload(module); }
API cuModuleGetFunction(uint64_t *function, uint64_t module, const char *name)
{
    NEEDS_CONTEXT;
    return call.find(module, name, function);
}
API cuFuncGetAttribute(int *value, int attribute, uint64_t)
{
    *value = attribute == 0 ? 1024 : 0;  // threads of a block
    return SUCCESS;
}
API cuFuncSetAttribute(uint64_t, int, int) { return SUCCESS; }
API cuFuncSetBlockShape(uint64_t, int, int, int) { return SUCCESS; }
API cuFuncSetSharedSize(uint64_t, unsigned) { return SUCCESS; }
API cuLaunchKernel(uint64_t function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x,
                   unsigned block_y, unsigned block_z, unsigned shared, void *, void **parameters, void **extra)
{
    NEEDS_CONTEXT;
    if (parameters || !extra)
        return NOT_SUPPORTED;  // PyCUDA packs the arguments itself
    const void *buffer = nullptr;
    size_t bytes = 0;
    for (; *extra; extra += 2) {
        if (extra[0] == (void *)1)
            buffer = extra[1];
        else if (extra[0] == (void *)2)
            bytes = *(size_t *)extra[1];
    }
    const unsigned grid[3] = {grid_x, grid_y, grid_z}, block[3] = {block_x, block_y, block_z};
    return call.launch(function, grid, block, shared, buffer, bytes);
}

API cuEventCreate(Event **event, unsigned) { NEEDS_CONTEXT; *event = new Event{0}; return SUCCESS; }
API cuEventDestroy_v2(Event *event) { delete event; return SUCCESS; }
API cuEventRecord(Event *event, void *)
{
    const auto now = std::chrono::steady_clock::now().time_since_epoch();
    event->milliseconds = std::chrono::duration<double, std::milli>(now).count();
    return SUCCESS;
}
API cuEventSynchronize(Event *) { return SUCCESS; }
API cuEventQuery(Event *) { return SUCCESS; }
API cuEventElapsedTime_v2(float *milliseconds, Event *before, Event *after)
{
    *milliseconds = (float)(after->milliseconds - before->milliseconds);
    return SUCCESS;
}
API cuStreamCreate(void **stream, unsigned) { *stream = new int(0); return SUCCESS; }
API cuStreamDestroy_v2(void *stream) { delete (int *)stream; return SUCCESS; }
API cuStreamSynchronize(void *) { return SUCCESS; }
API cuStreamQuery(void *) { return SUCCESS; }
API cuStreamWaitEvent(void *, Event *, unsigned) { return SUCCESS; }
// NVRTC asks for this one, and crashes where a libcuda lacks it.
API cuGetExportTable(const void **table, const void *)
{
    *table = nullptr;
    return NOT_FOUND;
}
API cuProfilerStart() { return SUCCESS; }
API cuProfilerStop() { return SUCCESS; }

// PyCUDA's extension is linked to these, too, and does not load without them.
#define UNSUPPORTED(name)                                              \
    extern "C" Result name()                                           \
    {                                                                  \
        fprintf(stderr, "fake libcuda: " #name " is not supported\n"); \
        return NOT_SUPPORTED;                                          \
    }
#include "unsupported.inc"
