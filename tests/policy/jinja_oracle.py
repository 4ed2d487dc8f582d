"""Compares our Jinja with jinja2 in the environment that transformers makes for chat templates.

usage: jinja_oracle.py RENDER_LINES published          the templates that the package trl carries, on many conversations
       jinja_oracle.py RENDER_LINES random SEED COUNT  templates made by a grammar
       jinja_oracle.py RENDER_LINES chats TOKENIZER    whole folders through apply_chat_template; TOKENIZER has tokenizer.json
Prints a line for each difference and a summary; exits with 1 where there is a difference, with 77 where trl is missing.
"""
import copy
import importlib.util
import itertools
import json
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile

import transformers
from transformers.utils.chat_template_utils import _compile_jinja_template


def ours(binary, requests):
    lines = "".join(json.dumps(request) + "\n" for request in requests)
    out = subprocess.run([binary], input=lines, capture_output=True, text=True, check=True).stdout
    return [json.loads(line) for line in out.split("\n") if line]


def theirs(request):
    if "folder" in request:
        return applied(request)
    try:
        template = _compile_jinja_template(request["template"])
        return {"text": template.render(**copy.deepcopy(request["context"]))}  # some filters change lists
    except RecursionError:
        return {"error": "RecursionError"}
    except Exception as error:  # jinja2 lets every Python error through
        return {"error": f"{type(error).__name__}: {error}"}


# --- the templates that packages carry -------------------------------------------------------------

TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Current weather, \"now\" <b>& here</b>: é 漢",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string", "description": "The city", "enum": ["Paris", "Zürich"]},
                "days": {"type": ["integer", "null"], "default": 1},
                "options": {"type": "array", "items": {"type": "object", "properties": {"x": {"type": "number"}}}},
            },
            "required": ["city"],
        },
        "return": {"type": "string", "description": "text"},
    },
}
TOOL2 = {"type": "function", "function": {"name": "stop", "description": "", "parameters": {"type": "object", "properties": {}}}}


def call(arguments, **more):
    return {"type": "function", "id": "call_123456", "function": {"name": "get_weather", "arguments": arguments}, **more}


CHATS = {
    "one": [{"role": "user", "content": "Hello"}],
    "system": [{"role": "system", "content": "Be brief.\n"}, {"role": "user", "content": "  Hi <|im_end|> there  "}],
    "turns": [
        {"role": "user", "content": "1+1?"},
        {"role": "assistant", "content": "<think>\nsum\n</think>\n\n2"},
        {"role": "user", "content": "and 2+2? é漢🙂"},
        {"role": "assistant", "content": "4"},
        {"role": "user", "content": ""},
    ],
    "reasoning": [
        {"role": "user", "content": "1+1?"},
        {"role": "assistant", "content": "2", "reasoning_content": "one and one"},
        {"role": "user", "content": "more"},
        {"role": "assistant", "content": "3", "reasoning_content": "\nthink\n"},
    ],
    "tools": [
        {"role": "system", "content": "Use tools."},
        {"role": "user", "content": "Weather in Paris?"},
        {"role": "assistant", "content": "", "tool_calls": [call({"city": "Paris", "days": 2, "deep": {"a": [1, 2.5, None, True]}})]},
        {"role": "tool", "name": "get_weather", "tool_call_id": "call_123456", "content": "sunny"},
        {"role": "tool", "name": "get_weather", "tool_call_id": "call_123456", "content": {"t": 20}},
        {"role": "assistant", "content": "Sunny."},
        {"role": "user", "content": "Thanks"},
    ],
    "string_arguments": [
        {"role": "user", "content": "Weather?"},
        {"role": "assistant", "tool_calls": [call('{"city": "Zürich"}'), call("{}")]},
        {"role": "tool", "name": "get_weather", "content": "rain"},
    ],
    "blocks": [
        {"role": "user", "content": [{"type": "text", "text": "Look: "}, {"type": "image"}, {"type": "text", "text": "end"}]},
        {"role": "assistant", "content": [{"type": "text", "text": "I see"}]},
    ],
    "developer": [{"role": "developer", "content": "Rules"}, {"role": "user", "content": "Go"}],
    "wrong_order": [{"role": "assistant", "content": "first"}, {"role": "assistant", "content": "second"}],
    "odd_role": [{"role": "narrator", "content": "Once"}],
    "no_content": [{"role": "user"}],
}

