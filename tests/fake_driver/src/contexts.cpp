// Contexts: one primary for each device, others by cuCtxCreate; a stack of current ones for each thread.
#include "state.h"

namespace {

enum { PEER_ACCESS = -2 };  // of Python's device_attribute: whether devices may reach one another

thread_local std::vector<CUcontext> stack;

bool is_context(CUcontext context) { return state.contexts.count(context) != 0; }

CUcontext make_context(CUdevice device, bool is_primary)
{
    CUcontext context = new CUctx_st;
    context->device = device;
    context->id = ++state.last_id;
    context->is_primary = is_primary;
    context->legacy.context = context;
    context->legacy.is_legacy = true;
    state.contexts.insert(context);
    return context;
}

template <class T>
void abandon(std::set<T> &objects, CUcontext context, const char *kind, void (*destroy)(T))
{
    for (auto it = objects.begin(); it != objects.end();) {
        T object = *it++;
        if (object->context == context) {
            ++state.abandoned[kind];
            objects.erase(object);
            destroy(object);
        }
    }
}

// What is still there goes with it, and counts as forgotten.
void destroy(CUcontext context)
{
    complete_context(context);
    abandon<CUevent>(state.events, context, "events", [](CUevent event) { delete event; });
    abandon<CUgraphExec>(state.execs, context, "graph_execs", [](CUgraphExec exec) { delete exec; });
    abandon<CUgraph>(state.graphs, context, "graphs", [](CUgraph graph) { delete graph; });
    abandon<CUmodule>(state.modules, context, "modules", unload);
    abandon<CUstream>(state.streams, context, "streams", [](CUstream stream) { delete stream; });
    for (auto it = state.allocations.begin(); it != state.allocations.end();) {
        const auto [address, allocation] = *it++;
        if (allocation.context == context) {
            state.abandoned["allocations"] += !allocation.is_owned_by_module;
            release_allocation(address);
        }
    }
    for (CUcontext other : state.contexts)
        other->peers.erase(context);
    state.contexts.erase(context);
    delete context;
}

CUcontext primary_of(CUdevice device)
{
    const auto found = state.primary.find(device);
    return found == state.primary.end() ? nullptr : found->second;
}

}  // namespace

CUcontext current_context()
{
    return stack.empty() || !is_context(stack.back()) ? nullptr : stack.back();
}

API cuDevicePrimaryCtxRetain(CUcontext *context, CUdevice device)
{
    ENTER(INIT);
    TRY(check_device(device));
    if (!primary_of(device))
        state.primary[device] = make_context(device, true);
    ++state.primary[device]->references;
    *context = state.primary[device];
    return CUDA_SUCCESS;
}

API cuDevicePrimaryCtxRelease_v2(CUdevice device)
{
    ENTER(INIT);
    TRY(check_device(device));
    CUcontext context = primary_of(device);
    if (!context || context->references == 0)
        return CUDA_ERROR_INVALID_CONTEXT;
    if (--context->references == 0) {
        state.primary.erase(device);
        destroy(context);
    }
    return CUDA_SUCCESS;
}

API cuDevicePrimaryCtxReset_v2(CUdevice device)
{
    ENTER(INIT);
    TRY(check_device(device));
    if (CUcontext context = primary_of(device)) {
        state.primary.erase(device);
        destroy(context);
    }
    return CUDA_SUCCESS;
}

API cuDevicePrimaryCtxGetState(CUdevice device, unsigned *flags, int *is_active)
{
    ENTER(INIT);
    TRY(check_device(device));
    CUcontext context = primary_of(device);
    *flags = context ? context->flags : 0;
    *is_active = context != nullptr;
    return CUDA_SUCCESS;
}

API cuDevicePrimaryCtxSetFlags_v2(CUdevice device, unsigned flags)
{
    ENTER(INIT);
    TRY(check_device(device));
    if (CUcontext context = primary_of(device))
        context->flags = flags;
    return CUDA_SUCCESS;
}

API cuCtxCreate_v4(CUcontext *context, CUctxCreateParams *parameters, unsigned flags, CUdevice device)
{
    ENTER(INIT);
    TRY(check_device(device));
    if (parameters)
        return not_supported("cuCtxCreate with parameters");
    *context = make_context(device, false);
    (*context)->flags = flags;
    stack.push_back(*context);
    return CUDA_SUCCESS;
}

// The forms that hosts built with CUDA 12 ask for.
API cuCtxCreate_v2(CUcontext *context, unsigned flags, CUdevice device)
{
    return cuCtxCreate_v4(context, nullptr, flags, device);
}

API cuCtxCreate_v3(CUcontext *context, CUexecAffinityParam *, int count, unsigned flags, CUdevice device)
{
    return count ? not_supported("cuCtxCreate with parameters") : cuCtxCreate_v4(context, nullptr, flags, device);
}

