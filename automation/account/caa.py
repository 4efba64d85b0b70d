"""What CAA records say of who may issue a certificate for a name (RFC 8659), before a CA refuses for them.

Leaves out asking for the records, and what a CA alone can judge: account and method parameters, DNSSEC.
"""

import shlex
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

Ask = Callable[[str], Sequence[str] | None]
"""The CAA records of a name as text, such as `0 issue "letsencrypt.org"`; None where nobody answers."""
_CRITICAL = 128
_KNOWN = {"issue", "issuewild", "iodef", "issuemail", "issuevmc", "contactemail", "contactphone"}


@dataclass(frozen=True)
class Record:
    """One CAA record."""

    flags: int
    tag: str
    value: str

    @classmethod
    def of(cls, text: str) -> "Record":
        """A record as zone files write it: `0 issue "letsencrypt.org"`."""
        flags, tag, value = shlex.split(text)
        return cls(int(flags), tag.lower(), value)

    @property
    def issuer(self) -> str:
        """The CA that may issue, without parameters; empty: nobody."""
        return self.value.partition(";")[0].strip().lower()


def forbidding(name: str, issuers: Collection[str], ask: Ask) -> tuple[str, list[str]] | None:
    """The name whose CAA records keep all of the issuers from issuing for `name`, and those records; None where none do, or
    nobody knows. The records of the nearest name with any count; for a wildcard its `issuewild` before its `issue`.
    """
    is_wildcard, labels = name.startswith("*."), name.removeprefix("*.").split(".")
    for start in range(len(labels)):
        at = ".".join(labels[start:])
        texts = ask(at)
        if texts is None:
            return None
        if texts:
            records = [Record.of(text) for text in texts]
            return None if _allow(records, issuers, is_wildcard=is_wildcard) else (at, sorted(texts))
    return None


def _allow(records: Sequence[Record], issuers: Collection[str], *, is_wildcard: bool) -> bool:
    if any(record.flags & _CRITICAL and record.tag not in _KNOWN for record in records):
        return False
    wild = [record for record in records if record.tag == "issuewild"] if is_wildcard else []
    named = wild or [record for record in records if record.tag == "issue"]
    return not named or any(record.issuer in issuers for record in named)
