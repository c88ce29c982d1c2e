"""Runs scim2-tester against a service: argument the base URL, the token in the environment. Prints one line of JSON for each check."""

import json
import os
import sys

from httpx2 import Client
from scim2_client.engines.httpx2 import SyncSCIMClient
from scim2_tester import check_server

http = Client(base_url=sys.argv[1], headers={"Authorization": "Bearer " + os.environ["TOKEN"]}, timeout=30, trust_env=False)
for result in check_server(SyncSCIMClient(http)):
    print(
        json.dumps(
            {"status": result.status.name, "title": result.title, "resource_type": result.resource_type, "reason": str(result.reason)}
        )
    )
