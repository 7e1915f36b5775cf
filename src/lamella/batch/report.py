"""What the proof found: a verdict, and each place that mixes samples, in words."""

from __future__ import annotations

from dataclasses import dataclass, field
from html import escape

from lamella.core.errors import MixesSamplesError


@dataclass(frozen=True)
class Place:
    """A place in the code that mixes samples, or where that cannot be told.

    `primitive` is JAX's operation, `axis` the axis of its input that holds the samples, `layer` the path of the layer
    around it; `file`, `line` and `source` are the user's own, None and "" where the code is lamella's. `declared` says
    that the layer mixes on purpose, and why.
    """

    primitive: str
    sentence: str
    mend: str
    kind: str = "mixes"
    axis: int | None = None
    layer: str | None = None
    file: str | None = None
    line: int | None = None
    source: str = ""
    made_at: str | None = None
    declared: str = ""
    state: str | None = None

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}: {self.source}" if self.file else "in lamella's own code"
        lines = [where]
        if self.layer:
            lines.append(
                f"  in the layer {self.layer!r}, made at {self.made_at}" if self.made_at else f"  in {self.layer!r}"
            )
        lines.append(f"  {self.sentence}")
        if self.state:
            lines.append(f"  It is kept in the state {self.state!r}.")
        if self.declared:
            lines.append(f"  It mixes on purpose: {self.declared}")
        elif self.mend:
            lines.append(f"  Try: {self.mend}")
        return "\n".join(lines)


_VERDICTS = {
    "independent": "no sample's output depends on another sample",
    "mixes": "a sample's output depends on other samples",
    "unknown": "it cannot be told whether a sample's output depends on other samples",
}
_NOTES = {
    "noise": "Random numbers are drawn over the batch: they depend on its size and order, on no other sample.",
    "size": "The number of samples in the batch goes into the result, so a padded or split batch gives another one.",
    "order": "The place of a sample in the batch goes into its result, so a split batch gives another one.",
}


@dataclass(frozen=True)
class Report:
    """The answer of `check`.

    `verdict` is "independent", "mixes" or "unknown"; `places` tells why, one entry for each place. `uses` names what
    else of the batch goes into the result: its "size", the "order" of samples, "noise" drawn over it. `losses` says
    that layers add losses of the whole batch, `batch_size` that the proof is for this one size, which an input fixes.

    >>> from lamella.batch import check
    >>> report = check(lambda x: x - x.mean(), (5,))
    >>> report.verdict, report.places[0].primitive, report.places[0].axis
    ('mixes', 'reduce_sum', 0)
    """

    target: str
    verdict: str
    places: tuple[Place, ...] = ()
    uses: frozenset[str] = frozenset()
    losses: bool = field(default=False, repr=False)
    batch_size: int | None = None

    @property
    def independent(self) -> bool:
        """Whether samples are proven not to mix."""
        return self.verdict == "independent"

    @property
    def may_pad(self) -> bool:
        """Whether samples added at the end of the batch change nothing for those before them."""
        return self.independent and "size" not in self.uses and not self.losses and self.batch_size is None

    @property
    def may_split(self) -> bool:
        """Whether a batch taken in pieces gives the same results; noise is then drawn anew for each piece."""
        return self.may_pad and "order" not in self.uses

    def obstacles(self) -> list[str]:
        """Return what stands against taking the batch in pieces, in a few words each."""
        found = sorted({place.layer or place.source or place.primitive for place in self.places})
        reasons = [f"samples mix in {name}" for name in found]
        if self.losses:
            reasons.append("a layer adds a loss of the whole batch (add_loss, activity_regularizer)")
        if {"size", "order"} & self.uses and self.independent:
            reasons.append("the number or the order of samples goes into the result")
        return reasons

    def need(self, what: str, *, split: bool = False) -> None:
        """Raise with this report unless samples are proven not to mix; with `split`, unless a batch may be cut too."""
        if not self.independent or (split and not self.may_split):
            why = "; ".join(self.obstacles())
            raise MixesSamplesError(f"{what} needs samples that do not mix, but {why}.\n{self}")

    def _notes(self) -> list[str]:
        return [_NOTES[use] for use in ("noise", "size", "order") if use in self.uses] if self.independent else []

    def __str__(self) -> str:
        only = "" if self.batch_size is None else f" in batches of {self.batch_size}"
        head = f"{self.target}: {self.verdict}{only}, {_VERDICTS[self.verdict]}."
        places = ["\n".join(f"  {line}" for line in str(place).splitlines()) for place in self.places]
        notes = [f"  {note}" for note in self._notes()]
        if self.independent:
            notes.append("  Equality is up to the order in which floating-point numbers are added.")
        return "\n".join([head, *places, *notes])

    def _repr_html_(self) -> str:
        colour = {"independent": "#1a7f37", "mixes": "#b35900", "unknown": "#6e5494"}[self.verdict]
        head = (
            f'<p><b>{escape(self.target)}</b>: <b style="color:{colour}">{self.verdict}</b>, '
            f"{_VERDICTS[self.verdict]}.</p>"
        )
        places = "".join(f"<li><pre>{escape(str(place))}</pre></li>" for place in self.places)
        notes = "".join(f"<p>{escape(note)}</p>" for note in self._notes())
        return head + (f"<ul>{places}</ul>" if places else "") + notes


