"""The commands around the application: serving it, and printing its OpenAPI document."""

import json

import click

from server.app import create_app
from server.cli.console import open_runtime
from server.config import load_settings
from server.serving import WORKERS, Server


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="监听地址 Address to listen on.")
@click.option("--port", default=8080, show_default=True, type=click.IntRange(1, 65535), help="端口 Port.")
@click.option("--workers", default=WORKERS, show_default=True, type=click.IntRange(1, 64), help="进程数 Processes.")
def serve(host: str, port: int, workers: int) -> None:
    """启动 HTTP 服务。Run the HTTP server."""
    Server(load_settings(), f"{host}:{port}", workers).run()


@click.command()
def openapi() -> None:
    """输出 OpenAPI 文档。Print the OpenAPI document."""
    app = create_app(open_runtime())
    document = app.extensions["fieldproof.api"].spec.to_dict()
    click.echo(json.dumps(document, ensure_ascii=False, indent=2))
