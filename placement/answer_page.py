"""An answer as a page: its figures in the words of a reader who was not there when it was asked."""

from geography.gpu_offers import age_words, price_table
from placement.answer import Answer, Help, losses
from placement.page import Curve, Dot, Marker, Page, render
from placement.reckoning import Reckoning

_HELPS: dict[Help, str] = {
    "routing": "a chosen site would be in time, but Route 53 gives them another",
    "site": "a site that is not chosen would be in time",
    "connection": "no zone is near enough for a new connection; a kept one would be in time",
    "distance": "no zone is near enough",
    "model": "the server alone takes too long: a faster type, shorter prompts or a smaller model would help",
}
_CONNECTIONS = {"warm": "an open connection", "cold": "a new connection", "cold-tls": "a new connection with TLS"}


def answer_page(answer: Answer, title: str) -> str:
    """The page of an answer, as HTML."""
    question = answer.question
    count = len(answer.sites)
    summary = (
        f"{count} site{'' if count == 1 else 's'}, policy {question.policy}: {answer.share:.1%} of the users get their first "
        f"token within {question.slo_ms:g} ms over {_CONNECTIONS[question.connection]}, for "
        f"${dollars(answer.dollars_per_month)} a month."
    )
    if not answer.is_reached:
        summary += f" That is less than the {question.share:.1%} asked for."
    return render(
        Page(
            title,
            summary,
            ("serves", "inside", "if down", "$/month", "median ms", "type"),
            tuple(_markers(answer)),
            tuple(_dots(answer)),
            tuple(_notes(answer)),
            {
                "round trips": answer.sources["round_trips_ms"],
                "generation": answer.sources["generation_ms"],
                "$": answer.sources["dollars"],
                "users": answer.sources["users"],
                "who gets which site": answer.sources["order"],
                "not in it": "queues, volumes, public addresses, traffic, Route 53, taxes, and whether a zone has stock",
            },
            f"A red ring: the first token comes after {question.slo_ms:g} ms.",
            _curve(answer),
            tuple(_frontier(answer)),
            ("sites", "inside", "p50 ms", "p95 ms", "$/month", "$ per 1 % more"),
            f"Made by edge place on {answer.made_at}, in {answer.seconds:.1f} s. {_proof(answer)}",
            tuple(_warnings(answer)),
        )
    )


def dollars(amount: float | None) -> str:
    """`1,482`."""
    return "unknown" if amount is None else f"{amount:,.0f}"


def _proof(answer: Answer) -> str:
    if not answer.gap_percent:
        return "The chosen set is proven best of its size."
    return f"The search was stopped: no set of its size serves more than {answer.gap_percent:.3f} % of the users beyond it."


def _warnings(answer: Answer) -> list[str]:
    found: list[str] = []
    is_measured = {each.is_measured for each in answer.served}
    if is_measured == {True, False}:
        found.append("Some round trips are measured, the others estimated from distance; each dot says which.")
    if old := age_words(price_table().as_of):
        found.append(f"Prices are of {price_table().as_of}{old}.")
    return found


def _markers(answer: Answer) -> list[Marker]:
    places = {candidate.group: candidate.place for candidate in answer.question.candidates}
    return [
        Marker(
            site.zone,
            site.city,
            places[site.group],
            (
                f"{site.serves:.1%}",
                f"{site.serves_inside:.1%}",
                f"{site.without_it:.1%}" if len(answer.sites) > 1 else "nobody",
                dollars(site.dollars_per_month),
                "" if site.p50_ms is None else f"{site.p50_ms:.0f}",
                site.instance_type,
            ),
            f"While {site.city} is down, {site.without_it:.1%} are inside." if len(answer.sites) > 1 else "",
        )
        for site in answer.sites
    ]


def _dots(answer: Answer) -> list[Dot]:
    question = answer.question
    numbers = {site.group: number for number, site in enumerate(answer.sites)}
    columns = {candidate.group: column for column, candidate in enumerate(question.candidates)}
    lost, inside = losses(answer), Reckoning(question).inside
    dots: list[Dot] = []
    for row, served in enumerate(answer.served):
        user = question.users[served.user]
        next_group = lost[served.group][row] if lost else None
        how = "measured" if served.is_measured else "estimated"
        dots.append(
            Dot(
                user.label,
                user.place,
                user.weight,
                numbers[served.group],
                not served.is_inside,
                f"{served.ttft_ms:.0f} ms, of it round trip {served.round_trip_ms:.0f} ms ({how})",
                None if next_group is None else numbers[next_group],
                next_group is not None and not inside[row, columns[next_group]],
            )
        )
    return dots


def _notes(answer: Answer) -> list[str]:
    found: list[str] = []
    by_help: dict[Help, float] = {}
    for each in answer.outside:
        by_help[each.help] = by_help.get(each.help, 0.0) + each.share
    found.extend(f"Outside, {share:.1%} of the users: {_HELPS[kind]}." for kind, share in by_help.items())
    found.extend(f"{mend}." for mend in answer.mends)
    longer, shorter = answer.share_range
    found.append(f"If all round trips are 30 % longer, {longer:.1%} are inside; if they are 30 % shorter, {shorter:.1%}.")
    return found


def _curve(answer: Answer) -> Curve | None:
    points = [
        (len(point.groups), point.dollars_per_month, point.share)
        for point in answer.frontier
        if point.dollars_per_month is not None
    ]
    return Curve(tuple(points), len(answer.sites), answer.question.share) if len(points) > 1 else None


def _frontier(answer: Answer) -> list[tuple[str, ...]]:
    return [
        (
            str(len(point.groups)),
            f"{point.share:.1%}",
            f"{point.p50_ms:.0f}",
            f"{point.p95_ms:.0f}",
            dollars(point.dollars_per_month),
            "" if point.dollars_per_percent is None else f"{point.dollars_per_percent:,.0f}",
        )
        for point in answer.frontier
    ]
