#include "rollout/mtp_drafter.h"

#include <algorithm>
#include <numeric>

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include "core/error.h"

namespace ponder::rollout {

MtpDrafter::MtpDrafter(const policy::Model& model, policy::Decoder& decoder, policy::KvCache& cache)
    : model_(model), decoder_(decoder), cache_(cache), num_modules_(model.num_mtp()) {}

// The sequence's own track, or that of the prompt at whose end it stands; none where the track is
// of a time before the sequence stepped back.
const MtpDrafter::Track* MtpDrafter::find(const Sequence& sequence) const {
  const auto request = requests_.find(sequence.request);
  if (request == requests_.end()) return nullptr;
  const auto sample = request->second.samples.find(sequence.sample);
  if (sample != request->second.samples.end() &&
      sample->second.times_stepped_back == sequence.times_stepped_back)
    return &sample->second;
  const std::optional<Track>& prompt = request->second.prompt;
  return prompt && prompt->next == sequence.num_cached ? &*prompt : nullptr;
}

bool MtpDrafter::can_draft(const Sequence& sequence) const {
  const Track* track = find(sequence);
  return track != nullptr && track->next <= sequence.num_cached &&
         track->seen() >= sequence.num_cached;
}

// The sequence's track, where need be begun anew: from its first token, from the shared prompt, or
// in its midst.
MtpDrafter::Track& MtpDrafter::track_of(const Sequence& sequence, int64_t begin, int64_t prompt) {
  OfRequest& request = requests_[sequence.request];
  const auto found = request.samples.find(sequence.sample);
  if (found != request.samples.end() &&
      found->second.times_stepped_back == sequence.times_stepped_back &&
      found->second.next - 1 <= begin && found->second.seen() >= begin)
    return found->second;
  Track track;
  if (begin > 0 && begin >= prompt - 1 && begin <= prompt && request.prompt) {
    track = *request.prompt;
  } else {
    track.first = track.next = begin + 1;
    track.chained.resize(num_modules_);
  }
  track.times_stepped_back = sequence.times_stepped_back;
  return request.samples[sequence.sample] = std::move(track);
}

void MtpDrafter::draft(const Scheduler::Pass& pass, const Jobs& jobs, Guesses& guesses) {
  std::vector<Work> all;
  for (const Scheduler::Chunk& chunk : pass.chunks) {
    if (chunk.guessed == 0) continue;
    const Job& job = *jobs.at(chunk.sequence->request);
    Track& track =
        track_of(*chunk.sequence, chunk.begin, static_cast<int64_t>(job.prompt().size()));
    all.push_back({.track = &track,
                   .sequence = chunk.sequence,
                   .job = &job,
                   .end = chunk.sequence->num_tokens,
                   .num_guesses = chunk.guessed});
  }
  run(all);
  for (Work& work : all) guesses[work.sequence] = std::move(work.guesses);
}

void MtpDrafter::observe(const Scheduler::Pass& pass, const Jobs& jobs, const at::Tensor& states) {
  std::vector<Work> behind;
  int64_t row = 0;
  for (const Scheduler::Chunk& chunk : pass.chunks) {
    const Job& job = *jobs.at(chunk.sequence->request);
    Track& track =
        track_of(*chunk.sequence, chunk.begin, static_cast<int64_t>(job.prompt().size()));
    const at::Tensor own = states.narrow(0, row, chunk.count);
    const int64_t kept = chunk.begin - (track.next - 1);  // what lies beyond was guessed wrong
    track.states = kept > 0 ? at::cat({track.states.narrow(0, 0, kept), own}) : own.clone();
    row += chunk.count;
    const int64_t end = chunk.begin + chunk.count - chunk.guessed;
    if (track.next < end)
      behind.push_back({.track = &track, .sequence = chunk.sequence, .job = &job, .end = end});
  }
  run(behind);
  for (const Scheduler::Chunk& chunk : pass.chunks) {
    const auto prompt = static_cast<int64_t>(jobs.at(chunk.sequence->request)->prompt().size());
    OfRequest& request = requests_.at(chunk.sequence->request);
    const Track& track = request.samples.at(chunk.sequence->sample);
    if (track.next == prompt && track.seen() == prompt) request.prompt = track;
  }
}

void MtpDrafter::run(std::vector<Work>& all) {
  int64_t depths = num_modules_;
  for (Work& work : all) {
    depths = std::max(depths, work.num_guesses);
    work.chained.resize(num_modules_);
  }
  for (int64_t depth = 0; depth < depths; ++depth) {
    std::vector<Work*> part;
    for (Work& work : all) {
      const bool committed =
          depth < num_modules_ && std::max(work.track->next, work.track->first + depth) < work.end;
      if (committed || depth < work.num_guesses) part.push_back(&work);
    }
    if (!part.empty()) run_depth(part, depth);
  }
  for (const Work& work : all) {
    Track& track = *work.track;
    const int64_t done = work.end - track.next;
    track.states = track.states.narrow(0, done, track.states.size(0) - done).clone();
    track.chained = work.chained;
    track.next = work.end;
  }
}

void MtpDrafter::run_depth(const std::vector<Work*>& part, int64_t depth) {
  policy::CachedRows rows;
  rows.block_size = cache_.block_size;
  std::vector<at::Tensor> states;
  std::vector<int64_t> ends;
  for (Work* work : part) {
    add_rows(*work, depth, rows, states);
    ends.push_back(rows.size());
  }
  rows.wanted.resize(rows.size());
  std::iota(rows.wanted.begin(), rows.wanted.end(), 0);
  const int64_t module = std::min(depth, num_modules_ - 1);
  const at::Tensor out = decoder_.forward_mtp(module, rows, at::cat(states), cache_);
  for (size_t i = 0; i < part.size(); ++i) {
    Work& work = *part[i];
    const int64_t begin = i == 0 ? 0 : ends[i - 1];
    work.output = out.narrow(0, begin, ends[i] - begin);
    work.output_begin = rows.positions[begin];
    const int64_t last_known = work.end - 1 - work.output_begin;
    if (depth + 1 < num_modules_ && last_known >= 0)
      work.chained[depth + 1] = work.output.narrow(0, last_known, 1).clone();
  }
  guess(part, depth);
}

// The rows of one sequence and the states that they go on from: known tokens that this module has
// not read yet, then the guesses of the depths before. A module that is chained reads the last of
// them alone.
void MtpDrafter::add_rows(Work& work, int64_t depth, policy::CachedRows& rows,
                          std::vector<at::Tensor>& states) const {
  const Track& track = *work.track;
  const int64_t module = std::min(depth, num_modules_ - 1);
  const int64_t last = work.end - 1 + (depth < work.num_guesses ? depth : 0);
  const int64_t begin = depth < num_modules_ ? std::max(track.next, track.first + depth) : last;
  rows.add_sequence(work.sequence->blocks, track.first + module);
  for (int64_t p = begin; p <= last; ++p) {
    rows.add(p < work.end ? work.job->token_at(work.sample(), p) : work.guesses[p - work.end], p);
  }
  const int64_t count = last - begin + 1;
  if (depth == 0) {
    states.push_back(track.states.narrow(0, 0, count));
    return;
  }
  int64_t from = begin - 1 - work.output_begin;
  if (from < 0) {
    PONDER_CHECK(from == -1 && track.chained[depth].defined(),
                 "[MtpDrafter] no state for position {} of depth {}", begin, depth);
    states.push_back(track.chained[depth]);
    ++from;
  }
  const int64_t rest = last - work.output_begin - from;
  if (rest > 0) states.push_back(work.output.narrow(0, from, rest));
}

void MtpDrafter::guess(const std::vector<Work*>& part, int64_t depth) {
  std::vector<Work*> wanting;
  std::vector<at::Tensor> last;
  for (Work* work : part) {
    if (depth >= work->num_guesses) continue;
    wanting.push_back(work);
    last.push_back(work->output.narrow(0, work->output.size(0) - 1, 1));
  }
  if (wanting.empty()) return;
  const at::Tensor logits = decoder_.logits(at::cat(last));
  const auto vocabulary = static_cast<size_t>(logits.size(1));
  at::parallel_for(0, static_cast<int64_t>(wanting.size()), 1, [&](int64_t begin, int64_t end) {
    DrawScratch scratch;
    for (int64_t i = begin; i < end; ++i) {
      Work& work = *wanting[i];
      const std::span<const float> row(logits.const_data_ptr<float>() + i * vocabulary, vocabulary);
      // The first token behind the known ones comes next; the guesses stand before the others.
      work.guesses.push_back(work.job->draw(work.sample(), work.guesses, row, scratch).token);
    }
  });
}

}  // namespace ponder::rollout
