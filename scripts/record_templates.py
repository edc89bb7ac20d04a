#!/usr/bin/env python3
"""Writes what Jinja 3.1.6 makes of the templates in tests/fixtures/templates.

    record_templates.py fixtures
    record_templates.py chance [COUNT] [SEED] [FILE]

`fixtures` renders every .jinja of the folder with the conversations of jinja_reference.py: expected.json.

`chance` makes templates of its own: generated.json. Every one is a few statements and expressions over the variables of `VARS`, drawn from a grammar that knows which filter,
test, method and operator wants which kind of value, and sometimes takes another one. A case whose output holds an address or a name
of Python's own objects is dropped. Needs: pip install jinja2==3.1.6
"""
import copy
import json
import random
import sys
import warnings
from pathlib import Path

from jinja_reference import CONVERSATIONS, NOW, TOKENS, environment, outcome

warnings.simplefilter("ignore")
FIXTURES = Path(__file__).resolve().parent.parent / "tests/fixtures/templates"
VARS = {
    "s": "hello world", "t": "  It's\ta Test\n", "u": "Straße ﬁ ΟΔΟΣ İ 한국어 😀", "e": "", "n": "42", "h": "<b>&\"x\"'</b>",
    "lines": "one\r\ntwo\n\nthree\x0bfour", "i": 7, "j": -3, "z": 0, "big": 100000000000000000000, "f": 2.5, "g": -0.125,
    "x": 1e22, "y": 1e-7, "b": True, "c": False, "nothing": None, "l": [3, 1, 2], "m": ["b", "a", "C", "a"],
    "k": [[1, "a"], [2, "b"]], "q": [], "d": {"b": 1, "a": 2, "C": 3}, "o": {"items": "x", "k": {"v": [1, {"w": None}]}, "1": 0.5},
    "msgs": [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": " Hi <b> \"you\"\n", "n": 2},
        {"role": "assistant", "content": [{"type": "text", "text": "a"}, {"type": "image"}], "n": 1},
        {"role": "user", "content": None, "tool": {"name": "f", "args": {"p": [1, 2.0, True, None], "ü": "é"}}},
    ],
}
KINDS = {
    "text": ["s", "t", "u", "e", "n", "h", "lines", "msgs[0].content", "msgs[1]['role']", "'ab'", "\"it's\"", "'a-b-c'", "'%d'", "'a\\n b'"],
    "int": ["i", "j", "z", "big", "0", "1", "-1", "2", "3", "10", "l|length", "loop_n"],
    "float": ["f", "g", "x", "y", "0.5", "3.0", "1e3", "-2.75"],
    "bool": ["b", "c", "true", "false"],
    "list": ["l", "m", "k", "q", "[1, 2.5, 'a']", "['x', 'y', 'X']", "range(4)", "msgs", "msgs[2].content", "(1, 2)", "('a',)", "d.items()|list"],
    "dict": ["d", "o", "msgs[0]", "msgs[3]", "{'z': 1, 2: 'b'}", "{}", "o.k", "{1: 'i', true: 'b', 1.0: 'f'}"],
    "none": ["nothing", "none", "undefd", "msgs[0].nope"],
}


