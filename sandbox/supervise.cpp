#include "sandbox/supervise.h"

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <csignal>

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "sandbox/box/wire.h"

namespace ponder::sandbox {

namespace {

using Seconds = std::chrono::duration<double>;
constexpr int kSampleMs = 10;
constexpr Seconds kStartTimeout{60}, kDeathTimeout{30};
constexpr uint64_t kVerdictBytesMax = 1 << 20;

}  // namespace

ActiveRun::ActiveRun(Worker& worker, RunSpec spec, const Inputs& inputs, const Limits& limits,
                     bool warm)
    : worker_(worker), limits_(limits), watch_(!worker.cgroup().exists()) {
  SocketPair status = make_socket_pair();
  Channel out = make_pipe(), err = make_pipe(), verdict;
  Fd null;
  if (inputs.in < 0) null = Fd(open("/dev/null", O_RDONLY | O_CLOEXEC));
  spec.watch = watch_;
  spec.cpu_s = static_cast<uint64_t>(std::ceil(limits.cpu_s));
  spec.memory_bytes = limits.memory_bytes;
  spec.pids = limits.processes;
  spec.file_bytes = limits.file_bytes;
  spec.disk_bytes = limits.disk_bytes;
  spec.inodes = limits.inodes;
  spec.open_files = limits.open_files;
  spec.stack_bytes = limits.stack_bytes;
  std::vector<int> fds = {status.theirs.get(), inputs.in < 0 ? null.get() : inputs.in,
                          out.write.get(), err.write.get()};
  spec.has_binary = inputs.binary >= 0;
  if (spec.has_binary) fds.push_back(inputs.binary);
  fds.insert(fds.end(), inputs.extra.begin(), inputs.extra.end());
  spec.num_extra = inputs.extra.size();
  if (inputs.verdict_channel) {
    verdict = make_pipe();
    fds.push_back(verdict.write.get());
    ++spec.num_extra;
  }
  fds.insert(fds.end(), inputs.files.begin(), inputs.files.end());
  const bool prepared =
      worker.cgroup().prepare(limits.memory_bytes, limits.processes + 1);  // and the run's init
  const std::vector<int> entrances = worker.cgroup().entrances();
  fds.insert(fds.end(), entrances.begin(), entrances.end());
  spec.num_cgroups = entrances.size();
  if (!spec.collect.empty()) fds.push_back(inputs.collect);
  launched_ = Clock::now();
  if (!prepared) outcome_.error = "the cgroup's limits cannot be set";
  if (!prepared || !worker.launch(spec, fds, warm)) {
    if (outcome_.error.empty()) outcome_.error = "the box is gone";
    done_ = true;
    return;
  }
  status_ = std::move(status.ours);
  out_ = std::move(out.read);
  err_ = std::move(err.read);
  extra_ = std::move(verdict.read);
}

void ActiveRun::stop(Stop why) {
  if (outcome_.stop != Stop::kNone || done_) return;
  outcome_.stop = why;
  killed_ = Clock::now();
  if (pid_) syscall(SYS_pidfd_send_signal, pid_.get(), SIGKILL, nullptr, 0);
}

void ActiveRun::on_status() {
  std::string message;
  std::vector<int> fds;
  const ssize_t got = receive_message(status_.get(), message, fds, MSG_DONTWAIT);
  if (got < 0 && errno == EAGAIN) return;
  std::vector<Fd> owned;
  for (int fd : fds) owned.emplace_back(fd);
  Status status;
  if (got <= 0 || !Status::decode(message, status)) {
    // Only the run's init holds the other end: it is ending, or was never there.
    status_.reset();
    if (!pid_) dead_ = true;
    return;
  }
  switch (status.kind) {
    case StatusKind::kStarted:
      if (owned.empty()) break;
      pid_ = std::move(owned.front());
      started_ = Clock::now();
      next_sample_ = started_ + std::chrono::milliseconds(kSampleMs);
      outcome_.started = true;
      if (outcome_.stop != Stop::kNone)
        syscall(SYS_pidfd_send_signal, pid_.get(), SIGKILL, nullptr, 0);
      break;
    case StatusKind::kFailed:
      outcome_.error = status.text;
      outcome_.exec_failed = status.detail != 0;
      break;
    case StatusKind::kUsage:
      sampled_cpu_ns_ = std::max(sampled_cpu_ns_, status.value);
      sampled_peak_bytes_ = std::max(sampled_peak_bytes_, status.detail);
      break;
    case StatusKind::kExited:
      outcome_.has_status = true;
      outcome_.wait_status = static_cast<int>(status.value);
      reported_cpu_ns_ = status.detail;
      reported_peak_bytes_ = status.peak;
      outcome_.collect_error = status.text;
      break;
    case StatusKind::kReport:
      outcome_.report = status.text;
      break;
  }
}

void ActiveRun::read_stream(Fd& fd, std::string& text, bool& cut, uint64_t bytes_max) {
  char buffer[1 << 16];
  while (fd) {
    const ssize_t got = read(fd.get(), buffer, sizeof buffer);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 && errno == EAGAIN) return;
    if (got <= 0) {
      fd.reset();
      return;
    }
    const size_t room = bytes_max - text.size();
    text.append(buffer, std::min(room, static_cast<size_t>(got)));
    if (static_cast<size_t>(got) <= room) continue;
    cut = true;
    fd.reset();
    stop(Stop::kOutput);
  }
}

