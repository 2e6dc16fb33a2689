// Device memory and pinned host memory: who owns which addresses.
#include "state.h"
#include <cstdio>
#include <cstdlib>

namespace {

size_t used_bytes(int device)
{
    size_t bytes = 0;
    for (const auto &[address, allocation] : state.allocations)
        if (allocation.context->device == device)
            bytes += allocation.bytes;
    return bytes;
}

size_t total_bytes(int device) { return (size_t)state.python.device_attribute(device, -1) << 20; }

const std::pair<const uintptr_t, PinnedRange> *pinned_at(const void *host)
{
    const auto found = state.pinned.upper_bound((uintptr_t)host);
    if (found == state.pinned.begin())
        return nullptr;
    const auto before = std::prev(found);
    return (uintptr_t)host < before->first + before->second.bytes ? &*before : nullptr;
}

CUresult pin(void *host, size_t bytes, unsigned flags, bool is_registered)
{
    state.pinned[(uintptr_t)host] = {current_context(), bytes, flags, is_registered};
    return CUDA_SUCCESS;
}

}  // namespace

const std::pair<const CUdeviceptr, Allocation> *allocation_of(CUdeviceptr address, size_t bytes)
{
    const auto found = state.allocations.upper_bound(address);
    if (found == state.allocations.begin())
        return nullptr;
    const auto before = std::prev(found);
    const CUdeviceptr end = before->first + before->second.bytes;
    const bool is_inside = address < end && bytes <= end - address;
    return is_inside ? &*before : nullptr;
}

bool is_pinned(const void *host) { return pinned_at(host) != nullptr; }

CUresult allocate(CUdeviceptr *address, size_t bytes, bool is_owned_by_module)
{
    CUcontext context = current_context();
    if (bytes == 0)
        return CUDA_ERROR_INVALID_VALUE;
    if (bytes > total_bytes(context->device) - used_bytes(context->device))
        return CUDA_ERROR_OUT_OF_MEMORY;
    uint64_t found = 0;
    TRY((CUresult)state.python.allocate(context->device, bytes, &found));
    *address = found;
    state.allocations[found] = {context, bytes, is_owned_by_module};
    return CUDA_SUCCESS;
}

void release_allocation(CUdeviceptr address)
{
    state.allocations.erase(address);
    if (state.python.release)
        state.python.release(address);
}

