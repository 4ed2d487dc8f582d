#include "policy/jinja/lexer.h"

#include <algorithm>
#include <cstring>
#include <optional>

#include <fmt/format.h>

#include "policy/jinja/characters.h"
#include "policy/jinja/operations.h"
#include "policy/utf8.h"

namespace ponder::policy::jinja {
namespace {

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}
bool is_name_start(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' ||
         static_cast<unsigned char>(c) >= 0x80;
}
bool is_name_part(char c) {
  return is_name_start(c) || is_digit(c);
}

// One newline for each line break, none at the very end.
std::string normalize_newlines(std::string_view source) {
  std::string out;
  for (size_t i = 0; i < source.size(); ++i) {
    if (source[i] == '\r') {
      out += '\n';
      if (i + 1 < source.size() && source[i + 1] == '\n') ++i;
    } else {
      out += source[i];
    }
  }
  if (out.ends_with('\n')) out.pop_back();
  return out;
}

class Lexer {
 public:
  explicit Lexer(std::string_view source) : source_(normalize_newlines(source)) {}

  std::vector<Token> run() {
    while (at_ < source_.size()) root();
    add(Token::Kind::kEnd, "");
    return std::move(tokens_);
  }

 private:
  [[noreturn]] void fail(std::string message) const {
    throw SyntaxProblem{line_, std::move(message)};
  }

  bool ahead(std::string_view text) const {
    return std::string_view(source_).substr(at_).starts_with(text);
  }

  void add(Token::Kind kind, std::string text, Value number = {}) {
    tokens_.push_back({kind, line_, std::move(text), std::move(number)});
  }

  void advance(size_t size) {
    line_ += static_cast<int>(std::count(source_.begin() + static_cast<std::ptrdiff_t>(at_),
                                         source_.begin() + static_cast<std::ptrdiff_t>(at_ + size),
                                         '\n'));
    at_ += size;
    line_starting_ = size > 0 && source_[at_ - 1] == '\n';
  }

  size_t spaces_at(size_t at) const {
    const size_t begin = at;
    while (at < source_.size()) {
      const CodePoint c = next_code_point(std::string_view(source_).substr(at));
      if (c.bytes <= 0 || !is_space(c.value)) break;
      at += static_cast<size_t>(c.bytes);
    }
    return at - begin;
  }
  void skip_spaces() { advance(spaces_at(at_)); }

  // Text up to the next tag, then the tag.
  void root() {
    size_t tag = at_;
    while (tag < source_.size() &&
           !(source_[tag] == '{' && tag + 1 < source_.size() &&
             std::strchr("%{#", source_[tag + 1]) && source_[tag + 1] != '\0'))
      ++tag;
    const std::string_view text = std::string_view(source_).substr(at_, tag - at_);
    if (tag == source_.size()) {
      add(Token::Kind::kText, std::string(text));
      advance(text.size());
      return;
    }
    const char type = source_[tag + 1], sign = tag + 2 < source_.size() ? source_[tag + 2] : '\0';
    add_text(text, sign, type == '{');
    advance(text.size() + 2 + (sign == '-' || sign == '+' ? 1 : 0));
    if (type == '#') {
      comment();
    } else if (type == '{') {
      add(Token::Kind::kPrintBegin, "");
      inside(Token::Kind::kPrintEnd, "}}");
    } else if (!raw()) {
      add(Token::Kind::kBlockBegin, "");
      inside(Token::Kind::kBlockEnd, "%}");
    }
  }

  void add_text(std::string_view text, char sign, bool is_print) {
    if (sign == '-') {
      text = strip(text, Side::kRight);
    } else if (sign != '+' && !is_print) {
      const size_t newline = text.rfind('\n');
      const size_t begin = newline == std::string_view::npos ? 0 : newline + 1;
      if ((begin > 0 || line_starting_) && begin < text.size() &&
          strip(text.substr(begin), Side::kBoth).empty())
        text = text.substr(0, begin);
    }
    if (!text.empty()) add(Token::Kind::kText, std::string(text));
  }

  // The end of a tag at at_ ("-%}" and what it trims); none where there is none.
  std::optional<size_t> tag_end(std::string_view mark, bool trims_newline) const {
    size_t at = at_;
    const char sign = at < source_.size() ? source_[at] : '\0';
    const bool signed_end = sign == '-' || (sign == '+' && mark != "}}");
    if (signed_end) ++at;
    if (!std::string_view(source_).substr(at).starts_with(mark)) return std::nullopt;
    at += mark.size();
    if (sign == '-') at += spaces_at(at);
    if (!signed_end && trims_newline && at < source_.size() && source_[at] == '\n') ++at;
    return at - at_;
  }

