"""Somebody else's site: Django, another module name, and answers that take time."""

import secrets
import time

from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, HttpResponse
from django.urls import path

LONGEST = 60.0
"""Seconds that one request may keep a thread busy."""


def index(_: HttpRequest) -> HttpResponse:
    return HttpResponse("ready\n", content_type="text/plain")


def sleep(request: HttpRequest) -> HttpResponse:
    """Keep a thread busy for `seconds`."""
    time.sleep(min(LONGEST, float(request.GET.get("seconds", "1"))))
    return HttpResponse("slept\n", content_type="text/plain")


urlpatterns = [path("", index), path("health", index), path("sleep", sleep)]

settings.configure(
    ALLOWED_HOSTS=["*"],  # HAProxy in front decides who may ask
    ROOT_URLCONF=__name__,
    SECRET_KEY=secrets.token_urlsafe(),  # it signs nothing
)
site = get_wsgi_application()
