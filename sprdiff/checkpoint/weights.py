"""Where a checkpoint comes from: a folder, or the Hugging Face Hub. ``sprdiff.hub`` is the way back there.

A checkpoint is a folder in the layout of diffusers: ``model_index.json`` names the parts, each part is a
sub-folder with ``config.json`` and ``*.safetensors``. Pickled weights are neither downloaded nor accepted,
because loading a pickle can run any code.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

from sprdiff.checkpoint.bundled import bundled
from sprdiff.errors import WeightsError

if TYPE_CHECKING:
    from huggingface_hub.errors import HfHubHTTPError
    from tqdm import tqdm

    from sprdiff.types import OnBytes  # it needs Pillow, which --help does not wait for

MODEL_VARIABLE = "SPRDIFF_MODEL"
"""Environment variable with the folder or ``owner/name[@revision]`` to use where none is given."""

CHECKPOINT_FILES = ("*.json", "*.safetensors", "*.md", "*.yaml")
"""Patterns of the files that make a checkpoint; others are neither downloaded nor uploaded."""

_INDEX_NAME = "model_index.json"
_PICKLE_SUFFIXES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_HUB_ID = re.compile(r"([A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)(?:@([^\s@]+))?")


class HubOptions(TypedDict, total=False):
    """How the Hub is used, as ``huggingface_hub.snapshot_download`` has it.

    Attributes:
        cache_dir: folder of the cache; that of huggingface_hub by default.
        token: to read with; True and None for the one of ``hf auth login``, False for none.
        local_files_only: ask the cache alone.
        force_download: fetch also what the cache has.
    """

    cache_dir: str | os.PathLike | None
    token: str | bool | None
    local_files_only: bool
    force_download: bool


def embedded_checkpoint() -> Path:
    """The folder of the checkpoint that comes with the project; it need not exist."""
    return bundled("checkpoints/sprdiff-tiny")


def default_checkpoint() -> str | Path:
    """What the environment variable ``SPRDIFF_MODEL`` names, else the folder of the embedded checkpoint."""
    return os.environ.get(MODEL_VARIABLE, "").strip() or embedded_checkpoint()


def parse_hub_id(text: str) -> tuple[str, str | None] | None:
    """Repository and revision of ``owner/name[@revision]``; None where ``text`` is nothing like it."""
    match = _HUB_ID.fullmatch(text)
    return None if match is None else (match[1], match[2])


def resolve(
    folder_or_id: str | Path,
    revision: str | None = None,
    *,
    on_bytes: OnBytes | None = None,
    **options: Unpack[HubOptions],
) -> Path:
    """The local folder of a checkpoint, downloaded from the Hub first where it is not on this machine.

    Downloads go through the cache of huggingface_hub: what is there is not fetched again, and with no
    network, or with ``HF_HUB_OFFLINE=1``, the cache alone answers.

    Args:
        folder_or_id: a folder with ``model_index.json``, or ``owner/name`` or ``owner/name@revision`` for a
            repository on the Hub. A folder that exists wins.
        revision: branch, tag or commit on the Hub, if ``folder_or_id`` names none; None for the newest commit
            of ``main``.
        on_bytes: told how far a download is.
        options: of the Hub; a local folder makes no use of them.
    Raises:
        WeightsError: there is no such folder or repository, it holds no checkpoint or one with pickled
            weights only, it can be neither reached nor found in the cache, or a revision is given twice.
    """
    wanted = str(folder_or_id)
    known = locate(folder_or_id)
    if isinstance(known, Path):
        if revision is not None:
            raise WeightsError(
                f"A revision ({revision}) can be given for a Hub id only, and {wanted} is a local folder."
            )
        return known
    repo_id, named_revision = known
    if revision is not None and named_revision is not None:
        raise WeightsError(f"{wanted} names its revision, and {revision} is given as another one.")
    folder = download(repo_id, named_revision or revision, on_bytes=on_bytes, **options)
    _check_layout(folder, wanted)
    return folder


def locate(folder_or_id: str | Path) -> Path | tuple[str, str | None]:
    """The folder of a local checkpoint, or repository and revision of one on the Hub; downloads nothing.

    Raises:
        WeightsError: it is neither, or the folder holds no whole checkpoint with safetensors weights.
    """
    wanted = str(folder_or_id)
    folder = Path(wanted).expanduser()
    if folder.is_dir():
        _check_layout(folder, wanted)
        return folder
    if folder.exists():
        raise WeightsError(f"A checkpoint is a folder with {_INDEX_NAME}, and {wanted} is a file.")
    known = None if isinstance(folder_or_id, Path) else parse_hub_id(wanted)
    if known is None:
        raise WeightsError(
            f"There is no folder {wanted!r}, and that is no Hugging Face Hub id (owner/name or "
            "owner/name@revision) either."
        )
    return known


def download(
    repo_id: str,
    revision: str | None,
    files: Iterable[str] = CHECKPOINT_FILES,
    *,
    on_bytes: OnBytes | None = None,
    **options: Unpack[HubOptions],
) -> Path:
    """The snapshot of a Hub repository in the local cache, complete as far as ``files`` go.

    Args:
        files: patterns of the files that are wanted.
        on_bytes: told how far the download is, by several threads; not where the cache has all of it.
        options: of the Hub.
    Raises:
        WeightsError: it can be neither reached nor found in the cache, or the cache cannot be written, which
            a cache that is complete need not be.
    """
    # Imported here because the embedded checkpoint and `--help` should not wait for it.
    import httpx2
    from huggingface_hub import HfApi, constants, errors, snapshot_download

    named = repo_id if revision is None else f"{repo_id} at revision {revision}"
    fetch = partial(snapshot_download, repo_id, revision=revision, allow_patterns=list(files), **options)
    try:
        as_asked = options.get("local_files_only") or options.get("force_download")
        if _COMMIT.fullmatch(revision or "") and not as_asked:
            # A commit never changes, so the cache is as good as the Hub. The question after it fails at once
            # without a network, where listing the files of a commit is tried again for 20 seconds.
            try:
                return Path(fetch(local_files_only=True))
            except errors.LocalEntryNotFoundError:
                HfApi(token=options.get("token")).model_info(repo_id, revision=revision)
        if on_bytes is not None:
            fetch = partial(fetch, tqdm_class=_byte_bar(on_bytes, _missing_bytes(fetch)))
        return Path(fetch())
    except errors.HFValidationError as error:
        raise WeightsError(
            f"There is no folder {repo_id!r}, and the Hugging Face Hub does not take it as an id: {error}"
        ) from error
    except errors.GatedRepoError as error:
        raise WeightsError(
            f"The Hugging Face Hub gives {repo_id} only to accounts that accepted its terms: accept them on "
            "its page, then log in with `hf auth login`."
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise WeightsError(
            f"There is no folder {repo_id!r} here, and no repository of that name on the Hugging Face Hub "
            "that you may read."
        ) from error
    except errors.RevisionNotFoundError as error:
        raise WeightsError(f"The repository {repo_id} has no revision {revision or 'main'}.") from error
    except errors.HfHubHTTPError as error:
        raise WeightsError(_answered(named, error)) from error
    except (errors.LocalEntryNotFoundError, httpx2.TransportError, ConnectionError, TimeoutError) as error:
        # The client turns an error of the server into "not in the cache"; the cause tells them apart.
        if isinstance(error.__cause__, errors.HfHubHTTPError):
            raise WeightsError(_answered(named, error.__cause__)) from error
        if options.get("local_files_only"):
            raise WeightsError(
                f"The weights of {named} are not, or not all, in the local cache, and local_files_only "
                "forbids to fetch them."
            ) from error
        raise WeightsError(
            f"The weights of {named} are not, or not all, in the local cache and the Hugging Face Hub cannot "
            "be reached: connect to the network once, or use the embedded checkpoint "
            f"({embedded_checkpoint().name})."
        ) from error
    except OSError as error:
        cache = options.get("cache_dir") or constants.HF_HUB_CACHE
        raise WeightsError(
            f"The weights of {named} could not be fetched and stored in the cache {cache}: {error}. The "
            "variable HF_HOME names another place for it."
        ) from error
    except (ValueError, RuntimeError) as error:
        # ValueError: the client refuses a listing with names that lead out of the cache folder. RuntimeError:
        # the client's transfer of large files (hf_xet) failed.
        raise WeightsError(f"The weights of {named} could not be fetched and stored: {error}") from error


def _missing_bytes(fetch: Callable[..., Any]) -> int:
    """Bytes of the files that ``fetch``, a bound ``snapshot_download``, would bring; 0 without a network."""
    from huggingface_hub.errors import DryRunError
    from tqdm import tqdm

    try:
        files = fetch(dry_run=True, tqdm_class=partial(tqdm, disable=True))
    except DryRunError:
        return 0  # the download itself will ask the cache, or say why it cannot be had
    return sum(file.file_size or 0 for file in files if file.will_download)


def _byte_bar(on_bytes: OnBytes, total: int) -> type[tqdm]:
    """The client's progress bar, which also tells ``on_bytes`` what has arrived of ``total`` bytes."""
    from huggingface_hub.utils import tqdm

    arrived = 0

    class ByteBar(tqdm):
        """One of three: files, bytes from the network, bytes written; of the latter the larger counts."""

        def __init__(self, *args: Any, **options: Any) -> None:
            self._received = 0  # tqdm counts nothing where it draws nothing, as outside of a terminal
            self._counts_bytes = options.get("unit") == "B"
            super().__init__(*args, **options)

        def update(self, n: float | None = 1) -> bool | None:
            nonlocal arrived
            with self.get_lock():  # every thread that downloads a file comes here
                self._received += int(n or 0)
                if self._counts_bytes and arrived < self._received <= total:
                    arrived = self._received
                    on_bytes(arrived, total)
            return super().update(n)

    return ByteBar