  void comment() {
    for (size_t begin = at_; at_ < source_.size(); ++at_) {
      const auto size = tag_end("#}", true);
      if (!size) continue;
      const size_t end = at_;
      at_ = begin;
      advance(end - begin + *size);
      return;
    }
    fail("a comment {# has no end #}");
  }

  // {% raw %} ... {% endraw %}; false where the tag is another.
  bool raw() {
    size_t at = at_ + spaces_at(at_);
    if (!std::string_view(source_).substr(at).starts_with("raw")) return false;
    at += 3;
    at += spaces_at(at);
    const bool trims = std::string_view(source_).substr(at).starts_with("-%}");
    if (!trims && !std::string_view(source_).substr(at).starts_with("%}")) return false;
    at += trims ? 3 : 2;
    if (trims) at += spaces_at(at);
    advance(at - at_);
    const size_t begin = at_;
    for (size_t tag = source_.find("{%", begin); tag != std::string::npos;
         tag = source_.find("{%", tag + 1)) {
      const char sign = tag + 2 < source_.size() ? source_[tag + 2] : '\0';
      size_t name = tag + 2 + (sign == '-' || sign == '+' ? 1 : 0);
      name += spaces_at(name);
      if (!std::string_view(source_).substr(name).starts_with("endraw")) continue;
      const size_t after = name + 6 + spaces_at(name + 6), was = at_;
      at_ = after;
      const auto size = tag_end("%}", true);
      at_ = was;
      if (!size) continue;
      add_text(std::string_view(source_).substr(begin, tag - begin), sign, false);
      advance(after + *size - at_);
      return true;
    }
    fail("{% raw %} has no {% endraw %}");
  }

  // Tokens of a tag up to its end.
  void inside(Token::Kind end_kind, std::string_view mark) {
    std::string open;  // brackets
    while (true) {
      if (open.empty()) {
        if (const auto size = tag_end(mark, mark == "%}")) {
          add(end_kind, "");
          advance(*size);
          return;
        }
      }
      if (at_ == source_.size()) fail(fmt::format("a tag has no end {}", mark));
      if (const size_t spaces = spaces_at(at_)) {
        advance(spaces);
      } else if (is_digit(source_[at_])) {
        number();
      } else if (is_name_start(source_[at_])) {
        size_t end = at_;
        while (end < source_.size() && is_name_part(source_[end])) ++end;
        add(Token::Kind::kName, source_.substr(at_, end - at_));
        advance(end - at_);
      } else if (source_[at_] == '\'' || source_[at_] == '"') {
        string();
      } else {
        bracket_or_operator(open);
      }
    }
  }

  void bracket_or_operator(std::string& open) {
    static constexpr std::string_view kOperators[] = {
        "//", "**", "==", "!=", ">=", "<=", "+", "-", "/", "*", "%", "~", "[",
        "]",  "(",  ")",  "{",  "}",  ">",  "<", "=", ".", ":", "|", ",", ";"};
    const auto found = std::find_if(std::begin(kOperators), std::end(kOperators),
                                    [&](std::string_view op) { return ahead(op); });
    if (found == std::end(kOperators)) fail(fmt::format("unexpected character '{}'", source_[at_]));
    if (found->size() == 1) balance((*found)[0], open);
    add(Token::Kind::kOperator, std::string(*found));
    advance(found->size());
  }

  void balance(char c, std::string& open) const {
    if (c == '(' || c == '[' || c == '{') open += c == '(' ? ')' : c == '[' ? ']' : '}';
    if (c != ')' && c != ']' && c != '}') return;
    if (open.empty()) fail(fmt::format("unexpected '{}'", c));
    if (open.back() != c) fail(fmt::format("unexpected '{}', expected '{}'", c, open.back()));
    open.pop_back();
  }

  // Digits, possibly with underscores between them, from `at` on.
  size_t digits(size_t at) const {
    const size_t begin = at;
    while (at < source_.size() &&
           (is_digit(source_[at]) || (source_[at] == '_' && at > begin && at + 1 < source_.size() &&
                                      is_digit(source_[at + 1]))))
      ++at;
    return at;
  }

  void number() {
    const bool after_dot = at_ > 0 && source_[at_ - 1] == '.';
    size_t end = digits(at_);
    bool is_float = false;
    if (!after_dot) {
      if (end + 1 < source_.size() && source_[end] == '.' && is_digit(source_[end + 1])) {
        is_float = true;
        end = digits(end + 1);
      }
      if (end < source_.size() && (source_[end] | 0x20) == 'e') {
        size_t exponent = end + 1;
        if (exponent < source_.size() && (source_[exponent] == '+' || source_[exponent] == '-'))
          ++exponent;
        if (exponent < source_.size() && is_digit(source_[exponent])) {
          is_float = true;
          end = digits(exponent);
        }
      }
    }
    if (is_float) {
      const std::string text = source_.substr(at_, end - at_);
      add(Token::Kind::kNumber, text, Value(parse_float(text).value_or(0)));
    } else {
      end = integer_end();
      add(Token::Kind::kNumber, source_.substr(at_, end - at_),
          integer(source_.substr(at_, end - at_)));
    }
    advance(end - at_);
  }

