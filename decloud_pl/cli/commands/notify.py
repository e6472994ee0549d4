"""Test the notifications.

Notifications go to the Apprise addresses in the secret notify_urls. Set this secret with
`decloud-trainer config --set notify_urls=-`.

Examples:
  decloud-trainer notify test
"""

from __future__ import annotations

from decloud_pl.cli.arguments import as_json, group, overrides

run = group(__doc__)


@run.command()
@as_json
@overrides
def test(as_json: bool, overrides: list[str]) -> int:
    """Send a message to every address, and show which service accepted it."""
    import asyncio

    from decloud_pl.cli.ui.output import print_json
    from decloud_pl.config import load
    from decloud_pl.errors import NotificationError
    from decloud_pl.observers.notify import try_channels

    channels = asyncio.run(try_channels(load(overrides).secrets.get("notify_urls")))
    failed = [number for number, (_, taken) in enumerate(channels, 1) if not taken]
    if as_json:
        found = [{"service": service, "ok": taken} for service, taken in channels]
        print_json({"ok": not failed, "channels": found})
    else:
        for number, (service, taken) in enumerate(channels, 1):
            print(f"{number}. {service}: {'sent' if taken else 'failed'}")
    if not failed:
        return 0
    which = ", ".join(map(str, failed))
    raise NotificationError(
        f"Sending failed for {len(failed)} of {len(channels)} addresses in notify_urls (number {which}).",
        fix="Check each address, its token and this machine's connection.",
    )
