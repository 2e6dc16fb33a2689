// Launches: what is wrong with them is said at once, what the kernel does wrong when it has run.
#include "state.h"
#include <cstdio>
#include <cstring>

namespace {

enum {
    MAX_BLOCK_THREADS = 1,
    MAX_BLOCK_X = 2,
    MAX_GRID_X = 5,
    MULTIPROCESSORS = 16,
    MAX_SHARED_OPT_IN = 97,
    COOPERATIVE_LAUNCH = 95,
};

int device_attribute(CUfunction function, int which)
{
    return state.python.device_attribute(function->module->context->device, which);
}

int resident_blocks(CUfunction function, unsigned threads, size_t dynamic_shared_bytes)
{
    const size_t shared = (size_t)function->facts.shared_bytes + dynamic_shared_bytes;
    const int device = function->module->context->device;
    return state.python.occupancy(function->facts.id, device, (int)threads, shared);
}

CUresult check_extents(CUfunction function, const LaunchShape &shape)
{
    for (int i = 0; i < 3; ++i) {
        const unsigned most_threads = (unsigned)device_attribute(function, MAX_BLOCK_X + i);
        const unsigned most_blocks = (unsigned)device_attribute(function, MAX_GRID_X + i);
        if (shape.grid[i] < 1 || shape.grid[i] > most_blocks || shape.block[i] < 1 ||
            shape.block[i] > most_threads)
            return CUDA_ERROR_INVALID_VALUE;
    }
    const uint64_t threads = (uint64_t)shape.block[0] * shape.block[1] * shape.block[2];
    const bool fits = threads <= (uint64_t)device_attribute(function, MAX_BLOCK_THREADS) &&
                      threads <= (uint64_t)function->facts.max_threads;
    return fits ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

CUresult check_resources(CUfunction function, const LaunchShape &shape)
{
    if (shape.shared_bytes > (unsigned)function->max_dynamic_shared_bytes)
        return CUDA_ERROR_INVALID_VALUE;  // more than 48 KiB need cuFuncSetAttribute
    const unsigned threads = shape.block[0] * shape.block[1] * shape.block[2];
    const int blocks = resident_blocks(function, threads, shape.shared_bytes);
    if (blocks < 1)
        return CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES;
    if (!shape.is_cooperative)
        return CUDA_SUCCESS;
    if (!device_attribute(function, COOPERATIVE_LAUNCH))
        return CUDA_ERROR_NOT_SUPPORTED;
    const uint64_t most = (uint64_t)blocks * (unsigned)device_attribute(function, MULTIPROCESSORS);
    const uint64_t wanted = (uint64_t)shape.grid[0] * shape.grid[1] * shape.grid[2];
    return wanted <= most ? CUDA_SUCCESS : CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE;
}

// The arguments as one buffer, from an array of pointers or a buffer of the caller's.
CUresult pack(CUfunction function, void **parameters, void **extra, std::string *packed)
{
    packed->assign((size_t)function->facts.parameter_bytes, '\0');
    if (parameters && extra)
        return CUDA_ERROR_INVALID_VALUE;
    for (int i = 0; parameters && i < function->facts.parameter_count; ++i) {
        size_t offset = 0, bytes = 0;
        TRY((CUresult)state.python.parameter(function->facts.id, (size_t)i, &offset, &bytes));
        memcpy(&(*packed)[offset], parameters[i], bytes);
    }
    if (parameters || function->facts.parameter_count == 0)
        return CUDA_SUCCESS;
    const void *buffer = nullptr;
    size_t bytes = 0;
    for (; extra && *extra != CU_LAUNCH_PARAM_END; extra += 2) {
        if (extra[0] == CU_LAUNCH_PARAM_BUFFER_POINTER)
            buffer = extra[1];
        else if (extra[0] == CU_LAUNCH_PARAM_BUFFER_SIZE)
            bytes = *(size_t *)extra[1];
    }
    if (!buffer || bytes < packed->size())
        return CUDA_ERROR_INVALID_VALUE;
    packed->assign((const char *)buffer, packed->size());
    return CUDA_SUCCESS;
}

uint64_t reachable_devices(CUcontext context)
{
    uint64_t devices = 1ull << context->device;
    for (CUcontext peer : context->peers)
        devices |= 1ull << peer->device;
    return devices;
}

CUresult perform(CUfunction function, CUcontext context, const LaunchShape &shape, const std::string &packed)
{
    TRY(injected("kernel"));
    if (!function_of(function))
        return CUDA_ERROR_INVALID_HANDLE;
    LaunchRequest request = {};
    request.function = function->facts.id;
    memcpy(request.grid, shape.grid, sizeof request.grid);
    memcpy(request.block, shape.block, sizeof request.block);
    request.shared_bytes = shape.shared_bytes;
    request.is_cooperative = shape.is_cooperative;
    request.is_opted_in = function->facts.shared_bytes + function->max_dynamic_shared_bytes > 48 << 10;
    request.device = context->device;
    request.reachable_devices = reachable_devices(context);
    request.parameters = packed.data();
    request.parameter_bytes = packed.size();
    return (CUresult)state.python.launch(&request);
}

CUresult launch(CUfunction function, const LaunchShape &shape, CUstream handle, void **parameters, void **extra)
{
    CUstream stream = nullptr;
    Run run;
    TRY(find_stream(handle, &stream));
    TRY(prepare_launch(function, shape, parameters, extra, &run));
    return enqueue(stream, CU_GRAPH_NODE_TYPE_KERNEL, run);
}

// What an attribute asks of the emulator: nothing, a cooperative launch, or what it cannot do.
CUresult apply(const CUlaunchAttribute &attribute, LaunchShape *shape)
{
    const auto &cluster = attribute.value.clusterDim;
    switch (attribute.id) {
    case CU_LAUNCH_ATTRIBUTE_COOPERATIVE: shape->is_cooperative = attribute.value.cooperative != 0; break;
    case CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION:
        if (cluster.x * cluster.y * cluster.z != 1)
            return not_supported("a launch with clusters of more than one block");
        break;
    case CU_LAUNCH_ATTRIBUTE_IGNORE:
    case CU_LAUNCH_ATTRIBUTE_ACCESS_POLICY_WINDOW:
    case CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION:  // one after the other is permitted, too
    case CU_LAUNCH_ATTRIBUTE_PRIORITY:
    case CU_LAUNCH_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT: break;
    default: {
        char text[64];
        snprintf(text, sizeof text, "launch attribute %d", (int)attribute.id);
        return not_supported(text);
    }
    }
    return CUDA_SUCCESS;
}

}  // namespace

CUresult prepare_launch(CUfunction function, const LaunchShape &shape, void **parameters, void **extra, Run *run)
{
    CUcontext context = current_context();
    if (!function_of(function) || function->module->context != context)
        return CUDA_ERROR_INVALID_HANDLE;
    TRY(check_extents(function, shape));
    TRY(check_resources(function, shape));
    const auto packed = std::make_shared<std::string>();
    TRY(pack(function, parameters, extra, packed.get()));
    *run = [=] { return perform(function, context, shape, *packed); };
    return CUDA_SUCCESS;
}

API cuLaunchKernel(CUfunction function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x,
                   unsigned block_y, unsigned block_z, unsigned shared_bytes, CUstream stream, void **parameters,
                   void **extra)
{
    ENTER(CONTEXT);
    const LaunchShape shape = {{grid_x, grid_y, grid_z}, {block_x, block_y, block_z}, shared_bytes, false};
    return launch(function, shape, stream, parameters, extra);
}

API cuLaunchCooperativeKernel(CUfunction function, unsigned grid_x, unsigned grid_y, unsigned grid_z,
                              unsigned block_x, unsigned block_y, unsigned block_z, unsigned shared_bytes,
                              CUstream stream, void **parameters)
{
    ENTER(CONTEXT);
    const LaunchShape shape = {{grid_x, grid_y, grid_z}, {block_x, block_y, block_z}, shared_bytes, true};
    return launch(function, shape, stream, parameters, nullptr);
}

API cuLaunchKernelEx(const CUlaunchConfig *config, CUfunction function, void **parameters, void **extra)
{
    ENTER(CONTEXT);
    LaunchShape shape = {{config->gridDimX, config->gridDimY, config->gridDimZ},
                         {config->blockDimX, config->blockDimY, config->blockDimZ},
                         config->sharedMemBytes,
                         false};
    for (unsigned i = 0; i < config->numAttrs; ++i)
        TRY(apply(config->attrs[i], &shape));
    return launch(function, shape, config->hStream, parameters, extra);
}

// ---- occupancy ----

API cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int *blocks, CUfunction function, int threads,
                                                         size_t shared_bytes, unsigned)
{
    ENTER(CONTEXT);
    if (!function_of(function))
        return CUDA_ERROR_INVALID_HANDLE;
    if (threads < 1)
        return CUDA_ERROR_INVALID_VALUE;
    *blocks = threads > function->facts.max_threads ? 0 : resident_blocks(function, (unsigned)threads, shared_bytes);
    return CUDA_SUCCESS;
}

