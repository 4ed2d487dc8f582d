// The template language, by claims; tests/policy/jinja_oracle_test.cpp compares it with jinja2 at
// large.
#include <chrono>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/error.h"
#include "policy/jinja/template.h"

namespace ponder::policy::jinja {
namespace {

using nlohmann::ordered_json;

const ordered_json& names() {
  static const ordered_json json = ordered_json::parse(
      R"({"xs": [3, 1, 2], "s": "Hé llo", "d": {"z": 1, "a": {"b": [10, 20]}}, "nil": null, "message": {"items": 5}})");
  return json;
}

std::string render(const std::string& source) {
  return Template::parse(source, "t.jinja").render(names(), 0).text;
}

std::string error_of(const std::string& source) {
  try {
    render(source);
  } catch (const core::UserError& error) {
    return error.what();
  }
  return "no error";
}

struct Case {
  const char* name;
  const char* source;
  const char* want;
};

TEST(Jinja, RendersAsPythonDoes) {
  const Case cases[] = {
      {"BlocksTrimTheirLine", "  {% if true %}\n  a\n  {% endif %}\nb\n", "  a\nb"},
      {"MinusStripsBothSides", "a \n {{- 1 -}} \n b", "a1b"},
      {"PlusKeeps", "  {%+ if true %}x{% endif +%}\ny", "  x\ny"},
      {"RawIsKept", "{% raw %}{{ x }}{% endraw %}", "{{ x }}"},
      {"LastNewlineGoes", "a\n\n", "a\n"},
      {"NumbersPrintAsPython",
       "{{ 7 / 2 }} {{ -7 // 2 }} {{ -7 % 3 }} {{ 1e16 }} {{ 2 ** 3 ** 2 }}", "3.5 -4 2 1e+16 64"},
      {"BooleansAndNone", "{{ true }} {{ nil }} {{ none is none }}", "True None True"},
      {"ListsPrintAsRepr", "{{ [1, 'a\"', \"it's\", none, 1.0] }}",
       "[1, 'a\"', \"it's\", None, 1.0]"},
      {"CharactersNotBytes", "{{ s[1] }}{{ s|length }}{{ s[::-1] }}", "é6oll éH"},
      {"MethodsBeforeKeys", "{{ message.items is callable }}{{ message['items'] }}", "True5"},
      {"LoopVariables",
       "{% for x in xs %}{{ loop.index }}{{ loop.first }}{{ loop.previtem }}{{ loop.nextitem }};{% "
       "endfor %}",
       "1True1;2False32;3False1;"},
      {"LoopScopeEnds", "{% set a = 1 %}{% for x in xs %}{% set a = x %}{% endfor %}{{ a }}", "1"},
      {"NamespaceLasts",
       "{% set n = namespace(a=0) %}{% for x in xs %}{% set n.a = n.a + x %}{% endfor %}{{ n.a }}",
       "6"},
      {"MacrosTakeDefaults",
       "{% macro m(a, b=2) %}{{ a }}{{ b }}{% endmacro %}{{ m(1) }}{{ m(b=1, a=3) }}", "1231"},
      {"JsonAsHuggingFace", "{{ {'a': [1, 'é<', 2.5, none]}|tojson }}",
       R"({"a": [1, "é<", 2.5, null]})"},
      {"JsonIndented", "{{ d|tojson(indent=1) }}",
       "{\n \"z\": 1,\n \"a\": {\n  \"b\": [\n   10,\n   20\n  ]\n }\n}"},
      {"KeysInTheirOrder", "{% for k in d %}{{ k }}{% endfor %}{{ d|dictsort|map('first')|join }}",
       "zaaz"},
      {"UndefinedPrintsNothing", "[{{ missing }}{{ d.missing }}{{ missing|default('x') }}]", "[x]"},
      {"SafeTextsEscapeTheOthers", "{{ ('a'|safe) + '<' }}", "a&lt;"},
      {"TimeIsAnArgument", "{{ strftime_now('%Y') }}", "1970"},
      {"BreakAndContinue",
       "{% for x in [1,2,3,4] %}{% if x == 2 %}{% continue %}{% endif %}{% if x == 4 %}{% break "
       "%}{% endif %}{{ x }}{% endfor %}",
       "13"},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.name);
    EXPECT_EQ(render(c.source), c.want);
  }
}

TEST(Jinja, GenerationGivesItsBytes) {
  const auto rendered =
      Template::parse("é{% generation %}ab{% endgeneration %}c{% generation %}{% endgeneration %}",
                      "t")
          .render(names(), 0);
  EXPECT_EQ(rendered.text, "éabc");
  EXPECT_THAT(rendered.generated, ::testing::ElementsAre(std::pair<size_t, size_t>(2, 4),
                                                         std::pair<size_t, size_t>(5, 5)));
}

TEST(Jinja, ErrorsNameTheLine) {
  const Case cases[] = {
      {"RaisedByTheTemplate", "\n{{ raise_exception('Roles must alternate') }}",
       "t.jinja:2: the template refuses: Roles must alternate"},
      {"UndefinedUsed", "a\n\n{{ missing.x }}", "t.jinja:3: 'missing' is undefined"},
      {"UnknownFilter", "{{ 1|lenght }}",
       "t.jinja:1: no filter named 'lenght', did you mean 'length'?"},
      {"FilterWeDoNotHave", "{{ 1|groupby('x') }}",
       "t.jinja:1: no filter named 'groupby' in chat templates, though Jinja has one"},
      {"UnknownTest", "{{ 1 is strng }}",
       "t.jinja:1: no test named 'strng', did you mean 'string'?"},
      {"Types", "{{ 1 + 'a' }}", "t.jinja:1: unsupported operand type(s) for +: 'int' and 'str'"},
      {"UnknownTag", "\n{% fro x in y %}", "t.jinja:2: unknown tag 'fro'"},
      {"TagWeDoNotHave", "{% include 'x' %}",
       "t.jinja:1: the tag 'include' is not supported in a chat template"},
      {"NoEnd", "{% for x in xs %}",
       "t.jinja:1: the template ends within {% for %}, opened in line 1: expected {% endfor %}"},
      {"BrokenTag", "{{ 1 ", "t.jinja:1: a tag has no end }}"},
      {"BrokenBracket", "{{ (1] }}", "t.jinja:1: unexpected ']', expected ')'"},
      {"BreakOutside", "{% break %}", "t.jinja:1: 'break' outside of a loop"},
      {"ChangingAList", "{{ xs.append(1) }}",
       "t.jinja:1: access to attribute 'append' of 'list' object is unsafe."},
      {"BigIntegers", "{{ 9223372036854775807 + 1 }}",
       "t.jinja:1: integers beyond 64 bits are not supported"},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.name);
    EXPECT_EQ(error_of(c.source), c.want);
  }
}

