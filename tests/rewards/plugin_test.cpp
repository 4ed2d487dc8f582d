#include <chrono>
#include <cstdlib>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/error.h"
#include "rewards/plugins/pool.h"
#include "tests/rewards/support.h"

namespace ponder::rewards {
namespace {

using data::ScoreStatus;
using ::testing::HasSubstr;

// Judgements of completions "0", "1", ... whose prompts have the number as answer.
std::vector<Judgement> judge_numbers(const Reward& reward, int count) {
  std::vector<data::Prompt> prompts;
  std::vector<data::Completion> completions;
  for (int i = 0; i < count; ++i) {
    prompts.push_back(prompt_with(i, "p" + std::to_string(i), {{"extra", i * 10}}));
    completions.push_back(stopped(std::to_string(i)));
  }
  std::vector<Sample> samples;
  for (size_t i = 0; i < prompts.size(); ++i) samples.push_back({&prompts[i], &completions[i]});
  return reward.judge_all(samples);
}

// What a misbehaving reward does at completion "5"; all others get their number.
void expect_only_five_fails(const std::string& spec, ScoreStatus status,
                            const std::string& reason) {
  const auto reward = make_reward(spec);
  for (int round = 0; round < 2; ++round) {  // the second finds a worker that was replaced
    const std::vector<Judgement> got = judge_numbers(*reward, 12);
    for (size_t i = 0; i < got.size(); ++i) {
      SCOPED_TRACE(i);
      if (i == 5) {
        EXPECT_EQ(got[i].value, std::nullopt);
        EXPECT_EQ(got[i].status, status) << got[i].reason;
        EXPECT_THAT(got[i].reason, HasSubstr(reason));
        EXPECT_FALSE(got[i].abstains);
      } else {
        EXPECT_EQ(got[i].value, static_cast<double>(i)) << got[i].reason;
      }
    }
  }
}

std::string python_reward(const Files& files, const std::string& at_five) {
  return files.write("mine.py",
                     "import os, sys, time, ctypes\n"
                     "def reward(prompts, completions, **columns):\n"
                     "    out = []\n"
                     "    for c in completions:\n"
                     "        if c == '5':\n"
                     "            " +
                         at_five +
                         "\n"
                         "        out.append(int(c))\n"
                         "    return out\n");
}

TEST(PythonPlugin, OnlyTheGuiltyCompletionFails) {
  const struct {
    const char *name, *at_five;
    ScoreStatus status;
    const char* reason;
  } cases[] = {
      {"exception", "raise KeyError('five')", ScoreStatus::kCrashed,
       "KeyError: 'five' (mine.py:6)"},
      {"hang", "time.sleep(1000)", ScoreStatus::kTimeout, "no reply within 0.7 s"},
      {"exit", "sys.exit(3)", ScoreStatus::kCrashed, "exit status"},
      {"kill", "os.kill(os.getpid(), 9)", ScoreStatus::kCrashed, "signal 9"},
      {"segmentation fault", "ctypes.string_at(0)", ScoreStatus::kCrashed, "signal 11"},
      {"no memory", "x = bytearray(10**10)", ScoreStatus::kCrashed, "MemoryError"},
      {"one too many", "out.append(1)", ScoreStatus::kCrashed,
       "returned 2 rewards for 1 completions"},
      {"one too few", "continue", ScoreStatus::kCrashed, "returned 0 rewards for 1 completions"},
      {"not a number", "c = 'nan'; out.append(float(c)); continue", ScoreStatus::kCrashed,
       "the reward is nan"},
      {"infinite", "out.append(float('inf')); continue", ScoreStatus::kCrashed,
       "the reward is inf"},
      {"huge", "out.append(1e300); continue", ScoreStatus::kCrashed, "outside"},
      {"no reward", "out.append('many'); continue", ScoreStatus::kCrashed, "could not convert"},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.name);
    const Files files;
    expect_only_five_fails(python_reward(files, c.at_five) + "{deadline_s = 0.7, workers = 2}",
                           c.status, c.reason);
  }
}

TEST(PythonPlugin, PrintsAndReadsDoNotBreakTheProtocol) {
  const Files files;
  const auto reward =
      make_reward(python_reward(files,
                                "pass; print('x' * 10**6); sys.stderr.write('y' * 10**6); "
                                "os.write(1, b'{\"reward\": 9}\\n'); sys.stdin.read()"));
  const auto got = judge_numbers(*reward, 20);
  for (size_t i = 0; i < got.size(); ++i)
    EXPECT_EQ(got[i].value, static_cast<double>(i)) << got[i].reason;
  EXPECT_EQ(reward->metrics().at("restarts"), 0);
}

TEST(PythonPlugin, TakesColumnsAndNone) {
  const Files files;
  const std::string file =
      files.write("r.py",
                  "import collections\n"
                  "def helper(x): return x\n"
                  "async def by_extra(completions, extra, answer, finish_reason):\n"
                  "    return [None if e == 30 else e + a + len(f) for e, a, f in zip(extra, "
                  "answer, finish_reason)]\n");
  const auto got = judge_numbers(*make_reward(file), 5);
  for (int i = 0; i < 5; ++i) {
    const Judgement& judgement = got[static_cast<size_t>(i)];
    if (i == 3) {
      EXPECT_EQ(judgement.value, std::nullopt);
      EXPECT_TRUE(judgement.abstains);
      EXPECT_EQ(judgement.status, ScoreStatus::kRefused);
    } else {
      EXPECT_EQ(judgement.value, 11.0 * i + 4);
    }
  }
}

TEST(PythonPlugin, APlainFunctionMayRunAnEventLoopOfItsOwn) {
  const Files files;
  const std::string file = files.write(
      "loops.py",
      "import asyncio\n"
      "async def one(c): return float(c)\n"
      "async def every(cs): return await asyncio.gather(*(one(c) for c in cs))\n"
      "def trl(completions, **columns): return asyncio.run(every(completions))\n"
      "def verl(data_source, solution_str, ground_truth, extra_info=None): return "
      "asyncio.run(one(solution_str))\n"
      "class Later:\n"
      "    async def __call__(self, completions, **columns): return await every(completions)\n"
      "later = Later()\n");
  for (const char* function : {":trl", ":verl", ":later"}) {
    SCOPED_TRACE(function);
    const auto got = judge_numbers(*make_reward(file + function), 3);
    for (size_t i = 0; i < got.size(); ++i)
      EXPECT_EQ(got[i].value, static_cast<double>(i)) << got[i].reason;
  }
}

TEST(PythonPlugin, TakesVerlsSignature) {
  const Files files;
  const std::string file =
      files.write("v.py",
                  "def compute_score(data_source, solution_str, ground_truth, extra_info=None):\n"
                  "    if solution_str == '2': raise ValueError('two')\n"
                  "    return {'score': int(solution_str) == int(ground_truth), 'source': "
                  "data_source, 'acc': 0.5}\n"
                  "async def slow(data_source, solution_str, ground_truth, extra_info): return "
                  "float(solution_str)\n");
  const auto got = judge_numbers(*make_reward(file), 4);
  EXPECT_EQ(got[1].value, 1.0);
  EXPECT_EQ(got[1].parts.at("acc"), 0.5);
  EXPECT_EQ(got[2].status, ScoreStatus::kCrashed);
  EXPECT_THAT(got[2].reason, HasSubstr("ValueError: two"));
  EXPECT_EQ(judge_numbers(*make_reward(file + ":slow"), 4)[3].value, 3.0);
}

TEST(PythonPlugin, GivesConversationsAsTrlDoes) {
  const Files files;
  const auto reward =
      make_reward(files.write("c.py",
                              "def f(prompts, completions, **k): return [len(p) + "
                              "len(c[0]['content']) for p, c in zip(prompts, completions)]\n"));
  const data::Prompt prompt =
      prompt_with(nullptr, "hi", {{"prompt", {{{"role", "user"}, {"content", "hi"}}}}});
  EXPECT_EQ(reward->judge(prompt, stopped("four")).value, 5.0);
}

TEST(PythonPlugin, WhatDoesNotLoadIsTheUsersFault) {
  const Files files;
  const struct {
    const char *name, *text, *function, *complaint;
  } cases[] = {
      {"syntax", "def f(:\n", "", "SyntaxError"},
      {"import", "import no_such_module\n", "", "ModuleNotFoundError"},
      {"missing", "def f(completions): pass\n", ":g", "no function g in it, found: f"},
      {"which", "def f(completions): pass\ndef g(completions): pass\n", "",
       "FILE.py:FUNCTION; found: f, g"},
      {"exits", "import os\nos._exit(4)\n", "", "exit status 4"},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.name);
    try {
      make_reward(files.write("bad.py", c.text) + c.function);
      ADD_FAILURE();
    } catch (const core::UserError& error) {
      EXPECT_THAT(error.what(), HasSubstr(c.complaint));
    }
  }
  EXPECT_THROW(make_reward("nowhere.py"), core::UserError);
  EXPECT_THROW(make_reward("nowhere.so"), core::UserError);
  EXPECT_THROW(make_reward("./nowhere"), core::UserError);
  EXPECT_THROW(make_reward(files.write("ok.py", "def f(completions): pass\n") + "{deadlin_s = 3}"),
               core::UserError);
}

