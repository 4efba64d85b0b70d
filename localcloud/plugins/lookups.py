# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportUnknownLambdaType=false, reportMissingTypeStubs=false
# (boto3 has no types)
"""The functions (`aws.get_…`) that the stack program calls, answered by the emulated AWS as upstream's data sources do.

Each returns the arguments with what was found; one that finds nothing, or more than the one it promises, fails.
"""

from __future__ import annotations

import re
from typing import Any, NoReturn

from localcloud.plugins.base import Function, ProviderError
from localcloud.plugins.clients import Client, Clients
from localcloud.plugins.ec2 import given, tag_properties
from localcloud.plugins.instance import Instance
from localcloud.plugins.route53 import bare_zone_id
from localcloud.plugins.values import Properties, Secret, is_list, is_map


def _filters(arguments: Properties, tags: str = "tags") -> list[dict[str, Any]]:
    """Return the `filters` and tags of arguments in AWS's form."""
    filters = arguments.get("filters")
    found = [{"Name": each["name"], "Values": each["values"]} for each in (filters if is_list(filters) else []) if is_map(each)]
    wanted = arguments.get(tags)
    for key, value in wanted.items() if is_map(wanted) else ():
        found.append({"Name": f"tag:{key}", "Values": [value]})
    return found


def _filtered(arguments: Properties, tags: str = "tags") -> dict[str, Any]:
    filters = _filters(arguments, tags)
    return {"Filters": filters} if filters else {}


def _fail(message: str) -> NoReturn:
    raise ProviderError(message)


def _only(found: list[dict[str, Any]], what: str) -> dict[str, Any]:
    """Return the single result, as upstream: none and many are errors."""
    if not found:
        _fail(f"no matching {what} found")
    if len(found) > 1:
        _fail(f"multiple {what}s matched: use more arguments to reduce matches to a single one")
    return found[0]


