#include "tests/fuzz/gguf_fuzz.h"

#include "core/error.h"
#include "policy/gguf_config.h"
#include "policy/gguf_tokenizer.h"
#include "policy/tokenizer.h"

namespace ponder::fuzz {

int fuzz_gguf(const uint8_t* data, size_t size) {
  try {
    const policy::GgufContent file({reinterpret_cast<const std::byte*>(data), size}, "fuzzed.gguf");
    for (const policy::GgufTensor& tensor : file.tensors()) {
      // A block of 210 bytes holds 256 values: the file's size bounds what is decoded.
      PONDER_CHECK(static_cast<size_t>(tensor.numel()) <= 2 * size, "'{}' is too large",
                   tensor.name);
      std::vector<float> values(tensor.numel());
      policy::dequantize_ggml(tensor.type, tensor.data, values);
    }
    const nlohmann::json config = policy::gguf_config_json(file, "float32");
    policy::gguf_generation_config(file);
    policy::gguf_tokenizer_config(file, config["max_position_embeddings"]);
    policy::Tokenizer::from_json(policy::gguf_tokenizer_json(file).dump(), "fuzzed.gguf");
    return 1;
  } catch (const core::UserError&) {
    return 0;
  }
}

}  // namespace ponder::fuzz