TEST(Jinja, HostileTemplatesEnd) {
  const auto begin = std::chrono::steady_clock::now();
  const std::string many(100000, '(');
  std::string chain = "{{ 1";
  for (int i = 0; i < 50000; ++i) chain += " + 1";
  const std::string hostile[] = {
      "{{ 'a' * 99999999999 }}",
      "{{ " + many + " }}",
      chain + " }}",
      "{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}",
      "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
      "{% set n = namespace(a='xx') %}{% for i in range(60) %}{% set n.a = n.a + n.a %}{% endfor "
      "%}",
      "{% set n = namespace(a=[1]) %}{% for i in range(60) %}{% set n.a = [n.a, n.a] %}{% endfor "
      "%}{{ n.a }}",
      "{% set n = namespace(a=1) %}{% for i in range(90000) %}{% set n.a = [n.a] %}{% endfor %}",
      "{% set n = namespace(a=1) %}{% for i in range(90000) %}{% set n.a = [n.a].index %}{% endfor "
      "%}",
      "{% set n = namespace() %}{% set n.a = n %}{{ n }}",
      "{% set n = namespace(a='x' * 100000) %}{% for i in range(99999) %}{% if n.a[i] == 'q' %}{% "
      "endif %}{% endfor %}",
      "{{ ('a' * 1000000)|replace('', 'b' * 1000000) }}",
      "{{ xs|tojson(indent=999999999999) }}",
      "{{ range(99999999999)|list }}",
      "{{ ('%c' * 1000000)|length }}{{ strftime_now('%c' * 10000000) }}",
      "{% for x in xs recursive %}{{ loop(xs) }}{% endfor %}",
      "{{ 'x'.center(99999999999) }}",
  };
  for (const std::string& source : hostile) {
    SCOPED_TRACE(source.substr(0, 100));
    EXPECT_NE(error_of(source), "no error");
  }
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
  EXPECT_LT(seconds.count(), 60);
}

TEST(Jinja, DeepDataIsRefused) {
  ordered_json deep = 1;
  for (int i = 0; i < 3000; ++i) deep = ordered_json::array({deep});
  EXPECT_THROW(Template::parse("{{ x }}", "t").render({{"x", deep}}, 0), core::UserError);
}

}  // namespace
}  // namespace ponder::policy::jinja
