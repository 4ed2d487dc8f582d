// Claims about equality that are facts of mathematics, one table for what is equal and one for what
// is not.
#include <gtest/gtest.h>

#include "rewards/math/math.h"

namespace ponder::rewards {
namespace {

MathStatus judged(const std::string& gold, const std::string& answer,
                  const MathOptions& options = {}) {
  return check_math("So it is $\\boxed{" + answer + "}$.", gold, options).status;
}

struct Pair {
  const char *gold, *answer;
};

TEST(MathClaims, TheseAreEqual) {
  const Pair pairs[] = {
      // numbers
      {"1/3", "\\frac{2}{6}"},
      {"0.1\\overline{6}", "\\frac16"},
      {"1{,}234{,}567", "1234567"},
      {"-2\\frac14", "-2.25"},
      {"2^{2010}", "4^{1005}"},
      {"10^{400}", "100^{200}"},
      {"3.2 \\times 10^{-5}", "0.000032"},
      {"1e3", "1000"},
      {"100!/98!", "9900"},
      {"\\binom{40}{20}", "137846528820"},
      {"0.\\overline{9}", "1"},
      {"½", "0.5"},
      {"1½", "1.5"},
      {"\\sqrt[3]{-8}", "-2"},
      {"(-8)^{1/3}", "-2"},
      {"|{-3}|", "3"},
      {"\\lceil 2.1 \\rceil", "3"},
      {"17 \\bmod 5", "2"},
      {"\\mathrm{lcm}(4, 6)", "12"},
      {"\\min\\{3, 1, 2\\}", "1"},
      {"\\prod_{k=1}^{5} k", "5!"},
      {"{6 \\over 4}", "1.5"},
      {"{5 \\choose 2}", "10"},
      {"5\\%", "0.05"},
      {"0.5\\%", "0.005"},
      // radicals and transcendental numbers
      {"\\sqrt{5+2\\sqrt{6}}", "\\sqrt2+\\sqrt3"},
      {"\\frac{1}{\\sqrt2-1}", "1+\\sqrt{2}"},
      {"\\sqrt[3]{54}", "3\\sqrt[3]{2}"},
      {"\\sin 75^\\circ", "\\frac{\\sqrt6+\\sqrt2}{4}"},
      {"\\cos\\frac{2\\pi}{5}", "\\frac{\\sqrt5-1}{4}"},
      {"\\ln 50", "\\ln 2 + 2\\ln 5"},
      {"e^{2\\pi i/3}", "\\frac{-1+i\\sqrt3}{2}"},
      {"(1+i)^{10}", "32i"},
      {"\\log_4 8", "3/2"},
      {"\\arctan 1", "\\pi/4"},
      {"\\sin^{-1} \\frac12", "\\frac{\\pi}{6}"},
      {"\\cosh 0", "1"},
      {"2\\cos^2 15^\\circ - 1", "\\frac{\\sqrt3}{2}"},
      {"\\frac13", "0.333333"},
      {"\\sqrt2", "1.4142136"},
      // functions
      {"(a+b)(a-b)", "a^2-b^2"},
      {"(x+1)^{100}", "(1+x)^{99}(x+1)"},
      {"\\frac{x^2-1}{x-1}", "x+1"},
      {"2^{n+1}", "2 \\cdot 2^n"},
      {"\\sqrt{x^2}", "|x|"},
      {"n!", "n (n-1)!"},
      {"\\tan x", "\\frac{\\sin x}{\\cos x}"},
      {"x_1 + x_2", "x_2+x_1"},
      {"\\frac{1}{x} + \\frac{1}{y}", "\\frac{x+y}{xy}"},
      {"f(2x)+1", "1+f(x+x)"},
      {"x^3", "x**3"},
      {"sqrt(x)/2", "\\frac{\\sqrt{x}}{2}"},
      {"2ab", "b \\cdot 2a"},
      {"e^{2x}", "(e^x)^2"},
      {"\\sin 2x", "2 \\sin x \\cos x"},
      // sets, lists, relations
      {"\\{1, 2\\}", "2, 1"},
      {"x = 2 \\text{ or } x = 3", "3, 2"},
      {"(1, 2)", "(x, y) = (1, 2)"},
      {"1 \\pm \\sqrt 2", "1-\\sqrt2, 1+\\sqrt2"},
      {"[0, 1) \\cup [1, 2]", "[0, 2]"},
      {"x \\ne 1", "\\mathbb{R} \\setminus \\{1\\}"},
      {"(1,3) \\cap (2,4)", "(2, 3)"},
      {"-2 \\le x \\le 7", "x \\in [-2, 7]"},
      {"x < 1 \\text{ or } x > 2", "(-\\infty, 1) \\cup (2, \\infty)"},
      {"2x + 4y = 6", "x + 2y - 3 = 0"},
      {"x + y > 2", "-x - y < -2"},
      {"y = \\frac{x}{2}", "2y = x"},
      {"3:4", "6:8"},
      {"3:4", "3/4"},
      {"\\begin{pmatrix} 1 \\\\ 2 \\end{pmatrix}", "(1, 2)"},
      {"\\begin{vmatrix} a & b \\\\ c & d \\end{vmatrix}", "ad - bc"},
      {"2 \\begin{pmatrix} 1 & 0 \\\\ 0 & 1 \\end{pmatrix}",
       "\\begin{bmatrix} 2 & 0 \\\\ 0 & 2 \\end{bmatrix}"},
      {"1,234", "1, 234"},
      {"100,200", "\\{100, 200\\}"},
      {"(\\pm 1, 2)", "(1,2), (-1,2)"},
      {"\\frac{-b\\pm\\sqrt{b^2-4c}}{2}",
       "\\frac{-b+\\sqrt{b^2-4c}}{2}, \\frac{-b-\\sqrt{b^2-4c}}{2}"},
      {"\\begin{pmatrix}1/2\\\\3\\end{pmatrix}", "\\begin{pmatrix} 0.5 \\\\[4pt] 3 \\end{pmatrix}"},
      {"(-\\infty,1)\\cup(2,\\infty)", "(-oo, 1) U (2, oo)"},
      {"k!", "\\Gamma(k+1)"},
      {"1:2", "1 \\text{ to } 2"},
      // words, units
      {"12", "12\\,\\mathrm{m}"},
      {"60", "60 \\frac{\\text{km}}{\\text{h}}"},
      {"12", "\\text{12 units}"},
      {"12", "12\\mathrm{~cm}"},
      {"12\\pi", "12\\pi\\ \\text{cubic inches}"},
      {"\\text{no solution}", "No solution."},
      {"\\text{(B)}", "B"},
      {"5 \\text{ cm}^2", "5"},
      {"12\\text{ m/s}", "12 \\text{ m}/\\text{s}"},
      {"\\$1{,}000", "1000 \\text{ dollars}"},
      {"30^\\circ", "30"},
      {"12_5", "12_{5}"},
  };
  for (const Pair& pair : pairs)
    EXPECT_EQ(judged(pair.gold, pair.answer), MathStatus::kRight)
        << pair.gold << " = " << pair.answer;
}

TEST(MathClaims, TheseAreNotEqual) {
  const Pair pairs[] = {
      {"1/2^{99}", "1/2^{98}"},
      {"1/2004!", "1/2006!"},
      {"9.11e-31", "9.11e-30"},
      {"10^{100}", "10^{100}+1"},
      {"2^{1000000000}", "2^{1000000001}"},
      {"9^{9^{9^9}}", "9^{9^{9^8}}"},
      {"\\sqrt{10^{20}+1}", "10^{10}"},
      {"e^{\\pi\\sqrt{163}}", "262537412640768744"},
      {"\\pi", "3.14"},
      {"\\pi", "22/7"},
      {"1/3", "0.333"},
      {"1/3", "0.33"},
      {"1234567.891", "1234567.892"},
      {"0.0000001", "0.0000002"},
      {"52_8", "52_9"},
      {"R+r", "2r"},
      {"17 \\bmod 5", "5"},
      {"-3.5e4", "-3.5"},
      {"\\mathbf a \\times \\mathbf b", "\\mathbf b \\times \\mathbf a"},
      {"1, 2, 3, \\ldots", "1, 2, 3"},
      {"\\sqrt{x^2}", "x"},
      {"f(2x)", "2f(x)"},
      {"f(x)", "f(y)"},
      {"x", "X"},
      {"AB", "ab"},
      {"x^2", "x^3"},
      {"\\infty", "-\\infty"},
      {"\\infty - \\infty", "0"},
      {"\\frac{0}{0}", "0"},
      {"5", "\\infty"},
      {"\\frac10", "\\infty"},
      {"3", "3 \\text{ or } 4"},
      {"3", "3, 4"},
      {"3, 4", "3"},
      {"3", "\\pm 3"},
      {"\\pm 3", "3"},
      {"(1, 2)", "(2, 1)"},
      {"(1, 2)", "[1, 2]"},
      {"(1, 2)", "\\{1, 2\\}"},
      {"[0,1]", "[0,1] \\cup [2,3]"},
      {"x > 2", "x \\ge 2"},
      {"x > 2", "y > 2"},
      {"x > y", "y > x"},
      {"x + y > 2", "-x - y > -2"},
      {"x = 3", "y = 3"},
      {"x = 3", "x = -3"},
      {"x^2 = 4", "x = 2"},
      {"0", "a^2 + b = 0"},
      {"3x-y+13=0", "3x+4y+14=0"},
      {"1 = 2", "3 = 4"},
      {"x = x", "y = y"},
      {"2:15", "4:30"},
      {"12:00", "4:00"},
      {"28", "28/100"},
      {"28\\%", "2.8"},
      {"5", "5i"},
      {"\\sin x", "\\cos x"},
      {"\\text{yes}", "\\text{no}"},
      {"\\text{Evelyn}", "\\text{Evelyn and Debra}"},
      {"\\text{(C)}", "\\text{(D)}"},
      {"\\text{B}", "8"},
      {"2", "2x"},
      {"\\begin{pmatrix} 1 & 2 \\end{pmatrix}", "\\begin{pmatrix} 1 \\\\ 2 \\end{pmatrix}"},
      {"\\frac{1}{2}", "1.2"},
      {"12", "1 2"},
      {"\\log 100", "\\ln 100"},
      {"\\int_0^1 x dx", "\\int_0^1 x^2 dx"},
      {"1+10^{-100000}", "1"},
      {"\\sqrt2 + 10^{-1000}", "\\sqrt2"},
  };
  for (const Pair& pair : pairs)
    EXPECT_NE(judged(pair.gold, pair.answer), MathStatus::kRight)
        << pair.gold << " != " << pair.answer;
}

TEST(MathClaims, OptionsChangeWhatTheySay) {
  EXPECT_EQ(judged("f(x)", "f(y)", {.strict = false}), MathStatus::kRight);
  EXPECT_EQ(judged("a + 2b", "x + 2y", {.strict = false}), MathStatus::kRight);
  EXPECT_EQ(judged("a + 2b", "2x + y", {.strict = false}), MathStatus::kWrong);
  EXPECT_EQ(judged("28\\%", "28"), MathStatus::kRight);
  EXPECT_EQ(judged("28\\%", "28", {.percent_equals_decimal = false}), MathStatus::kWrong);
  EXPECT_EQ(judged("28\\%", "0.28", {.percent_equals_decimal = false}), MathStatus::kRight);
  EXPECT_EQ(judged("\\pi", "3.14", {.float_rounding = 2}), MathStatus::kRight);
  EXPECT_EQ(judged("\\pi", "3.15", {.float_rounding = 2}), MathStatus::kWrong);
  EXPECT_EQ(judged("(5, \\infty)", "x > 5"), MathStatus::kWrong);
  EXPECT_EQ(judged("(5, \\infty)", "x > 5", {.allow_set_relation_comp = true}), MathStatus::kRight);
  EXPECT_EQ(judged("x > 5", "(5, \\infty)"), MathStatus::kRight);
}

// What a table of a few hundred generated rewritings found missing.
TEST(MathClaims, WritingsOfOtherPlacesAndBooksAreRead) {
  const Pair pairs[] = {
      {"(1,2)", "]1,2["},
      {"[1,2)", "[1;2["},
      {"(-\\infty,-1]\\cup(3,\\infty)", "\\left]-\\infty,-1\\right]\\cup\\left]3,+\\infty\\right["},
      {"[1,2]", "x \\text{ in } [1,2]"},
      {"10", "{}_5C_2"},
      {"10", "^{5}C_{2}"},
      {"20", "{}_5P_2"},
      {"11_2", "11_{\\text{two}}"},
      {"A3_{16}", "\\text{A3}_{16}"},
      {"3-4i", "\\overline{3+4i}"},
      {"6+9i", "6+9\\text{i}"},
      {"e^2", "\\text{e}^2"},
      {"\\frac{1}{3}", "0.333..."},
      {"\\frac{4}{33}", "0.1212\\ldots"},
      {"\\frac13", "33\\frac13\\%"},
      {"20", "20^{\\circ}C"},
      {"5", "5^{\\text{th}}"},
      {"0.5", "0{,}5"},
      {"\\$5", "\\text{\\$}5"},
      {"12:30", "12{:}30"},
      {"\\frac{x-3}{2}", "f^{-1}(x) = \\frac{x-3}{2}"},
      {"\\textbf{(B) }12", "B"},
      {"10 \\pmod 7", "3 \\pmod 7"},
      {"(1,3)", "x > 1 \\text{ and } x < 3"},
      {"\\begin{vmatrix}2&0&0&0&0\\\\0&3&0&0&0\\\\0&0&1&0&0\\\\0&0&0&1&0\\\\0&0&0&0&1\\end{"
       "vmatrix}",
       "6"},
  };
  const MathOptions options{.allow_set_relation_comp = true};
  for (const Pair& pair : pairs)
    EXPECT_EQ(judged(pair.gold, pair.answer, options), MathStatus::kRight)
        << pair.gold << " | " << pair.answer;
}

TEST(MathClaims, NearMissesOfThemAreNot) {
  const Pair pairs[] = {
      {"[1,2]", "]1,2["},
      {"(0,1]", "0,1"},
      {"10", "{}_5P_2"},
      {"11_2", "11_{\\text{three}}"},
      {"26_{16}", "1A_{16}"},
      {"0.3", "0.333..."},
      {"n", "n!"},
      {"3 \\pmod 7", "3 \\pmod 5"},
      {"x \\equiv 3 \\pmod 7", "x \\equiv 3 \\pmod 5"},
      {"p \\land q", "p \\lor q"},
      {"x > 1 \\text{ or } x < 3", "x > 1 \\text{ and } x < 3"},
      {"\\begin{vmatrix}1&0&0&0&0\\\\0&1&0&0&0\\\\0&0&1&0&0\\\\0&0&0&1&0\\\\0&0&0&0&1\\end{"
       "vmatrix}",
       "\\begin{vmatrix}2&0&0&0&0\\\\0&1&0&0&0\\\\0&0&1&0&0\\\\0&0&0&1&0\\\\0&0&0&0&1\\end{"
       "vmatrix}"},
  };
  for (const Pair& pair : pairs)
    EXPECT_NE(judged(pair.gold, pair.answer), MathStatus::kRight)
        << pair.gold << " | " << pair.answer;
  for (const int size : {7, 8}) {  // beyond what is written out: compared by the entries
    std::string zeros = "\\begin{vmatrix}";
    for (int i = 0; i < size * size; ++i)
      zeros += std::string(i % size == 0 ? (i == 0 ? "" : "\\\\") : "&") + "0";
    std::string other = zeros;
    other[std::string("\\begin{vmatrix}").size()] = '1';
    EXPECT_NE(judged(zeros + "\\end{vmatrix}", other + "\\end{vmatrix}"), MathStatus::kRight);
  }
}

TEST(MathClaims, UnitsScalesAndSelectionsAreRead) {
  const Pair equal[] = {
      {"5", "5\\,\\mathrm{m}\\,\\mathrm{s}^{-1}"},
      {"5", "5 \\mathrm{~kg} \\cdot \\mathrm{m} / \\mathrm{s}^{2}"},
      {"5", "5 cm^2"},
      {"42000000", "42 \\text{ million}"},
      {"\\$2.5 \\text{ billion dollars}", "2500000000"},
      {"10", "C(5,2)"},
      {"6!!", "48"},
      {"\\frac13", "0.(3)"},
      {"C", "\\text{Option C}"},
      {"42", "x \\approx 42"},
      {"5", "5 \\text{ meters squared}"},
      {"60", "5 \\text{ dozen eggs}"},
      {"\\frac{639}{40}", "15\\frac{39}{40} \\text{ or } \\frac{639}{40}"},
      {"\\{1, 2\\}", "\\{2, 1, 1\\}"},
      {"17_8", "17"},
      {"17", "17_{10}"},
  };
  for (const Pair& pair : equal)
    EXPECT_EQ(judged(pair.gold, pair.answer), MathStatus::kRight)
        << pair.gold << " " << pair.answer;
  const Pair different[] = {
      {"42", "42 \\text{ million}"},
      {"42", "42 \\text{ (or 43)}"},
      {"5", "5 \\text{ or more}"},
      {"5", "5\\text{ and a half}"},
      {"5", "5 \\text{ squared}"},
      {"5", "5 dozen"},
      {"5", "5\\text{x}"},
      {"17", "17_8"},
      {"15", "17_8"},
      {"77", "77, 77"},
      {"1, 2", "1, 2, 2"},
      {"9", "C(5,2)"},
  };
  for (const Pair& pair : different)
    EXPECT_NE(judged(pair.gold, pair.answer), MathStatus::kRight)
        << pair.gold << " " << pair.answer;
}

TEST(MathClaims, StatusSaysWhatFailed) {
  EXPECT_EQ(check_math("I am not sure how to solve this problem.", "5").status,
            MathStatus::kUnparsed);
  EXPECT_EQ(check_math("\\boxed{\\frac{5}}", "5").status, MathStatus::kUnparsed);
  EXPECT_EQ(check_math("\\boxed{5}", "").status, MathStatus::kUnparsedGold);
  EXPECT_EQ(check_math("\\boxed{5}", "\\frac{}{").status, MathStatus::kUnparsedGold);
  EXPECT_EQ(check_gold("\\frac{1}{").status, MathStatus::kUnparsedGold);
  EXPECT_EQ(check_gold("\\frac12").status, MathStatus::kRight);
  const MathVerdict verdict = check_math("\\boxed{6}", "5");
  EXPECT_EQ(verdict.status, MathStatus::kWrong);
  EXPECT_EQ(verdict.answer, "6");
  EXPECT_EQ(verdict.reason, "answer 6, expected 5: not equal");
}

}  // namespace
}  // namespace ponder::rewards
