"""The device description: everything UAIR knows about a target, as data.

One TOML file per target lies beside this module (`ascend310.toml`); a plug-in brings its own. The classes below are the
schema: a key of the file is a field here, and docs/add-a-target.md explains them by example. A fact is as sure as its
source (`[sources]`) unless it carries a `confidence` of its own; what no vendor document or measurement settles is
`confidence = "uncertain"` and stays marked in every verdict and manifest.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any, Literal, TypeVar, cast

import attrs

from uair.context import Context, lookup
from uair.errors import UairError
from uair.ir.dtype import DType
from uair.ir.layout import IMAGE_LAYOUTS, MATRIX_LAYOUTS, Layout
from uair.ops.base import Operator
from uair.quant.scheme import Scheme, WeightScheme
from uair.targets.constraint import Constraint, parse_constraint
from uair.targets.errors import DescriptionError, DescriptionFileError
from uair.targets.interface import Interface
from uair.targets.schema import Document, LayeredDocument, structure
from uair.targets.units import CostModel, PlanModel, Unit
from uair.targets.verdict import Confidence, Source, Support

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

SCHEMA = 1
"""Version of the schema; a file states the one that it follows."""

MAX_BYTES = 4 * 1024 * 1024
"""No description comes near this size; a larger file is refused before it is parsed."""

MAX_BASES = 4
"""A description that extends one that extends one ... stops here."""

Names = tuple[str, ...]


@attrs.frozen
class Toolchain:
    """The vendor's tool that turns an artifact into what the device loads.

    Attributes:
        name: e.g. "CANN ATC".
        checked: versions that the description was checked with, oldest first.
        command: the program that UAIR's build script runs.
        driver: least version of the driver or firmware that runs the result; empty when not known.
        soc_version: what the tool calls the chip.
        python: versions of Python that the tool runs on, e.g. "3.11"; empty for a tool that is not in Python.
        source: key in `sources`.
        confidence: when it differs from the source's.
    """

    name: str
    checked: Names = ()
    command: str = ""
    driver: str = ""
    soc_version: str = ""
    python: str = ""
    source: str = ""
    confidence: Confidence | None = None


@attrs.frozen
class Onnx:
    """The ONNX that the vendor's importer takes.

    Attributes:
        opset: operator set to emit.
        ir_version: file format version to emit.
        oldest: oldest operator set that it reads.
        newest: newest operator set that it reads.
        operators: the vendor's list of ONNX operator types, when there is one: what is not in it is refused.
        source: key in `sources`, for the list and the versions.
    """

    opset: int
    ir_version: int
    oldest: int = 0
    newest: int = 0
    operators: Names | None = None
    source: str = ""


@attrs.frozen
class DTypes:
    """Element types.

    Attributes:
        accepted: those a model may hold; a node with any other is unsupported.
        computed: those the device computes in; the toolchain converts to them.
        float: the one it computes floats in unless told otherwise.
    """

    accepted: tuple[DType, ...]
    computed: tuple[DType, ...]
    float: DType


@attrs.frozen
class Quantization:
    """INT8 on the target.

    Attributes:
        scheme: element types, granularity, limits and placement, which the quantization pass follows.
        form: how the artifact states it: Quantize/Dequantize pairs ("qdq"), the vendor's own operators ("ascend"), a
            file of ranges beside a float model ("ranges"), or a float model and the samples, from which the vendor's
            tool quantizes by itself ("calibration").
        requantization: how the device turns accumulators into the next tensor: a float multiplier, an f16 multiplier,
            an integer multiplier with a shift, or a shift.
        least_cosine: parts of a model stay float until every output has at least this cosine similarity with the float
            model's, for targets that mix both; 0: everything that can be is quantized.
        wide: whether single nodes may have activations of 16 bits (i16, symmetric; weights keep 8).
        weights: weights of few bits that it computes with in floating point; None: it does not.
        few_bits: why weights of other numbers of bits are refused, for the error.
        source: key in `sources`.
        confidence: when it differs from the source's.
    """

    scheme: Scheme
    form: Literal["qdq", "ascend", "ranges", "calibration"] = "qdq"
    requantization: Literal["float", "f16", "fixed_point", "shift"] = "float"
    least_cosine: float = 0.0
    wide: bool = False
    weights: WeightScheme | None = None
    few_bits: str = ""
    source: str = ""
    confidence: Confidence | None = None


@attrs.frozen
class Memory:
    """One memory level.

    Attributes:
        name: the vendor's word: "UB", "L1", "DRAM".
        bytes: size; None when it depends on the board.
        per: whether every core has one.
        bandwidth: bytes per second; None when not known.
        bytes_per_cycle: transfer rate per core and clock cycle; None when not known.
        alignment: addresses are multiples of this many bytes.
        source: key in `sources`.
        confidence: when it differs from the source's.
    """

    name: str
    bytes: int | None = None
    per: Literal["core", "chip", "board"] = "chip"
    bandwidth: float | None = None
    bytes_per_cycle: float | None = None
    alignment: int = 1
    source: str = ""
    confidence: Confidence | None = None


@attrs.frozen
class Compute:
    """Arithmetic units.

    Attributes:
        cores: units that work in parallel on one model.
        clock: in Hz.
        peak: tera-operations per second of the whole chip by element type; a multiply-add counts as two.
        vector_cores: separate vector units.
        watts: typical power.
        source: key in `sources`.
        confidence: when it differs from the source's.
    """

    cores: int
    clock: float = 0.0
    peak: Mapping[DType, float] = attrs.field(factory=dict[DType, float])
    vector_cores: int = 0
    watts: float | None = None
    source: str = ""
    confidence: Confidence | None = None


@attrs.frozen
class Alignment:
    """What sizes and addresses should be multiples of.

    Attributes:
        bytes: transfers and rows.
        channels: by element type the number of channels that the arithmetic units take at a time; padding a tensor's
            channels up to it costs no time.
        source: key in `sources`.
    """

    bytes: int
    channels: Mapping[DType, int] = attrs.field(factory=dict[DType, int])
    source: str = ""


@attrs.frozen
class Transfer:
    """The instruction that copies between memory levels: several blocks of one length, with gaps between them.

    Attributes:
        unit: bytes in which lengths and gaps count.
        longest: greatest length of a block in units.
        blocks: most blocks of one transfer.
        gap: greatest gap between blocks in units.
        exact: greatest length in bytes of a block that may end at any byte; None: blocks are whole units.
        source: key in `sources`.
        confidence: when it differs from the source's.
    """

    unit: int
    longest: int = 0
    blocks: int = 0
    gap: int = 0
    exact: int | None = None
    source: str = ""
    confidence: Confidence | None = None


@attrs.frozen
class BlockedLayout:
    """A storage format of the device (see uair.ir.layout).

    Attributes:
        name: e.g. "NC1HWC0"; of activations and matrices one that uair.ir.layout knows.
        holds: which tensors lie so.
        c0: block of the channel axis by element type; empty for a format without blocks.
        source: key in `sources`.
        confidence: when it differs from the source's.
    """

    name: str
    holds: Literal["activations", "weights", "matrices", "interface"]
    c0: Mapping[DType, int] = attrs.field(factory=dict[DType, int])
    source: str = ""
    confidence: Confidence | None = None


@attrs.frozen
class DriverQuery:
    """How a running system tells the version of the device's driver.

    Attributes:
        pattern: regular expression that finds it in the text; its group `version` is the version.
        command: a program and its arguments, whose output is the text.
        file: a file that is the text; it is read before the command is run.
    """

    pattern: str
    command: Names = ()
    file: str = ""


@attrs.frozen
class Detection:
    """How the device is recognised on a running system.

    Attributes:
        pci: "vendor:device" ids in hex; the vendor's alone where the device's is not known.
        device_tree: strings of /proc/device-tree/compatible.
        device_files: paths that exist when the driver is loaded.
        tools: programs that list devices.
        machine: `platform.machine()` values that the target runs on by itself (CPU targets).
        cpuinfo: beginnings of lines of /proc/cpuinfo, written `key: value`, one of which the CPU has.
        driver: how the version of the driver is read.
        source: key in `sources`.
        confidence: when it differs from the source's.
    """

    pci: Names = ()
    device_tree: Names = ()
    device_files: Names = ()
    tools: Names = ()
    machine: Names = ()
    cpuinfo: Names = ()
    driver: DriverQuery | None = None
    source: str = ""
    confidence: Confidence | None = None

    def in_cpuinfo(self, text: str) -> bool:
        """Whether the content of /proc/cpuinfo is that of such a CPU; False when the description names no line."""
        pairs = (line.partition(":") for line in text.splitlines())
        lines = {f"{key.strip()}: {value.strip()}" for key, separator, value in pairs if separator}
        return any(line.startswith(wanted) for wanted in self.cpuinfo for line in lines)


@attrs.frozen
class Kubernetes:
    """How a cluster offers the device.

    Attributes:
        resource: name in `resources.limits`.
        source: key in `sources`.
        confidence: when it differs from the source's.
    """

    resource: str = ""
    source: str = ""
    confidence: Confidence | None = None


@attrs.frozen
class ConstraintEntry:
    """A condition on a node.

    Attributes:
        require: an expression (docs/constraint-language.md).
        otherwise: the verdict when it is false.
        suggestion: what to do then.
        source: key in `sources`; the operator entry's when empty.
        confidence: when it differs from the source's.
        reason: why, when the expression does not speak for itself.
        stays: whether the node stays on the accelerator when `otherwise` is "partial".
    """

    require: str
    otherwise: Support = Support.UNSUPPORTED
    suggestion: str = ""
    source: str = ""
    confidence: Confidence | None = None
    reason: str = ""
    stays: bool = False


@attrs.frozen
class OperatorEntry:
    """What the target does with some operators.

    Attributes:
        names: canonical operators.
        support: the verdict when every constraint holds; None: what the vendor's ONNX list says.
        constraints: conditions; the one with the worst outcome decides.
        source: key in `sources`.
        confidence: when it differs from the source's.
        reason: why it is not supported.
        suggestion: what would help.
        prefer: "whole": the operator is given to the vendor as it is. "decomposed": it is decomposed first; with
            `support`, because the vendor's tool recognises the decomposed form and makes one operator of it; without,
            because the vendor takes the parts only, even though its list names the operator. "kept": as "whole", and
            never decomposed, because the parts would be less exact than the vendor's own kernel off the accelerator.
        stays: whether the node stays on the accelerator when `support` is "partial".
        rewrites: rules of uair.passes.rewrites, by name, that make other operators of a node that does not stay on the
            accelerator as it is; the first that fits and helps is applied.
    """

    names: Names
    support: Support | None = None
    constraints: tuple[ConstraintEntry, ...] = ()
    source: str = ""
    confidence: Confidence | None = None
    reason: str = ""
    suggestion: str = ""
    prefer: Literal["whole", "decomposed", "kept"] = "whole"
    stays: bool = False
    rewrites: Names = ()


@attrs.frozen
class OperatorConstraint:
    """A constraint bound to one operator: parsed, type-checked, its source looked up.

    Attributes:
        entry: as written.
        constraint: the checked expression.
        source: where it comes from.
        confidence: how sure it is.
    """

    entry: ConstraintEntry
    constraint: Constraint
    source: Source | None
    confidence: Confidence


@attrs.frozen
class OperatorSupport:
    """What the target does with one operator.

    Attributes:
        entry: as written, shared by the operators of the entry.
        constraints: its constraints, checked for this operator.
        source: where it comes from.
        confidence: how sure it is.
    """

    entry: OperatorEntry
    constraints: tuple[OperatorConstraint, ...]
    source: Source | None
    confidence: Confidence


@attrs.frozen
class DeviceDescription:
    """A device description file.

    Attributes:
        schema: version of the schema.
        name: the target's name.
        title: for people.
        vendor: who makes it.
        soc: the chip.
        summary: what UAIR writes for it, one line.
        extends: the description that this one starts from: the name of one that comes with UAIR, or a path relative to
            this file. Tables are merged key by key, an `[[operator]]` entry takes the place of the other file's entries
            for the same operators, any other array is replaced whole.
        unlisted: the verdict about operators that no entry and no list names.
        static_shapes: whether every extent must be a number.
        max_rank: greatest rank of a tensor; 0: no limit known.
        experimental: whether no vendor tool has ever accepted an artifact.
        notes: what else a user must know.
        sources: documents and measurements by key.
        toolchain, dtypes, compute, alignment, onnx, quantization, memory, transfer, layouts, detection, kubernetes,
            unit, cost, plan, interface: see the classes.
        general: conditions on every operator whose entry says "supported", in names that all operators have.
        operator: the entries of the operator table.
        operators: the operator table by canonical name (derived from `operator`).
        file: where it was read from (derived).
        table: the file's content as plain data (derived).
    """

    schema: int
    name: str
    title: str
    vendor: str
    soc: str
    summary: str
    unlisted: Support
    static_shapes: bool
    sources: Mapping[str, Source]
    toolchain: Toolchain
    dtypes: DTypes
    compute: Compute
    alignment: Alignment
    extends: str = ""
    max_rank: int = 0
    experimental: bool = False
    notes: Names = ()
    onnx: Onnx | None = None
    quantization: Quantization | None = None
    memory: tuple[Memory, ...] = ()
    transfer: Transfer | None = None
    layouts: tuple[BlockedLayout, ...] = ()
    detection: Detection = Detection()
    kubernetes: Kubernetes = Kubernetes()
    unit: tuple[Unit, ...] = ()
    cost: CostModel = CostModel()
    plan: PlanModel = PlanModel()
    interface: Interface = Interface()
    general: tuple[ConstraintEntry, ...] = ()
    operator: tuple[OperatorEntry, ...] = ()
    operators: Mapping[str, OperatorSupport] = attrs.field(
        factory=dict[str, OperatorSupport], metadata={"derived": True}
    )
    file: str = attrs.field(default="", metadata={"derived": True})
    table: Mapping[str, Any] = attrs.field(factory=dict[str, Any], metadata={"derived": True}, repr=False)

    def to_json(self) -> dict[str, Any]:
        """Plain data: the file's content."""
        return dict(self.table)

    def source(self, key: str) -> Source | None:
        """The source of a key; None for the empty one."""
        return self.sources[key] if key else None

    @property
    def has_plan(self) -> bool:
        """Whether enough is known of the device to plan for it: units, or memory."""
        return bool(self.memory or self.unit)

    def memory_level(self, name: str) -> Memory:
        """The memory level of that name.

        Raises:
            UnknownNameError: there is none.
        """
        found: Memory = lookup({m.name: m for m in self.memory}, name, f"memory level of {self.name}")
        return found

    def channel_block(self, dtype: DType) -> int:
        """C0 of activations of an element type; 1 when they are not blocked."""
        return next((x.c0[dtype] for x in self.layouts if x.holds == "activations" and dtype in x.c0), 1)

    def device_type(self, dtype: DType) -> DType:
        """The element type that values are held in: floats in the narrower type that the device computes in."""
        computed = self.dtypes.float
        return computed if dtype.is_float and computed.bits < dtype.bits else dtype

    def image_layout(self, dtype: DType) -> Layout | None:
        """The layout of [N, C, H, W] with elements that the device holds as `dtype`; None when the file has none."""
        for entry in self.layouts:
            if entry.holds == "activations" and (dtype in entry.c0 or not entry.c0):
                return IMAGE_LAYOUTS[entry.name](entry.c0.get(dtype, 1))
        return None

    def matrix_layout(self, dtype: DType, rank: int) -> Layout | None:
        """The layout of matrices [..., H, W] with elements that the device holds as `dtype`; None when it has none."""
        for entry in self.layouts:
            if entry.holds == "matrices" and dtype in entry.c0 and rank >= 2:
                return MATRIX_LAYOUTS[entry.name](entry.c0[dtype], rank)
        return None

    @property
    def emits_float(self) -> bool:
        """Whether a quantized model is written as a float one, with ranges or samples beside it."""
        return self.quantization is not None and self.quantization.form in ("ranges", "calibration")

    @functools.cached_property
    def rewrites(self) -> frozenset[str]:
        """Names of all rewrites that the operator table asks for."""
        return frozenset(name for entry in self.operator for name in entry.rewrites)

    @functools.cached_property
    def onnx_operators(self) -> frozenset[str] | None:
        """The vendor's list as a set; None when there is no list."""
        return None if self.onnx is None or self.onnx.operators is None else frozenset(self.onnx.operators)