API cuCtxDestroy_v2(CUcontext context)
{
    ENTER(INIT);
    if (!is_context(context) || context->is_primary)
        return CUDA_ERROR_INVALID_CONTEXT;
    if (!stack.empty() && stack.back() == context)
        stack.pop_back();
    destroy(context);
    return CUDA_SUCCESS;
}

API cuCtxDetach(CUcontext context) { return cuCtxDestroy_v2(context); }

API cuCtxPushCurrent_v2(CUcontext context)
{
    ENTER(INIT);
    if (!is_context(context))
        return CUDA_ERROR_INVALID_CONTEXT;
    stack.push_back(context);
    return CUDA_SUCCESS;
}

API cuCtxPopCurrent_v2(CUcontext *context)
{
    ENTER(INIT);
    if (stack.empty())
        return CUDA_ERROR_INVALID_CONTEXT;
    if (context)
        *context = stack.back();
    stack.pop_back();
    return CUDA_SUCCESS;
}

API cuCtxSetCurrent(CUcontext context)
{
    ENTER(INIT);
    if (context && !is_context(context))
        return CUDA_ERROR_INVALID_CONTEXT;
    if (!stack.empty())
        stack.pop_back();
    if (context)
        stack.push_back(context);
    return CUDA_SUCCESS;
}

API cuCtxGetCurrent(CUcontext *context)
{
    ENTER(INIT);
    *context = current_context();
    return CUDA_SUCCESS;
}

API cuCtxGetDevice(CUdevice *device)
{
    ENTER(INIT);
    CUcontext context = current_context();
    if (!context)
        return CUDA_ERROR_INVALID_CONTEXT;
    *device = context->device;
    return CUDA_SUCCESS;
}

API cuCtxGetDevice_v2(CUdevice *device, CUcontext context)
{
    ENTER(INIT);
    context = context ? context : current_context();
    if (!is_context(context))
        return CUDA_ERROR_INVALID_CONTEXT;
    *device = context->device;
    return CUDA_SUCCESS;
}

API cuCtxGetFlags(unsigned *flags)
{
    ENTER(CONTEXT);
    *flags = current_context()->flags;
    return CUDA_SUCCESS;
}

API cuCtxGetId(CUcontext context, unsigned long long *id)
{
    ENTER(INIT);
    context = context ? context : current_context();
    if (!is_context(context))
        return CUDA_ERROR_INVALID_CONTEXT;
    *id = context->id;
    return CUDA_SUCCESS;
}

API cuCtxGetApiVersion(CUcontext, unsigned *version)
{
    ENTER(INIT);
    *version = (unsigned)state.driver_version;
    return CUDA_SUCCESS;
}

API cuCtxGetStreamPriorityRange(int *least, int *greatest)
{
    ENTER(CONTEXT);
    if (least)
        *least = 0;
    if (greatest)
        *greatest = -5;
    return CUDA_SUCCESS;
}

API cuCtxSetCacheConfig(CUfunc_cache)
{
    ENTER(CONTEXT);
    return CUDA_SUCCESS;
}

API cuCtxSynchronize()
{
    ENTER(CONTEXT);
    TRY(forbid_while_capturing());
    complete_context(current_context());
    return current_context()->error;
}

API cuCtxSynchronize_v2(CUcontext context)
{
    ENTER(INIT);
    context = context ? context : current_context();
    if (!is_context(context))
        return CUDA_ERROR_INVALID_CONTEXT;
    TRY(forbid_while_capturing());
    complete_context(context);
    return context->error;
}

// ---- devices that reach one another's memory ----

API cuDeviceCanAccessPeer(int *can, CUdevice device, CUdevice peer)
{
    ENTER(INIT);
    TRY(check_device(device));
    TRY(check_device(peer));
    *can = device != peer && state.python.device_attribute(device, PEER_ACCESS);
    return CUDA_SUCCESS;
}

API cuCtxEnablePeerAccess(CUcontext peer, unsigned flags)
{
    ENTER(CONTEXT);
    CUcontext context = current_context();
    if (!is_context(peer))
        return CUDA_ERROR_INVALID_CONTEXT;
    if (flags)
        return CUDA_ERROR_INVALID_VALUE;
    if (peer == context)
        return CUDA_ERROR_INVALID_DEVICE;
    if (!state.python.device_attribute(context->device, PEER_ACCESS))
        return CUDA_ERROR_PEER_ACCESS_UNSUPPORTED;
    return context->peers.insert(peer).second ? CUDA_SUCCESS : CUDA_ERROR_PEER_ACCESS_ALREADY_ENABLED;
}

API cuCtxDisablePeerAccess(CUcontext peer)
{
    ENTER(CONTEXT);
    if (!is_context(peer))
        return CUDA_ERROR_INVALID_CONTEXT;
    return current_context()->peers.erase(peer) ? CUDA_SUCCESS : CUDA_ERROR_PEER_ACCESS_NOT_ENABLED;
}
