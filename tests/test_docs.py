"""README and documentation: what they show runs, what they name exists, the site builds."""

import doctest
import importlib.util
import re
import shlex
import subprocess
import sys
import tomllib
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "docs").glob("*/*.md")])
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FLAGS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS


def blocks(page, *languages):
    """(line, language, text) of the fenced blocks of a page."""
    text = page.read_text(encoding="utf-8")
    for found in BLOCK.finditer(text):
        if found[1] in languages:
            yield text[: found.start()].count("\n") + 2, found[1], found[2]


def named(page):
    return str(page.relative_to(ROOT))


def commands():
    """Every command that a console block shows, once."""
    lines = [
        line
        for page in PAGES
        for _, _, text in blocks(page, "console")
        for line in text.splitlines()
        if line.startswith("$ ")
    ]
    return sorted({line[2:].split("   #")[0].strip() for line in lines})


def load_module(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("page", [p for p in PAGES if any(blocks(p, "python", "pycon"))], ids=named)
def test_python_blocks_run(page, tmp_path, monkeypatch):
    """The blocks of a page share their names; `pycon` blocks must print what they say."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("RANKCONV_DATA", raising=False)
    names = {}
    for line, language, text in blocks(page, "python", "pycon"):
        if language == "python":
            exec(compile("\n" * (line - 1) + text, str(page), "exec"), names)
            continue
        test = doctest.DocTestParser().get_doctest(text, names, page.name, str(page), line - 1)
        assert test.examples, f"{page}:{line} has no >>>"
        report = []
        runner = doctest.DocTestRunner(optionflags=FLAGS)
        runner.run(test, out=report.append, clear_globs=False)
        assert not runner.failures, "".join(report)
        names.update(test.globs)


@pytest.mark.parametrize("command", commands())
def test_commands_in_the_text_exist(command, tmp_path, monkeypatch):
    """Filters are filtered; of longer commands the options are looked up, of make the target."""
    words = shlex.split(command)
    if words[0] == "make":
        assert re.search(rf"^{words[1]}:", (ROOT / "Makefile").read_text(), re.MULTILINE)
        return
    typer = pytest.importorskip("typer")
    from typer.testing import CliRunner

    from rankconv.cli import app

    assert words[0] == "rankconv"
    if words[1] in ("plan", "factorize", "filter"):
        from PIL import Image

        monkeypatch.chdir(tmp_path)
        Image.new("L", (40, 30), 128).save("photo.png")
        result = CliRunner().invoke(app, words[1:])
        assert result.exit_code == 0, result.exception or result.output
        return
    node = typer.main.get_command(app)
    for word in words[1:]:
        if word in getattr(node, "commands", {}):
            node = node.commands[word]
    options = {name for p in node.params for name in (*p.opts, *p.secondary_opts)}
    assert {word for word in words if word.startswith("-")} <= options


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_files_that_are_linked_exist(page):
    text = page.read_text(encoding="utf-8")
    text = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    links = re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(
        r'(?:src|srcset|href)="([^"]+)"', text
    )
    missing = [
        link
        for link in links
        if not re.match(r"[a-z]+:", link) and not (page.parent / link.split("#")[0]).exists()
    ]
    assert not missing


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The site, built strictly: a broken link or a missing docstring fails."""
    place = tmp_path_factory.mktemp("site")
    build = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(place)]
    done = subprocess.run(build, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return place


def test_the_site_has_every_page_and_loads_nothing_from_elsewhere(site):
    pages = [path for path in site.rglob("*.html") if path.name != "404.html"]
    sources = {p.relative_to(ROOT / "docs") for p in PAGES if (ROOT / "docs") in p.parents}
    assert {p.relative_to(site) for p in pages} == {p.with_suffix(".html") for p in sources}
    loaded = re.compile(r'<(?:script|img|iframe|source)\b[^>]*\bsrc="((?:https?:)?//[^"]*)"')
    styled = re.compile(
        r'<link\b(?=[^>]*rel="(?:stylesheet|preconnect)")[^>]*href="((?:https?:)?//[^"]*)"'
    )
    for page in pages:
        html = page.read_text(encoding="utf-8")
        assert loaded.findall(html) + styled.findall(html) == []


def test_the_command_reference_is_the_commands_own_help(site):
    import typer

    from rankconv.cli import app

    html = (site / "commands.html").read_text(encoding="utf-8")
    shown = re.sub(r"<[^>]+>", "", html)

    def check(node, path):
        assert f'id="{"-".join(path)}"' in html
        for parameter in node.params:
            for name in parameter.opts if parameter.param_type_name == "option" else ():
                assert name in shown, f"{' '.join(path)} {name}"
        for name, child in getattr(node, "commands", {}).items():
            check(child, (*path, name))

    check(typer.main.get_command(app), ("rankconv",))


def test_the_reference_shows_docstrings_with_their_examples(site):
    import rankconv

    html = (site / "api.html").read_text(encoding="utf-8")
    for name in rankconv.__all__:
        assert f'id="rankconv.{name}"' in html
    assert "<blockquote>" not in html, "an example that is not a code block"
    assert "scipy.signal.correlate2d" in html


def test_the_citation_names_version_and_paper():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert {"cff-version", "message", "title", "authors"} <= citation.keys()
    assert citation["version"] == project["version"]
    assert citation["license"] == project["license"]
    (paper,) = citation["references"]
    assert paper["title"].startswith("Using Rank-N Approximation and Matrix Manipulation")
    assert paper["authors"] == [{"family-names": "Jaladi", "given-names": "Sri"}]


PICTURES = load_module(ROOT / "tools" / "docs_pictures.py")


@pytest.mark.parametrize("name", PICTURES.PICTURES)
def test_pictures_are_drawn_by_the_script(name):
    committed = ROOT / "docs" / "pictures" / f"{name}-dark.svg"
    drawn = ET.fromstring(PICTURES.draw(name, "dark"))
    assert drawn.get("viewBox") == ET.parse(committed).getroot().get("viewBox")
    assert committed.with_name(f"{name}-light.svg").exists()
    assert any(f"pictures/{name}-light.svg" in page.read_text("utf-8") for page in PAGES)


def test_no_picture_is_left_over():
    there = {path.name for path in (ROOT / "docs" / "pictures").glob("*.svg")}
    assert there == {file for file, _, _ in PICTURES.files(list(PICTURES.PICTURES))}