void ActiveRun::check_limits(Clock::time_point now) {
  if (outcome_.stop != Stop::kNone) {
    if (now - killed_ > kDeathTimeout) {
      outcome_.stop = Stop::kBoxFailed;
      outcome_.error = "the run cannot be killed";
      done_ = true;
    }
    return;
  }
  if (!outcome_.started) {
    if (now - launched_ > kStartTimeout) {
      outcome_.error = "the box does not answer";
      done_ = true;
    }
    return;
  }
  if (now < next_sample_) return;
  next_sample_ = now + std::chrono::milliseconds(kSampleMs);
  const Cgroup& cgroup = worker_.cgroup();
  const uint64_t cpu_ns = watch_ ? sampled_cpu_ns_ : cgroup.cpu_ns();
  if (!cgroup.counts_peak())
    sampled_peak_bytes_ = std::max(sampled_peak_bytes_, cgroup.memory_peak_bytes());
  if (static_cast<double>(cpu_ns) * 1e-9 > limits_.cpu_s) return stop(Stop::kCpu);
  if (Seconds(now - started_).count() > limits_.wall_s) return stop(Stop::kWall);
  if (sampled_peak_bytes_ > limits_.memory_bytes || cgroup.oom_kills() > 0) stop(Stop::kMemory);
}

// Everything of the run is dead: what it wrote before is all there is.
void ActiveRun::conclude() {
  while (status_) {
    pollfd more{status_.get(), POLLIN, 0};
    if (poll(&more, 1, 0) <= 0) break;
    on_status();
  }
  read_stream(out_, outcome_.out, outcome_.out_cut, limits_.output_bytes);
  read_stream(err_, outcome_.err, outcome_.err_cut, limits_.output_bytes);
  read_stream(extra_, outcome_.extra, extra_cut_, kVerdictBytesMax);
  done_ = true;
  if (!outcome_.started) return;
  Cgroup& cgroup = worker_.cgroup();
  const uint64_t cpu_ns = watch_ ? std::max(sampled_cpu_ns_, reported_cpu_ns_) : cgroup.cpu_ns();
  outcome_.cpu_s = static_cast<double>(cpu_ns) * 1e-9;
  outcome_.wall_s = Seconds(Clock::now() - started_).count();
  outcome_.memory_peak_bytes = watch_ || !cgroup.counts_peak()
                                   ? std::max(sampled_peak_bytes_, reported_peak_bytes_)
                                   : cgroup.memory_peak_bytes();
  outcome_.oom_kills = cgroup.oom_kills();
  const bool unexplained =
      outcome_.stop == Stop::kNone && !outcome_.has_status && outcome_.oom_kills == 0;
  if (unexplained && outcome_.error.empty() && !worker_.alive())
    outcome_.error = "the box was killed";
  // Between two samples it may have used up its time and ended by itself.
  if (outcome_.stop == Stop::kNone && outcome_.cpu_s > limits_.cpu_s) outcome_.stop = Stop::kCpu;
}

void supervise(std::span<ActiveRun* const> runs) {
  std::vector<pollfd> fds;
  std::vector<ActiveRun*> owners;
  while (std::any_of(runs.begin(), runs.end(), [](auto* run) { return !run->done(); })) {
    fds.clear();
    owners.clear();
    for (ActiveRun* run : runs) {
      if (run->done()) continue;
      for (Fd* fd : {&run->status_, &run->pid_, &run->out_, &run->err_, &run->extra_}) {
        fds.push_back({fd->get(), POLLIN, 0});  // -1 is skipped by poll
        owners.push_back(run);
      }
    }
    poll(fds.data(), fds.size(), kSampleMs);
    const auto now = ActiveRun::Clock::now();
    for (size_t i = 0; i < fds.size(); i += 5) {
      ActiveRun& run = *owners[i];
      if (fds[i].revents != 0) run.on_status();
      if (fds[i + 1].revents != 0) run.dead_ = true;
      if (fds[i + 2].revents != 0)
        run.read_stream(run.out_, run.outcome_.out, run.outcome_.out_cut, run.limits_.output_bytes);
      if (fds[i + 3].revents != 0)
        run.read_stream(run.err_, run.outcome_.err, run.outcome_.err_cut, run.limits_.output_bytes);
      if (fds[i + 4].revents != 0)
        run.read_stream(run.extra_, run.outcome_.extra, run.extra_cut_, kVerdictBytesMax);
      if (run.dead_)
        run.conclude();
      else
        run.check_limits(now);
    }
    if (runs.back()->done())
      for (ActiveRun* run : runs) run->stop(Stop::kNoLongerNeeded);
  }
}

}  // namespace ponder::sandbox
