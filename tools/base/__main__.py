# SPDX-License-Identifier: Apache-2.0
"""``python -m tools.base``: prepare, train, evaluate, write the model and its card. Start it again to go on."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch
from tokenizers import Tokenizer

from tools.base.card import publish
from tools.base.corpus import Mixture, encode, held_streams, read
from tools.base.own import HELD_EPOCH, generator
from tools.base.training import Plan, Run
from tools.base.wording import Vocabulary


def parser() -> argparse.ArgumentParser:
    """The command's arguments."""
    p = argparse.ArgumentParser(
        prog="python -m tools.base",
        description="Train the small chat model that ships with Ipse, going on from an earlier one. "
        "Killed and started again with the same arguments, it goes on where it was.",
    )
    p.add_argument("--corpora", type=Path, required=True, help="directory that holds dialogues.jsonl.xz")
    p.add_argument("--init", type=Path, required=True, help="Hugging Face directory to start from")
    p.add_argument("--out", type=Path, required=True, help="where the run and, in final/, the model are written")
    p.add_argument("--minutes", type=float, default=60.0, help="training time, restarts not counted (default 60)")
    p.add_argument("--threads", type=int, default=2, help="CPU threads (default 2)")
    p.add_argument(
        "--rate", type=float, default=1.0, help="highest learning rate, as a part of the full one (default 1)"
    )
    p.add_argument(
        "--blend", type=float, default=0.65, help="how far from --init to what training made of it (default 0.65)"
    )
    p.add_argument("--history", default="", help="how the model was made, for its card")
    p.add_argument("--seed", type=int, default=0, help="order of the data (default 0)")
    return p


def main(arguments: list[str] | None = None) -> int:
    """Run all stages; each one that is done is passed over."""
    a = parser().parse_args(arguments)
    tokenizer = Tokenizer.from_file(str(a.init / "tokenizer.json"))
    print("reading the corpora", flush=True)
    dialogues = list(read(a.corpora / "dialogues.jsonl.xz"))
    words = Vocabulary.of(dialogues)
    streams = held_streams(tokenizer, dialogues)
    own = generator(words, remember=400, chats=400)(HELD_EPOCH)
    for source in ("own-facts", "own-chat"):
        parts = encode(tokenizer, [d for d in own if d.source == source])
        streams[source] = torch.cat([torch.from_numpy(x.astype("int64")) for x in parts]).numpy().astype("uint16")
    mixture = Mixture.of(tokenizer, dialogues, generator(words), a.seed)
    run = Run(a.init, a.out / "run", Plan(minutes=a.minutes, threads=a.threads, peak=a.rate), mixture, a.seed)
    if run.place.step == 0:
        run.score(streams, None)
    run.train(streams)
    publish(a.init, a.out, dialogues, words, streams, a.blend, a.history)
    return 0


if __name__ == "__main__":
    sys.exit(main())
