#include "tests/fuzz/jinja_fuzz.h"

#include <string_view>

#include "core/error.h"
#include "policy/jinja/template.h"
#include "policy/utf8.h"

namespace ponder::fuzz {

int fuzz_jinja(const uint8_t* data, size_t size) {
  static const nlohmann::ordered_json chat = nlohmann::ordered_json::parse(R"({
    "messages": [{"role": "system", "content": "Be brief.\n"},
                 {"role": "user", "content": [{"type": "text", "text": " é漢 "}, {"type": "image"}]},
                 {"role": "assistant", "content": "<think>x</think>y", "tool_calls":
                   [{"function": {"name": "f", "arguments": {"a": [1, 2.5, null, true]}}}]},
                 {"role": "tool", "content": "1"}],
    "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}],
    "documents": null, "add_generation_prompt": true, "bos_token": "<s>", "eos_token": "</s>"})");
  try {
    const auto rendered =
        policy::jinja::Template::parse({reinterpret_cast<const char*>(data), size}, "fuzzed")
            .render(chat, 0);
    PONDER_CHECK(policy::is_utf8(rendered.text), "the text is not UTF-8");
    for (const auto& [begin, end] : rendered.generated)
      PONDER_CHECK(begin <= end && end <= rendered.text.size(), "a span lies outside");
    return 1;
  } catch (const core::UserError&) {
    return 0;
  }
}

}  // namespace ponder::fuzz
