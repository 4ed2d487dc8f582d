#include "policy/gguf.h"

#include <cmath>
#include <cstring>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/error.h"
#include "core/file.h"
#include "tests/support/gguf_builder.h"

namespace ponder::policy {
namespace {

using test::GgufBuilder;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

const std::filesystem::path kGolden =
    std::filesystem::path(PONDER_SOURCE_DIR) / "tests/golden/gguf";

GgufContent parse(const std::string& bytes) {
  return GgufContent(std::as_bytes(std::span(bytes)), "f.gguf");
}

std::string error_of(const std::string& bytes) {
  try {
    parse(bytes);
  } catch (const core::UserError& error) {
    return error.what();
  }
  return "no error";
}

// blocks.f32 holds what the PyPI package gguf decodes the tensors of blocks.gguf to.
TEST(Gguf, DecodesEveryTypeToTheBitsOfTheReference) {
  const GgufFile file(kGolden / "blocks.gguf");
  const std::string expected = core::read_file(kGolden / "blocks.f32", "golden");
  size_t position = 0;
  for (const GgufTensor& tensor : file.content().tensors()) {
    SCOPED_TRACE(tensor.name);
    EXPECT_EQ(ggml_block(tensor.type).name, tensor.name);
    std::vector<float> values(tensor.numel());
    dequantize_ggml(tensor.type, tensor.data, values);
    const size_t bytes = values.size() * sizeof(float);
    ASSERT_LE(position + bytes, expected.size());
    EXPECT_EQ(std::memcmp(values.data(), expected.data() + position, bytes), 0);
    position += bytes;
  }
  EXPECT_EQ(position, expected.size());
  EXPECT_EQ(file.content().tensors().size(), 11u);
  EXPECT_THAT(file.content().find_tensor("Q6_K")->shape, ElementsAre(3, 512));
}

TEST(Gguf, ReadsEveryTypeOfMetadata) {
  const GgufFile file(kGolden / "blocks.gguf");
  const GgufContent& c = file.content();
  EXPECT_EQ(c.text("general.name"), "blöcke");
  EXPECT_EQ(c.integer("t.uint8"), 200);
  EXPECT_EQ(c.integer("t.int8"), -100);
  EXPECT_EQ(c.integer("t.uint16"), 60000);
  EXPECT_EQ(c.integer("t.int16"), -30000);
  EXPECT_EQ(c.integer("t.uint32"), 4000000000);
  EXPECT_EQ(c.integer("t.int32"), -2000000000);
  EXPECT_EQ(c.integer("t.uint64"), int64_t{1} << 62);
  EXPECT_EQ(c.integer("t.int64"), -(int64_t{1} << 62));
  EXPECT_EQ(c.number("t.float32"), 1e-6f);
  EXPECT_EQ(c.number("t.float64"), 1e-300);
  EXPECT_EQ(c.number("t.uint8"), 200.0);
  EXPECT_EQ(c.boolean("t.bool"), true);
  EXPECT_THAT(*c.texts("t.texts"), ElementsAre("a", "", "ü漢🙂"));
  EXPECT_THAT(*c.integers("t.integers"), ElementsAre(3, -1, 2));
  EXPECT_THAT(*c.numbers("t.numbers"), ElementsAre(0.5f, -2.0f));
  EXPECT_EQ(c.integer("none"), std::nullopt);
  EXPECT_THROW(c.require_integer("none"), core::UserError);
}

TEST(Gguf, WrongTypesOfMetadataAreErrorsWithKeyAndByte) {
  const std::string bytes = GgufBuilder()
                                .head(0, 4)
                                .value("a", 4, uint32_t{7})
                                .value("b", "text \xFF")
                                .value<uint64_t>("c", 10, UINT64_MAX)
                                .list("d", 6, 1)
                                .put(1.0f)
                                .bytes();
  const GgufContent file = parse(bytes);
  const auto says = [](const std::function<void()>& read, const char* what) {
    try {
      read();
      ADD_FAILURE() << "no error: " << what;
    } catch (const core::UserError& error) {
      EXPECT_THAT(error.what(), HasSubstr(what));
    }
  };
  says([&] { file.text("a"); }, "f.gguf: byte 37: a is uint32, expected a text");
  says([&] { file.integers("a"); }, "a is uint32, expected a list");
  says([&] { file.boolean("a"); }, "a is uint32, expected true or false");
  says([&] { file.text("b"); }, "b is not UTF-8");
  says([&] { file.integer("b"); }, "b is text, expected an integer");
  says([&] { file.integer("c"); }, "c is beyond 2^63");
  says([&] { file.integers("d"); }, "d is a list of float32, expected a list of integers");
  says([&] { file.number("d"); }, "d is a list of float32, expected a single value");
}

TEST(Gguf, HalfPrecisionIsExact) {
  const std::pair<uint16_t, float> cases[] = {{0x0000, 0.0f},
                                              {0x0001, std::ldexp(1.0f, -24)},
                                              {0x03FF, std::ldexp(1023.0f, -24)},
                                              {0x0400, 6.103515625e-5f},
                                              {0x3C00, 1.0f},
                                              {0xC000, -2.0f},
                                              {0x7BFF, 65504.0f},
                                              {0x8001, -std::ldexp(1.0f, -24)}};
  for (const auto& [bits, value] : cases) EXPECT_EQ(half_to_float(bits), value) << bits;
  EXPECT_TRUE(std::signbit(half_to_float(0x8000)));
  EXPECT_TRUE(std::isinf(half_to_float(0x7C00)));
  EXPECT_TRUE(std::isnan(half_to_float(0x7E01)));
}

TEST(Gguf, EachMalformedFileHasItsOwnError) {
  constexpr uint64_t kHuge = uint64_t{1} << 60;
  const auto one = [](const std::vector<uint64_t>& sizes, uint32_t type, uint64_t offset,
                      size_t bytes) {
    return GgufBuilder().head(1, 0).tensor("t", sizes, type, offset).data(bytes).bytes();
  };
  const struct {
    const char* name;
    std::string bytes;
    const char* says;
  } cases[] = {
      {"Empty", "", "does not begin with 'GGUF'"},
      {"OtherMagic", "GGML............", "does not begin with 'GGUF'"},
      {"Version", GgufBuilder().head(0, 0, 1).bytes(),
       "byte 4: GGUF version 1, expected version 2 or 3"},
      {"BigEndian", GgufBuilder().head(0, 0, 0x03000000).bytes(), "a big-endian GGUF file"},
      {"CutHead", GgufBuilder().raw("GGUF").put<uint32_t>(3).bytes(),
       "claims 8 bytes, but only 0 follow"},
      {"TensorCount", GgufBuilder().head(kHuge, 0).bytes(),
       "byte 8: tensors are claimed to be 1152921504606846976, but the 0 bytes that follow"},
      {"ValueCount", GgufBuilder().head(0, kHuge).bytes(), "byte 16: metadata values are claimed"},
      {"KeyLength", GgufBuilder().head(0, 1).put(kHuge).data(64).bytes(),
       "a metadata key claims 1152921504606846976 bytes"},
      {"KeyNoText", GgufBuilder().head(0, 1).value("\xFF\xFE", 0, uint8_t{1}).bytes(),
       "is no UTF-8 text"},
      {"EmptyKey", GgufBuilder().head(0, 1).value("", 4, uint32_t{1}).bytes(), "is no UTF-8 text"},
      {"ValueType", GgufBuilder().head(0, 1).value("k", 13, uint64_t{1}).bytes(),
       "a value's type is 13, expected 0 to 12"},
      {"TextLength", GgufBuilder().head(0, 1).text("k").put<uint32_t>(8).put(kHuge).bytes(),
       "a text claims 1152921504606846976 bytes"},
      {"ListLength", GgufBuilder().head(0, 1).list("k", 4, kHuge).bytes(),
       "the elements of k are claimed to be 1152921504606846976"},
      {"ListOfTexts", GgufBuilder().head(0, 1).list("k", 8, kHuge).bytes(), "the elements of k"},
      {"TextInList", GgufBuilder().head(0, 1).list("k", 8, 1).put(kHuge).data(8).bytes(),
       "a text claims 1152921504606846976 bytes"},
      {"ListOfLists", GgufBuilder().head(0, 1).list("k", 9, 1).list("x", 4, 0).bytes(),
       "k is a list of lists"},
      {"KeyTwice",
       GgufBuilder().head(0, 2).value("k", 4, uint32_t{1}).value("k", 4, uint32_t{2}).bytes(),
       "the metadata key k is given twice"},
      {"NoDimensions", one({}, 0, 0, 64), "has 0 dimensions, expected 1 to 4"},
      {"FiveDimensions", one({1, 1, 1, 1, 1}, 0, 0, 64), "has 5 dimensions"},
      {"SizeZero", one({0}, 0, 0, 64), "tensor 't' has a size of 0"},
      {"Overflow", one({kHuge, 64}, 0, 0, 64), "shape [64, 1152921504606846976] has more bytes"},
      {"Type", one({32}, 16, 0, 64), "tensor 't' has type 16 (IQ2_XXS), expected F32"},
      {"UnknownType", one({32}, 77, 0, 64), "tensor 't' has type 77, expected F32"},
      {"RowsNoBlocks", one({33}, 2, 0, 64), "rows of 33 values, expected a multiple of 32"},
      {"Misaligned", one({4}, 0, 8, 64), "tensor 't' lies at 8, expected a multiple of 32"},
      {"BeyondTheEnd", one({64}, 0, 0, 64), "ends beyond the file's"},
      {"OffsetBeyond", one({4}, 0, kHuge, 64), "ends beyond the file's"},
      {"OffsetOverflows", one({4}, 0, UINT64_MAX - 31, 64), "ends beyond the file's"},
      {"Overlap",
       GgufBuilder().head(2, 0).tensor("a", {16}, 0, 0).tensor("b", {4}, 0, 32).data(64).bytes(),
       "tensor 'b' overlaps 'a'"},
      {"TensorTwice",
       GgufBuilder().head(2, 0).tensor("a", {4}, 0, 0).tensor("a", {4}, 0, 32).data(64).bytes(),
       "tensor 'a' is given twice"},
      {"Alignment", GgufBuilder().head(0, 1).value("general.alignment", 4, uint32_t{3}).bytes(),
       "general.alignment is 3, expected a power of two"},
      {"AlignmentType", GgufBuilder().head(0, 1).value("general.alignment", "32").bytes(),
       "general.alignment is text, expected an integer"},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.name);
    EXPECT_THAT(error_of(c.bytes), HasSubstr(c.says));
    EXPECT_THAT(error_of(c.bytes), HasSubstr("f.gguf: "));
    EXPECT_EQ(error_of(c.bytes).find('\n'), std::string::npos);
  }
}

TEST(Gguf, EveryCutOfAFileIsRefused) {
  const std::string whole = core::read_file(kGolden / "blocks.gguf", "golden");
  for (size_t size = 0; size + 32 < whole.size(); size += 7)  // its last 32 bytes are padding
    EXPECT_THROW(parse(whole.substr(0, size)), core::UserError) << size;
}

TEST(Gguf, MissingFileIsAnError) {
  EXPECT_THROW(GgufFile("no-such.gguf"), core::UserError);
}

}  // namespace
}  // namespace ponder::policy
