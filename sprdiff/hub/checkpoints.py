"""What goes to the Hugging Face Hub, and that it arrives whole; through the Hub's own client.

An upload is one commit: a repository shows all of it or what it held before. What is refused, or cannot be
sent, ends in a ``HubError`` of one sentence.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from sprdiff.checkpoint.weights import CHECKPOINT_FILES, parse_hub_id
from sprdiff.errors import HubError, WeightsError

if TYPE_CHECKING:
    from huggingface_hub import CommitInfo, HfApi, SpaceHardware

    from sprdiff.pipeline import SPRDiffPipeline

Files = Mapping[str, Path | bytes]
"""Path in the repository to the file, or the bytes, that go there."""

_EXAMPLE = re.compile(r'(?<=from_pretrained\(")[^"]+(?="\))')


def checkpoint_files(folder: Path, target: str) -> dict[str, Path | bytes]:
    """The files of a checkpoint; the example in its model card loads ``target``.

    Args:
        folder: of the checkpoint; pickled weights and any other files in it are not uploaded.
        target: ``owner/name[@revision]`` that it will be found under.
    Raises:
        HubError: the model card is missing, or something that must be in it; see :func:`check_card`.
    """
    files: dict[str, Path | bytes] = {
        path.relative_to(folder).as_posix(): path
        for path in sorted(folder.rglob("*"))
        if path.is_file() and any(fnmatch(path.name, pattern) for pattern in CHECKPOINT_FILES)
    }
    if "README.md" not in files:
        raise HubError(f"{folder} has no model card (README.md).")
    card = (folder / "README.md").read_text(encoding="utf-8")
    check_card(card)
    files["README.md"] = _EXAMPLE.sub(target, card).encode()
    return files


def check_card(text: str) -> None:
    """Passes if a model card says what somebody who finds it on the Hub must know.

    Raises:
        HubError: names every field that is missing.
    """
    from huggingface_hub import ModelCard
    from yaml import YAMLError

    try:
        data = ModelCard(text).data
    except (ValueError, YAMLError) as error:
        raise HubError(f"The metadata of the model card (README.md) cannot be read: {error}") from error
    there = {
        **{name: data.get(name) for name in ("license", "library_name", "pipeline_tag", "datasets")},
        "the tag arxiv:": any(str(tag).startswith("arxiv:") for tag in data.get("tags", ())),
        "model-index": data.get("eval_results"),
        'an example with from_pretrained("...")': _EXAMPLE.search(text),
    }
    missing = [name for name, value in there.items() if not value]
    if missing:
        raise HubError(f"The model card (README.md) lacks {', '.join(missing)}.")


def check_repo_id(repo_id: str) -> None:
    """Passes if ``repo_id`` is ``owner/name`` by the rules of the Hub.

    Raises:
        HubError: it is not.
    """
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    if parse_hub_id(repo_id) != (repo_id, None):
        raise HubError(f"{repo_id!r} is no name of a repository: owner/name is.")
    try:
        validate_repo_id(repo_id)
    except HFValidationError as error:
        raise HubError(f"{repo_id!r} is no name of a repository: {error}") from error


def upload(
    files: Files,
    repo_id: str,
    *,
    repo_type: Literal["model", "space"] = "model",
    replaces: Sequence[str],
    message: str,
    private: bool = False,
    revision: str | None = None,
    hardware: SpaceHardware | None = None,
) -> CommitInfo:
    """The commit that put the files into the repository, which is made where it is missing.

    Args:
        replaces: patterns of what goes from the repository if it is not among the files.
        message: of the commit.
        private: make it visible to its owner only.
        revision: branch to commit to, made where it is missing; None for ``main``.
        hardware: of a Space; None leaves that of an existing one, and is the free one for a new one.
    Raises:
        HubError: the name is none, there is no token or it may not write, an existing repository is public
            against ``private``, the Hub refuses the files, or the connection failed.
    """
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, get_token

    check_repo_id(repo_id)
    if get_token() is None:
        raise HubError(
            "An upload needs a token with write access: `hf auth login`, or the variable HF_TOKEN."
        )
    api = HfApi()
    with _in_words(repo_id):
        # 1. The repository and the branch
        _prepare(api, repo_id, repo_type, private, hardware)
        if revision not in (None, "main"):
            api.create_branch(repo_id, branch=revision, repo_type=repo_type, exist_ok=True)

        # 2. One commit: upload_folder of the client may make several, and break off between them
        there = api.list_repo_files(repo_id, repo_type=repo_type, revision=revision)
        stale = [
            path
            for path in there
            if path not in files
            and path != ".gitattributes"  # which files are large ones; the Hub's own
            and any(fnmatch(path, pattern) for pattern in replaces)
        ]
        operations: list[Any] = [CommitOperationDelete(path) for path in stale]
        operations += [CommitOperationAdd(path, content) for path, content in files.items()]
        commit = api.create_commit(
            repo_id, operations, commit_message=message, repo_type=repo_type, revision=revision
        )

        # 3. The Hub may leave files out, by rules of its own
        arrived = api.list_repo_files(repo_id, repo_type=repo_type, revision=commit.oid)
    missing = sorted(set(files) - set(arrived))
    if missing:
        raise HubError(f"The Hugging Face Hub left out of {repo_id}: {', '.join(missing)}.")
    return commit


def try_out(pipeline: SPRDiffPipeline) -> int:
    """Bytes of the stream of a small picture, which was decoded again.

    Raises:
        WeightsError: what came out is no picture of its size.
        BitstreamError: the checkpoint cannot read what it wrote.
    """
    from PIL import Image

    image = Image.linear_gradient("L").resize((96, 64)).convert("RGB")
    data = pipeline.compress(image, quality=128)
    final = pipeline.decompress(data).final
    if final is None or final.size != image.size:
        raise WeightsError(f"A picture of {image.size} came back as {None if final is None else final.size}.")
    return len(data)


def describe(pipeline: SPRDiffPipeline, folder: Path) -> dict[str, Any]:
    """Fingerprint, bytes on disk, and for each part its class, parameters and bytes."""

    def num_bytes(path: Path) -> int:
        return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())

    parts = {
        name: {
            "class": type(part).__name__,
            "parameters": sum(each.numel() for each in getattr(part, "parameters", tuple)()),
            "num_bytes": num_bytes(folder / name),
        }
        for name, part in pipeline.components.items()
    }
    return {"fingerprint": pipeline.fingerprint, "num_bytes": num_bytes(folder), "parts": parts}


def _prepare(api: HfApi, repo_id: str, repo_type: str, private: bool, hardware: SpaceHardware | None) -> None:
    """Makes the repository, or checks that the one that exists is as it is wanted."""
    from huggingface_hub.errors import RepositoryNotFoundError

    try:
        info = api.repo_info(repo_id, repo_type=repo_type)
    except RepositoryNotFoundError:
        api.create_repo(
            repo_id,
            repo_type=repo_type,
            private=private or None,  # not False: None leaves the choice to the settings of an organization
            space_sdk="gradio" if repo_type == "space" else None,
            space_hardware=hardware,
        )
        return
    if private and not info.private:
        raise HubError(
            f"{repo_id} exists and is public: make it private in its settings, or leave out --private."
        )
    if hardware is not None:
        api.request_space_hardware(repo_id, hardware)


@contextlib.contextmanager
def _in_words(repo_id: str) -> Iterator[None]:
    """Turns what the client raises into one sentence."""
    import httpx2
    from huggingface_hub import errors

    try:
        yield
    except errors.OfflineModeIsEnabled as error:
        raise HubError("Nothing can be uploaded while HF_HUB_OFFLINE is set.") from error
    except errors.HfHubHTTPError as error:
        raise HubError(_refused(repo_id, error.response.status_code, error.server_message)) from error
    except (httpx2.TransportError, ConnectionError, TimeoutError) as error:
        raise HubError(
            "The Hugging Face Hub could not be reached, or the connection broke, before the upload to "
            f"{repo_id} was confirmed ({str(error) or type(error).__name__}): run the same command again."
        ) from error
    except (OSError, ValueError, RuntimeError) as error:
        # ValueError: the Hub found fault with the card. RuntimeError: its transfer of large files failed.
        raise HubError(f"The upload to {repo_id} failed: {error}") from error


def _refused(repo_id: str, status: int, message: str | None) -> str:
    if status == 401:
        return (
            f"The Hugging Face Hub does not take the token for {repo_id}: log in again with `hf auth login`, "
            "or set HF_TOKEN to one with write access."
        )
    if status == 403:
        owner = repo_id.partition("/")[0]
        return f"The token may not write to {repo_id}: it needs write access to what {owner} owns."
    said = f" ({message})" if message else ""
    return f"The Hugging Face Hub refused the upload to {repo_id} with HTTP status {status}{said}."
