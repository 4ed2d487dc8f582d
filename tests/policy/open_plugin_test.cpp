// What a user reads where a GPU is asked for and cannot be had.
#include "policy/cuda/open_plugin.h"

#include <cstdlib>
#include <fstream>
#include <functional>

#include <gmock/gmock.h>

#include "core/error.h"
#include "tests/support/temp_dir.h"

namespace ponder::policy {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

std::string error_with(const std::filesystem::path& plugin) {
  ::setenv("PONDER_CUDA_PLUGIN", plugin.c_str(), 1);
  std::string error = "no error";
  try {
    open_cuda_plugin();
  } catch (const core::UserError& caught) {
    error = caught.what();
  }
  ::unsetenv("PONDER_CUDA_PLUGIN");
  return error;
}

std::filesystem::path built(const char* name) {
  return std::filesystem::path(PONDER_BINARY_DIR) / "tests/policy/plugins" / name;
}

TEST(OpenPlugin, NamesTheCommandThatMakesIt) {
  EXPECT_THAT(error_with("/no/such/libponder_cuda.so"),
              AllOf(HasSubstr("/no/such/libponder_cuda.so is not there"),
                    HasSubstr("cmake --preset cuda")));
}

TEST(OpenPlugin, AFileThatIsNoLibraryIsNamed) {
  const test::TempDir dir;
  const std::filesystem::path path = dir.path() / "libponder_cuda.so";
  std::ofstream(path) << "not a library";
  EXPECT_THAT(error_with(path), AllOf(HasSubstr(path.string()), HasSubstr("cannot be opened"),
                                      HasSubstr("build it again")));
}

TEST(OpenPlugin, AMissingLibraryIsNamedWithItsPackage) {
  EXPECT_THAT(error_with(built("needy/libneedy.so")),
              AllOf(HasSubstr("libcufile.so: cannot open shared object file"),
                    HasSubstr("nvidia-cufile"), HasSubstr("LD_LIBRARY_PATH")));
}

TEST(OpenPlugin, AnotherLibraryOrAnotherBuildIsRefused) {
  EXPECT_THAT(error_with(built("absent/libcufile.so")), HasSubstr("no plugin of ponder"));
  EXPECT_THAT(error_with(built("libold.so")),
              AllOf(HasSubstr("another build"), HasSubstr("plugin version 0")));
}

TEST(OpenPlugin, WithoutAGpuSaysWhatCudaSays) {
  EXPECT_THAT(error_with(built("libgpuless.so")),
              AllOf(HasSubstr("CUDA finds no GPU: the driver is away"), HasSubstr("nvidia-smi")));
}

}  // namespace
}  // namespace ponder::policy
