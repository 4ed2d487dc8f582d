#include "policy/tokenizer.h"

#include <algorithm>

#include "core/file.h"
#include "core/json_text.h"
#include "policy/added_tokens.h"
#include "policy/bpe.h"
#include "policy/normalizer.h"
#include "policy/post_processor.h"
#include "policy/pretokenizer.h"
#include "policy/token_decoder.h"
#include "policy/utf8.h"

namespace ponder::policy {
namespace {

std::vector<AddedToken> tokens_where(const std::vector<AddedToken>& tokens, bool normalized) {
  std::vector<AddedToken> result;
  std::copy_if(tokens.begin(), tokens.end(), std::back_inserter(result),
               [&](const AddedToken& token) { return token.normalized == normalized; });
  return result;
}

TokenFinder finder(const std::vector<AddedToken>& tokens, const Normalizer& normalizer) {
  std::vector<std::string> contents;
  for (const AddedToken& token : tokens) {
    contents.push_back(token.normalized ? normalizer(token.content) : token.content);
  }
  return {tokens, contents};
}

}  // namespace

struct Tokenizer::Impl {
  Impl(const JsonPlace& root)
      : normalizer(root.field("normalizer")),
        pre_tokenizer(root.field("pre_tokenizer")),
        model(root.field("model"), pre_tokenizer.yields_raw_bytes()),
        added(read_added_tokens(root.field("added_tokens"), model.vocabulary())),
        raw_finder(finder(tokens_where(added, false), normalizer)),
        normalized_finder(finder(tokens_where(added, true), normalizer)),
        frame(read_post_processor(root.field("post_processor"))),
        decoder(root.field("decoder")) {
    for (const auto& [token, id] : model.vocabulary()) name(id) = token;
    for (const AddedToken& token : added) {
      std::string& entry = name(token.id);
      if (!entry.empty() && entry != token.content) {
        core::throw_user("{}: the added token '{}' has the id {} of the token '{}'", root.place(),
                         token.content, token.id, entry);
      }
      entry = token.normalized ? normalizer(token.content) : token.content;
      special.resize(names.size());
      special[token.id] = token.special;
    }
    special.resize(names.size());
    for (const std::vector<int32_t>* side : {&frame.before, &frame.after}) {
      for (const int32_t id : *side) {
        if (static_cast<size_t>(id) >= names.size()) {
          core::throw_user("{}: post_processor adds the id {}, which no token has", root.place(),
                           id);
        }
      }
    }
  }

  std::string& name(int32_t id) {
    if (static_cast<size_t>(id) >= names.size()) names.resize(id + 1);
    return names[id];
  }

  bool knows(int32_t id) const { return id >= 0 && static_cast<size_t>(id) < names.size(); }

  void encode_plain(std::string_view text, bool at_text_start, std::vector<int32_t>& ids) const {
    Words words;
    words.at_text_start = at_text_start;
    words.words.push_back(text);
    pre_tokenizer(words);
    for (const std::string_view word : words.words) model.encode(word, ids);
  }

  void encode_normalized(std::string_view text, bool at_text_start,
                         std::vector<int32_t>& ids) const {
    std::vector<Segment> segments;
    normalized_finder.split(text, segments);
    for (const Segment& segment : segments) {
      if (segment.id >= 0) {
        ids.push_back(segment.id);
      } else {
        encode_plain(segment.text, at_text_start && segment.text.data() == text.data(), ids);
      }
    }
  }

  void encode(std::string_view text, std::vector<int32_t>& ids) const {
    std::vector<Segment> segments;
    raw_finder.split(text, segments);
    for (const Segment& segment : segments) {
      const bool at_text_start = segment.text.data() == text.data();
      if (segment.id >= 0) {
        ids.push_back(segment.id);
      } else if (normalizer.changes_nothing()) {
        encode_normalized(segment.text, at_text_start, ids);
      } else {
        encode_normalized(normalizer(segment.text), at_text_start, ids);
      }
    }
  }

