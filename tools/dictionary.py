# SPDX-License-Identifier: Apache-2.0
"""Makes the zstd dictionary with which short texts are compressed (src/ipse/wire/compress.py).

A dictionary holds pieces of the text that it was trained on, and goes to everybody. So it is trained on none that
somebody said: on conversations that the shipped base makes up, on the project's generators (tools/base/own.py), whose
words here are those of the general set, and on that general set. The base has learned stock phrases of its corpora by
heart. ``--apart-from FILE`` (dialogues as tools/base reads them; may be given several times) leaves out every text
that has ``RUN`` words in a row in common with them; so was the shipped dictionary made. Texts with a telephone number
or an address are left out always.

    python tools/dictionary.py out/dictionary1.zdict --apart-from dialogues.jsonl.xz

It takes three minutes of one core and draws from a fixed seed. Another processor or another torch may round
otherwise and draw another text: the file that ships is kept, not made again. Once shipped it never changes; a better
one gets another number and another mark.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from hashlib import sha256
from pathlib import Path

import torch
import zstandard

sys.path.append(str(Path(__file__).resolve().parents[1]))  # run as a program, it must find tools.base

from ipse.learning.general import GENERAL
from ipse.learning.natural import own_speech
from ipse.model.base import Base, load_base
from tools.base import own
from tools.base.corpus import read
from tools.base.wording import Vocabulary

DICTIONARY_BYTES = 64 * 1024
CONVERSATIONS, TOKENS = 2048, 192
REMEMBERED, CHATS = 100, 500
RUN = 8
"""So many words in a row are taken for somebody's own."""

_REACHES_SOMEBODY = re.compile(r"\d{3}\W{0,2}\d{4}|@|www")
"""Telephone numbers and addresses: a base may have learned those by heart too, in fewer words than ``RUN``."""

_SEGMENT, _MATCH = 50, 6
"""Of the trainer's cover algorithm: bytes of a piece, and of what counts as found again. Best of those tried."""


def made_up(base: Base) -> list[str]:
    """What the base says by itself, turn by turn."""
    tokenizer, texts = base.tokenizer, []
    for example in own_speech(base, CONVERSATIONS, tokens=TOKENS):
        piece: list[int] = []
        for token in example.tokens:
            text = tokenizer.decode([token])
            if text:
                piece.append(token)
                continue
            texts.append(tokenizer.decode(piece).strip())  # a special token ends a turn
            piece = []
    return [text for text in texts if text]


def generated() -> list[str]:
    """Turns of the generators, and the general set."""
    pairs = [text for pair in GENERAL for text in pair]
    words = sorted({word for text in pairs for word in re.findall(r"[a-z]{3,9}", text)})
    dialogues = own.generator(Vocabulary(words, pairs), REMEMBERED, CHATS)(0)
    return pairs + [text for dialogue in dialogues for _, text in dialogue.turns]


def runs(text: str) -> Iterator[int]:
    """Every ``RUN`` words in a row of a text, hashed; case and punctuation do not count."""
    words = re.findall(r"[a-z0-9']+", text.lower())
    for start in range(len(words) - RUN + 1):
        yield hash(tuple(words[start : start + RUN]))


def apart_from(texts: Sequence[str], others: Iterable[Path]) -> list[str]:
    """The texts that have no run in common with these dialogues, and nobody's number or address."""
    ours = {run for text in texts for run in runs(text)}
    theirs = {run for path in others for d in read(path) for _, text in d.turns for run in runs(text) if run in ours}
    return [text for text in texts if theirs.isdisjoint(runs(text)) and not _REACHES_SOMEBODY.search(text)]


def main() -> int:
    """Make it, and say its digest."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="file to write")
    parser.add_argument("--apart-from", type=Path, action="append", default=[], metavar="FILE")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    drawn = made_up(load_base(None))
    kept = apart_from(drawn + generated(), arguments.apart_from)
    samples: list[bytes | bytearray | memoryview[int]] = [text.encode() for text in kept]
    print(f"{len(drawn)} turns made up; {len(kept)} texts of {sum(map(len, samples))} bytes kept")
    made = zstandard.train_dictionary(DICTIONARY_BYTES, samples, k=_SEGMENT, d=_MATCH, dict_id=1).as_bytes()
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_bytes(made)
    print(f"{arguments.out.name}: {len(made)} bytes, SHA-256 {sha256(made).hexdigest()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
