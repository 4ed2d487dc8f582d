// Text <-> token ids as Hugging Face `tokenizers` does it for byte-level (and Llama-2 style) BPE,
// read from a tokenizer.json. Ids are equal to those of `tokenizers`. Knows no model and no chat
// template, and needs no LibTorch.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace ponder::policy {

// A cheap handle: copies share one immutable vocabulary. Every method is const and may be called by
// many threads.
class Tokenizer {
 public:
  // Reads DIR/tokenizer.json and, where present, tokenizer_config.json and special_tokens_map.json
  // (eos, bos, pad). Throws UserError naming file and place: missing file, broken JSON, a component
  // we do not know, no vocabulary, ids out of range or given twice, a merge that names no token, a
  // regex that does not compile.
  static Tokenizer from_folder(const std::filesystem::path& folder);

  // As above, from the text of a tokenizer.json; `where` stands for the file's name in errors. No
  // eos, bos, pad.
  static Tokenizer from_json(std::string_view text, const std::string& where);

  // Special tokens that stand in `text` are recognised always, as in `tokenizers`;
  // `add_special_tokens` also applies the post-processor's template (a bos in front, say). Bytes
  // that are not UTF-8 count as U+FFFD, one for each maximal ill-formed part, as Python's
  // bytes.decode(errors="replace").
  std::vector<int32_t> encode(std::string_view text, bool add_special_tokens = false) const;

  // The text of `ids`; what is not UTF-8 becomes U+FFFD. Ids outside the vocabulary give nothing,
  // as in `tokenizers`.
  std::string decode(std::span<const int32_t> ids, bool skip_special_tokens = false) const;

  // Largest id + 1, added tokens included: what a model's embedding must hold at least.
  int32_t vocab_size() const;

  std::optional<int32_t> token_to_id(std::string_view token) const;
  std::string id_to_token(
      int32_t id) const;  // the vocabulary's spelling ("Ġthe"); "" for an id without a token
  bool is_special(int32_t id) const;

  std::optional<int32_t> eos_id() const;
  std::optional<int32_t> bos_id() const;
  std::optional<int32_t> pad_id() const;

 private:
  struct Impl;
  friend class StreamDecoder;
  explicit Tokenizer(std::shared_ptr<const Impl> impl) : impl_(std::move(impl)) {}
  std::shared_ptr<const Impl> impl_;
};

// Decodes a sequence token by token for display. What push() and finish() return, put end to end,
// equals decode(all ids, skip_special_tokens), and each piece is valid UTF-8: bytes of an
// unfinished character are held back.
class StreamDecoder {
 public:
  explicit StreamDecoder(Tokenizer tokenizer, bool skip_special_tokens = false);
  std::string push(int32_t id);
  std::string finish();  // what was held back, broken parts as U+FFFD; the decoder is then as new

 private:
  std::string push_bytes(std::string_view bytes);
  std::string push_decoded(int32_t id);

  Tokenizer tokenizer_;
  bool skip_special_tokens_;
  std::string pending_;       // byte-level: bytes of a character that is not complete
  std::vector<int32_t> ids_;  // other decoders: everything so far
  size_t emitted_ = 0;        // and how many bytes of its text have been given out
};

}  // namespace ponder::policy
