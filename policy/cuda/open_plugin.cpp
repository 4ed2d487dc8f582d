#include "policy/cuda/open_plugin.h"

#include <cstdlib>
#include <filesystem>
#include <string>
#include <string_view>

#include <dlfcn.h>

#include "core/error.h"

namespace ponder::policy {
namespace {

namespace fs = std::filesystem;

fs::path plugin_path() {
  const char* named = std::getenv("PONDER_CUDA_PLUGIN");
  if (named != nullptr && *named != '\0') return named;
  return fs::read_symlink("/proc/self/exe").parent_path() / "libponder_cuda.so";
}

// What provides a library that the loader did not find.
std::string remedy_for(std::string_view error) {
  struct Package {
    const char* library;
    const char* package;
  };
  constexpr Package kPackages[] = {{"libcufile", "nvidia-cufile"},
                                   {"libcusparseLt", "nvidia-cusparselt-cu13"},
                                   {"libnvshmem", "nvidia-nvshmem-cu13"},
                                   {"libcudnn", "nvidia-cudnn-cu13"},
                                   {"libnccl", "nvidia-nccl-cu13"}};
  for (const Package& p : kPackages) {
    if (error.starts_with(p.library)) {
      return fmt::format(
          "it is in NVIDIA's Python package {}: install it and put its folder lib on the "
          "LD_LIBRARY_PATH",
          p.package);
    }
  }
  if (error.find("cannot open shared object file") != std::string_view::npos)
    return "put the folder that has it on the LD_LIBRARY_PATH: the lib64 of CUDA 13.0, or "
           "LibTorch's";
  return "build it again with `cmake --build --preset cuda --target ponder_cuda`";
}

const CudaPlugin* open_plugin() {
  const fs::path path = plugin_path();
  if (!fs::exists(path)) {
    core::throw_user(
        "no GPU support: {} is not there; `cmake --preset cuda && cmake --build --preset cuda "
        "--target ponder_cuda` makes it, and PONDER_CUDA_PLUGIN names it where it lies elsewhere "
        "(docs/GPU.md)",
        path.string());
  }
  void* library = ::dlopen(path.c_str(), RTLD_NOW | RTLD_GLOBAL);
  if (library == nullptr) {
    const std::string error = ::dlerror();
    core::throw_user("no GPU support: {} cannot be opened: {}; {} (docs/GPU.md)", path.string(),
                     error, remedy_for(error));
  }
  using Entry = const CudaPlugin* (*)();
  const auto entry = reinterpret_cast<Entry>(::dlsym(library, "ponder_cuda_plugin"));
  const CudaPlugin* plugin = entry == nullptr ? nullptr : entry();
  if (plugin == nullptr || plugin->abi != kCudaPluginAbi) {
    core::throw_user(
        "no GPU support: {} is {}: build it again with `cmake --build --preset cuda --target "
        "ponder_cuda`",
        path.string(),
        plugin == nullptr ? "no plugin of ponder"
                          : fmt::format("of another build of ponder (plugin version {}, this "
                                        "program's is {})",
                                        plugin->abi, kCudaPluginAbi));
  }
  if (plugin->device_count() == 0) {
    core::throw_user(
        "no GPU support: {} is in order, but CUDA finds no GPU: {}; does nvidia-smi list one, and "
        "does CUDA_VISIBLE_DEVICES leave one?",
        path.string(), plugin->why_no_device());
  }
  return plugin;
}

}  // namespace

const CudaPlugin& open_cuda_plugin() {
  static const CudaPlugin* plugin = open_plugin();
  return *plugin;
}

}  // namespace ponder::policy
