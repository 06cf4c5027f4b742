"""The command that replaces secrets and keys."""

import click

from server.config import load_settings, rotate_secret
from server.prooflog.keys import SECRET as PROOF_LOG
from server.prooflog.rotation import rotate_key
from server.runtime import build_runtime


@click.command("rotate-secret")
@click.argument("name", type=click.Choice(("jwt", "cursor", PROOF_LOG)))
@click.option("--at-once", is_flag=True, help="旧密钥立即失效 What the present secret has signed ends now (a leak).")
def rotate(name: str, at_once: bool) -> None:
    """更换令牌、游标或存证日志的密钥。Replace the secret of tokens, cursors or proof log; servers take it up."""
    settings = load_settings()
    if name != PROOF_LOG:
        rotate_secret(settings, name, keep_previous=not at_once)
        click.echo(f"已更换 Replaced: {name}")
    elif at_once:
        raise click.ClickException("存证日志的旧签名始终可核验。What the log's key has signed stays checkable.")
    else:
        click.echo(rotate_key(build_runtime(settings)).encode())
