"""The webhook's certificate made by the real cert-manager: issued, trusted by the API server, renewed, and made anew when its keys are thrown away.

cert-manager's own controllers and cainjector run as processes on a real API server, which asks a real controller through the chart's
own Service. Nothing of the chart is changed for it. Played are the kubelet, which brings controllers what is in the Secret, and the
endpoint controller. cert-manager's webhook, which checks what people write, is left out. The tests of this file follow one another.
"""

from __future__ import annotations

import base64
import json
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography import x509

from apiserver.chart import NAMESPACE
from apiserver.controllers import RINGFENCE, Controllers, populate
from apiserver.installed import WEBHOOK, free_port, install_by_helm, install_kubevirts_kinds
from apiserver.programs import binaries
from apiserver.server import Answer, Json, Server, own_address, running, running_server, wait_for
from lab.build import CERT_MANAGER, cache_root, programs
from lab.cert_manager import crds

pytestmark = pytest.mark.apiserver

HOST = f"ringfence-webhook.{NAMESPACE}.svc"
SECRETS = f"/api/v1/namespaces/{NAMESPACE}/secrets"
LEAF, AUTHORITY = "ringfence-webhook-cert-manager", "ringfence-webhook-authority"
CERTIFICATES = f"/apis/cert-manager.io/v1/namespaces/{NAMESPACE}/certificates"
BOUND = 90.0


@dataclass(frozen=True, slots=True)
class Webhook:
    """One controller's, as it is asked through the chart's Service."""

    server: Server
    address: str
    port: int
    mount: Path
    log: Path

    def secret(self, name: str = LEAF) -> dict[str, bytes]:
        """What cert-manager has put into it; empty while there is none."""
        found = self.server.call("GET", f"{SECRETS}/{name}")
        return {key: base64.b64decode(text) for key, text in found.body.get("data", {}).items()}

    def mounted(self) -> None:
        """As the kubelet does it after some time."""
        data = self.secret()
        for name in ("tls.key", "tls.crt"):
            fresh = self.mount / f".{name}"
            fresh.write_bytes(data[name])
            fresh.rename(self.mount / name)

    def trusted(self) -> bytes:
        """What the API server verifies it by."""
        (webhook,) = self.server.must("GET", WEBHOOK)["webhooks"]
        return base64.b64decode(webhook["clientConfig"].get("caBundle", ""))

    def trusts(self) -> set[int]:
        """The serial numbers of those authorities' certificates."""
        return (
            {each.serial_number for each in x509.load_pem_x509_certificates(pem)}
            if (pem := self.trusted())
            else set()
        )

    def shows(self) -> int:
        """The serial number of the certificate that it shows to whoever trusts what the API server trusts."""
        trust = ssl.create_default_context(cadata=self.trusted().decode())
        with (
            socket.create_connection((self.address, self.port), 10) as plain,
            trust.wrap_socket(plain, server_hostname=HOST) as secured,
        ):
            shown = secured.getpeercert(binary_form=True)
        assert shown is not None
        return x509.load_der_x509_certificate(shown).serial_number

    def asked(self) -> Answer:
        """A zone that takes another's node: refused where the webhook is asked, stored (not here: a dry run) where it is not."""
        zone: Json = {"apiVersion": "ringfence.io/v1alpha1", "kind": "HAZone", "metadata": {"name": "other"}}
        zone["spec"] = {"nodes": {"names": ["n1"]}}
        return self.server.call("POST", f"{RINGFENCE}/hazones?dryRun=All", zone)

    def refuses(self) -> None:
        answer = self.asked()
        assert not answer.ok, "nobody was asked"
        assert "objects.ringfence.io" in answer.message
        assert "n1 also in zone a" in answer.message


def serial(pem: bytes) -> int:
    return x509.load_pem_x509_certificate(pem).serial_number


@pytest.fixture(scope="module")
def managed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A cluster with cert-manager, in which ringfence was installed with the chart's values as they are."""
    folder = tmp_path_factory.mktemp("cert-manager")
    # As on most clusters: Services are reached by their endpoints' addresses.
    with running_server(binaries(), folder, "--enable-aggregator-routing=true") as server:
        server.kubectl("apply", "--server-side", "-f", "-", stdin=crds())
        for kind in ("certificates", "certificaterequests", "issuers", "clusterissuers"):
            server.kubectl(
                "wait", "--for=condition=Established", "--timeout=60s", f"crd/{kind}.cert-manager.io"
            )
        program = programs(cache_root(), (CERT_MANAGER,))["certmanager"]
        with running(
            [str(program), f"--kubeconfig={server.kubeconfig}", "-v=2"], folder / "cert-manager.log"
        ):
            install_kubevirts_kinds(server)
            install_by_helm(server)
            populate(server)
            yield server
        print((folder / "cert-manager.log").read_text()[-6000:])


