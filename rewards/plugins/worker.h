// One worker of a plugin: a child process and the lines it speaks. Not thread-safe; used by the one
// thread that made it.
//
// Records go out as JSON objects {"index", "prompt", "completion", "answer", "finish_reason", every
// other column}; replies are
// {"reward": number or null, "index", "status", "reason", "parts"}, all but the first optional, or
// {"error": text}.
//  - kList (our own hosts): a line with a list of records, answered by a line with a list of
//  replies that name each index;
//    at the start one line {"ready": true} or {"error": text}.
//  - kLines (any program): a record a line, a reply a line. A program that echoes "index" is given
//  whole batches; one that
//    does not is given one record at a time, so that no reply can be taken for another's.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/recipe.h"
#include "rewards/plugins/child.h"
#include "rewards/reward.h"

namespace ponder::rewards {

struct PluginOptions {
  double deadline_s = 30;    // for one call, of at most batch_size completions
  int64_t memory_mb = 4096;  // address space of each worker process
  int64_t workers = 2;       // processes
  int64_t batch_size = 16;
};
void bind(core::Binder& b, PluginOptions& o);

enum class Protocol { kList, kLines };

// What came of handing records to a worker. Either `judgements` has one for each, or `failure` says
// what went wrong.
struct Attempt {
  std::vector<Judgement> judgements;
  data::ScoreStatus status = data::ScoreStatus::kCrashed;  // of the failure
  std::string failure;
};

// A reply as a judgement. Rewards that are no finite number within ±1e6 are a crash of that
// completion.
Judgement judgement_from(const data::Json& reply);

class Worker {
 public:
  Worker(WorkerCommand command, Protocol protocol, const PluginOptions& options);

  // Starts the process where none runs. "" or why it is not ready.
  std::string start();

  // Judges `records` (JSON objects as text, without "index"). After any failure the process is
  // killed.
  Attempt judge(std::span<const std::string* const> records);

  // How many records the next judge() may be given.
  size_t batch_limit() const;
  int64_t starts() const { return starts_; }

 private:
  std::string request(std::span<const std::string* const> records);
  Attempt failed(const Child::Exchange& exchange);
  Attempt garbage(const std::string& what);
  Attempt read_replies(const std::vector<data::Json>& replies, size_t count);

  WorkerCommand command_;
  Protocol protocol_;
  PluginOptions options_;
  std::unique_ptr<Child> child_;
  int64_t next_index_ = 0, first_index_ = 0, starts_ = 0;
  bool echoes_index_ = false;  // kLines: the program is known to
};

}  // namespace ponder::rewards
