// str(), repr(), json.dumps() and the numbers' texts.
#include <algorithm>
#include <charconv>
#include <cmath>

#include <fmt/format.h>

#include "policy/jinja/characters.h"
#include "policy/jinja/operations.h"

namespace ponder::policy::jinja {
namespace {

constexpr int kTextDepthMax = 2 * kValueDepthMax;  // through namespaces, which may hold themselves

const char* sequence_name(const Sequence& s) {
  switch (s.flavour) {
    case Sequence::Flavour::kList:
      return "list";
    case Sequence::Flavour::kTuple:
      return "tuple";
    case Sequence::Flavour::kRange:
      return "range";
    case Sequence::Flavour::kView:
      return "dict_view";
    default:
      return "generator";
  }
}

void append_escaped(std::string& out, std::string_view character, char quote) {
  const char32_t c = code_point(character);
  if (c == '\\' || c == static_cast<char32_t>(quote)) {
    out += '\\';
    out += character;
  } else if (c == '\n') {
    out += "\\n";
  } else if (c == '\r') {
    out += "\\r";
  } else if (c == '\t') {
    out += "\\t";
  } else if (is_printable(c)) {
    out += character;
  } else if (c < 0x100) {
    out += fmt::format("\\x{:02x}", static_cast<uint32_t>(c));
  } else if (c < 0x10000) {
    out += fmt::format("\\u{:04x}", static_cast<uint32_t>(c));
  } else {
    out += fmt::format("\\U{:08x}", static_cast<uint32_t>(c));
  }
}

void append_quoted(std::string& out, const std::string& text) {
  const bool doubled = text.find('\'') != std::string::npos && text.find('"') == std::string::npos;
  const char quote = doubled ? '"' : '\'';
  out += quote;
  for (const std::string_view c : characters(text)) append_escaped(out, c, quote);
  out += quote;
}

void append_repr(std::string& out, const Value& value, Budget& budget, int depth);

void append_items(std::string& out, const Sequence& s, Budget& budget, int depth) {
  for (size_t i = 0; i < s.items.size(); ++i) {
    if (i > 0) out += ", ";
    append_repr(out, s.items[i], budget, depth + 1);
  }
}

void append_sequence(std::string& out, const Sequence& s, Budget& budget, int depth) {
  switch (s.flavour) {
    case Sequence::Flavour::kList:
      out += '[';
      append_items(out, s, budget, depth);
      out += ']';
      return;
    case Sequence::Flavour::kTuple:
      out += '(';
      append_items(out, s, budget, depth);
      out += s.items.size() == 1 ? ",)" : ")";
      return;
    default:
      throw Problem(fmt::format("a {} has no text: make a list of it first", sequence_name(s)));
  }
}

void append_dict(std::string& out, const Dict& dict, Budget& budget, int depth) {
  out += '{';
  for (const auto& [key, value] : dict.entries()) {
    if (out.back() != '{' || &key != &dict.entries().front().first) out += ", ";
    append_repr(out, key, budget, depth + 1);
    out += ": ";
    append_repr(out, value, budget, depth + 1);
  }
  out += '}';
}

void append_repr(std::string& out, const Value& value, Budget& budget, int depth) {
  if (depth > kTextDepthMax) throw Problem("values are nested too deeply to be printed");
  budget.spend(8);
  if (const Text* text = value.as<Text>()) {
    budget.spend(text->utf8.size());
    if (text->markup) out += "Markup(";
    append_quoted(out, text->utf8);
    if (text->markup) out += ')';
  } else if (const Sequence* s = value.as<Sequence>()) {
    append_sequence(out, *s, budget, depth);
  } else if (const Dict* dict = value.as<Dict>()) {
    append_dict(out, *dict, budget, depth);
  } else if (const Namespace* ns = value.as_namespace()) {
    out += "<Namespace {";
    for (size_t i = 0; i < ns->order.size(); ++i) {
      if (i > 0) out += ", ";
      append_quoted(out, ns->order[i]);
      out += ": ";
      append_repr(out, ns->attributes.at(ns->order[i]), budget, depth + 1);
    }
    out += "}>";
  } else if (value.is_none()) {
    out += "None";
  } else if (const bool* boolean = value.as<bool>()) {
    out += *boolean ? "True" : "False";
  } else if (const int64_t* integer = value.as<int64_t>()) {
    out += fmt::format("{}", *integer);
  } else if (const double* number = value.as<double>()) {
    out += float_text(*number);
  } else if (value.is_undefined()) {
    out += "Undefined";
  } else {
    throw Problem(
        fmt::format("{} is a function and has no text: call it", value.as<Callable>()->name));
  }
}

class JsonWriter {
 public:
  JsonWriter(const JsonStyle& style, Budget& budget) : style_(style), budget_(budget) {}

