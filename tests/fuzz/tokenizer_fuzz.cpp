#include "tests/fuzz/tokenizer_fuzz.h"

#include <numeric>
#include <string_view>

#include "core/error.h"
#include "policy/tokenizer.h"
#include "policy/utf8.h"

namespace ponder::fuzz {

int fuzz_tokenizer_json(const uint8_t* data, size_t size) {
  try {
    const auto tokenizer = policy::Tokenizer::from_json({reinterpret_cast<const char*>(data), size},
                                                        "fuzzed tokenizer.json");
    const std::string_view text =
        "Hello  wörld's 12345 \xFF\xE2\x82 <|im_end|> <mask> 一二三 e\u0301\r\n\n  \U00010D50 ";
    for (const bool special : {false, true}) {
      std::vector<int32_t> ids = tokenizer.encode(text, special);
      for (const int32_t id : ids)
        PONDER_CHECK(id >= 0 && id < tokenizer.vocab_size(), "id {} is outside", id);
      ids.insert(ids.end(), {-1, 0, INT32_MAX, tokenizer.vocab_size()});
      PONDER_CHECK(policy::is_utf8(tokenizer.decode(ids, special)), "decode broke UTF-8");
      policy::StreamDecoder stream(tokenizer, special);
      for (const int32_t id : ids)
        PONDER_CHECK(policy::is_utf8(stream.push(id)), "streaming broke UTF-8");
      stream.finish();
    }
    return 1;
  } catch (const core::UserError&) {
    return 0;
  }
}

}  // namespace ponder::fuzz
