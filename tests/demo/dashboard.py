"""The stack's dashboard as it is deployed, drawn from the metrics and alarms of the local AWS.

What CloudWatch's console would show is fetched as it does: GetDashboard, GetMetricData, DescribeAlarms. A widget, or a
property of one, that isn't known here is refused rather than left out of the picture.

Drawing needs matplotlib (requirements-dashboard.txt); reading and fetching don't.
"""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

LATEST = "${LAST}"
MEASURED_BY_AWS = {"AWS/SQS"}
"""Namespaces that have data without any run of a function; Lambda measures runs."""


class Unknown(Exception):
    """The dashboard has something that the picture wouldn't show."""


@dataclass(frozen=True)
class Line:
    """One entry of a widget's `metrics`."""

    metric: tuple[str, ...]
    """Namespace, name, and dimensions by turns; empty for what is computed."""
    expression: str
    id: str
    label: str
    color: str | None
    stat: str
    period: int
    visible: bool
    right: bool


@dataclass(frozen=True)
class Widget:
    kind: str
    """`text`, `alarm`, `timeSeries` or `singleValue`."""
    box: tuple[int, int, int, int]
    """x, y, width and height on the grid, which is 24 wide."""
    title: str = ""
    markdown: str = ""
    alarms: tuple[str, ...] = ()
    by_state: bool = False
    lines: tuple[Line, ...] = ()
    minimum: dict[str, float] = field(default_factory=dict, hash=False)


@dataclass(frozen=True)
class Series:
    line: Line
    moments: list[datetime]
    values: list[float]

    @property
    def label(self) -> str:
        """With the latest value in place of ${LAST}, as CloudWatch's dynamic labels have it."""
        return self.line.label.replace(LATEST, f"{self.values[-1]:.4g}" if self.values else "--")


# ---- reading ----


def read(body: str) -> list[Widget]:
    """The widgets of a dashboard's body."""
    document = json.loads(body)
    _only(document, {"widgets"}, "the dashboard")
    return [_widget(widget) for widget in document["widgets"]]


def _widget(given: dict[str, Any]) -> Widget:
    _only(given, {"type", "x", "y", "width", "height", "properties"}, "a widget")
    box = (given["x"], given["y"], given["width"], given["height"])
    properties = given["properties"]
    what = f"{given['type']} widget {properties.get('title', '')!r}"
    match given["type"]:
        case "text":
            _only(properties, {"markdown"}, what)
            return Widget("text", box, markdown=_plain(properties["markdown"]))
        case "alarm":
            _only(properties, {"title", "alarms", "sortBy"}, what)
            order = properties.get("sortBy", "default")
            if order not in ("default", "stateUpdatedTimestamp"):
                raise Unknown(f"{what}: sortBy {order}")
            names = tuple(arn.split(":alarm:", 1)[1] for arn in properties["alarms"])
            return Widget("alarm", box, properties["title"], alarms=names, by_state=order != "default")
        case "metric":
            return _metrics(properties, box, what)
    raise Unknown(f"{what}: its type")


def _metrics(properties: dict[str, Any], box: tuple[int, int, int, int], what: str) -> Widget:
    _only(properties, {"title", "view", "region", "stat", "period", "yAxis", "metrics"}, what)
    if properties["view"] not in ("timeSeries", "singleValue"):
        raise Unknown(f"{what}: view {properties['view']}")
    minimum = {}
    for side, axis in properties.get("yAxis", {}).items():
        _only(axis, {"min"}, f"{what}: yAxis")
        minimum[side] = axis["min"]
    lines = tuple(_line(entry, index, properties, what) for index, entry in enumerate(properties["metrics"]))
    return Widget(properties["view"], box, properties["title"], lines=lines, minimum=minimum)


