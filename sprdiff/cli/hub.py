"""The commands for the Hugging Face Hub: ``hub push | check | space``."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal

import typer

from sprdiff.checkpoint.weights import CHECKPOINT_FILES, resolve
from sprdiff.cli import console, texts
from sprdiff.cli.options import HELP_NAMES, Json, command, load_pipeline
from sprdiff.hub.checkpoints import check_repo_id, checkpoint_files, describe, try_out, upload

hub = typer.Typer(
    help="Checkpoints, and the page as a Space, on the Hugging Face Hub.",
    context_settings=HELP_NAMES,
    no_args_is_help=True,
)

Repository = Annotated[str, typer.Argument(metavar="OWNER/NAME")]


@hub.command(context_settings=HELP_NAMES)
@command
def push(
    folder: Annotated[Path, typer.Argument(help="Of the checkpoint, with its model card.")],
    repo_id: Repository,
    private: Annotated[bool, typer.Option("--private", help="Visible to its owner only.")] = False,
    revision: Annotated[
        str | None, typer.Option(help="Branch to push to, made where it is missing; main by default.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Check a checkpoint and its model card, and upload them in one commit; one that it replaces goes."""
    check_repo_id(repo_id)
    target = repo_id if revision in (None, "main") else f"{repo_id}@{revision}"
    resolve(folder)
    files = checkpoint_files(folder, target)
    with console.progress_bar() as progress:
        fingerprint = load_pipeline(str(folder), progress).fingerprint
    commit = upload(
        files,
        repo_id,
        replaces=CHECKPOINT_FILES,
        message=f"Checkpoint {fingerprint[:12]}",
        private=private,
        revision=revision,
    )
    record = {
        "repository": repo_id,
        "revision": revision or "main",
        "commit": commit.oid,
        "url": commit.commit_url,
        "fingerprint": fingerprint,
        "files": len(files),
    }
    text = f"{len(files)} files are in {target}, commit {commit.oid}: {commit.commit_url}"
    console.show(record, text, as_json=as_json)


@hub.command(context_settings=HELP_NAMES)
@command
def check(
    model: Annotated[str, typer.Argument(metavar="OWNER/NAME[@REVISION]", help="Or a folder.")],
    as_json: Json = False,
) -> None:
    """Download a checkpoint, load it, code a small picture with it, and say what it is."""
    with console.progress_bar() as progress:
        progress(0.0, "Downloading")
        folder = resolve(model)
        pipeline = load_pipeline(str(folder), progress)
        stream_bytes = try_out(pipeline)
        record = {"model": model} | describe(pipeline, folder) | {"stream_bytes": stream_bytes}
    if not Path(model).is_dir():
        record["commit"] = folder.name  # the cache names snapshots so
    lines = [
        f"{key}: {record[key]}" for key in ("model", "commit", "fingerprint", "num_bytes") if key in record
    ]
    lines += [
        "{:20} {:22} {:>11,} parameters {:>11,} bytes".format(name, *part.values())
        for name, part in record["parts"].items()
    ]
    lines.append(f"A small picture became {stream_bytes} bytes and a picture again.")
    console.show(record, "\n".join(lines), as_json=as_json)


@hub.command(context_settings=HELP_NAMES)
@command
def space(
    repo_id: Repository,
    hardware: Annotated[
        Literal["cpu-basic", "cpu-upgrade", "zero-a10g"] | None,
        typer.Option(
            help="zero-a10g is ZeroGPU. By default files for a CPU are sent, a new Space gets cpu-basic, and "
            "an old one keeps its hardware."
        ),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="List the files and say how large files and image are, and upload nothing."
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Make or update a Space that serves the page, from this git checkout; what else it held goes."""
    from huggingface_hub import SpaceHardware

    from sprdiff.hub.image_size import installed_size
    from sprdiff.hub.space import ZERO_GPU, space_files

    check_repo_id(repo_id)
    files = space_files(hardware=hardware)
    sizes = {
        path: len(content) if isinstance(content, bytes) else content.stat().st_size
        for path, content in sorted(files.items())
    }
    record = {"repository": repo_id, "files": sizes, "num_bytes": sum(sizes.values())}
    total = f"{len(sizes)} files, {record['num_bytes']:,} bytes"
    if dry_run:
        requirements = files["requirements.txt"]
        text = requirements.decode() if isinstance(requirements, bytes) else requirements.read_text()
        image = installed_size(text, cuda=hardware == ZERO_GPU)
        record["image"] = asdict(image)
        lines = [f"{size:>11,}  {path}" for path, size in sizes.items()]
        lines.append(texts.image_size(image))
        console.show(record, "\n".join([*lines, f"{total}; nothing was uploaded"]), as_json=as_json)
        return
    commit = upload(
        files,
        repo_id,
        repo_type="space",
        replaces=("*",),
        message="The page of SPRDiff",
        hardware=None if hardware is None else SpaceHardware(hardware),
    )
    record |= {"commit": commit.oid, "url": commit.repo_url}
    console.show(record, f"{total} are in {commit.repo_url}, which the Hub builds now.", as_json=as_json)
