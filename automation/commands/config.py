"""`edge config` and `edge secret`: an environment's config by name. Leaves out what a change brings about: `edge up` does."""

import sys
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from automation.commands.options import EnvironmentName, JsonFlag, LocalFlag, open_environment
from automation.commands.terminal import say, show, show_json
from automation.errors import UsageError

if TYPE_CHECKING:
    from automation.engine.stack_edit import Step
    from automation.environment import Environment

_HIDDEN = "[secret]"

Key = Annotated[str | None, typer.Argument(metavar="[KEY]", help="Such as server.model, sites[0].replicas, tags.team.")]
Value = Annotated[str | None, typer.Argument(metavar="[VALUE]", help="A YAML value: 2, true, text, [a, b], {a: b}.")]
Secret = Annotated[str, typer.Argument(metavar="KEY", help="Such as huggingFaceToken, apiKey, apiKeys.NAME.")]


def config(  # noqa: PLR0913, PLR0917 - each has its default
    env: EnvironmentName,
    key: Key = None,
    value: Value = None,
    unset: Annotated[bool, typer.Option("--unset", help="Take KEY away.")] = False,  # noqa: FBT002
    local: LocalFlag = False,  # noqa: FBT002
    as_json: JsonFlag = False,  # noqa: FBT002
) -> None:
    """Show an environment's config; set or remove a value.

    In its stack file. A change is judged with all the rest first; where it is refused, nothing is changed. A site is named by
    its place or its zone: sites[0].replicas, sites[us-west-2a].replicas. Secrets: edge secret.

    Example: edge config prod server.maxTotalTokens 4096
    """
    environment = open_environment(env, local=local)
    if key is None:
        if unset:
            raise UsageError(f"--unset needs a key\n  -> edge config {env}   # shows what is set")
        _show_all(environment, as_json=as_json)
        return
    from automation.engine.config_change import given_value, parsed, set_value, shown_path, unset_value

    steps = parsed(key, environment.file_values(), env, is_unset=unset)
    if unset:
        if value is not None:
            raise UsageError("--unset takes no value")
        unset_value(environment, steps)
    elif value is None:
        _show_one(environment, steps, as_json=as_json)
        return
    else:
        set_value(environment, steps, given_value(value, environment.arguments))
    say(f"{environment.stack_file.name}: {shown_path(steps)} is {'taken away' if unset else 'set'}")
    say(f"  -> edge up {environment.arguments}   # brings it about")


def secret_set(env: EnvironmentName, key: Secret, local: LocalFlag = False) -> None:  # noqa: FBT002
    """Store a secret, from standard input, or asked for without being shown.

    Example: openssl rand -hex 32 | edge secret set prod apiKeys.mobile
    """
    from automation.engine.secret_change import parsed_secret, store_secret

    environment = open_environment(env, local=local)
    secret = parsed_secret(key, environment.arguments)
    store_secret(environment, secret, given(str(secret)))
    where = "for this local cloud" if environment.on_local_cloud else f"in {environment.stack_file.name}, encrypted"
    say(f"{secret} is stored {where}\n  -> edge up {environment.arguments}   # brings it about")


def secret_list(env: EnvironmentName, local: LocalFlag = False) -> None:  # noqa: FBT002
    """Name the secrets that are set; their values are never shown.

    Example: edge secret list prod
    """
    from automation.engine.secret_change import secret_names

    for name in secret_names(open_environment(env, local=local)):
        show(name)


def secret_get(env: EnvironmentName, key: Secret, local: LocalFlag = False) -> None:  # noqa: FBT002
    """Write a secret into a file or another program.

    Never to a terminal.

    Example: edge secret get prod apiKeys.mobile-next > mobile.key
    """
    from automation.engine.secret_change import parsed_secret, secret_value

    environment = open_environment(env, local=local)
    secret = parsed_secret(key, environment.arguments)
    if sys.stdout.isatty():
        line = f"edge secret get {environment.arguments} {secret}"
        raise UsageError(f"a terminal would show {secret}, and keep it\n  -> ( umask 077; {line} > FILE )   # or into a program")
    sys.stdout.write(f"{secret_value(environment, secret)}\n")


def secret_unset(env: EnvironmentName, key: Secret, local: LocalFlag = False) -> None:  # noqa: FBT002
    """Take a secret away.

    Example: edge secret unset prod apiKeys.mobile
    """
    from automation.engine.secret_change import parsed_secret, remove_secret

    environment = open_environment(env, local=local)
    secret = parsed_secret(key, environment.arguments)
    remove_secret(environment, secret)
    say(f"{secret} is taken away\n  -> edge up {environment.arguments}   # brings it about")


def given(what: str) -> str:
    """A secret from standard input, or from a person, who does not see it."""
    if not sys.stdin.isatty():
        return sys.stdin.read()
    return str(typer.prompt(f"{what} (not shown)", hide_input=True, err=True))


def _show_all(environment: "Environment", *, as_json: bool) -> None:
    from automation.engine.config_change import entries, shown_path
    from automation.engine.stack_edit import flow

    values = environment.file_values()
    if as_json:
        show_json(_hidden(values))
        return
    for steps, value in entries(values):
        show(f"{shown_path(steps)}: {flow(_hidden(value))}")


def _show_one(environment: "Environment", steps: "list[Step]", *, as_json: bool) -> None:
    from automation.engine.config_change import shown_path
    from automation.engine.stack_edit import flow, value_at

    try:
        value = _hidden(value_at(environment.file_values(), steps))
    except KeyError:
        raise UsageError(
            f"{shown_path(steps)} is not set in {environment.stack_file.name}; docs/reference/config.md has the defaults\n"
            f"  -> edge config {environment.name}   # shows what is set"
        ) from None
    if as_json:
        show_json(value)
    else:
        show(value if isinstance(value, str) else flow(value))


def _hidden(value: Any) -> Any:
    """A value without what is encrypted in it."""
    if isinstance(value, dict):
        found = cast("dict[str, Any]", value)
        return _HIDDEN if "secure" in found else {key: _hidden(each) for key, each in found.items()}
    return [_hidden(each) for each in cast("list[Any]", value)] if isinstance(value, list) else value
