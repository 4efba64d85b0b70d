# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportUnknownLambdaType=false, reportMissingTypeStubs=false
# (boto3 has no types)
"""`aws:ec2/instance:Instance`: launch, wait, change in place, terminate. Fields and replacements as upstream's
ec2_instance.go. Left out, and refused: spot, launch templates, extra volumes, network interfaces, placement, IAM.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from botocore.exceptions import ClientError

from localcloud.plugins.base import Call, ProviderError
from localcloud.plugins.clients import Client, code, tolerating
from localcloud.plugins.ec2 import (
    Ec2Resource,
    given,
    tag_list,
    tag_properties,
    update_tags,
    wait_until,
)
from localcloud.plugins.schema import Problem
from localcloud.plugins.values import Properties, is_list, is_map

_MAX_USER_DATA_BYTES = 16384
_METADATA = {
    "httpEndpoint": "HttpEndpoint",
    "httpTokens": "HttpTokens",
    "httpPutResponseHopLimit": "HttpPutResponseHopLimit",
    "instanceMetadataTags": "InstanceMetadataTags",
}
_VOLUME = {
    "volumeType": "VolumeType",
    "volumeSize": "VolumeSize",
    "iops": "Iops",
    "throughput": "Throughput",
}
_STOPPED_FOR = ("instanceType", "userData", "userDataBase64")


class Instance(Ec2Resource):
    """An instance with a root volume in one subnet."""

    kind = "instance"
    not_found = ("InvalidInstanceID.NotFound",)
    supported = frozenset(
        {
            "ami",
            "associatePublicIpAddress",
            "availabilityZone",
            "disableApiTermination",
            "ebsOptimized",
            "forceDestroy",
            "getPasswordData",
            "instanceType",
            "keyName",
            "metadataOptions",
            "monitoring",
            "privateIp",
            "region",
            "rootBlockDevice",
            "sourceDestCheck",
            "subnetId",
            "tags",
            "tenancy",
            "userData",
            "userDataBase64",
            "userDataReplaceOnChange",
            "volumeTags",
            "vpcSecurityGroupIds",
        }
    )
    replace_on = frozenset(
        {
            "ami",
            "associatePublicIpAddress",
            "availabilityZone",
            "ebsOptimized",
            "keyName",
            "privateIp",
            "region",
            "rootBlockDevice.encrypted",
            "rootBlockDevice.kmsKeyId",
            "subnetId",
            "tenancy",
        }
    )
    unordered = frozenset({"vpcSecurityGroupIds"})
    defaults: ClassVar[Mapping[str, object]] = {
        "forceDestroy": False,
        "getPasswordData": False,
        "sourceDestCheck": True,
        "userDataReplaceOnChange": False,
    }

    def problems(self, inputs: Properties) -> Iterable[Problem]:
        """Refuse what upstream's schema refuses."""
        for name in ("ami", "instanceType"):
            if not inputs.get(name):
                yield Problem(name, "is required: there is no launch template to take it from")
        if inputs.get("userData") and inputs.get("userDataBase64"):
            yield Problem("userData", "conflicts with userDataBase64")
        if len(str(inputs.get("userData", "")).encode()) > _MAX_USER_DATA_BYTES:
            yield Problem("userData", f"must not be longer than {_MAX_USER_DATA_BYTES} bytes")
        device = inputs.get("rootBlockDevice")
        if is_map(device) and inputs.get("volumeTags") and device.get("tags"):
            yield Problem("rootBlockDevice.tags", "conflicts with volumeTags")
        options = inputs.get("metadataOptions")
        hops = options.get("httpPutResponseHopLimit", 1) if is_map(options) else 1
        if isinstance(hops, int) and not 1 <= hops <= 64:  # noqa: PLR2004
            yield Problem("metadataOptions.httpPutResponseHopLimit", "must be between 1 and 64")

    def replaces(self, path: str, olds: Properties, news: Properties) -> bool:
        """Replace for changed user data only where the program asks for it, and for a type of another architecture."""
        if path in ("userData", "userDataBase64"):
            return news.get("userDataReplaceOnChange") is True
        if path == "instanceType":
            return not self._share_an_architecture(olds, news)
        return super().replaces(path, olds, news)

    def _share_an_architecture(self, olds: Properties, news: Properties) -> bool:
        """Whether an image for the one type runs on the other, as upstream asks AWS; yes where AWS does not say."""
        names = [olds.get("instanceType"), news.get("instanceType")]
        found: list[set[str]] = []
        with tolerating("InvalidInstanceType"):
            types = self.client(news).describe_instance_types(InstanceTypes=names)["InstanceTypes"]
            found = [set(each["ProcessorInfo"]["SupportedArchitectures"]) for each in types]
        return len(found) < len(names) or not found[0].isdisjoint(found[1])

    def uncertain(self, changed: set[str]) -> Iterable[str]:
        """A stop and start gives another automatic public address."""
        return ("publicIp", "publicDns") if changed.intersection(_STOPPED_FOR) else ()

    def create(self, call: Call, inputs: Properties) -> str:
        """Launch the instance; wait a little where the zone has no capacity."""
        client = self.clients.get("ec2", inputs.get("region"), retry=False)
        arguments = self._launch_arguments(self.client(inputs), inputs)
        attempt = 0
        while True:
            try:
                return client.run_instances(**arguments)["Instances"][0]["InstanceId"]
            except ClientError as error:
                # The official plugin keeps trying for up to 50 minutes, silently (hashicorp/terraform-provider-aws
                # #43193); nobody would wait for that here, so `aws:maxRetries` and short steps bound it.
                attempt += 1
                waits = code(error) in ("InsufficientInstanceCapacity", "RequestLimitExceeded")
                if not waits or attempt > self.clients.max_retries:
                    raise
                call.status(f"launch refused ({code(error)}): trying again, {attempt}/{self.clients.max_retries}")
                call.sleep(min(0.25 * 2**attempt, 5))

    def _launch_arguments(self, client: Client, inputs: Properties) -> dict[str, Any]:
        names = {
            "ami": "ImageId",
            "instanceType": "InstanceType",
            "keyName": "KeyName",
            "disableApiTermination": "DisableApiTermination",
            "ebsOptimized": "EbsOptimized",
        }
        network = {
            "subnetId": "SubnetId",
            "privateIp": "PrivateIpAddress",
            "associatePublicIpAddress": "AssociatePublicIpAddress",
        }
        arguments: dict[str, Any] = {"MinCount": 1, "MaxCount": 1, **given(inputs, names)}
        if inputs.get("associatePublicIpAddress") is not None:
            groups = given(inputs, {"vpcSecurityGroupIds": "Groups"})
            interface = {"DeviceIndex": 0, **given(inputs, network), **groups}
            arguments["NetworkInterfaces"] = [interface]
        else:
            arguments |= given(inputs, network | {"vpcSecurityGroupIds": "SecurityGroupIds"})
        placement = given(inputs, {"availabilityZone": "AvailabilityZone", "tenancy": "Tenancy"})
        if placement:
            arguments["Placement"] = placement
        if inputs.get("monitoring") is not None:
            arguments["Monitoring"] = {"Enabled": inputs["monitoring"]}
        if (data := _user_data(inputs)) is not None:
            arguments["UserData"] = data  # boto3 encodes it
        if is_map(options := inputs.get("metadataOptions")):
            arguments["MetadataOptions"] = given(options, _METADATA)
        if is_map(device := inputs.get("rootBlockDevice")):
            names = _VOLUME | {"encrypted": "Encrypted", "kmsKeyId": "KmsKeyId"}
            names |= {"deleteOnTermination": "DeleteOnTermination"}
            volume = {"DeleteOnTermination": True, **given(device, names)}
            root = _root_device_name(client, inputs["ami"])
            arguments["BlockDeviceMappings"] = [{"DeviceName": root, "Ebs": volume}]
        specifications = [
            {"ResourceType": kind, "Tags": tag_list(inputs[name])}
            for kind, name in (("instance", "tags"), ("volume", "volumeTags"))
            if inputs.get(name)
        ]
        return arguments | ({"TagSpecifications": specifications} if specifications else {})

    def settle(self, call: Call, resource_id: str, inputs: Properties) -> None:
        """Wait until it runs; then set what a launch does not take."""
        client = self.client(inputs)
        self._wait_for(call, client, resource_id, "running")
        device = inputs.get("rootBlockDevice")
        if is_map(device) and device.get("tags"):
            update_tags(client, _root_volume_id(client, resource_id), {}, device["tags"])
        if inputs.get("sourceDestCheck") is False:
            client.modify_instance_attribute(InstanceId=resource_id, SourceDestCheck={"Value": False})

    def _wait_for(self, call: Call, client: Client, resource_id: str, state: str) -> None:
        def reached() -> bool:
            found = self._describe(client, resource_id)["State"]["Name"]
            if found in ("shutting-down", "terminated") and state != "terminated":
                message = f"{resource_id} is {found} instead of {state}"
                raise ProviderError(message)
            return found == state

        wait_until(call, f"{resource_id} to be {state}", reached)

    def _describe(self, client: Client, resource_id: str) -> dict[str, Any]:
        return client.describe_instances(InstanceIds=[resource_id])["Reservations"][0]["Instances"][0]

    def find(self, client: Client, resource_id: str, known: Properties) -> Properties | None:
        """Describe the instance, its root volume and user data; a terminated one is gone."""
        instance = self._describe(client, resource_id)
        if instance["State"]["Name"] in ("shutting-down", "terminated"):
            return None
        interfaces = instance.get("NetworkInterfaces") or [{}]
        root = _root_volume(client, instance)
        found: Properties = {
            "arn": self.arn(known, resource_id),
            "ami": instance["ImageId"],
            "availabilityZone": instance["Placement"]["AvailabilityZone"],
            "ebsOptimized": instance.get("EbsOptimized"),
            "instanceState": instance["State"]["Name"],
            "instanceType": instance["InstanceType"],
            "keyName": instance.get("KeyName"),
            "metadataOptions": _renamed(instance.get("MetadataOptions", {}), _METADATA),
            "primaryNetworkInterfaceId": interfaces[0].get("NetworkInterfaceId"),
            "privateDns": instance.get("PrivateDnsName"),
            "privateIp": instance.get("PrivateIpAddress"),
            "publicDns": instance.get("PublicDnsName") or "",
            "publicIp": instance.get("PublicIpAddress") or "",
            "rootBlockDevice": root,
            "sourceDestCheck": instance.get("SourceDestCheck"),
            "subnetId": instance.get("SubnetId"),
            "tenancy": instance["Placement"].get("Tenancy"),
            "vpcSecurityGroupIds": sorted(group["GroupId"] for group in instance["SecurityGroups"]),
            **tag_properties(instance.get("Tags")),
        }
        if known.get("volumeTags") is not None:
            found["volumeTags"] = root.get("tags", {})
        attribute = client.describe_instance_attribute(InstanceId=resource_id, Attribute="userData")
        encoded = attribute.get("UserData", {}).get("Value") or ""
        if "userDataBase64" in known:
            found["userDataBase64"] = encoded
        elif encoded:
            found["userData"] = base64.b64decode(encoded).decode(errors="replace")
        return found

    def change(self, call: Call, client: Client, resource_id: str, olds: Properties, news: Properties) -> None:
        """Change in place; type and user data need a stop and a start."""
        changed = {key for key in olds | news if olds.get(key) != news.get(key)}
        for name, attribute in (
            ("sourceDestCheck", "SourceDestCheck"),
            ("disableApiTermination", "DisableApiTermination"),
        ):
            if name in changed:
                value = {"Value": bool(news.get(name, name == "sourceDestCheck"))}
                client.modify_instance_attribute(InstanceId=resource_id, **{attribute: value})
        if "vpcSecurityGroupIds" in changed and is_list(groups := news.get("vpcSecurityGroupIds")):
            client.modify_instance_attribute(InstanceId=resource_id, Groups=groups)
        if "metadataOptions" in changed and is_map(options := news.get("metadataOptions")):
            client.modify_instance_metadata_options(InstanceId=resource_id, **given(options, _METADATA))
        if "volumeTags" in changed:
            volume_id = _root_volume_id(client, resource_id)
            update_tags(client, volume_id, olds.get("volumeTags"), news.get("volumeTags"))
        if "rootBlockDevice" in changed:
            self._change_root(client, resource_id, olds, news)
        if changed.intersection(_STOPPED_FOR):
            self._change_stopped(call, client, resource_id, news, changed)

    def _change_root(self, client: Client, resource_id: str, olds: Properties, news: Properties) -> None:
        before, after = olds.get("rootBlockDevice"), news.get("rootBlockDevice")
        before, after = before if is_map(before) else {}, after if is_map(after) else {}
        volume_id = _root_volume_id(client, resource_id)
        if given(before, _VOLUME) != given(after, _VOLUME):
            client.modify_volume(VolumeId=volume_id, **given(after, _VOLUME | {"volumeSize": "Size"}))
        if before.get("tags") != after.get("tags"):
            update_tags(client, volume_id, before.get("tags"), after.get("tags"))

    def _change_stopped(self, call: Call, client: Client, resource_id: str, news: Properties, changed: set[str]) -> None:
        call.status("stopping the instance to change it")
        client.stop_instances(InstanceIds=[resource_id])
        self._wait_for(call, client, resource_id, "stopped")
        if "instanceType" in changed:
            value = {"Value": news["instanceType"]}
            client.modify_instance_attribute(InstanceId=resource_id, InstanceType=value)
        if changed.intersection(("userData", "userDataBase64")):
            value = {"Value": _user_data(news) or b""}
            client.modify_instance_attribute(InstanceId=resource_id, UserData=value)
        client.start_instances(InstanceIds=[resource_id])
        self._wait_for(call, client, resource_id, "running")

    def delete(self, call: Call, resource_id: str, state: Properties) -> None:
        """Terminate and wait: subnet and groups can only go when it is gone."""
        client = self.client(state)
        with tolerating(*self.not_found):
            client.terminate_instances(InstanceIds=[resource_id])
            self._wait_for(call, client, resource_id, "terminated")

    def remove(self, client: Client, resource_id: str, state: Properties) -> None:
        """Not used: deletion waits."""


