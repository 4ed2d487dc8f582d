// The warm interpreter's half of a box, loaded into Python by driver.py through ctypes (PyDLL: the
// GIL is held). It forks the interpreter into a fresh run for each request and returns to Python
// only inside the locked child. Needs no Python header. CPython's own fork hooks are not called:
// the one thread goes on in the child as it was, with the locks it held; what else they do (a new
// seed, the thread's number) driver.py does, at a third of the pages touched.
//
// A fork copies the interpreter's page tables, the most expensive part of a warm run, and a run
// needs two processes: its init and the program. So the init borrows the interpreter's memory as
// vfork(2) does (the interpreter sleeps until the run is over) and only the program is a copy.
// Without cgroups the init measures and may be killed while it holds the heap: then it is a copy
// too.
#include <csignal>

#include <dlfcn.h>
#include <sched.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#include "sandbox/box/pages.h"
#include "sandbox/box/protocol.h"
#include "sandbox/box/run.h"
#include "sandbox/box/wire.h"

namespace {

using namespace ponder::sandbox;

constexpr size_t kStackBytes = 512 * 1024;

struct Launch {
  RunSpec spec;
  RunFds fds;
  std::string filter;
  int control = -1;
  volatile bool in_program = false;
  ucontext_t interpreter{};  // where the program goes on: in the interpreter's own stack
};

int init_main(void* argument) {
  auto* launch = static_cast<Launch*>(argument);
  close(launch->control);
  run_as_init(launch->spec, launch->fds, launch->filter);
  launch->in_program = true;  // in the program's own copy of the memory
  setcontext(&launch->interpreter);
  _exit(1);
}

// True in the program, false in the interpreter once the run is over (or, without cgroups, under
// way).
bool start_run(Launch& launch, char* stack_top) {
  getcontext(&launch.interpreter);
  if (launch.in_program) return true;
  const int sharing = launch.spec.watch ? 0 : CLONE_VM | CLONE_VFORK;
  const int pid = clone(init_main, stack_top, kRunNamespaces | sharing, &launch);
  if (pid < 0)
    send_message(launch.fds.status, Status{StatusKind::kFailed, 0, 0, "clone a run"}.encode());
  return false;
}

}  // namespace

// Serves requests on descriptor `control` until it closes (then the process exits). The first
// message is the seccomp filter; the answer to it says that the interpreter is ready. Returns the
// RunKind, in the run's main process only.
extern "C" __attribute__((visibility("default"))) void box_gather() {
  gather_objects();
}

extern "C" __attribute__((visibility("default"))) int box_serve(int control) {
  pack_pages();
  hide_memory();
  signal(SIGCHLD, SIG_IGN);
  Launch launch;
  launch.control = control;
  std::string message;
  std::vector<int> fds;
  void* stack = mmap(nullptr, kStackBytes, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
  if (stack == MAP_FAILED || receive_message(control, launch.filter, fds) <= 0) _exit(0);
  if (!send_message(control, Status{StatusKind::kStarted, 0, 0, ""}.encode())) _exit(0);
  while (receive_message(control, message, fds) > 0) {
    launch.spec = RunSpec();
    launch.fds = RunFds();
    const bool well_formed =
        RunSpec::decode(message, launch.spec) && RunFds::split(launch.spec, fds, launch.fds);
    if (well_formed && start_run(launch, static_cast<char*>(stack) + kStackBytes))
      return static_cast<int>(launch.spec.kind);
    for (int fd : fds) close(fd);
  }
  _exit(0);
}
