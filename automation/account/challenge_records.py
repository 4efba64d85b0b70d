# dnspython leaves the types of a set's records open:
# pyright: reportUnknownVariableType=false, reportUnknownMemberType=false, reportUnknownArgumentType=false
"""The TXT records of ACME's DNS-01 challenges in a hosted zone: added beside what others have there, waited for, taken away.

Leaves out what is in them and who reads them: acme_client.py.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import dns.exception
import dns.message
import dns.query
import dns.rdatatype
from botocore.exceptions import BotoCoreError, ClientError  # pyright: ignore[reportMissingTypeStubs]

from automation.errors import EdgeError
from components.aws_facts import because

Server = tuple[str, int]
"""Address and port of a name server."""
Values = Mapping[str, Sequence[str]]
"""The texts to add, by name."""

_TTL_SECONDS = 60
_SYNC_SECONDS, _ANSWER_SECONDS = 300.0, 120.0
_ASK_SECONDS, _ASK_TIMES = 3.0, 2
"""Of one question: a datagram may be lost."""
_PAUSE_SECONDS = 2.0


class ChallengeRecords:
    """The records of one order, in one hosted zone."""

    def __init__(self, route53: Any, zone_id: str, servers: Sequence[Server], say: Callable[[str], None]) -> None:
        self._route53, self._zone_id, self._servers, self._say = route53, zone_id, tuple(servers), say

    def add(self, values: Values) -> None:
        """Adds the texts, and returns when all of the zone's name servers answer them. EdgeError where they do not, or where
        another kind of record stands at a name.
        """
        self._wait_until_in_sync(self._change(values, _with))
        self._wait_until_answered(values)

    def remove(self, values: Values) -> None:
        """Takes the texts away again, as far as they are there; what others have at the same names stays."""
        self._change(values, _without)

    def _change(self, values: Values, changed: Callable[[list[str], Sequence[str]], list[str]]) -> str | None:
        """One batch for all names; its id, None where nothing is to change."""
        changes: list[dict[str, Any]] = []
        try:
            for name, texts in values.items():
                found = self._record(name)
                before = [each["Value"] for each in found["ResourceRecords"]] if found else []
                after = changed(before, [f'"{text}"' for text in texts])
                if after == before:
                    continue
                record = {"Name": name, "Type": "TXT", "TTL": found["TTL"] if found else _TTL_SECONDS}
                action, kept = ("UPSERT", after) if after else ("DELETE", before)
                records = [{"Value": value} for value in kept]
                changes.append({"Action": action, "ResourceRecordSet": {**record, "ResourceRecords": records}})
            if not changes:
                return None
            comment = "edge certificate: ACME DNS-01"
            batch = {"Comment": comment, "Changes": changes}
            answer = self._route53.change_resource_record_sets(HostedZoneId=self._zone_id, ChangeBatch=batch)
            return str(answer["ChangeInfo"]["Id"])
        except (BotoCoreError, ClientError) as error:
            raise EdgeError(
                f"Route 53 does not change the TXT records of {', '.join(values)}: {because(str(error))}\n"
                "  -> aws sts get-caller-identity   # docs/operations/iam-policy.json has the permissions (Challenges)"
            ) from error

    def _record(self, name: str) -> dict[str, Any] | None:
        """The TXT record set of a name. EdgeError where what stands there leads elsewhere, or answers by rules."""
        found = self._route53.list_resource_record_sets(HostedZoneId=self._zone_id, StartRecordName=name)["ResourceRecordSets"]
        here = {each["Type"]: each for each in found if each["Name"].rstrip(".") == name}
        for kind in ("CNAME", "NS"):
            if kind in here:
                target = here[kind]["ResourceRecords"][0]["Value"]
                raise EdgeError(
                    f"{name} is a {kind} record to {target} in the hosted zone: a CA would look there, and not here\n"
                    "  -> remove that record, or store a certificate of your own: docs/how-to/https.md"
                )
        record = here.get("TXT")
        if record and "SetIdentifier" in record:
            raise EdgeError(f"the TXT records of {name} have a routing policy, and a challenge has no place beside them")
        return record

    def _wait_until_in_sync(self, change_id: str | None) -> None:
        if change_id is None:
            return
        deadline = time.monotonic() + _SYNC_SECONDS
        try:
            while self._route53.get_change(Id=change_id)["ChangeInfo"]["Status"] != "INSYNC":
                if time.monotonic() > deadline:
                    raise EdgeError(
                        f"Route 53 has not brought the change {change_id} to its name servers in {_SYNC_SECONDS:.0f} s"
                    )
                time.sleep(_PAUSE_SECONDS)
        except (BotoCoreError, ClientError) as error:
            raise EdgeError(f"Route 53 does not say how far the change {change_id} is: {because(str(error))}") from error

    def _wait_until_answered(self, values: Values) -> None:
        """Until each server that can be asked from here has every text; the others have it by Route 53's own word (INSYNC)."""
        deadline = time.monotonic() + _ANSWER_SECONDS
        waited_for = {(server, name): set(texts) for server in self._servers for name, texts in values.items()}
        silent: set[Server] = set()
        while waited_for:
            for (server, name), texts in list(waited_for.items()):
                told = None if server in silent else asked(name, "TXT", server)
                if told is None:
                    silent.add(server)
                if told is None or texts <= {text.strip('"') for text in told}:
                    del waited_for[server, name]
            if not waited_for:
                break
            if time.monotonic() > deadline:
                named = sorted({f"{name} at {address}" for (address, _), name in waited_for})
                raise EdgeError(f"not all name servers of the hosted zone answer the challenge's TXT records: {', '.join(named)}")
            time.sleep(_PAUSE_SECONDS)
        if silent or not self._servers:
            count = f"{len(silent)} of {len(self._servers)}" if self._servers else "some"
            self._say(f"{count} name servers of the zone do not answer this machine; by Route 53's word they have the records.")


def asked(name: str, kind: str, server: Server) -> list[str] | None:
    """The records of a name, of one kind, as a name server answers them, as text; None where it does not answer."""
    address, port = server
    question = dns.message.make_query(name, kind)
    wanted = dns.rdatatype.from_text(kind)
    for _ in range(_ASK_TIMES):
        try:
            answer, _ = dns.query.udp_with_fallback(question, address, _ASK_SECONDS, port)
        except (dns.exception.DNSException, OSError):
            continue
        return [record.to_text() for records in answer.answer if records.rdtype == wanted for record in records]
    return None


def _with(before: list[str], texts: Sequence[str]) -> list[str]:
    return [*before, *(text for text in texts if text not in before)]


def _without(before: list[str], texts: Sequence[str]) -> list[str]:
    return [value for value in before if value not in texts]
