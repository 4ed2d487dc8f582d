#include "policy/safetensors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <fstream>

#include "core/error.h"
#include "core/file.h"

namespace ponder::policy {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

// A folder of this test's own, removed at its end.
class SafetensorsTest : public ::testing::Test {
 protected:
  SafetensorsTest() {
    std::string name = (fs::temp_directory_path() / "ponder-safetensors-XXXXXX").string();
    folder_ = ::mkdtemp(name.data());
  }
  ~SafetensorsTest() override { fs::remove_all(folder_); }

  // A file with this header (padded or not is the caller's choice) and `data`.
  fs::path write(const std::string& header, const std::string& data = "") {
    const uint64_t length = header.size();
    std::string content(reinterpret_cast<const char*>(&length), sizeof length);
    return write_raw(content + header + data);
  }
  fs::path write_raw(const std::string& content, const std::string& name = "weights.safetensors") {
    std::ofstream(folder_ / name, std::ios::binary) << content;
    return folder_ / name;
  }
  std::string error_of(const fs::path& path) {
    try {
      SafetensorsFile file(path);
    } catch (const core::UserError& error) {
      return error.what();
    }
    return "no error";
  }

  fs::path folder_;
};

TEST_F(SafetensorsTest, RoundTripKeepsEveryDtype) {
  NamedTensors saved;
  for (const auto dtype : {at::kFloat, at::kHalf, at::kBFloat16, at::kFloat8_e4m3fn, at::kDouble, at::kLong, at::kInt,
                           at::kShort, at::kChar, at::kByte, at::kBool}) {
    saved.emplace_back(c10::toString(dtype), at::arange(6).reshape({2, 3}).to(dtype));
  }
  saved.emplace_back("scalar", at::scalar_tensor(2.5));
  saved.emplace_back("empty", at::empty({0, 4}));
  saved.emplace_back("strided", at::arange(6).reshape({2, 3}).t());
  save_safetensors(folder_ / "m.safetensors", saved);
  const SafetensorsFile file(folder_ / "m.safetensors");
  EXPECT_EQ(file.names().size(), saved.size());
  EXPECT_EQ(file.metadata().at("format"), "pt");
  for (const auto& [name, tensor] : saved) {
    SCOPED_TRACE(name);
    const at::Tensor loaded = file.tensor(name);
    EXPECT_EQ(loaded.scalar_type(), tensor.scalar_type());
    EXPECT_EQ(loaded.sizes(), tensor.sizes());
    EXPECT_TRUE(loaded.to(at::kDouble).equal(tensor.to(at::kDouble)));
  }
}

TEST_F(SafetensorsTest, TensorOutlivesItsFile) {
  save_safetensors(folder_ / "m.safetensors", {{"a", at::arange(1000)}});
  at::Tensor tensor;
  {
    tensor = SafetensorsFile(folder_ / "m.safetensors").tensor("a");
    fs::remove(folder_ / "m.safetensors");
  }
  EXPECT_TRUE(tensor.equal(at::arange(1000)));
}

}  // namespace
}  // namespace ponder::policy