class Maker:
    def __init__(self, seed):
        self.r = random.Random(seed)

    def pick(self, *options):
        return self.r.choice(options)

    def value(self, kind, depth):
        """An expression that is probably of this kind."""
        if self.r.random() < 0.06:
            kind = self.pick(*KINDS)
        if depth <= 0 or self.r.random() < 0.25:
            return self.r.choice(KINDS[kind])
        return getattr(self, kind, self.any_of_none)(depth - 1)

    def any_of_none(self, depth):
        return self.r.choice(KINDS["none"])

    def any(self, depth):
        return self.value(self.pick("text", "text", "int", "float", "bool", "list", "list", "dict", "none"), depth)

    def none(self, depth):
        return self.r.choice(KINDS["none"])

    def text(self, d):
        t, i = lambda: self.value("text", d), lambda: self.value("int", d)
        any_, r = lambda: self.any(d), self.r
        return self.pick(
            lambda: f"{self.wrap(t())}.{self.pick('upper', 'lower', 'title', 'capitalize', 'swapcase', 'strip', 'lstrip', 'rstrip', 'casefold')}()",
            lambda: f"({t()}|{self.pick('upper', 'lower', 'title', 'capitalize', 'trim', 'string', 'reverse', 'e', 'striptags', 'urlencode', 'safe', 'forceescape')})",
            lambda: f"({any_()}|string)",
            lambda: f"({any_()}|tojson)",
            lambda: f'''({any_()}|tojson({self.pick('indent=2', 'ensure_ascii=True', 'sort_keys=true', 'indent=1, sort_keys=True', 'separators=(",", ":")')}))''',
            lambda: f"({any_()}|pprint)",
            lambda: f"({t()} ~ {any_()})",
            lambda: f"({any_()} ~ {any_()} ~ {t()})",
            lambda: f"({t()} + {t()})",
            lambda: f"({t()} * {self.pick('0', '2', '3', '-1', 'b')})",
            lambda: f"({self.wrap(t())}[{self.slice(d)}])",
            lambda: f"({self.wrap(t())}[{self.pick('0', '-1', '1', '2', '99')}])",
            lambda: f'''({self.value('list', d)}|join({self.pick('', '', '", "', 'i', 't')}))''',
            lambda: f'''({self.value('list', d)}|join(' ', attribute={self.pick('0', '"role"', '"n"')}))''',
            lambda: f'''{self.pick('", "', 's')}.join({self.value('list', d)})''',
            lambda: f"({t()}|replace({t()}, {t()}{self.pick('', ', 1', ', count=2')}))",
            lambda: f"{self.wrap(t())}.replace({t()}, {t()}{self.pick('', ', 1')})",
            lambda: f'''{self.wrap(t())}.{self.pick('center', 'ljust', 'rjust')}({self.pick('5', '12', '20')}{self.pick('', ', "*"')})''',
            lambda: f"{self.wrap(t())}.zfill({self.pick('3', '8')})",
            lambda: f"{self.wrap(t())}.{self.pick('strip', 'lstrip', 'rstrip', 'removeprefix', 'removesuffix')}({t()})",
            lambda: f'''({t()}|indent{self.pick('', '(2)', '(2, true)', '("> ", blank=true)', '(width=3, first=True)')})''',
            lambda: f'''({t()}|truncate({self.pick('5', '8, true', '9, false, "!"', '4, leeway=0')}))''',
            lambda: f'''({t()}|wordwrap({self.pick('4', '9', '6, false', '5, wrapstring="/"')}))''',
            lambda: f"({t()}|center({self.pick('8', '15')}))",
            lambda: f'''({self.pick('"%s"', '"%5s|"', '"%-6s|"', '"%.2s"', '"%r"', '"%a"')} % {self.wrap(any_())})''',
            lambda: f'''({self.pick('"%d"', '"%05d"', '"%+d"', '"%x"', '"%#o"', '"%X"', '"%5.3d|"', '"%c"')} % {self.value('int', d)})''',
            lambda: f'''({self.pick('"%f"', '"%.2f"', '"%e"', '"%g"', '"%010.3f"', '"%+.1e"', '"%G"', '"%#g"')} % {self.value('float', d)})''',
            lambda: f'''({self.pick('"%s-%s"', '"%(b)s %(a)s"', '"%s%%"')}|format({self.pick(any_() + ', ' + any_(), 'a=1, b=' + t(), any_())}))''',
            lambda: f'''{self.pick('"{}"', '"{0} {0}"', '"{!r}"', '"{:>8}|"', '"{:*^9}"', '"{:<6}|"', '"{0[0]}"', '"{a}"')}.format({self.pick(any_(), 'a=' + any_())})''',
            lambda: f'''{self.pick('"{:d}"', '"{:05}"', '"{:,}"', '"{:_x}"', '"{:+}"', '"{:#b}"', '"{:^7}"', '"{:012,}"', '"{:e}"')}.format({self.value('int', d)})''',
            lambda: f'''{self.pick('"{:.2f}"', '"{:g}"', '"{:8.3}|"', '"{:e}"', '"{:%}"', '"{:,.1f}"', '"{}"', '"{:.3}"', '"{:010.2f}"')}.format({self.value('float', d)})''',
            lambda: f"({self.value('float', d)}|filesizeformat{self.pick('', '(true)')})",
            lambda: f"({self.value('dict', d)}|{self.pick('xmlattr', 'urlencode')})",
            lambda: f"{self.wrap(t())}.expandtabs({self.pick('', '4')})",
            lambda: f'''strftime_now({self.pick('"%Y-%m-%d"', '"%d %b %y"', '"%A %-d %B %H:%M:%S %p"', '"%j %U %W %w %u %I %e"', '"%c|%x|%X"')})''',
            lambda: f"({t()} if {self.bool(d)} else {t()})",
            lambda: f"({t()}|default({t()}{self.pick('', ', true')}))",
        )()

    def wrap(self, expression):
        return f"({expression})"

    def slice(self, d):
        bound = lambda: self.pick("", "1", "-1", "2", "-3", "0", "i", "99")
        return f"{bound()}:{bound()}{self.pick('', '', ':' + self.pick('2', '-1', '-2', '1'))}"

    def int(self, d):
        i, l = lambda: self.value("int", d), lambda: self.value("list", d)
        number = lambda: self.value(self.pick("int", "float", "bool"), d)
        return self.pick(
            lambda: f"({number()} {self.pick('+', '-', '*', '//', '%', '/')} {number()})",
            lambda: f"({i()} ** {self.pick('0', '2', '3', '-1', 'z')})",
            lambda: f"({self.any(d)}|length)", lambda: f"({l()}|count)",
            lambda: f"({self.any(d)}|int{self.pick('', '(5)', '(default=1)', '(0, 16)')})",
            lambda: f"({number()}|abs)", lambda: f"(-{number()})", lambda: f"(+{number()})",
            lambda: f'''({l()}|sum{self.pick('', '(start=1)', '(attribute=0)', '("n", 10)')})''',
            lambda: f"({l()}|{self.pick('min', 'max', 'first', 'last')})",
            lambda: f"({self.value('text', d)}|wordcount)",
            lambda: f"{self.wrap(self.value('text', d))}.{self.pick('find', 'rfind', 'count', 'index')}({self.value('text', d)}{self.pick('', ', 1', ', 1, 5', ', -3')})",
            lambda: f"({l()}|list).{self.pick('index', 'count')}({self.any(d)})",
            lambda: f"{self.wrap(l())}[{self.pick('0', '1', '-1', '9', 'true')}]",
            lambda: f'''({number()}|round({self.pick('', '1', '-1', '2, "floor"', '0, "ceil"')}))''',
        )()

    def float(self, d):
        return self.pick(
            lambda: f"({self.value('float', d)} {self.pick('+', '-', '*', '/', '//', '%')} {self.value(self.pick('int', 'float'), d)})",
            lambda: f"({self.any(d)}|float{self.pick('', '(1.5)')})",
            lambda: f'''({self.value('float', d)}|round({self.pick('', '1', '2', '1, "ceil"', 'method="floor"')}))''',
            lambda: f"({self.value('int', d)} / {self.value('int', d)})",
        )()

    def bool(self, d):
        a, t = lambda: self.any(d), lambda: self.value("text", d)
        return self.pick(
            lambda: f"({a()} {self.pick('==', '!=')} {a()})",
            lambda: f"({self.value('int', d)} {self.pick('<', '<=', '>', '>=')} {self.value(self.pick('int', 'float'), d)})",
            lambda: f"({t()} {self.pick('<', '<=', '>', '>=')} {t()})",
            lambda: f"(1 < {self.value('int', d)} <= 7)",
            lambda: f"({a()} {self.pick('in', 'not in')} {self.value(self.pick('list', 'dict', 'text'), d)})",
            lambda: f"({t()} in {t()})",
            lambda: f"(not {a()})", lambda: f"({a()} {self.pick('and', 'or')} {a()})",
            lambda: f"({a()} is {self.pick('', 'not ')}{self.pick('defined', 'undefined', 'none', 'string', 'number', 'integer', 'float', 'boolean', 'mapping', 'sequence', 'iterable', 'callable', 'true', 'false', 'lower', 'upper', 'escaped')})",
            lambda: f"({self.value('int', d)} is {self.pick('odd', 'even', 'divisibleby 3', 'divisibleby(2)', 'eq 7', 'gt 2', 'lessthan 3', 'in [1, 7]', 'sameas 1')})",
            lambda: f"{self.wrap(t())}.{self.pick('startswith', 'endswith')}({t()}{self.pick('', ', 1', ', 0, 3')})",
            lambda: f"{self.wrap(t())}.{self.pick('isalpha', 'isdigit', 'isalnum', 'isspace', 'islower', 'isupper', 'istitle', 'isidentifier', 'isnumeric', 'isascii', 'isprintable')}()",
        )()

    def list(self, d):
        l, t = lambda: self.value("list", d), lambda: self.value("text", d)
        dicts = lambda: self.pick("msgs", "msgs", "msgs[1:]", l())
        return self.pick(
            lambda: f"({l()}|list)", lambda: f"({l()} + {l()})", lambda: f"({l()} * {self.pick('2', '0', 'b')})",
            lambda: f"{self.wrap(l())}[{self.slice(d)}]",
            lambda: f"({l()}|sort{self.pick('', '(true)', '(case_sensitive=true)', '(reverse=True, attribute=0)')})",
            lambda: f"({l()}|unique{self.pick('', '(true)')}|list)", lambda: f"({l()}|reverse|list)",
            lambda: f'''({l()}|map({self.pick('"upper"', '"string"', '"length"', '"int"', '"default", 1', '"tojson"', 'attribute=0', 'attribute="role"', 'attribute="n", default=0')})|list)''',
            lambda: f'''({l()}|{self.pick('select', 'reject')}({self.pick('', '"odd"', '"string"', '"eq", 1', '"in", [1, "a"]', '"defined"', '">", 1')})|list)''',
            lambda: f'''({dicts()}|{self.pick('selectattr', 'rejectattr')}({self.pick('"n"', '"role", "eq", "user"', '"n", "defined"', '"content", "string"', '"tool.name", "equalto", "f"')})|list)''',
            lambda: f'''({dicts()}|groupby({self.pick('"role"', '"n", default=0', '"role", case_sensitive=true')})|list)''',
            lambda: f'''({dicts()}|sort(attribute={self.pick('"role"', '"role,n"', '"n"')}))''',
            lambda: f'''({l()}|{self.pick('batch', 'slice')}({self.pick('2', '3', '2, "-"')})|list)''',
            lambda: f'''({self.value('dict', d)}|dictsort{self.pick('', '(true)', '(false, "value")', '(reverse=true)')})''',
            lambda: f"({self.value('dict', d)}|items|list)", lambda: f"({self.value('dict', d)}.{self.pick('keys', 'values', 'items')}()|list)",
            lambda: f'''{self.wrap(t())}.{self.pick('split', 'rsplit')}({self.pick('', '" "', '"-", 1', 'none, 1', '","', 'maxsplit=1', 'sep="l"')})''',
            lambda: f'''{self.wrap(t())}.{self.pick('splitlines()', 'splitlines(true)', 'partition(" ")', 'rpartition("l")')}''',
            lambda: f"[{self.any(d)}, {self.any(d)}]", lambda: f"({self.any(d)}, {self.any(d)})",
            lambda: f"range({self.pick('3', '1, 5', '5, 0, -2', '0', '2, 9, 3')})|list",
            lambda: f"({t()}|list)",
        )()

    def dict(self, d):
        return self.pick(
            lambda: f'''{{{self.value('text', d)}: {self.any(d)}, {self.pick('1', 'true', '"k"', 'none', '(1, 2)', '1.0')}: {self.any(d)}}}''',
            lambda: f'''dict({self.pick('a=1', 'd, z=2', 'k', '[("p", 1)]', 'd.items()')})''',
            lambda: f"{self.value('dict', d)}.copy()",
            lambda: f"(msgs|{self.pick('first', 'last')})",
            lambda: f'''{self.value('dict', d)}.get({self.pick('"k"', '"b"', '"nope", {}', '"a"')})''',
            lambda: f'''(o.k{self.pick('', '.v', '["v"]', '.v[1]', '.nope')})''',
        )()

    def print(self, d):
        return f"{{{{{self.pick(' ', '- ', ' ')}{self.any(d)}{self.pick(' ', ' ', ' -')}}}}}"

    def body(self, d, n=3):
        return "".join(self.statement(d) for _ in range(self.r.randint(1, n)))

    def space(self):
        return self.pick("", "", "\n", "  ", "\n  ", " \n\n", "x", ", ")

    def statement(self, d):
        open_, close = self.pick(("{%", "%}"), ("{%", "%}"), ("{%-", "%}"), ("{%", "-%}"), ("{%-", "-%}"), ("{%+", "%}"))
        tag = lambda inside: f"{open_} {inside} {close}"
        if d <= 0 or self.r.random() < 0.5:
            return self.space() + self.print(self.r.randint(0, 3)) + self.space()
        sub = lambda: self.space() + self.body(d - 1, 2) + self.space()
        loop_of = self.pick("loop.index", "loop.index0", "loop.first", "loop.last", "loop.length", "loop.revindex", "loop.revindex0",
                            "loop.previtem|default('p')", "loop.nextitem|default('n')", "loop.cycle('a', 'b')", "loop.changed(a1)", "loop.depth", "loop")
        return self.pick(
            lambda: tag(f"if {self.bool(2)}") + sub() + self.pick("", tag("else") + sub(), tag(f"elif {self.bool(1)}") + sub()) + tag("endif"),
            lambda: tag(f"for a1 in {self.value('list', 2)}") + f"{{{{ {loop_of} }}}}{{{{ a1 }}}}" + sub() + self.pick("", tag("else") + sub()) + tag("endfor"),
            lambda: tag(f"for a1 in {self.value('list', 1)} if {self.pick('a1', 'a1 is string', 'loop_n', 'a1 != 1')}") + f"{{{{ {loop_of} }}}}" + tag("endfor"),
            lambda: tag(f"for a1, a2 in {self.value('dict', 1)}.items()") + "{{ a1 }}={{ a2 }};" + self.pick("", tag("if loop.index > 1") + tag(self.pick("break", "continue")) + tag("endif")) + "," + tag("endfor"),
            lambda: tag(f"set v1 = {self.any(3)}") + "{{ v1 }}" + sub() + tag("set v1 = 1") + "{{ v1 }}",
            lambda: tag(f"set v2{self.pick('', ' | upper', ' | trim | length')}") + sub() + tag("endset") + "[{{ v2 }}]",
            lambda: tag(f"set ns = namespace({self.pick('a=0', 'd', 'a=1, b=l')})") + tag("for a1 in l") + tag("set ns.a = ns.a + a1") + tag("endfor") + "{{ ns.a }}" + self.pick("", "{{ ns }}", "{{ ns.b }}"),
            lambda: tag(f"with w = {self.any(2)}, v1 = 5") + "{{ w }}" + sub() + tag("endwith") + "{{ w }}",
            lambda: tag(f"macro mc(p{self.pick('', '=' + self.any(1))}, r={self.pick('p', '2', 's')})") + self.pick("{{ p }}-{{ r }}", "{{ varargs }}{{ kwargs }}{{ p }}", "{{ caller() if caller else p }}") + sub() + tag("endmacro") + f"{{{{ mc({self.pick('', '1', '1, 2', 'p=3', 'r=4', '1, 2, 3', 'q=1, p=2')}) }}}}",
            lambda: tag("macro mb(p)") + "<{{ caller(p) }}>" + tag("endmacro") + tag(f"call(z1) mb({self.any(1)})") + "{{ z1 }}!" + tag("endcall"),
            lambda: tag(f'''filter {self.pick('upper', 'trim', 'replace("a", "b")', 'indent(2)|title')}''') + sub() + tag("endfilter"),
            lambda: tag("for a1 in [[1, [2]], [3]] recursive") + "({{ a1 if a1 is number else loop(a1) }})" + tag("endfor"),
            lambda: tag("autoescape true") + sub() + "{{ h }}{{ '<' ~ h|e }}" + tag("endautoescape"),
            lambda: tag("raw") + "{{ x }}" + self.space() + tag("endraw"),
            lambda: "{#" + self.pick("", "-", "+") + " c " + self.pick("", "-") + "#}" + self.space(),
            lambda: tag("generation") + sub() + tag("endgeneration"),
            lambda: tag(f"set v3, v4 = {self.pick('1, 2', 'k[0]', '(s, e)', 'l')}") + "{{ v3 }}{{ v4 }}",
            lambda: tag("set j = joiner(', ')") + tag("for a1 in m") + "{{ j() }}{{ a1 }}" + tag("endfor"),
            lambda: tag("set cy = cycler(1, 'b')") + "{{ cy.next() }}{{ cy.current }}{{ cy.next() }}{{ cy.next() }}",
        )()