def _line(entry: list[Any], index: int, properties: dict[str, Any], what: str) -> Line:
    options = entry[-1] if isinstance(entry[-1], dict) else {}
    _only(options, {"label", "color", "stat", "period", "yAxis", "id", "visible", "expression"}, what)
    metric = tuple(part for part in entry if isinstance(part, str))
    # `.` stands for the line above.
    if "." in metric or "..." in metric or len(metric) % 2:
        raise Unknown(f"{what}: the metric {metric}")
    label = options.get("label") or options.get("expression") or metric[1]
    if set(re.findall(r"\$\{[^}]*\}", label)) - {LATEST}:
        raise Unknown(f"{what}: the label {label}")
    return Line(
        metric=metric,
        expression=options.get("expression", ""),
        id=options.get("id", f"m{index}"),
        label=label,
        color=options.get("color"),
        stat=options.get("stat", properties["stat"]),
        period=options.get("period", properties["period"]),
        visible=options.get("visible", True),
        right=options.get("yAxis", "left") == "right",
    )


def _plain(markdown: str) -> str:
    """Headings and paragraphs; anything else of Markdown would be shown as it is written."""
    body = re.sub(r"^#+ ", "", markdown, flags=re.M)
    if found := re.search(r"[|*`\[\]<>]|^[-+] ", body, flags=re.M):
        raise Unknown(f"text widget: {found.group()!r} in {markdown!r}")
    return markdown


def _only(given: dict[str, Any], known: set[str], what: str) -> None:
    if unknown := given.keys() - known:
        raise Unknown(f"{what}: {', '.join(sorted(unknown))}")


def metrics_of(widgets: list[Widget]) -> list[tuple[str, ...]]:
    return [line.metric for widget in widgets for line in widget.lines if line.metric]


# ---- fetching ----


def fetch(cloudwatch: Any, widget: Widget, start: datetime, end: datetime) -> list[Series]:
    """The data of a widget's lines."""
    queries = []
    for line in widget.lines:
        query: dict[str, Any] = {"Id": line.id, "Label": line.label, "ReturnData": line.visible}
        if line.expression:
            query["Expression"] = line.expression
        else:
            namespace, name, *dimensions = line.metric
            query["MetricStat"] = {
                "Metric": {
                    "Namespace": namespace,
                    "MetricName": name,
                    "Dimensions": [
                        {"Name": key, "Value": value} for key, value in zip(dimensions[::2], dimensions[1::2], strict=True)
                    ],
                },
                "Period": line.period,
                "Stat": line.stat,
            }
        queries.append(query)
    answer = cloudwatch.get_metric_data(
        MetricDataQueries=queries, StartTime=start, EndTime=end, ScanBy="TimestampAscending"
    )
    found = {result["Id"]: result for result in answer["MetricDataResults"]}
    return [
        Series(line, found[line.id]["Timestamps"], found[line.id]["Values"]) for line in widget.lines if line.visible
    ]


