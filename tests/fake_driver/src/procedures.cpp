// cuGetProcAddress, by which cuda-bindings finds every function, and functions that only say they are missing.
#include "state.h"
#include <cstdio>
#include <cstring>
#include <dlfcn.h>
#include <utility>

#define PER_THREAD(name, ...) API name(__VA_ARGS__);
#include "per_thread.inc"
#undef PER_THREAD

namespace {

enum { PER_THREAD_DEFAULT_STREAM = 2 };  // a flag of cuGetProcAddress

struct Procedure {
    const char *name;
    int since;  // the CUDA version that brought this form
    const char *symbol;
};
const Procedure procedures[] = {
#define PROCEDURE(name, since, symbol) {#name, since, #symbol},
#include "procedures.inc"
#undef PROCEDURE
};

// The same function, for a caller whose null stream is the thread's own.
template <auto function>
struct PerThread;
template <class... Parameters, CUresult (*function)(Parameters...)>
struct PerThread<function> {
    static CUresult call(Parameters... arguments)
    {
        is_default_per_thread = true;
        const CUresult error = function(arguments...);
        is_default_per_thread = false;
        return error;
    }
};
const std::pair<const char *, void *> per_thread[] = {
#define PER_THREAD(name, ...) {#name, (void *)&PerThread<&name>::call},
#include "per_thread.inc"
#undef PER_THREAD
};

// Functions made when asked for: each prints the name that it was asked for by.
constexpr size_t MOST_MISSING = 1024;
std::string missing[MOST_MISSING];
template <size_t index>
CUresult answer_missing()
{
    return not_supported(missing[index].c_str());
}
template <size_t... indices>
void *missing_function(size_t index, std::index_sequence<indices...>)
{
    static CUresult (*const functions[])() = {answer_missing<indices>...};
    return (void *)functions[index];
}
void *missing_function(const char *name)
{
    for (size_t i = 0; i < MOST_MISSING; ++i) {
        if (missing[i].empty())
            missing[i] = name;
        if (missing[i] == name)
            return missing_function(i, std::make_index_sequence<MOST_MISSING>());
    }
    return nullptr;
}

void *address_of(const char *symbol, cuuint64_t flags)
{
    if (flags & PER_THREAD_DEFAULT_STREAM)
        for (const auto &[name, address] : per_thread)
            if (!strcmp(name, symbol))
                return address;
    Dl_info self;
    dladdr((void *)procedures, &self);
    void *library = dlopen(self.dli_fname, RTLD_NOW | RTLD_NOLOAD);
    return library ? dlsym(library, symbol) : nullptr;
}

}  // namespace

API cuGetProcAddress_v2(const char *name, void **address, int version, cuuint64_t flags,
                        CUdriverProcAddressQueryResult *result)
{
    ENTER(NOTHING);
    const Procedure *best = nullptr;
    bool is_known = false;
    for (const Procedure &procedure : procedures)
        if (!strcmp(procedure.name, name)) {
            is_known = true;
            if (procedure.since <= version && (!best || best->since < procedure.since))
                best = &procedure;
        }
    *address = best                                        ? address_of(best->symbol, flags)
               : !is_known && !strncmp(name, "cu", 2) ? missing_function(name)
                                                           : nullptr;
    if (result)
        *result = *address   ? CU_GET_PROC_ADDRESS_SUCCESS
                  : is_known ? CU_GET_PROC_ADDRESS_VERSION_NOT_SUFFICIENT
                             : CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND;
    return *address ? CUDA_SUCCESS : CUDA_ERROR_NOT_FOUND;
}

// PyCUDA's extension is linked to these, and does not load without them.
#define UNSUPPORTED(name) \
    API name() { return not_supported(#name); }
#ifndef FAKE_CUDA_AGAINST_CUDA_H
#include "unsupported.inc"
#endif
