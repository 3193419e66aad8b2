"""What users set on deployments in the UI, kept through a deployment of prefect.yaml, which would write it anew."""

from __future__ import annotations

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import DeploymentScheduleUpdate, DeploymentUpdate
from prefect.client.schemas.responses import DeploymentResponse

PAGE = 100


def choices(client: SyncPrefectClient) -> dict[str, DeploymentUpdate]:
    """Schedules, concurrency limit and pause of every deployment that there is, by flow and name."""
    flows = {}
    found: list[DeploymentResponse] = []
    while len(page := client.read_deployments(limit=PAGE, offset=len(found))) == PAGE:
        found += page
    for one in [*found, *page]:
        if one.flow_id not in flows:
            flows[one.flow_id] = client.read_flow(one.flow_id).name
    return {f"{flows[one.flow_id]}/{one.name}": _chosen(one) for one in [*found, *page]}


def restore(client: SyncPrefectClient, before: dict[str, DeploymentUpdate]) -> list[str]:
    """Put back what differs from `before`; the names of those deployments."""
    changed = [name for name, now in choices(client).items() if before.get(name, now) != now]
    for name in changed:
        client.update_deployment(client.read_deployment_by_name(name).id, before[name])
    return changed


def _chosen(deployment: DeploymentResponse) -> DeploymentUpdate:
    limit = deployment.global_concurrency_limit
    return DeploymentUpdate(
        schedules=[
            DeploymentScheduleUpdate(
                schedule=one.schedule,
                active=one.active,
                max_scheduled_runs=one.max_scheduled_runs,
                parameters=one.parameters,
                slug=one.slug,
            )
            for one in deployment.schedules
        ],
        concurrency_limit=limit and limit.limit,
        concurrency_options=deployment.concurrency_options,
        paused=deployment.paused,
    )