std::string program(const Files& files, const std::string& reply) {
  return files.write(
      "prog",
      "#!/usr/bin/env python3\nimport sys, json, time, os\n"
      "for line in sys.stdin:\n    r = json.loads(line)\n    c, i = r['completion'], r['index']\n"
      "    " +
          reply + "\n    sys.stdout.flush()\n");
}

TEST(ProgramPlugin, OnlyTheGuiltyCompletionFails) {
  const char* const kWell = "\n    else: print(json.dumps({'index': i, 'reward': int(c)}))";
  const char* const kNoIndex = "\n    else: print(json.dumps({'reward': int(c)}))";
  const struct {
    const char *name, *at_five, *otherwise;
    ScoreStatus status;
    const char* reason;
  } cases[] = {
      {"hang", "time.sleep(1000)", kWell, ScoreStatus::kTimeout, "no reply within 0.7 s"},
      {"crash", "os.abort()", kWell, ScoreStatus::kCrashed, "signal 6"},
      {"bottomless", "print('[' * 10**4 + ']' * 10**4)", kWell, ScoreStatus::kCrashed, "too deep"},
      {"garbage", "print('five!')", kWell, ScoreStatus::kCrashed, "no JSON: five!"},
      {"not a number", "print('{\"reward\": NaN}')", kWell, ScoreStatus::kCrashed, "no JSON"},
      {"flood", "print('x' * 10**7)", kWell, ScoreStatus::kCrashed, "more than one reply"},
      {"another's index", "print(json.dumps({'index': i + 1, 'reward': 1}))", kWell,
       ScoreStatus::kCrashed, "was not asked for"},
      {"no reward", "print(json.dumps({'index': i}))", kWell, ScoreStatus::kCrashed,
       "no \"reward\""},
      {"twice, without index", "print('{\"reward\": 1}\\n{\"reward\": 2}')", kNoIndex,
       ScoreStatus::kCrashed, "more than one reply"},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.name);
    const Files files;
    expect_only_five_fails(program(files, std::string("if c == '5': ") + c.at_five + c.otherwise) +
                               "{deadline_s = 0.7, workers = 1}",
                           c.status, c.reason);
  }
}

