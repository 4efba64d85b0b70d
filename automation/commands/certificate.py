"""`edge certificate`: an environment's certificate by ACME, obtained or renewed."""

import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from automation.commands.options import EnvironmentName, JsonFlag, LocalFlag, open_environment
from automation.commands.terminal import say, short_path, show, show_json
from automation.errors import UsageError

if TYPE_CHECKING:
    from automation.sites.certificate import Renewal


def certificate(  # noqa: PLR0913, PLR0917 - each has its default
    env: EnvironmentName,
    if_expires_in: Annotated[
        str | None, typer.Option("--if-expires-in", metavar="30d", help="Only where the stored one expires within that time.")
    ] = None,
    server: Annotated[
        str | None, typer.Option("--server", metavar="URL", help="Directory of another ACME server than Let's Encrypt's.")
    ] = None,
    staging: Annotated[  # noqa: FBT002
        bool, typer.Option("--staging", help="Let's Encrypt's staging server, which no client trusts.")
    ] = False,
    email: Annotated[str | None, typer.Option(metavar="ADDRESS", help="Contact, where the CA wants one.")] = None,
    ca_bundle: Annotated[
        Path | None, typer.Option("--ca-bundle", metavar="FILE", help="PEM by which a private ACME server itself is known.")
    ] = None,
    local: LocalFlag = False,  # noqa: FBT002
    as_json: JsonFlag = False,  # noqa: FBT002
) -> None:
    """Obtain or renew a certificate by ACME.

    By the environment's hosted zone, for its domain and *.sites.DOMAIN. Adds TXT records, removes them again,
    and stores certificate, key and account in the stack file, encrypted. Asks nothing, and agrees to the CA's terms of
    service. Then `edge up`: it cuts no stream.

    Example: edge certificate prod --if-expires-in 30d
    """
    from automation.account.acme_client import Authority
    from automation.sites.certificate import LETS_ENCRYPT, STAGING

    if server and staging:
        raise UsageError("--staging is Let's Encrypt's own, and --server names another\n  -> leave one of them out")
    if ca_bundle and not ca_bundle.is_file():
        raise UsageError(f"{ca_bundle} is no file\n  -> --ca-bundle FILE: certificates in PEM")
    authority = Authority(server or (STAGING if staging else LETS_ENCRYPT), ca_bundle, email)
    environment = open_environment(env, local=local)
    renewal = environment.certificate(authority, _time(if_expires_in) if if_expires_in else None)
    if as_json:
        show_json(renewal.described())
        return
    for line in _told(renewal):
        show(line)
    if not renewal.is_new:
        return
    commit = "" if environment.on_local_cloud else " Commit that file."
    say(f"Stored in {short_path(renewal.stored_in)}, encrypted.{commit}")
    if not renewal.has_tls:
        say(f"endpoint.tls is false: set it to true in {environment.stack_file.name} first.")
    say(f"  -> edge up {environment.arguments}   # brings it to the hosts; no stream is cut")


def _told(renewal: "Renewal") -> Iterator[str]:
    from automation.sites.certificate_age import age_of

    state = "a new certificate" if renewal.is_new else "nothing to do, the stored certificate is good"
    yield f"{renewal.environment}: {state}: {age_of(renewal.facts).words}"
    yield f"  for {' and '.join(renewal.names)}"
    yield f"  signed by {renewal.facts.issuer}"


def _time(text: str) -> timedelta:
    found = re.fullmatch(r"(\d{1,4})([dh])", text)
    if not found:
        raise UsageError(f"--if-expires-in {text} is no time\n  -> days or hours, such as 30d or 12h")
    return timedelta(days=int(found[1])) if found[2] == "d" else timedelta(hours=int(found[1]))