def _user_data(inputs: Properties) -> bytes | None:
    if inputs.get("userDataBase64"):
        return base64.b64decode(str(inputs["userDataBase64"]))
    return str(inputs["userData"]).encode() if inputs.get("userData") else None


def _root_device_name(client: Client, ami: object) -> str:
    images = client.describe_images(ImageIds=[ami])["Images"]
    return images[0].get("RootDeviceName") or "/dev/xvda" if images else "/dev/xvda"


def _root_volume_id(client: Client, resource_id: str) -> str:
    found = client.describe_instances(InstanceIds=[resource_id])
    return str(_root_mapping(found["Reservations"][0]["Instances"][0])["Ebs"]["VolumeId"])


def _root_mapping(instance: Mapping[str, Any]) -> dict[str, Any]:
    mappings = instance.get("BlockDeviceMappings") or [{}]
    name = instance.get("RootDeviceName")
    return next((each for each in mappings if each.get("DeviceName") == name), mappings[0])


def _root_volume(client: Client, instance: Mapping[str, Any]) -> Properties:
    mapping = _root_mapping(instance)
    if "Ebs" not in mapping:
        return {}
    (volume,) = client.describe_volumes(VolumeIds=[mapping["Ebs"]["VolumeId"]])["Volumes"]
    return {
        "deviceName": mapping["DeviceName"],
        "volumeId": volume["VolumeId"],
        "volumeSize": volume["Size"],
        "volumeType": volume.get("VolumeType"),
        "encrypted": volume.get("Encrypted"),
        "kmsKeyId": volume.get("KmsKeyId"),
        "deleteOnTermination": mapping["Ebs"].get("DeleteOnTermination", True),
        "iops": volume.get("Iops"),
        "throughput": volume.get("Throughput"),
        **tag_properties(volume.get("Tags")),
    }


def _renamed(found: Mapping[str, Any], names: Mapping[str, str]) -> Properties:
    return {name: found[key] for name, key in names.items() if key in found}
