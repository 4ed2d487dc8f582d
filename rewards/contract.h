// The contract that every plugin is held to, tried on one: `ponder reward test`.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace ponder::rewards {

// One clause of the contract and what was found.
struct Clause {
  std::string name;
  bool holds = true;
  std::vector<std::string> findings;  // what broke it, or figures worth knowing
};

// Loads the reward `spec` (reward.h) and tries it: plain and odd completions (empty, a megabyte,
// NUL, broken UTF-8, no reference, references of every JSON type, cut), order, batches against
// single records, repetition, None, and where `cases` is given its lines, whose "expected" is a
// number or null. An exception, a hang, a crash, a flood, a wrong count and NaN each break the
// clause that met them, with the reason. Throws UserError for wrong cases or options; a plugin that
// does not load is a broken clause.
std::vector<Clause> test_contract(const std::string& spec, const std::filesystem::path& cases);

// For a person, one line a clause and one a finding.
std::string report_of(const std::vector<Clause>& clauses);
bool all_hold(const std::vector<Clause>& clauses);

}  // namespace ponder::rewards