TEST(ProgramPlugin, NoneStatusAndPartsArrive) {
  const Files files;
  const auto reward = make_reward(
      program(files,
              "print(json.dumps({'index': i, 'reward': None if c == '0' else 0.5, 'status': None "
              "if c == '0' else 'unparsed', 'reason': 'why', 'parts': {'x': 2}}))"));
  const auto got = judge_numbers(*reward, 2);
  EXPECT_TRUE(got[0].abstains);
  EXPECT_EQ(got[1].value, 0.5);
  EXPECT_EQ(got[1].status, ScoreStatus::kUnparsed);
  EXPECT_EQ(got[1].reason, "why");
  EXPECT_EQ(got[1].parts.at("x"), 2);
}

TEST(ProgramPlugin, ManyRecordsKeepTheirPlaces) {
  const Files files;
  const auto reward =
      make_reward(program(files, "print(json.dumps({'index': i, 'reward': int(c)}))") +
                  "{workers = 3, batch_size = 7}");
  const auto got = judge_numbers(*reward, 500);
  for (size_t i = 0; i < got.size(); ++i)
    ASSERT_EQ(got[i].value, static_cast<double>(i)) << got[i].reason;
  EXPECT_LT(reward->metrics().at("calls"), 200);  // in batches
}

TEST(Plugin, ItsChildrenEndWithIt) {
  const Files files;
  const std::string mark = files.path() / "alive";
  {
    const auto reward = make_reward(
        python_reward(files, "import subprocess; subprocess.Popen(['sh', '-c', 'sleep 1.2; touch " +
                                 mark + "']); time.sleep(100)") +
        "{deadline_s = 0.2, workers = 1}");
    EXPECT_EQ(judge_numbers(*reward, 6)[5].status, ScoreStatus::kTimeout);
  }
  std::this_thread::sleep_for(std::chrono::milliseconds(1500));
  EXPECT_FALSE(std::filesystem::exists(mark));
}