  Normalizer normalizer;
  PreTokenizer pre_tokenizer;
  Bpe model;
  std::vector<AddedToken> added;
  TokenFinder raw_finder;
  TokenFinder normalized_finder;
  SpecialFrame frame;
  TokenDecoder decoder;
  std::vector<std::string> names;  // by id; "": no token
  std::vector<bool> special;       // by id
  std::optional<int32_t> eos, bos, pad;
};

namespace {

// Sets `id` from the token that `config` names under `key` (a string, or an object with "content"),
// if it does.
void read_named_token(const JsonPlace& config, const char* key, const Tokenizer& tokenizer,
                      std::optional<int32_t>& id) {
  const JsonPlace value = config.field(key);
  if (value.is_null() || id) return;
  const JsonPlace content = value.value().is_object() ? value.field("content") : value;
  id = tokenizer.token_to_id(content.text());
  if (!id) content.fail("a token of tokenizer.json");
}

}  // namespace

Tokenizer Tokenizer::from_json(std::string_view text, const std::string& where) {
  const auto json = core::parse_json<Json>(text, where);
  return Tokenizer(std::make_shared<const Impl>(JsonPlace(json, where)));
}

Tokenizer Tokenizer::from_folder(const std::filesystem::path& folder) {
  const std::filesystem::path path = folder / "tokenizer.json";
  const auto json = core::parse_json<Json>(core::read_file(path, "tokenizer"), path.string());
  const auto impl = std::make_shared<Impl>(JsonPlace(json, path.string()));
  Tokenizer tokenizer(impl);
  for (const char* name : {"tokenizer_config.json", "special_tokens_map.json"}) {
    const std::filesystem::path config_path = folder / name;
    if (!std::filesystem::exists(config_path)) continue;
    const auto config = core::parse_json<Json>(core::read_file(config_path, "tokenizer's settings"),
                                               config_path.string());
    const JsonPlace place(config, config_path.string());
    read_named_token(place, "eos_token", tokenizer, impl->eos);
    read_named_token(place, "bos_token", tokenizer, impl->bos);
    read_named_token(place, "pad_token", tokenizer, impl->pad);
  }
  return tokenizer;
}

std::vector<int32_t> Tokenizer::encode(std::string_view text, bool add_special_tokens) const {
  std::vector<int32_t> ids;
  if (add_special_tokens) ids = impl_->frame.before;
  if (is_utf8(text)) {
    impl_->encode(text, ids);
  } else {
    impl_->encode(replace_ill_formed(text), ids);
  }
  if (add_special_tokens)
    ids.insert(ids.end(), impl_->frame.after.begin(), impl_->frame.after.end());
  return ids;
}

std::string Tokenizer::decode(std::span<const int32_t> ids, bool skip_special_tokens) const {
  std::vector<std::string> tokens;
  std::string bytes;
  for (const int32_t id : ids) {
    if (!impl_->knows(id) || (skip_special_tokens && impl_->special[id])) continue;
    if (impl_->decoder.is_byte_level()) {
      bytes += TokenDecoder::token_bytes(impl_->names[id]);
    } else {
      tokens.push_back(impl_->names[id]);
    }
  }
  return impl_->decoder.is_byte_level() ? replace_ill_formed(bytes)
                                        : impl_->decoder(std::move(tokens));
}

int32_t Tokenizer::vocab_size() const {
  return static_cast<int32_t>(impl_->names.size());
}

std::optional<int32_t> Tokenizer::token_to_id(std::string_view token) const {
  for (const AddedToken& added : impl_->added) {
    if (added.content == token) return added.id;
  }
  const auto found = impl_->model.vocabulary().find(token);
  if (found == impl_->model.vocabulary().end()) return std::nullopt;
  return found->second;
}

std::string Tokenizer::id_to_token(int32_t id) const {
  return impl_->knows(id) ? impl_->names[id] : std::string();
}

bool Tokenizer::is_special(int32_t id) const {
  return impl_->knows(id) && impl_->special[id];
}

std::optional<int32_t> Tokenizer::eos_id() const {
  return impl_->eos;
}
std::optional<int32_t> Tokenizer::bos_id() const {
  return impl_->bos;
}
std::optional<int32_t> Tokenizer::pad_id() const {
  return impl_->pad;
}

StreamDecoder::StreamDecoder(Tokenizer tokenizer, bool skip_special_tokens)
    : tokenizer_(std::move(tokenizer)), skip_special_tokens_(skip_special_tokens) {}

std::string StreamDecoder::push(int32_t id) {
  const Tokenizer::Impl& impl = *tokenizer_.impl_;
  if (!impl.knows(id) || (skip_special_tokens_ && impl.special[id])) return "";
  if (impl.decoder.is_byte_level()) return push_bytes(TokenDecoder::token_bytes(impl.names[id]));
  return push_decoded(id);
}

std::string StreamDecoder::push_bytes(std::string_view bytes) {
  pending_ += bytes;
  const size_t held = unfinished_suffix(pending_);
  std::string text =
      replace_ill_formed(std::string_view(pending_).substr(0, pending_.size() - held));
  pending_.erase(0, pending_.size() - held);
  return text;
}

// Byte tokens are held back: what a run of them means is known only at its end.
std::string StreamDecoder::push_decoded(int32_t id) {
  ids_.push_back(id);
  if (fallback_byte(tokenizer_.impl_->names[id]) >= 0) return "";
  const std::string text = tokenizer_.decode(ids_);
  std::string fresh = text.substr(std::min(emitted_, text.size()));
  emitted_ = std::max(emitted_, text.size());
  return fresh;
}

std::string StreamDecoder::finish() {
  std::string text = replace_ill_formed(pending_);
  if (!ids_.empty()) {
    const std::string all = tokenizer_.decode(ids_);
    text = all.substr(std::min(emitted_, all.size()));
  }
  pending_.clear();
  ids_.clear();
  emitted_ = 0;
  return text;
}

}  // namespace ponder::policy
