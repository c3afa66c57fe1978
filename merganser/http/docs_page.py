"""/docs: the OpenAPI document as a page that needs no script and nothing of another host."""

from collections.abc import Iterable, Mapping
from html import escape
from typing import Any

SECURITY_POLICY = "default-src 'none'; style-src 'unsafe-inline'"
"""What a browser may do on the page: show it."""

_HEAD = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width">
<style>
body {{ font: 16px/1.5 sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }}
h2 {{ margin-top: 2.5rem; border-top: 1px solid #ccc; padding-top: 1rem }}
code, pre {{ font: 14px/1.5 ui-monospace, monospace }}
table {{ border-collapse: collapse }}
td, th {{ text-align: left; vertical-align: top; padding: .2rem 1.5rem .2rem 0 }}
</style></head><body>
<h1>{title}</h1>
"""


def page(document: Mapping[str, Any]) -> str:
    """The page as HTML."""
    return "\n".join(
        [
            _HEAD.format(title=escape(document["info"]["title"])),
            _paragraphs(document["info"].get("description", "")),
            '<p>For programs: <a href="openapi.json">openapi.json</a>.</p>',
            *(
                _operation(method, path, operation)
                for path, operations in document["paths"].items()
                for method, operation in operations.items()
            ),
            _refusals(document["components"].get("responses", {})),
            "<h2>Shapes</h2>",
            *(_shape(name, shape) for name, shape in document["components"]["schemas"].items()),
            "</body></html>",
        ]
    )


def _operation(method: str, path: str, operation: Mapping[str, Any]) -> str:
    parameters = [
        (
            f"<code>{escape(parameter['name'])}</code>",
            parameter["in"],
            escape(_type(parameter["schema"])),
            escape(parameter.get("description", "")),
        )
        for parameter in operation.get("parameters", [])
    ]
    answers = [
        (status, escape(answer["description"]), escape(_content(answer)))
        for status, answer in operation["responses"].items()
        if "$ref" not in answer
    ]
    refusals = [status for status, answer in operation["responses"].items() if "$ref" in answer]
    body = _content(operation.get("requestBody", {}))
    tags = ", ".join(operation.get("tags", ()))
    return "\n".join(
        [
            f"<h2><code>{method.upper()} {escape(path)}</code> {escape(tags)}</h2>",
            _paragraphs(operation.get("description", "")),
            _table(("parameter", "in", "type", "meaning"), parameters) if parameters else "",
            f"<p>Body: {escape(body)}</p>" if body else "",
            _table(("status", "meaning", "body"), answers),
            f"<p>Or a refusal: {', '.join(refusals)}.</p>" if refusals else "",
        ]
    )


def _refusals(responses: Mapping[str, Any]) -> str:
    """Answers that operations share: told once."""
    rows = [
        (status, escape(answer["description"]), escape(_content(answer)))
        for status, answer in responses.items()
    ]
    return f"<h2>Refusals</h2>{_table(('status', 'meaning', 'body'), rows)}" if rows else ""


def _shape(name: str, shape: Mapping[str, Any]) -> str:
    rows = [
        (f"<code>{escape(key)}</code>", escape(_type(value)), escape(value.get("description", "")))
        for key, value in shape.get("properties", {}).items()
    ]
    table = _table(("field", "type", "meaning"), rows)
    return f"<h3>{escape(name)}</h3>{_paragraphs(shape.get('description', ''))}{table}"


def _type(schema: Mapping[str, Any]) -> str:
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(map(_type, schema["anyOf"])))
    if "enum" in schema:
        return " or ".join(map(str, schema["enum"]))
    if schema.get("type") == "array":
        return f"list of {_type(schema['items'])}"
    return str(schema.get("format") or schema.get("type") or schema.get("const") or "any")


def _content(message: Mapping[str, Any]) -> str:
    content = message.get("content", {}).get("application/json")
    return _type(content.get("schema", {})) if content is not None else ""


def _paragraphs(text: str) -> str:
    return "".join(f"<p>{escape(part)}</p>" for part in text.split("\n\n") if part)


def _table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    head = "".join(f"<th>{name}</th>" for name in heads)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><tr>{head}</tr>{body}</table>"
