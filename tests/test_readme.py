"""What README.md promises: the front matter of a Space, commands that CI runs, links that lead somewhere."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import yaml

REPOSITORY = Path(__file__).resolve().parent.parent
TEXT = (REPOSITORY / "README.md").read_text(encoding="utf-8")
START = "pip install -r requirements.txt && python app.py"
TEST = "pip install -r requirements-dev.txt && python -m pytest"


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)


def requirement(name: str) -> str:
    lines = (REPOSITORY / "requirements.txt").read_text().splitlines()
    (line,) = [line for line in lines if re.match(rf"{name}[<>=]", line)]
    return line


def test_front_matter_describes_a_space():
    _, block, _ = TEXT.split("---\n", 2)
    fields = yaml.safe_load(block)
    assert TEXT.startswith("---\n")
    assert (fields["sdk"], fields["license"], fields["python_version"]) == ("gradio", "mit", "3.11")
    assert (REPOSITORY / fields["app_file"]).is_file()
    assert len(fields["short_description"]) <= 60, "the Hub refuses longer ones"
    lowest = re.search(r">=([\d.]+)", requirement("gradio")).group(1)
    assert fields["sdk_version"].startswith(lowest), "the Space and requirements.txt use different gradios"


def test_the_two_commands_are_there_and_ci_runs_the_second():
    commands = [line for block in blocks("sh") for line in block.splitlines()]
    assert START in commands
    assert TEST in commands
    assert TEST in (REPOSITORY / ".ci" / "run").read_text().splitlines()


def test_every_link_to_a_file_leads_somewhere():
    links = [link for link in re.findall(r"\]\(([^)#\s]+)\)", TEXT) if "://" not in link]
    assert len(links) >= 5
    assert [link for link in links if not (REPOSITORY / link).exists()] == []


def test_python_examples_are_python_and_import_what_exists():
    (example,) = blocks("python")
    for node in ast.walk(ast.parse(example)):
        if isinstance(node, ast.ImportFrom):
            module = __import__(node.module, fromlist=["*"])
            assert all(hasattr(module, alias.name) for alias in node.names)
