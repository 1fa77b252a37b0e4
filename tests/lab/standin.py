"""What runs on a stand-in node: the visible part of a kubelet and of virt-handler, and our real agent.

One process, the node's process 1: to cut the node's link or to kill it is the same event as with a real node, and the API
server hears no more of either. It takes its Node object, Lease, pods and instances as the real ones do, with the node's own
certificate and with tokens for the pods that are bound to it. No container runs, with two exceptions: the agent's pod is
a real process (:mod:`ringfence.agent`, by the pod's own command line) in the node's network, and a guest is a process of
QEMU's name that waits for ever, so that the witness of the lab (:mod:`lab.witness`) counts it where it is.

It is kinder than a real node: nothing that it starts ever fails, and what a pod mounts is not renewed.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import datetime as dt
import json
import os
import re
import signal
import ssl
import subprocess
import sys
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any

import aiohttp

from lab.process import children

Json = dict[str, Any]

LEASE_EVERY, LEASE_SECONDS = 10.0, 40
STATUS_EVERY = 10.0
BEAT_EVERY = 60.0
"""virt-handler's own is 60 to 132 s."""
AGAIN = 1.0
STARTS = 2.5
"""Seconds that a launcher takes to be ready; with KubeVirt's own steps a VM runs after 3 to 5 s, as on the lab's real nodes."""
AGENT_STOPS = 10.0
TIMEOUT = aiohttp.ClientTimeout(total=15)
WATCH_SECONDS = 300
LARGEST_EVENT = 4 * 2**20
"""Bytes: an event is one line, and aiohttp reads lines no longer than its buffer."""
ACCOUNT = Path("/run/secrets/kubernetes.io/serviceaccount")
INSTANCES = "/apis/kubevirt.io/v1"
_LAUNCHER, _HANDLER, _AGENT, _OTHER = "virt-launcher", "virt-handler", "agent", ""
_LIVE = ("Scheduled", "Running")
_OURS = ("Ready", "LiveMigratable")
"""Conditions of an instance that are played."""


class RefusedError(Exception):
    """The API server has refused."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{status} {message}")
        self.status = status


TROUBLE = (aiohttp.ClientError, TimeoutError, OSError, RefusedError)


class Api:
    """The API server as seen by one account."""

    def __init__(self, server: str, trust: ssl.SSLContext, token: str = "") -> None:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._server = server
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=trust, limit=32),
            headers=headers,
            timeout=TIMEOUT,
            read_bufsize=LARGEST_EVENT,
        )

    async def close(self) -> None:
        await self._session.close()

    async def call(self, method: str, path: str, body: Json | None = None) -> Json:
        """RefusedError with the server's words. A patch is a strategic merge."""
        kind = "application/strategic-merge-patch+json" if method == "PATCH" else "application/json"
        data = None if body is None else json.dumps(body)
        async with self._session.request(
            method, self._server + path, data=data, headers={"Content-Type": kind}
        ) as answer:
            text = await answer.text()
        if answer.status >= 300:
            raise RefusedError(answer.status, text[:300])
        found: Json = json.loads(text)
        return found

    async def follow(self, path: str, selector: str) -> AsyncIterator[tuple[str, list[Json]]]:
        """``LISTED`` with all objects, then each change with its one, until the server ends the watch."""
        listed = await self.call("GET", f"{path}?{selector}")
        yield "LISTED", listed["items"]
        version = listed["metadata"]["resourceVersion"]
        way = f"{path}?{selector}&watch=1&resourceVersion={version}&timeoutSeconds={WATCH_SECONDS}"
        silence = aiohttp.ClientTimeout(total=None, sock_connect=5, sock_read=WATCH_SECONDS + 30)
        async with self._session.get(self._server + way, timeout=silence) as stream:
            async for line in stream.content:
                event = json.loads(line)
                if event["type"] == "ERROR":
                    return
                yield event["type"], [event["object"]]


