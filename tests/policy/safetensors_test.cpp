#include "policy/safetensors.h"

#include <cstring>
#include <filesystem>
#include <fstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/error.h"
#include "core/file.h"
#include "tests/fuzz/mutate.h"
#include "tests/fuzz/safetensors_fuzz.h"
#include "tests/support/temp_dir.h"

namespace ponder::policy {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

// A folder of this test's own, removed at its end.
class SafetensorsTest : public ::testing::Test {
 protected:
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

  test::TempDir temp_;
  const fs::path folder_ = temp_.path();
};

TEST_F(SafetensorsTest, RoundTripKeepsEveryDtype) {
  NamedTensors saved;
  for (const auto dtype : {at::kFloat, at::kHalf, at::kBFloat16, at::kFloat8_e4m3fn, at::kDouble,
                           at::kLong, at::kInt, at::kShort, at::kChar, at::kByte, at::kBool}) {
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

const fs::path kGolden =
    fs::path(PONDER_SOURCE_DIR) / "tests/golden/safetensors/golden.safetensors";

// What tools/make_safetensors_golden.py gave to Python's safetensors, in another order.
NamedTensors golden_tensors() {
  const std::pair<const char*, at::ScalarType> dtypes[] = {
      {"float32", at::kFloat},     {"float16", at::kHalf},
      {"bfloat16", at::kBFloat16}, {"float8_e4m3fn", at::kFloat8_e4m3fn},
      {"float64", at::kDouble},    {"int64", at::kLong},
      {"int32", at::kInt},         {"int16", at::kShort},
      {"int8", at::kChar},         {"uint8", at::kByte},
      {"bool", at::kBool}};
  NamedTensors tensors = {{"quoted \"näme\"\n", at::ones({1})},
                          {"scalar", at::scalar_tensor(2.5)},
                          {"empty", at::zeros({0, 4})}};
  for (const char* letter : {"a.", "b."}) {
    for (const auto& [name, dtype] : dtypes)
      tensors.emplace_back(letter + std::string(name), at::arange(6).reshape({2, 3}).to(dtype));
  }
  return tensors;
}

TEST_F(SafetensorsTest, WritesTheBytesThatPythonWrites) {
  save_safetensors(folder_ / "m.safetensors", golden_tensors());
  EXPECT_EQ(core::read_file(folder_ / "m.safetensors", "written"),
            core::read_file(kGolden, "golden"));
}

TEST_F(SafetensorsTest, ReadsWhatPythonWrote) {
  const SafetensorsFile file(kGolden);
  const NamedTensors tensors = golden_tensors();
  EXPECT_EQ(file.names().size(), tensors.size());
  for (const auto& [name, tensor] : tensors) {
    SCOPED_TRACE(name);
    EXPECT_TRUE(file.tensor(name).to(at::kDouble).equal(tensor.to(at::kDouble)));
    EXPECT_EQ(file.info(name).dtype, tensor.scalar_type());
  }
}

TEST_F(SafetensorsTest, AlignedTensorsAreViewsAndOthersCopies) {
  const std::string one = R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})";
  const float value = 1.5;
  const std::string data(reinterpret_cast<const char*>(&value), sizeof value);
  for (const size_t padding : {0, 1, 2, 3, 4}) {
    const SafetensorsFile file(write(one + std::string(padding, ' '), data));
    EXPECT_EQ(file.tensor("a").item<float>(), 1.5f);
    EXPECT_EQ(file.tensor("a").data_ptr() == file.tensor("a").data_ptr(),
              (one.size() + padding) % 4 == 0);
  }
}

TEST_F(SafetensorsTest, EachMalformedFileHasItsOwnError) {
  const auto tensor = [](const char* dtype, const char* shape, const char* offsets) {
    return fmt::format(R"({{"dtype":"{}","shape":{},"data_offsets":{}}})", dtype, shape, offsets);
  };
  const std::string f32 = tensor("F32", "[2]", "[0,8]");
  struct Case {
    const char* name;
    std::string header;
    size_t data_bytes;
    const char* says;
  };
  const std::string deep = fuzz::nested_lists(200'000);
  const Case kCases[] = {
      {"NotJson", "{\"a\":", 0, "broken JSON"},
      {"DeepShape", "{\"a\":" + tensor("F32", deep.c_str(), "[0,8]") + "}", 8,
       "nested deeper than 200"},
      {"DeepDtype", R"({"a":{"dtype":)" + deep + R"(,"shape":[2],"data_offsets":[0,8]}})", 8,
       "nested deeper than 200"},
      {"NotAnObject", "[]", 0, "expected an object"},
      {"EntryNoObject", R"({"a":1})", 0, "tensor 'a': expected an object"},
      {"NoDtype", R"({"a":{"shape":[],"data_offsets":[0,4]}})", 4, "'dtype' is missing"},
      {"UnknownDtype", "{\"a\":" + tensor("Q4", "[2]", "[0,8]") + "}", 8, "unknown dtype 'Q4'"},
      {"ShapeNoList", "{\"a\":" + tensor("F32", "2", "[0,8]") + "}", 8, "shape is"},
      {"NegativeSize", "{\"a\":" + tensor("F32", "[-2]", "[0,8]") + "}", 8, "not negative"},
      {"FractionalSize", "{\"a\":" + tensor("F32", "[2.0]", "[0,8]") + "}", 8, "whole number"},
      {"OverflowingShape", "{\"a\":" + tensor("F32", "[4294967296,4294967296]", "[0,8]") + "}", 8,
       "more bytes than 64 bits"},
      {"OverflowingSize", "{\"a\":" + tensor("F32", "[18446744073709551615]", "[0,8]") + "}", 8,
       "out of range"},
      {"ShapeAgainstOffsets", "{\"a\":" + tensor("F32", "[3]", "[0,8]") + "}", 8,
       "span 8 bytes, but shape [3] in F32 takes 12"},
      {"OffsetsBackwards", "{\"a\":" + tensor("F32", "[2]", "[8,0]") + "}", 8,
       "end before they begin"},
      {"ThreeOffsets", "{\"a\":" + tensor("F32", "[2]", "[0,8,8]") + "}", 8, "two numbers"},
      {"Overlap", "{\"a\":" + f32 + ",\"b\":" + tensor("F32", "[2]", "[4,12]") + "}", 12,
       "overlaps"},
      {"Hole", "{\"a\":" + f32 + ",\"b\":" + tensor("F32", "[1]", "[12,16]") + "}", 16,
       "4 bytes before tensor 'b'"},
      {"Twice", "{\"a\":" + f32 + ",\"a\":" + f32 + "}", 8, "names the tensor 'a' twice"},
      {"Truncated", "{\"a\":" + f32 + "}", 5, "the file is truncated; download or save it again"},
      {"TooLong", "{\"a\":" + f32 + "}", 9, "bytes after the last tensor"},
      {"HugeOffsets",
       "{\"a\":" + tensor("U8", "[9223372036854775807]", "[0,9223372036854775807]") + "}", 8,
       "truncated"},
      {"MetadataNoText", R"({"__metadata__":{"a":1}})", 0, "__metadata__ 'a' is not a string"},
  };
  for (const Case& c : kCases) {
    SCOPED_TRACE(c.name);
    const fs::path path = write(c.header, std::string(c.data_bytes, 'x'));
    EXPECT_THAT(error_of(path), HasSubstr(c.says));
    EXPECT_THAT(error_of(path), HasSubstr(path.string()));
    EXPECT_EQ(error_of(path).find('\n'), std::string::npos);
  }
}

TEST_F(SafetensorsTest, BrokenLengthsAreErrors) {
  EXPECT_THAT(error_of(folder_ / "none"), HasSubstr("No such file"));
  EXPECT_THAT(error_of(write_raw("")), HasSubstr("0 bytes are too few"));
  EXPECT_THAT(error_of(write_raw("1234567")), HasSubstr("7 bytes are too few"));
  EXPECT_THAT(error_of(write_raw(std::string("\x10\0\0\0\0\0\0\0{}", 10))),
              HasSubstr("claims 16 bytes, but only 2 follow"));
  EXPECT_THAT(error_of(write_raw(std::string(16, '\xFF'))), HasSubstr("more than the format's"));
}

TEST_F(SafetensorsTest, MissingTensorNamesTheNearest) {
  const SafetensorsFile file(kGolden);
  try {
    file.tensor("a.float33");
    ADD_FAILURE();
  } catch (const core::UserError& error) {
    EXPECT_THAT(error.what(), HasSubstr("no tensor 'a.float33', did you mean 'a.float32'?"));
  }
}

TEST_F(SafetensorsTest, ShardsFollowHuggingFace) {
  const NamedTensors tensors = {{"a", at::ones({10})},
                                {"b", at::ones({10})},
                                {"big", at::ones({100})},
                                {"c", at::ones({10})}};
  save_weight_shards(folder_, tensors, 100);
  EXPECT_TRUE(fs::exists(folder_ / "model-00001-of-00003.safetensors"));
  const std::string index = core::read_file(folder_ / "model.safetensors.index.json", "index");
  // huggingface_hub.split_torch_state_dict_into_shards for the same sizes, written as transformers
  // does.
  EXPECT_EQ(index, R"({
  "metadata": {
    "total_parameters": 130,
    "total_size": 520
  },
  "weight_map": {
    "a": "model-00002-of-00003.safetensors",
    "b": "model-00002-of-00003.safetensors",
    "big": "model-00001-of-00003.safetensors",
    "c": "model-00003-of-00003.safetensors"
  }
}
)");
  const WeightFolder folder(folder_);
  EXPECT_THAT(folder.names(), ::testing::ElementsAre("a", "b", "big", "c"));
  for (const auto& [name, tensor] : tensors) EXPECT_TRUE(folder.tensor(name).equal(tensor));
  EXPECT_THROW(folder.tensor("bug"), core::UserError);

  save_weight_shards(folder_, tensors, 1000);
  EXPECT_FALSE(fs::exists(folder_ / "model-00001-of-00003.safetensors"));
  EXPECT_FALSE(fs::exists(folder_ / "model.safetensors.index.json"));
  EXPECT_EQ(WeightFolder(folder_).names().size(), 4);
}

TEST_F(SafetensorsTest, BrokenIndexesAreErrors) {
  const auto error = [&](const std::string& index) -> std::string {
    write_raw(index, "model.safetensors.index.json");
    try {
      WeightFolder(folder_).tensor("a");
    } catch (const core::UserError& failure) {
      return failure.what();
    }
    return "no error";
  };
  EXPECT_THROW(WeightFolder{folder_}, core::UserError);
  save_safetensors(folder_ / "s.safetensors", {{"b", at::ones({1})}});
  EXPECT_THAT(error("{"), HasSubstr("broken JSON"));
  EXPECT_THAT(error(R"({"weight_map":{"a":)" + fuzz::nested_lists(200'000) + "}}"),
              HasSubstr("model.safetensors.index.json: JSON that is nested deeper than 200"));
  EXPECT_THAT(error("{}"), HasSubstr("expected an object 'weight_map'"));
  EXPECT_THAT(error(R"({"weight_map":{"a":"gone.safetensors"}})"),
              HasSubstr("gone.safetensors, which is missing"));
  EXPECT_THAT(error(R"({"weight_map":{"a":"../s.safetensors"}})"),
              HasSubstr("expected the name of a file"));
  EXPECT_THAT(error(R"({"weight_map":{"a":3}})"), HasSubstr("expected the name of a file"));
  EXPECT_THAT(error(R"({"weight_map":{"a":"s.safetensors"}})"),
              HasSubstr("tensor 'a' is missing, but"));
}

TEST_F(SafetensorsTest, FailedWriteLeavesTheOldFile) {
  save_safetensors(folder_ / "m.safetensors", {{"a", at::ones({1})}});
  fs::create_directory(folder_ / "m.safetensors.part");  // in the way of the temporary file
  EXPECT_THROW(save_safetensors(folder_ / "m.safetensors", {{"b", at::ones({1})}}), core::RunError);
  EXPECT_TRUE(SafetensorsFile(folder_ / "m.safetensors").contains("a"));
}

TEST_F(SafetensorsTest, MutatedFilesLoadOrAreRefused) {
  const std::string seed = core::read_file(kGolden, "golden");
  const std::vector<std::string> dictionary = {"null", "-1",          "0",  "18446744073709551615",
                                               "1e9",  "[]",          "{}", "\"F64\"",
                                               "\xFF", "\"\"",        ",",  ":",
                                               "\"",   "[",           "]",  "{",
                                               "}",    "__metadata__"};
  const char* asked = std::getenv("PONDER_FUZZ_ROUNDS");
  const int rounds = asked != nullptr ? std::atoi(asked) : 3000;
  std::mt19937_64 random(1);
  int counts[2] = {0, 0};
  for (int i = 0; i < rounds; ++i) {
    const std::string text = fuzz::mutate(seed, random, dictionary);
    int loaded = -1;
    ASSERT_NO_THROW(
        loaded = fuzz::fuzz_safetensors(reinterpret_cast<const uint8_t*>(text.data()), text.size()))
        << i;
    ++counts[loaded == 0 ? 0 : 1];
  }
  EXPECT_GT(counts[0], 0);
  EXPECT_GT(counts[1], 0);
}

}  // namespace
}  // namespace ponder::policy