@pytest.fixture(scope="module")
def webhook(managed: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Webhook]:
    """Of a controller that has started before its certificate was there."""
    folder = tmp_path_factory.mktemp("controllers")
    (mount := folder / "webhook").mkdir()
    port, address = free_port(), own_address()
    slice_ = {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": "webhook", "labels": {"kubernetes.io/service-name": "ringfence-webhook"}},
        "addressType": "IPv4",
        "endpoints": [{"addresses": [address], "conditions": {"ready": True}}],
        "ports": [{"name": "webhook", "port": port, "protocol": "TCP"}],
    }
    managed.must("POST", f"/apis/discovery.k8s.io/v1/namespaces/{NAMESPACE}/endpointslices", slice_)
    controllers = Controllers(managed, folder)
    log = controllers.start(0, f"--webhook-port={port}", f"--webhook-certificates={mount}")
    yield Webhook(managed, address, port, mount, log)
    assert controllers.running[0].poll() is None, "it has never been restarted"
    controllers.kill()
    print(controllers.logs()[-4000:])


def test_it_is_issued_and_trusted_and_the_controller_refuses_by_it(managed: Server, webhook: Webhook) -> None:
    for name in ("ringfence-webhook-authority", "ringfence-webhook"):
        managed.kubectl(
            "-n", NAMESPACE, "wait", "--for=condition=Ready", f"certificate/{name}", "--timeout=90s"
        )
    issued = webhook.secret()
    assert issued["ca.crt"] == webhook.secret(AUTHORITY)["tls.crt"]
    leaf = x509.load_pem_x509_certificate(issued["tls.crt"])
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == [HOST]
    wait_for("the API server to trust it", lambda: webhook.trusted() == issued["ca.crt"], BOUND)

    zone: Json = {"apiVersion": "ringfence.io/v1alpha1", "kind": "HAZone", "metadata": {"name": "a"}}
    managed.must("POST", f"{RINGFENCE}/hazones", zone | {"spec": {"nodes": {"names": ["n1"]}}})
    assert webhook.asked().ok, "who has no certificate yet is in nobody's way"
    wait_for("it to say so", lambda: "webhook: closed" in webhook.log.read_text(), BOUND)
    webhook.mounted()
    wait_for("the door to open", lambda: "webhook: open" in webhook.log.read_text(), BOUND)
    wait_for("the controller to know the zone", lambda: not webhook.asked().ok, BOUND)
    webhook.refuses()
    assert webhook.shows() == leaf.serial_number


def test_a_renewed_certificate_is_shown_without_a_restart_and_the_one_before_is_trusted_until_then(
    managed: Server, webhook: Webhook
) -> None:
    before, trusted = webhook.secret(), webhook.trusted()
    path = f"{CERTIFICATES}/ringfence-webhook"
    certificate = managed.must("GET", path)
    # As `cmctl renew` does it.
    issuing = {
        "type": "Issuing",
        "status": "True",
        "reason": "ManuallyTriggered",
        "message": "renewed by a test",
        "observedGeneration": certificate["metadata"]["generation"],
    }
    conditions = [*certificate["status"]["conditions"], issuing]
    managed.must("PATCH", f"{path}/status", {"status": {"conditions": conditions}})
    wait_for(
        "another certificate",
        lambda: webhook.secret().get("tls.crt") not in (None, before["tls.crt"]),
        BOUND,
    )
    after = webhook.secret()
    assert after["tls.key"] != before["tls.key"]
    assert after["ca.crt"] == before["ca.crt"]
    # The kubelet has not brought it yet.
    assert webhook.shows() == serial(before["tls.crt"])
    webhook.refuses()
    webhook.mounted()
    wait_for("it to show the new one", lambda: _shows(webhook) == serial(after["tls.crt"]), BOUND)
    webhook.refuses()
    assert webhook.trusted() == trusted


def test_keys_that_were_thrown_away_are_made_anew(managed: Server, webhook: Webhook) -> None:
    before, old = webhook.secret(), webhook.secret(AUTHORITY)["tls.crt"]
    managed.must("DELETE", f"{SECRETS}/{AUTHORITY}")
    wait_for("another authority", lambda: webhook.secret(AUTHORITY).get("tls.crt") not in (None, old), BOUND)
    assert webhook.secret() == before, "which changes nothing yet"
    webhook.refuses()
    managed.must("DELETE", f"{SECRETS}/{LEAF}")

    def anew() -> bool:
        return webhook.secret().get("ca.crt") == webhook.secret(AUTHORITY)["tls.crt"]

    wait_for("a certificate of the other authority", anew, BOUND)
    after = webhook.secret()
    assert after["tls.key"] != before["tls.key"]
    wait_for("the API server to trust it", lambda: serial(after["ca.crt"]) in webhook.trusts(), BOUND)
    assert serial(old) in webhook.trusts(), "the old authority is kept beside it"
    webhook.mounted()
    wait_for("it to show the new one", lambda: _shows(webhook) == serial(after["tls.crt"]), BOUND)
    webhook.refuses()
    bundle = [{"op": "remove", "path": "/webhooks/0/clientConfig/caBundle"}]
    managed.kubectl(
        "patch", "validatingwebhookconfiguration", "ringfence", "--type=json", f"--patch={json.dumps(bundle)}"
    )
    wait_for("the new one alone to be trusted", lambda: webhook.trusts() == {serial(after["ca.crt"])}, BOUND)
    webhook.refuses()


def _shows(webhook: Webhook) -> int:
    """0 where it shows none that is trusted, as in the moment in which it is opened anew."""
    try:
        return webhook.shows()
    except OSError:
        return 0