def description_names() -> list[str]:
    """Names of the descriptions that come with UAIR."""
    files = (entry.name for entry in resources.files("uair.targets").iterdir())
    return sorted(name[: -len(".toml")] for name in files if name.endswith(".toml"))


def load_description(
    target: str | os.PathLike[str], *, operators: Mapping[str, type[Operator]] | None = None
) -> DeviceDescription:
    """Read, check and return a device description.

    Args:
        target: the name of a target whose file comes with UAIR, or the path of a `.toml` file.
        operators: the operator classes that constraints are checked against; by default UAIR's and those of plug-ins.

    Raises:
        UnknownNameError: no target has that name; the hint lists near matches.
        DescriptionFileError: the file cannot be read or is not TOML.
        DescriptionError: it does not follow the schema.
        ConstraintSyntaxError, ConstraintTypeError: a constraint is wrong.
    """
    path = _path_of(target)
    document, table = _layered(path)
    description = structure(DeviceDescription, table, document)
    known = Context.default().operators if operators is None else operators
    checked = _Checker(description, document, known)
    checked.check_document()
    return attrs.evolve(description, operators=checked.operators(), file=path.name, table=table)


def _path_of(target: str | os.PathLike[str]) -> Path:
    if not isinstance(target, str) or target.endswith(".toml") or os.sep in target:
        return Path(target)
    folder = Path(str(resources.files("uair.targets")))
    lookup(dict.fromkeys(description_names()), target, "device description")
    return folder / f"{target}.toml"


