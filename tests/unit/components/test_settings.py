"""Every refusal of a stack's config that needs nobody's answer: path, value, reason and a line to paste, all at once."""

import json
import re
from typing import Any

import pytest
from component_helpers import HOST_KEY_SECRET, SECRET_KEYS, TOKEN, deployer_key, problems, settings, sites, stack_config
from hypothesis import given
from hypothesis import strategies as st

from components.problems import ConfigurationError
from components.settings import PROJECT, SECTIONS, SiteSettings, StackConfig, validate


def access(*clients: object, ssh: tuple[str, ...] = ("93.184.216.35/32",)) -> dict[str, Any]:
    return {"clientCidrs": list(clients), "sshCidrs": list(ssh)}


def test_good_config_has_no_problem() -> None:
    assert problems(stack_config()) == {}


LAX, HNL = "us-west-2-lax-1a", "us-west-2-hnl-1a"


def routed(domain: str, **more: Any) -> dict[str, Any]:
    return {"routing": {"domain": domain, "hostedZone": "acme.dev", **more}}


def by_id(zone_id: str, **more: Any) -> dict[str, Any]:
    return {"routing": {"domain": "llm.acme.dev", "hostedZoneId": zone_id, **more}}


def mapped(geolocation: dict[str, Any] | None) -> dict[str, Any]:
    return routed("llm.acme.dev", policy="geolocation", **({} if geolocation is None else {"geolocation": geolocation}))


def everyone(**places: Any) -> dict[str, Any]:
    return mapped({"default": "us-west-2a", **places})


def clients(*given: object) -> dict[str, Any]:
    return {"access": access(*given)}


def ssh(*given: str) -> dict[str, Any]:
    return {"access": access("8.8.8.8/32", ssh=given)}


def site(**given: Any) -> dict[str, Any]:
    return {"sites": sites("us-west-2a", **given)}


