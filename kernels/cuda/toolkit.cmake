# ggq_find_cuda(<result>): sets <result> to ON if the CUDA code is to be built. Under GGQ_CUDA=AUTO that asks for an nvcc
# that compiles and links a small program, for one architecture (GGQ_CUDA_ARCH, by default that of this machine's GPU);
# a toolkit that cannot gives one line and a CPU build.

function(ggq_cuda_arch result)
    execute_process(COMMAND nvidia-smi --query-gpu=compute_cap --format=csv,noheader
        OUTPUT_VARIABLE capability RESULT_VARIABLE failed ERROR_QUIET)
    if(failed OR NOT capability MATCHES "^([0-9]+)\\.([0-9]+)")
        set(${result} 80 PARENT_SCOPE)
    else()
        set(${result} ${CMAKE_MATCH_1}${CMAKE_MATCH_2} PARENT_SCOPE)
    endif()
endfunction()

function(ggq_try_nvcc result)
    set(folder ${PROJECT_BINARY_DIR}/try_nvcc)
    file(WRITE ${folder}/try.cu "__global__ void k(float* x) { x[0] = 1; }\n"
        "int main() { k<<<1, 1>>>(nullptr); return cudaGetLastError() == cudaSuccess; }\n")
    execute_process(COMMAND ${GGQ_NVCC} -arch=sm_${GGQ_CUDA_ARCH} -std=c++20 -ccbin ${CMAKE_CXX_COMPILER}
            -cudart static try.cu -o try
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
    if(GGQ_NVCC AND NOT DEFINED CACHE{GGQ_NVCC_WORKS})
        ggq_cuda_arch(arch)
        set(GGQ_CUDA_ARCH ${arch} CACHE STRING "The one architecture that CUDA code is built for, such as 80 or 90a")
        ggq_try_nvcc(works)
        set(GGQ_NVCC_WORKS ${works} CACHE INTERNAL "nvcc compiles and links a program")
    endif()

    if(GGQ_NVCC AND GGQ_NVCC_WORKS)
        message(STATUS "CUDA: ${GGQ_NVCC} works, architecture ${GGQ_CUDA_ARCH}")
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
