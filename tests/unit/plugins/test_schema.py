import pulumi
import pytest

from localcloud.plugins.schema import Shape, UnknownTokenError, function_shape, resource_shape
from localcloud.plugins.values import SIGNATURE, UNKNOWN


def reasons(shape: Shape, **values: object) -> list[str]:
    return [f"{problem.path} {problem.reason}" for problem in shape.problems(values)]


INSTANCE = "aws:ec2/instance:Instance"
COMMAND = "command:remote:Command"


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"amy": "x"}, "amy is not a property here; did you mean ami?"),
        ({"zzz": "x"}, "zzz is not a property here"),
        ({"instanceType": 3}, "instanceType must be a string, not a whole number"),
        ({"monitoring": "yes"}, "monitoring must be a boolean, not a string"),
        ({"monitoring": 1}, "monitoring must be a boolean, not a whole number"),
        ({"cpuOptions": "x"}, "cpuOptions must be an object, not a string"),
        ({"tags": {"a": 1}}, 'tags["a"] must be a string, not a whole number'),
        ({"tags": []}, "tags must be a map, not a list"),
        ({"vpcSecurityGroupIds": "sg"}, "vpcSecurityGroupIds must be a list, not a string"),
        ({"vpcSecurityGroupIds": [True]}, "vpcSecurityGroupIds[0] must be a string, not a boolean"),
        ({"rootBlockDevice": {"volumeSize": "1"}}, "rootBlockDevice.volumeSize must be a whole number, not a string"),
        ({"rootBlockDevice": {"volumSize": 1}}, "rootBlockDevice.volumSize is not a property here; did you mean volumeSize?"),
        ({"publicIp": "1.2.3.4"}, "publicIp is an output of the resource and cannot be set"),
    ],
)
def test_wrong_inputs_of_an_instance(values: dict[str, object], expected: str) -> None:
    assert reasons(resource_shape(INSTANCE), **values) == [expected]


def test_right_inputs_and_unknown_ones_pass() -> None:
    assert not reasons(
        resource_shape(INSTANCE),
        ami=UNKNOWN,
        tags={"a": UNKNOWN},
        vpcSecurityGroupIds=UNKNOWN,
        metadataOptions={"httpTokens": "required", "httpPutResponseHopLimit": 1},
        rootBlockDevice=UNKNOWN,
        __defaults=["x"],
    )


def test_missing_inputs_also_in_nested_objects() -> None:
    assert reasons(resource_shape("aws:ec2/subnet:Subnet")) == ["vpcId is required, but missing"]
    record = resource_shape("aws:route53/record:Record")
    found = reasons(record, zoneId="z", name="n", type="A", aliases=[{"name": "x", "zoneId": "z"}])
    assert found == ["aliases[0].evaluateTargetHealth is required, but missing"]


def test_of_an_enumeration_only_the_type_is_enforced_as_by_the_official_plugins() -> None:
    command = resource_shape(COMMAND)
    assert reasons(command, connection={"host": "h"}, logging=1) == ["logging must be a string, not a whole number"]
    assert not reasons(
        command, connection={"host": "h", "port": 22, "dialErrorLimit": -1}, logging="loud", triggers=[1, {"a": "b"}]
    )


def test_assets() -> None:
    copy = resource_shape("command:remote:CopyToRemote")
    rest = {"connection": {"host": "h"}, "remotePath": "/x"}
    assert reasons(copy, source="text", **rest) == ["source must be an asset, not a string"]
    assert not reasons(copy, source={SIGNATURE: "…", "text": "x"}, **rest)


def test_function_arguments() -> None:
    offerings = function_shape("aws:ec2/getInstanceTypeOfferings:getInstanceTypeOfferings")
    assert reasons(offerings, locationTyp="x") == ["locationTyp is not a property here; did you mean locationType?"]
    assert reasons(offerings, filters=[{"name": "a", "values": "b"}]) == ["filters[0].values must be a list, not a string"]
    assert not reasons(offerings, filters=[{"name": "a", "values": ["b"]}], region="us-west-2")
    quota = function_shape("aws:servicequotas/getServiceQuota:getServiceQuota")
    assert reasons(quota, quotaCode="L") == ["serviceCode is required, but missing"]


@pytest.mark.parametrize("token", ["aws:ec2/vpc:Vpx", "aws:nope/vpc:Vpc", "command:remote:Commands", "aws:index/getNope:getNope"])
def test_tokens_that_the_sdk_has_not(token: str) -> None:
    with pytest.raises(UnknownTokenError):
        resource_shape(token)
    with pytest.raises(UnknownTokenError):
        function_shape(token)


@pytest.mark.parametrize(
    "token", ["aws:ec2/vpc:Vpc", "aws:route53/zone:Zone", "aws:iam/role:Role", "aws:lambda/function:Function"]
)
def test_shapes_come_from_the_sdk_for_any_resource(token: str) -> None:
    shape = resource_shape(token)
    assert shape.accepted
    assert "arn" in shape.outputs
    assert pulumi.Output not in shape.accepted.values()