  void write(const Value& value, int depth) {
    budget_.spend(8);
    if (const std::string* text = value.as_string()) {
      write_text(*text);
    } else if (const Sequence* s = value.as<Sequence>();
               s && (s->flavour == Sequence::Flavour::kList ||
                     s->flavour == Sequence::Flavour::kTuple)) {
      write_list(*s, depth);
    } else if (const Dict* dict = value.as<Dict>()) {
      write_dict(*dict, depth);
    } else if (value.is_none() || value.as_number()) {
      out_ += scalar(value);
    } else {
      throw Problem(fmt::format("Object of type {} is not JSON serializable", type_name(value)));
    }
  }
  std::string take() { return std::move(out_); }

 private:
  static std::string scalar(const Value& value) {
    if (value.is_none()) return "null";
    if (const bool* boolean = value.as<bool>()) return *boolean ? "true" : "false";
    if (const int64_t* integer = value.as<int64_t>()) return fmt::format("{}", *integer);
    const double number = *value.as<double>();
    if (std::isnan(number)) return "NaN";
    if (std::isinf(number)) return number > 0 ? "Infinity" : "-Infinity";
    return float_text(number);
  }

  void write_text(const std::string& text) {
    budget_.spend(text.size());
    out_ += '"';
    for (const std::string_view c : characters(text)) write_character(c);
    out_ += '"';
  }

  void write_character(std::string_view character) {
    const char32_t c = code_point(character);
    const std::string_view shorts = "\"\\\n\r\t\f\b", letters = "\"\\nrtfb";
    if (const size_t at =
            character.size() == 1 ? shorts.find(character[0]) : std::string_view::npos;
        at != std::string_view::npos) {
      out_ += '\\';
      out_ += letters[at];
    } else if (c >= 0x20 && (!style_.ensure_ascii || c < 0x7F)) {
      out_ += character;
    } else if (c < 0x10000) {
      out_ += fmt::format("\\u{:04x}", static_cast<uint32_t>(c));
    } else {
      const uint32_t rest = static_cast<uint32_t>(c) - 0x10000;
      out_ += fmt::format("\\u{:04x}\\u{:04x}", 0xD800 + (rest >> 10), 0xDC00 + (rest & 0x3FF));
    }
  }

  void new_line(int depth) {
    if (!style_.indent) return;
    out_ += '\n';
    for (int i = 0; i < depth; ++i) {
      budget_.spend(style_.indent->size());
      out_ += *style_.indent;
    }
  }

  void write_list(const Sequence& s, int depth) {
    out_ += '[';
    for (size_t i = 0; i < s.items.size(); ++i) {
      if (i > 0) out_ += style_.item_separator;
      new_line(depth + 1);
      write(s.items[i], depth + 1);
    }
    if (!s.items.empty()) new_line(depth);
    out_ += ']';
  }

  void write_dict(const Dict& dict, int depth) {
    std::vector<const Dict::Entry*> entries;
    for (const Dict::Entry& entry : dict.entries()) entries.push_back(&entry);
    if (style_.sort_keys) {
      std::stable_sort(entries.begin(), entries.end(), [&](const auto* a, const auto* b) {
        return compare(a->first, b->first, "<", budget_) < 0;
      });
    }
    out_ += '{';
    for (size_t i = 0; i < entries.size(); ++i) {
      if (i > 0) out_ += style_.item_separator;
      new_line(depth + 1);
      const Value& key = entries[i]->first;
      write_text(key.as_string() ? *key.as_string() : scalar(key));
      out_ += style_.key_separator;
      write(entries[i]->second, depth + 1);
    }
    if (!entries.empty()) new_line(depth);
    out_ += '}';
  }

