// Attacks on the walls. Each prints ESCAPED when it gets through; each is tried on every kind of
// box, one after another in the same box, so that what one leaves behind would show in the next.
#include <cstdlib>
#include <fstream>

#include <gtest/gtest.h>

#include "tests/sandbox/support.h"

namespace ponder::sandbox {
namespace {

struct Attack {
  const char* name;
  const char* language;
  const char* code;
};

const Attack kAttacks[] = {
    {"Environment", "python",
     "import os\nfor p in ['self', '1', '2']:\n    try:\n        if b'PONDER_CANARY' in "
     "open(f'/proc/{p}/environ', 'rb').read(): print('ESCAPED')\n    except OSError: pass\nif "
     "'PONDER_CANARY' in os.environ: print('ESCAPED')"},
    {"Loopback", "python",
     "import socket\nfor f in (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX, "
     "socket.AF_NETLINK):\n    for t in (socket.SOCK_STREAM, socket.SOCK_DGRAM, "
     "socket.SOCK_RAW):\n        try: socket.socket(f, t); print('ESCAPED', f, t)\n        except "
     "OSError: pass"},
    {"BoundPair", "python",
     "import socket\na, b = socket.socketpair()\ntry: a.bind('\\0x'); print('ESCAPED')\nexcept "
     "OSError: pass"},
    {"HostFiles", "python",
     "import os\nfor p in ('/etc/shadow', '/etc/hostname', '/root', '/home', '/sys', '/var/log', "
     "'/boot', '/proc/sys', '/proc/1/root', '/proc/1/cwd', '/proc/1/environ', '/proc/kcore', "
     "'/proc/meminfo', '/proc/1/fd'):\n    try: os.listdir(p) if os.path.isdir(p) else "
     "open(p).read(1)\n    except OSError: continue\n    print('ESCAPED', p)"},
    {"WritesOutside", "python",
     "import os\nfor p in ('/', '/usr/', '/usr/bin/', '/etc/', '/.box/', '/proc/', '/dev/', "
     "'/var/', '/run/'):\n    try: open(p + 'x', 'w'); print('ESCAPED', p)\n    except OSError: "
     "pass\ntry: os.chmod('/.box', 0o777); print('ESCAPED')\nexcept OSError: pass"},
    {"KillsAll", "python",
     "import os, signal\nfor p in (1, -1, 0):\n    try:\n        signal.signal(signal.SIGTERM, "
     "signal.SIG_IGN)\n        os.kill(p, signal.SIGTERM)\n    except OSError: pass\nfor p in "
     "range(3, 3000):\n    try: os.kill(p, 0); print('ESCAPED', p)\n    except OSError: pass"},
    {"KillsInit", "python",
     "import os, resource, signal\nfor s in (signal.SIGKILL, signal.SIGSTOP, signal.SIGSEGV):\n    "
     "os.kill(1, s)\ntry: resource.prlimit(1, resource.RLIMIT_CPU, (0, 0)); "
     "print('ESCAPED')\nexcept OSError: pass"},
    {"InitMemory", "python",
     "for n in ('mem', 'maps', 'environ', 'stack', 'syscall'):\n    try: open('/proc/1/' + n, "
     "'rb').read(1); print('ESCAPED', n)\n    except OSError: pass"},
    {"Knobs", "python",
     "for p in ('/proc/self/oom_score_adj', '/proc/sys/kernel/hostname', '/proc/self/uid_map', "
     "'/proc/self/loginuid', '/proc/sysrq-trigger'):\n    try: open(p, 'w').write('0'); "
     "print('ESCAPED', p)\n    except OSError: pass"},
    {"Limits", "python",
     "import resource\nfor r in (resource.RLIMIT_NOFILE, resource.RLIMIT_FSIZE, "
     "resource.RLIMIT_CPU, resource.RLIMIT_CORE, resource.RLIMIT_STACK):\n    try: "
     "resource.setrlimit(r, (resource.RLIM_INFINITY,) * 2); print('ESCAPED', r)\n    except "
     "(OSError, ValueError): pass"},
    {"Identity", "python",
     "import os\nfor f in (os.setuid, os.setgid):\n    try: f(0); print('ESCAPED')\n    except "
     "OSError: pass\ntry: os.setgroups([0]); print('ESCAPED')\nexcept OSError: pass\nimport "
     "subprocess\nfor c in ('su', 'passwd', 'mount', 'newgrp'):\n    try: subprocess.run([c], "
     "stdin=subprocess.DEVNULL, capture_output=True, timeout=0.3)\n    except Exception: pass"},
    {"Devices", "python",
     "import os, stat\nfor k in (stat.S_IFBLK, stat.S_IFCHR):\n    try: os.mknod('/tmp/d', k | "
     "0o600, os.makedev(8, 0)); print('ESCAPED')\n    except OSError: pass\nfor d in ('/dev/kmsg', "
     "'/dev/mem', '/dev/sda', '/dev/vda', '/dev/kvm', '/dev/tty', '/dev/fuse'):\n    if "
     "os.path.exists(d): print('ESCAPED', d)"},
    {"Chroot", "python",
     "import os\nos.mkdir('r')\ntry: os.chroot('r'); print('ESCAPED')\nexcept OSError: pass"},
    {"State", "python",
     "import os\nps = [os.path.join(d, 'state') for d in ('.', '/tmp', '/var/tmp', "
     "'/dev/shm')]\nprint(['ESCAPED ' + p for p in ps if os.path.exists(p)])\nfor p in ps: open(p, "
     "'w')"},
    {"StateInTheInterpreter", "python",
     "import json, builtins, sys\nif hasattr(builtins, 'mark') or hasattr(json, 'mark') or "
     "'planted' in sys.modules: print('ESCAPED')\nbuiltins.mark = json.mark = "
     "1\nsys.modules['planted'] = json"},
    {"PlantedModule", "python",
     "import os, sys\nfor d in sys.path:\n    if d and not d.startswith('/tmp'):\n        try: "
     "open(os.path.join(d, 'planted.py'), 'w'); print('ESCAPED', d)\n        except OSError: pass"},
    {"OtherProcesses", "python",
     "import os\npids = [p for p in os.listdir('/proc') if p.isdigit()]\nif len(pids) > 1: "
     "print('ESCAPED', pids)"},
    {"ForkBomb", "python",
     "import os\nwhile True:\n    try: os.fork()\n    except OSError: break\nn = 0\nimport time; "
     "time.sleep(0.2)"},
    {"ThreadBomb", "python",
     "import threading, time\nn = 0\ntry:\n    while True: threading.Thread(target=time.sleep, "
     "args=(9,), daemon=True).start(); n += 1\nexcept RuntimeError: pass\nif n > 16: "
     "print('ESCAPED', n)"},
    {"ShellBomb", "python",
     "import subprocess\nsubprocess.run(['/bin/sh', '-c', 'f() { f | f & }; f'], "
     "capture_output=True, timeout=1)"},
    {"Daemon", "python",
     "import os, time\nif os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0:\n        for fd "
     "in (0, 1, 2): os.close(fd)\n        time.sleep(1000)\n    os._exit(0)"},
    {"HeldPipe", "python",
     "import os, time\nif os.fork() == 0: time.sleep(1000)\nprint('done', flush=True)"},
    {"Inodes", "python",
     "n = 0\ntry:\n    while n < 20000: open(f'/tmp/i{n}', 'w').close(); n += 1\nexcept OSError: "
     "pass\nif n > 4096: print('ESCAPED', n)"},
    {"DeepDirectories", "python",
     "import os\nn = 0\ntry:\n    while n < 5000: os.mkdir('d'); os.chdir('d'); n += 1\nexcept "
     "OSError: pass"},
    {"DiskFill", "python",
     "n = 0\nfor d in ('/tmp', '/dev/shm'):\n    try:\n        while n < 400: open(f'{d}/f{n}', "
     "'wb').write(b'x' * (1 << 20)); n += 1\n    except OSError: pass\nif n > 128: "
     "print('ESCAPED', n)"},
    {"LockedMemory", "python",
     "import ctypes\nlibc = ctypes.CDLL(None)\nif libc.mlockall(3) == 0: print('ESCAPED')"},
    {"Recursion", "python", "import sys\nsys.setrecursionlimit(10**9)\ndef f(): f()\nf()"},
    {"RealTime", "python",
     "import os\ntry: os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(50)); "
     "print('ESCAPED')\nexcept OSError: pass\ntry: os.nice(-10); print('ESCAPED')\nexcept OSError: "
     "pass"},
    {"ClosedStreams", "python", "import os\nfor fd in range(3): os.close(fd)"},
    {"Namespaces", "cpp",
     "#define _GNU_SOURCE 1\n#include <sched.h>\n#include <initializer_list>\n#include "
     "<csignal>\n#include <cstdio>\n#include <unistd.h>\n#include <sys/syscall.h>\n#include "
     "<sys/wait.h>\nint main() { for (int f : {CLONE_NEWUSER, CLONE_NEWNS, CLONE_NEWPID, "
     "CLONE_NEWNET, CLONE_NEWIPC, CLONE_NEWUTS, CLONE_NEWCGROUP}) { if (unshare(f) == 0) "
     "puts(\"ESCAPED unshare\"); long p = syscall(SYS_clone, f | SIGCHLD, 0, 0, 0, 0); if (p == 0) "
     "_exit(0); if (p > 0) puts(\"ESCAPED clone\"); } unsigned long a[11] = {CLONE_NEWUSER}; a[4] "
     "= SIGCHLD; long p = syscall(435, a, sizeof a); if (p == 0) _exit(0); if (p > 0) "
     "puts(\"ESCAPED clone3\"); }"},
    {"DangerousCalls", "cpp",
     "#include <cstdio>\n#include <cerrno>\n#include <sys/syscall.h>\n#include <unistd.h>\nint "
     "main() { long calls[] = {SYS_ptrace, SYS_bpf, SYS_perf_event_open, SYS_userfaultfd, "
     "SYS_keyctl, SYS_add_key, SYS_request_key, SYS_mount, SYS_umount2, SYS_pivot_root, SYS_setns, "
     "SYS_init_module, SYS_kexec_load, SYS_reboot, SYS_swapon, SYS_acct, SYS_quotactl, "
     "SYS_name_to_handle_at, SYS_open_by_handle_at, SYS_process_vm_readv, SYS_process_vm_writev, "
     "SYS_kcmp, SYS_personality, SYS_io_uring_setup, SYS_fanotify_init, SYS_syslog, "
     "SYS_settimeofday, SYS_shmget, SYS_semget, SYS_msgget, SYS_mq_open, 428, 429, 430, 431, 432, "
     "433, 438, 442, 447, 500, 599}; for (long c : calls) { errno = 0; long r = syscall(c, 0, 0, "
     "0, 0, 0, 0); if (r >= 0 || (errno != EPERM && errno != ENOSYS)) printf(\"ESCAPED %ld: %ld "
     "%d\\n\", c, r, errno); } }"},
    {"X32", "cpp",
     "#include <cstdio>\n#include <unistd.h>\n#include <sys/syscall.h>\nint main() { if "
     "(syscall(0x40000000 | 39) > 0) puts(\"ESCAPED\"); }"},
    {"OwnBinary", "cpp",
     "#include <cstdio>\n#include <fcntl.h>\n#include <unistd.h>\n#include <sys/stat.h>\nint "
     "main() { int f = open(\"/proc/self/exe\", O_WRONLY); if (f >= 0) puts(\"ESCAPED write\"); f "
     "= open(\"/proc/self/exe\", O_RDONLY); if (f >= 0 && ftruncate(f, 0) == 0) puts(\"ESCAPED "
     "truncate\"); struct stat s; if (stat(\"/tmp/box/main.cpp\", &s) == 0) puts(\"ESCAPED "
     "source\"); }"},
    {"Recursion", "cpp",
     "int f(volatile int x) { volatile char b[4096]; b[0] = x; return f(x + 1) + b[0]; }\nint "
     "main() { return f(0); }"},
    {"ClosedStdin", "cpp",
     "#include <cstdio>\nint main() { int c, n = 0; while ((c = getchar()) != EOF) ++n; "
     "printf(\"%d\\n\", n); }"},
};

class AttackedBox : public testing::TestWithParam<Kind> {};

TEST_P(AttackedBox, WithstandsAttacksInSequence) {
  setenv("PONDER_CANARY", "secret", 1);
  for (int round = 0; round < 2; ++round) {
    for (const auto& attack : kAttacks) {
      SCOPED_TRACE(attack.name);
      const Result result = sandbox_of(GetParam()).run(script(attack.code, attack.language));
      EXPECT_EQ(result.out.find("ESCAPED"), std::string::npos) << result.out;
      EXPECT_NE(result.verdict, Verdict::kInternalError) << result.reason;
      EXPECT_NE(result.verdict, Verdict::kCompileError) << result.err;
      EXPECT_LT(result.wall_s, 2.5);
    }
    const Result result = sandbox_of(GetParam()).run(honest("print(6 * 7)"));
    EXPECT_EQ(result.out, "42\n") << result.reason << result.err;
  }
}

INSTANTIATE_TEST_SUITE_P(Kinds, AttackedBox, testing::ValuesIn(kKinds),
                         [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace ponder::sandbox
