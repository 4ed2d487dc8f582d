// The built-in tasks: problems without end, of any difficulty, with nothing to download. Problem
// number `index` of a task is a pure function of (seed, index, options). A tenth of all problems,
// chosen by their text's hash, is held out of training.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/recipe.h"
#include "data/chain_sums.h"
#include "data/types.h"

namespace ponder::data {

// "Calculate 12 - 3 * (7 + 4)": whole numbers, and every intermediate result is one. Answer: the
// value. Judged by `math` or `accuracy`.
struct ArithmeticOptions {
  int64_t min_terms = 2;
  int64_t max_terms = 4;
  int64_t max_digits = 2;         // of a number in the problem
  std::string operators = "+-*";  // any of + - * /
};
void bind(core::Binder& b, ArithmeticOptions& options);

// Numbers that, each used once, give a target by + - * /: the game of the TinyZero reproduction of
// R1-Zero. Has a solution in whole numbers. Columns "nums" and "target"; answer: one solution.
// Judged by `countdown`, which takes any.
struct CountdownOptions {
  int64_t min_numbers = 3;
  int64_t max_numbers = 4;
  int64_t max_number = 99;
  int64_t max_target = 999;
};
void bind(core::Binder& b, CountdownOptions& options);

// Linear equations with one solution in whole numbers. Answer: "3", or "(3, -2)" for several
// unknowns. Judged by `math`.
struct LinearEquationOptions {
  int64_t min_unknowns = 1;
  int64_t max_unknowns = 2;
  int64_t max_coefficient = 9;
  int64_t max_solution = 20;
};
void bind(core::Binder& b, LinearEquationOptions& options);

// Knights who tell the truth and knaves who lie (Smullyan): each says one sentence, and one
// assignment alone fits. Answer: "knight, knave, ..." in the order of the names. Judged by
// `exact_match`.
struct LogicOptions {
  int64_t min_people = 2;
  int64_t max_people = 4;
};
void bind(core::Binder& b, LogicOptions& options);

// The options of each task under its name.
struct TaskOptions {
  ChainSumOptions chain_sums;
  ArithmeticOptions arithmetic;
  CountdownOptions countdown;
  LinearEquationOptions linear_equations;
  LogicOptions logic;
};
void bind(core::Binder& b, TaskOptions& options);

std::vector<std::string> task_names();

// Throws UserError naming the keys where a task's options contradict each other or leave no
// problem.
void check_task(const std::string& task, const TaskOptions& options);

// Problem `index` of the stream `seed`. Throws UserError where the options leave none of that
// split. REQUIRES: task is one of task_names(), its options pass check_task().
Prompt task_problem(const std::string& task, uint64_t seed, int64_t index,
                    const TaskOptions& options, Split split);

// Held-out problems of one seed, all different; fewer than `count` where there are not that many.
std::vector<Prompt> held_out_problems(const std::string& task, uint64_t seed, int64_t count,
                                      const TaskOptions& options);

}  // namespace ponder::data