// A shared object compiled on the spot.
std::string compiled(const Files& files, const std::string& at_five) {
  const std::string source = files.write(
      "p.cpp",
      "#include <unistd.h>\n#include <cmath>\n#include <cstdio>\n#include <cstdlib>\n#include "
      "<stdexcept>\n#include <string>\n"
      "#include \"rewards/reward_plugin.h\"\n"
      "extern \"C\" uint32_t ponder_reward_abi_version() { return PONDER_REWARD_ABI_VERSION; }\n"
      "extern \"C\" int32_t ponder_reward_score(const ponder_reward_record* r, size_t n, "
      "ponder_reward_result* out) {\n"
      "  for (size_t i = 0; i < n; ++i) {\n    const std::string c(r[i].completion.data, "
      "r[i].completion.size);\n"
      "    if (c == \"5\") { " +
          at_five +
          " }\n"
          "    out[i].reward = std::stod(c); out[i].status = PONDER_REWARD_OK;\n  }\n  return "
          "0;\n}\n");
  const std::string object = files.path() / "p.so";
  const std::string command =
      "g++ -std=c++20 -shared -fPIC -I" PONDER_SOURCE_DIR " " + source + " -o " + object;
  EXPECT_EQ(std::system(command.c_str()), 0);
  return object;
}

TEST(SharedObjectPlugin, OnlyTheGuiltyCompletionFails) {
  const struct {
    const char *name, *at_five;
    ScoreStatus status;
    const char* reason;
  } cases[] = {
      {"crash", "*(volatile int*)nullptr = 1;", ScoreStatus::kCrashed, "signal 11"},
      {"hang", "for (;;) sleep(1);", ScoreStatus::kTimeout, "no reply within 0.7 s"},
      {"exception", "throw std::runtime_error(\"five\");", ScoreStatus::kCrashed,
       "exception: five"},
      {"not a number", "out[i].reward = NAN; out[i].status = PONDER_REWARD_OK; continue;",
       ScoreStatus::kCrashed, "NaN"},
      {"unset", "continue;", ScoreStatus::kCrashed, "gave no result"},
      {"failed call", "return 7;", ScoreStatus::kCrashed, "returned 7"},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.name);
    const Files files;
    expect_only_five_fails(compiled(files, c.at_five) + "{deadline_s = 0.7}", c.status, c.reason);
  }
}

TEST(SharedObjectPlugin, PrintsDoNotBreakTheProtocol) {
  const Files files;
  const auto reward =
      make_reward(compiled(files, "puts(\"[]\"); fflush(stdout); write(1, \"[]\\n\", 3);"));
  const auto got = judge_numbers(*reward, 8);
  for (size_t i = 0; i < got.size(); ++i)
    EXPECT_EQ(got[i].value, static_cast<double>(i)) << got[i].reason;
}

TEST(SharedObjectPlugin, WhatIsNoPluginIsTheUsersFault) {
  const Files files;
  EXPECT_THROW(make_reward(files.write("text.so", "no library")), core::UserError);
}

}  // namespace
}  // namespace ponder::rewards