def without_data(cloudwatch: Any, metrics: list[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """Those of the metrics that no run has written, but for those that only AWS measures."""
    pages = cloudwatch.get_paginator("list_metrics").paginate()
    known = {
        (metric["Namespace"], metric["MetricName"], *(part for d in metric["Dimensions"] for part in (d["Name"], d["Value"])))
        for page in pages
        for metric in page["Metrics"]
    }
    return [metric for metric in metrics if metric not in known and metric[0] not in MEASURED_BY_AWS]


def states(cloudwatch: Any, widget: Widget) -> list[tuple[str, str]]:
    """The widget's alarms with their states, in its order."""
    pages = cloudwatch.get_paginator("describe_alarms").paginate(AlarmNames=list(widget.alarms))
    alarms = {alarm["AlarmName"]: alarm for page in pages for alarm in page["MetricAlarms"]}
    if missing := set(widget.alarms) - alarms.keys():
        raise Unknown(f"the alarms {', '.join(sorted(missing))} aren't there")
    if not widget.by_state:
        return [(name, alarms[name]["StateValue"]) for name in sorted(alarms)]
    rank = {"ALARM": 0, "INSUFFICIENT_DATA": 1, "OK": 2}
    chosen = sorted(
        alarms.values(), key=lambda a: (rank[a["StateValue"]], -a["StateUpdatedTimestamp"].timestamp(), a["AlarmName"])
    )
    return [(alarm["AlarmName"], alarm["StateValue"]) for alarm in chosen]


# ---- drawing ----

UNIT = (0.43, 0.44)
"""Inches of the grid's unit: small enough that the letters can be read at the width of a page."""
GAP = 0.045
PAGE, CARD, FRAME, INK, FAINT = "#f2f3f3", "#ffffff", "#d5dbdb", "#16191f", "#687078"
STATES = {"ALARM": ("#d13212", "#fdf3f1", "In alarm"), "OK": ("#1d8102", "#f2f8f0", "OK")}
STATES["INSUFFICIENT_DATA"] = ("#687078", "#f4f4f4", "Insufficient data")


def draw(cloudwatch: Any, name: str, start: datetime, end: datetime, caption: str, path: Path) -> None:
    """Draw the dashboard `name` into `path`, whose ending says as what (svg, png)."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    # In an SVG, text stays text: smaller, and it can be read aloud and searched.
    matplotlib.rcParams |= {"font.size": 7.5, "font.family": "sans-serif", "svg.fonttype": "none", "svg.hashsalt": name}
    matplotlib.rcParams["text.color"] = INK
    widgets = read(cloudwatch.get_dashboard(DashboardName=name)["DashboardBody"])
    rows = max(y + height for _, y, _, height in (widget.box for widget in widgets))
    words = textwrap.wrap(caption, 150)
    margin = 0.17 * len(words) + 0.15
    width, height = 24 * UNIT[0], rows * UNIT[1] + margin
    figure = pyplot.figure(figsize=(width, height), facecolor=PAGE)
    figure.text(0.12 / width, 0.1 / height, "\n".join(words), color=FAINT, fontsize=7.5, va="bottom", linespacing=1.4)
    for widget in widgets:
        x, y, wide, high = widget.box
        place = Place(
            figure,
            x * UNIT[0] + GAP,
            height - (y + high) * UNIT[1] + GAP,
            wide * UNIT[0] - 2 * GAP,
            high * UNIT[1] - 2 * GAP,
        )
        match widget.kind:
            case "text":
                _draw_text(place, widget)
            case "alarm":
                _draw_alarms(place, widget, states(cloudwatch, widget))
            case "singleValue":
                _draw_values(place, widget, fetch(cloudwatch, widget, start, end))
            case "timeSeries":
                _draw_lines(place, widget, fetch(cloudwatch, widget, start, end), start, end)
    figure.savefig(path, dpi=150, facecolor=PAGE, metadata={"Date": None} if path.suffix == ".svg" else None)
    pyplot.close(figure)


@dataclass(frozen=True)
class Place:
    """A widget's card on the page, in inches."""

    figure: Any
    left: float
    bottom: float
    width: float
    height: float

    def card(self, title: str = "") -> Any:
        """Axes as large as the card, measured in inches from its upper left corner downwards."""
        axes = self.axes(0, 0, self.width, self.height)
        axes.set(xlim=(0, self.width), ylim=(self.height, 0), xticks=[], yticks=[], facecolor=CARD)
        for spine in axes.spines.values():
            spine.set(color=FRAME, linewidth=0.8)
        if title:
            axes.text(0.1, 0.18, title, fontsize=8.5, fontweight="bold", va="center")
        return axes

    def axes(self, left: float, top: float, width: float, height: float) -> Any:
        page = self.figure.get_size_inches()
        bottom = self.bottom + self.height - top - height
        return self.figure.add_axes(
            ((self.left + left) / page[0], bottom / page[1], width / page[0], height / page[1])
        )


def _draw_text(place: Place, widget: Widget) -> None:
    card = place.card()
    top = 0.2
    for line in widget.markdown.split("\n"):
        heading = line.startswith("#")
        size = 9 if heading else 7.5
        for part in _wrapped(line.lstrip("# "), place.width - 0.2, size):
            card.text(0.1, top, part, fontsize=size, fontweight="bold" if heading else "normal", va="center")
            top += 0.17
        top += 0.03


def _wrapped(words: str, width: float, size: float) -> Iterator[str]:
    """By the mean width of a letter, which is a bit more than half of its height."""
    yield from textwrap.wrap(words, int(width * 72 / (size * 0.56)))


def _draw_alarms(place: Place, widget: Widget, alarms: list[tuple[str, str]]) -> None:
    card = place.card(widget.title)
    columns, top = 3, 0.36
    rows = -(-len(alarms) // columns)
    wide, high = (place.width - 0.2) / columns, (place.height - top - 0.06) / rows
    for index, (name, state) in enumerate(alarms):
        row, column = divmod(index, columns)
        left, upper = 0.1 + column * wide, top + row * high
        strong, pale, words = STATES[state]
        card.fill_between([left + 0.02, left + wide - 0.02], upper + 0.015, upper + high - 0.015, color=pale, lw=0)
        card.fill_between([left + 0.02, left + 0.07], upper + 0.015, upper + high - 0.015, color=strong, lw=0)
        card.text(left + 0.11, upper + high * 0.33, name, fontsize=6.6, va="center", fontweight="bold" if state == "ALARM" else "normal")
        card.text(left + 0.11, upper + high * 0.72, words, fontsize=6, va="center", color=strong)


def _draw_values(place: Place, widget: Widget, series: list[Series]) -> None:
    card = place.card(widget.title)
    for index, one in enumerate(series):
        middle = place.width * (index + 0.5) / len(series)
        value = f"{one.values[-1]:.4g}" if one.values else "--"
        card.text(middle, 0.62, value, fontsize=20, ha="center", va="center")
        card.text(middle, 0.98, one.label, ha="center", va="center", color=FAINT)


def _draw_lines(
    place: Place, widget: Widget, series: list[Series], start: datetime, end: datetime
) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator, MultipleLocator

    card = place.card(widget.title)
    legend = 0.155 * len(series) + 0.08
    left = place.axes(0.4, 0.36, place.width - 0.8, place.height - 0.36 - 0.24 - legend)
    sides = {False: left}
    if any(one.line.right for one in series):
        sides[True] = left.twinx()
    # What has nothing to show lies below what has.
    for one in sorted(series, key=lambda one: max(one.values, default=0.0)):
        hours = [hours_since(start, moment) for moment in one.moments]
        sides[one.line.right].plot(
            hours, one.values, color=one.line.color, linewidth=1.3, marker="o", markersize=1.6, clip_on=False
        )
    for right, axes in sides.items():
        axes.yaxis.set_major_locator(MaxNLocator(4, integer=True, min_n_ticks=2))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
        low = widget.minimum.get("right" if right else "left")
        if low is not None:
            high = max((max(one.values) for one in series if one.line.right == right and one.values), default=0)
            axes.set_ylim(low, max(high * 1.12, low + 1))
        axes.tick_params(length=0, labelsize=6.5, labelcolor=FAINT)
        for spine in axes.spines.values():
            spine.set_visible(False)
        axes.set_facecolor("none")
    left.grid(axis="y", color="#eaeded", linewidth=0.7)
    left.set_xlim(0, hours_since(start, end))
    left.xaxis.set_major_locator(MultipleLocator(1))
    left.xaxis.set_major_formatter(FuncFormatter(lambda hour, _: f"{hour:.0f} h"))
    for index, one in enumerate(series):
        height = place.height - legend + 0.155 * index + 0.06
        card.fill_between([0.12, 0.24], height - 0.045, height + 0.045, color=one.line.color, lw=0)
        card.text(0.3, height, one.label, fontsize=7, va="center")


def hours_since(start: datetime, moment: datetime) -> float:
    return (moment - start) / timedelta(hours=1)
