"""Django's settings, all derived from `environment.py`."""

from __future__ import annotations

import datetime
import os
import sys
from pathlib import Path
from typing import Any

import dj_database_url
from environ import Env

from caylex_project import VERSION
from caylex_project.db import options
from caylex_project.db.pooled_connection import PooledConnection
from caylex_project.environment import BASE_DIR, SQLITE_FILE, VAR_DIR, load_environment
from caylex_project.logs import logging_settings
from caylex_project.private_files import private_database, private_folder

ENVIRONMENT = load_environment()

SECRET_KEY = ENVIRONMENT.secret_key.get_secret_value()
DEBUG = ENVIRONMENT.debug
ALLOWED_HOSTS = list(ENVIRONMENT.allowed_hosts) or (["*"] if DEBUG else [])
CSRF_TRUSTED_ORIGINS = list(ENVIRONMENT.csrf_trusted_origins)

IN_COMMAND = os.path.basename(sys.argv[0]) == "manage.py"
IN_WORKER = IN_COMMAND and sys.argv[1:2] == ["qcluster"]

INSTALLED_APPS = [
    "caylex_project.control",
    "caylex_project.connect",
    "tasks_app",  # before django_q: its qcluster command is the one that runs
    "skills_app",
    "caylex_project.integrations",
    "caylex_project.accounts",
    # A worker shows no pages: what registers them would load all that the web process needs.
    "django.contrib.admin.apps.SimpleAdminConfig"
    if IN_WORKER
    else "caylex_project.accounts.site.apps.StaffAdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "axes",
    "django_otp",
    "django_otp.plugins.otp_totp",
    "django_q",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
]

MIDDLEWARE = [
    "caylex_project.web.middleware.RequestIdMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "caylex_project.web.middleware.StaticFilesMiddleware",
    "csp.middleware.CSPMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "axes.middleware.AxesMiddleware",  # last: it puts its page in the place of a refused sign-in
]

ROOT_URLCONF = "caylex_project.urls"
ASGI_APPLICATION = "caylex_project.asgi.application"
APPEND_SLASH = False  # a redirect would lose a POST's body; both forms are routed

TEMPLATES: list[dict[str, Any]] = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "caylex_project" / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]

# Database connections, by entry point: workers and commands keep theirs (each unit of work
# begins with close_old_connections), the web process borrows from a pool. A pool does not
# survive the forks of qcluster; kept connections leak under ASGI.


# Of each web process. Few, because each that comes back from the database takes the interpreter
# from another: 20 answer a fifth less. The pool has a connection for each, so that none waits.
WEB_THREADS = 8
# Further threads, each kind for itself: see `caylex_project/web/threaded_django.py`. "anonymous"
# has one, since a file is read by the thread that opened it.
WEB_SIDE_THREADS = {"anonymous": 1, "admin": 2, "sign_in": 1, "operators": 1}
WEB_CONNECTIONS = WEB_THREADS + sum(WEB_SIDE_THREADS.values())


def _make_sqlite_file(path: Path) -> None:
    """Make the file and, for the one in `var/`, its folder; end the process where that fails."""
    try:
        if ENVIRONMENT.database_url == SQLITE_FILE:
            private_folder(VAR_DIR)
        private_database(path)
    except OSError as error:
        sys.exit(f"Settings: DATABASE_URL: {path}: {error.strerror}")


def _database() -> dict[str, Any]:
    database: dict[str, Any] = dict(dj_database_url.parse(ENVIRONMENT.database_url))
    if ENVIRONMENT.on_sqlite:
        _make_sqlite_file(Path(database["NAME"]))
        database["OPTIONS"] = {
            "transaction_mode": "IMMEDIATE",
            "timeout": 20 if IN_COMMAND else options.WEB_SECONDS,
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;",
        }
        database["CONN_MAX_AGE"] = None if IN_COMMAND else 0
        database["TEST"] = {"NAME": f"{database['NAME']}.test"}  # a file: other processes see it
        return database
    database["CONN_HEALTH_CHECKS"] = True
    if IN_COMMAND:
        database["CONN_MAX_AGE"] = None
        lease = ENVIRONMENT.caylex_lease_seconds
        sessions = options.for_worker(lease=lease) if IN_WORKER else None
        options.apply(database, sessions or options.for_command())
        return database
    database["CONN_MAX_AGE"] = 0
    options.apply(database, options.for_web())
    database["OPTIONS"]["pool"] = {
        "min_size": 2,
        "max_size": WEB_CONNECTIONS,
        "timeout": options.WEB_SECONDS,
        # Each request that finds none tries again; long outages make no long pauses.
        "reconnect_timeout": 2,
        "connection_class": PooledConnection,
    }
    return database


DATABASES = {"default": _database()}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# django-q2 is the doorbell: see docs/architecture.md. Messages carry a task id and nothing
# else; the rows decide.
Q_CLUSTER = {
    "name": "caylex",
    "broker_class": "tasks_app.worker.process.broker.DatabaseBroker",
    "orm": "default",
    "workers": 1,  # in each small cluster
    "queue_limit": 1,
    "bulk": 1,
    "poll": 0.5,
    "timeout": 50,
    "retry": 60,
    "ack_failures": True,
    "max_attempts": 1,
    "save_limit": -1,
    "recycle": 0,
    "scheduler": False,
    "catch_up": False,
}

