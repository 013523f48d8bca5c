"""Errors in the form that each AWS service gives them, so that SDKs raise what they should."""

import json
from collections.abc import Iterable
from wsgiref.types import StartResponse
from xml.sax.saxutils import escape

_REQUEST = "00000000-0000-0000-0000-000000000000"
_JSON = ("dynamodb", "ssm", "logs", "kms", "secretsmanager", "events", "cloudwatch")
_NAMES = {
    "ec2": "UnauthorizedOperation",
    "dynamodb": "AccessDeniedException",
    "ssm": "AccessDeniedException",
    "logs": "AccessDeniedException",
}


def refusal(
    service: str, code: str, message: str, start_response: StartResponse
) -> Iterable[bytes]:
    """The answer to a call that is not allowed, or failed."""
    status, kind, text = render(service, code, message)
    body = text.encode()
    start_response(status, [("Content-Type", kind), ("Content-Length", str(len(body)))])
    return [body]


def render(service: str, code: str, message: str) -> tuple[str, str, str]:
    """Status, content type and body. `AccessDenied` gets the service's own name for it."""
    if code == "AccessDenied":
        code = _NAMES.get(service, code)
    failed = code == "InternalError"
    if service in _JSON:
        content = json.dumps({"__type": code, "Message": message, "message": message})
        status = "500 Internal Server Error" if failed else "400 Bad Request"
        return status, "application/x-amz-json-1.0", content
    inner = f"<Code>{escape(code)}</Code><Message>{escape(message)}</Message>"
    if service == "ec2":
        body = (
            f"<Response><Errors><Error>{inner}</Error></Errors>"
            f"<RequestID>{_REQUEST}</RequestID></Response>"
        )
    elif service == "s3":
        body = f"<Error>{inner}<RequestId>{_REQUEST}</RequestId></Error>"
    else:
        body = (
            f"<ErrorResponse><Error><Type>Sender</Type>{inner}</Error>"
            f"<RequestId>{_REQUEST}</RequestId></ErrorResponse>"
        )
    status = "500 Internal Server Error" if failed else "403 Forbidden"
    return status, "text/xml", f'<?xml version="1.0" encoding="UTF-8"?>\n{body}'
