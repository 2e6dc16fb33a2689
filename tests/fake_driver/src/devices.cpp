// The driver, its devices, and what it answers about itself.
#include "state.h"
#include <cstdio>
#include <cstring>

enum { MAJOR = 75, MINOR = 76, MEMORY_MIB = -1 };  // of Python's device_attribute

CUresult check_device(CUdevice device)
{
    return device >= 0 && device < state.python.device_count() ? CUDA_SUCCESS : CUDA_ERROR_INVALID_DEVICE;
}

API cuInit(unsigned flags)
{
    ENTER(NOTHING);
    if (flags)
        return CUDA_ERROR_INVALID_VALUE;
    if (!state.python.launch) {
        fprintf(stderr, "fake libcuda: this process runs no Python that has the emulator\n");
        return CUDA_ERROR_NO_DEVICE;
    }
    if (state.python.device_count() == 0)
        return CUDA_ERROR_NO_DEVICE;
    state.is_initialized = true;
    return CUDA_SUCCESS;
}

API cuDriverGetVersion(int *version)
{
    ENTER(NOTHING);
    *version = state.driver_version;
    return CUDA_SUCCESS;
}

API cuDeviceGetCount(int *count)
{
    ENTER(INIT);
    *count = state.python.device_count();
    return CUDA_SUCCESS;
}

API cuDeviceGet(CUdevice *device, int index)
{
    ENTER(INIT);
    TRY(check_device(index));
    *device = index;
    return CUDA_SUCCESS;
}

API cuDeviceGetName(char *name, int length, CUdevice device)
{
    ENTER(INIT);
    TRY(check_device(device));
    return (CUresult)state.python.device_name(device, name, length);
}

API cuDeviceGetUuid_v2(CUuuid *uuid, CUdevice device)
{
    ENTER(INIT);
    TRY(check_device(device));
    memset(uuid, 0, sizeof *uuid);
    snprintf(uuid->bytes, sizeof uuid->bytes, "fake-%d", device);
    return CUDA_SUCCESS;
}

API cuDeviceTotalMem_v2(size_t *bytes, CUdevice device)
{
    ENTER(INIT);
    TRY(check_device(device));
    *bytes = (size_t)state.python.device_attribute(device, MEMORY_MIB) << 20;
    return CUDA_SUCCESS;
}

API cuDeviceComputeCapability(int *major, int *minor, CUdevice device)
{
    ENTER(INIT);
    TRY(check_device(device));
    *major = state.python.device_attribute(device, MAJOR);
    *minor = state.python.device_attribute(device, MINOR);
    return CUDA_SUCCESS;
}

API cuDeviceGetAttribute(int *value, CUdevice_attribute attribute, CUdevice device)
{
    ENTER(INIT);
    TRY(check_device(device));
    if ((int)attribute < 1)
        return CUDA_ERROR_INVALID_VALUE;
    *value = state.python.device_attribute(device, (int)attribute);
    return CUDA_SUCCESS;
}

API cuDeviceGetPCIBusId(char *id, int length, CUdevice device)
{
    ENTER(INIT);
    TRY(check_device(device));
    snprintf(id, (size_t)length, "0000:%02x:00.0", device + 1);
    return CUDA_SUCCESS;
}

API cuDeviceGetByPCIBusId(CUdevice *device, const char *id)
{
    ENTER(INIT);
    unsigned domain = 0, bus = 0;
    if (sscanf(id, "%x:%x", &domain, &bus) != 2)
        return CUDA_ERROR_INVALID_VALUE;
    TRY(check_device((int)bus - 1));
    *device = (int)bus - 1;
    return CUDA_SUCCESS;
}

// NVRTC asks for this one, and crashes where a libcuda lacks it.
API cuGetExportTable(const void **table, const CUuuid *)
{
    *table = nullptr;
    return CUDA_ERROR_NOT_FOUND;
}

API cuProfilerStart() { return CUDA_SUCCESS; }
API cuProfilerStop() { return CUDA_SUCCESS; }
