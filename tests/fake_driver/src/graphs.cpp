// Graphs: captured from streams, instantiated, launched as often as wanted.
#include "state.h"
#include <algorithm>

namespace {

thread_local CUstreamCaptureMode thread_mode = CU_STREAM_CAPTURE_MODE_GLOBAL;

template <class T>
CUresult check_handle(const std::set<T> &alive, T handle)
{
    return alive.count(handle) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

// Whether every captured operation comes before what the origin would do next.
bool is_joined(const Capture &capture)
{
    std::set<CUgraphNode> reached;
    std::vector<CUgraphNode> open = capture.origin->tips;
    while (!open.empty()) {
        CUgraphNode node = open.back();
        open.pop_back();
        if (reached.insert(node).second)
            open.insert(open.end(), node->after.begin(), node->after.end());
    }
    const auto is_reached = [&](CUgraphNode node) { return reached.count(node) != 0; };
    const auto are_reached = [&](CUstream stream) {
        return std::all_of(stream->tips.begin(), stream->tips.end(), is_reached);
    };
    return reached.size() == capture.graph->nodes.size() &&
           std::all_of(capture.streams.begin(), capture.streams.end(), are_reached);
}

void end(const std::shared_ptr<Capture> &capture)
{
    capture->is_over = true;
    for (CUstream stream : capture->streams) {
        stream->capture = nullptr;
        stream->tips.clear();
    }
    state.captures.erase(capture);
}

CUresult instantiate(CUgraphExec *exec, CUgraph graph)
{
    TRY(check_handle(state.graphs, graph));
    CUgraphExec made = new CUgraphExec_st;
    made->context = graph->context;
    for (const auto &node : graph->nodes) {
        CUgraphExec_st::Step step = {node->run, {}};
        for (CUgraphNode before : node->after)
            step.after.push_back(made->step_of.at(before));
        made->step_of[node.get()] = made->steps.size();
        made->steps.push_back(std::move(step));
    }
    state.execs.insert(made);
    *exec = made;
    return CUDA_SUCCESS;
}

}  // namespace

CUresult refuse(Capture &capture, CUresult error)
{
    capture.is_invalid = true;
    return error;
}

CUresult capture_node(CUstream stream, CUgraphNodeType type, Run run)
{
    Capture &capture = *stream->capture;
    if (capture.is_invalid)
        return CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
    auto node = std::make_unique<CUgraphNode_st>(CUgraphNode_st{type, std::move(run), stream->tips});
    stream->tips = {node.get()};
    capture.graph->nodes.push_back(std::move(node));
    return CUDA_SUCCESS;
}

CUresult forbid_while_capturing()
{
    if (thread_mode == CU_STREAM_CAPTURE_MODE_RELAXED)
        return CUDA_SUCCESS;
    CUresult error = CUDA_SUCCESS;
    for (const auto &capture : state.captures) {
        const bool is_ours = capture->thread == std::this_thread::get_id();
        const bool is_global = capture->mode == CU_STREAM_CAPTURE_MODE_GLOBAL;
        const bool is_strict = capture->mode != CU_STREAM_CAPTURE_MODE_RELAXED;
        if (is_ours ? is_strict : is_global && thread_mode == CU_STREAM_CAPTURE_MODE_GLOBAL)
            error = refuse(*capture, CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
    }
    return error;
}

API cuThreadExchangeStreamCaptureMode(CUstreamCaptureMode *mode)
{
    ENTER(INIT);
    std::swap(*mode, thread_mode);
    return CUDA_SUCCESS;
}

// ---- capture ----

API cuStreamBeginCapture_v2(CUstream stream, CUstreamCaptureMode mode)
{
    ENTER(CONTEXT);
    TRY(find_stream(stream, &stream));
    if (stream->is_legacy)
        return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
    if (stream->capture)
        return CUDA_ERROR_ILLEGAL_STATE;
    const auto capture = std::make_shared<Capture>();
    capture->graph = new CUgraph_st{stream->context, {}};
    capture->origin = stream;
    capture->mode = mode;
    capture->thread = std::this_thread::get_id();
    capture->streams = {stream};
    stream->capture = capture;
    state.captures.insert(capture);
    return CUDA_SUCCESS;
}

API cuStreamEndCapture(CUstream stream, CUgraph *graph)
{
    ENTER(CONTEXT);
    TRY(find_stream(stream, &stream));
    *graph = nullptr;
    const std::shared_ptr<Capture> capture = stream->capture;
    if (!capture)
        return CUDA_ERROR_ILLEGAL_STATE;
    if (capture->origin != stream)
        return refuse(*capture, CUDA_ERROR_STREAM_CAPTURE_UNMATCHED);
    if (capture->mode != CU_STREAM_CAPTURE_MODE_RELAXED && capture->thread != std::this_thread::get_id())
        return CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD;
    const CUresult error = capture->is_invalid   ? CUDA_ERROR_STREAM_CAPTURE_INVALIDATED
                           : is_joined(*capture) ? CUDA_SUCCESS
                                                 : CUDA_ERROR_STREAM_CAPTURE_UNJOINED;
    end(capture);
    if (error != CUDA_SUCCESS) {
        delete capture->graph;
        return error;
    }
    state.graphs.insert(capture->graph);
    *graph = capture->graph;
    return CUDA_SUCCESS;
}

API cuStreamIsCapturing(CUstream stream, CUstreamCaptureStatus *status)
{
    ENTER(CONTEXT);
    TRY(find_stream(stream, &stream));
    TRY(check_legacy(stream));
    *status = !stream->capture             ? CU_STREAM_CAPTURE_STATUS_NONE
              : stream->capture->is_invalid ? CU_STREAM_CAPTURE_STATUS_INVALIDATED
                                            : CU_STREAM_CAPTURE_STATUS_ACTIVE;
    return CUDA_SUCCESS;
}

// ---- graphs ----

API cuGraphGetNodes(CUgraph graph, CUgraphNode *nodes, size_t *count)
{
    ENTER(INIT);
    TRY(check_handle(state.graphs, graph));
    const size_t there = graph->nodes.size();
    for (size_t i = 0; nodes && i < *count; ++i)
        nodes[i] = i < there ? graph->nodes[i].get() : nullptr;
    *count = nodes ? std::min(*count, there) : there;
    return CUDA_SUCCESS;
}

API cuGraphNodeGetType(CUgraphNode node, CUgraphNodeType *type)
{
    ENTER(INIT);
    *type = node->type;
    return CUDA_SUCCESS;
}

API cuGraphDestroy(CUgraph graph)
{
    ENTER(INIT);
    TRY(check_handle(state.graphs, graph));
    state.graphs.erase(graph);
    delete graph;
    return CUDA_SUCCESS;
}

API cuGraphInstantiateWithFlags(CUgraphExec *exec, CUgraph graph, unsigned long long)
{
    ENTER(CONTEXT);
    return instantiate(exec, graph);
}

API cuGraphInstantiateWithParams(CUgraphExec *exec, CUgraph graph, CUDA_GRAPH_INSTANTIATE_PARAMS *parameters)
{
    ENTER(CONTEXT);
    parameters->hErrNode_out = nullptr;
    parameters->result_out = CUDA_GRAPH_INSTANTIATE_SUCCESS;
    return instantiate(exec, graph);
}

API cuGraphExecDestroy(CUgraphExec exec)
{
    ENTER(INIT);
    TRY(check_handle(state.execs, exec));
    state.execs.erase(exec);
    delete exec;
    return CUDA_SUCCESS;
}

API cuGraphUpload(CUgraphExec exec, CUstream stream)
{
    ENTER(CONTEXT);
    TRY(find_stream(stream, &stream));
    return check_handle(state.execs, exec);
}

API cuGraphLaunch(CUgraphExec exec, CUstream stream)
{
    ENTER(CONTEXT);
    TRY(find_stream(stream, &stream));
    TRY(check_handle(state.execs, exec));
    TRY(check_legacy(stream));
    if (stream->capture) {
        refuse(*stream->capture, CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
        return not_supported("cuGraphLaunch while capturing");
    }
    const WorkRef begin = std::make_shared<Work>(), last = std::make_shared<Work>();
    order_after(*begin, stream);
    if (!is_done(exec->last))
        begin->after.push_back(exec->last);
    last->context = stream->context;
    std::vector<WorkRef> works;
    for (const auto &step : exec->steps) {
        const WorkRef work = std::make_shared<Work>();
        work->context = stream->context;
        work->run = step.run;
        work->after = {begin};
        for (size_t before : step.after)
            work->after.push_back(works[before]);
        works.push_back(work);
    }
    last->after = works;
    last->after.push_back(begin);
    stream->last = exec->last = last;
    if (state.is_eager)
        complete(last);
    return stream->context->error;
}

// Launches that were made before keep the arguments they were made with.
API cuGraphExecKernelNodeSetParams_v2(CUgraphExec exec, CUgraphNode node, const CUDA_KERNEL_NODE_PARAMS *given)
{
    ENTER(CONTEXT);
    TRY(check_handle(state.execs, exec));
    const auto found = exec->step_of.find(node);
    if (found == exec->step_of.end() || node->type != CU_GRAPH_NODE_TYPE_KERNEL)
        return CUDA_ERROR_INVALID_VALUE;
    const LaunchShape shape = {{given->gridDimX, given->gridDimY, given->gridDimZ},
                               {given->blockDimX, given->blockDimY, given->blockDimZ},
                               given->sharedMemBytes,
                               false};
    return prepare_launch(given->func, shape, given->kernelParams, given->extra, &exec->steps[found->second].run);
}
