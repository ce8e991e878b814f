"""Logs each role in, puts ids of real things and bodies that are understood where generated ones would lead nowhere,
and counts what the server answered, so that a run in which nobody got in is no success."""

import collections
import json
import os
import random
import threading
import urllib.request
import uuid

import schemathesis

ROLE = os.environ["STAGE_ROLE"]
COUNTS = os.environ["STAGE_COUNTS"]
API = os.environ["STAGE_URL"] + "/api/v1"
lock = threading.Lock()
statuses = collections.Counter()


def call(path: str, body: dict | None = None, token: str = "") -> dict:
    data = None if body is None else json.dumps(body).encode()
    headers = {"content-type": "application/json"} | ({"authorization": f"Bearer {token}"} if token else {})
    with urllib.request.urlopen(urllib.request.Request(API + path, data, headers)) as answer:
        return json.load(answer)


def log_in(name: str) -> str:
    return call("/auth/login", {"name": name, "password": os.environ["STAGE_PASSWORD"]})["access_token"]


def real_ids() -> dict[str, list[str]]:
    token = log_in("boss")
    ids = {kind: [item["id"] for item in call(f"/{kind}", token=token)["items"]]
           for kind in ("endpoints", "tasks", "tokens", "worker-tokens", "users")}
    # The users that the roles log in as stay as they are.
    logins = {"viewer", "operator", "boss", "admin"}
    ids["users"] = [user["id"] for user in call("/users", token=token)["items"] if user["name"] not in logins]
    return ids


IDS = real_ids()
RULE = {"rule-type": "selection", "rule-id": "1", "rule-name": "1", "rule-action": "include",
        "object-locator": {"schema-name": "%", "table-name": "%"}}
# What is understood, by field, beside what is generated.
UNDERSTOOD = {
    "engine": ["postgresql"],
    "role": ["source", "target", "both", "viewer", "operator", "admin"],
    "settings": [{}, {"chunk_mib": 8}, {"host": "127.0.0.1", "database": "d", "user": "u", "tls_mode": "disable"}],
    "mappings": [{"rules": [RULE]}, {"rules": [RULE, RULE]}, {"rules": []}],
    "kind": ["cdc", "full-load", "full-load-and-cdc"],
    "password": ["a password that is long enough"],
}

if ROLE != "nobody":

    # An access token holds for ten minutes.
    @schemathesis.auth(refresh_interval=240)
    class Login:
        def get(self, case, context):
            return log_in(ROLE)

        def set(self, case, data, context):
            case.headers = case.headers or {}
            case.headers["Authorization"] = f"Bearer {data}"


def is_id(value) -> bool:
    try:
        uuid.UUID(value)
        return True
    except (ValueError, AttributeError, TypeError):
        return False


@schemathesis.hook
def map_case(context, case):
    """Only replaces what has the right form already, so that what is wrong on purpose stays wrong."""
    # There the ids are of what was just made.
    if "stateful" in str(case.meta.phase.name).lower():
        return case
    choice = random.Random(repr((case.path_parameters, case.body)))
    kind = case.path.split("/api/v1/")[-1].split("/")[0]
    parameters = case.path_parameters
    if isinstance(parameters, dict) and is_id(parameters.get("id")) and IDS.get(kind) and choice.random() < 0.7:
        parameters["id"] = choice.choice(IDS[kind])
    if isinstance(case.body, dict):
        for field, values in UNDERSTOOD.items():
            if isinstance(case.body.get(field), type(values[0])) and choice.random() < 0.8:
                case.body[field] = choice.choice(values)
        for field in ("source_id", "target_id"):
            if is_id(case.body.get(field)) and choice.random() < 0.9:
                case.body[field] = choice.choice(IDS["endpoints"])
    return case


@schemathesis.hook
def after_call(context, case, response):
    with lock:
        statuses[f"{response.status_code}"] += 1
        with open(COUNTS, "w", encoding="utf-8") as file:
            json.dump(dict(sorted(statuses.items())), file)
