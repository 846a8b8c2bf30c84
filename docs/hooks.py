"""What the site shows that no page holds: the measured pictures, the imports, every option of every command."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from memstack.cli.main import app

MEASURED = "benchmarks/report"
"""Where what was measured lies in the repository, a folder each; pages link to it there, so that links work in both
places."""
COMMANDS, IMPORTS = "<!-- every command -->", "<!-- imports -->"


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Put pictures and pages of what was measured into the site, below ``report/``."""
    folder = Path(config.config_file_path).parent / MEASURED
    for path in sorted(each for kind in ("png", "html", "md") for each in folder.glob(f"*/*.{kind}")):
        files.append(File.generated(config, f"report/{path.relative_to(folder)}", abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, config: MkDocsConfig, **_: object) -> str:
    """Lead the links to where the pictures are in the site, and write down the commands and the imports."""
    markdown = markdown.replace(f"../{MEASURED}/", "report/")
    if COMMANDS in markdown:
        markdown = markdown.replace(COMMANDS, "\n\n".join(commands()))
    if IMPORTS in markdown:
        markdown = markdown.replace(IMPORTS, imports(Path(config.config_file_path).parent))
    return markdown


def imports(root: Path) -> str:
    """What ``make imports`` prints of the core and the models, as a code block."""
    line = [sys.executable, "tests/helpers/imports.py"]
    printed = subprocess.run(line, cwd=root, capture_output=True, text=True, check=False).stdout
    core, models = printed.split("\n\n")[:2]
    return f"```text\n{core}\n\n{models}\n```"


def commands() -> Iterator[str]:
    """A section for each command, as its ``--help`` has it."""
    group: Any = typer.main.get_command(app)
    for name in group.list_commands(None):
        _, command, _ = group.resolve_command(None, [name])
        arguments = [parameter for parameter in command.params if parameter.param_type_name == "argument"]
        options = [parameter for parameter in command.params if parameter.param_type_name == "option"]
        usage = " ".join(["memstack", name, *(_placeholder(argument) for argument in arguments)])
        examples = [line for line in (command.epilog or "").split("\n\n") if line.startswith("memstack")]
        shown = "\n".join(f"    {line}" for line in [usage, *examples])
        yield f"## {name}\n\n{shown}\n\n{_flowing(command.help)}"
        if arguments or options:
            yield "\n".join(["| | |", "|---|---|", *map(_line, [*arguments, *options])])


def _placeholder(argument: Any) -> str:
    return argument.name.upper() if argument.required else f"[{argument.name.upper()}]"


def _line(parameter: Any) -> str:
    names = parameter.opts if parameter.param_type_name == "option" else [parameter.name.upper()]
    default = parameter.default
    shown = default not in (None, False, [], ()) and not callable(default) and not parameter.required
    text = " ".join((parameter.help or "").split()).replace("|", "\\|")
    return f"| {', '.join(f'`{name}`' for name in names)} | {text}{f' Default: `{default}`.' if shown else ''} |"


def _flowing(text: str | None) -> str:
    paragraphs = (text or "").replace("\b", "").strip().split("\n\n")
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)
