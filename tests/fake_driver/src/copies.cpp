// Copies and fills. What the host may rely on is what "API synchronization behavior" of the driver's
// documentation promises, and no more than that.
#include "state.h"
#include <cstring>

namespace {

struct Copy {
    CUdeviceptr target, source;  // host pointers, too: one address space
    size_t bytes;
    bool is_to_device, is_from_device;
};

CUresult described(CUdeviceptr target, CUdeviceptr source, size_t bytes, Copy *copy)
{
    const auto *to = allocation_of(target, 0), *from = allocation_of(source, 0);
    if ((to && !allocation_of(target, bytes)) || (from && !allocation_of(source, bytes)))
        return CUDA_ERROR_INVALID_VALUE;
    *copy = {target, source, bytes, to != nullptr, from != nullptr};
    return CUDA_SUCCESS;
}

// Memory may have been freed since it was enqueued.
CUresult perform(const Copy &copy)
{
    if ((copy.is_to_device && !allocation_of(copy.target, copy.bytes)) ||
        (copy.is_from_device && !allocation_of(copy.source, copy.bytes)))
        return CUDA_ERROR_ILLEGAL_ADDRESS;
    if (copy.is_to_device && copy.is_from_device)
        return (CUresult)state.python.between(copy.target, copy.source, copy.bytes);
    if (copy.is_to_device)
        return (CUresult)state.python.to_device(copy.target, (const void *)copy.source, copy.bytes);
    if (copy.is_from_device)
        return (CUresult)state.python.to_host((void *)copy.target, copy.source, copy.bytes);
    memcpy((void *)copy.target, (const void *)copy.source, copy.bytes);
    return CUDA_SUCCESS;
}

bool reads_pageable(const Copy &copy) { return !copy.is_from_device && !is_pinned((void *)copy.source); }
bool writes_pageable(const Copy &copy) { return !copy.is_to_device && !is_pinned((void *)copy.target); }

// The bytes are taken now, and land later.
Run staged(const Copy &copy)
{
    const char *first = (const char *)copy.source;
    const auto bytes = std::make_shared<std::vector<char>>(first, first + copy.bytes);
    return [=] {
        Copy from_stage = copy;
        from_stage.source = (CUdeviceptr)bytes->data();
        return perform(from_stage);
    };
}

// From pageable memory: the host may change its bytes at once. To pageable memory: returns when they are there.
CUresult copy_async(const Copy &copy, CUstream stream)
{
    if (copy.bytes == 0)
        return CUDA_SUCCESS;
    const bool is_staged = reads_pageable(copy) && !stream->capture;
    const Run run = is_staged ? staged(copy) : Run([=] { return perform(copy); });
    TRY(enqueue(stream, CU_GRAPH_NODE_TYPE_MEMCPY, run));
    if (writes_pageable(copy) && !stream->capture)
        complete_stream(stream);
    return stream->context->error;
}

// On the default stream. From pageable memory it returns before the bytes have reached the device, and
// between device memories nobody waits; otherwise it is done when it returns.
CUresult copy_now(const Copy &copy)
{
    CUstream stream = nullptr;
    TRY(forbid_while_capturing());
    TRY(find_stream(nullptr, &stream));
    TRY(check_legacy(stream));
    if (reads_pageable(copy))
        complete_stream(stream);
    TRY(copy_async(copy, stream));
    const bool is_on_device = copy.is_to_device && copy.is_from_device;
    if (!is_on_device && !(copy.is_to_device && reads_pageable(copy)))
        complete_stream(stream);
    return stream->context->error;
}

CUresult copy_to_device(CUdeviceptr target, const void *source, size_t bytes, Copy *copy)
{
    TRY(described(target, (CUdeviceptr)source, bytes, copy));
    return copy->is_to_device || bytes == 0 ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

CUresult copy_to_host(void *target, CUdeviceptr source, size_t bytes, Copy *copy)
{
    TRY(described((CUdeviceptr)target, source, bytes, copy));
    return copy->is_from_device || bytes == 0 ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

CUresult copy_on_device(CUdeviceptr target, CUdeviceptr source, size_t bytes, Copy *copy)
{
    TRY(described(target, source, bytes, copy));
    const bool is_right = copy->is_to_device && copy->is_from_device;
    return is_right || bytes == 0 ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

// A null stream pointer: the synchronous form, which need not wait for device memory, either.
CUresult fill(CUdeviceptr target, unsigned value, size_t width, size_t count, const CUstream *handle)
{
    CUstream stream = nullptr;
    if (!handle)
        TRY(forbid_while_capturing());
    TRY(find_stream(handle ? *handle : nullptr, &stream));
    if (count == 0)
        return CUDA_SUCCESS;
    if (target % width || !allocation_of(target, width * count))
        return CUDA_ERROR_INVALID_VALUE;
    return enqueue(stream, CU_GRAPH_NODE_TYPE_MEMSET, [=] {
        if (!allocation_of(target, width * count))
            return CUDA_ERROR_ILLEGAL_ADDRESS;
        return (CUresult)state.python.fill(target, value, width, count);
    });
}

}  // namespace

API cuMemcpy(CUdeviceptr target, CUdeviceptr source, size_t bytes)
{
    ENTER(CONTEXT);
    Copy copy;
    TRY(described(target, source, bytes, &copy));
    return copy_now(copy);
}

API cuMemcpyHtoD_v2(CUdeviceptr target, const void *source, size_t bytes)
{
    ENTER(CONTEXT);
    Copy copy;
    TRY(copy_to_device(target, source, bytes, &copy));
    return copy_now(copy);
}

API cuMemcpyDtoH_v2(void *target, CUdeviceptr source, size_t bytes)
{
    ENTER(CONTEXT);
    Copy copy;
    TRY(copy_to_host(target, source, bytes, &copy));
    return copy_now(copy);
}

API cuMemcpyDtoD_v2(CUdeviceptr target, CUdeviceptr source, size_t bytes)
{
    ENTER(CONTEXT);
    Copy copy;
    TRY(copy_on_device(target, source, bytes, &copy));
    return copy_now(copy);
}

// Between two devices the driver goes by way of the host where they cannot reach one another.
API cuMemcpyPeer(CUdeviceptr target, CUcontext, CUdeviceptr source, CUcontext, size_t bytes)
{
    ENTER(CONTEXT);
    Copy copy;
    TRY(copy_on_device(target, source, bytes, &copy));
    return copy_now(copy);
}

API cuMemcpyAsync(CUdeviceptr target, CUdeviceptr source, size_t bytes, CUstream stream)
{
    ENTER(CONTEXT);
    Copy copy;
    TRY(find_stream(stream, &stream));
    TRY(described(target, source, bytes, &copy));
    return copy_async(copy, stream);
}

API cuMemcpyHtoDAsync_v2(CUdeviceptr target, const void *source, size_t bytes, CUstream stream)
{
    ENTER(CONTEXT);
    Copy copy;
    TRY(find_stream(stream, &stream));
    TRY(copy_to_device(target, source, bytes, &copy));
    return copy_async(copy, stream);
}

API cuMemcpyDtoHAsync_v2(void *target, CUdeviceptr source, size_t bytes, CUstream stream)
{
    ENTER(CONTEXT);
    Copy copy;
    TRY(find_stream(stream, &stream));
    TRY(copy_to_host(target, source, bytes, &copy));
    return copy_async(copy, stream);
}

API cuMemcpyDtoDAsync_v2(CUdeviceptr target, CUdeviceptr source, size_t bytes, CUstream stream)
{
    ENTER(CONTEXT);
    Copy copy;
    TRY(find_stream(stream, &stream));
    TRY(copy_on_device(target, source, bytes, &copy));
    return copy_async(copy, stream);
}

API cuMemcpyPeerAsync(CUdeviceptr target, CUcontext, CUdeviceptr source, CUcontext, size_t bytes, CUstream stream)
{
    ENTER(CONTEXT);
    Copy copy;
    TRY(find_stream(stream, &stream));
    TRY(copy_on_device(target, source, bytes, &copy));
    return copy_async(copy, stream);
}

API cuMemsetD8_v2(CUdeviceptr target, unsigned char value, size_t count)
{
    ENTER(CONTEXT);
    return fill(target, value, 1, count, nullptr);
}

API cuMemsetD16_v2(CUdeviceptr target, unsigned short value, size_t count)
{
    ENTER(CONTEXT);
    return fill(target, value, 2, count, nullptr);
}

API cuMemsetD32_v2(CUdeviceptr target, unsigned value, size_t count)
{
    ENTER(CONTEXT);
    return fill(target, value, 4, count, nullptr);
}

API cuMemsetD8Async(CUdeviceptr target, unsigned char value, size_t count, CUstream stream)
{
    ENTER(CONTEXT);
    return fill(target, value, 1, count, &stream);
}

API cuMemsetD16Async(CUdeviceptr target, unsigned short value, size_t count, CUstream stream)
{
    ENTER(CONTEXT);
    return fill(target, value, 2, count, &stream);
}

API cuMemsetD32Async(CUdeviceptr target, unsigned value, size_t count, CUstream stream)
{
    ENTER(CONTEXT);
    return fill(target, value, 4, count, &stream);
}
