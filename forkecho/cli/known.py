"""`forkecho known`: the failures of a run as a list of known ones."""

from __future__ import annotations

import datetime
from pathlib import Path

import click

from forkecho.cli.judged import writable
from forkecho.cli.saved import save
from forkecho.conformance import fixture, renewal, result
from forkecho.conformance.known import entries
from forkecho.conformance.renewal import NotRenewable, Renewal
from forkecho.conformance.report import listing
from forkecho.conformance.report.printable import printable

__all__ = ["command"]


@click.command(short_help="Show or update the list of a server's known failures.")
@click.argument("records", metavar="RUN.jsonl...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--update",
    "path",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write it there.",
)
@click.option(
    "--reason", metavar="TEXT", help="Why the new ones fail; needed with --update where there are any."
)
@click.option(
    "--expires",
    metavar="YYYY-MM-DD",
    type=click.DateTime(["%Y-%m-%d"]),
    help="The last day on which new ones, and those that have expired, are excused.",
)
def command(
    records: tuple[Path, ...], path: Path | None, reason: str | None, expires: datetime.datetime | None
) -> None:
    """Show, as TOML, what would have to be known for a run (`forkecho check --output RUN.jsonl`) to be green.

    With --update FILE the table [known] of that file is made so, for `forkecho check --known FILE`; FILE may also be the
    server's manifest. What still fails keeps its entry as it stands, with reason, date and comments; what is fixed is
    dropped; an entry for one case that fails in another way besides gets a pattern for that as well; what is new is entered by case, with a pattern of what was seen in which numbers, paths and quoted text may be
    others. Broken SHOULDs are entered where the run was --strict.

    Of several runs of the same server, what fails in some of them only is entered as coming by chance (sometimes), and what
    fails in several ways with a pattern for each.

    Nothing is written, and the exit code is 2, where a run does not tell of every case whether it fails: a selection,
    a run that was interrupted or stopped (-x), cases that are inconclusive, unstable, blocked or broken.
    """
    runs = [result.load(record) for record in records]
    day = expires.date() if expires else None
    if reason is not None and not reason.strip():
        raise click.UsageError("--reason: a sentence is wanted")
    writable(path)
    # What is no ordinary file (a pipe, a terminal) has no list in it, and to read it might take for ever.
    there = path is not None and path.is_file()
    text = fixture.octets(path) if path and there else b""
    listed = entries(fixture.parse(text, str(path)).get("known", {}), str(path))
    for record, run in zip(records, runs, strict=True):
        try:
            renewal.refuse(run)
            begun = renewal.begun(run)
        except NotRenewable as error:
            raise click.UsageError(f"{record}: {error}") from None
        if day and day < begun:
            raise click.UsageError(f"--expires {day}: that is over on the day of the run, {begun}")
    try:
        found = renewal.renew(runs, listed if path else None, reason=(reason or "").strip(), expires=day)
    except NotRenewable as error:
        raise click.UsageError(str(error)) from None
    if path is None:
        save(listing.render(found.entries), None)
        return
    if found.new and reason is None:
        more = f" and {len(found.new) - 1} more" if len(found.new) > 1 else ""
        raise click.UsageError(f"{found.new[0]}{more}: new failures need --reason TEXT")
    save(listing.render(found.entries, text.decode()), path)
    for line in told(found):
        click.echo(f"{path}: {printable(line)}", err=not path.is_file())


def told(found: Renewal) -> list[str]:
    """What was changed, in lines."""
    lines = [f"{entry} is new" for entry in found.new]
    for entry in found.renewed:
        known = found.entries[entry]
        until = f" until {known.expires}" if known.expires else ""
        lines.append(f"{entry} is excused{until}{', though it passes at times' if known.sometimes else ''}")
    lines += [f"{entry} is excused where it fails in another way as well" for entry in found.widened]
    lines += [f"{entry} is dropped: {why}" for entry, why in found.dropped.items()]
    count = len(found.entries)
    return [*lines, f"{count} entr{'y' if count == 1 else 'ies'} of known failures"]
