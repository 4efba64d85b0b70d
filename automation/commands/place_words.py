"""What `edge place` says: the answer on standard output, what it rests on beside it."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from automation.tables import table
from geography.gpu_offers import no_gpu

if TYPE_CHECKING:
    from placement.answer import Answer, Help, Outside
    from placement.world import Candidates

_SHOWN = 6
_CONNECTIONS = {"warm": "an open connection", "cold": "a new connection", "cold-tls": "a new connection with TLS"}
_HELPS: "dict[Help, str]" = {
    "routing": "a chosen site would be in time, but Route 53 gives them another",
    "site": "a site that is not chosen would be in time",
    "connection": "no zone is near enough for a new connection; a kept one would do",
    "distance": "no zone is near enough",
    "model": "the server alone is too slow: faster type, shorter prompts, smaller model",
}


def answer(found: "Answer") -> Iterator[str]:
    """The frontier, the chosen sites, and what follows."""
    question = found.question
    people = sum(user.weight for user in question.users)
    yield (
        f"{len(question.users)} places, weight {people:,.0f}; {len(question.candidates)} zone groups and Regions; "
        f"policy {question.policy}"
    )
    over = _CONNECTIONS[question.connection]
    yield f"Limit: first token in {question.slo_ms:g} ms for {question.share:.1%} of them, {over}"
    yield ""
    yield from _frontier(found)
    yield ""
    yield from _chosen(found)
    yield ""
    yield from _outside(found)
    yield from _mends(found)
    longer, shorter = found.share_range
    yield f"If all round trips are 30 % longer: {longer:.1%} inside; 30 % shorter: {shorter:.1%}."


def _frontier(found: "Answer") -> Iterator[str]:
    rows = [
        [
            str(len(point.groups)),
            f"{point.share:.1%}",
            f"{point.p50_ms:.0f}",
            f"{point.p95_ms:.0f}",
            _dollars(point.dollars_per_month),
            "" if point.dollars_per_percent is None else f"{point.dollars_per_percent:,.0f}",
            _gap(point.gap_percent),
        ]
        for point in found.frontier
    ]
    header = ["sites", "inside", "p50 ms", "p95 ms", "$/month", "$ per 1 % more", "proven"]
    yield from table(header, rows, right=range(6))


def _chosen(found: "Answer") -> Iterator[str]:
    verdict = "" if found.is_reached else f", less than the {found.question.share:.1%} asked for"
    count, types = len(found.sites), {site.instance_type for site in found.sites}
    # A line has 80 columns, and names of places are told whole.
    of_type = f" of {next(iter(types))}" if len(types) == 1 else ""
    yield (
        f"Chosen: {count} site{'' if count == 1 else 's'}{of_type}, {found.share:.1%} of the users inside{verdict}, "
        f"${_dollars(found.dollars_per_month)} a month"
    )
    rows = [
        [
            site.zone,
            site.city,
            *([] if of_type else [site.instance_type]),
            _dollars(site.dollars_per_month),
            f"{site.serves:.1%}",
            f"{site.serves_inside:.1%}",
            f"{site.without_it:.1%}",
        ]
        for site in found.sites
    ]
    header = ["zone", "in", *([] if of_type else ["type"]), "$/month", "serves", "inside", "down"]
    yield from table(header, rows, right=range(len(header) - 4, len(header)))
    yield "down: who is inside while that site is down and Route 53 leads its users on."
    if found.mapping:
        from placement.answer import table_of_places

        told = table_of_places(found.mapping)
        others = sum(len(each) for each in told.values() if not isinstance(each, str))
        yield f"Table: {told['default']} by default, {others} countries and states elsewhere (--json)."


def _outside(found: "Answer") -> Iterator[str]:
    total = sum(each.share for each in found.outside)
    if not total:
        yield "Everybody is inside."
        return
    yield f"Outside: {total:.1%} of the users"
    by_help: dict[Help, list[Outside]] = {}
    for each in found.outside:
        by_help.setdefault(each.help, []).append(each)
    for kind, group in by_help.items():
        where = ", ".join(f"{each.country} {each.share:.1%}" for each in group[:_SHOWN])
        more = f", {len(group) - _SHOWN} more countries" if len(group) > _SHOWN else ""
        best = min(each.best_ms for each in group)
        yield f"  {sum(each.share for each in group):.1%}: {_HELPS[kind]}"
        yield f"    best {best:.0f} ms; {where}{more}"


def _mends(found: "Answer") -> Iterator[str]:
    for mend in found.mends:
        yield f"{mend}."


def sources(found: "Answer", able: "Candidates") -> Iterator[str]:
    """Where each figure is from."""
    told = found.sources
    yield f"round trips: {told['round_trips_ms']}"
    yield f"generation: {told['generation_ms']}"
    yield f"$: {told['dollars']}"
    yield f"users: {told['users']}"
    yield f"who gets which site: {told['order']}"
    if able.no_gpu:
        yield f"left out, said to sell no GPU: {', '.join(able.no_gpu)}"
        yield from (f"  {group}: {no_gpu(group)}" for group in able.no_gpu)
    if able.unknown:
        yield f"left out, no public price of the type: {', '.join(able.unknown)}"
        yield "  -> --with-unknown   # takes them in; whether they sell it: edge doctor ENV"
    yield "Not in it: queues, volumes, public addresses, traffic, Route 53, taxes, and whether a zone has stock."


def _dollars(dollars: float | None) -> str:
    return "unknown" if dollars is None else f"{dollars:,.0f}"


def _gap(percent: float) -> str:
    return "best" if not percent else f"to {percent:.3f} %"
