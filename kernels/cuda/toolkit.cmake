# ggq_find_cuda(<result>): sets <result> to ON if the CUDA code is to be built. Under GGQ_CUDA=AUTO that asks for an nvcc
# of CUDA 12.0 or later that compiles and links a small program for GGQ_CUDA_ARCH (by default the architecture of this
# machine's GPU); a toolkit that cannot gives one line and a CPU build.
# ggq_cuda_flags(<result>): the options of nvcc for GGQ_CUDA_ARCH.

set(GGQ_ALL_CUDA_ARCHS 75 80 86 89 90a 100 120)

function(ggq_cuda_arch result)
    execute_process(COMMAND nvidia-smi --query-gpu=compute_cap --format=csv,noheader
        OUTPUT_VARIABLE capability RESULT_VARIABLE failed ERROR_QUIET)
    if(failed OR NOT capability MATCHES "^([0-9]+)\\.([0-9]+)")
        set(${result} 80 PARENT_SCOPE)
    elseif("${CMAKE_MATCH_1}${CMAKE_MATCH_2}" EQUAL 90)
        set(${result} 90a PARENT_SCOPE)
    else()
        set(${result} ${CMAKE_MATCH_1}${CMAKE_MATCH_2} PARENT_SCOPE)
    endif()
endfunction()

# CMake 3.25 does not know how nvcc is told C++20, so it is said here. The last architecture comes as PTX too, for cards
# of later generations.
function(ggq_cuda_flags result)
    set(flags -std=c++20 -lineinfo)
    foreach(arch ${GGQ_CUDA_ARCHS})
        list(APPEND flags -gencode=arch=compute_${arch},code=sm_${arch})
    endforeach()
    list(GET GGQ_CUDA_ARCHS -1 newest)
    string(REGEX REPLACE "[^0-9]" "" newest ${newest})
    list(APPEND flags -gencode=arch=compute_${newest},code=compute_${newest})
    set(${result} ${flags} PARENT_SCOPE)
endfunction()

function(ggq_try_nvcc result)
    set(folder ${PROJECT_BINARY_DIR}/try_nvcc)
    file(WRITE ${folder}/try.cu "#include <cuda_runtime.h>\n#if CUDART_VERSION < 12000\n#error CUDA 12.0 is the least\n#endif\n"
        "__global__ void k(float* x) { x[0] = 1; }\n"
        "int main() { k<<<1, 1>>>(nullptr); return cudaGetLastError() == cudaSuccess; }\n")
    ggq_cuda_flags(flags)
    execute_process(COMMAND ${GGQ_NVCC} ${flags} -ccbin ${CMAKE_CXX_COMPILER} -cudart static try.cu -o try
        WORKING_DIRECTORY ${folder} RESULT_VARIABLE failed OUTPUT_VARIABLE output ERROR_VARIABLE output)
    file(WRITE ${folder}/log.txt "${output}")
    if(failed)
        set(${result} OFF PARENT_SCOPE)
    else()
        set(${result} ON PARENT_SCOPE)
    endif()
endfunction()

function(ggq_find_cuda result)
    set(${result} OFF PARENT_SCOPE)
    if(GGQ_CUDA STREQUAL "OFF")
        return()
    endif()
    find_program(GGQ_NVCC nvcc HINTS ENV CUDA_HOME ENV CUDA_PATH PATHS /usr/local/cuda PATH_SUFFIXES bin)
    if(GGQ_NVCC)
        ggq_cuda_arch(arch)
        set(GGQ_CUDA_ARCH ${arch} CACHE STRING "Architectures of the CUDA code: one such as 80 or 90a, a list, or all")
        set(GGQ_CUDA_ARCHS ${GGQ_CUDA_ARCH})
        if(GGQ_CUDA_ARCH STREQUAL "all")
            set(GGQ_CUDA_ARCHS ${GGQ_ALL_CUDA_ARCHS})
        endif()
        if(NOT GGQ_NVCC_WORKS STREQUAL "${GGQ_NVCC} ${GGQ_CUDA_ARCH}")
            ggq_try_nvcc(works)
            if(works)
                set(GGQ_NVCC_WORKS "${GGQ_NVCC} ${GGQ_CUDA_ARCH}" CACHE INTERNAL "the nvcc that builds a program")
            endif()
        endif()
    endif()

    if(GGQ_NVCC AND GGQ_NVCC_WORKS STREQUAL "${GGQ_NVCC} ${GGQ_CUDA_ARCH}")
        message(STATUS "CUDA: ${GGQ_NVCC} works, architectures ${GGQ_CUDA_ARCHS}")
        set(GGQ_CUDA_ARCHS ${GGQ_CUDA_ARCHS} PARENT_SCOPE)
        set(${result} ON PARENT_SCOPE)
        return()
    elseif(GGQ_NVCC)
        set(reason "${GGQ_NVCC} cannot build a small program (see try_nvcc/log.txt in the build folder)")
    else()
        set(reason "no nvcc found")
    endif()
    if(NOT GGQ_CUDA STREQUAL "AUTO")
        message(FATAL_ERROR "GGQ_CUDA=${GGQ_CUDA}, but ${reason}")
    endif()
    message(STATUS "CUDA: ${reason}; building for the CPU only")
endfunction()