OPTIONS = [
    {},
    {"add_generation_prompt": True},
    {"add_generation_prompt": True, "enable_thinking": False},
    {"add_generation_prompt": True, "enable_thinking": True, "reasoning_effort": "high"},
    {"tools": [TOOL]},
    {"tools": [TOOL, TOOL2], "add_generation_prompt": True, "tools_in_user_message": False, "strftime_now": None},
    {"documents": [{"title": "T", "text": "some text"}], "preserve_thinking": True, "thinking": True},
]


def template_requests():
    package = importlib.util.find_spec("trl")
    if package is None:
        print("the package trl is not installed: see tools/oracle", file=sys.stderr)
        sys.exit(77)
    for folder in package.submodule_search_locations:
        for path in sorted(pathlib.Path(folder, "chat_templates").glob("*.jinja")):
            for (name, chat), options in itertools.product(CHATS.items(), OPTIONS):
                context = {"messages": chat, "tools": None, "documents": None, "add_generation_prompt": False,
                           "bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "date_string": "26 Jul 2026", **options}
                context.pop("strftime_now", None)
                template = path.read_text(encoding="utf-8")
                if "strftime_now" in template:  # both sides then say the same date
                    template = "{%- macro strftime_now(format) %}day {{ format }}{% endmacro %}" + template
                yield {"name": f"{path.stem}/{name}/{sorted(options)}", "template": template, "context": context}


# --- templates made by a grammar -------------------------------------------------------------------

CONTEXT = {
    "messages": [{"role": "user", "content": " Hi\n there "}, {"role": "assistant", "content": "<b>", "tool_calls": [{"n": 1}]},
                 {"role": "tool", "content": None, "items": [3]}],
    "s": "Hello, Wörld! 漢字\n  two\t", "t": "a,b,,c", "e": "", "sp": "  x  ", "n": 7, "z": 0, "neg": -3, "f": 2.5, "big": 1e20,
    "tiny": 1.5e-7, "yes": True, "no": False, "nil": None, "xs": [3, 1, 2], "ys": ["b", "A", "a", "B"], "mixed": [1, "a", None, [2]],
    "none_at_all": [], "d": {"k": 1, "a": {"b": [10, 20]}, "z": "v", "1": "one"}, "rows": [{"id": 2, "n": "b"}, {"id": 1, "n": "a"}, {"id": 2}],
}
NAMES = list(CONTEXT) + ["missing", "i", "x", "ns"]
STRINGS = ["''", "'a'", "\"it's\"", "'\\n'", "'é漢'", "','", "' '", "'role'", "'k'", "'<&\">'", "'tab\\t\\u00e9'", "'AbC dEf-gh'", "'x' 'y'", "'12'", "' 3.5 '"]
METHODS = ["strip()", "lstrip()", "rstrip('\\n ')", "split()", "split(',')", "split(',', 1)", "rsplit(' ', 1)", "rsplit(none, 1)", "split(none, 1)", "splitlines()",
           "upper()", "lower()", "title()", "capitalize()", "startswith('H')", "endswith(('a', ' '))", "replace('l', 'L')", "replace('', '-')",
           "replace('l', '', 1)", "find('l')", "rfind('l')", "count('l')", "count('')", "isdigit()", "isalpha()", "isspace()", "isupper()", "islower()",
           "items()", "keys()", "values()", "get('k')", "get('q', 5)", "get(1)", "join(ys)", "join(xs)", "index(1)", "index('l')", "zfill(5)", "ljust(9, '.')",
           "rjust(9)", "center(8, '*')", "partition(',')", "rpartition(',')", "removeprefix('He')", "removesuffix('c')", "append(1)", "pop()", "nothing()", "find('l', 3)",
           "find('', 30)", "startswith('e', 1)", "count('l', 3, -3)", "copy()", "isalnum()"]
FILTERS = ["trim", "upper", "lower", "length", "string", "list", "first", "last", "tojson", "tojson(indent=2)", "tojson(ensure_ascii=true)", "tojson(sort_keys=true)",
           "tojson(separators=(',', ':'))", "join", "join(', ')", "join('-', attribute='id')", "default('D')", "default('D', true)", "d", "int", "int(5)", "float", "abs", "round", "round(1)",
           "round(1, 'floor')", "replace('l', 'LL')", "replace('', '.')", "reverse", "sort", "sort(reverse=true)", "sort(attribute='id')", "sort(case_sensitive=true)", "unique",
           "map('upper')", "map(attribute='id')", "map(attribute='content', default='?')", "map(attribute='a.b.0')", "select", "reject", "select('string')", "select('odd')",
           "reject('none')", "selectattr('id')", "selectattr('id', 'equalto', 2)", "selectattr('id', '>', 1)", "rejectattr('n', 'undefined')", "rejectattr('id', 'in', [1])",
           "items", "dictsort", "dictsort(by='value')", "capitalize", "title", "indent", "indent(2, true)", "indent('> ', blank=true)", "sum", "sum(attribute='id')",
           "min", "max", "batch(2)", "batch(2, 'x')", "center(9)", "truncate(9)", "truncate(5, true)", "count", "safe", "trim('H ')", "int(base=16)"]
TESTS = ["defined", "undefined", "none", "string", "number", "integer", "float", "boolean", "true", "false", "mapping", "sequence", "iterable", "odd", "even", "divisibleby(3)",
         "divisibleby 2", "eq 7", "equalto('a')", "ne 1", "lt 5", "gt(1)", "in [1, 2, 7]", "in s", "upper", "lower", "sameas true", "callable", "not none", "not defined", "escaped"]


# jinja2 makes these lazily: what fails in one that nobody looks at does not fail there.
LAZY = ("map(", "select", "reject", "unique", "items", "batch(", "reverse")
FILTERS = [name + "|list" if name.startswith(LAZY) else name for name in FILTERS]


class Grammar:
    def __init__(self, seed):
        self.random = random.Random(seed)
        self.loops = 0

    def pick(self, options):
        return self.random.choice(options)

    def expr(self, depth=3):
        r = self.random.random()
        if depth <= 0 or r < 0.22:
            return self.pick([self.pick(NAMES), self.pick(NAMES), self.pick(STRINGS), self.pick(["0", "1", "-2", "3.5", "1e3", "0x1f", "1_000", "true", "none", "False", "[]", "{}", "()"])])
        e = lambda: self.expr(depth - 1)
        forms = [
            lambda: f"{e()} {self.pick(['+', '-', '*', '/', '//', '%', '~', '~', '+'])} {e()}",
            lambda: f"{self.pick(['2', 'n', 'neg', 'f'])} ** {self.pick(['2', '3', '0', '-1'])}",
            lambda: f"({e()})",
            lambda: f"{e()} {self.pick(['==', '!=', '<', '<=', '>', '>=', 'in', 'not in'])} {e()}",
            lambda: f"1 {self.pick(['<', '==', '<='])} {e()} {self.pick(['<', '!='])} 9",
            lambda: f"{e()} {self.pick(['and', 'or'])} {e()}",
            lambda: f"not {e()}",
            lambda: f"-{self.pick(['n', 'f', 'neg', 's', '2', 'xs'])}",
            lambda: f"{e()} if {e()} else {e()}",
            lambda: f"{e()} if {e()}",
            lambda: f"{e()}|{self.pick(FILTERS)}",
            lambda: f"{e()}|{self.pick(FILTERS)}",
            lambda: f"({e()})|{self.pick(FILTERS)}|{self.pick(FILTERS)}",
            lambda: f"{e()} is {self.pick(['', 'not '])}{self.pick(TESTS)}",
            lambda: f"{self.postfix()}.{self.pick(METHODS)}",
            lambda: f"{self.postfix()}.{self.pick(METHODS)}",
            lambda: f"{self.postfix()}.{self.pick(METHODS)}.{self.pick(METHODS)}",
            lambda: self.postfix() + self.subscript(depth),
            lambda: self.postfix() + self.subscript(depth),
            lambda: f"[{', '.join(e() for _ in range(self.random.randrange(3)))}]",
            lambda: f"({e()}, {e()})",
            lambda: f"{{{self.pick(STRINGS)}: {e()}, {self.pick(['1', '2.0', 'true', 'n', 'none'])}: {e()}}}",
            lambda: f"range({self.pick(['3', 'n', '1, 5', '5, 0, -2', 'xs|length'])})|list",
            lambda: f"dict(a={e()}, b=1)",
            lambda: f"namespace(a={e()}).a",
            lambda: self.pick(["loop.index", "loop.first", "loop.last", "loop.length", "loop.previtem", "loop.nextitem", "loop.revindex0", "loop.cycle('a', 'b')", "loop.index0", "loop.depth", "loop.changed(i)"]) if self.loops else "n",
            lambda: self.pick(["m()", "m(1)", "m(1, y=2)", "m(y='q')", "m(1, 2, 3)", "m(nope=1)"]),
        ]
        return self.pick(forms)()

    def postfix(self):
        return self.pick(["s", "t", "sp", "d", "xs", "ys", "messages[0]", "messages[1]", "d.a", "rows[0]", "messages[0].content", "e", "mixed", "missing", "n", "'a b c'", "(1, 2)"])

    def subscript(self, depth):
        return self.pick(["[0]", "[-1]", "[1:]", "[:2]", "[::-1]", "[1:-1]", "[::2]", "[-2:]", "[10]", "['k']", "['content']", ".role", ".a.b", ".items", "[n]", f"[{self.expr(depth - 2)}]", "[5:1:-1]", "[:]"])

    def text(self):
        return self.pick(["", " ", "\n", "\n\n", "  \n", "text", " a b ", "\n  ", "\t", "é漢", "{ }", "}}", "<|im_start|>", "  x\n", "a\n  b"])

    def open(self):
        return "{%" + self.pick(["", "", "-", "+"]) + self.pick([" ", "", "\n"])

    def close(self):
        return self.pick([" ", ""]) + self.pick(["", "", "-", "+"]) + "%}"

    def tag(self, inner):
        return self.open() + inner + self.close()

    def body(self, depth):
        return "".join(self.pick([self.text, self.text, lambda: self.statement(depth)])() for _ in range(self.random.randrange(1, 5)))

    def statement(self, depth):
        b = lambda: self.body(depth - 1)
        show = lambda: "{{" + self.pick(["", "-"]) + " " + self.expr() + " " + self.pick(["", "-"]) + "}}"
        if depth <= 0:
            return show()

        def loop():
            target = self.pick(["i", "i", "i", "k, v", "x"])
            over = {"k, v": self.pick(["d.items()", "d|items", "d|dictsort", "[(1, 2)]"])}.get(target) or self.pick(["xs", "messages", "s", "d", "rows", "range(3)", "ys|sort", "missing", self.expr(2), "messages[1:]", "xs|select('odd')"])
            head = f"for {target} in {over}" + self.pick(["", "", "", " if i != 1", " if loop is undefined", f" if {self.expr(1)}"])
            self.loops += 1
            inner = b() + self.pick(["", "", "{{ loop.index }}", "{{ i }}", self.tag("if i == 3") + self.tag(self.pick(["break", "continue"])) + self.tag("endif")]) + b()
            self.loops -= 1
            return self.tag(head) + inner + self.pick(["", self.tag("else") + b()]) + self.tag("endfor")

        forms = [
            show, show, show,
            lambda: self.tag(f"if {self.expr()}") + b() + self.pick(["", self.tag(f"elif {self.expr(1)}") + b()]) + self.pick(["", self.tag("else") + b()]) + self.tag("endif"),
            loop, loop,
            lambda: self.tag(f"set {self.pick(['x', 'i', 'x, i'])} = {self.expr()}"),
            lambda: self.tag(f"set x = {self.expr()}") + "{{ x }}",
            lambda: self.tag("set ns = namespace(c=0, t='')") + self.tag("for i in xs") + self.tag("set ns.c = ns.c + i") + self.tag("endfor") + "{{ ns.c }}",
            lambda: self.tag(f"set ns.c = {self.expr(1)}"),
            lambda: self.tag(f"set x{self.pick(['', ' | upper', ' | trim | title'])}") + b() + self.tag("endset") + "[{{ x }}]",
            lambda: self.tag(f"macro m(a, y={self.expr(1)})") + "({{ a }}|{{ y }}" + self.pick(["", "{{ varargs }}", "{{ kwargs }}", "{{ s }}"]) + ")" + b() + self.tag("endmacro") + "{{ m(1) }}",
            lambda: self.tag("macro w()") + "<{{ caller() }}>" + self.tag("endmacro") + self.tag("call w()") + b() + self.tag("endcall"),
            lambda: self.tag(f"with x = {self.expr(1)}, q = 2") + b() + "{{ q }}" + self.tag("endwith"),
            lambda: self.tag(f"filter {self.pick(['upper', 'trim', 'indent(2)'])}") + b() + self.tag("endfilter"),
            lambda: self.tag("generation") + b() + self.tag("endgeneration"),
            lambda: "{#" + self.pick(["", "-"]) + self.text() + self.pick(["", "-", "+"]) + "#}",
            lambda: "{% raw %}" + self.pick(["{{ x }}", " {% if %} "]) + "{% endraw %}",
            lambda: self.tag("for n in [{'c': [{'c': []}, {'c': [{'c': []}]}]}] recursive") + "<{{ loop.depth }}{{ loop(n.c) }}>" + self.tag("endfor"),
        ]
        return self.pick(forms)()


# Where we refuse on purpose, with a clear message, what jinja2 does.
REFUSED = ("not supported", "beyond 64 bits", "cannot be a key", "make a list of it first", "is a function and has no text", "too much work", "nested too deeply",
           "though Jinja has one", "no filter named", "no test named")


def random_requests(seed, count):
    for i in range(count):
        grammar = Grammar(seed * 1000003 + i)
        template = grammar.body(3)
        yield {"name": f"{seed}:{i}", "template": template, "context": CONTEXT}


# --- whole folders through apply_chat_template -------------------------------------------------------

CHATML = """{%- if messages[0].role != 'system' %}{{ '<|im_start|>system\\nBe kind.<|im_end|>\\n' }}{% endif %}
{%- for message in messages %}
{{- '<|im_start|>' + message.role + '\\n' }}{% if message.reasoning_content %}<think>{{ message.reasoning_content }}</think>{% endif %}
{%- if message.content is string %}{{ message.content | trim if trim_content else message.content }}
{%- else %}{% for part in message.content or [] %}{{ part.text }}{% endfor %}{% endif %}
{%- for call in message.tool_calls or [] %}{{ call.function | tojson }}{% endfor %}
{{- '<|im_end|>\\n' }}
{%- endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% if enable_thinking is defined and enable_thinking is false %}<think>

</think>{% endif %}{% endif %}"""
MODELS = {
    "text": {"chat_template": CHATML},
    "named": {"chat_template": [{"name": "default", "template": CHATML}, {"name": "tool_use", "template": "{{ bos_token }}{{ tools | tojson }}"}]},
    "tokens": {"chat_template": "{{ bos_token }}|{{ eos_token }}|{{ pad_token }}|{{ image_token }}|{{ unk_token }}", "image_token": "<img>", "unk_token": None},
    "documents": {"chat_template": "{% for d in documents or [] %}{{ d.title }}: {{ d.text }}{% endfor %}{{ messages[-1] }}"},
}
CHAT_OPTIONS = OPTIONS[:6] + [
    {"documents": [{"title": "T", "text": "some text"}]},
    {"continue_final_message": "content"},
    {"continue_final_message": "content", "variables": {"trim_content": True}},
    {"continue_final_message": "reasoning_content"},
    {"template_name": "tool_use", "tools": [TOOL2]},
]
LOADED = {}


def chat_requests(tokenizer):
    for name, config in MODELS.items():
        folder = pathlib.Path(tempfile.mkdtemp(), name)
        folder.mkdir()
        shutil.copy(pathlib.Path(tokenizer, "tokenizer.json"), folder)
        settings = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "eos_token": "<|im_end|>", "pad_token": {"content": "<pad>", "__type": "AddedToken"}}
        (folder / "tokenizer_config.json").write_text(json.dumps({**settings, **config}))
        (folder / "config.json").write_text('{"model_type": "qwen2"}')
        for (chat_name, chat), options in itertools.product({**CHATS, "null": [{"role": "user", "content": "x", "tool_calls": None}], "spaces": [{"role": "assistant", "content": " a  "}]}.items(), CHAT_OPTIONS):
            options = dict(options)
            known = {key: options.pop(key) for key in list(options) if key in ("add_generation_prompt", "tools", "documents", "continue_final_message", "template_name", "variables")}
            if "template_name" in known and not isinstance(config.get("chat_template"), list):
                continue  # transformers takes a name that is none for the template itself
            known["variables"] = {**options, **known.get("variables", {})}
            known["variables"].pop("strftime_now", None)
            yield {"name": f"{name}/{chat_name}/{sorted(known)}", "folder": str(folder), "messages": chat, "options": known}