REFUSALS: list[tuple[str, dict[str, Any], str, str | None, str]] = [
    # name, sections, path, value shown, part of the reason
    ("top-level typo", {"site": []}, "site", None, "did you mean sites?"),
    ("top-level unknown", {"kubernetes": "red"}, "kubernetes", None, "known are"),
    ("misspelt secret", {"huggingfaceToken": TOKEN}, "huggingfaceToken", None, "did you mean huggingFaceToken?"),
    ("endpoint typo", {"endpoint": {"prot": 1}}, "endpoint.prot", None, "did you mean port?"),
    ("access typo", {"access": {**access("93.184.216.34/32"), "sshCidr": []}}, "access.sshCidr", None, "did you mean sshCidrs?"),
    ("site typo", {"sites": [{"zone": "us-west-2a", "instanceTyp": "x"}]}, "sites[0].instanceTyp", None, "mean instanceType?"),
    ("host typo", {"host": {"bootBudget": 5}}, "host.bootBudget", None, "did you mean bootBudgetSeconds?"),
    ("network typo", {"network": {"vpc": "x"}}, "network.vpc", None, "did you mean vpcCidr?"),
    ("no sites", {"sites": []}, "sites", None, "at least one zone must be chosen"),
    ("sites as one object", {"sites": {"zone": "us-west-2a"}}, "sites", '{"zone": "us-west-2a"}', "at least one zone"),
    ("site as text", {"sites": ["us-west-2a"]}, "sites[0]", '"us-west-2a"', "is no map of keys"),
    ("site without zone", {"sites": [{"replicas": 2}]}, "sites[0].zone", None, "is missing"),
    ("zone twice", {"sites": sites("us-west-2a", "us-west-2b", "us-west-2a")}, "sites[2].zone", '"us-west-2a"', "there twice"),
    ("group for a zone", {"sites": sites("us-west-2-lax-1")}, "sites[0].zone", '"us-west-2-lax-1"', "not the name of a zone"),
    ("region for a zone", {"sites": sites("us-west-2")}, "sites[0].zone", '"us-west-2"', "not the name of a zone"),
    ("wavelength zone", {"sites": sites("us-west-2-wl1-las-wlz-1")}, "sites[0].zone", '"us-west-2-wl1-las-wlz-1"', "not the"),
    ("number for a zone", {"sites": [{"zone": 5}]}, "sites[0].zone", "5", "is no text"),
    ("no replica", site(replicas=0), "sites[0].replicas", "0", "greater than or equal to 1"),
    ("half a replica", site(replicas=1.5), "sites[0].replicas", "1.5", "is no whole number"),
    ("type beside types", site(instanceType="g5.xlarge", instanceTypes=["g5.xlarge"]), "sites[0]", None, "beside instanceType"),
    ("a type of several", site(instanceTypes=["g5.xlarge", "g5"]), "sites[0].instanceTypes[1]", '"g5"', "pattern"),
    ("type without size", site(instanceType="g4dn"), "sites[0].instanceType", '"g4dn"', "pattern"),
    ("unknown volume", site(volumeType="io9"), "sites[0].volumeType", '"io9"', "'gp2' or 'gp3'"),
    ("small volume", site(volumeGib=8), "sites[0].volumeGib", "8", "greater than or equal to 75"),
    ("no client", clients(), "access.clientCidrs", "[]", "at least 1 item"),
    ("clients absent", {"access": {"sshCidrs": ["93.184.216.35/32"]}}, "access.clientCidrs", None, "is missing"),
    ("ssh absent", {"access": {"clientCidrs": ["93.184.216.35/32"]}}, "access.sshCidrs", None, "is missing"),
    ("words for a CIDR", clients("office"), "access.clientCidrs[0]", '"office"', "is no IPv4 network"),
    ("too long a prefix", clients("93.184.216.34/33"), "access.clientCidrs[0]", '"93.184.216.34/33"', "no IPv4 network"),
    ("host bits", clients("93.184.216.34/24"), "access.clientCidrs[0]", '"93.184.216.34/24"', "network is 93.184.216.0/24"),
    ("IPv6", clients("2606:2800::/32"), "access.clientCidrs[0]", '"2606:2800::/32"', "is IPv6"),
    ("documentation 1", clients("192.0.2.7/32"), "access.clientCidrs[0]", '"192.0.2.7/32"', "RFC 5737"),
    ("documentation 2", clients("198.51.100.0/24"), "access.clientCidrs[0]", '"198.51.100.0/24"', "RFC 5737"),
    ("documentation 3", clients("203.0.113.128/25"), "access.clientCidrs[0]", '"203.0.113.128/25"', "RFC 5737"),
    ("second of two", clients("93.184.216.34/32", "x"), "access.clientCidrs[1]", '"x"', "is no IPv4 network"),
    ("ssh for all", ssh("0.0.0.0/0"), "access.sshCidrs[0]", '"0.0.0.0/0"', "to the world"),
    ("ssh documentation", ssh("192.0.2.1/32"), "access.sshCidrs[0]", '"192.0.2.1/32"', "RFC 5737"),
    ("ssh host bits", ssh("10.0.0.1/8"), "access.sshCidrs[0]", '"10.0.0.1/8"', "is 10.0.0.0/8"),
    ("routing absent", {"routing": {}}, "routing", None, "missing domain and hostedZone"),
    ("no domain", {"routing": {"hostedZone": "acme.dev"}}, "routing", None, "missing domain"),
    ("no hosted zone", {"routing": {"domain": "llm.acme.dev"}}, "routing", None, "missing hostedZone"),
    ("outside", routed("llm.acme.io"), "routing", None, "llm.acme.io does not lie"),
    ("suffix only", routed("llmacme.dev"), "routing", None, "llmacme.dev does not lie"),
    ("name and id", routed("llm.acme.dev", hostedZoneId="Z0123"), "routing", None, "Z0123 is given beside hostedZone"),
    ("new by id", by_id("Z0123", createHostedZone=True), "routing", None, "is given beside createHostedZone"),
    ("new by domain", {"routing": {"domain": "llm.acme.dev", "createHostedZone": True}}, "routing", None, "missing hostedZone"),
    ("zone id", by_id("/hostedzone/Z0123"), "routing.hostedZoneId", '"/hostedzone/Z0123"', "pattern"),
    ("bias too large", routed("llm.acme.dev", bias={"us-west-2": 100}), "routing.bias.us-west-2", "100", "equal to 99"),
    ("bias of a zone", routed("llm.acme.dev", bias={"us-west-2a": 5}), "routing.bias.us-west-2a", None, "names no zone group"),
    ("bias of nobody", routed("llm.acme.dev", bias={"us-west-2-hnl-1": 5}), "routing.bias.us-west-2-hnl-1", None, "no site"),
    ("no mapping", mapped(None), "routing.geolocation.default", None, "addresses that Route 53 cannot place"),
    ("no default", mapped({"countries": {"CA": "us-west-2a"}}), "routing.geolocation.default", None, "would get no answer"),
    ("no site", mapped({"default": HNL}), "routing.geolocation.default", f'"{HNL}"', "has us-west-2a, us-west-2-lax-1a"),
    ("place no site", everyone(usStates={"HI": HNL}), "routing.geolocation.usStates.HI", f'"{HNL}"', "is none of `sites`"),
    ("place no zone", everyone(continents={"EU": "x"}), "routing.geolocation.continents.EU", '"x"', "not the name of a zone"),
    ("continent", everyone(continents={"XX": "us-west-2a"}), "routing.geolocation.continents.XX", None, "AF, AN, AS"),
    ("country", everyone(countries={"UK": "us-west-2a"}), "routing.geolocation.countries.UK", None, "GB, not UK"),
    ("Norway", everyone(countries={"false": "us-west-2a"}), "routing.geolocation.countries.false", None, "no country"),
    ("state", everyone(usStates={"Hawaii": "us-west-2a"}), "routing.geolocation.usStates.Hawaii", None, "postal code"),
    ("kind of place", everyone(state={}), "routing.geolocation.state", None, "did you mean usStates?"),
    ("drained no site", {"drained": ["us-west-2a", HNL]}, "drained[1]", f'"{HNL}"', "is none of `sites`"),
    ("drained no zone", {"drained": ["x"]}, "drained[0]", '"x"', "not the name of a zone"),
    ("drained no list", {"drained": "us-west-2a"}, "drained", '"us-west-2a"', "is no list"),
    ("all drained", {"drained": ["us-west-2a", LAX]}, "drained", f'["us-west-2a", "{LAX}"]', "every site is drained"),
    ("policy", {"routing": {"policy": "nearest"}}, "routing.policy", '"nearest"', "'geolocation' or 'none'"),
    ("interval", {"routing": {"policy": "none", "healthIntervalSeconds": 20}}, "routing.healthIntervalSeconds", "20", "10 or 30"),
    ("no room", {"server": {"maxInputTokens": 4096}}, "server", None, "leaves no room for an answer"),
    ("engine", {"server": {"engine": "ollama"}}, "server.engine", '"ollama"', "'tgi' or 'vllm'"),
    ("model", {"server": {"model": "llama"}}, "server.model", '"llama"', "pattern"),
    ("port", {"endpoint": {"port": 70000}}, "endpoint.port", "70000", "less than or equal to 65535"),
    ("image", {"server": {"image": "tgi; rm -rf /"}}, "server.image", '"tgi; rm -rf /"', "pattern"),
    ("argument", {"server": {"extraArguments": ["$(id)"]}}, "server.extraArguments[0]", '"$(id)"', "pattern"),
    ("public VPC", {"network": {"vpcCidr": "8.8.0.0/16"}}, "network.vpcCidr", '"8.8.0.0/16"', "RFC 1918"),
    ("large VPC", {"network": {"vpcCidr": "10.0.0.0/8"}}, "network.vpcCidr", '"10.0.0.0/8"', "/16 to /19"),
    ("small VPC", {"network": {"vpcCidr": "10.0.0.0/20"}}, "network.vpcCidr", '"10.0.0.0/20"', "/16 to /19"),
    ("VPC host bits", {"network": {"vpcCidr": "10.0.0.1/16"}}, "network.vpcCidr", '"10.0.0.1/16"', "has host bits set"),
    ("AMI", {"host": {"amis": {"us-west-2": "latest"}}}, "host.amis.us-west-2", '"latest"', "pattern"),
    ("budget", {"host": {"bootBudgetSeconds": 1}}, "host.bootBudgetSeconds", "1", "greater than or equal to 10"),
    ("tag value", {"tags": {"team": 7}}, "tags.team", "7", "is no text"),
    ("text for a section", {"server": "{port: 8080}"}, "server", '"{port: 8080}"', "is no map of keys"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("sections", "path", "value", "reason"), [case[1:] for case in REFUSALS], ids=[case[0] for case in REFUSALS]
)
def test_refusal_names_path_value_reason_and_line(sections: dict[str, Any], path: str, value: str | None, reason: str) -> None:
    found = problems(stack_config(**sections))
    assert list(found) == [path], "exactly this is wrong"
    assert found[path].value == value
    assert reason in found[path].reason
    assert "\n" not in found[path].reason
    assert re.match(r"(edge|aws|ssh-keygen|openssl) ", found[path].fix), "a line to paste"


@pytest.mark.parametrize(
    "domain",
    [
        "example.com",
        "llm.example.org",
        "EXAMPLE.net",
        "llm.test",
        "a.invalid",
        "x.localhost",
        "llm.YOUR.DOMAIN",
        "your-domain.com",
    ],
)
def test_example_domains_are_refused(domain: str) -> None:
    found = problems(stack_config(routing={"domain": domain, "hostedZone": domain}))
    assert set(found) == {"routing.domain", "routing.hostedZone"}
    for path, problem in found.items():
        assert problem.value == json.dumps(domain)
        assert "is an example name" in problem.reason
        assert problem.fix.startswith(f"edge config ENV {path} ")


@pytest.mark.parametrize(
    "domain", ["-a.acme.dev", "a..acme.dev", "acme", "a b.acme.dev", "*.acme.dev", "a." * 130 + "dev", "1.2.3.4"]
)
def test_malformed_domains_are_refused(domain: str) -> None:
    found = problems(stack_config(routing={"domain": domain, "hostedZone": "acme.dev"}))
    assert found["routing.domain"].reason == "is no domain name"


@pytest.mark.parametrize("domain", ["acme.dev", "myexample.com", "contest.acme.dev", "test.acme.dev", "x1.xn--p1ai"])
def test_real_domains_that_look_alike_pass(domain: str) -> None:
    assert problems(stack_config(routing={"domain": domain, "hostedZone": domain})) == {}


def test_domain_is_written_the_way_dns_reads_it() -> None:
    routing = settings(routing={"domain": "LLM.Acme.dev.", "hostedZone": "acme.dev."}).routing
    assert (routing.domain, routing.hosted_zone) == ("llm.acme.dev", "acme.dev")


def test_line_for_a_bad_list_item_replaces_that_item() -> None:
    """A pasted line must not overwrite the good neighbour."""
    found = problems(stack_config(access=access("93.184.216.34/32", "office")))
    assert "clientCidrs[1]" in found["access.clientCidrs[1]"].fix


def test_the_whole_world_may_call_when_spelled_out() -> None:
    assert problems(stack_config(access=access("0.0.0.0/0"))) == {}


@pytest.mark.parametrize("again", ["93.184.216.34/32", "93.184.216.34"])
def test_network_that_stands_there_twice_makes_one_rule(again: str) -> None:
    """Two rules of one source would be two resources of one name, and AWS refuses the second rule."""
    validated = validate(stack_config(access=access("93.184.216.34/32", again)))
    if validated.settings:
        assert validated.settings.access.client_cidrs == ["93.184.216.34/32"]
    else:
        assert [problem.path for problem in validated.problems] == [f"{PROJECT}:access.clientCidrs[1]"]


def test_endpoint_on_the_port_of_ssh_is_refused() -> None:
    """It would open SSH to all clients."""
    assert list(problems(stack_config(endpoint={"port": 22}))) == ["endpoint.port"]


@pytest.mark.parametrize(
    ("cidr", "reason"), [("10.64.0.5/24", "host bits"), ("office", "IPv4"), ("10.64.0.0/30", "/28"), ("fd00::/64", "IPv4")]
)
def test_bad_subnet_is_found_at_its_place(cidr: str, reason: str) -> None:
    found = problems(stack_config(sites=[{"zone": "us-west-2a"}, {"zone": "us-west-2b", "subnetCidr": cidr}]))
    assert list(found) == ["sites[1].subnetCidr"]
    assert found["sites[1].subnetCidr"].value == json.dumps(cidr)
    assert reason in found["sites[1].subnetCidr"].reason


@pytest.mark.parametrize(
    ("cidr", "reason"), [("10.64.1.0/24", "overlaps 10.64.1.0/24 of us-west-2b"), ("10.65.0.0/24", "is not inside the VPC")]
)
def test_subnet_that_does_not_fit_names_both_sides(cidr: str, reason: str) -> None:
    chosen = [{"zone": "us-west-2b"}, {"zone": "us-west-2-lax-1a", "subnetCidr": cidr}]
    (problem,) = problems(stack_config(sites=chosen)).values()
    assert reason in problem.reason
    assert "us-west-2-lax-1a" in problem.reason
    assert "subnetCidr" in problem.path
    assert problem.fix.startswith("edge config ENV ")


def test_zones_of_different_regions_may_have_the_same_subnet() -> None:
    assert problems(stack_config(sites=sites("us-west-2a", "us-east-1a"))) == {}


@pytest.mark.parametrize("network", ["127.0.0.0/16", "169.254.0.0/16", "198.18.0.0/16", "240.0.0.0/16", "0.0.0.0/16"])
def test_vpc_is_private_in_the_sense_of_its_message(network: str) -> None:
    assert list(problems(stack_config(network={"vpcCidr": network}))) == ["network.vpcCidr"]


@pytest.mark.parametrize("network", ["10.0.0.0/16", "172.16.0.0/18", "192.168.0.0/19"])
def test_private_vpcs_pass(network: str) -> None:
    assert problems(stack_config(network={"vpcCidr": network})) == {}


@pytest.mark.parametrize(("routing", "room"), [({}, 6), ({"routing": {"policy": "none"}}, 46)], ids=["routed", "alone"])
def test_as_many_tags_as_aws_takes(routing: dict[str, Any], room: int) -> None:
    """Route 53 takes ten of a health check and EC2 fifty of a resource; it would say so when the hosts are there."""
    own = {f"tag-{number:02}": "x" for number in range(room)}
    assert problems(stack_config(tags=own | {"Name": "replaced by our own"}, **routing)) == {}
    found = problems(stack_config(tags=own | {"tag-99": "x"}, **routing))
    assert (found["tags"].value, "tag-99" in found["tags"].fix) == (f"{room + 1} tags", True)


@pytest.mark.parametrize(
    ("tags", "reason"),
    [
        ({"a" * 129: "x"}, "at most 128 characters"),
        ({"": "x"}, "at least 1 character"),
        ({"AWS:team": "x"}, "begins with aws:"),
        ({"team!": "x"}, "holds EXCLAMATION MARK"),
        ({"team": "a" * 257}, "at most 256 characters"),
        ({"team": "a\x1b[31m"}, "holds the character U+001B"),
        ({"team": "a,b"}, "holds COMMA, and AWS takes letters, digits, blanks and _ . : / = + - @ in tags"),
        ({"cost": 5}, "is no text"),
    ],
    ids=str,
)
def test_tags_that_aws_refuses(tags: dict[str, object], reason: str) -> None:
    (problem,) = problems(stack_config(tags=tags)).values()
    assert reason in problem.reason
    assert "\x1b" not in str(problem)


def test_tags_that_aws_takes() -> None:
    assert problems(stack_config(tags={"a" * 128: "", "équipe :/=+-@_.": "Straße 5 " + "x" * 247})) == {}


@pytest.mark.parametrize(
    ("sections", "path"),
    [
        ({"sites": sites("us-west-2a", replicas=True)}, "sites[0].replicas"),
        ({"sites": sites("us-west-2a", replicas="2")}, "sites[0].replicas"),
        ({"sites": sites("us-west-2a", replicas="22:22")}, "sites[0].replicas"),
        ({"sites": sites("us-west-2a", optIn="yes")}, "sites[0].optIn"),
        ({"sites": sites("us-west-2a", optIn=1)}, "sites[0].optIn"),
        ({"endpoint": {"port": 8080.0}}, "endpoint.port"),
        ({"protect": "yes"}, "protect"),
        ({"protect": "NO"}, "protect"),
        ({"protect": "1"}, "protect"),
        ({"rollout": {"maxAway": True}}, "rollout.maxAway"),
    ],
    ids=str,
)
def test_nothing_is_taken_for_another_kind_of_value(sections: dict[str, Any], path: str) -> None:
    (problem,) = problems(stack_config(**sections)).values()
    assert problem.path == f"{PROJECT}:{path}"
    assert problem.reason.startswith(("is no ", "is neither "))


@pytest.mark.parametrize("key", [*SECTIONS, "tags", "drained", "sites"])
@pytest.mark.parametrize("value", [5, "x", [5], [[5]], {"x": 5}, {"": None}, None, True, {"geolocation": 5}], ids=str)
def test_no_class_of_the_program_is_named(key: str, value: Any) -> None:
    for problem in validate(stack_config(**{key: value})).problems:
        assert not re.search(
            r"Settings|instance of|dictionary|\[key\]|constrained|literal", f"{problem.path} {problem.reason} {problem.fix}"
        )


def test_the_line_for_a_tag_that_looks_like_a_number_keeps_it_a_text() -> None:
    (problem,) = problems(stack_config(tags={"cost": 5})).values()
    assert problem.fix == "edge config ENV tags.cost '\"5\"'"


@pytest.mark.parametrize(
    ("key", "meant"),
    [
        ("edge-inferenc:access", "edge-inference:access"),
        ("edge_inference:tags", "edge-inference:tags"),
        ("Edge-Inference:sites", "edge-inference:sites"),
        ("pulum:drained", "edge-inference:drained"),
        ("awz:region", "aws:region"),
        ("aws :region", "aws:region"),
    ],
)
def test_a_misspelt_namespace_is_no_other_programs(key: str, meant: str) -> None:
    config = stack_config()
    (problem,) = validate(StackConfig("dev", {**config.values, key: "x"}, config.secret_keys)).problems
    assert (problem.path, f"did you mean {meant}?" in problem.reason) == (key, True)


def test_other_programs_keys_are_theirs() -> None:
    config = stack_config()
    others = {"pulumi:tags": "{}", "aws:maxRetries": "1", "cloudflare:apiToken": "x", "command:a": "b"}
    assert validate(StackConfig("dev", {**config.values, **others}, config.secret_keys)).problems == ()


@pytest.mark.parametrize("region", ["us-west-2a", "uswest2", "us-west-2\n", "{}", "\x1b"])
def test_a_malformed_region_of_the_provider(region: str) -> None:
    config = stack_config()
    (problem,) = validate(StackConfig("dev", {**config.values, "aws:region": region}, config.secret_keys)).problems
    assert (problem.path, "is no Region" in problem.reason) == ("aws:region", True)


def test_what_nobody_has_decrypted_is_neither_missing_nor_judged() -> None:
    """A stack file tells the names of its secrets alone."""
    sealed = ("sshPrivateKey", "hostKeySecret", "tlsCertificate", "tlsPrivateKey", "sites", "access")
    config = stack_config(without=sealed, endpoint={"tls": True})
    keys = config.secret_keys | {f"{PROJECT}:{key}" for key in sealed}
    assert validate(StackConfig("dev", config.values, keys)).problems == ()
    assert validate(StackConfig("dev", config.values, keys)).settings is None


def test_bad_keys_of_tags_and_amis_are_shown_as_they_stand() -> None:
    found = problems(stack_config(tags={"aws:owner": "me"}, host={"amis": {"oregon": "ami-12345678"}}))
    assert len(found) == 2
    for path, problem in found.items():
        assert "[key]" not in path + problem.fix, "that is pydantic's word, no key of the config"
        assert path.startswith(("tags", "host.amis"))


@pytest.mark.parametrize("longest_prompt", [4096, 100_000])
def test_lines_for_token_limits_mend_them(longest_prompt: int) -> None:
    server = {"maxInputTokens": longest_prompt}
    (problem,) = problems(stack_config(server=server)).values()
    pasted = re.findall(r"edge config ENV server\.(\w+) (\d+)", problem.fix)
    assert problems(stack_config(server=server | {key: int(value) for key, value in pasted})) == {}


def test_one_spelling_of_a_key() -> None:
    assert "sites[0].instance_type" in problems(stack_config(sites=sites("us-west-2a", instance_type="g5.xlarge")))


# Secrets


@pytest.mark.parametrize("key", ["sshPrivateKey", "hostKeySecret"])
def test_missing_secret(key: str) -> None:
    (problem,) = problems(stack_config(without=(key,))).values()
    assert (problem.path, problem.value, problem.reason) == (f"{PROJECT}:{key}", None, "is missing")
    assert f"edge secret set ENV {key}" in problem.fix
    assert "edge keys ENV" in problem.fix


def test_token_may_be_missing() -> None:
    assert settings(huggingFaceToken="").secrets.hugging_face_token is None
    assert validate(stack_config(without=("huggingFaceToken",))).problems == ()


@pytest.mark.parametrize("key", ["sshPrivateKey", "hostKeySecret", "huggingFaceToken"])
def test_secret_in_clear(key: str) -> None:
    (problem,) = problems(stack_config(clear=(key,))).values()
    assert problem.path == f"{PROJECT}:{key}"
    assert problem.value is None
    assert "in clear" in problem.reason
    assert f"edge secret set ENV {key}" in problem.fix


@pytest.mark.parametrize("secret", ["", " ", "abc", "g" * 64, "ab" * 31, "ab" * 33, "0x" + "a" * 62])
def test_malformed_host_key_secret(secret: str) -> None:
    (problem,) = problems(stack_config(hostKeySecret=secret)).values()
    assert problem.path == f"{PROJECT}:hostKeySecret"
    assert problem.reason in {"is not 64 hex digits (32 random bytes)", "is missing"}


def test_host_key_secret_may_end_with_a_newline() -> None:
    """`openssl rand -hex 32 |` brings one."""
    assert problems(stack_config(hostKeySecret=HOST_KEY_SECRET + "\n")) == {}


def test_malformed_deployer_key() -> None:
    (problem,) = problems(stack_config(sshPrivateKey="-----BEGIN OPENSSH PRIVATE KEY-----\nnothing\n")).values()
    assert problem.path == f"{PROJECT}:sshPrivateKey"
    assert problem.reason == "not an unencrypted OpenSSH private key"
    assert "ssh-keygen" in problem.fix


def secret_words() -> list[str]:
    return [TOKEN, HOST_KEY_SECRET, *deployer_key().splitlines()[1:-1]]


@pytest.mark.parametrize(
    "config",
    [
        stack_config(),
        stack_config(clear=("sshPrivateKey", "hostKeySecret", "huggingFaceToken")),
        stack_config(hostKeySecret=HOST_KEY_SECRET + TOKEN, sshPrivateKey=deployer_key()[:-60]),
        stack_config(sites=[], huggingfaceToken=TOKEN, server={"token": TOKEN}, routing={"token": TOKEN}),
    ],
    ids=["good", "in clear", "malformed", "in the wrong place"],
)
def test_no_secret_in_any_text(config: StackConfig) -> None:
    validated = validate(config)
    shown = " ".join(
        [str(ConfigurationError("dev", validated.problems)), repr(validated), repr(validated.settings), repr(config)]
    )
    for word in secret_words():
        assert word not in shown


def test_values_of_a_section_that_is_secret_are_not_shown() -> None:
    config = stack_config(server={"image": f"bad image {TOKEN}"})
    secret = StackConfig("dev", config.values, config.secret_keys | {f"{PROJECT}:server"})
    assert TOKEN not in str(ConfigurationError("dev", validate(secret).problems))


# All at once


def test_all_problems_are_reported_together() -> None:
    config = stack_config(
        without=("sshPrivateKey", "hostKeySecret"),
        sites=[{"zone": "nowhere"}, {"zone": "us-west-2a", "replicas": 0}],
        access={},
        routing={"domain": "example.com"},
        servr={},
        tags={"team": 1},
    )
    with pytest.raises(ConfigurationError) as raised:
        validate(config).require("dev")
    paths = {problem.path.removeprefix(f"{PROJECT}:") for problem in raised.value.problems}
    assert paths == {
        "servr", "access.clientCidrs", "access.sshCidrs", "routing.domain", "sites[0].zone", "sites[1].replicas", "tags.team",
        "sshPrivateKey", "hostKeySecret",
    }  # fmt: skip
    text = str(raised.value)
    assert text.startswith("9 problems in the configuration of stack 'dev'; nothing was changed.")
    for problem in raised.value.problems:
        assert f"{problem.path}" in text
        assert problem.reason in text
        assert problem.told_to("dev").fix.splitlines()[0] in text


def test_the_committed_prod_file_lists_what_its_owner_must_add() -> None:
    """Addresses, domain and secrets are left out on purpose."""
    found = problems(stack_config("prod", without=("access", "routing", "sshPrivateKey", "hostKeySecret", "huggingFaceToken")))
    assert set(found) == {"access.clientCidrs", "access.sshCidrs", "routing", "sshPrivateKey", "hostKeySecret"}
    assert found["routing"].fix.count("edge config ENV") == 2


def test_well_formed_sites_can_still_be_asked_of_aws() -> None:
    validated = validate(stack_config(sites=[{"zone": "nowhere"}, {"zone": "us-west-2a"}], without=("access",)))
    assert validated.settings is None
    assert "us-west-2a" in repr(validated.sites)


def test_zone_that_stands_there_twice_is_one_site_for_aws() -> None:
    assert len(validate(stack_config(sites=sites("us-west-2a", "us-west-2a"))).sites) == 1


# Defaults


def test_defaults() -> None:
    config = settings()
    assert config.server.engine == "tgi"
    assert config.server.model == "meta-llama/Llama-3.2-3B-Instruct"
    assert (config.endpoint.tls, config.endpoint.public_port) == (False, 8080)
    assert config.routing.policy == "latency"
    region_site, local_site = config.sites
    assert {region_site.replicas, local_site.replicas} == {1}
    assert {region_site.instance_type, local_site.instance_type} == {"g4dn.2xlarge"}
    assert (region_site.root_volume_type, local_site.root_volume_type) == ("gp3", "gp2")
    assert region_site.volume_gib == 100
    assert not local_site.opt_in
    assert config.tags == {}
    assert config.is_routed
    assert list(config.regions) == ["us-west-2"]


def test_a_zone_is_drained_once() -> None:
    assert settings(drained=[LAX, LAX]).drained == (LAX,)


def test_what_another_policy_needs_may_stay() -> None:
    """On the way from one policy to another, or to none."""
    mapping = {"default": LAX}
    for policy in ("latency", "geoproximity", "none"):
        assert settings(drained=[LAX], **routed("llm.acme.dev", policy=policy, geolocation=mapping, bias={"us-west-2": 5}))


def test_places_are_not_judged_where_the_sites_are_malformed() -> None:
    found = problems(stack_config(sites=[{"zone": "us-west-2a"}, {"zone": "nowhere"}], drained=[LAX], **mapped({"default": HNL})))
    assert set(found) == {"sites[1].zone"}


def test_volume_type_of_config_wins() -> None:
    (site,) = settings(sites=sites("us-west-2-lax-1a", volumeType="gp3")).sites
    assert site.root_volume_type == "gp3"


def test_empty_defaults_of_the_project_file_read_as_absent() -> None:
    """Pulumi.yaml gives every key an empty default, so that the program reports what is missing."""
    given = stack_config(server={}, network={}, host={}, tags={})
    assert settings() == validate(given).settings


def test_no_routing_needs_no_domain() -> None:
    config = settings(routing={"policy": "none"})
    assert not config.is_routed


def test_sites_are_grouped_by_parent_region_in_order() -> None:
    config = settings(sites=sites("us-west-2-lax-1a", "us-east-1-bos-1a", "us-west-2a"))
    assert {region: [site.zone for site in found] for region, found in config.regions.items()} == {
        "us-west-2": ["us-west-2-lax-1a", "us-west-2a"],
        "us-east-1": ["us-east-1-bos-1a"],
    }


def test_settings_are_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        SiteSettings(zone="us-west-2a").replicas = 2  # type: ignore[misc] # that it cannot be done is what is shown


# Whatever stands there

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=12)
    | st.sampled_from(["us-west-2a", "10.0.0.0/16"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
field_names = st.sampled_from(
    sorted({field.alias or "" for model in [*SECTIONS.values(), SiteSettings] for field in model.model_fields.values()} | {"x"})
)
sections_of_config = st.dictionaries(field_names, json_values, max_size=4)
keys = st.sampled_from([*SECTIONS, "sites", "tags", "sshPrivateKey", "hostKeySecret", "huggingFaceToken", "unknown"])


@given(
    st.dictionaries(
        keys,
        (sections_of_config | st.lists(sections_of_config, max_size=3) | json_values).map(json.dumps) | st.text(max_size=20),
        max_size=10,
    ),
    st.booleans(),
)
def test_validate_never_raises(values: dict[str, str], secret: bool) -> None:
    config = StackConfig(
        "dev", {f"{PROJECT}:{key}": text for key, text in values.items()}, SECRET_KEYS if secret else frozenset()
    )
    validated = validate(config)
    assert (validated.settings is None) == bool(validated.problems)
    for problem in validated.problems:
        assert problem.path.startswith(f"{PROJECT}:")
        assert problem.reason
        assert problem.fix
        json.dumps(str(problem))


def test_numbers_and_nesting_beyond_all_bounds_are_problems_too() -> None:
    for text in ('{"port": ' + "9" * 5000 + "}", "[" * 100_000):
        assert validate(stack_config(server=text)).problems


def test_protection_is_off_unless_asked_for() -> None:
    assert settings().protect is False
    assert settings(protect=True).protect is True


def test_protection_is_yes_or_no() -> None:
    assert "protect" in problems(stack_config(protect="sometimes"))
