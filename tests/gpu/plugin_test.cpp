// The plugin of the preset `cuda`, on any machine: it opens with every symbol bound, wherever the
// libraries are that it names (docs/GPU.md).
#include <string>

#include <dlfcn.h>
#include <gtest/gtest.h>

#include "policy/cuda/plugin.h"

namespace ponder::policy {
namespace {

TEST(CudaPlugin, OpensWithEverySymbolBound) {
  void* library = ::dlopen(PONDER_BINARY_DIR "/libponder_cuda.so", RTLD_NOW | RTLD_GLOBAL);
  if (library == nullptr) {
    const std::string error = ::dlerror();
    // A library that this machine lacks is no fault of the plugin's; a symbol is.
    if (error.find("cannot open shared object file") != std::string::npos) GTEST_SKIP() << error;
    FAIL() << error;
  }
  using Entry = const CudaPlugin* (*)();
  const auto entry = reinterpret_cast<Entry>(::dlsym(library, "ponder_cuda_plugin"));
  ASSERT_NE(entry, nullptr);
  const CudaPlugin* plugin = entry();
  EXPECT_EQ(plugin->abi, kCudaPluginAbi);
  EXPECT_GE(plugin->device_count(), 0);
  EXPECT_NE(plugin->why_no_device(), nullptr);
  EXPECT_NE(plugin->set_device, nullptr);
  EXPECT_NE(plugin->device_uuid, nullptr);
  EXPECT_NE(plugin->current_stream, nullptr);
  EXPECT_NE(plugin->cublas, nullptr);
  EXPECT_NE(plugin->quantize_fp8, nullptr);
  EXPECT_NE(plugin->fp8_gemm, nullptr);
  EXPECT_NE(plugin->token_logprobs, nullptr);
  EXPECT_NE(plugin->paged_attention, nullptr);
  EXPECT_NE(plugin->capture, nullptr);
  EXPECT_NE(plugin->replay, nullptr);
  EXPECT_NE(plugin->drop_graph, nullptr);
  EXPECT_NE(plugin->make_nccl, nullptr);
}

}  // namespace
}  // namespace ponder::policy
