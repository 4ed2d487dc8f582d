"""The Python side of a box: a warm interpreter that becomes one fresh run after another.

box_serve (zygote.cpp) returns only in a child that is already inside its own namespaces, without privileges and behind the
system call filter. The return value says what to be: a script, the candidate of function tests, or their judge. Candidate
and judge never share a process; calls and values travel between them in the exact encoding below (never pickle).
"""
import atexit, ctypes, gc  # noqa: E401

library = ctypes.PyDLL('/.box/zygote.so')
library.box_gather()  # before the modules that every run finds loaded

import ast, builtins, collections, decimal, fractions, functools, heapq, itertools, json, math, operator, os  # noqa: E401
import bisect, copy, dataclasses, datetime, random, re, string, struct, sys, threading, traceback, types, typing  # noqa: E401

WORK_DIR = '/tmp/box'
MAIN = WORK_DIR + '/main.py'
SCRIPT, CANDIDATE, JUDGE = 2, 3, 4
CALLS, REPLIES, VERDICT = 3, 4, 5  # descriptors; the judge has all three, the candidate the first two
DEPTH_MAX = 64
BYTES_MAX = 32 << 20
REHEARSALS = 64  # CPython 3.11 specializes after some tens of executions


class Unsendable(Exception):
    """A value outside the encoding: of another type, too deep, or too large."""


# One byte a tag, then: 8-byte sizes, IEEE doubles, raw bytes. Types are compared with `is`: a subclass is refused.
_SIZE = struct.Struct('<Q')
_DOUBLE = struct.Struct('<d')
_LISTS = {list: b'l', tuple: b't', set: b's', frozenset: b'z', collections.deque: b'q'}
_DICTS = {dict: b'd', collections.Counter: b'C', collections.OrderedDict: b'O', collections.defaultdict: b'D'}
_MATCH = type(re.match('', ''))
_VIEWS = {type({}.keys()): b'K', type({}.values()): b'V', type({}.items()): b'I'}
_ITERATORS = {type(iter(v)) for v in ([], (), {}, set(), '', b'', range(0), {}.values(), {}.items(), reversed([]))}
_ITERATORS |= {map, filter, zip, enumerate, types.GeneratorType, itertools.chain, itertools.islice,
               itertools.permutations, itertools.combinations, itertools.product, itertools.accumulate}


def encode(value):
    out = bytearray()
    _encode(value, out, 0)
    return bytes(out)


def _sized(out, tag, raw):
    out += tag
    out += _SIZE.pack(len(raw))
    out += raw


