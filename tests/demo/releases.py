"""Incident 4: a release that fails, first with the pipeline's own script alone, then with cancel-refresh."""

from __future__ import annotations

import json
from typing import Any

from demo.local_aws import CANCEL_REFRESH, LocalAws, function_of
from demo.timeline import block, details, event, holds, notice, outcome

GROUP, REPOSITORY, SIZE = "shop", "shop", 8
WARM_UP = 120
DIGEST_SHOWN = 19
"""Characters of a digest that the demo prints: `sha256:` and twelve more."""


class Releases:
    def __init__(self, aws: LocalAws) -> None:
        self.aws = aws
        self.autoscaling, self.ecr, self.ec2 = (aws.client(name) for name in ("autoscaling", "ecr", "ec2"))
        self.host = self.good = ""
        self.spent_alone = 0

    # ---- without ----

    def without(self) -> None:
        self.ecr.create_repository(repositoryName=REPOSITORY)
        self.good = self._push("release 41")
        self.host = self.ec2.register_image(
            Name="shop-host-2026-11", Architecture="x86_64", VirtualizationType="hvm", RootDeviceName="/dev/xvda"
        )["ImageId"]
        self._open()
        event("owner", f"the shop runs on {SIZE} instances; each pulls {REPOSITORY}:prod when it boots (release 41).")

        stable = self.good
        _, first = self._release("release 42")
        self._hold(True)
        self._pass(10)
        seen = self._status(first)
        holds(seen == "Pending", f"ten seconds later the refresh is Pending, not {seen}")
        # As the pipeline's script did: anything but InProgress and Successful is a failure to it.
        self.autoscaling.cancel_instance_refresh(AutoScalingGroupName=GROUP)
        self._tag("prod", stable)
        self._pass(60, until="Cancelled")
        holds(self._status(first) == "Cancelled", "the good release is cancelled")
        holds(self._digest("prod") == stable, "prod points to release 41 again")
        event(
            "pipeline",
            "pushes release 42, a good one, starts an instance refresh and looks after ten seconds. It reads "
            f"`{seen}`, takes that for a failure, and cancels a good release.",
        )

        before = self._count()
        bad, second = self._release("release 43", healthy=False)
        self._pass(60, until="InProgress")
        self._pass(10)
        seen = self._status(second)
        holds(seen == "InProgress", f"this one is InProgress, not {seen}")
        event("pipeline", f"pushes release 43, which can't start, looks after ten seconds, reads `{seen}`, and is content.")
        seconds = self._pass(4 * 3600, step=15, until="Failed")
        refresh = self._refresh(second)
        holds(refresh["Status"] == "Failed", f"AWS calls it failed in the end, not {refresh['Status']}")
        holds(seconds > 3500, f"that takes AWS an hour, not {seconds:.0f} s")
        after = self._count()
        self.spent_alone = after["launched"] - before["launched"]
        holds(self._digest("prod") == bad, "prod still points to release 43")
        event(
            "Auto Scaling",
            f"launches an instance, finds it unhealthy, terminates it, launches the next. After {seconds / 60:.0f} "
            f"minutes it gives up: {self.spent_alone} instances were launched for nothing. Its reason: "
            f"{refresh['StatusReason']}",
        )
        event("owner", "notices by chance. prod still points to the bad image: whatever is launched now boots it.")
        outcome(
            4,
            f"the good release cancelled for being Pending; the bad one cost {self.spent_alone} instances in "
            f"{seconds / 60:.0f} minutes",
            guarded=False,
        )
        self._close()
        self._tag("prod", stable)

    # ---- with ----

    def guarded(self, profile: str) -> None:
        self._open(profile)
        section = self._repair_images()
        event("owner", "runs the shop again, on release 41, and asks for the image tag's repair in the policy:")
        block(section)
        self._good_release()
        self._bad_release()

    def _repair_images(self) -> str:
        section = (
            "cancel-refresh:\n  groups:\n    - name: " + GROUP + "\n"
            "      image: { repository: " + REPOSITORY + ", tag: prod, stable-tag: prod-stable }\n"
        )
        ssm, name = self.aws.client("ssm"), "/ec2-guardrails/policy"
        policy = ssm.get_parameter(Name=name)["Parameter"]["Value"]
        ssm.put_parameter(Name=name, Type="String", Value=policy + section, Overwrite=True)
        # A running process reads it again after a minute; a new one at once.
        self.aws.client("lambda").update_function_configuration(
            FunctionName=function_of(CANCEL_REFRESH), MemorySize=257
        )
        return section

    def _good_release(self) -> None:
        digest, refresh = self._release("release 42")
        self._hold(True)
        self._pass(180)
        run = self.aws.sweep(CANCEL_REFRESH)
        holds(self._status(refresh) == "Pending", "the refresh is still Pending")
        event("pipeline", "pushes release 42 again and starts a refresh, which is Pending for three minutes.")
        answer = self.aws.command(CANCEL_REFRESH, "explain", group=GROUP)
        holds("Pending" in json.dumps(answer["detail"]), "the guardrail has seen that it is Pending")
        event("Lambda", f"looks at it, and leaves it alone: {answer['decisions'][0]['reason']}.", run["ended"])
        self._hold(False)
        seconds = self._pass(3 * 3600, until="Successful")
        holds(self._status(refresh) == "Successful", "the release is through")
        self.aws.sweep(CANCEL_REFRESH)
        holds(not self._calls("CancelInstanceRefresh", "RollbackInstanceRefresh"), "nothing was cancelled")
        holds(not self._calls("PutImage") and self._digest("prod") == digest, "prod stays where the pipeline put it")
        event(
            "Auto Scaling",
            f"the refresh is Successful after {seconds / 60:.0f} minutes. The guardrail looked at each event of it, "
            "changed nothing and told nothing.",
        )
        self.good = digest

    def _bad_release(self) -> None:
        before, told = self._count(), len(self.aws.notices())
        bad, refresh = self._release("release 43", healthy=False)
        waited = self._pass(60, until="InProgress") + self._pass(10)
        seen = self._status(refresh)
        holds(seen == "InProgress", f"ten seconds later the refresh is InProgress, not {seen}")
        event("pipeline", f"pushes release 43, which can't start ({bad[:DIGEST_SHOWN]}…), reads `{seen}`, and is content.")
        seconds = waited + self._pass(3600, until="Cancelled")
        status = self._status(refresh)
        holds(status == "Cancelled", f"the refresh is stopped, not {status}")
        spent = self._count()["launched"] - before["launched"]
        holds(spent * 3 <= self.spent_alone, f"{spent} instances are far fewer than {self.spent_alone}")
        kept = f"prod-failed-{refresh}"
        acts = self._calls("PutImage", "CancelInstanceRefresh", "RollbackInstanceRefresh")
        order = [call["parameters"].get("imageTag") or call["operation"] for call in acts if not call["error"]]
        holds(order == [kept, "prod", "CancelInstanceRefresh"], f"first the tag, then the refresh: {order}")
        holds(self._digest(kept) == bad, "the bad image is kept under a tag of its own")
        holds(self._digest("prod") == self.good, "prod points to the known good image")
        event(
            "Lambda",
            f"{seconds:.0f} seconds after the start it stops the refresh: {spent} instances were launched for it, "
            f"against {self.spent_alone} in AWS's own hour.",
        )
        event("ECR", "first the tag, so that nothing that still launches boots the bad image; then the refresh:")
        details(
            [
                ("PutImage", f"{kept} = {bad[:DIGEST_SHOWN]}…, kept for whoever looks into it"),
                ("PutImage", f"prod = {self.good[:DIGEST_SHOWN]}…, byte for byte what prod-stable is"),
                ("CancelInstanceRefresh", "the launch template never changed, so AWS can't roll it back"),
            ]
        )
        notices = self.aws.notices()[told:]
        holds(len(notices) == 1, f"one notice was sent, not {len(notices)}")
        holds(refresh in notices[0]["message"] and kept in notices[0]["message"], "the notice names refresh and image")
        event("SNS", "the owner gets one notice:")
        notice(notices[0])
        self._pass(1800, step=15)
        self.aws.sweep(CANCEL_REFRESH)
        pulled = self._pulled()
        holds(len(pulled) == SIZE and set(pulled) == {self.good}, "all instances run the known good image")
        notices = self.aws.notices()[told:]
        holds(len(notices) == 2, f"how it ended was told, once: {len(notices)} notices")
        event("Auto Scaling", f"replaces what the release left behind: all {SIZE} instances run release 42 again.")
        event("SNS", "and the owner is told how it ended:")
        notice(notices[1])
        outcome(
            4,
            f"the good release left alone; the bad one stopped after {seconds:.0f} seconds and {spent} instances, with the "
            "good image back under its tag first",
            guarded=True,
        )

    # ---- the group ----

    def _open(self, profile: str = "") -> None:
        data: dict[str, Any] = {"ImageId": self.host, "InstanceType": "t3.micro"}
        if profile:
            data["IamInstanceProfile"] = {"Arn": profile}
        name = f"{GROUP}-guarded" if profile else GROUP
        self.ec2.create_launch_template(LaunchTemplateName=name, LaunchTemplateData=data)
        self._know_good_images(self.good)
        self.autoscaling.create_auto_scaling_group(
            AutoScalingGroupName=GROUP,
            LaunchTemplate={"LaunchTemplateName": name, "Version": "1"},
            AvailabilityZones=["eu-central-1a", "eu-central-1b"],
            MinSize=0,
            MaxSize=2 * SIZE,
            DesiredCapacity=SIZE,
        )
        self._pass(120)
        holds(set(self._pulled()) == {self.good}, "all instances run release 41")

    def _close(self) -> None:
        self.autoscaling.delete_auto_scaling_group(AutoScalingGroupName=GROUP, ForceDelete=True)
        self._pass(120)
        left = self.autoscaling.describe_auto_scaling_groups(AutoScalingGroupNames=[GROUP])["AutoScalingGroups"]
        holds(not left, "the group is taken down")

    def _know_good_images(self, *digests: str) -> None:
        """What an instance does with the image that it pulls comes out of which one that is."""
        self.aws.control(
            "POST", "autoscaling/images", image_id=self.host, pulls=f"{REPOSITORY}:prod", good=list(digests), check="ec2"
        )

    def _count(self) -> dict[str, Any]:
        (group,) = self.aws.control("GET", "autoscaling/history", group=GROUP)["groups"]
        return group

    def _pulled(self) -> list[str]:
        return [instance["pulled"] for instance in self._count()["instances"]]

    def _pass(self, seconds: int, **how: Any) -> float:
        """Time passes for the group; the guardrail reacts at the moment at which it would have."""
        if "until" in how:
            how["group"] = GROUP
        return self.aws.control("POST", "autoscaling/pass", seconds=seconds, **how)["passed"]

    def _hold(self, hold: bool) -> None:
        """AWS takes its time to begin, or begins."""
        self.aws.control("POST", "autoscaling/hold", group=GROUP, hold=hold)

    # ---- the pipeline ----

    def _push(self, content: str) -> str:
        return self.aws.control("POST", "ecr/push", repository=REPOSITORY, tag="prod", content=content)["digest"]

    def _release(self, content: str, *, healthy: bool = True) -> tuple[str, str]:
        """Keep prod as prod-stable, push the image, start a refresh; the launch template stays as it is."""
        before = self._digest("prod")
        self._tag("prod-stable", before)
        digest = self._push(content)
        self._know_good_images(*({before, digest} if healthy else {before}))
        answer = self.autoscaling.start_instance_refresh(
            AutoScalingGroupName=GROUP, Preferences={"InstanceWarmup": WARM_UP, "SkipMatching": False}
        )
        return digest, answer["InstanceRefreshId"]

    def _tag(self, tag: str, digest: str) -> None:
        if self._digest(tag) == digest:
            return
        (image,) = self.ecr.batch_get_image(repositoryName=REPOSITORY, imageIds=[{"imageDigest": digest}])["images"]
        self.ecr.put_image(
            repositoryName=REPOSITORY,
            imageTag=tag,
            imageManifest=image["imageManifest"],
            imageManifestMediaType=image["imageManifestMediaType"],
        )

    def _digest(self, tag: str) -> str:
        found = self.ecr.batch_get_image(repositoryName=REPOSITORY, imageIds=[{"imageTag": tag}])["images"]
        return found[0]["imageId"]["imageDigest"] if found else ""

    def _refresh(self, refresh: str) -> dict[str, Any]:
        described = self.autoscaling.describe_instance_refreshes(
            AutoScalingGroupName=GROUP, InstanceRefreshIds=[refresh]
        )
        return described["InstanceRefreshes"][0]

    def _status(self, refresh: str) -> str:
        return self._refresh(refresh)["Status"]

    # ---- the guardrail ----

    def _calls(self, *operations: str) -> list[dict[str, Any]]:
        calls = self.aws.control("GET", "calls", caller=function_of(CANCEL_REFRESH))["calls"]
        return [call for call in calls if call["operation"] in operations]