API cuOccupancyMaxActiveBlocksPerMultiprocessor(int *blocks, CUfunction function, int threads, size_t shared_bytes)
{
    return cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(blocks, function, threads, shared_bytes, 0);
}

API cuOccupancyMaxPotentialBlockSizeWithFlags(int *grid, int *block, CUfunction function, CUoccupancyB2DSize bytes,
                                              size_t shared_bytes, int most_threads, unsigned)
{
    ENTER(CONTEXT);
    if (!function_of(function))
        return CUDA_ERROR_INVALID_HANDLE;
    const int limit = function->facts.max_threads;
    const int most = most_threads > 0 && most_threads < limit ? most_threads : limit;
    int best_threads = 0;
    *grid = *block = 0;
    for (int threads = most; threads > 0; threads = (threads - 1) / 32 * 32) {
        const size_t shared = bytes ? bytes(threads) : shared_bytes;
        const int blocks = resident_blocks(function, (unsigned)threads, shared);
        if (blocks * threads > best_threads) {
            best_threads = blocks * threads;
            *block = threads;
            *grid = blocks * device_attribute(function, MULTIPROCESSORS);
        }
    }
    return CUDA_SUCCESS;
}

API cuOccupancyMaxPotentialBlockSize(int *grid, int *block, CUfunction function, CUoccupancyB2DSize bytes,
                                     size_t shared_bytes, int most_threads)
{
    return cuOccupancyMaxPotentialBlockSizeWithFlags(grid, block, function, bytes, shared_bytes, most_threads, 0);
}

API cuOccupancyAvailableDynamicSMemPerBlock(size_t *bytes, CUfunction function, int blocks, int threads)
{
    ENTER(CONTEXT);
    if (!function_of(function))
        return CUDA_ERROR_INVALID_HANDLE;
    if (threads < 1 || blocks < 1 || resident_blocks(function, (unsigned)threads, 0) < blocks)
        return CUDA_ERROR_INVALID_VALUE;
    size_t fits = 0, too_many = (size_t)device_attribute(function, MAX_SHARED_OPT_IN) + 1;
    while (too_many - fits > 1) {
        const size_t middle = (fits + too_many) / 2;
        (resident_blocks(function, (unsigned)threads, middle) >= blocks ? fits : too_many) = middle;
    }
    *bytes = fits;
    return CUDA_SUCCESS;
}
