// Guesses by the model's modules for multi-token prediction, DeepSeek-V3 (arXiv:2412.19437) §2.2
// and §5.4.3: module 0 turns the state before a token and the token into a state that predicts the
// next one; module 1 goes on from there; where more are wanted, the last module goes on from its
// own state. A guess is drawn with the random number that the token itself will be drawn with, so
// that the closer the modules are to the model, the more guesses are right, at any temperature.
//
// The modules' features lie in the sequences' own cache blocks, at the position of the token that
// the module reads; a group shares those of its prompt. What a module knows of a sequence may begin
// late (where nothing was guessed for a while): guesses are then worse, never the completions.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <vector>

#include <ATen/core/Tensor.h>

#include "policy/decode/decoder.h"
#include "rollout/job.h"
#include "rollout/scheduler.h"

namespace ponder::rollout {

using Jobs = std::map<RequestId, std::shared_ptr<Job>>;
using Guesses = std::map<const Sequence*, std::vector<int32_t>>;  // none: nothing is guessed

class MtpDrafter {
 public:
  // REQUIRES: all of it outlives the drafter; the model has modules, and the cache layers for them.
  MtpDrafter(const policy::Model& model, policy::Decoder& decoder, policy::KvCache& cache);

  // Whether the state before the sequence's next token is known. REQUIRES: that token alone is to
  // be computed.
  bool can_draft(const Sequence& sequence) const;
  // Guesses for the chunks that have room for some, before the pass is computed. REQUIRES:
  // can_draft() of each of them.
  void draft(const Scheduler::Pass& pass, const Jobs& jobs, Guesses& guesses);
  // The pass has been computed: the model's states (after the final norm) of all of its rows, chunk
  // by chunk, [rows, hidden].
  void observe(const Scheduler::Pass& pass, const Jobs& jobs, const at::Tensor& states);

  void forget(RequestId id) { requests_.erase(id); }
  void clear() { requests_.clear(); }

 private:
  // What is known of one sequence. Module d's features are there from position first + d to next -
  // 1.
  struct Track {
    int64_t times_stepped_back = 0;
    int64_t first = 1, next = 1;
    at::Tensor states;                // [known, hidden]: the model's at next - 1, next, ...
    std::vector<at::Tensor> chained;  // [modules]: for module d that of d - 1 at next - 1, [1,
                                      // hidden]; undefined for 0, and before it began
    // One past the last position whose state is known.
    int64_t seen() const { return next - 1 + (states.defined() ? states.size(0) : 0); }
  };
  struct OfRequest {
    std::optional<Track> prompt;  // at its end, for the samples that share it
    std::map<size_t, Track> samples;
  };
  // Positions next to end - 1 of a sequence that are to be filled, and guesses behind them.
  struct Work {
    Track* track;
    const Sequence* sequence;
    const Job* job;
    int64_t end;
    int64_t num_guesses = 0;
    std::vector<int32_t> guesses = {};
    at::Tensor output = {};  // of the depth before, from position output_begin
    int64_t output_begin = 0;
    std::vector<at::Tensor> chained = {};  // of the track, when all is done
    size_t sample() const { return job->open_samples()[sequence->sample]; }
  };

  const Track* find(const Sequence& sequence) const;
  Track& track_of(const Sequence& sequence, int64_t begin, int64_t prompt);
  void run(std::vector<Work>& all);
  void run_depth(const std::vector<Work*>& part, int64_t depth);
  void add_rows(Work& work, int64_t depth, policy::CachedRows& rows,
                std::vector<at::Tensor>& states) const;
  void guess(const std::vector<Work*>& part, int64_t depth);

  const policy::Model& model_;
  policy::Decoder& decoder_;
  policy::KvCache& cache_;
  int64_t num_modules_;
  std::map<RequestId, OfRequest> requests_;
};

}  // namespace ponder::rollout
