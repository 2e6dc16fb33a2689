// Modules, libraries, functions, variables.
#include "state.h"
#include <cstring>
#include <fstream>
#include <iterator>

namespace {

CUresult load(CUmodule *module, const void *image, char *log, size_t log_bytes)
{
    TRY(forbid_while_capturing());
    CUcontext context = current_context();
    uint64_t id = 0;
    TRY((CUresult)state.python.load(context->device, image, &id, log, log_bytes));
    *module = new CUmod_st{context, id, {}, {}};
    state.modules.insert(*module);
    return CUDA_SUCCESS;
}

CUresult check_module(CUmodule module)
{
    const bool is_here = state.modules.count(module) && module->context == current_context();
    return is_here ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
}

CUresult find(CUmodule module, const char *name, CUfunction *function)
{
    TRY(check_module(module));
    std::unique_ptr<CUfunc_st> &known = module->functions[name];
    if (!known) {
        FunctionFacts facts = {};
        const CUresult error = (CUresult)state.python.find(module->id, name, &facts);
        if (error != CUDA_SUCCESS) {
            module->functions.erase(name);
            return error;
        }
        const int default_bytes = 48 << 10;
        known.reset(new CUfunc_st{module, name, facts, std::max(0, default_bytes - facts.shared_bytes)});
        state.functions.insert(known.get());
    }
    *function = known.get();
    return CUDA_SUCCESS;
}

CUresult attribute(int *value, int which, const CUfunc_st &function)
{
    const FunctionFacts &facts = function.facts;
    switch (which) {
    case CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK: *value = facts.max_threads; break;
    case CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES: *value = facts.shared_bytes; break;
    case CU_FUNC_ATTRIBUTE_CONST_SIZE_BYTES: *value = facts.constant_bytes; break;
    case CU_FUNC_ATTRIBUTE_LOCAL_SIZE_BYTES: *value = facts.local_bytes; break;
    case CU_FUNC_ATTRIBUTE_NUM_REGS: *value = facts.registers; break;
    case CU_FUNC_ATTRIBUTE_PTX_VERSION: *value = facts.ptx_version; break;
    case CU_FUNC_ATTRIBUTE_BINARY_VERSION: *value = facts.binary_version; break;
    case CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES: *value = function.max_dynamic_shared_bytes; break;
    case CU_FUNC_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT: *value = -1; break;
    default:
        if (which < 0 || which >= CU_FUNC_ATTRIBUTE_MAX)
            return CUDA_ERROR_INVALID_VALUE;
        *value = 0;
    }
    return CUDA_SUCCESS;
}

CUresult set_attribute(CUfunc_st &function, int which, int value)
{
    enum { MAX_SHARED_OPT_IN = 97 };
    switch (which) {
    case CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES: {
        const int device = function.module->context->device;
        const int most = state.python.device_attribute(device, MAX_SHARED_OPT_IN) - function.facts.shared_bytes;
        if (value < 0 || value > most)
            return CUDA_ERROR_INVALID_VALUE;
        function.max_dynamic_shared_bytes = value;
        return CUDA_SUCCESS;
    }
    case CU_FUNC_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT: return CUDA_SUCCESS;
    case CU_FUNC_ATTRIBUTE_NON_PORTABLE_CLUSTER_SIZE_ALLOWED: return CUDA_SUCCESS;
    default: return CUDA_ERROR_INVALID_VALUE;
    }
}

CUresult check_function(CUfunction function)
{
    return state.functions.count(function) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
}

}  // namespace

CUfunction function_of(CUfunction handle) { return state.functions.count(handle) ? handle : nullptr; }

void unload(CUmodule module)
{
    for (const auto &[name, function] : module->functions)
        state.functions.erase(function.get());
    for (const auto &[name, variable] : module->variables)
        release_allocation(variable.first);
    if (state.python.unload)
        state.python.unload(module->id);
    delete module;
}

API cuModuleLoadDataEx(CUmodule *module, const void *image, unsigned count, CUjit_option *options, void **values)
{
    ENTER(CONTEXT);
    char *log = nullptr;
    size_t log_bytes = 0;
    for (unsigned i = 0; i < count; ++i) {
        if (options[i] == CU_JIT_ERROR_LOG_BUFFER)
            log = (char *)values[i];
        else if (options[i] == CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES)
            log_bytes = (size_t)(uintptr_t)values[i];
    }
    return load(module, image, log, log ? log_bytes : 0);
}

API cuModuleLoadData(CUmodule *module, const void *image)
{
    ENTER(CONTEXT);
    return load(module, image, nullptr, 0);
}

