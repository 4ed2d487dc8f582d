#include "policy/cuda/open_plugin.h"

#include <cstdlib>
#include <filesystem>

#include <dlfcn.h>

#include "core/error.h"

namespace ponder::policy {
namespace {

namespace fs = std::filesystem;

fs::path plugin_path() {
  if (const char* named = std::getenv("PONDER_CUDA_PLUGIN")) return named;
  return fs::read_symlink("/proc/self/exe").parent_path() / "libponder_cuda.so";
}

const CudaPlugin* open_plugin() {
  const fs::path path = plugin_path();
  if (!fs::exists(path)) {
    core::throw_user(
        "no GPU support: {} is not there; `cmake --preset cuda && cmake --build --preset cuda` "
        "makes it (docs/GPU.md)",
        path.string());
  }
  void* library = ::dlopen(path.c_str(), RTLD_NOW | RTLD_GLOBAL);
  if (library == nullptr) {
    core::throw_user("no GPU support: {} cannot be opened: {}; docs/GPU.md lists what it needs",
                     path.string(), ::dlerror());
  }
  using Entry = const CudaPlugin* (*)();
  const auto entry = reinterpret_cast<Entry>(::dlsym(library, "ponder_cuda_plugin"));
  const CudaPlugin* plugin = entry == nullptr ? nullptr : entry();
  if (plugin == nullptr || plugin->abi != kCudaPluginAbi) {
    core::throw_user("no GPU support: {} is of another build of ponder: build it again",
                     path.string());
  }
  if (plugin->device_count() == 0) {
    core::throw_user(
        "no GPU support: the plugin is there, but CUDA finds no GPU: does nvidia-smi "
        "list one?");
  }
  return plugin;
}

}  // namespace

const CudaPlugin& open_cuda_plugin() {
  static const CudaPlugin* plugin = open_plugin();
  return *plugin;
}

}  // namespace ponder::policy
