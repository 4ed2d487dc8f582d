// `ponder serve` as its clients see it: OpenAI's own, and some that misbehave (serve_client.py).
#include <gtest/gtest.h>

#include "core/file.h"
#include "tests/support/small_run.h"

namespace ponder {
namespace {

constexpr const char* kModel = "examples/tiny-v3-base";

TEST(Serve, SpeaksWithOpenAisClient) {
  if (test::oracle_python().empty())
    GTEST_SKIP() << "PONDER_ORACLE_PYTHON is not set: `make test` sets it where tools/oracle could "
                    "install openai";
  const test::TempDir folder;
  const auto chat = folder.path() / "chat.jinja";
  core::write_file_atomic(
      chat,
      "{% for m in messages if m.role != 'system' %}{% if m.role != 'user' %}"
      "{{ raise_exception('no such role') }}{% endif %}User: {{ m.content }}\n{% endfor %}"
      "{% if add_generation_prompt %}Assistant:{% endif %}");
  const test::Outcome outcome = test::run(
      {test::oracle_python(), "tests/cli/serve_client.py", test::kPonder, kModel, chat.string()});
  EXPECT_EQ(outcome.status, 0) << outcome.out << outcome.err;
}

TEST(Serve, WrongWordsAreNamed) {
  const auto refused = [](const std::vector<std::string>& more, const std::string& words) {
    std::vector<std::string> all = {test::kPonder, "serve", kModel};
    all.insert(all.end(), more.begin(), more.end());
    const test::Outcome outcome = test::run(all);
    EXPECT_EQ(outcome.status, 2) << outcome.err;
    EXPECT_NE(outcome.err.find(words), std::string::npos) << outcome.err;
  };
  refused({"--host", "no.such.host.invalid"}, "no such address");
  refused({"--port", "70000"}, "--port");
  refused({"--chat-template", "/nonexistent.jinja"}, "/nonexistent.jinja");
}

}  // namespace
}  // namespace ponder
