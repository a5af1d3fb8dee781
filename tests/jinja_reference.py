"""Renders the templates of tests/fixtures/jinja/cases.json with Jinja2, set up as transformers does it, and writes what
comes out beside them. Needs jinja2. To add a case, add {"template": "..."} to the file and run this."""
import datetime
import json
import pathlib

import jinja2
from jinja2 import nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

FILE = pathlib.Path(__file__).parent / "fixtures/jinja/cases.json"


class Generation(Extension):
    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return nodes.CallBlock(self.call_method("_body"), [], [], body).set_lineno(line)

    def _body(self, caller):
        return caller()


def tojson(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def raise_exception(message):
    raise jinja2.exceptions.TemplateError(message)


environment = ImmutableSandboxedEnvironment(
    trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols])
environment.filters["tojson"] = tojson
environment.globals["raise_exception"] = raise_exception
environment.globals["strftime_now"] = datetime.datetime(2024, 7, 26, 12).strftime

cases = json.loads(FILE.read_text())
for case in cases["cases"]:
    case.pop("expected", None)
    case.pop("error", None)
    try:
        case["expected"] = environment.from_string(case["template"]).render(**cases["variables"])
    except Exception:
        case["error"] = True
FILE.write_text(json.dumps(cases, ensure_ascii=False, indent=0))