def _layered(path: Path, extended_by: Names = ()) -> tuple[Document, dict[str, Any]]:
    """A file's content, merged over that of the file which it extends."""
    document, table = _read(path)
    base_name = table.get("extends")
    if not isinstance(base_name, str) or not base_name:
        return document, table
    chain = (*extended_by, str(path))
    try:
        base_path = _path_of(path.parent / base_name if base_name.endswith(".toml") else base_name)
        if str(base_path) in chain or len(chain) > MAX_BASES:
            raise DescriptionError(
                f"{base_name!r} extends this file in turn, or the chain has more than {MAX_BASES} files",
                hint="extend a file that stands on its own",
            )
        base, under = _layered(base_path, chain)
    except UairError as error:
        error.place = error.place or document.place(("extends",))
        raise
    return _merged(document, table, base, under)


def _merged(
    document: Document, table: dict[str, Any], base: Document, under: dict[str, Any]
) -> tuple[LayeredDocument, dict[str, Any]]:
    """`table` over `under`."""
    merged = _over(under, table)
    own: list[Any] = table["operator"] if isinstance(table.get("operator"), list) else []
    given = {
        name for entry in own if isinstance(entry, dict) for name in cast("dict[str, Any]", entry).get("names", ())
    }
    entries: list[Any] = []
    rows: list[tuple[Document | None, int]] = []
    for i, entry in enumerate(cast("list[dict[str, Any]]", under.get("operator", []))):
        if left := [name for name in entry["names"] if name not in given]:
            entries.append({**entry, "names": left})
            rows.append((base, i))
    rows += [(None, i) for i in range(len(own))]
    if rows:
        merged["operator"] = entries + own
    return LayeredDocument(document.file, document.text, table, base, {"operator": tuple(rows)}), merged


