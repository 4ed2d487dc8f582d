#include "data/tasks.h"

#include <fstream>
#include <regex>
#include <set>
#include <sstream>

#include <gmock/gmock.h>

#include "core/error.h"
#include "tests/support/process.h"

namespace ponder::data {
namespace {

using ::testing::HasSubstr;

std::vector<Prompt> problems(const std::string& task, int64_t count,
                             const TaskOptions& options = {}) {
  std::vector<Prompt> out;
  for (int64_t i = 0; i < count; ++i)
    out.push_back(task_problem(task, 1, i, options, Split::kTrain));
  return out;
}

// What Python's eval() makes of each line, by a process of its own: the oracle for expressions.
std::vector<std::string> python_values(const std::vector<std::string>& expressions) {
  const test::TempDir dir;
  std::ofstream file(dir.path() / "lines");
  for (const std::string& expression : expressions) file << expression << '\n';
  file.close();
  const auto outcome =
      test::run({"python3", "-c",
                 "import sys\nfrom fractions import Fraction\nimport re\n"
                 "for line in open(sys.argv[1]):\n"
                 "  print(eval(re.sub(r'(\\d+)', r'Fraction(\\1)', line.strip())))\n",
                 (dir.path() / "lines").string()});
  EXPECT_EQ(outcome.status, 0) << outcome.err;
  std::vector<std::string> out;
  std::istringstream lines(outcome.out);
  for (std::string line; std::getline(lines, line);) out.push_back(line);
  return out;
}

std::multiset<int64_t> numbers_in(const std::string& text) {
  static const std::regex number("[0-9]+");
  std::multiset<int64_t> out;
  for (std::sregex_iterator it(text.begin(), text.end(), number), end; it != end; ++it)
    out.insert(std::stoll(it->str()));
  return out;
}

TEST(Tasks, AreFunctionsOfSeedAndIndexAndDiffer) {
  for (const std::string& task : task_names()) {
    std::set<std::string> ids;
    for (const Prompt& prompt : problems(task, 50)) {
      EXPECT_FALSE(prompt.text.empty());
      EXPECT_FALSE(prompt.answer.is_null());
      ids.insert(prompt.id);
    }
    EXPECT_GT(ids.size(), 40u) << task;
    EXPECT_EQ(task_problem(task, 1, 7, {}, Split::kTrain).text, problems(task, 8).back().text);
    EXPECT_NE(task_problem(task, 2, 7, {}, Split::kTrain).text, problems(task, 8).back().text);
  }
}

TEST(Tasks, HeldOutProblemsAreDifferentAndNeverTrainedOn) {
  for (const std::string& task : task_names()) {
    std::set<std::string> held_out;
    for (const Prompt& prompt : held_out_problems(task, 0, 100, {}))
      EXPECT_TRUE(held_out.insert(prompt.id).second);
    EXPECT_EQ(held_out.size(), 100u) << task;
    for (const Prompt& prompt : problems(task, 500)) EXPECT_FALSE(held_out.contains(prompt.id));
  }
}

TEST(Tasks, OptionsThatLeaveNoProblemAreAnError) {
  TaskOptions options;
  options.linear_equations = {
      .min_unknowns = 1, .max_unknowns = 1, .max_coefficient = 1, .max_solution = 0};
  // "x = 0" and "-x = 0" are all there is.
  EXPECT_LE(held_out_problems("linear_equations", 0, 10, options).size(), 2u);
  options.arithmetic = {.min_terms = 30, .max_terms = 30, .max_digits = 12, .operators = "*"};
  try {
    check_task("arithmetic", options);
    FAIL();
  } catch (const core::UserError& error) {
    EXPECT_THAT(error.what(), HasSubstr("dataset.arithmetic: none of"));
  }
  options.arithmetic = {.min_terms = 3, .max_terms = 2};
  EXPECT_THROW(check_task("arithmetic", options), core::UserError);
  options.arithmetic = {.operators = "+%"};
  EXPECT_THROW(check_task("arithmetic", options), core::UserError);
}

TEST(Arithmetic, AnswersAreWhatPythonCalculates) {
  TaskOptions options;
  options.arithmetic = {.min_terms = 1, .max_terms = 8, .max_digits = 3, .operators = "+-*/"};
  std::vector<std::string> expressions, answers;
  for (const Prompt& prompt : problems("arithmetic", 1000, options)) {
    expressions.push_back(prompt.id);
    answers.push_back(prompt.answer.dump());
    EXPECT_EQ(prompt.text, "Calculate " + prompt.id + ".");
  }
  EXPECT_EQ(python_values(expressions), answers);
}

TEST(Countdown, EachProblemHasTheSolutionItNames) {
  TaskOptions options;
  options.countdown.max_numbers = 6;
  std::vector<std::string> expressions, targets;
  for (const Prompt& prompt : problems("countdown", 500, options)) {
    const auto nums = prompt.columns["nums"].get<std::vector<int64_t>>();
    expressions.push_back(prompt.answer.get<std::string>());
    targets.push_back(prompt.columns["target"].dump());
    EXPECT_EQ(numbers_in(expressions.back()), std::multiset<int64_t>(nums.begin(), nums.end()));
    EXPECT_LE(prompt.columns["target"].get<int64_t>(), 999);
  }
  EXPECT_EQ(python_values(expressions), targets);
}

TEST(LinearEquations, TheAnswerSolvesEachEquation) {
  TaskOptions options;
  options.linear_equations.max_unknowns = 4;
  std::vector<std::string> differences;
  for (const Prompt& prompt : problems("linear_equations", 300, options)) {
    std::vector<std::string> values;
    static const std::regex value("-?[0-9]+");
    const std::string answer = prompt.answer.get<std::string>();
    for (std::sregex_iterator it(answer.begin(), answer.end(), value), end; it != end; ++it)
      values.push_back(it->str());
    std::istringstream equations(prompt.id);
    for (std::string equation; std::getline(equations, equation, ';');) {
      const size_t equals = equation.find('=');
      std::string text = equation.substr(0, equals) + "-(" + equation.substr(equals + 1) + ")";
      for (size_t i = 0; i < values.size(); ++i)
        text =
            std::regex_replace(text, std::regex(std::string(1, "xyzw"[i])), "(" + values[i] + ")");
      differences.push_back(text);
    }
  }
  for (const std::string& difference : python_values(differences)) EXPECT_EQ(difference, "0");
}

// A reader of the sentences that knows nothing of how they were made.
bool is_true(const std::string& said, const std::map<std::string, bool>& knight) {
  std::smatch m;
  const auto match = [&](const char* pattern) {
    return std::regex_match(said, m, std::regex(pattern));
  };
  if (match("(\\w+) is a knight\\.")) return knight.at(m[1]);
  if (match("(\\w+) is a knave\\.")) return !knight.at(m[1]);
  if (match("(\\w+) and (\\w+) are of the same kind\\.")) return knight.at(m[1]) == knight.at(m[2]);
  if (match("(\\w+) and (\\w+) are of different kinds\\."))
    return knight.at(m[1]) != knight.at(m[2]);
  if (match("If (\\w+) is a knight, then (\\w+) is a knight too\\."))
    return !knight.at(m[1]) || knight.at(m[2]);
  EXPECT_TRUE(match("Exactly (\\d) of us (?:is a knight|are knights)\\.")) << said;
  int count = 0;
  for (const auto& [name, is_knight] : knight) count += is_knight ? 1 : 0;
  return count == std::stoi(m[1]);
}

TEST(Logic, ExactlyTheAnswerFits) {
  TaskOptions options;
  options.logic.max_people = 6;
  static const std::regex sentence("(\\w+) says: \"([^\"]+)\"");
  for (const Prompt& prompt : problems("logic", 200, options)) {
    std::vector<std::pair<std::string, std::string>> said;
    for (std::sregex_iterator it(prompt.id.begin(), prompt.id.end(), sentence), end; it != end;
         ++it)
      said.emplace_back((*it)[1], (*it)[2]);
    std::vector<std::string> fitting;
    for (unsigned bits = 0; bits < 1u << said.size(); ++bits) {
      std::map<std::string, bool> knight;
      std::string answer;
      for (size_t i = 0; i < said.size(); ++i) {
        knight[said[i].first] = (bits >> i & 1) != 0;
        answer += std::string(i > 0 ? ", " : "") + ((bits >> i & 1) != 0 ? "knight" : "knave");
      }
      bool fits = true;
      for (const auto& [name, text] : said) fits &= is_true(text, knight) == knight[name];
      if (fits) fitting.push_back(answer);
    }
    ASSERT_EQ(fitting.size(), 1u) << prompt.text;
    EXPECT_EQ(prompt.answer, fitting[0]);
  }
}

}  // namespace
}  // namespace ponder::data
