"""The guest book as a WSGI application: `wsgi:application`."""

from guestbook.database import Database, Settings
from guestbook.web import create_app

application = create_app(Database(Settings.from_environment()))
