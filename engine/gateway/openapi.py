"""The OpenAPI 3.1 of the routes, made from the very table that is served. It can't say anything else."""

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from engine import __version__
from engine.gateway.http import (
    IDEMPOTENCY_KEY,
    KEY_LENGTH_MAX,
    LAG,
    OUTCOME,
    ErrorBody,
    Parameter,
    Response,
    Route,
)

REFERENCE = "#/components/schemas/{name}"
_JSON = "application/json"
# What the guard answers, whatever is asked.
GUARDED = (
    Response(status=401, prose="The token is missing or wrong.", kind=ErrorBody),
    Response(status=403, prose="Host or Origin names another machine.", kind=ErrorBody),
    Response(status=431, prose="Path and headers are too large.", kind=ErrorBody),
)
KEYED = (
    Response(
        status=409, prose="A request with this key was cut off; its outcome is not known.", kind=ErrorBody
    ),
    Response(status=422, prose="The key was sent with another request.", kind=ErrorBody),
)
_KEY = {
    "name": IDEMPOTENCY_KEY,
    "in": "header",
    "description": "Makes a repeated request the same request, for a day.",
    "schema": {"type": "string", "minLength": 1, "maxLength": KEY_LENGTH_MAX},
}


def openapi(routes: Sequence[Route]) -> dict[str, Any]:
    """The whole document."""
    kinds = _kinds(routes)
    schemas, components = msgspec.json.schema_components(kinds, ref_template=REFERENCE)
    described = {id(kind): schema for kind, schema in zip(kinds, schemas, strict=True)}
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, described)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "kafka-workflow-engine",
            "version": __version__,
            "description": "Dapr's workflow API, and what goes beyond it.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {"token": {"type": "apiKey", "in": "header", "name": "dapr-api-token"}},
        },
        # Only where the gateway was given a token.
        "security": [{}, {"token": []}],
    }


def responses_of(route: Route) -> tuple[Response, ...]:
    """All that a route may be answered with."""
    return (*route.responses, *(KEYED if route.is_command else ()), *GUARDED)


def _kinds(routes: Iterable[Route]) -> list[Any]:
    found: dict[int, Any] = {}
    for route in routes:
        kinds = [parameter.kind for parameter in route.parameters]
        kinds += [response.kind for response in responses_of(route)]
        kinds.append(None if route.body is None else route.body.kind)
        found |= {id(kind): kind for kind in kinds if kind is not None}
    return list(found.values())


def _operation(route: Route, described: dict[int, Any]) -> dict[str, Any]:
    parameters = [_parameter(parameter, described) for parameter in route.parameters]
    operation: dict[str, Any] = {
        "operationId": route.name,
        "summary": route.prose,
        "tags": [route.tag],
        "parameters": [*parameters, _KEY] if route.is_command else parameters,
        "responses": {
            str(response.status): _response(response, described, is_command=route.is_command)
            for response in responses_of(route)
        },
    }
    if route.body is not None:
        content: dict[str, Any] = {_JSON: {"schema": {}}}
        if route.body.kind is not None:
            content = {_JSON: {"schema": described[id(route.body.kind)]}}
        operation["requestBody"] = {
            "description": route.body.prose,
            "required": route.body.is_required,
            "content": content,
        }
    return operation


def _parameter(parameter: Parameter, described: dict[int, Any]) -> dict[str, Any]:
    schema = dict(described[id(parameter.kind)])
    if parameter.default is not None:
        schema["default"] = parameter.default
    if parameter.where == "path":
        schema["minLength"] = 1
    return {
        "name": parameter.name,
        "in": parameter.where,
        "required": parameter.is_required,
        "description": parameter.prose,
        "schema": schema,
    }


def _response(response: Response, described: dict[int, Any], *, is_command: bool) -> dict[str, Any]:
    shown: dict[str, Any] = {"description": response.prose}
    if response.kind is not None:
        shown["content"] = {response.content_type: {"schema": described[id(response.kind)]}}
    elif response.content_type != _JSON:
        shown["content"] = {response.content_type: {"schema": {"type": "string"}}}
    name = OUTCOME if is_command and response.status == 202 else LAG if response.status == 200 else None
    if name is not None:
        shown["headers"] = {name: {"schema": {"type": "string"}, "description": _HEADERS[name]}}
    return shown


_HEADERS = {
    OUTCOME: "accepted; refused with its reason; or undecided, where no owner answered in time.",
    LAG: "By how many offsets of history the read model was behind.",
}
