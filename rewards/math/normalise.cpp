#include <algorithm>
#include <array>
#include <iterator>

#include "rewards/math/lexer.h"

namespace ponder::rewards::math {
namespace {

struct Spelling {
  uint32_t code;
  const char* text;
};

// Sorted by code point.
constexpr Spelling kSpellings[] = {
    {0xA0, " "},
    {0xA3, ""},
    {0xA5, ""},
    {0xAC, "\\neg "},
    {0xB0, "^\\circ "},
    {0xB1, "\\pm "},
    {0xB7, "\\cdot "},
    {0xBC, "\\frac{1}{4}"},
    {0xBD, "\\frac{1}{2}"},
    {0xBE, "\\frac{3}{4}"},
    {0xD7, "\\times "},
    {0xF7, "\\div "},
    {0x393, "\\Gamma "},
    {0x394, "\\Delta "},
    {0x398, "\\Theta "},
    {0x39B, "\\Lambda "},
    {0x3A0, "\\Pi "},
    {0x3A3, "\\Sigma "},
    {0x3A6, "\\Phi "},
    {0x3A8, "\\Psi "},
    {0x3A9, "\\Omega "},
    {0x3B1, "\\alpha "},
    {0x3B2, "\\beta "},
    {0x3B3, "\\gamma "},
    {0x3B4, "\\delta "},
    {0x3B5, "\\epsilon "},
    {0x3B6, "\\zeta "},
    {0x3B7, "\\eta "},
    {0x3B8, "\\theta "},
    {0x3B9, "\\iota "},
    {0x3BA, "\\kappa "},
    {0x3BB, "\\lambda "},
    {0x3BC, "\\mu "},
    {0x3BD, "\\nu "},
    {0x3BE, "\\xi "},
    {0x3C0, "\\pi "},
    {0x3C1, "\\rho "},
    {0x3C3, "\\sigma "},
    {0x3C4, "\\tau "},
    {0x3C5, "\\upsilon "},
    {0x3C6, "\\phi "},
    {0x3C7, "\\chi "},
    {0x3C8, "\\psi "},
    {0x3C9, "\\omega "},
    {0x3D5, "\\phi "},
    {0x2002, " "},
    {0x2003, " "},
    {0x2005, " "},
    {0x2007, " "},
    {0x2009, "\\,"},
    {0x200A, " "},
    {0x200B, ""},
    {0x200C, ""},
    {0x200D, ""},
    {0x2010, "-"},
    {0x2011, "-"},
    {0x2012, "-"},
    {0x2013, "-"},
    {0x2014, "-"},
    {0x2018, "'"},
    {0x2019, "'"},
    {0x201C, "\""},
    {0x201D, "\""},
    {0x2026, "\\ldots "},
    {0x202F, "\\,"},
    {0x2032, "'"},
    {0x2044, "/"},
    {0x2060, ""},
    {0x2061, ""},
    {0x2062, " "},
    {0x20AC, ""},
    {0x2102, "\\mathbb{C}"},
    {0x2115, "\\mathbb{N}"},
    {0x211A, "\\mathbb{Q}"},
    {0x211D, "\\mathbb{R}"},
    {0x2124, "\\mathbb{Z}"},
    {0x2150, "\\frac{1}{7}"},
    {0x2151, "\\frac{1}{9}"},
    {0x2153, "\\frac{1}{3}"},
    {0x2154, "\\frac{2}{3}"},
    {0x2155, "\\frac{1}{5}"},
    {0x2156, "\\frac{2}{5}"},
    {0x2157, "\\frac{3}{5}"},
    {0x2158, "\\frac{4}{5}"},
    {0x2159, "\\frac{1}{6}"},
    {0x215A, "\\frac{5}{6}"},
    {0x215B, "\\frac{1}{8}"},
    {0x215C, "\\frac{3}{8}"},
    {0x215D, "\\frac{5}{8}"},
    {0x215E, "\\frac{7}{8}"},
    {0x2208, "\\in "},
    {0x2212, "-"},
    {0x2213, "\\mp "},
    {0x2215, "/"},
    {0x2216, "\\setminus "},
    {0x2217, "*"},
    {0x2219, "\\cdot "},
    {0x221A, "\\sqrt "},
    {0x221B, "\\sqrt[3]"},
    {0x221C, "\\sqrt[4]"},
    {0x221E, "\\infty "},
    {0x2223, "\\mid "},
    {0x2227, "\\text{ and }"},
    {0x2228, "\\text{ or }"},
    {0x2229, "\\cap "},
    {0x222A, "\\cup "},
    {0x2236, ":"},
    {0x2248, "\\approx "},
    {0x2260, "\\ne "},
    {0x2264, "\\le "},
    {0x2265, "\\ge "},
    {0x22C5, "\\cdot "},
    {0x22EF, "\\ldots "},
    {0x2205, "\\emptyset "},
    {0x2308, "\\lceil "},
    {0x2309, "\\rceil "},
    {0x230A, "\\lfloor "},
    {0x230B, "\\rfloor "},
    {0x2A7D, "\\le "},
    {0x2A7E, "\\ge "},
    {0xFEFF, ""},
    {0xFF08, "("},
    {0xFF09, ")"},
    {0xFF0C, ","},
};

const char* spelling_of(uint32_t code) {
  static const auto sorted = [] {
    std::array<Spelling, std::size(kSpellings)> table;
    std::copy(std::begin(kSpellings), std::end(kSpellings), table.begin());
    std::sort(table.begin(), table.end(), [](auto& x, auto& y) { return x.code < y.code; });
    return table;
  }();
  const auto found = std::lower_bound(sorted.begin(), sorted.end(), code,
                                      [](const Spelling& x, uint32_t y) { return x.code < y; });
  return found != sorted.end() && found->code == code ? found->text : nullptr;
}

// The digit or sign that a superscript or subscript stands for, or 0.
char raised(uint32_t code) {
  switch (code) {
    case 0xB9:
      return '1';
    case 0xB2:
      return '2';
    case 0xB3:
      return '3';
    case 0x207A:
      return '+';
    case 0x207B:
      return '-';
    case 0x207F:
      return 'n';
    default:
      return code == 0x2070 || (code >= 0x2074 && code <= 0x2079) ? '0' + (code - 0x2070) : 0;
  }
}

char lowered(uint32_t code) {
  return code >= 0x2080 && code <= 0x2089 ? static_cast<char>('0' + (code - 0x2080)) : 0;
}

// Decodes one character at `position` and moves past it; 0xFFFFFFFF for a byte that starts none.
uint32_t decode(std::string_view text, size_t& position) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char lead = byte(position++);
  const int more = lead >= 0xF0 && lead < 0xF5   ? 3
                   : lead >= 0xE0 && lead < 0xF0 ? 2
                   : lead >= 0xC2 && lead < 0xE0 ? 1
                                                 : -1;
  if (more < 0 || position + more > text.size()) return 0xFFFFFFFF;
  uint32_t code = lead & (0x3F >> more);
  for (int i = 0; i < more; ++i) {
    if ((byte(position + i) & 0xC0) != 0x80) return 0xFFFFFFFF;
    code = code << 6 | (byte(position + i) & 0x3F);
  }
  if (code >= 0xD800 && code < 0xE000) return 0xFFFFFFFF;
  position += more;
  return code;
}

void append_unicode(std::string_view text, size_t& position, std::string& out) {
  size_t start = position;
  const uint32_t code = decode(text, position);
  auto run = [&](char (*digit_of)(uint32_t), const char* open) {
    out += open;
    position = start;
    while (position < text.size() && static_cast<unsigned char>(text[position]) >= 0x80) {
      size_t next = position;
      const char digit = digit_of(decode(text, next));
      if (digit == 0) break;
      out += digit;
      position = next;
    }
    out += '}';
  };
  if (code == 0xFFFFFFFF) {
    out += '\x01';
  } else if (raised(code)) {
    run(raised, "^{");
  } else if (lowered(code)) {
    run(lowered, "_{");
  } else if (const char* spelling = spelling_of(code)) {
    out += spelling;
  } else {
    out.append(text.substr(start, position - start));
  }
}

bool starts_command(std::string_view rest) {
  static constexpr std::string_view kCommands[] = {
      "frac",   "dfrac", "tfrac",    "sqrt",  "left",     "right",    "le",    "leq",    "ge",
      "geq",    "lt",    "gt",       "ne",    "neq",      "pi",       "infty", "cdot",   "times",
      "text",   "boxed", "cup",      "cap",   "pm",       "in",       "circ",  "mathrm", "mathbb",
      "theta",  "alpha", "beta",     "log",   "ln",       "sin",      "cos",   "tan",    "binom",
      "lfloor", "lceil", "rfloor",   "rceil", "emptyset", "overline", "angle", "sum",    "prod",
      "quad",   "div",   "setminus", "mathbf"};
  size_t length = 0;
  while (length < rest.size() && ((rest[length] | 32) >= 'a' && (rest[length] | 32) <= 'z'))
    ++length;
  const std::string_view name = rest.substr(0, length);
  return std::find(std::begin(kCommands), std::end(kCommands), name) != std::end(kCommands);
}

}  // namespace

std::string normalise(std::string_view text) {
  std::string out;
  out.reserve(text.size() + 16);
  const bool has_rows = text.find("\\begin") != std::string_view::npos;
  for (size_t i = 0; i < text.size();) {
    const unsigned char c = static_cast<unsigned char>(text[i]);
    if (c >= 0x80) {
      append_unicode(text, i, out);
    } else if (c == ' ' || (c >= '\t' && c <= '\r')) {
      if (out.empty() || out.back() != ' ') out += ' ';
      ++i;
    } else if (c < 0x20 || c == 0x7F) {
      out += '\x01';
      ++i;
    } else if (c == '\\' && !has_rows && i + 1 < text.size() && text[i + 1] == '\\' &&
               starts_command(text.substr(i + 2))) {
      ++i;
    } else {
      out += static_cast<char>(c);
      ++i;
    }
  }
  return out;
}

}  // namespace ponder::rewards::math
