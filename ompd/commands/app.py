"""The program."""

from __future__ import annotations

import typer

from ompd.commands.aggregate import aggregate_app
from ompd.commands.audit import audit
from ompd.commands.audit_log import audit_log_app
from ompd.commands.backup import backup, restore
from ompd.commands.catalogue import catalogue
from ompd.commands.cluster import cluster_app
from ompd.commands.datasets import datasets
from ompd.commands.demo import demo
from ompd.commands.images import images_app
from ompd.commands.init import init
from ompd.commands.keys import keys_app
from ompd.commands.monitor import monitor_app
from ompd.commands.outsource import outsource
from ompd.commands.portal import portal
from ompd.commands.query import query
from ompd.commands.record_cloud import record_app
from ompd.commands.schema import schema
from ompd.commands.score import score
from ompd.commands.serve import serve
from ompd.commands.status import status
from ompd.commands.text import text_app

app = typer.Typer(
    help="Online multiparty medical pre-diagnosis over hidden records.",
    epilog="Start with: ompd demo",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(keys_app, name="keys")
app.add_typer(aggregate_app, name="aggregate")
app.add_typer(audit_log_app, name="audit-log")
app.add_typer(cluster_app, name="cluster")
app.add_typer(images_app, name="images")
app.add_typer(monitor_app, name="monitor")
app.add_typer(record_app, name="record")
app.add_typer(text_app, name="text")
app.command()(audit)
app.command()(init)
app.command()(backup)
app.command()(restore)
app.command()(catalogue)
app.command()(demo)
app.command()(datasets)
app.command()(outsource)
app.command()(portal)
app.command()(query)
app.command()(schema)
app.command()(score)
app.command()(serve)
app.command()(status)
