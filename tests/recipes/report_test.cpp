#include "recipes/report.h"

#include <filesystem>
#include <nlohmann/json.hpp>
#include <regex>
#include <string>
#include <string_view>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/error.h"
#include "core/file.h"
#include "tests/support/temp_dir.h"

namespace ponder::recipes {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::SizeIs;
using Json = nlohmann::json;

constexpr std::string_view kDataTag = "<script type=\"application/json\" id=\"data\">";

// What the page's script reads: the text up to the first "</script", as a browser ends the element
// there.
Json data_of(const std::string& page) {
  const size_t start = page.find(kDataTag) + kDataTag.size();
  return Json::parse(page.substr(start, page.find("</script", start) - start));
}

RunData small_run(std::string name) {
  RunData run;
  run.name = std::move(name);
  run.recipe = "stage = \"grpo\"\nseed = 7\n[policy]\nmodel_name_or_path = \"models/base\"\n";
  run.steps = {
      {0, {{"eval/accuracy", 0.25}}},
      {1, {{"reward", 0.5}, {"timing_s/step", 61.0}}},
      {2,
       {{"reward", 0.75}, {"eval/accuracy", 0.875}, {"timing_s/step", 1.5}, {"num_tokens", 1500}}}};
  return run;
}

TEST(RenderReport, HoldsWhatTheReaderWantsToKnowFirst) {
  const RunData run = small_run("demo");
  const std::string page = render_report({&run, 1});
  const Json data = data_of(page);
  EXPECT_EQ(data["runs"][0]["facts"],
            Json::parse(R"([["stage","grpo"],["model","models/base"],["seed","7"],["steps","2"],)"
                        R"(["wall time","1:03"],["tokens","1.5k"]])"));
  ASSERT_THAT(data["summary"], SizeIs(1));
  EXPECT_EQ(data["summary"][0]["runs"][0],
            Json::parse(R"({"before":0.25,"before_step":0,"after":0.875,"after_step":2})"));
  EXPECT_EQ(data["runs"][0]["recipe"], run.recipe);
  EXPECT_THAT(page, HasSubstr("<title>demo · ponder</title>"));
  EXPECT_THAT(page, Not(HasSubstr("{{")));
}

TEST(RenderReport, ARunWithoutEvaluationsIsSummedUpByItsLoss) {
  RunData run;
  run.steps = {{1, {{"loss", 5}}}, {2, {{"loss", 2}}}};
  const Json data = data_of(render_report({&run, 1}));
  ASSERT_THAT(data["summary"], SizeIs(1));
  EXPECT_EQ(data["summary"][0]["label"], "Loss");
}

TEST(RenderReport, ARunThatHasJustStartedIsAPageToo) {
  RunData run;
  run.name = "empty";
  const Json data = data_of(render_report({&run, 1}));
  EXPECT_TRUE(data["charts"].empty());
  EXPECT_TRUE(data["summary"].empty());
}

TEST(RenderReport, UntrustedTextCannotLeaveItsPlace) {
  const std::string kAttacks[] = {
      "</script><b>bold</b>", "<!-- <script>", "</SCRIPT >",   "]]>",
      "{{script}}",           "\" onload=\"x", "\xe2\x80\xa8", "a\\u003cb & &lt;"};
  for (const std::string& attack : kAttacks) {
    SCOPED_TRACE(attack);
    RunData run = small_run(attack);
    run.recipe += "# " + attack;
    const Json group = {
        {"prompt", attack},
        {"prompt_id", attack},
        {"answer", attack},
        {"completions", {{{"text", attack}, {"reason", attack}, {"parts", {{attack, 1}}}}}}};
    run.completions.push_back({1, {group}});
    run.num_completion_steps = 1;
    const RunData harmless = small_run("harmless");
    const std::string page = render_report({&run, 1});
    const auto count = [](const std::string& text, const char* pattern) {
      const std::regex expression(pattern, std::regex::icase);
      return std::distance(std::sregex_iterator(text.begin(), text.end(), expression),
                           std::sregex_iterator());
    };
    for (const char* pattern : {"<script", "</script", "<!--", "<b>"}) {
      EXPECT_EQ(count(page, pattern), count(render_report({&harmless, 1}), pattern)) << pattern;
    }
    EXPECT_EQ(data_of(page)["runs"][0]["completions"][0]["groups"][0], group);
    EXPECT_EQ(data_of(page)["runs"][0]["recipe"], run.recipe);
  }
}

TEST(RenderReport, BytesThatAreNoUtf8BecomeReplacementCharacters) {
  RunData run = small_run("a");
  run.recipe = "note = \"\xff\"\n";
  EXPECT_EQ(data_of(render_report({&run, 1}))["runs"][0]["recipe"], "note = \"\xef\xbf\xbd\"\n");
}

TEST(RenderReport, NeedsNothingFromOutside) {
  const RunData run = small_run("a");
  const std::string page = render_report({&run, 1});
  EXPECT_THAT(page, HasSubstr("default-src 'none'"));
  // The only addresses are names of XML namespaces, which no browser opens.
  const std::regex address("(https?:)?//[a-z0-9.-]+\\.[a-z]{2,}[^'\"]*", std::regex::icase);
  for (std::sregex_iterator it(page.begin(), page.end(), address), end; it != end; ++it) {
    EXPECT_EQ(it->str(), "http://www.w3.org/2000/svg");
  }
  EXPECT_THAT(page, Not(HasSubstr("src=")));
  EXPECT_THAT(page, Not(HasSubstr("@import")));
}

TEST(RenderReport, AComparisonNamesEveryRunOnceAndWhereRecipesDiffer) {
  std::vector<RunData> runs = {small_run("one"), small_run("two")};
  runs[1].recipe =
      "stage = \"grpo\"\nseed = 8\nextra = 1\n[policy]\nmodel_name_or_path = \"models/base\"\n";
  const Json data = data_of(render_report(runs));
  ASSERT_THAT(data["runs"], SizeIs(2));
  EXPECT_EQ(data["summary"][0]["runs"].size(), 2u);
  EXPECT_EQ(
      data["differences"],
      Json::parse(R"([{"key":"extra","values":[null,"1"]},{"key":"seed","values":["7","8"]}])"));
}

TEST(RenderReport, TenThousandStepsStayASmallPage) {
  RunData run;
  for (int64_t step = 1; step <= 10000; ++step) {
    core::StepRecord record{step, {}};
    for (int metric = 0; metric < 30; ++metric) {
      record.metrics["m" + std::to_string(metric)] = 1.0 / static_cast<double>(step + metric);
    }
    run.steps.push_back(std::move(record));
  }
  EXPECT_LT(render_report({&run, 1}).size(), size_t{2} << 20);
}

TEST(RenderReport, NoRunsAreOurBug) {
  EXPECT_THROW(render_report({}), core::InternalError);
}

TEST(WriteReport, WritesThePageOfARunFolder) {
  const test::TempDir dir;
  core::write_file_atomic(dir.path() / "metrics.jsonl", "{\"step\":1,\"reward\":0.5}\n");
  const std::vector<std::filesystem::path> folders = {dir.path()};
  write_report(folders, dir.path() / "report.html");
  EXPECT_THAT(core::read_file(dir.path() / "report.html", "report"), HasSubstr("<!doctype html>"));
}

// The page in a real browser: the Chromium that the environment's PONDER_CHROMIUM names.
TEST(ReportInABrowser, RunsWithoutErrorsAndKeepsHostileTextAsText) {
  const char* chromium = std::getenv("PONDER_CHROMIUM");
  if (chromium == nullptr || *chromium == '\0') {
    GTEST_SKIP() << "PONDER_CHROMIUM is unset: set it to a Chromium or Chrome program";
  }
  RunData run = small_run("browser");
  const std::string hostile =
      "<think>a</think></script><b>b</b><img src=x "
      "onerror=\"document.title='pwned'\"><answer>7</answer>";
  run.completions.push_back(
      {1, {{{"prompt", hostile}, {"completions", {{{"text", hostile}, {"status", "ok"}}}}}}});
  run.num_completion_steps = 1;
  const test::TempDir dir;
  core::write_file_atomic(dir.path() / "report.html", render_report({&run, 1}));
  const std::string command = fmt::format(
      "'{0}' --headless --no-sandbox --disable-gpu --user-data-dir='{1}/profile' "
      "--virtual-time-budget=2000 "
      "--enable-logging=stderr --dump-dom 'file://{1}/report.html' > '{1}/dom.html' 2> "
      "'{1}/log.txt'",
      chromium, dir.path().string());
  ASSERT_EQ(std::system(command.c_str()), 0) << command;
  const std::string dom = core::read_file(dir.path() / "dom.html", "page");
  EXPECT_THAT(core::read_file(dir.path() / "log.txt", "log"), Not(HasSubstr(":CONSOLE")));
  EXPECT_THAT(dom, HasSubstr("<title>browser · ponder</title>"));
  EXPECT_THAT(dom, HasSubstr("<h3>Accuracy</h3>"));
  EXPECT_THAT(dom, HasSubstr("<span class=\"think\">a</span>"));
  EXPECT_THAT(dom, HasSubstr("<span class=\"answer\">7</span>"));
  EXPECT_THAT(dom, HasSubstr("&lt;/script&gt;&lt;b&gt;b&lt;/b&gt;&lt;img src=x"));
  EXPECT_THAT(dom, Not(HasSubstr("<img")));
}

}  // namespace
}  // namespace ponder::recipes