def _over(under: Mapping[str, Any], table: Mapping[str, Any]) -> dict[str, Any]:
    """Tables merged key by key, the second one's values first."""
    result = dict(under)
    for key, value in table.items():
        known = result.get(key)
        if isinstance(known, dict) and isinstance(value, dict):
            result[key] = _over(cast("dict[str, Any]", known), cast("dict[str, Any]", value))
        else:
            result[key] = value
    return result


def _read(path: Path) -> tuple[Document, dict[str, Any]]:
    try:
        with open(path, "rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise DescriptionFileError(
            f"device description {path} cannot be read: {error.strerror}", hint="check the path and its permissions"
        ) from None
    if len(raw) > MAX_BYTES:
        raise DescriptionFileError(
            f"device description {path} has more than {MAX_BYTES} bytes", hint="is it a device description?"
        )
    try:
        text = raw.decode()
        return Document(str(path), text), _parsed(text)
    except UnicodeDecodeError as error:
        raise DescriptionFileError(
            f"device description {path} is not UTF-8 text (byte {error.start})", hint="save it as UTF-8"
        ) from None
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise DescriptionFileError(
            f"device description is not TOML: {error}", place=str(path), hint="correct the line (https://toml.io)"
        ) from None


@functools.lru_cache(maxsize=256)
def _parsed(text: str) -> dict[str, Any]:
    """The tables of a TOML text, which nobody may change: a family's files all extend the same one."""
    return tomllib.loads(text)


