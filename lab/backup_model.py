"""Where moto's AWS Backup falls short of what the site asks: selections, and a changed plan.

moto makes no recovery points: in the lab a plan is there, and nothing comes of it.

`install` must be called before the first request.
"""

import json
from typing import Any, cast

from moto.backup.exceptions import ResourceNotFoundException
from moto.backup.models import Plan
from moto.backup.responses import BackupResponse
from moto.core.utils import unix_time
from moto.moto_api._internal import mock_random


def install() -> None:
    """Gives moto's AWS Backup the calls that it lacks."""
    response = cast("Any", BackupResponse)
    response.create_backup_selection = _create
    response.get_backup_selection = _get
    response.list_backup_selections = _list
    response.delete_backup_selection = _delete
    response.update_backup_plan = _update


def _plan(response: BackupResponse) -> Plan:
    """The plan that the path names, unless it was deleted."""
    name = response.path.split("/plans/")[-1].split("/")[0]
    plan = response.backup_backend.get_backup_plan(name, None)
    if plan.deletion_date is not None:
        raise ResourceNotFoundException(f"Cannot find Backup plan with ID {name}")
    return plan


def _selections(plan: Plan) -> dict[str, dict[str, Any]]:
    kept: dict[str, Any] = vars(plan)
    return kept.setdefault("selections", {})


def _create(response: BackupResponse) -> str:
    plan = _plan(response)
    asked = json.loads(response.body)
    name = str(mock_random.uuid4())
    made = {
        "BackupPlanId": plan.backup_plan_id,
        "SelectionId": name,
        "CreationDate": unix_time(),
    }
    _selections(plan)[name] = {**made, "BackupSelection": asked["BackupSelection"]}
    return json.dumps(made)


def _get(response: BackupResponse) -> str:
    name = response.path.rstrip("/").rpartition("/")[2]
    found = _selections(_plan(response)).get(name)
    if found is None:
        raise ResourceNotFoundException(f"Cannot find backup selection {name}")
    return json.dumps(found)


def _list(response: BackupResponse) -> str:
    found = _selections(_plan(response)).values()
    return json.dumps({"BackupSelectionsList": [
        {
            "BackupPlanId": one["BackupPlanId"],
            "SelectionId": one["SelectionId"],
            "SelectionName": one["BackupSelection"]["SelectionName"],
        }
        for one in found
    ]})  # fmt: skip


def _delete(response: BackupResponse) -> str:
    name = response.path.rstrip("/").rpartition("/")[2]
    if _selections(_plan(response)).pop(name, None) is None:
        raise ResourceNotFoundException(f"Cannot find backup selection {name}")
    return ""


def _update(response: BackupResponse) -> str:
    plan = _plan(response)
    # Made as a new one is, with its defaults, and put in the place of what was.
    document = json.loads(response.body)["BackupPlan"]
    made: Any = Plan(document, plan.creator_request_id, response.backup_backend)
    plan.backup_plan, plan.version_id = made.backup_plan, made.version_id
    return json.dumps(plan.to_dict())
