// cuBLAS by dlopen: the functions that products need, in a table whose types are those of the header's declarations.
#include "kernels/cuda/blas.h"

#include <cublas_v2.h>
#include <dlfcn.h>

#include <cstdlib>
#include <vector>

#include "kernels/check.h"

namespace ggq::cuda {

namespace {

// The header's own major version first, then the other that has the same interface.
std::vector<std::string> candidates() {
    std::vector<std::string> folders{""};
    for (const char* name : {"CUDA_HOME", "CUDA_PATH"})
        if (const char* home = std::getenv(name)) folders.push_back(std::string(home) + "/lib64/");
    folders.push_back("/usr/local/cuda/lib64/");
    const bool is_12 = CUBLAS_VER_MAJOR == 12;
    std::vector<std::string> files;
    for (const std::string& folder : folders)
        for (const char* major : {is_12 ? "12" : "13", is_12 ? "13" : "12"})
            files.push_back(folder + "libcublas.so." + major);
    return files;
}

cudaDataType_t data_type(DType dtype) {
    return dtype == DType::f32 ? CUDA_R_32F : dtype == DType::f16 ? CUDA_R_16F : CUDA_R_16BF;
}

}  // namespace

struct Blas::Library {
    std::string file;
    void* module = nullptr;  // stays open: the driver may call into it until the program ends
    cublasHandle_t handle = nullptr;
    std::string version;

    decltype(&cublasCreate_v2) create = nullptr;
    decltype(&cublasDestroy_v2) destroy = nullptr;
    decltype(&cublasGetProperty) get_property = nullptr;
    decltype(&cublasGetStatusName) status_name = nullptr;
    decltype(&cublasSetMathMode) set_math_mode = nullptr;
    decltype(&cublasSetStream_v2) set_stream = nullptr;
    decltype(&cublasSetWorkspace_v2) set_workspace = nullptr;
    decltype(&cublasGemmEx_64) gemm = nullptr;

    ~Library() {
        if (handle) destroy(handle);
    }

    template <typename F>
    bool find(F& function, const char* name) {
        function = reinterpret_cast<F>(dlsym(module, name));
        return function != nullptr;
    }

    bool find_all() {
        return find(create, "cublasCreate_v2") && find(destroy, "cublasDestroy_v2") &&
               find(get_property, "cublasGetProperty") && find(status_name, "cublasGetStatusName") &&
               find(set_math_mode, "cublasSetMathMode") && find(set_stream, "cublasSetStream_v2") &&
               find(set_workspace, "cublasSetWorkspace_v2") && find(gemm, "cublasGemmEx_64");
    }

    // Empty, or what was wrong.
    std::string load(const std::string& from) {
        file = from;
        module = dlopen(from.c_str(), RTLD_NOW | RTLD_LOCAL);
        if (!module) return dlerror();
        if (!find_all()) return from + " lacks a function: " + dlerror();
        for (libraryPropertyType part : {MAJOR_VERSION, MINOR_VERSION, PATCH_LEVEL}) {
            int number = 0;
            get_property(part, &number);
            if (!version.empty()) version += '.';
            version += std::to_string(number);
        }
        return "";
    }

    void check(cublasStatus_t status, const char* what) const {
        if (status != CUBLAS_STATUS_SUCCESS) throw Error("cuBLAS: " + std::string(what) + ": " + status_name(status));
    }
};

std::unique_ptr<Blas> Blas::open(std::string& problem) {
    problem = "cuBLAS could not be used";
    for (const std::string& file : candidates()) {
        auto library = std::make_unique<Library>();
        const std::string wrong = library->load(file);
        if (wrong.empty()) {
            problem.clear();
            return std::unique_ptr<Blas>(new Blas(std::move(library)));
        }
        problem += "; " + wrong;
    }
    return nullptr;
}

Blas::Blas(std::unique_ptr<Library> library) : library_(std::move(library)) {}
Blas::~Blas() = default;

void Blas::start(bool tf32) {
    Library& lib = *library_;
    lib.check(lib.create(&lib.handle), "cublasCreate");
    // Parts of a sum over k are added in float, whatever the output's type.
    const int mode =
        (tf32 ? CUBLAS_TF32_TENSOR_OP_MATH : CUBLAS_DEFAULT_MATH) | CUBLAS_MATH_DISALLOW_REDUCED_PRECISION_REDUCTION;
    lib.check(lib.set_math_mode(lib.handle, static_cast<cublasMath_t>(mode)), "cublasSetMathMode");
}

std::string Blas::version() const { return library_->version; }
const std::string& Blas::library() const { return library_->file; }

// cuBLAS counts down columns: a row-major matrix is its transpose there. So it is asked for y^T = w x^T, where a matrix
// whose k is contiguous is to be transposed if it is w, and is right as it is if it is x.
void Blas::multiply(cudaStream_t stream, const BlasProduct& p, void* workspace, int64_t workspace_bytes) const {
    const Library& lib = *library_;
    lib.check(lib.set_stream(lib.handle, stream), "cublasSetStream");
    lib.check(lib.set_workspace(lib.handle, workspace, static_cast<size_t>(workspace_bytes)), "cublasSetWorkspace");
    // CUBLAS_COMPUTE_32F uses TF32 only under the math mode for it.
    lib.check(
        lib.gemm(lib.handle, p.w.transposed ? CUBLAS_OP_N : CUBLAS_OP_T, p.x.transposed ? CUBLAS_OP_T : CUBLAS_OP_N,
                 p.n, p.m, p.k, &p.alpha, p.w.data, data_type(p.w.dtype), p.w.stride, p.x.data, data_type(p.x.dtype),
                 p.x.stride, &p.beta, p.y, data_type(p.y_dtype), p.y_stride, CUBLAS_COMPUTE_32F, CUBLAS_GEMM_DEFAULT),
        "cublasGemmEx");
}

}  // namespace ggq::cuda
