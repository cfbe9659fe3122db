"""The `tally` command: the auditor's part always, the operator's where its extra is installed."""

import typer

from tallystick_cli.audit.commands import app as audit_app
from tallystick_cli.bench.commands import app as bench_app
from tallystick_cli.cluster.commands import register as register_cluster
from tallystick_cli.operator.commands import register

app = typer.Typer(
    name="tally",
    help=(
        "Tallystick: a ledger of assessment evidence that anyone can replay.\n\n"
        "Auditor: `tally audit verify FOLDER --key KEY` replays an export on your own machine.\n\n"
        "Operator: `tally up` starts everything, `tally status` shows it, `tally down` stops it."
    ),
    epilog="Each command explains itself: tally audit verify --help",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.add_typer(audit_app, name="audit")
app.add_typer(bench_app, name="bench")


@app.callback()
def _root() -> None:
    """Keep `audit` a sub-command even when it is the only one."""


register(app)
register_cluster(app)