def render(env, source):
    """The output, or None where the reference refuses the template."""
    try:
        return env.from_string(source).render(**copy.deepcopy(VARS)), None
    except Exception as error:  # noqa: BLE001 (whatever it raises is a refusal)
        return None, f"{type(error).__name__}: {error}"


def fixtures():
    env, cases = environment(), []
    for path in sorted(FIXTURES.glob("*.jinja")):
        for name, conversation in CONVERSATIONS.items():
            kind, text = outcome(env, path.read_text(), conversation)
            assert " at 0x" not in text, (path, name)
            cases.append({"template": path.stem, "conversation": name, kind: text})
    lines = lambda rows: ",\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    told = ",\n".join(f"{json.dumps(name)}: {json.dumps(c, ensure_ascii=False)}" for name, c in CONVERSATIONS.items())
    head = f'"now": "{NOW.isoformat()}", "tokens": {json.dumps(TOKENS)}'
    (FIXTURES / "expected.json").write_text(f'{{{head},\n"conversations": {{\n{told}\n}},\n"expected": [\n{lines(cases)}\n]}}\n')
    print(f"{len(cases)} renderings, {sum('error' in case for case in cases)} of them refused")


def chance(arguments):
    count, seed = (int(argument) for argument in (arguments[:2] + ["1500", "1"][len(arguments[:2]):]))
    out = Path(arguments[2]) if len(arguments) > 2 else FIXTURES / "generated.json"
    maker, env, cases, refused = Maker(seed), environment(), [], 0
    while len(cases) < count:
        source = maker.body(3, 2) if maker.r.random() < 0.5 else "{{ " + maker.any(3) + " }}"
        output, why = render(env, source)
        # Most templates end in an error sooner or later: keep a quarter of them.
        if output is None:
            if "SyntaxError" in why and "expected" not in why or refused > count / 4:
                continue
            refused += 1
        elif " at 0x" in output or len(output) > 2000 or "object" in output:
            continue
        try:
            json.dumps(output).encode()
        except UnicodeEncodeError:
            continue
        cases.append({"template": source, "output": output} if output is not None else {"template": source, "refusal": why[:80]})
    text = ",\n".join(json.dumps(case, ensure_ascii=False) for case in cases)
    out.write_text(f'{{"now": "{NOW.isoformat()}", "variables": {json.dumps(VARS, ensure_ascii=False)},\n"cases": [\n{text}\n]}}\n')
    print(f"{len(cases)} templates, {refused} of them refused")


if __name__ == "__main__":
    if sys.argv[1:] == ["fixtures"]:
        fixtures()
    elif sys.argv[1:2] == ["chance"]:
        chance(sys.argv[2:])
    else:
        sys.exit(__doc__)
