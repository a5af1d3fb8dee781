// As much of a driver of CUDA 11.4 as the CUDA runtime asks for before it refuses it.
#include <cstdint>
#include <cstring>

extern "C" {

int cuInit(unsigned) { return 0; }

int cuDriverGetVersion(int* version) {
    *version = 11040;
    return 0;
}

static int everything_else() { return 500; }  // CUDA_ERROR_NOT_FOUND

int cuGetProcAddress_v2(const char* name, void** function, int, uint64_t, int* status) {
    *function = reinterpret_cast<void*>(everything_else);
    if (std::strcmp(name, "cuInit") == 0) *function = reinterpret_cast<void*>(cuInit);
    if (std::strcmp(name, "cuDriverGetVersion") == 0) *function = reinterpret_cast<void*>(cuDriverGetVersion);
    if (std::strcmp(name, "cuGetProcAddress") == 0) *function = reinterpret_cast<void*>(cuGetProcAddress_v2);
    if (status) *status = 0;
    return 0;
}

int cuGetProcAddress(const char* name, void** function, int version, uint64_t flags) {
    return cuGetProcAddress_v2(name, function, version, flags, nullptr);
}

}  // extern "C"
