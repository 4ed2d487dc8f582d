// The warm interpreter's half of a box, loaded into Python by driver.py through ctypes (PyDLL: the GIL is held). It forks
// the interpreter into a fresh run for each request and returns to Python only inside the locked child. Needs no Python
// header: the two fork hooks are looked up by name.
#include <dlfcn.h>
#include <unistd.h>

#include <csignal>

#include "sandbox/box/protocol.h"
#include "sandbox/box/run.h"
#include "sandbox/box/wire.h"

namespace {

using ForkHook = void (*)();

void call_hook(const char* name) {
  // PyOS_BeforeFork, PyOS_AfterFork_Parent, PyOS_AfterFork_Child: CPython's C API since 3.7.
  if (auto* hook = reinterpret_cast<ForkHook>(dlsym(RTLD_DEFAULT, name))) hook();
}

}  // namespace

// Serves requests on descriptor `control` until it closes (then the process exits). The first message is the seccomp
// filter; the answer to it says that the interpreter is ready. Returns the RunKind, in the run's main process only.
extern "C" __attribute__((visibility("default"))) int box_serve(int control) {
  using namespace ponder::sandbox;
  hide_memory();
  signal(SIGCHLD, SIG_IGN);
  std::string filter, message;
  std::vector<int> fds;
  if (receive_message(control, filter, fds) <= 0) _exit(0);
  if (!send_message(control, Status{StatusKind::kStarted, 0, 0, ""}.encode())) _exit(0);
  while (receive_message(control, message, fds) > 0) {
    RunSpec spec;
    RunFds roles;
    if (RunSpec::decode(message, spec) && RunFds::split(spec, fds, roles)) {
      call_hook("PyOS_BeforeFork");
      const pid_t pid = clone_init();
      if (pid == 0) {
        close(control);
        run_as_init(spec, roles, filter);
        call_hook("PyOS_AfterFork_Child");
        return static_cast<int>(spec.kind);
      }
      call_hook("PyOS_AfterFork_Parent");
      if (pid < 0) send_message(roles.status, Status{StatusKind::kFailed, 0, 0, "clone a run"}.encode());
    }
    for (int fd : fds) close(fd);
  }
  _exit(0);
}