ErrorT = TypeVar("ErrorT", bound=UairError)


@attrs.define
class _Checker:
    """The checks that go beyond the types of single values."""

    description: DeviceDescription
    document: Document
    known: Mapping[str, type[Operator]]

    def check_document(self) -> None:
        """Version, keys of sources, operator names outside the operator table."""
        description = self.description
        if description.schema != SCHEMA:
            message = f"schema is {description.schema}, this UAIR reads {SCHEMA}"
            raise self._fault(message, ("schema",), "update the file, or UAIR")
        for key in (
            "toolchain",
            "onnx",
            "quantization",
            "compute",
            "alignment",
            "detection",
            "kubernetes",
            "cost",
            "plan",
            "interface",
        ):
            part = getattr(description, key)
            if part is not None:
                self._check_source(part.source, (key, "source"))
        for key in ("memory", "layouts", "unit"):
            for i, part in enumerate(getattr(description, key)):
                self._check_source(part.source, (key, i, "source"))
        self._check_layouts(description)
        self._check_cost(description)
        if description.quantization is not None:
            for key in ("operators", "per_channel", "pass_through", "fused", "fused_to_convolution"):
                for name in getattr(description.quantization.scheme, key):
                    self._operator(name, ("quantization", "scheme", key))
            self._check_weights(description.quantization.weights)

    def _check_weights(self, weights: WeightScheme | None) -> None:
        """Source and operators of weights of few bits."""
        if weights is not None:
            self._check_source(weights.source, ("quantization", "weights", "source"))
            for name in weights.operators:
                self._operator(name, ("quantization", "weights", "operators"))

    def _check_layouts(self, description: DeviceDescription) -> None:
        """Names of layouts that are computed with; those of weights and of the interface are for people."""
        for i, entry in enumerate(description.layouts):
            known = {"activations": IMAGE_LAYOUTS, "matrices": MATRIX_LAYOUTS}.get(entry.holds)
            if known is not None and entry.name not in known:
                hint = f"layouts of {entry.holds} are: {', '.join(known)}"
                raise self._fault(f"there is no layout {entry.name!r}", ("layouts", i, "name"), hint)

    def _check_cost(self, description: DeviceDescription) -> None:
        """Names in the cost model, and numbers that are divided by."""
        cost = description.cost
        if cost.memory and cost.memory not in (known := [m.name for m in description.memory]):
            hint = f"levels are: {', '.join(known) or 'none'}"
            raise self._fault(f"there is no memory level {cost.memory!r}", ("cost", "memory"), hint)
        for name in cost.epilogue:
            self._operator(name, ("cost", "epilogue"))
        for i, each in enumerate(cost.epilogues):
            for name in (*each.of, *each.before, *(name for stage in each.stages for name in stage)):
                self._operator(name, ("cost", "epilogues", i))
        for name in description.plan.levels:
            if name not in (known := [m.name for m in description.memory]):
                hint = f"levels are: {', '.join(known) or 'none'}"
                raise self._fault(f"there is no memory level {name!r}", ("plan",), hint)
        pages = description.plan.pages
        if description.plan.buffers < 1 or (pages is not None and pages.bytes < 1):
            raise self._fault(
                "a plan needs at least one buffer, and pages of at least one byte", ("plan",), "leave it out"
            )
        for i, unit in enumerate(description.unit):
            counts = [*unit.inputs.values(), *unit.outputs.values(), *unit.leaving.values()]
            if min([unit.rows, unit.row_alignment, *counts]) < 1:
                raise self._fault("what a unit takes per cycle must be at least 1", ("unit", i), "leave it out")

    def operators(self) -> dict[str, OperatorSupport]:
        """The operator table by name."""
        table: dict[str, OperatorSupport] = {}
        for i, entry in enumerate(self.description.operator):
            path = ("operator", i)
            self._check_source(entry.source, (*path, "source"))
            if entry.support is None and self.description.onnx_operators is None:
                raise self._fault(
                    "support is not given, and there is no list of ONNX operators that would say",
                    path,
                    'add support = "supported" (or partial, unknown, unsupported)',
                )
            for name in entry.names:
                if name in table:
                    raise self._fault(f"operator {name} has a second entry", (*path, "names"), "keep one of them")
                table[name] = self._support(entry, self._operator(name, (*path, "names")), path)
        return table

    def _support(self, entry: OperatorEntry, cls: type[Operator], path: tuple[str | int, ...]) -> OperatorSupport:
        source = self.description.source(entry.source)
        own = confidence_of(entry.confidence, source)
        stated = [((*path, "constraints", j), each) for j, each in enumerate(entry.constraints)]
        if entry.support is Support.SUPPORTED:
            stated += [(("general", j), each) for j, each in enumerate(self.description.general)]
        constraints = tuple(self._constraint(each, cls, entry, place) for place, each in stated)
        return OperatorSupport(entry, constraints, source, own)

    def _constraint(
        self, each: ConstraintEntry, cls: type[Operator], entry: OperatorEntry, place: tuple[str | int, ...]
    ) -> OperatorConstraint:
        """A condition bound to an operator; without a source of its own it has that of the operator's entry."""
        self._check_source(each.source, (*place, "source"))
        source = self.description.source(each.source) or self.description.source(entry.source)
        confidence = confidence_of(each.confidence or (None if each.source else entry.confidence), source)
        try:
            constraint = parse_constraint(each.require).check(cls)
        except UairError as error:
            raise self._placed(error, (*place, "require")) from None
        return OperatorConstraint(each, constraint, source, confidence)

    def _operator(self, name: str, path: tuple[str | int, ...]) -> type[Operator]:
        try:
            return cast("type[Operator]", lookup(self.known, name, "operator"))
        except UairError as error:
            raise self._fault(error.message, path, error.hint) from None

    def _check_source(self, key: str, path: tuple[str | int, ...]) -> None:
        if key and key not in self.description.sources:
            known = ", ".join(self.description.sources) or "none"
            raise self._fault(f"source {key!r} is not in [sources]", path, f"sources are: {known}")

    def _fault(self, message: str, path: tuple[str | int, ...], hint: str) -> DescriptionError:
        return DescriptionError(message, place=self.document.place(path), hint=hint)

    def _placed(self, error: ErrorT, path: tuple[str | int, ...]) -> ErrorT:
        error.place = self.document.place(path)
        return error


def confidence_of(stated: Confidence | None, source: Source | None) -> Confidence:
    """A fact's own confidence, or its source's; a fact without a source is uncertain."""
    return stated or (source.confidence if source is not None else Confidence.UNCERTAIN)
