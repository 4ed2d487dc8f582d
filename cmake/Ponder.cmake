# ponder_library(NAME core SOURCES a.cpp ... [DEPS data core] [LIBS fmt::fmt ...] [TORCH])
#   One static library ponder_NAME, from the folder of that name; DEPS are ponder's folders, LIBS others' targets.
# ponder_test(NAME core SOURCES a_test.cpp ... DEPS core ... [LIBS ...] [LABELS cases ...] [TORCH])
#   One GoogleTest program; each TEST becomes a ctest test.
find_package(fmt REQUIRED)
find_package(nlohmann_json REQUIRED)

# The one precompiled header: the part of LibTorch that almost every file with tensors uses.
function(ponder_torch_pch)
  file(WRITE "${CMAKE_BINARY_DIR}/torch_pch.cpp.in" "")
  configure_file("${CMAKE_BINARY_DIR}/torch_pch.cpp.in" "${CMAKE_BINARY_DIR}/torch_pch.cpp" COPYONLY)
  add_library(ponder_torch_pch OBJECT "${CMAKE_BINARY_DIR}/torch_pch.cpp")
  ponder_common(ponder_torch_pch)
  target_link_libraries(ponder_torch_pch PUBLIC torch::cpu)
  target_precompile_headers(ponder_torch_pch PRIVATE
    <ATen/ATen.h> <torch/csrc/autograd/autograd.h> <torch/csrc/autograd/custom_function.h>
    <torch/csrc/autograd/generated/variable_factories.h>)
endfunction()

function(ponder_common target)
  target_include_directories(${target} PUBLIC "${CMAKE_SOURCE_DIR}")
  target_compile_options(${target} PRIVATE -Wall -Wextra -Werror=return-type -fpch-preprocess)
  target_link_libraries(${target} PUBLIC fmt::fmt nlohmann_json::nlohmann_json)
endfunction()

function(_ponder_link target torch deps libs)
  ponder_common(${target})
  foreach(dep IN LISTS deps)
    target_link_libraries(${target} PUBLIC ponder_${dep})
  endforeach()
  target_link_libraries(${target} PUBLIC ${libs})
  if(torch)
    target_link_libraries(${target} PUBLIC torch::cpu)
    # The precompiled header holds for -fPIC alone; programs would get -fPIE and build without it.
    set_target_properties(${target} PROPERTIES POSITION_INDEPENDENT_CODE OFF)
    target_compile_options(${target} PRIVATE -fPIC)
    target_precompile_headers(${target} REUSE_FROM ponder_torch_pch)
  endif()
endfunction()

function(ponder_library)
  cmake_parse_arguments(A "TORCH" "NAME" "SOURCES;DEPS;LIBS" ${ARGN})
  add_library(ponder_${A_NAME} STATIC ${A_SOURCES})
  _ponder_link(ponder_${A_NAME} "${A_TORCH}" "${A_DEPS}" "${A_LIBS}")
endfunction()

function(ponder_test)
  cmake_parse_arguments(A "TORCH" "NAME" "SOURCES;DEPS;LIBS;LABELS" ${ARGN})
  add_executable(${A_NAME}_test ${A_SOURCES})
  _ponder_link(${A_NAME}_test "${A_TORCH}" "${A_DEPS}" "${A_LIBS};GTest::gtest_main;GTest::gmock")
  target_compile_definitions(${A_NAME}_test PRIVATE
    PONDER_SOURCE_DIR="${CMAKE_SOURCE_DIR}" PONDER_BINARY_DIR="${CMAKE_BINARY_DIR}")
  gtest_discover_tests(${A_NAME}_test DISCOVERY_TIMEOUT 60 WORKING_DIRECTORY "${CMAKE_SOURCE_DIR}"
    PROPERTIES LABELS "${A_LABELS}")
endfunction()

