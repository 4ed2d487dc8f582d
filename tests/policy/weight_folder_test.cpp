// Weights on disk as a model takes them: block scales, rows, and what is not read.
#include <filesystem>
#include <fstream>

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "core/error.h"
#include "core/file.h"
#include "policy/fp8.h"
#include "policy/safetensors.h"
#include "tests/support/temp_dir.h"

namespace ponder::policy {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

class WeightFolderTest : public ::testing::Test {
 protected:
  std::string error_of(const std::string& name) {
    try {
      WeightFolder(folder_).load(name, at::kFloat);
    } catch (const core::UserError& error) {
      return error.what();
    }
    return "no error";
  }
  void save(const NamedTensors& tensors) {
    save_safetensors(folder_ / "model.safetensors", tensors);
  }

  test::TempDir temp_;
  const fs::path folder_ = temp_.path();
};

TEST_F(WeightFolderTest, Fp8RowsAreThoseOfTheWholeMatrix) {
  const SafetensorsFile golden(fs::path(PONDER_SOURCE_DIR) / "tests/golden/fp8/v3.safetensors");
  save({{"w", golden.tensor("w")},
        {"w_scale_inv", golden.tensor("w_scale_inv")},
        {"plain", golden.tensor("float32")}});
  const WeightFolder folder(folder_);
  EXPECT_TRUE(folder.is_block_scale("w_scale_inv"));
  EXPECT_FALSE(folder.is_block_scale("w"));
  for (const auto dtype : {at::kFloat, at::kBFloat16}) {
    const at::Tensor want = golden.tensor(dtype == at::kFloat ? "float32" : "bfloat16");
    EXPECT_TRUE(at::equal(folder.load("w", dtype), want));
    const int64_t rows = want.size(0);
    const std::pair<int64_t, int64_t> ranges[] = {{0, rows}, {0, 1},   {127, 129},      {128, rows},
                                                  {5, 130},  {60, 60}, {rows - 1, rows}};
    for (const auto& [begin, end] : ranges) {
      EXPECT_TRUE(
          at::equal(folder.load_rows("w", begin, end, dtype), want.narrow(0, begin, end - begin)))
          << begin << " to " << end;
      EXPECT_TRUE(at::equal(folder.load_rows("plain", begin, end, dtype),
                            want.narrow(0, begin, end - begin)));
    }
  }
}

TEST_F(WeightFolderTest, LoadsIntoATensorWhatItLoads) {
  const SafetensorsFile golden(fs::path(PONDER_SOURCE_DIR) / "tests/golden/fp8/v3.safetensors");
  save({{"w", golden.tensor("w")},
        {"w_scale_inv", golden.tensor("w_scale_inv")},
        {"half", at::rand({70, 33}).to(at::kHalf)},
        {"plain", golden.tensor("float32")}});
  const WeightFolder folder(folder_);
  for (const char* name : {"w", "half", "plain"}) {
    const at::Tensor view = folder.tensor(name);
    for (const auto dtype : {at::kFloat, at::kBFloat16}) {
      const at::Tensor into = at::empty(view.sizes(), dtype);
      folder.load_into(name, into);
      EXPECT_TRUE(at::equal(into, folder.load(name, dtype))) << name;
    }
    // The pages were given back; a view reads them again.
    EXPECT_TRUE(at::equal(view.to(at::kFloat), folder.tensor(name).to(at::kFloat))) << name;
  }
}

TEST_F(WeightFolderTest, MissingOrMisshapenScalesAreErrors) {
  const at::Tensor w = at::randn({130, 260}).to(at::kFloat8_e4m3fn);
  save({{"w", w}});
  EXPECT_THAT(error_of("w"),
              HasSubstr("tensor 'w' is in F8_E4M3 without its block scales 'w_scale_inv'"));
  EXPECT_THAT(error_of("w"), HasSubstr("model.safetensors"));
  save({{"w", w}, {"w_scale_inv", at::ones({2, 2})}});
  EXPECT_THAT(error_of("w"), HasSubstr("of shape [2, 2], expected floating point of shape [2, 3]"));
  save({{"w", w}, {"w_scale_inv", at::ones({2, 3}, at::kInt)}});
  EXPECT_THAT(error_of("w"), HasSubstr("'w_scale_inv' is Int"));
  save({{"w", w.view({-1})}, {"w_scale_inv", at::ones({2, 3})}});
  EXPECT_THAT(error_of("w"), HasSubstr("expected a matrix in F8_E4M3, found 1 dimensions"));
  save({{"w", w}, {"w_scale_inv", at::ones({2, 3})}});
  EXPECT_EQ(error_of("w"), "no error");
}

// Resident pages of this process, in bytes.
int64_t resident() {
  std::ifstream statm("/proc/self/statm");
  int64_t total = 0, pages = 0;
  statm >> total >> pages;
  return pages * ::sysconf(_SC_PAGESIZE);
}

// A file of 64 GB with holes: reading more than is asked for would take hours, or the memory.
TEST_F(WeightFolderTest, ReadsOnlyTheRowsThatAreAskedFor) {
  constexpr int64_t kRows = 1 << 20, kCols = 1 << 14;
  const int64_t bytes = kRows * kCols * 4;
  std::string header = fmt::format(
      R"({{"big":{{"dtype":"F32","shape":[{},{}],"data_offsets":[0,{}]}}}})", kRows, kCols, bytes);
  header.resize((header.size() + 7) / 8 * 8, ' ');
  const uint64_t length = header.size();
  const fs::path path = folder_ / "model.safetensors";
  {
    std::ofstream file(path, std::ios::binary);
    file.write(reinterpret_cast<const char*>(&length), sizeof length);
    file << header;
  }
  std::error_code failed;
  fs::resize_file(path, 8 + length + bytes, failed);
  if (failed) GTEST_SKIP() << "no files with holes here: " << failed.message();
  const WeightFolder folder(folder_);
  const int64_t before = resident();
  const at::Tensor rows = folder.load_rows("big", kRows - 8, kRows, at::kBFloat16);
  EXPECT_EQ(rows.sizes(), at::IntArrayRef({8, kCols}));
  EXPECT_EQ(rows.sum().item<float>(), 0.0f);
  EXPECT_LT(resident() - before, 64 << 20);
}

TEST_F(WeightFolderTest, OtherShardsAreNotOpened) {
  save_weight_shards(folder_, {{"a", at::ones({64})}, {"b", at::ones({64})}}, 300);
  ASSERT_TRUE(fs::exists(folder_ / "model-00002-of-00002.safetensors"));
  std::ofstream(folder_ / "model-00002-of-00002.safetensors") << "damaged";
  EXPECT_TRUE(at::equal(WeightFolder(folder_).load("a", at::kFloat), at::ones({64})));
  EXPECT_THROW(WeightFolder(folder_).load("b", at::kFloat), core::UserError);
}

// One tensor at a time gives the files that all at once give.
TEST_F(WeightFolderTest, SourcesWriteTheSameBytesAsTensors) {
  at::manual_seed(1);
  const NamedTensors tensors = {{"c", at::randn({30})},
                                {"b", at::randn({5, 7}).to(at::kBFloat16)},
                                {"a", at::randn({40}).to(at::kFloat8_e4m3fn)}};
  fs::create_directory(folder_ / "x");
  fs::create_directory(folder_ / "y");
  int made = 0;
  std::vector<TensorSource> sources;
  for (const auto& [name, tensor] : tensors) {
    sources.push_back({name, tensor.scalar_type(), tensor.sizes().vec(), [&made, tensor = tensor] {
                         ++made;
                         return tensor;
                       }});
  }
  save_weight_shards(folder_ / "x", tensors, 130);
  save_weight_shards(folder_ / "y", sources, 130);
  EXPECT_EQ(made, 3);
  for (const auto& entry : fs::directory_iterator(folder_ / "x")) {
    EXPECT_EQ(core::read_file(entry.path(), "x"),
              core::read_file(folder_ / "y" / entry.path().filename(), "y"));
  }
}

TEST_F(WeightFolderTest, FailedSourceLeavesNoFile) {
  const std::vector<TensorSource> sources = {
      {"a", at::kFloat, {2}, []() -> at::Tensor { throw core::UserError("no such values"); }}};
  EXPECT_THROW(save_weight_shards(folder_, sources, 1000), core::UserError);
  EXPECT_TRUE(fs::is_empty(folder_));
}

}  // namespace
}  // namespace ponder::policy