REST_FRAMEWORK: dict[str, Any] = {
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["tasks_app.api.json_parser.StrictJSONParser"],
    "DEFAULT_CONTENT_NEGOTIATION_CLASS": "tasks_app.api.json_parser.JSONOnlyNegotiation",
    "DEFAULT_AUTHENTICATION_CLASSES": ["tasks_app.api.authentication.PlatformTokenAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": [],
    "DEFAULT_METADATA_CLASS": None,
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "EXCEPTION_HANDLER": "tasks_app.api.errors.handle",
    "UNAUTHENTICATED_USER": None,
    "URL_FORMAT_OVERRIDE": None,
}

SPECTACULAR_SETTINGS: dict[str, Any] = {
    "TITLE": "Caylex Agent Tasks",
    "DESCRIPTION": (
        "Background agent tasks: submit a prompt, get a task id back at once, and poll for the "
        "report."
    ),
    "VERSION": VERSION,
    "OAS_VERSION": "3.1.0",
    "LICENSE": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
    "SERVERS": [{"url": "/", "description": "This service."}],
    "TAGS": [
        {"name": "Agent tasks", "description": "Submit tasks, follow them, change their course."},
        {"name": "Webhooks", "description": "What the service sends."},
    ],
    "SCHEMA_PATH_PREFIX": "/api/v1",
    "PREPROCESSING_HOOKS": ["tasks_app.api.openapi.docs_page.without_slash_forms"],
    # pydantic names its enumerations itself
    "POSTPROCESSING_HOOKS": [
        "tasks_app.api.openapi.docs_page.with_problem_details",
        "tasks_app.api.openapi.webhooks.with_webhooks",
        "tasks_app.api.openapi.plain.without_defaults",
        "tasks_app.api.openapi.plain.with_shared_errors",
    ],
}

# Mail is sent for one purpose: the code that proves an address on the page of an auth link.
# Without an address to send by, a code would have to go to the log, which is for DEBUG alone.
SENDS_MAIL = DEBUG or ENVIRONMENT.email_url.get_secret_value() != ""
vars().update(Env.email_url_config(ENVIRONMENT.email_url.get_secret_value() or "consolemail://"))
DEFAULT_FROM_EMAIL = ENVIRONMENT.email_from
EMAIL_TIMEOUT = 10  # seconds

LANGUAGE_CODE = "en-us"
FORMAT_MODULE_PATH = "caylex_project.formats"
TIME_ZONE = "UTC"
USE_TZ = True

STATIC_URL = "static/"
STATIC_ROOT = BASE_DIR / "static_root"
WHITENOISE_USE_FINDERS = True  # nothing has to be collected before the first start
STORAGES = {"staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}}

CONTENT_SECURITY_POLICY: dict[str, Any] = {
    "DIRECTIVES": {
        "default-src": ["'none'"],
        "script-src": ["'self'"],
        "style-src": ["'self'"],
        "img-src": ["'self'", "data:"],
        "font-src": ["'self'"],
        "connect-src": ["'self'"],
        "form-action": ["'self'"],
        "frame-ancestors": ["'none'"],
        "base-uri": ["'none'"],
    }
}
X_FRAME_OPTIONS = "DENY"
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
SESSION_COOKIE_HTTPONLY = True
if not DEBUG:
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    SECURE_SSL_REDIRECT = True
    SECURE_REDIRECT_EXEMPT = [
        r"^api/",  # an API client must not follow a redirect with its token
        r"^(healthz|readyz|metrics)$",  # asked from within, without the proxy that speaks TLS
    ]
    SECURE_HSTS_SECONDS = 31_536_000
    SECURE_HSTS_INCLUDE_SUBDOMAINS = True
    SECURE_HSTS_PRELOAD = True
    SESSION_COOKIE_SECURE = True
    CSRF_COOKIE_SECURE = True

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator"},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]

# By name and address together, so that guessing locks out the address that guesses; and by name
# alone after ten times as many.
AUTHENTICATION_BACKENDS = [
    "axes.backends.AxesStandaloneBackend",
    "django.contrib.auth.backends.ModelBackend",
]
AXES_HANDLER = "caylex_project.accounts.site.lockout.LockoutHandler"
AXES_CLIENT_IP_CALLABLE = "caylex_project.accounts.site.lockout.address_of"
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"]]
AXES_FAILURE_LIMIT = ENVIRONMENT.caylex_sign_in_attempts
AXES_COOLOFF_TIME = datetime.timedelta(seconds=ENVIRONMENT.caylex_sign_in_lock_seconds)
AXES_RESET_ON_SUCCESS = True
AXES_RESET_COOL_OFF_ON_FAILURE_DURING_LOCKOUT = False  # who tries on does not prolong the lock
AXES_LOCKOUT_TEMPLATE = "admin/accounts/locked.html"
AXES_SENSITIVE_PARAMETERS = ["otp_token"]
AXES_DISABLE_ACCESS_LOG = True
AXES_ENABLE_ADMIN = False
AXES_VERBOSE = False
OTP_TOTP_ISSUER = "Caylex Agent Tasks"

DATA_UPLOAD_MAX_MEMORY_SIZE = 2_000_000
FILE_UPLOAD_MAX_MEMORY_SIZE = 22_000_000  # the body is in memory already: no copy on a disk
DATA_UPLOAD_MAX_NUMBER_FIELDS = 10_000  # a navigator's permissions: one for each tool
LOGGING = logging_settings(json_lines=not DEBUG)