def explained(what: str, called: str, axis: int | None, detail: object) -> tuple[str, str]:
    """Return what happens in plain words, and what is usually meant in its place."""
    sentence, mend = _WORDS[what]
    place = "the batch" if axis in (None, 0) else f"axis {axis}, where the samples lie,"
    return sentence.format(called=called, place=place, detail=detail), mend


_WORDS = {
    "reduced": (
        "`{called}` makes one number of all samples: it goes over {place}.",
        "leave axis 0 out: axis=-1, or axis=tuple(range(1, x.ndim)) for one number a sample",
    ),
    "contracted": (
        "`{called}` multiplies and sums over {place}, as x.T @ x does.",
        "x @ kernel, or einsum('bi,bj->bij', x, x) for a product within each sample",
    ),
    "all pairs": (
        "`{called}` brings each sample together with each other one, as x @ x.T does.",
        "keep the batch in both: einsum('btd,bsd->bts', x, y), or x[:, 0] * y[:, 0]",
    ),
    "crossed": (
        "`{called}` takes two arrays whose samples lie along different axes. {detail}",
        "transpose one of them, so that the batch comes first in both",
    ),
    "fixed size": (
        "`{called}` writes the size of the batch into the code: {detail} is right for one batch size alone.",
        "x.reshape(x.shape[0], -1), or -1 for the batch",
    ),
    "folded": (
        "`{called}` folds the batch into another axis: the new shape {detail} has none that is the samples' own.",
        "x.reshape(x.shape[0], -1): keep axis 0",
    ),
    "reordered": (
        "`{called}` gives samples other places in the batch.",
        "axis=1, or another axis within the sample",
    ),
    "accumulated": (
        "`{called}` runs along {place}: each sample gets something of those before it.",
        "axis=1, or another axis within the sample",
    ),
    "joined": (
        "`{called}` puts other samples before or after those of the batch.",
        "axis=-1 to join features; pad axes within the sample",
    ),
    "chosen": (
        "`{called}` takes samples out of the batch by their number: x[0] is the first sample.",
        "x[:, 0] for the first step or feature of each sample; x[arange(batch), i] for an index of each sample's own",
    ),
    "chosen at run time": (
        "`{called}` takes samples by a number that is known only at run time.",
        "map over the samples: lamella.batch.per_sample(fn), or lax.map",
    ),
    "windowed": (
        "`{called}` slides a window along {place}.",
        "put the batch on axis 0 and windows on the axes after it",
    ),
    "transformed": (
        "`{called}` treats {place} as a part of each vector or matrix.",
        "keep the batch in front of the axes that it works on",
    ),
    "scattered": (
        "`{called}` writes several samples into one array.",
        "x.at[arange(batch), i].set(values), or one array for each sample",
    ),
    "carried": (
        "A loop over the batch carries something from one sample on to the next.",
        "loop over another axis, or carry nothing: lax.map",
    ),
    "looped": (
        "A loop over the batch looks at the whole batch in each of its steps.",
        "use what the loop gives: the one sample",
    ),
    "moved": (
        "The result does not have the batch as axis 0: samples lie along axis {detail} of it.",
        "transpose the result, so that the batch comes first",
    ),
    "merged": (
        "The result has the batch and another axis folded into one ({detail}): entry i is not sample i.",
        "x.reshape(batch, -1, ...) at the end",
    ),
    "adds loss": ("A loss of the whole batch is added.", ""),
    "one size": (
        "This line works for a batch of {detail} samples and fails for others: the size is written into the code.",
        "x.shape[0] in its place, or -1 in a reshape",
    ),
    "branches": (
        "Python branches on the size of the batch here, so a proof for all sizes cannot be had.",
        "ops.where or ops.cond in place of `if`",
    ),
    "grouped": ("`{called}` works on groups of channels among which the samples cannot be followed.", ""),
    "no rule": ("`{called}` is an operation that the proof has no rule for.", ""),
    "no end": ("A loop changes too much from step to step to be followed.", ""),
    "lost count": ("`{called}` changes the size of the axis in which the samples lie, in a way that is not known.", ""),
}
