#include "tests/fuzz/jinja_fuzz.h"

#include <cstdlib>

#include <gtest/gtest.h>

#include "tests/fuzz/mutate.h"

namespace ponder::fuzz {
namespace {

const std::vector<std::string> kDictionary = {"{%",
                                              "%}",
                                              "{{",
                                              "}}",
                                              "{#",
                                              "#}",
                                              "-%}",
                                              "{%-",
                                              "for",
                                              "endfor",
                                              "if",
                                              "endif",
                                              "set",
                                              "macro",
                                              "in",
                                              "is",
                                              "not",
                                              "and",
                                              "or",
                                              "recursive",
                                              "break",
                                              "continue",
                                              "else",
                                              "elif",
                                              "loop",
                                              "namespace(a=1)",
                                              "range(99)",
                                              "|tojson",
                                              "|list",
                                              "|map('upper')",
                                              "|join",
                                              "|trim",
                                              "|indent",
                                              "|replace('', 'xx')",
                                              "|batch(3)",
                                              "[::-1]",
                                              "[1:]",
                                              ".items()",
                                              ".split()",
                                              ".get('x')",
                                              "caller()",
                                              "{% endset %}",
                                              "{% raw %}",
                                              "{% endraw %}",
                                              "**",
                                              "//",
                                              "~",
                                              "* 99999999",
                                              "0",
                                              "-1",
                                              "9223372036854775807",
                                              "1e308",
                                              "'\\x41'",
                                              "'\\u00e9'",
                                              "\xFF",
                                              "\xE2\x82",
                                              "(",
                                              ")",
                                              "[",
                                              "]",
                                              "{",
                                              "}",
                                              "loop(messages)"};

const std::string kSeeds[] = {
    R"({%- set ns = namespace(n=0) %}{{ bos_token }}{% for m in messages if m.role != 'system' %}
{%- if loop.first and m.content is string %}{{ raise_exception('no') }}{% elif m.role == 'user' %}
<|{{ m['role'] | upper }}|>{% for c in m.content %}{{ c.text | default('', true) | trim }}{% endfor %}
{%- else %}{% generation %}{{ m.content.split('</think>')[-1] }}{{ eos_token }}{% endgeneration %}{% endif %}
{%- set ns.n = ns.n + 1 %}{% if loop.last %}{{ loop.index ~ '/' ~ ns.n }}{% break %}{% endif %}{% endfor %})",
    R"({%- macro show(x, depth=0) -%}{%- if x is mapping -%}{ {%- for k, v in x | dictsort %}{{ k }}:{{ show(v, depth + 1) }},{% endfor -%} }
{%- elif x is iterable and x is not string -%}[{%- for v in x recursive -%}{{ show(v) }}{{ loop(v) if v is sequence and v is not string }}{%- endfor -%}]
{%- else -%}{{ x | tojson(indent=2) }}{%- endif -%}{%- endmacro -%}
{% for t in tools %}{{ show(t) }}{{ t | tojson }}{% endfor %}{{ messages[1:] | map(attribute='role') | join(', ') }})",
    R"({% set text %}a {{ messages | length }} b{% endset %}{{ text | indent(4, true) | replace('b', 'c') }}{% call (q) w() %}{{ q }}{% endcall %}
{% macro w() %}<{{ caller(1) }}>{% endmacro %}{% with a = 2, b = [1, 'x', none] %}{{ a ** 3 // 5 % 2, b[::-1], b[0] < 2 <= 3 }}{% endwith %}
{% filter upper %}x{{ 'it''s' ~ "\n" }}{% endfilter %}{{ messages | selectattr('role', 'equalto', 'user') | list | first }}{# end #})"};

TEST(JinjaFuzz, MutatedTemplatesRenderOrAreRefused) {
  const char* asked = std::getenv("PONDER_FUZZ_ROUNDS");
  const int rounds = asked != nullptr ? std::atoi(asked) : 2000;
  std::mt19937_64 random(1);
  int rendered = 0, refused = 0;
  for (const std::string& seed : kSeeds) {
    for (int i = 0; i < rounds; ++i) {
      const std::string text = mutate(seed, random, kDictionary);
      SCOPED_TRACE(text);
      int done = -1;
      ASSERT_NO_THROW(done =
                          fuzz_jinja(reinterpret_cast<const uint8_t*>(text.data()), text.size()));
      ++(done == 1 ? rendered : refused);
    }
  }
  EXPECT_GT(rendered, rounds / 20);
  EXPECT_GT(refused, rounds / 20);
}

}  // namespace
}  // namespace ponder::fuzz
