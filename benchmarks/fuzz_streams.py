"""``python benchmarks/fuzz_streams.py --count 100000``: each stream gives a picture or a ``BitstreamError``.

Streams of a pipeline of tiny random parts are changed at random, and most of them sealed again with a
right checksum, so that the changes reach the entropy decoder. Each is read down to its symbols; those
that are accepted are decoded to both pictures. What it covers: header, bounds, entropy coder and the
order of its passes, the same code as with trained weights; not the size of the networks, nor declared
sizes above ``MAX_PIXELS``. Ends with 1 at the first stream that ends in anything else or takes longer
than ``SECONDS``, and names its number; a crash or a hang ends the process as well, between the last
thousand that it told of and the next. Stream N is the same in every run of a seed: ``--first N`` goes on
where one was stopped, or looks at one stream with ``--count 1``.
"""

from __future__ import annotations

import argparse
import faulthandler
import random
import re
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

SECONDS = 20.0
"""Of one stream, on a machine that does other things as well; a quiet one takes milliseconds."""
MAX_PIXELS = 2**18
"""What the pipeline takes: work on larger declared sizes is the same code for longer."""


def seeds(pipeline) -> list[tuple[int, int, int, bytes]]:
    """Quality, width, height and payload of streams that an encoder made."""
    from conftest import make_photo

    from sprdiff import bitstream

    fingerprint = bytes.fromhex(pipeline.fingerprint)
    found = []
    for quality, size in ((0, (16, 16)), (60, (64, 64)), (120, (70, 40)), (200, (130, 66)), (255, (64, 128))):
        header, payload = bitstream.unpack(pipeline.compress(make_photo(*size), quality=quality), fingerprint)
        found.append((header.quality, header.width, header.height, payload))
    return found


def mutate(rng: random.Random, payload: bytes, other: bytes) -> bytes:
    """``payload`` with one change of a random kind."""
    data = bytearray(payload)
    at = rng.randrange(len(data) + 1)
    length = rng.choice((1, 2, 4, 8, 16, 60, 64, 200))
    filling = rng.choice(
        (bytes(length), b"\xff" * length, rng.randbytes(length), b"\xfe" + b"\xff" * (length - 1))
    )
    kind = rng.randrange(8)
    if kind == 0 and data:
        data[at % len(data)] ^= 1 << rng.randrange(8)
    elif kind == 1 and data:
        data[at % len(data)] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))
    elif kind == 2:
        data[at : at + length] = filling
    elif kind == 3:
        data[at:at] = filling
    elif kind == 4:
        del data[at : at + length]
    elif kind == 5:
        del data[at - at % 4 :]
    elif kind == 6:
        data[at:] = other[at:]
    else:
        data += filling * rng.choice((1, 1, 1, 50))
    return bytes(data)


def stream(number: int, seed: int, originals: list[tuple[int, int, int, bytes]], fingerprint: bytes) -> bytes:
    """The stream ``number``, the same for the same arguments."""
    from sprdiff import bitstream

    rng = random.Random(f"{seed}-{number}")
    quality, width, height, payload = rng.choice(originals)
    for _ in range(rng.randint(0, 4)):
        payload = mutate(rng, payload, rng.choice(originals)[3])
    if rng.random() < 0.9:  # Of other lengths it is refused at once.
        payload = payload[: len(payload) // 4 * 4]
    if rng.random() < 0.3:
        quality = rng.randrange(256)
    if rng.random() < 0.2:
        width = rng.choice((1, 16, 63, 64, 65, 128, 500, 2000, 16383))
    if rng.random() < 0.2:
        height = rng.choice((1, 16, 63, 64, 65, 128, 500, 2000, 3906))
    data = bitstream.pack(quality, width, height, payload, fingerprint)
    if rng.random() < 0.1:  # Header and all, and mostly sealed again.
        body = bytearray(mutate(rng, data[:-3], data))
        data = bytes(body) + (
            bitstream._checksum(bytes(body), fingerprint) if rng.random() < 0.8 else data[-3:]
        )
    return data


def fuzz(
    count: int, seed: int, first: int = 0, say: Callable[[int, Counter[str]], None] | None = None
) -> Counter[str]:
    """How many of ``count`` streams ended in a picture, and in which errors, by their words.

    Args:
        first: the number of the first stream.
        say: called after every thousand, with how many are done and how they ended.
    Raises:
        AssertionError: one ended in another way, or took too long; names its number.
    """
    from tiny import small_pipeline

    from sprdiff.errors import BitstreamError

    pipeline = small_pipeline()
    pipeline.max_pixels = MAX_PIXELS
    originals, fingerprint = seeds(pipeline), bytes.fromhex(pipeline.fingerprint)
    ends: Counter[str] = Counter()
    for done, number in enumerate(range(first, first + count), 1):
        data = stream(number, seed, originals, fingerprint)
        start = time.perf_counter()
        try:
            info = pipeline.inspect(data)
            decoded = pipeline.decompress(data)
            assert decoded.final.size == decoded.coarse.size == (info.width, info.height)
            ends["a picture"] += 1
        except BitstreamError as error:
            ends[" ".join(re.sub(r"\w*\d\w*", "N", str(error)).split()[:12])] += 1
        except Exception as error:
            raise AssertionError(f"stream {number} of seed {seed} ended in {error!r}") from error
        seconds = time.perf_counter() - start
        assert seconds < SECONDS, f"stream {number} of seed {seed} took {seconds:.1f} s"
        if say and done % 1000 == 0:
            say(done, ends)
    return ends


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="number of the first stream")
    arguments = parser.parse_args()
    import torch

    torch.set_num_threads(1)
    start = time.perf_counter()

    def say(done: int, ends: Counter[str]) -> None:
        # A crash prints where it was; a hang ends the process the same way. This says between which streams.
        faulthandler.dump_traceback_later(1000 * SECONDS, exit=True)
        print(
            f"{done} streams, to number {arguments.first + done - 1}, {ends['a picture']} pictures, "
            f"{time.perf_counter() - start:.0f} s",
            file=sys.stderr,
            flush=True,
        )

    faulthandler.enable()
    faulthandler.dump_traceback_later(1000 * SECONDS, exit=True)
    ends = fuzz(arguments.count, arguments.seed, arguments.first, say)
    for end, number in ends.most_common():
        print(f"{number:8} {end}")
    print(
        f"{ends.total():8} streams from number {arguments.first} in {time.perf_counter() - start:.0f} s, "
        f"seed {arguments.seed}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