def now() -> str:
    return dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def say(line: str) -> None:
    print(f"{dt.datetime.now(dt.UTC):%H:%M:%S.%f} {line}", flush=True)


def made(folder: Path) -> Path:
    """The folder, which is there now."""
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def role(pod: Json) -> str:
    """What is played of a pod."""
    labels = pod["metadata"].get("labels", {})
    if labels.get("kubevirt.io") in (_LAUNCHER, _HANDLER):
        return str(labels["kubevirt.io"])
    ours = labels.get("app.kubernetes.io/name") == "ringfence"
    return _AGENT if ours and labels.get("app.kubernetes.io/component") == "agent" else _OTHER


def path_of(pod: Json) -> str:
    return f"/api/v1/namespaces/{pod['metadata']['namespace']}/pods/{pod['metadata']['name']}"


def running(pod: Json, address: str, *, ready: bool = True) -> Json:
    """The status of a pod whose containers all run."""
    at = now()
    gates = [gate["conditionType"] for gate in pod["spec"].get("readinessGates", [])]
    known = {c["type"] for c in pod.get("status", {}).get("conditions", [])}
    conditions = [(kind, True) for kind in ("PodReadyToStartContainers", "Initialized")]
    conditions += [(kind, ready) for kind in ("ContainersReady", "Ready")]
    conditions += [(gate, True) for gate in gates if gate not in known]

    def container(spec: Json, state: Json, *, up: bool) -> Json:
        about = {"name": spec["name"], "image": spec["image"], "imageID": "", "restartCount": 0}
        return {**about, "ready": ready or not up, "started": up, "state": state}

    up = {"running": {"startedAt": at}}
    done = {"terminated": {"exitCode": 0, "reason": "Completed", "startedAt": at, "finishedAt": at}}
    return {
        "phase": "Running",
        "hostIP": address,
        "podIP": address,
        "podIPs": [{"ip": address}],
        "startTime": at,
        "conditions": [
            {"type": kind, "status": str(holds), "lastTransitionTime": at} for kind, holds in conditions
        ],
        "containerStatuses": [container(c, up, up=True) for c in pod["spec"]["containers"]],
        "initContainerStatuses": [
            container(c, up, up=True) if c.get("restartPolicy") == "Always" else container(c, done, up=False)
            for c in pod["spec"].get("initContainers", [])
        ],
    }


class Guests:
    """The node's guests: processes that QEMU's witness takes for QEMU."""

    _PROGRAM = Path("/run/qemu-system-x86_64")
    _FOREVER = Path("/run/forever")

    def __init__(self) -> None:
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._PROGRAM.symlink_to("/bin/sh")
        os.mkfifo(self._FOREVER)

    def __contains__(self, uid: str) -> bool:
        return uid in self._running

    def start(self, uid: str, name: str) -> None:
        words = [str(self._PROGRAM), "-c", f"read _ <>{self._FOREVER}", "-name", f"guest={name}"]
        self._running[uid] = subprocess.Popen(words)

    def stop(self, uid: str) -> None:
        if (guest := self._running.pop(uid, None)) is not None:
            guest.kill()
            guest.wait()


