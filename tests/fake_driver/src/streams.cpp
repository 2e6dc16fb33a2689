// Streams and events. Nothing runs when it is enqueued: it waits until something synchronises with it, which
// is as late as the order that the host asked for permits, so an order that was forgotten shows as old data.
#include "state.h"
#include <chrono>

namespace {

void perform(Work &work)
{
    if (work.context->error == CUDA_SUCCESS && work.run) {
        work.state = Work::RUNNING;
        const CUresult error = work.run();
        if (error != CUDA_SUCCESS)
            work.context->error = error;
    }
    work.state = Work::DONE;
    work.run = nullptr;
}

// One step towards the end of `work`, for hosts that ask again and again.
void advance(const WorkRef &work)
{
    WorkRef next = work;
    for (bool is_found = false; !is_found;) {
        is_found = true;
        for (const WorkRef &before : next->after)
            if (before->state == Work::WAITING) {
                next = before;
                is_found = false;
                break;
            }
    }
    complete(next);
}

template <class Visit>
void for_streams_of(CUcontext context, Visit visit)
{
    visit(&context->legacy);
    for (auto &[thread, stream] : context->per_thread)
        visit(stream.get());
    for (CUstream stream : state.streams)
        if (stream->context == context)
            visit(stream);
}

double now_ms()
{
    const auto now = std::chrono::steady_clock::now().time_since_epoch();
    return std::chrono::duration<double, std::milli>(now).count();
}

CUresult find_event(CUevent event)
{
    return state.events.count(event) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
}

bool is_captured(CUevent event) { return event->capture && !event->capture->is_over; }

}  // namespace

bool is_done(const WorkRef &work) { return !work || work->state != Work::WAITING; }

void complete(const WorkRef &work)
{
    std::vector<WorkRef> path = {work};
    while (!path.empty()) {
        const WorkRef top = path.back();
        if (!top || top->state != Work::WAITING) {
            path.pop_back();
        } else if (!top->after.empty()) {
            path.push_back(top->after.back());
            top->after.pop_back();
        } else {
            perform(*top);
            path.pop_back();
        }
    }
}

void complete_stream(CUstream stream)
{
    Work all;
    order_after(all, stream);
    for (const WorkRef &work : all.after)
        complete(work);
}

void complete_context(CUcontext context)
{
    for_streams_of(context, [](CUstream stream) { complete(stream->last); });
}

// The legacy default stream waits for all blocking streams of its context, and they wait for it.
void order_after(Work &work, CUstream stream)
{
    work.context = stream->context;
    const auto add = [&](const WorkRef &before) {
        if (!is_done(before))
            work.after.push_back(before);
    };
    add(stream->last);
    if (stream->is_legacy)
        for_streams_of(stream->context, [&](CUstream other) {
            if (other->is_blocking)
                add(other->last);
        });
    else if (stream->is_blocking)
        add(stream->context->legacy.last);
}

// Using the legacy stream would make it wait for a blocking stream that is being captured.
CUresult check_legacy(CUstream stream)
{
    if (!stream->is_legacy)
        return CUDA_SUCCESS;
    for (const auto &capture : state.captures)
        for (CUstream other : capture->streams)
            if (other->is_blocking && other->context == stream->context)
                return refuse(*capture, CUDA_ERROR_STREAM_CAPTURE_IMPLICIT);
    return CUDA_SUCCESS;
}

CUresult enqueue(CUstream stream, CUgraphNodeType type, Run run)
{
    TRY(check_legacy(stream));
    if (stream->capture)
        return capture_node(stream, type, std::move(run));
    const WorkRef work = std::make_shared<Work>();
    order_after(*work, stream);
    work->run = std::move(run);
    stream->last = work;
    if (state.is_eager)
        complete(work);
    return stream->context->error;
}

CUresult find_stream(CUstream handle, CUstream *found)
{
    CUcontext context = current_context();
    if (!handle)
        handle = is_default_per_thread ? CU_STREAM_PER_THREAD : CU_STREAM_LEGACY;
    if (handle == CU_STREAM_LEGACY) {
        *found = &context->legacy;
    } else if (handle == CU_STREAM_PER_THREAD) {
        auto &own = context->per_thread[std::this_thread::get_id()];
        if (!own) {
            own = std::make_unique<CUstream_st>();
            own->context = context;
        }
        *found = own.get();
    } else if (state.streams.count(handle) && handle->context == context) {
        *found = handle;
    } else {
        return CUDA_ERROR_INVALID_HANDLE;
    }
    return CUDA_SUCCESS;
}

