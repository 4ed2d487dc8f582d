#include "distributed/board.h"

#include <algorithm>
#include <chrono>
#include <future>
#include <nlohmann/json.hpp>
#include <utility>

#include <fmt/format.h>

namespace ponder::distributed {
namespace {

constexpr std::chrono::milliseconds kBeat{500};
// Between the two looks of diagnose(): a living worker beats at least twice.
constexpr std::chrono::milliseconds kWatch{2000};
// What diagnose() takes at most.
constexpr std::chrono::milliseconds kAnswer{6000};

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

}  // namespace

std::string to_text(const Notice& notice) {
  return nlohmann::json{{"beat", notice.beat},       {"collective", notice.collective},
                        {"seconds", notice.seconds}, {"doing", notice.doing},
                        {"error", notice.error},     {"waiting", notice.waiting},
                        {"peer", notice.peer}}
      .dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

std::optional<Notice> parse_notice(const std::string& text) {
  const nlohmann::json json = nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) return std::nullopt;
  return Notice{json.value("beat", int64_t{0}),
                json.value("collective", int64_t{0}),
                json.value("seconds", 0.0),
                json.value("doing", std::string()),
                json.value("error", std::string()),
                json.value("waiting", false),
                json.value("peer", -1)};
}

namespace {

using Notices = std::vector<std::optional<Notice>>;

std::string lateness(size_t rank, const Notice& notice) {
  return fmt::format("rank {} has not come: it is {} since {:.0f} s", rank, notice.doing,
                     notice.seconds);
}

// What is wrong with a worker, whatever the others do; empty: it lives, and computes or waits.
std::string fault(size_t rank, const Notices& first, const Notices& second) {
  if (!second[rank]) return fmt::format("rank {} has never been heard of", rank);
  if (!second[rank]->error.empty())
    return fmt::format("rank {} gave up: {}", rank, second[rank]->error);
  if (!first[rank] || first[rank]->beat != second[rank]->beat) return "";
  return fmt::format("rank {} is missing (dead, paused or cut off): last heard of while {}", rank,
                     second[rank]->doing);
}

// The worker at the end of the chain that begins with who `own` sends to or receives from; -1:
// there is none, or the chain comes back to this worker.
int last_of_chain(const Notices& notices, int own_rank, const Notice& own) {
  int rank = own.peer;
  for (size_t steps = 0; steps < notices.size() && rank >= 0 && rank != own_rank; ++steps) {
    const auto& notice = notices[static_cast<size_t>(rank)];
    if (!notice || notice->peer < 0) return rank;
    rank = notice->peer;
  }
  return -1;
}

}  // namespace

Diagnosis missing_workers(const Notices& first, const Notices& second, int own_rank,
                          const Notice& own) {
  Diagnosis out;
  const auto add = [&](size_t rank, const std::string& sentence) {
    out.text += (out.text.empty() ? "" : "; ") + sentence;
    if (rank == 0 && (!second[0] || second[0]->error.empty())) out.root_silent = true;
  };
  // One that says why it gave up took the others with it: what they last wrote is older.
  for (size_t r = 0; r < second.size(); ++r) {
    if (static_cast<int>(r) != own_rank && second[r] && !second[r]->error.empty())
      add(r, fault(r, first, second));
  }
  if (!out.text.empty()) return out;
  for (size_t r = 0; r < second.size(); ++r) {
    if (static_cast<int>(r) == own_rank) continue;
    const std::string sentence = fault(r, first, second);
    if (!sentence.empty())
      add(r, sentence);
    else if (second[r]->collective < own.collective && !second[r]->waiting)
      add(r, lateness(r, *second[r]));
  }
  if (!out.text.empty()) return out;
  if (const int rank = last_of_chain(second, own_rank, own); rank >= 0) {
    const auto r = static_cast<size_t>(rank);
    add(r, lateness(r, *second[r]));
    return out;
  }
  for (size_t r = 0; r < second.size(); ++r) {
    if (static_cast<int>(r) != own_rank && second[r]->collective < own.collective)
      add(r, lateness(r, *second[r]));
  }
  return out;
}

Board::Board(int rank, int size, BoardStore store)
    : rank_(rank), size_(size), store_(std::move(store)), since_(now()) {
  thread_ = std::thread([this] { beat(); });
}

Board::~Board() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

void Board::doing(std::string what) {
  const std::lock_guard lock(mutex_);
  doing_ = std::move(what);
  since_ = now();
}

void Board::enter_collective(std::string what) {
  enter(std::move(what), -1);
}

void Board::enter_exchange(std::string what, int peer) {
  enter(std::move(what), peer);
}

void Board::enter(std::string what, int peer) {
  const std::lock_guard lock(mutex_);
  before_ = std::exchange(doing_, "waiting for " + std::move(what));
  since_ = now();
  waiting_ = true;
  peer_ = peer;
  if (peer < 0) ++collective_;
}

void Board::leave() {
  const std::lock_guard lock(mutex_);
  doing_ = std::move(before_);
  since_ = now();
  waiting_ = false;
  peer_ = -1;
}

Notice Board::own() const {
  return {beats_, collective_, now() - since_, doing_, error_, waiting_, peer_};
}

void Board::give_up(std::string error) {
  Notice notice;
  {
    const std::lock_guard lock(mutex_);
    error_ = std::move(error);
    notice = own();
  }
  try {
    store_.write(rank_, to_text(notice));
  } catch (const std::exception&) {
    // Nobody is left to be told.
  }
}

void Board::beat() {
  std::unique_lock lock(mutex_);
  while (!stop_) {
    ++beats_;
    const std::string text = to_text(own());
    lock.unlock();
    try {
      store_.write(rank_, text);
    } catch (const std::exception&) {
      // The store went with rank 0: whoever waits in a collective says so.
    }
    lock.lock();
    changed_.wait_for(lock, kBeat, [this] { return stop_; });
  }
}

namespace {

Diagnosis no_answer(int holder) {
  if (holder < 0)
    return {.text =
                "the launcher is missing (dead, paused or cut off): the store that it holds "
                "does not answer"};
  return {.text = fmt::format("rank {} is missing (dead, paused or cut off): the store that it "
                              "holds does not answer",
                              holder),
          .root_silent = true};
}

Diagnosis look_twice(const BoardStore& store, int own_rank, int size, const Notice& own) {
  const auto look = [&] {
    Notices notices;
    for (int r = 0; r < size; ++r) notices.push_back(parse_notice(store.read(r)));
    return notices;
  };
  try {
    auto first = look();
    // Who has said why needs no second look; without one nobody's silence can be told.
    const bool told = std::any_of(first.begin(), first.end(), [](const auto& notice) {
      return notice && !notice->error.empty();
    });
    if (told)
      first.assign(first.size(), std::nullopt);
    else
      std::this_thread::sleep_for(kWatch);
    return missing_workers(first, look(), own_rank, own);
  } catch (const std::exception&) {
    return no_answer(store.holder);
  }
}

}  // namespace

Diagnosis Board::diagnose() {
  Notice own;
  {
    const std::lock_guard lock(mutex_);
    own = this->own();
  }
  // Over a line that is dead without a word a read waits for ever: it is left to itself then.
  std::promise<Diagnosis> answer;
  std::future<Diagnosis> future = answer.get_future();
  std::thread([answer = std::move(answer), store = store_, rank = rank_, size = size_,
               own]() mutable {
    answer.set_value(look_twice(store, rank, size, own));
  }).detach();
  if (future.wait_for(kAnswer) != std::future_status::ready) return no_answer(store_.holder);
  return future.get();
}

}  // namespace ponder::distributed