  Value integer(const std::string& text) const {
    try {
      return Value(parse_integer(text, 0).value_or(0));
    } catch (const Problem& problem) {
      fail(problem.what());
    }
  }

  size_t integer_end() const {
    const char type = at_ + 2 < source_.size() && source_[at_] == '0'
                          ? static_cast<char>(source_[at_ + 1] | 0x20)
                          : 0;
    const auto is_digit_of = [type](char c) {
      if (type == 'x') return std::isxdigit(static_cast<unsigned char>(c)) != 0;
      return type == 'o' ? c >= '0' && c <= '7' : c == '0' || c == '1';
    };
    if (type == 'x' || type == 'o' || type == 'b') {
      size_t end = at_ + 2;
      while (end < source_.size() &&
             (is_digit_of(source_[end]) ||
              (source_[end] == '_' && end + 1 < source_.size() && is_digit_of(source_[end + 1]))))
        ++end;
      if (end > at_ + 2) return end;
    }
    if (source_[at_] != '0') return digits(at_);
    size_t end = at_ + 1;
    while (end < source_.size() &&
           (source_[end] == '0' ||
            (source_[end] == '_' && end + 1 < source_.size() && source_[end + 1] == '0')))
      ++end;
    return end;
  }

  void string() {
    const char quote = source_[at_];
    size_t end = at_ + 1;
    while (end < source_.size() && source_[end] != quote) end += source_[end] == '\\' ? 2 : 1;
    if (end >= source_.size()) fail("a string has no end");
    add(Token::Kind::kString, unescape(std::string_view(source_).substr(at_ + 1, end - at_ - 1)));
    advance(end + 1 - at_);
  }

  std::string unescape(std::string_view text) const {
    std::string out;
    for (size_t i = 0; i < text.size(); ++i) {
      if (text[i] != '\\') {
        out += text[i];
        continue;
      }
      const char c = text[++i];  // string() takes a backslash and what follows it together
      static constexpr std::string_view kLetters = "abfnrtv\\'\"",
                                        kMeanings = "\a\b\f\n\r\t\v\\'\"";
      if (const size_t at = kLetters.find(c); at != std::string_view::npos) {
        out += kMeanings[at];
      } else if (c >= '0' && c <= '7') {
        size_t size = 1;
        while (size < 3 && i + size < text.size() && text[i + size] >= '0' && text[i + size] <= '7')
          ++size;
        append_utf8(static_cast<char32_t>(std::stoi(std::string(text.substr(i, size)), nullptr, 8)),
                    out);
        i += size - 1;
      } else if (c == 'x' || c == 'u' || c == 'U') {
        i += append_hex(text.substr(i + 1), c, out);
      } else if (c == 'N') {
        fail("the escape \\N is not supported");
      } else if (c != '\n') {
        out += '\\';
        out += c;
      }
    }
    return out;
  }

  // \xHH, \uHHHH, \UHHHHHHHH: the digits taken.
  size_t append_hex(std::string_view digits_ahead, char type, std::string& out) const {
    const size_t size = type == 'x' ? 2 : type == 'u' ? 4 : 8;
    const std::string text(digits_ahead.substr(0, size));
    const bool whole =
        text.size() == size &&
        std::all_of(text.begin(), text.end(), [](unsigned char c) { return std::isxdigit(c); });
    const unsigned long code = whole ? std::stoul(text, nullptr, 16) : 0;
    if (!whole || code > 0x10FFFF || (code >= 0xD800 && code <= 0xDFFF))
      fail(fmt::format("\\{}{} is no character", type, text));
    append_utf8(static_cast<char32_t>(code), out);
    return size;
  }

  std::string source_;
  size_t at_ = 0;
  int line_ = 1;
  bool line_starting_ = true;
  std::vector<Token> tokens_;
};

}  // namespace

std::string describe(const Token& token) {
  switch (token.kind) {
    case Token::Kind::kPrintBegin:
      return "{{";
    case Token::Kind::kPrintEnd:
      return "}}";
    case Token::Kind::kBlockBegin:
      return "{%";
    case Token::Kind::kBlockEnd:
      return "%}";
    case Token::Kind::kEnd:
      return "end of template";
    default:
      return token.text;
  }
}

std::vector<Token> tokenize(std::string_view source) {
  return Lexer(source).run();
}

}  // namespace ponder::policy::jinja
