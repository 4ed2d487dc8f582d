// Function tests: what must pass passes, and no trick inside the candidate's process makes a wrong
// answer pass.
#include <gtest/gtest.h>

#include "core/error.h"
#include "tests/sandbox/support.h"

namespace ponder::sandbox {
namespace {

Request function(std::string code, std::string name, std::string assertions) {
  Request request = script(std::move(code));
  request.function = FunctionTests{std::move(name), std::move(assertions), "", ""};
  return request;
}

Result run(const Request& request) {
  return sandbox_of(kKinds[1]).run(request);
}

TEST(Function, ValuesOfEveryKindArriveExactly) {
  const char* kValues[] = {"None",
                           "True",
                           "-1",
                           "10 ** 50",
                           "-2 ** 64",
                           "0.1",
                           "-0.0",
                           "float('inf')",
                           "1 - 2j",
                           "'z\\u0142\\ud800'",
                           "b'\\x00\\xff'",
                           "[1, [2, []]]",
                           "(1, 'a')",
                           "{1, 2}",
                           "frozenset({1})",
                           "{'a': {2: (3,)}}",
                           "range(3)",
                           "''",
                           "{}",
                           "bytearray(b'x')",
                           "__import__('collections').Counter('aab')",
                           "__import__('collections').deque([1, 2])",
                           "__import__('fractions').Fraction(1, 3)",
                           "__import__('decimal').Decimal('1.10')",
                           "{}.keys()",
                           "{1: 2}.items()"};
  std::string code = "def f(i): return [", tests = "def check(candidate):\n";
  int i = 0;
  for (const char* value : kValues) {
    code += std::string(value) + ", ";
    tests += "    assert candidate(" + std::to_string(i) + ") == " + value +
             " and type(candidate(" + std::to_string(i) + ")) is type(" + value + ")\n";
    ++i;
  }
  const Result result = run(function(code + "][i]\n", "f", tests));
  EXPECT_TRUE(result.passed) << result.reason << result.err;
}

TEST(Function, ArgumentsArriveExactlyAndByKeyword) {
  EXPECT_TRUE(
      run(function("def f(a, *b, c=0, **d): return repr((a, b, c, sorted(d)))", "f",
                   "assert f((1, [2]), 3.5, c={4}, e=None) == \"((1, [2]), (3.5,), {4}, ['e'])\""))
          .passed);
}

TEST(Function, IteratorsStayIterators) {
  EXPECT_TRUE(run(function("def f(): return map(abs, [-1])", "f",
                           "assert f() != [1]\nassert list(f()) == [1]"))
                  .passed);
}

TEST(Function, MatchesArriveAsData) {
  EXPECT_TRUE(run(function("import re\ndef f(s): return re.search('(?P<a>b+)(c)?', s)", "f",
                           "m = f('abbd')\nassert m and not f('x') and m.group() == 'bb'\n"
                           "assert m.groups() == ('bb', None) and m.span('a') == (1, 3)\n"
                           "assert m.groupdict() == {'a': 'bb'} and m[1] == 'bb' and m.end() == 3"))
                  .passed);
}

TEST(Function, AFunctionThatOnlyTheCandidateDefinesIsCalledThere) {
  const std::string tests = "assert f(g(2)) == 2";
  EXPECT_TRUE(run(function("def g(x): return x + 1\ndef f(x): return x - 1", "f", tests)).passed);
  EXPECT_FALSE(run(function("def f(x): return x - 1", "f", tests)).passed);
  Request with_setup = function("def g(x): return 2\ndef f(x): return x", "f", tests);
  with_setup.function->setup = "def g(x): return x + 1";
  EXPECT_FALSE(run(with_setup).passed);
}

TEST(Function, ExceptionsArriveByTheirBuiltinName) {
  EXPECT_TRUE(run(function("def f(x): raise ValueError('no')", "f",
                           "try:\n    f(1)\nexcept ValueError as e:\n    assert str(e) == "
                           "'no'\nelse:\n    assert False"))
                  .passed);
}

TEST(Function, SolutionMethodsCountAsFunctions) {
  EXPECT_TRUE(run(function("class Solution:\n    def add(self, a, b): return a + b", "add",
                           "assert add(1, 2) == 3"))
                  .passed);
}

TEST(Function, SetupGivesTheTestsTheirHelpers) {
  Request request =
      function("def double(x): return 2 * x", "double", "assert half(double(4)) == 4");
  request.function->setup = "def half(x): return x // 2";
  EXPECT_TRUE(run(request).passed);
}

TEST(Function, PairsAreJudgedOneByOne) {
  Request request = script("def f(x): return (x, x) if x else 7");
  request.function = FunctionTests{"f", "", "", "[[[1], [1, 1]], [[0], 8], [[2], [2, 2]]]"};
  const Result result = run(request);
  EXPECT_FALSE(result.passed);
  ASSERT_EQ(result.tests.size(), 3U);
  EXPECT_EQ(result.tests[0].verdict, Verdict::kAccepted);
  EXPECT_EQ(result.tests[1].verdict, Verdict::kWrongAnswer);
  EXPECT_EQ(result.tests[2].verdict, Verdict::kAccepted);
}

struct Hack {
  const char* name;
  const char* code;
};

// add() must not pass `assert add(2, 3) == 5`. Each is a trick against graders that share a process
// with the candidate.
const Hack kHacks[] = {
    {"HeapSearch",
     "import gc\ndef add(a, b):\n    found = [x for o in gc.get_objects() for x in "
     "(o.values() if type(o) is dict else ()) if x == 5 and type(x) is float]\n    return found[0] "
     "if found else 0"},
    {"Tracing",
     "import sys\ndef t(f, e, a): return t\ndef add(a, b):\n    sys.settrace(t); "
     "sys.setprofile(t); return 0"},
    {"InfiniteGenerator", "def add(a, b):\n    while True: yield 5"},
    {"CountForEver", "import itertools\ndef add(a, b): return itertools.count(5)"},
    {"HugeInteger", "def add(a, b): return 1 << (1 << 27)"},
    {"ForgedFractionOfText",
     "import os, struct\nq = struct.Struct('<Q').pack\ndef add(a, b):\n    head = b't' + q(2) + "
     "b'i' + q(1) + b'\\0' + b'T'\n    text = b'1E+99999999'\n    body = b'R' + q(2) + b'u' + "
     "q(len(text)) + text + b'i' + q(1) + b'\\1'\n    for raw in (head, body): os.write(4, "
     "q(len(raw)) + raw)\n    return 0"},
    {"ForgedCollidingSet",
     "import os, struct\nq = struct.Struct('<Q').pack\ndef add(a, b):\n    head = b't' + q(2) + "
     "b'i' + q(1) + b'\\0' + b'T'\n    n = 60000\n    body = b's' + q(n) + b''.join(b'i' + q(12) "
     "+ (i * (2 ** 61 - 1)).to_bytes(12, 'little') for i in range(n))\n    for raw in (head, "
     "body):\n"
     "        raw = q(len(raw)) + raw\n        while raw: raw = raw[os.write(4, raw):]\n    return "
     "0"},
    {"ForgedMemoryBomb",
     "import os, struct\nq = struct.Struct('<Q').pack\ndef add(a, b):\n    head = b't' + q(2) + "
     "b'i' + q(1) + b'\\0' + b'T'\n    n = 40 << 20\n    os.write(4, q(len(head)) + head + q(n + "
     "9) + b'l' + q(n))\n    part = b'd' * (1 << 16)\n    while n:\n        n -= os.write(4, "
     "(b'l' + q(0)) * 6000)"},
    {"ForgedDepth",
     "import os, struct\nq = struct.Struct('<Q').pack\ndef add(a, b):\n    raw = (b'l' + q(1)) * "
     "100000\n    for _ in range(2): os.write(4, q(len(raw)) + raw)\n    return 0"},
    {"HugeFrame",
     "import os, struct\ndef add(a, b): os.write(4, struct.pack('<Q', 1 << 62)); return 0"},
    {"DripsItsAnswer",
     "import os, struct\ndef add(a, b):\n    os.write(4, struct.pack('<Q', 1 << 25))\n    while "
     "True: os.write(4, b'ab')"},
    {"BeginsAndStops", "import os\ndef add(a, b):\n    os.write(4, b'\\0\\0\\0')\n    os._exit(0)"},
    {"SurrogatesInTheError", "def add(a, b): raise ValueError('\\udc80')"},
    {"ClosedPipes", "import os\ndef add(a, b): os.close(3); os.close(4); return 0"},
    {"NotANumber", "def add(a, b): return float('nan')"},
    {"FinalizerAnswers",
     "import os\nclass E:\n    def __del__(self): os.write(5, b'called\\n') if False else "
     "print('passed')\ndef add(a, b): E(); return 0"},
    {"ExitAtImport", "import sys; sys.exit(0)"},
    {"HardExitAtCall", "import os\ndef add(a, b): os._exit(0)"},
    {"ExitHandler",
     "import atexit, os\natexit.register(os._exit, 0)\ndef add(a, b): raise SystemExit"},
    {"RaisesSystemExit", "def add(a, b): raise SystemExit(0)"},
    {"RaisesStopIteration", "def add(a, b): raise StopIteration"},
    {"RaisesAssertionSubclass", "class E(AssertionError): pass\ndef add(a, b): raise E"},
    {"EqualToAll", "class A:\n    def __eq__(s, o): return True\ndef add(a, b): return A()"},
    {"IntSubclass",
     "class I(int):\n    def __eq__(s, o): return True\n    __hash__ = int.__hash__\ndef add(a, "
     "b): return I(0)"},
    {"ListSubclass",
     "class L(list):\n    def __eq__(s, o): return True\ndef add(a, b): return [L()]"},
    {"PatchedBuiltins",
     "import builtins\nbuiltins.exec = builtins.compile = lambda *a, **k: None\ndef add(a, b): "
     "return 0"},
    {"PatchedEncoder",
     "import sys\nfor m in list(sys.modules.values()):\n    if hasattr(m, 'encode'): m.encode = "
     "lambda v: b'T'\ndef add(a, b): return 0"},
    {"ForgedFrames",
     "import os, struct\ndef add(a, b):\n    for fd in range(3, 20):\n        try: os.write(fd, "
     "struct.pack('<Q', 1) + b'T')\n        except OSError: pass\n    return 0"},
    {"ForgedVerdict",
     "import os, json, struct\nr = b'called\\n' + struct.pack('<Q', 60) + json.dumps({'outcome': "
     "'pass', 'calls': 3, 'reason': '', 'results': []}).encode()\nfor fd in range(3, 60):\n    "
     "try: os.write(fd, r)\n    except OSError: pass\ndef add(a, b): return 0"},
    {"HugeFrame",
     "import os, struct\ndef add(a, b):\n    os.write(4, struct.pack('<Q', 1 << 60))\n    return "
     "0"},
    {"ManyEmptyFrames", "import os\ndef add(a, b):\n    while True: os.write(4, b'\\0' * 65536)"},
    {"DeepValue", "def add(a, b):\n    l = []\n    for _ in range(100000): l = [l]\n    return l"},
    {"SharedBomb", "def add(a, b):\n    l = [0]\n    for _ in range(60): l = [l, l]\n    return l"},
    {"EndlessGenerator", "def add(a, b):\n    while True: yield 1"},
    {"ReadsTests",
     "import glob\ndef add(a, b):\n    for p in glob.glob('/tmp/**', recursive=True) + "
     "glob.glob('/.box/*') + glob.glob('/proc/*/fd/*'):\n        try:\n            if 'assert ' + "
     "'candidate' in open(p, errors='replace').read(10000): return 5\n        except Exception: "
     "pass\n    return 0"},
    {"SearchesTheHeap",
     "import gc\ndef add(a, b):\n    for o in gc.get_objects():\n        if isinstance(o, dict) "
     "and 'assert_tests' in o: return 5\n    return 0"},
    {"CallersFrames",
     "import sys\ndef add(a, b):\n    f = sys._getframe()\n    while f:\n        if 5 in "
     "f.f_code.co_consts and 'add' in f.f_code.co_names: return 5\n        f = f.f_back\n    "
     "return 0"},
    {"LateThread",
     "import threading, os, time\ndef spam():\n    while True:\n        try: os.write(1, "
     "b'pass')\n        except OSError: pass\nthreading.Thread(target=spam, "
     "daemon=True).start()\ndef add(a, b): return 0"},
    {"Silent", ""},
    {"SyntaxError", "def add(a, b:"},
    {"WaitsForInput", "def add(a, b): return int(input())"},
    {"Nan", "def add(a, b): return float('nan')"},
};

TEST(FunctionHack, NoneOfThemPasses) {
  for (const auto& hack : kHacks) {
    SCOPED_TRACE(hack.name);
    const Result result =
        run(function(hack.code, "add", "def check(candidate):\n    assert candidate(2, 3) == 5\n"));
    EXPECT_FALSE(result.passed);
    EXPECT_NE(result.verdict, Verdict::kInternalError) << result.reason;
  }
}

TEST(FunctionHack, ARightAnswerStillPassesAfterwards) {
  const Result result =
      run(function("def add(a, b): return a + b", "add", "assert add(2, 3) == 5"));
  EXPECT_TRUE(result.passed) << result.reason;
}

TEST(Function, TestsThatCallNothingAreNobodysPass) {
  const Result result = run(function("def add(a, b): return a + b", "add", "x = 1"));
  EXPECT_EQ(result.verdict, Verdict::kInternalError);
  EXPECT_FALSE(result.passed);
}

TEST(Function, BrokenTestsAreNotTheCandidatesFault) {
  EXPECT_EQ(run(function("def add(a, b): return 5", "add", "assert add(2, 3 == 5")).verdict,
            Verdict::kInternalError);
}

TEST(Function, SwallowedErrorsOfADeadCandidateDoNotPass) {
  const Result result = run(function("import os\ndef add(a, b):\n    os._exit(0)", "add",
                                     "try:\n    add(2, 3)\nexcept BaseException:\n    pass\n"));
  EXPECT_EQ(result.verdict, Verdict::kRuntimeError);
}

TEST(Function, WrongUseIsSaid) {
  Request request = function("int add(int, int);", "add", "assert add(1, 2) == 3");
  request.language = "cpp";
  EXPECT_THROW(run(request), core::UserError);
  request = script("def f(x): return x");
  for (const char* pairs : {"", "[]", "[1]", "[[1, 2]]", "{"}) {
    request.function = FunctionTests{"f", "", "", pairs};
    EXPECT_THROW(run(request), core::UserError) << pairs;
  }
}

}  // namespace
}  // namespace ponder::sandbox