class AgentProcess:
    """Our agent, started as the pod of its DaemonSet says, with what the pod mounts."""

    def __init__(self, node: Player, pod: Json) -> None:
        self._node, self._pod = node, pod
        self._spec: Json = pod["spec"]["containers"][0]
        self._process: subprocess.Popen[bytes] | None = None

    async def start(self) -> None:
        meta = self._pod["metadata"]
        folders = {v["name"]: await self._volume(v) for v in self._pod["spec"]["volumes"]}
        known = {
            "spec.nodeName": self._node.name,
            "status.hostIP": self._node.address,
            "metadata.name": meta["name"],
            "metadata.namespace": meta["namespace"],
        }
        given = {
            e["name"]: e["value"] if "value" in e else known[e["valueFrom"]["fieldRef"]["fieldPath"]]
            for e in self._spec.get("env", [])
        }
        words: list[str] = [*self._spec["command"][1:], *self._spec["args"]]
        program = self._spec["command"][0]
        assert program == "python3", program
        places = {m["mountPath"]: folders[m["name"]] for m in self._spec["volumeMounts"]}
        words = [re.sub(r"\$\((\w+)\)", lambda name: given[name[1]], word) for word in words]
        pairs = [word.partition("=") for word in words]
        words = [f"{flag}{is_}{places.get(value) or value}" for flag, is_, value in pairs]
        self._launch([sys.executable, *words], given, await self._node.token(self._pod))

    def _launch(self, command: list[str], environment: dict[str, str], token: str) -> None:
        (made(ACCOUNT) / "token").write_text(token)
        (ACCOUNT / "ca.crt").write_text(self._node.authority)
        # Alone among processes, as in its container: it does not see the node's guests.
        alone = ["unshare", "--pid", "--mount", "--fork", "--kill-child=KILL", "--mount-proc"]
        with (self._node.folder / "agent.log").open("ab") as log:
            self._process = subprocess.Popen(
                [*alone, *command], stdout=log, stderr=subprocess.STDOUT, env={**os.environ, **environment}
            )

    async def _volume(self, volume: Json) -> Path | None:
        """Where what a volume holds stands; None: an account's, which has its own place."""
        name = volume["name"]
        if "hostPath" in volume:
            path: str = volume["hostPath"]["path"]
            if path.startswith("/run/"):
                return Path(path)
            return made(self._node.folder / "disk" / path.lstrip("/"))
        place = made(Path("/run/pods", self._pod["metadata"]["uid"], name))
        for source in volume.get("projected", {}).get("sources", []):
            if "serviceAccountToken" in source:
                return None
            await self._secret(source["secret"], place)
        return place

    async def _secret(self, source: Json, place: Path) -> None:
        secrets = f"/api/v1/namespaces/{self._pod['metadata']['namespace']}/secrets"
        try:
            data = (await self._node.api.call("GET", f"{secrets}/{source['name']}"))["data"]
        except RefusedError:
            if source.get("optional"):
                return
            raise
        for item in source.get("items") or [{"key": key, "path": key} for key in data]:
            (place / item["path"]).write_bytes(base64.b64decode(data[item["key"]]))

    async def ready(self) -> None:
        """Until it says so."""
        port = next(p["containerPort"] for p in self._spec["ports"] if p["name"] == "metrics")
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=2)) as session:
            while True:
                with contextlib.suppress(aiohttp.ClientError, TimeoutError):
                    async with session.get(f"http://{self._node.address}:{port}/readyz") as answer:
                        if answer.status == 200:
                            return
                await asyncio.sleep(0.5)

    async def end(self) -> None:
        """SIGTERM to the agent itself, which is unshare's child, and its time to sign off."""
        if (process := self._process) is None:
            return
        for child in children(process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGTERM)
        try:
            await asyncio.to_thread(process.wait, AGENT_STOPS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


class Player:
    """The node: what it says of itself, its pods, its instances."""

    def __init__(self, folder: Path) -> None:
        about = json.loads((folder / "standin.json").read_text())
        self.folder = folder
        self.name, self.address = about["name"], about["address"]
        self.authority: str = Path(about["authority"]).read_text()
        self._about: Json = about
        self._boot = Path("/run/boot_id").read_text().strip()
        own = ssl.create_default_context(cadata=self.authority)
        own.load_cert_chain(about["certificate"], about["key"])
        self._trust = ssl.create_default_context(cadata=self.authority)
        self.api = Api(about["server"], own)
        self._guests = Guests()
        self._handler: Api | None = None
        self._handler_pod = ""
        """Its UID."""
        self._watching: asyncio.Task[None] | None = None
        self._instances: dict[str, Json] = {}
        self._agents: dict[str, AgentProcess] = {}
        self._pods: dict[str, Json] = {}
        """Those that this boot knows, by UID."""
        self._acts: dict[str, asyncio.Task[None]] = {}
        """What is done about each of them."""
        self._ending: set[str] = set()
        self._begun: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        await self._until_done("registers", self._register)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._again_and_again("Lease", self._renew, LEASE_EVERY))
            group.create_task(self._again_and_again("status", self._tell, STATUS_EVERY))
            group.create_task(self._again_and_again("heartbeat", self._beat, BEAT_EVERY))
            group.create_task(self._again_and_again("pods", self._follow_pods, 0.0))

    async def _again_and_again(self, what: str, act: Callable[[], Awaitable[None]], every: float) -> None:
        while True:
            await self._until_done(what, act)
            await asyncio.sleep(every)

    def _begin(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Beside all else. A fault of ours ends the process, and with it the node: no test may go on without it."""

        def over(task: asyncio.Task[None]) -> None:
            self._begun.discard(task)
            if not task.cancelled() and (error := task.exception()) is not None:
                traceback.print_exception(error)
                os._exit(1)

        task = asyncio.create_task(work)
        self._begun.add(task)
        task.add_done_callback(over)
        return task

    async def _until_done(self, what: str, act: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await act()
            except TROUBLE as error:
                say(f"{what}: {type(error).__name__} {error}"[:300])
                await asyncio.sleep(AGAIN)
            else:
                return

    # --- the node itself ------------------------------------------------------------------------------

    async def _register(self) -> None:
        labels = self._about["labels"]
        notes = {"volumes.kubernetes.io/controller-managed-attach-detach": "true"}
        meta = {"name": self.name, "labels": labels, "annotations": notes}
        try:
            await self.api.call(
                "POST", "/api/v1/nodes", {"apiVersion": "v1", "kind": "Node", "metadata": meta}
            )
        except RefusedError as error:
            if error.status != 409:
                raise
        await self._tell()
        say(f"{self.name} is registered, boot {self._boot}")

    async def _tell(self) -> None:
        """The status, where the server knows another."""
        path = f"/api/v1/nodes/{self.name}"
        known = (await self.api.call("GET", path)).get("status", {})
        is_ready = any(c["type"] == "Ready" and c["status"] == "True" for c in known.get("conditions", []))
        if is_ready and known["nodeInfo"]["bootID"] == self._boot:
            return
        at = now()
        said = (
            ("MemoryPressure", "False"),
            ("DiskPressure", "False"),
            ("PIDPressure", "False"),
            ("Ready", "True"),
        )
        conditions = [
            {"type": kind, "status": holds, "reason": "StandIn", "message": "played", "lastHeartbeatTime": at, "lastTransitionTime": at}
            for kind, holds in said
        ]  # fmt: skip
        addresses = [
            {"type": "InternalIP", "address": self.address},
            {"type": "Hostname", "address": self.name},
        ]
        room = self._about["capacity"]
        info = {**self._about["nodeInfo"], "bootID": self._boot}
        status = {"capacity": room, "allocatable": room, "addresses": addresses, "conditions": conditions, "nodeInfo": info}  # fmt: skip
        await self.api.call("PATCH", f"{path}/status", {"status": status})

    async def _renew(self) -> None:
        leases = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"
        at = dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        spec = {"holderIdentity": self.name, "leaseDurationSeconds": LEASE_SECONDS, "renewTime": at}
        try:
            await self.api.call("PATCH", f"{leases}/{self.name}", {"spec": spec})
        except RefusedError as error:
            if error.status != 404:
                raise
            lease = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": self.name}}
            await self.api.call("POST", leases, {**lease, "spec": spec})

    async def _beat(self) -> None:
        """virt-handler's word that the node takes VMs."""
        if self._handler is None:
            return
        meta = {
            "annotations": {"kubevirt.io/heartbeat": now()},
            "labels": {"kubevirt.io/schedulable": "true"},
        }
        await self._handler.call("PATCH", f"/api/v1/nodes/{self.name}", {"metadata": meta})

    async def token(self, pod: Json) -> str:
        """A token of the pod's account, bound to the pod."""
        meta, account = pod["metadata"], pod["spec"]["serviceAccountName"]
        bound = {"apiVersion": "v1", "kind": "Pod", "name": meta["name"], "uid": meta["uid"]}
        request = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {"expirationSeconds": 7200, "boundObjectRef": bound},
        }
        path = f"/api/v1/namespaces/{meta['namespace']}/serviceaccounts/{account}/token"
        return str((await self.api.call("POST", path, request))["status"]["token"])

    # --- its pods -------------------------------------------------------------------------------------

    async def _follow_pods(self) -> None:
        async for what, pods in self.api.follow("/api/v1/pods", f"fieldSelector=spec.nodeName%3D{self.name}"):
            if what == "LISTED":
                here = {pod["metadata"]["uid"] for pod in pods}
                for uid in self._pods.keys() - here:
                    self._drop(uid)
            for pod in pods:
                uid = pod["metadata"]["uid"]
                if what == "DELETED":
                    self._drop(uid)
                elif "deletionTimestamp" in pod["metadata"]:
                    if uid not in self._ending:
                        self._ending.add(uid)
                        self._take(pod, self._end)
                elif uid not in self._pods:
                    self._take(pod, self._start)

    def _take(self, pod: Json, act: Callable[[Json], Awaitable[None]]) -> None:
        uid, name = pod["metadata"]["uid"], pod["metadata"]["name"]
        if (before := self._acts.get(uid)) is not None:
            before.cancel()
        self._pods[uid] = pod
        self._acts[uid] = self._begin(self._until_done(f"pod {name}", lambda: act(pod)))

    def _drop(self, uid: str) -> None:
        """The pod is gone from the server: what runs of it ends."""
        if (pod := self._pods.pop(uid, None)) is None:
            return
        self._acts.pop(uid).cancel()
        self._ending.discard(uid)
        self._begin(self._stop(pod))

    async def _start(self, pod: Json) -> None:
        meta, kind = pod["metadata"], role(pod)
        status = f"{path_of(pod)}/status"
        if kind == _LAUNCHER:
            if pod["status"]["phase"] != "Pending":  # of the boot before: nothing of it runs any more
                await self.api.call("PATCH", status, {"status": {"phase": "Failed"}})
                return
            await asyncio.sleep(STARTS)
        elif kind == _HANDLER:
            token = await self.token(pod)
            self._handler, self._handler_pod = Api(self._about["server"], self._trust, token), meta["uid"]
        elif kind == _AGENT:
            if meta["uid"] not in self._agents:
                agent = AgentProcess(self, pod)
                await agent.start()
                self._agents[meta["uid"]] = agent
            await self.api.call("PATCH", status, {"status": running(pod, self.address, ready=False)})
            await self._agents[meta["uid"]].ready()
        await self.api.call("PATCH", status, {"status": running(pod, self.address)})
        say(f"pod {meta['name']} runs")
        if kind == _HANDLER:
            await self._beat()
            follow = self._again_and_again("instances", self._follow_instances, 0.0)
            self._watching = self._begin(follow)

    async def _end(self, pod: Json) -> None:
        """It was told to end: its processes, its guest's instance, then the pod itself."""
        meta = pod["metadata"]
        await self._stop(pod)
        vmi = self._instances.get(_instance_of(pod))
        if vmi is not None and vmi["status"].get("phase") in _LIVE:
            await self._put(vmi, "Succeeded" if "deletionTimestamp" in vmi["metadata"] else "Failed")
        now_gone = {"gracePeriodSeconds": 0, "preconditions": {"uid": meta["uid"]}}
        try:
            await self.api.call(
                "DELETE", path_of(pod), {"apiVersion": "v1", "kind": "DeleteOptions", **now_gone}
            )
        except RefusedError as error:
            if error.status not in (404, 409):
                raise

    async def _stop(self, pod: Json) -> None:
        """Whatever runs of the pod."""
        kind = role(pod)
        if kind == _LAUNCHER:
            self._guests.stop(_instance_of(pod))
        elif kind == _AGENT and (agent := self._agents.pop(pod["metadata"]["uid"], None)) is not None:
            await agent.end()
        elif pod["metadata"]["uid"] == self._handler_pod:
            handler, watching, self._handler_pod = self._handler, self._watching, ""
            self._handler = self._watching = None
            if watching is not None:
                watching.cancel()
            if handler is not None:
                await handler.close()

    # --- its instances --------------------------------------------------------------------------------

    async def _follow_instances(self) -> None:
        handler = self._handler
        assert handler is not None
        mine = f"labelSelector=kubevirt.io%2FnodeName%3D{self.name}"
        async for what, found in handler.follow(f"{INSTANCES}/virtualmachineinstances", mine):
            if what == "LISTED":
                self._instances.clear()
            for vmi in found:
                uid = vmi["metadata"]["uid"]
                if what == "DELETED":
                    self._instances.pop(uid, None)
                    self._guests.stop(uid)
                else:
                    self._instances[uid] = vmi
                    await self._see_to(vmi)

    async def _see_to(self, vmi: Json) -> None:
        meta, phase = vmi["metadata"], vmi["status"].get("phase")
        if vmi["status"].get("nodeName") != self.name or phase not in _LIVE:
            return
        if "deletionTimestamp" in meta:
            self._guests.stop(meta["uid"])
            await self._put(vmi, "Succeeded")
        elif phase == "Scheduled":
            if meta["uid"] not in self._guests:
                self._guests.start(meta["uid"], f"{meta['namespace']}_{meta['name']}")
            await self._put(vmi, "Running")
        elif meta["uid"] not in self._guests:  # of the boot before
            await self._put(vmi, "Failed")

    async def _put(self, vmi: Json, phase: str) -> None:
        """The instance with that phase, as virt-handler writes it; with an old one another event comes."""
        handler, at = self._handler, now()
        if handler is None:
            return
        old = vmi["status"]
        # Both times must stand there: virt-controller's patches begin with a test of the whole list, in which it renders what
        # is missing as null, and a list that lacks them is another one: each of its later patches would be refused.
        kept = [c for c in old.get("conditions", []) if phase != "Running" or c["type"] not in _OURS]
        kept += [{"type": kind, "status": "True"} for kind in _OURS if phase == "Running"]
        conditions = [{"lastProbeTime": at, "lastTransitionTime": at, **_said(c)} for c in kept]
        since = [
            *old.get("phaseTransitionTimestamps", []),
            {"phase": phase, "phaseTransitionTimestamp": at},
        ]
        status = {**old, "phase": phase, "conditions": conditions, "phaseTransitionTimestamps": since}
        meta = vmi["metadata"]
        path = f"{INSTANCES}/namespaces/{meta['namespace']}/virtualmachineinstances/{meta['name']}"
        try:
            await handler.call("PUT", path, {**vmi, "status": status})
        except RefusedError as error:
            if error.status not in (404, 409):
                raise
        else:
            say(f"guest {meta['name']} is {phase}")


async def stand_in(folder: Path) -> None:
    """Play the node, until the power is cut."""
    await Player(folder).run()


def _said(condition: Json) -> Json:
    """Without what is null: the times that are not known."""
    return {key: value for key, value in condition.items() if value is not None}


def _instance_of(pod: Json) -> str:
    """The UID of the instance that a launcher is for."""
    return str(pod["metadata"].get("labels", {}).get("kubevirt.io/created-by", ""))


if __name__ == "__main__":
    asyncio.run(stand_in(Path(sys.argv[1])))