def _answered(named: str, error: HfHubHTTPError) -> str:
    status = getattr(error.response, "status_code", "unknown")
    hint = ": log in with an account that may read it (`hf auth login`, or the variable HF_TOKEN)"
    return (
        f"The weights of {named} cannot be had, the Hugging Face Hub answered with HTTP status {status}"
        f"{hint if status in (401, 403) else ''}."
    )


def _check_layout(folder: Path, wanted: str) -> None:
    """Raises where ``folder`` is no checkpoint with safetensors weights; ``wanted`` names it to the user."""
    index_file = folder / _INDEX_NAME
    if not index_file.is_file():
        raise WeightsError(f"{wanted} is not a checkpoint: it has no {_INDEX_NAME}.")
    try:
        index = json.loads(index_file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise WeightsError(f"{wanted} is not a checkpoint: its {_INDEX_NAME} is not valid JSON.") from error
    if not isinstance(index, dict):
        raise WeightsError(f"{wanted} is not a checkpoint: its {_INDEX_NAME} is not a JSON object.")
    for part, value in index.items():
        # A part is [library, class]; both are null where an optional part is left out.
        if isinstance(value, list) and len(value) == 2 and value[0] is not None:
            _check_part(folder, part, wanted)


def _check_part(folder: Path, part: str, wanted: str) -> None:
    if not re.fullmatch(r"[A-Za-z]\w*", part):
        raise WeightsError(f"{wanted} is not a checkpoint: {part!r} in its {_INDEX_NAME} cannot be a part.")
    part_folder = folder / part
    if not part_folder.is_dir():
        raise WeightsError(f"{wanted} is not a whole checkpoint: it has no part {part!r}.")
    files = sorted(file.name for file in part_folder.iterdir())
    if any(name.endswith(".safetensors") for name in files):
        return
    pickles = [name for name in files if name.endswith(_PICKLE_SUFFIXES)]
    # A part with config.json is a network and has weights; schedulers and the like have other files.
    if pickles or "config.json" in files:
        found = f" ({', '.join(pickles)})" if pickles else ""
        raise WeightsError(
            f"The part {part!r} of {wanted} has no safetensors weights; pickled ones{found} are refused, "
            "because loading a pickle can run any code."
        )
