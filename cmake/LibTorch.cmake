# torch::cpu: LibTorch from the PyPI wheel, as tools/setup puts it into the user's cache.
# find_package(Torch) is not used: it demands a CUDA toolkit even where only the CPU library is linked.
set(PONDER_TORCH_VERSION 2.11.0)
if(DEFINED ENV{XDG_CACHE_HOME})
  set(_cache "$ENV{XDG_CACHE_HOME}")
else()
  set(_cache "$ENV{HOME}/.cache")
endif()
set(LIBTORCH_ROOT "${_cache}/ponder/libtorch-${PONDER_TORCH_VERSION}"
    CACHE PATH "Folder that holds torch/ and nvidia/ of the torch wheel")
if(NOT EXISTS "${LIBTORCH_ROOT}/torch/lib/libtorch_cpu.so")
  message(FATAL_ERROR "No LibTorch in ${LIBTORCH_ROOT}: run tools/setup, or set LIBTORCH_ROOT.")
endif()
find_package(Threads REQUIRED)

add_library(torch_c10 SHARED IMPORTED GLOBAL)
set_target_properties(torch_c10 PROPERTIES IMPORTED_LOCATION "${LIBTORCH_ROOT}/torch/lib/libc10.so")
add_library(torch_torch_cpu SHARED IMPORTED GLOBAL)
set_target_properties(torch_torch_cpu PROPERTIES
  IMPORTED_LOCATION "${LIBTORCH_ROOT}/torch/lib/libtorch_cpu.so"
  IMPORTED_LINK_DEPENDENT_LIBRARIES torch_c10)

add_library(torch_cpu_if INTERFACE)
add_library(torch::cpu ALIAS torch_cpu_if)
target_include_directories(torch_cpu_if SYSTEM INTERFACE
  "${LIBTORCH_ROOT}/torch/include" "${LIBTORCH_ROOT}/torch/include/torch/csrc/api/include")
# torch/include carries its own fmt, which wins over the system's in torch targets: taken header-only, for libfmt.so is the
# system's version (their inline namespaces differ, so the two do not clash).
target_compile_definitions(torch_cpu_if INTERFACE FMT_HEADER_ONLY)
# Without -fopenmp at::parallel_for runs serially in our own code (ATen/ParallelOpenMP.h tests _OPENMP).
target_compile_options(torch_cpu_if INTERFACE -fopenmp)
# libtorch_cpu.so needs libcudart and libcupti; ld finds them here, the loader by the library's own RPATH.
target_link_options(torch_cpu_if INTERFACE -fopenmp "LINKER:-rpath-link,${LIBTORCH_ROOT}/nvidia/cu13/lib")
target_link_libraries(torch_cpu_if INTERFACE torch_torch_cpu torch_c10 Threads::Threads)

# torch::cuda: for the plugin of the preset `cuda` alone; the program stays linked to the CPU library. No library of NVIDIA's
# but the toolkit's is needed to link: what libtorch_cuda.so itself needs is the loader's business on a machine with a GPU.
if(PONDER_CUDA)
  find_package(CUDAToolkit REQUIRED)
  add_library(torch_cuda_if INTERFACE)
  add_library(torch::cuda ALIAS torch_cuda_if)
  target_compile_definitions(torch_cuda_if INTERFACE USE_DISTRIBUTED USE_C10D_NCCL)
  target_link_libraries(torch_cuda_if INTERFACE torch::cpu
    "-Wl,--no-as-needed,${LIBTORCH_ROOT}/torch/lib/libtorch_cuda.so,--as-needed"
    "${LIBTORCH_ROOT}/torch/lib/libc10_cuda.so" CUDA::cudart)
  target_link_options(torch_cuda_if INTERFACE LINKER:--allow-shlib-undefined)
endif()
