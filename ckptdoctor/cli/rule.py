"""``ckptdoctor rule``."""

from __future__ import annotations

import click

from ckptdoctor.cli import shared


@click.command("rule", short_help="Explain a rule, or list them all.")
@click.argument("code", required=False)
def command(code: str | None) -> int:
    """Explain a rule by its code, such as CKPT001, or list them all."""
    from ckptdoctor.rules import RULES

    if code is None:
        shared.write("".join(f"{rule.code}  {rule.name:<22}  {rule.meaning}\n" for rule in RULES.values()), None)
        return 0
    rule = RULES.get(code.upper()) or next((one for one in RULES.values() if one.name == code.lower()), None)
    if rule is None:
        raise click.BadParameter(f"there is no rule '{code}'; `ckptdoctor rule` lists them.", param_hint="CODE")
    links = "".join(f"\n  {link}" for link in rule.links)
    seen = f"\n\nReported in:{links}" if links else ""
    shared.write(f"{rule.code} {rule.name}\n{rule.meaning}\n\n{rule.explanation}{seen}\n", None)
    return 0