class Lookups:
    """The functions, on the clients of one provider configuration."""

    def __init__(self, clients: Clients) -> None:
        """Use these clients."""
        self.clients = clients

    def region(self, arguments: Properties) -> str:
        """Return the Region that arguments name, or the provider's."""
        return str(arguments.get("region") or self.clients.region)

    def client(self, arguments: Properties, service: str = "ec2") -> Client:
        """Return a client in the Region that arguments name."""
        return self.clients.get(service, arguments.get("region"))

    def _zones(self, arguments: Properties) -> list[dict[str, Any]]:
        query = {
            **given(arguments, {"allAvailabilityZones": "AllAvailabilityZones"}),
            **_filtered(arguments),
        }
        state = arguments.get("state")
        zones = self.client(arguments).describe_availability_zones(**query)["AvailabilityZones"]
        return [zone for zone in zones if state in (None, zone["State"])]

    def get_availability_zone(self, arguments: Properties) -> Properties:
        """Describe the one zone of a name or id."""
        wanted = given(arguments, {"name": "ZoneName", "zoneId": "ZoneId"})
        found = [zone for zone in self._zones(arguments) if all(zone.get(key) == value for key, value in wanted.items())]
        what = f"EC2 Availability Zone {next(iter(wanted.values()), '')}".strip()
        zone = _only(found, what)
        name = zone["ZoneName"]
        return {
            "id": name,
            "name": name,
            "zoneId": zone.get("ZoneId"),
            "state": zone["State"],
            "zoneType": zone.get("ZoneType"),
            "groupName": zone.get("GroupName"),
            "groupLongName": zone.get("GroupLongName"),
            "networkBorderGroup": zone.get("NetworkBorderGroup"),
            "optInStatus": zone.get("OptInStatus"),
            "parentZoneId": zone.get("ParentZoneId", ""),
            "parentZoneName": zone.get("ParentZoneName", ""),
            # upstream: what follows the Region, `a` of us-west-2a but `lax-1a` of us-west-2-lax-1a
            "nameSuffix": name.removeprefix(self.region(arguments)).removeprefix("-"),
        }

    def get_availability_zones(self, arguments: Properties) -> Properties:
        """List zones by name."""
        hidden: list[object] = []
        for key in ("excludeNames", "excludeZoneIds"):
            value = arguments.get(key)
            hidden += value if is_list(value) else []
        zones = [zone for zone in self._zones(arguments) if zone["ZoneName"] not in hidden and zone.get("ZoneId") not in hidden]
        zones.sort(key=lambda zone: zone["ZoneName"])
        return {
            "id": self.region(arguments),
            "names": [zone["ZoneName"] for zone in zones],
            "zoneIds": [zone.get("ZoneId", "") for zone in zones],
            "groupNames": sorted({zone["GroupName"] for zone in zones if zone.get("GroupName")}),
        }

    def get_caller_identity(self, arguments: Properties) -> Properties:
        """Say which account this is."""
        found = self.client(arguments, "sts").get_caller_identity()
        account = found["Account"]
        return {"id": account, "accountId": account, "arn": found["Arn"], "userId": found["UserId"]}

    def get_instance_type_offerings(self, arguments: Properties) -> Properties:
        """List where which instance types are offered."""
        query = {**given(arguments, {"locationType": "LocationType"}), **_filtered(arguments)}
        pages = self.client(arguments).get_paginator("describe_instance_type_offerings")
        offers = [offer for page in pages.paginate(**query) for offer in page["InstanceTypeOfferings"]]
        return {
            "id": self.region(arguments),
            "instanceTypes": [offer["InstanceType"] for offer in offers],
            "locations": [offer["Location"] for offer in offers],
            "locationTypes": [offer["LocationType"] for offer in offers],
        }

    def get_instance_type(self, arguments: Properties) -> Properties:
        """Describe an instance type: processors, memory, GPUs."""
        name = arguments["instanceType"]
        client = self.client(arguments)
        found = client.describe_instance_types(InstanceTypes=[name])["InstanceTypes"]
        kind = _only(found, f"EC2 Instance Type {name}")
        gpus = kind.get("GpuInfo", {})
        return {
            "id": name,
            "currentGeneration": kind.get("CurrentGeneration"),
            "bareMetal": kind.get("BareMetal"),
            "defaultVcpus": kind["VCpuInfo"]["DefaultVCpus"],
            "defaultCores": kind["VCpuInfo"].get("DefaultCores"),
            "memorySize": kind["MemoryInfo"]["SizeInMiB"],
            "supportedArchitectures": kind.get("ProcessorInfo", {}).get("SupportedArchitectures", []),
            "totalGpuMemory": gpus.get("TotalGpuMemoryInMiB", 0),
            "gpuses": [
                {
                    "count": gpu.get("Count", 0),
                    "manufacturer": gpu.get("Manufacturer", ""),
                    "memorySize": gpu.get("MemoryInfo", {}).get("SizeInMiB", 0),
                    "name": gpu.get("Name", ""),
                }
                for gpu in gpus.get("Gpus", [])
            ],
        }

    def _instances(self, arguments: Properties) -> list[dict[str, Any]]:
        query = given(arguments, {"instanceId": "InstanceIds"})
        if query:
            query = {"InstanceIds": [arguments["instanceId"]]}
        pages = self.client(arguments).get_paginator("describe_instances")
        return [
            instance
            for page in pages.paginate(**query, **_filtered(arguments, "instanceTags"))
            for reservation in page["Reservations"]
            for instance in reservation["Instances"]
        ]

    def get_instances(self, arguments: Properties) -> Properties:
        """List instances; running ones unless states are given."""
        states = arguments.get("instanceStateNames") or ["running"]
        found = [instance for instance in self._instances(arguments) if is_list(states) and instance["State"]["Name"] in states]
        return {
            "id": self.region(arguments),
            "ids": [instance["InstanceId"] for instance in found],
            "privateIps": [each["PrivateIpAddress"] for each in found if each.get("PrivateIpAddress")],
            "publicIps": [each["PublicIpAddress"] for each in found if each.get("PublicIpAddress")],
            "ipv6Addresses": [],
        }

    def get_instance(self, arguments: Properties) -> Properties:
        """Describe the one instance that matches."""
        living = [instance for instance in self._instances(arguments) if instance["State"]["Name"] != "terminated"]
        instance_id = _only(living, "EC2 Instance")["InstanceId"]
        client = self.client(arguments)
        found = Instance(self.clients).find(client, instance_id, arguments) or {}
        root = found.pop("rootBlockDevice", None)
        options = found.pop("metadataOptions", None)
        for name in ("tagsAll", "primaryNetworkInterfaceId", "userData"):
            found.pop(name, None)
        return {
            **{key: value for key, value in found.items() if value is not None},
            "id": instance_id,
            "instanceId": instance_id,
            "rootBlockDevices": [root] if root else [],
            "metadataOptions": [options] if options else [],
        }

    def get_eips(self, arguments: Properties) -> Properties:
        """List addresses."""
        found = self.client(arguments).describe_addresses(**_filtered(arguments))["Addresses"]
        return {
            "id": self.region(arguments),
            "allocationIds": [each["AllocationId"] for each in found if each.get("AllocationId")],
            "publicIps": [each["PublicIp"] for each in found],
        }

    def get_managed_prefix_list(self, arguments: Properties) -> Properties:
        """Describe the one prefix list of a name or id, with its entries."""
        filters = _filters(arguments)
        if arguments.get("name"):
            filters.append({"Name": "prefix-list-name", "Values": [arguments["name"]]})
        query: dict[str, Any] = {"Filters": filters} if filters else {}
        if arguments.get("id"):
            query["PrefixListIds"] = [arguments["id"]]
        client = self.client(arguments)
        lists = client.describe_managed_prefix_lists(**query)["PrefixLists"]
        # stock moto ignores the filters
        wanted = [
            each
            for each in lists
            if arguments.get("name") in (None, each["PrefixListName"]) and arguments.get("id") in (None, each["PrefixListId"])
        ]
        found = _only(wanted, f"EC2 Managed Prefix List {arguments.get('name') or ''}".strip())
        list_id = found["PrefixListId"]
        entries = client.get_managed_prefix_list_entries(PrefixListId=list_id)["Entries"]
        return {
            "id": list_id,
            "name": found["PrefixListName"],
            "arn": found.get("PrefixListArn", ""),
            "addressFamily": found.get("AddressFamily", "IPv4"),
            "ownerId": found.get("OwnerId", ""),
            "maxEntries": found.get("MaxEntries", 0),
            "version": found.get("Version", 0),
            "entries": [{"cidr": each["Cidr"], "description": each.get("Description") or ""} for each in entries],
            "tags": tag_properties(found.get("Tags"))["tags"],
        }

    def get_service_quota(self, arguments: Properties) -> Properties:
        """Return a quota by code or name."""
        client = self.client(arguments, "service-quotas")
        service = arguments["serviceCode"]
        code = arguments.get("quotaCode")
        if code is None:
            listed = client.list_service_quotas(ServiceCode=service)["Quotas"]
            named = [each for each in listed if each["QuotaName"] == arguments.get("quotaName")]
            code = _only(named, "Service Quota")["QuotaCode"]
        quota = client.get_service_quota(ServiceCode=service, QuotaCode=code)["Quota"]
        return {
            "id": quota.get("QuotaArn") or f"{service}/{code}",
            "arn": quota.get("QuotaArn", ""),
            "adjustable": quota.get("Adjustable", True),
            "globalQuota": quota.get("GlobalQuota", False),
            "quotaCode": code,
            "quotaName": quota.get("QuotaName", ""),
            "serviceCode": service,
            "serviceName": quota.get("ServiceName", ""),
            "usageMetrics": [],
            "value": quota["Value"],
            "defaultValue": quota["Value"],
        }

    def get_parameter(self, arguments: Properties) -> Properties:
        """Return an SSM parameter; its `value` is always secret, `insecureValue` only set where it is none."""
        found = self.client(arguments, "ssm").get_parameter(
            Name=arguments["name"], WithDecryption=bool(arguments.get("withDecryption", True))
        )["Parameter"]
        secure = found["Type"] == "SecureString"
        return {
            "id": arguments["name"],
            "name": found["Name"],
            "arn": found.get("ARN", ""),
            "type": found["Type"],
            "version": found.get("Version", 1),
            "value": Secret(found["Value"]),
            **({} if secure else {"insecureValue": found["Value"]}),
        }

    def get_ami(self, arguments: Properties) -> Properties:
        """Return the one image that matches, or with `mostRecent` the newest."""
        query = given(
            arguments, {"owners": "Owners", "executableUsers": "ExecutableUsers", "includeDeprecated": "IncludeDeprecated"}
        )
        images = self.client(arguments).describe_images(**query, **_filtered(arguments))["Images"]
        if pattern := arguments.get("nameRegex"):
            images = [each for each in images if re.search(str(pattern), each.get("Name") or "")]
        if arguments.get("mostRecent"):
            images = sorted(images, key=lambda each: each.get("CreationDate", ""))[-1:]
        image = _only(images, "AMI")
        image_id = image["ImageId"]
        return {
            "id": image_id,
            "imageId": image_id,
            "arn": f"arn:aws:ec2:{self.region(arguments)}::image/{image_id}",
            "architecture": image.get("Architecture"),
            "creationDate": image.get("CreationDate"),
            "description": image.get("Description"),
            "name": image.get("Name"),
            "ownerId": image.get("OwnerId"),
            "rootDeviceName": image.get("RootDeviceName"),
            "rootDeviceType": image.get("RootDeviceType"),
            "state": image.get("State"),
            "tags": tag_properties(image.get("Tags"))["tags"],
        }

    def get_zone(self, arguments: Properties) -> Properties:
        """Return the one public (or, if asked, private) hosted zone of an id or name."""
        client = self.client(arguments, "route53")
        zones = [zone for page in client.get_paginator("list_hosted_zones").paginate() for zone in page["HostedZones"]]
        wanted_id = arguments.get("zoneId")
        wanted_name = str(arguments.get("name") or "").removesuffix(".")
        if not (wanted_id or wanted_name):
            _fail("either zoneId or name must be given")
        private = bool(arguments.get("privateZone"))
        found = [
            zone
            for zone in zones
            if (
                bare_zone_id(zone["Id"]) == bare_zone_id(wanted_id)
                if wanted_id
                else zone["Name"].removesuffix(".") == wanted_name and bool(zone.get("Config", {}).get("PrivateZone")) == private
            )
        ]
        zone = _only(found, f"Route 53 Hosted Zone {wanted_id or wanted_name}")
        zone_id = bare_zone_id(zone["Id"])
        described = client.get_hosted_zone(Id=zone_id)
        servers = sorted(described.get("DelegationSet", {}).get("NameServers", []))
        return {
            "id": zone_id,
            "zoneId": zone_id,
            "arn": f"arn:aws:route53:::hostedzone/{zone_id}",
            "name": zone["Name"].removesuffix("."),
            "callerReference": zone.get("CallerReference", ""),
            "comment": zone.get("Config", {}).get("Comment", ""),
            "nameServers": servers,
            "primaryNameServer": servers[0] if servers else "",
            "privateZone": bool(zone.get("Config", {}).get("PrivateZone")),
            **tag_properties(
                client.list_tags_for_resource(ResourceType="hostedzone", ResourceId=zone_id)["ResourceTagSet"].get("Tags")
            ),
            "resourceRecordSetCount": zone.get("ResourceRecordSetCount", 0),
        }

    def get_records(self, arguments: Properties) -> Properties:
        """Return a hosted zone's records, those whose name matches `nameRegex` if given; the fields that are used."""
        zone_id, pattern = bare_zone_id(arguments["zoneId"]), re.compile(str(arguments.get("nameRegex") or ""))
        pages = self.client(arguments, "route53").get_paginator("list_resource_record_sets").paginate(HostedZoneId=zone_id)
        found = [each for page in pages for each in page["ResourceRecordSets"] if pattern.search(each["Name"].removesuffix("."))]
        return {
            "id": zone_id,
            "resourceRecordSets": [
                {
                    "name": each["Name"].removesuffix("."),
                    "type": each["Type"],
                    "setIdentifier": each.get("SetIdentifier", ""),
                    "aliasTarget": {
                        "dnsName": each["AliasTarget"]["DNSName"],
                        "hostedZoneId": each["AliasTarget"]["HostedZoneId"],
                        "evaluateTargetHealth": each["AliasTarget"]["EvaluateTargetHealth"],
                    }
                    if "AliasTarget" in each
                    else None,
                }
                for each in found
            ],
        }


def functions(clients: Clients) -> dict[str, Function]:
    """Return the functions by token; each answer carries the Region and the arguments as well."""
    lookups = Lookups(clients)

    def answered(function: Function) -> Function:
        return lambda arguments: {
            "region": lookups.region(arguments),
            **arguments,
            **{key: value for key, value in function(arguments).items() if value is not None},
        }

    modules: dict[str, list[Function]] = {
        "index": [
            lookups.get_availability_zone,
            lookups.get_availability_zones,
            lookups.get_caller_identity,
        ],
        "ec2": [
            lookups.get_instance_type_offerings,
            lookups.get_instance_type,
            lookups.get_instances,
            lookups.get_instance,
            lookups.get_eips,
            lookups.get_managed_prefix_list,
            lookups.get_ami,
        ],
        "servicequotas": [lookups.get_service_quota],
        "ssm": [lookups.get_parameter],
        "route53": [lookups.get_zone, lookups.get_records],
    }
    tokens: dict[str, Function] = {}
    for module, members in modules.items():
        for member in members:
            name = re.sub(r"_(\w)", lambda match: match[1].upper(), member.__name__)
            tokens[f"aws:{module}/{name}:{name}"] = answered(member)
    return tokens