def _encode(value, out, depth):
    kind = type(value)
    if depth > DEPTH_MAX:
        raise Unsendable('a value nested deeper than %d' % DEPTH_MAX)
    if len(out) > BYTES_MAX:
        raise Unsendable('a value larger than %d bytes' % BYTES_MAX)
    if value is None:
        out += b'N'
    elif kind is bool:
        out += b'T' if value else b'F'
    elif kind is int:
        _sized(out, b'i', value.to_bytes(value.bit_length() // 8 + 1, 'little', signed=True))
    elif kind is float:
        out += b'f' + _DOUBLE.pack(value)
    elif kind is complex:
        out += b'c' + _DOUBLE.pack(value.real) + _DOUBLE.pack(value.imag)
    elif kind is str:
        _sized(out, b'u', value.encode('utf-8', 'surrogatepass'))
    elif kind is bytes:
        _sized(out, b'b', value)
    elif kind is bytearray:
        _sized(out, b'B', bytes(value))
    elif kind in _LISTS:
        _items(out, _LISTS[kind], value, depth)
    elif kind in _DICTS:
        _items(out, _DICTS[kind], itertools.chain.from_iterable(dict.items(value)), depth, 2 * dict.__len__(value))
    elif kind in _VIEWS:
        flat = itertools.chain.from_iterable(value) if _VIEWS[kind] == b'I' else value
        _items(out, _VIEWS[kind], list(flat), depth)
    elif kind is range:
        _items(out, b'r', (value.start, value.stop, value.step), depth)
    elif kind is decimal.Decimal:
        _sized(out, b'E', str(value).encode())
    elif kind is fractions.Fraction:
        _items(out, b'R', (value.numerator, value.denominator), depth)
    elif kind is _MATCH:
        _items(out, b'M', (value.string, value.regs, dict(value.re.groupindex)), depth)
    elif kind in _ITERATORS:
        _items(out, b'o', list(value), depth)
    else:
        raise Unsendable('a value of type %s.%s' % (kind.__module__, kind.__qualname__))


def _items(out, tag, values, depth, count=None):
    out += tag
    out += _SIZE.pack(len(values) if count is None else count)
    for value in values:
        _encode(value, out, depth + 1)


class Match:
    """What a re.Match said, as data: nothing is matched again. True, as a match is."""

    def __init__(self, text, regs, names):
        if type(text) not in (str, bytes) or type(names) is not dict:
            raise Unsendable('a malformed match')
        self.string, self.regs, self.names = text, tuple((int(a), int(b)) for a, b in regs), names

    def span(self, group=0):
        return self.regs[self.names.get(group, group)]

    def start(self, group=0):
        return self.span(group)[0]

    def end(self, group=0):
        return self.span(group)[1]

    def __getitem__(self, group):
        start, end = self.span(group)
        return None if start < 0 else self.string[start:end]

    def group(self, *groups):
        found = tuple(self[group] for group in groups or (0,))
        return found if len(found) > 1 else found[0]

    def groups(self, default=None):
        found = (self[i] for i in range(1, len(self.regs)))
        return tuple(default if part is None else part for part in found)

    def groupdict(self, default=None):
        return {name: default if self[name] is None else self[name] for name in self.names}


class Decoder:
    """Rebuilds a value from bytes that the other side may have forged: sizes and depth are checked, nothing is called."""

    def __init__(self, raw):
        self.raw, self.at = raw, 0

    def take(self, size):
        if size > len(self.raw) - self.at:
            raise Unsendable('a truncated value')
        self.at += size
        return self.raw[self.at - size:self.at]

    def whole(self):
        value = self.value(0)
        if self.at != len(self.raw):
            raise Unsendable('bytes after the value')
        return value

    def size(self):
        return _SIZE.unpack(self.take(8))[0]

    def items(self, depth):
        count = self.size()
        if count > len(self.raw) - self.at:
            raise Unsendable('a truncated value')
        return [self.value(depth + 1) for _ in range(count)]

    def pairs(self, depth):
        flat = self.items(depth)
        if len(flat) % 2:
            raise Unsendable('a key without a value')
        return dict(zip(flat[::2], flat[1::2]))

    def value(self, depth):
        if depth > DEPTH_MAX:
            raise Unsendable('a value nested deeper than %d' % DEPTH_MAX)
        tag = self.take(1)
        if tag in _PLAIN:
            return _PLAIN[tag](self)
        if tag in _NESTED:
            return _NESTED[tag](self, depth)
        raise Unsendable('an unknown tag')


_PLAIN = {
    b'N': lambda d: None, b'T': lambda d: True, b'F': lambda d: False,
    b'i': lambda d: int.from_bytes(d.take(d.size()), 'little', signed=True),
    b'f': lambda d: _DOUBLE.unpack(d.take(8))[0],
    b'c': lambda d: complex(_DOUBLE.unpack(d.take(8))[0], _DOUBLE.unpack(d.take(8))[0]),
    b'u': lambda d: d.take(d.size()).decode('utf-8', 'surrogatepass'),
    b'b': lambda d: d.take(d.size()), b'B': lambda d: bytearray(d.take(d.size())),
    b'E': lambda d: decimal.Decimal(d.take(d.size()).decode()),
}
_NESTED = {
    b'l': Decoder.items, b't': lambda d, n: tuple(d.items(n)), b's': lambda d, n: set(d.items(n)),
    b'z': lambda d, n: frozenset(d.items(n)), b'q': lambda d, n: collections.deque(d.items(n)),
    b'd': Decoder.pairs, b'C': lambda d, n: collections.Counter(d.pairs(n)),
    b'O': lambda d, n: collections.OrderedDict(d.pairs(n)), b'D': Decoder.pairs,
    b'K': lambda d, n: dict.fromkeys(d.items(n)).keys(), b'V': lambda d, n: dict(enumerate(d.items(n))).values(),
    b'I': lambda d, n: d.pairs(n).items(), b'r': lambda d, n: range(*d.items(n)),
    b'M': lambda d, n: Match(*d.items(n)), b'R': lambda d, n: _fraction(*d.items(n)), b'o': lambda d, n: iter(d.items(n)),
}


def _fraction(numerator, denominator):
    if type(numerator) is not int or type(denominator) is not int:
        raise Unsendable('a fraction of other things than integers')  # of text it could compute for ever
    return fractions.Fraction(numerator, denominator)


def send_frame(fd, raw):
    raw = _SIZE.pack(len(raw)) + raw
    view = memoryview(raw)
    while view:
        view = view[os.write(fd, view):]


def read_exactly(fd, size):
    parts = []
    while size:
        part = os.read(fd, min(size, 1 << 20))
        if not part:
            raise EOFError
        parts.append(part)
        size -= len(part)
    return b''.join(parts)


def read_frame(fd, begun=b''):
    """The rest of the frame that `begun` begins."""
    size = _SIZE.unpack(begun + read_exactly(fd, 8 - len(begun)))[0]
    if size > 2 * BYTES_MAX:
        raise Unsendable('a frame of %d bytes' % size)
    return read_exactly(fd, size)


def read_source(path):
    """Without the io module's machinery: every object that a run touches is a page that it has to copy."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    source = b''
    while part := os.read(fd, 1 << 20):
        source += part
    os.close(fd)
    return source


def load(path, name):
    """The module that a file of untrusted code makes, run under `name`."""
    module = types.ModuleType(name)
    module.__file__ = path
    module.__builtins__ = builtins
    sys.modules[name] = module
    sys.argv = [path]
    sys.path.insert(0, os.path.dirname(path))
    exec(compile(read_source(path), path, 'exec', dont_inherit=True), module.__dict__)
    return module


def rehearse():
    """What every run does first. The interpreter specializes its code and fills its caches here, not in each copy of itself."""
    path, arguments, main_module = list(sys.path), sys.argv, sys.modules['__main__']
    load('/.box/rehearsal.py', '__main__')
    sys.path[:], sys.argv, sys.modules['__main__'] = path, arguments, main_module


def exit_status(error):
    code = error.code
    if code is None:
        return 0
    if type(code) is int:
        return code & 0xff
    print(code, file=sys.stderr)
    return 1


def run_script():
    """Like `python3 main.py`: same traceback, same exit status, exit handlers and non-daemon threads honoured."""
    status = 0
    try:
        load(MAIN, '__main__')
    except SystemExit as error:
        status = exit_status(error)
    except BaseException as error:
        own = error.__traceback__
        while own is not None and own.tb_frame.f_code.co_filename == __file__:
            own = own.tb_next
        sys.excepthook(type(error), error.with_traceback(own), own)
        status = 1
    return status


def finish(kind, status):
    try:
        if threading.active_count() > 1:
            threading._shutdown()
        atexit._run_exitfuncs()
        if kind == SCRIPT:
            sys.modules['__main__'].__dict__.clear()  # finalizers of its global objects
    finally:
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except (AttributeError, ValueError):
                pass  # removed or closed by the program
            except OSError:
                status = 120
        os._exit(status)


def find_function(module, name):
    function = getattr(module, name, None)
    if function is None and hasattr(module, 'Solution'):
        function = getattr(module.Solution(), name, None)
    return function


def answer(module, raw):
    number, name, args, kwargs = Decoder(raw).whole()
    try:
        function = find_function(module, name)
        if function is None:
            raise NameError('name %r is not defined' % name)
        value = function(*args, **kwargs)
        return encode((number, True)) , encode(value)
    except Unsendable as error:
        return encode((number, False)), encode(('Unsendable', 'returned ' + str(error)))
    except BaseException as error:
        return encode((number, False)), encode((type(error).__name__, str(error)[:500]))


def run_candidate():
    module = load(MAIN, 'solution')
    while True:
        try:
            raw = read_frame(CALLS)
        except EOFError:
            return 0
        head, body = answer(module, raw)
        sys.stdout.flush()
        send_frame(REPLIES, head)
        send_frame(REPLIES, body)


class CandidateError(Exception):
    """The candidate raised an exception that is not a built-in one, or returned what cannot be sent."""


class CandidateGone(BaseException):
    """The candidate's process ended or broke the protocol; not an Exception, so that no test swallows it."""


class Proxy:
    """Stands for the candidate's functions in the tests. Arguments and results are copies in both directions."""

    def __init__(self):
        self.calls, self.gone = 0, ''

    def lose(self, why):
        self.gone = self.gone or why
        raise CandidateGone(self.gone)

    def call(self, name, args, kwargs):
        if self.gone:
            raise CandidateGone(self.gone)
        try:
            send_frame(CALLS, encode((self.calls, name, list(args), kwargs)))
            begun = b''
            if self.calls == 0:
                begun = read_exactly(REPLIES, 1)
                os.write(VERDICT, b'called\n')  # from its first byte on the candidate can be why the tests end
            head, body = read_frame(REPLIES, begun), read_frame(REPLIES)
            number, fine = Decoder(head).whole()
            value = Decoder(body).whole()
        except (EOFError, BrokenPipeError):
            self.lose('the candidate ended during a call')
        except (Unsendable, ValueError, TypeError, ArithmeticError, MemoryError, RecursionError) as error:
            self.lose('the candidate broke the protocol: %s' % error)
        if number != self.calls:
            self.lose('the candidate answered a call that was not made')
        self.calls += 1
        if fine:
            return value
        self.throw(value)

    def throw(self, value):
        if type(value) is not tuple or len(value) != 2 or any(type(part) is not str for part in value):
            self.lose('the candidate broke the protocol')
        kind = getattr(builtins, value[0], None)
        if isinstance(kind, type) and issubclass(kind, Exception) and not issubclass(kind, UnicodeError):
            raise kind(value[1])
        raise CandidateError('%s: %s' % value)

    def function(self, name):
        def candidate(*args, **kwargs):
            return self.call(name, args, kwargs)
        candidate.__name__ = name
        return candidate


def lists_for_tuples(value):
    """JSON cannot say tuple, so tests that came as JSON compare without the difference."""
    if type(value) in (list, tuple):
        return [lists_for_tuples(item) for item in value]
    if type(value) is dict:
        return {key: lists_for_tuples(item) for key, item in value.items()}
    return value


def run_pairs(pairs, candidate, results):
    for args, expected in pairs:
        same = lists_for_tuples(candidate(*args)) == lists_for_tuples(expected)
        results.append(same is True)
    assert all(results), 'pair %d: another value' % results.index(False)


def called_names(code):
    """The functions that the code calls by a plain name."""
    calls = (node.func for node in ast.walk(code) if isinstance(node, ast.Call))
    return {name.id for name in calls if isinstance(name, ast.Name)}


def run_tests(tests, proxy, results):
    name = tests['entry_point']
    candidate = proxy.function(name)
    if not tests.get('assert_tests'):
        return run_pairs(tests['io_pairs'], candidate, results)
    module = types.ModuleType('tests')
    sys.modules['tests'] = module
    names = module.__dict__
    exec(compile(tests.get('setup') or '', 'setup', 'exec', dont_inherit=True), names)
    names[name] = names['candidate'] = candidate
    code = ast.parse(tests['assert_tests'], 'tests')
    # What neither the tests nor the set-up define, the tests expect of the candidate (HumanEval/50's encode_shift).
    for other in called_names(code) - names.keys() - vars(builtins).keys():
        names[other] = proxy.function(other)
    exec(compile(code, 'tests', 'exec', dont_inherit=True), names)
    check = names.get('check')
    if proxy.calls == 0 and callable(check) and check is not candidate:
        check(candidate)


def run_judge():
    """Writes one JSON object to VERDICT. A pass needs all tests returned and at least one call answered."""
    with open(WORK_DIR + '/tests.json', encoding='utf-8') as file:
        tests = json.load(file)
    proxy, results, outcome, reason = Proxy(), [], 'pass', ''
    try:
        run_tests(tests, proxy, results)
    except AssertionError as error:
        outcome, reason = 'wrong', 'AssertionError: %s' % error if str(error) else 'AssertionError'
    except CandidateGone:
        outcome = 'gone'
    except BaseException as error:
        outcome, reason = 'error', '%s: %s' % (type(error).__name__, str(error)[:500])
    if proxy.gone:
        outcome, reason = 'gone', proxy.gone
    if outcome == 'pass' and proxy.calls == 0:
        outcome, reason = 'error', 'the tests called no function of the candidate'
    report = {'outcome': outcome, 'calls': proxy.calls, 'reason': reason[:1000], 'results': results}
    send_frame(VERDICT, json.dumps(report).encode())
    return 0


def main():
    # Standard streams exist already, over a file, a pipe and a file as a run has them; the run's own come under their numbers.
    for _ in range(REHEARSALS):
        rehearse()
    gc.collect()
    gc.freeze()
    kind = library.box_serve(3)
    # What fork handlers would do; there is one thread and it holds every lock it held, so no more is needed.
    threading.main_thread()._set_native_id()
    random.seed()
    if kind == SCRIPT:
        status = run_script()
    else:
        try:
            status = run_candidate() if kind == CANDIDATE else run_judge()
        except SystemExit as error:
            status = exit_status(error)
        except BaseException as error:
            sys.excepthook(type(error), error, error.__traceback__)
            status = 1
    finish(kind, status)


main()
