"""What stands on a report's page, in words of its language and in the order in which it is read.

A document of `accounting.document` in; out comes a `Page`, which a template lays out: the shipped one, or a site's own.
The names of its fields are what a site's template relies on (docs/reports.md).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from zoneinfo import ZoneInfo

from accounting.budgets import Standing
from accounting.document import NEARLY_ALL, Adjustment, Comparison, Document
from accounting.sections import Point
from accounting.statement import water_l
from scarbon import __version__
from scarbon.pages import tables
from scarbon.pages.charts import Chart, Value, chart
from scarbon.pages.languages import Language
from scarbon.pages.words import factor_word, kind_word, method_word, source_words, title
from scarbon.reports.printed import ENERGY_J, MASS_G, WATER_L
from site_config.tables import Equivalent, equivalents

_HARDLY_ANY = 0.0005  # a change smaller than this share is none as printed


@dataclass(frozen=True)
class Fact:
    """A figure with its name; `note` says more, `kind` is the factor (pue, location, market) whose source it has."""

    label: str
    value: str
    note: str = ""
    kind: str = ""


@dataclass(frozen=True)
class Source:
    """A numbered source of a factor or a figure."""

    number: int
    kind: str
    label: str
    text: str


@dataclass(frozen=True)
class BudgetLine:
    """A budget in words; `used` is the share of it that is used, 0 … 1 and above."""

    account: str
    text: str
    expected: str
    used: float | None
    over: bool  # it is used up, or will be at this pace


@dataclass(frozen=True)
class Page:
    """A document in a language. Each part is made when the template asks for it."""

    document: Document
    language: Language
    footer: str | None = None
    logo: str | None = None  # a data URI

    @property
    def title(self) -> str:
        """What the page is: energy and emissions by account."""
        return title(self.language, self.document.by)

    @property
    def site(self) -> str:
        """The site's name."""
        return self.document.site

    @property
    def period(self) -> str:
        """October 2026."""
        return self.language.period(self.document.period)

    @property
    def scope(self) -> tuple[Fact, ...]:
        """What the report is of: days, clusters, and the accounts and users that it was narrowed to."""
        document, language = self.document, self.language
        chosen = document.chosen
        days = language.days(document.period.first_day, document.period.last_day)
        return (
            Fact(language.text("Days"), f"{days} ({document.timezone})"),
            Fact(
                language.text("Cluster") if len(document.clusters) == 1 else language.text("Clusters"),
                ", ".join(document.clusters),
            ),
            *(
                Fact(label, ", ".join(names))
                for label, names in (
                    (language.text("Only accounts"), chosen.accounts),
                    (language.text("Only users"), chosen.users),
                )
                if names
            ),
        )

    @property
    def empty(self) -> bool:
        """Whether no job used anything, nothing was idle or adjusted: there is nothing to divide."""
        return self.document.unused and not self.document.adjustments

    @property
    def total(self) -> Fact:
        """The emissions of the period, location-based; where they are unknown, the energy."""
        document, language = self.document, self.language
        sums = document.total
        if self.empty:
            return Fact(language.text("IT energy"), language.text("none"))
        if sums.co2e_location_g is None:
            return Fact(language.text("IT energy"), language.energy(sums.it_energy_j))
        notes = []
        if sums.co2e_low_g is not None and sums.co2e_high_g is not None:
            low, high = language.mass(sums.co2e_low_g), language.mass(sums.co2e_high_g)
            notes.append(language.text("95%% interval: %(low)s to %(high)s", low=low, high=high))
        if document.intensity_g_per_kwh is not None:
            notes.append(self._intensity(document.intensity_g_per_kwh))
        label = language.text("Emissions from electricity, location-based")
        return Fact(label, self._emissions(sums.co2e_location_g), " · ".join(notes), "location")

    @cached_property
    def comparisons(self) -> tuple[Fact, ...]:
        """The period before and the same one a year earlier, as far as the books have them."""
        language, document = self.language, self.document
        found = []
        for comparison, label in (
            (document.before, language.text("Period before")),
            (document.year_before, language.text("A year earlier")),
        ):
            if comparison is not None:
                found.append(self._compared(label, comparison))
        return tuple(found)

    @property
    def facts(self) -> tuple[Fact, ...]:
        """The other totals."""
        document, language, sums = self.document, self.language, self.document.total
        if self.empty:
            return ()
        facts = [
            Fact(
                language.text("Energy at the facility"),
                language.energy(sums.facility_energy_j),
                self._it_energy(),
                "pue",
            ),
            Fact(
                language.text("Emissions, market-based"),
                self._emissions(sums.co2e_market_g),
                self._by_contracts(),
                "market",
            ),
            Fact(
                language.text("Embodied emissions"),
                self._emissions(sums.co2e_embodied_g),
                language.text("share of making the hardware; counted apart"),
            ),
            Fact(language.text("Jobs"), language.number(sums.jobs), self._gpu_time(sums.gpu_seconds / 3600)),
        ]
        if sums.coverage is not None:
            note = language.text("of the GPU time, by the GPUs’ own meters")
            facts.append(Fact(language.text("Measured"), language.share(sums.coverage), note))
        if document.wue_l_per_kwh is not None:
            litres = language.quantity(water_l(sums.it_energy_j, document.wue_l_per_kwh), WATER_L)
            wue = language.number(document.wue_l_per_kwh, 2)
            facts.append(Fact(language.text("Water"), litres, language.text("WUE %(wue)s L/kWh", wue=wue)))
        return tuple(facts)

    @property
    def equivalent(self) -> str:
        """What the emissions compare to."""
        found, emitted_g = self._car, self.document.total.co2e_location_g
        if found is None or emitted_g is None or emitted_g <= 0:
            return ""
        km = emitted_g / 1000 / found.kgco2e
        decimals = 0 if km >= 100 else 1
        return self.language.text(
            "As much as an average petrol car emits over %(km)s km.", km=self.language.number(km, decimals)
        )

    @property
    def notices(self) -> tuple[str, ...]:
        """What a reader has to know before the figures are used."""
        return tuple(self._notices())

    @property
    def budgets(self) -> tuple[BudgetLine, ...]:
        """What accounts may use or emit, what they have, and what that leads to."""
        return tuple(self._budget(one) for one in self.document.budgets)

    @cached_property
    def where(self) -> tables.Table:
        """The groups, the idle line and the total, with shares."""
        return tables.where_it_went(self.document, self.language)

    @cached_property
    def detail(self) -> tables.Table:
        """All figures of them."""
        return tables.in_detail(self.document, self.language)

    @cached_property
    def tree(self) -> tables.Table | None:
        """The accounts with the sums of all below them; None where it was not asked for."""
        return tables.tree(self.document, self.language) if self.document.tree else None

    @property
    def by_emissions(self) -> bool:
        """Whether the chart and the bars show emissions; else IT energy, for the emissions are unknown."""
        return self.document.total.co2e_location_g is not None

    @cached_property
    def points(self) -> tuple[Point, ...]:
        """Every day or month of the period in order; one of which the books have nothing is all unknown."""
        document = self.document
        return tuple(tables.calendar(document.period, document.step, document.points or ()))

    @cached_property
    def chart(self) -> Chart | None:
        """The course of the period; None where it has one point or none."""
        document, language = self.document, self.language
        if len(self.points) < 2 or not self._known_points:
            return None
        name = language.short_day if document.step == "day" else language.short_month
        before: Sequence[Point | None] = tables.days_before(document) or [None] * len(self.points)
        values = [
            Value(name(one.first_day), *self._shown(one), tables.together(*self._shown(then)))
            for one, then in zip(self.points, before, strict=True)
        ]
        return chart(values, MASS_G if self.by_emissions else ENERGY_J, language)

    @property
    def chart_title(self) -> str:
        """Emissions by day, and their unit."""
        language, by_day = self.language, self.document.step == "day"
        if self.by_emissions:
            name = language.text("Emissions by day") if by_day else language.text("Emissions by month")
        else:
            name = language.text("IT energy by day") if by_day else language.text("IT energy by month")
        return name

    @property
    def chart_text(self) -> str:
        """What the chart shows, for who does not see it."""
        return self.language.text(
            "The largest is %(largest)s, the smallest %(smallest)s. A table has all figures.", **self._extremes()
        )

    @property
    def before_label(self) -> str:
        """What the marks on the chart are; empty where there are none."""
        before = self.document.before
        if before is None or not before.points:
            return ""
        return self.language.text("Period before (%(period)s)", period=self.language.period(before.period))

    @cached_property
    def course(self) -> tables.Table:
        """The figures of the chart."""
        return tables.course(self.document, self.language)

    @cached_property
    def top_jobs(self) -> tables.Table | None:
        """The largest jobs; None where they were not asked for, or there are none."""
        return tables.top_jobs(self.document, self.language) if self.document.top_jobs else None

    @cached_property
    def lost(self) -> tables.Table | None:
        """What runs that did not complete had used."""
        waste = self.document.waste
        return tables.waste(self.document, self.language) if waste and waste.lost else None

    @property
    def hardly_used(self) -> str:
        """GPUs that were held and hardly used, in words."""
        waste, language = self.document.waste, self.language
        if waste is None or waste.hardly_used is None:
            return ""
        found = waste.hardly_used
        if not found.runs:
            return language.text("No run held a GPU that it hardly used.")
        said = language.plural(
            "%(n)s run held GPUs that drew little more than idle ones: %(hours)s GPU hours, %(energy)s.",
            "%(n)s runs held GPUs that drew little more than idle ones: %(hours)s GPU hours, %(energy)s.",
            found.runs,
            hours=language.number(found.gpu_seconds / 3600, 1),
            energy=language.energy(found.energy_j),
        )
        if found.level_assumed:
            said += " " + language.text("For some models the idle power is the hardware table’s: none was seen idle.")
        return said

    @cached_property
    def reconciliation(self) -> tables.Table | None:
        """What the meters say against what the report has."""
        return tables.reconciliation(self.document, self.language) if self.document.reconciliation else None

    @property
    def methods(self) -> tuple[Fact, ...]:
        """How the energy of jobs was found, by GPUs and the rest of the nodes, the largest share first."""
        language = self.language
        found = []
        for kind in ("gpu", "host"):
            shares = sorted(
                (one for one in self.document.methods or () if one.kind == kind), key=lambda one: -one.share
            )
            words = [
                language.text(
                    "%(share)s by %(method)s",
                    share=language.share(one.share),
                    method=method_word(language, kind, one.method),
                )
                for one in shares
            ]
            if words:
                found.append(Fact(kind_word(language, kind), ", ".join(words)))
        if self.document.modelled_share is not None:
            label = language.text("Modelled, not measured")
            share = language.share(self.document.modelled_share)
            found.append(Fact(label, language.text("%(share)s of the jobs’ IT energy", share=share)))
        return tuple(found)

    @cached_property
    def sources(self) -> tuple[Source, ...]:
        """Where every factor comes from."""
        return tuple(
            Source(number, kind, label, text) for number, (kind, label, text) in enumerate(self._sources(), start=1)
        )

    def notes_of(self, kind: str) -> tuple[int, ...]:
        """The numbers of the sources of a kind of factor."""
        return tuple(one.number for one in self.sources if kind and one.kind == kind)

    @property
    def made(self) -> str:
        """When and with what the report was made."""
        return self.language.text(
            "Made on %(moment)s (%(zone)s) with Scarbon %(version)s.",
            moment=self._moment(self.document.made_s),
            zone=self.document.timezone,
            version=__version__,
        )

    @property
    def _car(self) -> Equivalent | None:
        return next((one for one in equivalents() if one.per == "km"), None)

    def _shown(self, point: Point | None) -> tuple[float | None, float | None]:
        """What the chart shows of jobs and of idle time."""
        if point is None:
            return None, None
        if self.by_emissions:
            return point.jobs_co2e_g, point.idle_co2e_g
        return point.jobs_energy_j, point.idle_energy_j

    @property
    def _known_points(self) -> list[tuple[Point, float]]:
        """The points of which anything is known, with the figure that the chart shows."""
        shown = [(one, tables.together(*self._shown(one))) for one in self.points]
        return [(one, figure) for one, figure in shown if figure is not None]

    def _extremes(self) -> dict[str, str]:
        language = self.language
        name = language.short_day if self.document.step == "day" else language.short_month
        show = language.mass if self.by_emissions else language.energy
        sums = [(figure, name(one.first_day)) for one, figure in self._known_points]
        ends = {"largest": max(sums, key=lambda one: one[0]), "smallest": min(sums, key=lambda one: one[0])}
        return {end: f"{show(figure)} ({when})" for end, (figure, when) in ends.items()}

    def _gpu_time(self, hours: float) -> str:
        said = self.language.number(hours)
        if self.document.idle is None:
            return self.language.text("GPU time %(hours)s h", hours=said)
        return self.language.text("GPU time %(hours)s h, idle included", hours=said)

    def _it_energy(self) -> str:
        document, language = self.document, self.language
        if document.unused and not document.total.it_energy_j:
            return ""  # all of it was adjusted
        energy = language.energy(document.total.it_energy_j)
        if document.pue is None:
            return language.text("IT energy %(energy)s", energy=energy)
        pue = language.number(document.pue, 2)
        if document.adjustments:  # the product is that of the period's own energy only
            return language.text("IT energy %(energy)s · PUE %(pue)s without adjustments", energy=energy, pue=pue)
        return language.text("IT energy %(energy)s × PUE %(pue)s", energy=energy, pue=pue)

    def _by_contracts(self) -> str:
        said = self.language.text("by the site’s electricity contracts")
        intensity = self.document.market_g_per_kwh
        return said if intensity is None else f"{said} · {self._intensity(intensity)}"

    def _intensity(self, g_per_kwh: float) -> str:
        space, figure = "\N{NO-BREAK SPACE}", self.language.number(g_per_kwh, 0 if g_per_kwh >= 100 else 1)
        return self.language.text("on average %(intensity)s", intensity=f"{figure}{space}g{space}CO₂e/kWh")

    def _emissions(self, mass_g: float | None) -> str:
        return (
            self.language.text("unknown") if mass_g is None else f"{self.language.mass(mass_g)}\N{NO-BREAK SPACE}CO₂e"
        )

    def _moment(self, time_s: float) -> str:
        return self.language.moment(time_s, ZoneInfo(self.document.timezone))

    def _compared(self, label: str, comparison: Comparison) -> Fact:
        language = self.language
        now, then = (
            (sums.co2e_location_g if self.by_emissions else sums.it_energy_j)
            for sums in (self.document.total, comparison.total)
        )
        show = language.mass if self.by_emissions else language.energy
        label = language.labelled(label, language.period(comparison.period))
        if comparison.accounted < NEARLY_ALL:
            known = language.text("%(share)s of it is in the books", share=language.share(comparison.accounted))
            return Fact(label, show(then), known)
        if not self.document.comparable(comparison) or now is None or then is None or then <= 0:
            return Fact(label, show(then))
        change = now / then - 1
        if abs(change) < _HARDLY_ANY:
            said = language.text("no change")
        elif change > 0:
            said = language.text("%(share)s more", share=language.share(change))
        else:
            said = language.text("%(share)s less", share=language.share(-change))
        return Fact(label, said, language.text("against %(figure)s", figure=show(then)))

    def _notices(self) -> Iterator[str]:
        document, language = self.document, self.language
        if document.as_of_s is not None:
            yield language.text("The books as they were on %(moment)s.", moment=self._moment(document.as_of_s))
        if document.unused:
            yield language.text("No job used anything in this period.")
        elif document.chosen.narrowed:
            yield language.text(
                "This report is of some of the site’s jobs only; it has no idle time, which is the site’s."
            )
        for gap in document.not_accounted:
            yield language.text(
                "Not accounted yet, and in no figure: %(cluster)s, %(start)s to %(end)s.",
                cluster=gap.cluster,
                start=self._moment(gap.start_s),
                end=self._moment(gap.end_s),
            )
        if document.idle_host_missing:
            yield language.text("What idle nodes draw besides their GPUs is in no figure: it is known for jobs only.")
        if document.silent_gpus:
            yield language.plural(
                "%(n)s GPU fell silent, and sent nothing up to the end of these figures: idle time may be missing.",
                "%(n)s GPUs fell silent, and sent nothing up to the end of these figures: idle time may be missing.",
                document.silent_gpus,
            )
        if document.total.jobs_unknown:
            yield language.plural(
                "%(n)s job held GPUs of whose energy nothing is known: that energy is in no sum.",
                "%(n)s jobs held GPUs of whose energy nothing is known: that energy is in no sum.",
                document.total.jobs_unknown,
            )
        if document.quarantined:
            yield language.plural(
                "%(n)s row of the sources could not be understood and is in quarantine.",
                "%(n)s rows of the sources could not be understood and are in quarantine.",
                document.quarantined,
            )
        for one in document.adjustments:
            yield language.text(
                "In the total is an adjustment of the closed month %(month)s, by %(figure)s: %(reason)s",
                **self._adjustment(one, one.of),
            )
        for one in document.adjusted_later:
            yield language.text(
                "Not in these figures is an adjustment of them that was posted in %(month)s, by %(figure)s: %(reason)s",
                **self._adjustment(one, one.posted_in),
            )
        if document.closed_s is not None:
            yield language.text("The month was closed on %(moment)s.", moment=self._moment(document.closed_s))

    def _adjustment(self, one: Adjustment, month: str) -> dict[str, str]:
        language, sums = self.language, one.sums
        figure = language.energy(sums.it_energy_j)
        if sums.co2e_location_g is not None:
            figure = self._emissions(sums.co2e_location_g)
        reason = one.reason or language.text("its time was accounted again")
        return {"month": language.month(tables.first_day(month)), "figure": figure, "reason": reason}

    def _budget(self, one: Standing) -> BudgetLine:
        language, budget = self.language, one.budget
        show = language.mass if budget.measure.startswith("co2e") else language.energy
        share = language.text("unknown") if one.share is None else language.share(one.share)
        text = language.text(
            "%(used)s of %(limit)s used in %(period)s (%(share)s)",
            used=show(one.used),
            limit=show(budget.limit),
            period=language.months(one.period.first_day, one.period.last_day),
            share=share,
        )
        expected = ""
        if one.expected is not None and one.expected != one.used:
            expected = language.text("At this pace %(expected)s by its end.", expected=show(one.expected))
        return BudgetLine(budget.account, text, expected, one.share, one.will_pass)

    def _sources(self) -> Iterator[tuple[str, str, str]]:
        language = self.language
        for one in self.document.factors:
            text = source_words(language, one)
            if one.retrieved_s is not None:
                text += ", " + language.text("fetched %(moment)s", moment=self._moment(one.retrieved_s))
            yield one.kind, factor_word(language, one.kind), text
        if (car := self._car) is not None and self.equivalent:
            figure = language.number(car.kgco2e * 1000)
            yield "car", language.text("Average petrol car in the EU"), f"{figure} g CO₂e/km, {car.source}"
