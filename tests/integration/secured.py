"""A broker that lets nobody do what no access list grants, behind SASL and TLS, and who may do what there."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

from confluent_kafka.admin import (  # type: ignore[attr-defined]  # exported, but not declared so
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)

from ops.kafka.broker import BrokerOptions
from ops.kafka.cluster import KafkaCluster
from ops.kafka.java import find_java
from ops.kafka.network import HOST, free_ports
from ops.kafka.properties import SideDoor

LISTS = Path(__file__).parents[2] / "ops" / "acls.md"
PRINCIPALS = ("orders-worker", "orders-client", "orders-gateway", "orders-provisioner")
# Whom librdkafka asks for the coordinators of groups that they are no members of.
NO_MEMBERS = ("orders-client", "orders-gateway")
OWNERS = "wf.orders.owners"
PASSWORD = "only-for-tests"
KEYTOOL_SECONDS_MAX = 60
REQUEST_SECONDS_MAX = 30
_RESOURCES = {
    "topic": ResourceType.TOPIC,
    "group": ResourceType.GROUP,
    "transactional-id": ResourceType.TRANSACTIONAL_ID,
}
_WORDS = re.compile(r"(?<!^)(?=[A-Z])")


class SecuredKafka:
    """Whoever comes by the plain port is the super user, as brokers and their operators are."""

    def __init__(self, directory: Path) -> None:
        plain, self._port = free_ports(2)
        self._directory = directory
        directory.mkdir()
        options = BrokerOptions(
            settings=_settings(self._make_keys()), side_doors={1: SideDoor(self._port, self._port)}
        )
        self._cluster = KafkaCluster(directory / "kafka", ports=[plain], options=options)
        self._cluster.start()
        self.admin = AdminClient({"bootstrap.servers": self._cluster.bootstrap_servers})
        # A client that was told of no controller looks for none again until its metadata is five minutes old.
        while self.admin.list_topics(timeout=REQUEST_SECONDS_MAX).controller_id < 0:
            continue
        for future in self.admin.create_acls(list(access_lists())).values():
            future.result()

    @property
    def bootstrap_servers(self) -> str:
        """Behind the door that asks who one is."""
        return f"{HOST}:{self._port}"

    def properties(self, principal: str) -> dict[str, str]:
        """What a client of this principal sets."""
        return {
            "security.protocol": "SASL_SSL",
            "sasl.mechanism": "PLAIN",
            "sasl.username": principal,
            "sasl.password": PASSWORD,
            "ssl.ca.location": str(self._directory / "ca.pem"),
        }

    def properties_file(self, principal: str) -> Path:
        """The same, for `--config`."""
        path = self._directory / f"{principal}.properties"
        lines = {"bootstrap.servers": self.bootstrap_servers} | self.properties(principal)
        path.write_text("".join(f"{name}={value}\n" for name, value in lines.items()), encoding="utf-8")
        return path

    def denials(self) -> list[str]:
        """What the broker has refused to do, in its words.

        Without the clients' question for their groups' coordinator, which librdkafka asks of its own.
        """
        text = self._cluster.brokers[0].log.read_text(encoding="utf-8")
        denied = [line for line in text.splitlines() if " is Denied " in line]
        return [
            line
            for line in denied
            if OWNERS in line or "Group:" not in line or not any(each in line for each in NO_MEMBERS)
        ]

    def revoke(self, principal: str, kind: str) -> None:
        """Takes from them what they were granted on resources of this kind."""
        resource, any_of = _RESOURCES[kind], ResourcePatternType.ANY
        operation, permission = AclOperation.ANY, AclPermissionType.ANY
        meant = AclBindingFilter(resource, None, any_of, f"User:{principal}", None, operation, permission)
        (future,) = self.admin.delete_acls([meant]).values()
        assert future.result(), "there was nothing to revoke"

    def close(self) -> None:
        self._cluster.kill()

    def _make_keys(self) -> Path:
        keytool, store = str(find_java().executable.with_name("keytool")), self._directory / "broker.p12"
        common = ("-alias", "broker", "-keystore", str(store), "-storepass", PASSWORD)
        made = (
            "-genkeypair",
            "-keyalg",
            "EC",
            "-dname",
            "CN=broker",
            "-ext",
            f"SAN=ip:{HOST}",
            "-validity",
            "2",
        )
        shown = ("-exportcert", "-rfc", "-file", str(self._directory / "ca.pem"))
        for arguments in (made, shown):
            subprocess.run(
                [keytool, *arguments, *common], check=True, capture_output=True, timeout=KEYTOOL_SECONDS_MAX
            )
        return store


def _settings(keys: Path) -> dict[str, str]:
    module = "org.apache.kafka.common.security.plain.PlainLoginModule"
    users = " ".join(f'user_{each}="{PASSWORD}"' for each in PRINCIPALS)
    return {
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": "User:ANONYMOUS",
        "listener.security.protocol.map": "CLIENT:PLAINTEXT,CONTROLLER:PLAINTEXT,SIDE:SASL_SSL",
        "listener.name.side.sasl.enabled.mechanisms": "PLAIN",
        "listener.name.side.plain.sasl.jaas.config": f"{module} required {users};",
        "listener.name.side.ssl.keystore.type": "PKCS12",
        "listener.name.side.ssl.keystore.location": str(keys),
        "listener.name.side.ssl.keystore.password": PASSWORD,
    }


def access_lists() -> Iterator[AclBinding]:
    """What the documentation tells operators to grant, word by word."""
    principal = ""
    for line in LISTS.read_text(encoding="utf-8").splitlines():
        if line.startswith("acls="):
            principal = line.rstrip('"').rpartition(" ")[2]
        elif line.startswith("$acls "):
            yield from _bindings(principal, shlex.split(line)[1:])


def _bindings(principal: str, words: list[str]) -> Iterator[AclBinding]:
    options = list(zip(words[::2], words[1::2], strict=True))
    told = {name.removeprefix("--"): value for name, value in options if name != "--operation"}
    pattern = told.pop("resource-pattern-type", "literal")
    ((kind, name),) = told.items()
    for operation in (value for option, value in options if option == "--operation"):
        yield AclBinding(
            _RESOURCES[kind],
            name,
            ResourcePatternType[pattern.upper()],
            principal,
            "*",
            AclOperation[_WORDS.sub("_", operation).upper()],
            AclPermissionType.ALLOW,
        )