// ---- streams ----

API cuStreamCreateWithPriority(CUstream *stream, unsigned flags, int priority)
{
    ENTER(CONTEXT);
    if (flags & ~(unsigned)CU_STREAM_NON_BLOCKING)
        return CUDA_ERROR_INVALID_VALUE;
    *stream = new CUstream_st;
    (*stream)->context = current_context();
    (*stream)->is_blocking = !(flags & CU_STREAM_NON_BLOCKING);
    (*stream)->flags = flags;
    (*stream)->priority = priority;
    state.streams.insert(*stream);
    return CUDA_SUCCESS;
}

API cuStreamCreate(CUstream *stream, unsigned flags) { return cuStreamCreateWithPriority(stream, flags, 0); }

API cuStreamDestroy_v2(CUstream stream)
{
    ENTER(INIT);
    if (!state.streams.count(stream))
        return CUDA_ERROR_INVALID_HANDLE;
    if (stream->capture)
        refuse(*stream->capture, CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
    for (const auto &capture : state.captures)
        capture->streams.erase(stream);
    complete_stream(stream);
    state.streams.erase(stream);
    delete stream;
    return CUDA_SUCCESS;
}

API cuStreamSynchronize(CUstream stream)
{
    ENTER(CONTEXT);
    TRY(find_stream(stream, &stream));
    TRY(check_legacy(stream));
    if (stream->capture)
        return refuse(*stream->capture, CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
    complete_stream(stream);
    return stream->context->error;
}

API cuStreamQuery(CUstream stream)
{
    ENTER(CONTEXT);
    TRY(find_stream(stream, &stream));
    TRY(check_legacy(stream));
    if (stream->capture)
        return refuse(*stream->capture, CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
    Work all;
    order_after(all, stream);
    if (all.after.empty())
        return CUDA_SUCCESS;
    advance(all.after.back());
    return stream->context->error ? stream->context->error : CUDA_ERROR_NOT_READY;
}

API cuStreamGetFlags(CUstream stream, unsigned *flags)
{
    ENTER(CONTEXT);
    TRY(find_stream(stream, &stream));
    *flags = stream->flags;
    return CUDA_SUCCESS;
}

API cuStreamGetPriority(CUstream stream, int *priority)
{
    ENTER(CONTEXT);
    TRY(find_stream(stream, &stream));
    *priority = stream->priority;
    return CUDA_SUCCESS;
}

API cuStreamGetCtx(CUstream stream, CUcontext *context)
{
    ENTER(CONTEXT);
    TRY(find_stream(stream, &stream));
    *context = stream->context;
    return CUDA_SUCCESS;
}

API cuStreamGetDevice(CUstream stream, CUdevice *device)
{
    ENTER(CONTEXT);
    TRY(find_stream(stream, &stream));
    *device = stream->context->device;
    return CUDA_SUCCESS;
}

API cuStreamWaitEvent(CUstream stream, CUevent event, unsigned)
{
    ENTER(CONTEXT);
    TRY(find_stream(stream, &stream));
    TRY(find_event(event));
    TRY(check_legacy(stream));
    if (is_captured(event)) {
        if (stream->capture && stream->capture != event->capture) {
            refuse(*event->capture, CUDA_ERROR_STREAM_CAPTURE_MERGE);
            return refuse(*stream->capture, CUDA_ERROR_STREAM_CAPTURE_MERGE);
        }
        if (stream->is_legacy)
            return refuse(*event->capture, CUDA_ERROR_STREAM_CAPTURE_IMPLICIT);
        stream->capture = event->capture;
        stream->capture->streams.insert(stream);
        stream->tips.insert(stream->tips.end(), event->tips.begin(), event->tips.end());
        return CUDA_SUCCESS;
    }
    if (stream->capture)
        return refuse(*stream->capture, CUDA_ERROR_STREAM_CAPTURE_ISOLATION);
    if (is_done(event->work))
        return CUDA_SUCCESS;
    const WorkRef work = std::make_shared<Work>();
    order_after(*work, stream);
    work->after.push_back(event->work);
    stream->last = work;
    return CUDA_SUCCESS;
}

// ---- functions of the host, between operations ----

static CUresult call_host(const std::function<void()> &function)
{
    is_in_host_function = true;
    function();
    is_in_host_function = false;
    return CUDA_SUCCESS;
}

API cuLaunchHostFunc(CUstream stream, CUhostFn function, void *data)
{
    ENTER(CONTEXT);
    TRY(find_stream(stream, &stream));
    return enqueue(stream, CU_GRAPH_NODE_TYPE_HOST, [=] { return call_host([=] { function(data); }); });
}

API cuStreamAddCallback(CUstream handle, CUstreamCallback function, void *data, unsigned)
{
    ENTER(CONTEXT);
    CUstream stream = nullptr;
    TRY(find_stream(handle, &stream));
    if (stream->capture)
        return refuse(*stream->capture, CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
    return enqueue(stream, CU_GRAPH_NODE_TYPE_HOST,
                   [=] { return call_host([=] { function(handle, CUDA_SUCCESS, data); }); });
}

// ---- events ----

API cuEventCreate(CUevent *event, unsigned flags)
{
    ENTER(CONTEXT);
    *event = new CUevent_st{};
    (*event)->context = current_context();
    (*event)->has_timing = !(flags & CU_EVENT_DISABLE_TIMING);
    state.events.insert(*event);
    return CUDA_SUCCESS;
}

API cuEventDestroy_v2(CUevent event)
{
    ENTER(INIT);
    TRY(find_event(event));
    state.events.erase(event);
    delete event;
    return CUDA_SUCCESS;
}

API cuEventRecord(CUevent event, CUstream stream)
{
    ENTER(CONTEXT);
    TRY(find_stream(stream, &stream));
    TRY(find_event(event));
    if (event->context != stream->context)
        return CUDA_ERROR_INVALID_HANDLE;
    event->capture = stream->capture;
    event->tips = stream->tips;
    if (stream->capture)
        return stream->capture->is_invalid ? CUDA_ERROR_STREAM_CAPTURE_INVALIDATED : CUDA_SUCCESS;
    const auto time = std::make_shared<double>();
    event->milliseconds = time;
    TRY(enqueue(stream, CU_GRAPH_NODE_TYPE_EMPTY, [time] { return *time = now_ms(), CUDA_SUCCESS; }));
    event->work = stream->last;
    return CUDA_SUCCESS;
}

API cuEventRecordWithFlags(CUevent event, CUstream stream, unsigned flags)
{
    return flags ? not_supported("cuEventRecordWithFlags with flags") : cuEventRecord(event, stream);
}

API cuEventSynchronize(CUevent event)
{
    ENTER(INIT);
    TRY(find_event(event));
    if (is_captured(event))
        return refuse(*event->capture, CUDA_ERROR_CAPTURED_EVENT);
    complete(event->work);
    return event->context->error;
}

API cuEventQuery(CUevent event)
{
    ENTER(INIT);
    TRY(find_event(event));
    if (is_captured(event))
        return refuse(*event->capture, CUDA_ERROR_CAPTURED_EVENT);
    TRY(forbid_while_capturing());
    if (is_done(event->work))
        return event->context->error;
    advance(event->work);
    return event->context->error ? event->context->error : CUDA_ERROR_NOT_READY;
}

API cuEventElapsedTime_v2(float *milliseconds, CUevent before, CUevent after)
{
    ENTER(INIT);
    TRY(find_event(before));
    TRY(find_event(after));
    if (!before->has_timing || !after->has_timing || !before->work || !after->work)
        return CUDA_ERROR_INVALID_HANDLE;
    if (!is_done(before->work) || !is_done(after->work))
        return CUDA_ERROR_NOT_READY;
    *milliseconds = (float)(*after->milliseconds - *before->milliseconds);
    return before->context->error;
}

// The form that hosts built with CUDA 12 ask for.
API cuEventElapsedTime(float *milliseconds, CUevent before, CUevent after)
{
    return cuEventElapsedTime_v2(milliseconds, before, after);
}
