# SPDX-License-Identifier: Apache-2.0
"""Two small parts of a record, and their bytes before sealing: what the owner thought, and how learning went."""

from __future__ import annotations

from ctypes import c_float
from dataclasses import asdict, dataclass, fields

from google.protobuf.message import DecodeError

from ipse.errors import InputError, VerificationError
from ipse.wire import record_pb2 as pb


@dataclass(frozen=True, slots=True, kw_only=True)
class Feedback:
    """The owner's judgement of a reply: a rating of -1, 0 or 1, or a better text, or both."""

    rating: int = 0
    edited_output: str = ""

    def __post_init__(self) -> None:
        if self.rating not in (-1, 0, 1):
            raise InputError(f"Expected a rating of -1, 0 or 1, got {self.rating}.")

    def to_bytes(self) -> bytes:
        """A FeedbackContent message. The text must be Unicode."""
        content = pb.FeedbackContent(rating=self.rating, edited_output=self.edited_output)
        return content.SerializeToString(deterministic=True)

    @classmethod
    def from_bytes(cls, data: bytes) -> Feedback:
        """Inverse of ``to_bytes``.

        Raises:
            VerificationError: the bytes are not of that form.
        """
        try:
            content = pb.FeedbackContent.FromString(data)
            return cls(rating=content.rating, edited_output=content.edited_output)
        except (DecodeError, InputError) as error:
            raise VerificationError("Its feedback is not of the form of a feedback.") from error


@dataclass(frozen=True, slots=True, kw_only=True)
class Metrics:
    """How one step of learning went. Floats are rounded to float32; 0 means: not measured.

    Attributes:
        loss_before: mean negative log-likelihood of a trained token, nats, before the update.
        loss_after: the same, after it.
        update_l2_norm: of the update really applied.
        trained_tokens, generate_ms, learn_ms: counts and durations.
    """

    loss_before: float = 0.0
    loss_after: float = 0.0
    update_l2_norm: float = 0.0
    trained_tokens: int = 0
    generate_ms: int = 0
    learn_ms: int = 0

    def __post_init__(self) -> None:
        for name in ("loss_before", "loss_after", "update_l2_norm"):
            object.__setattr__(self, name, c_float(getattr(self, name)).value)
        for name in ("trained_tokens", "generate_ms", "learn_ms"):
            object.__setattr__(self, name, max(0, min(int(getattr(self, name)), 2**32 - 1)))

    def to_bytes(self) -> bytes:
        """A MetricsContent message."""
        return pb.MetricsContent(**asdict(self)).SerializeToString(deterministic=True)

    @classmethod
    def from_bytes(cls, data: bytes) -> Metrics:
        """Inverse of ``to_bytes``.

        Raises:
            VerificationError: the bytes are not of that form.
        """
        try:
            content = pb.MetricsContent.FromString(data)
        except DecodeError as error:
            raise VerificationError("Its metrics are not of the form of metrics.") from error
        return cls(**{field.name: getattr(content, field.name) for field in fields(cls)})