API cuModuleLoad(CUmodule *module, const char *path)
{
    ENTER(CONTEXT);
    std::ifstream file(path, std::ios::binary);
    if (!file)
        return CUDA_ERROR_FILE_NOT_FOUND;
    std::string image((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
    return load(module, image.c_str(), nullptr, 0);
}

API cuModuleUnload(CUmodule module)
{
    ENTER(CONTEXT);
    TRY(check_module(module));
    complete_context(module->context);
    state.modules.erase(module);
    unload(module);
    return CUDA_SUCCESS;
}

API cuModuleGetFunction(CUfunction *function, CUmodule module, const char *name)
{
    ENTER(CONTEXT);
    return find(module, name, function);
}

// Kernels see a variable through the copy that lies in device memory from now on.
API cuModuleGetGlobal_v2(CUdeviceptr *address, size_t *bytes, CUmodule module, const char *name)
{
    ENTER(CONTEXT);
    TRY(check_module(module));
    auto known = module->variables.find(name);
    if (known == module->variables.end()) {
        size_t size = 0;
        CUdeviceptr place = 0;
        TRY((CUresult)state.python.variable(module->id, name, &size));
        TRY(allocate(&place, size, true));
        TRY((CUresult)state.python.bind(module->id, name, place));
        known = module->variables.insert({name, {place, size}}).first;
    }
    if (address)
        *address = known->second.first;
    if (bytes)
        *bytes = known->second.second;
    return CUDA_SUCCESS;
}

// ---- libraries: here a library is its module in the context that was current ----

API cuLibraryLoadData(CUlibrary *library, const void *image, CUjit_option *, void **, unsigned, CUlibraryOption *,
                      void **, unsigned)
{
    ENTER(CONTEXT);
    return load((CUmodule *)library, image, nullptr, 0);
}

API cuLibraryUnload(CUlibrary library) { return cuModuleUnload((CUmodule)library); }

API cuLibraryGetKernel(CUkernel *kernel, CUlibrary library, const char *name)
{
    ENTER(CONTEXT);
    return find((CUmodule)library, name, (CUfunction *)kernel);
}

API cuLibraryGetModule(CUmodule *module, CUlibrary library)
{
    ENTER(CONTEXT);
    *module = (CUmodule)library;
    return check_module(*module);
}

API cuKernelGetFunction(CUfunction *function, CUkernel kernel)
{
    ENTER(CONTEXT);
    *function = (CUfunction)kernel;
    return check_function(*function);
}

API cuKernelGetAttribute(int *value, CUfunction_attribute which, CUkernel kernel, CUdevice)
{
    ENTER(CONTEXT);
    TRY(check_function((CUfunction)kernel));
    return attribute(value, (int)which, *(CUfunction)kernel);
}

API cuKernelSetAttribute(CUfunction_attribute which, int value, CUkernel kernel, CUdevice)
{
    ENTER(CONTEXT);
    TRY(check_function((CUfunction)kernel));
    return set_attribute(*(CUfunction)kernel, (int)which, value);
}

// ---- functions ----

API cuFuncGetAttribute(int *value, CUfunction_attribute which, CUfunction function)
{
    ENTER(CONTEXT);
    TRY(check_function(function));
    return attribute(value, (int)which, *function);
}

API cuFuncSetAttribute(CUfunction function, CUfunction_attribute which, int value)
{
    ENTER(CONTEXT);
    TRY(check_function(function));
    return set_attribute(*function, (int)which, value);
}

API cuFuncGetName(const char **name, CUfunction function)
{
    ENTER(CONTEXT);
    TRY(check_function(function));
    *name = function->name.c_str();
    return CUDA_SUCCESS;
}

API cuFuncGetModule(CUmodule *module, CUfunction function)
{
    ENTER(CONTEXT);
    TRY(check_function(function));
    *module = function->module;
    return CUDA_SUCCESS;
}

API cuFuncGetParamInfo(CUfunction function, size_t index, size_t *offset, size_t *bytes)
{
    ENTER(CONTEXT);
    TRY(check_function(function));
    size_t size = 0;
    TRY((CUresult)state.python.parameter(function->facts.id, index, offset, &size));
    if (bytes)
        *bytes = size;
    return CUDA_SUCCESS;
}

API cuFuncSetCacheConfig(CUfunction function, CUfunc_cache)
{
    ENTER(CONTEXT);
    return check_function(function);
}

API cuFuncSetBlockShape(CUfunction function, int x, int y, int z)
{
    ENTER(CONTEXT);
    TRY(check_function(function));
    const int block[3] = {x, y, z};
    memcpy(function->block, block, sizeof block);
    return CUDA_SUCCESS;
}

API cuFuncSetSharedSize(CUfunction function, unsigned)
{
    ENTER(CONTEXT);
    return check_function(function);
}