def applied(request):
    folder, options = request["folder"], dict(request["options"])
    if folder not in LOADED:
        LOADED[folder] = transformers.PreTrainedTokenizerFast.from_pretrained(folder)
    variables = options.pop("variables")
    name = options.pop("template_name", None)
    try:
        return {"text": LOADED[folder].apply_chat_template(copy.deepcopy(request["messages"]), tokenize=False, chat_template=name, **options, **variables)}
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"}


def main():
    binary, kind = sys.argv[1:3]
    kinds = {
        "published": template_requests,
        "random": lambda: random_requests(int(sys.argv[3]), int(sys.argv[4])),
        "chats": lambda: chat_requests(sys.argv[3]),
    }
    requests = list(kinds[kind]())
    same = failed_both = refused = different = 0
    for request, got in zip(requests, ours(binary, requests)):
        want = theirs(request)
        if "text" in want and "text" in got and want["text"] == got["text"]:
            same += 1
        elif "error" in want and "error" in got:
            failed_both += 1
        elif "error" in got and any(reason in got["error"] for reason in REFUSED):
            refused += 1
        else:
            different += 1
            if different <= 20:
                shown = request["template"] if kind == "random" else ""
                print(f"DIFFERENT {request['name']}\n  template: {shown!r}\n  theirs: {want}\n  ours:   {got}")
    print(f"{len(requests)} renderings: {same} the same, {failed_both} fail on both sides, {refused} refused, {different} different")
    sys.exit(1 if different else 0)


if __name__ == "__main__":
    main()
