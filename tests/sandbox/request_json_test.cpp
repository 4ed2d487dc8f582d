#include "sandbox/request_json.h"

#include <nlohmann/json.hpp>

#include <gtest/gtest.h>

#include "core/error.h"

namespace ponder::sandbox {
namespace {

using Json = nlohmann::json;

// Test vectors of RFC 4648, section 10.
TEST(Base64, KnowsTheVectorsOfItsRfc) {
  const std::pair<const char*, const char*> kVectors[] = {{"", ""},
                                                          {"f", "Zg=="},
                                                          {"fo", "Zm8="},
                                                          {"foo", "Zm9v"},
                                                          {"foob", "Zm9vYg=="},
                                                          {"fooba", "Zm9vYmE="},
                                                          {"foobar", "Zm9vYmFy"}};
  for (const auto& [plain, encoded] : kVectors) {
    EXPECT_EQ(base64_encode(plain), encoded);
    EXPECT_EQ(base64_decode(encoded), plain);
  }
}

TEST(Base64, EveryByteSurvives) {
  std::string bytes;
  for (int i = 0; i < 256; ++i) bytes += static_cast<char>(i);
  EXPECT_EQ(base64_decode(base64_encode(bytes)), bytes);
}

TEST(Base64, GarbageIsRefused) {
  for (const char* text : {"Zg", "Z===", "Zg=a", "Z g=", "\xff\xff\xff\xff"})
    EXPECT_THROW(base64_decode(text), core::UserError);
}

std::string error_of(const char* json) {
  try {
    request_from_json(Json::parse(json));
  } catch (const core::UserError& error) {
    return error.what();
  }
  return "";
}

TEST(RequestFromJson, ReadsTheSuitesForm) {
  const Request request = request_from_json(Json::parse(
      R"({"language":"cpp","mode":"stdin","code_b64":"Zm9v","stdin_b64":"Zg==","expected_b64":null,"tests":null,
          "limits":{"cpu_s":1.5,"mem_mb":64,"pids":3}})"));
  EXPECT_EQ(request.language, "cpp");
  EXPECT_EQ(request.code, "foo");
  ASSERT_EQ(request.tests.size(), 1U);
  EXPECT_EQ(request.tests[0].input, "f");
  EXPECT_FALSE(request.tests[0].expected.has_value());
  EXPECT_EQ(request.limits.cpu_s, 1.5);
  EXPECT_EQ(request.limits.memory_bytes, 64U << 20);
  EXPECT_EQ(request.limits.processes, 3U);
  EXPECT_EQ(request.limits.open_files, Limits().open_files);
}

TEST(RequestFromJson, NamesWhatIsWrong) {
  const std::pair<const char*, const char*> kCases[] = {
      {R"({})", "code"},
      {R"([1])", "object"},
      {R"({"code":1})", "code"},
      {R"({"code":"","limts":{}})", "did you mean 'limits'"},
      {R"({"code":"","limits":{"cpu":1}})", "'cpu'"},
      {R"({"code":"","limits":{"cpu_s":-1}})", "limits.cpu_s"},
      {R"({"code":"","limits":{"mem_mb":"many"}})", "limits.mem_mb"},
      {R"({"code":"","mode":"repl"})", "repl"},
      {R"({"code":"","mode":"function"})", "entry_point"},
      {R"({"code":"","tests":[]})", "tests"},
      {R"({"code_b64":"?"})", "base64"},
  };
  for (const auto& [json, part] : kCases)
    EXPECT_NE(error_of(json).find(part), std::string::npos) << json << "\n" << error_of(json);
}

TEST(ResultToJson, AnyBytesMakeValidJson) {
  Result result;
  result.out = std::string("\xff\0\xc3(", 4);
  EXPECT_NO_THROW(result_to_json(result).dump());
  EXPECT_EQ(base64_decode(reply_to_json(result)["stdout_b64"].get<std::string>()), result.out);
}

}  // namespace
}  // namespace ponder::sandbox