static CUresult check_freeable(CUdeviceptr address)
{
    const auto found = state.allocations.find(address);
    const bool can_be_freed = found != state.allocations.end() && !found->second.is_owned_by_module;
    return can_be_freed ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

API cuMemAlloc_v2(CUdeviceptr *address, size_t bytes)
{
    ENTER(CONTEXT);
    TRY(forbid_while_capturing());
    return allocate(address, bytes, false);
}

API cuMemAllocPitch_v2(CUdeviceptr *address, size_t *pitch, size_t width, size_t height, unsigned)
{
    ENTER(CONTEXT);
    TRY(forbid_while_capturing());
    *pitch = (width + 511) / 512 * 512;
    return allocate(address, *pitch * height, false);
}

API cuMemFree_v2(CUdeviceptr address)
{
    ENTER(CONTEXT);
    if (address == 0)
        return CUDA_SUCCESS;
    TRY(check_freeable(address));
    TRY(forbid_while_capturing());
    complete_context(state.allocations[address].context);
    release_allocation(address);
    return current_context()->error;
}

API cuMemAllocAsync(CUdeviceptr *address, size_t bytes, CUstream stream)
{
    ENTER(CONTEXT);
    TRY(find_stream(stream, &stream));
    if (stream->capture) {
        refuse(*stream->capture, CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
        return not_supported("cuMemAllocAsync while capturing");
    }
    return allocate(address, bytes, false);
}

// Other streams may use it until then, and after that no longer.
API cuMemFreeAsync(CUdeviceptr address, CUstream stream)
{
    ENTER(CONTEXT);
    TRY(find_stream(stream, &stream));
    TRY(check_freeable(address));
    if (stream->capture) {
        refuse(*stream->capture, CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
        return not_supported("cuMemFreeAsync while capturing");
    }
    return enqueue(stream, CU_GRAPH_NODE_TYPE_EMPTY, [=] {
        if (state.allocations.count(address))
            release_allocation(address);
        return CUDA_SUCCESS;
    });
}

API cuMemGetInfo_v2(size_t *free, size_t *total)
{
    ENTER(CONTEXT);
    const int device = current_context()->device;
    *total = total_bytes(device);
    *free = *total - used_bytes(device);
    return CUDA_SUCCESS;
}

API cuMemGetAddressRange_v2(CUdeviceptr *base, size_t *bytes, CUdeviceptr address)
{
    ENTER(CONTEXT);
    const auto *found = allocation_of(address, 1);
    if (!found)
        return CUDA_ERROR_NOT_FOUND;
    if (base)
        *base = found->first;
    if (bytes)
        *bytes = found->second.bytes;
    return CUDA_SUCCESS;
}

// ---- host memory ----

API cuMemHostAlloc(void **host, size_t bytes, unsigned flags)
{
    ENTER(CONTEXT);
    TRY(forbid_while_capturing());
    if (bytes == 0)
        return CUDA_ERROR_INVALID_VALUE;
    *host = aligned_alloc(4096, (bytes + 4095) / 4096 * 4096);
    return *host ? pin(*host, bytes, flags, false) : CUDA_ERROR_OUT_OF_MEMORY;
}

API cuMemAllocHost_v2(void **host, size_t bytes) { return cuMemHostAlloc(host, bytes, 0); }

API cuMemFreeHost(void *host)
{
    ENTER(CONTEXT);
    const auto found = state.pinned.find((uintptr_t)host);
    if (found == state.pinned.end() || found->second.is_registered)
        return CUDA_ERROR_INVALID_VALUE;
    TRY(forbid_while_capturing());
    complete_context(found->second.context);
    state.pinned.erase(found);
    free(host);
    return CUDA_SUCCESS;
}

API cuMemHostRegister_v2(void *host, size_t bytes, unsigned flags)
{
    ENTER(CONTEXT);
    TRY(forbid_while_capturing());
    if (is_pinned(host))
        return CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED;
    return bytes ? pin(host, bytes, flags, true) : CUDA_ERROR_INVALID_VALUE;
}

API cuMemHostUnregister(void *host)
{
    ENTER(CONTEXT);
    const auto found = state.pinned.find((uintptr_t)host);
    if (found == state.pinned.end() || !found->second.is_registered)
        return CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED;
    TRY(forbid_while_capturing());
    complete_context(found->second.context);
    state.pinned.erase(found);
    return CUDA_SUCCESS;
}

API cuMemHostGetFlags(unsigned *flags, void *host)
{
    ENTER(CONTEXT);
    const auto *found = pinned_at(host);
    if (!found)
        return CUDA_ERROR_INVALID_VALUE;
    *flags = found->second.flags;
    return CUDA_SUCCESS;
}

API cuMemHostGetDevicePointer_v2(CUdeviceptr *, void *, unsigned)
{
    ENTER(CONTEXT);
    return not_supported("reading host memory from kernels");
}

// ---- what a pointer is ----

static CUresult pointer_attribute(void *data, CUpointer_attribute attribute, CUdeviceptr pointer)
{
    const auto *device = allocation_of(pointer, 1);
    const auto *host = pinned_at((void *)pointer);
    if (!device && !host)
        return CUDA_ERROR_INVALID_VALUE;
    CUcontext context = device ? device->second.context : host->second.context;
    switch ((int)attribute) {
    case CU_POINTER_ATTRIBUTE_CONTEXT: *(CUcontext *)data = context; break;
    case CU_POINTER_ATTRIBUTE_MEMORY_TYPE:
        *(unsigned *)data = device ? CU_MEMORYTYPE_DEVICE : CU_MEMORYTYPE_HOST;
        break;
    case CU_POINTER_ATTRIBUTE_DEVICE_POINTER:
        if (!device)
            return CUDA_ERROR_INVALID_VALUE;
        *(CUdeviceptr *)data = pointer;
        break;
    case CU_POINTER_ATTRIBUTE_HOST_POINTER:
        if (!host)
            return CUDA_ERROR_INVALID_VALUE;
        *(void **)data = (void *)pointer;
        break;
    case CU_POINTER_ATTRIBUTE_IS_MANAGED: *(char *)data = 0; break;
    case CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL: *(int *)data = context->device; break;
    case CU_POINTER_ATTRIBUTE_RANGE_START_ADDR:
        *(CUdeviceptr *)data = device ? device->first : host->first;
        break;
    case CU_POINTER_ATTRIBUTE_RANGE_SIZE:
        *(size_t *)data = device ? device->second.bytes : host->second.bytes;
        break;
    case CU_POINTER_ATTRIBUTE_MAPPED: *(char *)data = 1; break;
    default:
        fprintf(stderr, "fake libcuda: pointer attribute %d is not supported\n", (int)attribute);
        return CUDA_ERROR_NOT_SUPPORTED;
    }
    return CUDA_SUCCESS;
}

API cuPointerGetAttribute(void *data, CUpointer_attribute attribute, CUdeviceptr pointer)
{
    ENTER(INIT);
    return pointer_attribute(data, attribute, pointer);
}

// Unlike the single one it answers nothing, rather than an error, for memory that CUDA does not know.
API cuPointerGetAttributes(unsigned count, CUpointer_attribute *attributes, void **data, CUdeviceptr pointer)
{
    ENTER(INIT);
    for (unsigned i = 0; i < count; ++i) {
        const CUresult error = pointer_attribute(data[i], attributes[i], pointer);
        if (error == CUDA_ERROR_NOT_SUPPORTED)
            return error;
        if (error != CUDA_SUCCESS)
            *(char *)data[i] = 0;
        if (error != CUDA_SUCCESS && attributes[i] == CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL)
            *(int *)data[i] = -2;
    }
    return CUDA_SUCCESS;
}
