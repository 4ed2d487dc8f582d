#include "policy/token_decoder.h"

#include "policy/byte_alphabet.h"
#include "policy/unicode_regex.h"
#include "policy/utf8.h"

namespace ponder::policy {
namespace {

using Tokens = std::vector<std::string>;

void decode_byte_level(Tokens& tokens) {
  std::string bytes;
  for (const std::string& token : tokens) bytes += TokenDecoder::token_bytes(token);
  tokens = {replace_ill_formed(bytes)};
}

// Runs of byte tokens become their text, or one U+FFFD a byte where they are not UTF-8.
void decode_byte_fallback(Tokens& tokens) {
  Tokens result;
  std::string run;
  const auto end_run = [&] {
    if (run.empty()) return;
    if (is_utf8(run)) {
      result.push_back(run);
    } else {
      result.insert(result.end(), run.size(), "\xEF\xBF\xBD");
    }
    run.clear();
  };
  for (std::string& token : tokens) {
    if (const int byte = fallback_byte(token); byte >= 0) {
      run += static_cast<char>(byte);
    } else {
      end_run();
      result.push_back(std::move(token));
    }
  }
  end_run();
  tokens = std::move(result);
}

void fuse(Tokens& tokens) {
  std::string all;
  for (const std::string& token : tokens) all += token;
  tokens = {std::move(all)};
}

// Takes up to `start` copies of `content` off each token's front and `stop` off its end.
void strip(Tokens& tokens, const std::string& content, size_t start, size_t stop) {
  for (std::string& token : tokens) {
    size_t begin = 0;
    size_t end = token.size();
    for (size_t i = 0; i < start && token.compare(begin, content.size(), content) == 0; ++i)
      begin += content.size();
    for (size_t i = 0; i < stop && end >= begin + content.size() &&
                       token.compare(end - content.size(), content.size(), content) == 0;
         ++i) {
      end -= content.size();
    }
    token = token.substr(begin, end - begin);
  }
}

std::function<void(Tokens&)> replace_step(const JsonPlace& component) {
  const JsonPlace pattern = component.field("pattern");
  const JsonPlace string = pattern.field("String");
  const UnicodeRegex regex = string.is_null()
                                 ? UnicodeRegex(pattern.field("Regex").text(), pattern.place())
                                 : UnicodeRegex::literal(string.text(), pattern.place());
  return [regex, content = component.field("content").text()](Tokens& tokens) {
    std::vector<Match> matches;
    for (std::string& token : tokens) {
      regex.find_all(token, matches);
      for (auto match = matches.rbegin(); match != matches.rend(); ++match) {
        token.replace(match->begin, match->end - match->begin, content);
      }
    }
  };
}

std::function<void(Tokens&)> metaspace_step(const JsonPlace& component) {
  const std::string replacement = component.field("replacement").text();
  if (replacement.empty()) component.field("replacement").fail("a character");
  const bool older_key = component.field("add_prefix_space").boolean_or(true);
  const bool prepends =
      component.field("prepend_scheme").text_or(older_key ? "always" : "never") != "never";
  return [=](Tokens& tokens) {
    for (size_t i = 0; i < tokens.size(); ++i) {
      std::string& token = tokens[i];
      if (i == 0 && prepends && token.starts_with(replacement)) token.erase(0, replacement.size());
      std::string spaced;
      for (size_t at = 0; at < token.size();) {
        const bool is_space = token.compare(at, replacement.size(), replacement) == 0;
        spaced += is_space ? ' ' : token[at];
        at += is_space ? replacement.size() : 1;
      }
      token = std::move(spaced);
    }
  };
}

std::function<void(Tokens&)> make_step(const JsonPlace& component) {
  const std::string type = component.field("type").text();
  if (type == "ByteLevel") return decode_byte_level;
  if (type == "ByteFallback") return decode_byte_fallback;
  if (type == "Fuse") return fuse;
  if (type == "Replace") return replace_step(component);
  if (type == "Metaspace") return metaspace_step(component);
  if (type == "Strip") {
    const std::string content = component.field("content").text();
    if (content.empty()) component.field("content").fail("a character");
    return [content, start = component.field("start").count(),
            stop = component.field("stop").count()](Tokens& tokens) {
      strip(tokens, content, start, stop);
    };
  }
  core::throw_user(
      "{}: unknown decoder '{}', expected ByteLevel, ByteFallback, Fuse, Replace, Strip, Metaspace "
      "or Sequence",
      component.place(), type);
}

}  // namespace

int fallback_byte(std::string_view token) {
  if (token.size() != 6 || !token.starts_with("<0x") || token[5] != '>') return -1;
  int value = 0;
  for (const char c : token.substr(3, 2)) {
    const int digit = c >= '0' && c <= '9'   ? c - '0'
                      : c >= 'A' && c <= 'F' ? c - 'A' + 10
                      : c >= 'a' && c <= 'f' ? c - 'a' + 10
                                             : -1;
    if (digit < 0) return -1;
    value = value * 16 + digit;
  }
  return value;
}

TokenDecoder::TokenDecoder(const JsonPlace& component) : has_decoder_(!component.is_null()) {
  std::vector<JsonPlace> parts;
  flatten_sequence(component, "decoders", parts);
  for (const JsonPlace& part : parts) steps_.push_back(make_step(part));
  is_byte_level_ = parts.size() == 1 && parts[0].field("type").text() == "ByteLevel";
}

std::string TokenDecoder::token_bytes(std::string_view token) {
  std::optional<std::string> bytes = ByteAlphabet::instance().bytes(token);
  return bytes ? std::move(*bytes) : std::string(token);
}

std::string TokenDecoder::operator()(std::vector<std::string> tokens) const {
  for (const auto& step : steps_) step(tokens);
  return fmt::format("{}", fmt::join(tokens, has_decoder_ ? "" : " "));
}

}  // namespace ponder::policy
