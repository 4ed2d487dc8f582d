#include "sandbox/worker.h"

#include <cerrno>
#include <csignal>
#include <cstring>
#include <fstream>

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/error.h"
#include "sandbox/box/wire.h"

extern "C" {
extern const char ponder_payload_box[], ponder_payload_box_end[];
extern const char ponder_payload_zygote[], ponder_payload_zygote_end[];
extern const char ponder_payload_driver[], ponder_payload_driver_end[];
}

namespace ponder::sandbox {

namespace {

constexpr int kStartTimeoutMs = 60'000;  // of a box or interpreter on a very loaded machine
// What the warm interpreter runs a few times before it serves (driver.py): a little of everything.
constexpr const char* kRehearsal =
    "import sys\n"
    "def f(x, y=2):\n"
    "    for i in range(3): x += i * y\n"
    "    return x\n"
    "a = [f(i) for i in range(5)]\n"
    "d = {str(k): v / 3 for k, v in enumerate(a)}\n"
    "s = ' '.join(sorted(d)) + f'{a[0]} {d}'\n"
    "print(end='')\n"
    "sys.stdout.flush()\n";
constexpr int kControlFd = 3, kProgramFd = 4;

Fd payload(const char* name, const char* begin, const char* end) {
  return sealed_file(name, {begin, static_cast<size_t>(end - begin)});
}

std::string first_answer(int socket, const char* what) {
  pollfd wait{socket, POLLIN, 0};
  if (poll(&wait, 1, kStartTimeoutMs) <= 0) return std::string(what) + " does not answer";
  std::string message;
  std::vector<int> fds;
  if (receive_message(socket, message, fds) <= 0) return std::string(what) + " ended at its start";
  Status status;
  if (!Status::decode(message, status)) return std::string(what) + " answered nonsense";
  return status.kind == StatusKind::kStarted ? "" : status.text;
}

// False in a user namespace that knows few users (a rootless container): its root has no privilege
// outside, so there is none to drop.
bool exists_here(unsigned user) {
  std::ifstream map("/proc/self/uid_map");
  for (uint64_t first = 0, outside = 0, count = 0; map >> first >> outside >> count;)
    if (user >= first && user - first < count) return true;
  return false;
}

}  // namespace

Worker::Worker(const BoxConfig& config, const std::string& name)
    : cgroup_(config.layout, name), filter_(config.filter) {
  spawn();
  BoxSetup setup;
  setup.drop_root = geteuid() == 0 && exists_here(kOuterId);
  setup.readonly_paths = config.readonly_paths;
  setup.file_names = {"zygote.so", "driver.py", "rehearsal.py"};
  setup.cgroup_dirs = cgroup_.dirs();
  setup.filter = config.filter;
  const Fd library = payload("zygote", ponder_payload_zygote, ponder_payload_zygote_end);
  const Fd driver = payload("driver", ponder_payload_driver, ponder_payload_driver_end);
  const Fd rehearsal = sealed_file("rehearsal", kRehearsal);
  std::string error;
  if (!send_message(control_.get(), setup.encode(), {library.get(), driver.get(), rehearsal.get()}))
    error = std::strerror(errno);
  else
    error = first_answer(control_.get(), "the box");
  if (error.empty()) return;
  control_.reset();
  waitpid(pid_, nullptr, 0);
  core::throw_run("[sandbox] cannot build an isolated box: {}", error);
}

void Worker::spawn() {
  SocketPair pair = make_socket_pair();
  control_ = std::move(pair.ours);
  const Fd program = payload("ponder-box", ponder_payload_box, ponder_payload_box_end);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  // Out of the way first: the numbers wanted may be in use by the descriptors themselves.
  const Fd socket(fcntl(pair.theirs.get(), F_DUPFD_CLOEXEC, 10));
  const Fd image(fcntl(program.get(), F_DUPFD_CLOEXEC, 10));
  for (int fd = 0; fd < 3; ++fd)
    posix_spawn_file_actions_addopen(&actions, fd, "/dev/null", O_RDWR, 0);
  posix_spawn_file_actions_adddup2(&actions, socket.get(), kControlFd);
  posix_spawn_file_actions_adddup2(&actions, image.get(), kProgramFd);
  posix_spawn_file_actions_addclosefrom_np(&actions, kProgramFd + 1);
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  sigset_t none, all;
  sigemptyset(&none);
  sigfillset(&all);
  posix_spawnattr_setsigmask(&attributes, &none);
  posix_spawnattr_setsigdefault(&attributes, &all);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
  char name[] = "ponder-box";
  char* argv[] = {name, nullptr};
  char* env[] = {nullptr};  // nothing of ponder's environment enters the chain
  const int error = posix_spawn(&pid_, "/proc/self/fd/4", &actions, &attributes, argv, env);
  posix_spawnattr_destroy(&attributes);
  posix_spawn_file_actions_destroy(&actions);
  if (error != 0)
    core::throw_run("[sandbox] cannot start the box helper: {}", std::strerror(error));
}

Worker::~Worker() {
  zygote_.reset();
  control_.reset();
  while (waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
  }
}

std::string Worker::start_zygote(const std::vector<std::string>& argv,
                                 const std::vector<std::string>& env) {
  SocketPair pair = make_socket_pair();
  const Fd messages = empty_file("zygote-stderr");
  RunSpec spec;
  spec.kind = RunKind::kZygote;
  spec.argv = argv;
  spec.env = env;
  if (!send_message(control_.get(), spec.encode(), {pair.theirs.get(), messages.get()}))
    return "the box is gone";
  pair.theirs.reset();
  std::string error;
  if (!send_message(pair.ours.get(), filter_))
    error = "the interpreter is gone";
  else
    error = first_answer(pair.ours.get(), "the interpreter");
  if (!error.empty()) return error + "\n" + content_of(messages);
  zygote_ = std::move(pair.ours);
  return "";
}

bool Worker::alive() const {
  pollfd end{control_.get(), 0, 0};
  return poll(&end, 1, 0) == 0;
}

bool Worker::launch(const RunSpec& spec, const std::vector<int>& fds, bool warm) {
  return send_message(warm ? zygote_.get() : control_.get(), spec.encode(), fds);
}

}  // namespace ponder::sandbox