  const JsonStyle& style_;
  Budget& budget_;
  std::string out_;
};

}  // namespace

const char* type_name(const Value& value) {
  if (value.is_none()) return "NoneType";
  if (value.is_undefined()) return "Undefined";
  if (value.as<bool>()) return "bool";
  if (value.as<int64_t>()) return "int";
  if (value.as<double>()) return "float";
  if (const Text* text = value.as<Text>()) return text->markup ? "Markup" : "str";
  if (const Sequence* s = value.as<Sequence>()) return sequence_name(*s);
  if (value.as<Dict>()) return "dict";
  return value.as_namespace() ? "Namespace" : "function";
}

void append_str(std::string& out, const Value& value, Budget& budget) {
  if (const std::string* text = value.as_string()) {
    budget.spend(text->size());
    out += *text;
  } else if (!value.is_undefined()) {
    append_repr(out, value, budget, 0);
  }
}

std::string str(const Value& value, Budget& budget) {
  std::string out;
  append_str(out, value, budget);
  return out;
}

std::string repr(const Value& value, Budget& budget) {
  std::string out;
  append_repr(out, value, budget, 0);
  return out;
}

std::string to_json(const Value& value, const JsonStyle& style, Budget& budget) {
  JsonWriter writer(style, budget);
  writer.write(value, 0);
  return writer.take();
}

std::string float_text(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value > 0 ? "inf" : "-inf";
  char buffer[64];
  const auto end =
      std::to_chars(buffer, buffer + sizeof buffer, value, std::chars_format::scientific).ptr;
  const std::string scientific(buffer, end);
  const size_t e = scientific.find('e');
  const int exponent = std::atoi(scientific.c_str() + e + 1);
  if (exponent < -4 || exponent >= 16) {
    return fmt::format("{}e{}{:02}", scientific.substr(0, e), exponent < 0 ? '-' : '+',
                       std::abs(exponent));
  }
  const auto plain =
      std::to_chars(buffer, buffer + sizeof buffer, value, std::chars_format::fixed).ptr;
  std::string text(buffer, plain);
  return text.find('.') == std::string::npos ? text + ".0" : text;
}

namespace {

// Digits with single underscores between them, as Python's number literals have them; none where
// they stand elsewhere.
std::optional<std::string> without_underscores(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '_') {
      out += text[i];
      continue;
    }
    const bool inside = i > 0 && i + 1 < text.size() &&
                        std::isalnum(static_cast<unsigned char>(text[i - 1])) &&
                        std::isalnum(static_cast<unsigned char>(text[i + 1]));
    if (!inside) return std::nullopt;
  }
  return out;
}

}  // namespace

std::optional<int64_t> parse_integer(std::string_view text, int base) {
  text = strip(text, Side::kBoth);
  const bool negative = text.starts_with('-');
  if (negative || text.starts_with('+')) text.remove_prefix(1);
  const auto prefixed = [&](char letter, int its_base) {
    if ((base != its_base && base != 0) || text.size() < 2 || text[0] != '0' ||
        (text[1] | 0x20) != letter)
      return;
    text.remove_prefix(2);
    if (text.starts_with('_')) text.remove_prefix(1);
    base = its_base;
  };
  prefixed('x', 16);
  prefixed('o', 8);
  prefixed('b', 2);
  if (base == 0) base = 10;
  const auto digits = without_underscores(text);
  if (!digits || digits->empty() || base < 2 || base > 36) return std::nullopt;
  uint64_t magnitude = 0;
  const auto [end, error] =
      std::from_chars(digits->data(), digits->data() + digits->size(), magnitude, base);
  if (end != digits->data() + digits->size() || error == std::errc::invalid_argument)
    return std::nullopt;
  if (error != std::errc() || magnitude > static_cast<uint64_t>(INT64_MAX))
    throw Problem("integers beyond 64 bits are not supported");
  return negative ? -static_cast<int64_t>(magnitude) : static_cast<int64_t>(magnitude);
}

std::optional<double> parse_float(std::string_view text) {
  const auto digits = without_underscores(strip(text, Side::kBoth));
  if (!digits || digits->empty()) return std::nullopt;
  std::string_view rest = *digits;
  const bool negative = rest.starts_with('-');
  if (negative || rest.starts_with('+')) rest.remove_prefix(1);
  if (rest.starts_with('-') || rest.starts_with('+')) return std::nullopt;
  if (rest.find('(') != std::string_view::npos) return std::nullopt;  // from_chars takes nan(...)
  double value = 0;
  const auto [end, error] = std::from_chars(rest.data(), rest.data() + rest.size(), value);
  if (end != rest.data() + rest.size() || error == std::errc::invalid_argument) return std::nullopt;
  if (error == std::errc::result_out_of_range)
    value = std::strtod(std::string(rest).c_str(), nullptr);
  return negative ? -value : value;
}

std::string escape_html(std::string_view text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '\'':
        out += "&#39;";
        break;
      case '"':
        out += "&#34;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

}  // namespace ponder::policy::jinja
